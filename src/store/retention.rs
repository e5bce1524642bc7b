//! Retention: the oldest events go, the newest stays, numbers are never reused.
//!
//! The log's first position moves at once, event by event; its blocks leave the index with it. The space follows when
//! every event of a segment is dropped and a snapshot of the map covers the segment's changes.

use super::frame::{self, HEAD, Head};
use super::index::Block;
use super::map::Map;
use super::shared::{Shared, View};
use super::{Error, Retention};
use crate::clock::Time;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Blocks dropped in one step: their removal from the index takes a few milliseconds, and writers wait for it.
const STEP_BLOCKS: usize = 512;
/// A frame with more is not read to learn how old it is.
const LARGE_BYTES: usize = 1 << 20;

/// What is to be dropped.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The new first position, and the bytes of all events before it.
    pub(super) first: u64,
    pub(super) cum: u64,
    /// Blocks that leave the index.
    pub(super) gone: Vec<u64>,
    /// There is more to drop after this step.
    pub(super) more: bool,
}

/// Finds what one step drops.
pub(super) fn plan(shared: &Shared, map: &Map, retention: Retention) -> Result<Plan, Error> {
    let Retention { before, wanted_after, bytes_max } = retention;
    let (first, first_cum, tail, total, open) = {
        let view = shared.view();
        (view.first, view.first_cum, view.tail, view.cum, view.open.as_ref().map(|open| Arc::new(open.block.clone())))
    };
    let mut plan = Plan { first, cum: first_cum, ..Plan::default() };
    if first >= tail {
        return Ok(plan);
    }
    // `last` is the last position of what is that old.
    let old = |time: Time, last: u64| {
        before.is_some_and(|before| time < before) && wanted_after.is_none_or(|wanted| last <= wanted.0)
    };
    let newest = open.iter().map(|block| Ok(Arc::clone(block)));
    let mut blocks = map.blocks(first, tail, false)?.chain(newest).peekable();
    while let Some(block) = blocks.next() {
        let block = block?;
        let is_open = open.as_ref().is_some_and(|open| open.first == block.first);
        let after = match blocks.peek() {
            Some(Ok(next)) => next.cum,
            _ => total,
        };
        let whole = old(block.times.1, block.last) || bytes_max.is_some_and(|max| total.saturating_sub(after) >= max);
        if whole && block.last < tail && !is_open {
            plan.gone.push(block.first);
            (plan.first, plan.cum) = (block.last + 1, after);
            if plan.gone.len() >= STEP_BLOCKS {
                plan.more = true;
                return Ok(plan);
            }
            continue;
        }
        within(shared, &block, tail, &mut plan, |time, last, cum| {
            old(time, last) || bytes_max.is_some_and(|max| total.saturating_sub(cum) > max)
        });
        break;
    }
    Ok(plan)
}

/// Moves `first` within a block, frame by frame. What cannot be read goes with the whole block.
fn within(shared: &Shared, block: &Block, tail: u64, plan: &mut Plan, drops: impl Fn(Time, u64, u64) -> bool) {
    let Ok(file) = shared.segment(block.segment) else { return };
    let (mut at, mut cum) = (block.start, block.cum);
    while let Some((head, newest)) = frame_at(&file, block, at) {
        if let Some(newest) = newest {
            let last = head.seq + u64::from(head.events) - 1;
            if last >= tail {
                return;
            }
            if last >= plan.first {
                if !drops(newest, last, cum) {
                    return;
                }
                plan.first = last + 1;
                plan.cum = cum + head.frame_bytes() as u64;
            }
            cum += head.frame_bytes() as u64;
        }
        at += head.frame_bytes() as u64;
    }
}

/// A frame of a block, and of when its newest event is. A large one is the block's last, and is not read for that: what
/// is known of the block does.
fn frame_at(file: &File, block: &Block, at: u64) -> Option<(Head, Option<Time>)> {
    let mut bytes = vec![0; HEAD];
    file.read_exact_at(&mut bytes, at).ok()?;
    let head = frame::head(&bytes).ok()?;
    let end = at + head.frame_bytes() as u64;
    if head.events == 0 {
        return (end <= block.end).then_some((head, None));
    }
    if head.len > LARGE_BYTES {
        let is_last = end == block.end && head.seq.checked_add(u64::from(head.events)) == Some(block.last + 1);
        return is_last.then_some((head, Some(block.times.1)));
    }
    if end > block.end {
        return None;
    }
    bytes.resize(head.frame_bytes(), 0);
    file.read_exact_at(&mut bytes[HEAD..], at + HEAD as u64).ok()?;
    let (head, payload) = frame::parse(&bytes).ok()?;
    let times = frame::Records(payload).filter_map(|record| match record {
        frame::Record::Event { time, .. } => Some(time),
        _ => None,
    });
    Some((head, times.max()))
}

/// Segments that hold nothing kept: all their events are dropped, and a snapshot up to `snapshot` has their changes.
/// Also how many only lack a newer snapshot.
pub(super) fn droppable(view: &View, snapshot: u64) -> (Vec<u64>, u64) {
    let (mut covered, mut uncovered) = (Vec::new(), 0);
    let nexts = view.segments.values().skip(1);
    for (begin, next) in view.segments.values().zip(nexts) {
        let no_event = next.seq <= view.first || next.seq == begin.seq;
        if no_event && next.lsn - 1 <= snapshot {
            covered.push(begin.lsn);
        } else if no_event {
            uncovered += 1;
        }
    }
    (covered, uncovered)
}
