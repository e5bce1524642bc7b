//! What a start owes the queue: what was in flight when the daemon before ended becomes ready again, questions wait until
//! their askers are back, a list that was coming is not taken for whole, and ids that may have been given out and lost
//! are passed over. A store that refuses writes at the start gets it when it accepts them.

use crate::daemon::queue::record::{PIECES, Record};
use crate::daemon::queue::{
    CommandQueue, answers,
    asks::Askers,
    change::SWEEP_MAX,
    read, revisions,
    settle::{HandoverLeft, redeliver},
    table,
    turns::ask_waits,
};
use crate::store::{Error, Health};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// A store that accepts writes and fails at once is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Does it, or sees to it that it is done later.
pub(crate) async fn run(queue: &Arc<CommandQueue>, askers: &Askers, redeliver: bool) {
    let left = read::unfinished(&queue.store).unwrap_or_else(|error| {
        tracing::error!("cannot see which commands were in flight at the last stop: {error}");
        Vec::new()
    });
    match left.len() {
        0 => {}
        n if redeliver => tracing::warn!("{n} commands were in flight at the last stop; they are ready again"),
        n => tracing::warn!("{n} commands were in flight at the last stop; `wehelp queue retry` hands them over again"),
    }
    let left = if redeliver { left } else { Vec::new() };
    let cut = cut(queue).unwrap_or_default();
    if let Err(error) = take_up(queue, askers, &left, &cut).await {
        if !left.is_empty() {
            tracing::warn!("what was in flight at the last stop is ready again only when it can be written: {error}");
        }
        let (queue, askers) = (Arc::clone(queue), askers.clone());
        tokio::spawn(async move { later(&queue, &askers, &left, &cut).await });
    }
}

/// The commands of which a further piece of their answer may have been missed: the time for one ended while no daemon
/// was there.
fn cut(queue: &CommandQueue) -> Result<Vec<u64>, Error> {
    let now = queue.clock.ages().now(queue.clock.now());
    let is_cut = |record: &Record| record.may_go_on() && record.done.is_some_and(|done| now.since(done) > PIECES);
    // What has yet to be learned from is what was not known to be whole.
    let left = read::teaching(&queue.store)?;
    Ok(left.into_iter().filter_map(|(_, record)| record.filter(is_cut).map(|record| record.id)).collect())
}

async fn later(queue: &CommandQueue, askers: &Askers, left: &[HandoverLeft], cut: &[u64]) {
    let mut health = queue.store.health();
    loop {
        tokio::select! {
            _ = health.wait_for(|health| *health == Health::Writable) => {}
            () = queue.shutdown.wait() => return,
        }
        match take_up(queue, askers, left, cut).await {
            Ok(()) => return,
            Err(error) => tracing::debug!("what was in flight at the last stop still waits: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// `left` is what the start has found in flight, and `cut`: see [`cut`]. What failed half way is done again from the
/// beginning.
async fn take_up(queue: &CommandQueue, askers: &Askers, left: &[HandoverLeft], cut: &[u64]) -> Result<(), Error> {
    if queue.store.lost_changes() {
        let Ok(()) = queue
            .store
            .write(|tx| {
                table::skip_ids(tx);
                revisions::skip(tx);
                Ok::<_, Infallible>(())
            })
            .await?;
    }
    for ids in left.chunks(SWEEP_MAX) {
        let (ids, tail, now) = (ids.to_vec(), queue.learned.started_at(), queue.clock.now());
        let Ok(()) = queue
            .store
            .write(move |tx| {
                redeliver(tx, &ids, tail, now);
                Ok::<_, Infallible>(())
            })
            .await?;
        queue.changes.bump();
    }
    for ids in cut.chunks(SWEEP_MAX) {
        let ids = ids.to_vec();
        let Ok(()) = queue
            .store
            .write(move |tx| {
                ids.into_iter().for_each(|id| answers::cut(tx, id));
                Ok::<_, Infallible>(())
            })
            .await?;
        queue.changes.bump();
    }
    for ids in read::asks(&queue.store)?.chunks(SWEEP_MAX) {
        let (ids, askers, now) = (ids.to_vec(), askers.clone(), queue.clock.now());
        let Ok(()) = queue
            .store
            .write(move |tx| {
                // Looked at here: one who comes back later stores it after this.
                for id in ids.into_iter().filter(|id| !askers.has(*id)) {
                    ask_waits(tx, id, true, now);
                }
                Ok::<_, Infallible>(())
            })
            .await?;
    }
    Ok(())
}
