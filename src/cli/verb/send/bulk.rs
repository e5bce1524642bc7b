//! `wehelp send text --from FILE`: many texts, a line each, in memory that does not grow with them.
//!
//! Lines are checked one by one; those that are right are queued in batches, and every line gives its receipt or its
//! error in order, also those that were not handed over any more because the daemon went away. A batch is closed when it
//! is full or when the input has nothing more at this moment, so that a slow writer's lines go at once. A batch that is
//! refused for one of its lines, or because the queue has no room for all of it, is halved until that line is alone; where
//! there is room for no line any more, the rest of the batch is refused with the same sentence. With --key-prefix a line's
//! key says what is sent to whom: a second run queues nothing twice, also when lines were mended, moved or added in
//! between, and however the account was named, for the daemon keeps the keys of each account apart. A signal ends it in
//! order: nothing more is read or handed over, what is under way is given its moment, and every line that was read gets its
//! receipt or error.

use crate::cli::ctx::Ctx;
use crate::cli::enqueue::{self, Enqueuer, Fate, Special, Unfinished};
use crate::cli::error::{Error, Exit};
use crate::cli::names;
use crate::cli::options::Wiring;
use crate::cli::progress::Progress;
use crate::cli::render::receipt;
use crate::cli::wait;
use crate::cli::wake::{self, Signals, Wake};
use crate::cli::who::{Name, Who};
use crate::clock;
use crate::control::{ENQUEUE_MAX, KEY_BYTES_MAX, Receipt, Until};
use crate::protocol::command::{self, Command, WIRE_BYTES_MAX, Wire};
use crate::protocol::id::Wxid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
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
/// After the daemon has gone, the lines that still come within so long of each other get their error.
const REST_PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A line's command.
struct Text {
    wire: Wire,
    key: Option<String>,
    special: Special,
}

/// A line that was read, and where the next one begins.
struct Line {
    number: u64,
    done: u64,
    text: Result<Text, Error>,
}

/// Whom a name means, for an account.
type Looked = HashMap<(Option<String>, Name), Result<Wxid, Error>>;

/// What became of a line.
enum Fared {
    Queued(Box<Receipt>),
    Failed(Error),
}

/// Reads, queues and prints.
///
/// # Errors
/// 1 when a line failed; otherwise as the daemon says, when it takes no more.
pub(super) fn run(ctx: &Ctx, from: &Path, prefix: Option<&str>, wiring: &Wiring) -> Result<(), Error> {
    let mut enqueuer = Enqueuer::new(ctx, wiring)?;
    enqueuer.be_bulk();
    if let Some(prefix) = prefix {
        enqueue::check_key("--key-prefix", &format!("{prefix}-{}", "0".repeat(2 * HASH_BYTES)))?;
    }
    let input = Input::open(from)?;
    let signals = Signals::watch(input.wake.waker(), || ());
    let signals = signals.map_err(|e| Error::failed(format!("watch for signals: {e}")))?;
    ctx.end_with(signals.flag());
    let run = Run {
        ctx,
        enqueuer,
        wiring,
        prefix,
        progress: match input.size {
            Some(size) if size > 0 => Progress::bytes(ctx.out(), size),
            _ => Progress::wait(ctx.out()),
        },
        signals: &signals,
        names: HashMap::new(),
        batch: Vec::new(),
        ended: None,
        full: None,
        tally: Tally::default(),
    };
    run.read(&input, from)
}

/// The input, read until it ends or a signal comes.
struct Input {
    file: File,
    /// Bytes; `None` for standard input.
    size: Option<u64>,
    wake: Wake,
}

impl Input {
    fn open(from: &Path) -> Result<Self, Error> {
        let unread = |e| unread(from, &e);
        let (file, size) = if from == Path::new("-") {
            (File::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(unread)?), None)
        } else {
            let file = File::open(from).map_err(unread)?;
            let size = file.metadata().map_err(unread)?.len();
            (file, Some(size))
        };
        Ok(Self { file, size, wake: Wake::new().map_err(|e| Error::failed(format!("make a pipe: {e}")))? })
    }
}

fn unread(from: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("read `{}`: {error}", from.display()))
}

impl Read for &Input {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let (file, woken) = (Some((self.file.as_fd(), PollFlags::IN)), Some((self.wake.as_fd(), PollFlags::IN)));
        match wake::wait([file, woken], None)? {
            [_, woken] if !woken.is_empty() => Err(std::io::Error::other("a signal came")),
            _ => (&self.file).read(into),
        }
    }
}

/// Whether standard input has more, or has ended, within a moment.
fn more_comes() -> bool {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut fds, Some(&REST_PATIENCE)).is_ok_and(|ready| ready > 0)
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
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    wxid: String,
    text: String,
    key: Option<String>,
    account: Option<String>,
    r#in: Option<Length>,
    at: Option<String>,
    expires: Option<Length>,
}

/// A length of time: as text, or a number of seconds.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a duration as text (`10m`), or a number of seconds")]
enum Length {
    Seconds(u64),
    Text(String),
}

impl Length {
    fn read(self, name: &str) -> Result<Duration, Error> {
        let text = match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text,
        };
        clock::duration(&text).map_err(|e| Error::usage(format!("{name}: {e}")))
    }
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
        Some((wxid, text)) => Ok(Message { wxid: wxid.trim().to_owned(), text: text.to_owned(), ..Message::default() }),
        None => Err(Error::usage("the line has no tab; write WXID, a tab and the text, or a JSON object")),
    }
}

fn make(ctx: &Ctx, line: &[u8], prefix: Option<&str>, time: Option<u64>, names: &mut Looked) -> Result<Text, Error> {
    let Message { wxid, text, key: own_key, account, r#in, at, expires } = parse(line)?;
    let who = Who::parse(&wxid).map_err(|e| Error::usage(format!("wxid: {e}")))?;
    if own_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
        return Err(Error::usage(format!("key: it has 1 to {KEY_BYTES_MAX} bytes")));
    }
    if r#in.is_some() && at.is_some() {
        return Err(Error::usage("give `in` or `at`, not both"));
    }
    let special = Special {
        delay: r#in.map(|length| length.read("in")).transpose()?,
        due: at.map(|at| enqueue::moment_to_come("at", &at)).transpose()?,
        expires: expires.map(|length| length.read("expires")).transpose()?,
        account,
    };
    // Before a name is looked up.
    command::said("text", &text)?;
    let wxid = match &who {
        Who::Id(id) => id.clone(),
        Who::Wrong(_) => names::id_for(ctx, &who, special.account.as_deref())
            // Named as it is in a line.
            .map_err(|error| error.about("WXID", "wxid"))?,
        Who::Name(name) => {
            if names.len() >= NAMES_MAX {
                names.clear();
            }
            let whose = (special.account.clone(), name.clone());
            names.entry(whose).or_insert_with(|| names::id_for(ctx, &who, special.account.as_deref())).clone()?
        }
    };
    let key = own_key.or_else(|| prefix.map(|prefix| key(prefix, wxid.as_str(), &text)));
    Ok(Text { wire: Command::SendText { wxid, text }.to_wire(time)?, key, special })
}

/// The key of a text: what is said to whom. Who says it the daemon knows better than what was typed.
fn key(prefix: &str, wxid: &str, text: &str) -> String {
    let mut hash = Sha256::new();
    for part in [wxid, text] {
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
    /// The command that it is, where it is queued all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
}

/// Why nothing more is handed over.
struct Ended {
    error: Error,
    fate: Fate,
    /// The first and the last line of the request that failed.
    lines: (u64, u64),
}

impl Ended {
    /// What a line of that request is told.
    fn own(&self) -> Error {
        let message = match self.fate {
            Fate::NotQueued => return self.rest(),
            Fate::Unknown => format!("it may be queued, `wehelp queue list --all` shows it: {}", self.error.message),
            Fate::Queued => format!("it is queued, `wehelp queue list --all` shows it: {}", self.error.message),
        };
        Error { message, ..self.error.clone() }
    }

    /// How the call ends.
    fn told(self, twice: &str) -> Error {
        let Self { error, fate, lines: (first, last) } = self;
        let (lines, are) =
            if first == last { (format!("line {first}"), "is") } else { (format!("lines {first} to {last}"), "are") };
        let fate = match fate {
            Fate::NotQueued => format!("{lines} and what follows were not handed over"),
            Fate::Unknown => format!(
                "{lines} may be queued all the same, `wehelp queue list --all` shows them; what follows was not handed \
                 over"
            ),
            Fate::Queued => format!(
                "{lines} {are} queued, `wehelp queue list --all` shows them; what has neither a receipt nor an id behind \
                 them was not handed over"
            ),
        };
        Error { message: format!("{}; {fate}{twice}", error.message), ..error }
    }

    /// What a line behind it is told.
    fn rest(&self) -> Error {
        Error { message: format!("not handed over: {}", self.error.message), ..self.error.clone() }
    }
}

#[derive(Default)]
struct Tally {
    lines: u64,
    /// Lines that are certainly not queued.
    failed: u64,
    /// Lines that are queued, and whose answer did not come or was a refusal: how the first one ended.
    unanswered: u64,
    unanswered_exit: Option<Error>,
    repeated: u64,
    /// Some of those that failed are right, and the queue was full.
    had_no_room: bool,
}

impl Tally {
    /// How the call ends that a signal ended.
    fn interrupted(&self, exit: Exit, ended: Option<&Ended>, twice: &str) -> Error {
        let maybe = match ended {
            Some(Ended { fate: Fate::Unknown, lines: (first, last), .. }) => {
                format!(", and lines {first} to {last} may be: `wehelp queue list --all` shows them")
            }
            _ => String::new(),
        };
        let queued = self.lines - self.failed;
        let are = if queued == 1 { "is" } else { "are" };
        let lines = many(queued, "line");
        let rest = "what has no receipt was not handed over";
        Error::new(exit, "interrupted", format!("ended by a signal: {lines} {are} queued{maybe}; {rest}{twice}"))
    }

    /// How the call ends in which every line was handed over.
    fn told(self, keyed: bool) -> Result<(), Error> {
        let (lines, unanswered) = (many(self.lines, "line"), self.unanswered);
        if self.failed == 0 {
            let Some(first) = self.unanswered_exit else { return Ok(()) };
            let message = format!(
                "{unanswered} of {lines} are queued, but were refused or not answered in time: they are not to be sent \
                 anew; `wehelp queue list --all` shows how they stand"
            );
            return Err(Error { message, ..first });
        }
        let queued = if unanswered > 0 {
            format!("; {unanswered} others are queued and were refused or not answered in time")
        } else {
            String::new()
        };
        let again = if keyed {
            "give the whole input once more: nothing is queued twice"
        } else {
            "give only those lines once more"
        };
        let first = if self.had_no_room { "when the queue has room (`wehelp status`)," } else { "mend them, and" };
        Err(Error::failed(format!("{} of {lines} failed; {first} {again}{queued}", self.failed)))
    }
}

struct Run<'a> {
    ctx: &'a Ctx,
    enqueuer: Enqueuer<'a>,
    wiring: &'a Wiring,
    /// What the keys begin with.
    prefix: Option<&'a str>,
    progress: Progress,
    signals: &'a Signals,
    /// Names that were looked up, and for which account.
    names: Looked,
    batch: Vec<Line>,
    ended: Option<Ended>,
    /// The queue has no room for another line of this batch.
    full: Option<Error>,
    tally: Tally,
}

impl Run<'_> {
    /// Reads, queues and prints all of it.
    fn read(mut self, input: &Input, from: &Path) -> Result<(), Error> {
        let mut reader = BufReader::with_capacity(AHEAD_BYTES, input);
        let (mut line, mut done, mut number) = (Vec::new(), 0_u64, 0_u64);
        loop {
            // Where the daemon is gone, nobody waits for a writer that is in no hurry.
            if self.ended.is_some() && input.size.is_none() && reader.buffer().is_empty() && !more_comes() {
                break;
            }
            let read = match read_line(&mut reader, &mut line) {
                _ if self.signals.asked().is_some() => break,
                read => read.map_err(|e| unread(from, &e))?,
            };
            let Some(read) = read else { break };
            done += read;
            number += 1;
            let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line[..] };
            if !text.trim_ascii().is_empty() {
                self.take(number, done, text)?;
            }
            let starved = !reader.buffer().contains(&b'\n');
            if self.batch.len() >= ENQUEUE_MAX || starved {
                self.flush()?;
                self.progress.at(done);
            }
        }
        self.flush()?;
        self.end()
    }

    /// Takes a line into the batch.
    fn take(&mut self, number: u64, done: u64, line: &[u8]) -> Result<(), Error> {
        let text = match &self.ended {
            Some(ended) => Err(ended.rest()),
            None => make(self.ctx, line, self.prefix, self.wiring.time, &mut self.names),
        };
        if let Err(error) = &text
            && self.ended.is_none()
            && matches!(error.exit, Exit::NoDaemon | Exit::NoAnswer | Exit::Failed)
        {
            // A name could not be looked up: what is wrong is not the line.
            self.flush()?;
            self.ended.get_or_insert(Ended { error: error.clone(), fate: Fate::NotQueued, lines: (number, number) });
        }
        self.batch.push(Line { number, done, text });
        Ok(())
    }

    /// Queues the batch and prints what became of its lines, in order.
    fn flush(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let (mut places, mut texts) = (Vec::with_capacity(batch.len()), Vec::new());
        for Line { number, done, text } in batch {
            let failed = text.map(|text| texts.push((number, text))).err();
            places.push((number, done, failed));
        }
        let mut fared = VecDeque::new();
        self.full = None;
        if !self.wiring.dry_run {
            // What goes into one request has the same account and times.
            let alike =
                |a: &(u64, Text), b: &(u64, Text)| a.1.special == b.1.special && a.1.key.is_some() == b.1.key.is_some();
            for part in texts.chunk_by(alike) {
                self.queue(part, &mut fared);
            }
        }
        let mut texts = texts.into_iter();
        for (number, done, failed) in places {
            let text = if failed.is_none() { texts.next() } else { None };
            match (failed, text) {
                (Some(error), _) => self.fail(number, None, &error)?,
                (None, Some((_, text))) if self.wiring.dry_run => {
                    let out = self.ctx.out();
                    self.progress.beside(out, || out.json_text(text.wire.as_str()))?;
                }
                (None, _) => match fared.pop_front() {
                    Some(Fared::Queued(receipt)) => self.receipt(number, &receipt)?,
                    Some(Fared::Failed(error)) => self.fail(number, None, &error)?,
                    None => {}
                },
            }
            self.tally.lines += 1;
            self.progress.say(many(self.tally.lines, "line"));
            self.progress.at(done);
        }
        self.ctx.out().flush()
    }

    /// Queues lines that are alike, and notes for each how it fared.
    fn queue(&mut self, part: &[(u64, Text)], fared: &mut VecDeque<Fared>) {
        if let Some(ended) = &self.ended {
            fared.extend(part.iter().map(|_| Fared::Failed(ended.rest())));
            return;
        }
        // A line with a key may be queued already, and then it is not refused.
        if let Some(full) = self.full.as_ref().filter(|_| part.iter().all(|(_, text)| text.key.is_none())) {
            fared.extend(part.iter().map(|_| Fared::Failed(full.clone())));
            return;
        }
        let [(first, Text { special, .. }), ..] = part else { return };
        if let Some(asked) = self.signals.asked() {
            let error = Error::new(asked.exit, "interrupted", "ended by a signal");
            let ended = self.ended.insert(Ended { error, fate: Fate::NotQueued, lines: (*first, *first) });
            return fared.extend(part.iter().map(|_| Fared::Failed(ended.rest())));
        }
        let wires: Vec<Wire> = part.iter().map(|(_, text)| text.wire.clone()).collect();
        let keys: Vec<String> = part.iter().filter_map(|(_, text)| text.key.clone()).collect();
        let mut came = 0;
        let done = self.enqueuer.hand_over(self.ctx, &wires, &keys, special, &mut |receipt| {
            came += 1;
            fared.push_back(Fared::Queued(Box::new(receipt)));
            Ok(())
        });
        let Err(Unfinished { fate, for_one, error }) = done else { return };
        if for_one && part.len() > 1 {
            // Nothing of it was queued: all or none.
            let (one, other) = part.split_at(part.len() / 2);
            self.queue(one, fared);
            return self.queue(other, fared);
        }
        if for_one {
            if error.code == enqueue::QUEUE_FULL {
                self.tally.had_no_room = true;
                self.full = Some(error.clone());
            }
            return fared.push_back(Fared::Failed(error));
        }
        let last = part.last().map_or(*first, |(last, _)| *last);
        let ended = self.ended.insert(Ended { error, fate, lines: (*first, last) });
        fared.extend(part.iter().skip(came).map(|_| Fared::Failed(ended.own())));
    }

    fn receipt(&mut self, number: u64, receipt: &Receipt) -> Result<(), Error> {
        self.tally.repeated += u64::from(receipt.repeated);
        let Some(patience) = self.enqueuer.patience(&receipt.api) else {
            return self.progress.beside(self.ctx.out(), || self.ctx.out().receipt(receipt));
        };
        self.ctx.out().flush()?;
        let signal = self.signals.asked().map(|asked| Error::new(asked.exit, "interrupted", "ended by a signal"));
        if let Some(error) = signal.or_else(|| self.ended.as_ref().map(|ended| ended.error.clone())) {
            let message = format!("queued as command {}, and not waited for: {}", receipt.id, error.message);
            return self.unanswered(number, receipt.id, Error { message, ..error });
        }
        let due = receipt.due.since(clock::Time::now());
        let end = Instant::now() + patience.saturating_add(due).min(Duration::from_secs(366 * 86_400));
        match wait::watch(self.ctx, receipt, Until::Answered, end, |_| {}) {
            Ok(outcome) => match wait::failure(&outcome, patience) {
                Some(error) => self.unanswered(number, receipt.id, error),
                None => self.progress.beside(self.ctx.out(), || self.ctx.out().receipt(&outcome.receipt)),
            },
            Err(error) => {
                // The daemon is away for good: nobody waits for the next one as long again.
                let lines = (number, number);
                self.ended = Some(Ended { error: error.clone(), fate: Fate::Queued, lines });
                self.unanswered(number, receipt.id, error)
            }
        }
    }

    /// Tells of a line that is queued, and whose answer is a failure or did not come.
    fn unanswered(&mut self, line: u64, id: u64, error: Error) -> Result<(), Error> {
        self.tally.unanswered += 1;
        self.say(line, Some(id), &error)?;
        self.tally.unanswered_exit.get_or_insert(error);
        Ok(())
    }

    /// Tells of a line that failed.
    fn fail(&mut self, line: u64, id: Option<u64>, error: &Error) -> Result<(), Error> {
        self.tally.failed += 1;
        self.say(line, id, error)
    }

    /// In JSON a failure is a result among the receipts.
    fn say(&self, line: u64, id: Option<u64>, error: &Error) -> Result<(), Error> {
        let out = self.ctx.out();
        self.progress.beside(out, || {
            if out.is_json() && !out.is_quiet() {
                return out.json_line(&Failed { line, error: &error.code, message: &error.message, id });
            }
            out.complain(&Error { message: format!("line {line}: {}", error.message), ..error.clone() });
            Ok(())
        })
    }

    fn end(self) -> Result<(), Error> {
        let Self { ctx, prefix, progress, signals, ended, tally, .. } = self;
        let keyed = prefix.is_some();
        drop(progress);
        if tally.repeated > 0 {
            let were = if tally.repeated == 1 { "was" } else { "were" };
            let texts = many(tally.repeated, "text");
            ctx.out().note(&format!("{texts} had been queued before, and {were} not queued twice"));
        }
        let twice = if keyed { "; with the same --key-prefix the whole input queues nothing twice" } else { "" };
        match (signals.asked(), ended) {
            (Some(asked), ended) => Err(tally.interrupted(asked.exit, ended.as_ref(), twice)),
            (None, Some(ended)) => Err(ended.told(twice)),
            (None, None) => tally.told(keyed),
        }
    }
}

fn many(count: u64, what: &str) -> String {
    receipt::count(usize::try_from(count).unwrap_or(usize::MAX), what)
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
    fn a_key_tells_apart_whom_and_what() {
        let of = |wxid, text| key("p", wxid, text);
        let one = of("a", "bc");
        assert_eq!(one, of("a", "bc"));
        assert!(one.starts_with("p-") && one.len() == 2 + 2 * HASH_BYTES);
        for other in [of("ab", "c"), of("a", "bd")] {
            assert_ne!(one, other);
        }
    }
}
