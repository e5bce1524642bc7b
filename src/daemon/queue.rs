//! The command queue: a state machine over a store transaction.
//!
//! It promises what contract 3, 4 and 6 say of a command's life: `enqueue` → (`claim` → `settle`)* → `answer`.
//! Every function runs on the store's writer thread, inside one transaction, so claims never race. It reads no clock
//! and knows no socket; what an event means for a command is `protocol::answer`'s business, joined in `learner`.
//!
//! A [`Record`] is stored whole; everything else (what is due, what expires, who waits for an answer, the counts) is
//! an index that [`save`] derives from the record, so that an index cannot disagree with it.

pub(crate) mod asks;
pub(crate) mod awaited;
pub(crate) mod checks;
pub(crate) mod clock_steps;
pub(crate) mod handover;
pub(crate) mod held;
pub(crate) mod introduce;
pub(crate) mod list;
pub(crate) mod pacing;
pub(crate) mod read;
mod rows;
pub(crate) mod takeup;

pub(crate) use rows::{COMMAND, Lane, after_prefix};

use crate::clock::Time;
use crate::config;
use crate::control::{Fetched, Held, Receipt, State};
use crate::daemon::accounts::Share;
use crate::daemon::ages::Ages;
use crate::daemon::queue::rows::{
    ACCEPTING, ASK_LINE, ASKED, DONE, ECHO, EXPIRY, KEY, KEY_V1, READY, REFUSABLE, TEACHES, accepting_key, add, count,
    count_keys, entries, id_at_end, id_hash, id_key, may_be_meant, name_key, number, ready_key, ready_prefix,
    text_hash, time_key, useful_until,
};
use crate::daemon::service::Failure;
use crate::directory::Lesson;
use crate::protocol::answer::{self, Conclusion, Verdict};
use crate::protocol::command::{Api, Class, Says, Wire};
use crate::protocol::event::Event;
use crate::seq::Seq;
use crate::store::{META, Space, Txn};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// An idempotency key is remembered for so long (contract 3).
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A question whose answer has not come for so long after it was fetched waits no more: an answer that late is
/// rather to somebody else's question.
const ANSWER_LIFE: Duration = Duration::from_secs(3600);
/// An echo comes within so long after a text was fetched: the client's own delay (`time`) included.
const ECHO_LIFE: Duration = Duration::from_secs(600);
/// A notice that refuses a message comes within so long after it was fetched (contract 3), and after the client's own
/// delay.
const REFUSAL_LIFE: Duration = Duration::from_secs(10);
/// So long it may take until a hand-over is known to have been one.
const HANDOVER_MAX: Duration = Duration::from_secs(15);
/// Commands expired, deleted or given back in one transaction: keeps the writer free for others.
pub(crate) const SWEEP_MAX: usize = 500;
/// How many open questions of one account are looked through for one event, the newest ones.
const ASKED_MAX: usize = 20_000;
/// How many sends of an account to one chat an event there is compared with, the newest ones.
const SENT_MAX: usize = 256;
/// Parts of an answer that are remembered, by number: as many as one in pieces can sensibly have.
const ANSWERS_MAX: usize = 1000;

/// The api that accepts a friend request.
const ACCEPT: &str = "acceptFriend";

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
    /// Whose budget it spent ([`pacing::Purse::key`]).
    #[serde(default)]
    pub(crate) purse: String,
}

/// A command as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) phase: Phase,
    pub(crate) account: Option<String>,
    pub(crate) api: String,
    pub(crate) command: Box<RawValue>,
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
    pub(crate) fetched: Option<Fetched>,
    pub(crate) answer: Option<Seq>,
    #[serde(default)]
    pub(crate) answers: Vec<Seq>,
    /// Ids asked for that no event has told yet; absent before the first part.
    #[serde(default)]
    pub(crate) missing: Option<Vec<String>>,
    /// When it was over, by age ([`Ages`]).
    #[serde(default)]
    pub(crate) done: Option<Time>,
    /// When it was queued, by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queued_at: Option<Time>,
    /// When its hand-over began, by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handed_at: Option<Time>,
    /// When a client had it, by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    had_at: Option<Time>,
    /// Somebody waits for the reply of a person (`wehelp ask`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ask: Option<Ask>,
}

/// A question to a person: only one is open in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The command whose reply is waited for first.
    #[serde(default)]
    behind: Option<u64>,
    /// Nobody waits for the reply any more.
    #[serde(default)]
    over: bool,
    /// Whoever asked has not come back since the daemon started, and may never.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    away: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Key {
    id: u64,
    /// By age.
    time: Time,
}

impl Key {
    /// `now`: by age.
    fn is_alive(&self, now: Time) -> bool {
        now.since(self.time) < KEY_LIFE
    }
}

impl Record {
    /// The state as users see it.
    pub(crate) fn state(&self, now: Time) -> State {
        match self.phase {
            Phase::Queued if self.due > now => State::Scheduled,
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
        let several = self.answers.len() > 1 || (self.answer.is_none() && !self.answers.is_empty());
        Receipt {
            id: self.id,
            state: self.state(now),
            account: self.account.clone(),
            api: self.api.clone(),
            command: self.command.clone(),
            created: self.created,
            due: self.due,
            expires: self.expires,
            key: self.key.clone(),
            attempts: self.attempts,
            fetched: self.fetched.clone(),
            answer: self.answer,
            answers: if several { self.answers.clone() } else { Vec::new() },
            missing: if self.phase == Phase::Answered { Vec::new() } else { self.missing.clone().unwrap_or_default() },
            held: self.waits_for_its_turn().filter(|_| self.due <= now),
            bulk: self.bulk,
            repeated: false,
        }
    }

    /// The command as protocol sees it. It was parsed when it was queued, so it parses.
    pub(crate) fn wire(&self) -> Option<Wire> {
        Wire::from_value(serde_json::from_str(self.command.get()).ok()?).ok()
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
                format!("ask: another question (command {behind}) is open in this chat; this one goes after it")
            }
            None => return None,
        };
        Some(Held { until: None, reason })
    }

    /// It is a question whose turn has come or will come.
    fn is_in_line(&self) -> bool {
        let lives = matches!(self.phase, Phase::Queued | Phase::InFlight | Phase::Fetched | Phase::Answered);
        lives && self.ask.as_ref().is_some_and(|ask| !ask.over)
    }

    /// Back in the queue; but a question that nobody waits for any more is not asked.
    fn give_back(&mut self, now: Time) {
        self.phase = Phase::Queued;
        if self.ask.as_ref().is_some_and(|ask| ask.over) {
            (self.phase, self.done) = (Phase::Cancelled, Some(now));
        }
    }

    /// When its hand-over began, by age.
    pub(crate) fn handed(&self) -> Option<Time> {
        self.claimed.as_ref().map(|claimed| self.handed_at.unwrap_or(claimed.time))
    }

    /// Whose it is: bound, or taken unbound.
    fn owner(&self) -> Option<&str> {
        let taken = self.fetched.as_ref().and_then(|f| f.account.as_deref());
        let claimed = || self.claimed.as_ref().filter(|_| !self.is_given_back()).and_then(|c| c.account.as_deref());
        self.account.as_deref().or(taken).or_else(claimed)
    }

    /// Over, and certainly with no client.
    fn ended_unsent(&self) -> bool {
        matches!(self.phase, Phase::Expired | Phase::Cancelled) && self.fetched.is_none() && !self.was_out
    }

    /// The client's own delay, which the command asks for.
    fn delay(&self) -> Duration {
        let value: Option<serde_json::Value> = serde_json::from_str(self.command.get()).ok();
        Duration::from_secs(value.and_then(|v| v.get("time")?.as_u64()).unwrap_or(0))
    }

    /// When a client had it, as far as is known, by age.
    pub(crate) fn had(&self) -> Option<Time> {
        self.fetched.as_ref().map(|fetched| self.had_at.unwrap_or(fetched.time)).or_else(|| self.handed())
    }

    /// When it was queued, by age.
    fn queued(&self) -> Time {
        self.queued_at.unwrap_or(self.created)
    }

    fn is_waiting_for_an_answer(&self) -> bool {
        matches!(self.phase, Phase::InFlight | Phase::Fetched) && self.claimed.is_some()
    }

    /// Queued again after a hand-over that seemed to fail. An answer that comes now proves that it did not.
    pub(crate) fn is_given_back(&self) -> bool {
        self.phase == Phase::Queued && self.claimed.is_some()
    }

    /// The text in a member of the command.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(self.command.get()).ok()?;
        value.get(name)?.as_str().map(str::to_owned)
    }
}

/// The accept of the same friend request that is under way, or that was successful not long ago; not the command `own`.
fn accepting(
    tx: &Txn<'_>,
    account: Option<&str>,
    command: &New,
    own: Option<u64>,
    ages: &Ages,
    now: Time,
) -> Option<Record> {
    /// So many accepts with one ticket are looked at; WeChat gives each request a ticket of its own.
    const SAME_MAX: usize = 64;
    if command.api != ACCEPT {
        return None;
    }
    let tickets = |record: &RawValue| {
        let value: serde_json::Value = serde_json::from_str(record.get()).ok()?;
        Some((value.get("v1")?.as_str()?.to_owned(), value.get("v2")?.as_str()?.to_owned()))
    };
    let wanted = tickets(&command.wire)?;
    let now = ages.surely(now);
    let bound_to = account.into_iter().chain(std::iter::once(""));
    bound_to
        .flat_map(|who| {
            let prefix = accepting_key(who, &wanted.0);
            tx.scan(ACCEPTING, &prefix, &after_prefix(&prefix), SAME_MAX, true)
        })
        .filter_map(|(key, _)| load(tx, id_at_end(&key)))
        .filter(|record| own != Some(record.id))
        .filter(|record| match record.phase {
            Phase::Queued | Phase::InFlight => true,
            Phase::Fetched => record.handed().is_some_and(|handed| now.since(handed) <= ANSWER_LIFE),
            Phase::Answered => record.done.is_some_and(|done| now.since(done) <= KEY_LIFE),
            Phase::Rejected | Phase::Expired | Phase::Cancelled => false,
        })
        .find(|record| tickets(&record.command).as_ref() == Some(&wanted))
}

fn next_id(tx: &Txn<'_>) -> u64 {
    number(tx.get(META, b"next_id")).max(1)
}

/// Goes on with ids that no command can have had that the store has lost with a part of its journal: a receipt's id must
/// not become another command's.
pub(crate) fn skip_ids(tx: &mut Txn<'_>) {
    /// More than the largest part has room for.
    const LOST_MAX: u64 = 1_000_000;
    let next = next_id(tx) + LOST_MAX;
    tx.put(META, b"next_id", next.to_be_bytes());
}

/// Whether a command has just ended in a way that teaches the directory something, or got one more piece of its answer.
fn teaches(before: Option<&Record>, after: &Record) -> bool {
    let was = before.map(|before| before.phase);
    match Lesson::of(&after.api) {
        None => false,
        Some(Lesson::Deleted) => after.phase == Phase::Fetched && was != Some(Phase::Fetched),
        Some(_) => {
            let answers = before.map_or(0, |before| before.answers.len());
            after.phase == Phase::Answered && (was != Some(Phase::Answered) || after.answers.len() > answers)
        }
    }
}

/// The lesson has been learned.
pub(crate) fn taught(tx: &mut Txn<'_>, id: u64) {
    tx.delete(TEACHES, &id_key(id));
}

/// Stores a record and makes the indices agree with it. The only place that writes either.
fn save(tx: &mut Txn<'_>, before: Option<&Record>, after: Option<&Record>) {
    let old = before.map(entries).unwrap_or_default();
    let new = after.map(entries).unwrap_or_default();
    for (space, key) in old.keys().filter(|key| !new.contains_key(*key)) {
        tx.delete(*space, key);
    }
    for ((space, key), value) in new {
        if old.get(&(space, key.clone())) != Some(&value) {
            tx.put(space, &key, value);
        }
    }
    let (old, new) = (before.map(count_keys).unwrap_or_default(), after.map(count_keys).unwrap_or_default());
    for key in old.iter().filter(|k| !new.contains(k)) {
        add(tx, key, -1);
    }
    for key in new.iter().filter(|k| !old.contains(k)) {
        add(tx, key, 1);
    }
    if let Some(after) = after.filter(|after| teaches(before, after)) {
        tx.put(TEACHES, &id_key(after.id), Vec::new());
    }
    match (before, after) {
        (_, Some(record)) => {
            let bytes = serde_json::to_vec(record).expect("a record is plain data");
            tx.put(COMMAND, &id_key(record.id), bytes);
        }
        (Some(gone), None) => tx.delete(COMMAND, &id_key(gone.id)),
        (None, None) => {}
    }
}

/// Reads a record out of its stored bytes.
pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
    serde_json::from_slice(bytes).ok()
}

fn load(tx: &Txn<'_>, id: u64) -> Option<Record> {
    parse(&tx.get(COMMAND, &id_key(id))?)
}

fn not_found(id: u64) -> Failure {
    Failure::new(404, "not-found", format!("there is no command {id}; `wehelp queue list --all` shows those kept"))
}

/// The store key of an idempotency key.
fn key_of(account: Option<&str>, key: &str) -> Vec<u8> {
    [&name_key(key)[..], account.unwrap_or("").as_bytes()].concat()
}

/// From now on the key, if there is one, stands for that command.
fn put_key(tx: &mut Txn<'_>, account: Option<&str>, key: Option<&str>, stands: Key) {
    if let Some(key) = key {
        tx.put(KEY, &key_of(account, key), serde_json::to_vec(&stands).expect("a key is plain data"));
    }
}

/// The same as version 1 made it.
fn key_of_v1(account: Option<&str>, key: &str) -> Vec<u8> {
    [&name_key(account.unwrap_or(""))[..], key.as_bytes()].concat()
}

/// The command that a key stands for already, within [`KEY_LIFE`]: one of the same account, whether it was bound to it
/// or taken by it; one that is bound to nobody is everybody's, and whoever is not known yet may be anybody. A command
/// that ended without having been with a client leaves its key free. Of several the one bound alike comes first, then
/// one of the same content. The command `own` is passed over.
fn keyed(
    tx: &Txn<'_>,
    account: Option<&str>,
    command: &New,
    own: Option<u64>,
    ages: &Ages,
    now: Time,
) -> Option<Record> {
    /// Accounts that may have used one key and are looked at, where the account is not known.
    const ACCOUNTS_MAX: usize = 256;
    let key = command.key.as_deref()?;
    let now = ages.surely(now);
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for account in [account, None].iter().take(if account.is_some() { 2 } else { 1 }) {
        rows.extend(tx.get(KEY, &key_of(*account, key)));
        rows.extend(tx.get(KEY_V1, &key_of_v1(*account, key)));
    }
    if account.is_none() {
        let prefix = name_key(key);
        rows.extend(tx.scan(KEY, &prefix, &after_prefix(&prefix), ACCOUNTS_MAX, false).into_iter().map(|(_, row)| row));
    }
    let stands = |row: Vec<u8>| {
        let key: Key = serde_json::from_slice(&row).ok().filter(|key: &Key| key.is_alive(now))?;
        let record = load(tx, key.id).filter(|record| own != Some(record.id))?;
        let is_same = account.is_none() || record.owner().is_none() || record.owner() == account;
        (is_same && !record.ended_unsent()).then_some(record)
    };
    let rank = |record: &Record| (record.account.as_deref() != account, record.command.get() != command.wire.get());
    rows.into_iter().filter_map(stands).min_by_key(rank)
}

/// A command to be queued.
#[derive(Debug, Clone)]
pub(crate) struct New {
    pub(crate) wire: Box<RawValue>,
    pub(crate) api: String,
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

/// Queues commands, all or none, in order. A key that stands for the same command already ([`keyed`]) gives that one's
/// record back, marked true; with another command it is refused. So does the accept of a friend request that is being
/// accepted already, or was.
pub(crate) fn enqueue(
    tx: &mut Txn<'_>,
    now: Time,
    account: Option<&str>,
    new: Vec<New>,
    when: When,
    limits: &config::Queue,
) -> Result<Vec<(Record, bool)>, Failure> {
    let ages = Ages::load(tx);
    let ours = next_id(tx);
    let mut made = Vec::with_capacity(new.len());
    for command in new {
        if let Some(first) = keyed(tx, account, &command, None, &ages, now) {
            if first.command.get() != command.wire.get() {
                let key = command.key.as_deref().unwrap_or("");
                let message = if first.id >= ours {
                    format!("two different commands of this call have the key `{key}`, and nothing was queued")
                } else {
                    format!("the key `{key}` was used for another command (#{}) within 24 h; use another key", first.id)
                };
                return Err(Failure::new(409, "key-reused", message));
            }
            made.push((first, true));
            continue;
        }
        // Two commands for one person would be answered once, and the second one then by somebody else's answer.
        if let Some(first) = accepting(tx, account, &command, None, &ages, now) {
            put_key(tx, account, command.key.as_deref(), Key { id: first.id, time: ages.now(now) });
            made.push((first, true));
            continue;
        }
        let unfinished = count(tx, b"phase/queued") + count(tx, b"phase/in_flight");
        if unfinished >= limits.commands_max {
            return Err(Failure::new(
                429,
                "queue-full",
                format!("{unfinished} commands wait already (queue.commands_max); is the client still polling?"),
            ));
        }
        let id = next_id(tx);
        tx.put(META, b"next_id", (id + 1).to_be_bytes());
        put_key(tx, account, command.key.as_deref(), Key { id, time: ages.now(now) });
        let record = Record {
            id,
            phase: Phase::Queued,
            account: account.map(str::to_owned),
            api: command.api,
            command: command.wire,
            created: now,
            due: when.due,
            expires: when.expires,
            fixed: when.fixed,
            bulk: when.bulk,
            key: command.key,
            attempts: 0,
            was_out: false,
            claimed: None,
            fetched: None,
            answer: None,
            answers: Vec::new(),
            missing: None,
            done: None,
            queued_at: Some(ages.now(now)),
            handed_at: None,
            had_at: None,
            ask: None,
        };
        save(tx, None, Some(&record));
        made.push((record, false));
    }
    Ok(made)
}

/// Queues a question to a person: while another one is open in its chat, it waits for its turn. `queue`: whether it may.
pub(crate) fn ask(
    tx: &mut Txn<'_>,
    now: Time,
    account: Option<&str>,
    new: New,
    when: When,
    limits: &config::Queue,
    queue: bool,
) -> Result<(Record, bool), Failure> {
    if Api::says(&new.api) != Says::Text {
        return Err(Failure::new(400, "no-question", "only a text can be asked; give one `sendTextMessage`"));
    }
    let mut made = enqueue(tx, now, account, vec![new], when, limits)?;
    let (mut record, repeated) = made.pop().ok_or_else(|| Failure::new(400, "no-command", "give one command"))?;
    if !repeated {
        let before = record.clone();
        record.ask = Some(Ask::default());
        save(tx, Some(&before), Some(&record));
    }
    take_turns(tx, &[account.unwrap_or("")], now);
    let record = load(tx, record.id).unwrap_or(record);
    let behind = record.ask.as_ref().and_then(|ask| ask.behind);
    if let Some(behind) = behind.filter(|_| !queue && !repeated) {
        return Err(Failure::new(
            409,
            "ask-open",
            format!(
                "another question (command {behind}) is open in this chat, and nothing was queued; ask again later, or \
                 without --no-queue to wait for the turn"
            ),
        ));
    }
    Ok((record, repeated))
}

/// Nobody waits for the reply to a question any more: when no client has it, it is not asked; the next one's turn comes.
pub(crate) fn end_ask(tx: &mut Txn<'_>, id: u64, now: Time) {
    let Some(before) = load(tx, id).filter(Record::is_in_line) else { return };
    let mut record = before.clone();
    record.ask = Some(Ask { over: true, ..Ask::default() });
    if before.phase == Phase::Queued {
        let expired = before.expires.is_some_and(|expires| expires <= now);
        record.phase = if expired { Phase::Expired } else { Phase::Cancelled };
        record.done = Some(Ages::load(tx).now(now));
    }
    save(tx, Some(&before), Some(&record));
    take_turns(tx, &[before.answerer(), before.account.as_deref().unwrap_or("")], now);
}

/// A question waits until whoever asked is back (`away`), or no longer.
pub(crate) fn ask_waits(tx: &mut Txn<'_>, id: u64, away: bool) {
    let Some(before) = load(tx, id).filter(Record::is_in_line) else { return };
    let mut record = before.clone();
    if let Some(ask) = record.ask.as_mut().filter(|ask| ask.away != away) {
        ask.away = away;
        save(tx, Some(&before), Some(&record));
    }
}

/// Decides in each chat of these accounts, and of nobody's, which question is open: one that a client has, else the one
/// that was due first. The others wait.
fn take_turns(tx: &mut Txn<'_>, accounts: &[&str], now: Time) {
    /// So many questions of one account are looked at.
    const LINE_MAX: usize = 10_000;
    let mut names: Vec<&str> = accounts.iter().copied().chain(std::iter::once("")).collect();
    names.sort_unstable();
    names.dedup();
    let mut chats: BTreeMap<Vec<u8>, (Vec<u64>, bool)> = BTreeMap::new();
    for name in names {
        let prefix = name_key(name);
        for (key, value) in tx.scan(ASK_LINE, &prefix, &after_prefix(&prefix), LINE_MAX, false) {
            let Some(chat) = key.get(prefix.len()..key.len().saturating_sub(8)) else { continue };
            let (ids, waits) = chats.entry(chat.to_vec()).or_default();
            ids.push(id_at_end(&key));
            *waits |= value.first() == Some(&1);
        }
    }
    // One that is alone and does not wait is most of them, and needs no look.
    for (ids, _) in chats.into_values().filter(|(ids, waits)| *waits || ids.len() > 1) {
        let line: Vec<Record> = ids.into_iter().filter_map(|id| load(tx, id)).collect();
        let due = |record: &&Record| record.due <= now;
        let open = line.iter().find(|record| record.phase != Phase::Queued);
        let open = open.or_else(|| line.iter().filter(due).min_by_key(|record| (record.due, record.id)));
        let open = open.map(|record| record.id);
        for before in line.iter().filter(|record| record.phase == Phase::Queued) {
            let behind = open.filter(|open| *open != before.id && before.due <= now);
            let away = before.ask.as_ref().is_some_and(|ask| ask.away);
            let ask = Ask { behind, over: false, away };
            if before.ask.as_ref() != Some(&ask) {
                save(tx, Some(before), Some(&Record { ask: Some(ask), ..before.clone() }));
            }
        }
    }
}

/// Whose commands a poll may take.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    /// Bound commands: of whom, and which.
    pub(crate) bound: Vec<(String, Share)>,
    /// Commands bound to nobody.
    pub(crate) unbound: Share,
    /// Whose budget they spend.
    pub(crate) purse: pacing::Purse,
}

/// Takes what is due, oldest first and bulk last, at most `batch`, and marks it in flight. Expired ones are dropped on
/// the way, paced and paused ones are left.
pub(crate) fn claim(
    tx: &mut Txn<'_>,
    lists: &Lists,
    by: &Claimed,
    batch: usize,
    pacing: &config::Pacing,
) -> Vec<Record> {
    let now = by.time;
    expire(tx, now);
    let paused = paused(tx);
    if paused.all {
        return Vec::new();
    }
    let bound = lists.bound.iter().filter(|(name, _)| !paused.accounts.contains(name));
    let names: Vec<(&str, Share)> =
        bound.map(|(name, share)| (name.as_str(), *share)).chain([("", lists.unbound)]).collect();
    take_turns(tx, &names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), now);
    let mut pace = pacing::Pace::load(tx, &lists.purse, now, pacing);
    let by = introduce::known_by_now(tx, by);
    let age = Ages::load(tx).now(now);
    let mut taken = Vec::new();
    for lanes in [&Lane::PROMPT[..], &Lane::BULK[..]] {
        for (key, lane, id) in due(tx, &names, lanes, now, batch) {
            if taken.len() == batch {
                break;
            }
            if pace.held(lane.class(), 0, now, pacing).is_some() {
                continue;
            }
            let Some(before) = load(tx, id) else { continue };
            // An index of the first version had login questions among the others.
            let is_ready = before.phase == Phase::Queued && before.waits_for_its_turn().is_none();
            if !is_ready || ready_key(&before) != key {
                tx.delete(READY, &key);
                if is_ready {
                    tx.put(READY, &ready_key(&before), Vec::new());
                }
                continue;
            }
            pace.spend(lane.class(), now, pacing);
            let mut record = before.clone();
            record.phase = Phase::InFlight;
            record.attempts += 1;
            // What came since a hand-over that seemed to fail may still prove that it did not.
            let tail = before.claimed.as_ref().map_or(by.tail, |first| first.tail.min(by.tail));
            record.claimed = Some(Claimed { tail, ..by.clone() });
            record.handed_at = Some(age);
            save(tx, Some(&before), Some(&record));
            taken.push(record);
        }
    }
    pace.store(tx, &lists.purse);
    taken
}

/// What is due in those lanes of those accounts, at most `batch` of each, in the order in which it became due.
fn due(tx: &Txn<'_>, names: &[(&str, Share)], lanes: &[Lane], now: Time, batch: usize) -> Vec<(Vec<u8>, Lane, u64)> {
    let mut due = Vec::new();
    for (name, share) in names {
        for lane in lanes.iter().copied().filter(|lane| *share == Share::All || *lane == Lane::Login) {
            let from = ready_prefix(name, lane);
            let to = [&from[..], &time_key(now, u64::MAX)].concat();
            let found = tx.scan(READY, &from, &to, batch, false);
            due.extend(found.into_iter().map(|(key, _)| {
                let id = id_at_end(&key);
                (key, lane, id)
            }));
        }
    }
    // What ends a key is due time and id: the order in which they became due.
    due.sort_by(|(a, ..), (b, ..)| a.last_chunk::<16>().cmp(&b.last_chunk::<16>()));
    due
}

/// What waits for an account, whenever it is due: at most `max`.
pub(crate) fn queued_of(tx: &Txn<'_>, account: &str, max: usize) -> Vec<u64> {
    let prefix = name_key(account);
    // A question that waits for its turn is only in its line.
    let found =
        [READY, ASK_LINE].into_iter().flat_map(|space| tx.scan(space, &prefix, &after_prefix(&prefix), max, false));
    let ids: BTreeSet<u64> = found.map(|(key, _)| id_at_end(&key)).collect();
    ids.into_iter().filter(|id| load(tx, *id).is_some_and(|record| record.phase == Phase::Queued)).collect()
}

/// What is known of a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The peer has it; whether it surely read it.
    Fetched { confirmed: bool },
    /// It did not arrive.
    GivenBack,
}

/// Ends a hand-over. A command that was answered in the meantime stays answered: the answer proves that it arrived.
pub(crate) fn settle(tx: &mut Txn<'_>, ids: &[u64], settled: Settled, now: Time) {
    let age = Ages::load(tx).now(now);
    for &id in ids {
        let Some(before) = load(tx, id) else { continue };
        if before.phase != Phase::InFlight {
            continue;
        }
        let mut record = before.clone();
        match settled {
            Settled::Fetched { confirmed } => {
                record.phase = Phase::Fetched;
                record.fetched = Some(fetched(&before, now, confirmed));
                (record.done, record.had_at) = (Some(age), Some(age));
            }
            // A part of its answer has come: it did arrive.
            Settled::GivenBack if !before.answers.is_empty() => arrived(&mut record, now, age),
            Settled::GivenBack => {
                record.give_back(age);
                if let Some(claimed) = &record.claimed {
                    pacing::Pace::give_back(tx, &pacing::Purse::of(&claimed.purse), record.class(), now);
                }
            }
        }
        save(tx, Some(&before), Some(&record));
    }
}

/// An event proves that a client has got it; `age`: now, by age.
fn arrived(record: &mut Record, now: Time, age: Time) {
    record.phase = Phase::Fetched;
    record.fetched = Some(fetched(record, now, true));
    (record.done, record.had_at) = (Some(age), Some(age));
}

fn fetched(record: &Record, now: Time, confirmed: bool) -> Fetched {
    let claimed = record.claimed.as_ref();
    Fetched {
        time: now,
        account: claimed.and_then(|c| c.account.clone()).or_else(|| record.account.clone()),
        pid: claimed.and_then(|c| c.pid),
        peer: claimed.map(|c| c.peer.clone()).unwrap_or_default(),
        confirmed,
        after: claimed.map(|c| c.tail).unwrap_or_default(),
    }
}

/// After a start: what was in flight when the daemon died becomes ready again, unless it was answered in part. `left` are
/// the ids that the start has found: what is claimed since is none of them.
pub(crate) fn redeliver(tx: &mut Txn<'_>, left: &[u64], now: Time) {
    let age = Ages::load(tx).now(now);
    for before in left.iter().filter_map(|id| load(tx, *id)).collect::<Vec<_>>() {
        if before.phase != Phase::InFlight {
            continue;
        }
        let mut record = before.clone();
        record.was_out = true;
        if before.answers.is_empty() {
            record.give_back(before.handed().unwrap_or(age));
        } else {
            arrived(&mut record, now, age);
        }
        save(tx, Some(&before), Some(&record));
    }
}

/// Takes a command back that nobody has fetched. `live`: it is in a response at this moment.
pub(crate) fn cancel(tx: &mut Txn<'_>, id: u64, live: bool, now: Time) -> Result<Record, Failure> {
    let before = load(tx, id).ok_or_else(|| not_found(id))?;
    match before.phase {
        Phase::Cancelled => return Ok(before),
        Phase::Queued => {}
        Phase::InFlight if !live => {}
        _ => {
            let state = before.state(now);
            return Err(Failure::new(
                409,
                "too-late",
                format!("command {id} is {state}; only what no client has fetched can be cancelled"),
            ));
        }
    }
    let mut record = before.clone();
    record.was_out |= before.phase == Phase::InFlight;
    record.phase = Phase::Cancelled;
    record.done = Some(Ages::load(tx).now(now));
    save(tx, Some(&before), Some(&record));
    Ok(record)
}

/// Puts a command back into the queue, due now. `live`: it is in a response at this moment.
pub(crate) fn retry(tx: &mut Txn<'_>, id: u64, live: bool, now: Time) -> Result<Record, Failure> {
    let before = load(tx, id).ok_or_else(|| not_found(id))?;
    if (before.phase == Phase::InFlight && live) || before.phase == Phase::Answered {
        let state = before.state(now);
        return Err(Failure::new(409, "too-late", format!("command {id} is {state}; queue it anew instead")));
    }
    if before.phase == Phase::Queued && before.due > now {
        let message =
            format!("command {id} waits until {} and was not handed over; cancel it and queue it anew", before.due);
        return Err(Failure::new(409, "not-due", message));
    }
    // One that is over may have left its key, or its friend request, to another.
    if !matches!(before.phase, Phase::Queued | Phase::InFlight) {
        is_still_its_own(tx, &before, now)?;
    }
    let mut record = before.clone();
    record.was_out |= before.fetched.is_some() || before.phase == Phase::InFlight;
    record.phase = Phase::Queued;
    record.due = if before.phase == Phase::Queued { before.due } else { now };
    if record.expires.is_some_and(|e| e <= now) {
        record.expires = None;
    }
    (record.claimed, record.fetched, record.answer, record.missing, record.done) = (None, None, None, None, None);
    record.answers.clear();
    save(tx, Some(&before), Some(&record));
    Ok(record)
}

/// That a command which is to be queued again would be queued: no other one stands for its key, or accepts its friend
/// request. Its key stands for it then, for the rest of its day.
fn is_still_its_own(tx: &mut Txn<'_>, record: &Record, now: Time) -> Result<(), Failure> {
    let ages = Ages::load(tx);
    let (id, account) = (record.id, record.account.as_deref());
    let new = New { wire: record.command.clone(), api: record.api.clone(), key: record.key.clone() };
    if let Some(other) = keyed(tx, account, &new, Some(id), &ages, now) {
        let (other, key) = (other.id, record.key.as_deref().unwrap_or(""));
        return Err(Failure::new(
            409,
            "key-reused",
            format!(
                "the key `{key}` of command {id} stands for command {other} by now, and nothing was queued; see \
                 `wehelp queue show {other}`"
            ),
        ));
    }
    if let Some(other) = accepting(tx, account, &new, Some(id), &ages, now) {
        let (did, other) = (if other.phase == Phase::Answered { "accepted" } else { "accepts" }, other.id);
        return Err(Failure::new(
            409,
            "already-accepted",
            format!(
                "command {other} {did} the friend request of command {id}, and nothing was queued; see \
                 `wehelp queue show {other}`"
            ),
        ));
    }
    if let Some(key) = record.key.as_deref() {
        let row = tx.get(KEY, &key_of(account, key));
        let row = row.and_then(|row| serde_json::from_slice::<Key>(&row).ok());
        if row.is_none_or(|row| row.id != id) {
            put_key(tx, account, Some(key), Key { id, time: record.queued() });
        }
    }
    Ok(())
}

/// Drops what nobody fetched in time. Returns how many.
pub(crate) fn expire(tx: &mut Txn<'_>, now: Time) -> usize {
    let found = tx.scan(EXPIRY, &[], &time_key(now, u64::MAX), SWEEP_MAX, false);
    let age = Ages::load(tx).now(now);
    for (key, _) in &found {
        if let Some(before) = load(tx, id_at_end(key)) {
            let mut record = before.clone();
            record.phase = Phase::Expired;
            record.done = Some(age);
            save(tx, Some(&before), Some(&record));
        }
    }
    found.len()
}

/// Moves what waits for a length of time by so many milliseconds: the clock was set.
pub(crate) fn shift(tx: &mut Txn<'_>, ids: &[u64], by: i64) {
    let moved = |time: Time| Time::from_millis(time.millis().saturating_add(by));
    for &id in ids {
        let waits = |record: &Record| matches!(record.phase, Phase::Queued | Phase::InFlight);
        let Some(before) = load(tx, id).filter(waits) else { continue };
        let mut record = before.clone();
        record.queued_at = Some(before.queued());
        record.created = moved(before.created);
        if !before.fixed {
            record.due = moved(before.due);
            record.expires = before.expires.map(moved);
        }
        save(tx, Some(&before), Some(&record));
    }
}

/// Forgets what was over before `before`; both times are by age, as far as it is certain. Returns how many it looked at;
/// call again while it is not zero.
pub(crate) fn forget(tx: &mut Txn<'_>, before: Time, now: Time) -> usize {
    let found = tx.scan(DONE, &[], &time_key(before, 0), SWEEP_MAX, false);
    for (key, _) in &found {
        let Some(record) = load(tx, id_at_end(key)) else {
            tx.delete(DONE, key);
            continue;
        };
        if let Some(key) = &record.key {
            let row = tx.get(KEY, &key_of(record.account.as_deref(), key));
            let row = row.and_then(|row| serde_json::from_slice::<Key>(&row).ok());
            let is_alive = row.is_some_and(|key| key.id == record.id && key.is_alive(now));
            if is_alive || now.since(record.queued()) < KEY_LIFE {
                // Its key is still promised to be remembered; it is looked at again when that is over.
                let later = Record { done: Some(record.queued().max(now).after(KEY_LIFE)), ..record.clone() };
                save(tx, Some(&record), Some(&later));
                continue;
            }
            let account = record.account.as_deref();
            for (space, key) in [(KEY, key_of(account, key)), (KEY_V1, key_of_v1(account, key))] {
                // A later command may have the same key by now.
                let own = tx.get(space, &key).and_then(|b| serde_json::from_slice::<Key>(&b).ok());
                if own.is_some_and(|k| k.id == record.id) {
                    tx.delete(space, &key);
                }
            }
        }
        save(tx, Some(&record), None);
    }
    found.len()
}

/// The open questions of an account that `event`, which has the number `seq`, may answer, oldest first; those too old
/// are closed.
pub(crate) fn asked(tx: &mut Txn<'_>, account: &str, event: &Event, seq: Seq, now: Time) -> Vec<Record> {
    let prefix = name_key(account);
    let to = after_prefix(&prefix);
    asked_in(tx, &prefix, &to, event, seq, now)
}

/// As [`asked`], of every account: for events of clients that nobody is logged in to, which name none.
pub(crate) fn asked_by_anybody(tx: &mut Txn<'_>, event: &Event, seq: Seq, now: Time) -> Vec<Record> {
    asked_in(tx, &[], &[255; 16], event, seq, now)
}

fn asked_in(tx: &mut Txn<'_>, from: &[u8], to: &[u8], event: &Event, seq: Seq, now: Time) -> Vec<Record> {
    let mut found = tx.scan(ASKED, from, to, ASKED_MAX, true);
    let told: HashSet<[u8; 4]> = answer::ids_told(event).into_iter().map(id_hash).collect();
    found.retain(|(_, value)| may_be_meant(value, event, &told));
    still_open(tx, ASKED, found, seq, now)
}

/// The texts of an account to `chat` whose echo an event after `seq` may be, oldest first.
pub(crate) fn echoable(tx: &mut Txn<'_>, account: &str, chat: &str, text: &str, seq: Seq, now: Time) -> Vec<Record> {
    let prefix = [&name_key(account)[..], &name_key(chat), &text_hash(text)].concat();
    let found = tx.scan(ECHO, &prefix, &after_prefix(&prefix), SENT_MAX, true);
    still_open(tx, ECHO, found, seq, now)
}

/// The messages of an account to `chat` that a notice after `seq` may refuse, oldest first.
pub(crate) fn refusable(tx: &mut Txn<'_>, account: &str, chat: &str, seq: Seq, now: Time) -> Vec<Record> {
    let prefix = [&name_key(account)[..], &name_key(chat)].concat();
    let found = tx.scan(REFUSABLE, &prefix, &after_prefix(&prefix), SENT_MAX, true);
    let mut open = still_open(tx, REFUSABLE, found, seq, now);
    let age = Ages::load(tx).of_event(seq, now);
    open.retain(|record| record.had().is_some_and(|had| age.since(had) <= REFUSAL_LIFE + record.delay()));
    open
}

/// The one that a notice of refusal is about, of the messages in its chat that it may be about ([`refusable`]).
///
/// A client reports what it said before what WeChat says of it: so it is the one whose echo came last. Where there is
/// no echo since the last hand-over, it is what went out first then: what went out earlier has been there for longer
/// without a word.
pub(crate) fn refused(sent: &[Record]) -> Option<&Record> {
    let echo = |record: &Record| record.answer.filter(|_| record.phase == Phase::Answered);
    let newest = sent.iter().filter_map(Record::handed).max()?;
    let last_out = || sent.iter().filter(|record| record.handed() == Some(newest));
    let tail = last_out().filter_map(|record| record.claimed.as_ref()).map(|claimed| claimed.tail).max();
    let echoed = sent.iter().filter(|record| echo(record) > tail).max_by_key(|record| echo(record));
    echoed.or_else(|| last_out().min_by_key(|record| (echo(record).is_some(), record.bulk, record.due, record.id)))
}

/// What was found, newest first, as records, oldest first; of too old ones the index forgets.
fn still_open(tx: &mut Txn<'_>, space: Space, found: Vec<(Vec<u8>, Vec<u8>)>, seq: Seq, now: Time) -> Vec<Record> {
    let now = Ages::load(tx).of_event(seq, now);
    let mut open = Vec::new();
    for (key, value) in found {
        if useful_until(&value).is_some_and(|until| until < now) {
            tx.delete(space, &key);
        } else if let Some(record) =
            load(tx, id_at_end(&key)).filter(|r| r.claimed.as_ref().is_some_and(|c| c.tail < seq))
        {
            if record.handed().is_none_or(|handed| now.since(handed) <= ANSWER_LIFE) {
                open.push(record);
            } else {
                tx.delete(space, &key);
            }
        }
    }
    open.reverse();
    open
}

/// One command, for an event that may be one more piece of its answer.
pub(crate) fn answered(tx: &Txn<'_>, id: u64) -> Option<Record> {
    load(tx, id).filter(|record| record.phase == Phase::Answered)
}

/// Records what an event means for a command.
pub(crate) fn conclude(tx: &mut Txn<'_>, before: &Record, seq: Seq, conclusion: &Conclusion, now: Time) {
    let age = Ages::load(tx).of_event(seq, now);
    let mut record = before.clone();
    if record.answers.len() < ANSWERS_MAX && !record.answers.contains(&seq) {
        record.answers.push(seq);
    }
    let missing = record.missing.take().or_else(|| {
        let wire = before.wire().filter(|wire| wire.api() == "newGetUserLists")?;
        Some(answer::ids_asked(&wire).into_iter().map(str::to_owned).collect())
    });
    record.missing = missing.map(|mut missing| {
        missing.retain(|id| !conclusion.told.contains(id));
        missing
    });
    match conclusion.verdict {
        Verdict::Part if before.is_given_back() => arrived(&mut record, now, age),
        Verdict::Part => {}
        // So long after the last piece the answer is over.
        Verdict::Piece => record.done = Some(age),
        Verdict::Answered | Verdict::Rejected => {
            let answered = conclusion.verdict == Verdict::Answered;
            record.phase = if answered { Phase::Answered } else { Phase::Rejected };
            record.answer = Some(seq);
            record.done = Some(age);
            if record.fetched.is_none() {
                record.fetched = Some(fetched(before, now, true));
                record.had_at = Some(age);
            }
        }
    }
    save(tx, Some(before), Some(&record));
}

/// What is paused.
pub(crate) fn paused(tx: &Txn<'_>) -> crate::control::Paused {
    tx.get(META, b"paused").and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
}

/// Pauses or resumes an account, or everything.
pub(crate) fn set_paused(tx: &mut Txn<'_>, account: Option<&str>, pause: bool) -> crate::control::Paused {
    let mut now = paused(tx);
    match account {
        None if pause => now.all = true,
        None => now = crate::control::Paused::default(),
        Some(account) => {
            now.accounts.retain(|a| a != account);
            if pause {
                now.accounts.push(account.to_owned());
            }
        }
    }
    tx.put(META, b"paused", serde_json::to_vec(&now).expect("plain data"));
    now
}

#[cfg(test)]
mod tests;
