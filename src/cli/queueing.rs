//! Commands → receipts → waiting: what every verb does that puts something on the wire (contract 3).
//!
//! Steps: the options are read ([`Plan::new`]) → the commands are made without asking anybody, so that wrong usage is
//! found before a daemon is looked for → names are looked up → queued → the receipt is printed, or the answer is waited
//! for and printed. A wait outlives a restart of the daemon: the command is on its disk.

use super::args::Wiring;
use super::ctx::Ctx;
use super::error::{Error, Exit};
use super::progress::Progress;
use super::render::{self, items::Shape, receipt};
use super::who::{Place, Who};
use crate::clock::{Bare, Time};
use crate::control::client::Reply;
use crate::control::{self, ENQUEUE_MAX, Enqueue, Entry, KEY_BYTES_MAX, Receipt, State, Until, WaitQuery, client};
use crate::protocol::command::{Api, Class, Command, Wire};
use crate::protocol::id::{RoomId, Wxid};
use serde_json::{Value, value::RawValue};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How long an answer is waited for unless told (contract 3).
const WAIT: Duration = Duration::from_secs(30);
/// A daemon that is away may come back within so long while we wait: a restart, an upgrade.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// Between two looks for a daemon that is away.
const AWAY_LOOK: Duration = Duration::from_millis(200);
/// So much longer than it promised, a daemon may take to say that a wait is over.
const SLACK: Duration = Duration::from_secs(10);
/// Bytes of commands in one request; far below what the daemon takes, for its JSON is a little longer.
const REQUEST_BYTES: usize = control::REQUEST_BYTES_MAX / 2;
/// Failures of one run that are told one by one.
const TOLD_MAX: usize = 10;

/// Gives ids to those who were named. The first time it is asked nothing of the daemon, see [`Plan::wires`].
#[derive(Debug)]
pub(super) struct Names<'a> {
    daemon: Option<&'a Ctx>,
    needed: Cell<bool>,
}

impl Names<'_> {
    /// A person or a room.
    pub(super) fn who(&self, who: &Who) -> Result<Wxid, Error> {
        self.id(who, false, Who::id)
    }

    /// A person.
    pub(super) fn person(&self, who: &Who) -> Result<Wxid, Error> {
        self.id(who, true, Who::person)
    }

    /// A member of a room; where the room is not known to have such a one, anybody.
    pub(super) fn member(&self, who: &Who, room: &RoomId) -> Result<Wxid, Error> {
        self.id(who, true, |who, ctx| who.member(ctx, room))
    }

    /// A room.
    pub(super) fn room(&self, place: &Place) -> Result<RoomId, Error> {
        match (self.daemon, place) {
            (_, Place::Id(id)) => Ok(id.clone()),
            (Some(ctx), name) => name.id(ctx),
            (None, _) => {
                self.needed.set(true);
                Ok(RoomId::parse("0@chatroom")?)
            }
        }
    }

    fn id(
        &self,
        who: &Who,
        is_person: bool,
        look_up: impl Fn(&Who, &Ctx) -> Result<Wxid, Error>,
    ) -> Result<Wxid, Error> {
        match (who.typed(is_person), self.daemon) {
            (Some(id), _) => id,
            (None, Some(ctx)) => look_up(who, ctx),
            (None, None) => {
                self.needed.set(true);
                Ok(Wxid::parse("filehelper")?)
            }
        }
    }
}

/// What [`Wiring`] means; nothing of it can be wrong any more.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    wiring: &'a Wiring,
    due: Option<Time>,
    account: Option<String>,
    on_client: bool,
    bulk: bool,
    /// It was said that nobody may take what is queued.
    warned: Cell<bool>,
}

/// What commands of one request have of their own, and not from the options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) account: Option<String>,
    pub(super) delay: Option<Duration>,
    pub(super) due: Option<Time>,
    pub(super) expires: Option<Duration>,
}

/// What is known of commands whose request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The daemon has none of them.
    NotQueued,
    /// It may have all of them.
    Unknown,
    /// It has all of them; receipts are missing.
    Queued,
}

/// A request that did not end with all its receipts.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    pub(super) fate: Fate,
    /// The daemon refused because of what one of the commands is, and may take others.
    pub(super) for_one: bool,
    pub(super) error: Error,
}

impl Unfinished {
    fn untouched(error: Error) -> Self {
        Self { fate: Fate::NotQueued, for_one: false, error }
    }

    /// The error for people. Of what may be queued it never says that it is not, and it says how to see it (contract 3).
    /// `before` commands were queued by earlier requests, this one had `count`.
    fn told(self, before: usize, count: usize, keyed: bool) -> Error {
        let Self { fate, error, .. } = self;
        if error.message.is_empty() {
            return error;
        }
        let see = format!("`wehelp queue list --all` shows {}", if count == 1 { "it" } else { "them" });
        let key =
            if keyed { "; with the same --key the same call prints its receipt and queues nothing twice" } else { "" };
        let these = if count == 1 { "the command".to_owned() } else { format!("the {count} commands") };
        let mut message = match fate {
            Fate::NotQueued => error.message,
            Fate::Unknown => format!("{}; {these} may be queued all the same: {see}{key}", error.message),
            Fate::Queued => format!(
                "{these} {}, but not every receipt came: {}; {see}",
                if count == 1 { "is queued" } else { "are queued" },
                error.message
            ),
        };
        if before > 0 {
            message = format!("after {} were queued: {message}", receipt::count(before, "command"));
        }
        Error { message, ..error }
    }
}

/// A failed call of something that changes the daemon: when it may be done all the same, that is said, and where to look.
pub(super) fn maybe_done(see: &str) -> impl Fn(client::Error) -> Error {
    move |error| {
        let may_be_done = error.may_be_done();
        let error = Error::from(error);
        let message =
            if may_be_done { format!("{}; it may be done all the same: {see}", error.message) } else { error.message };
        Error { message, ..error }
    }
}

/// What became of a command while it was waited for.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) receipt: Receipt,
    /// The answering events, with what they hold for the command.
    pub(super) answers: Vec<(Box<RawValue>, Vec<Value>)>,
    /// Whether what was waited for came.
    pub(super) reached: bool,
}

/// Does all of it: what most verbs are.
///
/// # Errors
/// See the contract's exit codes.
pub(super) fn put(
    ctx: &Ctx,
    wiring: &Wiring,
    build: impl Fn(&Names<'_>) -> Result<Vec<Command>, Error>,
) -> Result<(), Error> {
    let plan = Plan::new(ctx, wiring)?;
    let wires = plan.wires(ctx, build)?;
    plan.put(ctx, &wires)
}

impl<'a> Plan<'a> {
    /// Reads the options.
    ///
    /// # Errors
    /// Wrong usage: a time that is none, a key that is none.
    pub(super) fn new(ctx: &Ctx, wiring: &'a Wiring) -> Result<Self, Error> {
        // Who sends goes on when nobody reads its receipts any more (contract 4).
        ctx.out().outlive_reader();
        let due = wiring.at.as_ref().map(|at| moment_to_come("--at", at)).transpose()?;
        if let Some(key) = &wiring.key {
            check_key("--key", key)?;
        }
        let account = ctx.global().account.clone();
        Ok(Self { wiring, due, account, on_client: false, bulk: wiring.bulk, warned: Cell::new(false) })
    }

    /// Paths are those of the PC, whatever they look like.
    pub(super) fn on_client(self, on_client: bool) -> Self {
        Self { on_client, ..self }
    }

    /// Lets everything else go first, unless the user said otherwise.
    pub(super) fn be_bulk(&mut self) {
        self.bulk = !self.wiring.no_bulk;
    }

    /// Binds to this account, when the user named none.
    pub(super) fn bind(&mut self, account: &str) {
        self.account.get_or_insert_with(|| account.to_owned());
    }

    /// Makes the commands: once without asking the daemon, to find wrong usage, and once more if names are to be
    /// looked up.
    ///
    /// # Errors
    /// Wrong usage, and names that mean nobody or several.
    pub(super) fn wires(
        &self,
        ctx: &Ctx,
        build: impl Fn(&Names<'_>) -> Result<Vec<Command>, Error>,
    ) -> Result<Vec<Wire>, Error> {
        let to_wires = |commands: Vec<Command>| -> Result<Vec<Wire>, Error> {
            commands.iter().map(|command| Ok(command.to_wire(self.wiring.time)?)).collect()
        };
        let names = Names { daemon: None, needed: Cell::new(false) };
        let wires = to_wires(build(&names)?)?;
        if !names.needed.get() {
            return Ok(wires);
        }
        to_wires(build(&Names { daemon: Some(ctx), needed: Cell::new(true) })?)
    }

    /// Queues them and prints what is to be printed; with --dry-run only that.
    ///
    /// # Errors
    /// As the daemon says, and when an answer does not come.
    pub(super) fn put(&self, ctx: &Ctx, wires: &[Wire]) -> Result<(), Error> {
        if self.is_dry(ctx, wires)? {
            return Ok(());
        }
        let keys = self.keys(wires.len());
        let mut awaited = Vec::new();
        self.enqueue(ctx, wires, &keys, |receipt| {
            tell_repeated(ctx, &receipt);
            match self.patience(&receipt.api) {
                Some(patience) => awaited.push((receipt, patience)),
                None => print_receipt(ctx, &receipt)?,
            }
            Ok(())
        })?;
        self.wait_all(ctx, &awaited)
    }

    /// With --dry-run: prints the wire's JSON, and is done.
    pub(super) fn is_dry(&self, ctx: &Ctx, wires: &[Wire]) -> Result<bool, Error> {
        if self.wiring.dry_run {
            wires.iter().try_for_each(|wire| ctx.out().json_text(wire.as_str()))?;
        }
        Ok(self.wiring.dry_run)
    }

    /// How long an answer to this api is waited for, if at all.
    pub(super) fn patience(&self, api: &str) -> Option<Duration> {
        let asks = Api::find(api).is_some_and(Api::is_question);
        match self.wiring.wait {
            _ if self.wiring.no_wait => None,
            None if asks => Some(WAIT),
            told => told,
        }
    }

    /// A key for each of so many commands: the first has the one that was given.
    pub(super) fn keys(&self, count: usize) -> Vec<String> {
        let Some(key) = &self.wiring.key else { return Vec::new() };
        (1..=count).map(|n| if n == 1 { key.clone() } else { format!("{key}/{n}") }).collect()
    }

    /// Queues commands, in as many requests as needed, and gives each receipt on as it comes.
    ///
    /// # Errors
    /// As the daemon says; then those of the requests before are queued, and the message says what is known of the rest.
    pub(super) fn enqueue(
        &self,
        ctx: &Ctx,
        wires: &[Wire],
        keys: &[String],
        mut each: impl FnMut(Receipt) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut from = 0;
        while from < wires.len() {
            let part = request_part(&wires[from..]);
            let keys = if keys.is_empty() { &[] } else { &keys[from..from + part] };
            self.hand_over(ctx, &wires[from..from + part], keys, &Special::default(), &mut each)
                .map_err(|unfinished| unfinished.told(from, part, !keys.is_empty()))?;
            from += part;
        }
        Ok(())
    }

    /// Queues what goes into one request: all of it, or none.
    pub(super) fn hand_over(
        &self,
        ctx: &Ctx,
        wires: &[Wire],
        keys: &[String],
        special: &Special,
        each: &mut impl FnMut(Receipt) -> Result<(), Error>,
    ) -> Result<(), Unfinished> {
        let request = self.request(wires, keys, special).map_err(Unfinished::untouched)?;
        let client = ctx.client().map_err(Unfinished::untouched)?;
        let mut reply = client.put("POST", "/v1/commands", &request).map_err(|error| {
            let fate = if error.may_be_done() { Fate::Unknown } else { Fate::NotQueued };
            let for_one = matches!(&error, client::Error::Refused { status: 400 | 404 | 409, .. });
            Unfinished { fate, for_one, error: error.into() }
        })?;
        // From here on all are queued, whatever becomes of the receipts.
        let queued = |error| Unfinished { fate: Fate::Queued, for_one: false, error };
        for _ in wires {
            let line = reply.next_line().map_err(|e| queued(e.into()))?;
            let line = line.ok_or_else(|| queued(Error::failed("wehelpd gave fewer receipts than commands")))?;
            let receipt: Receipt =
                serde_json::from_slice(line).map_err(|e| queued(client::Error::Strange(e.to_string()).into()))?;
            self.warn(ctx, &receipt);
            each(receipt).map_err(queued)?;
        }
        Ok(())
    }

    fn request(&self, wires: &[Wire], keys: &[String], special: &Special) -> Result<Enqueue, Error> {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let raw = |wire: &Wire| {
            RawValue::from_string(wire.to_ascii()).map_err(|e| Error::failed(format!("write a command: {e}")))
        };
        let (delay, due) = match (special.delay, special.due) {
            (None, None) => (self.wiring.delay, self.due),
            own => own,
        };
        Ok(Enqueue {
            commands: wires.iter().map(raw).collect::<Result<_, _>>()?,
            account: special.account.clone().or_else(|| self.account.clone()),
            delay_ms: delay.map(millis),
            due,
            expires_ms: special.expires.or(self.wiring.expires).map(millis),
            keys: keys.to_vec(),
            on_client: self.on_client,
            bulk: self.bulk,
            dry_run: self.wiring.dry_run,
        })
    }

    /// Queues a question to a person. Its turn in the chat lasts as long as the reply is held; see `GET /v1/asks`.
    pub(super) fn ask(
        &self,
        ctx: &Ctx,
        wire: &Wire,
        expires: Duration,
        queue: bool,
    ) -> Result<(Receipt, Reply), Error> {
        let keys = self.keys(1);
        let special = Special { expires: Some(expires), ..Special::default() };
        let request = self.request(std::slice::from_ref(wire), &keys, &special)?;
        let path = if queue { "/v1/asks" } else { "/v1/asks?queue=false" };
        let unfinished = |fate, error| Unfinished { fate, for_one: true, error };
        let told = |unfinished: Unfinished| unfinished.told(0, 1, !keys.is_empty());
        let mut reply = ctx.client()?.put("POST", path, &request).map_err(|error| {
            let fate = if error.may_be_done() { Fate::Unknown } else { Fate::NotQueued };
            told(unfinished(fate, error.into()))
        })?;
        let receipt = first_receipt(&mut reply).map_err(|error| told(unfinished(Fate::Queued, error.into())))?;
        self.warn(ctx, &receipt);
        tell_repeated(ctx, &receipt);
        Ok((receipt, reply))
    }

    /// Says, once, that nobody may take what was queued as things are.
    fn warn(&self, ctx: &Ctx, receipt: &Receipt) {
        if let Some(held) = receipt.held.as_ref().filter(|held| held.reason.starts_with(control::NOBODY_MAY))
            && !self.warned.replace(true)
        {
            ctx.out().note(&render::clean(&held.reason));
        }
    }

    /// Queues one command.
    pub(super) fn enqueue_one(&self, ctx: &Ctx, wire: &Wire, key: Option<&String>) -> Result<Receipt, Error> {
        let mut queued = None;
        self.enqueue(ctx, std::slice::from_ref(wire), key.map_or(&[], std::slice::from_ref), |receipt| {
            queued = Some(receipt);
            Ok(())
        })?;
        let queued =
            queued.ok_or_else(|| Error::failed("the daemon gave no receipt; see `wehelp queue list --all`"))?;
        tell_repeated(ctx, &queued);
        Ok(queued)
    }

    /// Waits for each in turn and prints the answers. The patience begins anew with every answer: who is answered
    /// piece by piece is not given up while pieces come.
    pub(super) fn wait_all(&self, ctx: &Ctx, awaited: &[(Receipt, Duration)]) -> Result<(), Error> {
        ctx.out().flush()?;
        let several = awaited.len() > 1;
        let progress = match awaited.len() {
            0 => return Ok(()),
            1 => Progress::wait(ctx.out()),
            n => Progress::count(ctx.out(), n as u64, "answers"),
        };
        let mut failures = Vec::new();
        let mut table: Vec<Value> = Vec::new();
        let mut begun = Instant::now();
        let shape = awaited.first().map_or(Shape::Facts, |(first, _)| Shape::of(&first.api));
        for (n, (first, patience)) in awaited.iter().enumerate() {
            let until = begun + *patience + first.due.since(Time::now());
            let outcome = watch(ctx, first.id, Until::Answered, until, |receipt| {
                if !several {
                    progress.say(stage(receipt));
                }
            })?;
            progress.at(n as u64 + 1);
            if outcome.reached {
                begun = Instant::now();
            }
            let mut collected = None;
            progress.beside(ctx.out(), || {
                collected = self.show(ctx, &outcome)?;
                Ok(())
            })?;
            table.extend(collected.unwrap_or_default());
            failures.extend(failure(&outcome, *patience));
        }
        drop(progress);
        if !table.is_empty() {
            ctx.out().text(&shape.text(&table, ctx.out().columns()))?;
        } else if failures.is_empty() && !ctx.out().is_json() && !self.wiring.raw && matches!(shape, Shape::Table(_)) {
            ctx.out().note("the answer is empty");
        }
        told(ctx, failures)
    }

    /// Prints what came: as JSON lines at once, for people as items of a table to come.
    fn show(&self, ctx: &Ctx, outcome: &Outcome) -> Result<Option<Vec<Value>>, Error> {
        let api = Api::find(&outcome.receipt.api);
        let asks = api.is_some_and(Api::is_question);
        if self.wiring.raw && !outcome.answers.is_empty() {
            outcome.answers.iter().try_for_each(|(event, _)| ctx.out().json_text(event.get()))?;
            return Ok(None);
        }
        // People want to know of a deed that it is done, programs what the answer holds.
        if api.is_none_or(|api| api.answers.is_empty()) || !(asks || ctx.out().is_json()) {
            if outcome.reached {
                print_receipt(ctx, &outcome.receipt)?;
            }
            return Ok(None);
        }
        let items = merged(&outcome.answers);
        if ctx.out().is_json() {
            items.iter().try_for_each(|item| ctx.out().json_line(item))?;
            return Ok(None);
        }
        Ok(Some(items))
    }
}

/// A moment from when on something may be done: one that is past is a mistake.
pub(super) fn moment_to_come(name: &str, text: &str) -> Result<Time, Error> {
    let now = Time::now();
    let at = Time::parse(text, now, Bare::Ahead).map_err(|e| Error::usage(format!("{name}: {e}")))?;
    if at < now {
        let at = at.local();
        return Err(Error::usage(format!("{name}: {at} is past; give a moment to come, or leave it out for at once")));
    }
    Ok(at)
}

/// Refuses what the daemon would refuse, before it is asked.
pub(super) fn check_key(name: &str, key: &str) -> Result<(), Error> {
    /// What is appended for the commands after the first.
    const ROOM: usize = 24;
    if key.is_empty() {
        return Err(Error::usage(format!("{name} is empty; give a word that says which command it is")));
    }
    if key.len() > KEY_BYTES_MAX - ROOM {
        let most = KEY_BYTES_MAX - ROOM;
        return Err(Error::usage(format!("{name} has {} bytes, and may have {most}; shorten it", key.len())));
    }
    Ok(())
}

/// How many of these go into one request.
fn request_part(wires: &[Wire]) -> usize {
    let mut bytes = 0;
    let fits = |wire: &&Wire| {
        bytes += wire.as_str().len();
        bytes <= REQUEST_BYTES
    };
    wires.iter().take(ENQUEUE_MAX).take_while(fits).count().max(1)
}

/// Prints a receipt; not with -q.
pub(super) fn print_receipt(ctx: &Ctx, receipt: &Receipt) -> Result<(), Error> {
    if ctx.out().is_quiet() { Ok(()) } else { ctx.out().print(receipt, receipt::sentence) }
}

/// The receipt that a stream of questions begins with.
pub(super) fn first_receipt(reply: &mut Reply) -> Result<Receipt, client::Error> {
    match reply.next_value()? {
        Some(control::Progress::Receipt(receipt)) => Ok(receipt),
        _ => Err(client::Error::Strange("no receipt".to_owned())),
    }
}

fn tell_repeated(ctx: &Ctx, receipt: &Receipt) {
    if receipt.repeated && receipt.api == "acceptFriend" {
        let (id, done) = (receipt.id, receipt.state == State::Answered);
        let how = if done { "has accepted" } else { "is accepting" };
        ctx.out().note(&format!("nothing new was queued: command {id} {how} that friend request already"));
    } else if receipt.repeated {
        let key = render::clean(receipt.key.as_deref().unwrap_or_default()).into_owned();
        ctx.out().note(&format!("nothing new was queued: `{key}` is the key of command {} already", receipt.id));
    }
}

/// Tells of failures: one is the program's own, of several each is said.
pub(super) fn told(ctx: &Ctx, mut failures: Vec<Error>) -> Result<(), Error> {
    if failures.len() < 2 {
        return failures.pop().map_or(Ok(()), Err);
    }
    failures.iter().take(TOLD_MAX).for_each(|error| ctx.out().complain(error));
    let exit = failures.first().map_or(Exit::Failed, |first| first.exit);
    let code = failures.first().map_or("failed".into(), |first| first.code.clone());
    let more = failures.len().saturating_sub(TOLD_MAX);
    let message = if more > 0 { format!("and {more} more like these") } else { String::new() };
    Err(Error { exit, code, message })
}

/// Waits until a command has got as far as `until`, or the time is over; `seen` is told of each change.
///
/// # Errors
/// When there is no such command, or the daemon goes away and does not come back.
pub(super) fn watch(
    ctx: &Ctx,
    id: u64,
    until: Until,
    end: Instant,
    mut seen: impl FnMut(&Receipt),
) -> Result<Outcome, Error> {
    let mut there = Instant::now();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let failed = match watch_once(ctx, id, until, left, &mut there, &mut seen) {
            Ok(outcome) => {
                let over = matches!(outcome.receipt.state, State::Expired | State::Cancelled);
                if outcome.reached || over || Instant::now() >= end {
                    return Ok(outcome);
                }
                // The daemon ended the wait before its time: it stops, or it waits for a day at most.
                there = Instant::now();
                None
            }
            Err(error) if error.is_absence() => Some(error),
            // A stopping daemon may still have answered like this.
            Err(client::Error::Refused { status: 503, refusal }) => {
                Some(client::Error::Refused { status: 503, refusal })
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(error) = failed
            && (there.elapsed() > AWAY_MAX || Instant::now() >= end || ctx.is_ending())
        {
            let mut error = Error::from(error);
            error.message = format!("{}; command {id} is kept, see `wehelp queue show {id}`", error.message);
            return Err(error);
        }
        std::thread::sleep(AWAY_LOOK);
    }
}

fn watch_once(
    ctx: &Ctx,
    id: u64,
    until: Until,
    left: Duration,
    there: &mut Instant,
    seen: &mut impl FnMut(&Receipt),
) -> Result<Outcome, client::Error> {
    let client = match ctx.client() {
        Ok(client) => client,
        Err(error) => return Err(client::Error::Strange(error.message)),
    };
    let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let mut reply = client.lines(&format!("/v1/commands/{id}/wait"), &WaitQuery { timeout_ms, until })?;
    reply.set_patience(Some(left.saturating_add(SLACK)))?;
    let (mut receipt, mut answers) = (None, Vec::new());
    while let Some(progress) = reply.next_value()? {
        *there = Instant::now();
        match progress {
            control::Progress::Receipt(now) => {
                seen(&now);
                receipt = Some(now);
            }
            control::Progress::Answer { event, items } => answers.push((event, items)),
            control::Progress::End { reached } => {
                let receipt = receipt.ok_or_else(|| client::Error::Strange("a wait without a receipt".into()))?;
                return Ok(Outcome { receipt, answers, reached });
            }
        }
    }
    Err(client::Error::Broken(std::io::ErrorKind::UnexpectedEof.into()))
}

/// Where a command stands, for somebody who waits for it.
fn stage(receipt: &Receipt) -> String {
    let deed = receipt::deed(receipt);
    match receipt.state {
        State::Scheduled => format!("{deed}: due {}", receipt.due.local()),
        State::InFlight => format!("{deed}: on its way to the client"),
        State::Fetched => format!("{deed}: fetched, waiting for the answer"),
        State::Answered => format!("{deed}: answered"),
        _ => format!("{deed}: queued, waiting for a client to fetch it{}", receipt::held(receipt)),
    }
}

/// Why an outcome is no success.
pub(super) fn failure(outcome: &Outcome, patience: Duration) -> Option<Error> {
    let receipt = &outcome.receipt;
    let id = receipt.id;
    match receipt.state {
        State::Rejected => {
            let notice = outcome.answers.last().and_then(|(event, _)| Entry::read(event.get().as_bytes())?.text);
            let notice = notice.map(|text| format!(": {text}")).unwrap_or_default();
            let seq = receipt.answer.map(|seq| format!(" (event {seq})")).unwrap_or_default();
            let notice = if notice.is_empty() && Api::find(&receipt.api).is_some_and(|api| api.class == Class::Friend) {
                ": the client told of no friendship".to_owned()
            } else {
                notice
            };
            Some(Error::refused("rejected", format!("command {id} was rejected{notice}{seq}")))
        }
        State::Expired if receipt.attempts > 0 => Some(Error::no_answer(format!(
            "command {id} expired; it was handed to a client before, which may have done it, but that it was read is not \
             known; see `wehelp queue show {id}`"
        ))),
        State::Expired => Some(Error::no_answer(format!(
            "command {id} expired before a client fetched it; is the client polling? see `wehelp status`"
        ))),
        State::Cancelled => Some(Error::refused("cancelled", format!("command {id} was cancelled meanwhile"))),
        _ if outcome.reached => None,
        _ if !outcome.answers.is_empty() => Some(Error::no_answer(format!(
            "only a part of the answer to command {id} came within {}: {}; what comes later is still noted, see `wehelp \
             queue show {id}`",
            span(patience),
            part(receipt)
        ))),
        _ => Some(Error::no_answer(late(receipt, patience))),
    }
}

/// How much of an answer came: `2 of 3; `wxid_c` was not told`.
fn part(receipt: &Receipt) -> String {
    /// So many of those that were not told are named.
    const NAMED_MAX: usize = 10;
    let asked: Value = serde_json::from_str(receipt.command.get()).unwrap_or_default();
    let Some(asked) = asked["wxidLists"].as_array() else {
        return "the ids, and not yet the rest".to_owned();
    };
    let asked = asked.iter().filter_map(Value::as_str).collect::<HashSet<_>>().len();
    let missing = &receipt.missing;
    let mut named: Vec<String> = missing.iter().take(NAMED_MAX).map(|id| format!("`{}`", render::clean(id))).collect();
    if missing.len() > NAMED_MAX {
        named.push(format!("{} more", missing.len() - NAMED_MAX));
    }
    let was = if missing.len() == 1 { "was" } else { "were" };
    format!("{} of {asked}; {} {was} not told", asked.saturating_sub(missing.len()), named.join(", "))
}

/// What is said when time is over: whether the client has fetched the command yet.
fn late(receipt: &Receipt, patience: Duration) -> String {
    let id = receipt.id;
    let within = span(patience);
    match &receipt.fetched {
        Some(fetched) => format!(
            "no answer within {within}: the client has fetched command {id} (at {}), and no event has answered it yet; \
             a late answer is still noted, see `wehelp queue show {id}`",
            fetched.time.local()
        ),
        None if receipt.state == State::InFlight => format!(
            "no answer within {within}: command {id} is on its way to the client, and not yet known to be fetched; see \
             `wehelp queue show {id}`"
        ),
        None if receipt.attempts > 0 => format!(
            "no answer within {within}: command {id} was handed to a client, which may have done it, but that it was read \
             is not known{}; it goes out again, and `wehelp queue cancel {id}` takes it back",
            receipt::held(receipt)
        ),
        None => format!(
            "no answer within {within}: no client has fetched command {id} yet{}; it stays queued, `wehelp queue \
             cancel {id}` takes it back, and `wehelp status` tells of the clients",
            receipt::held(receipt)
        ),
    }
}

/// A length of time in few words.
pub(super) fn span(length: Duration) -> String {
    let millis = length.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{} s", millis / 1000),
        _ => format!("{} min", millis / 60_000),
    }
}

/// The items of an answer that came in pieces: each person and room once, where it was told last; a bare list of ids
/// only when nothing better came.
fn merged(answers: &[(Box<RawValue>, Vec<Value>)]) -> Vec<Value> {
    let kind = |event: &RawValue| Entry::read(event.get().as_bytes()).map(|entry| entry.kind).unwrap_or_default();
    let kinds: Vec<String> = answers.iter().map(|(event, _)| kind(event)).collect();
    let better = kinds.iter().any(|kind| kind == "contacts");
    let mut merged: Vec<Value> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for ((_, items), kind) in answers.iter().zip(&kinds) {
        if better && kind == "contacts.packet" {
            continue;
        }
        // A member may stand in a list twice, and a packet has no single id: only lists of people and rooms merge.
        let lists = matches!(kind.as_str(), "contacts" | "contacts.packet" | "rooms");
        for item in items {
            match item["wxid"].as_str().filter(|_| lists && answers.len() > 1) {
                None => merged.push(item.clone()),
                Some(wxid) => match places.get(wxid) {
                    Some(place) => merged[*place] = item.clone(),
                    None => {
                        places.insert(wxid.to_owned(), merged.len());
                        merged.push(item.clone());
                    }
                },
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ctx(args: &[&str]) -> (Ctx, Wiring) {
        let words: Vec<std::ffi::OsString> =
            ["wehelp", "account", "status"].iter().chain(args).map(std::ffi::OsString::from).collect();
        let cli = crate::cli::args::parse(&words).unwrap();
        let crate::cli::args::Verb::Account(account) = cli.verb else { unreachable!("that is what was typed") };
        let crate::cli::args::account::What::Status(status) = account.what else { unreachable!("likewise") };
        (Ctx::new(cli.global), status.wiring)
    }

    fn receipt(state: &str) -> Receipt {
        serde_json::from_value(json!({
            "id": 42, "state": state, "account": "wxid_me", "api": "sendTextMessage",
            "command": {"api": "sendTextMessage", "wxid": "a", "text": "x"},
            "created": "2026-11-23T09:00:00.000Z", "due": "2026-11-23T09:00:00.000Z",
            "expires": null, "key": null, "attempts": 0, "fetched": null, "answer": null,
        }))
        .unwrap()
    }

    fn answer(kind: &str, items: &Value) -> (Box<RawValue>, Vec<Value>) {
        let event = json!({"seq": 1, "kind": kind, "text": "被对方拒收了"}).to_string();
        (RawValue::from_string(event).unwrap(), items.as_array().unwrap().clone())
    }

    #[test]
    fn questions_wait_unless_told_and_actions_only_when_told() {
        let patience = |args: &[&str], api: &str| {
            let (ctx, wiring) = ctx(args);
            Plan::new(&ctx, &wiring).unwrap().patience(api)
        };
        assert_eq!(patience(&[], "getLoginStatus"), Some(WAIT));
        assert_eq!(patience(&[], "outLogin"), None);
        assert_eq!(patience(&["--wait"], "outLogin"), Some(Duration::from_secs(30)));
        assert_eq!(patience(&["--wait=5s"], "getLoginStatus"), Some(Duration::from_secs(5)));
        assert_eq!(patience(&["--no-wait"], "getLoginStatus"), None);
        assert_eq!(patience(&["--wait", "--no-wait"], "getLoginStatus"), None);
        assert_eq!(patience(&[], "brandNew"), None);
    }

    #[test]
    fn each_of_several_commands_has_a_key_of_its_own() {
        let (ctx, wiring) = ctx(&["--key", "k"]);
        assert_eq!(Plan::new(&ctx, &wiring).unwrap().keys(3), ["k", "k/2", "k/3"]);
    }

    #[test]
    fn wrong_options_are_found_without_a_daemon() {
        for (args, name) in [(&["--at", "soonish"][..], "--at"), (&["--key", ""], "--key")] {
            let (ctx, wiring) = ctx(args);
            let error = Plan::new(&ctx, &wiring).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(error.message.contains(name), "{}", error.message);
        }
        let long = "k".repeat(KEY_BYTES_MAX);
        assert!(check_key("--key", &long).is_err());
    }

    #[test]
    fn requests_are_bounded_by_number_and_by_bytes() {
        let wire = |text: usize| {
            let text = json!({"api": "x", "text": "t".repeat(text)});
            Wire::from_value(text).unwrap()
        };
        assert_eq!(request_part(&vec![wire(1); ENQUEUE_MAX + 5]), ENQUEUE_MAX);
        let large = vec![wire(60_000); 200];
        let part = request_part(&large);
        assert!(part > 1 && part * 60_000 <= REQUEST_BYTES, "{part}");
    }

    #[test]
    fn a_list_in_pieces_tells_each_one_once_and_the_details_win() {
        let answers = [
            answer("contacts.packet", &json!([{"wxid": "a"}])),
            answer("contacts", &json!([{"wxid": "a", "nick": "A"}, {"wxid": "b"}])),
            answer("contacts", &json!([{"wxid": "b", "nick": "B"}])),
        ];
        assert_eq!(merged(&answers), [json!({"wxid": "a", "nick": "A"}), json!({"wxid": "b", "nick": "B"})]);
        assert_eq!(merged(&answers[..1]), [json!({"wxid": "a"})]);
    }

    #[test]
    fn what_is_said_when_time_is_over_tells_whether_the_client_has_it() {
        let outcome = |state| Outcome { receipt: receipt(state), answers: vec![], reached: false };
        let said = |state| failure(&outcome(state), WAIT).unwrap();
        assert!(said("ready").message.contains("no client has fetched command 42 yet"));
        assert_eq!(said("ready").exit, Exit::NoAnswer);
        assert_eq!((said("expired").exit, said("cancelled").exit), (Exit::NoAnswer, Exit::Refused));
        let mut fetched = outcome("fetched");
        fetched.receipt.fetched = Some(control::Fetched {
            time: Time::from_millis(0),
            account: None,
            pid: None,
            peer: String::new(),
            confirmed: true,
            after: crate::seq::Seq(1),
        });
        assert!(failure(&fetched, WAIT).unwrap().message.contains("the client has fetched command 42"));
        fetched.reached = true;
        assert_eq!(failure(&fetched, WAIT), None);
    }

    #[test]
    fn a_refusal_is_told_with_its_notice() {
        let outcome = Outcome {
            receipt: receipt("rejected"),
            answers: vec![answer("message.system", &json!([]))],
            reached: true,
        };
        let error = failure(&outcome, WAIT).unwrap();
        assert_eq!(error.exit, Exit::Refused);
        assert!(error.message.contains("被对方拒收了"), "{}", error.message);
    }
}
