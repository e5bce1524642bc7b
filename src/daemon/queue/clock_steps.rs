//! When somebody sets the clock: commands keep the waits that were asked for.
//!
//! Due and expiry times are stored as moments of the wall clock, which can be set while commands wait. A step is seen
//! by comparing the wall clock with the time since the machine started, which nobody sets; then everything that waits
//! for a length of time (`--in`, `--expires`, pacing, pacing's order) is moved by the step, and what waits for a moment
//! (`--at`) stays. What decides by its age is not moved; see `ages`.
//!
//! The difference of the two clocks is stored ([`Fact`]), so that a step while no daemon ran is seen as well, without
//! reading what waits: in the same uptime of the machine exactly; after a restart of the machine only one backwards, by
//! the newest moment that the store knows. What is to be moved is moved when somebody asks by the clock
//! ([`Clock::mind`]), not before the doors open, and goes on after a crash where it was.

use crate::clock::{self, Time};
use crate::daemon::queue::{change::shift, pacing, read};
use crate::daemon::{ages::Ages, kept};
use crate::key::META;
use crate::seq::Seq;
use crate::store::{Error, Query, Store, Txn};
use crate::sync::lock;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

/// A difference below this is drift, milliseconds; a wait that is wrong by so little is not worth a write.
const STEP_MIN: i64 = 2000;
/// Commands moved in one transaction: keeps the writer free for others.
const MOVED_MAX: usize = 500;
/// Where the [`Fact`] is.
const FACT: &[u8] = b"clock";
/// A new one at every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is kept of the clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fact {
    /// Which start of the machine `offset` is of.
    boot: String,
    /// Wall clock less time since that start, milliseconds.
    offset: i64,
    /// What the wall clock said then.
    wall: Time,
    /// What is being moved because the clock was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving: Option<Moving>,
}

/// A move under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Moving {
    /// By this many milliseconds.
    by: i64,
    /// Commands up to this one are moved.
    upto: u64,
}

/// Watches the clock.
#[derive(Debug)]
pub(crate) struct Clock {
    store: Store,
    boot: String,
    /// Wall clock less time since the machine started, milliseconds, as of when everything was last right.
    offset: AtomicI64,
    /// What a run before this one was moving when it died.
    unfinished: Mutex<Option<Moving>>,
    /// How old things are.
    ages: Mutex<Ages>,
    /// Written while commands are moved; read by whoever stores something by the clock, from the look at the clock to the
    /// commit: what is stored by the clock before a step is moved with the rest.
    moving: Arc<RwLock<()>>,
    /// Written for the moment in which a step is followed; read by the end of a hand-over, which does not wait until a
    /// long queue is moved.
    turn: Arc<RwLock<()>>,
}

/// What the clock says, until this is dropped: no step is followed before.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The wall clock; until a step is followed, as if there had been none.
    pub(crate) now: Time,
    _held: [Option<OwnedRwLockReadGuard<()>>; 2],
}

impl Clock {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            // Without it a step while no daemon ran is seen as after a restart of the machine.
            boot: std::fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default(),
            offset: AtomicI64::new(offset()),
            unfinished: Mutex::default(),
            ages: Mutex::default(),
            moving: Arc::default(),
            turn: Arc::default(),
        }
    }

    fn step(&self) -> i64 {
        offset() - self.offset.load(Ordering::Acquire)
    }

    /// What the wall clock says; after a step that is not followed yet, what it would have said without.
    pub(crate) fn now(&self) -> Time {
        let (wall, step) = (Time::now(), self.step());
        if step.abs() < STEP_MIN { wall } else { Time::from_millis(wall.millis().saturating_sub(step)) }
    }

    /// Looks at the clock for something to be stored.
    pub(crate) async fn reading(&self) -> Reading {
        let moving = Arc::clone(&self.moving).read_owned().await;
        let turn = Arc::clone(&self.turn).read_owned().await;
        Reading { now: self.now(), _held: [Some(moving), Some(turn)] }
    }

    /// The same for what no move has to find: it is in flight, and moved whatever becomes of it meanwhile.
    pub(crate) async fn reading_in_flight(&self) -> Reading {
        let turn = Arc::clone(&self.turn).read_owned().await;
        Reading { now: self.now(), _held: [None, Some(turn)] }
    }

    /// How old things are.
    pub(crate) fn ages(&self) -> Ages {
        lock(&self.ages).clone()
    }

    /// Whether no step waits to be followed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.step().abs() < STEP_MIN && lock(&self.unfinished).is_none()
    }

    fn fact(&self, moving: Option<Moving>) -> Fact {
        Fact { boot: self.boot.clone(), offset: self.offset.load(Ordering::Acquire), wall: self.now(), moving }
    }

    /// Sees whether the clock was set since the last call, and moves what waits. Call it before anything is due, expired
    /// or queued by the clock.
    ///
    /// # Errors
    /// When the store refuses; then the next call tries again.
    pub(crate) async fn mind(&self) -> Result<(), Error> {
        if self.is_quiet() {
            return Ok(());
        }
        let _moving = self.moving.write().await;
        let begun = *lock(&self.unfinished);
        if let Some(begun) = begun {
            self.finish(begun).await?;
        }
        let step = self.step();
        if step.abs() >= STEP_MIN {
            self.finish(Moving { by: step, upto: 0 }).await?;
        }
        Ok(())
    }

    /// Moves what is not moved yet.
    async fn finish(&self, from: Moving) -> Result<(), Error> {
        let Moving { by, upto } = from;
        let store = self.store.clone();
        // A hand-over under way may still be given back.
        let ids = tokio::task::spawn_blocking(move || read::queued(&store));
        let mut ids = ids.await.map_err(|_| Error::Other("reading the queue panicked".into()))??;
        ids.retain(|id| *id > upto);
        ids.sort_unstable();
        ids.dedup();
        for some in ids.chunks(MOVED_MAX) {
            let last = some.last().copied().unwrap_or(upto);
            let (some, fact, ages) = (some.to_vec(), self.fact(Some(Moving { by, upto: last })), self.ages());
            let now = self.now();
            let moved = move |tx: &mut Txn<'_>| {
                shift(tx, &some, by, now);
                put(tx, &fact, &ages);
                Ok::<_, std::convert::Infallible>(())
            };
            let Ok(()) = self.store.write(moved).await?;
            *lock(&self.unfinished) = Some(Moving { by, upto: last });
        }
        let fact = Fact { offset: self.offset.load(Ordering::Acquire) + by, ..self.fact(None) };
        let _turn = self.turn.write().await;
        let mut ages = self.ages();
        let tail = *self.store.tail().borrow();
        ages.step(by, Seq(tail.0 + 1), Time::from_millis(self.now().millis().saturating_add(by)));
        let followed = ages.clone();
        let end = move |tx: &mut Txn<'_>| {
            pacing::shift(tx, by);
            put(tx, &fact, &ages);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = self.store.write(end).await?;
        *lock(&self.ages) = followed;
        self.offset.fetch_add(by, Ordering::AcqRel);
        *lock(&self.unfinished) = None;
        tracing::warn!(seconds = by / 1000, moved = ids.len(), "the clock was set; waiting commands keep their waits");
        Ok(())
    }

    /// At a start: sees by what is stored whether the clock was set meanwhile; the next [`mind`](Self::mind) does what is to be done.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn restore(&self) -> Result<(), Error> {
        let mut ages = Ages::read(&self.store)?;
        let fact: Option<Fact> = self.store.get(META, FACT)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        *lock(&self.unfinished) = fact.as_ref().and_then(|fact| fact.moving);
        match fact {
            Some(fact) if fact.boot == self.boot && !fact.boot.is_empty() => {
                self.offset.store(fact.offset, Ordering::Release);
            }
            fact => {
                let last = *self.store.tail().borrow();
                let told = if last > Seq::ZERO { told_at(&self.store, last)? } else { None };
                let newest = [fact.map(|fact| fact.wall), told, read::newest(&self.store)?].into_iter().flatten().max();
                let wall = Time::now();
                let off = newest.map_or(0, |time| wall.millis() - time.millis());
                if off <= -STEP_MIN {
                    self.offset.fetch_sub(off, Ordering::AcqRel);
                }
                // The next step that is followed says so when the clock is behind.
                if off.abs() >= STEP_MIN {
                    ages.doubt(Duration::from_millis(u64::try_from(off).unwrap_or(0)), wall);
                }
            }
        }
        *lock(&self.ages) = ages;
        Ok(())
    }

    /// Remembers how the clocks stand, unless something is to be moved.
    pub(crate) async fn remember(&self) {
        if !self.is_quiet() {
            return;
        }
        let fact = self.fact(None);
        let ages = {
            let mut ages = lock(&self.ages);
            ages.settle(fact.wall, self.store.first());
            ages.clone()
        };
        let kept = self.store.write_lazily(move |tx| {
            put(tx, &fact, &ages);
            Ok::<_, std::convert::Infallible>(())
        });
        kept::or_later(kept.await);
    }
}

fn offset() -> i64 {
    Time::now().millis() - i64::try_from(clock::uptime().as_millis()).unwrap_or(i64::MAX)
}

fn put(tx: &mut Txn<'_>, fact: &Fact, ages: &Ages) {
    ages.put(tx);
    tx.put(META, FACT, serde_json::to_vec(fact).expect("plain data"));
}

/// When an event came.
fn told_at(store: &Store, seq: Seq) -> Result<Option<Time>, Error> {
    let page = store.read_kept(&Query { after: Seq(seq.0 - 1), ..Query::default() }, 1)?;
    Ok(page.entries.first().map(|stored| stored.time))
}
