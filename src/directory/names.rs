//! What people are called, for whoever shows many events (contract 7, `from_name`, `mentioned`).
//!
//! Promises: everybody is looked up once, and what cannot be read counts as unknown. It is as old as its first answer, so
//! it is made anew for each page.
//! Leaves to others: what an event says (`protocol`).

use super::map;
use super::record::{Account, ContactRow, Listed};
use crate::protocol::id;
use crate::store::Store;
use std::collections::HashMap;

/// The names of those who speak, as far as they were asked for.
#[derive(Debug)]
pub struct NameCache<'s> {
    store: &'s Store,
    /// By account.
    accounts: HashMap<String, Option<Account>>,
    /// By account and id; what they are called everywhere.
    people: HashMap<Vec<u8>, Option<String>>,
    /// By account and room: nicks there, by id.
    rosters: HashMap<Vec<u8>, HashMap<String, String>>,
}

impl<'s> NameCache<'s> {
    /// Nobody was asked for yet.
    pub(super) fn of(store: &'s Store) -> Self {
        Self { store, accounts: HashMap::new(), people: HashMap::new(), rosters: HashMap::new() }
    }

    /// What the account calls somebody in that chat: the nick that a list of its members gave, else the remark, else the
    /// nick.
    pub fn name(&mut self, account: &str, chat: Option<&str>, wxid: &str) -> Option<String> {
        if let Some(nick) = chat.and_then(|chat| self.nick_in(account, chat, wxid)) {
            return Some(nick.to_owned());
        }
        if wxid == account {
            return self.account(account)?.nick.clone();
        }
        let store = self.store;
        let key = map::key(account, wxid);
        let known = self.people.entry(key).or_insert_with(|| {
            let contact = map::get::<ContactRow, Store>(store, account, wxid).ok()??;
            contact.remark.or(contact.nick)
        });
        known.clone()
    }

    /// What the account itself is called in that chat: its nick there and its nick; `None` when neither is known.
    pub fn own(&mut self, account: &str, chat: &str) -> Option<Vec<String>> {
        let there = self.nick_in(account, chat, account).map(str::to_owned);
        let nick = self.account(account).and_then(|account| account.nick.clone());
        let names: Vec<String> = there.into_iter().chain(nick).collect();
        (!names.is_empty()).then_some(names)
    }

    fn account(&mut self, account: &str) -> Option<&Account> {
        let store = self.store;
        let known = self
            .accounts
            .entry(account.to_owned())
            .or_insert_with(|| map::decode(&store.get(map::ACCOUNTS, account.as_bytes()).ok()??));
        known.as_ref()
    }

    fn nick_in(&mut self, account: &str, chat: &str, wxid: &str) -> Option<&str> {
        if !id::is_room(chat) {
            return None;
        }
        let store = self.store;
        let key = map::key(account, chat);
        let roster = self.rosters.entry(key).or_insert_with_key(|key| {
            let stored = store.get(map::ROSTERS, key).ok().flatten();
            let listed = stored.and_then(|value| map::decode::<Vec<Listed>>(&value)).unwrap_or_default();
            listed.into_iter().filter_map(|Listed { id, nick }| Some((id, nick?))).collect()
        });
        roster.get(wxid).map(String::as_str)
    }
}
