//! Who waits for the answer to a command at this moment: an event that could be several questions' answer is given to
//! one that somebody still waits for.
//!
//! In memory only: after a restart those who wait come back, and until then a young question counts as waited for.

use crate::clock::Time;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the answer to a question is waited for unless told (contract 3): so long a question counts as waited for
/// although nobody says so.
const WAIT: Duration = Duration::from_secs(30);
/// This many commands are remembered whose awaited left; the oldest are forgotten first.
const LEFT_MAX: usize = 10_000;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Awaited(Arc<Mutex<HashMap<u64, Seat>>>);

/// The awaited of one command; zero of them: they left without an answer.
#[derive(Debug, Default)]
struct Seat {
    waiting: usize,
}

/// Somebody waits while this lives.
#[derive(Debug)]
pub(crate) struct Waiter {
    awaited: Awaited,
    id: u64,
}

impl Awaited {
    /// Somebody begins to wait for the answer to a command.
    pub(crate) fn begin(&self, id: u64) -> Waiter {
        self.with(|seats| seats.entry(id).or_default().waiting += 1);
        Waiter { awaited: self.clone(), id }
    }

    /// Whether somebody waits for the answer to a command that was handed over then.
    pub(crate) fn waits(&self, id: u64, handed: Option<Time>, now: Time) -> bool {
        let known = self.with(|seats| seats.get(&id).map(|seat| seat.waiting > 0));
        known.unwrap_or_else(|| handed.is_some_and(|handed| now.since(handed) < WAIT))
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<u64, Seat>) -> T) -> T {
        // Nothing here panics half-way.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.awaited.with(|seats| {
            if let Some(seat) = seats.get_mut(&self.id) {
                seat.waiting = seat.waiting.saturating_sub(1);
            }
            if seats.len() > LEFT_MAX
                && let Some(oldest) = seats.iter().filter(|(_, seat)| seat.waiting == 0).map(|(id, _)| *id).min()
            {
                seats.remove(&oldest);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_command_is_waited_for_while_somebody_does() {
        let awaited = Awaited::default();
        let one = awaited.begin(1);
        let two = awaited.begin(1);
        drop(one);
        assert!(awaited.waits(1, Some(at(0)), at(1000)), "the second one still does");
        drop(two);
        assert!(!awaited.waits(1, Some(at(0)), at(1)), "all have left, however young it is");
    }

    #[test]
    fn a_young_question_counts_as_waited_for() {
        let awaited = Awaited::default();
        assert!(awaited.waits(1, Some(at(0)), at(29)));
        assert!(!awaited.waits(1, Some(at(0)), at(30)));
        assert!(!awaited.waits(1, None, at(0)));
    }

    #[test]
    fn those_who_left_are_forgotten_some_day() {
        let awaited = Awaited::default();
        for id in 0..LEFT_MAX as u64 + 10 {
            drop(awaited.begin(id));
        }
        assert!(awaited.with(|seats| seats.len()) <= LEFT_MAX);
    }
}
