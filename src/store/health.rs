//! How the store is doing: the room that is left, and how long syncs take.

use super::files::free_bytes;
use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the sync latency's buckets, microseconds: from a fast SSD to a disk that spins up.
const BUCKETS_US: [u64; 14] =
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400, 3_600_000_000];
/// The room is looked at again after so many bytes were written…
const ROOM_BYTES: u64 = 1 << 20;
/// …or after so long.
const ROOM_AGE: Duration = Duration::from_secs(1);

/// How long syncs took.
#[derive(Debug, Default)]
pub(super) struct Latency {
    counts: [AtomicU64; BUCKETS_US.len()],
    sum_us: AtomicU64,
}

impl Latency {
    pub(super) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us).min(BUCKETS_US.len() - 1);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> (Vec<(Duration, u64)>, Duration) {
        let counts = self.counts.iter().map(|n| n.load(Ordering::Relaxed));
        let sum = Duration::from_micros(self.sum_us.load(Ordering::Relaxed));
        (BUCKETS_US.iter().map(|us| Duration::from_micros(*us)).zip(counts).collect(), sum)
    }
}

/// Looks now and then whether the file system has room.
#[derive(Debug)]
pub(super) struct Room {
    min: u64,
    looked: Option<Instant>,
    written: u64,
}

impl Room {
    pub(super) fn new(min: u64) -> Self {
        Self { min, looked: None, written: 0 }
    }

    /// Why `bytes` more should not be written, if so; whether it had to look.
    pub(super) fn check(&mut self, dir: &Path, bytes: u64) -> Result<bool, String> {
        self.written += bytes;
        if self.written < ROOM_BYTES && self.looked.is_some_and(|at| at.elapsed() < ROOM_AGE) {
            return Ok(false);
        }
        (self.looked, self.written) = (None, 0);
        let free = free_bytes(dir).map_err(|e| format!("cannot see how much room `{}` has: {e}", dir.display()))?;
        if free < self.min.saturating_add(bytes) {
            return Err(format!(
                "the file system of `{}` has {} MiB left, and {} MiB are kept free (`[store] min_free`)",
                dir.display(),
                free >> 20,
                self.min >> 20
            ));
        }
        self.looked = Some(Instant::now());
        Ok(true)
    }
}

/// What a panic said, as far as it stands in the code: what is filled in may be text from a chat.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    format!("panicked: {}", panic.downcast_ref::<&str>().unwrap_or(&"the log says where"))
}
