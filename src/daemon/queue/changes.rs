//! Who waits for a change of the queue, and how they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

/// Tells of changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Bumped when the queue changed: waiters look again.
    changed: watch::Sender<u64>,
    /// A command may expire earlier than what was looked for last.
    expiring: Notify,
    /// Commands queued since the start.
    enqueued: AtomicU64,
}

impl Changes {
    /// For whoever waits for a change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells waiters that the queue is not what it was.
    pub(crate) fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// A command may expire earlier than what was looked for last; or the clock was set.
    pub(crate) fn hurry(&self) {
        self.expiring.notify_one();
    }

    /// Waits for [`hurry`](Self::hurry).
    pub(crate) async fn hurried(&self) {
        self.expiring.notified().await;
    }

    /// Commands queued since the start.
    pub(crate) fn enqueued(&self) -> u64 {
        self.enqueued.load(Ordering::Relaxed)
    }

    /// To be put into the result of a transaction that changes the queue.
    pub(crate) fn news(self: &Arc<Self>) -> News {
        News { changes: Arc::clone(self), queued: 0, expiring: false, withheld: false }
    }
}

/// Tells those who wait that the queue has changed, when it is dropped. It travels in a transaction's result: so it
/// speaks once the change is durable, also when whoever asked for it has gone meanwhile.
#[derive(Debug)]
pub(crate) struct News {
    changes: Arc<Changes>,
    /// New commands.
    pub(crate) queued: u64,
    pub(crate) expiring: bool,
    withheld: bool,
}

impl News {
    /// Nothing has changed after all.
    pub(crate) fn withhold(mut self) {
        self.withheld = true;
    }
}

impl Drop for News {
    fn drop(&mut self) {
        if self.withheld {
            return;
        }
        self.changes.enqueued.fetch_add(self.queued, Ordering::Relaxed);
        self.changes.bump();
        if self.expiring {
            self.changes.hurry();
        }
    }
}
