//! `wehelp simulate`: plays a believable WeHelp client, posts single events, replays recorded ones.
//!
//! `door` is the wire, `world` who there is, `answer` what comes of a command, `sample` an event of every kind. Here is
//! the play itself: one thread polls, since a poll may be held open; the other reports what happens.

mod answer;
mod args;
mod door;
mod notice;
mod sample;
mod world;

use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::render;
use crate::cli::wake::{Signals, Wake, wait};
use crate::clock::Time;
use crate::control::{Account, Status, entry::Sent};
use crate::protocol::command::Wire;
use crate::protocol::event::Kind;
use answer::{Deed, Manners};
use door::{Break, Door};
use rustix::event::PollFlags;
use sample::Sample;
use serde_json::Value;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use world::{STAND_IN, World};

pub(in crate::cli) use args::Simulate as Args;

/// While the daemon is away, it is looked for this often.
const RETRY: Duration = Duration::from_millis(500);
/// A daemon that is being started is waited for so long.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Whose client was heard of within so long is in use.
const IN_USE: Duration = Duration::from_secs(600);
/// Shorter pauses would only keep the processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Nothing to do for so long is looked at again anyway.
const IDLE: Duration = Duration::from_secs(3600);
/// Events that wait for a daemon that is away; the oldest go first, as a real client loses them too.
const OUTBOX_MAX: usize = 10_000;

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        None => play(ctx, &args.play),
        Some(args::What::Event(args)) => event(ctx, &args),
        Some(args::What::Replay(args)) => replay(ctx, &args),
    }
}

/// What the polling thread reads before each poll.
#[derive(Debug)]
struct Line {
    door: Door,
    query: String,
}

/// What the polling thread tells, or the one that listens for signals.
#[derive(Debug)]
enum Polled {
    Commands(Vec<Wire>),
    BrokenOff,
    Failed(String),
    /// Somebody wants it to end.
    Interrupted,
}

fn play(ctx: &Ctx, args: &args::Play) -> Result<(), Error> {
    let id = crate::protocol::id::Wxid::parse(&args.account).map_err(|e| Error::usage(format!("--as: {e}")))?;
    let mut world = World::new(id.as_str());
    world.pid = std::process::id();
    let door = find_patiently(ctx, args.url.as_deref())?;
    if !args.force {
        refuse_beside_others(ctx, id.as_str())?;
    }
    ctx.out().note(&format!(
        "playing {} ({}) at {}, polling every {:?}; Ctrl-C ends it",
        render::clean(&world.me.wxid),
        world.me.nick,
        door.address(),
        args.interval
    ));
    let manners = Manners { refuse: args.refuse, logged_out: args.offline };
    let line = Arc::new(Mutex::new(Line { query: query(&world, manners.logged_out), door: door.clone() }));
    let (tell, polled) = mpsc::channel();
    let signals = listen(tell.clone()).map_err(|e| Error::failed(format!("watch for signals: {e}")))?;
    let now = Instant::now();
    let mut player = Player {
        ctx,
        args,
        world,
        manners,
        door,
        line: Arc::clone(&line),
        todo: Vec::new(),
        outbox: Vec::new(),
        login: None,
        chatter: args.chatter.map(|every| now + every.max(PAUSE_MIN)),
        away: None,
    };
    if args.offline {
        player.outbox.push((now, player.world.logout(false)));
    } else {
        player.outbox.extend(player.world.login().map(|event| (now, event)));
    }
    player.report();
    let (interval, drop_share) = (args.interval.max(PAUSE_MIN), args.drop);
    std::thread::spawn(move || poll(&line, interval, drop_share, &tell));
    player.run(&polled, args.length.map(|length| now + length));
    ctx.out()
        .note(&format!("the daemon still knows the account; `wehelp account forget {id} --force` makes it forget it"));
    signals.asked().map_or(Ok(()), Err)
}

/// As [`Door::find`], of a daemon that is perhaps just being started.
fn find_patiently(ctx: &Ctx, url: Option<&str>) -> Result<Door, Error> {
    let until = Instant::now() + STARTS_WITHIN;
    loop {
        match Door::find(ctx, url) {
            Err(error) if error.exit == Exit::NoDaemon && Instant::now() < until => std::thread::sleep(RETRY),
            found => return found,
        }
    }
}

/// Refuses to play where others than the played account have a client. A daemon that is only known by `--url` is not asked.
fn refuse_beside_others(ctx: &Ctx, played: &str) -> Result<(), Error> {
    let asked = ctx.client().and_then(|client| Ok(client.get::<Status>("/v1/status")?));
    let Ok(status) = asked else { return Ok(()) };
    let now = Time::now();
    let lately = |at: Option<Time>| at.is_some_and(|at| now.since(at) < IN_USE);
    let is_in_use = |account: &&Account| {
        account.account != played
            && (account.logged_in == Some(true) || lately(account.last_poll) || lately(account.last_event))
    };
    let who = match status.accounts.iter().find(is_in_use) {
        Some(account) => format!("the account {}", render::clean(&account.account)),
        None if lately(status.http.anonymous_poll) => "a client that does not say its account".to_owned(),
        None => return Ok(()),
    };
    Err(Error::refused(
        "in-use",
        format!(
            "{who} uses this wehelpd, and what is played would stand in its log and reach its bots; play against one of \
             its own (`wehelpd --data-dir` and `--socket`), or with --force; `wehelp account forget ID --force` forgets one \
             that was only played"
        ),
    ))
}

/// Tells when a signal wants it to end.
fn listen(tell: mpsc::Sender<Polled>) -> io::Result<Signals> {
    let mut wake = Wake::new()?;
    let signals = Signals::watch(wake.waker(), || ())?;
    std::thread::spawn(move || {
        while wait([Some((wake.as_fd(), PollFlags::IN))], None).is_ok() {
            wake.heard();
            if tell.send(Polled::Interrupted).is_err() {
                return;
            }
        }
    });
    Ok(signals)
}

/// How the client names itself in its polls.
fn query(world: &World, logged_out: bool) -> String {
    let wxid = if logged_out { "null".to_owned() } else { super::setup::typed(&world.me.wxid) };
    format!("wxid={wxid}&pid={}", world.pid)
}

/// Polls until nobody listens.
fn poll(line: &Mutex<Line>, interval: Duration, drop_share: f64, tell: &mpsc::Sender<Polled>) {
    loop {
        let (door, query) = {
            let line = line.lock().unwrap_or_else(PoisonError::into_inner);
            (line.door.clone(), line.query.clone())
        };
        let broken = (fastrand::f64() < drop_share)
            .then(|| if fastrand::bool() { Break::BeforeAnswer } else { Break::InAnswer });
        let said = match door.poll(&query, broken) {
            Ok(Some(commands)) => Polled::Commands(commands),
            Ok(None) => Polled::BrokenOff,
            Err(error) => Polled::Failed(error.to_string()),
        };
        let failed = matches!(said, Polled::Failed(_));
        if tell.send(said).is_err() {
            return;
        }
        std::thread::sleep(if failed { interval.max(RETRY) } else { interval });
    }
}

/// The client, as it plays.
struct Player<'a> {
    ctx: &'a Ctx,
    args: &'a args::Play,
    world: World,
    manners: Manners,
    door: Door,
    line: Arc<Mutex<Line>>,
    /// Commands, and when they are carried out.
    todo: Vec<(Instant, Wire)>,
    /// Events, and when they are reported.
    outbox: Vec<(Instant, Value)>,
    /// When somebody logs in or out.
    login: Option<(Instant, bool)>,
    /// When somebody says something.
    chatter: Option<Instant>,
    /// Since when the daemon does not answer.
    away: Option<Instant>,
}

impl Player<'_> {
    fn run(&mut self, polled: &mpsc::Receiver<Polled>, until: Option<Instant>) {
        loop {
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return;
            }
            let wake = [Some(now + IDLE), until, self.chatter, self.login.map(|(at, _)| at)].into_iter().flatten();
            let dues = self.todo.iter().map(|(at, _)| *at).chain(self.outbox.iter().map(|(at, _)| *at));
            // While the daemon is away, what is due would be tried without a pause.
            let earliest = if self.away.is_some() { now + RETRY } else { now };
            let wake = wake.chain(dues).min().unwrap_or(now).max(earliest);
            match polled.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(Polled::Commands(commands)) => {
                    self.back();
                    self.take(commands);
                }
                Ok(Polled::Interrupted) => return,
                Ok(Polled::BrokenOff) => self.ctx.out().note("broke a poll off"),
                Ok(Polled::Failed(error)) => self.lost(&error),
                Err(RecvTimeoutError::Timeout) => {}
                // The polling thread does not end before this one.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(RETRY),
            }
            self.log_in();
            self.carry_out();
            self.chat();
            self.report();
        }
    }

    /// Takes commands in; each is carried out when its `time` has passed.
    fn take(&mut self, commands: Vec<Wire>) {
        let now = Instant::now();
        for command in commands {
            let seconds = command.seconds().unwrap_or(0).min(86_400);
            self.todo.push((now + Duration::from_secs(seconds), command));
        }
    }

    fn carry_out(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.todo).into_iter().partition(|(at, _)| *at <= now);
        self.todo = later;
        let due: Vec<(Instant, Wire)> = due;
        for (_, command) in due {
            let Deed { said, events, logged_in } = answer::carry_out(&mut self.world, &command, self.manners);
            self.ctx.out().note(&render::clean(&said));
            let start = now + self.args.slow.unwrap_or_default();
            self.outbox.extend(events.into_iter().map(|later| (start + later.after, later.event)));
            self.login = logged_in.map(|(after, state)| (start + after, state)).or(self.login);
        }
    }

    fn log_in(&mut self) {
        let Some((_, state)) = self.login.filter(|(at, _)| *at <= Instant::now()) else { return };
        self.login = None;
        self.manners.logged_out = !state;
        let query = query(&self.world, self.manners.logged_out);
        self.line.lock().unwrap_or_else(PoisonError::into_inner).query = query;
        self.ctx.out().note(if state { "is logged in" } else { "is logged out" });
    }

    fn chat(&mut self) {
        let now = Instant::now();
        let (Some(every), Some(at)) = (self.args.chatter, self.chatter) else { return };
        if at > now {
            return;
        }
        self.chatter = Some(now + every.max(PAUSE_MIN));
        // While the daemon is away a real client has somewhere to fail, too; here nothing piles up.
        if !self.manners.logged_out && self.away.is_none() {
            let (said, event) = answer::chatter(&self.world);
            self.ctx.out().note(&render::clean(&said));
            self.outbox.push((now, event));
        }
    }

    /// Reports what is due, in order; what the daemon does not take is tried again.
    fn report(&mut self) {
        let now = Instant::now();
        self.outbox.sort_by_key(|(at, _)| *at);
        let excess = self.outbox.len().saturating_sub(OUTBOX_MAX);
        self.outbox.drain(..excess);
        while let Some((_, event)) = self.outbox.first().filter(|(at, _)| *at <= now) {
            let body = serde_json::json!({ "data": event }).to_string();
            let refused = match self.door.post(body.as_bytes()) {
                Ok(answer) if answer.status == 200 => {
                    self.back();
                    // Newer clients carry out what stands in the answer to a callback.
                    self.take(serde_json::from_slice(&answer.body).unwrap_or_default());
                    None
                }
                Ok(answer) if matches!(answer.status, 400 | 413) => Some(door::refused(&answer)),
                Ok(answer) => return self.lost(&door::refused(&answer)),
                Err(error) => return self.lost(&error.to_string()),
            };
            if let Some(why) = refused {
                self.ctx.out().warn(&render::clean(&why));
            }
            self.outbox.remove(0);
        }
    }

    /// The daemon does not answer; when it comes back, it may be at another address, or want another token.
    fn lost(&mut self, error: &str) {
        if self.away.is_none() {
            self.away = Some(Instant::now());
            self.ctx.out().note(&format!("the daemon does not answer ({}); trying again", render::clean(error)));
        }
        if let Ok(door) = Door::find(self.ctx, self.args.url.as_deref())
            && door != self.door
        {
            self.line.lock().unwrap_or_else(PoisonError::into_inner).door = door.clone();
            self.door = door;
        }
    }

    fn back(&mut self) {
        if let Some(since) = self.away.take() {
            self.ctx.out().note(&format!("the daemon is back after {}s", since.elapsed().as_secs()));
        }
    }
}

/// `simulate event KIND`
fn event(ctx: &Ctx, args: &args::Event) -> Result<(), Error> {
    let kind = sample::kind(&args.kind)?;
    // Wrong fields are found before a daemon is looked for.
    sample::sample(&World::new(STAND_IN), kind, &args.fields)?;
    let door = Door::find(ctx, args.url.as_deref())?;
    let world = around_known_account(ctx);
    let (body, data) = match sample::sample(&world, kind, &args.fields)? {
        Sample::Event(event) => {
            let data = event.to_string();
            (format!("{{\"data\":{data}}}").into_bytes(), Some(data))
        }
        Sample::Rubbish(bytes) => (bytes, None),
    };
    let expected = if data.is_some() { 200 } else { 400 };
    let answer = door.post(&body).map_err(|e| unreached(&door, &e))?;
    if answer.status != expected {
        return Err(Error::refused("not-taken", door::refused(&answer)));
    }
    if ctx.out().is_quiet() {
        return Ok(());
    }
    match stored(ctx, data.as_deref()) {
        Some(line) => ctx.out().print(&line, |line| format!("posted; it is stored as {}", seq_of(line))),
        None => Ok(()),
    }
}

/// The world around the account that is meant: the named one, else the only one that the daemon knows.
fn around_known_account(ctx: &Ctx) -> World {
    let known: Vec<Account> = ctx.client().and_then(|client| Ok(client.list("/v1/accounts", &())?)).unwrap_or_default();
    let named = ctx.global().account.as_deref();
    let meant = |name: &str| {
        let is_meant =
            |a: &&Account| a.account == name || a.alias.as_deref() == Some(name) || a.nick.as_deref() == Some(name);
        known.iter().find(is_meant)
    };
    let account = match (named, &known[..]) {
        (Some(name), _) => meant(name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let id = account.map(|a| a.account.as_str()).or(named).unwrap_or(STAND_IN);
    let mut world = World::new(id);
    if let Some(account) = account {
        world.me.nick = account.nick.clone().unwrap_or(world.me.nick);
        world.pid = account.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(world.pid);
    }
    world
}

/// The event as the daemon keeps it: the newest that holds these very bytes.
fn stored(ctx: &Ctx, data: Option<&str>) -> Option<Box<RawValue>> {
    /// This many others may have been stored meanwhile.
    const OTHERS_MAX: u64 = 50;
    let query = crate::control::EventsQuery { lines: Some(OTHERS_MAX), ..Default::default() };
    let lines: Vec<Box<RawValue>> = ctx.client().ok()?.list("/v1/events", &query).ok()?;
    let is_it = |line: &&RawValue| {
        let sent = Sent::read(line.get().as_bytes());
        sent.is_some_and(|sent| data.map_or(sent.kind == "unparsed", |data| sent.data.get() == data))
    };
    lines.iter().map(AsRef::as_ref).rev().find(is_it).map(ToOwned::to_owned)
}

fn seq_of(line: &RawValue) -> String {
    let Sent { seq, kind, .. } = Sent::read(line.get().as_bytes()).expect("it was found by what it holds");
    format!("#{seq} ({kind})")
}

fn unreached(door: &Door, error: &io::Error) -> Error {
    Error::new(
        Exit::Failed,
        "door-unreached",
        format!("post to {}: {error}; is it wehelpd's client door?", door.address()),
    )
}

/// `simulate replay FILE`
fn replay(ctx: &Ctx, args: &args::Replay) -> Result<(), Error> {
    let name = args.file.display();
    let from: Box<dyn BufRead> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file).map_err(|e| Error::failed(format!("open `{name}`: {e}")))?;
        Box::new(BufReader::new(file))
    };
    let door = Door::find(ctx, args.url.as_deref())?;
    let (mut posted, mut failed, mut left_out) = (0_u64, 0_u64, 0_u64);
    for (n, line) in from.split(b'\n').enumerate() {
        let line = line.map_err(|e| Error::failed(format!("read `{name}`: {e}")))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        if posted > 0 && !args.interval.is_zero() {
            std::thread::sleep(args.interval);
        }
        let Some((body, expected)) = callback_of(&line) else {
            left_out += 1;
            continue;
        };
        let answer = door.post(&body).map_err(|e| unreached(&door, &e))?;
        if answer.status == expected {
            posted += 1;
        } else {
            failed += 1;
            ctx.out().complain(&Error::failed(format!("line {}: {}", n + 1, door::refused(&answer))));
        }
    }
    ctx.out().note(&format!("posted {posted} events to {}", door.address()));
    if left_out > 0 {
        ctx.out().note(&format!("left out {left_out} that a wehelpd has told itself"));
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Error::failed(format!("{failed} lines of `{name}` were not taken as they were")))
    }
}

/// The body to post for a line, and the answer that it should get; none for what no client has sent. What `events` printed gives its `data`; anything
/// else is taken for a callback as it stands, damage and all.
fn callback_of(line: &[u8]) -> Option<(Vec<u8>, u16)> {
    let Some(entry) = Sent::read(line) else { return Some((line.to_vec(), 200)) };
    if Kind::from_name(&entry.kind).is_some_and(Kind::is_of_daemon) {
        return None;
    }
    if entry.kind == "unparsed" {
        let data: Value = serde_json::from_str(entry.data.get()).unwrap_or_default();
        let bytes = data["base64"].as_str().and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok());
        if let Some(bytes) = bytes {
            return Some((bytes, 400));
        }
    }
    Some((format!("{{\"data\":{}}}", entry.data.get()).into_bytes(), 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_event_is_posted_byte_for_byte() {
        let line =
            br#"{"seq":17,"time":"2026-11-23T09:00:00.123Z","kind":"other","type":1,"data":{"a": 1.10,"b":"\u4f60"}}"#;
        assert_eq!(callback_of(line), Some((br#"{"data":{"a": 1.10,"b":"\u4f60"}}"#.to_vec(), 200)));
        let bare = br#"{"type":78,"msgType":"1"}"#;
        assert_eq!(callback_of(bare), Some((bare.to_vec(), 200)));
        let callback = br#"{"data":{"type":78},}"#;
        assert_eq!(callback_of(callback), Some((callback.to_vec(), 200)));
        let unparsed = br#"{"seq":1,"time":"x","kind":"unparsed","data":{"base64":"eHk="}}"#;
        assert_eq!(callback_of(unparsed), Some((b"xy".to_vec(), 400)));
        let own = br#"{"seq":1,"time":"x","kind":"client.offline","data":{"kind":"client.offline"}}"#;
        assert_eq!(callback_of(own), None);
    }

    #[test]
    fn a_client_without_an_account_says_so_in_its_polls() {
        let world = World::new("wxid_我");
        assert_eq!(query(&world, false), "wxid=wxid_%E6%88%91&pid=7768");
        assert_eq!(query(&world, true), "wxid=null&pid=7768");
    }
}
