//! Queues commands.

use crate::clock::Time;
use crate::config;
use crate::daemon::ages::Ages;
use crate::daemon::failure::Failure;
use crate::daemon::queue::keys::{Key, keyed, put_key};
use crate::daemon::queue::record::{ACCEPT, ANSWER_LIFE, KEY_LIFE, Phase, Record};
use crate::daemon::queue::rows::{accepting_key, count};
use crate::daemon::queue::table::{load, next_id, save};
use crate::key::{ACCEPTING, Keys, META, id_at_end};
use crate::store::Txn;
use serde_json::value::RawValue;

/// A command to be queued.
#[derive(Debug, Clone)]
pub(crate) struct New {
    pub(crate) wire: Box<RawValue>,
    pub(crate) api: String,
    pub(crate) key: Option<String>,
}

/// When commands may be handed over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    /// From then on.
    pub(crate) due: Time,
    /// Until then.
    pub(crate) expires: Option<Time>,
    /// `due` is a moment that was named, and stays when the clock is set.
    pub(crate) fixed: bool,
    /// Everything else of the account goes first.
    pub(crate) bulk: bool,
}

/// The accept of the same friend request that is under way, or that was successful not long ago; not the command `own`.
pub(super) fn accepting(
    tx: &Txn<'_>,
    account: Option<&str>,
    command: &New,
    own: Option<u64>,
    ages: &Ages,
    now: Time,
) -> Option<Record> {
    /// So many accepts with one ticket are looked at; WeChat gives each request a ticket of its own.
    const SAME_MAX: usize = 64;
    if command.api != ACCEPT {
        return None;
    }
    let tickets = |record: &RawValue| {
        let value: serde_json::Value = serde_json::from_str(record.get()).ok()?;
        Some((value.get("v1")?.as_str()?.to_owned(), value.get("v2")?.as_str()?.to_owned()))
    };
    let wanted = tickets(&command.wire)?;
    let now = ages.surely(now);
    let bound_to = account.into_iter().chain(std::iter::once(""));
    bound_to
        .flat_map(|who| tx.scan(ACCEPTING, Keys::prefix(&accepting_key(who, &wanted.0))).rev().take(SAME_MAX))
        .filter_map(|(key, _)| load(tx, id_at_end(&key)))
        .filter(|record| own != Some(record.id))
        .filter(|record| match record.phase {
            Phase::Queued | Phase::InFlight => true,
            Phase::Fetched => record.handed().is_some_and(|handed| now.since(handed) <= ANSWER_LIFE),
            Phase::Answered => record.done.is_some_and(|done| now.since(done) <= KEY_LIFE),
            Phase::Rejected | Phase::Expired | Phase::Cancelled => false,
        })
        .find(|record| tickets(&record.command).as_ref() == Some(&wanted))
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
) -> Result<Vec<(Record, bool)>, Failure> {
    let ages = Ages::load(tx);
    let ours = next_id(tx);
    let mut made = Vec::with_capacity(new.len());
    for command in new {
        if let Some(first) = keyed(tx, account, &command, None, &ages, now) {
            if first.command.get() != command.wire.get() {
                let key = command.key.as_deref().unwrap_or("");
                let message = if first.id >= ours {
                    format!("two different commands of this call have the key `{key}`, and nothing was queued")
                } else {
                    format!("the key `{key}` was used for another command (#{}) within 24 h; use another key", first.id)
                };
                return Err(Failure::new(409, "key-reused", message));
            }
            made.push((first, true));
            continue;
        }
        // Two commands for one person would be answered once, and the second one then by somebody else's answer.
        if let Some(first) = accepting(tx, account, &command, None, &ages, now) {
            put_key(tx, account, command.key.as_deref(), Key { id: first.id, time: ages.now(now) });
            made.push((first, true));
            continue;
        }
        let unfinished = count(tx, b"phase/queued") + count(tx, b"phase/in_flight");
        if unfinished >= limits.commands_max {
            return Err(Failure::new(
                429,
                "queue-full",
                format!("{unfinished} commands wait already (queue.commands_max); is the client still polling?"),
            ));
        }
        let id = next_id(tx);
        tx.put(META, b"next_id", (id + 1).to_be_bytes());
        put_key(tx, account, command.key.as_deref(), Key { id, time: ages.now(now) });
        let record = Record {
            id,
            phase: Phase::Queued,
            account: account.map(str::to_owned),
            api: command.api,
            command: command.wire,
            created: now,
            due: when.due,
            expires: when.expires,
            fixed: when.fixed,
            bulk: when.bulk,
            key: command.key,
            attempts: 0,
            was_out: false,
            claimed: None,
            fetched: None,
            answer: None,
            answers: Vec::new(),
            missing: None,
            done: None,
            queued_at: Some(ages.now(now)),
            handed_at: None,
            had_at: None,
            ask: None,
        };
        save(tx, None, Some(&record));
        made.push((record, false));
    }
    Ok(made)
}

pub(super) fn not_found(id: u64) -> Failure {
    Failure::new(404, "not-found", format!("there is no command {id}; `wehelp queue list --all` shows those kept"))
}
