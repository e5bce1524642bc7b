//! Which commands an event answers: the queue is asked for those that are open, protocol for what the event means.

use crate::clock::Time;
use crate::daemon::ages::Ages;
use crate::daemon::log::{about, entry, range};
use crate::daemon::queue::record::{PIECES, Record};
use crate::daemon::queue::{answers, awaited::Awaited, clock_steps::Clock, read};
use crate::directory;
use crate::protocol::answer::{self, Open, Verdict};
use crate::protocol::command::Command;
use crate::protocol::decoded::App;
use crate::protocol::event::{Decoded, Event, Kind};
use crate::seq::Seq;
use crate::store::{Store, Txn};
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

/// Commands whose answer may still get another piece; more are not answered within [`PIECES`] by a client.
const RECENT_MAX: usize = 1000;
/// This many ids of one list are remembered: more than anybody has friends.
const RECENT_TOLD_MAX: usize = 100_000;

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
    /// Whom its list has told, hashed.
    told: HashSet<u64>,
}

impl Recent {
    /// Takes in the list of one more piece.
    fn hear(&mut self, event: &Event) {
        let room = RECENT_TOLD_MAX.saturating_sub(self.told.len());
        self.told.extend(answer::listed(event).take(room).map(hash));
    }

    /// Whether an event tells again what the list has told; one that tells of nobody adds to what tells of somebody.
    fn is_repeated_by(&self, event: &Event) -> bool {
        let mut listed = answer::listed(event).peekable();
        if listed.peek().is_none() { self.told.is_empty() } else { listed.any(|id| self.told.contains(&hash(id))) }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// After a start: the commands whose answer may still get another piece. `at`: events up to there were learned from.
pub(super) fn recall(store: &Store, clock: &Clock, at: Seq) -> Vec<Recent> {
    let ages = clock.ages();
    let next = range::one(store, at.next()).ok().map(|next| ages.of_event(next.seq, next.time));
    let since = next.unwrap_or_else(|| ages.now(clock.now())).before(PIECES);
    let mut recent: Vec<Recent> = Vec::new();
    for record in read::answered(store, since, RECENT_MAX).unwrap_or_default() {
        let last = record.answers.iter().max().and_then(|last| range::one(store, *last).ok());
        let Some(last) = last.filter(|_| !record.whole) else { continue };
        let account = entry::account(&last).unwrap_or_else(|| record.answerer().to_owned());
        let mut one = Recent { account, id: record.id, seq: last.seq, time: last.time, told: HashSet::new() };
        let came = record.answers.iter().filter(|_| record.may_go_on());
        for mut pieces in came.filter_map(|seq| entry::pieces(&range::one(store, *seq).ok()?).ok()) {
            while let Ok(Some(piece)) = entry::piece(&mut pieces) {
                one.hear(&piece);
            }
        }
        recent.push(one);
    }
    recent.reverse();
    recent
}

/// What finding questions needs to know beside the store.
pub(super) struct Known<'k> {
    pub(super) recent: &'k mut Vec<Recent>,
    pub(super) awaited: &'k Awaited,
    pub(super) began: Began,
}

/// How far the log went when this daemon was started, and when that was, by age.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began(pub(super) Seq, pub(super) Time);

/// Whether [`answer()`] would look for commands.
pub(super) fn may_answer(seen: &Seen) -> bool {
    match seen.event.kind {
        Kind::MessageText | Kind::MessageImage | Kind::MessageApp => seen.event.is_self == Some(true),
        Kind::Other | Kind::Unparsed => false,
        _ => true,
    }
}

/// Finds the commands that an event answers; true when it found one.
pub(super) fn answer(tx: &mut Txn<'_>, seen: &Seen, known: &mut Known<'_>) -> bool {
    let driven = || directory::account_of_pid(tx, seen.event.pid?);
    let account = seen.event.account.clone().or_else(driven).unwrap_or_default();
    match seen.event.kind {
        Kind::MessageText if seen.event.is_self == Some(true) => echo(tx, &account, seen, known.awaited),
        Kind::MessageImage | Kind::MessageApp if seen.event.is_self == Some(true) => {
            media_echo(tx, &account, seen);
            false
        }
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
    let recent: Vec<&Recent> =
        known.recent.iter().filter(|recent| recent.account == account && recent.seq < seen.seq).collect();
    records.extend(recent.iter().filter_map(|recent| answers::answered(tx, recent.id)));
    let repeats = |id| recent.iter().any(|recent| recent.id == id && recent.is_repeated_by(&seen.event));
    let answered = records[asked..].iter().map(|record| (record.id, repeats(record.id))).collect();
    // Two accounts are asked the same in no order of theirs: who was asked first answers first.
    let handed = |record: &Record| if account.is_empty() { record.handed() } else { None };
    records.sort_by_key(|record| (handed(record), record.id));
    let concluded = conclude(tx, &records, &answered, seen, known.awaited);
    for (record, verdict) in &concluded {
        if matches!(verdict, Verdict::Answered | Verdict::Piece) {
            let before = known.recent.iter().position(|recent| recent.id == record.id);
            let told = before.map(|at| known.recent.remove(at).told).unwrap_or_default();
            let Seen { seq, time, .. } = *seen;
            let mut recent = Recent { account: account.to_owned(), id: record.id, seq, time, told };
            recent.hear(&seen.event);
            if is_whole(tx, account, &recent, &seen.event) {
                answers::whole(tx, record.id);
                continue;
            }
            let came = Ages::load(tx).of_event(seq, time);
            if seq <= known.began.0 && known.began.1.since(came) > PIECES {
                answers::cut(tx, record.id);
            }
            known.recent.push(recent);
            let surplus = known.recent.len().saturating_sub(RECENT_MAX);
            known.recent.drain(..surplus);
        }
    }
    !concluded.is_empty()
}

/// Whether all members of a room have been told, by its own count.
fn is_whole(tx: &Txn<'_>, account: &str, recent: &Recent, event: &Event) -> bool {
    let Some(room) = event.chat.as_deref().filter(|_| event.kind == Kind::RoomMembers) else { return false };
    let counted = answer::members_counted(event).or_else(|| directory::members_of(tx, account, room));
    counted.zip(u64::try_from(recent.told.len()).ok()).is_some_and(|(all, told)| told >= all)
}

/// Asks `protocol` what an event comes to for these commands, and stores it. `answered`: those that only more pieces
/// are looked for, and whether it tells again what theirs has told.
fn conclude<'r>(
    tx: &mut Txn<'_>,
    records: &'r [Record],
    answered: &HashMap<u64, bool>,
    seen: &Seen,
    awaited: &Awaited,
) -> Vec<(&'r Record, Verdict)> {
    // What was given back since comes last: it seemed not to arrive, and only an event that nothing else explains proves
    // that it did.
    let (back, out): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.is_given_back());
    let concluded = conclude_among(tx, &out, answered, seen, awaited);
    if concluded.is_empty() { conclude_among(tx, &back, answered, seen, awaited) } else { concluded }
}

fn conclude_among<'r>(
    tx: &mut Txn<'_>,
    records: &[&'r Record],
    answered: &HashMap<u64, bool>,
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
            answered: answered.contains_key(&record.id),
            repeats: answered.get(&record.id) == Some(&true),
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
    let accepted = matches!(seen.event.decoded, Decoded::FriendVerified { ok: true, .. });
    if accepted && let Command::FriendAccept { v1, .. } = command {
        directory::accepted(tx, record.answerer(), v1, record.id, seen.time, seen.seq);
    }
}

/// The client reported a text of our own: one that was sent has arrived in the chat.
fn echo(tx: &mut Txn<'_>, account: &str, seen: &Seen, awaited: &Awaited) -> bool {
    let (Some(chat), Some(text)) = (seen.event.chat.as_deref(), seen.event.text.as_deref()) else { return false };
    let open = candidates(tx, account, |tx, who| answers::echoable(tx, who, chat, text, seen.seq, seen.time));
    let found = conclude(tx, &open, &HashMap::new(), seen, awaited);
    found.iter().for_each(|(record, _)| about::remember_echo(tx, seen.seq, record.id));
    !found.is_empty()
}

/// The client reported a picture, file or link of our own. That answers no command, but says who sent it.
fn media_echo(tx: &mut Txn<'_>, account: &str, seen: &Seen) {
    let Some(chat) = seen.event.chat.as_deref() else { return };
    let open = candidates(tx, account, |tx, who| answers::echoable_media(tx, who, chat, seen.seq, seen.time));
    let is_it =
        |record: &&Record| record.command.command().is_some_and(|command| answer::is_media_echo(command, &seen.event));
    let Some(record) = open.iter().filter(is_it).min_by_key(|record| (record.is_given_back(), record.id)) else {
        return;
    };
    about::remember_echo(tx, seen.seq, record.id);
    // Of a file the client may tell twice: as it begins, and when it is done.
    if seen.event.decoded.app().and_then(App::word) != Some("file_upload") {
        answers::media_echoed(tx, record);
    }
}

/// A notice may tell that something was refused.
fn refusal(tx: &mut Txn<'_>, account: &str, seen: &Seen, awaited: &Awaited) -> bool {
    let Some(chat) = seen.event.chat.as_deref() else { return false };
    let open = candidates(tx, account, |tx, who| answers::refusable(tx, who, chat, seen.seq, seen.time));
    let meant = answers::refused(&open).map(std::slice::from_ref).unwrap_or_default();
    !conclude(tx, meant, &HashMap::new(), seen, awaited).is_empty()
}
