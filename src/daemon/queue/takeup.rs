//! What a start owes the queue: what was in flight when the daemon before ended becomes ready again, questions wait until
//! their askers are back, and ids that may have been given out and lost are passed over. A store that refuses writes at
//! the start gets it when it accepts them.

use crate::daemon::queue::{
    CommandQueue, asks::Askers, change::SWEEP_MAX, read, settle::redeliver, table, turns::ask_waits,
};
use crate::store::{Error, Health};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// A store that accepts writes and fails at once is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Does it, or sees to it that it is done later.
pub(crate) async fn run(queue: &Arc<CommandQueue>, askers: &Askers, redeliver: bool) {
    let left = read::in_flight(&queue.store).unwrap_or_else(|error| {
        tracing::error!("cannot see which commands were in flight at the last stop: {error}");
        Vec::new()
    });
    match left.len() {
        0 => {}
        n if redeliver => tracing::warn!("{n} commands were in flight at the last stop; they are ready again"),
        n => tracing::warn!("{n} commands were in flight at the last stop; `wehelp queue retry` hands them over again"),
    }
    let left = if redeliver { left } else { Vec::new() };
    if let Err(error) = take_up(queue, askers, &left).await {
        if !left.is_empty() {
            tracing::warn!("what was in flight at the last stop is ready again only when it can be written: {error}");
        }
        let (queue, askers) = (Arc::clone(queue), askers.clone());
        tokio::spawn(async move { later(&queue, &askers, &left).await });
    }
}

async fn later(queue: &CommandQueue, askers: &Askers, left: &[u64]) {
    let mut health = queue.store.health();
    loop {
        tokio::select! {
            _ = health.wait_for(|health| *health == Health::Writable) => {}
            () = queue.shutdown.wait() => return,
        }
        match take_up(queue, askers, left).await {
            Ok(()) => return,
            Err(error) => tracing::debug!("what was in flight at the last stop still waits: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// `left` are the ids that the start has found in flight: what is claimed since is none of them.
async fn take_up(queue: &CommandQueue, askers: &Askers, left: &[u64]) -> Result<(), Error> {
    if queue.store.lost_changes() {
        let Ok(()) = queue
            .store
            .write(|tx| {
                table::skip_ids(tx);
                Ok::<_, Infallible>(())
            })
            .await?;
    }
    for ids in left.chunks(SWEEP_MAX) {
        let (ids, now) = (ids.to_vec(), queue.clock.now());
        let Ok(()) = queue
            .store
            .write(move |tx| {
                redeliver(tx, &ids, now);
                Ok::<_, Infallible>(())
            })
            .await?;
        queue.changes.bump();
    }
    for ids in read::asks(&queue.store)?.chunks(SWEEP_MAX) {
        let (ids, askers) = (ids.to_vec(), askers.clone());
        let Ok(()) = queue
            .store
            .write(move |tx| {
                // Looked at here: one who comes back later stores it after this.
                for id in ids.into_iter().filter(|id| !askers.has(*id)) {
                    ask_waits(tx, id, true);
                }
                Ok::<_, Infallible>(())
            })
            .await?;
    }
    Ok(())
}
