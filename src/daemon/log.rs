//! The log of events, as the daemon's other parts see it: callbacks in, entries out.
//!
//! Steps of a callback: read the body → append → (synced) → note the account → answer. Nothing is answered before its
//! effect is synced (contract 6). What an event *means* is worked out after its answer, by `learner`.

pub(crate) mod about;
pub(crate) mod entry;
pub(crate) mod filter;
pub(crate) mod follow;
pub mod line;
pub(crate) mod own;
mod page;
pub(crate) mod range;
pub(crate) mod refused;
mod repeats;
mod spill;

use crate::clock::Time;
use crate::config;
use crate::daemon::accounts::{Accounts, table::Told};
use crate::daemon::blocking::Panicked;
use crate::daemon::queue::{changes::Changes, clock_steps::Clock, pacing};
use crate::daemon::slow;
use crate::sync::lock;

use crate::directory::{Names, Sign};
use crate::protocol::event::{Kind, Outline};
use crate::seq::Seq;
use crate::store::{self, Append, Query, Read, Store, Stored, Txn};
use bytes::Bytes;
use own::OwnEvent;
use refused::Refused;
use repeats::Repeats;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// A body of so many bytes is read in a slow lane: it takes longer than a few small callbacks, which should not wait for
/// it.
const LARGE_BODY_BYTES: usize = 256 << 10;

/// What became of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// It is durable there.
    pub(crate) seq: Seq,
    /// Why it cannot be read, when it cannot; then it is stored as `unparsed`.
    pub(crate) unreadable: Option<String>,
    /// Of which account and process it is.
    pub(crate) account: Option<String>,
    pub(crate) pid: Option<u64>,
}

/// Takes callbacks in.
#[derive(Debug)]
pub(crate) struct Log {
    store: Store,
    clock: Arc<Clock>,
    accounts: Arc<Accounts>,
    changes: Arc<Changes>,
    pacing: config::Pacing,
    /// For large bodies: who posts one does not hold up others.
    reading: slow::Lane,
    repeats: Repeats,
    kinds: Mutex<BTreeMap<&'static str, u64>>,
    last_callback: Mutex<Option<Time>>,
}

/// Takes an event into account when it is dropped: also when the client hangs up before its answer, for the event is
/// stored all the same.
struct Noted<'a> {
    log: &'a Log,
    outline: &'a Outline,
    sign: Sign,
    names: Names,
    now: Time,
    is_noted: bool,
}

impl Noted<'_> {
    /// Notes it, as of its place in the log; true when it is of the first account of all.
    fn note(&mut self, seq: Seq) -> bool {
        self.is_noted = true;
        let kind = self.outline.kind.map_or("other", Kind::as_str);
        *lock(&self.log.kinds).entry(kind).or_default() += 1;
        *lock(&self.log.last_callback) = Some(self.now);
        let Outline { account, pid, .. } = self.outline;
        let names = std::mem::take(&mut self.names);
        let told = Told { account: account.as_deref(), pid: *pid, sign: self.sign, names, seq, time: self.now };
        self.log.accounts.table().event(told)
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if !self.is_noted {
            // Its place is not known here, and is this or a later one. Names that have a wrong place would stay; it was
            // not answered, so they may come by way of `learner`.
            let tail = *self.log.store.tail().borrow();
            self.names = Names::default();
            self.note(tail);
        }
    }
}

impl Log {
    pub(crate) fn new(
        store: Store,
        clock: Arc<Clock>,
        accounts: Arc<Accounts>,
        changes: Arc<Changes>,
        pacing: config::Pacing,
    ) -> Self {
        let (kinds, last_callback) = Default::default();
        Self {
            store,
            clock,
            accounts,
            changes,
            pacing,
            reading: slow::Lane::default(),
            repeats: Repeats::default(),
            kinds,
            last_callback,
        }
    }

    /// Stores one callback; returns when it is durable. `via` is what the request said of the daemons that it has passed.
    ///
    /// # Errors
    /// When the store refuses writes.
    pub(crate) async fn receive(&self, body: Bytes, via: Option<String>) -> Result<Received, Refused> {
        let now = self.clock.now();
        if !self.clock.is_quiet() {
            // The janitor follows it; a callback does not wait for that.
            self.changes.hurry();
        }
        let (accounts, mark) = (Arc::clone(&self.accounts), self.repeats.marker());
        let is_large = body.len() >= LARGE_BODY_BYTES;
        let read = move || (mark(&body), entry::incoming(body, now, via.as_deref(), |pid| accounts.owner(pid)));
        let (mark, read) =
            if is_large { self.reading.run(read).await.map_err(|slow::Failed| Panicked)? } else { read() };
        let entry::Incoming { append, outline, sign, names, unreadable } = read;
        let mut noted = Noted { log: self, outline: &outline, sign, names, now, is_noted: false };
        let repeats = self.repeats.clone();
        let beside = move |append: &mut Append, seq| {
            if let Some(before) = repeats.note(mark, seq, now) {
                append.outline = entry::repeating(&append.outline, before);
            }
        };
        let seq = match self.store.append_numbered(append, beside).await {
            Ok(seq) => seq,
            Err(error) => {
                noted.is_noted = true;
                return Err(error.into());
            }
        };
        let is_first = noted.note(seq);
        drop(noted);
        if is_first {
            self.adopt_unnamed().await;
        }
        let Outline { account, pid, .. } = outline;
        Ok(Received { seq, unreadable, account, pid })
    }

    /// Stores what the daemon itself tells, in one transaction with what `beside` writes.
    ///
    /// # Errors
    /// When the store refuses writes.
    pub(crate) async fn tell(
        &self,
        own: Vec<OwnEvent>,
        beside: impl FnOnce(&mut Txn<'_>) + Send + 'static,
    ) -> Result<(), store::Error> {
        let (now, told) = (self.clock.now(), own.iter().map(|own| own.kind.as_str()).collect::<Vec<_>>());
        let stored = self.store.write(move |tx| {
            for own in &own {
                tx.append(entry::of_own(own, now));
            }
            beside(tx);
            Ok::<_, Infallible>(())
        });
        let Ok(()) = stored.await?;
        let mut kinds = lock(&self.kinds);
        told.into_iter().for_each(|kind| *kinds.entry(kind).or_default() += 1);
        Ok(())
    }

    /// Brings back what came shortly before the daemon's start. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn restore(&self) -> Result<(), store::Error> {
        let now = self.clock.now();
        let mut came = Vec::new();
        recent(&self.store, now, |stored| {
            if entry::is_own(stored) {
                return true;
            }
            came.push((stored.body.clone(), stored.time, stored.seq));
            came.len() < repeats::RESTORE_MAX
        })?;
        came.iter().rev().for_each(|(body, time, seq)| self.repeats.restore(body, *time, *seq));
        Ok(())
    }

    /// The first account of all: what unnamed clients have spent was its own.
    async fn adopt_unnamed(&self) {
        let Some(purse) = self.accounts.table().only_purse() else { return };
        let (now, settings) = (self.clock.now(), self.pacing.clone());
        let adopt = move |tx: &mut Txn<'_>| {
            pacing::Pace::load(tx, &purse, now, &settings).store(tx, &purse);
            Ok::<_, std::convert::Infallible>(())
        };
        // Should it fail, the account's first claim does the same, unless another account is known by then.
        if let Err(error) = self.store.write_lazily(adopt).await {
            tracing::debug!("cannot note whose the pacing of unnamed clients is: {error}");
        }
    }

    /// Events stored since the start, by kind.
    pub(crate) fn kinds(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.kinds).clone()
    }

    /// When the last callback came, since the start.
    pub(crate) fn last_callback(&self) -> Option<Time> {
        *lock(&self.last_callback)
    }
}

/// Shows the events of the last minute, newest first, until `more` says that it is enough; a few megabytes of them.
fn recent(store: &Store, now: Time, mut more: impl FnMut(&Stored) -> bool) -> Result<(), store::Error> {
    const PAGES_MAX: usize = 8;
    const PAGE_BYTES: usize = 1 << 20;
    let mut query = Query { since: Some(now.before(repeats::WITHIN)), backwards: true, ..Query::default() };
    for _ in 0..PAGES_MAX {
        let Read::Page(page) = store.read(&query, PAGE_BYTES)? else { break };
        if !page.entries.iter().all(&mut more) || page.end {
            break;
        }
        query.upto = Some(Seq(page.looked_to.0.saturating_sub(1)));
    }
    Ok(())
}
