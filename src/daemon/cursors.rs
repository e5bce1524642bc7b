//! Cursors: named, durable positions of readers in the event log (contract 7).

use super::entry::Edge;
use super::queue::after_prefix;
use super::service::{Failure, Service};
use crate::clock::Time;
use crate::control::{Cursor, CursorCommit};
use crate::seq::Seq;
use crate::store::{Query, Space, Txn};
use serde::{Deserialize, Serialize};

/// Name → [`At`].
const CURSOR: Space = Space(b'u');
/// The longest name, bytes: it's a store key, and people read it.
const NAME_BYTES_MAX: usize = 100;
/// Cursors listed; nobody keeps so many.
const LIST_MAX: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
struct At {
    seq: Seq,
    used: Time,
}

fn check(name: &str) -> Result<(), Failure> {
    let sound = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:@+".contains(&b));
    if sound {
        return Ok(());
    }
    let message = format!("a cursor's name has 1 to {NAME_BYTES_MAX} letters, digits and -_.:@+");
    Err(Failure::new(400, "bad-cursor", message))
}

fn not_found(name: &str) -> Failure {
    Failure::new(404, "not-found", format!("there is no cursor `{name}`; `wehelp cursor list` shows those there are"))
}

fn read(service: &Service, name: &str) -> Result<Option<At>, Failure> {
    Ok(service.store().get(CURSOR, name.as_bytes())?.and_then(|b| serde_json::from_slice(&b).ok()))
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
pub(super) fn list(service: &Service) -> Result<Vec<Cursor>, Failure> {
    let pairs = service.store().scan(CURSOR, &[], &after_prefix(&[255; 4]), LIST_MAX, false)?;
    let cursor = |(name, at): (Vec<u8>, Vec<u8>)| {
        Some(show(service, std::str::from_utf8(&name).ok()?, &serde_json::from_slice(&at).ok()?))
    };
    Ok(pairs.into_iter().filter_map(cursor).collect())
}

/// Where a reader of this cursor starts: after what it has consumed; a new one after `from` (contract 7: the oldest).
/// A new one is made durable at once, so that its start does not move.
pub(super) async fn position(service: &Service, name: &str, from: Option<&str>) -> Result<Seq, Failure> {
    check(name)?;
    if let Some(at) = read(service, name)? {
        return Ok(at.seq);
    }
    let seq = place(service, from.unwrap_or("oldest"))?;
    write(service, name, seq).await?;
    Ok(seq)
}

/// The position that `oldest`, `now`, `#SEQ` or a time means: the newest event that counts as consumed.
fn place(service: &Service, to: &str) -> Result<Seq, Failure> {
    match to.trim() {
        "oldest" => Ok(Seq::ZERO),
        "now" => Ok(*service.store().tail().borrow()),
        other => match Edge::parse(other, Time::now())? {
            Edge::Seq(seq) => Ok(seq.min(*service.store().tail().borrow())),
            Edge::Time(time) => before(service, time),
        },
    }
}

/// The newest event before a time.
fn before(service: &Service, time: Time) -> Result<Seq, Failure> {
    let mut query = Query { since: Some(time), ..Query::default() };
    loop {
        let page = service.store().read(&query, 1)?;
        if let Some(first) = page.entries.first() {
            return Ok(Seq(first.seq.0 - 1));
        }
        if page.end {
            return Ok(*service.store().tail().borrow());
        }
        query.after = page.looked_to;
    }
}

async fn write(service: &Service, name: &str, seq: Seq) -> Result<Cursor, Failure> {
    let at = At { seq, used: Time::now() };
    let bytes = serde_json::to_vec(&at).expect("plain data");
    let key = name.as_bytes().to_vec();
    let put = move |tx: &mut Txn<'_>| {
        tx.put(CURSOR, &key, bytes);
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
pub(super) async fn set(service: &Service, name: &str, to: &str) -> Result<Cursor, Failure> {
    check(name)?;
    check_free(service, name)?;
    let seq = place(service, to)?;
    write(service, name, seq).await
}

/// Remembers what was consumed. Never moves backwards; a reader that lost its lease is refused.
pub(super) async fn commit(service: &Service, name: &str, commit: &CursorCommit) -> Result<Cursor, Failure> {
    check(name)?;
    if let (Some(lease), Some((held, holder))) = (commit.lease, service.holder(name))
        && lease != held
    {
        let message = format!("the cursor `{name}` is being read by {holder} now; this reader lost it");
        return Err(Failure::new(409, "cursor-in-use", message));
    }
    let seq = commit.seq.min(*service.store().tail().borrow());
    let key = name.as_bytes().to_vec();
    let now = Time::now();
    let at = service.store().write(move |tx| {
        let before = tx.get(CURSOR, &key).and_then(|b| serde_json::from_slice::<At>(&b).ok());
        let at = At { seq: before.map_or(seq, |b| b.seq.max(seq)), used: now };
        tx.put(CURSOR, &key, serde_json::to_vec(&at).expect("plain data"));
        Ok::<_, Failure>(at)
    });
    let at = at.await??;
    if let Some(lease) = commit.lease.filter(|_| commit.done) {
        service.release(name, lease);
    }
    Ok(show(service, name, &at))
}

/// Forgets a cursor.
pub(super) async fn delete(service: &Service, name: &str) -> Result<(), Failure> {
    check(name)?;
    if read(service, name)?.is_none() {
        return Err(not_found(name));
    }
    check_free(service, name)?;
    let key = name.as_bytes().to_vec();
    let delete = move |tx: &mut Txn<'_>| {
        tx.delete(CURSOR, &key);
        Ok::<_, Failure>(())
    };
    service.store().write(delete).await?
}
