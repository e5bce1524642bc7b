//! The commands that somebody means by what they are, not by number: listed, and taken back.
//!
//! Promises: all that is given must hold. What is taken back is taken back one by one: a command that a client was handed
//! meanwhile stays, and is told of. Many are taken back in steps, and told of as they are.
//! Leaves to others: what can be taken back (`queue`), and which account a name means (`service`).

use super::held::Holder;
use super::queue::{Phase, Record, read};
use super::service::{Failure, Service};
use crate::clock::Time;
use crate::control::{CancelQuery, NotCancelled, QueueQuery, Receipt, State};
use crate::protocol::command::Api;
use bytes::Bytes;
use serde::Serialize;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use tokio::sync::mpsc;
use wildmatch::WildMatch;

/// Receipts in one answer, unless told; the newest ones.
const LISTED_MAX: u64 = 10_000;
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

/// The commands that a query asks for, oldest first; its account is an id.
pub(super) fn list(service: &Service, query: &QueueQuery, now: Time) -> Result<Vec<Receipt>, Failure> {
    let filter = Filter::read(query)?;
    let limit = usize::try_from(query.limit.unwrap_or(LISTED_MAX)).unwrap_or(usize::MAX);
    let unfinished = read::unfinished(service.store())?;
    let mut held = Holder::new(service, now)?.all(&unfinished)?;
    let mut receipts = VecDeque::new();
    if query.all || filter.asks_for_finished() {
        drop(unfinished);
        read::each(service.store(), |record| {
            if filter.passes(&record, now) {
                receipts.push_back(record.receipt(now));
                if receipts.len() > limit {
                    receipts.pop_front();
                }
            }
            ControlFlow::Continue(())
        })?;
    } else {
        receipts
            .extend(unfinished.iter().filter(|record| filter.passes(record, now)).map(|record| record.receipt(now)));
    }
    let mut receipts = Vec::from(receipts);
    receipts.sort_by_key(|receipt| receipt.id);
    receipts.drain(..receipts.len().saturating_sub(limit));
    for receipt in &mut receipts {
        receipt.held = held.remove(&receipt.id);
    }
    Ok(receipts)
}

/// Takes back what is unfinished and passes; its account is an id. A line for each, oldest first, as it is done; whoever
/// leaves ends it.
///
/// # Errors
/// When nothing narrows down what is meant, or it means what is over.
pub(super) fn cancel(service: &Service, query: CancelQuery) -> Result<mpsc::Receiver<Bytes>, Failure> {
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
    let (out, lines) = mpsc::channel(1);
    let service = service.clone();
    tokio::spawn(async move {
        if let Err(failure) = cancel_in_steps(&service, filter, dry_run, &out).await {
            // The last line of a stream that failed; it has no number.
            let refusal = crate::control::Refusal { error: failure.code.to_owned(), message: failure.message };
            drop(out.send(line(&refusal).into()).await);
        }
    });
    Ok(lines)
}

async fn cancel_in_steps(
    service: &Service,
    filter: Filter,
    dry_run: bool,
    out: &mpsc::Sender<Bytes>,
) -> Result<(), Failure> {
    let now = service.now();
    let store = service.store().clone();
    let found = tokio::task::spawn_blocking(move || {
        let mut found = read::unfinished(&store)?;
        found.retain(|record| filter.passes(record, now));
        found.sort_by_key(|record| record.id);
        Ok::<_, crate::store::Error>(found)
    });
    let failed = |_| Failure::new(500, "internal", "an internal error; the daemon's log says more");
    let found = found.await.map_err(failed)??;
    for some in found.chunks(STEP) {
        let done: Vec<Result<Receipt, Failure>> = if dry_run {
            some.iter().map(|record| would_cancel(service, record, now)).collect()
        } else {
            service.cancel_each(some.iter().map(|record| record.id).collect()).await?
        };
        let told = some.iter().zip(done).map(|(record, done)| match done {
            Ok(receipt) => line(&receipt),
            Err(Failure { code, message, .. }) => {
                line(&NotCancelled { id: record.id, error: code.to_owned(), message })
            }
        });
        let told: String = told.collect();
        if out.send(told.into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// As it stands, when it could be taken back now.
fn would_cancel(service: &Service, record: &Record, now: Time) -> Result<Receipt, Failure> {
    if record.phase == Phase::InFlight && service.handovers().has(record.id) {
        return Err(Failure::new(409, "too-late", format!("command {} is on its way to a client", record.id)));
    }
    Ok(record.receipt(now))
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("replies are plain data") + "\n"
}
