//! What CLI and daemon say to each other over the control door: HTTP/1.1 with JSON and NDJSON under `/v1/`.
//!
//! | method, path | body or query | answer |
//! |---|---|---|
//! | `GET /v1/status` | [`StatusQuery`] | [`Status`] |
//! | `GET /v1/config` | | NDJSON of the settings that this daemon runs with: `key`, `value`, `from` (`flag`, `variable`, `file`, `activation`, `default`) and `source`: the flag, the variable, or `FILE:LINE` |
//! | `POST /v1/commands` | [`Enqueue`] | NDJSON of [`Receipt`], one a command, in order |
//! | `GET /v1/commands` | [`QueueQuery`] | NDJSON of [`Receipt`], oldest first; with `follow` or `after` the changes of their states |
//! | `GET /v1/commands/ID` | | [`Receipt`] |
//! | `GET /v1/commands/ID/wait` | [`WaitQuery`] | NDJSON of [`Progress`]: at once and at each change |
//! | `POST /v1/commands/ID/cancel`, `…/retry` | | [`Receipt`] |
//! | `POST /v1/commands/cancel` | [`CancelQuery`] | NDJSON, oldest first: the [`Receipt`] of each command that was cancelled, a [`NotCancelled`] for each that could not be |
//! | `POST /v1/asks` | [`Enqueue`] of one text; [`AskQuery`] | NDJSON: one [`Progress`] with the receipt; then the stream stays open. Only one question is open per account and chat; its turn ends with its answer, with its time, or when the reader closes the stream |
//! | `GET /v1/asks/ID` | [`AskQuery`] | the same, to take a question up again after the connection was lost |
//! | `POST /v1/queue/pause`, `…/resume` | [`Named`], or `{}` for all accounts | [`Paused`] |
//! | `GET /v1/events` | [`EventsQuery`] | NDJSON of entries (contract 7) |
//! | `GET /v1/events/SEQ` | | one entry |
//! | `GET /v1/events/SEQ/bytes` | | its callback's body, as it was received |
//! | `GET /v1/cursors` | | NDJSON of [`Cursor`] |
//! | `PUT /v1/cursors/NAME` | [`CursorSet`] | [`Cursor`] |
//! | `POST /v1/cursors/NAME/commit` | [`CursorCommit`] | [`Cursor`] |
//! | `DELETE /v1/cursors/NAME` | | 204 |
//! | `GET /v1/accounts` | | NDJSON of [`Account`] |
//! | `DELETE /v1/accounts/NAME` | [`ForgetQuery`] | [`Forgotten`] |
//! | `GET /v1/contacts` | [`DirectoryQuery`] | NDJSON of contacts and rooms |
//! | `GET /v1/contacts/WXID` | `account` | one |
//! | `GET /v1/rooms`, `GET /v1/rooms/ROOM/members` | [`DirectoryQuery`] | NDJSON |
//! | `GET /v1/requests` | [`DirectoryQuery`] | NDJSON of open friend requests |
//! | `GET /v1/resolve` | [`ResolveQuery`] | NDJSON of matches |
//! | `GET /v1/forwards`; `GET`, `PUT`, `DELETE /v1/forwards/NAME`; `POST /v1/forwards/NAME/pause`, `resume`, `skip`, `set`, `test`, `resend` | [`Forward`] | NDJSON of [`Forward`] |
//! | `GET /v1/token` | | [`Token`] |
//! | `POST /v1/token/rotate` | [`TokenRotate`] | [`Token`] |
//! | `GET /v1/backup` | | the archive, as bytes; whole only when the answer ends in order |
//!
//! Errors are `{"error":"<kebab-code>","message":"…"}` with a status that says what the CLI's exit code is:
//! 400 → 2, 404 → 4, everything else of 4xx and 5xx → 5. A stream that fails midway ends with such an object as its
//! last line: it has `error` and no `seq`.
//!
//! Requests carry `Wehelp-Version: N` ([`VERSION`]); the daemon refuses another one with a sentence (426), and
//! takes requests without the header (curl). One that means the daemon of a certain data folder says so with
//! `Wehelp-Data-Dir` ([`DATA_DIR_HEADER`]); the daemon of another folder refuses it (421), and does nothing.

use crate::{clock::Time, seq::Seq};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub mod client;
pub mod entry;
pub mod stream;

pub use entry::Entry;
pub use stream::{FeedLine, Line, Progress};

/// The version of this protocol; raised when an older CLI could misunderstand.
pub const VERSION: u32 = 1;

/// The header that carries [`VERSION`].
pub const VERSION_HEADER: &str = "wehelp-version";

/// The request header that names the data folder of the daemon that is meant: an absolute path, percent-encoded.
pub const DATA_DIR_HEADER: &str = "wehelp-data-dir";

/// A backup stops retention; a reader that takes nothing of it (not 64 KiB) for so long is let go, and its connection
/// is broken.
pub const BACKUP_PATIENCE: Duration = Duration::from_secs(120);

/// The status of a refusal by the daemon of another data folder.
pub const OTHER_DAEMON: u16 = 421;

/// The longest request body on the control door, bytes: a bulk of a thousand long texts.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;

/// The most commands in one [`Enqueue`]: bounds one transaction.
pub const ENQUEUE_MAX: usize = 1000;

/// The longest idempotency key, bytes: it is part of a store key.
pub const KEY_BYTES_MAX: usize = 200;

/// A refusal, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable kebab-case code: `not-found`, `ambiguous-account`, `queue-full` …
    pub error: String,
    /// A sentence that says what to do.
    pub message: String,
}

impl Refusal {
    /// Whether it is the store's trouble of the moment: a full disk, a map that is made again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self.error.as_str(), "store-refuses-writes" | "store-failed" | "read-failed")
    }
}

/// The state of a command (contract 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Held until its time comes.
    Scheduled,
    /// Due; the next poll of its account takes it.
    Ready,
    /// Claimed by a poll whose response is not known to have arrived.
    InFlight,
    /// Handed over.
    Fetched,
    /// An event answered it.
    Answered,
    /// An event told that it was refused.
    Rejected,
    /// Nobody fetched it in time.
    Expired,
    /// Taken back before it was fetched.
    Cancelled,
}

impl State {
    /// Every state, in the order of a command's life.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Ready,
        Self::InFlight,
        Self::Fetched,
        Self::Answered,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::InFlight => "in_flight",
            Self::Fetched => "fetched",
            Self::Answered => "answered",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the daemon still has something to do for it: nobody has fetched it, and it may still be.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::Scheduled | Self::Ready | Self::InFlight)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The number of a change of a command's state: each change of any command gets the next one, also over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rev(pub u64);

impl Rev {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// The next one; the last there can be stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Rev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A command as the queue knows it (contract 4): the receipt, and what `queue show` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The command's number in the queue; from 1, never reused.
    pub id: u64,
    /// See [`State`].
    pub state: State,
    /// The account it is bound to; `None`: whoever polls first.
    pub account: Option<String>,
    /// The wire's `api`.
    pub api: String,
    /// What goes over the wire, in the spec's key order.
    pub command: Box<RawValue>,
    /// When it was queued.
    pub created: Time,
    /// From when on it may be fetched.
    pub due: Time,
    /// From when on it may not be fetched any more.
    pub expires: Option<Time>,
    /// The idempotency key.
    pub key: Option<String>,
    /// How often it was put into a response.
    pub attempts: u32,
    /// Set once handed over.
    pub fetched: Option<Fetched>,
    /// The event that answered (or refused) it.
    pub answer: Option<Seq>,
    /// Every event that is a part of the answer, when there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Seq>,
    /// Of the ids asked for, those that no part of the answer has told yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// wehelpd was not there when the last pieces of the answer could have come: it may not be whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Why a due command is not handed over now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Everything else of its account goes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bulk: bool,
    /// True when an earlier command with the same key was found and nothing new was queued.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// The last change of its state; `None`: there was none since the version that counts them.
    #[serde(default)]
    pub rev: Option<Rev>,
    /// In the feed of changes: when the state changed to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Time>,
}

/// Who fetched a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// When the hand-over was known.
    pub time: Time,
    /// The account that the poller named, or that it was taken for.
    pub account: Option<String>,
    /// The client's process id, when it said one.
    pub pid: Option<u64>,
    /// The peer's address, `ip:port`.
    pub peer: String,
    /// True when the client then closed in order or asked again (contract 6).
    pub confirmed: bool,
    /// The newest event when it was handed over: none up to here can be an answer to it.
    #[serde(default)]
    pub after: Seq,
}

/// How the reason begins for which no client that polls may take a command.
pub const NOBODY_MAY: &str = "no client may take it: ";

/// How the reason of a question begins that waits for its turn in its chat.
pub const ASKED_BEFORE: &str = "ask: another question";

/// Why and until when a due command waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// When it is let go, as far as is known; `None`: when somebody resumes the queue.
    pub until: Option<Time>,
    /// `pacing: …`, `paused`, `logged out`, `no client may take it: …`, `ask: …`, `approval`
    pub reason: String,
}

/// `POST /v1/commands`
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enqueue {
    /// The wire objects, at most [`ENQUEUE_MAX`]; all are queued, or none.
    pub commands: Vec<Box<RawValue>>,
    /// wxid, alias or unique nick; absent: the default account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Hold for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Hold until then; excludes `delay_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// Drop when nobody has fetched it so long after it became due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Idempotency keys: one for each command, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Paths are those of the PC, whatever they look like.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_client: bool,
    /// Everything else of the account goes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bulk: bool,
    /// Check only: answer with what would be queued (id 0), queue nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// `POST /v1/asks`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskQuery {
    /// Whether it waits for its turn while another question is open in the chat; else it is refused (409 `ask-open`).
    pub queue: bool,
    /// So long after it is due its turn is over, although the stream is still open; without, it is not.
    pub timeout_ms: Option<u64>,
    /// Only a message of this person is an answer. Its turn is over with the first answer.
    pub from: Option<String>,
    /// Only a message whose text this regular expression finds is an answer.
    pub r#match: Option<String>,
    /// To take it up again: the log of the daemon that it was asked through; another one refuses (409 `other-log`).
    pub log: Option<String>,
}

impl Default for AskQuery {
    fn default() -> Self {
        Self { queue: true, timeout_ms: None, from: None, r#match: None, log: None }
    }
}

/// `GET /v1/commands`; without `all` and `state`, what is unfinished.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueQuery {
    /// Everything kept.
    pub all: bool,
    /// Comma-separated states.
    pub state: Option<String>,
    /// Only this account's (wxid, alias, nick).
    pub account: Option<String>,
    /// Only this `api`; or the verb that makes it (`send text`).
    pub api: Option<String>,
    /// Only those whose key is like that: `*` is any text, `?` any character.
    pub key: Option<String>,
    /// At most this many, the newest.
    pub limit: Option<u64>,
    /// Go on with every change of state: the list is in the order of `rev` then, and each change is a line more.
    pub follow: bool,
    /// No list, but the changes after this one.
    pub after: Option<Rev>,
    /// End after this many lines.
    pub count: Option<u64>,
    /// While following, an empty line at least this often, so that a dead daemon and a dead reader are noticed.
    pub heartbeat_ms: Option<u64>,
    /// Also a line `{"rev":N,"skipped":true}` behind the list and now and then for changes that did not match, and
    /// `{"rev":N,"end":true}` when nothing of what was asked for is left.
    pub marks: bool,
    /// The log that was there when `after` was told ([`Status::log`]); when the daemon has another one, it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl QueueQuery {
    /// Whether it is about changes, and not only about how commands stand.
    #[must_use]
    pub fn is_about_changes(&self) -> bool {
        self.follow || self.after.is_some()
    }
}

/// `POST /v1/commands/cancel`: what is unfinished, and is all that is given. Something must be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelQuery {
    /// Comma-separated states: `scheduled`, `ready`, `in_flight`.
    pub state: Option<String>,
    /// Only this account's (wxid, alias, nick).
    pub account: Option<String>,
    /// Only this `api`; or the verb that makes it (`send text`).
    pub api: Option<String>,
    /// Only those whose key is like that: `*` is any text, `?` any character.
    pub key: Option<String>,
    /// Cancel nothing: the receipts are of what would be.
    pub dry_run: bool,
}

/// A command that was meant, and could not be cancelled: a client was handed it meanwhile.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotCancelled {
    /// Which one.
    pub id: u64,
    /// As that of an error: `too-late`.
    pub error: String,
    /// Likewise.
    pub message: String,
}

/// `GET /v1/commands/ID/wait`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// Give up after so long.
    pub timeout_ms: u64,
    /// What to wait for.
    #[serde(default)]
    pub until: Until,
    /// The log of the daemon that queued the command; another one, whose command of that number is not meant, refuses
    /// (409 `other-log`).
    #[serde(default)]
    pub log: Option<String>,
}

/// What a waiter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// A client has fetched it.
    Fetched,
    /// An event has answered it; for a command that nothing answers, a client has fetched it.
    #[default]
    Answered,
}

/// `GET /v1/events`: filters of contract 7.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsQuery {
    /// Go on with new ones.
    pub follow: bool,
    /// How many of the newest, with `cursor` of the next; absent: everything that matches.
    pub lines: Option<u64>,
    /// Start after this position (exact; excludes `lines`): what a reconnecting follower sends.
    pub after: Option<Seq>,
    /// RFC 3339, `2h ago`, or `#SEQ` (that one included).
    pub since: Option<String>,
    /// Likewise; the end, included.
    pub until: Option<String>,
    /// Comma-separated kinds, globs allowed; `!K` leaves one out.
    pub kind: Option<String>,
    /// The conversation.
    pub chat: Option<String>,
    /// Who spoke.
    pub from: Option<String>,
    /// wxid, alias or nick.
    pub account: Option<String>,
    /// A regular expression on `text`.
    pub r#match: Option<String>,
    /// `Some(true)`: only own messages, `Some(false)`: no own messages.
    #[serde(rename = "self")]
    pub is_self: Option<bool>,
    /// Only messages that mean the account.
    pub mentioned: bool,
    /// End after this many.
    pub count: Option<u64>,
    /// Read from this cursor's position and hold it while the stream is open.
    pub cursor: Option<String>,
    /// Where a new cursor starts: `oldest` (default), `now` or `#SEQ`.
    pub cursor_from: Option<String>,
    /// While following, an empty line at least this often, so that a dead daemon and a dead reader are noticed.
    pub heartbeat_ms: Option<u64>,
    /// Also a line `{"seq":N,"skipped":true}` now and then for events that did not match, so that a cursor can move
    /// over them, and `{"seq":N,"end":true}` when nothing of what was asked for is left. With `cursor` the stream then
    /// stays open, and with it the lease, until the reader closes it: it may still be at work.
    pub marks: bool,
    /// The lease of an earlier stream of this very reader, which may not be known to have ended yet.
    pub lease: Option<u64>,
    /// The log that `after` is a position of ([`Status::log`]); when the daemon has another one, it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A durable, named position in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cursor {
    /// Its name.
    pub name: String,
    /// What was read up to.
    pub seq: Seq,
    /// How many events lie after it.
    pub lag: u64,
    /// When it was last moved.
    pub used: Time,
    /// Who reads from it now.
    pub holder: Option<String>,
}

/// `PUT /v1/cursors/NAME`: moves it, forwards or (only here) backwards.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CursorSet {
    /// `oldest`, `now`, `#SEQ` (the next one read is SEQ+1), or a time.
    pub to: String,
}

/// `POST /v1/cursors/NAME/commit`: remembers what was consumed; never moves backwards.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CursorCommit {
    /// Consumed up to and including.
    pub seq: Seq,
    /// The lease that the stream's `Wehelp-Lease` header gave; a commit of another reader is refused.
    pub lease: Option<u64>,
    /// The log that `seq` is a position of; when the daemon has another one, it refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The reader is done: its lease ends with this, not only when its stream is known to be closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// The header that names the log, see [`Status::log`], on every answer about events and commands, refusals included.
pub const LOG_HEADER: &str = "wehelp-log";

/// The code of a refusal because what was asked for is of another log than the daemon's.
pub const OTHER_LOG: &str = "other-log";

/// A line of an event stream, wherever retention has overtaken its reader, and where a file of the store is lost: these
/// positions were dropped before they were read, and the stream goes on after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The range.
    pub dropped: DroppedRange,
}

/// See [`Dropped`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRange {
    /// The first of them.
    pub from: Seq,
    /// The last.
    pub to: Seq,
}

/// The response header of an event stream that tells which events asked for are no longer kept when it begins:
/// `FIRST-LAST`. The stream's first line says the same, see [`Dropped`].
pub const DROPPED_HEADER: &str = "wehelp-dropped";

/// The response header of an event stream that tells which position it starts after: what a follower that reconnects
/// before it has seen an event sends as `after`.
pub const AFTER_HEADER: &str = "wehelp-after";

/// The response header that names a cursor's lease.
pub const LEASE_HEADER: &str = "wehelp-lease";

/// The response header of an event stream whose cursor is new: it began where the stream does.
pub const CURSOR_BEGAN_HEADER: &str = "wehelp-cursor-began";

/// `POST /v1/queue/pause` and `resume`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Named {
    /// wxid, alias or nick; absent: the whole queue.
    pub account: Option<String>,
}

/// What is paused now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Paused {
    /// The whole queue.
    pub all: bool,
    /// These accounts.
    pub accounts: Vec<String>,
}

/// An account that the daemon has seen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    /// `cwxid`
    pub account: String,
    /// Its nick, when a profile event told it.
    pub nick: Option<String>,
    /// Its WeChat name, when a profile event told it.
    #[serde(default)]
    pub username: Option<String>,
    /// The process that drives it.
    pub pid: Option<u64>,
    /// Whether it is logged in; `None`: no event told.
    pub logged_in: Option<bool>,
    /// When its client last asked for commands.
    pub last_poll: Option<Time>,
    /// How many seconds ago that was.
    #[serde(default)]
    pub last_poll_s: Option<u64>,
    /// When its client last reported an event.
    pub last_event: Option<Time>,
    /// Unfinished commands bound to it.
    pub waiting: u64,
    /// Why the first of those that are due is not handed over now; `None`: nothing holds it.
    #[serde(default)]
    pub held: Option<Held>,
    /// Configured short name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Its queue is paused, or the whole queue is.
    #[serde(default)]
    pub paused: bool,
}

/// A client that polls by a name that no event has told: it is no account, and becomes one by itself as soon as an
/// event tells whose name it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poller {
    /// What it calls itself.
    pub name: String,
    /// The client's process id, when it said one.
    pub pid: Option<u64>,
    /// Where it comes from, `ip:port`.
    pub peer: String,
    /// When it last asked for commands.
    pub last_poll: Time,
    /// How many seconds ago that was.
    pub last_poll_s: u64,
    /// The accounts that have that nick or username, when there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub several: Vec<String>,
}

/// `DELETE /v1/accounts/NAME`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForgetQuery {
    /// Although its client polls or commands wait, which are cancelled.
    pub force: bool,
}

/// What was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The account, or the poller.
    pub account: String,
    /// Its commands that were cancelled.
    pub cancelled: u64,
}

/// `GET /v1/contacts`, `/v1/rooms` …
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryQuery {
    /// wxid, alias, nick or username; absent: the account that a command would be bound to; of `GET /v1/requests`: all.
    pub account: Option<String>,
    /// Only names that contain this (any case); also ids that begin with it.
    pub name: Option<String>,
    /// `people`, `rooms`; absent: both.
    pub only: Option<String>,
    /// Only friends (from contact lists), not everybody seen.
    pub friends: bool,
    /// Of friend requests: also those that were accepted.
    pub accepted: bool,
    /// At most this many.
    pub limit: Option<u64>,
}

/// `GET /v1/resolve`: whom `@NAME` means.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolveQuery {
    /// Remark, nick or username, without the `@`.
    pub name: String,
    /// Whose contacts.
    pub account: Option<String>,
    /// `people`, `rooms`; absent: both.
    pub only: Option<String>,
    /// The room that is meant: its members count, after everybody else whom the name may mean.
    pub room: Option<String>,
    /// Everybody counts whom events have told of, not only friends and rooms that the account is in.
    pub strangers: bool,
}

/// A target that events are posted to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forward {
    /// Its name.
    pub name: String,
    /// http:// or https://
    pub url: String,
    /// Key of the HMAC signature; never printed (`"***"`).
    pub secret: Option<String>,
    /// As in [`EventsQuery`].
    pub kind: Option<String>,
    /// As in [`EventsQuery`].
    pub chat: Option<String>,
    /// As in [`EventsQuery`].
    pub r#match: Option<String>,
    /// As in [`EventsQuery`].
    pub account: Option<String>,
    /// A PEM file with roots to trust besides the system's: an absolute path on the daemon's machine.
    pub ca: Option<PathBuf>,
    /// What becomes of an event that the target refuses.
    pub on_refused: OnRefused,
    /// Events older than this are passed over, milliseconds.
    pub max_age_ms: Option<u64>,
    /// Not posting.
    pub paused: bool,
    /// How it stands.
    pub state: ForwardState,
    /// The event that it stands at, or tries again.
    pub event: Option<Seq>,
    /// Posted up to here.
    pub seq: Seq,
    /// Events after `seq`.
    pub lag: u64,
    /// Failures in a row.
    pub failures: u32,
    /// What the last failure was.
    pub last_error: Option<String>,
    /// When it is tried again.
    pub retry_at: Option<Time>,
    /// Events that the target refused and that were passed over, since the daemon's start.
    pub skipped: u64,
    /// Events that were passed over because they were older than `max_age_ms`, since the daemon's start.
    pub passed_over: u64,
}

/// `POST /v1/token/rotate`, in the query: makes a new token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRotate {
    /// The old one ends at once, not in a day.
    pub now: bool,
}

impl Forward {
    /// That it stands at an event that its target refuses, as a sentence that says what to do.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        /// A receiver that is being repaired may refuse once or twice.
        const REFUSALS: u32 = 3;
        let (name, error) = (&self.name, self.last_error.as_deref().unwrap_or("no reason given"));
        match self.state {
            ForwardState::Stopped => {
                let seq = self.event.unwrap_or_default();
                Some(format!(
                    "the forward `{name}` stands at event {seq}, which was refused for an hour: {error}; `wehelp forward \
                     skip {name}` passes it, `wehelp forward resume {name}` tries it again"
                ))
            }
            ForwardState::Refused if self.failures >= REFUSALS => Some(format!(
                "the target of the forward `{name}` refuses event {}: {error}; `wehelp forward skip {name}` passes it",
                self.event.unwrap_or_default()
            )),
            _ => None,
        }
    }
}

/// What a forward does with an event that its target refuses (a 4xx that does not mean "later").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRefused {
    /// Tries for an hour, then stops until somebody decides.
    #[default]
    Stop,
    /// Passes it after three tries.
    Skip,
}

/// How a forward stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardState {
    /// It posts, or has nothing to post.
    #[default]
    Ok,
    /// The target could not take an event, which is tried again.
    Failing,
    /// The target refuses an event, which is tried again for an hour.
    Refused,
    /// An event was refused for an hour: nothing is posted until `skip`, `set` or `resume`.
    Stopped,
    /// Its owner paused it.
    Paused,
}

/// The token of the client door.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    /// The one to type in.
    pub token: String,
    /// Until when the one before it is valid too.
    pub previous_until: Option<Time>,
    /// Whether requests from other machines need it: `always`, `remote`, `never`.
    pub required: String,
}

/// `GET /v1/status`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusQuery {
    /// `daemon`: answer with [`Status::daemon`] alone, at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Only this account in `accounts`: wxid, alias, nick or username.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// `GET /v1/status` (contract 8).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The daemon.
    pub daemon: DaemonStatus,
    /// The client door.
    pub http: HttpStatus,
    /// The accounts seen.
    pub accounts: Vec<Account>,
    /// Clients that poll by a name that is no account's.
    #[serde(default)]
    pub pollers: Vec<Poller>,
    /// A number per state; `oldest`: when the oldest due command became due; `hanging`: the ids of commands that are in
    /// flight though no answer has them, at most 500.
    pub queue: Map<String, Value>,
    /// What tells this log of events from every other one: positions of two logs have nothing to do with each other. A
    /// restored backup has a new one. Absent when an older version made the log and it could not be written to since.
    #[serde(default)]
    pub log: Option<String>,
    /// The log.
    pub events: EventsStatus,
    /// The disk.
    pub store: StoreStatus,
    /// What is paused.
    pub paused: Paused,
    /// The forwards.
    #[serde(default)]
    pub forwards: Vec<Forward>,
    /// Sentences for people: what needs attention, and what to do.
    pub hints: Vec<String>,
}

/// See [`Status`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Package version and commit.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The settings file, when one was read.
    pub config: Option<PathBuf>,
}

/// See [`Status`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HttpStatus {
    /// `ip:port` of each listener.
    pub listen: Vec<String>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The names under which clients may reach it, beside addresses and `localhost` (`http.hosts`).
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Open connections.
    pub connections: u64,
    /// Refused requests and connections, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Polls of clients that did not say who they are: when the last one came, from where.
    pub anonymous_poll: Option<Time>,
    /// See `anonymous_poll`.
    pub anonymous_peer: Option<String>,
    /// When the last callback came.
    pub last_callback: Option<Time>,
}

/// See [`Status`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EventsStatus {
    /// The oldest kept.
    pub first: Seq,
    /// The newest.
    pub last: Seq,
    /// How many are kept.
    pub count: u64,
    /// Open followers.
    pub followers: u64,
}

/// See [`Status`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    /// On disk, all of it.
    pub bytes: u64,
    /// Room left on that disk.
    pub free_bytes: u64,
    /// Whether it accepts writes.
    pub writable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Events that are kept and could not be read when somebody wanted them, since the start; more than 1000 are not
    /// counted. Left out when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<u64>,
}
