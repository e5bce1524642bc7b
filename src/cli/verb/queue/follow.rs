//! `wehelp queue list -f`: each change of a command's state, as it comes.

use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::render::receipt;
use crate::cli::stream::{self, Came, Stream, Until};
use crate::cli::wake::Wake;
use crate::control::{FeedLine, QueueQuery, Receipt, Refusal, Rev};
use serde_json::json;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What a batch of lines came to.
#[derive(Debug, Default)]
struct Seen {
    /// Everything up to here is written, or need not be.
    upto: Option<Rev>,
    /// Commands.
    told: usize,
    /// Nothing is left.
    ended: bool,
    /// The daemon could not go on.
    broken: Option<Refusal>,
}

/// Prints how the commands stand, or with a position nothing of that, and goes on with their changes; until `timeout` has
/// passed, and, unless it `reconnects`, until the daemon ends.
pub(super) fn run(ctx: &Ctx, query: QueueQuery, timeout: Option<Duration>, reconnects: bool) -> Result<(), Error> {
    let heartbeat_ms = u64::try_from(stream::HEARTBEAT.as_millis()).ok();
    let query = QueueQuery { heartbeat_ms, marks: true, ..query };
    let mut wake = Wake::new().map_err(|e| Error::failed(format!("make a pipe: {e}")))?;
    let mut stream = Stream::open(ctx, query, reconnects)?;
    let stdout = std::io::stdout();
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut told = 0;
    loop {
        let came = stream.next(&Until { woken: Some(&wake), stdout: Some(stdout.as_fd()), time: deadline })?;
        match came {
            Came::Lines => {
                let seen = write(ctx, stream.batch())?;
                // Whoever reads has it before a new connection goes on behind it.
                ctx.out().flush()?;
                told += seen.told;
                stream.moved(seen.upto, seen.told as u64);
                if seen.ended {
                    return Ok(());
                }
                if let Some(refusal) = seen.broken {
                    stream.broke(refusal)?;
                }
            }
            Came::ReaderLeft => return Ok(()),
            Came::Woken => wake.heard(),
            Came::Late => {}
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::no_answer(match told {
                0 => "no such change came in time (--timeout)".to_owned(),
                n => format!("only {} came in time (--timeout)", receipt::count(n, "such line")),
            }));
        }
    }
}

fn write(ctx: &Ctx, batch: &[u8]) -> Result<Seen, Error> {
    let strange = || Error::failed("wehelpd sent a line that this wehelp does not understand");
    let mut seen = Seen::default();
    for line in FeedLine::all(batch) {
        let line = line.ok_or_else(strange)?;
        seen.upto = seen.upto.max(line.position());
        match line {
            FeedLine::Command(_, json) => {
                seen.told += 1;
                if ctx.out().is_json() {
                    ctx.out().json_bytes(json)?;
                } else {
                    let receipt: Receipt = serde_json::from_slice(json).map_err(|_| strange())?;
                    ctx.out().text(&receipt::change(&receipt))?;
                }
            }
            FeedLine::Dropped(from, to) => {
                let which =
                    if from == to { format!("change {to} was") } else { format!("changes {from} to {to} were") };
                let message = format!("{which} dropped before being read; going on with {}", to.next());
                ctx.out().loss(&json!({ "dropped": { "from": from, "to": to } }), &message);
            }
            FeedLine::End(_) => seen.ended = true,
            FeedLine::Refused(refusal) => seen.broken = Some(refusal),
            FeedLine::Passed(_) | FeedLine::KeepAlive => {}
        }
    }
    Ok(seen)
}
