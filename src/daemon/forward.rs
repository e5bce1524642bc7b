//! Forwards: events posted to URLs, each target at its own pace.
//!
//! One task a target, which runs a follower's loop: read a page after its durable position, post what passes its
//! filters one by one and in order, move on. A post that fails is tried again with growing pauses, for ever; a target
//! that is down therefore holds up nobody but itself, and misses nothing. After a crash the last event may be posted
//! again: at least once, never skipped.

use super::entry::{self, Filter};
use super::follow;
use super::service::{Failure, Service};
use crate::clock::Time;
use crate::control::Forward;
use crate::seq::Seq;
use crate::store::{Dropped, Query, Read, Space, Stored, Txn};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use warp::http::Method;
use warp::reply::{Reply, Response};

/// Name → [`Target`].
const FORWARD: Space = Space(b'h');
/// Targets: each has a task, and while it posts a thread.
const TARGETS_MAX: usize = 64;
/// The longest URL and secret, bytes.
const URL_BYTES_MAX: usize = 2048;
/// How long a target may take to answer.
const POST_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after a first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause: a target that returns waits no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The rest of an answer is not worth a longer wait: small servers write it apart from the header, where it is held up
/// for a delayed acknowledgement (40 ms) on a connection that is used again. A new one is cheaper then.
const ANSWER_REST: Duration = Duration::from_millis(3);
/// Events that are not for a target are passed over durably this often: a restart looks at the rest again.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// Of a target's answer so much is read, bytes: a connection can be used again only when it is empty.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of events read in one go.
const PAGE_BYTES: usize = 256 * 1024;

/// A target as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Target {
    url: String,
    secret: Option<String>,
    kind: Option<String>,
    chat: Option<String>,
    r#match: Option<String>,
    account: Option<String>,
    paused: bool,
    seq: Seq,
    /// Distinguishes a target from an earlier one of the same name.
    created: Time,
}

/// How a target has fared since the start.
#[derive(Debug, Clone, Default)]
struct Fate {
    failures: u32,
    last_error: Option<String>,
    retry_at: Option<Time>,
    /// What retention took from it; told until the next failure.
    dropped: Option<String>,
    /// How far its task has got; what is stored may lag behind.
    at: Seq,
}

impl Fate {
    /// After a post was taken.
    fn well(self) -> Self {
        Self { dropped: self.dropped, at: self.at, ..Self::default() }
    }

    /// After something failed.
    fn failed(self, error: String) -> Self {
        Self { last_error: Some(error), at: self.at, ..Self::default() }
    }
}

/// What the tasks and the control door share.
#[derive(Debug)]
pub(super) struct Forwards {
    /// Bumped when a target was added, changed or removed.
    changed: watch::Sender<u64>,
    fates: Mutex<BTreeMap<String, Fate>>,
    agent: ureq::Agent,
}

impl Default for Forwards {
    fn default() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(POST_TIMEOUT))
            .timeout_recv_body(Some(ANSWER_REST))
            .http_status_as_error(false)
            // A signed body goes where its owner said, and nowhere else.
            .max_redirects(0)
            .user_agent(concat!("wehelp/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { changed: watch::Sender::new(0), fates: Mutex::default(), agent: ureq::Agent::new_with_config(config) }
    }
}

impl Forwards {
    fn fate(&self, name: &str) -> Fate {
        super::service::lock(&self.fates).get(name).cloned().unwrap_or_default()
    }

    fn set_fate(&self, name: &str, change: impl FnOnce(&mut Fate)) {
        change(super::service::lock(&self.fates).entry(name.to_owned()).or_default());
    }

    fn forget(&self, name: &str) {
        super::service::lock(&self.fates).remove(name);
    }
}

/// Keeps one task per target until shutdown.
pub(super) async fn run(service: Service) {
    let mut changed = service.forwards().changed.subscribe();
    let mut tasks: BTreeMap<String, (Target, tokio::task::JoinHandle<()>)> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        match targets(&service) {
            Err(error) => tracing::warn!("cannot read the forward targets: {}", error.message),
            Ok(wanted) => {
                tasks.retain(|name, (target, task)| {
                    // The position moves with every post; all else is a change that starts the task anew.
                    let same = wanted.get(name).is_some_and(|now| Target { seq: target.seq, ..now.clone() } == *target);
                    if !same {
                        task.abort();
                    }
                    // One that ended by itself (a filter that is none) is tried anew, too.
                    same && !task.is_finished()
                });
                for (name, target) in wanted {
                    if !tasks.contains_key(&name) && !target.paused {
                        let task = tokio::spawn(post_all(service.clone(), name.clone(), target.clone()));
                        tasks.insert(name, (target, task));
                    }
                }
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = service.shutdown().wait() => break,
        }
    }
    for (_, task) in tasks.into_values() {
        task.abort();
    }
}

fn targets(service: &Service) -> Result<BTreeMap<String, Target>, Failure> {
    let pairs = service.store().scan(FORWARD, &[], &[255; 16], TARGETS_MAX, false)?;
    let read = |(name, target): (Vec<u8>, Vec<u8>)| {
        Some((String::from_utf8(name).ok()?, serde_json::from_slice(&target).ok()?))
    };
    Ok(pairs.into_iter().filter_map(read).collect())
}

/// Up to where every target has what it is to get; `None` without targets. Retention waits for what comes after.
pub(super) fn wanted_after(service: &Service) -> Result<Option<Seq>, Failure> {
    Ok(targets(service)?.values().map(|target| target.seq).min())
}

fn filter(service: &Service, target: &Target) -> Result<Filter, Failure> {
    let account = service.account_filter(target.account.as_deref());
    Filter::of(target.kind.as_deref(), target.chat.clone(), None, account, target.r#match.as_deref(), None)
}

/// Posts a target's events, from its position on.
async fn post_all(service: Service, name: String, target: Target) {
    let failed = |error: String| {
        service.forwards().set_fate(&name, |fate| *fate = std::mem::take(fate).failed(error));
    };
    let filter = match filter(&service, &target) {
        Ok(filter) => Arc::new(filter),
        Err(failure) => return failed(failure.message),
    };
    let mut query = Query { after: target.seq, any_of: filter.tags(), ..Query::default() };
    let mut tail = service.store().tail();
    // What is stored as this target's position, and since when.
    let (mut kept, mut kept_at) = (target.seq, tokio::time::Instant::now());
    loop {
        let (store, of, with) = (service.store().clone(), query.clone(), Arc::clone(&filter));
        let page = tokio::task::spawn_blocking(move || {
            let mut read = store.read(&of, PAGE_BYTES)?;
            if let Read::Page(page) = &mut read {
                page.entries.retain(|stored| with.matches(stored));
            }
            Ok::<_, crate::store::Error>(read)
        });
        let page = match page.await {
            Ok(Ok(Read::Page(page))) => page,
            Ok(Ok(Read::Dropped(Dropped { from, to }))) => {
                tracing::warn!(target = name, %from, %to, "retention dropped events before they were forwarded");
                let told = format!("events {from} to {to} were dropped by retention before they were forwarded");
                query.after = to;
                service.forwards().set_fate(&name, |fate| (fate.dropped, fate.at) = (Some(told), to));
                move_on(&service, &name, &target, to).await;
                (kept, kept_at) = (to, tokio::time::Instant::now());
                continue;
            }
            Ok(Err(error)) => {
                failed(error.to_string());
                tokio::time::sleep(PAUSE_MIN).await;
                continue;
            }
            Err(_) => return failed("reading the log failed; see the daemon's log".to_owned()),
        };
        for (seq, reason) in &page.damaged {
            tracing::error!(target = name, %seq, "an event cannot be read and is not forwarded: {reason}");
        }
        for stored in page.entries {
            let seq = stored.seq;
            post_until_taken(&service, &name, &target, stored).await;
            service.forwards().set_fate(&name, |fate| fate.at = seq);
            move_on(&service, &name, &target, seq).await;
            (kept, kept_at) = (seq, tokio::time::Instant::now());
        }
        if page.looked_to > query.after {
            query.after = page.looked_to;
            service.forwards().set_fate(&name, |fate| fate.at = query.after);
        }
        if !page.end {
            continue;
        }
        // Passing over many events that are not for this target must not be repeated after a restart, but need not be
        // stored one by one.
        loop {
            let due = kept_at + PASS_EVERY;
            tokio::select! {
                gone = follow::tail_passes(&mut tail, query.after) => if gone { return } else { break },
                () = tokio::time::sleep_until(due), if query.after > kept => {
                    move_on(&service, &name, &target, query.after).await;
                    (kept, kept_at) = (query.after, tokio::time::Instant::now());
                }
            }
        }
        if query.after > kept && kept_at.elapsed() >= PASS_EVERY {
            move_on(&service, &name, &target, query.after).await;
            (kept, kept_at) = (query.after, tokio::time::Instant::now());
        }
    }
}

async fn move_on(service: &Service, name: &str, target: &Target, seq: Seq) {
    let (key, created) = (name.as_bytes().to_vec(), target.created);
    let moved = service.store().write_lazily(move |tx| {
        let now: Option<Target> = tx.get(FORWARD, &key).and_then(|b| serde_json::from_slice(&b).ok());
        // The target may have been replaced while its event was on the way.
        if let Some(mut now) = now.filter(|now| now.created == created && now.seq < seq) {
            now.seq = seq;
            tx.put(FORWARD, &key, serde_json::to_vec(&now).expect("plain data"));
        }
        Ok::<_, ()>(())
    });
    if let Err(error) = moved.await {
        tracing::debug!(target = name, "cannot remember what was forwarded: {error}");
    }
}

async fn post_until_taken(service: &Service, name: &str, target: &Target, stored: Stored) {
    let stored = Arc::new(stored);
    let mut pause = PAUSE_MIN;
    let mut failures = 0;
    loop {
        match post(service, target, Some(Arc::clone(&stored))).await {
            Ok(()) => {
                service.forwards().set_fate(name, |fate| *fate = std::mem::take(fate).well());
                return;
            }
            Err(reason) => {
                failures += 1;
                tracing::info!(target = name, seq = %stored.seq, failures, "a forward failed: {reason}");
                let jitter = pause.mul_f64(fastrand::f64() / 4.0);
                let retry_at = Some(Time::now().after(pause + jitter));
                service.forwards().set_fate(name, |fate| {
                    *fate = Fate { failures, retry_at, ..std::mem::take(fate).failed(reason) };
                });
                tokio::time::sleep(pause + jitter).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Posts one event (or a test) and tells why it was not taken.
async fn post(service: &Service, target: &Target, stored: Option<Arc<Stored>>) -> Result<(), String> {
    let agent = service.forwards().agent.clone();
    let (url, secret) = (target.url.clone(), target.secret.clone());
    let log = service.store().identity().map_err(|e| e.to_string())?;
    let work = move || {
        let body = match &stored {
            Some(stored) => entry::line(stored),
            None => format!(r#"{{"seq":0,"time":"{}","kind":"test"}}"#, Time::now()),
        };
        let mut request = agent.post(&url).header("Content-Type", "application/json");
        if let Some(stored) = &stored {
            request = request.header("X-Wehelp-Seq", stored.seq.to_string());
        }
        if let Some(log) = log {
            request = request.header("X-Wehelp-Log", log);
        }
        if let Some(secret) = &secret {
            request = request.header("X-Wehelp-Signature", signature(secret, Time::now(), &body));
        }
        let mut response = request.send(body).map_err(|error| error.to_string())?;
        // What it says besides is not asked for; the status has been given either way.
        drop(response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec());
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("the target answered {}", status.as_u16())) }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("posting panicked".to_owned()))
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`, so that a receiver can refuse old ones.
fn signature(secret: &str, now: Time, body: &str) -> String {
    let seconds = now.millis() / 1000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    let digest = data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes());
    format!("t={seconds},v1={digest}")
}

fn show(service: &Service, name: &str, target: &Target) -> Forward {
    let fate = service.forwards().fate(name);
    let seq = target.seq.max(fate.at);
    Forward {
        name: name.to_owned(),
        url: target.url.clone(),
        secret: target.secret.as_ref().map(|_| "***".to_owned()),
        kind: target.kind.clone(),
        chat: target.chat.clone(),
        r#match: target.r#match.clone(),
        account: target.account.clone(),
        paused: target.paused,
        seq,
        lag: service.store().tail().borrow().0.saturating_sub(seq.0),
        failures: fate.failures,
        last_error: fate.last_error.or(fate.dropped),
        retry_at: fate.retry_at,
    }
}

fn not_found(name: &str) -> Failure {
    Failure::new(404, "not-found", format!("there is no forward `{name}`; `wehelp forward list` shows those there are"))
}

/// The control door's `/v1/forwards…`.
pub(super) async fn answer(
    service: &Service,
    method: &Method,
    parts: &[&str],
    body: &[u8],
) -> Result<Response, Failure> {
    let all = targets(service)?;
    match parts {
        ["forwards"] if method == Method::GET => {
            let lines: String = all
                .iter()
                .map(|(name, t)| serde_json::to_string(&show(service, name, t)).unwrap_or_default() + "\n")
                .collect();
            Ok(warp::reply::with_header(lines, "content-type", "application/x-ndjson").into_response())
        }
        ["forwards", name] if method == Method::PUT => {
            let wish: Forward = serde_json::from_slice(body)
                .map_err(|e| Failure::new(400, "bad-body", format!("the body is no forward: {e}")))?;
            let target = check(service, name, wish, &all)?;
            put(service, name, &target).await?;
            Ok(warp::reply::json(&show(service, name, &target)).into_response())
        }
        ["forwards", name] if method == Method::DELETE => {
            all.get(*name).ok_or_else(|| not_found(name))?;
            let key = name.as_bytes().to_vec();
            let delete = move |tx: &mut Txn<'_>| {
                tx.delete(FORWARD, &key);
                Ok::<_, Failure>(())
            };
            service.store().write(delete).await??;
            service.forwards().forget(name);
            service.forwards().changed.send_modify(|n| *n += 1);
            Ok(warp::http::StatusCode::NO_CONTENT.into_response())
        }
        ["forwards", name, verb @ ("pause" | "resume")] if method == Method::POST => {
            let mut target = all.get(*name).cloned().ok_or_else(|| not_found(name))?;
            target.paused = *verb == "pause";
            put(service, name, &target).await?;
            Ok(warp::reply::json(&show(service, name, &target)).into_response())
        }
        ["forwards", name, "test"] if method == Method::POST => {
            let target = all.get(*name).ok_or_else(|| not_found(name))?;
            deliver(service, name, target, None).await
        }
        ["forwards", name, "resend"] if method == Method::POST => {
            #[derive(Deserialize)]
            struct Resend {
                seq: Seq,
            }
            let target = all.get(*name).ok_or_else(|| not_found(name))?;
            let Resend { seq } = serde_json::from_slice(body)
                .map_err(|e| Failure::new(400, "bad-body", format!("give the event's number as `seq`: {e}")))?;
            let stored = follow::one(service.store(), seq)?;
            deliver(service, name, target, Some(Arc::new(stored))).await
        }
        _ => Err(Failure::new(404, "no-such-path", "the control door has no such path; see wehelp-control(7)")),
    }
}

async fn deliver(
    service: &Service,
    name: &str,
    target: &Target,
    stored: Option<Arc<Stored>>,
) -> Result<Response, Failure> {
    match post(service, target, stored).await {
        Ok(()) => Ok(warp::reply::json(&show(service, name, target)).into_response()),
        Err(reason) => Err(Failure::new(502, "forward-failed", format!("`{name}` did not take it: {reason}"))),
    }
}

async fn put(service: &Service, name: &str, target: &Target) -> Result<(), Failure> {
    let (key, bytes) = (name.as_bytes().to_vec(), serde_json::to_vec(target).expect("plain data"));
    let put = move |tx: &mut Txn<'_>| {
        tx.put(FORWARD, &key, bytes);
        Ok::<_, Failure>(())
    };
    service.store().write(put).await??;
    service.forwards().changed.send_modify(|n| *n += 1);
    Ok(())
}

/// A wish, checked: a new target starts with the events to come, a changed one goes on where it was.
fn check(service: &Service, name: &str, wish: Forward, all: &BTreeMap<String, Target>) -> Result<Target, Failure> {
    let named =
        !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !named {
        return Err(Failure::new(400, "bad-name", "a forward's name has 1 to 64 letters, digits and -_."));
    }
    let uri: Result<warp::http::Uri, _> = wish.url.parse();
    let sound = uri.is_ok_and(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some());
    if !sound || wish.url.len() > URL_BYTES_MAX {
        return Err(Failure::new(400, "bad-url", "a forward's URL begins with http:// or https:// and names a host"));
    }
    if wish.secret.as_ref().is_some_and(|s| s.is_empty() || s.len() > URL_BYTES_MAX) {
        return Err(Failure::new(400, "bad-secret", "a forward's secret has 1 to 2048 bytes"));
    }
    let before = all.get(name);
    if before.is_none() && all.len() >= TARGETS_MAX {
        return Err(Failure::new(
            429,
            "too-many-forwards",
            format!("at most {TARGETS_MAX} forwards; remove one first"),
        ));
    }
    let target = Target {
        url: wish.url,
        secret: wish.secret.or_else(|| before.and_then(|b| b.secret.clone())),
        kind: wish.kind,
        chat: wish.chat,
        r#match: wish.r#match,
        account: wish.account,
        paused: wish.paused,
        seq: before.map_or_else(|| *service.store().tail().borrow(), |b| b.seq),
        created: before.map_or_else(Time::now, |b| b.created),
    };
    filter(service, &target)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_time_and_body() {
        // Computed with: printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let now = Time::from_millis(1_700_000_000_999);
        let signed = signature("key", now, "{}");
        assert!(signed.starts_with("t=1700000000,v1="), "{signed}");
        assert_eq!(signed.len(), "t=1700000000,v1=".len() + 64);
        assert_ne!(signed, signature("key", now, "{ }"));
        assert_ne!(signed, signature("yek", now, "{}"));
    }
}
