//! A refusal as a door tells it: the one place where what a part refuses becomes a status, a code, and a hint.

use crate::control::{self, State};
use crate::daemon::blocking::{Panicked, blocking};
use crate::daemon::{accounts, cursors, forwards, log, queue};
use crate::store;
use std::borrow::Cow;
use std::fmt::Display;

/// Status, kebab-case code, sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// Stable kebab-case code.
    pub(crate) code: &'static str,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// As CLI and programs get it.
    pub(crate) fn told(&self) -> control::Refusal {
        control::Refusal { error: self.code.to_owned(), message: self.message.clone() }
    }
}

/// Reads what may block, for a door.
pub(super) async fn look<T, E>(read: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: Into<Refusal>,
{
    blocking(move || read().map_err(Into::into)).await
}

/// Status, code, and what to do, where the sentence does not say it.
type Row = (u16, &'static str, Cow<'static, str>);

fn row(status: u16, code: &'static str) -> Row {
    (status, code, Cow::Borrowed(""))
}

fn hinted(status: u16, code: &'static str, hint: impl Into<Cow<'static, str>>) -> Row {
    (status, code, hint.into())
}

fn of((status, code, hint): Row, sentence: &dyn Display) -> Refusal {
    Refusal::new(status, code, if hint.is_empty() { sentence.to_string() } else { format!("{sentence}; {hint}") })
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let row = match error {
            store::Error::Refusing(_) => hinted(503, "store-refuses-writes", "what was stored stays readable"),
            _ => row(500, "store-failed"),
        };
        of(row, &error)
    }
}

impl From<Panicked> for Refusal {
    fn from(panicked: Panicked) -> Self {
        of(hinted(500, "internal", "the daemon's log says more"), &panicked)
    }
}

impl From<accounts::refused::Refused> for Refusal {
    fn from(refused: accounts::refused::Refused) -> Self {
        use accounts::refused::Refused;
        let row = match &refused {
            Refused::Unnamed { known } => hinted(409, "ambiguous-account", format!("name one with --account: {known}")),
            Refused::Ambiguous { several, .. } => {
                hinted(409, "ambiguous-account", format!("name one by its wxid: {several}"))
            }
            Refused::Unknown { known, .. } => hinted(404, "unknown-account", format!("known: {known}")),
        };
        of(row, &refused)
    }
}

impl From<accounts::forget::Refused> for Refusal {
    fn from(refused: accounts::forget::Refused) -> Self {
        use accounts::forget::Refused;
        match refused {
            Refused::Queue(refused) => refused.into(),
            Refused::InUse { .. } => {
                of(hinted(409, "account-in-use", "--force forgets it, and cancels what waits"), &refused)
            }
        }
    }
}

impl From<queue::refused::Refused> for Refusal {
    fn from(refused: queue::refused::Refused) -> Self {
        use queue::refused::Refused;
        let row = match refused {
            Refused::Accounts(refused) => return refused.into(),
            Refused::Log(refused) => return refused.into(),
            Refused::Store(error) => return error.into(),
            Refused::Panicked(panicked) => return panicked.into(),
            Refused::Ahead { .. } => hinted(409, "ahead", "begin again, without a position"),
            Refused::NotFound(_) => hinted(404, "not-found", "`wehelp queue list --all` shows those kept"),
            Refused::Gone { .. } => hinted(409, "too-late", "only what no client has fetched can be cancelled"),
            Refused::Over { .. } => hinted(409, "too-late", "queue it anew instead"),
            Refused::OnItsWay(_) => row(409, "too-late"),
            Refused::NotDue { .. } => hinted(409, "not-due", "cancel it and queue it anew"),
            Refused::KeyGone { other, .. } => hinted(409, "key-reused", format!("see `wehelp queue show {other}`")),
            Refused::KeyTwice(_) => row(409, "key-reused"),
            Refused::KeyUsed { .. } => hinted(409, "key-reused", "use another key"),
            Refused::Accepted { other, .. } => {
                hinted(409, "already-accepted", format!("see `wehelp queue show {other}`"))
            }
            Refused::Full { .. } | Refused::NoRoom { .. } => hinted(429, "queue-full", "is the client still polling?"),
            Refused::AskOpen(_) => {
                hinted(409, "ask-open", "ask again later, or without --no-queue to wait for the turn")
            }
            Refused::NotAText => hinted(400, "no-question", "give one `sendTextMessage`"),
            Refused::NoQuestion => row(400, "no-question"),
            Refused::Empty => hinted(400, "no-command", "give at least one"),
            Refused::TooMany => hinted(400, "too-many-commands", "send the rest in another"),
            Refused::KeyMissing | Refused::KeyLength => row(400, "bad-key"),
            Refused::PatternLength(_) => {
                hinted(400, "bad-key", format!("a key has at most {}", control::KEY_BYTES_MAX))
            }
            Refused::Command(_) => row(400, "bad-command"),
            Refused::DueTwice => row(400, "bad-time"),
            Refused::Past => hinted(400, "bad-time", "give a moment to come, or leave it out for at once"),
            Refused::NoState(_) => {
                hinted(400, "bad-state", format!("there are {}", State::ALL.map(State::as_str).join(", ")))
            }
            Refused::Unfiltered => row(400, "no-filter"),
            Refused::Finished => hinted(400, "bad-state", "leave the other states out"),
        };
        of(row, &refused)
    }
}

impl From<log::refused::Refused> for Refusal {
    fn from(refused: log::refused::Refused) -> Self {
        use log::refused::Refused;
        let row = match refused {
            Refused::Store(error) => return error.into(),
            Refused::Panicked(panicked) => return panicked.into(),
            Refused::Position(_) => hinted(400, "bad-time", "write # and a number, as #17"),
            Refused::Moment(_) => row(400, "bad-time"),
            Refused::Ahead { .. } => hinted(409, "ahead", "begin again, with `oldest`, `now` or a time"),
            Refused::OtherLog => hinted(409, control::OTHER_LOG, "start this reader again"),
            Refused::NotFound { ref kept, .. } => hinted(404, "not-found", kept.clone()),
            Refused::Lost { .. } | Refused::Damaged { .. } => row(500, "damaged"),
            Refused::Unread => hinted(500, "read-failed", "see the daemon's log"),
            Refused::Pattern(_) => row(400, "bad-match"),
            Refused::NoKind { nearest: Some(ref nearest), .. } => {
                hinted(400, "bad-kind", format!("the nearest is `{nearest}`"))
            }
            Refused::NoKind { nearest: None, .. } => hinted(400, "bad-kind", "wehelp-events(7) lists them"),
        };
        of(row, &refused)
    }
}

impl From<cursors::Refused> for Refusal {
    fn from(refused: cursors::Refused) -> Self {
        use cursors::Refused;
        let row = match refused {
            Refused::Log(refused) => return refused.into(),
            Refused::Store(error) => return error.into(),
            Refused::Panicked(panicked) => return panicked.into(),
            Refused::Name => row(400, "bad-cursor"),
            Refused::NotFound(_) => hinted(404, "not-found", "`wehelp cursor list` shows those there are"),
            Refused::Taken { .. } => hinted(409, "cursor-in-use", "stop that reader or use another cursor"),
            Refused::Read { .. } => hinted(409, "cursor-in-use", "stop that reader first"),
            Refused::NoLease { .. } => {
                hinted(409, "cursor-in-use", "give the lease of its stream (`Wehelp-Lease`), or stop that reader first")
            }
            Refused::LeaseLost { .. } => hinted(409, "cursor-in-use", "this reader lost it"),
        };
        of(row, &refused)
    }
}

impl From<forwards::Refused> for Refusal {
    fn from(refused: forwards::Refused) -> Self {
        use forwards::Refused;
        let row = match refused {
            Refused::Log(refused) => return refused.into(),
            Refused::Queue(refused) => return refused.into(),
            Refused::Store(error) => return error.into(),
            Refused::NotFound(_) => hinted(404, "not-found", "`wehelp forward list` shows those there are"),
            Refused::AtNothing(ref name) => {
                hinted(409, "nothing-to-skip", format!("`wehelp forward set {name} MOMENT` moves it"))
            }
            Refused::NotTaken { .. } => row(502, "forward-failed"),
            Refused::Name => row(400, "bad-name"),
            Refused::Url(_) => row(400, "bad-url"),
            Refused::Secret => row(400, "bad-secret"),
            Refused::MaxAge => row(400, "bad-max-age"),
            Refused::Ca(_) => row(400, "bad-ca"),
            Refused::TooMany => hinted(429, "too-many-forwards", "remove one first"),
            Refused::Circle | Refused::Passed => hinted(508, forwards::post::LOOP, "it ends here"),
        };
        of(row, &refused)
    }
}
