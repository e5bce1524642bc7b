//! Positions in the log: where a range begins and ends, what a moment means as a position, and whether a position is one of
//! this log (contracts 6 and 7).

use crate::clock::{Bare, Time};
use crate::daemon::log::{filter::Filter, refused::Refused};
use crate::seq::Seq;
use crate::store::{Query, Store, Stored};
use std::time::Duration;

/// Bytes of stored events read in one go.
const PAGE_BYTES: usize = 256 * 1024;

/// Where a range of events begins or ends: a position or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// `#SEQ`
    Seq(Seq),
    /// RFC 3339, `2h ago`
    Time(Time),
}

impl Edge {
    /// Reads `#SEQ`, RFC 3339 or a duration that lies in the past.
    pub(crate) fn parse(text: &str, now: Time) -> Result<Self, Refused> {
        if let Some(seq) = text.trim().strip_prefix('#') {
            return seq.parse().map(|n| Self::Seq(Seq(n))).map_err(|_| Refused::Position(text.to_owned()));
        }
        Time::parse(text, now, Bare::Ago).map(Self::Time).map_err(|e| Refused::Moment(e.to_string()))
    }
}

/// The part of the log that `since` and `until` mean.
pub(crate) fn range(since: Option<&str>, until: Option<&str>, now: Time) -> Result<Query, Refused> {
    let mut query = Query::default();
    match since.map(|s| Edge::parse(s, now)).transpose()? {
        Some(Edge::Seq(seq)) => query.after = Seq(seq.0.saturating_sub(1)),
        Some(Edge::Time(time)) => query.since = Some(time),
        None => {}
    }
    match until.map(|s| Edge::parse(s, now)).transpose()? {
        Some(Edge::Seq(seq)) => query.upto = Some(seq),
        Some(Edge::Time(time)) => query.until = Some(time),
        None => {}
    }
    Ok(query)
}

/// The position that `oldest`, `now`, `#SEQ` or a time means: the newest event that counts as consumed.
pub(crate) fn place(store: &Store, to: &str) -> Result<Seq, Refused> {
    match to.trim() {
        // Not 0: whoever stands before what is kept has missed something.
        "oldest" => Ok(Seq(store.first().0 - 1)),
        "now" => Ok(*store.tail().borrow()),
        other => match Edge::parse(other, Time::now())? {
            Edge::Seq(seq) => {
                check_reached(store, seq, "the new position")?;
                Ok(seq)
            }
            Edge::Time(time) => before(store, time),
        },
    }
}

/// The newest event before a time.
fn before(store: &Store, time: Time) -> Result<Seq, Refused> {
    let mut query = Query { since: Some(time), ..Query::default() };
    loop {
        let page = store.read_kept(&query, 1)?;
        if let Some(first) = page.entries.first() {
            return Ok(Seq(first.seq.0 - 1));
        }
        if page.end {
            return Ok(*store.tail().borrow());
        }
        query.after = page.looked_to;
    }
}

/// Refuses a position that the log has not reached: nothing would come for a long time, and then events that the reader
/// takes for others (contract 6). `what` stands there.
pub(crate) fn check_reached(store: &Store, seq: Seq, what: &str) -> Result<(), Refused> {
    let tail = *store.tail().borrow();
    if seq <= tail {
        return Ok(());
    }
    Err(Refused::Ahead { what: what.to_owned(), seq, tail })
}

/// Refuses a position of another log.
pub(crate) fn check_log(store: &Store, theirs: Option<&str>) -> Result<(), Refused> {
    match (theirs, store.identity()?) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Refused::OtherLog),
        _ => Ok(()),
    }
}

/// The range with its end as a position, when that time has passed: what came later is not a part of it, and a cursor
/// must not move over it. Blocking.
pub(crate) fn bounded(store: &Store, mut range: Query) -> Result<Query, Refused> {
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
pub(crate) fn newest(store: &Store, query: &Query, filter: &Filter, lines: u64) -> Result<Seq, Refused> {
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
pub(crate) fn one(store: &Store, seq: Seq) -> Result<Stored, Refused> {
    let stats = store.stats()?;
    let gone = || {
        let (first, last) = (stats.first, stats.last);
        let kept = if stats.count == 0 { "the log is empty".to_owned() } else { format!("kept are {first} to {last}") };
        Refused::NotFound { seq, kept }
    };
    if seq == Seq::ZERO || seq > stats.last || seq < stats.first {
        return Err(gone());
    }
    if let Some((from, to)) = store.lost().into_iter().find(|(from, to)| (*from..=*to).contains(&seq)) {
        return Err(Refused::Lost { seq, from, to });
    }
    let query = Query { after: Seq(seq.0 - 1), upto: Some(seq), ..Query::default() };
    let page = store.read_kept(&query, 1)?;
    if let Some((_, reason)) = page.damaged.first() {
        return Err(Refused::Damaged { seq, reason: reason.clone() });
    }
    page.entries.into_iter().find(|e| e.seq == seq).ok_or_else(gone)
}
