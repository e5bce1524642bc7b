//! The accounts: which there are, who polls for them, and which one is meant (contract 5).
//!
//! The table is in memory, because every callback and every poll touches it; what must outlive the daemon is written by
//! `learner` (nick, process, logged in: the directory), by [`presence`] (when who was seen, now and then) and by [`watch`]
//! (whose client is missing).

pub(crate) mod forget;
mod heartbeat;
pub(crate) mod poller;
pub(crate) mod presence;
pub(crate) mod refused;
pub(crate) mod table;
pub(crate) mod watch;

use crate::clock::Time;
use crate::config;

use crate::daemon::learned::CatchUp;
use crate::directory;
use crate::store::Store;
use crate::sync::lock;
use poller::Poller;
use refused::Refused;
use std::sync::{Arc, Mutex, MutexGuard};
use table::{Routed, Table};
use tokio::sync::Notify;

/// The accounts.
#[derive(Debug)]
pub(crate) struct Accounts {
    store: Store,
    learned: Arc<CatchUp>,
    table: Mutex<Table>,
    /// An account has polled that had not since the start.
    polled_anew: Notify,
    /// A client polls that is to be waited for from now on, or that was told to be missing.
    heard: Notify,
}

/// A poll that is open: while it is, the clients of its accounts are there.
#[derive(Debug)]
pub(crate) struct OpenPoll {
    accounts: Arc<Accounts>,
    of: Vec<String>,
}

impl Drop for OpenPoll {
    fn drop(&mut self) {
        self.accounts.table().ended(&self.of);
    }
}

impl Accounts {
    pub(crate) fn new(store: Store, learned: Arc<CatchUp>, settings: config::Accounts) -> Self {
        Self {
            store,
            learned,
            table: Mutex::new(Table::new(settings)),
            polled_anew: Notify::new(),
            heard: Notify::new(),
        }
    }

    /// The table, for a moment.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Takes what the directory knows of accounts into the table.
    pub(crate) fn load(&self) {
        match directory::accounts(&self.store) {
            Ok(known) => {
                let mut table = self.table();
                known.iter().for_each(|account| table.learn(account));
            }
            Err(error) => tracing::warn!("cannot read the accounts: {error}"),
        }
    }

    /// Who is logged in in a process. Nobody can tell while the last that was told before the start is not yet learned.
    pub(crate) fn owner(&self, pid: u64) -> Option<String> {
        if self.learned.has_the_start() { self.table().owner(pid) } else { None }
    }

    /// Whose commands a poll takes; notes the poll.
    pub(crate) fn route(&self, poller: &Poller, now: Time) -> Routed {
        self.route_in(&mut self.table(), poller, now)
    }

    fn route_in(&self, table: &mut Table, poller: &Poller, now: Time) -> Routed {
        let routed = table.route(poller, now);
        if table.take_polled_anew() {
            self.polled_anew.notify_one();
        }
        routed
    }

    /// As [`route`](Self::route), of a poll that begins, and is open until what is returned with it is dropped.
    pub(crate) fn route_new(self: &Arc<Self>, poller: &Poller, now: Time) -> (Routed, OpenPoll) {
        let mut table = self.table();
        let routed = self.route_in(&mut table, poller, now);
        let (of, is_news) = table.begun(poller.pid, now);
        drop(table);
        if is_news {
            self.heard.notify_one();
        }
        (routed, OpenPoll { accounts: Arc::clone(self), of })
    }

    /// Waits until a client polls that nobody has waited for.
    pub(crate) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Waits until an account has polled that had not since the start.
    pub(crate) async fn polled_anew(&self) {
        self.polled_anew.notified().await;
    }

    /// Waits, not for long, until it is known which account that name means: a nick may have been told, or become
    /// ambiguous, before the start; an id cannot.
    pub(crate) async fn knows(&self, name: &str) {
        if !self.table().is_id(name) {
            self.learned.catch_up_to_the_start().await;
        }
    }

    /// The account of that name, which an event has told of.
    ///
    /// # Errors
    /// When none has (contract 5), or several have the name.
    pub(crate) async fn told(&self, name: Option<&str>) -> Result<Option<String>, Refused> {
        let Some(name) = name else { return Ok(None) };
        self.knows(name).await;
        self.table().told(name).map(Some)
    }
}
