//! The command queue: what is asked of it by the doors and the other parts.
//!
//! It promises what contract 3, 4 and 6 say of a command's life: `enqueue` → (`claim` → `settle`)* → `answers`. What changes
//! a command runs on the store's writer thread, inside one transaction, so claims never race (the rooms below); here is
//! what comes before and after it: who is meant, what the clock says, who is told. Nothing is answered before it is synced.

pub(crate) mod answers;
pub(crate) mod asks;
pub(crate) mod awaited;
pub(crate) mod change;
pub(crate) mod changes;
pub(crate) mod checks;
pub(crate) mod claim;
pub(crate) mod clock_steps;
pub(crate) mod enqueue;
pub(crate) mod feed;
pub(crate) mod handover;
pub(crate) mod held;
pub(crate) mod introduce;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod pacing;
pub(crate) mod pause;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod refused;
pub(crate) mod revisions;
pub(crate) mod rows;
pub(crate) mod settle;
pub(crate) mod table;
pub(crate) mod takeup;
pub(crate) mod turns;
pub(crate) mod wait;

use crate::clock::Time;
use crate::config;
use crate::control::{Enqueue, Paused, Receipt, ResolveQuery, State};
use crate::daemon::accounts::refused as accounts;
use crate::daemon::accounts::{Accounts, OpenPoll, poller::Poller};
use crate::daemon::{learned::CatchUp, shutdown::Shutdown};
use crate::directory;
use crate::store::{self, Store};
use bytes::Bytes;
use changes::Changes;
use claim::Lists;
use clock_steps::Clock;
use handover::{Handover, Handovers};
use held::Reasons;
use record::{Claimed, Record, When};
use refused::Refused;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment that was to come when a request was made is past by so much at most when it is read, on a busy machine.
const PAST_MAX: Duration = Duration::from_secs(60);

/// What the settings say that concerns the queue.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) queue: config::Queue,
    pub(crate) pacing: config::Pacing,
    pub(crate) files: config::Files,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct CommandQueue {
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) learned: Arc<CatchUp>,
    /// Commands in a response at this moment.
    pub(crate) handovers: Arc<Handovers>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) reasons: Arc<Reasons>,
    pub(crate) settings: Settings,
    pub(crate) shutdown: Shutdown,
    /// Since the start.
    pub(crate) polls: AtomicU64,
    pub(crate) handed: AtomicU64,
}

/// Commands for one poll.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The response body: an ASCII JSON array, `[]` when there is nothing.
    pub(crate) body: Bytes,
    /// `None` when there is nothing to settle (an empty answer).
    pub(crate) handover: Option<Handover>,
    /// Whose poll it was taken for, as far as that is known.
    pub(crate) account: Option<String>,
}

impl Claim {
    fn empty() -> Self {
        Self::nothing_for(None)
    }

    /// Nothing, for a poll of that account.
    fn nothing_for(account: Option<String>) -> Self {
        Self { body: Bytes::from_static(b"[]"), handover: None, account }
    }
}

impl CommandQueue {
    /// Takes what is due for this poller; durably in flight when it returns. Waits up to `hold` for something to
    /// become due; returns empty at shutdown, and when `leaving` resolves: the poller may be gone.
    ///
    /// # Errors
    /// When something is due but the store refuses writes.
    pub(crate) async fn claim(
        &self,
        poller: &Poller,
        hold: Duration,
        leaving: impl Future<Output = ()>,
    ) -> Result<Claim, Refused> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        let until = tokio::time::Instant::now() + hold;
        let mut leaving = std::pin::pin!(leaving);
        let mut changed = self.changes.subscribe();
        let mut open = None;
        loop {
            changed.mark_unchanged();
            // A refusing store refuses the claim as well, when there is something to claim.
            drop(self.clock.mind().await);
            let now = self.clock.now();
            let claim = self.claim_now(poller, &mut open).await?;
            if claim.handover.is_some() || hold.is_zero() || self.shutdown.is_triggered() {
                return Ok(claim);
            }
            // Pacing lets a command go later than it is due, so look again every second while something is due.
            let again = match read::next_due(&self.store, now)? {
                _ if read::has_due(&self.store, now)? => Duration::from_secs(1),
                Some(next) => next.since(now) + Duration::from_millis(1),
                None => hold,
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(Claim::empty()),
                () = self.shutdown.wait() => return Ok(Claim::empty()),
                () = &mut leaving => return Ok(Claim::empty()),
                () = tokio::time::sleep(again) => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// `open`: of a poll that was looked at before.
    async fn claim_now(&self, poller: &Poller, open: &mut Option<OpenPoll>) -> Result<Claim, Refused> {
        if !self.learned.catch_up_to_the_start().await {
            return Ok(Claim::empty());
        }
        let reading = self.clock.reading().await;
        let now = reading.now;
        let mut routed = if open.is_some() {
            self.accounts.route(poller, now)
        } else {
            let (routed, begun) = self.accounts.route_new(poller, now);
            *open = Some(begun);
            routed
        };
        if !read::has_due(&self.store, now)? {
            return Ok(Claim::nothing_for(routed.account));
        }
        if read::has_given_back(&self.store)? {
            // An event that came before it was given back may prove that it arrived; and a logout counts too.
            self.learned.catch_up().await;
            routed = self.accounts.route(poller, now);
        }
        let account = routed.account.clone();
        let purse = self.accounts.table().purse_of(&routed, poller.pid);
        let tail = *self.store.tail().borrow();
        let by = Claimed {
            time: now,
            account: routed.account,
            names: routed.names,
            pid: poller.pid,
            peer: poller.peer.to_string(),
            tail,
            purse: purse.key().to_owned(),
        };
        let lists = Lists { bound: routed.bound, unbound: routed.unbound, purse };
        let (batch, pacing) = (self.settings.queue.batch, self.settings.pacing.clone());
        let (handovers, news) = (Arc::clone(&self.handovers), self.changes.news());
        let taken = self.store.write(move |tx| {
            let taken = claim::claim(tx, &lists, &by, batch, &pacing);
            // If the poll goes away while this is synced, dropping the hand-over gives the commands back.
            let handover = handovers.begin(taken.iter().map(|r| r.id).collect());
            Ok::<_, Infallible>((taken, handover, news, reading))
        });
        let Ok((taken, handover, news, _reading)) = taken.await?;
        if taken.is_empty() {
            // Something was due, and not for this one; or it expired just now.
            news.withhold();
            return Ok(Claim::nothing_for(account));
        }
        self.handed.fetch_add(taken.len() as u64, Ordering::Relaxed);
        let commands: Vec<&str> = taken.iter().map(|r| r.command.as_str()).collect();
        Ok(Claim { body: format!("[{}]", commands.join(",")).into(), handover: Some(handover), account })
    }

    /// Queues commands; all or none.
    pub(crate) async fn enqueue(&self, request: Enqueue) -> Result<Vec<Receipt>, Refused> {
        self.enqueue_as(request, None).await
    }

    /// Queues a question to a person; it has a turn in its chat, see `asks`. `queue`: it may wait for it.
    pub(crate) async fn enqueue_ask(&self, request: Enqueue, queue: bool) -> Result<Receipt, Refused> {
        if request.commands.len() != 1 || request.dry_run {
            return Err(Refused::NoQuestion);
        }
        self.enqueue_as(request, Some(queue)).await?.pop().ok_or(Refused::NoQuestion)
    }

    /// A question whose asker came back after a start may be asked.
    pub(crate) async fn asker_is_back(&self, id: u64) -> Result<(), store::Error> {
        let (reading, news) = (self.clock.reading().await, self.changes.news());
        let back = self.store.write(move |tx| {
            turns::ask_waits(tx, id, false, reading.now);
            Ok::<_, Infallible>((news, reading))
        });
        let Ok(_done) = back.await?;
        Ok(())
    }

    /// Ends the turn of a question that nobody waits for any more.
    pub(crate) async fn end_ask(&self, id: u64) -> Result<(), store::Error> {
        let (reading, news) = (self.clock.reading().await, self.changes.news());
        let ended = self.store.write(move |tx| {
            turns::end_ask(tx, id, reading.now);
            Ok::<_, Infallible>((news, reading))
        });
        let Ok(_done) = ended.await?;
        Ok(())
    }

    /// Waits, where pollers that were no account have taken something, until that is the account's that they are by now.
    async fn knows_its_pollers(&self) -> Result<(), Refused> {
        if introduce::has_pollers(&self.store)? {
            self.learned.catch_up().await;
        }
        Ok(())
    }

    /// `ask`: it is a question to a person, and whether that may wait for its turn.
    async fn enqueue_as(&self, request: Enqueue, ask: Option<bool>) -> Result<Vec<Receipt>, Refused> {
        if let Some(name) = &request.account {
            self.accounts.knows(name).await;
        }
        self.knows_its_pollers().await?;
        self.clock.mind().await?;
        // It is stored by the time that is looked at here, and moved with the rest should the clock be set meanwhile.
        let reading = self.clock.reading().await;
        let now = reading.now;
        let meant = self.accounts.table().mean(request.account.as_deref());
        // What is wrong with the commands is told before whose they are.
        let new = checks::commands(&request, &self.settings.files, |name| {
            let account = meant.as_ref().ok().cloned().flatten();
            let query = ResolveQuery { name: name.to_owned(), account, ..ResolveQuery::default() };
            directory::resolve(&self.store, &query).is_ok_and(|found| !found.is_empty())
        })?;
        let account = meant?;
        let when = when(&request, now)?;
        let limits = self.settings.queue.clone();
        let dry_run = request.dry_run;
        let mut news = self.changes.news();
        let made = self.store.write(move |tx| {
            let account = account.as_deref();
            let made = match ask {
                None => enqueue::enqueue(tx, now, account, new, when, &limits),
                Some(queue) => turns::ask(tx, now, account, new, when, &limits, queue),
            };
            let made = made.map_err(Err)?;
            // An error undoes what the transaction did: the dry run's way out.
            if dry_run {
                return Err(Ok(made));
            }
            news.queued = made.len() as u64;
            news.expiring = when.expires.is_some() || when.due > now;
            Ok((made, news, reading))
        });
        let made = match made.await? {
            Ok((made, ..)) | Err(Ok(made)) => made,
            Err(Err(failure)) => return Err(failure),
        };
        // Of a batch the first tells how it stands; the others wait behind it. They are queued, whatever is told of it.
        let first = made.first().filter(|_| !dry_run);
        let mut held = first.and_then(|(first, _)| self.reasons.at(now).ok()?.one(first).ok()?);
        let receipt = |(record, repeated): &(Record, bool)| Receipt {
            repeated: *repeated,
            held: held.take(),
            // What was only tried has no number.
            rev: record.rev().filter(|_| !dry_run),
            ..record.receipt(now)
        };
        Ok(made.iter().map(receipt).collect())
    }

    /// Takes a command back that nobody has fetched.
    pub(crate) async fn cancel(&self, id: u64) -> Result<Receipt, Refused> {
        self.cancel_each(vec![id]).await?.remove(0)
    }

    /// Takes commands back that nobody has fetched, each by itself; tells of each what became of it.
    pub(crate) async fn cancel_each(&self, ids: Vec<u64>) -> Result<Vec<Result<Receipt, Refused>>, Refused> {
        let (handovers, news) = (Arc::clone(&self.handovers), self.changes.news());
        let reading = self.clock.reading().await;
        let now = reading.now;
        let done = self.store.write(move |tx| {
            let cancelled: Vec<_> = ids.into_iter().map(|id| change::cancel(tx, id, handovers.has(id), now)).collect();
            Ok::<_, Infallible>((cancelled, news, reading))
        });
        let Ok((cancelled, ..)) = done.await?;
        Ok(cancelled.into_iter().map(|done| done.map(|record| record.receipt(now))).collect())
    }

    /// Puts a command back into the queue.
    pub(crate) async fn retry(&self, id: u64) -> Result<Receipt, Refused> {
        let (handovers, mut news) = (Arc::clone(&self.handovers), self.changes.news());
        news.expiring = true;
        self.knows_its_pollers().await?;
        self.clock.mind().await?;
        let reading = self.clock.reading().await;
        let now = reading.now;
        let record = self.store.write(move |tx| {
            let record = change::retry(tx, id, handovers.has(id), now)?;
            Ok::<_, Refused>((record, news, reading))
        });
        let (record, ..) = record.await??;
        Ok(record.receipt(now))
    }

    /// One command.
    pub(crate) fn record(&self, id: u64) -> Result<Record, Refused> {
        read::one(&self.store, id)?.ok_or(Refused::NotFound(id))
    }

    /// One command as it is now. Cheap: waiters ask at each change of the queue.
    pub(crate) fn receipt(&self, id: u64) -> Result<Receipt, Refused> {
        Ok(self.record(id)?.receipt(self.clock.now()))
    }

    /// One command, with the reason why it is held, if it is: that needs a look at all those in front.
    pub(crate) fn command(&self, id: u64) -> Result<Receipt, Refused> {
        let (record, now) = (self.record(id)?, self.clock.now());
        if !matches!(record.state(now), State::Ready | State::Scheduled) {
            return Ok(record.receipt(now));
        }
        let held = self.reasons.at(now)?.one(&record)?;
        Ok(Receipt { held, ..record.receipt(now) })
    }

    /// Pauses or resumes an account, or everything.
    pub(crate) async fn pause(&self, account: Option<&str>, pause: bool) -> Result<Paused, Refused> {
        // What can be sent to can be paused, and what commands are kept of.
        let sendable = account.map(|name| self.accounts.table().named(name));
        let account = match sendable {
            Some(Err(_)) => self.account_of(account).await?,
            sendable => sendable.transpose()?,
        };
        let news = self.changes.news();
        let paused = self.store.write(move |tx| {
            let paused = pause::set_paused(tx, account.as_deref(), pause);
            Ok::<_, Infallible>((paused, news))
        });
        let Ok((paused, _news)) = paused.await?;
        Ok(paused)
    }

    /// The account that a filter names: an event has told of it, or the queue keeps commands of it, which may be ahead of
    /// the login, or behind `account forget`.
    ///
    /// # Errors
    /// When it is neither (contract 5), or several have the name.
    pub(crate) async fn account_of(&self, name: Option<&str>) -> Result<Option<String>, Refused> {
        let Some(name) = name else { return Ok(None) };
        let told = self.accounts.told(Some(name)).await;
        let meant = self.accounts.table().id_of(name);
        if !matches!(told, Err(accounts::Refused::Unknown { .. })) {
            return Ok(told?);
        }
        let (store, account) = (self.store.clone(), meant.clone());
        let keeps = tokio::task::spawn_blocking(move || read::keeps(&store, &account)).await;
        if keeps.unwrap_or(Ok(false))? { Ok(Some(meant)) } else { Ok(told?) }
    }
}

/// When commands may be handed over, as a request says it.
fn when(request: &Enqueue, now: Time) -> Result<When, Refused> {
    if request.delay_ms.is_some() && request.due.is_some() {
        return Err(Refused::DueTwice);
    }
    if request.due.is_some_and(|due| now.since(due) > PAST_MAX) {
        return Err(Refused::Past);
    }
    let due = match request.delay_ms {
        Some(ms) => now.after(Duration::from_millis(ms)),
        None => request.due.unwrap_or(now),
    };
    let expires = request.expires_ms.map(|ms| due.max(now).after(Duration::from_millis(ms)));
    Ok(When { due, expires, fixed: request.due.is_some(), bulk: request.bulk })
}

#[cfg(test)]
mod tests;
