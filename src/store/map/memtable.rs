//! The memtable: what the journal has and sled has not yet, and what is known of sled without asking it.
//!
//! Every command and every poll asks whether there is something of a kind that hardly ever is (what was given back,
//! pollers that are no account), and for a few single values; sled takes microseconds for each. So it is remembered
//! which key spaces have nothing in them, and what the single values and counts are. All of this lies under one lock and
//! is told of every change before readers see it, so it is never behind.

use super::batch::{Batch, Change, Changes, Meta};
use crate::key::{COUNT, META};
use crate::store::Error;
use crate::store::index::Block;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// This many single values are kept: more than there are, unless there are hundreds of accounts.
const SINGLES_MAX: usize = 1024;
/// What a change costs besides its bytes.
const CHANGE_BYTES: usize = 64;
/// A block of the log weighs as a change of so many times fewer bytes than it has: with a megabyte of them (what a start
/// after a kill reads again) it is time for a flush.
const BLOCK_WEIGHT: u64 = 8;

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
pub(super) struct Memtable {
    /// What no flush has taken yet; its meta is the map's state with it.
    fresh: Batch,
    /// Something came since the last flush.
    dirty: bool,
    bytes: usize,
    /// What is being flushed at this moment, or was when sled failed.
    flushing: Arc<Batch>,
    /// By the first byte of their keys.
    spaces: [Has; 256],
    /// By full key.
    singles: HashMap<Vec<u8>, Change>,
}

/// What a flush finds to do.
pub(super) enum Due {
    Nothing,
    /// The newest of it is not durable yet.
    Later,
    Batch(Arc<Batch>),
}

impl Memtable {
    /// An empty one over sled in this state.
    pub(super) fn new(meta: Meta) -> Self {
        Self {
            fresh: Batch { meta, ..Batch::default() },
            dirty: false,
            bytes: 0,
            flushing: Arc::new(Batch { meta, ..Batch::default() }),
            spaces: [Has::Unknown; 256],
            singles: HashMap::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in what readers are about to see.
    pub(super) fn add(&mut self, batch: Batch) {
        let Batch { changes, blocks, gone, meta } = batch;
        for (full, change) in &changes {
            self.bytes += full.len() + change.as_ref().map_or(0, Vec::len) + CHANGE_BYTES;
            if change.is_some() {
                self.spaces[space(full)] = Has::Something;
            }
            if is_single(full) && (self.singles.len() < SINGLES_MAX || self.singles.contains_key(full)) {
                self.singles.insert(full.clone(), change.clone());
            }
        }
        let weight: u64 = blocks.iter().map(|block| (block.end - block.start) / BLOCK_WEIGHT).sum();
        self.bytes += usize::try_from(weight).unwrap_or(usize::MAX) + gone.len() * CHANGE_BYTES;
        if self.fresh.changes.is_empty() {
            self.fresh.changes = changes;
        } else {
            self.fresh.changes.extend(changes);
        }
        if !gone.is_empty() {
            self.fresh.blocks.retain(|block| !gone.contains(&block.first));
        }
        self.fresh.blocks.extend(blocks);
        self.fresh.gone.extend(gone);
        self.fresh.meta = meta;
        self.dirty = true;
    }

    /// Begins a flush of all of it.
    pub(super) fn begin(&mut self, durable: u64) -> Result<Due, Error> {
        if !self.flushing.is_empty() {
            return Err(Error::Other("the map has failed before".to_owned()));
        }
        if !self.dirty {
            return Ok(Due::Nothing);
        }
        if self.fresh.meta.lsn > durable {
            return Ok(Due::Later);
        }
        let meta = self.fresh.meta;
        self.flushing = Arc::new(std::mem::replace(&mut self.fresh, Batch { meta, ..Batch::default() }));
        (self.dirty, self.bytes) = (false, 0);
        Ok(Due::Batch(Arc::clone(&self.flushing)))
    }

    /// A flush is done.
    pub(super) fn end(&mut self) {
        self.flushing = Arc::new(Batch { meta: self.flushing.meta, ..Batch::default() });
    }

    /// Nothing after here is in sled: the last LSN, and the next event's position.
    pub(super) fn flushed_to(&self) -> (u64, u64) {
        (self.flushing.meta.lsn, self.flushing.meta.seq)
    }

    /// What a key stands for, where that is known without sled.
    pub(super) fn get(&self, full: &[u8]) -> Option<Change> {
        if self.spaces[space(full)] == Has::Nothing {
            return Some(None);
        }
        let single = if is_single(full) { self.singles.get(full) } else { None };
        single.or_else(|| self.layers().into_iter().find_map(|changes| changes.get(full))).cloned()
    }

    /// Remembers what sled says of a single value, unless something newer is known.
    pub(super) fn learn(&mut self, full: &[u8], value: &Change) {
        if self.singles.len() < SINGLES_MAX && !self.singles.contains_key(full) {
            self.singles.insert(full.to_vec(), value.clone());
        }
    }

    /// Its changes, the newest first.
    pub(super) fn layers(&self) -> [&Changes; 2] {
        [&self.fresh.changes, &self.flushing.changes]
    }

    /// Its blocks with one of these positions, in order.
    pub(super) fn blocks(&self, from: u64, to: u64) -> Vec<Arc<Block>> {
        let blocks = self.flushing.blocks.iter().chain(&self.fresh.blocks);
        blocks.filter(|block| block.last >= from && block.first <= to).cloned().collect()
    }

    /// Whether there is surely nothing in the range.
    pub(super) fn is_empty(&self, keys: &Range<Vec<u8>>) -> bool {
        self.has(keys) == Some(Has::Nothing)
    }

    /// Whether nobody knows of the range's space if there is something in it.
    pub(super) fn is_unknown(&self, keys: &Range<Vec<u8>>) -> bool {
        self.has(keys) == Some(Has::Unknown)
    }

    /// A range within one space, or to the beginning of the next.
    fn has(&self, keys: &Range<Vec<u8>>) -> Option<Has> {
        let (from, to) = (keys.start.first()?, keys.end.first()?);
        (from == to || (keys.end.len() == 1 && from.checked_add(1) == Some(*to)))
            .then(|| self.spaces[usize::from(*from)])
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
