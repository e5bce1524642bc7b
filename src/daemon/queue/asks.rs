//! `wehelp ask` in the daemon: one question is open per account and chat, and it is somebody's who waits for the reply.
//!
//! Who asks holds a connection open; the question's turn in its chat ends with it (contract 3). So a reply answers one
//! question, and a question whose asker died is neither asked later nor in the way of the next one. The line of those
//! who wait is in the queue, on disk: after a restart the askers come back within [`GRACE`], and nothing is asked before
//! its asker is back.

use crate::control::{Enqueue, Line, Progress, Receipt};
use crate::daemon::failure::Failure;
use crate::daemon::queue::read;
use crate::daemon::service::Service;
use crate::daemon::sync::lock;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// So long after a start the askers have to come back: as long as the CLI looks for a daemon that is away, and a bit.
const GRACE: Duration = Duration::from_secs(15);
/// An empty line is written so often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two attempts to store that an asker is gone.
const RETRY: Duration = Duration::from_secs(1);

/// How many askers each question has at this moment; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asks(Arc<Mutex<HashMap<u64, usize>>>);

impl Asks {
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

/// Queues a question and holds its turn until the stream's reader goes away; the first line is the receipt. `queue`:
/// it may wait for its turn.
///
/// # Errors
/// As [`Service::enqueue`], and 409 `ask-open`.
pub(crate) async fn ask(service: &Service, request: Enqueue, queue: bool) -> Result<mpsc::Receiver<Bytes>, Failure> {
    let (out, lines) = mpsc::channel(1);
    let (told, queued) = oneshot::channel();
    let service = service.clone();
    // In a task of its own: a reader who goes away while the question is being stored still gives its turn back.
    tokio::spawn(async move {
        match service.enqueue_ask(request, queue).await {
            // Nobody may listen any more.
            Err(failure) => drop(told.send(Err(failure))),
            Ok(receipt) => {
                service.asks().enter(receipt.id);
                drop(told.send(Ok(())));
                hold(&service, receipt, out).await;
            }
        }
    });
    let gone = |_| Failure::new(500, "internal", "an internal error; the daemon's log says more");
    queued.await.map_err(gone)??;
    Ok(lines)
}

/// As [`ask`], of a question that was queued: its asker lost the connection.
///
/// # Errors
/// 404; 503 when it cannot be stored that the asker is back.
pub(crate) async fn again(service: &Service, id: u64) -> Result<mpsc::Receiver<Bytes>, Failure> {
    let (out, lines) = mpsc::channel(1);
    let (told, back) = oneshot::channel();
    service.receipt(id, service.now())?;
    service.asks().enter(id);
    let service = service.clone();
    // In a task of its own, as in [`ask`].
    tokio::spawn(async move {
        let receipt = match service.asker_is_back(id).await {
            Ok(()) => service.receipt(id, service.now()),
            Err(error) => Err(error.into()),
        };
        match receipt {
            Ok(receipt) => {
                drop(told.send(Ok(())));
                hold(&service, receipt, out).await;
            }
            Err(failure) => {
                // It is tried again; without, the turn ends as after a start.
                drop(told.send(Err(failure)));
                tokio::select! {
                    () = tokio::time::sleep(GRACE) => leave(&service, id).await,
                    () = service.shutdown().wait() => {}
                }
            }
        }
    });
    let gone = |_| Failure::new(500, "internal", "an internal error; the daemon's log says more");
    back.await.map_err(gone)??;
    Ok(lines)
}

async fn hold(service: &Service, receipt: Receipt, out: mpsc::Sender<Bytes>) {
    let id = receipt.id;
    let line = Progress::Receipt(receipt).line();
    // A reader that is gone is noticed below.
    drop(out.send(line.into()).await);
    loop {
        tokio::select! {
            () = out.closed() => break,
            // Who asks comes back after the restart.
            () = service.shutdown().wait() => return,
            // Of a reader that has closed its sending side only a write tells that it is gone. One that does not read
            // has enough of them.
            () = tokio::time::sleep(HEARTBEAT) => drop(out.try_send(Bytes::from_static(Line::KEEP_ALIVE))),
        }
    }
    leave(service, id).await;
}

async fn leave(service: &Service, id: u64) {
    if service.asks().leave(id) {
        end(service, id).await;
    }
}

/// Ends the turn of a question that nobody waits for any more.
async fn end(service: &Service, id: u64) {
    loop {
        match service.end_ask(id).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(id, "cannot record that nobody waits for a reply, trying again: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = service.shutdown().wait() => return,
        }
    }
}

/// After a start: ends the turns of those whose askers do not come back.
pub(crate) async fn resume(service: Service) {
    let left = read::asks(service.store()).unwrap_or_default();
    if left.is_empty() {
        return;
    }
    tokio::select! {
        () = tokio::time::sleep(GRACE) => {}
        () = service.shutdown().wait() => return,
    }
    for id in left.into_iter().filter(|id| !service.asks().has(*id)) {
        end(&service, id).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_who_leaves_is_told() {
        let asks = Asks::default();
        asks.enter(1);
        asks.enter(1);
        assert!(!asks.leave(1) && asks.has(1));
        assert!(asks.leave(1) && !asks.has(1));
        assert!(asks.leave(2), "nobody was there");
    }
}
