//! Which commands an event answers: the queue is asked for those that are open, protocol for what the event means.

use crate::clock::Time;
use crate::daemon::ages::Ages;
use crate::daemon::log::about;
use crate::daemon::queue::record::{PIECES, Record};
use crate::daemon::queue::{answers, awaited::Awaited};
use crate::directory;
use crate::protocol::answer::{self, Open, Verdict};
use crate::protocol::command::Command;
use crate::protocol::event::{Event, Kind};
use crate::seq::Seq;
use crate::store::Txn;
use std::collections::HashSet;

/// Commands whose answer may still get another piece; more are not answered within [`PIECES`] by a client.
const RECENT_MAX: usize = 1000;

/// An event, decoded, as this room sees it.
pub(super) struct Seen {
    pub(super) seq: Seq,
    pub(super) time: Time,
    pub(super) event: Event,
}

/// A command that was answered a moment ago: further pieces belong to its answer.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    account: String,
    id: u64,
    /// The last piece.
    pub(super) seq: Seq,
    pub(super) time: Time,
}

/// What finding questions needs to know beside the store.
pub(super) struct Known<'k> {
    pub(super) recent: &'k mut Vec<Recent>,
    pub(super) awaited: &'k Awaited,
}

/// Whether [`answer()`] would look for commands.
pub(super) fn may_answer(seen: &Seen) -> bool {
    match seen.event.kind {
        Kind::MessageText => seen.event.is_self == Some(true),
        Kind::MessageImage | Kind::MessageApp | Kind::Other | Kind::Unparsed => false,
        _ => true,
    }
}

/// Finds the commands that an event answers; true when it found one.
pub(super) fn answer(tx: &mut Txn<'_>, seen: &Seen, known: &mut Known<'_>) -> bool {
    let driven = || directory::account_of_pid(tx, seen.event.pid?);
    let account = seen.event.account.clone().or_else(driven).unwrap_or_default();
    match seen.event.kind {
        Kind::MessageText if seen.event.is_self == Some(true) => echo(tx, &account, seen, known.awaited),
        Kind::MessageSystem => refusal(tx, &account, seen, known.awaited),
        Kind::MessageText | Kind::MessageImage | Kind::MessageApp | Kind::Other | Kind::Unparsed => false,
        _ => question(tx, &account, seen, known),
    }
}

/// Open commands of the account, and of pollers that did not say who they were.
fn candidates(tx: &mut Txn<'_>, account: &str, mut of: impl FnMut(&mut Txn<'_>, &str) -> Vec<Record>) -> Vec<Record> {
    let mut found = of(tx, account);
    if !account.is_empty() {
        found.extend(of(tx, ""));
    }
    found.sort_by_key(|r| r.id);
    found
}

/// The questions that an event may answer, oldest first.
fn askers(tx: &mut Txn<'_>, account: &str, seen: &Seen) -> Vec<Record> {
    let of_nobody = account.is_empty()
        && matches!(seen.event.kind, Kind::LoginQrcode | Kind::LoginState | Kind::Login | Kind::Logout);
    if !of_nobody {
        return candidates(tx, account, |tx, who| answers::asked(tx, who, &seen.event, seen.seq, seen.time));
    }
    // A client that nobody is logged in to names no account, and its commands were bound to the one it had before.
    let mut found = answers::asked_by_anybody(tx, &seen.event, seen.seq, seen.time);
    let pid = |record: &Record| record.claimed.as_ref().and_then(|claimed| claimed.pid);
    found.retain(|record| pid(record).zip(seen.event.pid).is_none_or(|(asked, told)| asked == told));
    found
}

/// Finds whose answer an event is, and notes it.
fn question(tx: &mut Txn<'_>, account: &str, seen: &Seen, known: &mut Known<'_>) -> bool {
    let mut records = askers(tx, account, seen);
    let asked = records.len();
    known.recent.retain(|recent| seen.time.since(recent.time) <= PIECES);
    let recent = known.recent.iter().filter(|recent| recent.account == account && recent.seq < seen.seq);
    records.extend(recent.filter_map(|recent| answers::answered(tx, recent.id)));
    let answered: HashSet<u64> = records[asked..].iter().map(|record| record.id).collect();
    // Two accounts are asked the same in no order of theirs: who was asked first answers first.
    let handed = |record: &Record| if account.is_empty() { record.handed() } else { None };
    records.sort_by_key(|record| (handed(record), record.id));
    let concluded = conclude(tx, &records, &answered, seen, known.awaited);
    for (record, verdict) in &concluded {
        if matches!(verdict, Verdict::Answered | Verdict::Piece) {
            known.recent.retain(|recent| recent.id != record.id);
            let Seen { seq, time, .. } = *seen;
            known.recent.push(Recent { account: account.to_owned(), id: record.id, seq, time });
            let surplus = known.recent.len().saturating_sub(RECENT_MAX);
            known.recent.drain(..surplus);
        }
    }
    !concluded.is_empty()
}

/// Asks `protocol` what an event comes to for these commands, and stores it. `answered`: those that only more pieces
/// are looked for.
fn conclude<'r>(
    tx: &mut Txn<'_>,
    records: &'r [Record],
    answered: &HashSet<u64>,
    seen: &Seen,
    awaited: &Awaited,
) -> Vec<(&'r Record, Verdict)> {
    // What was given back comes last: it seemed not to arrive, and only an event that nothing else explains proves that
    // it did.
    let (back, out): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.is_given_back());
    let concluded = conclude_among(tx, &out, answered, seen, awaited);
    if concluded.is_empty() { conclude_among(tx, &back, answered, seen, awaited) } else { concluded }
}

fn conclude_among<'r>(
    tx: &mut Txn<'_>,
    records: &[&'r Record],
    answered: &HashSet<u64>,
    seen: &Seen,
    awaited: &Awaited,
) -> Vec<(&'r Record, Verdict)> {
    let known: Vec<(&'r Record, &'r Command)> =
        records.iter().filter_map(|record| Some((*record, record.command.command()?))).collect();
    let now = Ages::load(tx).of_event(seen.seq, seen.time);
    let open: Vec<Open<'_>> = known
        .iter()
        .map(|(record, command)| Open {
            command,
            whom: record.asked_whom(),
            waits: awaited.waits(record.id, record.handed(), now),
            answered: answered.contains(&record.id),
            missing: record.missing.as_deref(),
        })
        .collect();
    let mut concluded = Vec::new();
    for conclusion in answer::conclude(&open, &seen.event) {
        let Some((record, command)) = known.get(conclusion.at) else { continue };
        answers::conclude(tx, record, seen.seq, &conclusion, seen.time);
        if conclusion.verdict == Verdict::Answered {
            close_request(tx, record, command, seen);
        }
        concluded.push((*record, conclusion.verdict));
    }
    concluded
}

/// A friend request is open until it is accepted: the event that says so names nobody, the command does.
fn close_request(tx: &mut Txn<'_>, record: &Record, command: &Command, seen: &Seen) {
    let accepted = seen.event.kind == Kind::FriendVerified && seen.event.decoded.get("ok") == Some(&true.into());
    if accepted && let Command::FriendAccept { v1, .. } = command {
        directory::accepted(tx, record.answerer(), v1, record.id, seen.time, seen.seq);
    }
}

/// The client reported a text of our own: one that was sent has arrived in the chat.
fn echo(tx: &mut Txn<'_>, account: &str, seen: &Seen, awaited: &Awaited) -> bool {
    let (Some(chat), Some(text)) = (seen.event.chat.as_deref(), seen.event.text.as_deref()) else { return false };
    let open = candidates(tx, account, |tx, who| answers::echoable(tx, who, chat, text, seen.seq, seen.time));
    let found = conclude(tx, &open, &HashSet::new(), seen, awaited);
    found.iter().for_each(|(record, _)| about::remember_echo(tx, seen.seq, record.id));
    !found.is_empty()
}

/// A notice may tell that something was refused.
fn refusal(tx: &mut Txn<'_>, account: &str, seen: &Seen, awaited: &Awaited) -> bool {
    let Some(chat) = seen.event.chat.as_deref() else { return false };
    let open = candidates(tx, account, |tx, who| answers::refusable(tx, who, chat, seen.seq, seen.time));
    let meant = answers::refused(&open).map(std::slice::from_ref).unwrap_or_default();
    !conclude(tx, meant, &HashSet::new(), seen, awaited).is_empty()
}
