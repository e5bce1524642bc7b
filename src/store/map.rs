//! The map as committed, and the index of the log: sled, and over it a memtable of what the journal has and sled has not.
//!
//! A group's changes are durable in the journal before anybody is answered, so sled need not have them by then. They lie
//! in the memtable, readers look through it, and a flush puts them into sled in one larger step: by the checkpointing
//! thread once there is enough, by the writer when there is too much or a task needs it. What came and went meanwhile, as
//! most of a command's index entries do, never reaches sled. After a kill the journal has it all; since a flush takes
//! only what is durable there, sled is never ahead of it.
//!
//! * `batch` is what goes into the one and from there into the other.
//! * `memtable` is what is pending, and what is known of sled without asking it.
//! * `tree` is sled: pages of pairs (`page`), blocks of the log, and how far it is.
//! * `snapshot` is the copy of all pairs that a lost sled is made again from.

mod batch;
mod memtable;
mod page;
pub(super) mod snapshot;
mod tree;

pub(super) use batch::{Batch, Change, Changes, Meta};
pub(super) use tree::SledTree;

use super::index::Block;
use super::{Error, Pair};
use crate::sync::{lock, read, write};
use memtable::{Due, Memtable};
use std::collections::btree_map;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// With so much in the memtable a flush is due: some milliseconds' work, and well below one of sled's segments.
const FLUSH_BYTES: usize = 128 << 10;
/// With so much the writer flushes itself, whatever the checkpointing thread is at: what memory it may take.
pub(super) const MEMTABLE_BYTES_MAX: usize = 4 << 20;
/// What is put into sled in one step while it is read: its readers wait for a step to end.
const STEP_BYTES: usize = 32 << 10;

/// The map.
#[derive(Debug)]
pub(super) struct Map {
    tree: SledTree,
    memtable: RwLock<Memtable>,
    /// Held by who flushes.
    flushing: Mutex<()>,
    /// Somebody was told that a flush is due.
    told: AtomicBool,
}

impl Map {
    /// The map over a tree that has everything.
    pub(super) fn new(tree: SledTree) -> Self {
        let memtable = RwLock::new(Memtable::new(tree.meta()));
        Self { tree, memtable, flushing: Mutex::default(), told: AtomicBool::new(false) }
    }

    /// sled itself.
    pub(super) fn tree(&self) -> &SledTree {
        &self.tree
    }

    /// A value, by full key.
    pub(super) fn get(&self, full: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(known) = read(&self.memtable).get(full) {
            return Ok(known);
        }
        let value = self.tree.get(full)?;
        if memtable::is_single(full) {
            write(&self.memtable).learn(full, &value);
        }
        Ok(value)
    }

    /// Pairs with full keys in this range, at most `limit`, in order or reversed. `over` are changes that nobody else sees
    /// yet. The writer waits meanwhile: `limit` should be moderate.
    pub(super) fn scan(
        &self,
        over: Option<&Changes>,
        keys: &Range<Vec<u8>>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Pair>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut memtable = read(&self.memtable);
        if memtable.is_unknown(keys) {
            drop(memtable);
            self.look(&keys.start)?;
            memtable = read(&self.memtable);
        }
        let is_empty = memtable.is_empty(keys);
        if over.is_none() && is_empty {
            return Ok(Vec::new());
        }
        // The newest first.
        let layers = over.into_iter().chain(memtable.layers());
        let mut layers: Vec<_> = layers.map(|changes| Layer::new(changes, keys, reverse)).collect();
        let mut stored = self.tree.pairs(&keys.start, &keys.end, reverse);
        let mut below = if is_empty { None } else { stored.next().transpose()? };
        let before = |a: &[u8], b: &[u8]| if reverse { a > b } else { a < b };
        let mut found = Vec::new();
        while found.len() < limit {
            let heads = layers.iter().filter_map(|layer| layer.head.map(|(key, _)| key));
            let Some(key) = heads.reduce(|a, b| if before(b, a) { b } else { a }) else {
                let Some(pair) = below.take() else { break };
                found.push(pair);
                below = stored.next().transpose()?;
                continue;
            };
            if let Some(pair) = below.take_if(|(stored, _)| before(stored, key)) {
                found.push(pair);
                below = stored.next().transpose()?;
                continue;
            }
            if below.as_ref().is_some_and(|(stored, _)| stored == key) {
                below = stored.next().transpose()?;
            }
            // Each that has the key moves on; the newest decides.
            let newest = layers.iter_mut().fold(None, |newest, layer| newest.or(layer.take(key)));
            found.extend(newest.and_then(Option::as_ref).map(|value| (key.clone(), value.clone())));
        }
        Ok(found)
    }

    /// Blocks of the log that have one of these positions, in order or reversed; each once. One that cannot be decoded is
    /// left out.
    pub(super) fn blocks(
        &self,
        from: u64,
        to: u64,
        reverse: bool,
    ) -> Result<impl Iterator<Item = Result<Arc<Block>, Error>> + '_, Error> {
        // IMPORTANT: the memtable before sled. What leaves the one meanwhile is in the other by then.
        let mut pending = read(&self.memtable).blocks(from, to);
        if reverse {
            pending.reverse();
        }
        let begin = self.tree.block_at(from)?.map_or(from, |(first, _)| first);
        let stored = self.tree.blocks(begin, to, reverse).filter_map(move |entry| {
            let block = entry.map(|(first, entry)| Block::decode(first, &entry).filter(|block| block.last >= from));
            block.transpose().map(|block| block.map(Arc::new))
        });
        let mut pending = pending.into_iter().map(Ok).peekable();
        let mut stored = stored.peekable();
        let mut last = None;
        Ok(std::iter::from_fn(move || {
            loop {
                let older = if reverse { pending.peek().is_none() } else { stored.peek().is_some() };
                let next = if older { stored.next() } else { pending.next() };
                // What was flushed meanwhile comes from both.
                let seen = |block: &Arc<Block>| {
                    last.is_some_and(|l| if reverse { block.first >= l } else { block.first <= l })
                };
                match next {
                    Some(Ok(block)) if seen(&block) => {}
                    next => {
                        last = next.as_ref().and_then(|block| block.as_ref().ok()).map(|block| block.first).or(last);
                        return next;
                    }
                }
            }
        }))
    }

    /// Takes in what is written to the journal, and shows it to readers.
    pub(super) fn apply(&self, batch: Batch) {
        write(&self.memtable).add(batch);
    }

    /// Puts what the memtable holds into sled, if everything up to the newest of it is durable; false when it is not.
    ///
    /// # Errors
    /// When sled fails; then it stays where it is, for readers, until the map was made again.
    pub(super) fn flush(&self, durable: u64) -> Result<bool, Error> {
        let _one = lock(&self.flushing);
        self.told.store(false, Ordering::Release);
        let due = write(&self.memtable).begin(durable)?;
        match due {
            Due::Nothing => Ok(true),
            Due::Later => Ok(false),
            Due::Batch(batch) => {
                self.tree.apply(&batch, STEP_BYTES)?;
                write(&self.memtable).end();
                Ok(true)
            }
        }
    }

    /// How many bytes the memtable holds.
    pub(super) fn pending_bytes(&self) -> usize {
        read(&self.memtable).bytes()
    }

    /// Whether there is enough for a flush.
    pub(super) fn has_enough(&self) -> bool {
        self.pending_bytes() > FLUSH_BYTES
    }

    /// The same, once for each time that there is.
    pub(super) fn is_due(&self) -> bool {
        self.has_enough() && !self.told.swap(true, Ordering::AcqRel)
    }

    /// Nothing after here is in sled: the last LSN, and the next event's position.
    pub(super) fn flushed_to(&self) -> (u64, u64) {
        read(&self.memtable).flushed_to()
    }

    /// Learns whether there is anything in the space of a key.
    fn look(&self, full: &[u8]) -> Result<(), Error> {
        let (from, Some(next)) = (&full[..1], full[0].checked_add(1)) else { return Ok(()) };
        let to = [next];
        let has_something = {
            let memtable = read(&self.memtable);
            let range = (Bound::Included(from), Bound::Excluded(&to[..]));
            let above = memtable.layers().into_iter().any(|changes| changes.range::<[u8], _>(range).next().is_some());
            above || self.tree.pairs(from, &to, false).next().transpose()?.is_some()
        };
        write(&self.memtable).look(full, has_something);
        Ok(())
    }
}

/// A range of changes, in order or reversed, with the next one at hand.
struct Layer<'a> {
    rest: btree_map::Range<'a, Vec<u8>, Change>,
    reverse: bool,
    head: Option<(&'a Vec<u8>, &'a Change)>,
}

impl<'a> Layer<'a> {
    fn new(changes: &'a Changes, keys: &Range<Vec<u8>>, reverse: bool) -> Self {
        let range = (Bound::Included(&keys.start[..]), Bound::Excluded(&keys.end[..]));
        let mut layer = Self { rest: changes.range::<[u8], _>(range), reverse, head: None };
        layer.advance();
        layer
    }

    fn advance(&mut self) {
        self.head = if self.reverse { self.rest.next_back() } else { self.rest.next() };
    }

    /// The change of this key, when it is the next.
    fn take(&mut self, key: &[u8]) -> Option<&'a Change> {
        let (_, change) = self.head.filter(|(next, _)| *next == key)?;
        self.advance();
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Map {
        Map::new(SledTree::open(dir.path(), 1 << 20).unwrap())
    }

    fn add(map: &Map, changes: Changes, lsn: u64) {
        map.apply(Batch { changes, meta: Meta { lsn, seq: lsn / 2, ..Meta::default() }, ..Batch::default() });
    }

    fn scan(map: &Map, over: Option<&Changes>, from: &[u8], to: &[u8], limit: usize, reverse: bool) -> Vec<Pair> {
        map.scan(over, &(from.to_vec()..to.to_vec()), limit, reverse).unwrap()
    }

    /// A map with some pairs in each layer, and what they come to.
    fn layered() -> (tempfile::TempDir, Map, Changes, Vec<Pair>) {
        let dir = tempfile::tempdir().unwrap();
        let map = open(&dir);
        let mut expected = std::collections::BTreeMap::new();
        let mut over = Changes::new();
        for layer in 0..4_u64 {
            let mut changes = Changes::new();
            for _ in 0..40 {
                let key = vec![7, fastrand::u8(..60)];
                let value = (fastrand::u8(..3) > 0).then(|| vec![u8::try_from(layer).unwrap(), fastrand::u8(..)]);
                match &value {
                    Some(value) => expected.insert(key.clone(), value.clone()),
                    None => expected.remove(&key),
                };
                changes.insert(key, value);
            }
            match layer {
                0 => {
                    add(&map, changes, 1);
                    map.flush(9).unwrap();
                }
                // As it is while a flush is at it.
                1 => {
                    add(&map, changes, 2);
                    assert!(matches!(write(&map.memtable).begin(9), Ok(Due::Batch(_))));
                }
                2 => add(&map, changes, 3),
                _ => over = changes,
            }
        }
        (dir, map, over, expected.into_iter().collect())
    }

    #[test]
    fn a_scan_sees_every_layer_and_the_newest_wins() {
        for _ in 0..20 {
            let (_dir, map, over, expected) = layered();
            for reverse in [false, true] {
                let mut all = expected.clone();
                if reverse {
                    all.reverse();
                }
                assert_eq!(scan(&map, Some(&over), &[7], &[8], usize::MAX, reverse), all);
                let some = scan(&map, Some(&over), &[7], &[8], 5, reverse);
                assert_eq!(some, all[..5.min(all.len())]);
                let part = scan(&map, Some(&over), &[7, 10], &[7, 30], 100, reverse);
                all.retain(|(key, _)| (10..30).contains(&key[1]));
                assert_eq!(part, all);
            }
            assert_eq!(scan(&map, None, &[8], &[7], 5, false), Vec::new());
        }
    }

    #[test]
    fn what_is_known_without_sled_is_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let map = open(&dir);
        let mut model = Changes::new();
        let spaces = [crate::key::META.byte(), b'x', b'y', b'z'];
        for lsn in 1..3000 {
            let key = vec![spaces[fastrand::usize(..spaces.len().min(1 + lsn / 500))], fastrand::u8(..100)];
            match fastrand::u8(..8) {
                0 => drop(map.flush(lsn as u64).unwrap()),
                1 | 2 => {
                    let value = fastrand::bool().then(|| vec![fastrand::u8(..)]);
                    model.insert(key.clone(), value.clone());
                    add(&map, Changes::from([(key, value)]), lsn as u64);
                }
                3 | 4 => {
                    let (from, to) = (vec![key[0]], vec![key[0], 50]);
                    let there = model.range(from.clone()..to.clone());
                    let there: Vec<Pair> = there.filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect();
                    assert_eq!(scan(&map, None, &from, &to, usize::MAX, false), there);
                    let over = Changes::from([(vec![key[0], 7], Some(vec![1]))]);
                    let with_it = scan(&map, Some(&over), &from, &to, usize::MAX, false);
                    assert!(with_it.contains(&(vec![key[0], 7], vec![1])));
                }
                _ => assert_eq!(map.get(&key).unwrap(), model.get(&key).cloned().flatten()),
            }
        }
    }

    #[test]
    fn what_is_flushed_is_the_same_to_readers_and_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let map = open(&dir);
        let change = |key: u8, value: Option<&[u8]>, lsn: u64| {
            add(&map, Changes::from([(vec![key], value.map(<[u8]>::to_vec))]), lsn);
        };
        assert!(map.flush(0).unwrap(), "there is nothing to do");
        change(1, Some(b"one"), 5);
        change(2, None, 6);
        assert_eq!(map.flushed_to(), (0, 0));
        assert_eq!(map.tree.get(&[1]).unwrap(), None);
        assert_eq!(map.get(&[1]).unwrap().as_deref(), Some(&b"one"[..]));
        // Not while the journal may lose it.
        assert!(!map.flush(5).unwrap());
        assert_eq!(map.flushed_to(), (0, 0));
        assert!(map.flush(6).unwrap());
        assert_eq!(map.flushed_to(), (6, 3));
        assert_eq!(map.tree.get(&[1]).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(map.tree.meta().lsn, 6);
        assert!(!map.is_due());
        // That there is enough is told once.
        change(3, Some(&vec![0; FLUSH_BYTES]), 7);
        assert!(map.is_due());
        assert!(!map.is_due());
        map.flush(7).unwrap();
        assert_eq!((map.flushed_to().0, map.pending_bytes()), (7, 0));
        assert_eq!(map.tree.get(&[3]).unwrap().map(|v| v.len()), Some(FLUSH_BYTES));
    }

    #[test]
    fn a_block_comes_once_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let map = open(&dir);
        let block = |first: u64| {
            let (last, times) = (first + 9, Default::default());
            Arc::new(Block { first, last, segment: 1, start: 0, end: 9, times, cum: 0, tags: Vec::new() })
        };
        let put = |firsts: &[u64], gone: &[u64], lsn: u64| {
            let blocks = firsts.iter().map(|first| block(*first)).collect();
            let meta = Meta { lsn, ..Meta::default() };
            map.apply(Batch { blocks, gone: gone.to_vec(), meta, ..Batch::default() });
        };
        put(&[1, 11], &[], 1);
        map.flush(9).unwrap();
        put(&[21], &[], 2);
        assert!(matches!(write(&map.memtable).begin(9), Ok(Due::Batch(_))));
        put(&[31, 41], &[], 3);
        // As it is when a flush has come so far.
        map.tree.apply(&Batch { blocks: vec![block(21)], ..Batch::default() }, STEP_BYTES).unwrap();
        let firsts = |from, to, reverse| -> Vec<u64> {
            map.blocks(from, to, reverse).unwrap().map(|block| block.unwrap().first).collect()
        };
        assert_eq!(firsts(0, 99, false), [1, 11, 21, 31, 41]);
        assert_eq!(firsts(0, 99, true), [41, 31, 21, 11, 1]);
        assert_eq!(firsts(15, 35, false), [11, 21, 31]);
        assert_eq!(firsts(25, 25, false), [21]);
        assert_eq!(firsts(45, 99, true), [41]);
        // Dropped ones go with the next flush.
        write(&map.memtable).end();
        put(&[], &[11, 31], 4);
        map.flush(9).unwrap();
        assert_eq!(firsts(0, 99, false), [1, 21, 41]);
    }
}
