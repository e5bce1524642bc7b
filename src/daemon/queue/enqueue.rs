//! Queues commands.

use crate::clock::Time;
use crate::config;
use crate::daemon::ages::Ages;
use crate::daemon::queue::keys::{Key, keyed, move_key, put_key};
use crate::daemon::queue::record::{ANSWER_LIFE, KEY_LIFE, New, Phase, Record, When};
use crate::daemon::queue::refused::Refused;
use crate::daemon::queue::rows::{accepting_key, count};
use crate::daemon::queue::table::{load, next_id, save};
use crate::key::{ACCEPTING, Keys, META, id_at_end};
use crate::protocol::command::Command;
use crate::store::Txn;

/// The accept of the same friend request that is under way, or that was successful not long ago; not the command `own`.
pub(super) fn accepting(
    tx: &Txn<'_>,
    account: Option<&str>,
    command: &New,
    own: Option<u64>,
    ages: &Ages,
    now: Time,
) -> Option<Record> {
    /// This many accepts with one ticket are looked at; WeChat gives each request a ticket of its own.
    const SAME_MAX: usize = 64;
    let Some(Command::FriendAccept { v1: wanted, .. }) = command.wire.command() else { return None };
    let now = ages.surely(now);
    let bound_to = account.into_iter().chain(std::iter::once(""));
    bound_to
        .flat_map(|who| tx.scan(ACCEPTING, Keys::prefix(&accepting_key(who, wanted))).rev().take(SAME_MAX))
        .filter_map(|(key, _)| load(tx, id_at_end(&key)))
        .filter(|record| own != Some(record.id))
        .filter(|record| match record.phase {
            Phase::Queued | Phase::InFlight => true,
            Phase::Fetched => record.handed().is_some_and(|handed| now.since(handed) <= ANSWER_LIFE),
            Phase::Answered => record.done.is_some_and(|done| now.since(done) <= KEY_LIFE),
            Phase::Rejected | Phase::Expired | Phase::Cancelled => false,
        })
        .find(|record| record.command.command() == command.wire.command())
}

/// Queues commands, all or none, in order. A key that stands for the same command already ([`keyed`]) gives that one's
/// record back, marked true; with another command it is refused. So does the accept of a friend request that is being
/// accepted already, or was.
pub(crate) fn enqueue(
    tx: &mut Txn<'_>,
    now: Time,
    account: Option<&str>,
    new: Vec<New>,
    when: When,
    limits: &config::Queue,
) -> Result<Vec<(Record, bool)>, Refused> {
    let ages = Ages::load(tx);
    let (ours, of_this_call) = (next_id(tx), new.len());
    let waiting = count(tx, b"phase/queued") + count(tx, b"phase/in_flight");
    let mut made = Vec::with_capacity(new.len());
    for command in new {
        if let Some(first) = keyed(tx, account, &command, None, &ages, now) {
            if first.command != command.wire {
                let key = command.key.unwrap_or_default();
                let is_ours = first.id >= ours;
                return Err(if is_ours { Refused::KeyTwice(key) } else { Refused::KeyUsed { key, id: first.id } });
            }
            made.push((bind(tx, first, account, now), true));
            continue;
        }
        // Two commands for one person would be answered once, and the second one then by somebody else's answer.
        if let Some(first) = accepting(tx, account, &command, None, &ages, now) {
            put_key(tx, account, command.key.as_deref(), Key { id: first.id, time: ages.now(now) });
            made.push((first, true));
            continue;
        }
        let id = next_id(tx);
        if waiting + (id - ours) >= limits.commands_max {
            let max = limits.commands_max;
            return Err(if waiting >= max {
                Refused::Full { waiting, max }
            } else {
                Refused::NoRoom { of_this_call, waiting, max }
            });
        }
        tx.put(META, b"next_id", (id + 1).to_be_bytes());
        put_key(tx, account, command.key.as_deref(), Key { id, time: ages.now(now) });
        let mut record = Record::new(id, account, command, when, now, ages.now(now));
        save(tx, None, &mut record, now);
        made.push((record, false));
    }
    Ok(made)
}

/// The command that a key stands for, bound to the account that is named now, where it was bound to nobody so far and no
/// client has had it: else whoever polls first would send it.
fn bind(tx: &mut Txn<'_>, first: Record, account: Option<&str>, now: Time) -> Record {
    let is_untouched = first.phase == Phase::Queued && first.claimed.is_none() && !first.was_out;
    if account.is_none() || first.account.is_some() || !is_untouched || first.ask.is_some() {
        return first;
    }
    let mut record = Record { account: account.map(str::to_owned), ..first.clone() };
    save(tx, Some(&first), &mut record, now);
    move_key(tx, &first, account);
    record
}
