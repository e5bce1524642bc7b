//! What can go wrong, the exit code that says so (contract 4), and what to do about it: hints that name commands of this
//! program are written here, not where the fault is.

use crate::control::client;
use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// How `wehelp` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage, nothing was queued.
    Usage = 2,
    /// No daemon.
    NoDaemon = 3,
    /// Not found.
    NotFound = 4,
    /// Refused by the daemon.
    Refused = 5,
    /// No answer in time.
    NoAnswer = 6,
    /// SIGHUP ended it, after what was at work was done: 128 and the signal's number, as shells say it.
    HungUp = 129,
    /// SIGINT did.
    Interrupted = 130,
    /// SIGTERM did.
    Terminated = 143,
}

/// A failure: its exit code, a stable kebab-case code for programs, and a sentence for people that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    /// What the program ends with.
    pub(super) exit: Exit,
    /// For `--json`.
    pub(super) code: Cow<'static, str>,
    /// One sentence, lower case, no full stop. Empty: end without a word (a reader that left, a summary already said).
    pub(super) message: String,
}

impl Error {
    /// A failure.
    pub(super) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code: code.into(), message: message.into() }
    }

    /// Wrong usage, found before anything was queued.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Something failed on this side.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// What was named is not there.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "not-found", message)
    }

    /// The daemon, or good sense, refuses.
    pub(super) fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, code, message)
    }

    /// Nothing came in time.
    pub(super) fn no_answer(message: impl Into<String>) -> Self {
        Self::new(Exit::NoAnswer, "no-answer", message)
    }

    /// The same about an argument that was given by another name than the one that the sentence begins with.
    pub(super) fn about(self, argument: &str, given: &str) -> Self {
        match self.message.strip_prefix(argument).filter(|rest| rest.starts_with(':')) {
            Some(rest) => Self { message: format!("{given}{rest}"), ..self },
            None => self,
        }
    }

    /// Ends with a code and says nothing (more).
    pub(super) fn silent(exit: Exit) -> Self {
        Self { exit, code: "".into(), message: String::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        match &error {
            client::Error::NoDaemon { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::new(
                    Exit::NoDaemon,
                    "no-daemon",
                    format!(
                        "{error}, or it is another user's ({source}); start your own with `wehelp daemon start` or `wehelpd`"
                    ),
                )
            }
            client::Error::NoDaemon { data_dir, .. } => {
                Self::new(Exit::NoDaemon, "no-daemon", format!("{error}; {}", how_to_start(data_dir.as_deref())))
            }
            client::Error::OtherDaemon { data_dir, .. } => {
                Self::new(Exit::NoDaemon, "no-daemon", format!("{error}; {}", how_to_start(Some(data_dir))))
            }
            client::Error::Stranger { .. } => Self::new(
                Exit::NoDaemon,
                "no-daemon",
                format!("{error}; run wehelp as that user, or name the socket of your own wehelpd with --socket"),
            ),
            client::Error::Unsent(_) | client::Error::Broken(_) if client::is_timeout(&error) => Self::new(
                Exit::NoAnswer,
                "no-answer",
                format!("{error}: it hangs, or this machine is very busy; `wehelp daemon logs` may say why"),
            ),
            client::Error::Unsent(_) | client::Error::Broken(_) => Self::new(
                Exit::NoDaemon,
                "daemon-gone",
                format!("{error}; see with `wehelp status` whether wehelpd still runs"),
            ),
            client::Error::Refused { status, refusal } => {
                let exit = match status {
                    400 => Exit::Usage,
                    404 => Exit::NotFound,
                    _ => Exit::Refused,
                };
                Self { exit, code: refusal.error.clone().into(), message: refusal.message.clone() }
            }
            client::Error::Strange(_) => Self::failed(error.to_string()),
        }
    }
}

/// What to do where no daemon is; nothing of that is done by itself.
fn how_to_start(data_dir: Option<&Path>) -> String {
    match data_dir {
        Some(dir) if !dir.is_dir() => "there is no such folder, so correct the name".to_owned(),
        Some(dir) => format!("start it with `wehelp --data-dir {} daemon start`", dir.display()),
        None => "start one with `wehelp daemon start` or `wehelpd`, or name its socket with --socket".to_owned(),
    }
}

/// A failed call of something that changes the daemon: when it may be done all the same, that is said, and where to look.
pub(super) fn maybe_done(see: &str) -> impl Fn(client::Error) -> Error {
    move |error| {
        let may_be_done = error.may_be_done();
        let error = Error::from(error);
        let message =
            if may_be_done { format!("{}; it may be done all the same: {see}", error.message) } else { error.message };
        Error { message, ..error }
    }
}

impl From<crate::protocol::id::Error> for Error {
    fn from(error: crate::protocol::id::Error) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<crate::protocol::command::Error> for Error {
    fn from(error: crate::protocol::command::Error) -> Self {
        Self::usage(error.to_string())
    }
}
