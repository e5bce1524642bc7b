//! What the store and its callers say to each other.

use crate::clock::Time;
use crate::key::Space;
use crate::seq::Seq;
use bytes::Bytes;
use std::path::PathBuf;

/// The format that this version writes, in every file's head; a newer one is refused.
pub(super) const VERSION: u32 = 1;
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

/// Positions that were dropped before they were read: by retention, or with a file that is gone
/// ([`Store::lost`](super::Store::lost)).
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
    /// The oldest events until all of them take at most this many bytes, wanted or not.
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

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error, Clone)]
pub enum Error {
    /// Writes are refused for now, and why.
    #[error("the store does not accept writes: {0}")]
    Refusing(String),
    /// Another process has the store in this folder.
    #[error("`{}` is in use by another wehelpd{}; stop that one first", dir.display(), shown(*holder))]
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

/// How a sentence names a process, if it is known.
fn shown(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
