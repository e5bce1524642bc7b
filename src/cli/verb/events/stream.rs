//! The daemon's stream of events, kept up over restarts of the daemon.
//!
//! It knows which position it stands at, so that a new connection goes on there, without gap or repeat. A daemon that
//! hangs is noticed by its silence: it promises a sign of life every [`HEARTBEAT`].

use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::render;
use crate::cli::wake::{self, Wake};
use crate::control::client::{self, Client, Reply};
use crate::control::{AFTER_HEADER, CURSOR_BEGAN_HEADER, EventsQuery, LEASE_HEADER, LOG_HEADER, Refusal};
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
/// The pause before the second attempt to connect again; the first comes at once, and each pause is twice the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A daemon that comes back answers within so long.
const ANSWER: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Stream<'c> {
    ctx: &'c Ctx,
    client: Client,
    query: EventsQuery,
    reconnects: bool,
    line: Connection,
    position: Seq,
    began: bool,
    lease: Option<u64>,
    /// The log that `position` is of. A daemon that has another one when it is back refuses to go on.
    log: Option<String>,
}

#[derive(Debug)]
enum Connection {
    Open { reply: Reply, heard: Instant },
    Lost { pause: Duration, again: Instant },
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
#[derive(Debug)]
pub(super) struct Until<'w> {
    pub(super) woken: &'w Wake,
    /// Where results go, when nothing but printing is done.
    pub(super) stdout: Option<BorrowedFd<'w>>,
    pub(super) time: Option<Instant>,
}

impl<'c> Stream<'c> {
    /// Opens the stream.
    ///
    /// # Errors
    /// When there is no daemon, or it refuses.
    pub(super) fn open(ctx: &'c Ctx, query: EventsQuery, reconnects: bool) -> Result<Self, Error> {
        let client = ctx.client()?.clone().with_patience(client::PATIENCE_FOR_READING);
        let reply = client.lines("/v1/events", &query)?;
        let position = header(&reply, AFTER_HEADER).map_or(Seq::ZERO, Seq);
        let line = Connection::Lost { pause: PAUSE_MIN, again: Instant::now() };
        let began = reply.header(CURSOR_BEGAN_HEADER).is_some();
        let mut stream = Self { ctx, client, query, reconnects, line, position, began, lease: None, log: None };
        stream.attach(reply)?;
        Ok(stream)
    }

    fn attach(&mut self, reply: Reply) -> Result<(), Error> {
        self.lease = header(&reply, LEASE_HEADER);
        self.log = reply.header(LOG_HEADER).map(str::to_owned);
        reply.set_nonblocking(true).map_err(client::Error::from)?;
        self.line = Connection::Open { reply, heard: Instant::now() };
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
        self.reconnects
    }

    /// Waits for lines.
    ///
    /// # Errors
    /// When the stream has broken and is not to be mended, or the daemon refuses to go on.
    pub(super) fn next(&mut self, until: &Until<'_>) -> Result<Came, Error> {
        loop {
            let (patience, socket) = match &mut self.line {
                Connection::Lost { again, .. } if *again <= Instant::now() => {
                    self.reconnect()?;
                    continue;
                }
                Connection::Lost { again, .. } => (*again, None),
                Connection::Open { reply, heard } => {
                    match reply.fetch() {
                        Ok(true) => {
                            *heard = Instant::now();
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
                    (*heard + silence, Some((Reply::as_fd(reply), PollFlags::IN)))
                }
            };
            let time = until.time.map_or(patience, |time| time.min(patience));
            let woken = Some((until.woken.as_fd(), PollFlags::IN));
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
            Connection::Open { reply, .. } => reply.fetched(),
            Connection::Lost { .. } => &[],
        }
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
        self.ctx.out().note(&render::clean(what));
    }

    /// The daemon could not go on, and has said why: an error, or a reason to come again.
    pub(super) fn broke(&mut self, refusal: Refusal) -> Result<(), Error> {
        if !(self.reconnects && refusal.may_pass()) {
            return Err(client::Error::Refused { status: 500, refusal }.into());
        }
        self.note(&format!("{}; going on when that is over", refusal.message));
        self.line = Connection::Lost { pause: PAUSE_MAX, again: Instant::now() + PAUSE_MAX };
        Ok(())
    }

    fn lose(&mut self, why: &str) -> Result<(), Error> {
        if !self.reconnects {
            let hint = "see with `wehelp status` whether wehelpd still runs";
            return Err(Error::new(Exit::NoDaemon, "daemon-gone", format!("{why}; {hint}")));
        }
        self.ctx.out().note(&format!("{why}; waiting for it to come back"));
        self.line = Connection::Lost { pause: PAUSE_MIN, again: Instant::now() };
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
        let client = self.ctx.target().and_then(|target| Ok(Client::find(&target)?.with_patience(ANSWER)));
        let reply = client.and_then(|client| {
            let reply = client.lines("/v1/events", &query).map_err(|error| match error {
                // It may still be starting, or have no room for one more.
                client::Error::Refused { status: 429 | 500.., refusal } => {
                    Error::new(Exit::NoDaemon, "daemon-gone", refusal.message)
                }
                error => error.into(),
            })?;
            Ok((client, reply))
        });
        match (reply, &mut self.line) {
            (Ok((client, reply)), _) => {
                self.client = client;
                self.attach(reply)?;
                self.ctx.out().note(&format!("connected again; going on after event {}", self.position));
                Ok(())
            }
            (Err(error), Connection::Lost { pause, again })
                if matches!(error.exit, Exit::NoDaemon | Exit::NoAnswer) =>
            {
                *again = Instant::now() + pause.mul_f64(0.75 + fastrand::f64() / 2.0);
                *pause = (*pause * 2).min(PAUSE_MAX);
                Ok(())
            }
            (Err(error), _) => Err(error),
        }
    }
}

fn header(reply: &Reply, name: &str) -> Option<u64> {
    reply.header(name)?.parse().ok()
}
