//! What `wehelp status` shows: how everything stands, and what somebody should look at.

use crate::control;
use crate::daemon::accounts::Accounts;
use crate::daemon::forwards::targets::Targets;
use crate::daemon::log::{Log, follow::Following};
use crate::daemon::queue::held::{Reasons, UNNAMED_COUNTS};
use crate::daemon::queue::{clock_steps::Clock, handover::Handovers, read};
use crate::home::Home;
use crate::seq::Seq;
use crate::store::{Error, Health, Store};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the doors listen on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listen {
    /// `ip:port` of each listener of the client door.
    pub(crate) http: Vec<SocketAddr>,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
    /// The settings file that was read.
    pub(crate) config: Option<PathBuf>,
}

/// Tells how everything stands.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) home: Home,
    pub(crate) listen: Listen,
    pub(crate) started: Instant,
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) reasons: Arc<Reasons>,
    pub(crate) handovers: Arc<Handovers>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) log: Arc<Log>,
    pub(crate) following: Arc<Following>,
    /// An answer may take so long.
    pub(crate) write_timeout: Duration,
}

impl Overview {
    /// Whether the store accepts writes.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn healthy(&self) -> Result<(), String> {
        match &*self.store.health().borrow() {
            Health::Writable => Ok(()),
            Health::Refusing(reason) => Err(reason.clone()),
        }
    }

    /// Which daemon this is.
    pub(crate) fn daemon(&self) -> control::DaemonStatus {
        control::DaemonStatus {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            data_dir: self.home.data_dir.clone(),
            socket: self.home.socket.clone(),
            config: self.listen.config.clone(),
        }
    }

    /// Every account, with what waits for it.
    pub(crate) fn accounts(&self) -> Result<Vec<control::Account>, Error> {
        let paused = read::paused(&self.store)?;
        let now = self.clock.now();
        let mut accounts = self.accounts.table().all(now);
        let mut holder = self.reasons.at(now)?;
        for account in &mut accounts {
            account.waiting = read::waiting(&self.store, &account.account)?;
            account.paused = paused.all || paused.accounts.contains(&account.account);
            if account.waiting > 0
                && let Some(first) = read::foremost(&self.store, &account.account, now)?
            {
                account.held = holder.one(&first)?;
            }
        }
        Ok(accounts)
    }

    /// Everything that concerns an account, of all of them when none is named; of the forwards, which may name theirs by any
    /// name, all.
    pub(crate) fn about(&self, account: Option<&str>) -> Result<control::Status, Error> {
        let mut status = self.all()?;
        let Some(account) = account else { return Ok(status) };
        status.accounts.retain(|known| known.account == account);
        if let Some(hanging) = status.queue.get_mut("hanging").and_then(serde_json::Value::as_array_mut) {
            let is_others = |id: &serde_json::Value| -> Option<bool> {
                let record = read::one(&self.store, id.as_u64()?).ok()??;
                Some(record.account.is_some_and(|of| of != account))
            };
            hanging.retain(|id| is_others(id) != Some(true));
        }
        Ok(status)
    }

    /// Everything; the doors' own counters are filled in by the caller.
    pub(crate) fn all(&self) -> Result<control::Status, Error> {
        let now = self.clock.now();
        let stats = self.store.stats()?;
        let unnamed = self.accounts.table().unnamed();
        let accounts = self.accounts()?;
        let mut queue: serde_json::Map<_, _> =
            read::counts(&self.store, now)?.into_iter().map(|(s, n)| (s.to_string(), n.into())).collect();
        let oldest = read::oldest_due(&self.store, now)?;
        queue.insert("oldest".to_owned(), serde_json::to_value(oldest).unwrap_or_default());
        let hanging = self.handovers.hanging(self.write_timeout)?;
        queue.insert("hanging".to_owned(), hanging.clone().into());
        let health = self.healthy();
        let damaged = self.store.damaged();
        let mut status = control::Status {
            daemon: self.daemon(),
            http: control::HttpStatus {
                listen: self.listen.http.iter().map(ToString::to_string).collect(),
                tls: self.listen.tls,
                anonymous_poll: unnamed.map(|unnamed| unnamed.time),
                anonymous_peer: unnamed.map(|unnamed| unnamed.peer.to_string()),
                last_callback: self.log.last_callback(),
                ..control::HttpStatus::default()
            },
            accounts,
            pollers: self.accounts.table().pollers(),
            queue,
            log: self.store.identity()?,
            events: control::EventsStatus {
                first: stats.first,
                last: stats.last,
                count: stats.count,
                followers: self.following.followers() as u64,
            },
            store: control::StoreStatus {
                bytes: stats.bytes,
                free_bytes: stats.free_bytes,
                writable: health.is_ok(),
                reason: health.err(),
                damaged: Some(damaged.len() as u64).filter(|count| *count > 0),
            },
            paused: read::paused(&self.store)?,
            forwards: self.targets.statuses()?,
            hints: Vec::new(),
        };
        status.hints = self.hints(&status, &hanging, &damaged);
        Ok(status)
    }

    /// What somebody should look at, a sentence each.
    fn hints(&self, status: &control::Status, hanging: &[u64], damaged: &[Seq]) -> Vec<String> {
        let mut hints = Vec::new();
        hints.extend(status.store.reason.as_ref().map(|reason| format!("the store does not accept writes: {reason}")));
        let lost = self.store.lost();
        if let ([(from, _), ..], [.., (_, to)]) = (&lost[..], &lost[..]) {
            hints.push(format!(
                "{} events between {from} and {to} are lost: what held them in the journal is gone or damaged, as the log \
                 said at the start; if there is a copy of the data folder's `journal`, stop wehelpd and put back what is \
                 missing",
                lost.iter().map(|(from, to)| to.0 - from.0 + 1).sum::<u64>()
            ));
        }
        if let (Some(from), Some(to)) = (damaged.first(), damaged.last()) {
            let which = match damaged.len() {
                1 => format!("event {from} is there, and cannot be read"),
                n => format!("{n} events between {from} and {to} are there, and cannot be read"),
            };
            hints.push(format!(
                "{which}: the journal is damaged; `wehelp events --since '#{from}' -n 1` says where, and a backup lacks \
                 what cannot be read"
            ));
        }
        for account in &status.accounts {
            let reason = account.held.as_ref().and_then(|held| held.reason.strip_prefix(control::NOBODY_MAY));
            hints.extend(reason.map(|reason| format!("{reason}: {} commands wait for it", account.waiting)));
        }
        if let Some(id) = hanging.first() {
            hints.push(format!(
                "{} in flight though no answer has it, the first is {id}; `wehelp queue retry {id}` hands it over again, \
                 `wehelp queue cancel {id}` drops it",
                if hanging.len() == 1 { "a command is".to_owned() } else { format!("{} commands are", hanging.len()) }
            ));
        }
        hints.extend(status.pollers.iter().filter(|p| p.last_poll_s < UNNAMED_COUNTS.as_secs()).map(hint));
        if status.paused.all {
            hints.push("the queue is paused; `wehelp queue resume` lets it go on".to_owned());
        }
        hints.extend(status.forwards.iter().filter_map(control::Forward::trouble));
        hints
    }
}

/// What is said of a client that polls by a name which is no account's.
fn hint(poller: &control::Poller) -> String {
    let control::Poller { name, peer, several, .. } = poller;
    let why = if several.is_empty() {
        "no event has told of such an account; it gets only what is bound to nobody or to that name, and is known as \
         soon as its client reports an event"
            .to_owned()
    } else {
        format!("several accounts are called so; type one of their ids: {}", several.join(", "))
    };
    format!("a client at {peer} polls as `{name}`: {why}; `wehelp account forget {name}` forgets a mistyped name")
}
