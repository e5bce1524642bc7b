//! Which callback tells the very same as one of the last minute (contract 7, `repeat_of`): clients report again what they
//! did not see answered.
//!
//! Promises: callbacks are noted by the store's writer, one after the other, as each gets its number: nobody waits for
//! anybody, and the one before it is known also when its client hung up. A number that was given and not kept, as a sync
//! failed, is forgotten when it is given again. Memory is bounded by [`RECENT_MAX`], beyond which the oldest are forgotten.
//! Leaves to others: keeping the number beside the event (`entry`).

use crate::clock::Time;
use crate::seq::Seq;
use crate::sync::lock;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came longer ago is no repetition.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// This many are looked at again after a start.
pub(super) const RESTORE_MAX: usize = 5_000;
/// This many callbacks are remembered: a thousand a second, for a minute.
pub(super) const RECENT_MAX: usize = 60_000;

/// The callbacks of the last minute. All clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    recent: Arc<Mutex<LastMinute>>,
}

/// A callback that was noted: what it told, as a hash of its bytes.
#[derive(Debug, Clone, Copy)]
struct Marked {
    mark: u64,
    seq: Seq,
    time: Time,
}

#[derive(Debug, Default)]
struct LastMinute {
    /// The newest by its mark.
    newest: HashMap<u64, (Seq, Time)>,
    /// In the order of the log.
    came: VecDeque<Marked>,
}

impl LastMinute {
    fn drop_oldest(&mut self) {
        if let Some(Marked { mark, seq, .. }) = self.came.pop_front()
            && self.newest.get(&mark).is_some_and(|(newest, _)| *newest == seq)
        {
            self.newest.remove(&mark);
        }
    }

    /// Forgets those from this number on, which are not in the log.
    fn cut(&mut self, from: Seq) {
        if self.came.back().is_none_or(|last| last.seq < from) {
            return;
        }
        self.came.retain(|came| came.seq < from);
        self.newest = self.came.iter().map(|came| (came.mark, (came.seq, came.time))).collect();
    }
}

impl Repeats {
    /// What makes marks of bodies; for a large one that is work for another thread.
    pub(super) fn marker(&self) -> impl Fn(&[u8]) -> u64 + Send + use<> {
        let hasher = self.hasher.clone();
        move |body| hasher.hash_one(body)
    }

    /// Notes the callback that gets this number now: the one before it that was the same.
    pub(super) fn note(&self, mark: u64, seq: Seq, time: Time) -> Option<Seq> {
        let mut recent = lock(&self.recent);
        recent.cut(seq);
        while recent.came.len() >= RECENT_MAX
            || recent.came.front().is_some_and(|oldest| time.since(oldest.time) > WITHIN)
        {
            recent.drop_oldest();
        }
        recent.came.push_back(Marked { mark, seq, time });
        let before = recent.newest.insert(mark, (seq, time));
        before.filter(|(_, before)| time.since(*before) <= WITHIN).map(|(seq, _)| seq)
    }

    /// Notes one that is stored already.
    pub(super) fn restore(&self, body: &[u8], time: Time, seq: Seq) {
        self.note(self.marker()(body), seq, time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn the_same_within_a_minute_is_a_repetition() {
        let repeats = Repeats::default();
        let came = |body: &str, seconds, seq| {
            repeats.note(repeats.marker()(body.as_bytes()), Seq(seq), at(seconds)).map(|seq| seq.0)
        };
        assert_eq!(came("a", 0, 1), None);
        assert_eq!(came("b", 1, 2), None);
        assert_eq!(came("a", 2, 3), Some(1));
        assert_eq!(came("a", 60, 4), Some(3));
        assert_eq!(came("b", 62, 5), None, "a minute has passed");
        assert_eq!(lock(&repeats.recent).newest.len(), 2);
    }

    #[test]
    fn a_number_that_was_given_and_not_kept_is_nobody_s() {
        let repeats = Repeats::default();
        let note = |mark, seq| repeats.note(mark, Seq(seq), at(0)).map(|seq| seq.0);
        assert_eq!(note(1, 1), None);
        assert_eq!((note(1, 2), note(2, 3)), (Some(1), None));
        // 2 and 3 are not stored, for a sync failed.
        assert_eq!(note(3, 2), None);
        assert_eq!((note(1, 3), note(2, 4)), (Some(1), None));
    }

    #[test]
    fn memory_is_bounded() {
        let repeats = Repeats::default();
        for n in 0..RECENT_MAX as u64 + 10 {
            repeats.restore(&n.to_le_bytes(), at(0), Seq(n + 1));
        }
        assert_eq!(lock(&repeats.recent).came.len(), RECENT_MAX);
        assert_eq!(lock(&repeats.recent).newest.len(), RECENT_MAX);
    }
}
