//! The commands that somebody means by what they are, not by number: listed, and taken back.
//!
//! Promises: all that is given must hold. What is taken back is taken back one by one: a command that a client was handed
//! meanwhile stays, and is told of. Many are taken back in steps, and told of as they are.
//! Leaves to others: what can be taken back (`queue`), and which account a name means (`service`).

use crate::clock::Time;
use crate::control::{CancelQuery, Held, NotCancelled, QueueQuery, Receipt, State};
use crate::daemon::failure::Failure;
use crate::daemon::queue::held::Holder;
use crate::daemon::queue::read;
use crate::daemon::queue::record::{Phase, Record};
use crate::daemon::service::{Service, blocking};
use crate::protocol::command::Api;
use bytes::Bytes;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use tokio::sync::mpsc;
use wildmatch::WildMatch;

/// Receipts made at a time.
const LINES: usize = 256;
/// Commands taken back in one transaction: keeps the writer free for others.
const STEP: usize = 500;
/// The longest pattern, bytes: a key has at most 200.
const GLOB_BYTES_MAX: usize = 1000;

/// What is asked for.
struct Filter {
    states: Option<Vec<State>>,
    account: Option<String>,
    api: Option<String>,
    key: Option<WildMatch>,
}

impl Filter {
    /// Reads it; the account is an id.
    fn read(query: &QueueQuery) -> Result<Self, Failure> {
        let states = query.state.as_ref().map(|list| list.split(',').map(|name| state(name.trim())).collect());
        let key = match query.key.as_deref() {
            Some(key) if key.len() > GLOB_BYTES_MAX => {
                let message =
                    format!("the pattern of keys is longer than {GLOB_BYTES_MAX} bytes; a key has at most 200");
                return Err(Failure::new(400, "bad-key", message));
            }
            key => key.map(WildMatch::new),
        };
        Ok(Self { states: states.transpose()?, account: query.account.clone(), api: query.api.clone(), key })
    }

    fn passes(&self, record: &Record, now: Time) -> bool {
        let is_made_by = |verb: &String| Api::find(&record.api).is_some_and(|row| row.verb == verb);
        self.account.as_ref().is_none_or(|account| record.account.as_ref() == Some(account))
            && self.states.as_ref().is_none_or(|states| states.contains(&record.state(now)))
            && self.api.as_ref().is_none_or(|api| record.api == *api || is_made_by(api))
            && self.key.as_ref().is_none_or(|glob| record.key.as_deref().is_some_and(|key| glob.matches(key)))
    }

    /// Whether it asks for something that is over.
    fn asks_for_finished(&self) -> bool {
        self.states.iter().flatten().any(|state| !state.is_unfinished())
    }
}

fn state(name: &str) -> Result<State, Failure> {
    State::ALL.into_iter().find(|s| s.as_str() == name).ok_or_else(|| {
        let all = State::ALL.map(State::as_str).join(", ");
        Failure::new(400, "bad-state", format!("no state is called `{name}`; there are {all}"))
    })
}

/// What a query asks for: which commands, and why those wait that do.
struct Found {
    filter: Filter,
    ids: Vec<u64>,
    held: HashMap<u64, Held>,
}

/// The commands that a query asks for, oldest first; its account is an id. A line for each, looked up as the reader takes
/// them: a queue may have a hundred thousand. Whoever leaves ends it.
///
/// # Errors
/// When the query is wrong, or the store cannot be read.
pub(crate) async fn list(service: &Service, query: QueueQuery) -> Result<mpsc::Receiver<Bytes>, Failure> {
    let now = service.now();
    let found = blocking(service, move |service| find(service, &query, now)).await?;
    let service = service.clone();
    Ok(lines(|out| tell(service, found, now, out)))
}

fn find(service: &Service, query: &QueueQuery, now: Time) -> Result<Found, Failure> {
    let filter = Filter::read(query)?;
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let is_for_all = query.all || filter.asks_for_finished();
    let mut ids = Vec::new();
    if is_for_all {
        let mut newest = VecDeque::new();
        read::each(service.store(), |record| {
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
    let mut holder = Holder::new(service, now)?;
    let mut held = HashMap::new();
    read::each_unfinished(service.store(), |record| {
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

async fn tell(service: Service, found: Found, now: Time, out: mpsc::Sender<Bytes>) -> Result<(), Failure> {
    let Found { filter, ids, mut held } = found;
    for some in ids.chunks(LINES) {
        let some = some.to_vec();
        let one = |service: &Service, id: u64| Ok(read::one(service.store(), id)?);
        let records = blocking(&service, move |service| {
            some.into_iter().map(|id| one(service, id)).collect::<Result<Vec<_>, Failure>>()
        });
        // One that has changed meanwhile may be none of those any more, or wait no more.
        let records = records.await?.into_iter().flatten().filter(|record| filter.passes(record, now));
        let told = records.map(|record| {
            let receipt = record.receipt(now);
            let held = held.remove(&record.id).filter(|_| receipt.state.is_unfinished());
            line(&Receipt { held, ..receipt })
        });
        if out.send(told.collect::<String>().into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Lines as a task makes them. The last line of one that fails is the refusal; it has no number.
fn lines<F>(make: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> mpsc::Receiver<Bytes>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (out, lines) = mpsc::channel(1);
    let made = make(out.clone());
    tokio::spawn(async move {
        if let Err(failure) = made.await {
            let refusal = crate::control::Refusal { error: failure.code.to_owned(), message: failure.message };
            // The reader may have gone.
            drop(out.send(line(&refusal).into()).await);
        }
    });
    lines
}

/// Takes back what is unfinished and passes; its account is an id. A line for each, oldest first, as it is done; whoever
/// leaves ends it.
///
/// # Errors
/// When nothing narrows down what is meant, or it means what is over.
pub(crate) fn cancel(service: &Service, query: CancelQuery) -> Result<mpsc::Receiver<Bytes>, Failure> {
    let CancelQuery { state, account, api, key, dry_run } = query;
    if [&state, &account, &api, &key].into_iter().all(Option::is_none) {
        let message = "say which commands are meant: give a state, an account, an api or a pattern of keys";
        return Err(Failure::new(400, "no-filter", message));
    }
    let filter = Filter::read(&QueueQuery { state, account, api, key, ..QueueQuery::default() })?;
    if filter.asks_for_finished() {
        let message = "only what is scheduled, ready or in_flight can be cancelled; leave the other states out";
        return Err(Failure::new(400, "bad-state", message));
    }
    let service = service.clone();
    Ok(lines(|out| cancel_in_steps(service, filter, dry_run, out)))
}

async fn cancel_in_steps(
    service: Service,
    filter: Filter,
    dry_run: bool,
    out: mpsc::Sender<Bytes>,
) -> Result<(), Failure> {
    let now = service.now();
    let found = blocking(&service, move |service| {
        let mut found = Vec::new();
        read::each_unfinished(service.store(), |record| {
            if filter.passes(&record, now) {
                found.push(record.id);
            }
            Ok(())
        })?;
        found.sort_unstable();
        Ok(found)
    });
    for some in found.await?.chunks(STEP) {
        let done: Vec<Result<Receipt, Failure>> = if dry_run {
            some.iter().map(|id| would_cancel(&service, *id, now)).collect()
        } else {
            service.cancel_each(some.to_vec()).await?
        };
        let told = some.iter().zip(done).map(|(id, done)| match done {
            Ok(receipt) => line(&receipt),
            Err(Failure { code, message, .. }) => line(&NotCancelled { id: *id, error: code.to_owned(), message }),
        });
        let told: String = told.collect();
        if out.send(told.into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// As it stands, when it could be taken back now.
fn would_cancel(service: &Service, id: u64, now: Time) -> Result<Receipt, Failure> {
    let record = service.record(id)?;
    if record.phase == Phase::InFlight && service.handovers().has(record.id) {
        return Err(Failure::new(409, "too-late", format!("command {} is on its way to a client", record.id)));
    }
    Ok(record.receipt(now))
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("replies are plain data") + "\n"
}
