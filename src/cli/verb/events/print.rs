//! Writes events out, as they come: JSON passes through byte for byte and unread.

use super::keeper::Keeper;
use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::output::Output;
use crate::cli::render;
use crate::cli::stream::{Came, Stream, Until};
use crate::cli::wake::{Signals, Wake};
use crate::control::{Dropped, DroppedRange, Line, Refusal};
use crate::seq::Seq;
use serde::Serialize;
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
    let (mut events, mut lost) = (0, Lost::default());
    loop {
        let time = [deadline, keeper.due()].into_iter().flatten().min();
        let came = stream.next(&Until { woken: Some(wake), stdout: Some(stdout.as_fd()), time })?;
        match came {
            Came::Lines => {
                // The cursor moves only over what the system has taken.
                let written = write(ctx.out(), *look, stream.batch(), &mut lost);
                let seen = match written.and_then(|seen| ctx.out().flush().map(|()| seen)) {
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
                    return keeper.finish(stream).and(lost.unread().error("").map_or(Ok(()), Err));
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

/// What is said of a line that this version does not know.
pub(super) fn strange() -> Error {
    Error::failed("wehelpd sent a line that this wehelp does not understand")
}

/// An event that cannot be read, as the stream tells it.
#[derive(Serialize)]
struct DamagedEvent<'a> {
    seq: Seq,
    damaged: &'a str,
}

/// What could not be given to who asked for it. Each is told when it is met, in JSON as the stream tells it, and all of them
/// once more by how the program ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Taken by retention, or with a file.
    dropped: u64,
    /// Stored, and not to be read.
    damaged: u64,
}

impl Lost {
    /// Events were dropped before they could be read.
    pub(super) fn dropped(&mut self, out: &Output, range: DroppedRange) {
        let DroppedRange { from, to } = range;
        self.dropped = self.dropped.saturating_add((to.0 + 1).saturating_sub(from.0));
        let which = if from == to { format!("event {to} was") } else { format!("events {from} to {to} were") };
        let message = format!("{which} dropped before being read; going on with {}", to.next());
        out.loss(&Dropped { dropped: range }, &message);
    }

    /// An event is there and cannot be read.
    pub(super) fn damaged(&mut self, out: &Output, seq: Seq, reason: &str) {
        self.damaged += 1;
        let message = format!("event {seq} cannot be read: {reason}; see `wehelpd --salvage`");
        out.loss(&DamagedEvent { seq, damaged: reason }, &message);
    }

    /// Only what is there and cannot be read: who asks for what there is gets what is kept, and is told where that begins.
    fn unread(self) -> Self {
        Self { dropped: 0, ..self }
    }

    /// How the program ends that had nothing else to complain of; `then` is what came of it.
    pub(super) fn error(self, then: &str) -> Option<Error> {
        let events = |n: u64| if n == 1 { "1 event".to_owned() } else { format!("{n} events") };
        let dropped = |n| format!("{} {} dropped before being read", events(n), if n == 1 { "was" } else { "were" });
        let damaged = |n| format!("{} could not be read", events(n));
        let (code, what) = match (self.dropped, self.damaged) {
            (0, 0) => return None,
            (n, 0) => ("dropped", dropped(n)),
            (0, n) => ("damaged", damaged(n)),
            (n, m) => ("dropped", format!("{}, {}", dropped(n), damaged(m))),
        };
        Some(Error::new(Exit::Failed, code, format!("{what}{then}")))
    }
}

fn write(out: &Output, look: Look, batch: &[u8], lost: &mut Lost) -> Result<Seen, Error> {
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
            Line::Damaged(seq, reason) => lost.damaged(out, seq, &reason),
            Line::Dropped(range) => lost.dropped(out, range),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_given_ends_with_1_and_is_counted() {
        let told = |dropped, damaged| Lost { dropped, damaged }.error("!").map(|e| (e.exit, e.code, e.message));
        let error = |code: &'static str, message: &str| Some((Exit::Failed, code.into(), message.to_owned()));
        assert_eq!(told(0, 0), None);
        assert_eq!(told(0, 1), error("damaged", "1 event could not be read!"));
        assert_eq!(told(3, 0), error("dropped", "3 events were dropped before being read!"));
        assert_eq!(told(1, 2), error("dropped", "1 event was dropped before being read, 2 events could not be read!"));
        assert_eq!(Lost { dropped: 3, damaged: 0 }.unread().error(""), None);
    }
}
