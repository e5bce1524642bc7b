//! The checkpointing thread: what takes long, so that writers do not wait for it.
//!
//! It owns the checkpoint, the map's snapshots and the segments' indexes: nobody else writes or removes these while it
//! runs. It flushes the memtable when there is enough, syncs sled, and removes segments that the writer has let go of.
//! What a task names is in sled before the task is given.

use super::Error;
use super::checkpoint::{Checkpoint, CheckpointFile};
use super::files;
use super::index;
use super::journal;
use super::map::{Map, snapshot};
use super::shared::Shared;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// Something to be done beside the writer. An LSN is the last one that is durable, and in sled; with it goes the next
/// event's position.
#[derive(Debug)]
pub(super) enum Task {
    /// A segment is closed.
    Index(u64),
    /// There is enough in the memtable.
    Flush,
    /// The checkpoint is to say so…
    Mark(u64, u64),
    /// …and sled is to be synced, so that a start has less to verify…
    Checkpoint(u64, u64),
    /// …and the map is to be written out.
    Snapshot(u64, u64),
    /// Segments and snapshots that nobody needs any more.
    Remove { segments: Vec<u64>, snapshots_before: u64 },
    /// Ends, and hands over what only one may write.
    Stop(SyncSender<CheckpointFile>),
}

/// What the writer is told.
pub(super) enum TaskReport {
    /// A snapshot is done (its LSN and size), or could not be made.
    Snapshot(Option<(u64, u64)>),
    /// sled could not be written or synced.
    MapFailed(Error),
}

/// Works until it is told to stop.
pub(super) fn run(shared: &Shared, mut file: CheckpointFile, tasks: &Receiver<Task>, report: impl Fn(TaskReport)) {
    let flushed = |done: Result<(), Error>| done.unwrap_or_else(|error| report(TaskReport::MapFailed(error)));
    while let Ok(task) = tasks.recv() {
        match task {
            Task::Stop(to) => return drop(to.send(file)),
            // Whatever it is, the next start finds it to be done.
            _ if shared.is_closing() => {}
            Task::Index(segment) => tell(write_index(shared, segment)),
            // What is not durable yet comes with the next.
            Task::Flush => flushed(shared.flush().map(drop)),
            Task::Mark(lsn, seq) => mark(&mut file, lsn, seq),
            Task::Checkpoint(lsn, seq) => flushed(checkpoint(&shared.map(), &mut file, lsn, seq)),
            Task::Snapshot(lsn, seq) => {
                let done = write_snapshot(shared, &mut file, lsn, seq);
                if let Err(error) = &done
                    && !shared.is_closing()
                {
                    tracing::warn!("{error}");
                }
                report(TaskReport::Snapshot(done.ok().map(|bytes| (lsn, bytes))));
            }
            Task::Remove { segments, snapshots_before } => tell(remove(shared, &segments, snapshots_before)),
        }
    }
}

fn tell(done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!("{error}");
    }
}

fn checkpoint(map: &Map, file: &mut CheckpointFile, lsn: u64, seq: u64) -> Result<(), Error> {
    map.tree().sync()?;
    mark(file, lsn, seq);
    Ok(())
}

fn mark(file: &mut CheckpointFile, lsn: u64, seq: u64) {
    // The old one is nearly as good: it knows of less that could get lost.
    tell(file.write(Checkpoint { lsn, seq, clean: false }));
}

/// Writes a closed segment's index beside it.
fn write_index(shared: &Shared, segment: u64) -> Result<(), Error> {
    let (begin, next) = {
        let view = shared.view();
        let Some(begin) = view.segments.get(&segment).copied() else { return Ok(()) };
        let Some((_, next)) = view.segments.range(segment + 1..).next() else { return Ok(()) };
        (begin, *next)
    };
    let mut blocks = Vec::new();
    if next.seq > begin.seq {
        for block in shared.map().blocks(begin.seq, next.seq - 1, false)? {
            blocks.extend(Some(block?).filter(|block| block.segment == segment));
        }
    }
    index::write_sidecar(&shared.dir, segment, &blocks)
}

fn write_snapshot(shared: &Shared, file: &mut CheckpointFile, lsn: u64, seq: u64) -> Result<u64, Error> {
    let map = shared.map();
    let meanwhile = || {
        if shared.is_closing() {
            return Err(Error::Other("the store is being closed".to_owned()));
        }
        // Or what came meanwhile would be the writer's to flush.
        if map.has_enough() { shared.flush().map(drop) } else { Ok(()) }
    };
    let bytes = snapshot::write(&shared.dir, map.tree(), lsn, meanwhile, || {
        if Arc::ptr_eq(&map, &shared.map()) {
            Ok(map.flushed_to())
        } else {
            Err(Error::Other("the map was made again meanwhile".to_owned()))
        }
    })?;
    checkpoint(&map, file, lsn, seq)?;
    Ok(bytes)
}

fn remove(shared: &Shared, segments: &[u64], snapshots_before: u64) -> Result<(), Error> {
    let folder = journal::folder(&shared.dir);
    let removed = || -> io::Result<()> {
        for segment in segments {
            shared.forget(*segment);
            files::remove(&journal::path(&shared.dir, *segment))?;
            index::remove_sidecar(&shared.dir, *segment)?;
        }
        for lsn in journal::list(&shared.dir, "map").map_err(io::Error::other)? {
            if lsn < snapshots_before {
                files::remove(&snapshot::path(&shared.dir, lsn))?;
            }
        }
        files::sync_dir(&folder)
    };
    removed().map_err(|e| files::fault("remove old segments in", &folder, &e))
}
