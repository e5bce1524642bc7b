//! How a hand-over ended.

use crate::clock::Time;
use crate::control::Fetched;
use crate::daemon::ages::Ages;
use crate::daemon::queue::pacing;
use crate::daemon::queue::record::{Phase, Record};
use crate::daemon::queue::table::{load, save};
use crate::seq::Seq;
use crate::store::Txn;

/// What is known of a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The peer has it; whether it surely read it.
    Fetched { confirmed: bool },
    /// It did not arrive.
    GivenBack,
}

/// Ends a hand-over. A command that was answered in the meantime stays answered: the answer proves that it arrived.
/// `tail`: the newest event.
pub(crate) fn settle(tx: &mut Txn<'_>, ids: &[u64], settled: Settled, tail: Seq, now: Time) {
    let age = Ages::load(tx).now(now);
    for &id in ids {
        let Some(before) = load(tx, id) else { continue };
        if before.phase != Phase::InFlight {
            continue;
        }
        let mut record = before.clone();
        match settled {
            Settled::Fetched { confirmed } => {
                record.phase = Phase::Fetched;
                record.fetched = Some(fetched(&before, now, confirmed));
                (record.done, record.had_at) = (Some(age), Some(age));
            }
            // A part of its answer has come: it did arrive.
            Settled::GivenBack if !before.answers.is_empty() => arrived(&mut record, now, age),
            Settled::GivenBack => {
                record.give_back(tail, age);
                if let Some(claimed) = &record.claimed {
                    pacing::Pace::give_back(tx, &pacing::Purse::of(&claimed.purse), record.class(), now);
                }
            }
        }
        save(tx, Some(&before), &mut record, now);
    }
}

/// An event proves that a client has got it; `age`: now, by age.
pub(super) fn arrived(record: &mut Record, now: Time, age: Time) {
    record.phase = Phase::Fetched;
    record.fetched = Some(fetched(record, now, true));
    (record.done, record.had_at) = (Some(age), Some(age));
}

pub(super) fn fetched(record: &Record, now: Time, confirmed: bool) -> Fetched {
    let claimed = record.claimed.as_ref();
    Fetched {
        time: now,
        account: claimed.and_then(|c| c.account.clone()).or_else(|| record.account.clone()),
        pid: claimed.and_then(|c| c.pid),
        peer: claimed.map(|c| c.peer.clone()).unwrap_or_default(),
        confirmed,
        after: claimed.map(|c| c.tail).unwrap_or_default(),
    }
}

/// A hand-over that a start has found unfinished. The command may be in flight anew later, by a claim that is another
/// attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandoverLeft {
    pub(crate) id: u64,
    pub(crate) attempt: u32,
}

/// After a start: what was in flight when the daemon died becomes ready again, unless it was answered in part. It may be
/// done twice, for a store that refuses does not always tell what it has kept: what is claimed since is none of `left`.
/// `tail`: the newest event then.
pub(crate) fn redeliver(tx: &mut Txn<'_>, left: &[HandoverLeft], tail: Seq, now: Time) {
    let age = Ages::load(tx).now(now);
    for &HandoverLeft { id, attempt } in left {
        let Some(before) = load(tx, id).filter(|record| record.phase == Phase::InFlight && record.attempts == attempt)
        else {
            continue;
        };
        let mut record = before.clone();
        record.was_out = true;
        if before.answers.is_empty() {
            record.give_back(tail, before.handed().unwrap_or(age));
        } else {
            arrived(&mut record, now, age);
        }
        save(tx, Some(&before), &mut record, now);
    }
}
