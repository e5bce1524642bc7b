//! The map as committed: sled, and over it what the journal has and sled has not yet.
//!
//! A group's changes are durable in the journal before anybody is answered, so sled need not have them by then. They
//! lie here, readers look through them, and they go into sled ("settle") in one larger step: by the keeper when there
//! are [`SETTLE_BYTES`], and by the writer with some finished blocks of the log. What came and went meanwhile, as most
//! of a command's index entries do, never reaches sled. After a kill the journal has it all, and since only what is
//! durable there goes into sled, sled is never ahead of it.

use super::Error;
use super::index::Block;
use super::known::{self, Known};
use super::map::{Change, Changes, Map, Meta, Pair};
use std::collections::btree_map;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Changes of so many bytes are due to go into sled: some milliseconds' work, and well below one of its segments.
const SETTLE_BYTES: usize = 128 << 10;
/// With so many the writer does it itself, whatever the keeper is at: what memory they may take.
pub(super) const PENDING_BYTES_MAX: usize = 4 << 20;
/// What a change costs besides its bytes.
const CHANGE_BYTES: usize = 64;

/// The map and what lies over it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) map: Map,
    pending: RwLock<Pending>,
    /// Held by who puts changes into sled.
    settling: Mutex<()>,
    /// The keeper was told that there are enough.
    told: AtomicBool,
    /// The last LSN whose changes are in sled, and the last whose changes may be.
    settled_to: AtomicU64,
    settling_to: AtomicU64,
    /// The next event's position, then.
    settling_seq: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    fresh: Changes,
    bytes: usize,
    /// The map's state with all of `fresh`.
    meta: Meta,
    /// What is being put into sled at this moment.
    under: Arc<Changes>,
    known: Known,
}

impl Live {
    /// A map that has everything up to `lsn`; `seq` is the next event's position.
    pub(super) fn new(map: Map, lsn: u64, seq: u64) -> Self {
        Self {
            map,
            pending: RwLock::default(),
            settling: Mutex::default(),
            told: AtomicBool::new(false),
            settled_to: AtomicU64::new(lsn),
            settling_to: AtomicU64::new(lsn),
            settling_seq: AtomicU64::new(seq),
        }
    }

    /// Everything up to here is in sled.
    #[cfg(test)]
    pub(super) fn settled_to(&self) -> u64 {
        self.settled_to.load(Ordering::SeqCst)
    }

    /// Nothing after here is in sled: the last LSN, and the next event's position.
    pub(super) fn settling_to(&self) -> (u64, u64) {
        (self.settling_to.load(Ordering::SeqCst), self.settling_seq.load(Ordering::SeqCst))
    }

    /// Shows a group's changes to readers; `meta` is the map's state with them.
    pub(super) fn add(&self, changes: &mut Changes, meta: Meta) {
        let mut pending = self.pending.write().unwrap_or_else(PoisonError::into_inner);
        let size = |(key, value): (&Vec<u8>, &Change)| key.len() + value.as_ref().map_or(0, Vec::len) + CHANGE_BYTES;
        pending.bytes += changes.iter().map(size).sum::<usize>();
        pending.meta = meta;
        pending.known.follow(changes);
        if pending.fresh.is_empty() {
            pending.fresh = std::mem::take(changes);
        } else {
            pending.fresh.extend(std::mem::take(changes));
        }
    }

    /// How many bytes are pending.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.read().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Whether the keeper should be told to settle: once for each time that there is enough.
    pub(super) fn is_due(&self) -> bool {
        self.has_enough() && !self.told.swap(true, Ordering::AcqRel)
    }

    /// Whether there is enough pending for the keeper to settle.
    pub(super) fn has_enough(&self) -> bool {
        self.pending_bytes() > SETTLE_BYTES
    }

    /// Puts what is pending into sled, if everything up to the newest of it is durable; false when it is not.
    ///
    /// # Errors
    /// When sled fails; then what is pending stays so, for readers, until the map was made again.
    pub(super) fn settle(&self, durable: u64) -> Result<bool, Error> {
        let mut all = true;
        self.put(&[], &[], |pending| {
            let fresh = !pending.fresh.is_empty();
            all = !fresh || pending.meta.lsn <= durable;
            (fresh && all).then_some(pending.meta)
        })?;
        Ok(all)
    }

    /// Puts what is pending into sled, with finished blocks of the log and without those that are `gone` (by first
    /// position). `meta` is the map's state then; everything up to there is durable.
    ///
    /// # Errors
    /// As `settle`.
    pub(super) fn settle_with(&self, blocks: &[Block], gone: &[u64], meta: Meta) -> Result<(), Error> {
        self.put(blocks, gone, |_| Some(meta))
    }

    /// `state` says which state results, or that nothing is to be done.
    fn put(&self, blocks: &[Block], gone: &[u64], state: impl FnOnce(&Pending) -> Option<Meta>) -> Result<(), Error> {
        let _one = super::shared::lock(&self.settling);
        let (under, meta) = {
            let mut pending = self.pending.write().unwrap_or_else(PoisonError::into_inner);
            self.told.store(false, Ordering::Release);
            let Some(meta) = state(&pending) else { return Ok(()) };
            if !pending.under.is_empty() {
                return Err(Error::Other("the map has failed before".to_owned()));
            }
            pending.under = Arc::new(std::mem::take(&mut pending.fresh));
            pending.bytes = 0;
            (Arc::clone(&pending.under), meta)
        };
        self.settling_seq.fetch_max(meta.seq, Ordering::SeqCst);
        self.settling_to.fetch_max(meta.lsn, Ordering::SeqCst);
        self.map.apply(&under, blocks, gone, meta)?;
        self.pending.write().unwrap_or_else(PoisonError::into_inner).under = Arc::default();
        self.settled_to.fetch_max(meta.lsn, Ordering::SeqCst);
        Ok(())
    }

    /// A value, by full key.
    pub(super) fn get(&self, full: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        {
            let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = pending.known.get(full) {
                return Ok(known);
            }
            if let Some(change) = pending.fresh.get(full).or_else(|| pending.under.get(full)) {
                return Ok(change.clone());
            }
        }
        let value = self.map.get(full)?;
        if known::is_single(full) {
            self.pending.write().unwrap_or_else(PoisonError::into_inner).known.learn(full, &value);
        }
        Ok(value)
    }

    /// Learns whether there is anything in the space of a key.
    fn look(&self, full: &[u8]) -> Result<(), Error> {
        let (from, Some(next)) = (&full[..1], full[0].checked_add(1)) else { return Ok(()) };
        let to = [next];
        let has_something = {
            let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
            let lies_above = [&pending.fresh, &*pending.under].into_iter().any(|changes| {
                changes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(&to[..]))).next().is_some()
            });
            lies_above || self.map.pairs(from, &to, false).next().transpose()?.is_some()
        };
        self.pending.write().unwrap_or_else(PoisonError::into_inner).known.look(full, has_something);
        Ok(())
    }

    /// Pairs with `from <= full key < to`, at most `limit`, in order or reversed. `over` are changes that nobody else
    /// sees yet. The writer waits meanwhile: `limit` should be moderate.
    pub(super) fn scan(
        &self,
        over: Option<&Changes>,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Pair>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
        if pending.known.is_unknown(from, to) {
            drop(pending);
            self.look(from)?;
            pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
        }
        if over.is_none() && pending.known.is_empty(from, to) {
            return Ok(Vec::new());
        }
        // The newest first.
        let changes = over.into_iter().chain([&pending.fresh, &*pending.under]);
        let mut changes: Vec<_> = changes.map(|changes| Layer::new(changes, from, to, reverse)).collect();
        let mut stored = self.map.pairs(from, to, reverse);
        let mut below = if pending.known.is_empty(from, to) { None } else { stored.next().transpose()? };
        let before = |a: &[u8], b: &[u8]| if reverse { a > b } else { a < b };
        let mut found = Vec::new();
        while found.len() < limit {
            let keys = changes.iter().filter_map(|layer| layer.head.map(|(key, _)| key));
            let next = keys.reduce(|a, b| if before(b, a) { b } else { a });
            match (next, &below) {
                (None, None) => break,
                (Some(key), below_is) if below_is.as_ref().is_none_or(|(stored, _)| !before(stored, key)) => {
                    if below_is.as_ref().is_some_and(|(stored, _)| stored == key) {
                        below = stored.next().transpose()?;
                    }
                    // Each that has the key moves on; the newest decides.
                    let mut newest = None;
                    for layer in &mut changes {
                        if let Some((_, change)) = layer.head.filter(|(k, _)| *k == key) {
                            newest = newest.or(Some(change));
                            layer.advance();
                        }
                    }
                    found.extend(newest.and_then(Option::as_ref).map(|value| (key.clone(), value.clone())));
                }
                _ => {
                    found.extend(below.take());
                    below = stored.next().transpose()?;
                }
            }
        }
        Ok(found)
    }
}

/// A range of changes, in order or reversed, with the next one at hand.
struct Layer<'a> {
    rest: btree_map::Range<'a, Vec<u8>, Change>,
    reverse: bool,
    head: Option<(&'a Vec<u8>, &'a Change)>,
}

impl<'a> Layer<'a> {
    fn new(changes: &'a Changes, from: &[u8], to: &[u8], reverse: bool) -> Self {
        let rest = changes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let mut layer = Self { rest, reverse, head: None };
        layer.advance();
        layer
    }

    fn advance(&mut self) {
        self.head = if self.reverse { self.rest.next_back() } else { self.rest.next() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map with some pairs in each layer, and what they come to.
    fn layered() -> (tempfile::TempDir, Live, Changes, Vec<Pair>) {
        let dir = tempfile::tempdir().unwrap();
        let live = Live::new(Map::open(dir.path(), 1 << 20).unwrap(), 0, 1);
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
            let meta = Meta { lsn: layer + 1, ..Meta::default() };
            match layer {
                0 => {
                    live.add(&mut changes, meta);
                    live.settle(9).unwrap();
                }
                // As it is while the keeper is at it.
                1 => live.pending.write().unwrap().under = Arc::new(changes),
                2 => live.add(&mut changes, meta),
                _ => over = changes,
            }
        }
        (dir, live, over, expected.into_iter().collect())
    }

    #[test]
    fn a_scan_sees_every_layer_and_the_newest_wins() {
        for _ in 0..20 {
            let (_dir, live, over, expected) = layered();
            for reverse in [false, true] {
                let mut all = expected.clone();
                if reverse {
                    all.reverse();
                }
                assert_eq!(live.scan(Some(&over), &[7], &[8], usize::MAX, reverse).unwrap(), all);
                let some = live.scan(Some(&over), &[7], &[8], 5, reverse).unwrap();
                assert_eq!(some, all[..5.min(all.len())]);
                let part = live.scan(Some(&over), &[7, 10], &[7, 30], 100, reverse).unwrap();
                all.retain(|(key, _)| (10..30).contains(&key[1]));
                assert_eq!(part, all);
            }
            assert_eq!(live.scan(None, &[8], &[7], 5, false).unwrap(), Vec::new());
        }
    }

    #[test]
    fn what_is_known_without_sled_is_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let live = Live::new(Map::open(dir.path(), 1 << 20).unwrap(), 0, 1);
        let mut model = Changes::new();
        let spaces = [crate::key::META.byte(), b'x', b'y', b'z'];
        for lsn in 1..3000 {
            let key = vec![spaces[fastrand::usize(..spaces.len().min(1 + lsn / 500))], fastrand::u8(..100)];
            match fastrand::u8(..8) {
                0 => drop(live.settle(lsn as u64).unwrap()),
                1 | 2 => {
                    let value = fastrand::bool().then(|| vec![fastrand::u8(..)]);
                    model.insert(key.clone(), value.clone());
                    live.add(&mut Changes::from([(key, value)]), Meta { lsn: lsn as u64, ..Meta::default() });
                }
                3 | 4 => {
                    let (from, to) = (vec![key[0]], vec![key[0], 50]);
                    let there = model.range(from.clone()..to.clone());
                    let there: Vec<Pair> = there.filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect();
                    assert_eq!(live.scan(None, &from, &to, usize::MAX, false).unwrap(), there);
                    let over = Changes::from([(vec![key[0], 7], Some(vec![1]))]);
                    let with_it = live.scan(Some(&over), &from, &to, usize::MAX, false).unwrap();
                    assert!(with_it.contains(&(vec![key[0], 7], vec![1])));
                }
                _ => assert_eq!(live.get(&key).unwrap(), model.get(&key).cloned().flatten()),
            }
        }
    }

    #[test]
    fn what_settles_is_the_same_to_readers_and_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let live = Live::new(Map::open(dir.path(), 1 << 20).unwrap(), 4, 1);
        let change = |key: u8, value: Option<&[u8]>, lsn: u64| {
            let meta = Meta { lsn, seq: lsn / 2, ..Meta::default() };
            live.add(&mut Changes::from([(vec![key], value.map(<[u8]>::to_vec))]), meta);
        };
        change(1, Some(b"one"), 5);
        change(2, None, 6);
        assert_eq!((live.settled_to(), live.settling_to()), (4, (4, 1)));
        assert_eq!(live.map.get(&[1]).unwrap(), None);
        assert_eq!(live.get(&[1]).unwrap().as_deref(), Some(&b"one"[..]));
        // Not while the journal may lose it.
        assert!(!live.settle(5).unwrap());
        assert_eq!(live.settling_to(), (4, 1));
        assert!(live.settle(6).unwrap());
        assert_eq!((live.settled_to(), live.settling_to()), (6, (6, 3)));
        assert_eq!(live.map.get(&[1]).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(live.map.meta().unwrap().unwrap().lsn, 6);
        assert!(!live.is_due());
        // Enough for the keeper is told once.
        change(3, Some(&vec![0; SETTLE_BYTES]), 7);
        assert!(live.is_due());
        assert!(!live.is_due());
        live.settle(7).unwrap();
        assert_eq!((live.settled_to(), live.pending_bytes()), (7, 0));
        assert_eq!(live.map.get(&[3]).unwrap().map(|v| v.len()), Some(SETTLE_BYTES));
    }
}
