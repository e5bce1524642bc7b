//! The table of commands inside a transaction: a [`Record`] is stored whole, and everything else (what is due, what
//! expires, who waits for an answer, the counts) is an index that [`save`] derives from it, so that an index cannot
//! disagree with it.

use crate::clock::Time;
use crate::daemon::queue::record::{Phase, Record, parse};
use crate::daemon::queue::revisions;
use crate::daemon::queue::rows::{add, count_keys, entries, number};
use crate::directory::Lesson;
use crate::key::{COMMAND, META, TEACHES, id_key};
use crate::store::Txn;

pub(super) fn next_id(tx: &Txn<'_>) -> u64 {
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
pub(super) fn teaches(before: Option<&Record>, after: &Record) -> bool {
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

/// Stores a record, notes what its state is from `now` on, and makes the indices agree with it. No change of a state is
/// stored without a number.
pub(super) fn save(tx: &mut Txn<'_>, before: Option<&Record>, after: &mut Record, now: Time) {
    revisions::note(tx, before, after, now);
    put(tx, before, after);
}

/// Stores what has become known of a command whose state stays what it was.
pub(super) fn amend(tx: &mut Txn<'_>, before: &Record, after: Record) {
    put(tx, Some(before), &Record { phase: before.phase, due: before.due, noted: before.noted, ..after });
}

/// The only place that stores a record.
fn put(tx: &mut Txn<'_>, before: Option<&Record>, after: &Record) {
    index(tx, before, Some(after));
    if teaches(before, after) {
        tx.put(TEACHES, &id_key(after.id), Vec::new());
    }
    let bytes = serde_json::to_vec(after).expect("a record is plain data");
    tx.put(COMMAND, &id_key(after.id), bytes);
}

/// Forgets a record, and its indices.
pub(super) fn remove(tx: &mut Txn<'_>, gone: &Record) {
    index(tx, Some(gone), None);
    tx.delete(COMMAND, &id_key(gone.id));
}

/// Makes the indices agree with a record. The only place that writes them.
fn index(tx: &mut Txn<'_>, before: Option<&Record>, after: Option<&Record>) {
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
}

pub(super) fn load(tx: &Txn<'_>, id: u64) -> Option<Record> {
    parse(&tx.get(COMMAND, &id_key(id))?)
}
