//! `wehelp ask` in the daemon: one question is open per account and chat, and it is somebody's who waits for the reply.
//!
//! Who asks holds a connection open; the question's turn in its chat ends with the reply, with the time that is left for
//! one, or with the connection (contract 3). So a reply answers one question, and a question whose asker died, or was
//! stopped, is neither asked later nor in the way of the next one. The line of those who wait is in the queue, on disk:
//! after a restart the askers come back within [`GRACE`], nothing is asked before its asker is back, and only what a
//! client has is in the way of others until then.

use crate::control::{AskQuery, Enqueue, Line, Progress, Receipt};
use crate::daemon::blocking::Panicked;
use crate::daemon::log;
use crate::daemon::log::filter::Filter;
use crate::daemon::log::follow::{Follow, Following, Piece};
use crate::daemon::queue::{CommandQueue, read, refused::Refused};
use crate::protocol::command::Command;
use crate::protocol::event::Kind;
use crate::store::Query;
use crate::sync::lock;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// So long after a start the askers have to come back: the CLI looks for the daemon once a second at least.
const GRACE: Duration = Duration::from_secs(5);
/// So much longer than its time a turn lasts: an asker that lives ends it, and says why.
const SLACK: Duration = Duration::from_secs(1);
/// An empty line is written so often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two attempts to store that an asker is gone.
const RETRY: Duration = Duration::from_secs(1);

/// How many askers each question has at this moment; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Askers(Arc<Mutex<HashMap<u64, usize>>>);

impl Askers {
    fn enter(&self, id: u64) {
        *lock(&self.0).entry(id).or_default() += 1;
    }

    /// True when it was the last one.
    fn leave(&self, id: u64) -> bool {
        let mut askers = lock(&self.0);
        let left = askers.get_mut(&id).map_or(0, |n| {
            *n = n.saturating_sub(1);
            *n
        });
        if left == 0 {
            askers.remove(&id);
        }
        left == 0
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        lock(&self.0).contains_key(&id)
    }
}

/// Asks, and holds connections for it.
#[derive(Debug)]
pub(crate) struct Asks {
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) following: Arc<Following>,
    pub(crate) askers: Askers,
}

/// What is a reply to a question of that account in that chat.
///
/// # Errors
/// When its pattern is none.
pub(crate) fn filter(
    query: &AskQuery,
    account: Option<String>,
    chat: Option<String>,
) -> Result<Filter, log::refused::Refused> {
    let said: Vec<&str> = Kind::ALL.iter().filter(|kind| kind.is_said()).map(|kind| kind.as_str()).collect();
    Filter::of(Some(&said.join(",")), chat, query.from.clone(), account, query.r#match.as_deref(), Some(false))
}

/// Waits for a reply; for ever, where the log cannot be followed.
async fn replied(replies: &mut Option<mpsc::Receiver<Piece>>) {
    if let Some(replies) = replies {
        while let Some(piece) = replies.recv().await {
            // Neither a heartbeat nor a word of what was dropped.
            if piece.is_ok_and(|piece| piece.starts_with(b"{\"seq\":")) {
                return;
            }
        }
    }
    std::future::pending().await
}

impl Asks {
    /// Queues a question and holds its turn until it is answered, its time is over, or the stream's reader goes away; the
    /// first line is the receipt.
    ///
    /// # Errors
    /// As [`CommandQueue::enqueue`], and while another question is open.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        request: Enqueue,
        query: AskQuery,
    ) -> Result<mpsc::Receiver<Bytes>, Refused> {
        let (out, lines) = mpsc::channel(1);
        let (told, queued) = oneshot::channel();
        let asks = Arc::clone(self);
        // In a task of its own: a reader who goes away while the question is being stored still gives its turn back.
        tokio::spawn(async move {
            match asks.queue.enqueue_ask(request, query.queue).await {
                // Nobody may listen any more.
                Err(failure) => drop(told.send(Err(failure))),
                Ok(receipt) => {
                    asks.askers.enter(receipt.id);
                    drop(told.send(Ok(())));
                    asks.hold(receipt, &query, out).await;
                }
            }
        });
        queued.await.map_err(|_| Panicked)??;
        Ok(lines)
    }

    /// As [`ask`](Self::ask), of a question that was queued: its asker lost the connection.
    ///
    /// # Errors
    /// When there is no such command, or it cannot be stored that the asker is back.
    pub(crate) async fn again(self: &Arc<Self>, id: u64, query: AskQuery) -> Result<mpsc::Receiver<Bytes>, Refused> {
        let (out, lines) = mpsc::channel(1);
        let (told, back) = oneshot::channel();
        self.queue.receipt(id)?;
        self.askers.enter(id);
        let asks = Arc::clone(self);
        // In a task of its own, as in [`ask`].
        tokio::spawn(async move {
            let receipt = match asks.queue.asker_is_back(id).await {
                Ok(()) => asks.queue.receipt(id),
                Err(error) => Err(error.into()),
            };
            match receipt {
                Ok(receipt) => {
                    drop(told.send(Ok(())));
                    asks.hold(receipt, &query, out).await;
                }
                Err(failure) => {
                    // It is tried again; without, the turn ends as after a start.
                    drop(told.send(Err(failure)));
                    tokio::select! {
                        () = tokio::time::sleep(GRACE) => asks.leave(id).await,
                        () = asks.queue.shutdown.wait() => {}
                    }
                }
            }
        });
        back.await.map_err(|_| Panicked)??;
        Ok(lines)
    }

    /// Follows the replies to a question, once a client has it.
    fn replies(&self, id: u64, query: &AskQuery) -> Option<mpsc::Receiver<Piece>> {
        let record = self.queue.record(id).ok()?;
        let fetched = record.fetched.as_ref()?;
        let account = fetched.account.clone().or_else(|| record.account.clone());
        let chat = record.command.command().and_then(Command::chat).map(str::to_owned);
        let filter = filter(query, account, chat).ok()?;
        let range = Query { after: fetched.after, ..Query::default() };
        let (count, heartbeat, lease) = (Some(1), None, None);
        Some(self.following.start(Follow { query: range, filter, follow: true, count, marks: false, heartbeat, lease }))
    }

    async fn hold(self: &Arc<Self>, receipt: Receipt, query: &AskQuery, out: mpsc::Sender<Bytes>) {
        let id = receipt.id;
        let now = self.queue.clock.now();
        let time = query.timeout_ms.map(|ms| Duration::from_millis(ms) + receipt.due.since(now) + SLACK);
        let over = time.and_then(|time| Instant::now().checked_add(time));
        let line = Progress::Receipt(receipt).line();
        // A reader that is gone is noticed below.
        drop(out.send(line.into()).await);
        let mut changed = self.queue.changes.subscribe();
        let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let mut following = None;
        loop {
            changed.mark_unchanged();
            following = following.or_else(|| self.replies(id, query));
            tokio::select! {
                () = out.closed() => break,
                () = tokio::time::sleep_until(over.unwrap_or_else(Instant::now)), if over.is_some() => break,
                () = replied(&mut following), if following.is_some() => break,
                _ = changed.changed(), if following.is_none() => {}
                // Who asks comes back after the restart.
                () = self.queue.shutdown.wait() => return,
                // Of a reader that has closed its sending side only a write tells that it is gone. One that does not read
                // has enough of them.
                _ = heartbeat.tick() => drop(out.try_send(Bytes::from_static(Line::KEEP_ALIVE))),
            }
        }
        self.leave(id).await;
    }

    async fn leave(self: &Arc<Self>, id: u64) {
        if self.askers.leave(id) {
            self.end(id).await;
        }
    }

    /// Ends the turn of a question that nobody waits for any more.
    async fn end(self: &Arc<Self>, id: u64) {
        loop {
            match self.queue.end_ask(id).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(id, "cannot record that nobody waits for a reply, trying again: {error}"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.queue.shutdown.wait() => return,
            }
        }
    }

    /// After a start: ends the turns of those whose askers do not come back.
    pub(crate) async fn resume(self: Arc<Self>) {
        let left = read::asks(&self.queue.store).unwrap_or_default();
        if left.is_empty() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(GRACE) => {}
            () = self.queue.shutdown.wait() => return,
        }
        for id in left.into_iter().filter(|id| !self.askers.has(*id)) {
            self.end(id).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_who_leaves_is_told() {
        let asks = Askers::default();
        asks.enter(1);
        asks.enter(1);
        assert!(!asks.leave(1) && asks.has(1));
        assert!(asks.leave(1) && !asks.has(1));
        assert!(asks.leave(2), "nobody was there");
    }
}
