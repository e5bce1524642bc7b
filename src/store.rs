//! A durable log of events and a durable map of keys, with one writer.
//!
//! `docs/store.md` names every file, its format and its owner.
//!
//! # Design
//!
//! ```text
//! write(closure) ─▶ writer thread: closures run against an overlay ─▶ group of frames ─▶ journal, one data sync
//!                                              replies ◀─ tail ◀─ map: memtable over sled ◀┘
//! checkpointing thread: flushes the memtable into sled, syncs it, writes snapshots of the map and indexes of segments,
//!                       removes old segments
//! ```
//!
//! * The **journal** (`journal/<first lsn>.log`) is the truth: every transaction is a checksummed frame of events and
//!   map changes. What was waiting when the writer looked shares one sync.
//! * The **map** is a memtable over **sled** (`sled/`), which has the pairs, and the index of the log: one small entry per
//!   block of events with its place, times and a set of its tags. Nobody waits for sled, and it never has what the
//!   journal may still lose. It is never needed after a power cut: when its running checksum does not verify, it does
//!   not open or it panics, it is made again from the newest **snapshot** of the map (`journal/<lsn>.map`), the
//!   segments' indexes beside them (`.idx`) and the journal since. Large values are chunked below sled's blobs.
//! * Dropping events moves the log's first position at once; a segment goes when all its events are dropped (or it has
//!   none) and a snapshot covers its map changes.
//!
//! # What survives what
//!
//! | what | `kill -9` | power cut |
//! |---|---|---|
//! | `write`, `append`, `trim` that were answered | yes | yes |
//! | `write_lazily` that was answered | yes | after a second, or the next sync |
//! | a flipped bit in the journal | the frame is reported, the rest is read | the same |
//! | damage in sled, or sled gone | made again | made again |
//!
//! A file that is gone or cut off is lost with what it held, and nothing else: whatever is left (the checkpoint, sled, a
//! snapshot, the names of other files) tells how far the log had come, no number up to there is given again, and a log
//! that has lost its end gets another identity.
//!
//! A tail that was never durable is cut off at open. It is told from damage by each frame's note of what was durable
//! when it was written; only damage to the very last group, after an unclean stop, cannot be told from a torn write,
//! and counts as one. When the snapshot *and* sled are damaged the store does not open; [`salvage()`] reads it.
//!
//! A failed write or sync is never retried on the same file: the store refuses writes, and goes on in a new segment,
//! which supersedes what the old one holds beyond its last durable frame, once that could really be written.
//!
//! # Limits
//!
//! A transaction takes at most 64 MiB, a key 4 KiB, an outline 64 KiB; [`key`](crate::key) lists the key spaces. Frames
//! with map changes and kept events share segments, so changes stay on disk as long as their neighbours.

mod archive;
mod checkpoint;
mod checkpointer;
mod files;
mod folder_lock;
mod frame;
mod health;
mod index;
mod journal;
mod map;
mod open;
mod own;
mod read;
mod retention;
mod salvage;
mod scan;
mod shared;
mod txn;
mod types;
mod version;
mod writer;

pub use files::holder as lock_holder;
pub use scan::{Pages, Scan};
pub use txn::Txn;
pub use types::{
    Append, Dropped, Error, Health, Options, Page, Pair, Query, Read, Retention, SalvageReport, Salvaged, Stats, Stored,
};

use crate::key::{Keys, OWN, Space};
use crate::seq::Seq;
use crate::sync::lock;
use shared::Shared;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use writer::{Job, OpenedWriter, Request, Schedule, Writer};

/// Requests on their way to the writer: more than all connections together can have.
const WAITING_MAX: usize = 1 << 16;

/// The folders that a store makes in its own, and what is put beside them begins with these names and a dot.
pub const FOLDERS: [&str; 2] = ["journal", "sled"];

/// A handle to an open store; clones share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    inbox: mpsc::Sender<Request>,
    /// The writer and the checkpointing one.
    threads: Mutex<Option<[JoinHandle<()>; 2]>>,
}

/// A closure for the writer, and whom to answer.
struct Work<T, E, F> {
    /// Of the events that it will append, as far as that is known.
    bytes: usize,
    work: Option<F>,
    done: Option<Result<Result<T, E>, Error>>,
    reply: oneshot::Sender<Result<Result<T, E>, Error>>,
}

impl<T: Send, E: Send, F> Job for Work<T, E, F>
where
    F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, txn: &mut Txn<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        let done = catch_unwind(AssertUnwindSafe(|| work(txn)));
        let done = done.map_err(|panic| Error::Other(format!("a transaction {}", health::panic_text(&*panic))));
        let keep = matches!(done, Ok(Ok(_)));
        self.done = Some(done);
        keep
    }

    fn finish(self: Box<Self>, done: Result<(), Error>) {
        let never = || Err(Error::Other("a transaction was not run".to_owned()));
        let Self { done: result, reply, .. } = *self;
        let answer = done.and_then(|()| result.unwrap_or_else(never));
        // Whoever asked may have gone.
        drop(reply.send(answer));
    }
}

fn gone<T>(_: T) -> Error {
    Error::Other("the store is closed".to_owned())
}

impl Inner {
    fn send(&self, job: Box<dyn Job>, lazy: bool) -> Result<(), Error> {
        if let Some(refused) = self.shared.refuses() {
            return Err(refused);
        }
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Refusing(format!("{WAITING_MAX} writes are waiting already")));
        }
        self.inbox.send(Request::Work { job, lazy }).map_err(gone)
    }

    async fn work<T, E, F>(&self, bytes: usize, work: F, lazy: bool) -> Result<Result<T, E>, Error>
    where
        F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Box::new(Work { bytes, work: Some(work), done: None, reply }), lazy)?;
        answer.await.map_err(gone)?
    }

    fn close(&self) -> Result<(), Error> {
        let Some(threads) = lock(&self.threads).take() else { return Ok(()) };
        let (reply, answer) = mpsc::sync_channel(1);
        let closed = match self.inbox.send(Request::Close(reply)) {
            Ok(()) => answer.recv().map_err(gone).and_then(|closed| closed),
            Err(error) => Err(gone(error)),
        };
        for thread in threads {
            if thread.join().is_err() {
                return Err(Error::Other("a thread of the store panicked".to_owned()));
            }
        }
        closed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!("the store did not close well: {error}");
        }
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map_err(|e| Error::Other(format!("start the thread `{name}`: {e}")))
}

impl Store {
    /// Opens (or makes) the store in `dir`. Blocking.
    ///
    /// # Errors
    /// When it cannot be read, or was written by a newer version. One that can be read and not written opens, and
    /// refuses writes.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        let open::Claimed { opened, checkpoint, lock } = open::open(dir, &options)?;
        let no_map = opened.no_map.is_some();
        let (active, why_not) = match opened.active {
            Ok(active) => (Some(active), opened.no_map),
            Err(why) => (None, Some(why)),
        };
        // A store that has no room says so before somebody tries.
        let why_not = why_not.or_else(|| health::FreeSpace::new(options.free_bytes_min).check(dir, 0).err());
        let health = why_not.map_or(Health::Writable, |why| {
            tracing::error!("the store refuses writes: {why}");
            Health::Refusing(why)
        });
        let (lsn, seq, tail) = (opened.lsn, opened.seq, Seq(opened.view.tail));
        let first_opened = Seq(opened.view.first);
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            options,
            map: RwLock::new(Arc::new(opened.map)),
            view: Mutex::new(opened.view),
            handles: Mutex::new(VecDeque::new()),
            tail: watch::Sender::new(tail),
            newest: shared::Newest::new(tail.0),
            health: watch::Sender::new(health),
            died: watch::Sender::new(None),
            first_opened,
            lost: opened.lost.iter().map(|(from, to)| (Seq(*from), Seq(*to))).collect(),
            lost_changes: opened.lost_changes,
            damaged: Mutex::default(),
            latency: health::Latency::default(),
            durable: AtomicU64::new(lsn - 1),
            lazy: AtomicU64::new(0),
            committed: AtomicU64::new(lsn - 1),
            waiting: AtomicUsize::new(0),
            pins: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let schedule = Schedule::new(opened.snapshot, opened.since_snapshot, opened.lost_its_end, opened.unindexed);
        let (inbox, requests) = mpsc::channel();
        let (give, tasks) = mpsc::channel();
        let (renamed, builder) = (opened.lost_its_end, opened.builder);
        let of_writer = OpenedWriter { builder, active, lsn, seq, schedule, renamed, no_map, lock };
        let mut writer = Writer::new(Arc::clone(&shared), of_writer, give);
        writer.name()?;
        let panicked = Arc::clone(&shared);
        let writer = thread("store", move || panicked.outlive(|| writer.run(&requests)))?;
        let (of_checkpointer, to_writer) = (Arc::clone(&shared), inbox.clone());
        let checkpointer = thread("store-checkpoint", move || {
            // A writer that has gone needs no answer.
            let report = |report| drop(to_writer.send(Request::Report(report)));
            of_checkpointer.outlive(|| checkpointer::run(&of_checkpointer, checkpoint, &tasks, report));
        })?;
        Ok(Self(Arc::new(Inner { shared, inbox, threads: Mutex::new(Some([writer, checkpointer])) })))
    }

    /// Positions that are kept and gone all the same: what held them in the journal was lost before the store was opened.
    /// From and to, in order.
    #[must_use]
    pub fn lost(&self) -> Vec<(Seq, Seq)> {
        let shared = &self.0.shared;
        let first = Seq(shared.view().first);
        // What was lost at the beginning is there no more than what retention drops, and was not dropped.
        let dropped = if first > shared.first_opened { first } else { Seq::ZERO };
        shared.lost.iter().filter(|(_, to)| *to >= dropped).map(|(from, to)| (*from.max(&dropped), *to)).collect()
    }

    /// Positions that are kept and could not be read by whoever wanted them (a reader, a backup) since the store was opened:
    /// damage. At most a thousand.
    #[must_use]
    pub fn damaged(&self) -> Vec<Seq> {
        let shared = &self.0.shared;
        let first = shared.view().first;
        lock(&shared.damaged).range(first..).map(|seq| Seq(*seq)).collect()
    }

    /// The end of the journal was lost before the store was opened, and nothing left knows all changes of the map that
    /// it held: numbers that are given out by it may have been given out already.
    #[must_use]
    pub fn lost_changes(&self) -> bool {
        self.0.shared.lost_changes
    }

    /// Runs `work` on the writer thread as one atomic transaction; resolves when its effect is synced.
    /// `Err(E)` from `work` rolls its own changes back, and so does a panic, which is answered as an error.
    ///
    /// # Errors
    /// When the store refuses writes or cannot be read; nothing was changed then.
    pub async fn write<T, E, F>(&self, work: F) -> Result<Result<T, E>, Error>
    where
        F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.0.work(0, work, false).await
    }

    /// As `write`, but resolves once the change is applied; it is synced together with whatever is synced next, within
    /// a second at most. One that appends events is synced at once.
    ///
    /// # Errors
    /// As `write`.
    pub async fn write_lazily<T, E, F>(&self, work: F) -> Result<Result<T, E>, Error>
    where
        F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.0.work(0, work, true).await
    }

    /// Waits until everything that can be read by now is durable; it is, but for what was written lazily within the last
    /// second. A store that refuses writes may take as long as it refuses.
    pub async fn synced(&self) {
        /// Between two looks.
        const LOOK: Duration = Duration::from_millis(20);
        let shared = &self.0.shared;
        let shown = shared.lazy.load(Ordering::Acquire);
        while shared.durable.load(Ordering::Acquire) < shown {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Appends one event; resolves with its position when it is synced.
    ///
    /// # Errors
    /// When the store refuses writes.
    pub async fn append(&self, event: Append) -> Result<Seq, Error> {
        self.append_numbered(event, |_, _| ()).await
    }

    /// As [`Store::append`]; before, `numbered` sees the event with the position that it gets, on the writer's thread, one
    /// event after the other in the order of the log. Where this one cannot be kept, another gets the position.
    ///
    /// # Errors
    /// When the store refuses writes.
    pub async fn append_numbered(
        &self,
        mut event: Append,
        numbered: impl FnOnce(&mut Append, Seq) + Send + 'static,
    ) -> Result<Seq, Error> {
        let bytes = event.body.len();
        let append = move |txn: &mut Txn<'_>| {
            numbered(&mut event, txn.last().next());
            Ok::<_, Infallible>(txn.append(event))
        };
        let Ok(seq) = self.0.work(bytes, append, false).await?;
        Ok(seq)
    }

    /// No durable event after this position has the tag; the position itself may be of an event without it. For a
    /// reader that has seen a tail: what that tail covers is counted in.
    #[must_use]
    pub fn newest_with(&self, tag: u64) -> Seq {
        Seq(self.0.shared.newest.of(tag))
    }

    /// The newest durable position, as a value to wait on.
    #[must_use]
    pub fn tail(&self) -> watch::Receiver<Seq> {
        self.0.shared.tail.subscribe()
    }

    /// Reads at most about `bytes_max` of entries (at least one if there is one), looking at no more than a bounded
    /// stretch of log: a page may be empty and not the end. Backwards reading ends at the oldest that is kept. Blocking.
    ///
    /// # Errors
    /// When the index cannot be read; an event that cannot is in [`Page::damaged`].
    pub fn read(&self, query: &Query, bytes_max: usize) -> Result<Read, Error> {
        read::read(&self.0.shared, query, bytes_max)
    }

    /// As [`Store::read`], for who asks for what there is: begins with the oldest that is kept.
    ///
    /// # Errors
    /// As there.
    pub fn read_kept(&self, query: &Query, bytes_max: usize) -> Result<Page, Error> {
        let mut query = query.clone();
        loop {
            match self.read(&query, bytes_max)? {
                Read::Page(page) => return Ok(page),
                Read::Dropped(dropped) => query.after = dropped.to,
            }
        }
    }

    /// The oldest position that is kept; in an empty log the next one.
    #[must_use]
    pub fn first(&self) -> Seq {
        Seq(self.0.shared.view().first)
    }

    /// A value of the map, as committed. Blocking, fast.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.shared.map().get(&space.full(key))
    }

    /// Pairs of a range of keys: in order, or with [`rev`](Scan::rev) the last ones first. Reading it blocks.
    pub fn scan(&self, space: Space, keys: impl Into<Keys>) -> Scan<&Self> {
        Scan::new(self, space, &keys.into())
    }

    /// What tells this log from every other one: random, made with it, and made anew by a restore. Positions of two logs
    /// have nothing to do with each other. `None` for one of an older version that nothing could be written to since.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn identity(&self) -> Result<Option<String>, Error> {
        let identity = self.get(OWN, own::IDENTITY)?;
        Ok(identity.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Whether writes are accepted, as a value to wait on.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.shared.health.subscribe()
    }

    /// Why the store will not write any more, as a value to wait on: one of its threads has panicked, and only a new
    /// process helps.
    #[must_use]
    pub fn died(&self) -> watch::Receiver<Option<String>> {
        self.0.shared.died.subscribe()
    }

    /// Sizes and positions. A file system that cannot be asked has no room.
    ///
    /// # Errors
    /// None so far.
    pub fn stats(&self) -> Result<Stats, Error> {
        let shared = &self.0.shared;
        let free_bytes = files::free_bytes(&shared.dir).unwrap_or(0);
        let sled = map::SledTree::folder(&shared.dir);
        let folders = [&shared.dir, &journal::folder(&shared.dir), &sled, &sled.join("blobs")];
        let bytes = folders.iter().map(|dir| files::disk_bytes(dir)).sum();
        let view = shared.view();
        Ok(Stats {
            first: Seq(view.first),
            last: Seq(view.tail),
            count: (view.tail + 1).saturating_sub(view.first),
            bytes,
            event_bytes: view.cum.saturating_sub(view.first_cum),
            free_bytes,
        })
    }

    /// Drops events, never the newest. Durable.
    ///
    /// # Errors
    /// When the store refuses writes or the index cannot be read.
    pub async fn trim(&self, retention: Retention) -> Result<Seq, Error> {
        loop {
            let (reply, answer) = oneshot::channel();
            self.0.inbox.send(Request::Trim { retention, reply }).map_err(gone)?;
            let (first, more) = answer.await.map_err(gone)??;
            if !more {
                return Ok(first);
            }
        }
    }

    /// Writes a consistent copy of everything as one archive into `out`, with small `files` that are to lie beside the
    /// store (name and contents). Blocking; writers go on meanwhile. Nothing is dropped while it runs.
    ///
    /// # Errors
    /// When something cannot be read, or `out` cannot be written.
    pub fn backup(&self, files: &[(&str, Vec<u8>)], out: &mut dyn std::io::Write) -> Result<(), Error> {
        archive::backup(&self.0.shared, files, out)
    }

    /// Makes a store in the empty or absent folder `dir` of an archive, and beside it those of the archive's files that
    /// `files` names. Blocking. The folder is there whole and synced, or not at all. Its log has an identity of its own.
    ///
    /// # Errors
    /// When the archive is cut off or damaged, the folder is not empty, or something cannot be written.
    pub fn restore(archive: &mut dyn std::io::Read, dir: &Path, files: &[&str]) -> Result<(), Error> {
        archive::restore(&mut std::io::BufReader::with_capacity(1 << 18, archive), dir, files)
    }

    /// Drains, syncs, ends the writer thread. Blocking; what is asked afterwards is answered with an error.
    ///
    /// # Errors
    /// When the last sync failed.
    pub fn close(&self) -> Result<(), Error> {
        self.0.close()
    }

    /// Reports on the latency of syncs since the start: (upper bound, count) pairs and the sum, for metrics.
    #[must_use]
    pub fn sync_latency(&self) -> (Vec<(Duration, u64)>, Duration) {
        self.0.shared.latency.report()
    }
}

impl Pages for &Store {
    type Item = Result<Pair, Error>;

    fn page(&self, keys: &Range<Vec<u8>>, limit: usize, reverse: bool) -> Result<Vec<Pair>, Error> {
        self.0.shared.map().scan(None, keys, limit, reverse)
    }

    fn item(&self, pair: Result<Pair, Error>) -> Option<Result<Pair, Error>> {
        Some(pair)
    }
}

/// Writes what can be read of a damaged store to `out`, for `wehelpd --salvage`. Blocking.
/// Calls back for each readable event and each live pair of the map.
///
/// # Errors
/// When the folder holds no store, or cannot be read at all.
pub fn salvage(dir: &Path, each: &mut dyn FnMut(Salvaged)) -> Result<SalvageReport, Error> {
    salvage::run(dir, each)
}
#[cfg(test)]
mod tests;
