//! `wehelp send text --from FILE`: many texts, a line each, in memory that does not grow with them.
//!
//! Lines are checked one by one; those that are right are queued in batches, and every line gives its receipt or its
//! error in order. A batch is closed when it is full or when the input has nothing more at this moment, so that a slow
//! writer's lines go at once. With --key-prefix a line's key says what is sent to whom: a second run queues nothing
//! twice, also when lines were mended, moved or added in between.

use crate::cli::args::Wiring;
use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::progress::Progress;
use crate::cli::queueing::{self, Plan};
use crate::cli::render::receipt::count;
use crate::cli::who::Who;
use crate::control::{ENQUEUE_MAX, Receipt, Until};
use crate::protocol::command::{Command, WIRE_BYTES_MAX, Wire};
use crate::protocol::id::Wxid;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest line, bytes: the longest command and as much again for JSON's own escapes.
const LINE_BYTES_MAX: usize = WIRE_BYTES_MAX * 2;
/// What is read ahead, bytes: about as much as a batch.
const AHEAD_BYTES: usize = 64 * 1024;
/// Names that are remembered; a list with more different ones asks again.
const NAMES_MAX: usize = 10_000;
/// Bytes of the hash in a key: enough that no two lines ever share one.
const HASH_BYTES: usize = 12;

/// A line's command, or why there is none.
type Line = Result<(Wire, Option<String>), Error>;

/// Reads, queues and prints.
///
/// # Errors
/// 1 when a line failed; otherwise as the daemon says, when it refuses the rest.
pub(super) fn run(ctx: &Ctx, from: &Path, prefix: Option<&str>, wiring: &Wiring) -> Result<(), Error> {
    let plan = Plan::new(ctx, wiring)?;
    if let Some(prefix) = prefix {
        queueing::check_key("--key-prefix", &format!("{prefix}-{}", "0".repeat(2 * HASH_BYTES)))?;
    }
    let unread = |e: std::io::Error| Error::failed(format!("read `{}`: {e}", from.display()));
    let (input, size): (Box<dyn Read>, u64) = if from == Path::new("-") {
        (Box::new(std::io::stdin()), 0)
    } else {
        let file = File::open(from).map_err(unread)?;
        let size = file.metadata().map_err(unread)?.len();
        (Box::new(file), size)
    };
    let progress = if size > 0 { Progress::bytes(ctx.out(), size) } else { Progress::wait(ctx.out()) };
    let mut run = Run { ctx, plan, wiring, progress, batch: Vec::new(), first: 1, lines: 0, failed: 0, repeated: 0 };
    let mut names = HashMap::new();
    let mut reader = BufReader::with_capacity(AHEAD_BYTES, input);
    let (mut line, mut done) = (Vec::new(), 0_u64);
    loop {
        let read = read_line(&mut reader, &mut line).map_err(unread)?;
        let Some(read) = read else { break };
        done += read;
        run.lines += 1;
        let text = if run.lines == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line[..] };
        if !text.trim_ascii().is_empty() {
            let made = make(ctx, text, prefix, wiring.time, &mut names);
            if let Err(error) = &made
                && matches!(error.exit, Exit::NoDaemon | Exit::Failed)
            {
                run.flush()?;
                return Err(error.clone());
            }
            run.batch.push((run.lines, made));
        }
        let starved = !reader.buffer().contains(&b'\n');
        if run.batch.len() >= ENQUEUE_MAX || starved {
            run.flush()?;
            run.progress.at(done);
        }
    }
    run.flush()?;
    run.end(prefix.is_some())
}

/// Reads one line without its end; gives the bytes that it took, `None` at the end of the input. Of a line that is too
/// long only the beginning is kept.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
    line.clear();
    let mut taken = 0;
    loop {
        let ahead = match reader.fill_buf() {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            ahead => ahead?,
        };
        if ahead.is_empty() {
            return Ok((taken > 0).then_some(taken));
        }
        let end = ahead.iter().position(|b| *b == b'\n');
        let part = &ahead[..end.unwrap_or(ahead.len())];
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        taken += used as u64;
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Some(taken));
        }
    }
}

/// A line as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    wxid: String,
    text: String,
}

/// Takes a line apart: `WXID<TAB>TEXT`, or a JSON object.
fn parse(line: &[u8]) -> Result<Message, Error> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Error::usage(format!("the line has more than {LINE_BYTES_MAX} bytes; a message is far shorter")));
    }
    let line = std::str::from_utf8(line).map_err(|e| Error::usage(format!("the line is no UTF-8 ({e})")))?;
    if line.trim_start().starts_with('{') {
        return serde_json::from_str(line)
            .map_err(|e| Error::usage(format!("the line is no object with `wxid` and `text`: {e}")));
    }
    match line.split_once('\t') {
        Some((wxid, text)) => Ok(Message { wxid: wxid.trim().to_owned(), text: text.to_owned() }),
        None => Err(Error::usage("the line has no tab; write WXID, a tab and the text, or a JSON object")),
    }
}

fn make(
    ctx: &Ctx,
    line: &[u8],
    prefix: Option<&str>,
    time: Option<u64>,
    names: &mut HashMap<String, Result<Wxid, Error>>,
) -> Line {
    let Message { wxid, text } = parse(line)?;
    let who = Who::parse(&wxid).map_err(|e| Error::usage(format!("wxid: {e}")))?;
    // The text is checked before a name is looked up.
    let stand_in = Command::SendText { wxid: Wxid::parse("filehelper")?, text: text.clone() };
    stand_in.to_wire(time)?;
    let wxid = match &who {
        Who::Id(id) => id.clone(),
        Who::Name(name) => {
            if names.len() >= NAMES_MAX {
                names.clear();
            }
            names.entry(name.clone()).or_insert_with(|| who.id(ctx)).clone()?
        }
    };
    let key = prefix.map(|prefix| key(prefix, ctx.global().account.as_deref(), wxid.as_str(), &text));
    Ok((Command::SendText { wxid, text }.to_wire(time)?, key))
}

/// The key of a text: who says what to whom.
fn key(prefix: &str, account: Option<&str>, wxid: &str, text: &str) -> String {
    let mut hash = Sha256::new();
    for part in [account.unwrap_or_default(), wxid, text] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("{prefix}-{}", data_encoding::HEXLOWER.encode(&hash.finalize()[..HASH_BYTES]))
}

/// A line that failed, as a result of its own.
#[derive(serde::Serialize)]
struct Failed<'a> {
    line: u64,
    error: &'a str,
    message: &'a str,
}

struct Run<'a> {
    ctx: &'a Ctx,
    plan: Plan<'a>,
    wiring: &'a Wiring,
    progress: Progress,
    batch: Vec<(u64, Line)>,
    /// The first line of the batch.
    first: u64,
    lines: u64,
    failed: u64,
    repeated: u64,
}

impl Run<'_> {
    /// Queues the batch and prints what became of its lines, in order.
    fn flush(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let range = (self.first, self.lines);
        self.first = self.lines + 1;
        let wires: Vec<Wire> = batch.iter().filter_map(|(_, line)| Some(line.as_ref().ok()?.0.clone())).collect();
        let keys: Vec<String> = batch.iter().filter_map(|(_, line)| line.as_ref().ok()?.1.clone()).collect();
        let mut receipts = Vec::with_capacity(wires.len());
        let queued = if self.wiring.dry_run || wires.is_empty() {
            Ok(())
        } else {
            self.plan.enqueue(self.ctx, &wires, &keys, |receipt| {
                receipts.push(receipt);
                Ok(())
            })
        };
        // Of a batch that the daemon refused, the part before may be queued.
        let mut receipts = receipts.into_iter();
        for (number, line) in batch {
            match line {
                Err(error) => self.fail(number, &error)?,
                Ok((wire, _)) if self.wiring.dry_run => {
                    let out = self.ctx.out();
                    self.progress.beside(out, || out.text(wire.as_str()))?;
                }
                Ok(_) => match receipts.next() {
                    Some(receipt) => self.receipt(number, &receipt)?,
                    None => break,
                },
            }
        }
        queued.map_err(|error| {
            let (first, last) = range;
            let lines = if first == last { format!("line {first}") } else { format!("lines {first} to {last}") };
            let message = format!(
                "{lines}: {}; what has a receipt is queued, the rest is not (--key-prefix makes it \
                 safe to run it all again)",
                error.message
            );
            Error { message, ..error }
        })?;
        self.ctx.out().flush()
    }

    fn receipt(&mut self, number: u64, receipt: &Receipt) -> Result<(), Error> {
        self.repeated += u64::from(receipt.repeated);
        let Some(patience) = self.plan.patience(&receipt.api) else {
            return self.progress.beside(self.ctx.out(), || queueing::print_receipt(self.ctx, receipt));
        };
        let due = receipt.due.since(crate::clock::Time::now());
        let end = Instant::now() + patience.saturating_add(due).min(Duration::from_secs(366 * 86_400));
        let outcome = queueing::watch(self.ctx, receipt.id, Until::Answered, end, |_| {})?;
        match queueing::failure(&outcome, patience) {
            Some(error) => self.fail(number, &error),
            None => self.progress.beside(self.ctx.out(), || queueing::print_receipt(self.ctx, &outcome.receipt)),
        }
    }

    /// Tells of a line that failed: in JSON it is a result among the receipts.
    fn fail(&mut self, line: u64, error: &Error) -> Result<(), Error> {
        self.failed += 1;
        let out = self.ctx.out();
        self.progress.beside(out, || {
            if out.is_json() && !out.is_quiet() {
                return out.json_line(&Failed { line, error: &error.code, message: &error.message });
            }
            out.complain(&Error { message: format!("line {line}: {}", error.message), ..error.clone() });
            Ok(())
        })
    }

    fn end(self, keyed: bool) -> Result<(), Error> {
        drop(self.progress);
        let n = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        if self.repeated > 0 {
            self.ctx.out().note(&format!(
                "{} had been queued before, and were not queued again",
                count(n(self.repeated), "text")
            ));
        }
        if self.failed == 0 {
            return Ok(());
        }
        let again = if keyed {
            "mend them and run it again: what is queued is not queued twice"
        } else {
            "mend them and run those lines again"
        };
        Err(Error::failed(format!("{} of {} failed; {again}", self.failed, count(n(self.lines), "line"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = BufReader::with_capacity(7, input);
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while read_line(&mut reader, &mut line).unwrap().is_some() {
            all.push(line.clone());
        }
        all
    }

    #[test]
    fn lines_end_with_either_line_break_or_with_the_input() {
        assert_eq!(lines(b"a\tb\r\n\nlong line here\nend"), [&b"a\tb"[..], b"", b"long line here", b"end"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_that_never_ends_does_not_fill_the_memory() {
        let input = [vec![b'x'; 10 * LINE_BYTES_MAX], b"\nwxid_a\tb\n".to_vec()].concat();
        let all = lines(&input);
        assert_eq!((all.len(), all[0].len(), &all[1][..]), (2, LINE_BYTES_MAX + 1, &b"wxid_a\tb"[..]));
        assert!(parse(&all[0]).unwrap_err().message.contains("bytes"));
    }

    #[test]
    fn a_line_is_tab_separated_or_json() {
        let message = parse(b"wxid_a\tone\ttwo ").unwrap();
        assert_eq!((message.wxid.as_str(), message.text.as_str()), ("wxid_a", "one\ttwo "));
        let message = parse(br#" {"text":"two\nlines","wxid":"b"}"#).unwrap();
        assert_eq!((message.wxid.as_str(), message.text.as_str()), ("b", "two\nlines"));
        for bad in [&b"no tab"[..], b"\xff\tx", br#"{"wxid":"a"}"#, br#"{"wxid":"a","text":"b","acount":"c"}"#] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_tells_apart_whom_what_and_who() {
        let of = |account, wxid, text| key("p", account, wxid, text);
        let one = of(None, "a", "bc");
        assert_eq!(one, of(None, "a", "bc"));
        assert!(one.starts_with("p-") && one.len() == 2 + 2 * HASH_BYTES);
        for other in [of(None, "ab", "c"), of(Some("a"), "a", "bc"), of(None, "a", "bd")] {
            assert_ne!(one, other);
        }
    }
}
