//! What a start owes the queue: what was in flight when the daemon before ended becomes ready again, questions wait until
//! their askers are back, and ids that may have been given out and lost are passed over. A store that refuses writes at
//! the start gets it when it accepts them.

use crate::daemon::queue::change::SWEEP_MAX;
use crate::daemon::queue::settle::redeliver;
use crate::daemon::queue::turns::ask_waits;
use crate::daemon::queue::{read, table};
use crate::daemon::service::Service;
use crate::store::{Error, Health};
use std::convert::Infallible;
use std::time::Duration;

/// A store that accepts writes and fails at once is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Does it, or sees to it that it is done later.
pub(crate) async fn run(service: &Service, redeliver: bool) {
    let left = read::in_flight(service.store()).unwrap_or_else(|error| {
        tracing::error!("cannot see which commands were in flight at the last stop: {error}");
        Vec::new()
    });
    match left.len() {
        0 => {}
        n if redeliver => tracing::warn!("{n} commands were in flight at the last stop; they are ready again"),
        n => tracing::warn!("{n} commands were in flight at the last stop; `wehelp queue retry` hands them over again"),
    }
    let left = if redeliver { left } else { Vec::new() };
    if let Err(error) = take_up(service, &left).await {
        if !left.is_empty() {
            tracing::warn!("what was in flight at the last stop is ready again only when it can be written: {error}");
        }
        let service = service.clone();
        tokio::spawn(async move { later(&service, &left).await });
    }
}

async fn later(service: &Service, left: &[u64]) {
    let mut health = service.store().health();
    loop {
        tokio::select! {
            _ = health.wait_for(|health| *health == Health::Writable) => {}
            () = service.shutdown().wait() => return,
        }
        match take_up(service, left).await {
            Ok(()) => return,
            Err(error) => tracing::debug!("what was in flight at the last stop still waits: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// `left` are the ids that the start has found in flight: what is claimed since is none of them.
async fn take_up(service: &Service, left: &[u64]) -> Result<(), Error> {
    if service.store().lost_changes() {
        let Ok(()) = service
            .store()
            .write(|tx| {
                table::skip_ids(tx);
                Ok::<_, Infallible>(())
            })
            .await?;
    }
    for ids in left.chunks(SWEEP_MAX) {
        let (ids, now) = (ids.to_vec(), service.now());
        let Ok(()) = service
            .store()
            .write(move |tx| {
                redeliver(tx, &ids, now);
                Ok::<_, Infallible>(())
            })
            .await?;
        service.bump();
    }
    for ids in read::asks(service.store())?.chunks(SWEEP_MAX) {
        let (ids, askers) = (ids.to_vec(), service.asks().clone());
        let Ok(()) = service
            .store()
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
