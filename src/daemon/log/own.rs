//! What the daemon itself tells in the log: an account's client has stopped polling, or polls again (contract 7,
//! `client.*`).
//!
//! Promises: it is stored as any event is, and read by every version since. What makes it the daemon's is a mark in its
//! outline (`entry`), which nothing that a client sends can set; its body alone makes nobody believe it. A version that
//! does not know the mark reads an event of a kind that it does not know, of no account.
//! Leaves to others: when there is something to tell (`accounts::watch`), the line (`line`).

use crate::clock::Time;
use crate::protocol::event::Kind;
use serde::{Deserialize, Serialize};

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnEvent {
    pub(crate) kind: Kind,
    /// Of whose client.
    pub(crate) account: String,
    pub(crate) pid: Option<u64>,
    pub(crate) facts: Facts,
}

/// Its `decoded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Since when it is as the kind says.
    pub(crate) since: Time,
    /// When the client polled last; of one that is back: before it went away.
    pub(crate) last_poll: Time,
    /// Its usual interval, whole seconds, at least 1; absent while only one poll is known.
    pub(crate) interval_s: Option<u64>,
}

/// As it is stored, and printed as `data`.
#[derive(Serialize, Deserialize)]
struct Body<Text> {
    kind: Text,
    account: Text,
    pid: Option<u64>,
    #[serde(flatten)]
    facts: Facts,
}

impl OwnEvent {
    /// Its body.
    pub(crate) fn to_json(&self) -> String {
        let Self { kind, account, pid, facts } = self.clone();
        let body = Body { kind: kind.as_str(), account: account.as_str(), pid, facts };
        serde_json::to_string(&body).expect("plain data becomes JSON")
    }

    /// Reads a body; none when a later version told something else.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let Body { kind, account, pid, facts } = serde_json::from_slice::<Body<String>>(body).ok()?;
        let kind = Kind::from_name(&kind).filter(|kind| kind.is_of_daemon())?;
        Some(Self { kind, account, pid, facts })
    }
}
