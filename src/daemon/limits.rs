//! Limits of the doors, with their reasons, and a count of what they turned away.

use super::places::Places;
use super::service::lock;
use crate::config;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request's header, bytes: URLs with a token and an id have a few hundred.
pub(super) const HEADER_BYTES_MAX: usize = 16 * 1024;
/// A connection's buffers, bytes, each way: what a stream has read ahead of its reader.
pub(super) const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Lines in a request's header: browsers send about thirty.
pub(super) const HEADER_LINES_MAX: usize = 64;
/// After a stop was asked for, requests in flight get so long (contract 1).
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// When the process has no file handle left, accepting rests for so long instead of spinning.
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(100);
/// A connection between two requests, as long as nginx gives one; a client may well post once a minute.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A TLS handshake takes a few round trips.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Unread input is read for so long after an early answer, or the answer would be destroyed by a reset.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(3);
/// … and so much of it: a client that sends a body beyond the limit sees the answer that says so.
pub(super) const LINGER_BYTES: usize = 64 << 20;
/// Connections to the control door: followers, waiting scripts, completions.
pub(super) const CONTROL_CONNECTIONS_MAX: usize = 1024;
/// File handles kept for the store, logs and timers, beside those of connections.
pub(super) const SPARE_HANDLES: u64 = 256;

/// Refused requests are logged at most so often: a flood must not fill the log.
pub(super) const REFUSALS_LOG_REST: Duration = Duration::from_secs(10);

/// Says something at most once in a while.
#[derive(Debug)]
pub(super) struct Seldom {
    rest: Duration,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    pub(super) fn new(rest: Duration) -> Self {
        Self { rest, last: Mutex::default() }
    }

    /// Whether it is time to say it; then the rest begins.
    pub(super) fn may_speak(&self) -> bool {
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
pub(super) struct SeldomEach {
    rest: Duration,
    last: Mutex<BTreeMap<(&'static str, String), Instant>>,
}

impl SeldomEach {
    /// Of one kind so many different things are said in one rest: what is said may be another's words.
    const OF_A_KIND_MAX: usize = 8;
    /// So much of what is said tells it apart, bytes.
    const TOLD_APART_BYTES: usize = 512;

    pub(super) fn new(rest: Duration) -> Self {
        Self { rest, last: Mutex::default() }
    }

    /// Whether it is time to say this, which is of that kind; then its rest begins.
    pub(super) fn may_speak(&self, kind: &'static str, what: &str) -> bool {
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

/// What one door allows, and what it turned away.
#[derive(Debug)]
pub struct Limits {
    /// Who is in.
    pub(super) places: Arc<Places>,
    /// A request's header.
    pub(super) header_timeout: Duration,
    /// A whole response; `None` on the control door, where followers may read as slowly as they like.
    pub(super) write_timeout: Option<Duration>,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

impl Limits {
    /// The client door's.
    #[must_use]
    pub fn client(http: &config::Http) -> Arc<Self> {
        let handles = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = usize::try_from(handles.saturating_sub(SPARE_HANDLES) / 2).unwrap_or(usize::MAX).max(8);
        let places = Places::new("client", http.connections_max.min(room), http.connections_per_address_max);
        Arc::new(Self::new(places, http.header_timeout, Some(http.write_timeout)))
    }

    /// The control door's.
    #[must_use]
    pub fn control() -> Arc<Self> {
        let places = Places::new("control", CONTROL_CONNECTIONS_MAX, usize::MAX);
        Arc::new(Self::new(places, Duration::from_secs(60), None))
    }

    fn new(places: Arc<Places>, header_timeout: Duration, write_timeout: Option<Duration>) -> Self {
        Self { places, header_timeout, write_timeout, rejected: Mutex::default() }
    }

    /// Counts something turned away.
    pub(super) fn reject(&self, reason: &'static str) {
        *lock(&self.rejected).entry(reason).or_default() += 1;
    }

    /// What was turned away since the start, by reason.
    pub(super) fn rejected(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.rejected).clone()
    }

    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.places.open()
    }
}

/// Raises the number of file handles that this process may have to what the system lets it.
pub fn raise_handles() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current != now.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })
    {
        tracing::debug!("cannot raise the number of file handles: {error}");
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
