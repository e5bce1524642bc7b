//! The only place that prints: results on stdout, everything said to people on stderr (contract 4).
//!
//! On a terminal text, anywhere else JSON lines. A reader that has gone ends the program quietly; any other failure to
//! write is an error, since a script must not take half a result for all of it.

use super::error::{Error, Exit};
use super::options::{Global, When};
use super::render;
use crate::control::Receipt;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// The way to print.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    json_errors: bool,
    /// stdout is a terminal.
    terminal: bool,
    errors: Errors,
    quiet: bool,
    /// A reader that has gone does not end the program: it has more to do than to print.
    outlives: Cell<bool>,
    /// Why a sender's results could not be printed, when that was not its reader's leaving.
    lost: RefCell<Option<io::Error>>,
    /// Nobody reads any more.
    unread: Cell<bool>,
    out: RefCell<io::BufWriter<io::Stdout>>,
}

impl Output {
    pub(super) fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        colored::control::set_override(coloured(global.color, terminal));
        Self {
            terminal,
            errors: Errors::new(global.color),
            json: global.json || (!terminal && !global.text),
            json_errors: global.json,
            quiet: global.quiet,
            outlives: Cell::new(false),
            lost: RefCell::default(),
            unread: Cell::new(false),
            out: RefCell::new(io::BufWriter::with_capacity(64 * 1024, io::stdout())),
        }
    }

    /// Whether results are printed as JSON lines.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether receipts and everything but errors is left out.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether somebody may watch stderr while we wait: progress is drawn only then.
    pub(super) fn is_watched(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// The width of the terminal that stdout is, columns.
    pub(super) fn columns(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Prints one result: the value as a JSON line, or what `text` makes of it.
    pub(super) fn print<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Error> {
        if self.json { self.json_line(value) } else { self.text(&text(value)) }
    }

    /// Prints a receipt; not with -q.
    pub(super) fn receipt(&self, receipt: &Receipt) -> Result<(), Error> {
        if self.quiet { Ok(()) } else { self.print(receipt, render::receipt::sentence) }
    }

    /// Prints results: a JSON line each, or a table.
    pub(super) fn table<T: Serialize>(
        &self,
        values: &[T],
        head: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Error> {
        if self.json {
            return values.iter().try_for_each(|value| self.json_line(value));
        }
        let rows: Vec<_> = values.iter().map(row).collect();
        self.text(&render::table(head, &rows, self.columns()))
    }

    /// Prints a value as a JSON line.
    pub(super) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), Error> {
        let line = serde_json::to_vec(value).map_err(|e| Error::failed(format!("print as JSON: {e}")))?;
        self.json_bytes(&line)
    }

    /// Prints a line of JSON that was made elsewhere.
    pub(super) fn json_text(&self, line: &str) -> Result<(), Error> {
        self.json_bytes(line.as_bytes())
    }

    /// As [`Output::json_text`].
    pub(super) fn json_bytes(&self, line: &[u8]) -> Result<(), Error> {
        if self.terminal {
            self.bytes(&render::json_for_terminal(line))?;
        } else {
            self.bytes(line)?;
        }
        self.bytes(b"\n")
    }

    /// Prints text; a missing line end is added.
    pub(super) fn text(&self, text: &str) -> Result<(), Error> {
        self.bytes(text.as_bytes())?;
        if text.is_empty() || text.ends_with('\n') { Ok(()) } else { self.bytes(b"\n") }
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        self.written(|out| out.write_all(bytes))
    }

    /// Hands over to the system what was printed: before a wait, and before a cursor moves.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.written(Write::flush)
    }

    /// From now on a reader that goes away, or a disk that is full, ends only the printing.
    pub(super) fn outlive_reader(&self) {
        self.outlives.set(true);
    }

    fn written(&self, write: impl FnOnce(&mut io::BufWriter<io::Stdout>) -> io::Result<()>) -> Result<(), Error> {
        if self.unread.get() {
            return Ok(());
        }
        let mut out = self.out.borrow_mut();
        match write(&mut out) {
            Ok(()) => Ok(()),
            Err(error) if self.outlives.get() => {
                self.unread.set(true);
                if error.kind() != io::ErrorKind::BrokenPipe {
                    *self.lost.borrow_mut() = Some(error);
                }
                // What the buffer holds has no reader, and must not be tried anew when it is dropped.
                let (_stdout, _unread) = std::mem::replace(&mut *out, io::BufWriter::new(io::stdout())).into_parts();
                Ok(())
            }
            Err(error) => Err(unwritten(&error)),
        }
    }

    /// After the last result. What a sender could not print is told: what it did is done all the same.
    pub(super) fn finish(&self) -> Result<(), Error> {
        self.flush()?;
        match self.lost.borrow_mut().take() {
            None => Ok(()),
            Some(error) => Err(Error::failed(format!(
                "write to standard output: {error}; what was asked for is done all the same, `wehelp queue list --all` \
                 shows the commands"
            ))),
        }
    }

    /// Tells people something by the way; not with -q.
    pub(super) fn note(&self, message: &str) {
        if !self.quiet {
            self.errors.say("", message);
        }
    }

    /// Warns people; not with -q.
    pub(super) fn warn(&self, message: &str) {
        if !self.quiet {
            self.errors.say(WARNING, message);
        }
    }

    /// Tells of something that is lost, also with -q: as text, or as one JSON object with --json.
    pub(super) fn loss<T: Serialize>(&self, value: &T, message: &str) {
        // Whatever was printed before comes first.
        drop(self.out.borrow_mut().flush());
        match serde_json::to_string(value) {
            Ok(line) if self.json_errors => self.errors.json(&line),
            _ => self.errors.say(WARNING, message),
        }
    }

    /// Tells of a failure that does not end the program (one line of many, one run of many).
    pub(super) fn complain(&self, error: &Error) {
        self.failure(error);
    }

    /// Tells of failures: one is the program's own, of several each is said.
    ///
    /// # Errors
    /// With what the first one ends.
    pub(super) fn told(&self, mut failures: Vec<Error>) -> Result<(), Error> {
        /// This many are told one by one.
        const TOLD_MAX: usize = 10;
        if failures.len() < 2 {
            return failures.pop().map_or(Ok(()), Err);
        }
        failures.iter().take(TOLD_MAX).for_each(|error| self.complain(error));
        let more = failures.len().saturating_sub(TOLD_MAX);
        let message = if more > 0 { format!("and {more} more like these") } else { String::new() };
        Err(Error { message, ..failures.swap_remove(0) })
    }

    fn failure(&self, error: &Error) {
        if error.message.is_empty() {
            return;
        }
        // Whatever was printed before comes first.
        drop(self.out.borrow_mut().flush());
        self.errors.failure(error, self.json_errors);
    }

    /// Says what went wrong, if anything, and gives the exit code.
    pub(super) fn exit(&self, done: Result<(), Error>) -> ExitCode {
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                self.failure(&error);
                ExitCode::from(error.exit as u8)
            }
        }
    }
}

/// A word in front of a message, and how it is coloured.
type Mark = &'static str;
const WARNING: Mark = "\u{1b}[33mwarning:\u{1b}[0m ";
const ERROR: Mark = "\u{1b}[1;31merror:\u{1b}[0m ";

/// What is said on stderr, which may be a terminal where stdout is none, and the reverse.
#[derive(Debug)]
struct Errors {
    terminal: bool,
    coloured: bool,
}

impl Errors {
    fn new(when: When) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, coloured: coloured(when, terminal) }
    }

    fn say(&self, mark: Mark, message: &str) {
        let mark = if self.coloured { mark.into() } else { render::clean(mark) };
        // A closed stderr is no reason to fail.
        drop(writeln!(io::stderr(), "wehelp: {mark}{}", render::clean(message)));
    }

    fn json(&self, line: &str) {
        let line = if self.terminal { render::json_for_terminal(line.as_bytes()) } else { line.as_bytes().into() };
        drop(io::stderr().write_all(&[&line[..], b"\n"].concat()));
    }

    fn failure(&self, error: &Error, json: bool) {
        if json {
            let object = serde_json::json!({ "error": error.code, "message": error.message, "exit": error.exit as u8 });
            self.json(&object.to_string());
        } else {
            self.say(ERROR, &error.message);
        }
    }
}

/// A reader that left ends the program quietly; everything else is a failure.
fn unwritten(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Error::silent(Exit::Done)
    } else {
        Error::failed(format!("write to standard output: {error}"))
    }
}

/// Whether to colour what goes to a stream, which is a terminal or not.
fn coloured(when: When, terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty() && v != "0");
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) => false,
        When::Auto => set("CLICOLOR_FORCE") || (terminal && std::env::var_os("TERM").is_none_or(|t| t != "dumb")),
    }
}

/// Prints what was asked for instead of a verb: help, or the version.
pub(super) fn said(text: &str, color: When) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Errors::new(color).say(ERROR, &format!("write to standard output: {e}"));
            ExitCode::from(Exit::Failed as u8)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints the help to who asked for nothing.
pub(super) fn helped(text: &str) -> ExitCode {
    drop(io::stderr().write_all(text.as_bytes()));
    ExitCode::from(Exit::Usage as u8)
}

/// Says what is wrong with the arguments.
pub(super) fn wrong(message: String, color: When, json: bool) -> ExitCode {
    Errors::new(color).failure(&Error::usage(message), json);
    ExitCode::from(Exit::Usage as u8)
}
