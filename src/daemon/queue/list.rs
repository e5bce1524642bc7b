//! The commands that somebody means by what they are, not by number: listed, and taken back.
//!
//! Promises: all that is given must hold. What is taken back is taken back one by one: a command that a client was handed
//! meanwhile stays, and is told of. Many are taken back in steps, and told of as they are.
//! Leaves to others: what can be taken back (`queue`), and which account a name means (`accounts`).

use crate::clock::Time;
use crate::control::{CancelQuery, Held, QueueQuery, Receipt, Rev, State};
use crate::daemon::blocking::blocking;
use crate::daemon::queue::record::{Phase, Record};
use crate::daemon::queue::{CommandQueue, read, refused::Refused};
use crate::protocol::command::Api;
use crate::store::{self, Store};
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::mpsc;
use wildmatch::WildMatch;

/// Receipts made at a time.
const LINES: usize = 256;
/// Commands taken back in one transaction: keeps the writer free for others.
const STEP: usize = 500;
/// The longest pattern, bytes: a key has at most 200.
const GLOB_BYTES_MAX: usize = 1000;

type Steps<T> = mpsc::Sender<Result<Vec<T>, Refused>>;

/// A command that was meant, and what became of it.
pub(crate) type Cancelled = (u64, Result<Receipt, Refused>);

/// What is asked for.
#[derive(Debug)]
pub(super) struct Filter {
    states: Option<Vec<State>>,
    account: Option<String>,
    api: Option<String>,
    key: Option<WildMatch>,
}

impl Filter {
    /// Reads it; the account is an id.
    pub(super) fn read(query: &QueueQuery) -> Result<Self, Refused> {
        let states = query.state.as_ref().map(|list| list.split(',').map(|name| state(name.trim())).collect());
        let key = match query.key.as_deref() {
            Some(key) if key.len() > GLOB_BYTES_MAX => return Err(Refused::PatternLength(GLOB_BYTES_MAX)),
            key => key.map(WildMatch::new),
        };
        Ok(Self { states: states.transpose()?, account: query.account.clone(), api: query.api.clone(), key })
    }

    fn passes(&self, record: &Record, now: Time) -> bool {
        self.wants(record.state(now)) && self.is_about(record, true)
    }

    /// Whether it asks for commands in that state.
    pub(super) fn wants(&self, state: State) -> bool {
        self.states.as_ref().is_none_or(|states| states.contains(&state))
    }

    /// Whether it asks for a command, whatever its state. `bound`: to its account, at the time that is meant.
    pub(super) fn is_about(&self, record: &Record, bound: bool) -> bool {
        let is_made_by = |verb: &String| Api::find(&record.api).is_some_and(|row| row.verb == verb);
        let account = record.account.as_ref().filter(|_| bound);
        self.account.as_ref().is_none_or(|own| account == Some(own))
            && self.api.as_ref().is_none_or(|api| record.api == *api || is_made_by(api))
            && self.key.as_ref().is_none_or(|glob| record.key.as_deref().is_some_and(|key| glob.matches(key)))
    }

    /// Whether it asks for something that is over.
    fn asks_for_finished(&self) -> bool {
        self.states.iter().flatten().any(|state| !state.is_unfinished())
    }
}

fn state(name: &str) -> Result<State, Refused> {
    State::ALL.into_iter().find(|s| s.as_str() == name).ok_or_else(|| Refused::NoState(name.to_owned()))
}

/// What a query asks for: which commands, and why those wait that do.
struct Found {
    filter: Filter,
    ids: Vec<u64>,
    held: HashMap<u64, Held>,
}

/// The commands that a query asks for, oldest first; its account is an id. Some at a time, looked up as the reader takes
/// them: a queue may have a hundred thousand. Whoever leaves ends it.
///
/// # Errors
/// When the query is wrong, or the store cannot be read.
pub(crate) async fn list(
    queue: &Arc<CommandQueue>,
    query: QueueQuery,
) -> Result<mpsc::Receiver<Result<Vec<Receipt>, Refused>>, Refused> {
    let now = queue.clock.now();
    let of = Arc::clone(queue);
    let found = blocking(move || find(&of, &query, now)).await?;
    let queue = Arc::clone(queue);
    Ok(in_steps(|out| tell(queue, found, now, out)))
}

fn find(queue: &CommandQueue, query: &QueueQuery, now: Time) -> Result<Found, Refused> {
    let filter = Filter::read(query)?;
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let is_for_all = query.all || filter.asks_for_finished();
    let mut ids = Vec::new();
    if is_for_all {
        let mut newest = VecDeque::new();
        read::each(&queue.store, |record| {
            if filter.passes(&record, now) {
                newest.push_back(record.id);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
            ControlFlow::Continue(())
        })?;
        ids = newest.into();
    }
    let mut holder = queue.reasons.at(now)?;
    let mut held = HashMap::new();
    read::each_unfinished(&queue.store, |record| {
        let why = holder.next(&record)?;
        let is_meant = if is_for_all { ids.binary_search(&record.id).is_ok() } else { filter.passes(&record, now) };
        if is_meant {
            held.extend(why.map(|why| (record.id, why)));
            ids.extend((!is_for_all).then_some(record.id));
        }
        Ok(())
    })?;
    ids.sort_unstable();
    ids.drain(..ids.len().saturating_sub(limit));
    Ok(Found { filter, ids, held })
}

/// How the commands stand that a query asks for, as their states were noted up to a change: what a reader of the changes
/// after it begins with. Those that change meanwhile are left out: it is told of them.
#[derive(Debug)]
pub(super) struct StandingCommands {
    upto: Rev,
    now: Time,
    /// In the order of their last changes.
    ids: VecDeque<u64>,
    held: HashMap<u64, Held>,
}

/// Looks for them. Blocking.
pub(super) fn standing(
    queue: &CommandQueue,
    query: &QueueQuery,
    filter: &Filter,
    upto: Rev,
) -> Result<StandingCommands, store::Error> {
    let now = queue.clock.now();
    let is_meant = |record: &Record| {
        let is_settled = record.rev().is_none_or(|rev| rev <= upto);
        is_settled && filter.wants(record.noted_state(now)) && filter.is_about(record, true)
    };
    let is_for_all = query.all || filter.asks_for_finished();
    let mut found = Vec::new();
    if is_for_all {
        read::each(&queue.store, |record| {
            found.extend(is_meant(&record).then(|| (record.rev(), record.id)));
            ControlFlow::Continue(())
        })?;
    }
    let mut holder = queue.reasons.at(now)?;
    let mut held = HashMap::new();
    read::each_unfinished(&queue.store, |record| {
        let why = holder.next(&record)?;
        if is_meant(&record) {
            held.extend(why.map(|why| (record.id, why)));
            found.extend((!is_for_all).then_some((record.rev(), record.id)));
        }
        Ok(())
    })?;
    found.sort_unstable();
    // One that was handed over meanwhile stands in both lists.
    found.dedup();
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    found.drain(..found.len().saturating_sub(limit));
    Ok(StandingCommands { upto, now, ids: found.into_iter().map(|(_, id)| id).collect(), held })
}

impl StandingCommands {
    pub(super) fn is_told(&self) -> bool {
        self.ids.is_empty()
    }

    /// The next ones, at most `max` and as many as about `bytes_max` hold. Blocking.
    pub(super) fn next(&mut self, store: &Store, max: usize, bytes_max: usize) -> Result<Vec<Receipt>, store::Error> {
        let (mut receipts, mut bytes) = (Vec::new(), 0);
        while receipts.len() < max && bytes < bytes_max {
            let Some(id) = self.ids.pop_front() else { break };
            let record = read::one(store, id)?.filter(|record| record.rev().is_none_or(|rev| rev <= self.upto));
            let Some(record) = record else { continue };
            bytes += record.told_bytes();
            let receipt = record.receipt_in(record.noted_state(self.now));
            let held = self.held.remove(&id).filter(|_| receipt.state.is_unfinished());
            receipts.push(Receipt { held, ..receipt });
        }
        Ok(receipts)
    }
}

async fn tell(queue: Arc<CommandQueue>, found: Found, now: Time, out: Steps<Receipt>) -> Result<(), Refused> {
    let Found { filter, ids, mut held } = found;
    for some in ids.chunks(LINES) {
        let some = some.to_vec();
        let store = queue.store.clone();
        let records = blocking(move || {
            some.into_iter().map(|id| Ok(read::one(&store, id)?)).collect::<Result<Vec<_>, Refused>>()
        });
        // One that has changed meanwhile may be none of those any more, or wait no more.
        let records = records.await?.into_iter().flatten().filter(|record| filter.passes(record, now));
        let told = records.map(|record| {
            let receipt = record.receipt(now);
            let held = held.remove(&record.id).filter(|_| receipt.state.is_unfinished());
            Receipt { held, ..receipt }
        });
        if out.send(Ok(told.collect())).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Some of what a task finds at a time, and last of all why it failed, if it did. It has no number.
fn in_steps<T: Send + 'static, F>(make: impl FnOnce(Steps<T>) -> F) -> mpsc::Receiver<Result<Vec<T>, Refused>>
where
    F: Future<Output = Result<(), Refused>> + Send + 'static,
{
    let (out, steps) = mpsc::channel(1);
    let made = make(out.clone());
    tokio::spawn(async move {
        if let Err(refused) = made.await {
            // The reader may have gone.
            drop(out.send(Err(refused)).await);
        }
    });
    steps
}

/// Takes back what is unfinished and passes; its account is an id. Some at a time, oldest first, as it is done; whoever
/// leaves ends it.
///
/// # Errors
/// When nothing narrows down what is meant, or it means what is over.
pub(crate) fn cancel(
    queue: &Arc<CommandQueue>,
    query: CancelQuery,
) -> Result<mpsc::Receiver<Result<Vec<Cancelled>, Refused>>, Refused> {
    let CancelQuery { state, account, api, key, dry_run } = query;
    if [&state, &account, &api, &key].into_iter().all(Option::is_none) {
        return Err(Refused::Unfiltered);
    }
    let filter = Filter::read(&QueueQuery { state, account, api, key, ..QueueQuery::default() })?;
    if filter.asks_for_finished() {
        return Err(Refused::Finished);
    }
    let queue = Arc::clone(queue);
    Ok(in_steps(|out| cancel_in_steps(queue, filter, dry_run, out)))
}

async fn cancel_in_steps(
    queue: Arc<CommandQueue>,
    filter: Filter,
    dry_run: bool,
    out: Steps<Cancelled>,
) -> Result<(), Refused> {
    let now = queue.clock.now();
    let store = queue.store.clone();
    let found = blocking(move || {
        let mut found = Vec::new();
        read::each_unfinished(&store, |record| {
            if filter.passes(&record, now) {
                found.push(record.id);
            }
            Ok(())
        })?;
        found.sort_unstable();
        Ok::<_, Refused>(found)
    });
    for some in found.await?.chunks(STEP) {
        let done: Vec<Result<Receipt, Refused>> = if dry_run {
            some.iter().map(|id| would_cancel(&queue, *id, now)).collect()
        } else {
            queue.cancel_each(some.to_vec()).await?
        };
        if out.send(Ok(some.iter().copied().zip(done).collect())).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// As it stands, when it could be taken back now.
fn would_cancel(queue: &CommandQueue, id: u64, now: Time) -> Result<Receipt, Refused> {
    let record = queue.record(id)?;
    if record.phase == Phase::InFlight && queue.handovers.has(record.id) {
        return Err(Refused::OnItsWay(id));
    }
    Ok(record.receipt(now))
}
