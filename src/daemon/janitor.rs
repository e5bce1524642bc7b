//! What must happen by time and not by request: expiry, retention, remembering when accounts were last seen.
//!
//! It sleeps until something is due; an idle daemon is woken once a minute at most.

use crate::clock::Time;
use crate::daemon::accounts::Seen;
use crate::daemon::ages::Ages;
use crate::daemon::cursors;
use crate::daemon::failure::Failure;
use crate::daemon::forwards;
use crate::daemon::kept;
use crate::daemon::learner;
use crate::daemon::log::entry;
use crate::daemon::queue;
use crate::daemon::queue::pacing;
use crate::daemon::service::Service;
use crate::directory::ACCOUNTS_MAX;
use crate::key::META;
use crate::seq::Seq;
use crate::store::{self, Query, Read, Retention, Store, Txn};
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

const SEEN: &[u8] = b"seen";
/// The position in the log up to which [`SEEN`] was told by events.
const SEEN_UPTO: &[u8] = b"seen-upto";
/// So many events at most are stored already and not noted yet: one a connection.
const NOT_NOTED_MAX: u64 = 10_000;
/// How often it looks.
const ROUND: Duration = Duration::from_secs(60);
/// Accounts that poll for the first time within so long are remembered together.
const GATHER: Duration = Duration::from_millis(100);
/// With a short retention it looks more often, but not more often than this.
const ROUND_MIN: Duration = Duration::from_secs(1);

/// Brings back what a former run had seen of the accounts, and what it did not come to remember of that.
pub(crate) fn restore(service: &Service) {
    let get = |key| service.store().get(META, key).ok().flatten();
    let mut seen = get(SEEN).and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let upto = get(SEEN_UPTO).and_then(|b| b.try_into().ok()).map_or(Seq::ZERO, |b| Seq(u64::from_be_bytes(b)));
    if let Err(error) = look_back(service.store(), upto, &mut seen) {
        tracing::warn!("cannot see when the last event of each account came: {error}");
    }
    service.accounts().restore(seen);
}

/// When the last event of each account came, of those after `upto`; not further back than is read at once.
fn look_back(store: &Store, upto: Seq, seen: &mut BTreeMap<String, Seen>) -> Result<(), store::Error> {
    /// Reading as much takes a tenth of a second: the doors wait for it.
    const LOOKS_MAX: usize = 8;
    const PAGE_BYTES: usize = 4 << 20;
    let mut query = Query { after: upto, backwards: true, ..Query::default() };
    let mut found = HashSet::new();
    for _ in 0..LOOKS_MAX {
        let Read::Page(page) = store.read(&query, PAGE_BYTES)? else { break };
        for stored in &page.entries {
            let Some(account) = entry::account(stored).filter(|account| !found.contains(account)) else { continue };
            if seen.len() < ACCOUNTS_MAX || seen.contains_key(&account) {
                seen.entry(account.clone()).or_default().last_event = Some(stored.time);
                found.insert(account);
            }
        }
        if page.end {
            break;
        }
        query.upto = Some(Seq(page.looked_to.0.saturating_sub(1)));
    }
    Ok(())
}

/// Runs until shutdown.
pub(crate) async fn run(service: Service) {
    let events = service.config().events.clone();
    let mut round = ROUND;
    for keep in [events.keep, service.config().queue.keep_done].into_iter().flatten() {
        round = round.min(keep / 4).max(ROUND_MIN);
    }
    if events.max_bytes.is_some() {
        round = round.min(Duration::from_secs(5));
    }
    let mut next_round = tokio::time::Instant::now();
    loop {
        let healthy = service.healthy().is_ok();
        if healthy {
            // What it cannot move now it moves in the next round.
            drop(service.mind_the_clock().await);
            expire(&service).await;
        }
        if tokio::time::Instant::now() >= next_round {
            if healthy {
                retain(&service).await;
            }
            next_round = tokio::time::Instant::now() + round;
        }
        // A command may expire long before the next round; while the store refuses, it has to wait for that.
        let expiry = queue::read::next_expiry(service.store()).ok().flatten().filter(|_| healthy);
        let wake = expiry.map(|at| tokio::time::Instant::now() + at.since(service.now()) + Duration::from_millis(1));
        tokio::select! {
            () = tokio::time::sleep_until(wake.unwrap_or(next_round).min(next_round)) => {}
            () = service.expiring().notified() => {}
            () = service.polled_anew().notified() => {
                // Many clients come at once after a start.
                tokio::time::sleep(GATHER).await;
                if let Some(put) = seen(&service) {
                    kept::or_later(service.store().write(put).await);
                }
            }
            () = service.shutdown().wait() => break,
        }
    }
    remember(&service).await;
    service.remember_the_clock().await;
}

/// Drops commands that nobody fetched in time.
async fn expire(service: &Service) {
    let store = service.store();
    let mut expired = false;
    loop {
        let reading = service.reading().await;
        match queue::read::next_expiry(store) {
            Ok(Some(at)) if at <= reading.now => {}
            _ => break,
        }
        match store.write(move |tx| Ok::<_, ()>((queue::expire(tx, reading.now), reading))).await {
            Ok(Ok((n, _))) if n > 0 => expired = true,
            _ => break,
        }
    }
    if expired {
        service.bump();
    }
}

/// Forgets what is kept no longer.
async fn retain(service: &Service) {
    // How old things are for certain, by what the clock says and what it was set by.
    let (store, now, ages) = (service.store(), service.now(), service.ages());
    if let Some(keep) = service.config().queue.keep_done {
        let now = ages.surely(now);
        let before = now.before(keep);
        while queue::read::has_done(store, before).unwrap_or(false) {
            match store.write(move |tx| Ok::<_, ()>(queue::forget(tx, before, now))).await {
                Ok(Ok(n)) if n > 0 => {}
                _ => break,
            }
        }
    }
    loop {
        let reading = service.reading().await;
        if !pacing::has_over(store, reading.now).unwrap_or(false) {
            break;
        }
        match store.write_lazily(move |tx| Ok::<_, ()>((pacing::sweep(tx, reading.now), reading))).await {
            Ok(Ok((n, _))) if n > 0 => {}
            _ => break,
        }
    }
    service.remember_the_clock().await;
    let events = &service.config().events;
    if (events.keep.is_some() || events.max_bytes.is_some())
        && let Err(error) = trim(service, &ages, now).await
    {
        tracing::warn!("cannot drop old events: {error}");
    }
    remember(service).await;
}

/// Drops old events; those that were stored before the clock was set and those after it by one cutoff each.
async fn trim(service: &Service, ages: &Ages, now: Time) -> Result<(), String> {
    let (store, events) = (service.store(), &service.config().events);
    kept::or_later(learner::remember_before_a_drop(service).await);
    let wanted = wanted_after(service, ages.surely(now)).map_err(|failure| failure.message)?;
    loop {
        let cutoff = events.keep.map(|keep| ages.cutoff(store.first(), keep, now));
        let last = cutoff.map(|cutoff| cutoff.last);
        let retention = Retention {
            before: cutoff.map(|cutoff| cutoff.before),
            wanted_after: wanted.into_iter().chain(last).min(),
            bytes_max: events.max_bytes,
        };
        let first = store.trim(retention).await.map_err(|error| error.to_string())?;
        if last.is_none_or(|last| first <= last) {
            return Ok(());
        }
    }
}

/// Up to where everybody that retention waits for has read: cursors, forwards, and the daemon itself.
/// `now`: by age.
fn wanted_after(service: &Service, now: Time) -> Result<Option<Seq>, Failure> {
    let learned = *service.reacted().borrow();
    let readers = [cursors::wanted_after(service, now)?, forwards::wanted_after(service)?];
    Ok(readers.into_iter().flatten().chain([learned]).min())
}

pub(crate) async fn remember(service: &Service) {
    if let Some(put) = seen(service) {
        kept::or_later(service.store().write_lazily(put).await);
    }
}

/// What stores what was seen of the accounts, if there is anything new.
fn seen(service: &Service) -> Option<impl FnOnce(&mut Txn<'_>) -> Result<(), Infallible> + Send + use<>> {
    // First how far, then what: what comes in between is told twice.
    let upto = service.store().tail().borrow().0.saturating_sub(NOT_NOTED_MAX);
    let bytes = serde_json::to_vec(&service.accounts().take_seen()?).expect("plain data");
    Some(move |tx: &mut Txn<'_>| {
        tx.put(META, SEEN, bytes);
        tx.put(META, SEEN_UPTO, upto.to_be_bytes());
        Ok(())
    })
}
