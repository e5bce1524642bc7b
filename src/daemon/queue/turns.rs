//! Questions to persons: one is open in each chat, and the others wait for their turn (contract 3).

use crate::clock::Time;
use crate::config;
use crate::daemon::ages::Ages;
use crate::daemon::queue::record::{Ask, New, Phase, Record, When};
use crate::daemon::queue::table::{load, save};
use crate::daemon::queue::{enqueue::enqueue, refused::Refused};
use crate::key::{ASK_LINE, Keys, id_at_end, name_key};
use crate::protocol::command::{Api, Says};
use crate::store::Txn;
use std::collections::BTreeMap;

/// Queues questions to persons: while another one is open in its chat, one waits for its turn. `queue`: whether it may.
pub(crate) fn ask(
    tx: &mut Txn<'_>,
    now: Time,
    account: Option<&str>,
    new: Vec<New>,
    when: When,
    limits: &config::Queue,
    queue: bool,
) -> Result<Vec<(Record, bool)>, Refused> {
    if new.iter().any(|new| Api::says(new.wire.api()) != Says::Text) {
        return Err(Refused::NotAText);
    }
    let mut made = enqueue(tx, now, account, new, when, limits)?;
    for (record, _) in made.iter_mut().filter(|(_, repeated)| !repeated) {
        let before = record.clone();
        record.ask = Some(Ask::default());
        save(tx, Some(&before), record, now);
    }
    take_turns(tx, &[account.unwrap_or("")], now);
    for (record, repeated) in &mut made {
        *record = load(tx, record.id).unwrap_or_else(|| record.clone());
        let behind = record.ask.as_ref().and_then(|ask| ask.behind);
        if let Some(behind) = behind.filter(|_| !queue && !*repeated) {
            return Err(Refused::AskOpen(behind));
        }
    }
    Ok(made)
}

/// Nobody waits for the reply to a question any more: when no client has it, it is not asked; the next one's turn comes.
pub(crate) fn end_ask(tx: &mut Txn<'_>, id: u64, now: Time) {
    let Some(before) = load(tx, id).filter(Record::is_in_line) else { return };
    let mut record = before.clone();
    record.ask = Some(Ask { over: true, ..Ask::default() });
    if before.phase == Phase::Queued {
        let expired = before.expires.is_some_and(|expires| expires <= now);
        record.phase = if expired { Phase::Expired } else { Phase::Cancelled };
        record.done = Some(Ages::load(tx).now(now));
    }
    save(tx, Some(&before), &mut record, now);
    take_turns(tx, &[before.answerer(), before.account.as_deref().unwrap_or("")], now);
}

/// A question waits until whoever asked is back (`away`), or no longer; meanwhile others go before it, unless a client
/// has it.
pub(crate) fn ask_waits(tx: &mut Txn<'_>, id: u64, away: bool, now: Time) {
    let Some(before) = load(tx, id).filter(Record::is_in_line) else { return };
    let mut record = before.clone();
    if let Some(ask) = record.ask.as_mut().filter(|ask| ask.away != away) {
        ask.away = away;
        save(tx, Some(&before), &mut record, now);
        take_turns(tx, &[before.answerer(), before.account.as_deref().unwrap_or("")], now);
    }
}

/// Decides in each chat of these accounts, and of nobody's, which question is open: one that a client has, else the one
/// that was due first of those whose askers are there. The others wait.
pub(super) fn take_turns(tx: &mut Txn<'_>, accounts: &[&str], now: Time) {
    /// This many questions of one account are looked at.
    const LINE_MAX: usize = 10_000;
    let mut names: Vec<&str> = accounts.iter().copied().chain(std::iter::once("")).collect();
    names.sort_unstable();
    names.dedup();
    let mut chats: BTreeMap<Vec<u8>, (Vec<u64>, bool)> = BTreeMap::new();
    for name in names {
        let prefix = name_key(name);
        for (key, value) in tx.scan(ASK_LINE, Keys::prefix(&prefix)).take(LINE_MAX) {
            let Some(chat) = key.get(prefix.len()..key.len().saturating_sub(8)) else { continue };
            let (ids, waits) = chats.entry(chat.to_vec()).or_default();
            ids.push(id_at_end(&key));
            *waits |= value.first() == Some(&1);
        }
    }
    // One that is alone and does not wait is most of them, and needs no look.
    for (ids, _) in chats.into_values().filter(|(ids, waits)| *waits || ids.len() > 1) {
        let line: Vec<Record> = ids.into_iter().filter_map(|id| load(tx, id)).collect();
        let away = |record: &Record| record.ask.as_ref().is_some_and(|ask| ask.away);
        let may_go = |record: &&Record| record.due <= now && !away(record);
        let open = line.iter().find(|record| record.phase != Phase::Queued);
        let open = open.or_else(|| line.iter().filter(may_go).min_by_key(|record| (record.due, record.id)));
        let open = open.map(|record| record.id);
        for before in line.iter().filter(|record| record.phase == Phase::Queued) {
            let behind = open.filter(|open| *open != before.id && before.due <= now);
            let ask = Ask { behind, over: false, away: away(before) };
            if before.ask.as_ref() != Some(&ask) {
                save(tx, Some(before), &mut Record { ask: Some(ask), ..before.clone() }, now);
            }
        }
    }
}
