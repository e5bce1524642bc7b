//! The directory's view of the store: its key spaces, its keys, the stored form of a record.
//!
//! Promises: keys and values are built and read here and nowhere else; a scan holds one page in memory, however many
//! keys there are.
//! Leaves to others: what the records mean.
//!
//! A key is `account 0x00 id`, so that an account's are together; ids have no control characters. A value is the
//! version byte and JSON, of a record without its nulls and without what stands in the key.

use crate::clock::Time;
use crate::key::Space;
pub(super) use crate::key::{ACCOUNTS, PEOPLE, PIDS, REQUESTS, ROOMS, ROSTERS};
use crate::protocol::id;
use crate::seq::Seq;
use crate::store::{self, Store, Txn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::ops::ControlFlow;

/// The version of the stored values; one of another version counts as unknown.
const VERSION: u8 = 1;

/// Pairs read at once by [`each`]: some 400 KB of contacts.
const PAGE: usize = 1000;

/// What can be read: the store, a transaction, a test's map.
pub(super) trait View {
    type Error;
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
    /// Pairs with `from <= key < to`, in order, at most `limit`.
    fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, Self::Error>;
}

pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What can be written as well: a transaction, a test's map.
pub(super) trait Map: View {
    fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>);
    fn delete(&mut self, space: Space, key: &[u8]);
}

/// What is stored under the key of an account and an id.
pub(super) trait Record: Serialize + DeserializeOwned + Clone + PartialEq + Default {
    const SPACE: Space;
    /// Fills in what stands in the key.
    fn place(&mut self, account: &str, id: &str);
    /// Notes the event that changed it.
    fn stamp(&mut self, seq: Seq, time: Time);
    /// The event that last changed it.
    fn seq(&self) -> Seq;
}

impl View for Store {
    type Error = store::Error;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, store::Error> {
        Store::get(self, space, key)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, store::Error> {
        Store::scan(self, space, from..to).take(limit).collect()
    }
}

impl View for Txn<'_> {
    type Error = Infallible;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(Txn::get(self, space, key))
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, Infallible> {
        Ok(Txn::scan(self, space, from..to).take(limit).collect())
    }
}

impl Map for Txn<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        Txn::put(self, space, key, value);
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        Txn::delete(self, space, key);
    }
}

/// Whether a text from the wire is an id: one word, not too long, no ticket.
pub(super) fn is_id(text: &str) -> bool {
    id::is_reported(text) && !id::is_ticket(text)
}

/// The key of something that an account knows.
pub(super) fn key(account: &str, id: &str) -> Vec<u8> {
    [account.as_bytes(), b"\0", id.as_bytes()].concat()
}

/// The account and the id in a key.
pub(super) fn split(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once('\0')
}

/// The range of an account's keys, or of all.
pub(super) fn range(account: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    match account {
        // The separator is zero, so the next byte bounds it.
        Some(account) => (key(account, ""), [account.as_bytes(), &[1]].concat()),
        // No UTF-8 begins with this byte.
        None => (Vec::new(), vec![0xff]),
    }
}

/// Reads a range, page by page, until `found` breaks.
pub(super) fn each<V: View>(
    view: &V,
    space: Space,
    (mut from, to): (Vec<u8>, Vec<u8>),
    mut found: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), V::Error> {
    loop {
        let page = view.scan(space, &from, &to, PAGE)?;
        for (key, value) in &page {
            if found(key, value).is_break() {
                return Ok(());
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => {
                // The key that comes right after it.
                from.clone_from(last);
                from.push(0);
            }
            _ => return Ok(()),
        }
    }
}

/// A stored value; `None` when it is of another version or damaged.
pub(super) fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value.strip_prefix(&[VERSION])?).ok()
}

/// What an account knows under an id.
pub(super) fn get<R: Record, V: View>(view: &V, account: &str, id: &str) -> Result<Option<R>, V::Error> {
    let value = view.get(R::SPACE, &key(account, id))?;
    Ok(value.and_then(|value| decode(&value)).map(|mut record: R| {
        record.place(account, id);
        record
    }))
}

/// The record in a pair that [`each`] found.
pub(super) fn found<R: Record>(key: &[u8], value: &[u8]) -> Option<R> {
    let (account, id) = split(key)?;
    let mut record: R = decode(value)?;
    record.place(account, id);
    Some(record)
}

/// Stores a record.
pub(super) fn put<R: Record>(map: &mut impl Map, account: &str, id: &str, record: &R) {
    let mut value = serde_json::to_value(record).expect("records are plain data");
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, field| !field.is_null() && !matches!(name.as_str(), "account" | "wxid" | "kind"));
    }
    map.put(R::SPACE, &key(account, id), encode(&value));
}

/// The stored form of a value.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value).expect("records are plain data, and a Vec takes every write");
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fake;
    use super::*;

    #[test]
    fn every_key_is_found_once_across_pages() {
        let mut map = Fake::default();
        let count = PAGE * 2 + 1;
        for n in 0..count {
            map.put(PEOPLE, &key("wxid_me", &format!("p{n:05}")), encode(&n));
            map.put(PEOPLE, &key("wxid_me2", &format!("p{n:05}")), encode(&n));
        }
        let mut seen = Vec::new();
        let of = |seen: &mut Vec<usize>, account| {
            let Ok(()) = each(&map, PEOPLE, range(account), |_, value| {
                seen.push(decode(value).unwrap());
                ControlFlow::Continue(())
            });
        };
        of(&mut seen, Some("wxid_me"));
        assert_eq!(seen, (0..count).collect::<Vec<_>>());
        of(&mut seen, None);
        assert_eq!(seen.len(), count * 3);
    }

    #[test]
    fn a_value_of_another_version_counts_as_unknown() {
        let mut value = encode(&7);
        assert_eq!(decode::<i32>(&value), Some(7));
        value[0] = VERSION + 1;
        assert_eq!(decode::<i32>(&value), None);
        assert_eq!(decode::<i32>(b""), None);
    }

    #[test]
    fn tickets_and_what_is_not_one_word_are_no_ids() {
        for id in ["wxid_a", "filehelper", "1@chatroom", "1@openim", "老王"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", " ", "a b", "a\0b", "v1_ab@stranger", &"x".repeat(129)] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
