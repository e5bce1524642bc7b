//! What the store's two threads and its readers share. Each holds a lock for a copy only.

use super::files::fault;
use super::health::{Latency, panic_text};
use super::index::Open;
use super::journal::{self, Begin};
use super::map::Map;
use super::{Error, Health, Options};
use crate::seq::Seq;
use crate::sync::{lock, read};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use tokio::sync::watch;

/// Positions that could not be read, of which this many are remembered.
const DAMAGED_MAX: usize = 1000;
/// Open segments that readers keep: enough for some readers in different places.
const HANDLES_MAX: usize = 16;

/// The log as readers see it.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The oldest position that is kept (in an empty log: the next one).
    pub(super) first: u64,
    /// Bytes of all events before it.
    pub(super) first_cum: u64,
    /// The newest durable position.
    pub(super) tail: u64,
    /// Bytes of all events.
    pub(super) cum: u64,
    pub(super) open: Option<Open>,
    /// By first LSN.
    pub(super) segments: BTreeMap<u64, Begin>,
}

/// For each tag, by its hash, the newest position that has it: tells a follower that an event is none of its business
/// without a look at the log. Tags that share a place make it look in vain.
#[derive(Debug)]
pub(super) struct Newest(Box<[AtomicU64]>);

impl Newest {
    /// Places: a thousand live chats share few.
    const PLACES: usize = 1 << 14;

    /// What came up to `tail` may have any tag.
    pub(super) fn new(tail: u64) -> Self {
        Self((0..Self::PLACES).map(|_| AtomicU64::new(tail)).collect())
    }

    fn place(&self, tag: u64) -> &AtomicU64 {
        // Tags are hashes, and their halves are of different ones.
        &self.0[usize::try_from((tag ^ tag >> 32) & (Self::PLACES as u64 - 1)).unwrap_or_default()]
    }

    /// IMPORTANT: before the tail that covers `seq` is published.
    pub(super) fn note(&self, tag: u64, seq: u64) {
        self.place(tag).store(seq, Ordering::Release);
    }

    pub(super) fn of(&self, tag: u64) -> u64 {
        self.place(tag).load(Ordering::Acquire)
    }
}

/// Everything but the writer's own.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) map: RwLock<Arc<Map>>,
    pub(super) view: Mutex<View>,
    pub(super) handles: Mutex<VecDeque<(u64, Arc<File>)>>,
    pub(super) tail: watch::Sender<Seq>,
    pub(super) newest: Newest,
    pub(super) health: watch::Sender<Health>,
    /// Why nothing will be written any more.
    pub(super) died: watch::Sender<Option<String>>,
    /// Where the log began when it was opened.
    pub(super) first_opened: Seq,
    /// Positions that were lost before the store was opened: from and to.
    pub(super) lost: Vec<(Seq, Seq)>,
    /// Changes of the map may have been lost then.
    pub(super) lost_changes: bool,
    /// Positions that are there and could not be read.
    pub(super) damaged: Mutex<BTreeSet<u64>>,
    pub(super) latency: Latency,
    /// The last LSN that is durable.
    pub(super) durable: AtomicU64,
    /// The last LSN that readers see, or will in a moment, and that is not synced by itself.
    pub(super) lazy: AtomicU64,
    /// The last LSN that readers see.
    pub(super) committed: AtomicU64,
    /// Requests on their way to the writer.
    pub(super) waiting: AtomicUsize,
    /// While a backup or a snapshot runs, no segment is removed.
    pub(super) pins: AtomicUsize,
    /// The store is being closed: what takes long and can be done after the next start is left.
    pub(super) closing: AtomicBool,
}

impl Shared {
    pub(super) fn map(&self) -> Arc<Map> {
        Arc::clone(&read(&self.map))
    }

    /// Remembers positions that could not be read; what is lost with a file is told elsewhere.
    pub(super) fn note_damaged(&self, positions: RangeInclusive<u64>) {
        let is_lost = |seq: Seq| self.lost.iter().any(|(from, to)| *from <= seq && seq <= *to);
        let mut damaged = lock(&self.damaged);
        let room = DAMAGED_MAX.saturating_sub(damaged.len());
        damaged.extend(positions.take(DAMAGED_MAX).filter(|seq| !is_lost(Seq(*seq))).take(room));
    }

    /// Puts what is pending into sled; false when not all of it is durable yet.
    pub(super) fn flush(&self) -> Result<bool, Error> {
        self.map().flush(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    /// A segment, open for reading.
    pub(super) fn segment(&self, lsn: u64) -> Result<Arc<File>, Error> {
        if let Some((_, file)) = lock(&self.handles).iter().find(|(of, _)| *of == lsn) {
            return Ok(Arc::clone(file));
        }
        let path = journal::path(&self.dir, lsn);
        let file = Arc::new(File::open(&path).map_err(|e| fault("open", &path, &e))?);
        let mut handles = lock(&self.handles);
        if handles.len() >= HANDLES_MAX {
            handles.pop_front();
        }
        handles.push_back((lsn, Arc::clone(&file)));
        Ok(file)
    }

    /// Lets go of a segment that is removed, so that its space comes back.
    pub(super) fn forget(&self, lsn: u64) {
        lock(&self.handles).retain(|(of, _)| *of != lsn);
    }

    /// Does what a thread of the store is for; a panic in it ends the store, and is told.
    pub(super) fn outlive(&self, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            let why = format!("a thread of the store {}", panic_text(&*panic));
            self.health.send_replace(Health::Refusing(format!("{why}; restart wehelpd")));
            self.died.send_replace(Some(why));
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn refuses(&self) -> Option<Error> {
        match &*self.health.borrow() {
            Health::Writable => None,
            Health::Refusing(why) => Some(Error::Refusing(why.clone())),
        }
    }
}
