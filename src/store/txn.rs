//! Transactions: what a closure on the writer thread sees and changes.
//!
//! A group's changes lie in an overlay over the map until they are synced, so that a later transaction of the same
//! group sees what an earlier one did. Each transaction keeps what it replaced there, and puts it back when it fails.

use super::frame::{self, Run};
use super::map::{Change, Changes, Map};
use super::scan::{Pages, Scan};
use super::{Append, Error, Pair};
use crate::key::{Keys, Space};
use crate::seq::Seq;
use std::ops::Range;

/// The longest key, bytes: it is a key of sled, and copied a lot.
pub(super) const KEY_BYTES_MAX: usize = 4 << 10;
/// The largest outline: a reader decodes it before it knows whether it wants the event.
pub(super) const OUTLINE_BYTES_MAX: usize = 64 << 10;
/// What a group has done so far.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) run: Run,
    pub(super) overlay: Changes,
    /// The next frame's number.
    pub(super) lsn: u64,
    /// The next event's position.
    pub(super) seq: u64,
}

/// A transaction in progress, on the writer thread. Reads see earlier writes of the same and of earlier transactions.
#[derive(Debug)]
pub struct Txn<'a> {
    group: &'a mut Group,
    map: &'a Map,
    /// What it replaced in the overlay.
    undo: Vec<(Vec<u8>, Option<Change>)>,
    next: u64,
    /// Why it cannot be kept, whatever the closure says.
    failed: std::cell::RefCell<Option<Error>>,
}

impl<'a> Txn<'a> {
    pub(super) fn begin(group: &'a mut Group, map: &'a Map) -> Self {
        let next = group.seq;
        group.run.begin(group.lsn, next);
        Self { group, map, undo: Vec::new(), next, failed: std::cell::RefCell::new(None) }
    }

    /// Ends it; true when it changed something. `durable` is the last durable LSN.
    pub(super) fn end(mut self, keep: bool, durable: u64) -> Result<bool, Error> {
        let (any, fits) = self.group.run.pending();
        if !fits && self.failed.get_mut().is_none() {
            let mib = frame::PAYLOAD_BYTES_MAX >> 20;
            *self.failed.get_mut() = Some(Error::Other(format!("one change may take at most {mib} MiB")));
        }
        let failed = self.failed.take();
        if !keep || failed.is_some() || !any {
            self.group.run.abandon();
            for (key, before) in self.undo.into_iter().rev() {
                match before {
                    Some(value) => self.group.overlay.insert(key, value),
                    None => self.group.overlay.remove(&key),
                };
            }
            return failed.map_or(Ok(false), Err);
        }
        let back = self.group.lsn.saturating_sub(durable + 1);
        self.group.run.finish(u32::try_from(back).unwrap_or(u32::MAX));
        self.group.lsn += 1;
        self.group.seq = self.next;
        Ok(true)
    }

    fn fail(&self, error: Error) {
        self.failed.borrow_mut().get_or_insert(error);
    }

    /// The map cannot be read, as when a full disk keeps sled from making room for a page: the store refuses, and makes
    /// the map again.
    fn unreadable(&self, error: &Error) {
        self.fail(Error::Refusing(error.to_string()));
    }

    fn change(&mut self, full: Vec<u8>, value: Option<Vec<u8>>) {
        if full.len() > KEY_BYTES_MAX {
            self.fail(Error::Other(format!("a key may have at most {KEY_BYTES_MAX} bytes")));
            return;
        }
        match &value {
            Some(value) => self.group.run.put(&full, value),
            None => self.group.run.delete(&full),
        }
        let before = self.group.overlay.insert(full.clone(), value);
        self.undo.push((full, before));
    }

    /// Appends an event; returns its position, which is its own once the transaction is kept.
    pub fn append(&mut self, event: Append) -> Seq {
        if event.outline.len() > OUTLINE_BYTES_MAX {
            self.fail(Error::Other(format!("an event's outline may have at most {OUTLINE_BYTES_MAX} bytes")));
        }
        let seq = Seq(self.next);
        self.next += 1;
        self.group.run.event(event);
        seq
    }

    /// A value of the map. When the map cannot be read the answer is none, and the transaction will fail.
    #[must_use]
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Vec<u8>> {
        let full = space.full(key);
        if let Some(value) = self.group.overlay.get(&full) {
            return value.clone();
        }
        self.map.get(&full).unwrap_or_else(|error| {
            self.unreadable(&error);
            None
        })
    }

    /// Sets a value of the map.
    pub fn put(&mut self, space: Space, key: &[u8], value: impl Into<Vec<u8>>) {
        self.change(space.full(key), Some(value.into()));
    }

    /// Removes a value from the map; one that is not there costs nothing.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        if self.get(space, key).is_some() {
            self.change(space.full(key), None);
        }
    }

    /// As [`Store::scan`](super::Store::scan). When the map cannot be read there is nothing, and the transaction will fail.
    pub fn scan(&self, space: Space, keys: impl Into<Keys>) -> Scan<&Self> {
        Scan::new(self, space, &keys.into())
    }

    /// The newest position, those appended in this transaction included.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.next - 1)
    }
}

impl Pages for &Txn<'_> {
    type Item = Pair;

    fn page(&self, keys: &Range<Vec<u8>>, limit: usize, reverse: bool) -> Result<Vec<Pair>, Error> {
        self.map.scan(Some(&self.group.overlay), keys, limit, reverse)
    }

    /// When the map cannot be read there is nothing, and the transaction will fail.
    fn item(&self, pair: Result<Pair, Error>) -> Option<Pair> {
        pair.map_err(|error| self.unreadable(&error)).ok()
    }
}
