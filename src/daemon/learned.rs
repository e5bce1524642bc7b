//! How far the log was learned from, and who waits for that.
//!
//! Promises: what is told here was learned, whether or not it is stored yet; what is stored is never ahead of it. Only one
//! at a time writes to the directory ([`CatchUp::alone`]).
//! Leaves to others: the learning (`learner`).

use crate::key::META;
use crate::seq::Seq;
use crate::store::{Error, Store, Txn};
use std::time::Duration;
use tokio::sync::{MutexGuard, Notify, watch};

/// How far was read.
const LEARNED: &[u8] = b"reacted";

/// How far the log was learned from.
#[derive(Debug)]
pub(crate) struct CatchUp {
    store: Store,
    upto: watch::Sender<Seq>,
    /// How far the log went at the start: until all that is learned from, nobody knows whose commands are whose.
    started_at: Seq,
    alone: tokio::sync::Mutex<()>,
    /// Somebody waits.
    hurry: Notify,
}

impl CatchUp {
    pub(crate) fn new(store: Store) -> Self {
        let started_at = *store.tail().borrow();
        let upto = watch::Sender::new(Seq::ZERO);
        Self { store, upto, started_at, alone: tokio::sync::Mutex::default(), hurry: Notify::new() }
    }

    /// Events up to there were learned from.
    pub(crate) fn upto(&self) -> Seq {
        *self.upto.borrow()
    }

    /// Tells that they were.
    pub(crate) fn reached(&self, seq: Seq) {
        self.upto.send_replace(seq);
    }

    /// How far the log went at the start.
    pub(crate) fn started_at(&self) -> Seq {
        self.started_at
    }

    /// Whether what was told before the start is learned from.
    pub(crate) fn has_the_start(&self) -> bool {
        self.upto() >= self.started_at
    }

    /// Held while the directory is written to: by one at a time.
    pub(crate) async fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// Waits until somebody waits for the learner.
    pub(crate) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Waits until everything answered so far has been learned from: so that a question asked after a callback was
    /// answered sees what it told. Bounded, because a slow directory must not hold a user up.
    pub(crate) async fn catch_up(&self) {
        let tail = *self.store.tail().borrow();
        self.reaches(tail).await;
    }

    /// Waits until events up to there have been learned from; not for long either.
    pub(crate) async fn reaches(&self, seq: Seq) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let mut upto = self.upto.subscribe();
        self.hurry.notify_one();
        // After the patience we answer with what is known.
        drop(tokio::time::timeout(PATIENCE, upto.wait_for(|upto| *upto >= seq)).await);
    }

    /// Waits until what was told before the start is learned from: a logout may be the last thing there. Not for long;
    /// false when it is not yet.
    pub(crate) async fn catch_up_to_the_start(&self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(2);
        if self.has_the_start() {
            return true;
        }
        let mut upto = self.upto.subscribe();
        let learned = tokio::time::timeout(PATIENCE, upto.wait_for(|seq| *seq >= self.started_at)).await;
        matches!(learned, Ok(Ok(_)))
    }

    /// How far was learned when that was stored last.
    pub(crate) fn stored(&self) -> Result<Seq, Error> {
        Ok(position(self.store.get(META, LEARNED)?))
    }

    /// Notes how far was read before retention drops it: what taught nothing is else noted now and then, and the next
    /// start would look for it and tell of a loss that is none.
    pub(crate) async fn remember_before_a_drop(&self) -> Result<(), Error> {
        let at = self.upto();
        if self.stored()? >= at {
            return Ok(());
        }
        let put = move |tx: &mut Txn<'_>| {
            // The learner may have got further meanwhile.
            if position(tx.get(META, LEARNED)) < at {
                remember(tx, at);
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = self.store.write_lazily(put).await?;
        Ok(())
    }
}

/// Notes how far was read: what was learned from up to there is not learned from again.
pub(crate) fn remember(tx: &mut Txn<'_>, at: Seq) {
    tx.put(META, LEARNED, at.0.to_be_bytes());
}

fn position(stored: Option<Vec<u8>>) -> Seq {
    Seq(stored.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
}
