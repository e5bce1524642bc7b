//! Idempotency keys: which command a key stands for, and for how long (contract 3).

use crate::clock::Time;
use crate::daemon::ages::Ages;
use crate::daemon::queue::record::{KEY_LIFE, New, Record};
use crate::daemon::queue::table::load;
use crate::key::{KEY, KEY_V1, Keys, name_key};
use crate::store::Txn;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) id: u64,
    /// By age.
    pub(super) time: Time,
}

impl Key {
    /// `now`: by age.
    pub(super) fn is_alive(&self, now: Time) -> bool {
        now.since(self.time) < KEY_LIFE
    }
}

/// The store key of an idempotency key.
pub(super) fn key_of(account: Option<&str>, key: &str) -> Vec<u8> {
    [&name_key(key)[..], account.unwrap_or("").as_bytes()].concat()
}

/// From now on the key, if there is one, stands for that command.
pub(super) fn put_key(tx: &mut Txn<'_>, account: Option<&str>, key: Option<&str>, stands: Key) {
    if let Some(key) = key {
        tx.put(KEY, &key_of(account, key), serde_json::to_vec(&stands).expect("a key is plain data"));
    }
}

/// The key of a command that was bound to nobody is that account's from now on.
pub(super) fn move_key(tx: &mut Txn<'_>, record: &Record, account: Option<&str>) {
    let Some(key) = record.key.as_deref() else { return };
    for (space, row) in [(KEY, key_of(None, key)), (KEY_V1, key_of_v1(None, key))] {
        let own = tx.get(space, &row).and_then(|row| serde_json::from_slice::<Key>(&row).ok());
        if own.is_some_and(|stands| stands.id == record.id) {
            tx.delete(space, &row);
        }
    }
    put_key(tx, account, Some(key), Key { id: record.id, time: record.queued() });
}

/// The same as version 1 made it.
pub(super) fn key_of_v1(account: Option<&str>, key: &str) -> Vec<u8> {
    [&name_key(account.unwrap_or(""))[..], key.as_bytes()].concat()
}

/// The command that a key stands for already, within [`KEY_LIFE`]: one of the same account, whether it was bound to it
/// or taken by it; one that is bound to nobody is everybody's, and whoever is not known yet may be anybody. A command
/// that ended without having been with a client leaves its key free. Of several the one bound alike comes first, then
/// one of the same content. The command `own` is passed over.
pub(super) fn keyed(
    tx: &Txn<'_>,
    account: Option<&str>,
    command: &New,
    own: Option<u64>,
    ages: &Ages,
    now: Time,
) -> Option<Record> {
    /// Accounts that may have used one key and are looked at, where the account is not known.
    const ACCOUNTS_MAX: usize = 256;
    let key = command.key.as_deref()?;
    let now = ages.surely(now);
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for account in [account, None].iter().take(if account.is_some() { 2 } else { 1 }) {
        rows.extend(tx.get(KEY, &key_of(*account, key)));
        rows.extend(tx.get(KEY_V1, &key_of_v1(*account, key)));
    }
    if account.is_none() {
        rows.extend(tx.scan(KEY, Keys::prefix(&name_key(key))).take(ACCOUNTS_MAX).map(|(_, row)| row));
    }
    let stands = |row: Vec<u8>| {
        let key: Key = serde_json::from_slice(&row).ok().filter(|key: &Key| key.is_alive(now))?;
        let record = load(tx, key.id).filter(|record| own != Some(record.id))?;
        let is_same = account.is_none() || record.owner().is_none() || record.owner() == account;
        (is_same && !record.ended_unsent()).then_some(record)
    };
    let rank = |record: &Record| (record.account.as_deref() != account, record.command != command.wire);
    rows.into_iter().filter_map(stands).min_by_key(rank)
}
