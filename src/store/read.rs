//! Reading the log, on any thread and beside the writer.
//!
//! A call looks at no more than [`LOOK_BYTES`] of journal (or one larger frame) and [`LOOK_BLOCKS`] entries of the
//! index, and says how far it came. The view's lock is held for a copy; files are read with positioned reads. A
//! block's bytes are read once, and its events are slices of them.

use super::frame::{self, HEAD, Record, Records};
use super::index::{Block, Open};
use super::journal;
use super::shared::{Shared, View};
use super::{Dropped, Error, Page, Query, Read, Stored};
use crate::seq::Seq;
use bytes::Bytes;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Journal bytes looked at in one call: some milliseconds' work.
const LOOK_BYTES: u64 = 4 << 20;
/// Entries of the index looked at in one call: some ten milliseconds' work.
const LOOK_BLOCKS: usize = 20_000;
/// A block of more bytes has something large in it: others end after a few dozen KiB.
const LARGE_BYTES: u64 = 1 << 20;
/// Unreadable positions told in one page.
const DAMAGED_MAX: usize = 1000;
/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 64;

/// A read in progress.
struct Reader<'a> {
    shared: &'a Shared,
    query: &'a Query,
    /// The first position to read, and the last.
    low: u64,
    high: u64,
    bytes_max: usize,
    bytes: usize,
    looked: u64,
    blocks: usize,
    page: Page,
}

pub(super) fn read(shared: &Shared, query: &Query, bytes_max: usize) -> Result<Read, Error> {
    // The view before the map: what is not in the one is in the other by then, or in both.
    let seen = Seen::of(&shared.view());
    if let Some(dropped) = dropped(query, seen.first) {
        return Ok(Read::Dropped(dropped));
    }
    // What is lost with a file is told in one piece too, and what lies before it first.
    let (next, upto) = (query.after.next(), query.upto.unwrap_or(Seq(seen.tail)).min(Seq(seen.tail)));
    let lost = shared.lost.iter().find(|(from, to)| *to >= next && *from <= upto).filter(|_| !query.backwards);
    let page = match lost {
        Some((from, to)) if *from <= next => return Ok(Read::Dropped(Dropped { from: next, to: upto.min(*to) })),
        Some((from, _)) => {
            let before = Query { upto: Some(Seq(from.0 - 1)), ..query.clone() };
            Page { end: false, ..page(shared, seen, &before, bytes_max)? }
        }
        None => page(shared, seen, query, bytes_max)?,
    };
    // Retention goes on beside us, and takes blocks and files away.
    let read = without_dropped(page, query, shared.view().first);
    if let Read::Page(page) = &read {
        page.damaged.iter().for_each(|(seq, _)| shared.note_damaged(seq.0..=seq.0));
    }
    Ok(read)
}

/// What of the query's beginning lies before the oldest that is kept.
fn dropped(query: &Query, first: u64) -> Option<Dropped> {
    let from = query.after.next();
    let to = Seq(first - 1).min(query.upto.unwrap_or(Seq(u64::MAX)));
    (!query.backwards && from <= to).then_some(Dropped { from, to })
}

/// What could not be read because retention took it meanwhile is no damage: a page ends before it, and the next read
/// tells of it.
fn without_dropped(mut page: Page, query: &Query, first: u64) -> Read {
    if query.backwards {
        page.damaged.retain(|(seq, _)| seq.0 >= first);
        if page.looked_to.0 < first {
            (page.looked_to, page.end) = (Seq(first), true);
        }
        return Read::Page(page);
    }
    let Some(gone) = page.damaged.iter().map(|(seq, _)| *seq).filter(|seq| seq.0 < first).min() else {
        return Read::Page(page);
    };
    page.entries.retain(|entry| entry.seq < gone);
    page.damaged.retain(|(seq, _)| *seq < gone);
    (page.looked_to, page.end) = (Seq(gone.0 - 1), false);
    match dropped(query, first) {
        Some(dropped) if page.looked_to <= query.after => Read::Dropped(dropped),
        _ => Read::Page(page),
    }
}

/// The log as it is when a read begins.
struct Seen {
    first: u64,
    tail: u64,
    open: Option<Open>,
}

impl Seen {
    fn of(view: &View) -> Self {
        Self { first: view.first, tail: view.tail, open: view.open.clone() }
    }
}

fn page(shared: &Shared, seen: Seen, query: &Query, bytes_max: usize) -> Result<Page, Error> {
    let low = query.after.0.saturating_add(1).max(seen.first);
    let high = query.upto.map_or(seen.tail, |upto| upto.0.min(seen.tail));
    let page = Page::default();
    let mut reader = Reader { shared, query, low, high, bytes_max, bytes: 0, looked: 0, blocks: 0, page };
    if low > high {
        reader.page.looked_to = if query.backwards { Seq(low) } else { query.after };
        reader.page.end = true;
        return Ok(reader.page);
    }
    let open = seen.open.filter(|open| open.block.first <= high);
    if query.backwards {
        reader.backwards(open)?;
    } else {
        reader.forwards(open)?;
    }
    Ok(reader.page)
}

const NOT_INDEXED: &str = "no readable part of the journal holds it";

/// An event of a block, or positions that could not be read.
enum Found {
    Event(Stored),
    Lost(u64, u64, String),
}

impl Reader<'_> {
    /// Fills the page from `low` on.
    fn forwards(&mut self, open: Option<Open>) -> Result<(), Error> {
        let (map, mut at) = (self.shared.map(), self.low);
        let newest = open.map(|mut open| {
            // A reader at the tail starts at its event, not at the block's.
            let after = open.frames.partition_point(|(seq, _)| *seq <= at);
            if let Some((seq, offset)) = after.checked_sub(1).and_then(|i| open.frames.get(i)) {
                (open.block.first, open.block.start) = (*seq, *offset);
            }
            Ok((Arc::new(open.block), true))
        });
        let closed = map.blocks(at, self.high, false)?.map(|block| block.map(|block| (block, false)));
        for entry in closed.chain(newest) {
            let (block, is_open) = entry?;
            if block.last < at {
                continue;
            }
            if block.first > at && !self.gap(at, block.first - 1, NOT_INDEXED) {
                return Ok(());
            }
            if !self.wants(&block, is_open) {
                self.page.looked_to = Seq(block.last.min(self.high));
            } else if !self.block(&block, at.max(block.first)) {
                return Ok(());
            }
            at = block.last + 1;
            if at > self.high || self.spent() {
                break;
            }
        }
        if self.spent() || at > self.high || self.gap(at, self.high, NOT_INDEXED) {
            self.ends_at(at > self.high, self.high);
        }
        Ok(())
    }

    /// Fills the page from `high` down.
    fn backwards(&mut self, open: Option<Open>) -> Result<(), Error> {
        let (map, mut at) = (self.shared.map(), self.high);
        let newest = open.map(|open| Ok((Arc::new(open.block), true))).into_iter();
        let closed = map.blocks(self.low, at, true)?.map(|block| block.map(|block| (block, false)));
        for entry in newest.chain(closed) {
            let (block, is_open) = entry?;
            if block.last < self.low {
                break;
            }
            // An entry left from before may overlap the open block, and the open one may have been finished meanwhile.
            if block.first > at {
                continue;
            }
            if block.last < at && !self.gap(block.last + 1, at, NOT_INDEXED) {
                return Ok(());
            }
            at = block.first - 1;
            if !self.wants(&block, is_open) {
                self.page.looked_to = Seq(block.first.max(self.low));
            } else if !self.block(&block, self.low.max(block.first)) {
                return Ok(());
            }
            if at < self.low || self.spent() {
                break;
            }
        }
        if self.spent() || at < self.low || self.gap(self.low, at, NOT_INDEXED) {
            self.ends_at(at < self.low, self.low);
        }
        Ok(())
    }

    /// Everything up to where it looked was read; was that all?
    fn ends_at(&mut self, all: bool, edge: u64) {
        self.page.end = all || !self.spent();
        if self.page.end {
            self.page.looked_to = Seq(edge);
        }
    }

    fn spent(&self) -> bool {
        self.looked >= LOOK_BYTES || self.blocks >= LOOK_BLOCKS
    }

    /// Whether a block is worth a look; the unfinished one's tags are not known yet.
    fn wants(&mut self, block: &Block, is_open: bool) -> bool {
        self.blocks += 1;
        let query = self.query;
        is_open || block.may_match(query.since, query.until, &query.any_of)
    }

    /// Tells that `from..=to` cannot be read; false when the page is full of that.
    fn gap(&mut self, from: u64, to: u64, reason: &str) -> bool {
        let room = (DAMAGED_MAX - self.page.damaged.len().min(DAMAGED_MAX)) as u64;
        let count = room.min(to - from + 1);
        let tell = |seq: u64| (Seq(seq), reason.to_owned());
        if self.query.backwards {
            self.page.damaged.extend((0..count).map(|n| tell(to - n)));
            self.page.looked_to = Seq(to - count.saturating_sub(1));
        } else {
            self.page.damaged.extend((0..count).map(|n| tell(from + n)));
            self.page.looked_to = Seq(from + count.saturating_sub(1));
        }
        count == to - from + 1
    }

    /// Takes an event that passes; false when the page is full.
    fn take(&mut self, stored: Stored) -> bool {
        self.page.looked_to = stored.seq;
        let (since, until) = (self.query.since, self.query.until);
        if since.is_some_and(|t| stored.time < t) || until.is_some_and(|t| stored.time > t) {
            return true;
        }
        self.bytes += stored.outline.len() + stored.body.len() + ENTRY_BYTES;
        self.page.entries.push(stored);
        self.bytes < self.bytes_max
    }

    /// Takes a block's events from `from` on; false when the page is full.
    fn block(&mut self, block: &Block, from: u64) -> bool {
        let backwards = self.query.backwards;
        if self.query.small && !backwards && block.end.saturating_sub(block.start) > LARGE_BYTES {
            (self.page.looked_to, self.page.large) = (Seq(from - 1), true);
            return false;
        }
        let mut found = self.events(block, from, self.high.min(block.last));
        if backwards {
            found.reverse();
        }
        for found in found {
            match found {
                Found::Event(stored) => {
                    let last = stored.seq.0 == if backwards { self.low } else { self.high };
                    if !self.take(stored) {
                        self.page.end = last;
                        return false;
                    }
                }
                Found::Lost(from, to, reason) => {
                    if !self.gap(from, to, &reason) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// The events `from..=to` of a block.
    fn events(&mut self, block: &Block, from: u64, to: u64) -> Vec<Found> {
        let len = usize::try_from(block.end.saturating_sub(block.start)).unwrap_or(usize::MAX);
        self.looked += len as u64;
        let bytes = match self.bytes_of(block, len) {
            Ok(bytes) => bytes,
            Err(error) => return vec![Found::Lost(from, to, error.to_string())],
        };
        let path = journal::path(&self.shared.dir, block.segment);
        let lost = |from, to, (at, why): (usize, &str)| {
            Found::Lost(from, to, format!("{why} (`{}`, byte {})", path.display(), block.start + at as u64))
        };
        let (mut found, mut at, mut next) = (Vec::new(), frames_before(&bytes, from), from);
        let mut bad: Option<(usize, &'static str)> = None;
        while at < bytes.len() && next <= to {
            let (head, _) = match frame::parse(&bytes[at..]) {
                Ok(parsed) => parsed,
                Err(error) => {
                    bad.get_or_insert((at, error.reason()));
                    let Some(after) = frame::find_magic(&bytes, at + 1) else { break };
                    at = after;
                    continue;
                }
            };
            let gap = bad.take().unwrap_or((at, "frames are missing"));
            if head.seq > next {
                found.push(lost(next, (head.seq - 1).min(to), gap));
                next = head.seq;
            }
            let payload = bytes.slice(at + HEAD..at + head.frame_bytes());
            let events = Records(&payload).filter_map(|record| match record {
                Record::Event { time, outline, body, .. } => Some((time, outline, body)),
                _ => None,
            });
            for (seq, (time, outline, body)) in (head.seq..).zip(events) {
                if seq < next || seq > to {
                    continue;
                }
                let (outline, body) = (payload.slice_ref(outline), payload.slice_ref(body));
                found.push(Found::Event(Stored { seq: Seq(seq), time, outline, body }));
                next = seq + 1;
            }
            at += head.frame_bytes();
        }
        if next <= to {
            found.push(lost(next, to, bad.unwrap_or((bytes.len(), "the segment ends before it"))));
        }
        found
    }

    fn bytes_of(&self, block: &Block, len: usize) -> Result<Bytes, Error> {
        let file = self.shared.segment(block.segment)?;
        let mut bytes = vec![0; len];
        let mut have = 0;
        while have < len {
            match file.read_at(&mut bytes[have..], block.start + have as u64) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(super::files::fault("read", &journal::path(&self.shared.dir, block.segment), &e));
                }
            }
        }
        bytes.truncate(have);
        Ok(bytes.into())
    }
}

/// How many bytes of frames lie before the event `from`: passed over unverified, as far as that leads from frame to frame.
fn frames_before(bytes: &[u8], from: u64) -> usize {
    let mut at = 0;
    while let Ok(head) = frame::head(&bytes[at..])
        && head.seq.saturating_add(u64::from(head.events)) <= from
        && bytes.get(at + head.frame_bytes()..).is_some_and(|b| b.starts_with(&frame::MAGIC))
    {
        at += head.frame_bytes();
    }
    at
}
