//! How long a daemon that has gone away is waited for, and how often it is tried meanwhile: one rule for all that outlive a
//! restart.

use std::time::{Duration, Instant};

/// A restart or an upgrade takes no longer.
const RESTART: Duration = Duration::from_secs(10);
/// The pause before the second attempt; the first comes at once, and each pause is twice the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    max: Duration,
    heard: Instant,
    next: Duration,
}

impl Patience {
    /// Waits as long as a restart takes.
    pub(super) fn for_a_restart() -> Self {
        Self { max: RESTART, heard: Instant::now(), next: PAUSE_MIN }
    }

    /// The daemon was heard of.
    pub(super) fn heard(&mut self) {
        (self.heard, self.next) = (Instant::now(), PAUSE_MIN);
    }

    /// Whether it has been away for too long.
    pub(super) fn is_over(&self) -> bool {
        self.heard.elapsed() > self.max
    }

    /// How long to pause before the next attempt; many who wait for one daemon do not all come at once.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        pause.mul_f64(0.75 + fastrand::f64() / 2.0)
    }
}
