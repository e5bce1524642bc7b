//! Opening: what is in the journal decides; sled is used when it can be trusted, and made again when not.

use super::claim::Claim;
use super::files::{self, fault};
use super::frame::{Info, Record, Records};
use super::index::{self, Block, Builder};
use super::journal::{self, Active, Begin, HEADER, Item, Scanner};
use super::map::{Fill, Map, Meta};
use super::shared::View;
use super::snapshot::{self, Checkpoint, CheckpointFile};
use super::{Error, Options, VERSION};
use crate::clock::Time;
use crate::codec::Reader;
use crate::key::OWN;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The pair that says where the log begins.
pub(super) const FIRST: &[u8] = b"first";
/// The pair that tells this log from every other one.
pub(super) const IDENTITY: &[u8] = b"log";
/// Random bytes in an identity: two logs never have the same.
const IDENTITY_BYTES: usize = 16;

/// A new identity, as text.
pub(super) fn new_identity() -> Result<String, Error> {
    let mut bytes = [0; IDENTITY_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| Error::Other(format!("get random bytes: {e}")))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// An open store's state.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) map: Map,
    pub(super) view: View,
    pub(super) builder: Builder,
    /// Why the map is in memory, if it is: there was no room, or nothing may be written.
    pub(super) no_map: Option<String>,
    /// The segment to go on with; without one nothing can be written for now, and why.
    pub(super) active: Result<Active, String>,
    /// The next frame's number.
    pub(super) lsn: u64,
    /// The next event's position.
    pub(super) seq: u64,
    /// The newest snapshot, 0 when there is none.
    pub(super) snapshot: u64,
    /// Journal bytes since then.
    pub(super) since_snapshot: u64,
    /// The journal does not lead to what was known to be durable: a snapshot is due at once, and the log is another one
    /// than before, since positions that were read may be given to other events.
    pub(super) lost_its_end: bool,
    /// With that end went changes that the map has not, as far as can be known.
    pub(super) lost_changes: bool,
    /// Closed segments without an index beside them.
    pub(super) unindexed: Vec<u64>,
    /// Positions that no segment holds any more, though nobody dropped them: from and to.
    pub(super) lost: Vec<(u64, u64)>,
}

/// What the journal's end looks like.
#[derive(Debug, Default)]
struct Tail {
    lsn: u64,
    seq: u64,
    /// Where the last segment's last good frame ends.
    end: u64,
    /// What follows there was durable once and is not readable: nothing may be written over it.
    damaged: bool,
}

/// Refuses a store of a newer version; true when the file that says it is to be written.
fn version(dir: &Path) -> Result<bool, Error> {
    /// It holds a number.
    const BYTES_MAX: u64 = 64;
    let path = dir.join("version");
    let text = match files::read_small(&path, BYTES_MAX) {
        Ok(None) => return Ok(true),
        Ok(Some(text)) => text,
        Err(e) if e.kind() == std::io::ErrorKind::Other => Vec::new(),
        Err(e) => return Err(fault("read", &path, &e)),
    };
    match String::from_utf8_lossy(&text).trim().parse::<u32>() {
        Ok(version) if version > VERSION => Err(newer(&path, version)),
        Ok(_) => Ok(false),
        Err(_) => {
            tracing::warn!(
                "`{}` does not hold the number of the store's format; it is written again, and nothing is lost: the \
                 journal says the number too",
                path.display()
            );
            Ok(true)
        }
    }
}

fn newer(path: &Path, version: u32) -> Error {
    Error::Other(format!(
        "`{}` says that the store was written by a newer wehelpd (format {version}; this one knows up to {VERSION}): \
         start that version again, or restore a backup into another folder",
        path.display()
    ))
}

pub(super) fn write_version(dir: &Path) -> Result<(), Error> {
    let path = dir.join("version");
    files::replace(&path, |out| writeln!(out, "{VERSION}")).map_err(|e| fault("write", &path, &e))
}

/// The segments that are there, with their headers. One of which nothing is readable is left out.
pub(super) fn segments(dir: &Path) -> Result<BTreeMap<u64, Begin>, Error> {
    let list = journal::list(dir, "log")?;
    let mut found: BTreeMap<u64, Begin> = BTreeMap::new();
    for lsn in &list {
        check_version(dir, *lsn)?;
        let path = journal::path(dir, *lsn);
        let failed = |e| fault("read", &path, &e);
        let file = File::open(&path).map_err(failed)?;
        let begin = match journal::begin(&file).map_err(failed)? {
            Some(begin) if begin.lsn == *lsn => begin,
            _ => {
                // Its header is damaged: what it said is found in its first frame.
                let mut scanner = Scanner::open(&path, HEADER).map_err(failed)?;
                let seq = loop {
                    match scanner.next().map_err(failed)? {
                        Some(Item::Frame(head, ..)) => break Some(head.seq),
                        Some(Item::Damage { .. }) => {}
                        None => break None,
                    }
                };
                let before = found.last_key_value().map(|(_, b)| *b);
                match seq {
                    Some(seq) => {
                        tracing::error!("the head of `{}` is damaged", path.display());
                        let cum = before.map_or(0, |b| b.cum + files_len(&journal::path(dir, b.lsn)));
                        Begin { lsn: *lsn, seq, cum }
                    }
                    None => {
                        tracing::error!("nothing in `{}` is readable", path.display());
                        continue;
                    }
                }
            }
        };
        found.insert(*lsn, begin);
    }
    Ok(found)
}

fn files_len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Reads frames on from a place; gives blocks and changes to `fill`.
struct Replay<'a, 'b> {
    dir: &'a Path,
    segments: &'a BTreeMap<u64, Begin>,
    fill: &'a mut Fill<'b>,
    builder: Builder,
    /// Changes up to this are in the map already.
    applied: u64,
    /// Known to have been durable.
    durable: u64,
    tail: Tail,
    /// Frames that were applied.
    replayed: u64,
}

impl Replay<'_, '_> {
    /// One segment, from an offset on.
    fn segment(&mut self, begin: &Begin, at: u64) -> Result<(), Error> {
        let path = journal::path(self.dir, begin.lsn);
        let failed = |e| fault("read", &path, &e);
        let next = self.segments.range(begin.lsn + 1..).next().map(|(lsn, _)| *lsn);
        let mut scanner = Scanner::open(&path, at).map_err(failed)?;
        if at <= HEADER {
            if let Some(block) = self.builder.finish() {
                self.fill.block(block)?;
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

    fn frame(&mut self, segment: u64, head: super::frame::Head, at: u64, payload: &[u8]) -> Result<(), Error> {
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
                Record::Put { key, value } if apply => self.fill.change(key, Some(value))?,
                Record::Delete { key } if apply => self.fill.change(key, None)?,
                Record::Put { .. } | Record::Delete { .. } => {}
            }
        }
        if let Some(block) = self.builder.push(segment, &info, all_tags) {
            self.fill.block(block)?;
        }
        self.replayed += u64::from(apply);
        self.tail.lsn = self.tail.lsn.max(head.lsn);
        self.tail.seq = self.tail.seq.max(head.seq + u64::from(head.events));
        Ok(())
    }

    /// Where a later open has to go on.
    fn meta(&self, lsn: u64, seq: u64, segment: u64) -> Meta {
        meta(&[], &self.builder, lsn, seq, (segment, self.tail.end))
    }
}

/// The map's state after `lsn`; `fresh` are finished blocks that it has not, `end` is where the next frame goes.
pub(super) fn meta(fresh: &[Block], builder: &Builder, lsn: u64, seq: u64, end: (u64, u64)) -> Meta {
    let (segment, offset, cum) = match fresh.first().or(builder.open.as_ref().map(|open| &open.block)) {
        Some(block) => (block.segment, block.start, block.cum),
        None => (end.0, end.1, builder.cum),
    };
    Meta { lsn, seq, cum, segment, offset, ..Meta::default() }
}

/// sled as it is, when it can be trusted.
fn trusted(
    dir: &Path,
    options: &Options,
    last: Option<Checkpoint>,
    has: &BTreeMap<u64, Begin>,
) -> Result<Option<(Map, Meta)>, Error> {
    let folder = Map::folder(dir);
    if !folder.exists() {
        return Ok(None);
    }
    let why_not = |why: &str| {
        tracing::warn!("the map in `{}` is made again from the journal: {why}", folder.display());
        Ok(None)
    };
    let map = match Map::open(&folder, options.cache_bytes) {
        Ok(map) => map,
        Err(error @ Error::InUse { .. }) => return Err(error),
        Err(error) => return why_not(&error.to_string()),
    };
    let meta = match map.meta() {
        Ok(Some(meta)) if meta.lsn > 0 => meta,
        Ok(_) => return why_not("it is not whole"),
        Err(error) => return why_not(&error.to_string()),
    };
    // A segment that is lost took nothing from a map that has its changes already; one that is older than a snapshot goes
    // with it.
    let newer = journal::list(dir, "map")?.last().is_some_and(|snapshot| *snapshot > meta.lsn);
    if newer && !has.contains_key(&meta.segment) {
        return why_not("the journal does not reach back to it");
    }
    if !last.is_some_and(|last| last.clean && last.lsn == meta.lsn) {
        match map.verify(&meta) {
            Ok(true) => {}
            Ok(false) => return why_not("its checksum does not match"),
            Err(error) => return why_not(&error.to_string()),
        }
    }
    Ok(Some((map, meta)))
}

/// A new, empty map; an old one is removed.
fn fresh(dir: &Path, options: &Options) -> Result<Map, Error> {
    let folder = Map::folder(dir);
    let old: PathBuf = dir.join("sled.old");
    let cleared = || -> std::io::Result<()> {
        if old.exists() {
            std::fs::remove_dir_all(&old)?;
        }
        if folder.exists() {
            std::fs::rename(&folder, &old)?;
            // What another handle still has open stays readable to it.
            std::fs::remove_dir_all(&old)?;
        }
        Ok(())
    };
    cleared().map_err(|e| fault("remove the old map", &folder, &e))?;
    Map::open(&folder, options.cache_bytes)
}

/// The newest whole snapshot's LSN.
fn newest_snapshot(dir: &Path) -> Result<Option<snapshot::Snapshot>, Error> {
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

/// Makes the map again: the newest snapshot, then the journal. The segments' indexes come from beside them.
fn rebuild<'a, 'b>(
    dir: &'a Path,
    segments: &'a BTreeMap<u64, Begin>,
    durable: u64,
    fill: &'a mut Fill<'b>,
) -> Result<(Replay<'a, 'b>, Reached), Error> {
    let oldest = segments.first_key_value().map(|(_, b)| *b);
    let snapshot = match newest_snapshot(dir) {
        Ok(snapshot) => snapshot,
        // Damaged, but the journal still has everything.
        Err(_) if oldest.is_some_and(|b| b.lsn == 1) => None,
        Err(error) => {
            return Err(Error::Other(format!(
                "{error}; the map cannot be made again. `wehelpd --salvage {}` writes out what can be read",
                dir.display()
            )));
        }
    };
    if let Some(snapshot) = snapshot {
        snapshot::read(dir, snapshot.from, &mut |key, value| fill.change(key, Some(value)))?;
    }
    let (applied, upto, seq) = snapshot.map_or((0, 0, 1), |s| (s.from, s.upto, s.seq));
    let tail = Tail { lsn: 0, seq, end: HEADER, damaged: false };
    let builder = Builder::new(oldest.map_or(0, |b| b.cum));
    let mut replay = Replay { dir, segments, fill, builder, applied, durable, tail, replayed: 0 };
    for (lsn, begin) in segments {
        let last = segments.range(lsn + 1..).next().map(|(next, _)| next - 1);
        if let Some(last) = last
            && last <= applied
            && let Some(blocks) = index::read_sidecar(dir, *lsn)
        {
            for block in blocks {
                replay.fill.block(block)?;
            }
            replay.builder = Builder::new(segments.range(lsn + 1..).next().map_or(0, |(_, b)| b.cum));
            replay.tail.lsn = last;
            continue;
        }
        replay.segment(begin, HEADER)?;
    }
    Ok((replay, Reached { lsn: upto, seq }))
}

/// How far something knows the log to have come: its last frame, and the next event's position.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    lsn: u64,
    seq: u64,
}

impl Reached {
    fn and(self, other: Self) -> Self {
        Self { lsn: self.lsn.max(other.lsn), seq: self.seq.max(other.seq) }
    }
}

/// The last frame that must have been, by the names of the journal's files, when `reached` is the last that is there.
fn named(dir: &Path, segments: &BTreeMap<u64, Begin>, reached: u64) -> Result<u64, Error> {
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

/// An open store's state, and what only one may have.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) opened: Opened,
    pub(super) checkpoint: CheckpointFile,
    pub(super) claim: Claim,
}

/// Opens or makes a store.
pub(super) fn open(dir: &Path, options: &Options) -> Result<Claimed, Error> {
    files::make_dir(dir)?;
    let unversioned = version(dir)?;
    files::make_dir(&journal::folder(dir))?;
    let claim = Claim::take(dir)?;
    files::sweep(dir);
    files::sweep(&journal::folder(dir));
    let mut checkpoint = CheckpointFile::of(dir);
    let last = Checkpoint::read(dir);
    let segments = segments(dir)?;
    let marked = checkpoint.begin(last.unwrap_or_default());
    let marked = if unversioned { marked.and_then(|()| write_version(dir)) } else { marked };
    let unmarked = marked.err();
    let opened = match load(dir, options, last, segments.clone(), unmarked.as_ref(), Place::Trusted) {
        // There may be no room for a map, or none may be written: what is stored can be read all the same.
        Err(error @ Error::Other(_)) => {
            let in_memory = load(dir, options, last, segments, unmarked.as_ref(), Place::Memory);
            let Ok(in_memory) = in_memory else { return Err(error) };
            Opened { no_map: Some(error.to_string()), ..in_memory }
        }
        opened => opened?,
    };
    Ok(Claimed { opened, checkpoint, claim })
}

/// Opens again at runtime, when the map has failed; everything up to `durable` is known to be in the journal.
pub(super) fn again(dir: &Path, options: &Options, durable: u64) -> Result<Opened, Error> {
    let known = Checkpoint { lsn: durable, seq: 0, clean: false };
    load(dir, options, Some(known), segments(dir)?, None, Place::New)
}

fn check_version(dir: &Path, lsn: u64) -> Result<(), Error> {
    let path = journal::path(dir, lsn);
    let file = File::open(&path).map_err(|e| fault("open", &path, &e))?;
    match journal::version(&file) {
        Some(version) if version > VERSION => Err(newer(&path, version)),
        _ => Ok(()),
    }
}

/// Where the map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where it belongs, as it was left if it can be trusted.
    Trusted,
    /// Where it belongs, made again.
    New,
    /// In memory, made again.
    Memory,
}

/// Makes the map agree with the journal, and finds the end of both.
fn load(
    dir: &Path,
    options: &Options,
    last: Option<Checkpoint>,
    mut segments: BTreeMap<u64, Begin>,
    unmarked: Option<&Error>,
    place: Place,
) -> Result<Opened, Error> {
    let known = last.unwrap_or_default();
    let trusted = if place == Place::Trusted { trusted(dir, options, last, &segments)? } else { None };
    let had = trusted.as_ref().map(|(_, meta)| *meta);
    let map = match trusted {
        Some((map, _)) => map,
        None if place == Place::Memory => Map::in_memory(dir, options.cache_bytes)?,
        None => fresh(dir, options)?,
    };
    let mut fill = Fill::new(&map);
    let known = Reached { lsn: known.lsn, seq: known.seq };
    let (mut replay, known) = match had {
        None => {
            let (replay, snapshot) = rebuild(dir, &segments, known.lsn, &mut fill)?;
            (replay, known.and(snapshot))
        }
        Some(meta) => {
            let tail = Tail { lsn: 0, seq: meta.seq, end: meta.offset, damaged: false };
            let builder = Builder::new(meta.cum);
            let mut replay = Replay {
                dir,
                segments: &segments,
                fill: &mut fill,
                builder,
                applied: meta.lsn,
                durable: known.lsn,
                tail,
                replayed: 0,
            };
            // Before the place to go on from nothing can be torn.
            let before = segments.get(&meta.segment).map_or(0, |b| b.lsn - 1);
            replay.tail.lsn = if meta.offset > HEADER { before.max(first_lsn(dir, &meta)) } else { before };
            for (lsn, begin) in segments.range(meta.segment..) {
                replay.segment(begin, if *lsn == meta.segment { meta.offset } else { HEADER })?;
            }
            (replay, known.and(Reached { lsn: meta.lsn, seq: meta.seq }))
        }
    };
    let reached = replay.tail.lsn;
    let lsn = reached.max(known.lsn).max(named(dir, &segments, reached)?) + 1;
    let lost_its_end = reached + 1 != lsn;
    let seq = replay.tail.seq.max(known.seq).max(1);
    let newest = segments.last_key_value().map(|(_, b)| *b);
    // After damage, or a loss, a new segment says where we are.
    let go_on = newest.filter(|_| !replay.tail.damaged && !lost_its_end);
    // Blocks may have been finished whose changes are in the map already.
    let changed = had.is_none() || replay.replayed > 0 || !replay.fill.is_empty();
    let end = (go_on.map_or(lsn, |b| b.lsn), if go_on.is_some() { replay.tail.end } else { HEADER });
    if go_on.is_none()
        && let Some(block) = replay.builder.finish()
    {
        replay.fill.block(block)?;
    }
    replay.tail.end = end.1;
    let meta = replay.meta(lsn - 1, seq, end.0);
    let builder = replay.builder;
    if changed || go_on.is_none() {
        // LSN 0 would say that it is not whole.
        if meta.lsn > 0 {
            fill.finish(meta)?;
        }
    }
    drop(fill);
    let begin = Begin { lsn, seq, cum: builder.cum };
    let active = match (unmarked, go_on) {
        (Some(error), _) => Err(error.to_string()),
        (None, Some(newest)) => Active::resume(dir, newest.lsn, end.1)
            .map_err(|e| fault("open", &journal::path(dir, newest.lsn), &e).to_string()),
        (None, None) => {
            Active::create(dir, &begin).map_err(|e| fault("make", &journal::path(dir, lsn), &e).to_string())
        }
    };
    let lost_changes = lost_its_end && !had.zip(last).is_some_and(|(had, last)| last.clean && last.lsn == had.lsn);
    if lost_its_end {
        tracing::error!(
            "the end of the journal in `{}` is gone, with what was stored last; the log goes on with event {seq}, as another \
             one (`log` in `wehelp status --json`), and {}",
            journal::folder(dir).display(),
            if lost_changes { "commands may be older than they were" } else { "all commands are as they were" }
        );
    }
    let mut borders = segments.clone();
    if go_on.is_none() {
        borders.insert(lsn, begin);
        if active.is_ok() {
            segments.insert(lsn, begin);
        }
    }
    let lost = lost(dir, &map, &borders)?;
    let view = view(&map, &segments, &builder, seq)?;
    let snapshot = journal::list(dir, "map")?.last().copied().unwrap_or(0);
    let since_snapshot = segments.range(snapshot..).map(|(lsn, _)| files_len(&journal::path(dir, *lsn))).sum();
    let indexed = journal::list(dir, "idx")?;
    let closed = segments.len().saturating_sub(1);
    let unindexed = segments.keys().take(closed).filter(|lsn| indexed.binary_search(lsn).is_err()).copied().collect();
    Ok(Opened {
        map,
        no_map: None,
        view,
        builder,
        active,
        lsn,
        seq,
        snapshot,
        since_snapshot,
        lost_its_end,
        lost_changes,
        unindexed,
        lost,
    })
}

/// The LSN before the frame at a place in the middle of a segment.
fn first_lsn(dir: &Path, meta: &Meta) -> u64 {
    if files_len(&journal::path(dir, meta.segment)) < meta.offset {
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

/// What a segment held that is gone: where one ends, the next one must begin. Seen by a look at each border, so that a
/// start takes no longer for it; told, since nobody may read there for years.
fn lost(dir: &Path, map: &Map, segments: &BTreeMap<u64, Begin>) -> Result<Vec<(u64, u64)>, Error> {
    let first = map.get(&OWN.full(FIRST))?.as_deref().and_then(first_of).map_or(1, |f| f.0);
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
                told(held_to(dir, map, before, begin.seq - 1)? + 1, begin.seq - 1);
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
fn held_to(dir: &Path, map: &Map, segment: &Begin, upto: u64) -> Result<u64, Error> {
    let path = journal::path(dir, segment.lsn);
    let len = files_len(&path);
    for block in map.blocks(segment.seq, upto, true) {
        let (first, entry) = block?;
        let Some(block) = Block::decode(first, &entry).filter(|block| block.segment == segment.lsn) else { continue };
        if block.end <= len {
            return Ok(block.last);
        }
        // It was cut off within this block, or before it.
        if block.start < len {
            let mut scanner = Scanner::open(&path, block.start).map_err(|e| fault("read", &path, &e))?;
            let mut last = None;
            while let Some(item) = scanner.next().map_err(|e| fault("read", &path, &e))? {
                if let Item::Frame(head, ..) = item
                    && head.events > 0
                {
                    last = Some(head.seq + u64::from(head.events) - 1);
                }
            }
            if let Some(last) = last {
                return Ok(last.min(block.last));
            }
        }
    }
    Ok(segment.seq - 1)
}

fn view(map: &Map, segments: &BTreeMap<u64, Begin>, builder: &Builder, seq: u64) -> Result<View, Error> {
    let oldest = segments.first_key_value().map_or((seq, builder.cum), |(_, b)| (b.seq, b.cum));
    let stored = map.get(&OWN.full(FIRST))?;
    let first = stored.as_deref().and_then(first_of).unwrap_or_default().max(oldest);
    // What a segment that is gone had.
    let mut gone = Vec::new();
    for block in map.blocks(0, u64::MAX, false) {
        let (first, entry) = block?;
        match Block::decode(first, &entry) {
            Some(block) if segments.contains_key(&block.segment) => break,
            _ => gone.push(first),
        }
    }
    if !gone.is_empty()
        && let Some(meta) = map.meta()?
    {
        map.apply(&super::map::Changes::new(), &[], &gone, meta)?;
    }
    Ok(View {
        first: first.0.min(seq),
        first_cum: first.1,
        tail: seq - 1,
        cum: builder.cum,
        fresh: Arc::default(),
        open: builder.open.clone(),
        segments: segments.clone(),
    })
}

/// Where the log begins, as stored: position, and bytes before it.
pub(super) fn first_of(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut from = Reader(bytes);
    Some((from.u64()?, from.u64()?))
}

/// The other way round.
pub(super) fn first_bytes(seq: u64, cum: u64) -> Vec<u8> {
    [seq.to_le_bytes(), cum.to_le_bytes()].concat()
}
