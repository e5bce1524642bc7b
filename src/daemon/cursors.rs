//! Cursors: named, durable positions of readers in the event log (contract 7).

use crate::clock::Time;
use crate::control::{Cursor, CursorCommit};
use crate::daemon::failure::Failure;
use crate::daemon::log::entry::Edge;
use crate::daemon::log::follow;
use crate::daemon::service::Service;
use crate::key::CURSOR;
use crate::seq::Seq;
use crate::store::{self, Query, Txn};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest name, bytes: it's a store key, and people read it.
const NAME_BYTES_MAX: usize = 100;
/// Cursors listed; nobody keeps so many.
const LIST_MAX: usize = 10_000;
/// A cursor that nobody has used for so long is not waited for by retention (contract 6).
const WAITED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

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

fn check(name: &str) -> Result<(), Failure> {
    let sound = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:@+".contains(&b));
    if sound {
        return Ok(());
    }
    let message =
        format!("a cursor's name has 1 to {NAME_BYTES_MAX} letters, digits and -_.:@+, and does not begin with -");
    Err(Failure::new(400, "bad-cursor", message))
}

fn not_found(name: &str) -> Failure {
    Failure::new(404, "not-found", format!("there is no cursor `{name}`; `wehelp cursor list` shows those there are"))
}

fn read(service: &Service, name: &str) -> Result<Option<At>, Failure> {
    Ok(parse(service.store().get(CURSOR, name.as_bytes())?))
}

fn show(service: &Service, name: &str, at: &At) -> Cursor {
    let tail = *service.store().tail().borrow();
    Cursor {
        name: name.to_owned(),
        seq: at.seq,
        lag: tail.0.saturating_sub(at.seq.0),
        used: at.used,
        holder: service.holder(name).map(|(_, holder)| holder),
    }
}

/// Every cursor, by name.
pub(crate) fn list(service: &Service) -> Result<Vec<Cursor>, Failure> {
    Ok(kept(service)?.into_iter().map(|(cursor, _)| cursor).collect())
}

/// Every cursor, and when it was used, by age.
fn kept(service: &Service) -> Result<Vec<(Cursor, Time)>, Failure> {
    let pairs = service.store().scan(CURSOR, ..).take(LIST_MAX).collect::<Result<Vec<_>, _>>()?;
    let cursor = |(name, at): (Vec<u8>, Vec<u8>)| {
        let at: At = serde_json::from_slice(&at).ok()?;
        Some((show(service, std::str::from_utf8(&name).ok()?, &at), at.used_at.unwrap_or(at.used)))
    };
    Ok(pairs.into_iter().filter_map(cursor).collect())
}

/// Where a reader of this cursor starts: after what it has consumed; a new one after `from` (contract 7: the oldest).
/// A new one is made durable at once, so that its start does not move. Also whether it is new.
pub(crate) async fn position(service: &Service, name: &str, from: Option<&str>) -> Result<(Seq, bool), Failure> {
    check(name)?;
    if let Some(seq) = used(service, name).await? {
        return Ok((seq, false));
    }
    let seq = place(service, from.unwrap_or("oldest"))?;
    write(service, name, seq, Allow::Holder).await?;
    Ok((seq, true))
}

/// Notes that somebody reads from a cursor, and tells where it stands. In a transaction: whoever moves it at this moment
/// has done so before, or is refused because it is held.
async fn used(service: &Service, name: &str) -> Result<Option<Seq>, Failure> {
    let (key, now) = (name.as_bytes().to_vec(), service.now());
    let used_at = Some(service.ages().now(now));
    let found = service.store().write_lazily(move |tx| {
        let Some(at) = parse(tx.get(CURSOR, &key)) else { return Ok(None) };
        tx.put(CURSOR, &key, At { used: now, used_at, ..at }.bytes());
        Ok::<_, Failure>(Some(at.seq))
    });
    match found.await {
        Ok(found) => found,
        // Reading goes on while nothing can be written.
        Err(store::Error::Refusing(_)) => Ok(read(service, name)?.map(|at| at.seq)),
        Err(error) => Err(error.into()),
    }
}

/// Up to where all cursors in use have read, by the age `now`; `None` when there are none. Retention waits for what comes after.
pub(crate) fn wanted_after(service: &Service, now: Time) -> Result<Option<Seq>, Failure> {
    let in_use = |(cursor, used): &(Cursor, Time)| cursor.holder.is_some() || now.since(*used) < WAITED_FOR;
    Ok(kept(service)?.iter().filter(|cursor| in_use(cursor)).map(|(cursor, _)| cursor.seq).min())
}

/// The position that `oldest`, `now`, `#SEQ` or a time means: the newest event that counts as consumed.
pub(crate) fn place(service: &Service, to: &str) -> Result<Seq, Failure> {
    match to.trim() {
        // Not 0: whoever stands before what is kept has missed something.
        "oldest" => Ok(Seq(service.store().first().0 - 1)),
        "now" => Ok(*service.store().tail().borrow()),
        other => match Edge::parse(other, Time::now())? {
            Edge::Seq(seq) => {
                follow::check_reached(service.store(), seq, "the new position")?;
                Ok(seq)
            }
            Edge::Time(time) => before(service, time),
        },
    }
}

/// The newest event before a time.
fn before(service: &Service, time: Time) -> Result<Seq, Failure> {
    let mut query = Query { since: Some(time), ..Query::default() };
    loop {
        let page = service.store().read_kept(&query, 1)?;
        if let Some(first) = page.entries.first() {
            return Ok(Seq(first.seq.0 - 1));
        }
        if page.end {
            return Ok(*service.store().tail().borrow());
        }
        query.after = page.looked_to;
    }
}

/// Whether a cursor may be moved while somebody reads from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allow {
    /// It is the reader who asks.
    Holder,
    Nobody,
}

async fn write(service: &Service, name: &str, seq: Seq, allow: Allow) -> Result<Cursor, Failure> {
    let used = service.now();
    let at = At { seq, used, used_at: Some(service.ages().now(used)) };
    let (held, of, bytes) = (service.clone(), name.to_owned(), at.bytes());
    let put = move |tx: &mut Txn<'_>| {
        if allow == Allow::Nobody {
            check_free(&held, &of)?;
        }
        tx.put(CURSOR, of.as_bytes(), bytes);
        Ok::<_, Failure>(())
    };
    service.store().write(put).await??;
    Ok(show(service, name, &at))
}

/// Refuses what must not happen while somebody reads.
fn check_free(service: &Service, name: &str) -> Result<(), Failure> {
    let Some((_, holder)) = service.holder(name) else { return Ok(()) };
    let message = format!("the cursor `{name}` is being read by {holder}; stop that reader first");
    Err(Failure::new(409, "cursor-in-use", message))
}

/// Moves a cursor to where its owner says.
pub(crate) async fn set(service: &Service, name: &str, to: &str) -> Result<Cursor, Failure> {
    check(name)?;
    // Here a bare number can only be the position that `cursor list` prints.
    let is_number = !to.trim().is_empty() && to.trim().bytes().all(|b| b.is_ascii_digit());
    let seq = if is_number { place(service, &format!("#{}", to.trim()))? } else { place(service, to)? };
    write(service, name, seq, Allow::Nobody).await
}

/// Remembers what was consumed. Never moves backwards. While somebody reads, only that reader moves the cursor: who
/// names no lease, or one that was lost, is refused.
pub(crate) async fn commit(service: &Service, name: &str, commit: &CursorCommit) -> Result<Cursor, Failure> {
    check(name)?;
    follow::check_log(service.store(), commit.log.as_deref())?;
    follow::check_reached(service.store(), commit.seq, "what was consumed")?;
    let seq = commit.seq;
    let (held, of, lease) = (service.clone(), name.to_owned(), commit.lease);
    let now = service.now();
    let used_at = Some(service.ages().now(now));
    let at = service.store().write(move |tx| {
        if let Some((holding, holder)) = held.holder(&of)
            && lease != Some(holding)
        {
            let message = match lease {
                Some(_) => format!("the cursor `{of}` is being read by {holder} now; this reader lost it"),
                None => format!(
                    "the cursor `{of}` is being read by {holder}; give the lease of its stream (`Wehelp-Lease`), or stop \
                     that reader first"
                ),
            };
            return Err(Failure::new(409, "cursor-in-use", message));
        }
        let before = parse(tx.get(CURSOR, of.as_bytes()));
        let at = At { seq: before.map_or(seq, |b| b.seq.max(seq)), used: now, used_at };
        tx.put(CURSOR, of.as_bytes(), at.bytes());
        Ok(at)
    });
    let at = at.await??;
    if let Some(lease) = commit.lease.filter(|_| commit.done) {
        service.release(name, lease);
    }
    Ok(show(service, name, &at))
}

/// Forgets a cursor.
pub(crate) async fn delete(service: &Service, name: &str) -> Result<(), Failure> {
    check(name)?;
    if read(service, name)?.is_none() {
        return Err(not_found(name));
    }
    let (held, of) = (service.clone(), name.to_owned());
    let delete = move |tx: &mut Txn<'_>| {
        check_free(&held, &of)?;
        tx.delete(CURSOR, of.as_bytes());
        Ok::<_, Failure>(())
    };
    service.store().write(delete).await?
}
