//! What is paused: an account, or everything.

use crate::key::META;
use crate::store::Txn;

/// What is paused.
pub(crate) fn paused(tx: &Txn<'_>) -> crate::control::Paused {
    tx.get(META, b"paused").and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
}

/// Pauses or resumes an account, or everything.
pub(crate) fn set_paused(tx: &mut Txn<'_>, account: Option<&str>, pause: bool) -> crate::control::Paused {
    let mut now = paused(tx);
    match account {
        None if pause => now.all = true,
        None => now = crate::control::Paused::default(),
        Some(account) => {
            now.accounts.retain(|a| a != account);
            if pause {
                now.accounts.push(account.to_owned());
            }
        }
    }
    tx.put(META, b"paused", serde_json::to_vec(&now).expect("plain data"));
    now
}
