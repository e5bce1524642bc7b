//! What events teach, worked out beside the store's writer, to be written by it in a moment.
//!
//! Promises: reads see the store, and over it what earlier events of the same draft taught. It is right as long as
//! nobody else writes to the directory meanwhile.
//! Leaves to others: writing the changes.

use super::map::{Map, Pairs, View};
use crate::store::{Error, Space, Store, Txn};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// So many values are remembered: a page of messages has few chats, and those of a long list come once.
const READ_MAX: usize = 256;

/// Where a value lies.
type Key = (Space, Vec<u8>);

/// Changes over a store.
#[derive(Debug)]
pub struct Draft<'s> {
    store: &'s Store,
    changes: BTreeMap<Key, Option<Vec<u8>>>,
    /// What was read from the store: messages of one account and chat follow each other.
    read: RefCell<HashMap<Key, Option<Vec<u8>>>>,
}

/// One of them: the new value of a key, or none.
#[derive(Debug)]
pub struct Change {
    space: Space,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Change {
    /// Makes it, as a part of the caller's transaction.
    pub fn apply(&self, tx: &mut Txn<'_>) {
        match &self.value {
            Some(value) => tx.put(self.space, &self.key, value.clone()),
            None => tx.delete(self.space, &self.key),
        }
    }
}

impl<'s> Draft<'s> {
    /// An empty one.
    #[must_use]
    pub fn new(store: &'s Store) -> Self {
        Self { store, changes: BTreeMap::new(), read: RefCell::default() }
    }

    /// What is to be written.
    #[must_use]
    pub fn changes(self) -> Vec<Change> {
        self.changes.into_iter().map(|((space, key), value)| Change { space, key, value }).collect()
    }
}

impl View for Draft<'_> {
    type Error = Error;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let key = (space, key.to_vec());
        let mut read = self.read.borrow_mut();
        if let Some(value) = self.changes.get(&key).or_else(|| read.get(&key)) {
            return Ok(value.clone());
        }
        let value = self.store.get(space, &key.1)?;
        if read.len() < READ_MAX {
            read.insert(key, value.clone());
        }
        Ok(value)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, Error> {
        if from >= to {
            return Ok(Pairs::new());
        }
        let changed: Vec<_> = self.changes.range((space, from.to_vec())..(space, to.to_vec())).collect();
        let gone = changed.iter().filter(|(_, value)| value.is_none()).count();
        let stored = self.store.scan(space, from, to, limit.saturating_add(gone), false)?;
        if changed.is_empty() {
            return Ok(stored);
        }
        // With as many more as are gone, what is kept below is never cut short by the store's own limit.
        let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for ((_, key), value) in changed {
            match value {
                Some(value) => pairs.insert(key.clone(), value.clone()),
                None => pairs.remove(key),
            };
        }
        Ok(pairs.into_iter().take(limit).collect())
    }
}

impl Map for Draft<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        self.changes.insert((space, key.to_vec()), Some(value));
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        self.changes.insert((space, key.to_vec()), None);
    }
}
