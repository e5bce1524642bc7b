//! Followers: one loop over the log for those who catch up, those who are live and those who reconnect.
//!
//! A follower reads a page after its position, writes it, and waits until the tail is further. The notification is a
//! position, never a body: nothing is buffered for a slow reader, who just reads later.
//!
//! All followers together take at most 64 MiB (contract 6), however many they are, slow or large what they read: pages
//! and pieces are the smaller the more there are, at most [`TURNS`] are made at a time, and a large line goes through a
//! file: one is put there at a time, and of it nothing is read before its reader has taken what it has.

use crate::clock::Time;
use crate::control::{DroppedRange, Line, Refusal};
use crate::daemon::failure::Failure;
use crate::daemon::log::entry::{self, Filter};
use crate::daemon::log::spill::{Spilled, Spills, Writing, piece_bytes};
use crate::daemon::service::{Lease, Service};
use crate::protocol::command::Wire;
use crate::seq::Seq;
use crate::store::{Dropped, Query, Read, Store, Stored};
use bytes::Bytes;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};

/// Bytes of stored events read in one go, at most: a few dozen texts…
const PAGE_BYTES: usize = 256 * 1024;
/// …and at least, when there are many followers…
const PAGE_BYTES_MIN: usize = 8 * 1024;
/// …whose pages together have so many: their lines are about twice as long.
const PAGES_BYTES: usize = 8 << 20;
/// Pieces on their way to one reader.
const CHUNKS: usize = 1;
/// A line of a larger body goes through a file.
const LARGE_BYTES: usize = 256 * 1024;
/// Pages made at a time.
const TURNS: usize = 2;
/// Where a large line cannot be put into a file, a reader that does not take a piece of it for so long is let go.
const STALL: Duration = Duration::from_secs(30);
/// An idle follower is written to at least this often when it did not say how often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A page of at most so many events is read on the runtime itself: a hop to a blocking thread costs more.
const INLINE_MAX: u64 = 64;
/// A line has about so many bytes beside what the client sent and the text in it.
const LINE_EXTRA: usize = 300;
/// A mark for skipped events is sent once so many went by unmatched.
const MARK_EVERY: u64 = 1000;

/// How often a follower whose range ends at a time looks whether it has come.
const UNTIL_LOOK: Duration = Duration::from_secs(1);

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
    turns: Semaphore,
    /// Held by who reads a large event to make its line.
    alone: Semaphore,
    large: Spills,
}

impl Following {
    /// Large lines go through files in `dir`.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { turns: Semaphore::new(TURNS), alone: Semaphore::new(1), large: Spills::new(dir) }
    }

    /// The turn of who reads a large event to make something of it: one at a time.
    pub(crate) async fn alone(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.alone.acquire().await.ok()
    }
}

/// A page, filtered and written out.
#[derive(Default)]
struct Lines {
    /// A large line comes before `text`.
    large: Option<Arc<Spilled>>,
    text: Vec<u8>,
    matched: u64,
    looked_to: Seq,
    /// The last one that went into `text`.
    last: Seq,
    end: bool,
}

impl Lines {
    /// What tells a reader that it was overtaken by retention, or that a file of the store is lost.
    fn dropped(Dropped { from, to }: Dropped) -> Self {
        let text = Line::Dropped(DroppedRange { from, to }).bytes();
        Self { large: None, text, matched: 0, looked_to: to, last: to, end: false }
    }
}

/// A follower among the open ones, however it ends.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(service: &'a Service) -> Self {
        service.followers().fetch_add(1, Ordering::Relaxed);
        Self(service.followers())
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts a follower; its lines come out of the receiver, and dropping that ends it.
pub(crate) fn start(service: &Service, follow: Follow) -> mpsc::Receiver<Bytes> {
    let (out, lines) = mpsc::channel(CHUNKS);
    let service = service.clone();
    tokio::spawn(async move {
        let _counted = Counted::new(&service);
        run(&service, follow, &out).await;
    });
    lines
}

async fn run(service: &Service, mut follow: Follow, out: &mpsc::Sender<Bytes>) {
    let store = service.store().clone();
    let mut tail = store.tail();
    let filter = Arc::new(std::mem::take(&mut follow.filter));
    let mut query = follow.query;
    query.any_of = filter.tags();
    let mut left = follow.count.unwrap_or(u64::MAX);
    let heartbeat = follow.heartbeat.unwrap_or(HEARTBEAT);
    let mut marked = query.after;
    while left > 0 {
        let upto = query.upto.unwrap_or(Seq(u64::MAX)).min(*tail.borrow_and_update());
        let small = upto.0.saturating_sub(query.after.0) <= INLINE_MAX;
        let bytes_max = (PAGES_BYTES / readers(service)).clamp(PAGE_BYTES_MIN, PAGE_BYTES);
        let aside = |query: &Query| {
            let (service, query, filter) = (service.clone(), query.clone(), Arc::clone(&filter));
            tokio::task::spawn_blocking(move || page(&service, &query, bytes_max, &filter, left))
        };
        query.small = true;
        let mut page = {
            let _turn = service.following().turns.acquire().await;
            if small { Ok(page(service, &query, bytes_max, &filter, left)) } else { aside(&query).await }
        };
        if let Ok(Ok(None)) = page {
            let _alone = service.following().alone().await;
            query.small = false;
            page = aside(&query).await;
        }
        let page = match page {
            Ok(page) => page.map(Option::unwrap_or_default),
            Err(_) => Err(Failure::new(500, "read-failed", "reading the log failed; see the daemon's log")),
        };
        let mut page = match page {
            Ok(page) => page,
            Err(failure) => {
                let refusal = Refusal { error: failure.code.to_owned(), message: failure.message.clone() };
                // The reader may have gone; then nobody is left to be told.
                drop(out.send(Line::Refused(refusal).bytes().into()).await);
                return;
            }
        };
        left -= page.matched;
        query.after = query.after.max(page.looked_to);
        if page.last > marked {
            marked = page.last;
        }
        let silent = query.after.0 - marked.0;
        if follow.marks && (silent >= MARK_EVERY || (page.end && silent > 0)) {
            Line::Passed(query.after).write(&mut page.text);
            marked = query.after;
        }
        if send(service, out, page.large, page.text).await.is_err() {
            return;
        }
        if !page.end || left == 0 {
            continue;
        }
        let past = |until: Time| until < Time::now();
        if !follow.follow || query.upto.is_some_and(|upto| upto <= query.after) || query.until.is_some_and(past) {
            break;
        }
        // A range that ends at a time ends soon after it, though nothing comes.
        let wait = if query.until.is_some() { heartbeat.min(UNTIL_LOOK) } else { heartbeat };
        tokio::select! {
            gone = news(&store, &mut tail, &mut query, follow.marks) => if gone { return },
            () = tokio::time::sleep(wait) => if out.send(Bytes::from_static(Line::KEEP_ALIVE)).await.is_err() { return },
            () = out.closed() => return,
            () = service.shutdown().wait() => return,
        }
    }
    if !follow.marks {
        return;
    }
    if out.send(Line::End(query.after).bytes().into()).await.is_err() || follow.lease.is_none() {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(heartbeat) => if out.send(Bytes::from_static(Line::KEEP_ALIVE)).await.is_err() { return },
            () = out.closed() => return,
            () = service.shutdown().wait() => return,
        }
    }
}

/// The reader has gone, or is let go.
pub(crate) struct Gone;

/// Hands a page on, in pieces: what is left of it waits here until the reader has taken the rest.
async fn send(
    service: &Service,
    out: &mpsc::Sender<Bytes>,
    large: Option<Arc<Spilled>>,
    text: Vec<u8>,
) -> Result<(), Gone> {
    if let Some(large) = large {
        let mut at = 0;
        while at < large.len() {
            // Only now: a piece that waits for a reader takes memory.
            let place = out.reserve().await.map_err(|_| Gone)?;
            let (of, bytes) = (Arc::clone(&large), piece_bytes(readers(service)));
            let piece = tokio::task::spawn_blocking(move || of.piece(at, bytes)).await;
            let piece = piece.map_err(|_| Gone)?.map_err(|error| {
                tracing::error!("a large event on its way to a reader cannot be read: {error}");
                Gone
            })?;
            at += piece.len() as u64;
            place.send(piece);
        }
    }
    let is_large = text.len() > 4 * LARGE_BYTES;
    let mut text = Bytes::from(text);
    while !text.is_empty() {
        let sent = out.send(text.split_to(text.len().min(piece_bytes(readers(service)))));
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
    service: &Service,
    out: &mpsc::Sender<Bytes>,
    seq: Seq,
    command: Wire,
) -> Result<(), Gone> {
    let Following { turns, alone, .. } = service.following();
    let turn = if is_large(service, seq).await { alone } else { turns }.acquire().await;
    let of = service.clone();
    let made = tokio::task::spawn_blocking(move || {
        let stored = one(of.store(), seq).ok()?;
        let large = stored.body.len() > LARGE_BYTES && of.healthy().is_ok();
        let write = |out: &mut Writing| entry::write_answer(out, &stored, &command);
        if let Some(Ok(spilled)) = large.then(|| of.following().large.one(write)) {
            return Some((Some(spilled), Vec::new()));
        }
        let mut line = Vec::new();
        entry::write_answer(&mut line, &stored, &command).expect("a vector takes it");
        Some((None, line))
    });
    let made = made.await;
    drop(turn);
    match made {
        Ok(Some((large, text))) => send(service, out, large, text).await,
        _ => Ok(()),
    }
}

/// Whether reading an event takes much memory.
async fn is_large(service: &Service, seq: Seq) -> bool {
    let store = service.store().clone();
    let query = Query { after: Seq(seq.0.saturating_sub(1)), upto: Some(seq), small: true, ..Query::default() };
    let page = tokio::task::spawn_blocking(move || store.read_kept(&query, 1)).await;
    matches!(page, Ok(Ok(page)) if page.large)
}

/// How many read beside each other, one at least.
fn readers(service: &Service) -> usize {
    usize::try_from(service.followers().load(Ordering::Relaxed)).unwrap_or(usize::MAX).max(1)
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

/// The next line, when it is a large one that is on its way to others already: it is not read again.
fn on_its_way(service: &Service, query: &Query, filter: &Filter) -> Option<Lines> {
    let seq = query.after.next();
    let wants_all = filter.is_empty() && query.any_of.is_empty() && query.since.is_none() && query.until.is_none();
    if !wants_all || query.backwards || query.upto.is_some_and(|upto| upto < seq) {
        return None;
    }
    let large = Some(service.following().large.known(seq)?);
    Some(Lines { large, text: Vec::new(), matched: 1, looked_to: seq, last: seq, end: false })
}

/// Reads one page and writes what passes; nothing when what comes next is large, and the query leaves that.
fn page(
    service: &Service,
    query: &Query,
    bytes_max: usize,
    filter: &Filter,
    left: u64,
) -> Result<Option<Lines>, Failure> {
    if let Some(lines) = on_its_way(service, query, filter) {
        return Ok(Some(lines));
    }
    let page = match service.store().read(query, bytes_max)? {
        Read::Page(page) => page,
        Read::Dropped(dropped) => return Ok(Some(Lines::dropped(dropped))),
    };
    if page.large && page.entries.is_empty() && page.damaged.is_empty() {
        return Ok(None);
    }
    let mut lines =
        Lines { large: None, text: Vec::new(), matched: 0, looked_to: page.looked_to, last: Seq::ZERO, end: page.end };
    if filter.is_empty() {
        // What is derived is about as long as what is stored; growing would copy all of it.
        let lens = page.entries.iter().map(|stored| stored.body.len()).filter(|len| *len <= LARGE_BYTES);
        lines.text.reserve(lens.map(|len| len * 2 + LINE_EXTRA).sum());
    }
    let mut damaged = page.damaged.into_iter().peekable();
    for stored in &page.entries {
        while let Some((seq, reason)) = damaged.next_if(|(seq, _)| *seq < stored.seq) {
            tell_damage(&mut lines, seq, &reason);
        }
        if !filter.matches(stored) {
            continue;
        }
        let large = stored.body.len() > LARGE_BYTES;
        if large && !lines.text.is_empty() {
            // It has a page of its own.
            (lines.looked_to, lines.end) = (Seq(stored.seq.0 - 1), false);
            return Ok(Some(lines));
        }
        let write = |out: &mut Writing| {
            entry::write_line(out, stored)?;
            out.write_all(b"\n")
        };
        let spilled = large && service.healthy().is_ok();
        match spilled.then(|| service.following().large.line(stored.seq, write)) {
            Some(Ok(spilled)) => lines.large = Some(spilled),
            _ => {
                entry::write_line(&mut lines.text, stored).expect("a vector takes it");
                lines.text.push(b'\n');
            }
        }
        lines.matched += 1;
        lines.last = stored.seq;
        if large {
            lines.end &= Some(stored.seq) == page.entries.last().map(|last| last.seq) && damaged.peek().is_none();
            if !lines.end || lines.matched == left {
                lines.looked_to = stored.seq;
            }
            return Ok(Some(lines));
        }
        if lines.matched == left {
            lines.looked_to = stored.seq;
            return Ok(Some(lines));
        }
    }
    for (seq, reason) in damaged {
        tell_damage(&mut lines, seq, &reason);
    }
    Ok(Some(lines))
}

/// A damaged event is told, never passed over in silence: a line with `seq` and `damaged`.
fn tell_damage(lines: &mut Lines, seq: Seq, reason: &str) {
    tracing::error!(%seq, "an event cannot be read: {reason}");
    Line::Damaged(seq, reason.to_owned()).write(&mut lines.text);
    lines.last = seq;
}

/// Refuses a position that the log has not reached: nothing would come for a long time, and then events that the reader
/// takes for others (contract 6). `what` stands there.
pub(crate) fn check_reached(store: &Store, seq: Seq, what: &str) -> Result<(), Failure> {
    let tail = *store.tail().borrow();
    if seq <= tail {
        return Ok(());
    }
    let message = format!(
        "{what} stands after event {seq}, and the log has only come to {tail}: it is another log than the one that was \
         read (was a backup restored?); begin again, with `oldest`, `now` or a time"
    );
    Err(Failure::new(409, "ahead", message))
}

/// Refuses a position of another log.
pub(crate) fn check_log(store: &Store, theirs: Option<&str>) -> Result<(), Failure> {
    match (theirs, store.identity()?) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Failure::new(
            409,
            "other-log",
            "wehelpd has another log of events than the one that was read (was a backup restored?), and its numbers are of \
             other events; start this reader again",
        )),
        _ => Ok(()),
    }
}

/// The range with its end as a position, when that time has passed: what came later is not a part of it, and a cursor
/// must not move over it. Blocking.
pub(crate) fn bounded(store: &Store, mut range: Query) -> Result<Query, Failure> {
    let Some(until) = range.until.filter(|until| *until < Time::now()) else { return Ok(range) };
    let mut later =
        Query { since: Some(until.after(Duration::from_millis(1))), after: range.after, ..Query::default() };
    let last = loop {
        let page = store.read_kept(&later, 1)?;
        match page.entries.first() {
            Some(first) => break Seq(first.seq.0 - 1),
            None if page.end => break *store.tail().borrow(),
            None => later.after = page.looked_to,
        }
    };
    range.upto = Some(range.upto.map_or(last, |upto| upto.min(last)));
    Ok(range)
}

/// The position before the newest `lines` events that pass, within `query`. Blocking; keeps nothing but a count.
pub(crate) fn newest(store: &Store, query: &Query, filter: &Filter, lines: u64) -> Result<Seq, Failure> {
    let tail = query.upto.unwrap_or(Seq(u64::MAX)).min(*store.tail().borrow());
    if lines == 0 {
        return Ok(tail);
    }
    if filter.is_empty() && query.since.is_none() && query.until.is_none() {
        return Ok(Seq(tail.0.saturating_sub(lines)).max(query.after));
    }
    let mut back = Query { backwards: true, upto: Some(tail), any_of: filter.tags(), ..query.clone() };
    let mut left = lines;
    // Before the oldest one that passes: what lies before that need not be looked at again.
    let mut before = tail;
    loop {
        let page = store.read_kept(&back, PAGE_BYTES)?;
        for stored in &page.entries {
            if filter.matches(stored) {
                before = Seq(stored.seq.0 - 1);
                left -= 1;
                if left == 0 {
                    return Ok(before);
                }
            }
        }
        if page.end || page.looked_to <= back.after.next() {
            // What the range has lost to retention is told before anything else.
            let lost = back.after.next() < store.first();
            return Ok(if lost { back.after } else { before.max(back.after) });
        }
        back.upto = Some(Seq(page.looked_to.0 - 1));
    }
}

/// One event.
pub(crate) fn one(store: &Store, seq: Seq) -> Result<Stored, Failure> {
    let stats = store.stats()?;
    let gone = || {
        let (first, last) = (stats.first, stats.last);
        let kept = if stats.count == 0 { "the log is empty".to_owned() } else { format!("kept are {first} to {last}") };
        Failure::new(404, "not-found", format!("there is no event {seq}; {kept}"))
    };
    if seq == Seq::ZERO || seq > stats.last || seq < stats.first {
        return Err(gone());
    }
    if let Some((from, to)) = store.lost().into_iter().find(|(from, to)| (*from..=*to).contains(&seq)) {
        let message = format!("event {seq} is lost: what held {from} to {to} in the journal is gone or damaged");
        return Err(Failure::new(500, "damaged", message));
    }
    let query = Query { after: Seq(seq.0 - 1), upto: Some(seq), ..Query::default() };
    let page = store.read_kept(&query, 1)?;
    if let Some((_, reason)) = page.damaged.first() {
        return Err(Failure::new(500, "damaged", format!("event {seq} cannot be read: {reason}")));
    }
    page.entries.into_iter().find(|e| e.seq == seq).ok_or_else(gone)
}
