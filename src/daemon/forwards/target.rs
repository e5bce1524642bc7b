//! A target as it is stored, and how it has fared since the start.

use crate::clock::Time;
use crate::control::OnRefused;
use crate::daemon::forwards::post::RETRY_AFTER_MAX;
use crate::seq::Seq;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Targets: each has a task and a connection.
pub(super) const TARGETS_MAX: usize = 64;

/// A target as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) secret: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) chat: Option<String>,
    pub(super) r#match: Option<String>,
    pub(super) account: Option<String>,
    pub(super) paused: bool,
    pub(super) seq: Seq,
    /// Distinguishes a target from an earlier one of the same name.
    pub(super) created: Time,
    /// A PEM file with roots to trust besides the system's.
    #[serde(default)]
    pub(super) ca: Option<PathBuf>,
    #[serde(default)]
    pub(super) on_refused: OnRefused,
    /// Events older than this are passed over, milliseconds.
    #[serde(default)]
    pub(super) max_age_ms: Option<u64>,
    /// The event that stopped it.
    #[serde(default)]
    pub(super) stopped: Option<Stopped>,
    /// The pause that it is in.
    #[serde(default)]
    pub(super) retry: Option<Retry>,
    /// How often it was resumed: what is in a pause is tried at once then.
    #[serde(default)]
    pub(super) resumed: u64,
    /// How often its position was moved by hand: what a task reports from before such a move does not count.
    #[serde(default)]
    pub(super) moves: u64,
}

/// An event that was refused for too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stopped {
    pub(super) seq: Seq,
    pub(super) since: Time,
    pub(super) reason: String,
}

/// A long pause: a target that asks for an hour gets it, whatever becomes of the daemon meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Retry {
    /// The event that is tried again.
    pub(super) seq: Seq,
    pub(super) failures: u32,
    pub(super) reason: String,
    pub(super) until: Time,
    /// How long it is in all, milliseconds: a clock that is set makes it no longer.
    pub(super) wait_ms: u64,
}

impl Retry {
    /// What is left of it.
    pub(super) fn left(&self, now: Time) -> Duration {
        self.until.since(now).min(Duration::from_millis(self.wait_ms)).min(RETRY_AFTER_MAX)
    }
}

impl Target {
    /// Whether a task that runs for this target may go on with that one: its position moves with every post, and its
    /// pauses come and go.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        *self == Self { seq: self.seq, retry: self.retry.clone(), ..now.clone() }
    }

    pub(super) fn runs(&self) -> bool {
        !self.paused && self.stopped.is_none()
    }
}

/// How a target has fared since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    pub(super) retry_at: Option<Time>,
    /// The event that is tried again and again.
    pub(super) trying: Option<Seq>,
    /// The target refuses it (4xx).
    pub(super) refused: bool,
    /// Told until the next failure: what retention took, what was skipped.
    pub(super) notice: Option<String>,
    /// Events that were refused and passed over.
    pub(super) skipped: u64,
    /// Events that were too old.
    pub(super) passed_over: u64,
    /// How far its task has got; what is stored may lag behind.
    pub(super) at: Seq,
}

impl Health {
    /// After a post was taken, or its event passed.
    pub(super) fn well(&mut self, seq: Seq) {
        let (skipped, passed_over) = (self.skipped, self.passed_over);
        *self = Self { notice: self.notice.take(), skipped, passed_over, at: seq, ..Self::default() };
    }

    /// After something failed.
    pub(super) fn failed(&mut self, error: String) {
        let (skipped, passed_over) = (self.skipped, self.passed_over);
        *self = Self { last_error: Some(error), skipped, passed_over, at: self.at, ..Self::default() };
    }
}
