//! A poller's name becomes an account: what was handed to it is that account's from then on.
//!
//! Promises: this is the one place where it does. What a client took that said a name which no event had told is found
//! by that name ([`POLLER`]); once an event tells whose it is, those commands belong to the account as if the client had
//! said its id: their keys, their answers and echoes, their place in the line of questions, and what users see as
//! `fetched.account`. A later change of the name takes none of it away.
//! Leaves to others: which account a poll is for (`accounts`), and budgets, which become one when they are next looked
//! at (`pacing`).

use crate::daemon::queue::table::{amend, load};
use crate::daemon::queue::{change::SWEEP_MAX, record::Claimed};
use crate::directory;
use crate::key::{Keys, POLLER, after_prefix, id_at_end};
use crate::store::{Store, Txn};

/// This many names are looked at: as many as there can be accounts.
const NAMES_MAX: usize = directory::ACCOUNTS_MAX;

/// Whether pollers that are no account have taken something. One of them may have become an account just now: who looks
/// for what is an account's lets the learner catch up first.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn has_pollers(store: &Store) -> Result<bool, crate::store::Error> {
    Ok(store.scan(POLLER, ..).take(1).next().transpose()?.is_some())
}

/// The poller as the account that it is, if events have told of its name since it was looked up.
pub(crate) fn known_by_now(tx: &Txn<'_>, by: &Claimed) -> Claimed {
    let mut by = by.clone();
    if !by.names.is_empty()
        && let Some(account) = whose(&directory::accounts_in(tx), &by.names)
    {
        become_account(&mut by, &account);
    }
    by
}

/// Gives commands to the accounts that their pollers have become, the newest ones first. True when it gave some.
pub(crate) fn introduce(tx: &mut Txn<'_>) -> bool {
    let mut accounts = None;
    let (mut from, mut some) = (Some(Vec::new()), false);
    for _ in 0..NAMES_MAX {
        let Some((first, _)) = from.and_then(|from| tx.scan(POLLER, from..).take(1).next()) else { break };
        let prefix = first[..first.len().saturating_sub(8)].to_vec();
        from = after_prefix(&prefix);
        let accounts = accounts.get_or_insert_with(|| directory::accounts_in(tx));
        let name = prefix.get(1..).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
        let Some(account) = whose(accounts, &[name.to_owned()]) else { continue };
        let taken: Vec<_> = tx.scan(POLLER, Keys::prefix(&prefix)).rev().take(SWEEP_MAX).collect();
        for (key, _) in taken {
            let Some(before) = load(tx, id_at_end(&key)) else { continue };
            let mut record = before.clone();
            let taken_as = record.claimed.as_ref().and_then(|claimed| claimed.account.clone());
            if let Some(fetched) = record.fetched.as_mut().filter(|fetched| fetched.account == taken_as) {
                fetched.account = Some(account.clone());
            }
            if let Some(claimed) = &mut record.claimed {
                become_account(claimed, &account);
            }
            amend(tx, &before, record);
            some = true;
        }
    }
    some
}

fn become_account(claimed: &mut Claimed, account: &str) {
    claimed.account = Some(account.to_owned());
    claimed.names.clear();
}

/// The account that one of these names means: its id, or what it alone is called.
fn whose(accounts: &[directory::Account], names: &[String]) -> Option<String> {
    let of = |name: &String| {
        if let Some(account) = accounts.iter().find(|account| account.account == *name) {
            return Some(account.account.clone());
        }
        let called = |account: &&directory::Account| {
            !directory::is_wxid(name) && [&account.nick, &account.username].into_iter().flatten().any(|own| own == name)
        };
        match &accounts.iter().filter(called).collect::<Vec<_>>()[..] {
            [one] => Some(one.account.clone()),
            _ => None,
        }
    };
    names.iter().find_map(of)
}
