//! The map's pairs and the log's index on disk, in sled. Nothing here is the truth: the journal is, and this can be made
//! again.
//!
//! One tree; the key's first byte tells what it is:
//!
//! ```text
//! 0 1                       Meta: which LSN is applied, and a sum over all other pairs
//! 1 first seq (BE)          a block of the log (`index`)
//! 2 full key                a page (`page`): all pairs from this key on to the next page's
//! 3 id (BE) number (BE)     a chunk of a large value
//! ```
//!
//! sled puts items above an eighth of a MiB into files of their own that it does not sync, and its leaves should stay
//! small, so a value above [`INLINE_BYTES`] is stored in chunks; nobody above this file sees that. The sum is a
//! commutative checksum over all items, kept up to date in the batch that changes them: after an unclean stop it
//! tells whether sled came back as a state that it once was in.
//!
//! sled writes behind, by a pool of threads that starts with seven. When it gives space back to the file system, and
//! all of them are writing, it waits for ever: they for a lock, its holder for the truncation that is queued behind
//! them. So not more is ever on its way than one step and what was small before it (`Written::behind`).
//!
//! sled has panics where others have errors, so every call into it is guarded.

use super::batch::{Batch, Change, Meta};
use super::page::{self, Entries, Entry, Value};
use crate::key;
use crate::store::files;
use crate::store::health::panic_text;
use crate::store::{Error, Pair};
use crate::sync::lock;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

/// The largest value that lies in a page.
const INLINE_BYTES: usize = page::PAGE_BYTES;
/// The largest piece of a value: none of this size ever became a blob.
const CHUNK_BYTES: usize = 8 << 10;
/// A reader that meets a large value just being replaced tries again so often.
const TRIES: usize = 100;
/// With more than so much on its way sled is waited for.
const BEHIND_BYTES: usize = 16 << 10;

/// What sled says, and no other word of it, when another process has its file.
const LOCKED: &str = "could not acquire lock";

const META: [u8; 2] = [0, 1];
const BLOCK: u8 = 1;
const PAGE: u8 = 2;
const CHUNK: u8 = 3;

/// The pairs and blocks in sled.
pub(in crate::store) struct SledTree {
    db: Db,
    /// Knows what failed behind our back.
    config: sled::Config,
    times_written: AtomicU64,
    dir: PathBuf,
    written: Mutex<Written>,
    /// Its folder is nobody's any more when this process ends.
    in_memory: bool,
}

/// What was written into sled.
#[derive(Debug, Default)]
struct Written {
    /// As it was last, with the sum.
    meta: Meta,
    /// Bytes that sled may still be writing out.
    behind: usize,
}

/// sled, which syncs once more when it is dropped. All that matters is in the journal; but what sled holds must be given
/// back, since a map that has failed is made again in the same process, as often as that happens.
struct Db {
    sled: Option<sled::Db>,
    /// It has panicked, and may do so again and again while it is dropped, which would end the process: it is left as
    /// it is.
    panicked: AtomicBool,
}

impl std::ops::Deref for Db {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.sled.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // Where no thread can be started it stays.
        let Some(sled) = self.sled.take().map(ManuallyDrop::new) else { return };
        if *self.panicked.get_mut() {
            return;
        }
        // After an error it may also wait for ever: for a thread of its own that has gone.
        let (ended, end) = mpsc::channel::<()>();
        let work = move || {
            drop(catch_unwind(AssertUnwindSafe(move || drop(ManuallyDrop::into_inner(sled)))));
            drop(ended);
        };
        if std::thread::Builder::new().name("map-end".to_owned()).spawn(work).is_ok() {
            let _in_time = end.recv_timeout(files::LOCK_PATIENCE);
        }
    }
}

impl std::fmt::Debug for SledTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledTree").field("dir", &self.dir).finish_non_exhaustive()
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

fn page_key(full: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + full.len());
    key.push(PAGE);
    key.extend_from_slice(full);
    key
}

fn block_key(first: u64) -> Vec<u8> {
    [&[BLOCK][..], &first.to_be_bytes()].concat()
}

fn chunk_key(id: u64, number: u32) -> [u8; 13] {
    let mut key = [CHUNK; 13];
    key[1..9].copy_from_slice(&id.to_be_bytes());
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Calls into sled: its errors and its panics become ours.
fn guard<T>(act: &str, dir: &Path, panicked: &AtomicBool, call: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    let failed = |why: &str| Error::Other(format!("{act} in `{}`: {why}", dir.display()));
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Err(e)) if e.to_string().contains(LOCKED) => Err(Error::InUse { dir: dir.to_owned(), holder: None }),
        Ok(done) => done.map_err(|e| failed(&e.to_string())),
        Err(panic) => {
            panicked.store(true, Ordering::Relaxed);
            Err(failed(&panic_text(&*panic)))
        }
    }
}

/// The page that covers a key, and where it begins (as a key of sled).
fn page_at(tree: &sled::Tree, full: &[u8]) -> sled::Result<Option<(sled::IVec, sled::IVec)>> {
    Ok(tree.get_lt(key::next(&page_key(full)))?.filter(|(key, _)| key.first() == Some(&PAGE)))
}

/// Changes to be made in one step, with the sum that results.
struct Step<'a> {
    tree: &'a sled::Tree,
    batch: sled::Batch,
    sum: u128,
    bytes: usize,
}

impl Step<'_> {
    /// Puts it into sled, and begins the next. With `behind` bytes on their way already it waits for these before.
    fn apply(&mut self, meta: Meta, behind: &mut usize) -> sled::Result<()> {
        if *behind > BEHIND_BYTES {
            self.tree.flush()?;
            *behind = 0;
        }
        self.batch.insert(&META, Meta { sum: self.sum, ..meta }.encode());
        self.tree.apply_batch(std::mem::take(&mut self.batch))?;
        *behind += std::mem::take(&mut self.bytes);
        Ok(())
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_add(hash(key, value));
        self.bytes += key.len() + value.len();
        self.batch.insert(key, value);
    }

    /// Removes a key whose value is known.
    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_sub(hash(key, value));
        self.bytes += key.len();
        self.batch.remove(key);
    }

    fn remove_if_there(&mut self, key: &[u8]) -> sled::Result<()> {
        if let Some(value) = self.tree.get(key)? {
            self.remove(key, &value);
        }
        Ok(())
    }

    /// A value as it goes into a page.
    fn value<'a>(&mut self, value: &'a [u8]) -> sled::Result<Value<'a>> {
        if value.len() <= INLINE_BYTES {
            return Ok(Value::Whole(value));
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
        Ok(Value::Chunks(id, count))
    }

    /// Makes these changes, at least one and in order, to the page that covers them all.
    fn page(&mut self, old: Option<&(sled::IVec, sled::IVec)>, changes: &[(&Vec<u8>, &Change)]) -> sled::Result<()> {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        let mut stored = Entries(old.map_or(&[], |(_, page)| page));
        let mut next = stored.next().transpose()?;
        let mut changed = false;
        let mut appended = None;
        for (key, change) in changes {
            while let Some(entry) = next.filter(|(at, _)| *at < &key[..]) {
                entries.push(entry);
                next = stored.next().transpose()?;
            }
            appended.get_or_insert(next.is_none());
            let was = next.filter(|(at, _)| *at == &key[..]).map(|(_, value)| value);
            if was.is_some() {
                next = stored.next().transpose()?;
            }
            changed |= self.replaces(was, change.as_deref())?;
            if let Some(value) = change {
                entries.push((key, self.value(value)?));
            }
        }
        if !changed {
            return Ok(());
        }
        entries.extend(next);
        for entry in stored {
            entries.push(entry?);
        }
        self.put_pages(old, &entries, appended == Some(true))
    }

    /// Whether a value's change makes a difference; the chunks of the old one go.
    fn replaces(&mut self, was: Option<Value<'_>>, is: Option<&[u8]>) -> sled::Result<bool> {
        match (was, is) {
            (None, None) => return Ok(false),
            // What does not change costs nothing.
            (Some(Value::Whole(old)), Some(new)) if old == new => return Ok(false),
            (Some(Value::Chunks(id, count)), _) => {
                for number in 0..count {
                    self.remove_if_there(&chunk_key(id, number))?;
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// Puts these entries in the place of a page.
    fn put_pages(
        &mut self,
        old: Option<&(sled::IVec, sled::IVec)>,
        entries: &[Entry<'_>],
        appended: bool,
    ) -> sled::Result<()> {
        // The first begins where the old one did, so that nothing is left uncovered.
        let begin = old.map_or(&[PAGE][..], |(key, _)| key);
        if let Some((key, page)) = old {
            self.sum = self.sum.wrapping_sub(hash(key, page));
        }
        let pages = page::split(entries, appended);
        if pages.is_empty() && old.is_some() {
            self.batch.remove(begin);
        }
        for (number, (first, page)) in pages.iter().enumerate() {
            if number == 0 {
                self.insert(begin, page);
            } else {
                self.insert(&page_key(first), page);
            }
        }
        Ok(())
    }
}

impl SledTree {
    /// Where sled lives.
    pub(in crate::store) fn folder(dir: &Path) -> PathBuf {
        dir.join("sled")
    }

    /// A new map in memory, of the store in `dir`, for while there is nowhere to write one: as files of a file system in
    /// memory, where there is one.
    pub(in crate::store) fn in_memory(dir: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        // Named after the store, so that what a kill left is found by the next start and not kept for ever.
        let whole = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let name = format!("wehelpd-map-{:032x}", hash(whole.as_os_str().as_encoded_bytes(), b""));
        let folder = base.join(name);
        let make = || -> std::io::Result<()> {
            match std::fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            // Not through what somebody else may have put there: it must be made by this very call.
            std::fs::DirBuilder::new().mode(0o700).create(&folder)
        };
        make().map_err(|e| files::fault("make the folder", &folder, &e))?;
        Ok(Self { in_memory: true, ..Self::open(&folder, cache_bytes)? })
    }

    /// Gives back what a map in memory takes, when nobody will open it again.
    pub(in crate::store) fn discard(&self) {
        if self.in_memory {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }

    /// Opens sled in this folder, or makes it.
    pub(in crate::store) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let config = sled::Config::new().path(folder).cache_capacity(cache_bytes).flush_every_ms(None);
        let begun = Instant::now();
        let db = loop {
            match guard("open the map", folder, &AtomicBool::default(), || config.open()) {
                // sled's threads let go of its file a moment after it was dropped.
                Err(Error::InUse { .. }) if begun.elapsed() < files::LOCK_PATIENCE => {
                    std::thread::sleep(files::LOCK_LOOK)
                }
                opened => break opened?,
            }
        };
        let tree = Self {
            db: Db { sled: Some(db), panicked: AtomicBool::default() },
            config,
            times_written: AtomicU64::new(0),
            dir: folder.to_owned(),
            written: Mutex::default(),
            in_memory: false,
        };
        let meta = tree.guard("read the map", || tree.db.get(META))?;
        lock(&tree.written).meta = meta.and_then(|bytes| Meta::decode(&bytes)).unwrap_or_default();
        Ok(tree)
    }

    fn guard<T>(&self, act: &str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
        guard(act, &self.dir, &self.db.panicked, call)
    }

    /// How far it is; LSN 0 when it is not whole.
    pub(in crate::store) fn meta(&self) -> Meta {
        lock(&self.written).meta
    }

    /// Whether every pair is as it was when the meta was written. Reads all of it.
    pub(in crate::store) fn verify(&self) -> Result<bool, Error> {
        let sum = self.guard("verify the map", || {
            let mut sum = 0_u128;
            for pair in self.db.range([BLOCK]..) {
                let (key, value) = pair?;
                sum = sum.wrapping_add(hash(&key, &value));
            }
            Ok(sum)
        })?;
        Ok(sum == self.meta().sum)
    }

    /// Puts a batch into sled, in steps of some `step_bytes`.
    ///
    /// All steps but the last leave the LSN as it was: what a kill leaves then is a state with a right sum that has some of
    /// the changes already, and making all of them (again) completes it. So they must be durable in the journal.
    pub(in crate::store) fn apply(&self, batch: &Batch, step_bytes: usize) -> Result<(), Error> {
        let written = &mut *lock(&self.written);
        self.times_written.fetch_add(1, Ordering::Relaxed);
        self.guard("write the map", || {
            let sum = written.meta.sum;
            let mut step = Step { tree: &self.db, batch: sled::Batch::default(), sum, bytes: 0 };
            let mut changes = batch.changes.iter().peekable();
            while let Some((key, _)) = changes.peek() {
                if step.bytes > step_bytes {
                    step.apply(written.meta, &mut written.behind)?;
                    written.meta.sum = step.sum;
                }
                let old = page_at(&self.db, key)?;
                let end = self.db.get_gt(page_key(key))?.filter(|(key, _)| key.first() == Some(&PAGE));
                let mut bytes = 0;
                let mut together = Vec::new();
                // Not so many that they would not fit into a step: the rest comes after it, when this is in sled.
                while let Some((key, change)) = changes
                    .next_if(|(key, _)| bytes <= step_bytes && end.as_ref().is_none_or(|(end, _)| key[..] < end[1..]))
                {
                    bytes += key.len() + change.as_ref().map_or(0, Vec::len);
                    together.push((key, change));
                }
                // What is removed has no bytes in a page; the step must end all the same.
                step.bytes = step.bytes.max(if bytes > step_bytes { bytes } else { 0 });
                step.page(old.as_ref(), &together)?;
            }
            for block in &batch.blocks {
                let key = block_key(block.first);
                step.remove_if_there(&key)?;
                step.insert(&key, &block.encode());
            }
            for first in &batch.gone {
                step.remove_if_there(&block_key(*first))?;
            }
            step.apply(batch.meta, &mut written.behind)?;
            written.meta = Meta { sum: step.sum, ..batch.meta };
            Ok(())
        })
    }

    /// How often it was written to.
    pub(in crate::store) fn times_written(&self) -> u64 {
        self.times_written.load(Ordering::Relaxed)
    }

    /// Whether what sled writes later, by threads of its own, has failed: it would say so only to who writes next.
    pub(in crate::store) fn well(&self) -> Result<(), Error> {
        self.guard("write the map", || self.config.global_error())
    }

    /// Makes everything applied so far durable.
    pub(in crate::store) fn sync(&self) -> Result<(), Error> {
        self.guard("sync the map", || {
            self.db.flush()?;
            // sled's own sync does not cover the file's size, nor the disk's cache.
            for name in ["conf", "db"] {
                std::fs::File::open(self.dir.join(name))?.sync_data()?;
            }
            std::fs::File::open(&self.dir)?.sync_all()?;
            Ok(())
        })
    }

    /// A value out of its page; none when it has been replaced meanwhile.
    fn whole(&self, value: Value<'_>) -> sled::Result<Option<Vec<u8>>> {
        let (id, count) = match value {
            Value::Whole(bytes) => return Ok(Some(bytes.to_vec())),
            Value::Chunks(id, count) => (id, count),
        };
        let mut value = Vec::new();
        for number in 0..count {
            let Some(chunk) = self.db.get(chunk_key(id, number))? else { return Ok(None) };
            value.extend_from_slice(&chunk);
        }
        Ok(Some(value))
    }

    fn look(&self, full: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        for _ in 0..TRIES {
            let Some((_, page)) = page_at(&self.db, full)? else { return Ok(None) };
            let Some(value) = page::find(&page, full)? else { return Ok(None) };
            if let Some(value) = self.whole(value)? {
                return Ok(Some(value));
            }
        }
        Err(sled::Error::ReportableBug("a large value's chunks are missing".to_owned()))
    }

    pub(in crate::store) fn get(&self, full: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.guard("read the map", || self.look(full))
    }

    /// Pairs with `from <= full key < to`, in order or reversed.
    pub(in crate::store) fn pairs(&self, from: &[u8], to: &[u8], reverse: bool) -> Pairs<'_> {
        let (from, to) = (from.to_vec(), to.to_vec());
        Pairs { tree: self, from, to, reverse, pages: None, page: sled::IVec::default(), slots: VecDeque::new() }
    }

    /// Every pair, in order.
    pub(in crate::store) fn all(&self) -> impl Iterator<Item = Result<Pair, Error>> + '_ {
        // No key begins with 255 and so many more: spaces are letters.
        self.pairs(&[], &[255; 8], false)
    }

    /// The entry of the block that `seq` is in, if it is in one: the last that begins at or before it.
    pub(in crate::store) fn block_at(&self, seq: u64) -> Result<Option<(u64, sled::IVec)>, Error> {
        self.blocks(0, seq, true).next().transpose()
    }

    /// Entries of the blocks that begin within `from..=to`, in order or reversed.
    pub(in crate::store) fn blocks(
        &self,
        from: u64,
        to: u64,
        reverse: bool,
    ) -> impl Iterator<Item = Result<(u64, sled::IVec), Error>> + '_ {
        let mut range = self.db.range(block_key(from)..=block_key(to.max(from)));
        std::iter::from_fn(move || {
            let next = self.guard("read the index", || {
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

/// Pairs of a range, in order or reversed, while the map may change: each that is there all the time comes once.
pub(in crate::store) struct Pairs<'a> {
    tree: &'a SledTree,
    /// What is still to come lies between.
    from: Vec<u8>,
    to: Vec<u8>,
    reverse: bool,
    pages: Option<sled::Iter>,
    page: sled::IVec,
    /// Where in the page the entries to come are, in order.
    slots: VecDeque<std::ops::Range<usize>>,
}

impl Pairs<'_> {
    fn step(&mut self) -> sled::Result<Option<Pair>> {
        loop {
            while let Some(slot) = if self.reverse { self.slots.pop_back() } else { self.slots.pop_front() } {
                let Some((key, value)) = Entries(&self.page[slot]).next().transpose()? else { continue };
                let value = match self.tree.whole(value)? {
                    Some(value) => Some(value),
                    None => self.tree.look(key)?,
                };
                let key = key.to_vec();
                // A page that is split meanwhile comes again in part.
                if self.reverse {
                    self.to.clone_from(&key);
                } else {
                    self.from = key::next(&key);
                }
                if let Some(value) = value {
                    return Ok(Some((key, value)));
                }
            }
            if self.from >= self.to {
                return Ok(None);
            }
            let pages = match &mut self.pages {
                Some(pages) => pages,
                none => {
                    let begin =
                        page_at(&self.tree.db, &self.from)?.map_or_else(|| page_key(&self.from).into(), |p| p.0);
                    none.insert(self.tree.db.range(begin..page_key(&self.to).into()))
                }
            };
            let Some(next) = (if self.reverse { pages.next_back() } else { pages.next() }) else { return Ok(None) };
            self.page = next?.1;
            let mut entries = Entries(&self.page);
            let mut at = 0;
            while let Some((key, _)) = entries.next().transpose()? {
                let end = self.page.len() - entries.0.len();
                if *key >= self.from[..] && *key < self.to[..] {
                    self.slots.push_back(at..end);
                }
                at = end;
            }
        }
    }
}

impl Iterator for Pairs<'_> {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let tree = self.tree;
        tree.guard("read the map", || self.step()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Changes;
    use super::*;
    use std::collections::BTreeMap;

    const STEP_BYTES: usize = 32 << 10;

    fn batch(changes: Changes, lsn: u64) -> Batch {
        Batch { changes, meta: Meta { lsn, ..Meta::default() }, ..Batch::default() }
    }

    fn key() -> Vec<u8> {
        let len = if fastrand::u8(..) == 0 { 4000 } else { fastrand::usize(0..12) };
        // Few different bytes, so that keys meet.
        (0..len).map(|_| fastrand::u8(..4) * 80).collect()
    }

    fn value() -> Vec<u8> {
        let len = match fastrand::u8(..20) {
            0 => fastrand::usize(INLINE_BYTES - 2..40_000),
            1..4 => fastrand::usize(..INLINE_BYTES + 2),
            _ => fastrand::usize(..200),
        };
        vec![fastrand::u8(..); len]
    }

    fn all(map: &SledTree, from: &[u8], to: &[u8], reverse: bool) -> Vec<Pair> {
        map.pairs(from, to, reverse).map(Result::unwrap).collect()
    }

    #[test]
    fn it_holds_what_a_map_in_memory_holds_and_its_sum_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let map = SledTree::open(dir.path(), 1 << 20).unwrap();
        let mut model = BTreeMap::new();
        for round in 1..60 {
            let mut changes = Changes::new();
            // Some rounds mostly remove.
            let kept = if round % 7 == 0 { 1 } else { 9 };
            for _ in 0..fastrand::usize(1..200) {
                changes.insert(key(), (fastrand::u8(..10) < kept).then(value));
            }
            if round % 10 == 0 {
                changes.extend(model.keys().map(|key: &Vec<u8>| (key.clone(), None)).take(model.len() / 2));
            }
            for (key, change) in &changes {
                match change {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(key),
                };
            }
            let step_bytes = [100, STEP_BYTES, 128 << 10][round % 3];
            map.apply(&batch(changes, round as u64), step_bytes).unwrap();
            assert_eq!(map.meta().lsn, round as u64);
            assert!(map.verify().unwrap(), "round {round}");
            let mut expected: Vec<Pair> = model.clone().into_iter().collect();
            assert_eq!(map.all().map(Result::unwrap).collect::<Vec<_>>(), expected, "round {round}");
            let (mut from, mut to) = (key(), key());
            if from > to {
                std::mem::swap(&mut from, &mut to);
            }
            expected.retain(|(key, _)| *key >= from && *key < to);
            assert_eq!(all(&map, &from, &to, false), expected, "round {round}");
            expected.reverse();
            assert_eq!(all(&map, &from, &to, true), expected, "round {round}");
            for _ in 0..50 {
                let key = key();
                assert_eq!(map.get(&key).unwrap().as_ref(), model.get(&key), "round {round}");
            }
        }
        // What is gone leaves nothing behind.
        let changes: Changes = model.into_keys().map(|key| (key, None)).collect();
        map.apply(&batch(changes, 99), STEP_BYTES).unwrap();
        assert_eq!(map.db.iter().count(), 1, "the Meta");
        assert_eq!(map.meta().sum, 0);
    }

    #[test]
    fn a_scan_meets_each_pair_once_while_pages_are_split_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let map = SledTree::open(dir.path(), 1 << 20).unwrap();
        let full = |n: u32| n.to_be_bytes().to_vec();
        let put = |numbers: &mut dyn Iterator<Item = u32>, value: Option<&[u8]>| {
            let changes: Changes = numbers.map(|n| (full(n), value.map(<[u8]>::to_vec))).collect();
            map.apply(&batch(changes, 0), STEP_BYTES).unwrap();
        };
        put(&mut (0..20_000).step_by(2), Some(&[1; 30]));
        for reverse in [false, true] {
            let scan = map.pairs(&full(0), &full(20_000), reverse);
            let mut seen: Vec<u32> = Vec::new();
            let mut writes = 0..20;
            for pair in scan {
                let n = u32::from_be_bytes(pair.unwrap().0.try_into().unwrap());
                seen.extend((n % 2 == 0).then_some(n));
                if seen.len() % 500 == 250
                    && let Some(write) = writes.next()
                {
                    // Odd ones come and go, all over.
                    let value = (write % 2 == 0).then_some(&[2; 40][..]);
                    put(&mut (1..20_000).step_by(2), value);
                }
            }
            let mut expected: Vec<u32> = (0..20_000).step_by(2).collect();
            if reverse {
                expected.reverse();
            }
            assert_eq!(seen.len(), expected.len());
            assert_eq!(seen, expected);
        }
    }
}
