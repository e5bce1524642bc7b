//! How the store is doing: the room that is left, and how long syncs take.

use super::files::free_bytes;
use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the sync latency's buckets, microseconds: from a fast SSD to a disk that spins up.
const BUCKETS_US: [u64; 14] =
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400, 3_600_000_000];
/// The room is looked at again after this many bytes were written…
const ROOM_BYTES: u64 = 1 << 20;
/// …or after so long.
const ROOM_AGE: Duration = Duration::from_secs(1);

/// Once there was too little room, more than the least is wanted: a quarter of that, and at least this many bytes.
const ROOM_MORE: u64 = 1 << 20;
/// How often it is tried whether writing is possible again…
const TRIAL: Duration = Duration::from_secs(1);
/// …and how rarely at most.
const TRIAL_MAX: Duration = Duration::from_secs(8);
/// After so long without a failure all is well.
const STEADY: Duration = Duration::from_secs(60);

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

/// Looks now and then whether the file system has room. Below `min` nothing is written; it goes on only with some more,
/// or what it writes then, and what comes and goes beside it, would make it go back and forth.
#[derive(Debug)]
pub(super) struct FreeSpace {
    min: u64,
    looked: Option<Instant>,
    written: u64,
    lacking: bool,
}

impl FreeSpace {
    pub(super) fn new(min: u64) -> Self {
        Self { min, looked: None, written: 0, lacking: false }
    }

    /// This many bytes were written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Why `bytes` more should not be written, if so; whether it had to look.
    pub(super) fn check(&mut self, dir: &Path, bytes: u64) -> Result<bool, String> {
        if self.written + bytes < ROOM_BYTES && self.looked.is_some_and(|at| at.elapsed() < ROOM_AGE) {
            return Ok(false);
        }
        self.look(dir, bytes).map(|()| true)
    }

    /// The same, by a look in any case.
    pub(super) fn look(&mut self, dir: &Path, bytes: u64) -> Result<(), String> {
        (self.looked, self.written) = (None, 0);
        let free = free_bytes(dir).map_err(|e| format!("cannot see how much room `{}` has: {e}", dir.display()))?;
        if let Err(wanted) = self.judge(free, bytes) {
            return Err(format!(
                "the file system of `{}` has {} MiB left, and {} MiB are kept free (`[store] min_free`); it goes on with \
                 {} MiB",
                dir.display(),
                free >> 20,
                self.min >> 20,
                wanted.div_ceil(1 << 20)
            ));
        }
        self.looked = Some(Instant::now());
        Ok(())
    }

    /// Whether that is enough, or what would be.
    fn judge(&mut self, free: u64, bytes: u64) -> Result<(), u64> {
        let least = self.min.saturating_add(bytes);
        let more = least.saturating_add((self.min / 4).max(ROOM_MORE));
        self.lacking = free < if self.lacking { more } else { least };
        if self.lacking { Err(more) } else { Ok(()) }
    }
}

/// When it is tried whether writing is possible again. At once at first: one failed sync may be all. Where writing fails
/// again soon after it was possible (a file system may say that it has room, and have none) the trials become rare.
#[derive(Debug)]
pub(super) struct Trials {
    due: Instant,
    pause: Duration,
    /// When writing became possible.
    well: Option<Instant>,
}

impl Trials {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now, pause: Duration::ZERO, well: None }
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Writing has failed.
    pub(super) fn failed(&mut self, now: Instant) {
        let again = self.well.is_some_and(|well| now.duration_since(well) < STEADY);
        self.pause = if again { (self.pause * 2).clamp(TRIAL, TRIAL_MAX) } else { Duration::ZERO };
        self.due = now + self.pause;
    }

    /// A trial has failed.
    pub(super) fn in_vain(&mut self, now: Instant) {
        self.due = now + self.pause.max(TRIAL);
    }

    /// Writing is possible.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.well = Some(now);
    }
}

/// What a panic said, as far as it stands in the code: what is filled in may be text from a chat.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    format!("panicked: {}", panic.downcast_ref::<&str>().unwrap_or(&"the log says where"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_too_little_room_it_goes_on_only_when_there_is_more_than_the_least() {
        const MIB: u64 = 1 << 20;
        let mut room = FreeSpace::new(16 * MIB);
        assert_eq!(room.judge(16 * MIB, 0), Ok(()), "it begins with the least");
        assert_eq!(room.judge(16 * MIB - 1, 0), Err(20 * MIB));
        for free in [16, 17, 19] {
            assert_eq!(room.judge(free * MIB, 0), Err(20 * MIB), "{free}");
        }
        assert_eq!(room.judge(20 * MIB, 0), Ok(()));
        assert_eq!(room.judge(16 * MIB, 0), Ok(()));
        assert_eq!(FreeSpace::new(0).judge(0, 0), Ok(()), "who keeps nothing free is not held up");
    }

    #[test]
    fn one_failure_is_tried_again_at_once_and_one_that_comes_again_and_again_ever_more_rarely() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut trials = Trials::new(begun);
        trials.failed(at(10));
        assert_eq!(trials.due(), at(10));
        trials.in_vain(at(10));
        assert_eq!(trials.due(), at(11));
        let mut now = at(11);
        let pauses = [(); 6].map(|()| {
            trials.succeeded(now);
            trials.failed(now);
            let pause = trials.due() - now;
            now += pause;
            pause.as_secs()
        });
        assert_eq!(pauses, [1, 2, 4, 8, 8, 8]);
        trials.succeeded(now);
        trials.failed(now + STEADY);
        assert_eq!(trials.due(), now + STEADY);
    }
}
