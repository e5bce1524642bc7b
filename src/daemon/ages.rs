//! How old things are, whatever the clock is set to.
//!
//! An age is reckoned on a line of time that no step of the wall clock bends: the wall clock less what it was set by
//! since the data folder was made ([`Ages`]). What decides by age (a key's day, `keep_done`, an answer that comes too
//! late, a cursor in use) is stored on that line; for events, which are stored by the wall clock, it is known from which
//! position on the clock was ahead by how much.
//!
//! A machine that was switched off tells how long only by its wall clock, which is the one to be wrong then: such a
//! time counts in [`Ages::now`], and what would be dropped for it ([`Ages::surely`]) waits until the clock has stood
//! for a while.

use crate::clock::Time;
use crate::key::META;
use crate::seq::Seq;
use crate::store::{Error, Store, Txn};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where the [`Ages`] are.
const AGES: &[u8] = b"ages";
/// The clock must stand for so long after a start or a step until a time that only it tells of is believed.
const STANDS: Duration = Duration::from_secs(15 * 60);
/// And for so long when that time is longer than [`LONG`]: whoever sets clocks has set this one by then.
const STANDS_LONG: Duration = Duration::from_secs(24 * 3600);
/// A machine is seldom switched off for longer.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);
/// This many steps are kept apart; of older ones the events count as the younger of two.
const STEPS_MAX: usize = 64;

/// By how much the wall clock was ahead of the line, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ages {
    /// Oldest first; before the first one, and without any, the two are the same.
    steps: Vec<Ahead>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt: Option<Doubt>,
}

/// The clock was ahead so far for events from a position on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ahead {
    from: Seq,
    /// Milliseconds; negative: behind.
    by: i64,
}

/// The machine was off for a time that only the wall clock tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Doubt {
    /// What the clock says of it, milliseconds; negative: it is behind what was last known.
    off: i64,
    /// On the line: when the clock was started or set.
    since: Time,
}

impl Doubt {
    fn counted(self) -> i64 {
        self.off.max(0)
    }
}

fn less(time: Time, by: i64) -> Time {
    Time::from_millis(time.millis().saturating_sub(by))
}

/// The events that one cutoff is for, and the cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cutoff {
    /// By the clock those events were stored with.
    pub(crate) before: Time,
    /// The last one of them.
    pub(crate) last: Seq,
}

impl Ages {
    /// As stored.
    pub(crate) fn load(tx: &Txn<'_>) -> Self {
        Self::parse(tx.get(META, AGES))
    }

    /// As [`load`](Self::load), outside of a transaction.
    pub(crate) fn read(store: &Store) -> Result<Self, Error> {
        Ok(Self::parse(store.get(META, AGES)?))
    }

    fn parse(bytes: Option<Vec<u8>>) -> Self {
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Stores them, unless there is nothing to say.
    pub(crate) fn put(&self, tx: &mut Txn<'_>) {
        if *self == Self::default() {
            tx.delete(META, AGES);
        } else {
            tx.put(META, AGES, serde_json::to_vec(self).expect("plain data"));
        }
    }

    fn ahead(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.by)
    }

    fn ahead_at(&self, seq: Seq) -> i64 {
        self.steps.iter().rev().find(|step| step.from <= seq).map_or(0, |step| step.by)
    }

    /// Where a moment of the wall clock of now is on the line.
    pub(crate) fn now(&self, wall: Time) -> Time {
        less(wall, self.ahead())
    }

    /// As [`now`](Self::now), but not later than is certain: for what is dropped, or forgotten, for its age.
    pub(crate) fn surely(&self, wall: Time) -> Time {
        less(self.now(wall), self.doubt.map_or(0, Doubt::counted))
    }

    /// Where the time that is stored with an event is on the line.
    pub(crate) fn of_event(&self, seq: Seq, time: Time) -> Time {
        less(time, self.ahead_at(seq))
    }

    /// What the wall clock of now calls a moment on the line.
    pub(crate) fn wall(&self, moment: Time) -> Time {
        Time::from_millis(moment.millis().saturating_add(self.ahead()))
    }

    /// Events of `first` and on that are older than `keep`, as far as one cutoff tells.
    pub(crate) fn cutoff(&self, first: Seq, keep: Duration, wall: Time) -> Cutoff {
        let by = self.ahead_at(first);
        let next = self.steps.iter().find(|step| step.from > first);
        Cutoff {
            before: less(self.surely(wall).before(keep), by.saturating_neg()),
            last: next.map_or(Seq(u64::MAX), |next| Seq(next.from.0.saturating_sub(1))),
        }
    }

    /// The wall clock was set by this many milliseconds; events from `from` on are stored by it.
    pub(crate) fn step(&mut self, by: i64, from: Seq, wall: Time) {
        let mut ahead = by;
        if let Some(doubt) = &mut self.doubt {
            // Somebody puts right what the clock said of the time that the machine was off.
            let was = *doubt;
            doubt.off = was.off.saturating_add(by);
            ahead = doubt.off.min(0) - was.off.min(0);
        }
        if ahead != 0 {
            let by = self.ahead().saturating_add(ahead);
            self.steps.retain(|step| step.from < from);
            self.steps.push(Ahead { from, by });
        }
        while self.steps.len() > STEPS_MAX {
            let oldest = self.steps.remove(0);
            self.steps[0] = Ahead { from: oldest.from, by: oldest.by.min(self.steps[0].by) };
        }
        let since = self.now(wall);
        if let Some(doubt) = &mut self.doubt {
            doubt.since = since;
        }
    }

    /// The machine was off, by its clock for so long.
    pub(crate) fn doubt(&mut self, off: Duration, wall: Time) {
        let before = self.doubt.map_or(0, Doubt::counted);
        let off = i64::try_from(off.as_millis()).unwrap_or(i64::MAX).saturating_add(before);
        self.doubt = Some(Doubt { off, since: self.now(wall) });
    }

    /// Believes the clock when it has stood for long enough, and drops what no kept event needs; true when that changed
    /// anything.
    pub(crate) fn settle(&mut self, wall: Time, first: Seq) -> bool {
        let was = self.clone();
        let now = self.now(wall);
        let stands = |doubt: Doubt| {
            let long = doubt.counted() > i64::try_from(LONG.as_millis()).unwrap_or(i64::MAX);
            now.since(doubt.since) >= if long { STANDS_LONG } else { STANDS }
        };
        self.doubt = self.doubt.filter(|doubt| !stands(*doubt));
        while self.steps.get(1).is_some_and(|next| next.from <= first) {
            self.steps.remove(0);
        }
        *self != was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    fn at(millis: i64) -> Time {
        Time::from_millis(1_800_000_000_000 + millis)
    }

    fn span(millis: i64) -> Duration {
        Duration::from_millis(u64::try_from(millis).unwrap())
    }

    #[test]
    fn a_step_changes_no_age() {
        for by in [90_000, -90_000, 2 * DAY, -2 * DAY, 366 * DAY, -366 * DAY, -60 * 366 * DAY] {
            let mut ages = Ages::default();
            let then = ages.now(at(0));
            ages.step(by, Seq(8), at(by));
            assert_eq!(ages.now(at(by + 5000)).since(then), span(5000), "{by}");
            assert_eq!(ages.surely(at(by + 5000)), ages.now(at(by + 5000)), "{by}: it is known");
            assert_eq!(ages.wall(then), at(by), "{by}");
            // Of events before and after it.
            assert_eq!(ages.now(at(by + 5000)).since(ages.of_event(Seq(7), at(-1000))), span(6000), "{by}");
            assert_eq!(ages.now(at(by + 5000)).since(ages.of_event(Seq(8), at(by + 1000))), span(4000), "{by}");
            // And back.
            ages.step(-by, Seq(9), at(0));
            assert_eq!(ages.now(at(10_000)).since(then), span(10_000), "{by}");
        }
    }

    #[test]
    fn events_of_each_clock_have_a_cutoff_by_it() {
        let mut ages = Ages::default();
        ages.step(366 * DAY, Seq(5), at(366 * DAY));
        ages.step(-366 * DAY, Seq(9), at(HOUR));
        let keep = span(HOUR);
        let of = |first| ages.cutoff(Seq(first), keep, at(2 * HOUR));
        assert_eq!(of(1), Cutoff { before: at(HOUR), last: Seq(4) });
        assert_eq!(of(4), Cutoff { before: at(HOUR), last: Seq(4) });
        assert_eq!(of(5), Cutoff { before: at(HOUR + 366 * DAY), last: Seq(8) });
        assert_eq!(of(9), Cutoff { before: at(HOUR), last: Seq(u64::MAX) });
    }

    /// A start after the machine was off: what the clock says of it, how it is set after a minute, whether the key of an
    /// hour before and one of now are a day old after an hour, and how long the off time was in the end.
    #[test]
    fn what_only_the_clock_says_waits_until_the_clock_has_stood() {
        for (off, set, in_the_end) in [
            (16 * HOUR, 0, 16 * HOUR),
            (0, 0, 0),
            // It was wrong forwards, and is put right.
            (366 * DAY, -366 * DAY, 0),
            (366 * DAY, -365 * DAY, DAY),
            // Set back further than the machine was off: nothing gets younger than it was.
            (DAY, -2 * DAY, 0),
            // It was behind what was known, and is put right.
            (-DAY, DAY + 3 * HOUR, 3 * HOUR),
            (-DAY, DAY, 0),
            (-60 * 366 * DAY, 0, 0),
        ] {
            let mut ages = Ages::default();
            let before = ages.now(at(0));
            let start = at(off);
            ages.doubt(span(off.max(0)), start);
            if off < 0 {
                ages.step(off, Seq(5), start);
            }
            let minute = 60_000;
            let sure = |ages: &Ages, wall| ages.surely(wall).since(before);
            assert_eq!(sure(&ages, at(off + minute)), span(minute), "{off} {set}");
            assert_eq!(ages.now(at(off + minute)).since(before), span(off.max(0) + minute), "{off} {set}");
            if set != 0 {
                ages.step(set, Seq(6), at(off + set + minute));
            }
            let later = at(off + set + 14 * minute);
            ages.settle(later, Seq(1));
            assert_eq!(sure(&ages, later), span(14 * minute), "{off} {set}: not yet");
            let later = at(off + set + 17 * minute);
            ages.settle(later, Seq(1));
            assert_eq!(sure(&ages, later), span(in_the_end + 17 * minute), "{off} {set}");
            // What was noted meanwhile is never older than it is.
            assert!(ages.surely(later).since(ages.now(later)) == Duration::ZERO);
        }
    }

    #[test]
    fn a_long_time_is_believed_after_a_day() {
        let mut ages = Ages::default();
        let before = ages.now(at(0));
        ages.doubt(span(366 * DAY), at(366 * DAY));
        // The daemon is started again, and the machine as well.
        ages.doubt(span(HOUR), at(366 * DAY + HOUR));
        for (after, believed) in [(HOUR, false), (23 * HOUR, false), (24 * HOUR, true)] {
            let wall = at(366 * DAY + HOUR + after);
            assert_eq!(ages.settle(wall, Seq(1)), believed, "{after}");
            assert_eq!(ages.surely(wall).since(before) > span(366 * DAY), believed, "{after}");
        }
    }

    #[test]
    fn many_steps_are_few_in_the_end_and_make_nothing_older() {
        let mut ages = Ages::default();
        for n in 1..1000 {
            ages.step(if n % 2 == 1 { HOUR } else { -HOUR }, Seq(n), at(n as i64));
        }
        assert!(ages.steps.len() <= STEPS_MAX);
        assert_eq!(ages.of_event(Seq(5), at(0)), at(0), "as the younger of two");
        assert_eq!(ages.of_event(Seq(999), at(HOUR)), at(0));
        assert!(ages.settle(at(0), Seq(998)));
        assert_eq!(ages.steps.len(), 2);
    }
}
