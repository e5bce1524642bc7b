//! What of the journal is there, and what is known to be gone.

use crate::key::OWN;
use crate::store::Error;
use crate::store::files::fault;
use crate::store::index::Block;
use crate::store::journal::{self, Begin, HEADER, Item, Scanner};
use crate::store::map::SledTree;
use crate::store::own::{FIRST, first_of};
use crate::store::types::VERSION;
use crate::store::version::newer;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// The segments that are there, with their headers. One of which nothing is readable is left out.
pub(in crate::store) fn segments(dir: &Path) -> Result<BTreeMap<u64, Begin>, Error> {
    let mut found: BTreeMap<u64, Begin> = BTreeMap::new();
    for lsn in journal::list(dir, "log")? {
        let before = found.last_key_value().map(|(_, b)| *b);
        if let Some(begin) = begin_of(dir, lsn, before)? {
            found.insert(lsn, begin);
        }
    }
    Ok(found)
}

fn begin_of(dir: &Path, lsn: u64, before: Option<Begin>) -> Result<Option<Begin>, Error> {
    let path = journal::path(dir, lsn);
    let failed = |e| fault("read", &path, &e);
    let file = File::open(&path).map_err(failed)?;
    if let Some(version) = journal::version(&file).filter(|version| *version > VERSION) {
        return Err(newer(&path, version));
    }
    if let Some(begin) = journal::begin(&file).map_err(failed)?.filter(|begin| begin.lsn == lsn) {
        return Ok(Some(begin));
    }
    // Its header is damaged: what it said is found in its first frame.
    let mut scanner = Scanner::open(&path, HEADER).map_err(failed)?;
    while let Some(item) = scanner.next().map_err(failed)? {
        if let Item::Frame(head, ..) = item {
            tracing::error!("the head of `{}` is damaged", path.display());
            let cum = before.map_or(0, |b| b.cum + file_len(&journal::path(dir, b.lsn)));
            return Ok(Some(Begin { lsn, seq: head.seq, cum }));
        }
    }
    tracing::error!("nothing in `{}` is readable", path.display());
    Ok(None)
}

/// How long a file is; one that cannot be looked at has nothing.
pub(super) fn file_len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// The last frame that must have been, by the names of the journal's files, when `reached` is the last that is there.
pub(super) fn named(dir: &Path, segments: &BTreeMap<u64, Begin>, reached: u64) -> Result<u64, Error> {
    let newest = segments.last_key_value().map_or(0, |(newest, _)| *newest);
    // A segment has an index once there is a newer one…
    let indexed =
        journal::list(dir, "idx")?.last().filter(|last| **last >= newest).map_or(0, |last| reached.max(*last) + 1);
    // …and a name only once it has a header.
    let newest_file = journal::list(dir, "log")?.last().copied();
    let unreadable = newest_file.filter(|lsn| !segments.contains_key(lsn)).unwrap_or(0);
    let snapshot = journal::list(dir, "map")?.last().copied().unwrap_or(0);
    Ok(unreadable.max(snapshot).max(indexed))
}

/// What a segment held that is gone: where one ends, the next one must begin. Seen by a look at each border, so that a
/// start takes no longer for it; told, since nobody may read there for years.
pub(super) fn lost(dir: &Path, tree: &SledTree, segments: &BTreeMap<u64, Begin>) -> Result<Vec<(u64, u64)>, Error> {
    let first = tree.get(&OWN.full(FIRST))?.as_deref().and_then(first_of).map_or(1, |f| f.0);
    let mut lost = Vec::new();
    let mut told = |from: u64, to: u64| {
        if from.max(first) <= to {
            lost.push((from.max(first), to));
        }
    };
    let mut before: Option<&Begin> = None;
    for begin in segments.values() {
        match before {
            None => told(1, begin.seq - 1),
            Some(before) if before.seq < begin.seq && begin.seq > first => {
                told(held_to(dir, tree, before, begin.seq - 1)? + 1, begin.seq - 1);
            }
            Some(_) => {}
        }
        before = Some(begin);
    }
    for (from, to) in &lost {
        tracing::error!(
            "events {from} to {to} are lost: what held them in `{}` is gone or damaged; if there is a copy of it, stop \
             wehelpd and put it back",
            journal::folder(dir).display()
        );
    }
    Ok(lost)
}

/// The last position up to `upto` that a segment holds, or the one before it.
fn held_to(dir: &Path, tree: &SledTree, segment: &Begin, upto: u64) -> Result<u64, Error> {
    let len = file_len(&journal::path(dir, segment.lsn));
    for block in tree.blocks(segment.seq, upto, true) {
        let (first, entry) = block?;
        let Some(block) = Block::decode(first, &entry).filter(|block| block.segment == segment.lsn) else { continue };
        if block.end <= len {
            return Ok(block.last);
        }
        // It was cut off within this block, or before it.
        if block.start < len
            && let Some(last) = last_after(dir, &block)?
        {
            return Ok(last.min(block.last));
        }
    }
    Ok(segment.seq - 1)
}

/// The last position that is readable after a block's begin.
fn last_after(dir: &Path, block: &Block) -> Result<Option<u64>, Error> {
    let path = journal::path(dir, block.segment);
    let mut scanner = Scanner::open(&path, block.start).map_err(|e| fault("read", &path, &e))?;
    let mut last = None;
    while let Some(item) = scanner.next().map_err(|e| fault("read", &path, &e))? {
        if let Item::Frame(head, ..) = item
            && head.events > 0
        {
            last = Some(head.seq + u64::from(head.events) - 1);
        }
    }
    Ok(last)
}
