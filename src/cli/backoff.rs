//! How long a daemon that has gone away is waited for, and how often it is tried meanwhile: one rule for all that outlive a
//! restart.

use std::time::{Duration, Instant};

/// A restart or an upgrade takes no longer.
const RESTART: Duration = Duration::from_secs(10);
/// The pause before the second attempt; the first comes at once, and each pause is twice the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between attempts, where somebody waits for an answer…
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// …and where it may take hours.
const PAUSE_MAX_UNBOUNDED: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    /// `None`: it is waited for however long it takes.
    max: Option<Duration>,
    heard: Instant,
    next: Duration,
}

impl Backoff {
    /// Waits as long as a restart takes.
    pub(super) fn for_a_restart() -> Self {
        Self { max: Some(RESTART), heard: Instant::now(), next: PAUSE_MIN }
    }

    /// Waits for ever.
    pub(super) fn for_ever() -> Self {
        Self { max: None, ..Self::for_a_restart() }
    }

    /// The daemon was heard of.
    pub(super) fn reset(&mut self) {
        (self.heard, self.next) = (Instant::now(), PAUSE_MIN);
    }

    /// Whether it has been away for too long.
    pub(super) fn is_over(&self) -> bool {
        self.max.is_some_and(|max| self.heard.elapsed() > max)
    }

    /// How long to pause before the next attempt; many who wait for one daemon do not all come at once.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(if self.max.is_some() { PAUSE_MAX } else { PAUSE_MAX_UNBOUNDED });
        pause.mul_f64(0.75 + fastrand::f64() / 2.0)
    }

    /// As [`pause`](Self::pause), the longest: what is waited for takes its time.
    pub(super) fn long_pause(&mut self) -> Duration {
        self.next = PAUSE_MAX_UNBOUNDED;
        self.pause()
    }
}
