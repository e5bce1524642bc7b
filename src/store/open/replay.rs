//! Replay: what the map has not is read from the journal and put into it.

use super::segments::file_len;
use crate::clock::Time;
use crate::store::Error;
use crate::store::files::fault;
use crate::store::frame::{Head, Info, Record, Records};
use crate::store::index::{self, Block, Builder};
use crate::store::journal::{self, Begin, HEADER, Item, Scanner};
use crate::store::map::snapshot::{self, Snapshot};
use crate::store::map::{Batch, Meta, SledTree};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What is put into sled in one go while nobody reads it: well below one of its segments (512 KiB).
const FILL_BYTES: usize = 128 << 10;

/// What the journal's end looks like.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) lsn: u64,
    pub(super) seq: u64,
    /// Where the last segment's last good frame ends.
    pub(super) end: u64,
    /// What follows there was durable once and is not readable: nothing may be written over it.
    pub(super) damaged: bool,
}

/// How far something knows the log to have come: its last frame, and the next event's position.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    pub(super) lsn: u64,
    pub(super) seq: u64,
}

impl Reached {
    pub(super) fn and(self, other: Self) -> Self {
        Self { lsn: self.lsn.max(other.lsn), seq: self.seq.max(other.seq) }
    }
}

/// Reads frames on from a place, and gives blocks and changes to sled.
pub(super) struct Replay<'a> {
    dir: &'a Path,
    segments: &'a BTreeMap<u64, Begin>,
    tree: &'a SledTree,
    /// What sled is to get next.
    batch: Batch,
    batch_bytes: usize,
    builder: Builder,
    /// Changes up to this are in the map already.
    applied: u64,
    /// Known to have been durable.
    durable: u64,
    pub(super) tail: Tail,
    /// Something came of it.
    changed: bool,
}

impl<'a> Replay<'a> {
    pub(super) fn new(dir: &'a Path, segments: &'a BTreeMap<u64, Begin>, durable: u64, tree: &'a SledTree) -> Self {
        Self {
            dir,
            segments,
            tree,
            batch: Batch::default(),
            batch_bytes: 0,
            builder: Builder::new(0),
            applied: 0,
            durable,
            tail: Tail::default(),
            changed: false,
        }
    }

    /// Goes on where a map that can be trusted ends. Returns how far that was.
    pub(super) fn catch_up(&mut self, meta: &Meta) -> Result<Reached, Error> {
        self.builder = Builder::new(meta.cum);
        self.applied = meta.lsn;
        // Before the place to go on from nothing can be torn.
        let before = self.segments.get(&meta.segment).map_or(0, |b| b.lsn - 1);
        let lsn = if meta.offset > HEADER { before.max(first_lsn(self.dir, meta)) } else { before };
        self.tail = Tail { lsn, seq: meta.seq, end: meta.offset, damaged: false };
        for (lsn, begin) in self.segments.range(meta.segment..) {
            self.segment(begin, if *lsn == meta.segment { meta.offset } else { HEADER })?;
        }
        Ok(Reached { lsn: meta.lsn, seq: meta.seq })
    }

    /// Makes an empty map again: the newest snapshot, then the journal. The segments' indexes come from beside them. Returns
    /// how far the snapshot was.
    pub(super) fn rebuild(&mut self) -> Result<Reached, Error> {
        self.changed = true;
        let oldest = self.segments.first_key_value().map(|(_, b)| *b);
        let snapshot = match newest_snapshot(self.dir) {
            Ok(snapshot) => snapshot,
            // Damaged, but the journal still has everything.
            Err(_) if oldest.is_some_and(|b| b.lsn == 1) => None,
            Err(error) => {
                return Err(Error::Other(format!(
                    "{error}; the map cannot be made again. `wehelpd --salvage {}` writes out what can be read",
                    self.dir.display()
                )));
            }
        };
        if let Some(snapshot) = snapshot {
            snapshot::read(self.dir, snapshot.from, &mut |key, value| self.change(key, Some(value)))?;
        }
        let (applied, upto, seq) = snapshot.map_or((0, 0, 1), |s| (s.from, s.upto, s.seq));
        self.builder = Builder::new(oldest.map_or(0, |b| b.cum));
        self.applied = applied;
        self.tail = Tail { lsn: 0, seq, end: HEADER, damaged: false };
        for (lsn, begin) in self.segments {
            let next = self.segments.range(lsn + 1..).next().map(|(_, next)| *next);
            let covered = next.filter(|next| next.lsn - 1 <= applied);
            let Some((next, blocks)) = covered.zip(covered.and_then(|_| index::read_sidecar(self.dir, *lsn))) else {
                self.segment(begin, HEADER)?;
                continue;
            };
            blocks.into_iter().try_for_each(|block| self.block(block))?;
            self.builder = Builder::new(next.cum);
            self.tail.lsn = next.lsn - 1;
        }
        Ok(Reached { lsn: upto, seq })
    }

    /// Puts the rest into sled, and says how far it is: up to before the frame `lsn`. `go_on` is the end of the segment that
    /// is gone on with; without one its last block is finished.
    pub(super) fn finish(mut self, lsn: u64, seq: u64, go_on: Option<(u64, u64)>) -> Result<Builder, Error> {
        // Blocks may have been finished whose changes are in the map already.
        let changed = self.changed || !self.batch.is_empty() || go_on.is_none();
        if go_on.is_none()
            && let Some(block) = self.builder.finish()
        {
            self.block(block)?;
        }
        let meta = meta(&self.builder, lsn - 1, seq, go_on.unwrap_or((lsn, HEADER)));
        // LSN 0 would say that it is not whole.
        if changed && meta.lsn > 0 {
            self.put(meta)?;
        }
        Ok(self.builder)
    }

    fn change(&mut self, full: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        self.batch_bytes += full.len() + value.map_or(0, <[u8]>::len);
        self.batch.changes.insert(full.to_vec(), value.map(<[u8]>::to_vec));
        self.step()
    }

    fn block(&mut self, block: Block) -> Result<(), Error> {
        self.batch_bytes += block.tags.len() + 64;
        self.batch.blocks.push(Arc::new(block));
        self.step()
    }

    fn step(&mut self) -> Result<(), Error> {
        // Its LSN stays as it was: what is there then is completed by doing all of this again.
        if self.batch_bytes < FILL_BYTES { Ok(()) } else { self.put(self.tree.meta()) }
    }

    fn put(&mut self, meta: Meta) -> Result<(), Error> {
        self.tree.apply(&Batch { meta, ..std::mem::take(&mut self.batch) }, FILL_BYTES)?;
        (self.batch_bytes, self.changed) = (0, true);
        Ok(())
    }

    /// A segment begins: what came before it, and whether something is missing.
    fn border(&mut self, begin: &Begin) -> Result<(), Error> {
        if let Some(block) = self.builder.finish() {
            self.block(block)?;
        }
        self.tail.seq = self.tail.seq.max(begin.seq);
        self.builder.cum = self.builder.cum.max(begin.cum);
        let reached = self.tail.lsn.max(self.applied);
        if begin.lsn > reached + 1 {
            tracing::error!(
                "changes {} to {} are lost: no file in `{}` holds them; what the queue, cursors and contacts were then \
                 may be older than it was",
                reached + 1,
                begin.lsn - 1,
                journal::folder(self.dir).display()
            );
        }
        Ok(())
    }

    /// One segment, from an offset on.
    fn segment(&mut self, begin: &Begin, at: u64) -> Result<(), Error> {
        let path = journal::path(self.dir, begin.lsn);
        let failed = |e| fault("read", &path, &e);
        let next = self.segments.range(begin.lsn + 1..).next().map(|(lsn, _)| *lsn);
        let mut scanner = Scanner::open(&path, at).map_err(failed)?;
        if at <= HEADER {
            self.border(begin)?;
        }
        (self.tail.end, self.tail.damaged) = (at.max(HEADER), false);
        let mut gap: Option<(u64, u64, &'static str)> = None;
        while let Some(item) = scanner.next().map_err(failed)? {
            let (head, at, payload) = match item {
                Item::Damage { at, bytes, reason } => {
                    gap.get_or_insert((at, bytes, reason));
                    continue;
                }
                Item::Frame(head, at, payload) => (head, at, payload),
            };
            if next.is_some_and(|next| head.lsn >= next) {
                // Written, never durable, and written again in the next segment.
                break;
            }
            if let Some((from, bytes, reason)) = gap.take() {
                // The last good frame before the gap, and what was durable when this frame was written.
                if next.is_none() && head.durable_before() <= self.tail.lsn && self.durable <= self.tail.lsn {
                    tracing::warn!("`{}` was torn at byte {from}, where nothing was durable yet", path.display());
                    self.tail.damaged = false;
                    return Ok(());
                }
                tracing::error!("`{}` is damaged at byte {from}, {bytes} bytes: {reason}", path.display());
            }
            self.frame(begin.lsn, head, at, payload)?;
            self.tail.end = at + head.frame_bytes() as u64;
        }
        if let Some((at, bytes, reason)) = gap {
            if next.is_none() && self.durable <= self.tail.lsn {
                tracing::warn!("`{}` ends with {bytes} bytes of an unfinished write", path.display());
            } else {
                tracing::error!("`{}` is damaged at byte {at}, {bytes} bytes: {reason}", path.display());
                self.tail.damaged = true;
            }
        }
        Ok(())
    }

    fn frame(&mut self, segment: u64, head: Head, at: u64, payload: &[u8]) -> Result<(), Error> {
        let mut info = Info {
            lsn: head.lsn,
            seq: head.seq,
            events: head.events,
            at,
            bytes: head.frame_bytes() as u64,
            times: (Time::from_millis(i64::MAX), Time::from_millis(i64::MIN)),
            tags: (0, 0),
        };
        let mut all_tags = Vec::new();
        let apply = head.lsn > self.applied;
        for record in Records(payload) {
            match record {
                Record::Event { time, tags, .. } => {
                    info.times = (info.times.0.min(time), info.times.1.max(time));
                    all_tags.extend(tags.iter());
                }
                Record::Put { key, value } if apply => self.change(key, Some(value))?,
                Record::Delete { key } if apply => self.change(key, None)?,
                Record::Put { .. } | Record::Delete { .. } => {}
            }
        }
        if let Some(block) = self.builder.push(segment, &info, all_tags) {
            self.block(block)?;
        }
        self.changed |= apply;
        self.tail.lsn = self.tail.lsn.max(head.lsn);
        self.tail.seq = self.tail.seq.max(head.seq + u64::from(head.events));
        Ok(())
    }
}

/// sled's state after `lsn`; `end` is where the next frame goes.
pub(in crate::store) fn meta(builder: &Builder, lsn: u64, seq: u64, end: (u64, u64)) -> Meta {
    let (segment, offset, cum) = match &builder.open {
        Some(open) => (open.block.segment, open.block.start, open.block.cum),
        None => (end.0, end.1, builder.cum),
    };
    Meta { lsn, seq, cum, segment, offset, ..Meta::default() }
}

/// The newest whole snapshot's LSN.
fn newest_snapshot(dir: &Path) -> Result<Option<Snapshot>, Error> {
    let list = journal::list(dir, "map")?;
    let mut failed = None;
    for lsn in list.iter().rev() {
        match snapshot::read(dir, *lsn, &mut |_, _| Ok(())) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(error) => {
                tracing::error!("{error}");
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(None), Err)
}

/// The LSN before the frame at a place in the middle of a segment.
fn first_lsn(dir: &Path, meta: &Meta) -> u64 {
    if file_len(&journal::path(dir, meta.segment)) < meta.offset {
        // It was cut off before that place.
        return 0;
    }
    let Ok(mut scanner) = Scanner::open(&journal::path(dir, meta.segment), meta.offset) else { return 0 };
    match scanner.next() {
        Ok(Some(Item::Frame(head, ..))) => head.lsn - 1,
        // Nothing follows: the map is the newest.
        _ => meta.lsn,
    }
}
