//! Limits of the doors, with their reasons, and a count of what they turned away.

use crate::config;
use crate::daemon::doors::places::Places;
use crate::daemon::seldom::Seldom;
use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request's header, bytes: URLs with a token and an id have a few hundred.
pub(crate) const HEADER_BYTES_MAX: usize = 16 * 1024;
/// A connection's buffers, bytes, each way: what a stream has read ahead of its reader.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The same of the control door, where hundreds of followers may stand that do not read: room for a header.
const CONTROL_BUFFER_BYTES_MAX: usize = HEADER_BYTES_MAX + 4 * 1024;
/// Lines in a request's header: browsers send about thirty.
pub(crate) const HEADER_LINES_MAX: usize = 64;
/// After a stop was asked for, requests in flight get so long (contract 1).
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// When the process has no file handle left, accepting rests for so long instead of spinning.
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(100);
/// A connection between two requests, as long as nginx gives one; a client may well post once a minute.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A TLS handshake takes a few round trips.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Unread input is read for so long after an early answer, or the answer would be destroyed by a reset.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(3);
/// … and so much of it: a client that sends a body beyond the limit sees the answer that says so.
pub(crate) const LINGER_BYTES: usize = 64 << 20;
/// Connections to the control door: followers, waiting scripts, completions.
pub(crate) const CONTROL_CONNECTIONS_MAX: usize = 1024;
/// File handles kept for the store, its segments, large lines and forwards, beside those of connections; of few handles
/// half.
const SPARE_HANDLES: usize = 256;
/// A connection of the client door has its socket and a duplicate of it, see `delivery`.
const CLIENT_HANDLES: usize = 2;
/// That connections cannot be accepted is logged at most so often.
const ACCEPT_LOG_REST: Duration = Duration::from_secs(60);

/// Refused requests are logged at most so often: a flood must not fill the log.
pub(crate) const REFUSALS_LOG_REST: Duration = Duration::from_secs(10);

/// What one door allows, and what it turned away.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Who is in.
    pub(crate) places: Arc<Places>,
    /// A connection's buffers, each way.
    pub(crate) buffer_bytes: usize,
    /// A request's header.
    pub(crate) header_timeout: Duration,
    /// A whole response; `None` on the control door, where followers may read as slowly as they like.
    pub(crate) write_timeout: Option<Duration>,
    /// That connections cannot be accepted.
    pub(crate) not_accepted: Seldom,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

impl Limits {
    /// The client door's and the control door's. Together they leave the store the file handles that it needs.
    #[must_use]
    pub(crate) fn of_doors(http: &config::Http) -> (Arc<Self>, Arc<Self>) {
        let handles = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let handles = handles.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let (client, control) = shares(handles, http.connections_max);
        if (client, control) != (http.connections_max, CONTROL_CONNECTIONS_MAX) {
            tracing::warn!(
                "this process may have no more than {handles} files open (ulimit -n, LimitNOFILE): the client door takes \
                 {client} connections, not {}, and the control door {control}, not {CONTROL_CONNECTIONS_MAX}",
                http.connections_max
            );
        }
        let client = Places::new("client", client, http.connections_per_address_max);
        let control = Places::new("control", control, usize::MAX);
        (
            Arc::new(Self::new(client, BUFFER_BYTES_MAX, http.header_timeout, Some(http.write_timeout))),
            Arc::new(Self::new(control, CONTROL_BUFFER_BYTES_MAX, Duration::from_secs(60), None)),
        )
    }

    fn new(
        places: Arc<Places>,
        buffer_bytes: usize,
        header_timeout: Duration,
        write_timeout: Option<Duration>,
    ) -> Self {
        let not_accepted = Seldom::new(ACCEPT_LOG_REST);
        Self { places, buffer_bytes, header_timeout, write_timeout, not_accepted, rejected: Mutex::default() }
    }

    /// Counts something turned away.
    pub(crate) fn reject(&self, reason: &'static str) {
        *lock(&self.rejected).entry(reason).or_default() += 1;
    }

    /// What was turned away since the start, by reason.
    pub(crate) fn rejected(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.rejected).clone()
    }

    /// Open connections.
    pub(crate) fn open(&self) -> usize {
        self.places.open()
    }
}

/// How many places the client door and the control door have, of this many file handles.
fn shares(handles: usize, client_wanted: usize) -> (usize, usize) {
    let for_doors = handles - SPARE_HANDLES.min(handles / 2);
    let control = (for_doors / 4).clamp(1, CONTROL_CONNECTIONS_MAX);
    let client = (for_doors.saturating_sub(control) / CLIENT_HANDLES).max(1);
    (client.min(client_wanted), control)
}

/// Raises the number of file handles that this process may have to what the system lets it.
pub(crate) fn raise_handles() {
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
    fn both_doors_together_leave_handles_for_the_store() {
        for handles in (16..10_000).chain([1 << 20, usize::MAX]) {
            let (client, control) = shares(handles, 2048);
            assert!(client >= 1 && control >= 1 && client <= 2048 && control <= CONTROL_CONNECTIONS_MAX);
            let taken = client * CLIENT_HANDLES + control;
            assert!(handles - taken >= SPARE_HANDLES.min(handles / 2), "{handles}: {client}, {control}");
        }
        assert_eq!(shares(256, 2048), (48, 32));
        assert_eq!(shares(8192, 2048), (2048, CONTROL_CONNECTIONS_MAX));
        assert_eq!(shares(usize::MAX, 7), (7, CONTROL_CONNECTIONS_MAX));
    }
}
