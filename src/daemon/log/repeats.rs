//! Which callback tells the very same as one of the last minute (contract 7, `repeat_of`): clients report again what they
//! did not see answered.
//!
//! Promises: a callback that tells the same as one that is still on its way waits for that one's number. A [`Place`] that is
//! dropped unfilled is told as such: its callback may be stored all the same, when its client hung up. Memory is bounded by [`RECENT_MAX`], beyond which the oldest are forgotten.
//! Leaves to others: keeping the number beside the event (`entry`).

use crate::clock::Time;
use crate::seq::Seq;
use crate::sync::lock;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What came longer ago is no repetition.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// So many are looked at again after a start.
pub(super) const RESTORE_MAX: usize = 5_000;
/// So many callbacks are remembered: a thousand a second, for a minute.
pub(super) const RECENT_MAX: usize = 60_000;

/// The callbacks of the last minute.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    recent: Arc<Mutex<LastMinute>>,
}

#[derive(Debug, Default)]
struct LastMinute {
    /// By the hash of their bytes: which try it was, and where the newest stands.
    by_hash: HashMap<u64, (u64, Stands)>,
    /// Oldest first.
    came: VecDeque<(Time, u64, u64)>,
    tries: u64,
}

#[derive(Debug, Clone)]
enum Stands {
    At(Seq),
    /// It is on its way.
    Coming(watch::Receiver<Option<Seq>>),
}

/// The last callback that was the same as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twin {
    None,
    At(Seq),
    /// There was one, and nobody knows whether it was stored.
    Lost,
}

/// The place in the log that a callback will have.
#[derive(Debug)]
pub(super) struct Place {
    recent: Arc<Mutex<LastMinute>>,
    hash: u64,
    number: u64,
    tell: watch::Sender<Option<Seq>>,
}

impl Place {
    /// It has this one.
    pub(super) fn fill(self, seq: Seq) {
        self.tell.send_replace(Some(seq));
        let mut recent = lock(&self.recent);
        if let Some((number, stands)) = recent.by_hash.get_mut(&self.hash)
            && *number == self.number
        {
            *stands = Stands::At(seq);
        }
    }
}

impl Repeats {
    /// What makes marks of bodies; for a large one that is work for another thread.
    pub(super) fn marker(&self) -> impl Fn(&[u8]) -> u64 + Send + use<> {
        let hasher = self.hasher.clone();
        move |body| hasher.hash_one(body)
    }

    /// Notes a callback that comes now, by its mark: the one before it that was the same, and its own place.
    pub(super) async fn note(&self, mark: u64, now: Time) -> (Twin, Place) {
        let (before, place) = self.enter(mark, now);
        let before = match before {
            None => Twin::None,
            Some(Stands::At(seq)) => Twin::At(seq),
            Some(Stands::Coming(mut coming)) => {
                let seq = coming.wait_for(Option::is_some).await.ok().and_then(|seq| *seq);
                seq.map_or(Twin::Lost, Twin::At)
            }
        };
        (before, place)
    }

    /// Notes one that is stored already.
    pub(super) fn restore(&self, body: &[u8], time: Time, seq: Seq) {
        self.enter(self.marker()(body), time).1.fill(seq);
    }

    fn enter(&self, hash: u64, now: Time) -> (Option<Stands>, Place) {
        let mut recent = lock(&self.recent);
        while let Some((time, hash, number)) = recent.came.front().copied()
            && (now.since(time) > WITHIN || recent.came.len() >= RECENT_MAX)
        {
            recent.came.pop_front();
            if recent.by_hash.get(&hash).is_some_and(|(newest, _)| *newest == number) {
                recent.by_hash.remove(&hash);
            }
        }
        recent.tries += 1;
        let number = recent.tries;
        recent.came.push_back((now, hash, number));
        let (tell, coming) = watch::channel(None);
        let before = recent.by_hash.insert(hash, (number, Stands::Coming(coming)));
        drop(recent);
        (before.map(|(_, stands)| stands), Place { recent: Arc::clone(&self.recent), hash, number, tell })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_000_000 + seconds * 1000)
    }

    #[tokio::test]
    async fn the_same_within_a_minute_is_a_repetition() {
        let repeats = Repeats::default();
        let came = async |body: &str, seconds, seq| {
            let (before, place) = repeats.note(repeats.marker()(body.as_bytes()), at(seconds)).await;
            place.fill(Seq(seq));
            match before {
                Twin::At(seq) => Some(seq.0),
                _ => None,
            }
        };
        assert_eq!(came("a", 0, 1).await, None);
        assert_eq!(came("b", 1, 2).await, None);
        assert_eq!(came("a", 2, 3).await, Some(1));
        assert_eq!(came("a", 60, 4).await, Some(3));
        assert_eq!(came("b", 62, 5).await, None, "a minute has passed");
        assert_eq!(lock(&repeats.recent).by_hash.len(), 2);
    }

    #[tokio::test]
    async fn who_comes_beside_the_first_waits_for_its_number_and_not_for_one_that_is_dropped() {
        let repeats = Repeats::default();
        let (_, first) = repeats.note(1, at(0)).await;
        let mut second = std::pin::pin!(repeats.note(1, at(0)));
        assert!(futures_now(second.as_mut()).await.is_none());
        first.fill(Seq(7));
        let (before, second) = second.await;
        assert_eq!(before, Twin::At(Seq(7)));
        drop(second);
        assert_eq!(repeats.note(1, at(1)).await.0, Twin::Lost);
    }

    /// What a future gives at once.
    async fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! { biased; value = future => Some(value), () = std::future::ready(()) => None }
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let repeats = Repeats::default();
        for n in 0..RECENT_MAX as u64 + 10 {
            repeats.restore(&n.to_le_bytes(), at(0), Seq(n + 1));
        }
        assert_eq!(lock(&repeats.recent).came.len(), RECENT_MAX);
        assert_eq!(lock(&repeats.recent).by_hash.len(), RECENT_MAX);
    }
}
