//! Which commands an event may be about, and what it means for them. What it means is `protocol::answer`'s business; `learner`
//! joins the two.

use crate::clock::Time;
use crate::daemon::ages::Ages;
use crate::daemon::queue::record::{ANSWER_LIFE, Phase, REFUSAL_LIFE, Record};
use crate::daemon::queue::rows::{id_hash, may_be_meant, media_hash, text_hash, useful_until};
use crate::daemon::queue::settle::{arrived, fetched};
use crate::daemon::queue::table::{amend, load, save};
use crate::key::{ASKED, ECHO, Keys, REFUSABLE, Space, id_at_end, name_key};
use crate::protocol::answer;
use crate::protocol::answer::{Conclusion, Verdict};
use crate::protocol::command::Command;
use crate::protocol::event::Event;
use crate::seq::Seq;
use crate::store::Txn;
use std::collections::HashSet;

/// How many open questions of one account are looked through for one event, the newest ones.
pub(super) const ASKED_MAX: usize = 20_000;

/// How many sends of an account to one chat an event there is compared with, the newest ones.
pub(super) const SENT_MAX: usize = 256;

/// Parts of an answer that are remembered, by number: as many as one in pieces can sensibly have.
pub(super) const ANSWERS_MAX: usize = 1000;

/// The open questions of an account that `event`, which has the number `seq`, may answer, oldest first; those too old
/// are closed.
pub(crate) fn asked(tx: &mut Txn<'_>, account: &str, event: &Event, seq: Seq, now: Time) -> Vec<Record> {
    asked_in(tx, Keys::prefix(&name_key(account)), event, seq, now)
}

/// As [`asked`], of every account: for events of clients that nobody is logged in to, which name none.
pub(crate) fn asked_by_anybody(tx: &mut Txn<'_>, event: &Event, seq: Seq, now: Time) -> Vec<Record> {
    asked_in(tx, .., event, seq, now)
}

pub(super) fn asked_in(tx: &mut Txn<'_>, keys: impl Into<Keys>, event: &Event, seq: Seq, now: Time) -> Vec<Record> {
    let told: HashSet<[u8; 4]> = answer::ids_told(event).into_iter().map(id_hash).collect();
    let found = tx.scan(ASKED, keys).rev().take(ASKED_MAX);
    let found = found.filter(|(_, value)| may_be_meant(value, event, &told)).collect();
    still_open(tx, ASKED, found, seq, now)
}

/// The texts of an account to `chat` whose echo an event after `seq` may be, oldest first.
pub(crate) fn echoable(tx: &mut Txn<'_>, account: &str, chat: &str, text: &str, seq: Seq, now: Time) -> Vec<Record> {
    echoable_by(tx, account, chat, text_hash(text), seq, now)
}

/// As [`echoable`], of pictures, files and links.
pub(crate) fn echoable_media(tx: &mut Txn<'_>, account: &str, chat: &str, seq: Seq, now: Time) -> Vec<Record> {
    echoable_by(tx, account, chat, media_hash(), seq, now)
}

fn echoable_by(tx: &mut Txn<'_>, account: &str, chat: &str, hash: [u8; 4], seq: Seq, now: Time) -> Vec<Record> {
    let found = tx.scan(ECHO, Keys::prefix(&echo_prefix(account, chat, hash))).rev().take(SENT_MAX).collect();
    still_open(tx, ECHO, found, seq, now)
}

fn echo_prefix(account: &str, chat: &str, hash: [u8; 4]) -> Vec<u8> {
    [&name_key(account)[..], &name_key(chat), &hash].concat()
}

/// Notes that the echo of a picture, file or link has come, which changes nothing else: the next one is another's.
pub(crate) fn media_echoed(tx: &mut Txn<'_>, record: &Record) {
    let Some(chat) = record.command.command().and_then(Command::chat) else { return };
    let prefix = echo_prefix(record.answerer(), chat, media_hash());
    tx.delete(ECHO, &[&prefix[..], &record.id.to_be_bytes()].concat());
}

/// The messages of an account to `chat` that a notice after `seq` may refuse, oldest first.
pub(crate) fn refusable(tx: &mut Txn<'_>, account: &str, chat: &str, seq: Seq, now: Time) -> Vec<Record> {
    let prefix = [&name_key(account)[..], &name_key(chat)].concat();
    let found = tx.scan(REFUSABLE, Keys::prefix(&prefix)).rev().take(SENT_MAX).collect();
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
pub(super) fn still_open(
    tx: &mut Txn<'_>,
    space: Space,
    found: Vec<(Vec<u8>, Vec<u8>)>,
    seq: Seq,
    now: Time,
) -> Vec<Record> {
    let now = Ages::load(tx).of_event(seq, now);
    let mut open = Vec::new();
    for (key, value) in found {
        if useful_until(&value).is_some_and(|until| until < now) {
            tx.delete(space, &key);
        } else if let Some(record) = load(tx, id_at_end(&key)).filter(|record| record.was_out_at(seq)) {
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

/// Notes that all of the list has come that answers a command.
pub(crate) fn whole(tx: &mut Txn<'_>, id: u64) {
    let Some(before) = load(tx, id).filter(Record::may_go_on) else { return };
    amend(tx, &before, Record { whole: true, ..before.clone() });
}

/// Notes that a part of the list may have been missed that answers a command.
pub(crate) fn cut(tx: &mut Txn<'_>, id: u64) {
    let Some(before) = load(tx, id).filter(Record::may_go_on) else { return };
    amend(tx, &before, Record { cut: true, ..before.clone() });
}

/// Records what an event means for a command.
pub(crate) fn conclude(tx: &mut Txn<'_>, before: &Record, seq: Seq, conclusion: &Conclusion, now: Time) {
    let ages = Ages::load(tx);
    let age = ages.of_event(seq, now);
    let mut record = before.clone();
    if record.answers.len() < ANSWERS_MAX && !record.answers.contains(&seq) {
        record.answers.push(seq);
    }
    let missing = record.missing.take().or_else(|| {
        let list = before.command.command().filter(|command| matches!(command, Command::FriendInfo { .. }))?;
        Some(list.ids_asked().into_iter().map(str::to_owned).collect())
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
    // By the clock of now, which may have been set since the event came.
    save(tx, Some(before), &mut record, ages.wall(age));
}
