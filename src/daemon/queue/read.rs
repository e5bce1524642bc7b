//! Reads of the committed state, outside of transactions.

use crate::clock::Time;
use crate::control::{Paused, State};
use crate::daemon::queue::record::{Lane, Phase, Record, parse};
use crate::daemon::queue::rows::{number, ready_prefix};
use crate::daemon::queue::settle::HandoverLeft;
use crate::key::{
    ASK_LINE, COMMAND, COUNT, DONE, DUE, EXPIRY, GIVEN_BACK, IN_FLIGHT, Keys, META, READY, SCHEDULED, Space, TEACHES,
    bytes_time, id_at_end, id_key, time_key,
};
use crate::store::{Error, Pair, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// One command.
pub(crate) fn one(store: &Store, id: u64) -> Result<Option<Record>, Error> {
    Ok(store.get(COMMAND, &id_key(id))?.and_then(|b| parse(&b)))
}

/// Every command kept, oldest first, until `f` breaks.
pub(crate) fn each(store: &Store, mut f: impl FnMut(Record) -> ControlFlow<()>) -> Result<(), Error> {
    for pair in store.scan(COMMAND, ..) {
        if parse(&pair?.1).is_some_and(|record| f(record).is_break()) {
            break;
        }
    }
    Ok(())
}

/// Whether a command is kept that is bound to this account, in whatever state. Reads all of them where there is none.
pub(crate) fn keeps(store: &Store, account: &str) -> Result<bool, Error> {
    if waiting(store, account)? > 0 {
        return Ok(true);
    }
    let mut keeps = false;
    each(store, |record| {
        keeps = record.account.as_deref() == Some(account);
        if keeps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(keeps)
}

/// The commands whose end the directory has yet to learn from.
pub(crate) fn teaching(store: &Store) -> Result<Vec<(u64, Option<Record>)>, Error> {
    /// Learned from in one go.
    const TEACHING_MAX: usize = 500;
    let id = |pair: Result<Pair, Error>| pair.map(|(key, _)| id_at_end(&key));
    let ids = store.scan(TEACHES, ..).take(TEACHING_MAX).map(id).collect::<Result<Vec<_>, _>>()?;
    ids.into_iter().map(|id| Ok((id, one(store, id)?))).collect()
}

/// Takes the ids of the unfinished commands, in the order they become due; those in flight first.
fn each_unfinished_id(store: &Store, mut take: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
    [IN_FLIGHT, DUE].into_iter().flat_map(|space| store.scan(space, ..)).try_for_each(|pair| take(id_at_end(&pair?.0)))
}

/// Takes the unfinished commands one by one, in the order they become due; those in flight first.
pub(crate) fn each_unfinished(store: &Store, mut take: impl FnMut(Record) -> Result<(), Error>) -> Result<(), Error> {
    each_unfinished_id(store, |id| one(store, id)?.map_or(Ok(()), &mut take))
}

/// The commands in flight, by id.
pub(crate) fn in_flight(store: &Store) -> Result<Vec<u64>, Error> {
    store.scan(IN_FLIGHT, ..).map(|pair| Ok(id_at_end(&pair?.0))).collect()
}

/// The hand-overs that nobody has ended yet, by id.
pub(crate) fn unfinished(store: &Store) -> Result<Vec<HandoverLeft>, Error> {
    let of = |id| Ok(one(store, id)?.map(|record| HandoverLeft { id, attempt: record.attempts }));
    in_flight(store)?.into_iter().filter_map(|id| of(id).transpose()).collect()
}

/// What is in flight, or waits to be handed over, whenever it is due: its ids, without a look at the commands.
pub(crate) fn queued(store: &Store) -> Result<Vec<u64>, Error> {
    let mut ids = Vec::new();
    each_unfinished_id(store, |id| {
        ids.push(id);
        Ok(())
    })?;
    Ok(ids)
}

/// When the newest command kept was queued.
pub(crate) fn newest(store: &Store) -> Result<Option<Time>, Error> {
    let newest = store.scan(COMMAND, ..).rev().take(1).next().transpose()?;
    Ok(newest.and_then(|(_, bytes)| parse(&bytes)).map(|record| record.created))
}

/// Whether something is queued again after a hand-over that seemed to fail.
pub(crate) fn has_given_back(store: &Store) -> Result<bool, Error> {
    Ok(first(store, GIVEN_BACK, ..)?.is_some())
}

/// Whether something is due or expires by now: asked before a poll opens a transaction.
pub(crate) fn has_due(store: &Store, now: Time) -> Result<bool, Error> {
    let by = ..time_key(now, u64::MAX);
    Ok(first(store, DUE, by.clone())?.is_some() || first(store, EXPIRY, by)?.is_some())
}

/// When the next command becomes due after `now`.
pub(crate) fn next_due(store: &Store, now: Time) -> Result<Option<Time>, Error> {
    Ok(first(store, DUE, time_key(now, u64::MAX)..)?.as_deref().map(due_of))
}

/// When the oldest due command became due.
pub(crate) fn oldest_due(store: &Store, now: Time) -> Result<Option<Time>, Error> {
    Ok(first(store, DUE, ..time_key(now, u64::MAX))?.as_deref().map(due_of))
}

/// When the time of the next command comes, of which that is to be noted.
pub(crate) fn next_to_come_due(store: &Store) -> Result<Option<Time>, Error> {
    Ok(first(store, SCHEDULED, ..)?.as_deref().map(due_of))
}

/// When the next command expires.
pub(crate) fn next_expiry(store: &Store) -> Result<Option<Time>, Error> {
    Ok(first(store, EXPIRY, ..)?.as_deref().map(due_of))
}

/// What was answered since a time, by age, at most `max`, the newest first.
pub(crate) fn answered(store: &Store, since: Time, max: usize) -> Result<Vec<Record>, Error> {
    let mut answered = Vec::new();
    for pair in store.scan(DONE, time_key(since, 0)..).rev().take(max) {
        answered.extend(one(store, id_at_end(&pair?.0))?.filter(|record| record.phase == Phase::Answered));
    }
    Ok(answered)
}

/// Whether something was over before a time.
pub(crate) fn has_done(store: &Store, before: Time) -> Result<bool, Error> {
    Ok(first(store, DONE, ..time_key(before, 0))?.is_some())
}

/// The first key of a range.
fn first(store: &Store, space: Space, keys: impl Into<Keys>) -> Result<Option<Vec<u8>>, Error> {
    Ok(store.scan(space, keys).take(1).next().transpose()?.map(|(key, _)| key))
}

fn due_of(key: &[u8]) -> Time {
    key.first_chunk().map_or(Time::from_millis(0), |bytes| bytes_time(*bytes))
}

/// The questions of `ask` that are in line.
pub(crate) fn asks(store: &Store) -> Result<Vec<u64>, Error> {
    /// More than can have an asker: each holds a connection.
    const ASKS_MAX: usize = 100_000;
    store.scan(ASK_LINE, ..).take(ASKS_MAX).map(|pair| Ok(id_at_end(&pair?.0))).collect()
}

fn count(mut pairs: impl Iterator<Item = Result<Pair, Error>>) -> Result<u64, Error> {
    pairs.try_fold(0, |n, pair| pair.map(|_| n + 1))
}

/// How many commands are in each state.
pub(crate) fn counts(store: &Store, now: Time) -> Result<BTreeMap<State, u64>, Error> {
    /// Scheduled commands counted one by one; more are more than the queue holds by default.
    const SCHEDULED_MAX: usize = 1_000_000;
    let scheduled = count(store.scan(DUE, time_key(now, u64::MAX)..).take(SCHEDULED_MAX))?;
    let mut counts = BTreeMap::new();
    for state in State::ALL {
        let n = match state {
            State::Scheduled => scheduled,
            State::Ready => number(store.get(COUNT, b"phase/queued")?).saturating_sub(scheduled),
            other => number(store.get(COUNT, format!("phase/{other}").as_bytes())?),
        };
        counts.insert(state, n);
    }
    Ok(counts)
}

/// HandoverLeft commands bound to an account (`""`: to nobody).
pub(crate) fn waiting(store: &Store, account: &str) -> Result<u64, Error> {
    Ok(number(store.get(COUNT, format!("waiting/{account}").as_bytes())?))
}

/// What is paused.
pub(crate) fn paused(store: &Store) -> Result<Paused, Error> {
    Ok(store.get(META, b"paused")?.and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default())
}

/// Whether something waits for an account or for nobody (`""`) that is due, and how many stand in its lane and those
/// that go before it, as far as `max`.
pub(crate) fn in_front(store: &Store, record: &Record, now: Time, max: usize) -> Result<u32, Error> {
    let account = record.account.as_deref().unwrap_or("");
    let lane = record.lane();
    let own = ready_before(store, account, lane, &time_key(record.due, record.id), max)?;
    let front = lane.in_front().map_or(Ok(0), |front| due_in(store, account, front, now, max))?;
    Ok(own.saturating_add(front))
}

/// How many of an account (`""`: of nobody) are due in a lane, as far as `max`.
pub(crate) fn due_in(store: &Store, account: &str, lane: Lane, now: Time, max: usize) -> Result<u32, Error> {
    ready_before(store, account, lane, &time_key(now, u64::MAX), max)
}

fn ready_before(store: &Store, account: &str, lane: Lane, until: &[u8], max: usize) -> Result<u32, Error> {
    let from = ready_prefix(account, lane);
    let to = [&from[..], until].concat();
    Ok(u32::try_from(count(store.scan(READY, from..to).take(max))?).unwrap_or(u32::MAX))
}

/// The command of an account that would be handed over first, or would be if nothing held it.
pub(crate) fn foremost(store: &Store, account: &str, now: Time) -> Result<Option<Record>, Error> {
    for lanes in [&Lane::PROMPT[..], &Lane::BULK[..]] {
        let mut foremost: Option<Vec<u8>> = None;
        for lane in lanes {
            let from = ready_prefix(account, *lane);
            let to = [&from[..], &time_key(now, u64::MAX)].concat();
            let found = first(store, READY, from..to)?;
            let order = |key: &Vec<u8>| key.last_chunk::<16>().copied();
            if found.as_ref().is_some_and(|key| foremost.as_ref().is_none_or(|first| order(key) < order(first))) {
                foremost = found;
            }
        }
        if let Some(key) = foremost {
            return one(store, id_at_end(&key));
        }
    }
    Ok(None)
}
