//! Whether the ages that the clock tells are to be believed, before anything is dropped for its age (contract 6).
//!
//! A clock may be wrong at the start (a machine without a battery, before it has asked the network) and may be set later,
//! in either direction. What is dropped does not come back, and nobody is harmed by a later drop. So retention waits a
//! little after every start and every step; and where the clock says that far more time has passed than the newest event
//! lets one expect, it waits for a day in which nothing contradicts.

use crate::clock::Time;
use std::time::Duration;

/// A start, or a step, is followed by so long a wait at least, or a quarter of what is kept if that is less.
const SETTLING: Duration = Duration::from_secs(600);
/// A longer time without an event, or a larger step, is in doubt; or a quarter of what is kept if that is less.
const PLAUSIBLE: Duration = Duration::from_secs(3 * 24 * 3600);
/// What is in doubt is believed after so long, or after as long as is kept if that is less.
const DOUBT: Duration = Duration::from_secs(24 * 3600);
/// A smaller difference is drift, milliseconds.
const STEP_MIN: i64 = 2000;

/// See the module. Times of the wall clock come in with the time since the machine started.
#[derive(Debug)]
pub(super) struct Ages {
    keep: Duration,
    /// Wall clock less time since the machine started, milliseconds.
    offset: i64,
    /// Believed from this time since the machine started.
    from: Duration,
}

fn offset(now: Time, up: Duration) -> i64 {
    now.millis().saturating_sub(i64::try_from(up.as_millis()).unwrap_or(i64::MAX))
}

impl Ages {
    /// At a start. `newest` is when the newest event came.
    pub(super) fn new(keep: Duration, newest: Option<Time>, now: Time, up: Duration) -> Self {
        let passed = newest.map_or(Duration::ZERO, |newest| now.since(newest));
        Self { keep, offset: offset(now, up), from: up + wait(keep, passed) }
    }

    /// Whether what is older than what is kept may be dropped now.
    pub(super) fn are_believed(&mut self, now: Time, up: Duration) -> bool {
        let step = offset(now, up).saturating_sub(self.offset);
        if step.abs() >= STEP_MIN {
            self.offset = self.offset.saturating_add(step);
            let ahead = Duration::from_millis(u64::try_from(step).unwrap_or(0));
            // A step back does not end what a step forward began.
            self.from = self.from.max(up + wait(self.keep, ahead));
        }
        up >= self.from
    }
}

/// How long is waited when the clock went on by so much unseen.
fn wait(keep: Duration, unseen: Duration) -> Duration {
    if unseen > PLAUSIBLE.min(keep / 4) { DOUBT.min(keep) } else { SETTLING.min(keep / 4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

    #[test]
    fn a_clock_that_is_wrong_at_the_start_drops_nothing_for_a_day() {
        let newest = Time::from_millis(1_800_000_000_000);
        let right = newest.after(HOUR);
        let up = |hours: u32| HOUR * hours;
        let mut ages = Ages::new(KEEP, Some(newest), right, up(1));
        assert!(!ages.are_believed(right, up(1)));
        assert!(ages.are_believed(right.after(HOUR), up(2)));
        // Ten years ahead, and right again before the day is over.
        let wrong = right.after(3650 * 24 * HOUR);
        let mut ages = Ages::new(KEEP, Some(newest), wrong, up(1));
        assert!(!ages.are_believed(wrong.after(HOUR * 20), up(21)));
        assert!(!ages.are_believed(right.after(HOUR * 22), up(23)));
        assert!(ages.are_believed(right.after(HOUR * 30), up(31)));
        // It really was off for so long.
        let mut ages = Ages::new(KEEP, Some(newest), wrong, up(1));
        assert!(ages.are_believed(wrong.after(HOUR * 25), up(26)));
        // A first event has nothing to be compared with, and nothing is old.
        assert!(Ages::new(KEEP, None, right, up(1)).are_believed(right.after(HOUR), up(2)));
    }

    #[test]
    fn a_clock_that_is_set_forward_is_believed_after_a_day_and_one_set_back_after_a_moment() {
        let now = Time::from_millis(1_800_000_000_000);
        let up = |hours: u32| HOUR * hours;
        let mut ages = Ages::new(KEEP, Some(now), now, up(0));
        assert!(ages.are_believed(now.after(HOUR), up(1)));
        let ahead = 40 * 24 * HOUR;
        assert!(!ages.are_believed(now.after(HOUR * 2 + ahead), up(2)));
        assert!(!ages.are_believed(now.after(HOUR * 25 + ahead), up(25)));
        assert!(ages.are_believed(now.after(HOUR * 26 + ahead), up(26)));
        assert!(!ages.are_believed(now.after(HOUR * 27), up(27)));
        assert!(ages.are_believed(now.after(HOUR * 28), up(28)));
    }

    #[test]
    fn what_is_kept_for_a_moment_waits_for_a_moment() {
        let now = Time::from_millis(1_800_000_000_000);
        let second = Duration::from_secs(1);
        let mut ages = Ages::new(second, Some(now), now.after(second * 9), HOUR);
        assert!(!ages.are_believed(now.after(second * 9), HOUR));
        assert!(ages.are_believed(now.after(second * 10), HOUR + second));
    }
}
