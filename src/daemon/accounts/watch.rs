//! Tells in the log when an account's client stops polling, and when it polls again (contract 7, `client.*`).
//!
//! Promises: what is told is stored in one transaction with the note of it ([`MISSING`]), so that after a crash neither is
//! there without the other: an absence is told once, and a return only after it. What was silent while no daemon ran, or
//! while this one stood still, counts for nothing. While the store refuses, nothing is told and nothing forgotten. At most
//! as many clients are watched as there are accounts (`directory::ACCOUNTS_MAX`), and each can be missed once in
//! thirty seconds: that bounds what is told.
//! Leaves to others: what is usual for a client (`heartbeat`), whose a poll is (`table`), and what is kept of intervals
//! (`presence`, now and then: after a crash up to a minute of them is not known).
//!
//! Clients that say no name, or one that no event has told, are nobody's, and not missed: but a client without a name is
//! the account's as long as that is the only one.

use crate::daemon::accounts::{
    Accounts,
    heartbeat::{Change, Finding, PollsKept},
};
use crate::daemon::learned::CatchUp;
use crate::daemon::log::{
    Log,
    own::{Facts, OwnEvent},
};
use crate::daemon::{seldom::Seldom, shutdown::Shutdown};
use crate::key::MISSING;
use crate::protocol::event::Kind;
use crate::store::{Error, Store, Txn};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// While somebody is waited for it looks this often at least: an interval may have become shorter.
const LOOK: Duration = Duration::from_secs(10);
/// A look that comes so much later than it should: the daemon has stood still, and no client could poll.
const LATE: Duration = Duration::from_secs(5);
/// What could not be stored is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Told in one transaction, at most.
const TOLD_MAX: usize = 200;
/// That nothing can be told is said once in this.
const COMPLAIN: Duration = Duration::from_secs(600);

/// Watches over the accounts' clients.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) learned: Arc<CatchUp>,
    pub(crate) log: Arc<Log>,
    pub(crate) shutdown: Shutdown,
}

impl Watch {
    /// Runs until shutdown.
    pub(crate) async fn run(self) {
        // Until then no poll is anybody's.
        while !self.learned.catch_up_to_the_start().await {
            if self.shutdown.is_triggered() {
                return;
            }
        }
        self.accounts.table().resume(Instant::now());
        let complaints = Seldom::new(COMPLAIN);
        let mut planned: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let late = planned.map_or(Duration::ZERO, |planned| now.saturating_duration_since(planned));
            if late > LATE {
                self.accounts.table().stood_still(late);
            }
            planned = match self.tell(now).await {
                Ok(next) => next.map(|next| next.min(now + LOOK)),
                Err(error) => {
                    if complaints.may_speak() {
                        tracing::warn!("cannot tell which clients have stopped polling, trying again: {error}");
                    }
                    Some(now + RETRY)
                }
            };
            let sleep = tokio::time::sleep_until(planned.unwrap_or(now).into());
            tokio::select! {
                () = sleep, if planned.is_some() => {}
                () = self.accounts.heard() => {}
                () = self.shutdown.wait() => return,
            }
        }
    }

    /// Tells what is to be told; when to look again.
    async fn tell(&self, now: Instant) -> Result<Option<Instant>, Error> {
        let (found, next) = self.accounts.table().look(now, TOLD_MAX);
        if found.is_empty() {
            return Ok(next);
        }
        // No account is forgotten meanwhile.
        let _alone = self.learned.alone().await;
        let (found, _) = self.accounts.table().look(now, TOLD_MAX);
        let told = found.clone();
        let note = move |tx: &mut Txn<'_>| told.iter().for_each(|(account, news)| note(tx, account, news));
        self.log.tell(found.iter().map(|(account, news)| own(account, news)).collect(), note).await?;
        for (account, news) in &found {
            self.accounts.table().noted(account, news);
            match news.change {
                Change::WentAway => {
                    tracing::warn!(%account, last_poll = %news.last_poll, "its client has stopped polling")
                }
                Change::CameBack => tracing::info!(%account, "its client polls again"),
            }
        }
        Ok(Some(now))
    }
}

fn own(account: &str, news: &Finding) -> OwnEvent {
    let kind = match news.change {
        Change::WentAway => Kind::ClientOffline,
        Change::CameBack => Kind::ClientOnline,
    };
    let interval_s = news.interval.map(|usual| (usual + Duration::from_millis(500)).as_secs().max(1));
    let facts = Facts { since: news.since, last_poll: news.last_poll, interval_s };
    OwnEvent { kind, account: account.to_owned(), pid: news.pid, facts }
}

fn note(tx: &mut Txn<'_>, account: &str, news: &Finding) {
    match news.change {
        Change::WentAway => {
            tx.put(MISSING, account.as_bytes(), serde_json::to_vec(&news.kept()).expect("plain data"));
        }
        Change::CameBack => tx.delete(MISSING, account.as_bytes()),
    }
}

/// Whose client was told to be missing. Of one that cannot be read nobody knows.
pub(super) fn missing(store: &Store) -> BTreeMap<String, PollsKept> {
    let read = |(account, kept): (Vec<u8>, Vec<u8>)| {
        Some((String::from_utf8(account).ok()?, serde_json::from_slice(&kept).ok()?))
    };
    store.scan(MISSING, ..).filter_map(Result::ok).filter_map(read).collect()
}

/// Forgets that an account's client was told to be missing.
pub(super) fn forget(tx: &mut Txn<'_>, account: &str) {
    tx.delete(MISSING, account.as_bytes());
}
