//! When somebody sets the clock: commands keep the waits that were asked for.
//!
//! Due and expiry times are stored as moments of the wall clock, which can be set while commands wait. A step is seen
//! by comparing the wall clock with the time since the machine started, which nobody sets; then everything that waits
//! for a length of time (`--in`, `--expires`, pacing's order) is moved by the step, and what waits for a moment
//! (`--at`) stays. A step while the daemon was not running is only seen when commands lie in the future.

use super::queue::{self, read};
use super::service::Service;
use crate::clock::{self, Time};
use crate::store::{Error, Txn};
use std::sync::atomic::{AtomicI64, Ordering};

/// A difference below this is drift, milliseconds; a wait that is wrong by so little is not worth a write.
const STEP_MIN: i64 = 2000;
/// Commands moved in one transaction: keeps the writer free for others.
const MOVED_MAX: usize = 500;

/// Watches the clock.
#[derive(Debug)]
pub(super) struct Steps {
    /// Wall clock less time since the machine started, milliseconds.
    offset: AtomicI64,
    /// Held while commands are moved.
    moving: tokio::sync::Mutex<()>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { offset: AtomicI64::new(offset()), moving: tokio::sync::Mutex::default() }
    }
}

fn offset() -> i64 {
    Time::now().millis() - i64::try_from(clock::uptime().as_millis()).unwrap_or(i64::MAX)
}

/// Sees whether the clock was set since the last call, and moves what waits. Call it before anything is due, expired
/// or queued by the clock.
///
/// # Errors
/// When the store refuses; then the next call tries again.
pub(super) async fn mind(service: &Service, steps: &Steps) -> Result<(), Error> {
    let step = || offset() - steps.offset.load(Ordering::Acquire);
    if step().abs() < STEP_MIN {
        return Ok(());
    }
    let _moving = steps.moving.lock().await;
    let step = step();
    if step.abs() < STEP_MIN {
        return Ok(());
    }
    let moved = move_all(service, step).await?;
    steps.offset.fetch_add(step, Ordering::AcqRel);
    tracing::warn!(seconds = step / 1000, moved, "the clock was set; waiting commands keep their waits");
    Ok(())
}

/// At a start: what was queued in the future tells that the clock was set back meanwhile.
///
/// # Errors
/// When the store refuses.
pub(super) async fn restore(service: &Service) -> Result<(), Error> {
    let now = Time::now();
    let newest = read::unfinished(service.store())?.into_iter().map(|r| r.created).max();
    let Some(ahead) = newest.map(|t| t.millis() - now.millis()).filter(|ms| *ms >= STEP_MIN) else { return Ok(()) };
    let moved = move_all(service, -ahead).await?;
    tracing::warn!(seconds = ahead / 1000, moved, "commands lay in the future; they were moved to the present");
    Ok(())
}

async fn move_all(service: &Service, by: i64) -> Result<usize, Error> {
    let ids: Vec<u64> = read::unfinished(service.store())?.into_iter().map(|r| r.id).collect();
    for some in ids.chunks(MOVED_MAX) {
        let some = some.to_vec();
        let shift = move |tx: &mut Txn<'_>| {
            queue::shift(tx, &some, by);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = service.store().write(shift).await?;
    }
    Ok(ids.len())
}
