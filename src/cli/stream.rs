//! A stream of the daemon, of events or of changes of commands, kept up over restarts of the daemon.
//!
//! It knows which position it stands at, so that a new connection goes on there, without gap or repeat. A daemon that
//! hangs is noticed by its silence: it promises a sign of life every [`HEARTBEAT`].

use super::backoff::Backoff;
use super::ctx::Ctx;
use super::error::{Error, Exit};
use super::render;
use super::wake::{self, Wake};
use crate::control::client::{self, Batches, Client, Reply};
use crate::control::{
    AFTER_HEADER, CURSOR_BEGAN_HEADER, Entry, EventsQuery, LEASE_HEADER, LOG_HEADER, Line, QueueQuery, Refusal, Rev,
};
use crate::seq::Seq;
use rustix::event::PollFlags;
use serde::Serialize;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// An idle daemon is heard of this often.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// A follower's daemon that is not heard of for so long hangs.
const SILENCE: Duration = Duration::from_secs(20);
/// One that looks for what was asked for may take longer.
const SEARCH: Duration = Duration::from_secs(120);
/// A daemon that comes back answers within so long.
const ANSWER: Duration = Duration::from_secs(10);

/// What a stream is of: the query that asks for it.
pub(super) trait Followed: Clone + Debug + Serialize {
    /// Where a reader stands in it; `Default` before anything is known.
    type Position: Copy + Debug + Default + Ord;
    /// Where it is asked for.
    const PATH: &'static str;
    /// Where the stream begins that an answer brings.
    fn begins(reply: &Reply) -> Self::Position;
    /// The query that goes on there, in that log, with that lease.
    fn resumed(&self, at: Self::Position, log: Option<String>, lease: Option<u64>) -> Self;
    /// Whether it goes on with what is new.
    fn follows(&self) -> bool;
    /// How many more are wanted, if that has an end.
    fn count(&mut self) -> Option<&mut u64>;
    /// For people: where it goes on.
    fn goes_on(at: Self::Position) -> String;
}

impl Followed for EventsQuery {
    type Position = Seq;
    const PATH: &'static str = "/v1/events";

    fn begins(reply: &Reply) -> Seq {
        reply.number(AFTER_HEADER).map_or(Seq::ZERO, Seq)
    }

    fn resumed(&self, at: Seq, log: Option<String>, lease: Option<u64>) -> Self {
        Self { after: Some(at), lines: None, lease, log, ..self.clone() }
    }

    fn follows(&self) -> bool {
        self.follow
    }

    fn count(&mut self) -> Option<&mut u64> {
        self.count.as_mut()
    }

    fn goes_on(at: Seq) -> String {
        format!("going on after event {at}")
    }
}

/// Until a change is known the list of commands is asked for anew: nothing of it has come.
impl Followed for QueueQuery {
    type Position = Option<Rev>;
    const PATH: &'static str = "/v1/commands";

    fn begins(_: &Reply) -> Option<Rev> {
        None
    }

    fn resumed(&self, at: Option<Rev>, log: Option<String>, _: Option<u64>) -> Self {
        Self { after: at.or(self.after), log, ..self.clone() }
    }

    fn follows(&self) -> bool {
        self.follow
    }

    fn count(&mut self) -> Option<&mut u64> {
        self.count.as_mut()
    }

    fn goes_on(at: Option<Rev>) -> String {
        at.map_or("beginning again".to_owned(), |at| format!("going on after change {at}"))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream<'c, Q: Followed = EventsQuery> {
    ctx: &'c Ctx,
    client: Client,
    query: Q,
    /// For a daemon that goes away; `None`: that ends it.
    backoff: Option<Backoff>,
    /// People are told of that.
    tells: bool,
    line: Connection,
    position: Q::Position,
    began: bool,
    lease: Option<u64>,
    /// The log that `position` is of. A daemon that has another one when it is back refuses to go on.
    log: Option<String>,
}

#[derive(Debug)]
enum Connection {
    Open { batches: Batches, heard: Instant },
    Lost { again: Instant },
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Lines: [`Stream::batch`].
    Lines,
    /// Somebody woke us.
    Woken,
    /// Whoever read our standard output has gone.
    ReaderLeft,
    /// The time has come that the wait was to last for.
    Late,
}

/// What else ends a wait.
#[derive(Debug, Default)]
pub(super) struct Until<'w> {
    pub(super) woken: Option<&'w Wake>,
    /// Where results go, when nothing but printing is done.
    pub(super) stdout: Option<BorrowedFd<'w>>,
    pub(super) time: Option<Instant>,
}

impl<'c, Q: Followed> Stream<'c, Q> {
    /// Opens the stream. With `reconnects` it outlives any absence of the daemon, and says so.
    ///
    /// # Errors
    /// When there is no daemon, or it refuses.
    pub(super) fn open(ctx: &'c Ctx, query: Q, reconnects: bool) -> Result<Self, Error> {
        let client = ctx.client()?.clone().with_patience(client::PATIENCE_FOR_READING);
        let reply = client.open(Q::PATH, &query)?;
        let mut stream = Self::lost(ctx, client, query);
        stream.backoff = reconnects.then(Backoff::for_ever);
        stream.tells = true;
        stream.position = Q::begins(&reply);
        stream.began = reply.header(CURSOR_BEGAN_HEADER).is_some();
        stream.attach(reply)?;
        Ok(stream)
    }

    /// The same one, that says nothing about the daemon's absences: somebody else does.
    pub(super) fn in_silence(self) -> Self {
        Self { tells: false, ..self }
    }

    fn lost(ctx: &'c Ctx, client: Client, query: Q) -> Self {
        let line = Connection::Lost { again: Instant::now() };
        let backoff = Some(Backoff::for_a_restart());
        let (position, began, lease, log) = (Q::Position::default(), false, None, None);
        Self { ctx, client, query, backoff, tells: false, line, position, began, lease, log }
    }

    fn attach(&mut self, reply: Reply) -> Result<(), Error> {
        self.lease = reply.number(LEASE_HEADER);
        self.log = reply.header(LOG_HEADER).map(str::to_owned);
        let batches = reply.batches().map_err(client::Error::from)?;
        self.line = Connection::Open { batches, heard: Instant::now() };
        Ok(())
    }

    /// Up to where everything was handed out and reported as [`Stream::moved`].
    pub(super) fn position(&self) -> Q::Position {
        self.position
    }

    /// The daemon, for other questions.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether a daemon that goes away is waited for.
    pub(super) fn reconnects(&self) -> bool {
        self.backoff.is_some()
    }

    /// Waits for lines.
    ///
    /// # Errors
    /// When the stream has broken and is not to be mended, or the daemon refuses to go on.
    pub(super) fn next(&mut self, until: &Until<'_>) -> Result<Came, Error> {
        loop {
            let (patience, socket) = match &mut self.line {
                Connection::Lost { again } if *again <= Instant::now() => {
                    self.reconnect()?;
                    continue;
                }
                Connection::Lost { again } => (*again, None),
                Connection::Open { batches, heard } => {
                    match batches.fetch() {
                        Ok(true) => {
                            *heard = Instant::now();
                            self.backoff.iter_mut().for_each(Backoff::reset);
                            return Ok(Came::Lines);
                        }
                        Err(error) if client::is_timeout(&error) => {}
                        Ok(false) => {
                            self.lose("wehelpd has stopped")?;
                            continue;
                        }
                        Err(client::Error::Broken(error)) => {
                            self.lose(&format!("the connection to wehelpd broke ({error})"))?;
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    }
                    let silence = if self.query.follows() { SILENCE } else { SEARCH };
                    (*heard + silence, Some((Batches::as_fd(batches), PollFlags::IN)))
                }
            };
            let time = until.time.map_or(patience, |time| time.min(patience));
            let woken = until.woken.map(|woken| (woken.as_fd(), PollFlags::IN));
            let stdout = until.stdout.map(|fd| (fd, PollFlags::empty()));
            let [socket, woken, stdout] = wake::wait([socket, woken, stdout], Some(time))
                .map_err(|e| Error::failed(format!("wait for wehelpd: {e}")))?;
            if woken.intersects(PollFlags::IN) {
                return Ok(Came::Woken);
            }
            if stdout.intersects(PollFlags::ERR | PollFlags::HUP) {
                return Ok(Came::ReaderLeft);
            }
            if !socket.is_empty() {
                continue;
            }
            let now = Instant::now();
            if until.time.is_some_and(|time| time <= now) {
                return Ok(Came::Late);
            }
            if now >= patience && matches!(self.line, Connection::Open { .. }) {
                self.lose("wehelpd says nothing any more")?;
            }
        }
    }

    /// What [`Stream::next`] has brought: whole lines.
    pub(super) fn batch(&self) -> &[u8] {
        match &self.line {
            Connection::Open { batches, .. } => batches.fetched(),
            Connection::Lost { .. } => &[],
        }
    }

    /// Everything up to `to` has been taken over, so many of what is counted among it: a new connection goes on after it.
    pub(super) fn moved(&mut self, to: Q::Position, counted: u64) {
        self.position = self.position.max(to);
        if let Some(count) = self.query.count() {
            *count = count.saturating_sub(counted);
        }
    }

    /// Says something to people.
    pub(super) fn note(&self, what: &str) {
        if self.tells {
            self.ctx.out().note(&render::clean(what));
        }
    }

    /// The daemon could not go on, and has said why: an error, or a reason to come again.
    pub(super) fn broke(&mut self, refusal: Refusal) -> Result<(), Error> {
        match &mut self.backoff {
            Some(backoff) if refusal.may_pass() => {
                self.line = Connection::Lost { again: Instant::now() + backoff.long_pause() };
                self.note(&format!("{}; going on when that is over", refusal.message));
                Ok(())
            }
            _ => Err(client::Error::Refused { status: 500, refusal }.into()),
        }
    }

    fn lose(&mut self, why: &str) -> Result<(), Error> {
        if self.backoff.is_none() {
            let hint = "see with `wehelp status` whether wehelpd still runs";
            return Err(Error::new(Exit::NoDaemon, "daemon-gone", format!("{why}; {hint}")));
        }
        self.note(&format!("{why}; waiting for it to come back"));
        self.line = Connection::Lost { again: Instant::now() };
        Ok(())
    }

    /// One attempt to go on where we stand.
    fn reconnect(&mut self) -> Result<(), Error> {
        let query = self.query.resumed(self.position, self.log.clone(), self.lease);
        // It may listen elsewhere now.
        let client = Client::find(&self.ctx.target()?).map(|client| client.with_patience(ANSWER));
        let opened = client.and_then(|client| Ok((client.open(Q::PATH, &query)?, client)));
        match (opened, &mut self.backoff) {
            (Ok((reply, client)), _) => {
                self.client = client;
                self.attach(reply)?;
                self.note(&format!("connected again; {}", Q::goes_on(self.position)));
                Ok(())
            }
            (Err(error), Some(backoff)) if is_starting(&error) && !backoff.is_over() => {
                self.line = Connection::Lost { again: Instant::now() + backoff.pause() };
                Ok(())
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}

impl<'c> Stream<'c> {
    /// A stream of what comes after `seq` in the log that we know numbers of, which is opened at the first wait. It outlives a restart of the daemon, in silence.
    ///
    /// # Errors
    /// When there was no daemon.
    pub(super) fn after(ctx: &'c Ctx, query: EventsQuery, seq: Seq) -> Result<Self, Error> {
        let heartbeat_ms = u64::try_from(HEARTBEAT.as_millis()).ok();
        let mut stream = Self::lost(ctx, ctx.client()?.clone(), EventsQuery { follow: true, heartbeat_ms, ..query });
        stream.position = seq;
        stream.log = ctx.log().map(str::to_owned);
        Ok(stream)
    }

    /// Whether the cursor was made for us: nobody has read from it before.
    pub(super) fn began_cursor(&self) -> bool {
        self.began
    }

    /// The lease of the cursor.
    pub(super) fn lease(&self) -> Option<u64> {
        self.lease
    }

    /// The log that the positions are of.
    pub(super) fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }

    /// The events among what [`Stream::next`] has brought, each with its JSON; with this all of it is taken over.
    ///
    /// # Errors
    /// When the daemon cannot go on.
    pub(super) fn entries(&mut self) -> Result<Vec<(Entry, String)>, Error> {
        let (mut entries, mut last, mut broken) = (Vec::new(), Seq::ZERO, None);
        for line in Line::all(self.batch()).filter_map(|(line, _)| line) {
            last = last.max(line.position().unwrap_or_default());
            match line {
                Line::Event(_, json) => {
                    let entry = Entry::read(json);
                    entries.extend(entry.map(|entry| (entry, String::from_utf8_lossy(json).into_owned())));
                }
                Line::Refused(refusal) => broken = Some(refusal),
                _ => {}
            }
        }
        self.moved(last, 0);
        broken.map_or(Ok(()), |refusal| self.broke(refusal))?;
        Ok(entries)
    }
}

/// Whether the daemon is away, or may still be starting, or has no room for one more.
fn is_starting(error: &client::Error) -> bool {
    error.may_pass() || matches!(error, client::Error::Refused { status: 429 | 500.., .. })
}
