//! The live map and the log's index, in sled. Nothing here is the truth: the journal is, and this can be made again.
//!
//! One tree; the key's first byte tells what it is:
//!
//! ```text
//! 0                         Meta: which LSN is applied, and a sum over all other pairs
//! 1 first seq (BE)          a block of the log (index.rs)
//! 2 space key               a pair: 0 value, or 1 id length when the value lies in chunks
//! 3 id (BE) number (BE)     a chunk of a large value
//! ```
//!
//! sled puts items above an eighth of a MiB into files of their own that it does not sync, and its leaves should stay
//! small, so a value above [`CHUNK_BYTES`] is stored in chunks; nobody above this file sees that. The sum is a
//! commutative checksum over all pairs, kept up to date in the batch that changes them: after an unclean stop it
//! tells whether sled came back as a state that it once was in.
//!
//! sled has panics where others have errors, so every call into it is guarded.

use super::Error;
use super::index::{self, Block};
use crate::seq::Seq;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The largest value, or piece of one, that goes into sled: none of this size ever became a blob.
const CHUNK_BYTES: usize = 8 << 10;
/// A reader that meets a large value just being replaced tries again so often.
const TRIES: usize = 100;
/// Pairs that are put into sled in one go when it is filled: well below one of its segments (512 KiB).
const FILL_BYTES: usize = 128 << 10;
/// Changes that are put into sled in one go while it is read: its readers wait for a batch to end.
const STEP_BYTES: usize = 8 << 10;

const META: [u8; 1] = [0];
const BLOCK: u8 = 1;
const PAIR: u8 = 2;
const CHUNK: u8 = 3;
const WHOLE: u8 = 0;
const CHUNKED: u8 = 1;

/// What becomes of a pair: its new value, or none.
pub(super) type Change = Option<Vec<u8>>;
/// Changes by full key (space and key).
pub(super) type Changes = BTreeMap<Vec<u8>, Change>;

/// A full key (space and key), and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// How far the map is, and where the journal has to be read from to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The last frame that is applied.
    pub(super) lsn: u64,
    /// The next event's position, then.
    pub(super) seq: u64,
    /// Bytes of all events before `segment`'s `offset`.
    pub(super) cum: u64,
    /// The unfinished block begins here (without one: the next frame).
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// Filled in by `apply`.
    pub(super) sum: u128,
}

impl Meta {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(60);
        for n in [self.lsn, self.seq, self.cum, self.segment, self.offset] {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        bytes.extend_from_slice(&self.sum.to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(56)?;
        if crc32fast::hash(body).to_le_bytes() != crc {
            return None;
        }
        let n = |i: usize| Some(u64::from_le_bytes(body.get(i * 8..i * 8 + 8)?.try_into().ok()?));
        let sum = u128::from_le_bytes(body.get(40..56)?.try_into().ok()?);
        Some(Self { lsn: n(0)?, seq: n(1)?, cum: n(2)?, segment: n(3)?, offset: n(4)?, sum })
    }
}

/// The map.
pub(super) struct Map {
    db: sled::Db,
    dir: PathBuf,
    /// As it was last written, with the sum.
    meta: Mutex<Meta>,
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A number for a pair that does not depend on the order of pairs: 128 bits by folded multiplication.
fn hash(key: &[u8], value: &[u8]) -> u128 {
    const A: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    const B: u128 = 0xd6e8_feb8_6659_fd93_a5a3_5625_e27a_5b21;
    let mut state = A ^ (key.len() as u128);
    for part in [key, value] {
        for piece in part.chunks(16) {
            let mut word = [0; 16];
            word[..piece.len()].copy_from_slice(piece);
            state = (state ^ u128::from_le_bytes(word)).wrapping_mul(B);
            state ^= state >> 61;
        }
        state = (state ^ part.len() as u128).wrapping_mul(A);
        state ^= state >> 67;
    }
    state
}

fn pair_key(full: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + full.len());
    key.push(PAIR);
    key.extend_from_slice(full);
    key
}

fn block_key(first: u64) -> Vec<u8> {
    let mut key = vec![BLOCK];
    key.extend_from_slice(&index::key(Seq(first)));
    key
}

fn chunk_key(id: u64, number: u32) -> [u8; 13] {
    let mut key = [CHUNK; 13];
    key[1..9].copy_from_slice(&id.to_be_bytes());
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The id and the number of chunks of a value in chunks.
fn chunks_of(stored: &[u8]) -> Option<(u64, u32)> {
    let (kind, rest) = stored.split_first()?;
    let id = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
    let count = u32::from_be_bytes(rest.get(8..12)?.try_into().ok()?);
    (*kind == CHUNKED).then_some((id, count))
}

/// Calls into sled: its errors and its panics become ours.
fn guard<T>(act: &str, dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    let failed = |why: &str| Error::Other(format!("{act} in `{}`: {why}", dir.display()));
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(|e| failed(&e.to_string())),
        Err(panic) => Err(failed(&super::health::panic_text(&*panic))),
    }
}

/// Changes to be made in one step, with the sum that results.
struct Step<'a> {
    tree: &'a sled::Tree,
    batch: sled::Batch,
    sum: u128,
}

impl Step<'_> {
    fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_add(hash(key, value));
        self.batch.insert(key, value);
    }

    /// Removes a key whose value is known.
    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_sub(hash(key, value));
        self.batch.remove(key);
    }

    fn remove_if_there(&mut self, key: &[u8]) -> sled::Result<()> {
        if let Some(value) = self.tree.get(key)? {
            self.remove(key, &value);
        }
        Ok(())
    }

    fn change(&mut self, full: &[u8], value: Option<&[u8]>) -> sled::Result<()> {
        let key = pair_key(full);
        let old = self.tree.get(&key)?;
        if let Some(old) = &old {
            // What does not change costs nothing.
            if value.is_some_and(|v| old.first() == Some(&WHOLE) && &old[1..] == v) {
                return Ok(());
            }
            self.remove(&key, old);
            if let Some((id, count)) = chunks_of(old) {
                for number in 0..count {
                    self.remove_if_there(&chunk_key(id, number))?;
                }
            }
        }
        let Some(value) = value else { return Ok(()) };
        if value.len() <= CHUNK_BYTES {
            let mut stored = Vec::with_capacity(1 + value.len());
            stored.push(WHOLE);
            stored.extend_from_slice(value);
            self.insert(&key, &stored);
            return Ok(());
        }
        let mut id = fastrand::u64(..);
        while self.tree.contains_key(chunk_key(id, 0))? {
            id = fastrand::u64(..);
        }
        let mut count = 0_u32;
        for piece in value.chunks(CHUNK_BYTES) {
            self.insert(&chunk_key(id, count), piece);
            count += 1;
        }
        let mut stored = vec![CHUNKED];
        stored.extend_from_slice(&id.to_be_bytes());
        stored.extend_from_slice(&count.to_be_bytes());
        self.insert(&key, &stored);
        Ok(())
    }
}

impl Map {
    /// Where sled lives.
    pub(super) fn folder(dir: &Path) -> PathBuf {
        dir.join("sled")
    }

    /// Opens sled in this folder, or makes it.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let config = sled::Config::new().path(folder).cache_capacity(cache_bytes).flush_every_ms(None);
        let db = guard("open the map", folder, || config.open())?;
        let map = Self { db, dir: folder.to_owned(), meta: Mutex::default() };
        if let Some(meta) = map.meta()? {
            *map.meta.lock().unwrap_or_else(PoisonError::into_inner) = meta;
        }
        Ok(map)
    }

    pub(super) fn meta(&self) -> Result<Option<Meta>, Error> {
        let bytes = guard("read the map", &self.dir, || self.db.get(META))?;
        Ok(bytes.and_then(|b| Meta::decode(&b)))
    }

    /// Whether every pair is as it was when `meta` was written. Reads all of it.
    pub(super) fn verify(&self, meta: &Meta) -> Result<bool, Error> {
        let sum = guard("verify the map", &self.dir, || {
            let mut sum = 0_u128;
            for pair in self.db.range([BLOCK]..) {
                let (key, value) = pair?;
                sum = sum.wrapping_add(hash(&key, &value));
            }
            Ok(sum)
        })?;
        Ok(sum == meta.sum)
    }

    /// Applies changes, new blocks and the end of old ones (by first position); `meta` is the state that results.
    ///
    /// That is done in steps, of which all but the last leave the LSN as it was: what a kill leaves then is a state
    /// with a right sum that has some of the changes already, and making all of them (again) completes it. So they
    /// must be durable in the journal.
    pub(super) fn apply(&self, changes: &Changes, blocks: &[Block], gone: &[u64], meta: Meta) -> Result<(), Error> {
        self.apply_in(STEP_BYTES, changes, blocks, gone, meta)
    }

    fn apply_in(
        &self,
        step_bytes: usize,
        changes: &Changes,
        blocks: &[Block],
        gone: &[u64],
        mut meta: Meta,
    ) -> Result<(), Error> {
        let mut written = self.meta.lock().unwrap_or_else(PoisonError::into_inner);
        let done = guard("write the map", &self.dir, || {
            let mut step = Step { tree: &self.db, batch: sled::Batch::default(), sum: written.sum };
            let mut bytes = 0;
            for (key, value) in changes {
                if bytes > step_bytes {
                    written.sum = step.sum;
                    step.batch.insert(&META, written.encode());
                    self.db.apply_batch(std::mem::take(&mut step.batch))?;
                    bytes = 0;
                }
                step.change(key, value.as_deref())?;
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            }
            for block in blocks {
                let key = block_key(block.first);
                step.remove_if_there(&key)?;
                step.insert(&key, &block.encode());
            }
            for first in gone {
                step.remove_if_there(&block_key(*first))?;
            }
            meta.sum = step.sum;
            step.batch.insert(&META, meta.encode());
            self.db.apply_batch(step.batch)?;
            Ok(meta)
        })?;
        *written = done;
        Ok(())
    }

    /// Makes everything applied so far durable.
    pub(super) fn flush(&self) -> Result<(), Error> {
        guard("sync the map", &self.dir, || {
            self.db.flush()?;
            // sled's own sync does not cover the file's size, nor the disk's cache.
            for name in ["conf", "db"] {
                std::fs::File::open(self.dir.join(name))?.sync_data()?;
            }
            std::fs::File::open(&self.dir)?.sync_all()?;
            Ok(())
        })
    }

    fn value(&self, key: &[u8], stored: sled::IVec) -> sled::Result<Option<Vec<u8>>> {
        let mut stored = Some(stored);
        'again: for _ in 0..TRIES {
            let Some(now) = stored else { return Ok(None) };
            let Some((id, count)) = chunks_of(&now) else { return Ok(Some(now.get(1..).unwrap_or_default().to_vec())) };
            let mut value = Vec::new();
            for number in 0..count {
                let Some(chunk) = self.db.get(chunk_key(id, number))? else {
                    // Replaced meanwhile.
                    stored = self.db.get(key)?;
                    continue 'again;
                };
                value.extend_from_slice(&chunk);
            }
            return Ok(Some(value));
        }
        Err(sled::Error::ReportableBug("a large value's chunks are missing".to_owned()))
    }

    pub(super) fn get(&self, full: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        guard("read the map", &self.dir, || {
            let key = pair_key(full);
            match self.db.get(&key)? {
                Some(stored) => self.value(&key, stored),
                None => Ok(None),
            }
        })
    }

    /// Pairs with `from <= full key < to`, in order or reversed.
    pub(super) fn pairs(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
    ) -> impl Iterator<Item = Result<Pair, Error>> + '_ {
        let (from, to) = (pair_key(from), pair_key(to));
        let empty = from >= to;
        let mut range = if empty { self.db.range(..&[][..]) } else { self.db.range(from..to) };
        std::iter::from_fn(move || {
            if empty {
                return None;
            }
            let next = guard("read the map", &self.dir, || {
                loop {
                    let next = if reverse { range.next_back() } else { range.next() };
                    let Some(pair) = next else { return Ok(None) };
                    let (key, stored) = pair?;
                    if let Some(value) = self.value(&key, stored)? {
                        return Ok(Some((key[1..].to_vec(), value)));
                    }
                }
            });
            next.transpose()
        })
    }

    /// Every pair, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = Result<Pair, Error>> + '_ {
        // No key begins with 255 and so many more: spaces are letters.
        self.pairs(&[], &[255; 8], false)
    }

    /// The entry of the block that `seq` is in, if it is in one: the last that begins at or before it.
    pub(super) fn block_at(&self, seq: u64) -> Result<Option<(u64, sled::IVec)>, Error> {
        self.blocks(0, seq, true).next().transpose()
    }

    /// Entries of the blocks that begin within `from..=to`, in order or reversed.
    pub(super) fn blocks(
        &self,
        from: u64,
        to: u64,
        reverse: bool,
    ) -> impl Iterator<Item = Result<(u64, sled::IVec), Error>> + '_ {
        let mut range = self.db.range(block_key(from)..=block_key(to.max(from)));
        std::iter::from_fn(move || {
            let next = guard("read the index", &self.dir, || {
                let next = if reverse { range.next_back() } else { range.next() };
                let Some(entry) = next else { return Ok(None) };
                let (key, value) = entry?;
                let first = key[1..].try_into().map_or(0, u64::from_be_bytes);
                Ok(Some((first, value)))
            });
            next.transpose()
        })
    }
}

/// Puts pairs and blocks into a map that is being made again or catches up, in small steps.
#[derive(Debug)]
pub(super) struct Fill<'a> {
    map: &'a Map,
    changes: Changes,
    bytes: usize,
    blocks: Vec<Block>,
}

impl<'a> Fill<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self { map, changes: Changes::new(), bytes: 0, blocks: Vec::new() }
    }

    pub(super) fn change(&mut self, full: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        self.bytes += full.len() + value.map_or(0, <[u8]>::len);
        self.changes.insert(full.to_vec(), value.map(<[u8]>::to_vec));
        self.step()
    }

    pub(super) fn block(&mut self, block: Block) -> Result<(), Error> {
        self.bytes += block.tags.len() + 64;
        self.blocks.push(block);
        self.step()
    }

    fn step(&mut self) -> Result<(), Error> {
        if self.bytes < FILL_BYTES {
            return Ok(());
        }
        // No LSN yet: a map that is half made is not taken for whole.
        self.finish(Meta::default())
    }

    /// Applies what is left, and says how far the map is now.
    pub(super) fn finish(&mut self, meta: Meta) -> Result<(), Error> {
        self.map.apply_in(FILL_BYTES, &self.changes, &self.blocks, &[], meta)?;
        (self.changes, self.blocks, self.bytes) = (Changes::new(), Vec::new(), 0);
        Ok(())
    }
}
