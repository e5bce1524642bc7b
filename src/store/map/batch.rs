//! What goes into the map in one go, and how far the map is with it.

use crate::codec::{LeReader, LeWriter as _, sealed, unsealed};
use crate::store::index::Block;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What becomes of a pair: its new value, or none.
pub(in crate::store) type Change = Option<Vec<u8>>;
/// Changes by full key (space and key).
pub(in crate::store) type Changes = BTreeMap<Vec<u8>, Change>;

/// What is put into the map in one go.
#[derive(Debug, Default)]
pub(in crate::store) struct Batch {
    pub(in crate::store) changes: Changes,
    /// Finished blocks of the log.
    pub(in crate::store) blocks: Vec<Arc<Block>>,
    /// Blocks that retention has dropped, by first position.
    pub(in crate::store) gone: Vec<u64>,
    /// The map's state with it.
    pub(in crate::store) meta: Meta,
}

impl Batch {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.blocks.is_empty() && self.gone.is_empty()
    }
}

/// How far the map is, and where the journal has to be read from to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Meta {
    /// The last frame that is applied.
    pub(in crate::store) lsn: u64,
    /// The next event's position, then.
    pub(in crate::store) seq: u64,
    /// Bytes of all events before `segment`'s `offset`.
    pub(in crate::store) cum: u64,
    /// The first block that the map has not begins here (without one: the next frame).
    pub(in crate::store) segment: u64,
    pub(in crate::store) offset: u64,
    /// Filled in by `apply`.
    pub(in crate::store) sum: u128,
}

impl Meta {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(60);
        [self.lsn, self.seq, self.cum, self.segment, self.offset].into_iter().for_each(|n| bytes.u64(n));
        bytes.u128(self.sum);
        sealed(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = LeReader(unsealed(bytes)?);
        let n = [(); 5].map(|()| from.u64());
        Some(Self { lsn: n[0]?, seq: n[1]?, cum: n[2]?, segment: n[3]?, offset: n[4]?, sum: from.u128()? })
    }
}
