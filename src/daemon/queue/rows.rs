//! What the store keeps of a command: the key spaces, their keys, and every index entry that a [`Record`] has.
//!
//! Promises: keys are built here and nowhere else; all numbers in them are big-endian, so that their order is the order
//! of the bytes. What [`entries`] and [`count_keys`] say of a record is all that `save` writes beside it.
//! Leaves to others: when a record changes (`queue`), and reading (`queue::read`).

use crate::clock::Time;
use crate::daemon::queue::record::{ACCEPT, ANSWER_LIFE, ECHO_LIFE, HANDOVER_MAX, Phase, REFUSAL_LIFE, Record};
use crate::protocol::answer;
use crate::protocol::command::{Api, Class, Says};
use crate::protocol::event::Event;
use crate::store::{COUNT, Space, Txn};
use std::collections::{BTreeMap, HashSet};

/// Command records: id → [`Record`].
pub(crate) const COMMAND: Space = Space(b'c');
/// What may be handed over: account, [`Lane`], due, id.
pub(crate) const READY: Space = Space(b'r');
/// The same by time alone: due, id. Tells the next due time and what is scheduled.
pub(crate) const DUE: Space = Space(b't');
/// What is in a response at this moment: id.
pub(crate) const IN_FLIGHT: Space = Space(b'f');
/// What is queued again after a hand-over that seemed to fail: id.
pub(crate) const GIVEN_BACK: Space = Space(b'G');
/// What expires: time, id.
pub(crate) const EXPIRY: Space = Space(b'e');
/// What is over: time, id. Retention walks it.
pub(crate) const DONE: Space = Space(b'd');
/// Questions without an answer: account, id → until when an answer may come, the api, what was asked for.
pub(crate) const ASKED: Space = Space(b'q');
/// Texts whose echo has not come: account, chat, hash of the text, id → until when it may come.
pub(crate) const ECHO: Space = Space(b'o');
/// Messages that a notice in their chat may refuse: account, chat, id → until when it may come.
pub(crate) const REFUSABLE: Space = Space(b'j');
/// Idempotency keys: key, account (empty: bound to nobody) → which command, and since when.
pub(crate) const KEY: Space = Space(b'y');
/// The same as version 1 wrote them, account first: still looked at, and written no more.
pub(crate) const KEY_V1: Space = Space(b'k');
/// What ended and teaches the directory something that no event says by itself: id.
pub(crate) const TEACHES: Space = Space(b'U');
/// Questions of `ask` whose turn in their chat has come or will come: account, chat, id → 1 when it waits for its turn.
pub(crate) const ASK_LINE: Space = Space(b'Q');
/// Accepts of friend requests that are under way or were successful: account, v1, id.
pub(crate) const ACCEPTING: Space = Space(b'A');
/// What a poller that is no account took of what is bound to nobody: name, id.
pub(crate) const POLLER: Space = Space(b'z');

pub(crate) fn id_key(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// Times sort as unsigned numbers once the sign bit is flipped.
pub(crate) fn time_bytes(time: Time) -> [u8; 8] {
    (time.millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

pub(crate) fn bytes_time(bytes: [u8; 8]) -> Time {
    Time::from_millis((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

pub(crate) fn time_key(time: Time, id: u64) -> Vec<u8> {
    [time_bytes(time), id.to_be_bytes()].concat()
}

/// A name with its length in front, so that no name is a prefix of another.
pub(crate) fn name_key(name: &str) -> Vec<u8> {
    let bytes = &name.as_bytes()[..name.len().min(255)];
    let mut key = vec![u8::try_from(bytes.len()).unwrap_or(255)];
    key.extend_from_slice(bytes);
    key
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

pub(crate) fn ready_prefix(account: &str, lane: Lane) -> Vec<u8> {
    let mut key = name_key(account);
    key.push(lane as u8);
    key
}

pub(crate) fn ready_key(record: &Record) -> Vec<u8> {
    let mut key = ready_prefix(record.account.as_deref().unwrap_or(""), record.lane());
    key.extend(time_key(record.due, record.id));
    key
}

/// The key after every key that begins with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 255 {
            end.push(last + 1);
            return end;
        }
    }
    vec![255; 16]
}

pub(crate) fn id_at_end(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// What was asked for, as an index entry has it.
pub(crate) fn id_hash(id: &str) -> [u8; 4] {
    crc32fast::hash(id.as_bytes()).to_be_bytes()
}

/// The index value of an open question: what may be passed over without reading the record is told by it alone.
fn asked_value(record: &Record, until: Time) -> Vec<u8> {
    let mut value = time_bytes(until).to_vec();
    value.extend(name_key(&record.api));
    if let Some(wire) = record.wire() {
        answer::ids_asked(&wire).iter().for_each(|id| value.extend(id_hash(id)));
    }
    value
}

/// Whether an event after all may be the answer to the question with this index value; one of an older version has none.
pub(crate) fn may_be_meant(value: &[u8], event: &Event, told: &HashSet<[u8; 4]>) -> bool {
    let Some((len, rest)) = value.get(8..).and_then(<[u8]>::split_first) else { return true };
    let Some((api, ids)) = rest.split_at_checked(usize::from(*len)) else { return true };
    let api = std::str::from_utf8(api).unwrap_or_default();
    answer::may_answer(api, event.kind)
        && (told.is_empty() || ids.is_empty() || ids.as_chunks::<4>().0.iter().any(|id| told.contains(id)))
}

/// Until when the entry with this value is of use; one of an older version does not tell.
pub(crate) fn useful_until(value: &[u8]) -> Option<Time> {
    value.first_chunk::<8>().map(|bytes| bytes_time(*bytes))
}

/// Echoes are compared by `answer::bearing`, which overlooks line-end style and blanks at the end; so does the hash.
pub(crate) fn text_hash(text: &str) -> [u8; 4] {
    let mut hash = crc32fast::Hasher::new();
    for line in text.trim_end().lines() {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().to_be_bytes()
}

/// Every index entry that a record has, with its value.
pub(crate) fn entries(record: &Record) -> BTreeMap<(Space, Vec<u8>), Vec<u8>> {
    let mut entries = BTreeMap::new();
    match record.phase {
        Phase::Queued => {
            if record.waits_for_its_turn().is_none() {
                entries.insert((READY, ready_key(record)), Vec::new());
            }
            entries.insert((DUE, time_key(record.due, record.id)), Vec::new());
            if let Some(expires) = record.expires {
                entries.insert((EXPIRY, time_key(expires, record.id)), Vec::new());
            }
            if record.is_given_back() {
                entries.insert((GIVEN_BACK, id_key(record.id)), Vec::new());
            }
        }
        Phase::InFlight => {
            entries.insert((IN_FLIGHT, id_key(record.id)), Vec::new());
        }
        _ => {
            entries.insert((DONE, time_key(record.done.unwrap_or(record.created), record.id)), Vec::new());
        }
    }
    if record.is_in_line()
        && let Some(chat) = record.field("wxid")
    {
        let key = [&name_key(record.answerer())[..], &name_key(&chat), &record.id.to_be_bytes()].concat();
        entries.insert((ASK_LINE, key), vec![u8::from(record.waits_for_its_turn().is_some())]);
    }
    let may_be_accepting = !matches!(record.phase, Phase::Rejected | Phase::Expired | Phase::Cancelled);
    if may_be_accepting
        && record.api == ACCEPT
        && let Some(v1) = record.field("v1")
    {
        let key = accepting_key(record.account.as_deref().unwrap_or(""), &v1);
        entries.insert((ACCEPTING, [&key[..], &record.id.to_be_bytes()].concat()), Vec::new());
    }
    if let Some(handed) = record.handed() {
        answers_wanted(record, handed, &mut entries);
    }
    entries.extend(poller_keys(record).map(|key| (key, Vec::new())));
    entries
}

/// The key of the accepts of one friend request.
pub(crate) fn accepting_key(account: &str, v1: &str) -> Vec<u8> {
    // A ticket may be longer than a name in a key; the rest of it is in the sum.
    [&name_key(account)[..], &name_key(v1), &crc32fast::hash(v1.as_bytes()).to_be_bytes()].concat()
}

/// By which names pollers that are no account took it.
fn poller_keys(record: &Record) -> impl Iterator<Item = (Space, Vec<u8>)> {
    let unbound = record.claimed.iter().filter(|_| record.account.is_none());
    let names = unbound.flat_map(|claimed| &claimed.names);
    names.map(|name| (POLLER, [&name_key(name)[..], &record.id.to_be_bytes()].concat()))
}

/// The entries by which events find a command that a client has been handed.
fn answers_wanted(record: &Record, handed: Time, entries: &mut BTreeMap<(Space, Vec<u8>), Vec<u8>>) {
    let id = record.id.to_be_bytes();
    let account = name_key(record.answerer());
    let handed_over = record.is_waiting_for_an_answer();
    let open = handed_over || record.is_given_back();
    if open && Api::find(&record.api).is_some_and(|api| !api.answers.is_empty()) {
        let value = asked_value(record, handed.after(ANSWER_LIFE));
        entries.insert((ASKED, [&account[..], &id].concat()), value);
    }
    let says = Api::says(&record.api);
    // An echo tells that the text stands in the chat here, and not that the other side has got it.
    let refusable = handed_over || (record.phase == Phase::Answered && says == Says::Text);
    let Some(chat) = record.field("wxid").filter(|_| says != Says::Nothing && (refusable || open)) else { return };
    let chat = name_key(&chat);
    if refusable {
        let until = handed.after(REFUSAL_LIFE + HANDOVER_MAX + record.delay());
        entries.insert((REFUSABLE, [&account[..], &chat, &id].concat()), time_bytes(until).to_vec());
    }
    if open
        && says == Says::Text
        && let Some(text) = record.field("text")
    {
        let key = [&account[..], &chat, &text_hash(&text), &id].concat();
        entries.insert((ECHO, key), time_bytes(handed.after(ECHO_LIFE)).to_vec());
    }
}

pub(crate) fn count_keys(record: &Record) -> Vec<Vec<u8>> {
    let phase = serde_json::to_string(&record.phase).unwrap_or_default();
    let mut keys = vec![format!("phase/{}", phase.trim_matches('"')).into_bytes()];
    if matches!(record.phase, Phase::Queued | Phase::InFlight) {
        keys.push(format!("waiting/{}", record.account.as_deref().unwrap_or("")).into_bytes());
    }
    keys
}

pub(crate) fn number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

pub(crate) fn count(tx: &Txn<'_>, key: &[u8]) -> u64 {
    number(tx.get(COUNT, key))
}

pub(crate) fn add(tx: &mut Txn<'_>, key: &[u8], by: i64) {
    let now = count(tx, key).saturating_add_signed(by);
    if now == 0 {
        tx.delete(COUNT, key);
    } else {
        tx.put(COUNT, key, now.to_be_bytes());
    }
}
