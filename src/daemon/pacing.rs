//! Pacing: what keeps an account from being blocked (contract 2). Pure over a small state per account, which is
//! stored with the claim that spends it, so that a restart forgives nothing.

use crate::clock::Time;
use crate::config;
use crate::control::Held;
use crate::protocol::command::Class;
use crate::store::{Error, Space, Store, Txn};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Account → [`Pace`].
const PACE: Space = Space(b'p');

const DAY: Duration = Duration::from_secs(86_400);

/// What an account has spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// Sends used up, at `at`; refills with time. Counting what is *used* lets the size of the bucket change.
    used: f64,
    at: Time,
    /// When the last friend command went.
    friend: Option<Time>,
    /// When the day of `friends` began: a window of 24 h from its first friend command.
    day: Option<Time>,
    friends: u32,
}

impl Pace {
    fn new(now: Time) -> Self {
        Self { used: 0.0, at: now, friend: None, day: None, friends: 0 }
    }

    fn parse(bytes: Option<Vec<u8>>, now: Time) -> Self {
        let mut pace = bytes.and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_else(|| Self::new(now));
        // The wall clock may have been set back; then what was spent "in the future" counts from now on.
        pace.at = pace.at.min(now);
        pace.friend = pace.friend.map(|t| t.min(now));
        pace.day = pace.day.map(|t| t.min(now));
        pace
    }

    pub(super) fn load(tx: &Txn<'_>, account: &str, now: Time) -> Self {
        Self::parse(tx.get(PACE, account.as_bytes()), now)
    }

    pub(super) fn read(store: &Store, account: &str, now: Time) -> Result<Self, Error> {
        Ok(Self::parse(store.get(PACE, account.as_bytes())?, now))
    }

    pub(super) fn store(&self, tx: &mut Txn<'_>, account: &str) {
        tx.put(PACE, account.as_bytes(), serde_json::to_vec(self).expect("plain data"));
    }

    fn used_at(&self, now: Time, rate: f64) -> f64 {
        (self.used - now.since(self.at).as_secs_f64() * rate / 60.0).max(0.0)
    }

    /// Why the next command of a class must wait, when it must. `before`: so many of its class go first.
    pub(super) fn held(&self, class: Class, before: u32, now: Time, pacing: &config::Pacing) -> Option<Held> {
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
                if pacing.friends_per_day > 0
                    && let Some(day) = self.day
                    && now.since(day) < DAY
                    && self.friends.saturating_add(before) >= pacing.friends_per_day
                {
                    let reason = format!("pacing: {} friend commands a day", pacing.friends_per_day);
                    return Some(Held { until: Some(day.after(DAY)), reason });
                }
                let next = self.friend.map_or(now, |last| last.after(pacing.friend_gap)).max(now);
                let until = next.after(pacing.friend_gap * before);
                (until > now).then(|| Held {
                    until: Some(until),
                    reason: format!("pacing: {:?} between friend commands", pacing.friend_gap),
                })
            }
        }
    }

    /// Counts a command that goes now.
    pub(super) fn spend(&mut self, class: Class, now: Time, pacing: &config::Pacing) {
        match class {
            Class::Question => {}
            Class::Send => {
                // With the limit off nothing is counted, or switching it on would find a debt of years.
                if pacing.sends_per_minute > 0 {
                    self.used = self.used_at(now, f64::from(pacing.sends_per_minute)) + 1.0;
                    self.at = now;
                }
            }
            Class::Friend => {
                if self.day.is_none_or(|day| now.since(day) >= DAY) {
                    (self.day, self.friends) = (Some(now), 0);
                }
                self.friends += 1;
                self.friend = Some(now);
            }
        }
    }

    /// Takes back what a command spent that did not arrive. The gap stays: the client may have seen a part of it.
    pub(super) fn refund(&mut self, class: Class) {
        match class {
            Class::Question => {}
            Class::Send => self.used = (self.used - 1.0).max(0.0),
            Class::Friend => self.friends = self.friends.saturating_sub(1),
        }
    }
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
    fn a_clock_set_back_holds_nothing_longer_than_a_full_bucket() {
        let pacing = config::Pacing::default();
        let mut pace = Pace::new(at(100_000));
        pace.spend(Class::Friend, at(100_000), &pacing);
        let bytes = serde_json::to_vec(&pace).unwrap();
        let back = Pace::parse(Some(bytes), at(0));
        assert_eq!(back.held(Class::Friend, 0, at(0), &pacing).unwrap().until, Some(at(5)));
    }
}
