//! What the store keeps of a command: the keys, and every index entry that a [`Record`] has.
//!
//! Promises: what [`entries`] and [`count_keys`] say of a record is all that `save` writes beside it.
//! Leaves to others: the key spaces and the parts of keys (`key`), when a record changes (`queue`), and reading
//! (`queue::read`).

use crate::clock::Time;
use crate::daemon::queue::record::{ANSWER_LIFE, ECHO_LIFE, HANDOVER_MAX, Lane, Phase, REFUSAL_LIFE, Record};
use crate::key::{
    ACCEPTING, ASK_LINE, ASKED, COUNT, DONE, DUE, ECHO, EXPIRY, GIVEN_BACK, IN_FLIGHT, POLLER, READY, REFUSABLE,
    SCHEDULED, Space, bytes_time, id_key, name_key, time_bytes, time_key,
};
use crate::protocol::answer;
use crate::protocol::command::{Api, Command, Says};
use crate::protocol::event::Event;
use crate::store::Txn;
use std::collections::{BTreeMap, HashSet};

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

/// What was asked for, as an index entry has it.
pub(crate) fn id_hash(id: &str) -> [u8; 4] {
    crc32fast::hash(id.as_bytes()).to_be_bytes()
}

/// The index value of an open question: what may be passed over without reading the record is told by it alone.
fn asked_value(record: &Record, until: Time) -> Vec<u8> {
    let mut value = time_bytes(until).to_vec();
    value.extend(name_key(&record.api));
    let asked = record.command.command().map(Command::ids_asked).unwrap_or_default();
    asked.iter().for_each(|id| value.extend(id_hash(id)));
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

/// What stands in the index for the text of what has none: a picture, a file, a link. No text has a NUL.
pub(crate) fn media_hash() -> [u8; 4] {
    text_hash("\0")
}

/// What a command's echo is found by.
pub(crate) fn echo_hash(command: &Command) -> Option<[u8; 4]> {
    match (command, command.api().says) {
        (Command::SendText { text, .. }, _) => Some(text_hash(text)),
        (_, Says::Media) => Some(media_hash()),
        _ => None,
    }
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
            if record.noted.is_some_and(|noted| noted.scheduled) {
                entries.insert((SCHEDULED, time_key(record.due, record.id)), Vec::new());
            }
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
        && let Some(chat) = record.command.command().and_then(Command::chat)
    {
        let key = [&name_key(record.answerer())[..], &name_key(chat), &record.id.to_be_bytes()].concat();
        entries.insert((ASK_LINE, key), vec![u8::from(record.waits_for_its_turn().is_some())]);
    }
    let may_be_accepting = !matches!(record.phase, Phase::Rejected | Phase::Expired | Phase::Cancelled);
    if may_be_accepting && let Some(Command::FriendAccept { v1, .. }) = record.command.command() {
        let key = accepting_key(record.account.as_deref().unwrap_or(""), v1);
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
    let chat = record.command.command().and_then(Command::chat).filter(|_| refusable || open);
    let Some(chat) = chat.map(name_key) else { return };
    if refusable {
        let until = handed.after(REFUSAL_LIFE + HANDOVER_MAX + record.delay());
        entries.insert((REFUSABLE, [&account[..], &chat, &id].concat()), time_bytes(until).to_vec());
    }
    if open && let Some(hash) = record.command.command().and_then(echo_hash) {
        let key = [&account[..], &chat, &hash, &id].concat();
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
