//! The daemon's stream of events, kept up over restarts of the daemon.
//!
//! It knows which position it stands at, so that a new connection goes on there, without gap or repeat. A daemon that
//! hangs is noticed by its silence: it promises a sign of life every [`HEARTBEAT`].

use super::backoff::Backoff;
use super::ctx::Ctx;
use super::error::{Error, Exit};
use super::render;
use super::wake::{self, Wake};
use crate::control::client::{self, Batches, Client, Reply};
use crate::control::{AFTER_HEADER, CURSOR_BEGAN_HEADER, Entry, EventsQuery, LEASE_HEADER, LOG_HEADER, Line, Refusal};
use crate::seq::Seq;
use rustix::event::PollFlags;
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

/// See the module.
#[derive(Debug)]
pub(super) struct Stream<'c> {
    ctx: &'c Ctx,
    client: Client,
    query: EventsQuery,
    /// For a daemon that goes away; `None`: that ends it.
    backoff: Option<Backoff>,
    /// People are told of that.
    tells: bool,
    line: Connection,
    position: Seq,
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

impl<'c> Stream<'c> {
    /// Opens the stream. With `reconnects` it outlives any absence of the daemon, and says so.
    ///
    /// # Errors
    /// When there is no daemon, or it refuses.
    pub(super) fn open(ctx: &'c Ctx, query: EventsQuery, reconnects: bool) -> Result<Self, Error> {
        let client = ctx.client()?.clone().with_patience(client::PATIENCE_FOR_READING);
        let reply = client.open("/v1/events", &query)?;
        let mut stream = Self::lost(ctx, client, query);
        stream.backoff = reconnects.then(Backoff::for_ever);
        stream.tells = true;
        stream.position = reply.number(AFTER_HEADER).map_or(Seq::ZERO, Seq);
        stream.began = reply.header(CURSOR_BEGAN_HEADER).is_some();
        stream.attach(reply)?;
        Ok(stream)
    }

    /// The same one, that says nothing about the daemon's absences: somebody else does.
    pub(super) fn in_silence(self) -> Self {
        Self { tells: false, ..self }
    }

    /// A stream of what comes after `seq`, which is opened at the first wait. It outlives a restart of the daemon, in silence.
    ///
    /// # Errors
    /// When there was no daemon.
    pub(super) fn after(ctx: &'c Ctx, query: EventsQuery, seq: Seq) -> Result<Self, Error> {
        let heartbeat_ms = u64::try_from(HEARTBEAT.as_millis()).ok();
        let mut stream = Self::lost(ctx, ctx.client()?.clone(), EventsQuery { follow: true, heartbeat_ms, ..query });
        stream.position = seq;
        Ok(stream)
    }

    fn lost(ctx: &'c Ctx, client: Client, query: EventsQuery) -> Self {
        let line = Connection::Lost { again: Instant::now() };
        let backoff = Some(Backoff::for_a_restart());
        let (position, began, lease, log) = (Seq::ZERO, false, None, None);
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
    pub(super) fn position(&self) -> Seq {
        self.position
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
                    let silence = if self.query.follow { SILENCE } else { SEARCH };
                    (*heard + silence, Some((Batches::as_fd(batches), PollFlags::IN)))
                }
            };
            let time = until.time.map_or(patience, |time| time.min(patience));
            let woken = until.woken.map(|woken| (woken.as_fd(), PollFlags::IN));
            let stdout = until.stdout.map(|fd| (fd, PollFlags::empty()));
            let [socket, woken, stdout] = wake::wait([socket, woken, stdout], Some(time))
                .map_err(|e| Error::failed(format!("wait for events: {e}")))?;
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

    /// Everything up to `seq` has been taken over, `events` events among it: a new connection goes on after it.
    pub(super) fn moved(&mut self, seq: Seq, events: u64) {
        self.position = self.position.max(seq);
        if let Some(count) = &mut self.query.count {
            *count = count.saturating_sub(events);
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
        let query = EventsQuery {
            after: Some(self.position),
            lines: None,
            lease: self.lease,
            log: self.log.clone(),
            ..self.query.clone()
        };
        // It may listen elsewhere now.
        let client = Client::find(&self.ctx.target()?).map(|client| client.with_patience(ANSWER));
        let opened = client.and_then(|client| Ok((client.open("/v1/events", &query)?, client)));
        match (opened, &mut self.backoff) {
            (Ok((reply, client)), _) => {
                self.client = client;
                self.attach(reply)?;
                self.note(&format!("connected again; going on after event {}", self.position));
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

/// Whether the daemon is away, or may still be starting, or has no room for one more.
fn is_starting(error: &client::Error) -> bool {
    error.may_pass() || matches!(error, client::Error::Refused { status: 429 | 500.., .. })
}
