//! Pacing: what keeps an account from being blocked (contract 2). Pure over a small state per account, which is
//! stored with the claim that spends it, so that a restart forgives nothing.

use crate::clock::Time;
use crate::config;
use crate::control::Held;
use crate::key::{self, PACE};
use crate::protocol::command::Class;
use crate::store::{Error, Store, Txn};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// This many moments of friend commands are remembered apart; with more in a day, neighbours count as one moment, the
/// later one.
const MOMENTS_MAX: usize = 500;

/// How many budgets one sweep looks at.
const SWEEP_MAX: usize = 500;

/// Whose budget is spent: an account's, a poller's that is no account, or that of clients that do not say who they are.
/// What was spent by a poller is the account's once it is known who that was: then the budgets become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Purse {
    own: String,
    also: Vec<String>,
}

impl Purse {
    /// Of an account or a poller.
    pub(crate) fn of(name: &str) -> Self {
        Self { own: name.to_owned(), also: Vec::new() }
    }

    /// Of a client that says no name. Names have no control characters, so this is nobody else's.
    pub(crate) fn unnamed(pid: Option<u64>) -> Self {
        Self { own: pid.map_or_else(String::new, |pid| format!("\0{pid}")), also: Vec::new() }
    }

    /// What another one spent counts here.
    pub(crate) fn add(&mut self, other: Self) {
        self.also.push(other.own);
        self.also.extend(other.also);
    }

    /// The key of what is spent from now on.
    pub(crate) fn key(&self) -> &str {
        &self.own
    }
}

/// What an account has spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// Sends used up, at `at`; refills with time. Counting what is *used* lets the size of the bucket change.
    used: f64,
    at: Time,
    /// When the last friend command went.
    friend: Option<Time>,
    /// When friend commands of the last 24 h went, and how many, oldest first.
    #[serde(default)]
    moments: Vec<(Time, u32)>,
    /// Of the first version: when the day of `friends` began.
    #[serde(default, skip_serializing)]
    day: Option<Time>,
    #[serde(default, skip_serializing)]
    friends: u32,
    /// It differs from what is stored.
    #[serde(skip)]
    changed: bool,
}

impl Pace {
    fn new(now: Time) -> Self {
        Self { used: 0.0, at: now, friend: None, moments: Vec::new(), day: None, friends: 0, changed: false }
    }

    fn parse(bytes: Option<&[u8]>, now: Time) -> Self {
        let mut pace = bytes.and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_else(|| Self::new(now));
        if let Some(day) = pace.day.take().filter(|_| pace.friends > 0) {
            pace.moments.insert(0, (pace.friend.unwrap_or(day), std::mem::take(&mut pace.friends)));
            pace.changed = true;
        }
        pace.clamp(now);
        pace
    }

    /// The wall clock may have been set back while nobody watched; then what was spent "in the future" counts from now
    /// on. That must be stored, or it would be now again at the next look, and never be over.
    fn clamp(&mut self, now: Time) {
        let times = [Some(&mut self.at), self.friend.as_mut()].into_iter().flatten();
        for time in times.chain(self.moments.iter_mut().map(|(time, _)| time)).filter(|time| **time > now) {
            *time = now;
            self.changed = true;
        }
    }

    /// What a purse has spent; what came to it from others is in it from then on.
    pub(crate) fn load(tx: &mut Txn<'_>, purse: &Purse, now: Time, pacing: &config::Pacing) -> Self {
        let mut pace = Self::parse(tx.get(PACE, purse.own.as_bytes()).as_deref(), now);
        for other in &purse.also {
            if let Some(bytes) = tx.get(PACE, other.as_bytes()) {
                pace.merge(&Self::parse(Some(&bytes), now), now, pacing);
                tx.delete(PACE, other.as_bytes());
            }
        }
        pace
    }

    /// As [`load`](Self::load), to look at.
    pub(crate) fn read(store: &Store, purse: &Purse, now: Time, pacing: &config::Pacing) -> Result<Self, Error> {
        let mut pace = Self::parse(store.get(PACE, purse.own.as_bytes())?.as_deref(), now);
        for other in &purse.also {
            if let Some(bytes) = store.get(PACE, other.as_bytes())? {
                pace.merge(&Self::parse(Some(&bytes), now), now, pacing);
            }
        }
        Ok(pace)
    }

    fn merge(&mut self, other: &Self, now: Time, pacing: &config::Pacing) {
        let rate = f64::from(pacing.sends_per_minute);
        self.used = self.used_at(now, rate) + other.used_at(now, rate);
        self.at = now;
        self.friend = self.friend.max(other.friend);
        self.moments.extend(&other.moments);
        self.moments.sort_unstable();
        self.changed = true;
    }

    /// Stores what changed.
    pub(crate) fn store(&self, tx: &mut Txn<'_>, purse: &Purse) {
        if self.changed {
            tx.put(PACE, purse.own.as_bytes(), serde_json::to_vec(self).expect("plain data"));
        }
    }

    /// Takes back what a command spent that did not arrive.
    pub(crate) fn give_back(tx: &mut Txn<'_>, purse: &Purse, class: Class, now: Time) {
        let Some(bytes) = tx.get(PACE, purse.own.as_bytes()) else { return };
        let mut pace = Self::parse(Some(&bytes), now);
        pace.refund(class);
        pace.store(tx, purse);
    }

    fn used_at(&self, now: Time, rate: f64) -> f64 {
        (self.used - now.since(self.at).as_secs_f64() * rate / 60.0).max(0.0)
    }

    /// Whether commands of a class may ever be held.
    pub(crate) fn can_hold(class: Class, pacing: &config::Pacing) -> bool {
        match class {
            Class::Question => false,
            Class::Send => pacing.sends_per_minute > 0,
            Class::Friend => !pacing.friend_gap.is_zero() || pacing.friends_per_day > 0,
        }
    }

    /// Why the next command of a class must wait, when it must. `before`: this many of its class go first.
    pub(crate) fn held(&self, class: Class, before: u32, now: Time, pacing: &config::Pacing) -> Option<Held> {
        match class {
            Class::Question => None,
            Class::Send => {
                let rate = f64::from(pacing.sends_per_minute);
                if pacing.sends_per_minute == 0 {
                    return None;
                }
                // A part in a thousand absorbs rounding: a token is there when it is all but there.
                let over = self.used_at(now, rate) + f64::from(before) + 1.0 - rate;
                (over > 0.001).then(|| Held {
                    until: Some(now.after(Duration::from_secs_f64(over * 60.0 / rate))),
                    reason: format!("pacing: {} sends a minute", pacing.sends_per_minute),
                })
            }
            Class::Friend => {
                let (until, by_day) = self.friend_due(before, now, pacing);
                let reason = || {
                    if by_day {
                        format!("pacing: {} friend commands a day", pacing.friends_per_day)
                    } else {
                        format!("pacing: {:?} between friend commands", pacing.friend_gap)
                    }
                };
                (until > now).then(|| Held { until: Some(until), reason: reason() })
            }
        }
    }

    /// Counts a command that goes now.
    pub(crate) fn spend(&mut self, class: Class, now: Time, pacing: &config::Pacing) {
        match class {
            Class::Question => return,
            Class::Send => {
                // With the limit off nothing is counted, or switching it on would find a debt of years.
                if pacing.sends_per_minute > 0 {
                    self.used = self.used_at(now, f64::from(pacing.sends_per_minute)) + 1.0;
                    self.at = now;
                }
            }
            Class::Friend => {
                self.forget(now);
                match self.moments.last_mut() {
                    Some((last, n)) if *last == now => *n = n.saturating_add(1),
                    _ => self.moments.push((now, 1)),
                }
                while self.moments.len() > MOMENTS_MAX {
                    let (_, n) = self.moments.remove(0);
                    self.moments[0].1 = self.moments[0].1.saturating_add(n);
                }
                self.friend = Some(now);
            }
        }
        self.changed = true;
    }

    /// Drops the moments that no 24 hours from now on will hold.
    fn forget(&mut self, now: Time) {
        self.moments.retain(|(time, _)| now.since(*time) < DAY);
    }

    /// When the next friend command goes that has `before` in front of it, all as soon as they may; and whether it is the
    /// 24 hours that it waits for, and not the gap.
    fn friend_due(&self, before: u32, now: Time, pacing: &config::Pacing) -> (Time, bool) {
        let (gap, most) = (pacing.friend_gap, pacing.friends_per_day);
        let mut due = self.friend.map_or(now, |last| last.after(gap)).max(now);
        let lately = || self.moments.iter().filter(|(time, _)| now.since(*time) < DAY);
        let went: u32 = lately().fold(0, |sum, (_, n)| sum.saturating_add(*n));
        if most == 0 || went.saturating_add(before) < most {
            return (due.after(gap.saturating_mul(before)), false);
        }
        // Once all that count in a day are among those in front, each goes a day after the one that is `most` before it,
        // or, where so many gaps are longer than a day, a gap after the one before it.
        let (steps, later) = match before.checked_sub(most) {
            Some(over) if gap.saturating_mul(most) <= DAY => (most + over % most, DAY.saturating_mul(over / most)),
            Some(over) => (most, gap.saturating_mul(over)),
            None => (before, Duration::ZERO),
        };
        let each = |(time, n): &(Time, u32)| std::iter::repeat_n(*time, usize::try_from(*n).unwrap_or(usize::MAX));
        let kept = usize::try_from(most).unwrap_or(usize::MAX);
        let mut last: VecDeque<Time> = lately().rev().flat_map(each).take(kept).collect();
        last.make_contiguous().reverse();
        for step in 0.. {
            let day_over = if last.len() >= kept { last.pop_front().map(|first| first.after(DAY)) } else { None };
            let by_day = day_over.is_some_and(|over| over >= due);
            due = day_over.map_or(due, |over| over.max(due));
            if step == steps {
                return (due.after(later), by_day);
            }
            last.push_back(due);
            due = due.after(gap);
        }
        (due, false)
    }

    /// The gap stays: the client may have seen a part of it.
    fn refund(&mut self, class: Class) {
        match class {
            Class::Question => return,
            Class::Send => self.used = (self.used - 1.0).max(0.0),
            Class::Friend => match self.moments.last_mut() {
                Some((_, n)) if *n > 1 => *n -= 1,
                _ => drop(self.moments.pop()),
            },
        }
        self.changed = true;
    }

    /// The same, as of a clock that was set by this many milliseconds.
    fn shifted(mut self, by: i64) -> Self {
        let moved = |time: Time| Time::from_millis(time.millis().saturating_add(by));
        self.at = moved(self.at);
        self.friend = self.friend.map(moved);
        self.moments.iter_mut().for_each(|(time, _)| *time = moved(*time));
        self.changed = true;
        self
    }

    /// Whether it holds nothing back any more, under any settings.
    fn is_over(&self, now: Time) -> bool {
        let long_ago = |time: Time| now.since(time) >= DAY;
        long_ago(self.at) && self.friend.is_none_or(long_ago) && self.moments.iter().all(|(time, _)| long_ago(*time))
    }
}

/// Moves what was spent by this many milliseconds: the clock was set.
pub(crate) fn shift(tx: &mut Txn<'_>, by: i64) {
    let mut from = Vec::new();
    loop {
        let found: Vec<_> = tx.scan(PACE, &from[..]..).take(SWEEP_MAX).collect();
        let Some((last, _)) = found.last() else { return };
        from = key::next(last);
        for (key, bytes) in &found {
            // Read as it stands: what looks like the future is what is being mended.
            if let Ok(pace) = serde_json::from_slice::<Pace>(bytes) {
                let pace = pace.shifted(by);
                tx.put(PACE, key, serde_json::to_vec(&pace).expect("plain data"));
            }
        }
    }
}

/// Forgets budgets that hold nothing back: names of pollers can be invented. Returns how many.
pub(crate) fn sweep(tx: &mut Txn<'_>, now: Time) -> usize {
    let found: Vec<_> = tx.scan(PACE, ..).take(SWEEP_MAX).collect();
    let over = over(&found, now);
    over.iter().for_each(|key| tx.delete(PACE, key));
    over.len()
}

/// Whether [`sweep`] would find something.
pub(crate) fn has_over(store: &Store, now: Time) -> Result<bool, Error> {
    let found = store.scan(PACE, ..).take(SWEEP_MAX).collect::<Result<Vec<_>, _>>()?;
    Ok(!over(&found, now).is_empty())
}

fn over(found: &[(Vec<u8>, Vec<u8>)], now: Time) -> Vec<Vec<u8>> {
    let is_over = |bytes: &[u8]| serde_json::from_slice::<Pace>(bytes).map_or(true, |pace| pace.is_over(now));
    found.iter().filter(|(_, bytes)| is_over(bytes)).map(|(key, _)| key.clone()).collect()
}

/// Forgets what an account has spent.
pub(crate) fn forget(tx: &mut Txn<'_>, purse: &Purse) {
    std::iter::once(&purse.own).chain(&purse.also).for_each(|key| tx.delete(PACE, key.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_burst_of_forty_goes_at_once_and_the_next_waits_for_a_token() {
        let pacing = config::Pacing::default();
        let mut pace = Pace::new(at(0));
        for _ in 0..40 {
            assert_eq!(pace.held(Class::Send, 0, at(0), &pacing), None);
            pace.spend(Class::Send, at(0), &pacing);
        }
        let held = pace.held(Class::Send, 0, at(0), &pacing).unwrap();
        assert_eq!(held.until, Some(at(0).after(Duration::from_millis(1500))));
        assert!(held.reason.starts_with("pacing: "));
        assert_eq!(pace.held(Class::Send, 0, at(2), &pacing), None);
        assert_eq!(pace.held(Class::Question, 0, at(0), &pacing), None);
    }

    #[test]
    fn friends_keep_a_gap_and_a_daily_cap() {
        let pacing = config::Pacing { friends_per_day: 2, ..config::Pacing::default() };
        let mut pace = Pace::new(at(0));
        pace.spend(Class::Friend, at(0), &pacing);
        assert_eq!(pace.held(Class::Friend, 0, at(1), &pacing).unwrap().until, Some(at(5)));
        assert_eq!(pace.held(Class::Friend, 0, at(5), &pacing), None);
        pace.spend(Class::Friend, at(5), &pacing);
        assert_eq!(pace.held(Class::Friend, 0, at(3600), &pacing).unwrap().until, Some(at(86_400)));
        assert_eq!(pace.held(Class::Friend, 0, at(86_400), &pacing), None);
    }

    #[test]
    fn no_24_hours_hold_more_friend_commands_than_a_day_may() {
        for most in [1, 3, 40, 200] {
            let pacing = config::Pacing {
                friends_per_day: most,
                friend_gap: Duration::from_secs(5),
                ..config::Pacing::default()
            };
            let mut pace = Pace::new(at(0));
            let mut went: Vec<i64> = Vec::new();
            // A client that is there for an hour at odd times, for four days.
            for second in (0..4 * 86_400).filter(|second| second / 3600 % 7 < 2) {
                if pace.held(Class::Friend, 0, at(second), &pacing).is_none() {
                    pace.spend(Class::Friend, at(second), &pacing);
                    went.push(second);
                }
            }
            assert!(went.len() >= 3 * most as usize, "{most}: {}", went.len());
            for (n, end) in went.iter().enumerate().skip(most as usize) {
                assert!(end - went[n - most as usize] >= 86_400, "{most}: {end}");
            }
        }
    }

    #[test]
    fn a_friend_command_behind_many_is_told_the_day_when_it_goes() {
        let pacing = config::Pacing { friends_per_day: 2, friend_gap: Duration::ZERO, ..config::Pacing::default() };
        let mut pace = Pace::new(at(0));
        pace.spend(Class::Friend, at(0), &pacing);
        pace.spend(Class::Friend, at(100), &pacing);
        for (before, until) in [(0, 86_400), (1, 86_500), (2, 86_400 + 86_400), (3, 86_500 + 86_400)] {
            let held = pace.held(Class::Friend, before, at(200), &pacing).unwrap();
            assert_eq!(held.until, Some(at(until)), "{before}");
        }
    }

    /// Whatever went before, each one that waits is told the very moment when it goes, if all go as soon as they may.
    #[test]
    fn friend_commands_go_when_they_were_told_that_they_would() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let gap = [0, 4, 600, 40_000][random.usize(..4)];
            let pacing = config::Pacing {
                friends_per_day: random.u32(0..6),
                friend_gap: Duration::from_secs(gap),
                ..config::Pacing::default()
            };
            let mut pace = Pace::new(at(0));
            let mut now = 0;
            for _ in 0..random.usize(..5) {
                now += random.i64(0..50_000);
                pace.spend(Class::Friend, at(now), &pacing);
            }
            now += random.i64(0..50_000);
            let told = |before| pace.held(Class::Friend, before, at(now), &pacing).and_then(|held| held.until);
            let told: Vec<Time> = (0..20).map(|before| told(before).unwrap_or(at(now))).collect();
            let mut at_last = at(now);
            for (before, told) in told.into_iter().enumerate() {
                while let Some(held) = pace.held(Class::Friend, 0, at_last, &pacing) {
                    at_last = held.until.unwrap();
                }
                assert_eq!(told, at_last, "seed {seed}, {before} in front: {pacing:?}");
                pace.spend(Class::Friend, at_last, &pacing);
            }
        }
    }

    #[test]
    fn budgets_become_one_when_it_is_known_whose_they_were() {
        let pacing = config::Pacing { friends_per_day: 3, ..config::Pacing::default() };
        let spent = |n: usize, when: i64| {
            let mut pace = Pace::new(at(when));
            (0..n).for_each(|_| pace.spend(Class::Send, at(when), &pacing));
            pace.spend(Class::Friend, at(when), &pacing);
            pace
        };
        let mut pace = spent(15, 10);
        pace.merge(&spent(25, 10), at(10), &pacing);
        assert!(pace.held(Class::Send, 0, at(10), &pacing).is_some());
        pace.merge(&spent(0, 12), at(12), &pacing);
        assert_eq!(pace.held(Class::Friend, 0, at(100), &pacing).unwrap().until, Some(at(86_410)));
    }

    #[test]
    fn zero_switches_a_limit_off() {
        let pacing = config::Pacing { sends_per_minute: 0, friend_gap: Duration::ZERO, friends_per_day: 0 };
        let mut pace = Pace::new(at(0));
        for _ in 0..1000 {
            for class in [Class::Send, Class::Friend] {
                assert_eq!(pace.held(class, 0, at(0), &pacing), None);
                pace.spend(class, at(0), &pacing);
            }
        }
    }

    #[test]
    fn a_clock_set_back_holds_nothing_longer_than_its_rule_says() {
        let pacing = config::Pacing::default();
        let mut pace = Pace::new(at(100_000));
        (0..40).for_each(|_| pace.spend(Class::Send, at(100_000), &pacing));
        pace.spend(Class::Friend, at(100_000), &pacing);
        let bytes = serde_json::to_vec(&pace).unwrap();
        // Nobody watched: it counts from the first look on, and that look is stored.
        let back = Pace::parse(Some(&bytes), at(0));
        assert!(back.changed);
        let stored = serde_json::to_vec(&back).unwrap();
        for (later, held) in [(1, true), (5, false)] {
            let pace = Pace::parse(Some(&stored), at(later));
            assert_eq!(pace.held(Class::Friend, 0, at(later), &pacing).is_some(), held, "{later}");
            assert_eq!(pace.held(Class::Send, 0, at(later), &pacing).is_some(), later < 2, "{later}");
        }
        // Somebody watched: nothing is gained and nothing lost, in either direction.
        for by in [-90_000, 90_000] {
            let moved = pace.clone().shifted(by * 1000);
            for later in [0, 3, 5] {
                for class in [Class::Send, Class::Friend] {
                    let (is, was) = (
                        moved.held(class, 0, at(100_000 + by + later), &pacing),
                        pace.held(class, 0, at(100_000 + later), &pacing),
                    );
                    assert_eq!(is.is_some(), was.is_some(), "{by} {later} {class:?}");
                }
            }
        }
    }

    #[test]
    fn the_day_of_the_first_version_still_counts() {
        let bytes = br#"{"used":0.0,"at":"2027-01-15T08:00:00.000Z","friend":"2027-01-15T08:00:00.000Z","day":"2027-01-15T07:00:00.000Z","friends":200}"#;
        let now = Time::from_millis(1_800_000_000_000).after(Duration::from_secs(3600));
        let pace = Pace::parse(Some(bytes), now);
        assert!(pace.held(Class::Friend, 0, now, &config::Pacing::default()).unwrap().reason.contains("a day"));
    }
}
