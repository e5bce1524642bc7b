//! The keeper: a thread that does what takes long, so that writers do not wait for it: checkpoints of sled, snapshots
//! of the map, the indexes of closed segments, removal of files.

use super::Error;
use super::files;
use super::index::{self, Block};
use super::journal;
use super::shared::Shared;
use super::snapshot::{self, Checkpoint, CheckpointFile};
use super::writer::Request;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};

/// A snapshot waits so long until what it may have seen is durable: lazy changes are within a second.
const DURABLE_PATIENCE: Duration = Duration::from_secs(10);

/// Something to be done beside the writer.
#[derive(Debug)]
pub(super) enum Task {
    /// A segment is closed and its blocks are in the map.
    Closed(u64),
    /// There are enough changes to be put into sled.
    Settle,
    /// Everything up to this LSN is durable, and before this event: the checkpoint is to say so…
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

/// Works until it is told to stop.
pub(super) fn run(shared: &Arc<Shared>, mut file: CheckpointFile, tasks: &Receiver<Task>, writer: &Sender<Request>) {
    while let Ok(task) = tasks.recv() {
        // A writer that has gone needs no answer.
        match task {
            Task::Stop(to) => return drop(to.send(file)),
            // Whatever it is, the next start finds it to be done.
            _ if shared.is_closing() => {}
            Task::Closed(segment) => tell(write_index(shared, segment)),
            Task::Settle => {
                // What is not durable yet comes with the next.
                if let Err(error) = shared.settle() {
                    drop(writer.send(Request::MapFailed(error)));
                }
            }
            Task::Mark(lsn, seq) => mark(&mut file, lsn, seq),
            Task::Checkpoint(lsn, seq) => {
                if let Err(error) = checkpoint(shared, &mut file, lsn, seq) {
                    drop(writer.send(Request::MapFailed(error)));
                }
            }
            Task::Snapshot(lsn, seq) => {
                let done = write_snapshot(shared, &mut file, lsn, seq);
                if let Err(error) = &done
                    && !shared.is_closing()
                {
                    tracing::warn!("{error}");
                }
                drop(writer.send(Request::Snapshotted(done.ok().map(|bytes| (lsn, bytes)))));
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

fn checkpoint(shared: &Shared, file: &mut CheckpointFile, lsn: u64, seq: u64) -> Result<(), Error> {
    shared.settle()?;
    shared.live().map.flush()?;
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
    if next.seq == begin.seq {
        return index::write_sidecar(&shared.dir, segment, &[]);
    }
    let mut blocks = Vec::new();
    for entry in shared.live().map.blocks(begin.seq, next.seq - 1, false) {
        let (first, entry) = entry?;
        blocks.extend(Block::decode(first, &entry).filter(|b| b.segment == segment));
    }
    index::write_sidecar(&shared.dir, segment, &blocks)
}

/// An error while the store is being closed.
fn go_on(shared: &Shared) -> Result<(), Error> {
    if shared.is_closing() { Err(Error::Other("the store is being closed".to_owned())) } else { Ok(()) }
}

fn write_snapshot(shared: &Shared, file: &mut CheckpointFile, lsn: u64, seq: u64) -> Result<u64, Error> {
    let live = shared.live();
    let begun = Instant::now();
    while !shared.settle()? {
        go_on(shared)?;
        if begun.elapsed() > DURABLE_PATIENCE || shared.refuses().is_some() {
            return Err(Error::Other("no snapshot of the map: what came last is not durable".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Or what came meanwhile would be the writer's to put there.
    let meanwhile = || {
        go_on(shared)?;
        if live.has_enough() { shared.settle().map(drop) } else { Ok(()) }
    };
    let bytes = snapshot::write(&shared.dir, &live.map, lsn, meanwhile, || {
        let (upto, next) = live.settling_to();
        let begun = Instant::now();
        while shared.durable.load(Ordering::Acquire) < upto {
            go_on(shared).map_err(io::Error::other)?;
            if begun.elapsed() > DURABLE_PATIENCE || shared.refuses().is_some() {
                return Err(io::Error::other("what it holds is not durable"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if !Arc::ptr_eq(&live, &shared.live()) {
            return Err(io::Error::other("the map was made again meanwhile"));
        }
        Ok((upto, next))
    })?;
    checkpoint(shared, file, lsn, seq)?;
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
