//! A durable log of events and a durable map of keys, with one writer.
//!
//! # Design
//!
//! ```text
//! write(closure) ─▶ writer thread: closures run against an overlay ─▶ one run of frames ─▶ journal, one data sync
//!                                                        replies ◀─ tail ◀─ live map: what is pending over sled ◀┘
//! keeper thread: puts into sled what is pending, syncs it, writes the map's snapshots and the segments' indexes,
//!                removes old segments
//! ```
//!
//! * The **journal** (`journal/<first lsn>.log`) is the truth: every transaction is a checksummed frame of events and
//!   map changes. What was waiting when the writer looked shares one sync.
//! * **sled** (`sled/`) is the live map, and the index of the log: one small entry per block of events with its place,
//!   times and a set of its tags. Nobody waits for it: changes are pending in memory until there are enough for one
//!   larger step, and readers look through them. sled never has what the journal may still lose. It is never needed
//!   after a power cut: when its running checksum does not verify, it does not open or it panics, it is made again
//!   from the newest **snapshot** of the map (`journal/<lsn>.map`), the segments' indexes beside them (`.idx`) and the
//!   journal since. Large values are chunked below sled's blobs.
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
mod claim;
mod files;
mod frame;
mod health;
mod index;
mod journal;
mod keeper;
mod known;
mod live;
mod map;
mod open;
mod page;
mod read;
mod retention;
mod salvage;
mod scan;
mod shared;
mod snapshot;
mod txn;
mod writer;

pub use crate::key::{COUNT, META, Space};
pub use claim::holder as lock_holder;
pub use scan::{Pages, Scan};
pub use txn::Txn;

use crate::clock::Time;
use crate::key::{Keys, OWN};
use crate::seq::Seq;
use bytes::Bytes;
use shared::Shared;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use writer::{Job, Keeping, OpenedWriter, Request, Writer};

/// The format that this version writes, in every file's head; a newer one is refused.
const VERSION: u32 = 1;
/// Requests on their way to the writer: more than all connections together can have.
const WAITING_MAX: usize = 1 << 16;

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// sled's page cache, bytes.
    pub cache_bytes: u64,
    /// A journal segment is closed when it has grown to this, bytes.
    pub segment_bytes: u64,
    /// Writes are refused while the file system has less room than this, bytes.
    pub free_bytes_min: u64,
    /// At most this many transactions share one sync.
    pub group_max: usize,
    /// Those who wait for one sync are woken together by a task of this runtime: the writer wakes one thread instead of
    /// each of them. Without it the writer wakes them itself.
    pub runtime: Option<tokio::runtime::Handle>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 8 << 20, segment_bytes: 64 << 20, free_bytes_min: 16 << 20, group_max: 512, runtime: None }
    }
}
/// The folders that a store makes in its own, and what is put beside them begins with these names and a dot.
pub const FOLDERS: [&str; 2] = ["journal", "sled"];

/// An event to be appended. The store does not look into `outline` and `body`.
#[derive(Debug, Clone)]
pub struct Append {
    /// When it was received.
    pub time: Time,
    /// Opaque to the store; read back with the entry before its body (at most 64 KiB).
    pub outline: Bytes,
    /// Opaque hashes: what this event can be looked up by (kind, chat, account …). See `Query::any_of`.
    pub tags: Vec<u64>,
    /// The original bytes.
    pub body: Bytes,
}

/// An event as stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its position.
    pub seq: Seq,
    /// When it was received.
    pub time: Time,
    /// As appended.
    pub outline: Bytes,
    /// As appended.
    pub body: Bytes,
}

/// Which part of the log to read.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Read after this position…
    pub after: Seq,
    /// …up to and including this one (`None`: the durable tail).
    pub upto: Option<Seq>,
    /// Skip events received before (exact)…
    pub since: Option<Time>,
    /// …and after (exact).
    pub until: Option<Time>,
    /// Every group must share a tag with the event's *block* (a filter that may let false ones through: whole blocks
    /// that cannot match are skipped unread). The caller checks each event itself.
    pub any_of: Vec<Vec<u64>>,
    /// Newest first.
    pub backwards: bool,
    /// Forwards only: a page ends before what is large, and says so.
    pub small: bool,
}

/// What a read came to. A reader cannot get at entries without saying what it does about those that were taken from it.
#[derive(Debug)]
#[must_use]
pub enum Read {
    /// Some entries.
    Page(Page),
    /// The next positions of the query are not kept any more, or lost: whoever asked is told, and goes on after them.
    Dropped(Dropped),
}

/// Positions that were dropped before they were read: by retention, or with a file that is gone ([`Store::lost`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The first of them.
    pub from: Seq,
    /// The last.
    pub to: Seq,
}

/// What retention drops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// Events received before…
    pub before: Option<Time>,
    /// …but for those after this position, which somebody still wants to read.
    pub wanted_after: Option<Seq>,
    /// The oldest events until all of them take at most so many bytes, wanted or not.
    pub bytes_max: Option<u64>,
}

/// Some entries, and where to go on.
#[derive(Debug, Default)]
pub struct Page {
    /// In the order asked for.
    pub entries: Vec<Stored>,
    /// Everything up to (backwards: down to) here has been looked at: pass it as `after` (backwards: `upto = seq - 1`).
    pub looked_to: Seq,
    /// Nothing is left to read in the query's range.
    pub end: bool,
    /// What comes next is large, and was to be left for now: reading it takes that much memory.
    pub large: bool,
    /// Events in the range that could not be read (damage): position and reason.
    pub damaged: Vec<(Seq, String)>,
}

/// Sizes and positions for `status`.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// The oldest position kept; in an empty log the next one.
    pub first: Seq,
    /// The newest durable position.
    pub last: Seq,
    /// Positions kept.
    pub count: u64,
    /// Bytes on disk, sled's included.
    pub bytes: u64,
    /// Bytes of the events kept, as stored.
    pub event_bytes: u64,
    /// Bytes left on the file system.
    pub free_bytes: u64,
}

/// Whether the store accepts writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Writable,
    /// It does not, and why; it goes back to `Writable` by itself.
    Refusing(String),
}

/// A key within its space, and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A handle to an open store; clones share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    inbox: mpsc::Sender<Request>,
    /// The writer and the keeper.
    threads: Mutex<Option<[JoinHandle<()>; 2]>>,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error, Clone)]
pub enum Error {
    /// Writes are refused for now, and why.
    #[error("the store does not accept writes: {0}")]
    Refusing(String),
    /// Another process has the store in this folder.
    #[error("`{}` is in use by another wehelpd{}; stop that one first", dir.display(), claim::shown(*holder))]
    InUse {
        /// The store's.
        dir: PathBuf,
        /// Its process, where the system tells.
        holder: Option<u32>,
    },
    /// Anything else: what was tried, where, and why it failed.
    #[error("{0}")]
    Other(String),
}

/// A closure for the writer, and whom to answer.
struct Work<T, E, F> {
    work: Option<F>,
    done: Option<Result<Result<T, E>, Error>>,
    reply: oneshot::Sender<Result<Result<T, E>, Error>>,
}

impl<T: Send, E: Send, F> Job for Work<T, E, F>
where
    F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send,
{
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

/// An event for the writer, and whom to answer.
struct AppendOne {
    event: Option<Append>,
    seq: Seq,
    reply: oneshot::Sender<Result<Seq, Error>>,
}

impl Job for AppendOne {
    fn bytes(&self) -> usize {
        self.event.as_ref().map_or(0, |event| event.body.len())
    }

    fn run(&mut self, txn: &mut Txn<'_>) -> bool {
        let Some(event) = self.event.take() else { return false };
        self.seq = txn.append(event);
        true
    }

    fn finish(self: Box<Self>, done: Result<(), Error>) {
        // Whoever asked may have gone.
        drop(self.reply.send(done.map(|()| self.seq)));
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

    async fn work<T, E, F>(&self, work: F, lazy: bool) -> Result<Result<T, E>, Error>
    where
        F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Box::new(Work { work: Some(work), done: None, reply }), lazy)?;
        answer.await.map_err(gone)?
    }

    fn close(&self) -> Result<(), Error> {
        let Some(threads) = shared::lock(&self.threads).take() else { return Ok(()) };
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
        let open::Claimed { opened, checkpoint, claim } = open::open(dir, &options)?;
        let no_map = opened.no_map.is_some();
        let (active, why_not) = match opened.active {
            Ok(active) => (Some(active), opened.no_map),
            Err(why) => (None, Some(why)),
        };
        // A store that has no room says so before somebody tries.
        let why_not = why_not.or_else(|| health::Room::new(options.free_bytes_min).check(dir, 0).err());
        let health = why_not.map_or(Health::Writable, |why| {
            tracing::error!("the store refuses writes: {why}");
            Health::Refusing(why)
        });
        let (lsn, seq, tail) = (opened.lsn, opened.seq, Seq(opened.view.tail));
        let first_opened = Seq(opened.view.first);
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            options,
            live: RwLock::new(Arc::new(live::Live::new(opened.map, lsn - 1, seq))),
            view: Mutex::new(opened.view),
            handles: Mutex::new(VecDeque::new()),
            tail: watch::Sender::new(tail),
            newest: shared::Newest::new(tail.0),
            health: watch::Sender::new(health),
            died: watch::Sender::new(None),
            first_opened,
            lost: opened.lost.iter().map(|(from, to)| (Seq(*from), Seq(*to))).collect(),
            lost_changes: opened.lost_changes,
            latency: health::Latency::default(),
            durable: AtomicU64::new(lsn - 1),
            committed: AtomicU64::new(lsn - 1),
            waiting: AtomicUsize::new(0),
            pins: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let keeping = Keeping::new(opened.snapshot, opened.since_snapshot, opened.lost_its_end, opened.unindexed);
        let (inbox, requests) = mpsc::channel();
        let (tasks, for_keeper) = mpsc::channel();
        let renamed = opened.lost_its_end;
        let builder = opened.builder;
        let of_writer = OpenedWriter { builder, active, lsn, seq, keeping, renamed, no_map, claim };
        let mut writer = Writer::new(Arc::clone(&shared), of_writer, tasks);
        writer.name()?;
        let panicked = Arc::clone(&shared);
        let writer = thread("store", move || panicked.outlive(|| writer.run(&requests)))?;
        let (of_keeper, to_writer) = (Arc::clone(&shared), inbox.clone());
        let keeper = thread("store-keeper", move || {
            of_keeper.outlive(|| keeper::run(&of_keeper, checkpoint, &for_keeper, &to_writer));
        })?;
        Ok(Self(Arc::new(Inner { shared, inbox, threads: Mutex::new(Some([writer, keeper])) })))
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
        self.0.work(work, false).await
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
        self.0.work(work, true).await
    }

    /// Appends one event; resolves with its position when it is synced.
    ///
    /// # Errors
    /// When the store refuses writes.
    pub async fn append(&self, event: Append) -> Result<Seq, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Box::new(AppendOne { event: Some(event), seq: Seq::ZERO, reply }), false)?;
        answer.await.map_err(gone)?
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
        self.0.shared.live().get(&space.full(key))
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
        let identity = self.get(OWN, open::IDENTITY)?;
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
        let sled = map::Map::folder(&shared.dir);
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

/// Writes what can be read of a damaged store to `out`, for `wehelpd --salvage`. Blocking.
/// Calls back for each readable event and each live pair of the map.
///
/// # Errors
/// When the folder holds no store, or cannot be read at all.
pub fn salvage(dir: &Path, each: &mut dyn FnMut(Salvaged)) -> Result<SalvageReport, Error> {
    salvage::run(dir, each)
}
/// Something that could be read.
#[derive(Debug)]
pub enum Salvaged {
    /// An event.
    Event(Stored),
    /// A pair of the map: space, key, value.
    Pair(Space, Vec<u8>, Vec<u8>),
}
/// What was and was not read.
#[derive(Debug, Default)]
pub struct SalvageReport {
    /// Events read.
    pub events: u64,
    /// Pairs read.
    pub pairs: u64,
    /// What was not readable: file, offset, why.
    pub damaged: Vec<(PathBuf, u64, String)>,
}

#[cfg(test)]
mod tests;
