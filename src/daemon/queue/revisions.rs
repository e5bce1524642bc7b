//! Every change of a command's state, numbered and kept: what the feed of changes tells (contract 8).
//!
//! Promises: [`note`] gives each change the next [`Rev`], in the transaction of the change itself, so that there is no
//! change without one and none twice; numbers have no gap but where something is kept no longer, or lost, and whoever
//! reads is told which ([`page`]). That a time has come is a change as well (`change::come_due`). What a row holds and
//! its command tell together how the receipt was then.
//! Leaves to others: when a record changes, and storing it (`table`, which asks for the note), and following (`feed`).

use crate::clock::Time;
use crate::codec::{LeReader, LeWriter};
use crate::control::{Fetched, Receipt, Rev, State};
use crate::daemon::ages::Ages;
use crate::daemon::queue::record::{NotedState, Phase, Record, parse};
use crate::daemon::queue::rows::number;
use crate::key::{COMMAND, META, REVISION, id_at_end, id_key};
use crate::seq::Seq;
use crate::store::{Error, Store, Txn};

/// The most changes that are kept, whatever `keep_done` says: about a hundred bytes each. A command has four in its life.
pub(crate) const REVISIONS_MAX: u64 = 2_000_000;
/// Changes dropped in one transaction: keeps the writer free for others.
const DROPPED_MAX: usize = 2000;
/// The version of a row's bytes.
const VERSION: u8 = 1;
/// Where the next number is.
const NEXT: &[u8] = b"next_rev";

/// A change, and what a receipt as of then needs beside what never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Revision {
    id: u64,
    state: State,
    /// By age (see `ages`).
    time: Time,
    /// It was bound to the account that its command is bound to: a command never changes accounts.
    bound: bool,
    due: Time,
    expires: Option<Time>,
    attempts: u32,
    answer: Option<Seq>,
    /// A retry takes them from the command.
    answers: Vec<Seq>,
    fetched: Option<Fetched>,
}

/// Bits of a row's flags.
const BOUND: u8 = 1;
const EXPIRES: u8 = 2;
const ANSWERED: u8 = 4;
const FETCHED: u8 = 8;
const CONFIRMED: u8 = 16;
const HAS_ACCOUNT: u8 = 32;
const HAS_PID: u8 = 64;

impl Revision {
    fn of(record: &Record, state: State, time: Time) -> Self {
        Self {
            id: record.id,
            state,
            time,
            bound: record.account.is_some(),
            due: record.due,
            expires: record.expires,
            attempts: record.attempts,
            answer: record.answer,
            answers: record.answers.clone(),
            fetched: record.fetched.clone(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let fetched = self.fetched.as_ref();
        let flags = [
            (self.bound, BOUND),
            (self.expires.is_some(), EXPIRES),
            (self.answer.is_some(), ANSWERED),
            (fetched.is_some(), FETCHED),
            (fetched.is_some_and(|fetched| fetched.confirmed), CONFIRMED),
            (fetched.is_some_and(|fetched| fetched.account.is_some()), HAS_ACCOUNT),
            (fetched.is_some_and(|fetched| fetched.pid.is_some()), HAS_PID),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
        let mut out = Vec::with_capacity(128);
        out.bytes(&[VERSION, number_of(self.state), flags]);
        out.u64(self.id);
        out.i64(self.time.millis());
        out.i64(self.due.millis());
        out.u32(self.attempts);
        out.len32(self.answers.len());
        self.answers.iter().for_each(|seq| out.u64(seq.0));
        self.expires.iter().for_each(|time| out.i64(time.millis()));
        self.answer.iter().for_each(|seq| out.u64(seq.0));
        if let Some(Fetched { time, account, pid, peer, confirmed: _, after }) = fetched {
            out.i64(time.millis());
            out.u64(after.0);
            pid.iter().for_each(|pid| out.u64(*pid));
            for text in account.iter().chain([peer]) {
                out.len32(text.len());
                out.bytes(text.as_bytes());
            }
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut row = LeReader(bytes);
        row.u8().filter(|version| *version == VERSION)?;
        let (state, flags) = (*State::ALL.get(usize::from(row.u8()?))?, row.u8()?);
        let has = |flag: u8| flags & flag != 0;
        let time = |row: &mut LeReader<'_>| row.i64().map(Time::from_millis);
        let text = |row: &mut LeReader<'_>| {
            let len = row.len32()?;
            Some(String::from_utf8_lossy(row.bytes(len)?).into_owned())
        };
        let mut revision = Self {
            id: row.u64()?,
            state,
            time: time(&mut row)?,
            bound: has(BOUND),
            due: time(&mut row)?,
            expires: None,
            attempts: row.u32()?,
            answers: Vec::new(),
            answer: None,
            fetched: None,
        };
        for _ in 0..row.len32()? {
            revision.answers.push(Seq(row.u64()?));
        }
        if has(EXPIRES) {
            revision.expires = Some(time(&mut row)?);
        }
        if has(ANSWERED) {
            revision.answer = Some(Seq(row.u64()?));
        }
        if has(FETCHED) {
            revision.fetched = Some(Fetched {
                time: time(&mut row)?,
                after: Seq(row.u64()?),
                pid: if has(HAS_PID) { Some(row.u64()?) } else { None },
                account: if has(HAS_ACCOUNT) { Some(text(&mut row)?) } else { None },
                peer: text(&mut row)?,
                confirmed: has(CONFIRMED),
            });
        }
        Some(revision)
    }

    /// The receipt as it was then; the command may have changed since.
    fn receipt(self, rev: Rev, mut record: Record, ages: &Ages) -> Receipt {
        let is_newest = record.rev() == Some(rev);
        if !is_newest {
            record.answers = self.answers;
            record.missing = None;
            record.phase = phase_of(self.state);
            record.cut = false;
        }
        record.account = record.account.filter(|_| self.bound);
        (record.due, record.expires, record.attempts) = (self.due, self.expires, self.attempts);
        (record.answer, record.fetched) = (self.answer, self.fetched);
        let receipt = record.receipt_in(self.state);
        let held = receipt.held.filter(|_| is_newest);
        Receipt { held, rev: Some(rev), changed: Some(ages.wall(self.time)), ..receipt }
    }
}

/// A state as stored: its place in the order of a command's life.
fn number_of(state: State) -> u8 {
    match state {
        State::Scheduled => 0,
        State::Ready => 1,
        State::InFlight => 2,
        State::Fetched => 3,
        State::Answered => 4,
        State::Rejected => 5,
        State::Expired => 6,
        State::Cancelled => 7,
    }
}

fn phase_of(state: State) -> Phase {
    match state {
        State::Scheduled | State::Ready => Phase::Queued,
        State::InFlight => Phase::InFlight,
        State::Fetched => Phase::Fetched,
        State::Answered => Phase::Answered,
        State::Rejected => Phase::Rejected,
        State::Expired => Phase::Expired,
        State::Cancelled => Phase::Cancelled,
    }
}

/// Notes what the state of a command is from now on, if that is another one than before. To be called before it is stored.
pub(super) fn note(tx: &mut Txn<'_>, before: Option<&Record>, after: &mut Record, now: Time) {
    let (was, is) = (before.map(|before| before.noted_state(now)), after.state(now));
    if was == Some(is) {
        return;
    }
    let time = Ages::load(tx).now(now);
    // Nobody noted in time that its time had come.
    if let (Some(before), Some(State::Scheduled), State::InFlight | State::Expired) = (before, was, is) {
        put(tx, &Revision::of(before, State::Ready, time));
    }
    let rev = put(tx, &Revision::of(after, is, time));
    after.noted = Some(NotedState { rev, scheduled: is == State::Scheduled });
}

fn put(tx: &mut Txn<'_>, revision: &Revision) -> Rev {
    let rev = Rev(next(tx.get(META, NEXT)));
    tx.put(META, NEXT, rev.next().0.to_be_bytes());
    tx.put(REVISION, &id_key(rev.0), revision.bytes());
    rev
}

fn next(stored: Option<Vec<u8>>) -> u64 {
    number(stored).max(1)
}

/// Goes on with numbers that no change can have had that the store has lost with a part of its journal: what a reader
/// has come to must not become another change's.
pub(crate) fn skip(tx: &mut Txn<'_>) {
    /// More than the largest part has room for.
    const LOST_MAX: u64 = 4_000_000;
    let next = next(tx.get(META, NEXT)) + LOST_MAX;
    tx.put(META, NEXT, next.to_be_bytes());
}

/// The last change that there was.
pub(crate) fn newest(store: &Store) -> Result<Rev, Error> {
    Ok(Rev(next(store.get(META, NEXT)?) - 1))
}

/// Drops the oldest changes: those before `before`, by age as far as it is certain, and those that are too many. Returns
/// how many; call again while it is not zero.
pub(crate) fn drop_old(tx: &mut Txn<'_>, before: Option<Time>) -> usize {
    let newest = next(tx.get(META, NEXT)) - 1;
    let oldest_kept = newest.saturating_sub(REVISIONS_MAX) + 1;
    let is_old = |(key, row): &(Vec<u8>, Vec<u8>)| {
        let is_past = || Revision::read(row).is_none_or(|row| before.is_some_and(|before| row.time < before));
        id_at_end(key) < oldest_kept || is_past()
    };
    let old: Vec<_> = tx.scan(REVISION, ..).take(DROPPED_MAX).take_while(is_old).collect();
    old.iter().for_each(|(key, _)| tx.delete(REVISION, key));
    old.len()
}

/// Whether [`drop_old`] would drop something.
pub(crate) fn has_old(store: &Store, before: Option<Time>) -> Result<bool, Error> {
    let Some((key, row)) = store.scan(REVISION, ..).take(1).next().transpose()? else { return Ok(false) };
    let is_past = |row: Revision| before.is_some_and(|before| row.time < before);
    Ok(newest(store)?.0 >= id_at_end(&key).saturating_add(REVISIONS_MAX) || Revision::read(&row).is_none_or(is_past))
}

/// A stretch of the changes, as a reader is told it.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// Up to here all was looked at.
    pub(crate) looked_to: Rev,
    /// In order.
    pub(crate) told: Vec<Telling>,
}

/// What a reader is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are receipts")]
pub(crate) enum Telling {
    /// How the command was then.
    Changed(Receipt),
    /// These are kept no longer, or their commands are not: the first and the last.
    Dropped(Rev, Rev),
}

/// The changes after `after` up to `upto`, some of them: at most `looked_max` looked at, and as many as about `bytes_max`
/// hold; into the states that `wants` names, of the commands that `passes` lets through, whose last argument tells whether
/// they were bound then.
pub(crate) fn page(
    store: &Store,
    (after, upto): (Rev, Rev),
    (looked_max, bytes_max): (usize, usize),
    ages: &Ages,
    wants: impl Fn(State) -> bool,
    passes: impl Fn(&Record, bool) -> bool,
) -> Result<Stretch, Error> {
    let mut stretch = Stretch { looked_to: after, told: Vec::new() };
    let (mut looked, mut last, mut bytes) = (0, after, 0);
    for pair in store.scan(REVISION, id_key(after.next().0)..id_key(upto.next().0)).take(looked_max) {
        let (key, row) = pair?;
        (looked, last) = (looked + 1, Rev(id_at_end(&key)));
        // One that cannot be told is missing as much as one that is not there.
        let Some(row) = Revision::read(&row) else { continue };
        if wants(row.state) {
            let Some(record) = store.get(COMMAND, &id_key(row.id))?.and_then(|bytes| parse(&bytes)) else { continue };
            stretch.miss_until(last);
            if passes(&record, row.bound) {
                bytes += record.told_bytes();
                stretch.told.push(Telling::Changed(row.receipt(last, record, ages)));
            }
        }
        stretch.miss_until(last);
        stretch.looked_to = last;
        if bytes >= bytes_max {
            return Ok(stretch);
        }
    }
    stretch.miss_until(if looked < looked_max { upto } else { last }.next());
    Ok(stretch)
}

impl Stretch {
    /// Tells of what is missing before `next`, and is there.
    fn miss_until(&mut self, next: Rev) {
        let (from, to) = (self.looked_to.next(), Rev(next.0.saturating_sub(1)));
        if from <= to {
            self.told.push(Telling::Dropped(from, to));
            self.looked_to = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions() -> Vec<Revision> {
        let fetched = |account: Option<&str>, pid, confirmed| Fetched {
            time: Time::from_millis(-7),
            account: account.map(str::to_owned),
            pid,
            peer: "[::1]:1".to_owned(),
            confirmed,
            after: Seq(9),
        };
        let fetched = [None, Some(fetched(Some("wxid_a"), Some(7), true)), Some(fetched(None, None, false))];
        let of = |(n, state): (usize, &State)| Revision {
            id: u64::MAX,
            state: *state,
            time: Time::from_millis(5),
            bound: n % 2 == 0,
            due: Time::from_millis(6),
            expires: (n % 3 == 0).then(|| Time::from_millis(8)),
            attempts: 3,
            answer: (n % 2 == 1).then_some(Seq(4)),
            answers: vec![Seq(5), Seq(9)],
            fetched: fetched[n % 3].clone(),
        };
        State::ALL.iter().enumerate().map(of).collect()
    }

    #[test]
    fn a_row_is_read_as_it_was_written_and_a_cut_or_newer_one_is_none() {
        for revision in revisions() {
            let bytes = revision.bytes();
            assert!(bytes.len() < 110, "{}", bytes.len());
            assert_eq!(State::ALL[usize::from(bytes[1])], revision.state, "the number of a state is its place");
            for len in 0..bytes.len() {
                assert_eq!(Revision::read(&bytes[..len]), None, "{len}");
            }
            assert_eq!(Revision::read(&[&[VERSION + 1], &bytes[1..]].concat()), None);
            assert_eq!(Revision::read(&bytes), Some(revision));
        }
    }
}
