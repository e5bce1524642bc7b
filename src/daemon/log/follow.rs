//! Followers: one loop over the log for those who catch up, those who are live and those who reconnect.
//!
//! A follower reads a page after its position, writes it, and waits until the tail is further. The notification is a
//! position, never a body: nothing is buffered for a slow reader, who just reads later.
//!
//! All followers together take at most 64 MiB (contract 6), however many they are, slow or large what they read: pages
//! and pieces are the smaller the more there are, at most [`TURNS`] are made at a time, and a large line goes through a
//! file: one is put there at a time, and of it nothing is read before its reader has taken what it has.

use crate::clock::Time;
use crate::control::Line;
use crate::daemon::learned::CatchUp;
use crate::daemon::log::about::Known;
use crate::daemon::log::page::{LARGE_BYTES, Lines, page};
use crate::daemon::log::spill::{Spilled, Spills, Writing, piece_bytes};
use crate::daemon::log::{entry, filter::Filter, range::one, refused::Refused};
use crate::daemon::{cursors::Lease, shutdown::Shutdown};
use crate::protocol::command::Wire;
use crate::seq::Seq;
use crate::store::{Health, Query, Store};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};

/// Bytes of stored events read in one go, at most: a few dozen texts…
const PAGE_BYTES: usize = 256 * 1024;
/// …and at least, when there are many followers…
const PAGE_BYTES_MIN: usize = 8 * 1024;
/// …whose pages together have this many: their lines are about twice as long.
const PAGES_BYTES: usize = 8 << 20;
/// Pieces on their way to one reader.
const CHUNKS: usize = 1;
/// Pages made at a time.
const TURNS: usize = 2;
/// Where a large line cannot be put into a file, a reader that does not take a piece of it for so long is let go.
const STALL: Duration = Duration::from_secs(30);
/// An idle follower is written to at least this often when it did not say how often.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// A page of at most this many events is read on the runtime itself: a hop to a blocking thread costs more.
const INLINE_MAX: u64 = 64;
/// A mark for skipped events is sent once this many went by unmatched.
const MARK_EVERY: u64 = 1000;

/// How often a follower whose range ends at a time looks whether it has come.
const UNTIL_LOOK: Duration = Duration::from_secs(1);

/// Some lines on their way to a reader, or why there are no more.
pub(crate) type Piece = Result<Bytes, Refused>;

/// What a follower wants.
#[derive(Debug)]
pub(crate) struct Follow {
    /// The range; `after` moves on.
    pub(crate) query: Query,
    pub(crate) filter: Filter,
    pub(crate) follow: bool,
    pub(crate) count: Option<u64>,
    pub(crate) marks: bool,
    pub(crate) heartbeat: Option<Duration>,
    /// Held while the stream is open.
    pub(crate) lease: Option<Lease>,
}

/// What all followers have in common.
#[derive(Debug)]
pub(crate) struct Following {
    store: Store,
    learned: Arc<CatchUp>,
    shutdown: Shutdown,
    /// Open ones.
    followers: AtomicUsize,
    turns: Semaphore,
    /// Held by who reads a large event to make its line.
    alone: Semaphore,
    large: Spills,
}

/// A follower among the open ones, however it ends.
pub(crate) struct Counted(Arc<Following>);

impl Counted {
    fn new(following: &Arc<Following>) -> Self {
        following.followers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(following))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a follower ends.
#[derive(Debug)]
pub(crate) struct Gone;

impl Following {
    /// Large lines go through files in `dir`.
    pub(crate) fn new(store: Store, learned: Arc<CatchUp>, dir: PathBuf, shutdown: Shutdown) -> Self {
        Self {
            store,
            learned,
            shutdown,
            followers: AtomicUsize::new(0),
            turns: Semaphore::new(TURNS),
            alone: Semaphore::new(1),
            large: Spills::new(dir),
        }
    }

    /// The turn of who reads a large event to make something of it: one at a time.
    pub(crate) async fn alone(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.alone.acquire().await.ok()
    }

    /// A place among the open ones, for a follower of something else than the log.
    pub(crate) fn join(self: &Arc<Self>) -> Counted {
        Counted::new(self)
    }

    /// The turn of who makes a page.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// How many bytes a page may have now.
    pub(crate) fn page_bytes(&self) -> usize {
        (PAGES_BYTES / self.readers()).clamp(PAGE_BYTES_MIN, PAGE_BYTES)
    }

    /// Open streams.
    pub(crate) fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    /// How many read beside each other, one at least.
    fn readers(&self) -> usize {
        self.followers().max(1)
    }

    /// Starts a follower; its lines come out of the receiver, and dropping that ends it.
    pub(crate) fn start(self: &Arc<Self>, follow: Follow) -> mpsc::Receiver<Piece> {
        let (out, lines) = mpsc::channel(CHUNKS);
        let counted = Counted::new(self);
        tokio::spawn(async move {
            // Whoever is told that it ends is told by the channel.
            drop(counted.0.run(follow, &out).await);
        });
        lines
    }

    async fn run(self: &Arc<Self>, follow: Follow, out: &mpsc::Sender<Piece>) -> Result<(), Gone> {
        let Follow { mut query, filter, follow, count, marks, heartbeat, lease } = follow;
        let mut tail = self.store.tail();
        let filter = Arc::new(filter);
        query.any_of = filter.tags();
        let mut left = count.unwrap_or(u64::MAX);
        let heartbeat = heartbeat.unwrap_or(HEARTBEAT);
        let mut marked = query.after;
        // What was waited for long enough is told as it is known.
        let mut known_upto = Seq::ZERO;
        while left > 0 {
            let upto = query.upto.unwrap_or(Seq(u64::MAX)).min(*tail.borrow_and_update());
            let mut page = match self.page(&mut query, upto, &filter, left, known_upto).await {
                Ok(page) => page,
                Err(refused) => return out.send(Err(refused)).await.map_err(|_| Gone),
            };
            left -= page.matched;
            query.after = query.after.max(page.looked_to);
            if page.last > marked {
                marked = page.last;
            }
            let silent = query.after.0 - marked.0;
            if marks && (silent >= MARK_EVERY || (page.end && silent > 0)) {
                Line::Passed(query.after).write(&mut page.text);
                marked = query.after;
            }
            self.send(out, page.large, page.text).await?;
            if let Some(seq) = page.awaits {
                self.learned.reaches(seq).await;
                known_upto = seq;
            }
            if !page.end || left == 0 {
                continue;
            }
            let past = |until: Time| until < Time::now();
            if !follow || query.upto.is_some_and(|upto| upto <= query.after) || query.until.is_some_and(past) {
                break;
            }
            // A range that ends at a time ends soon after it, though nothing comes.
            let wait = if query.until.is_some() { heartbeat.min(UNTIL_LOOK) } else { heartbeat };
            tokio::select! {
                gone = news(&self.store, &mut tail, &mut query, marks) => if gone { return Err(Gone) },
                beat = self.beat(out, wait) => beat?,
            }
        }
        if !marks {
            return Ok(());
        }
        out.send(Ok(Line::End(query.after).bytes().into())).await.map_err(|_| Gone)?;
        // Whoever reads from a cursor holds it until they have consumed all.
        while lease.is_some() {
            self.beat(out, heartbeat).await?;
        }
        Ok(())
    }

    /// Waits, and writes an empty line after it; an error when the reader has gone, or the daemon stops.
    pub(crate) async fn beat(&self, out: &mpsc::Sender<Piece>, wait: Duration) -> Result<(), Gone> {
        tokio::select! {
            () = tokio::time::sleep(wait) => out.send(Ok(Bytes::from_static(Line::KEEP_ALIVE))).await.map_err(|_| Gone),
            () = out.closed() => Err(Gone),
            () = self.shutdown.wait() => Err(Gone),
        }
    }

    /// The next page, up to `upto`, made in turn with others'.
    async fn page(
        self: &Arc<Self>,
        query: &mut Query,
        upto: Seq,
        filter: &Arc<Filter>,
        left: u64,
        known_upto: Seq,
    ) -> Result<Lines, Refused> {
        let learned = self.learned.upto().max(known_upto);
        let is_short = upto.0.saturating_sub(query.after.0) <= INLINE_MAX;
        let bytes_max = self.page_bytes();
        let aside = |query: &Query| {
            let (of, query, filter) = (Arc::clone(self), query.clone(), Arc::clone(filter));
            tokio::task::spawn_blocking(move || page(&of.store, &of.large, &query, bytes_max, &filter, left, learned))
        };
        query.small = true;
        let mut made = {
            let _turn = self.turns.acquire().await;
            if is_short {
                Ok(page(&self.store, &self.large, query, bytes_max, filter, left, learned))
            } else {
                aside(query).await
            }
        };
        if let Ok(Ok(None)) = made {
            let _alone = self.alone().await;
            query.small = false;
            made = aside(query).await;
        }
        made.map_err(|_| Refused::Unread)?.map(Option::unwrap_or_default)
    }

    /// Hands a page on, in pieces: what is left of it waits here until the reader has taken the rest.
    pub(crate) async fn send(
        &self,
        out: &mpsc::Sender<Piece>,
        large: Option<Arc<Spilled>>,
        text: Vec<u8>,
    ) -> Result<(), Gone> {
        if let Some(large) = large {
            let mut at = 0;
            while at < large.len() {
                // Only now: a piece that waits for a reader takes memory.
                let place = out.reserve().await.map_err(|_| Gone)?;
                let (of, bytes) = (Arc::clone(&large), piece_bytes(self.readers()));
                let piece = tokio::task::spawn_blocking(move || of.piece(at, bytes)).await;
                let piece = piece.map_err(|_| Gone)?.map_err(|error| {
                    tracing::error!("a large event on its way to a reader cannot be read: {error}");
                    Gone
                })?;
                at += piece.len() as u64;
                place.send(Ok(piece));
            }
        }
        let is_large = text.len() > 4 * LARGE_BYTES;
        let mut text = Bytes::from(text);
        while !text.is_empty() {
            let sent = out.send(Ok(text.split_to(text.len().min(piece_bytes(self.readers())))));
            if is_large {
                tokio::time::timeout(STALL, sent).await.map_err(|_| Gone)?.map_err(|_| Gone)?;
            } else {
                sent.await.map_err(|_| Gone)?;
            }
        }
        Ok(())
    }

    /// Hands on the line of a wait that tells which event answered, and what it holds for the command; what is not there
    /// any more is not told.
    pub(crate) async fn send_answer(
        self: &Arc<Self>,
        out: &mpsc::Sender<Piece>,
        seq: Seq,
        wire: Wire,
    ) -> Result<(), Gone> {
        let turn = if self.is_large(seq).await { &self.alone } else { &self.turns }.acquire().await;
        let of = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let stored = one(&of.store, seq).ok()?;
            let command = wire.command()?;
            let large = stored.body.len() > LARGE_BYTES && *of.store.health().borrow() == Health::Writable;
            let mut known = Known::new(&of.store);
            let write = |out: &mut Writing| entry::write_answer(out, &stored, command, &mut known);
            if let Some(Ok(spilled)) = large.then(|| of.large.one(write)) {
                return Some((Some(spilled), Vec::new()));
            }
            let mut line = Vec::new();
            entry::write_answer(&mut line, &stored, command, &mut Known::new(&of.store)).expect("a vector takes it");
            Some((None, line))
        });
        let made = made.await;
        drop(turn);
        match made {
            Ok(Some((large, text))) => self.send(out, large, text).await,
            _ => Ok(()),
        }
    }

    /// Whether reading an event takes much memory.
    async fn is_large(&self, seq: Seq) -> bool {
        let store = self.store.clone();
        let query = Query { after: Seq(seq.0.saturating_sub(1)), upto: Some(seq), small: true, ..Query::default() };
        let page = tokio::task::spawn_blocking(move || store.read_kept(&query, 1)).await;
        matches!(page, Ok(Ok(page)) if page.large)
    }
}

/// Waits until the tail is further than `after`; true when the store has gone.
pub(crate) async fn tail_passes(tail: &mut watch::Receiver<Seq>, after: Seq) -> bool {
    tail.wait_for(|tail| *tail > after).await.is_err()
}

/// Waits until something came that the query may want; true when the store has gone. What it cannot want is passed
/// over unread, so that a hundred followers of quiet chats cost next to nothing; but with `marks` their reader wants to
/// know how far it is.
async fn news(store: &Store, tail: &mut watch::Receiver<Seq>, query: &mut Query, marks: bool) -> bool {
    let Query { after, upto, any_of, .. } = query;
    let wanted = |after: Seq| any_of.iter().all(|group| group.iter().any(|tag| store.newest_with(*tag) > after));
    let came = tail.wait_for(|tail| {
        if *tail <= *after {
            return false;
        }
        if marks || wanted(*after) || upto.is_some_and(|upto| upto <= *tail) {
            return true;
        }
        *after = *tail;
        false
    });
    came.await.is_err()
}
