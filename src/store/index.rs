//! The index of the log: one small entry per block of events, so that a reader skips what cannot match unread.
//!
//! A block is a stretch of one segment: at most [`BLOCK_EVENTS_MAX`] events or [`BLOCK_BYTES`] bytes (or one larger
//! frame). Its entry lives in sled under its first position; a closed segment's entries also lie beside it in
//! `<lsn>.idx`, so that a lost sled does not mean that every body is read again. The newest blocks, finished or not, are
//! in memory only, and are put together again from the journal at open.

use super::frame::Info;
use super::types::VERSION;
use super::{Error, files, journal};
use crate::clock::Time;
use crate::codec::{LeReader, LeWriter, sealed, unsealed};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Events in a block at most.
pub(super) const BLOCK_EVENTS_MAX: u64 = 256;
/// A block ends once it has this many bytes: what a reader of one event may have to look at.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;
/// Bits per distinct tag: with six probes, one block in three hundred is read in vain.
const BITS_PER_TAG: usize = 12;
const PROBES: u64 = 6;
/// The largest `.idx` file we read: a segment of some GiB.
const SIDECAR_BYTES_MAX: u64 = 256 << 20;
const MAGIC: [u8; 8] = *b"WEHELPX\n";
const FIXED: usize = 56;

/// A stretch of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Its segment, by first LSN.
    pub(super) segment: u64,
    /// Its bytes in the segment.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) times: (Time, Time),
    /// Bytes of all events ever stored before it.
    pub(super) cum: u64,
    /// Which tags may be in it.
    pub(super) tags: Vec<u8>,
}

impl Block {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.tags.len());
        [self.last, self.segment, self.start, self.end].into_iter().for_each(|n| bytes.u64(n));
        [self.times.0, self.times.1].into_iter().for_each(|time| bytes.i64(time.millis()));
        bytes.u64(self.cum);
        bytes.bytes(&self.tags);
        bytes
    }

    pub(super) fn decode(first: u64, bytes: &[u8]) -> Option<Self> {
        let mut from = LeReader(bytes);
        Some(Self {
            first,
            last: from.u64()?,
            segment: from.u64()?,
            start: from.u64()?,
            end: from.u64()?,
            times: (Time::from_millis(from.i64()?), Time::from_millis(from.i64()?)),
            cum: from.u64()?,
            tags: from.0.to_vec(),
        })
    }

    /// Whether an event in it may be of that time, and have one tag of each group.
    pub(super) fn may_match(&self, since: Option<Time>, until: Option<Time>, any_of: &[Vec<u64>]) -> bool {
        since.is_none_or(|since| self.times.1 >= since)
            && until.is_none_or(|until| self.times.0 <= until)
            && any_of.iter().all(|group| group.iter().any(|tag| has(&self.tags, *tag)))
    }
}

fn mix(tag: u64) -> (u64, u64) {
    let wide = u128::from(tag ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93_a5a3_5625);
    let half = |n: u128| u64::try_from(n & u128::from(u64::MAX)).unwrap_or_default();
    (half(wide) ^ half(wide >> 64), half(wide >> 64) | 1)
}

fn probes(tag: u64, bits: u64) -> impl Iterator<Item = usize> {
    let (at, step) = mix(tag);
    (0..PROBES).map(move |i| usize::try_from(at.wrapping_add(i.wrapping_mul(step)) % bits).unwrap_or_default())
}

/// Whether a set may have a tag.
fn has(set: &[u8], tag: u64) -> bool {
    !set.is_empty() && probes(tag, set.len() as u64 * 8).all(|bit| set[bit / 8] & (1 << (bit % 8)) != 0)
}

fn set_of(tags: &mut Vec<u64>) -> Vec<u8> {
    tags.sort_unstable();
    tags.dedup();
    let mut set = vec![0; (tags.len() * BITS_PER_TAG).div_ceil(8)];
    let bits = set.len() as u64 * 8;
    for tag in tags {
        for bit in probes(*tag, bits) {
            set[bit / 8] |= 1 << (bit % 8);
        }
    }
    set
}

/// The unfinished block.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// Its tags are not collected yet.
    pub(super) block: Block,
    /// Where each frame with events begins: its first position and its offset.
    pub(super) frames: Vec<(u64, u64)>,
}

/// Puts blocks together, frame by frame.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) open: Option<Open>,
    tags: Vec<u64>,
    /// Bytes of all events ever stored.
    pub(super) cum: u64,
}

impl Builder {
    pub(super) fn new(cum: u64) -> Self {
        Self { open: None, tags: Vec::new(), cum }
    }

    /// Takes in a frame (`info.at` in its segment, `tags` its own); returns the block that it finishes.
    pub(super) fn push(&mut self, segment: u64, info: &Info, tags: impl IntoIterator<Item = u64>) -> Option<Block> {
        if info.events == 0 {
            return None;
        }
        let before = match &self.open {
            Some(open) if open.block.segment != segment => self.finish(),
            _ => None,
        };
        let last = info.seq + u64::from(info.events) - 1;
        let open = self.open.get_or_insert_with(|| Open {
            block: Block {
                first: info.seq,
                last,
                segment,
                start: info.at,
                end: info.at,
                times: info.times,
                cum: self.cum,
                tags: Vec::new(),
            },
            frames: Vec::new(),
        });
        let block = &mut open.block;
        block.last = last;
        block.end = info.at + info.bytes;
        block.times = (block.times.0.min(info.times.0), block.times.1.max(info.times.1));
        let full = block.last - block.first + 1 >= BLOCK_EVENTS_MAX || block.end - block.start >= BLOCK_BYTES;
        open.frames.push((info.seq, info.at));
        self.cum += info.bytes;
        self.tags.extend(tags);
        // A segment's last block is finished by the roll, so that a frame finishes one block at most.
        before.or_else(|| if full { self.finish() } else { None })
    }

    /// Ends the unfinished block.
    pub(super) fn finish(&mut self) -> Option<Block> {
        let mut block = self.open.take()?.block;
        block.tags = set_of(&mut self.tags);
        self.tags.clear();
        Some(block)
    }
}

fn sidecar(dir: &Path, segment: u64) -> PathBuf {
    journal::path(dir, segment).with_extension("idx")
}

/// Writes a closed segment's entries beside it.
pub(super) fn write_sidecar(dir: &Path, segment: u64, blocks: &[Arc<Block>]) -> Result<(), Error> {
    let mut bytes = Vec::new();
    bytes.bytes(&MAGIC);
    bytes.u32(VERSION);
    for block in blocks {
        let value = block.encode();
        bytes.u64(block.first);
        bytes.len32(value.len());
        bytes.bytes(&value);
    }
    let bytes = sealed(bytes);
    let path = sidecar(dir, segment);
    files::replace(&path, |out| out.write_all(&bytes)).map_err(|e| files::fault("write the index", &path, &e))
}

/// Reads them back; `None` when they are not there or not whole: then the segment itself is read.
pub(super) fn read_sidecar(dir: &Path, segment: u64) -> Option<Vec<Block>> {
    let bytes = files::read_small(&sidecar(dir, segment), SIDECAR_BYTES_MAX).ok()??;
    let mut from = LeReader(unsealed(&bytes)?);
    if from.array()? != MAGIC || from.u32()? != VERSION {
        return None;
    }
    let mut blocks = Vec::new();
    while !from.0.is_empty() {
        let (first, len) = (from.u64()?, from.len32()?);
        blocks.push(Block::decode(first, from.bytes(len)?)?);
    }
    Some(blocks)
}

/// Removes a segment's entries.
pub(super) fn remove_sidecar(dir: &Path, segment: u64) -> io::Result<()> {
    files::remove(&sidecar(dir, segment))
}
