//! Writes events out, as they come: JSON passes through byte for byte and unread.

use super::keeper::Keeper;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::output::Output;
use crate::cli::render;
use crate::cli::stream::{Came, Stream, Until};
use crate::cli::wake::{Signals, Wake};
use crate::control::{Dropped, DroppedRange, Line, Refusal};
use crate::seq::Seq;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How an event is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Its line.
    Json,
    /// Its line, with what could drive a terminal escaped.
    TerminalJson,
    /// For people.
    Text {
        /// Say which account it is of.
        accounts: bool,
    },
}

/// What a batch held.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Everything up to here is written, or need not be.
    last: Seq,
    /// Events.
    events: u64,
    /// Nothing is left.
    ended: bool,
    /// The daemon could not go on.
    broken: Option<Refusal>,
}

pub(super) fn run(
    ctx: &Ctx,
    look: &Look,
    timeout: Option<Duration>,
    stream: &mut Stream<'_>,
    keeper: &mut Keeper,
    wake: &mut Wake,
    signals: Option<&Signals>,
) -> Result<(), Error> {
    let stdout = std::io::stdout();
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut events = 0;
    loop {
        let time = [deadline, keeper.due()].into_iter().flatten().min();
        let came = stream.next(&Until { woken: Some(wake), stdout: Some(stdout.as_fd()), time })?;
        match came {
            Came::Lines => {
                // The cursor moves only over what the system has taken.
                let written = write(ctx.out(), *look, stream.batch()).and_then(|seen| ctx.out().flush().map(|()| seen));
                let seen = match written {
                    Ok(seen) => seen,
                    Err(error) => {
                        // What was written before stays so; whether the daemon heard of it matters less than the error.
                        drop(keeper.finish(stream));
                        return Err(error);
                    }
                };
                events += seen.events;
                stream.moved(seen.last, seen.events);
                keeper.done(seen.last);
                if seen.ended {
                    return keeper.finish(stream);
                }
                if let Some(refusal) = seen.broken {
                    stream.broke(refusal)?;
                }
            }
            Came::ReaderLeft => return keeper.finish(stream),
            Came::Woken => wake.heard(),
            Came::Late => {}
        }
        if let Some(asked) = signals.and_then(Signals::asked) {
            keeper.finish(stream)?;
            return Err(asked);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            keeper.finish(stream)?;
            return Err(late(events));
        }
        keeper.tell_if_due(stream)?;
    }
}

/// The time given with `--timeout` has passed.
pub(super) fn late(events: u64) -> Error {
    Error::no_answer(match events {
        0 => "no such event came in time (--timeout)".to_owned(),
        1 => "only one such event came in time (--timeout)".to_owned(),
        n => format!("only {n} such events came in time (--timeout)"),
    })
}

/// Tells of an event that cannot be read: it must not be passed over in silence.
pub(super) fn damaged(seq: Seq, reason: &str) -> Error {
    Error::failed(format!("event {seq} cannot be read: {reason}; see `wehelpd --salvage`"))
}

/// What is said of a line that this version does not know.
pub(super) fn strange() -> Error {
    Error::failed("wehelpd sent a line that this wehelp does not understand")
}

/// Tells of events that retention took, or a lost file, before they could be read.
pub(super) fn dropped(out: &Output, range: DroppedRange) {
    let DroppedRange { from, to } = range;
    let which = if from == to { format!("event {to} was") } else { format!("events {from} to {to} were") };
    let message = format!("{which} dropped before being read; going on with {}", to.next());
    out.loss(&Dropped { dropped: range }, &message);
}

fn write(out: &Output, look: Look, batch: &[u8]) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    // Where the events that are not yet written begin: they go in one piece.
    let mut from = 0;
    for (line, range) in Line::all(batch) {
        let line = line.ok_or_else(strange)?;
        if let (Line::Event(seq, _), Look::Json) = (&line, look) {
            seen.last = *seq;
            seen.events += 1;
            continue;
        }
        out.bytes(&batch[from..range.start])?;
        from = range.end;
        seen.last = seen.last.max(line.position().unwrap_or_default());
        match line {
            Line::Event(_, json) => {
                seen.events += 1;
                event(out, look, json)?;
            }
            Line::End(_) => seen.ended = true,
            Line::Damaged(seq, reason) => out.complain(&damaged(seq, &reason)),
            Line::Dropped(range) => dropped(out, range),
            Line::Refused(refusal) => seen.broken = Some(refusal),
            Line::Passed(_) | Line::KeepAlive => {}
        }
    }
    out.bytes(&batch[from..])?;
    Ok(seen)
}

/// Writes an event that is not passed through.
fn event(out: &Output, look: Look, json: &[u8]) -> Result<(), Error> {
    match look {
        Look::Text { accounts } => {
            let text = render::event::line(json, accounts);
            out.text(&text.unwrap_or_else(|| render::clean(&String::from_utf8_lossy(json)).into_owned()))
        }
        Look::Json | Look::TerminalJson => {
            out.bytes(&render::json_for_terminal(json))?;
            out.bytes(b"\n")
        }
    }
}
