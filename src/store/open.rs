//! Opening: what is in the journal decides; sled is used when it can be trusted, and made again when not.
//!
//! * `segments` looks at what of the journal is there, and tells what is lost.
//! * `replay` reads what the map has not.

mod replay;
mod segments;

pub(super) use self::replay::meta;
pub(super) use self::segments::segments;

use self::replay::{Reached, Replay, Tail};
use self::segments::{file_len, lost, named};
use super::checkpoint::{Checkpoint, CheckpointFile};
use super::files::{self, fault};
use super::folder_lock::FolderLock;
use super::index::{Block, Builder};
use super::journal::{self, Active, Begin};
use super::map::{Batch, Map, SledTree};
use super::own;
use super::shared::View;
use super::version;
use super::{Error, Options};
use crate::key::OWN;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

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

/// sled as it is, when it can be trusted.
fn trusted(
    dir: &Path,
    options: &Options,
    last: Option<Checkpoint>,
    has: &BTreeMap<u64, Begin>,
) -> Result<Option<SledTree>, Error> {
    let folder = SledTree::folder(dir);
    if !folder.exists() {
        return Ok(None);
    }
    let why_not = |why: &str| {
        tracing::warn!("the map in `{}` is made again from the journal: {why}", folder.display());
        Ok(None)
    };
    let tree = match SledTree::open(&folder, options.cache_bytes) {
        Ok(tree) => tree,
        Err(error @ Error::InUse { .. }) => return Err(error),
        Err(error) => return why_not(&error.to_string()),
    };
    let meta = tree.meta();
    if meta.lsn == 0 {
        // After `kill -9` or a power cut most of it has not been on disk yet: that is no damage.
        tracing::info!(
            "wehelpd was not ended in order before; `{}` is built again from the journal, which has everything",
            folder.display()
        );
        return Ok(None);
    }
    // A segment that is lost took nothing from a map that has its changes already; one that is older than a snapshot goes
    // with it.
    let newer = journal::list(dir, "map")?.last().is_some_and(|snapshot| *snapshot > meta.lsn);
    if newer && !has.contains_key(&meta.segment) {
        return why_not("the journal does not reach back to it");
    }
    if last.is_some_and(|last| last.clean && last.lsn == meta.lsn) {
        return Ok(Some(tree));
    }
    match tree.verify() {
        Ok(true) => Ok(Some(tree)),
        Ok(false) => why_not("its checksum does not match"),
        Err(error) => why_not(&error.to_string()),
    }
}

/// A new, empty map; an old one is removed.
fn fresh(dir: &Path, options: &Options) -> Result<SledTree, Error> {
    let folder = SledTree::folder(dir);
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
    SledTree::open(&folder, options.cache_bytes)
}

/// An open store's state, and what only one may have.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) opened: Opened,
    pub(super) checkpoint: CheckpointFile,
    pub(super) lock: FolderLock,
}

/// Opens or makes a store.
pub(super) fn open(dir: &Path, options: &Options) -> Result<Claimed, Error> {
    files::make_dir(dir)?;
    let unversioned = version::check(dir)?;
    files::make_dir(&journal::folder(dir))?;
    let lock = FolderLock::take(dir)?;
    files::sweep(dir);
    files::sweep(&journal::folder(dir));
    let mut checkpoint = CheckpointFile::of(dir);
    let last = Checkpoint::read(dir);
    let segments = segments(dir)?;
    let marked = checkpoint.begin(last.unwrap_or_default());
    let marked = if unversioned { marked.and_then(|()| version::write(dir)) } else { marked };
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
    Ok(Claimed { opened, checkpoint, lock })
}

/// Opens again at runtime, when the map has failed; everything up to `durable` is known to be in the journal.
pub(super) fn again(dir: &Path, options: &Options, durable: u64) -> Result<Opened, Error> {
    let known = Checkpoint { lsn: durable, seq: 0, clean: false };
    load(dir, options, Some(known), segments(dir)?, None, Place::New)
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

/// Where the log goes on.
struct End {
    /// The next frame's number.
    lsn: u64,
    /// The next event's position.
    seq: u64,
    /// The journal does not lead to what was known to be durable.
    lost: bool,
    /// The segment that is gone on with, and where; without one a new one is begun.
    go_on: Option<(u64, u64)>,
}

impl End {
    fn of(dir: &Path, segments: &BTreeMap<u64, Begin>, tail: &Tail, known: Reached) -> Result<Self, Error> {
        let lsn = tail.lsn.max(known.lsn).max(named(dir, segments, tail.lsn)?) + 1;
        let lost = tail.lsn + 1 != lsn;
        let newest = segments.last_key_value().map(|(lsn, _)| (*lsn, tail.end));
        // After damage, or a loss, a new segment says where we are.
        let go_on = newest.filter(|_| !tail.damaged && !lost);
        Ok(Self { lsn, seq: tail.seq.max(known.seq).max(1), lost, go_on })
    }

    /// The segment to write to, or why there is none.
    fn active(&self, dir: &Path, begin: &Begin, unmarked: Option<&Error>) -> Result<Active, String> {
        let failed = |act: &str, lsn: u64, e: &std::io::Error| fault(act, &journal::path(dir, lsn), e).to_string();
        match (unmarked, self.go_on) {
            (Some(error), _) => Err(error.to_string()),
            (None, Some((lsn, end))) => Active::resume(dir, lsn, end).map_err(|e| failed("open", lsn, &e)),
            (None, None) => Active::create(dir, begin).map_err(|e| failed("make", self.lsn, &e)),
        }
    }
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
    let trusted = if place == Place::Trusted { trusted(dir, options, last, &segments)? } else { None };
    let had = trusted.as_ref().map(SledTree::meta);
    let tree = match trusted {
        Some(tree) => tree,
        None if place == Place::Memory => SledTree::in_memory(dir, options.cache_bytes)?,
        None => fresh(dir, options)?,
    };
    let known = last.unwrap_or_default();
    if !known.clean {
        sync_newest(dir, &segments);
    }
    let mut replay = Replay::new(dir, &segments, known.lsn, &tree);
    let reached = match had {
        Some(meta) => replay.catch_up(&meta)?,
        None => replay.rebuild()?,
    };
    let end = End::of(dir, &segments, &replay.tail, Reached { lsn: known.lsn, seq: known.seq }.and(reached))?;
    let builder = replay.finish(end.lsn, end.seq, end.go_on)?;
    let begin = Begin { lsn: end.lsn, seq: end.seq, cum: builder.cum };
    let active = end.active(dir, &begin, unmarked);
    let lost_changes = end.lost && !had.zip(last).is_some_and(|(had, last)| last.clean && last.lsn == had.lsn);
    if end.lost {
        tell_lost_end(dir, end.seq, lost_changes);
    }
    let mut borders = segments.clone();
    if end.go_on.is_none() {
        borders.insert(end.lsn, begin);
        if active.is_ok() {
            segments.insert(end.lsn, begin);
        }
    }
    let lost = lost(dir, &tree, &borders)?;
    let view = view(&tree, &segments, &builder, end.seq)?;
    let snapshot = journal::list(dir, "map")?.last().copied().unwrap_or(0);
    let since_snapshot = segments.range(snapshot..).map(|(lsn, _)| file_len(&journal::path(dir, *lsn))).sum();
    Ok(Opened {
        unindexed: unindexed(dir, &segments)?,
        map: Map::new(tree),
        no_map: None,
        view,
        builder,
        active,
        lsn: end.lsn,
        seq: end.seq,
        snapshot,
        since_snapshot,
        lost_its_end: end.lost,
        lost_changes,
        lost,
    })
}

/// Closed segments without an index beside them.
fn unindexed(dir: &Path, segments: &BTreeMap<u64, Begin>) -> Result<Vec<u64>, Error> {
    let indexed = journal::list(dir, "idx")?;
    let closed = segments.keys().take(segments.len().saturating_sub(1));
    Ok(closed.filter(|lsn| indexed.binary_search(lsn).is_err()).copied().collect())
}

fn tell_lost_end(dir: &Path, seq: u64, lost_changes: bool) {
    tracing::error!(
        "the end of the journal in `{}` is gone, with what was stored last; the log goes on with event {seq}, as another \
         one (`log` in `wehelp status --json`), and {}",
        journal::folder(dir).display(),
        if lost_changes { "commands may be older than they were" } else { "all commands are as they were" }
    );
}

/// After a kill the newest segment may have what no sync has reached: sled must not get what a power cut may still take
/// away. Best effort: where this fails nothing will be written.
fn sync_newest(dir: &Path, segments: &BTreeMap<u64, Begin>) {
    let Some(path) = segments.last_key_value().map(|(lsn, _)| journal::path(dir, *lsn)) else { return };
    if let Err(error) = File::open(&path).and_then(|file| file.sync_data()) {
        tracing::warn!("{}", fault("sync", &path, &error));
    }
}

fn view(tree: &SledTree, segments: &BTreeMap<u64, Begin>, builder: &Builder, seq: u64) -> Result<View, Error> {
    let oldest = segments.first_key_value().map_or((seq, builder.cum), |(_, b)| (b.seq, b.cum));
    let stored = tree.get(&OWN.full(own::FIRST))?;
    let first = stored.as_deref().and_then(own::first_of).unwrap_or_default().max(oldest);
    // What a segment that is gone had.
    let mut gone = Vec::new();
    for block in tree.blocks(0, u64::MAX, false) {
        let (first, entry) = block?;
        match Block::decode(first, &entry) {
            Some(block) if segments.contains_key(&block.segment) => break,
            _ => gone.push(first),
        }
    }
    if !gone.is_empty() && tree.meta().lsn > 0 {
        tree.apply(&Batch { gone, meta: tree.meta(), ..Batch::default() }, usize::MAX)?;
    }
    Ok(View {
        first: first.0.min(seq),
        first_cum: first.1,
        tail: seq - 1,
        cum: builder.cum,
        open: builder.open.clone(),
        segments: segments.clone(),
    })
}
