//! What events mean, after they were answered: the directory learns, questions find their answers.
//!
//! One task follows the log. A page of events becomes one lazy transaction that holds what was learned, which commands
//! were answered, and how far was read: after a crash it is done again from there, or not at all. A callback never
//! waits for it.

mod answers;
pub(crate) mod lessons;
mod page;

use crate::daemon::accounts::Accounts;
use crate::daemon::log::follow::Following;
use crate::daemon::queue::{awaited::Awaited, changes::Changes, clock_steps::Clock, introduce::introduce};
use crate::daemon::{alloc, learned, learned::CatchUp, shutdown::Shutdown, slow};
use crate::directory;
use crate::seq::Seq;
use crate::store::{Error, Store};
use answers::{Began, Known, Recent, Seen, answer, may_answer, recall};
use lessons::Lessons;
use page::{Long, Page, Studied, Taught, read, study};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Events are gathered for so long before they are looked at, unless somebody waits for what they tell: a look costs
/// several switches of threads, which a busy daemon had rather spend on callbacks.
const GATHER: Duration = Duration::from_millis(5);
/// That many events wait already: it goes on at once.
const BEHIND: u64 = 500;
/// What was learned is written in steps of this many changes: some milliseconds of the writer's time.
const CHANGES_MAX: usize = 200;
/// The position is stored with every change, and without one after this many events: what is read twice after a crash
/// teaches nothing new.
const POSITION_EVERY: u64 = 10_000;

/// Learns from events.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) learned: Arc<CatchUp>,
    pub(crate) lessons: Arc<Lessons>,
    pub(crate) following: Arc<Following>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) awaited: Awaited,
    /// Where large events are learned from.
    pub(crate) lane: Arc<slow::Lane>,
    pub(crate) shutdown: Shutdown,
}

impl Learner {
    /// Follows the log until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut at = self.learned.stored().unwrap_or_default();
        let mut tail = self.store.tail();
        // A position beyond the log's end can only come from a store that was put together by hand.
        at = at.min(*tail.borrow());
        let mut stored_at = at;
        let mut recent = recall(&self.store, &self.clock, at);
        let began = Began(self.learned.started_at(), self.clock.ages().now(self.clock.now()));
        self.learned.reached(at);
        let mut queue = self.changes.subscribe();
        queue.mark_changed();
        let mut lesson = None;
        loop {
            let stepped = {
                let _alone = self.learned.alone().await;
                let stepped = self.step(at, stored_at, &mut recent, began).await;
                if let Ok((to, _)) = &stepped {
                    self.learned.reached(*to);
                }
                stepped
            };
            match stepped {
                Ok((to, stored)) => {
                    if stored {
                        stored_at = to;
                    }
                    if to > at {
                        at = to;
                        // Far behind there is nothing to gather. A page may be ahead of the tail that is told.
                        if tail.borrow().0.saturating_sub(at.0) > BEHIND {
                            continue;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!("cannot learn from events, trying again: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(1)) => continue,
                        () = self.shutdown.wait() => return,
                    }
                }
            }
            if !self.learn_from_ends(at, &mut tail, &mut queue, &mut lesson).await {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = self.learned.hurried() => {}
                () = self.shutdown.wait() => return,
            }
        }
    }

    /// Learns from what ends until more events have come; false when there will be none. `lesson`: when to look again.
    async fn learn_from_ends(
        &self,
        at: Seq,
        tail: &mut watch::Receiver<Seq>,
        queue: &mut watch::Receiver<u64>,
        lesson: &mut Option<Instant>,
    ) -> bool {
        loop {
            let due = tokio::time::sleep_until(lesson.unwrap_or_else(Instant::now));
            tokio::select! {
                changed = tail.wait_for(|tail| *tail > at) => return changed.is_ok(),
                _ = queue.changed() => {}
                () = due, if lesson.is_some() => {}
                () = self.shutdown.wait() => return false,
            }
            let _alone = self.learned.alone().await;
            let again = self.lessons.learn(at).await.unwrap_or_else(|error| {
                tracing::warn!("cannot learn from lists, trying again: {error}");
                Some(Duration::from_secs(1))
            });
            *lesson = again.map(|wait| Instant::now() + wait);
        }
    }

    /// Takes in one page; returns how far it got, and whether that is stored.
    async fn step(
        &self,
        at: Seq,
        stored_at: Seq,
        recent: &mut Vec<Recent>,
        began: Began,
    ) -> Result<(Seq, bool), Error> {
        let Some(Page { to, mut seen, learned }) = self.read(at).await?.filter(|page| page.to > at) else {
            return Ok((at, false));
        };
        let force = to.0 - stored_at.0 >= POSITION_EVERY;
        let in_transaction = learned.is_none();
        let (mut taught, mut changes) = learned.unwrap_or_default();
        if !in_transaction {
            seen.retain(may_answer);
        }
        // After a crash in the middle all of it is learned again.
        self.write(&mut changes, CHANGES_MAX).await?;
        let mut stored = false;
        if force || taught.anything || !seen.is_empty() {
            // A copy: a failed write must not take them along.
            let before = recent.clone();
            let awaited = self.awaited.clone();
            let done = self.store.write_lazily(move |tx| {
                let mut recent = before;
                changes.iter().for_each(|change| change.apply(tx));
                // Before anything is answered: by what a poller has taken that is an account now.
                taught.commands |= introduce(tx);
                for seen in &seen {
                    if in_transaction {
                        let learned = Taught::of(directory::learn(tx, &seen.event, seen.time, seen.seq));
                        taught.commands |= learned.accounts && introduce(tx);
                        taught.merge(learned);
                    }
                    taught.commands |= answer(tx, seen, &mut Known { recent: &mut recent, awaited: &awaited, began });
                }
                let store_position = force || taught.anything || taught.commands;
                if store_position {
                    learned::remember(tx, to);
                }
                Ok::<_, std::convert::Infallible>((taught, recent, store_position))
            });
            let Ok((all, kept, position)) = done.await?;
            (taught, *recent, stored) = (all, kept, position);
        }
        if taught.accounts {
            self.accounts.load();
        }
        if taught.commands {
            self.changes.bump();
        }
        Ok((to, stored))
    }

    /// Reads the next page, and works out what it teaches.
    async fn read(&self, at: Seq) -> Result<Option<Page>, Error> {
        let store = self.store.clone();
        let mut read_page = self.aside(false, move || read(&store, at, true)).await??;
        let mut alone = None;
        if let Studied::Left = read_page.0 {
            // Followers read it now too, and all that is made of it at a time takes several times its size.
            alone = self.following.alone().await;
            let store = self.store.clone();
            read_page = self.aside(false, move || read(&store, at, false)).await??;
        }
        let (studied, is_large) = read_page;
        let page = match studied {
            Studied::Done(page) => page,
            Studied::Long(long, to) => {
                // That takes long, and no more than the body.
                drop(alone.take());
                self.learn(*long, to, is_large).await?
            }
            Studied::Large(page) => {
                let store = self.store.clone();
                // Who waits for the turn does not wait for a thread that is slow.
                self.aside(alone.is_none(), move || study(&store, &page)).await??
            }
            Studied::Left => return Ok(None),
        };
        drop(alone);
        if is_large {
            // It was received, written, shown and learned from.
            self.aside(false, alloc::give_back_freed).await?;
        }
        Ok(Some(page))
    }

    /// Takes in all of a long list but the answer that it may be.
    async fn learn(&self, mut long: Long, to: Seq, is_large: bool) -> Result<Page, Error> {
        loop {
            let store = self.store.clone();
            let study = move || {
                let changes = long.study(&store);
                (long, changes)
            };
            let changes;
            (long, changes) = self.aside(is_large, study).await?;
            let Some(mut changes) = changes? else { break };
            self.write(&mut changes, 0).await?;
        }
        let Long { seq, time, gathered, taught, .. } = long;
        let seen = gathered.map(|event| Seen { seq, time, event }).into_iter().collect();
        Ok(Page { to, seen, learned: Some((taught, Vec::new())) })
    }

    /// Does it beside the runtime; what is large, slowly.
    async fn aside<T: Send + 'static>(
        &self,
        is_large: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let done = if is_large { self.lane.run(work).await.ok() } else { tokio::task::spawn_blocking(work).await.ok() };
        done.ok_or_else(|| Error::Other("reading events panicked".into()))
    }

    /// Writes changes in several steps, so that callbacks get their turn in between, until at most `max` are left.
    async fn write(&self, changes: &mut Vec<directory::Change>, max: usize) -> Result<(), Error> {
        while changes.len() > max {
            let rest = changes.split_off(changes.len().min(CHANGES_MAX));
            let some = std::mem::replace(changes, rest);
            let written = self.store.write_lazily(move |tx| {
                some.iter().for_each(|change| change.apply(tx));
                Ok::<_, std::convert::Infallible>(())
            });
            let Ok(()) = written.await?;
        }
        Ok(())
    }
}
