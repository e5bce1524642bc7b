//! What must happen by time and not by request: expiry, retention, remembering when accounts were last seen.
//!
//! It sleeps until something is due; an idle daemon is woken once a minute at most.

use crate::clock::Time;
use crate::config;
use crate::daemon::accounts::{Accounts, presence::Presence};
use crate::daemon::forwards::targets::Targets;
use crate::daemon::log::about;
use crate::daemon::queue::{change, changes::Changes, clock_steps::Clock, pacing, read, revisions};
use crate::daemon::{ages::Ages, cursors::Cursors, kept, learned::CatchUp, shutdown::Shutdown};
use crate::seq::Seq;
use crate::store::{Health, Retention, Store, Txn};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks.
const ROUND: Duration = Duration::from_secs(60);
/// Accounts that poll for the first time within so long are remembered together.
const GATHER: Duration = Duration::from_millis(100);
/// With a short retention it looks more often, but not more often than this.
const ROUND_MIN: Duration = Duration::from_secs(1);

/// Looks after the rest.
#[derive(Debug)]
pub(crate) struct Janitor {
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) learned: Arc<CatchUp>,
    pub(crate) events: config::Events,
    pub(crate) queue: config::Queue,
    pub(crate) shutdown: Shutdown,
}

impl Janitor {
    /// Runs until shutdown.
    pub(crate) async fn run(self) {
        let events = self.events.clone();
        let mut round = ROUND;
        for keep in [events.keep, self.queue.keep_done].into_iter().flatten() {
            round = round.min(keep / 4).max(ROUND_MIN);
        }
        if events.max_bytes.is_some() {
            round = round.min(Duration::from_secs(5));
        }
        let mut next_round = tokio::time::Instant::now();
        loop {
            let healthy = *self.store.health().borrow() == Health::Writable;
            if healthy {
                // What it cannot move now it moves in the next round.
                drop(self.clock.mind().await);
                self.come_due().await;
                self.expire().await;
            }
            if tokio::time::Instant::now() >= next_round {
                if healthy {
                    self.retain().await;
                }
                next_round = tokio::time::Instant::now() + round;
            }
            // A command may expire long before the next round; while the store refuses, it has to wait for that.
            let next = [read::next_expiry(&self.store), read::next_to_come_due(&self.store)];
            let next = next.into_iter().filter_map(|at| at.ok().flatten()).min().filter(|_| healthy);
            let wake =
                next.map(|at| tokio::time::Instant::now() + at.since(self.clock.now()) + Duration::from_millis(1));
            tokio::select! {
                () = tokio::time::sleep_until(wake.unwrap_or(next_round).min(next_round)) => {}
                () = self.changes.hurried() => {}
                () = self.accounts.polled_anew() => {
                    // Many clients come at once after a start.
                    tokio::time::sleep(GATHER).await;
                    self.presence.remember_now().await;
                }
                () = self.shutdown.wait() => break,
            }
        }
        self.presence.remember().await;
        self.clock.remember().await;
    }

    /// Notes that the time of commands has come. One that a client takes in that moment is noted by that.
    async fn come_due(&self) {
        let store = &self.store;
        loop {
            let reading = self.clock.reading().await;
            match read::next_to_come_due(store) {
                Ok(Some(at)) if at <= reading.now => {}
                _ => break,
            }
            match store.write(move |tx| Ok::<_, ()>((change::come_due(tx, reading.now), reading))).await {
                Ok(Ok((n, _))) if n > 0 => self.changes.bump(),
                _ => break,
            }
        }
    }

    /// Drops commands that nobody fetched in time.
    async fn expire(&self) {
        let store = &self.store;
        let mut expired = false;
        loop {
            let reading = self.clock.reading().await;
            match read::next_expiry(store) {
                Ok(Some(at)) if at <= reading.now => {}
                _ => break,
            }
            match store.write(move |tx| Ok::<_, ()>((change::expire(tx, reading.now), reading))).await {
                Ok(Ok((n, _))) if n > 0 => expired = true,
                _ => break,
            }
        }
        if expired {
            self.changes.bump();
        }
    }

    /// Forgets what is kept no longer.
    async fn retain(&self) {
        // How old things are for certain, by what the clock says and what it was set by.
        let (store, now, ages) = (&self.store, self.clock.now(), self.clock.ages());
        if let Some(keep) = self.queue.keep_done {
            let now = ages.surely(now);
            let before = now.before(keep);
            // What was told of them first: it cannot be told without them.
            self.drop_old_revisions(Some(before)).await;
            while read::has_done(store, before).unwrap_or(false) {
                match store.write(move |tx| Ok::<_, ()>(change::forget(tx, before, now))).await {
                    Ok(Ok(n)) if n > 0 => {}
                    _ => break,
                }
            }
        }
        self.drop_old_revisions(None).await;
        loop {
            let reading = self.clock.reading().await;
            if !pacing::has_over(store, reading.now).unwrap_or(false) {
                break;
            }
            match store.write_lazily(move |tx| Ok::<_, ()>((pacing::sweep(tx, reading.now), reading))).await {
                Ok(Ok((n, _))) if n > 0 => {}
                _ => break,
            }
        }
        self.clock.remember().await;
        let events = &self.events;
        if (events.keep.is_some() || events.max_bytes.is_some())
            && let Err(error) = self.trim(&ages, now).await
        {
            tracing::warn!("cannot drop old events: {error}");
        }
        self.presence.remember().await;
    }

    /// Drops changes of commands that are too old, or too many.
    async fn drop_old_revisions(&self, before: Option<Time>) {
        let store = &self.store;
        while revisions::has_old(store, before).unwrap_or(false) {
            match store.write_lazily(move |tx| Ok::<_, ()>(revisions::drop_old(tx, before))).await {
                Ok(Ok(n)) if n > 0 => {}
                _ => break,
            }
        }
    }

    /// Drops old events; those that were stored before the clock was set and those after it by one cutoff each.
    async fn trim(&self, ages: &Ages, now: Time) -> Result<(), String> {
        let (store, events) = (&self.store, &self.events);
        kept::or_later(self.learned.remember_before_a_drop().await);
        let wanted = self.wanted_after(ages.surely(now))?;
        loop {
            let cutoff = events.keep.map(|keep| ages.cutoff(store.first(), keep, now));
            let last = cutoff.map(|cutoff| cutoff.last);
            let retention = Retention {
                before: cutoff.map(|cutoff| cutoff.before),
                wanted_after: wanted.into_iter().chain(last).min(),
                bytes_max: events.max_bytes,
            };
            let first = store.trim(retention).await.map_err(|error| error.to_string())?;
            while about::has_echoes_before(store, first) {
                let forget = move |tx: &mut Txn<'_>| Ok::<_, ()>(about::forget_echoes(tx, first));
                let forgotten = store.write_lazily(forget).await.map_err(|error| error.to_string())?;
                if forgotten == Ok(0) {
                    break;
                }
            }
            if last.is_none_or(|last| first <= last) {
                return Ok(());
            }
        }
    }

    /// Up to where everybody that retention waits for has read: cursors, forwards, and the daemon itself.
    /// `now`: by age.
    fn wanted_after(&self, now: Time) -> Result<Option<Seq>, String> {
        let learned = self.learned.upto();
        let readers = [
            self.cursors.wanted_after(now).map_err(|refused| refused.to_string())?,
            self.targets.wanted_after().map_err(|refused| refused.to_string())?,
        ];
        Ok(readers.into_iter().flatten().chain([learned]).min())
    }
}
