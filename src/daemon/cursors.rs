//! Cursors: named, durable positions of readers in the event log (contract 7).

use crate::clock::Time;
use crate::control::{Cursor, CursorCommit};
use crate::daemon::blocking::Panicked;
use crate::daemon::log::range;
use crate::daemon::log::refused as log;
use crate::daemon::queue::clock_steps::Clock;
use crate::key::CURSOR;
use crate::seq::Seq;
use crate::store::{self, Store, Txn};
use crate::sync::lock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The longest name, bytes: it's a store key, and people read it.
const NAME_BYTES_MAX: usize = 100;
/// Cursors listed; nobody keeps so many.
const LIST_MAX: usize = 10_000;
/// A cursor that nobody has used for so long is not waited for by retention (contract 6).
const WAITED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a cursor is not read, moved or forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("a cursor's name has 1 to {NAME_BYTES_MAX} letters, digits and -_.:@+, and does not begin with -")]
    Name,
    #[error("there is no cursor `{0}`")]
    NotFound(String),
    /// To be read from.
    #[error("the cursor `{name}` is being read by {holder}")]
    Taken { name: String, holder: String },
    /// To be moved, or forgotten.
    #[error("the cursor `{name}` is being read by {holder}")]
    Read { name: String, holder: String },
    /// To be moved by somebody who names no lease…
    #[error("the cursor `{name}` is being read by {holder}")]
    NoLease { name: String, holder: String },
    /// … or one that has ended.
    #[error("the cursor `{name}` is being read by {holder} now")]
    LeaseLost { name: String, holder: String },
    #[error(transparent)]
    Log(#[from] log::Refused),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

#[derive(Debug, Serialize, Deserialize)]
struct At {
    seq: Seq,
    used: Time,
    /// The same by age.
    #[serde(default)]
    used_at: Option<Time>,
}

impl At {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}

fn parse(stored: Option<Vec<u8>>) -> Option<At> {
    serde_json::from_slice(&stored?).ok()
}

fn check(name: &str) -> Result<(), Refused> {
    let sound = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:@+".contains(&b));
    if sound {
        return Ok(());
    }
    Err(Refused::Name)
}

/// Who reads from which cursor: the lease, and a description.
#[derive(Debug)]
struct Leases {
    held: Mutex<HashMap<String, (u64, String)>>,
    next: AtomicU64,
}

impl Leases {
    fn holder(&self, name: &str) -> Option<(u64, String)> {
        lock(&self.held).get(name).cloned()
    }

    /// Ends a lease, unless another reader has the cursor by now.
    fn release(&self, name: &str, lease: u64) {
        let mut held = lock(&self.held);
        if held.get(name).is_some_and(|(id, _)| *id == lease) {
            held.remove(name);
        }
    }
}

/// A reader's hold on a cursor; others are refused until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    leases: Arc<Leases>,
    name: String,
    pub(crate) id: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.release(&self.name, self.id);
    }
}

/// Refuses what must not happen while somebody reads.
fn check_free(leases: &Leases, name: &str) -> Result<(), Refused> {
    let Some((_, holder)) = leases.holder(name) else { return Ok(()) };
    Err(Refused::Read { name: name.to_owned(), holder })
}

/// Whether a cursor may be moved while somebody reads from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allow {
    /// It is the reader who asks.
    Holder,
    Nobody,
}

/// The cursors.
#[derive(Debug)]
pub(crate) struct Cursors {
    store: Store,
    clock: Arc<Clock>,
    leases: Arc<Leases>,
}

impl Cursors {
    pub(crate) fn new(store: Store, clock: Arc<Clock>) -> Self {
        // A lease of the daemon before this one must not be taken for one of this one's.
        let next = AtomicU64::new(fastrand::u64(1..1 << 52));
        Self { store, clock, leases: Arc::new(Leases { held: Mutex::default(), next }) }
    }

    /// Holds a cursor for one reader.
    ///
    /// # Errors
    /// When another one has it; `own` is the lease that the reader has already.
    pub(crate) fn lease(&self, name: &str, holder: String, own: Option<u64>) -> Result<Lease, Refused> {
        let mut held = lock(&self.leases.held);
        if let Some((id, other)) = held.get(name)
            && own != Some(*id)
        {
            return Err(Refused::Taken { name: name.to_owned(), holder: other.clone() });
        }
        let id = self.leases.next.fetch_add(1, Ordering::Relaxed);
        held.insert(name.to_owned(), (id, holder));
        Ok(Lease { leases: Arc::clone(&self.leases), name: name.to_owned(), id })
    }

    fn read(&self, name: &str) -> Result<Option<At>, Refused> {
        Ok(parse(self.store.get(CURSOR, name.as_bytes())?))
    }

    fn show(&self, name: &str, at: &At) -> Cursor {
        let tail = *self.store.tail().borrow();
        Cursor {
            name: name.to_owned(),
            seq: at.seq,
            lag: tail.0.saturating_sub(at.seq.0),
            used: at.used,
            holder: self.leases.holder(name).map(|(_, holder)| holder),
        }
    }

    /// Every cursor, by name.
    pub(crate) fn list(&self) -> Result<Vec<Cursor>, Refused> {
        Ok(self.kept()?.into_iter().map(|(cursor, _)| cursor).collect())
    }

    /// Every cursor, and when it was used, by age.
    fn kept(&self) -> Result<Vec<(Cursor, Time)>, Refused> {
        let pairs = self.store.scan(CURSOR, ..).take(LIST_MAX).collect::<Result<Vec<_>, _>>()?;
        let cursor = |(name, at): (Vec<u8>, Vec<u8>)| {
            let at: At = serde_json::from_slice(&at).ok()?;
            Some((self.show(std::str::from_utf8(&name).ok()?, &at), at.used_at.unwrap_or(at.used)))
        };
        Ok(pairs.into_iter().filter_map(cursor).collect())
    }

    /// Where a reader of this cursor starts: after what it has consumed; a new one after `from` (contract 7: the oldest).
    /// A new one is made durable at once, so that its start does not move. Also whether it is new.
    pub(crate) async fn position(&self, name: &str, from: Option<&str>) -> Result<(Seq, bool), Refused> {
        check(name)?;
        if let Some(seq) = self.used(name).await? {
            return Ok((seq, false));
        }
        let seq = range::place(&self.store, from.unwrap_or("oldest"))?;
        self.write(name, seq, Allow::Holder).await?;
        Ok((seq, true))
    }

    /// Notes that somebody reads from a cursor, and tells where it stands. In a transaction: whoever moves it at this moment
    /// has done so before, or is refused because it is held.
    async fn used(&self, name: &str) -> Result<Option<Seq>, Refused> {
        let (key, now) = (name.as_bytes().to_vec(), self.clock.now());
        let used_at = Some(self.clock.ages().now(now));
        let found = self.store.write_lazily(move |tx| {
            let Some(at) = parse(tx.get(CURSOR, &key)) else { return Ok(None) };
            tx.put(CURSOR, &key, At { used: now, used_at, ..at }.bytes());
            Ok::<_, Refused>(Some(at.seq))
        });
        match found.await {
            Ok(found) => found,
            // Reading goes on while nothing can be written.
            Err(store::Error::Refusing(_)) => Ok(self.read(name)?.map(|at| at.seq)),
            Err(error) => Err(error.into()),
        }
    }

    /// Up to where all cursors in use have read, by the age `now`; `None` when there are none. Retention waits for what comes after.
    pub(crate) fn wanted_after(&self, now: Time) -> Result<Option<Seq>, Refused> {
        let in_use = |(cursor, used): &(Cursor, Time)| cursor.holder.is_some() || now.since(*used) < WAITED_FOR;
        Ok(self.kept()?.iter().filter(|cursor| in_use(cursor)).map(|(cursor, _)| cursor.seq).min())
    }

    async fn write(&self, name: &str, seq: Seq, allow: Allow) -> Result<Cursor, Refused> {
        let used = self.clock.now();
        let at = At { seq, used, used_at: Some(self.clock.ages().now(used)) };
        let (held, of, bytes) = (Arc::clone(&self.leases), name.to_owned(), at.bytes());
        let put = move |tx: &mut Txn<'_>| {
            if allow == Allow::Nobody {
                check_free(&held, &of)?;
            }
            tx.put(CURSOR, of.as_bytes(), bytes);
            Ok::<_, Refused>(())
        };
        self.store.write(put).await??;
        Ok(self.show(name, &at))
    }

    /// Moves a cursor to where its owner says.
    pub(crate) async fn set(&self, name: &str, to: &str) -> Result<Cursor, Refused> {
        check(name)?;
        // Here a bare number can only be the position that `cursor list` prints.
        let is_number = !to.trim().is_empty() && to.trim().bytes().all(|b| b.is_ascii_digit());
        let seq = if is_number {
            range::place(&self.store, &format!("#{}", to.trim()))?
        } else {
            range::place(&self.store, to)?
        };
        self.write(name, seq, Allow::Nobody).await
    }

    /// Remembers what was consumed. Never moves backwards. While somebody reads, only that reader moves the cursor: who
    /// names no lease, or one that was lost, is refused.
    pub(crate) async fn commit(&self, name: &str, commit: &CursorCommit) -> Result<Cursor, Refused> {
        check(name)?;
        range::check_log(&self.store, commit.log.as_deref())?;
        range::check_reached(&self.store, commit.seq, "what was consumed")?;
        let seq = commit.seq;
        let (held, of, lease) = (Arc::clone(&self.leases), name.to_owned(), commit.lease);
        let now = self.clock.now();
        let used_at = Some(self.clock.ages().now(now));
        let at = self.store.write(move |tx| {
            if let Some((holding, holder)) = held.holder(&of)
                && lease != Some(holding)
            {
                let name = of;
                return Err(match lease {
                    Some(_) => Refused::LeaseLost { name, holder },
                    None => Refused::NoLease { name, holder },
                });
            }
            let before = parse(tx.get(CURSOR, of.as_bytes()));
            let at = At { seq: before.map_or(seq, |b| b.seq.max(seq)), used: now, used_at };
            tx.put(CURSOR, of.as_bytes(), at.bytes());
            Ok(at)
        });
        let at = at.await??;
        if let Some(lease) = commit.lease.filter(|_| commit.done) {
            self.leases.release(name, lease);
        }
        Ok(self.show(name, &at))
    }

    /// Forgets a cursor.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Refused> {
        check(name)?;
        if self.read(name)?.is_none() {
            return Err(Refused::NotFound(name.to_owned()));
        }
        let (held, of) = (Arc::clone(&self.leases), name.to_owned());
        let delete = move |tx: &mut Txn<'_>| {
            check_free(&held, &of)?;
            tx.delete(CURSOR, of.as_bytes());
            Ok::<_, Refused>(())
        };
        self.store.write(delete).await?
    }
}
