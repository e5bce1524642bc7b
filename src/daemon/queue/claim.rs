//! Takes what is due for a poll.

use crate::clock::Time;
use crate::config;
use crate::daemon::ages::Ages;
use crate::daemon::queue::record::{Claimed, LOGOUT, Lane, Phase, Record};
use crate::daemon::queue::rows::{ready_key, ready_prefix};
use crate::daemon::queue::table::{load, save};
use crate::daemon::queue::{change::expire, introduce, pacing, pause::paused, turns::take_turns};
use crate::key::{ASK_LINE, Keys, READY, id_at_end, name_key, time_key};
use crate::store::Txn;
use std::collections::BTreeSet;

/// How much of what waits somewhere a poll takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Whatever is due.
    All,
    /// Questions about the login (36, 20): what a client can do that nobody is logged in to.
    Login,
}

/// Whose commands a poll may take.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    /// Bound commands: of whom, and which.
    pub(crate) bound: Vec<(String, Share)>,
    /// Commands bound to nobody.
    pub(crate) unbound: Share,
    /// Whose budget they spend.
    pub(crate) purse: pacing::Purse,
}

/// Takes what is due, oldest first and bulk last, at most `batch` and nothing behind a logout, and marks it in flight. Expired ones are dropped on
/// the way, paced and paused ones are left.
pub(crate) fn claim(
    tx: &mut Txn<'_>,
    lists: &Lists,
    by: &Claimed,
    batch: usize,
    pacing: &config::Pacing,
) -> Vec<Record> {
    let now = by.time;
    expire(tx, now);
    let paused = paused(tx);
    if paused.all {
        return Vec::new();
    }
    let bound = lists.bound.iter().filter(|(name, _)| !paused.accounts.contains(name));
    let names: Vec<(&str, Share)> =
        bound.map(|(name, share)| (name.as_str(), *share)).chain([("", lists.unbound)]).collect();
    take_turns(tx, &names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), now);
    let mut pace = pacing::Pace::load(tx, &lists.purse, now, pacing);
    let by = introduce::known_by_now(tx, by);
    let age = Ages::load(tx).now(now);
    let mut taken = Vec::new();
    'lanes: for lanes in [&Lane::PROMPT[..], &Lane::BULK[..]] {
        for (key, lane, id) in due(tx, &names, lanes, now, batch) {
            if taken.len() == batch {
                break;
            }
            if pace.held(lane.class(), 0, now, pacing).is_some() {
                continue;
            }
            let Some(before) = load(tx, id) else { continue };
            // An index of the first version had login questions among the others.
            let is_ready = before.phase == Phase::Queued && before.waits_for_its_turn().is_none();
            if !is_ready || ready_key(&before) != key {
                tx.delete(READY, &key);
                if is_ready {
                    tx.put(READY, &ready_key(&before), Vec::new());
                }
                continue;
            }
            pace.spend(lane.class(), now, pacing);
            let mut record = before.clone();
            record.phase = Phase::InFlight;
            record.attempts += 1;
            // What came before is no answer to it, whatever became of an earlier hand-over.
            (record.claimed, record.back) = (Some(by.clone()), None);
            record.handed_at = Some(age);
            save(tx, Some(&before), &mut record, now);
            let ends = record.api == LOGOUT;
            taken.push(record);
            // Nobody is there any more for what would come behind it.
            if ends {
                break 'lanes;
            }
        }
    }
    pace.store(tx, &lists.purse);
    taken
}

/// What is due in those lanes of those accounts, at most `batch` of each, in the order in which it became due.
pub(super) fn due(
    tx: &Txn<'_>,
    names: &[(&str, Share)],
    lanes: &[Lane],
    now: Time,
    batch: usize,
) -> Vec<(Vec<u8>, Lane, u64)> {
    let mut due = Vec::new();
    for (name, share) in names {
        for lane in lanes.iter().copied().filter(|lane| *share == Share::All || *lane == Lane::Login) {
            let from = ready_prefix(name, lane);
            let to = [&from[..], &time_key(now, u64::MAX)].concat();
            due.extend(tx.scan(READY, from..to).take(batch).map(|(key, _)| {
                let id = id_at_end(&key);
                (key, lane, id)
            }));
        }
    }
    // What ends a key is due time and id: the order in which they became due.
    due.sort_by(|(a, ..), (b, ..)| a.last_chunk::<16>().cmp(&b.last_chunk::<16>()));
    due
}

/// What waits for an account, whenever it is due: at most `max`.
pub(crate) fn queued_of(tx: &Txn<'_>, account: &str, max: usize) -> Vec<u64> {
    let prefix = name_key(account);
    // A question that waits for its turn is only in its line.
    let found = [READY, ASK_LINE].into_iter().flat_map(|space| tx.scan(space, Keys::prefix(&prefix)).take(max));
    let ids: BTreeSet<u64> = found.map(|(key, _)| id_at_end(&key)).collect();
    ids.into_iter().filter(|id| load(tx, *id).is_some_and(|record| record.phase == Phase::Queued)).collect()
}
