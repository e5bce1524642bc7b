//! One page of the log, filtered and written out for a follower.

use crate::control::{DroppedRange, Line};
use crate::daemon::log::about::Known;
use crate::daemon::log::spill::{Spilled, Spills, Writing};
use crate::daemon::log::{entry, filter::Filter, refused::Refused};
use crate::seq::Seq;
use crate::store::{Dropped, Health, Page, Query, Read, Store, Stored};
use std::io::Write;
use std::sync::Arc;

/// A line of a larger body goes through a file.
pub(super) const LARGE_BYTES: usize = 256 * 1024;
/// A line has about this many bytes beside what the client sent and the text in it.
const LINE_EXTRA: usize = 300;

/// A page, filtered and written out.
#[derive(Default)]
pub(super) struct Lines {
    /// A large line comes before `text`.
    pub(super) large: Option<Arc<Spilled>>,
    pub(super) text: Vec<u8>,
    pub(super) matched: u64,
    pub(super) looked_to: Seq,
    /// The last one that went into `text`.
    pub(super) last: Seq,
    pub(super) end: bool,
    /// What comes next may be the echo of a command, which is known once the log was learned from up to there.
    pub(super) awaits: Option<Seq>,
}

impl Lines {
    /// Those of a page, with room for what will come.
    fn of(page: &Page, filter: &Filter) -> Self {
        let mut lines = Self { looked_to: page.looked_to, end: page.end, ..Self::default() };
        if filter.is_empty() {
            // What is derived is about as long as what is stored; growing would copy all of it.
            let lens = page.entries.iter().map(|stored| stored.body.len()).filter(|len| *len <= LARGE_BYTES);
            lines.text.reserve(lens.map(|len| len * 2 + LINE_EXTRA).sum());
        }
        lines
    }

    /// These, and no further: that event is for the next page.
    fn before(mut self, stored: &Stored) -> Self {
        (self.looked_to, self.end) = (Seq(stored.seq.0 - 1), false);
        self
    }

    /// Adds an event: a large one by way of a file, where one can be written.
    fn add(&mut self, store: &Store, spills: &Spills, stored: &Stored, known: &mut Known<'_>) {
        let is_spilled = stored.body.len() > LARGE_BYTES && *store.health().borrow() == Health::Writable;
        let write = |out: &mut Writing| {
            entry::write_line(out, stored, Some(known))?;
            out.write_all(b"\n")
        };
        match is_spilled.then(|| spills.line(stored.seq, write)) {
            Some(Ok(spilled)) => self.large = Some(spilled),
            _ => {
                entry::write_line(&mut self.text, stored, Some(known)).expect("a vector takes it");
                self.text.push(b'\n');
            }
        }
    }

    /// What tells a reader that it was overtaken by retention, or that a file of the store is lost.
    fn dropped(Dropped { from, to }: Dropped) -> Self {
        let text = Line::Dropped(DroppedRange { from, to }).bytes();
        Self { text, looked_to: to, last: to, ..Self::default() }
    }
}

/// The next line, when it is a large one that is on its way to others already: it is not read again.
fn on_its_way(large: &Spills, query: &Query, filter: &Filter) -> Option<Lines> {
    let seq = query.after.next();
    let wants_all = filter.is_empty() && query.any_of.is_empty() && query.since.is_none() && query.until.is_none();
    if !wants_all || query.backwards || query.upto.is_some_and(|upto| upto < seq) {
        return None;
    }
    let large = Some(large.known(seq)?);
    Some(Lines { large, matched: 1, looked_to: seq, last: seq, ..Lines::default() })
}

/// Reads one page and writes what passes; nothing when what comes next is large, and the query leaves that. It ends before
/// an own message behind `learned`, of which nobody knows yet whether it is an echo.
pub(super) fn page(
    store: &Store,
    spills: &Spills,
    query: &Query,
    bytes_max: usize,
    filter: &Filter,
    left: u64,
    learned: Seq,
) -> Result<Option<Lines>, Refused> {
    if let Some(lines) = on_its_way(spills, query, filter) {
        return Ok(Some(lines));
    }
    let page = match store.read(query, bytes_max)? {
        Read::Page(page) => page,
        Read::Dropped(dropped) => return Ok(Some(Lines::dropped(dropped))),
    };
    if page.large && page.entries.is_empty() && page.damaged.is_empty() {
        return Ok(None);
    }
    let mut lines = Lines::of(&page, filter);
    let mut known = Known::new(store);
    let mut damaged = page.damaged.into_iter().peekable();
    for stored in &page.entries {
        while let Some((seq, reason)) = damaged.next_if(|(seq, _)| *seq < stored.seq) {
            tell_damage(&mut lines, seq, &reason);
        }
        if !filter.matches(stored) {
            continue;
        }
        if stored.seq > learned && entry::may_be_echo(stored) {
            lines.awaits = Some(stored.seq);
            return Ok(Some(lines.before(stored)));
        }
        let is_large = stored.body.len() > LARGE_BYTES;
        if is_large && !lines.text.is_empty() {
            // It has a page of its own.
            return Ok(Some(lines.before(stored)));
        }
        lines.add(store, spills, stored, &mut known);
        lines.matched += 1;
        lines.last = stored.seq;
        if is_large {
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
