//! When each account was seen last, over a restart: when it polled, and when it sent an event.

use crate::daemon::accounts::{Accounts, table::Seen, watch};
use crate::daemon::kept;
use crate::daemon::log::entry;
use crate::directory::ACCOUNTS_MAX;
use crate::key::META;
use crate::seq::Seq;
use crate::store::{Error, Query, Read, Store, Txn};
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

const SEEN: &[u8] = b"seen";
/// The position in the log up to which [`SEEN`] was told by events.
const SEEN_UPTO: &[u8] = b"seen-upto";
/// This many events at most are stored already and not noted yet: one a connection.
const NOT_NOTED_MAX: u64 = 10_000;

/// Keeps when accounts were seen.
#[derive(Debug)]
pub(crate) struct Presence {
    store: Store,
    accounts: Arc<Accounts>,
}

impl Presence {
    pub(crate) fn new(store: Store, accounts: Arc<Accounts>) -> Self {
        Self { store, accounts }
    }

    /// Brings back what a former run had seen of the accounts, and what it did not come to remember of that.
    pub(crate) fn restore(&self) {
        let get = |key| self.store.get(META, key).ok().flatten();
        let mut seen = get(SEEN).and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        let upto = get(SEEN_UPTO).and_then(|b| b.try_into().ok()).map_or(Seq::ZERO, |b| Seq(u64::from_be_bytes(b)));
        if let Err(error) = look_back(&self.store, upto, &mut seen) {
            tracing::warn!("cannot see when the last event of each account came: {error}");
        }
        self.accounts.table().restore(seen, watch::missing(&self.store));
    }

    /// Stores what is new, soon.
    pub(crate) async fn remember(&self) {
        if let Some(put) = self.news() {
            kept::or_later(self.store.write_lazily(put).await);
        }
    }

    /// Stores what is new, now.
    pub(crate) async fn remember_now(&self) {
        if let Some(put) = self.news() {
            kept::or_later(self.store.write(put).await);
        }
    }

    /// What stores what was seen of the accounts, if there is anything new.
    fn news(&self) -> Option<impl FnOnce(&mut Txn<'_>) -> Result<(), Infallible> + Send + use<>> {
        // First how far, then what: what comes in between is told twice.
        let upto = self.store.tail().borrow().0.saturating_sub(NOT_NOTED_MAX);
        let bytes = serde_json::to_vec(&self.accounts.table().take_seen()?).expect("plain data");
        Some(move |tx: &mut Txn<'_>| {
            tx.put(META, SEEN, bytes);
            tx.put(META, SEEN_UPTO, upto.to_be_bytes());
            Ok(())
        })
    }
}

/// When the last event of each account came, of those after `upto`; not further back than is read at once.
fn look_back(store: &Store, upto: Seq, seen: &mut BTreeMap<String, Seen>) -> Result<(), Error> {
    /// Reading as much takes a tenth of a second: the doors wait for it.
    const LOOKS_MAX: usize = 8;
    const PAGE_BYTES: usize = 4 << 20;
    let mut query = Query { after: upto, backwards: true, ..Query::default() };
    let mut found = HashSet::new();
    for _ in 0..LOOKS_MAX {
        let Read::Page(page) = store.read(&query, PAGE_BYTES)? else { break };
        for stored in &page.entries {
            let account = entry::account(stored).filter(|account| !entry::is_own(stored) && !found.contains(account));
            let Some(account) = account else { continue };
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
