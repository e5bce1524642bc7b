//! Moves a cursor: over what is done, and over nothing else.

use crate::cli::backoff::Backoff;
use crate::cli::error::Error;
use crate::cli::stream::Stream;
use crate::control::client::{self, part};
use crate::control::{Cursor, CursorCommit};
use crate::seq::Seq;
use std::time::{Duration, Instant};

/// A cursor moves at most this often while events flow: each move is a sync in the daemon.
const EVERY: Duration = Duration::from_millis(100);

/// The cursor of this reader, if it has one.
#[derive(Debug)]
pub(super) struct Keeper {
    name: Option<String>,
    /// What the daemon knows to be consumed.
    kept: Seq,
    /// What is consumed.
    done: Seq,
    /// When it may be told again.
    next: Option<Instant>,
    /// The last attempt failed because the daemon was away, or its store refused.
    behind: bool,
    backoff: Backoff,
}

impl Keeper {
    /// `from` is where the stream starts: what lies before was asked to be passed over.
    pub(super) fn new(name: Option<String>, from: Seq) -> Self {
        Self { name, kept: Seq::ZERO, done: from, next: None, behind: false, backoff: Backoff::for_ever() }
    }

    /// Everything up to here is consumed.
    pub(super) fn done(&mut self, seq: Seq) {
        self.done = self.done.max(seq);
    }

    /// When the daemon is to be told, if there is anything to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.name.is_some() && self.done > self.kept).then(|| self.next.unwrap_or_else(Instant::now))
    }

    /// Whether the daemon could not be told what is done: nothing more should be begun, or a crash would repeat it.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Tells the daemon, when it is time to. A daemon that is away, or cannot remember anything for now, is
    /// told when it is back.
    pub(super) fn tell_if_due(&mut self, stream: &Stream<'_>) -> Result<(), Error> {
        if self.due().is_some_and(|due| due <= Instant::now()) { self.tell(stream) } else { Ok(()) }
    }

    /// Tells the daemon, unless it was away a moment ago.
    pub(super) fn tell(&mut self, stream: &Stream<'_>) -> Result<(), Error> {
        if self.behind && self.next.is_some_and(|next| next > Instant::now()) {
            return Ok(());
        }
        match self.commit(stream, false) {
            Err(error) if error.may_pass() && stream.reconnects() => {
                if !self.behind && !error.is_absence() {
                    stream.note(&format!("{error}; it will be told later how far was read"));
                }
                self.behind = true;
                self.next = Some(Instant::now() + self.backoff.pause());
                Ok(())
            }
            told => Ok(told?),
        }
    }

    /// Tells the daemon for the last time: the next reader need not wait.
    pub(super) fn finish(&mut self, stream: &Stream<'_>) -> Result<(), Error> {
        self.commit(stream, true).map_err(|error| {
            let error = Error::from(error);
            let name = self.name.as_deref().unwrap_or_default();
            let message = format!("the cursor `{name}` could not be moved to {}: {}", self.done, error.message);
            Error { message, ..error }
        })
    }

    fn commit(&mut self, stream: &Stream<'_>, done: bool) -> Result<(), client::Error> {
        let Some(name) = self.name.as_deref().filter(|_| done || self.done > self.kept) else { return Ok(()) };
        let commit = CursorCommit { seq: self.done, lease: stream.lease(), log: stream.log().map(str::to_owned), done };
        let path = format!("/v1/cursors/{}/commit", part(name));
        stream.client().put("POST", &path, &commit)?.json::<Cursor>()?;
        self.kept = self.done;
        self.behind = false;
        self.backoff.reset();
        self.next = Some(Instant::now() + EVERY);
        Ok(())
    }
}
