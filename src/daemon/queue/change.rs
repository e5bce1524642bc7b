//! What becomes of commands that no client has: taken back, queued again, expired, moved with the clock, forgotten.

use crate::clock::Time;
use crate::daemon::ages::Ages;
use crate::daemon::queue::keys::{Key, key_of, key_of_v1, keyed, put_key};
use crate::daemon::queue::record::{KEY_LIFE, New, Phase, Record};
use crate::daemon::queue::table::{amend, load, remove, save};
use crate::daemon::queue::{enqueue::accepting, refused::Refused};
use crate::key::{DONE, EXPIRY, KEY, KEY_V1, SCHEDULED, id_at_end, time_key};
use crate::store::Txn;

/// Commands expired, deleted or given back in one transaction: keeps the writer free for others.
pub(crate) const SWEEP_MAX: usize = 500;

/// Takes a command back that nobody has fetched. `live`: it is in a response at this moment.
pub(crate) fn cancel(tx: &mut Txn<'_>, id: u64, live: bool, now: Time) -> Result<Record, Refused> {
    let before = load(tx, id).ok_or(Refused::NotFound(id))?;
    match before.phase {
        Phase::Cancelled => return Ok(before),
        Phase::Queued => {}
        Phase::InFlight if !live => {}
        _ => {
            let state = before.state(now);
            return Err(Refused::Gone { id, state });
        }
    }
    let mut record = before.clone();
    record.was_out |= before.phase == Phase::InFlight;
    record.phase = Phase::Cancelled;
    record.done = Some(Ages::load(tx).now(now));
    save(tx, Some(&before), &mut record, now);
    Ok(record)
}

/// Puts a command back into the queue, due now. `live`: it is in a response at this moment.
pub(crate) fn retry(tx: &mut Txn<'_>, id: u64, live: bool, now: Time) -> Result<Record, Refused> {
    let before = load(tx, id).ok_or(Refused::NotFound(id))?;
    if (before.phase == Phase::InFlight && live) || before.phase == Phase::Answered {
        let state = before.state(now);
        return Err(Refused::Over { id, state });
    }
    if before.phase == Phase::Queued && before.due > now {
        return Err(Refused::NotDue { id, due: before.due });
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
    (record.back, record.whole, record.cut) = (None, false, false);
    save(tx, Some(&before), &mut record, now);
    Ok(record)
}

/// That a command which is to be queued again would be queued: no other one stands for its key, or accepts its friend
/// request. Its key stands for it then, for the rest of its day.
pub(super) fn is_still_its_own(tx: &mut Txn<'_>, record: &Record, now: Time) -> Result<(), Refused> {
    let ages = Ages::load(tx);
    let (id, account) = (record.id, record.account.as_deref());
    let new = New { wire: record.command.clone(), key: record.key.clone() };
    if let Some(other) = keyed(tx, account, &new, Some(id), &ages, now) {
        return Err(Refused::KeyGone { key: record.key.clone().unwrap_or_default(), id, other: other.id });
    }
    if let Some(other) = accepting(tx, account, &new, Some(id), &ages, now) {
        let did = if other.phase == Phase::Answered { "accepted" } else { "accepts" };
        return Err(Refused::Accepted { other: other.id, did, id });
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
    let found = tx.scan(EXPIRY, ..time_key(now, u64::MAX)).take(SWEEP_MAX).collect::<Vec<_>>();
    let age = Ages::load(tx).now(now);
    for (key, _) in &found {
        if let Some(before) = load(tx, id_at_end(key)) {
            let mut record = before.clone();
            record.phase = Phase::Expired;
            record.done = Some(age);
            save(tx, Some(&before), &mut record, now);
        }
    }
    found.len()
}

/// Notes that the time of commands has come. Returns how many.
pub(crate) fn come_due(tx: &mut Txn<'_>, now: Time) -> usize {
    let found = tx.scan(SCHEDULED, ..time_key(now, u64::MAX)).take(SWEEP_MAX).collect::<Vec<_>>();
    for (key, _) in &found {
        if let Some(before) = load(tx, id_at_end(key)) {
            save(tx, Some(&before), &mut before.clone(), now);
        }
        // It stays in no case: whoever calls goes on as long as there is one.
        tx.delete(SCHEDULED, key);
    }
    found.len()
}

/// Moves what waits for a length of time by this many milliseconds: the clock was set. `now`: as if it had not been.
pub(crate) fn shift(tx: &mut Txn<'_>, ids: &[u64], by: i64, now: Time) {
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
        save(tx, Some(&before), &mut record, moved(now));
    }
}

/// Forgets what was over before `before`; both times are by age, as far as it is certain. Returns how many it looked at;
/// call again while it is not zero.
pub(crate) fn forget(tx: &mut Txn<'_>, before: Time, now: Time) -> usize {
    let found = tx.scan(DONE, ..time_key(before, 0)).take(SWEEP_MAX).collect::<Vec<_>>();
    for (key, _) in &found {
        let Some(record) = load(tx, id_at_end(key)) else {
            tx.delete(DONE, key);
            continue;
        };
        if record.is_in_line() {
            // Somebody still waits for the reply: it is looked at again when that may be over.
            amend(tx, &record, Record { done: Some(now), ..record.clone() });
            continue;
        }
        if let Some(key) = &record.key {
            let row = tx.get(KEY, &key_of(record.account.as_deref(), key));
            let row = row.and_then(|row| serde_json::from_slice::<Key>(&row).ok());
            let is_alive = row.is_some_and(|key| key.id == record.id && key.is_alive(now));
            if is_alive || now.since(record.queued()) < KEY_LIFE {
                // Its key is still promised to be remembered; it is looked at again when that is over.
                let later = Some(record.queued().max(now).after(KEY_LIFE));
                amend(tx, &record, Record { done: later, ..record.clone() });
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
        remove(tx, &record);
    }
    found.len()
}
