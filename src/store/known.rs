//! What is known of the map without asking sled: which key spaces have nothing in them, and the single values and counts.
//!
//! Every command and every poll asks whether there is something of a kind that hardly ever is (what was given back,
//! pollers that are no account), and for a few single values; sled takes microseconds for each. This lies under the lock
//! of what is pending and is told of every change before readers see it, so it is never behind.

use super::map::{Change, Changes};
use crate::key::{COUNT, META};
use std::collections::HashMap;

/// So many single values are kept: more than there are, unless there are hundreds of accounts.
const SINGLES_MAX: usize = 1024;

/// What a key space has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    /// Nobody has looked yet.
    Unknown,
    Nothing,
    /// Or had once.
    Something,
}

#[derive(Debug)]
pub(super) struct Known {
    /// By the first byte of their keys.
    spaces: [Has; 256],
    /// By full key.
    singles: HashMap<Vec<u8>, Change>,
}

impl Default for Known {
    fn default() -> Self {
        Self { spaces: [Has::Unknown; 256], singles: HashMap::new() }
    }
}

impl Known {
    /// Follows what readers are about to see.
    pub(super) fn follow(&mut self, changes: &Changes) {
        for (full, change) in changes {
            if change.is_some() {
                self.spaces[space(full)] = Has::Something;
            }
            if is_single(full) && (self.singles.len() < SINGLES_MAX || self.singles.contains_key(full)) {
                self.singles.insert(full.clone(), change.clone());
            }
        }
    }

    /// What a key stands for, where that is known.
    pub(super) fn get(&self, full: &[u8]) -> Option<Change> {
        match self.spaces[space(full)] {
            Has::Nothing => Some(None),
            _ if is_single(full) => self.singles.get(full).cloned(),
            _ => None,
        }
    }

    /// Remembers what sled says of a single value, unless something newer is known.
    pub(super) fn learn(&mut self, full: &[u8], value: &Change) {
        if self.singles.len() < SINGLES_MAX && !self.singles.contains_key(full) {
            self.singles.insert(full.to_vec(), value.clone());
        }
    }

    /// Whether there is surely nothing in the range.
    pub(super) fn is_empty(&self, from: &[u8], to: &[u8]) -> bool {
        self.has(from, to) == Some(Has::Nothing)
    }

    /// Whether nobody knows of the range's space if there is something in it.
    pub(super) fn is_unknown(&self, from: &[u8], to: &[u8]) -> bool {
        self.has(from, to) == Some(Has::Unknown)
    }

    fn has(&self, from: &[u8], to: &[u8]) -> Option<Has> {
        (from.first()? == to.first()?).then(|| self.spaces[space(from)])
    }

    /// Remembers what sled has in the space of a key, unless something newer is known.
    pub(super) fn look(&mut self, full: &[u8], has_something: bool) {
        let has = &mut self.spaces[space(full)];
        if *has == Has::Unknown {
            *has = if has_something { Has::Something } else { Has::Nothing };
        }
    }
}

/// Whether a key is that of a single value.
pub(super) fn is_single(full: &[u8]) -> bool {
    full.first().is_some_and(|space| [META.byte(), COUNT.byte()].contains(space))
}

fn space(full: &[u8]) -> usize {
    full.first().copied().unwrap_or_default().into()
}
