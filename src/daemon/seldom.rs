//! What is logged at most once in a while: a flood of causes must not fill the log.

use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Says something at most once in a while.
#[derive(Debug)]
pub(crate) struct Seldom {
    rest: Duration,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    pub(crate) fn new(rest: Duration) -> Self {
        Self { rest, last: Mutex::default() }
    }

    /// Whether it is time to say it; then the rest begins.
    pub(crate) fn may_speak(&self) -> bool {
        let mut last = lock(&self.last);
        let may = last.is_none_or(|last| last.elapsed() >= self.rest);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

/// Says each of several things at most once in a while: one that is said all the time must not hide another.
#[derive(Debug)]
pub(crate) struct SeldomEach {
    rest: Duration,
    last: Mutex<BTreeMap<(&'static str, String), Instant>>,
}

impl SeldomEach {
    /// Of one kind this many different things are said in one rest: what is said may be another's words.
    const OF_A_KIND_MAX: usize = 8;
    /// So much of what is said tells it apart, bytes.
    const TOLD_APART_BYTES: usize = 512;

    pub(crate) fn new(rest: Duration) -> Self {
        Self { rest, last: Mutex::default() }
    }

    /// Whether it is time to say this, which is of that kind; then its rest begins.
    pub(crate) fn may_speak(&self, kind: &'static str, what: &str) -> bool {
        let mut last = lock(&self.last);
        last.retain(|_, last| last.elapsed() < self.rest);
        let key = (kind, what[..what.floor_char_boundary(Self::TOLD_APART_BYTES)].to_owned());
        let may = !last.contains_key(&key) && last.keys().filter(|(of, _)| *of == kind).count() < Self::OF_A_KIND_MAX;
        if may {
            last.insert(key, Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_all_the_time_hides_nothing_else() {
        let said = SeldomEach::new(Duration::from_secs(3600));
        let speaks = |kind, what: &str| said.may_speak(kind, what);
        assert!(speaks("page", "a") && !speaks("page", "a") && speaks("host", "a") && speaks("host", "b"));
        let many = (0..1000).filter(|n| speaks("page", &n.to_string())).count();
        assert_eq!(many, SeldomEach::OF_A_KIND_MAX - 1, "and a flood does not fill the log");
        assert!(speaks("host", "c") && !speaks("host", "b"));
        let said = SeldomEach::new(Duration::ZERO);
        assert!(said.may_speak("page", "a") && said.may_speak("page", "a"), "later it is said again");
    }
}
