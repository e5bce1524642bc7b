//! What events teach, worked out beside the store's writer, to be written by it in a moment.
//!
//! Promises: reads see the store, and over it what earlier events of the same draft taught. It is right as long as
//! nobody else writes to the directory meanwhile.
//! Leaves to others: writing the changes.

use super::learn::Learned;
use super::map::{Map, Pairs, View};
use crate::key::Space;
use crate::store::{Error, Store, Txn};
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};

/// Changes over a store.
#[derive(Debug)]
pub struct Draft<'s> {
    store: &'s Store,
    changes: BTreeMap<(Space, Vec<u8>), Option<Vec<u8>>>,
    /// What messages told, by its hash, that taught nothing since the last change.
    heard: HashSet<u64>,
    hasher: RandomState,
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
        Self { store, changes: BTreeMap::new(), heard: HashSet::new(), hasher: RandomState::new() }
    }

    /// What was told, as [`knows`](Self::knows) and [`note`](Self::note) take it.
    pub(super) fn told(&self, told: &impl Hash) -> u64 {
        self.hasher.hash_one(told)
    }

    /// Whether the same was told before, and would teach nothing now.
    pub(super) fn knows(&self, told: u64) -> bool {
        self.heard.contains(&told)
    }

    /// Remembers what came of something told.
    pub(super) fn note(&mut self, told: Option<u64>, learned: Learned) {
        if learned.changed {
            self.heard.clear();
        } else if !learned.later {
            self.heard.extend(told);
        }
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
        if !self.changes.is_empty()
            && let Some(value) = self.changes.get(&(space, key.to_vec()))
        {
            return Ok(value.clone());
        }
        self.store.get(space, key)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, Error> {
        if from >= to {
            return Ok(Pairs::new());
        }
        let changed: Vec<_> = self.changes.range((space, from.to_vec())..(space, to.to_vec())).collect();
        let gone = changed.iter().filter(|(_, value)| value.is_none()).count();
        let stored = View::scan(self.store, space, from, to, limit.saturating_add(gone))?;
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
