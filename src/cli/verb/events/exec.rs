//! `--exec`: a command for every event, at least once each, in order within a chat.
//!
//! This thread reads, decides what may run and moves the cursor; each run has a thread of its own, which also tries
//! again and queues replies. The order is: run → (reply durable in the queue) → cursor moves → next. A crash in between
//! repeats that one event; a reply is queued under a key made of the event's number, so it is not sent twice.

use super::args::{Exec, List, OnFailure};
use super::job::{self, Failure, Runs, Spec};
use super::keeper::Keeper;
use super::pass::{Passed, Passing};
use super::plan::{Plan, Task};
use super::print::{self, Lost};
use super::takeover::Takeover;
use crate::cli::backoff::Backoff;
use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::render;
use crate::cli::stream::{Came, Stream, Until};
use crate::cli::wake::{self, Signals, Wake, Waker};
use crate::clock::Time;
use crate::control::client::{self, Client};
use crate::control::{Enqueue, Entry, EventsQuery, Line, Receipt, Refusal};
use crate::home::Target;
use crate::protocol::command::Command;
use crate::protocol::id::Wxid;
use crate::seq::Seq;
use rustix::event::PollFlags;
use serde_json::json;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Reports on their way to the main thread: whoever has more waits.
const REPORTS: usize = 64;
/// Output of one run that is kept until it has ended, bytes; more is printed as it comes.
const WHOLE_BYTES_MAX: usize = 1 << 20;
/// The longest reply, bytes: a chat shows a few thousand characters.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// A cursor moves over events that need no run at most this often.
const PASS_EVERY: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) words: Vec<OsString>,
    pub(super) how: &'a Exec,
    /// What the stream was asked for.
    pub(super) query: &'a EventsQuery,
    pub(super) cursor: Option<&'a str>,
    /// It begins with new events, because nothing else was said.
    pub(super) from_now: bool,
    pub(super) timeout: Option<Duration>,
    /// It ends after this many events, not counting those that are passed over.
    pub(super) count: Option<u64>,
    pub(super) runs: Runs,
}

/// What the runs share.
#[derive(Debug)]
struct Shared {
    spec: Spec,
    passing: Passing,
    takeover: Option<Takeover>,
    retries: u32,
    backoff: Duration,
    /// Where replies go; `None`: nowhere.
    reply: Option<Reply>,
    /// The number of a signal that asked us to end.
    signal: Arc<AtomicI32>,
    /// Nothing is to be tried again any more.
    stop: (Mutex<bool>, Condvar),
    waker: Waker,
}

#[derive(Debug)]
struct Reply {
    target: Target,
    /// Whether a daemon that is away is waited for.
    waits: bool,
    /// What the idempotency keys begin with.
    key: String,
}

/// What a run tells the main thread.
enum Report {
    /// It printed this.
    Output(Vec<u8>),
    /// It replied.
    Replied(Box<Receipt>),
    /// People may want to know.
    Note(String),
    /// What it printed was for nobody: no reply to this event can ever be queued, and why.
    Unsendable(Seq, String),
    /// It is over.
    Over(Seq, Result<(), Why>),
}

/// Why a run did not succeed.
enum Why {
    /// It failed, and will not be tried again.
    Failed(String),
    /// It has become too old while it waited for its turn, or to be tried again.
    TooOld,
    /// The account's owner wrote there meanwhile.
    TakenOver,
    /// Trying is useless, with this event or another.
    Hopeless(Error),
    /// We are ending; it is not known whether it would have succeeded.
    Interrupted,
}

/// Refuses what can do nothing, or nothing but fail at the first event, which may come tomorrow.
pub(super) fn check(words: &[OsString], list: &List) -> Result<(), Error> {
    if let Some(option) = list.exec.stray() {
        return Err(Error::usage(format!(
            "{option} stands behind --exec, where everything is the command's; write it before --exec, or, if it is the \
             command's own, `--exec -- CMD …`"
        )));
    }
    let program = Path::new(&words[0]);
    if let Err(error) = find(program) {
        return Err(Error::usage(format!("--exec: cannot run `{}`: {error}", program.display())));
    }
    if !list.follow && list.cursor.is_none() && list.lines.is_none() && list.since.is_none() {
        return Err(Error::usage(
            "--exec begins with new events: give -f to follow them, -n or --since for those that are there, or --cursor \
             for those that have come since the last time",
        ));
    }
    Ok(())
}

/// Looks for a program as the system will.
fn find(program: &Path) -> io::Result<()> {
    let look = |path: &Path| match rustix::fs::access(path, rustix::fs::Access::EXEC_OK) {
        Ok(()) if path.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        looked => looked.map_err(io::Error::from),
    };
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return look(program);
    }
    // Without it the system has places of its own.
    let Some(path) = std::env::var_os("PATH") else { return Ok(()) };
    let is_there = std::env::split_paths(&path).any(|dir| look(&dir.join(program)).is_ok());
    if is_there { Ok(()) } else { Err(io::Error::other("there is no such program in PATH")) }
}

/// Says where it begins, when it was not told where.
fn tell_beginning(ctx: &Ctx, run: &Run<'_>, stream: &Stream<'_>) {
    if !run.from_now {
        return;
    }
    let after = match stream.position() {
        Seq::ZERO => String::new(),
        position => format!(", after #{position}"),
    };
    match run.cursor {
        Some(cursor) if stream.began_cursor() => ctx.out().note(&format!(
            "the cursor `{cursor}` is new and begins with new events{after}; --cursor-from oldest begins with the oldest"
        )),
        Some(_) => {}
        None => ctx.out().note(&format!("beginning with new events{after}; -n or --since begins with earlier ones")),
    }
}

pub(super) fn run(
    ctx: &Ctx,
    run: &Run<'_>,
    stream: &mut Stream<'_>,
    keeper: &mut Keeper,
    wake: &mut Wake,
    signals: Option<&Signals>,
) -> Result<(), Error> {
    tell_beginning(ctx, run, stream);
    let stop = Wake::new().map_err(|e| Error::failed(format!("make a pipe: {e}")))?;
    let shared = Shared::new(ctx, run, stream, wake, (signals, &stop))?;
    let takeover = shared.takeover.as_ref();
    let owner = takeover.map(|takeover| takeover.query(ctx, run.query, stream.position())).transpose()?;
    let mut main = Main::new(ctx, run, stream, keeper, (signals, takeover));
    std::thread::scope(|scope| {
        if let (Some(takeover), Some(owner)) = (takeover, owner) {
            let (global, reconnects, waker) = (ctx.global().clone(), main.stream.reconnects(), wake.waker());
            let stop = &stop;
            scope.spawn(move || takeover.follow(global, owner, reconnects, stop, &waker));
        }
        let (report, reports) = mpsc::sync_channel(REPORTS);
        loop {
            while let Some(task) = main.start() {
                let (shared, report) = (&shared, report.clone());
                scope.spawn(move || work(shared, &task, &report));
            }
            if main.is_over() {
                takeover.into_iter().for_each(Takeover::stop);
                return;
            }
            main.wait(wake);
            wake.heard();
            main.hear_all(&reports);
            if main.ended.is_some() {
                shared.stop();
            }
        }
    });
    main.finish(&shared.passing)
}

/// The main thread's view.
struct Main<'m, 'c> {
    ctx: &'m Ctx,
    run: &'m Run<'m>,
    stream: &'m mut Stream<'c>,
    keeper: &'m mut Keeper,
    plan: Plan,
    signals: Option<&'m Signals>,
    takeover: Option<&'m Takeover>,
    deadline: Option<Instant>,
    /// When the cursor was last moved over events that need no run.
    passed: Instant,
    events: u64,
    /// Events that the command could not be given.
    lost: Lost,
    passed_over: Passed,
    /// This many events more are to be run.
    left: Option<u64>,
    /// Nothing is left to read.
    at_end: bool,
    /// Why nothing more is to be started.
    ended: Option<Error>,
}

impl<'m, 'c> Main<'m, 'c> {
    fn new(
        ctx: &'m Ctx,
        run: &'m Run<'m>,
        stream: &'m mut Stream<'c>,
        keeper: &'m mut Keeper,
        (signals, takeover): (Option<&'m Signals>, Option<&'m Takeover>),
    ) -> Self {
        Self {
            ctx,
            run,
            plan: Plan::new(stream.position()),
            stream,
            keeper,
            signals,
            takeover,
            deadline: run.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            passed: Instant::now(),
            events: 0,
            lost: Lost::default(),
            passed_over: Passed::default(),
            left: run.count,
            at_end: run.count == Some(0),
            ended: None,
        }
    }

    /// What may be started now. While the daemon cannot be told what is done, a crash would repeat all of it.
    fn start(&mut self) -> Option<Task> {
        let is_free = self.plan.running() < usize::from(self.run.how.jobs) && !self.keeper.is_behind();
        if self.ended.is_none() && is_free { self.plan.start() } else { None }
    }

    fn is_over(&self) -> bool {
        self.plan.running() == 0 && (self.ended.is_some() || (self.at_end && self.plan.is_empty()))
    }

    fn hear_all(&mut self, reports: &mpsc::Receiver<Report>) {
        let mut finished = false;
        for told in reports.try_iter() {
            finished |= matches!(told, Report::Over(..));
            self.hear(told);
        }
        self.remember(finished);
    }

    fn finish(mut self, passing: &Passing) -> Result<(), Error> {
        self.passed_over.notes(passing).for_each(|note| self.ctx.out().note(&note));
        self.keeper.done(self.plan.done());
        let kept = self.keeper.finish(self.stream);
        match (self.ended.take(), self.lost.error(", and the command was not given them")) {
            (Some(error), _) => Err(error),
            (None, None) => kept,
            (None, Some(lost)) => kept.and(Err(lost)),
        }
    }

    fn end(&mut self, error: Error) {
        self.ended.get_or_insert(error);
    }

    /// Waits for events, for runs to end, for a signal, or for the time to come.
    fn wait(&mut self, wake: &Wake) {
        let retry = if self.keeper.is_behind() { self.keeper.due() } else { None };
        let time = [self.deadline.filter(|_| self.ended.is_none()), retry].into_iter().flatten().min();
        if self.ended.is_none() && !self.at_end && self.plan.has_room() {
            match self.stream.next(&Until { woken: Some(wake), stdout: None, time }) {
                Ok(Came::Lines) => {
                    if let Err(error) = self.read() {
                        self.end(error);
                    }
                }
                Ok(_) => {}
                Err(error) => self.end(error),
            }
        } else if let Err(error) = wake::wait([Some((wake.as_fd(), PollFlags::IN))], time) {
            self.end(Error::failed(format!("wait for a command: {error}")));
        }
        if let Some(asked) = self.signals.and_then(Signals::asked) {
            self.end(asked);
        }
        if let Some(error) = self.takeover.and_then(Takeover::broken) {
            self.end(error);
        }
        if self.is_late() {
            self.end(print::late(self.events));
        }
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Takes in what has come.
    fn read(&mut self) -> Result<(), Error> {
        let passing = Passing::of(self.run.how);
        if let Some(takeover) = self.takeover {
            let lines = Line::all(self.stream.batch());
            let last = lines.filter_map(|(line, _)| line?.position()).max().unwrap_or_default();
            takeover
                .reaches(last, || self.is_late() || self.signals.is_some_and(|signals| signals.asked().is_some()))?;
        }
        let (mut last, mut events, mut broken) = (Seq::ZERO, 0, None);
        for (line, _) in Line::all(self.stream.batch()) {
            let line = line.ok_or_else(print::strange)?;
            last = last.max(line.position().unwrap_or_default());
            match line {
                Line::Event(seq, json) => {
                    let entry: Entry = serde_json::from_slice(json)
                        .map_err(|e| Error::failed(format!("event {seq} is not as this wehelp knows it: {e}")))?;
                    events += 1;
                    let is_taken = self.takeover.is_some_and(|takeover| takeover.has(&entry));
                    if self.passed_over.counts(passing, &entry, Time::now(), is_taken) {
                        continue;
                    }
                    let lane = entry.chat.map(|chat| format!("{} {chat}", entry.account.unwrap_or_default()));
                    self.plan.add(Task { seq, lane, json: json.into() });
                    self.left = self.left.map(|left| left.saturating_sub(1));
                    if self.left == Some(0) {
                        self.at_end = true;
                        break;
                    }
                }
                Line::End(_) => self.at_end = true,
                Line::Damaged(seq, reason) => self.lost.damaged(self.ctx.out(), seq, &reason),
                Line::Dropped(range) => self.lost.dropped(self.ctx.out(), range),
                Line::Refused(refusal) => broken = Some(refusal),
                Line::Passed(_) | Line::KeepAlive => {}
            }
        }
        self.plan.read(last);
        self.stream.moved(last, events);
        broken.map_or(Ok(()), |refusal| self.stream.broke(refusal))
    }

    fn hear(&mut self, told: Report) {
        let printed = match told {
            Report::Output(bytes) => self.ctx.out().bytes(&bytes).and_then(|()| self.ctx.out().flush()),
            Report::Replied(receipt) => self.replied(&receipt),
            Report::Note(note) => {
                self.ctx.out().note(&render::clean(&note));
                Ok(())
            }
            Report::Unsendable(seq, why) => {
                let message = format!("event {seq}: the reply goes nowhere: {why}");
                self.ctx.out().loss(&json!({ "error": "no-reply", "message": message }), &message);
                Ok(())
            }
            Report::Over(seq, Ok(())) => {
                self.plan.finish(seq);
                self.events += 1;
                Ok(())
            }
            Report::Over(seq, Err(why)) => {
                self.failed(seq, why);
                Ok(())
            }
        };
        if let Err(error) = printed {
            self.end(error);
        }
    }

    fn replied(&self, receipt: &Receipt) -> Result<(), Error> {
        self.ctx.out().receipt(receipt)?;
        self.ctx.out().flush()
    }

    fn failed(&mut self, seq: Seq, why: Why) {
        let stays = match self.run.cursor {
            Some(cursor) => format!("; the cursor `{cursor}` stays before it"),
            None => String::new(),
        };
        match why {
            Why::Failed(reason) if self.run.how.on_failure == OnFailure::Skip => {
                // No error of ours: that it is passed over was asked for, and the exit status does not tell of it.
                let message = format!("event {seq}: {reason}; skipped");
                self.ctx.out().loss(&json!({ "error": "exec-failed", "message": message }), &message);
                self.plan.finish(seq);
                self.events += 1;
            }
            Why::TooOld => {
                self.passed_over.too_old += 1;
                self.plan.finish(seq);
            }
            Why::TakenOver => {
                self.passed_over.taken_over += 1;
                self.plan.finish(seq);
            }
            // Its place in the plan is kept, so that the cursor stays before it.
            Why::Failed(reason) => {
                let error = Error::new(Exit::Failed, "exec-failed", format!("event {seq}: {reason}{stays}"));
                self.give_up(seq, error);
            }
            Why::Hopeless(error) if error.message.is_empty() => self.give_up(seq, error),
            Why::Hopeless(error) => {
                let message = format!("event {seq}: {}{stays}", error.message);
                self.give_up(seq, Error { message, ..error });
            }
            Why::Interrupted => {
                let asked = self.signals.and_then(Signals::asked).unwrap_or_else(|| Error::silent(Exit::Failed));
                self.give_up(seq, asked);
            }
        }
    }

    fn give_up(&mut self, seq: Seq, error: Error) {
        self.plan.fail(seq);
        self.end(error);
    }

    /// Moves the cursor: at once over what was run, now and then over what needs no run.
    fn remember(&mut self, finished: bool) {
        self.keeper.done(self.plan.done());
        let passing = self.passed.elapsed() >= PASS_EVERY || self.keeper.is_behind();
        if self.keeper.due().is_none() || !(finished || passing) {
            return;
        }
        self.passed = Instant::now();
        if let Err(error) = self.keeper.tell(self.stream) {
            self.end(error);
        }
    }
}

impl Shared {
    fn new(
        ctx: &Ctx,
        run: &Run<'_>,
        stream: &Stream<'_>,
        wake: &Wake,
        (signals, stop): (Option<&Signals>, &Wake),
    ) -> Result<Self, Error> {
        let how = run.how;
        let key = match run.cursor {
            Some(cursor) => format!("reply-{cursor}"),
            None => format!("reply-{:08x}", fastrand::u32(..)),
        };
        let reply =
            if how.reply { Some(Reply { target: ctx.target()?, waits: stream.reconnects(), key }) } else { None };
        let socket = stream.client().socket();
        let spec = Spec {
            words: run.words.clone(),
            socket: std::path::absolute(socket).unwrap_or_else(|_| socket.into()),
            timeout: how.exec_timeout,
            runs: run.runs.clone(),
            // Side by side, what each prints must stay in one piece.
            capture: how.reply || how.jobs > 1,
        };
        Ok(Self {
            spec,
            passing: Passing::of(how),
            takeover: how.takeover.map(|pause| Takeover::new(pause, stop.waker())),
            retries: how.retries,
            backoff: how.backoff,
            reply,
            signal: signals.map(Signals::flag).unwrap_or_default(),
            stop: (Mutex::new(false), Condvar::new()),
            waker: wake.waker(),
        })
    }

    fn stop(&self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
    }

    /// Whether an event is the owner's by now.
    fn is_taken(&self, entry: &Entry) -> bool {
        self.takeover.as_ref().is_some_and(|takeover| takeover.has(entry))
    }

    fn is_stopping(&self) -> bool {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) || self.signal.load(Ordering::SeqCst) != 0
    }

    /// Waits; true when it was cut short because we are ending.
    fn pause(&self, pause: Duration) -> bool {
        /// A signal is noticed this soon.
        const LOOK: Duration = Duration::from_millis(100);
        let until = Instant::now() + pause;
        loop {
            if self.is_stopping() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let stop = self.stop.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.stop.1.wait_timeout(stop, left.min(LOOK)));
        }
    }
}

/// What one attempt came to.
enum Attempt {
    Again(String),
    Never(Error),
    TakenOver,
    Interrupted,
}

/// A run, with its attempts, in a thread of its own.
fn work(shared: &Shared, task: &Task, report: &mpsc::SyncSender<Report>) {
    let tell = |told| {
        // The main thread outlives the runs; if it panicked, nobody needs to know.
        drop(report.send(told));
        shared.waker.wake();
    };
    let over = attempts(shared, task, &tell);
    tell(Report::Over(task.seq, over));
}

fn attempts(shared: &Shared, task: &Task, tell: &dyn Fn(Report)) -> Result<(), Why> {
    let seq = task.seq;
    let entry: Entry = serde_json::from_slice(&task.json).map_err(|e| Why::Failed(e.to_string()))?;
    let mut said = None;
    let mut pause = shared.backoff;
    let mut left = shared.retries;
    loop {
        let done = match &said {
            None if shared.passing.is_too_old(&entry, Time::now()) => return Err(Why::TooOld),
            None if shared.is_taken(&entry) => return Err(Why::TakenOver),
            None => once(shared, &entry, shared.retries - left + 1, &task.json, tell).map(|text| said = Some(text)),
            Some(_) => Ok(()),
        };
        // What a command has printed is sent, however often that takes; the command is not run again for it.
        let done = match (done, &shared.reply, &said) {
            (Ok(()), Some(reply), Some(text)) => send(shared, reply, &entry, text, tell),
            (done, ..) => done,
        };
        match done {
            Ok(()) => return Ok(()),
            Err(Attempt::Never(error)) => return Err(Why::Hopeless(error)),
            Err(Attempt::TakenOver) => return Err(Why::TakenOver),
            Err(Attempt::Interrupted) => return Err(Why::Interrupted),
            // A signal to the whole group ends the command as well: that is no failure of its own.
            Err(Attempt::Again(_)) if shared.signal.load(Ordering::SeqCst) != 0 => return Err(Why::Interrupted),
            Err(Attempt::Again(reason)) if left == 0 => return Err(Why::Failed(reason)),
            Err(Attempt::Again(reason)) => {
                left -= 1;
                tell(Report::Note(format!("event {seq}: {reason}; trying again in {pause:?}")));
                if shared.pause(pause) {
                    return Err(Why::Interrupted);
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Runs the command once; what it printed, if it replies.
fn once(shared: &Shared, entry: &Entry, attempt: u32, json: &[u8], tell: &dyn Fn(Report)) -> Result<String, Attempt> {
    let mut json = json.to_vec();
    json.push(b'\n');
    let replies = shared.reply.is_some();
    let mut held = Vec::new();
    let done = job::run(&shared.spec, entry, attempt, &json, Some(&shared.signal), &mut |piece| {
        held.extend_from_slice(piece);
        if replies && held.len() > REPLY_BYTES_MAX {
            return Err(format!("printed more than a reply may have ({REPLY_BYTES_MAX} bytes)"));
        }
        if held.len() > WHOLE_BYTES_MAX {
            tell(Report::Output(std::mem::take(&mut held)));
        }
        Ok(())
    });
    if !replies && !held.is_empty() {
        tell(Report::Output(std::mem::take(&mut held)));
    }
    match done {
        Ok(()) if !replies => Ok(String::new()),
        Ok(()) => match std::str::from_utf8(&held) {
            Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
            Err(_) => {
                let program = shared.spec.words[0].to_string_lossy();
                Err(Attempt::Again(format!("`{program}` printed what is no UTF-8, and nothing of it is sent")))
            }
        },
        Err(Failure::NotStarted(reason)) => Err(Attempt::Never(Error::failed(reason))),
        Err(Failure::Failed(reason)) => Err(Attempt::Again(reason)),
        // A closed pipe ends a reader quietly (contract 4); the event was not dealt with.
        Err(Failure::Unread) => Err(Attempt::Never(Error::silent(Exit::Done))),
    }
}

/// Queues a reply; durable when it returns.
fn send(shared: &Shared, reply: &Reply, entry: &Entry, text: &str, tell: &dyn Fn(Report)) -> Result<(), Attempt> {
    let seq = entry.seq;
    if text.trim().is_empty() {
        return Ok(());
    }
    let unsendable = |why: String| {
        tell(Report::Unsendable(seq, why));
        Ok(())
    };
    let wish = match wish(reply, entry, text) {
        Ok(wish) => wish,
        Err(why) => return unsendable(why),
    };
    let (mut backoff, mut is_told) = (Backoff::for_ever(), false);
    loop {
        // While the command ran, or the daemon was away, somebody may have answered.
        if shared.is_taken(entry) {
            return Err(Attempt::TakenOver);
        }
        let sent = Client::find(&reply.target)
            .and_then(|client| client.put("POST", "/v1/commands", &wish)?.lines().values::<Receipt>());
        match sent {
            Ok(receipts) => {
                receipts.into_iter().for_each(|receipt| tell(Report::Replied(Box::new(receipt))));
                return Ok(());
            }
            // An earlier run of this event has replied already; what it said stands.
            Err(client::Error::Refused { refusal, .. }) if refusal.error == "key-reused" => {
                tell(Report::Note(format!("event {seq} was replied to before, with another text; that one stands")));
                return Ok(());
            }
            Err(error) if error.may_pass() && reply.waits => {
                // Of a daemon that is away the stream tells.
                if !is_told && !error.is_absence() {
                    is_told = true;
                    tell(Report::Note(format!("{error}; the reply to event {seq} waits until it can be queued")));
                }
                if shared.pause(backoff.pause()) {
                    return Err(Attempt::Interrupted);
                }
            }
            Err(client::Error::Refused { refusal, .. }) if is_for_good(&refusal) => return unsendable(refusal.message),
            Err(error @ client::Error::Refused { .. }) => {
                return Err(Attempt::Again(format!("the reply cannot be sent: {error}")));
            }
            Err(error) => return Err(Attempt::Never(error.into())),
        }
    }
}

/// What a reply is to the daemon; or why none to this event can ever be queued.
fn wish(reply: &Reply, entry: &Entry, text: &str) -> Result<Enqueue, String> {
    let Some(chat) = &entry.chat else { return Err(format!("the event ({}) is of no chat", entry.kind)) };
    // Any other account would be the wrong one.
    let Some(account) = &entry.account else { return Err("nobody knows which account the event is of".to_owned()) };
    // What a client reports may look as no id does that anybody has seen.
    let wxid = Wxid::parse(chat).map_err(|e| e.to_string())?;
    let wire = Command::SendText { wxid, text: text.to_owned() }.to_wire(None).map_err(|e| e.to_string())?;
    Ok(Enqueue {
        commands: vec![wire.to_raw()],
        account: Some(account.clone()),
        delay_ms: None,
        due: None,
        expires_ms: None,
        keys: vec![format!("{}-{}", reply.key, entry.seq)],
        on_client: false,
        bulk: false,
        dry_run: false,
    })
}

/// Whether the daemon refuses what this reply is (its chat, its text, its account), so that it will whenever it is asked: not
/// the moment, nor how we ask, which would be wrong for every other reply as well.
fn is_for_good(refusal: &Refusal) -> bool {
    matches!(refusal.error.as_str(), "bad-command" | "unknown-account" | "ambiguous-account")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        let target = Target { sockets: Vec::new(), data_dir: None };
        Reply { target, waits: false, key: "reply-bot".to_owned() }
    }

    fn said(chat: Option<&str>, account: Option<&str>) -> Entry {
        Entry {
            seq: Seq(7),
            kind: "message.text".to_owned(),
            chat: chat.map(str::to_owned),
            account: account.map(str::to_owned),
            ..Entry::default()
        }
    }

    #[test]
    fn what_no_reply_can_go_to_is_told_from_the_event_alone() {
        let wish = |chat, account, text: &str| wish(&reply(), &said(chat, account), text);
        let wished = wish(Some("wxid_a"), Some("wxid_me"), "pong").unwrap();
        assert_eq!((wished.keys, wished.account.as_deref()), (vec!["reply-bot-7".to_owned()], Some("wxid_me")));
        for (chat, account, text, word) in [
            (None, Some("wxid_me"), "x", "message.text"),
            (Some("wxid_a"), None, "x", "which account"),
            (Some("25984@newkind"), Some("wxid_me"), "x", "newkind"),
            (Some("a b"), Some("wxid_me"), "x", "white space"),
            (Some("a\0"), Some("wxid_me"), "x", "control"),
            (Some("wxid_a"), Some("wxid_me"), &"x".repeat(REPLY_BYTES_MAX), "bytes"),
        ] {
            let why = wish(chat, account, text).unwrap_err();
            assert!(why.contains(word), "{chat:?} {account:?}: {why}");
        }
    }

    #[test]
    fn only_a_refusal_of_what_the_reply_is_holds_for_good() {
        let is = |code: &str| is_for_good(&Refusal { error: code.to_owned(), message: String::new() });
        assert!(["bad-command", "unknown-account", "ambiguous-account"].into_iter().all(is));
        for passes in ["queue-full", "store-refuses-writes", "key-reused", "bad-key", "bad-request", "version-mismatch"]
        {
            assert!(!is(passes), "{passes}");
        }
    }
}
