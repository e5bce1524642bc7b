//! A command as it is stored, and what can be read off it.
//!
//! Promises: what users see of a command ([`Record::receipt`]) is derived here, from the record and the time alone.
//! Leaves to others: when a record changes.

use crate::clock::Time;
use crate::control::{ASKED_BEFORE, Fetched, Held, Receipt, Rev, State};
use crate::protocol::answer;
use crate::protocol::command::{Api, Class, Wire};
use crate::seq::Seq;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An idempotency key is remembered for so long (contract 3).
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A question whose answer has not come for so long after it was fetched waits no more: an answer that late is
/// rather to somebody else's question.
pub(super) const ANSWER_LIFE: Duration = Duration::from_secs(3600);

/// An echo comes within so long after a text was fetched: the client's own delay (`time`) included.
pub(super) const ECHO_LIFE: Duration = Duration::from_secs(600);

/// A notice that refuses a message comes within so long after it was fetched (contract 3), and after the client's own
/// delay.
pub(super) const REFUSAL_LIFE: Duration = Duration::from_secs(10);

/// Pieces are one answer while no more than this lies between two (contract 3).
pub(crate) const PIECES: Duration = Duration::from_secs(3);

/// So long it may take until a hand-over is known to have been one.
pub(super) const HANDOVER_MAX: Duration = Duration::from_secs(15);

/// The api that logs the account out.
pub(super) const LOGOUT: &str = "outLogin";

/// Where a command stands, as stored. `scheduled` and `ready` are both [`Phase::Queued`]: the time tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Waits for its time or its client.
    Queued,
    /// Claimed.
    InFlight,
    /// Handed over.
    Fetched,
    /// Over.
    Answered,
    /// Over.
    Rejected,
    /// Over.
    Expired,
    /// Over.
    Cancelled,
}

/// Who claimed a command, before it is known whether it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claimed {
    pub(crate) time: Time,
    pub(crate) account: Option<String>,
    /// How the name reads that it said, when no event has told whose that is: one way, or two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    pub(crate) pid: Option<u64>,
    pub(crate) peer: String,
    /// The newest event then: no older one can answer it.
    pub(crate) tail: Seq,
    /// Whose budget it spent (see `pacing`).
    #[serde(default)]
    pub(crate) purse: String,
}

/// What waits in due order by itself: so that neither what is paced, nor a broadcast, nor what only a logged-in client
/// can do stands in the way of what can go. The numbers are part of stored keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Lane {
    Question = 0,
    Friend = 1,
    Send = 2,
    BulkQuestion = 3,
    BulkFriend = 4,
    BulkSend = 5,
    /// What a client can be asked that nobody is logged in to.
    Login = 6,
}

impl Lane {
    /// What goes first.
    pub(crate) const PROMPT: [Self; 4] = [Self::Login, Self::Question, Self::Friend, Self::Send];
    /// What goes when nothing else can.
    pub(crate) const BULK: [Self; 3] = [Self::BulkQuestion, Self::BulkFriend, Self::BulkSend];

    /// For pacing.
    pub(crate) fn class(self) -> Class {
        match self {
            Self::Login | Self::Question | Self::BulkQuestion => Class::Question,
            Self::Friend | Self::BulkFriend => Class::Friend,
            Self::Send | Self::BulkSend => Class::Send,
        }
    }

    /// The lanes whose commands go before this one's, as far as they spend the same budget.
    pub(crate) fn in_front(self) -> Option<Self> {
        match self {
            Self::BulkFriend => Some(Self::Friend),
            Self::BulkSend => Some(Self::Send),
            _ => None,
        }
    }
}

/// A command as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) phase: Phase,
    pub(crate) account: Option<String>,
    pub(crate) api: String,
    pub(crate) command: Wire,
    pub(crate) created: Time,
    pub(crate) due: Time,
    pub(crate) expires: Option<Time>,
    /// `due` was given as a moment, and not as a length of time from `created`.
    #[serde(default)]
    pub(crate) fixed: bool,
    /// Everything else of its account goes first.
    #[serde(default)]
    pub(crate) bulk: bool,
    pub(crate) key: Option<String>,
    pub(crate) attempts: u32,
    /// A client had it before it was queued again, or may have had it.
    #[serde(default)]
    pub(crate) was_out: bool,
    /// Who has it, had it, or seemed not to get it.
    #[serde(default)]
    pub(crate) claimed: Option<Claimed>,
    /// It is back from a hand-over that seemed to fail, and this was the newest event then: no later one can answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) back: Option<Seq>,
    pub(crate) fetched: Option<Fetched>,
    pub(crate) answer: Option<Seq>,
    #[serde(default)]
    pub(crate) answers: Vec<Seq>,
    /// Ids asked for that no event has told yet; absent before the first part.
    #[serde(default)]
    pub(crate) missing: Option<Vec<String>>,
    /// All of a list has come that there is: no further piece is waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) whole: bool,
    /// No daemon was there when the time for a further piece of its answer ended: one may have been missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cut: bool,
    /// When it was over, by age (see `ages`).
    #[serde(default)]
    pub(crate) done: Option<Time>,
    /// When it was queued, by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) queued_at: Option<Time>,
    /// When its hand-over began, by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handed_at: Option<Time>,
    /// When a client had it, by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) had_at: Option<Time>,
    /// Somebody waits for the reply of a person (`wehelp ask`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ask: Option<Ask>,
    /// Absent: its state did not change since the version that numbers changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) noted: Option<NotedState>,
}

/// What was noted of a command's state last (see `revisions`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedState {
    pub(super) rev: Rev,
    /// It was not due yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) scheduled: bool,
}

/// A question to a person: only one is open in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The command whose reply is waited for first.
    #[serde(default)]
    pub(super) behind: Option<u64>,
    /// Nobody waits for the reply any more.
    #[serde(default)]
    pub(super) over: bool,
    /// Whoever asked has not come back since the daemon started, and may never.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) away: bool,
}

impl Record {
    /// A new one; `age`: now, by age.
    pub(super) fn new(id: u64, account: Option<&str>, new: New, when: When, now: Time, age: Time) -> Self {
        Self {
            id,
            phase: Phase::Queued,
            account: account.map(str::to_owned),
            api: new.wire.api().to_owned(),
            command: new.wire,
            created: now,
            due: when.due,
            expires: when.expires,
            fixed: when.fixed,
            bulk: when.bulk,
            key: new.key,
            attempts: 0,
            was_out: false,
            claimed: None,
            back: None,
            whole: false,
            cut: false,
            fetched: None,
            answer: None,
            answers: Vec::new(),
            missing: None,
            done: None,
            queued_at: Some(age),
            handed_at: None,
            had_at: None,
            ask: None,
            noted: None,
        }
    }

    /// The state as users see it.
    pub(crate) fn state(&self, now: Time) -> State {
        self.state_when(self.due > now)
    }

    /// The state as it was noted last: a command whose time has come is scheduled there until that is noted as well.
    pub(crate) fn noted_state(&self, now: Time) -> State {
        self.state_when(self.noted.map_or(self.due > now, |noted| noted.scheduled))
    }

    /// The last change of its state that has a number.
    pub(crate) fn rev(&self) -> Option<Rev> {
        self.noted.map(|noted| noted.rev)
    }

    fn state_when(&self, scheduled: bool) -> State {
        match self.phase {
            Phase::Queued if scheduled => State::Scheduled,
            Phase::Queued => State::Ready,
            Phase::InFlight => State::InFlight,
            Phase::Fetched => State::Fetched,
            Phase::Answered => State::Answered,
            Phase::Rejected => State::Rejected,
            Phase::Expired => State::Expired,
            Phase::Cancelled => State::Cancelled,
        }
    }

    /// What users see.
    pub(crate) fn receipt(&self, now: Time) -> Receipt {
        self.receipt_in(self.state(now))
    }

    /// About how long its receipt is as a line, bytes.
    pub(super) fn told_bytes(&self) -> usize {
        /// What there is beside the command.
        const REST: usize = 500;
        self.command.as_str().len() + REST
    }

    /// The same, of a state that was told of it.
    pub(super) fn receipt_in(&self, state: State) -> Receipt {
        let several = self.answers.len() > 1 || (self.answer.is_none() && !self.answers.is_empty());
        Receipt {
            id: self.id,
            state,
            account: self.account.clone(),
            api: self.api.clone(),
            command: self.command.to_raw(),
            created: self.created,
            due: self.due,
            expires: self.expires,
            key: self.key.clone(),
            attempts: self.attempts,
            fetched: self.fetched.clone(),
            answer: self.answer,
            answers: if several { self.answers.clone() } else { Vec::new() },
            missing: if self.phase == Phase::Answered { Vec::new() } else { self.missing.clone().unwrap_or_default() },
            cut: self.cut,
            held: self.waits_for_its_turn().filter(|_| state == State::Ready),
            bulk: self.bulk,
            repeated: false,
            rev: self.rev(),
            changed: None,
        }
    }

    pub(crate) fn class(&self) -> Class {
        Api::find(&self.api).map_or(Class::Send, |api| api.class)
    }

    /// Where it waits to be handed over.
    pub(crate) fn lane(&self) -> Lane {
        let api = crate::protocol::command::Api::find(&self.api);
        if api.is_some_and(crate::protocol::command::Api::is_about_login) {
            return Lane::Login;
        }
        match (self.class(), self.bulk) {
            (Class::Question, false) => Lane::Question,
            (Class::Friend, false) => Lane::Friend,
            (Class::Send, false) => Lane::Send,
            (Class::Question, true) => Lane::BulkQuestion,
            (Class::Friend, true) => Lane::BulkFriend,
            (Class::Send, true) => Lane::BulkSend,
        }
    }

    /// Whose events can answer it.
    pub(crate) fn answerer(&self) -> &str {
        let claimed = self.claimed.as_ref().and_then(|c| c.account.as_deref());
        claimed.or(self.account.as_deref()).unwrap_or("")
    }

    /// Who was asked: the account, or else the process of the client.
    pub(crate) fn asked_whom(&self) -> (&str, Option<u64>) {
        match self.answerer() {
            "" => ("", self.claimed.as_ref().and_then(|claimed| claimed.pid)),
            account => (account, None),
        }
    }

    /// Why it waits, when another question is open in its chat, or whoever asked may be gone.
    pub(crate) fn waits_for_its_turn(&self) -> Option<Held> {
        let ask = self.ask.as_ref().filter(|_| self.phase == Phase::Queued)?;
        let reason = match ask.behind {
            _ if ask.away => {
                "ask: whoever asked has not come back since wehelpd was started; without them it is not asked"
                    .to_owned()
            }
            Some(behind) => {
                format!("{ASKED_BEFORE} (command {behind}) is open in this chat; this one goes after it")
            }
            None => return None,
        };
        Some(Held { until: None, reason })
    }

    /// It is a question whose turn has come or will come.
    pub(super) fn is_in_line(&self) -> bool {
        let lives = matches!(self.phase, Phase::Queued | Phase::InFlight | Phase::Fetched | Phase::Answered);
        lives && self.ask.as_ref().is_some_and(|ask| !ask.over)
    }

    /// Back in the queue, with the log as far as `tail`; but a question that nobody waits for any more is not asked.
    pub(super) fn give_back(&mut self, tail: Seq, now: Time) {
        (self.phase, self.back) = (Phase::Queued, Some(tail));
        if self.ask.as_ref().is_some_and(|ask| ask.over) {
            (self.phase, self.done) = (Phase::Cancelled, Some(now));
        }
    }

    /// When its hand-over began, by age.
    pub(crate) fn handed(&self) -> Option<Time> {
        self.claimed.as_ref().map(|claimed| self.handed_at.unwrap_or(claimed.time))
    }

    /// Whose it is: bound, or taken unbound.
    pub(super) fn owner(&self) -> Option<&str> {
        let taken = self.fetched.as_ref().and_then(|f| f.account.as_deref());
        let claimed = || self.claimed.as_ref().filter(|_| !self.is_given_back()).and_then(|c| c.account.as_deref());
        self.account.as_deref().or(taken).or_else(claimed)
    }

    /// Over, and certainly with no client.
    pub(super) fn ended_unsent(&self) -> bool {
        matches!(self.phase, Phase::Expired | Phase::Cancelled) && self.fetched.is_none() && !self.was_out
    }

    /// The client's own delay, which the command asks for.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_secs(self.command.seconds().unwrap_or(0))
    }

    /// When a client had it, as far as is known, by age.
    pub(crate) fn had(&self) -> Option<Time> {
        self.fetched.as_ref().map(|fetched| self.had_at.unwrap_or(fetched.time)).or_else(|| self.handed())
    }

    /// When it was queued, by age.
    pub(super) fn queued(&self) -> Time {
        self.queued_at.unwrap_or(self.created)
    }

    pub(super) fn is_waiting_for_an_answer(&self) -> bool {
        matches!(self.phase, Phase::InFlight | Phase::Fetched) && self.claimed.is_some()
    }

    /// Answered, unless a further piece of the answer comes soon.
    pub(crate) fn may_go_on(&self) -> bool {
        self.phase == Phase::Answered && answer::comes_in_pieces(&self.api) && !self.whole
    }

    /// Queued again after a hand-over that seemed to fail.
    pub(crate) fn is_given_back(&self) -> bool {
        self.phase == Phase::Queued && self.claimed.is_some()
    }

    /// Whether a client had it, as far as anybody knew, when the event `seq` came: else the event is none of its answer.
    pub(super) fn was_out_at(&self, seq: Seq) -> bool {
        let since = self.claimed.as_ref().is_some_and(|claimed| claimed.tail < seq);
        since && (!self.is_given_back() || self.back.is_some_and(|back| seq <= back))
    }
}

/// Reads a record out of its stored bytes.
pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
    serde_json::from_slice(bytes).ok()
}

/// A command to be queued.
#[derive(Debug, Clone)]
pub(crate) struct New {
    pub(crate) wire: Wire,
    pub(crate) key: Option<String>,
}

/// When commands may be handed over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    /// From then on.
    pub(crate) due: Time,
    /// Until then.
    pub(crate) expires: Option<Time>,
    /// `due` is a moment that was named, and stays when the clock is set.
    pub(crate) fixed: bool,
    /// Everything else of the account goes first.
    pub(crate) bulk: bool,
}
