//! Why the log refuses.

use crate::daemon::blocking::Panicked;
use crate::near;
use crate::seq::Seq;
use crate::store;

/// What was asked of the log cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("`{0}` is no position")]
    Position(String),
    /// No moment.
    #[error("{0}")]
    Moment(String),
    #[error(
        "{what} stands after event {seq}, and the log has only come to {tail}: it is another log than the one that was \
         read (was a backup restored?)"
    )]
    Ahead { what: String, seq: Seq, tail: Seq },
    #[error(
        "wehelpd has another log of events than the one that was read (was a backup restored?), and its numbers are of \
         other events"
    )]
    OtherLog,
    /// What is kept instead.
    #[error("there is no event {seq}")]
    NotFound { seq: Seq, kept: String },
    #[error("event {seq} is lost: what held {from} to {to} in the journal is gone or damaged")]
    Lost { seq: Seq, from: Seq, to: Seq },
    #[error("event {seq} cannot be read: {reason}")]
    Damaged { seq: Seq, reason: String },
    #[error("reading the log failed")]
    Unread,
    #[error("--match is no regular expression: {}", near::fault(&.0.to_string()))]
    Pattern(regex::Error),
    #[error("no kind of event is called `{pattern}`")]
    NoKind { pattern: String, nearest: Option<String> },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}
