//! Limits of the doors, with their reasons, and a count of what they turned away.

use super::service::lock;
use crate::config;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request's header, bytes: URLs with a token and an id have a few hundred.
pub(super) const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Lines in a request's header: browsers send about thirty.
pub(super) const HEADER_LINES_MAX: usize = 64;
/// After a stop was asked for, requests in flight get so long (contract 1).
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// When the process has no file handle left, accepting rests for so long instead of spinning.
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(100);
/// A TLS handshake takes a few round trips.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Unacknowledged bytes make the kernel give a connection up after so long.
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(10);
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

/// What one door allows, and what it turned away.
#[derive(Debug)]
pub struct Limits {
    /// Connections at one time.
    connections_max: usize,
    /// Of which from one address, loopback excepted.
    per_address_max: usize,
    /// A request's header, and a connection's idle time.
    pub(super) header_timeout: Duration,
    /// A whole response; `None` on the control door, where followers may read as slowly as they like.
    pub(super) write_timeout: Option<Duration>,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

/// A place among the open connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    limits: Arc<Limits>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut by_address = lock(&self.limits.by_address);
            if let Some(open) = by_address.get_mut(&address) {
                *open -= 1;
                if *open == 0 {
                    by_address.remove(&address);
                }
            }
        }
    }
}

impl Limits {
    /// The client door's.
    #[must_use]
    pub fn client(http: &config::Http) -> Arc<Self> {
        let handles = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = usize::try_from(handles.saturating_sub(SPARE_HANDLES) / 2).unwrap_or(usize::MAX).max(8);
        Arc::new(Self::new(
            http.connections_max.min(room),
            http.connections_per_address_max,
            http.header_timeout,
            Some(http.write_timeout),
        ))
    }

    /// The control door's.
    #[must_use]
    pub fn control() -> Arc<Self> {
        Arc::new(Self::new(CONTROL_CONNECTIONS_MAX, usize::MAX, Duration::from_secs(60), None))
    }

    fn new(
        connections_max: usize,
        per_address_max: usize,
        header_timeout: Duration,
        write_timeout: Option<Duration>,
    ) -> Self {
        Self {
            connections_max,
            per_address_max,
            header_timeout,
            write_timeout,
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
            rejected: Mutex::default(),
        }
    }

    /// Takes a place for a new connection, or says why there is none.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, &'static str> {
        let address = address.filter(|a| !a.to_canonical().is_loopback());
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err("too-many-connections");
        }
        if let Some(address) = address {
            let mut by_address = lock(&self.by_address);
            let open = by_address.entry(address).or_insert(0);
            if *open >= self.per_address_max {
                self.open.fetch_sub(1, Ordering::Relaxed);
                return Err("too-many-connections-from-one-address");
            }
            *open += 1;
        }
        Ok(Place { limits: Arc::clone(self), address })
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
        self.open.load(Ordering::Relaxed)
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
    fn places_are_limited_in_all_and_per_address_and_given_back() {
        let limits = Arc::new(Limits::new(3, 1, Duration::ZERO, None));
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let near: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let first = limits.enter(Some(far)).unwrap();
        assert_eq!(limits.enter(Some(far)).unwrap_err(), "too-many-connections-from-one-address");
        let _second = limits.enter(Some(near)).unwrap();
        let _third = limits.enter(Some(near)).unwrap();
        assert_eq!(limits.enter(None).unwrap_err(), "too-many-connections");
        drop(first);
        assert!(limits.enter(Some(far)).is_ok());
    }
}
