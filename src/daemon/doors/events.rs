//! The control door's `GET /v1/events`: which events a reader wants, from where on, and whose cursor they move.

use crate::clock::Time;
use crate::control::{self, EventsQuery};
use crate::daemon::doors::refusal::{Refusal, look};
use crate::daemon::doors::reply::{or_refusal, stream};
use crate::daemon::doors::serve::Peer;
use crate::daemon::log::{filter::Filter, follow::Follow, range, refused::Refused};
use crate::daemon::{cursors::Lease, parts::Parts};
use crate::seq::Seq;
use crate::store::Query;
use std::time::Duration;
use warp::http::header::HeaderValue;
use warp::reply::Response;

/// Starts a stream of events.
pub(super) async fn answer(parts: &Parts, query: EventsQuery, peer: Peer) -> Result<Response, Refusal> {
    // First of all: a reader that means another daemon means its accounts, too.
    range::check_log(&parts.store, query.log.as_deref())?;
    let account = parts.queue.account_of(query.account.as_deref()).await?;
    let filter = Filter::new(&query, account)?;
    let filter = if query.mentioned { filter.mentioning(&parts.store) } else { filter };
    let mut range = range::range(query.since.as_deref(), query.until.as_deref(), Time::now())?;
    let (mut lease, mut began) = (None, false);
    // Somebody who names a place expects to get everything from there on; who names none is content with what is kept.
    let mut named_start = matches!(query.since.as_deref(), Some(since) if since.trim().starts_with('#'));
    if let Some(name) = &query.cursor {
        let reader = match peer {
            Peer::Unix { pid: Some(pid), .. } => format!("process {pid}"),
            _ => "another reader".to_owned(),
        };
        let held = lease_patiently(parts, name, &format!("{reader} since {}", Time::now()), query.lease).await?;
        let at;
        (at, began) = parts.cursors.position(name, query.cursor_from.as_deref()).await?;
        range::check_reached(&parts.store, at, &format!("the cursor `{name}`"))?;
        named_start = true;
        range.after = range.after.max(at);
        lease = Some(held);
    }
    if let Some(after) = query.after {
        range.after = range.after.max(after);
        named_start = true;
    }
    range::check_reached(&parts.store, range.after, "what is asked for")?;
    let first = parts.store.stats()?.first;
    let dropped =
        (named_start && range.after.next() < first).then(|| format!("{}-{}", range.after.next(), first.0 - 1));
    if !named_start {
        range.after = range.after.max(Seq(first.0.saturating_sub(1)));
    }
    let lines = query.lines.filter(|_| query.after.is_none());
    // Of a cursor the next ones are meant, and no others are consumed.
    let (lines, next) = if query.cursor.is_some() { (None, lines) } else { (lines, None) };
    let (range, filter) = with_ends(parts, range, filter, lines).await?;
    let (lease_id, after) = (lease.as_ref().map(|lease: &Lease| lease.id), range.after);
    let lines = parts.following.start(Follow {
        query: range,
        filter,
        follow: query.follow,
        count: query.count.into_iter().chain(next).min(),
        marks: query.marks,
        heartbeat: query.heartbeat_ms.map(|ms| Duration::from_millis(ms.max(100))),
        lease,
    });
    let mut response = stream(lines, or_refusal);
    let mut tell = |name: &'static str, value: Option<HeaderValue>| {
        value.map(|value| response.headers_mut().insert(name, value));
    };
    tell(control::AFTER_HEADER, Some(after.0.into()));
    tell(control::LEASE_HEADER, lease_id.map(HeaderValue::from));
    tell(control::CURSOR_BEGAN_HEADER, began.then(|| after.0.into()));
    tell(control::DROPPED_HEADER, dropped.and_then(|range| HeaderValue::from_str(&range).ok()));
    Ok(response)
}

/// The range with its ends as positions; of `lines` the newest are meant.
async fn with_ends(
    parts: &Parts,
    range: Query,
    filter: Filter,
    lines: Option<u64>,
) -> Result<(Query, Filter), Refusal> {
    let store = parts.store.clone();
    look(move || {
        let range = range::bounded(&store, range)?;
        let after = match lines {
            None => range.after,
            Some(lines) => range::newest(&store, &range, &filter, lines)?,
        };
        Ok::<_, Refused>((Query { after, ..range }, filter))
    })
    .await
}

/// Holds a cursor for a reader. One that has just ended may still hold it for the moment that its closing takes.
async fn lease_patiently(parts: &Parts, name: &str, reader: &str, own: Option<u64>) -> Result<Lease, Refusal> {
    /// So long a cursor may be held by a reader that is gone, on a busy machine.
    const PATIENCE: Duration = Duration::from_millis(500);
    /// Between two looks.
    const LOOK: Duration = Duration::from_millis(10);
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match parts.cursors.lease(name, reader.to_owned(), own) {
            Err(_) if tokio::time::Instant::now() < until => tokio::time::sleep(LOOK).await,
            other => return Ok(other?),
        }
    }
}
