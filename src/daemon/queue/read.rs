//! Reads of the committed state, outside of transactions.

use crate::clock::Time;
use crate::control::{Paused, State};
use crate::daemon::queue::record::{Record, parse};
use crate::daemon::queue::rows::{
    ASK_LINE, COMMAND, DONE, DUE, EXPIRY, GIVEN_BACK, IN_FLIGHT, Lane, READY, TEACHES, id_at_end, id_key, number,
    ready_prefix, time_key,
};
use crate::store::{COUNT, Error, META, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Records read in one go: bounds memory and the time a scan holds.
const PAGE: usize = 500;

/// One command.
pub(crate) fn one(store: &Store, id: u64) -> Result<Option<Record>, Error> {
    Ok(store.get(COMMAND, &id_key(id))?.and_then(|b| parse(&b)))
}

/// Every command kept, oldest first, until `f` breaks.
pub(crate) fn each(store: &Store, mut f: impl FnMut(Record) -> ControlFlow<()>) -> Result<(), Error> {
    let mut from = id_key(0);
    loop {
        let page = store.scan(COMMAND, &from, &[255; 16], PAGE, false)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = id_key(id_at_end(last) + 1);
        if page.iter().filter_map(|(_, bytes)| parse(bytes)).try_for_each(&mut f).is_break() {
            return Ok(());
        }
    }
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
    let found = store.scan(TEACHES, &[], &[255; 9], PAGE, false)?;
    found.iter().map(|(key, _)| (id_at_end(key), one(store, id_at_end(key)))).map(|(id, r)| Ok((id, r?))).collect()
}

/// Takes the ids of the unfinished commands, in the order they become due; those in flight first.
fn each_unfinished_id(store: &Store, mut take: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
    for (space, width) in [(IN_FLIGHT, 8), (DUE, 16)] {
        let mut from = vec![0; width];
        loop {
            let page = store.scan(space, &from, &[255; 17], PAGE, false)?;
            let Some((last, _)) = page.last() else { break };
            from = [&last[..], &[0]].concat();
            page.iter().try_for_each(|(key, _)| take(id_at_end(key)))?;
        }
    }
    Ok(())
}

/// Takes the unfinished commands one by one, in the order they become due; those in flight first.
pub(crate) fn each_unfinished(store: &Store, mut take: impl FnMut(Record) -> Result<(), Error>) -> Result<(), Error> {
    each_unfinished_id(store, |id| one(store, id)?.map_or(Ok(()), &mut take))
}

/// The commands in flight, by id.
pub(crate) fn in_flight(store: &Store) -> Result<Vec<u64>, Error> {
    let found = store.scan(IN_FLIGHT, &[], &[255; 16], usize::MAX, false)?;
    Ok(found.iter().map(|(key, _)| id_at_end(key)).collect())
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
    let newest = store.scan(COMMAND, &[], &[255; 16], 1, true)?;
    Ok(newest.first().and_then(|(_, bytes)| parse(bytes)).map(|record| record.created))
}

/// Whether something is queued again after a hand-over that seemed to fail.
pub(crate) fn has_given_back(store: &Store) -> Result<bool, Error> {
    Ok(!store.scan(GIVEN_BACK, &[], &[255; 16], 1, false)?.is_empty())
}

/// Whether something is due or expires by now: asked before a poll opens a transaction.
pub(crate) fn has_due(store: &Store, now: Time) -> Result<bool, Error> {
    let by = |space| Ok(!store.scan(space, &[], &time_key(now, u64::MAX), 1, false)?.is_empty());
    Ok(by(DUE)? || by(EXPIRY)?)
}

/// When the next command becomes due after `now`.
pub(crate) fn next_due(store: &Store, now: Time) -> Result<Option<Time>, Error> {
    let next = store.scan(DUE, &time_key(now, u64::MAX), &[255; 17], 1, false)?;
    Ok(next.first().map(|(key, _)| due_of(key)))
}

/// When the oldest due command became due.
pub(crate) fn oldest_due(store: &Store, now: Time) -> Result<Option<Time>, Error> {
    let oldest = store.scan(DUE, &[], &time_key(now, u64::MAX), 1, false)?;
    Ok(oldest.first().map(|(key, _)| due_of(key)))
}

/// When the next command expires.
pub(crate) fn next_expiry(store: &Store) -> Result<Option<Time>, Error> {
    let next = store.scan(EXPIRY, &[], &[255; 17], 1, false)?;
    Ok(next.first().map(|(key, _)| due_of(key)))
}

/// Whether something was over before a time.
pub(crate) fn has_done(store: &Store, before: Time) -> Result<bool, Error> {
    Ok(!store.scan(DONE, &[], &time_key(before, 0), 1, false)?.is_empty())
}

fn due_of(key: &[u8]) -> Time {
    let flipped = key.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
    Time::from_millis((flipped ^ (1 << 63)).cast_signed())
}

/// The questions of `ask` that are in line.
pub(crate) fn asks(store: &Store) -> Result<Vec<u64>, Error> {
    /// More than can have an asker: each holds a connection.
    const ASKS_MAX: usize = 100_000;
    let found = store.scan(ASK_LINE, &[], &[255; 16], ASKS_MAX, false)?;
    Ok(found.iter().map(|(key, _)| id_at_end(key)).collect())
}

/// How many commands are in each state.
pub(crate) fn counts(store: &Store, now: Time) -> Result<BTreeMap<State, u64>, Error> {
    /// Scheduled commands counted one by one; more are more than the queue holds by default.
    const SCHEDULED_MAX: usize = 1_000_000;
    let scheduled = store.scan(DUE, &time_key(now, u64::MAX), &[255; 17], SCHEDULED_MAX, false)?.len() as u64;
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

/// Unfinished commands bound to an account (`""`: to nobody).
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
    Ok(u32::try_from(store.scan(READY, &from, &to, max, false)?.len()).unwrap_or(u32::MAX))
}

/// The command of an account that would be handed over first, or would be if nothing held it.
pub(crate) fn foremost(store: &Store, account: &str, now: Time) -> Result<Option<Record>, Error> {
    for lanes in [&Lane::PROMPT[..], &Lane::BULK[..]] {
        let mut first: Option<Vec<u8>> = None;
        for lane in lanes {
            let from = ready_prefix(account, *lane);
            let to = [&from[..], &time_key(now, u64::MAX)].concat();
            let found = store.scan(READY, &from, &to, 1, false)?.pop().map(|(key, _)| key);
            let order = |key: &Vec<u8>| key.last_chunk::<16>().copied();
            if found.as_ref().is_some_and(|key| first.as_ref().is_none_or(|first| order(key) < order(first))) {
                first = found;
            }
        }
        if let Some(key) = first {
            return one(store, id_at_end(&key));
        }
    }
    Ok(None)
}
