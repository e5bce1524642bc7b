//! The control door's `/v1/forwards…`: targets listed, made, changed, tried.

use crate::clock::Time;
use crate::control::{CursorSet, Forward};
use crate::daemon::cursors;
use crate::daemon::doors::control::object;
use crate::daemon::failure::Failure;
use crate::daemon::forwards::post::{Address, Outcome};
use crate::daemon::forwards::{TARGETS_MAX, Target, change, filter, message, poster, show, statuses, targets};
use crate::daemon::log::follow;
use crate::daemon::service::Service;
use crate::key::FORWARD;
use crate::seq::Seq;
use crate::store::{Stored, Txn};
use serde::Deserialize;
use std::collections::BTreeMap;
use warp::http::Method;
use warp::reply::{Reply, Response};

/// The longest URL, secret and path of a file, bytes.
const TEXT_BYTES_MAX: usize = 2048;

fn not_found(name: &str) -> Failure {
    Failure::new(404, "not-found", format!("there is no forward `{name}`; `wehelp forward list` shows those there are"))
}

/// Answers a request of the control door.
pub(crate) async fn answer(
    service: &Service,
    method: &Method,
    parts: &[&str],
    body: &[u8],
) -> Result<Response, Failure> {
    let all = targets(service)?;
    let target = |name: &str| all.get(name).cloned().ok_or_else(|| not_found(name));
    match parts {
        ["forwards"] if method == Method::GET => {
            let line = |forward| serde_json::to_string(&forward).unwrap_or_default() + "\n";
            let lines: String = statuses(service)?.into_iter().map(line).collect();
            Ok(warp::reply::with_header(lines, "content-type", "application/x-ndjson").into_response())
        }
        ["forwards", name] if method == Method::GET => {
            Ok(warp::reply::json(&show(service, name, &target(name)?)).into_response())
        }
        ["forwards", name] if method == Method::PUT => {
            let wish: Forward = object(body, "a forward")?;
            let target = check(service, name, wish, &all).await?;
            put(service, name, &target).await?;
            Ok(warp::reply::json(&show(service, name, &target)).into_response())
        }
        ["forwards", name] if method == Method::DELETE => {
            target(name)?;
            let key = name.as_bytes().to_vec();
            let delete = move |tx: &mut Txn<'_>| {
                tx.delete(FORWARD, &key);
                Ok::<_, Failure>(())
            };
            service.store().write(delete).await??;
            service.forwards().forget(name);
            service.forwards().bump();
            Ok(warp::http::StatusCode::NO_CONTENT.into_response())
        }
        ["forwards", name, verb] if method == Method::POST => {
            let target = target(name)?;
            match *verb {
                "pause" => changed(service, name, |now| now.paused = true).await,
                "resume" => {
                    changed(service, name, |now| {
                        (now.paused, now.stopped, now.retry, now.resumed) = (false, None, None, now.resumed + 1);
                    })
                    .await
                }
                "skip" => skip(service, name, &target).await,
                "set" => {
                    let CursorSet { to } = object(body, "a JSON object with a moment as `to`")?;
                    move_to(service, name, cursors::place(service, &to)?).await
                }
                "test" => deliver(service, name, &target, None).await,
                "resend" => {
                    #[derive(Deserialize)]
                    struct Resend {
                        seq: Seq,
                    }
                    let Resend { seq } = object(body, "a JSON object with the event's number as `seq`")?;
                    deliver(service, name, &target, Some(&follow::one(service.store(), seq)?)).await
                }
                _ => Err(no_such_path()),
            }
        }
        _ => Err(no_such_path()),
    }
}

fn no_such_path() -> Failure {
    Failure::new(404, "no-such-path", "the control door has no such path; see wehelp-control(7)")
}

/// Changes a target and shows it.
async fn changed(
    service: &Service,
    name: &str,
    with: impl FnOnce(&mut Target) + Send + 'static,
) -> Result<Response, Failure> {
    let change_it = move |now: &mut Target| {
        with(now);
        true
    };
    change(service, name, change_it).await?;
    service.forwards().bump();
    let now = targets(service)?;
    let target = now.get(name).ok_or_else(|| not_found(name))?;
    Ok(warp::reply::json(&show(service, name, target)).into_response())
}

/// Moves a target's position: what it gets next is what comes after `seq`.
async fn move_to(service: &Service, name: &str, seq: Seq) -> Result<Response, Failure> {
    service.forwards().forget(name);
    changed(service, name, move |now| {
        (now.seq, now.stopped, now.retry, now.moves) = (seq, None, None, now.moves + 1);
    })
    .await
}

/// Passes the event that a target refuses, or cannot take.
async fn skip(service: &Service, name: &str, target: &Target) -> Result<Response, Failure> {
    let at = target.stopped.as_ref().map(|stopped| stopped.seq).or(service.forwards().health(name).trying);
    let Some(seq) = at.filter(|seq| *seq > target.seq) else {
        let message = format!("`{name}` stands at no event; `wehelp forward set {name} MOMENT` moves it");
        return Err(Failure::new(409, "nothing-to-skip", message));
    };
    move_to(service, name, seq).await
}

async fn deliver(service: &Service, name: &str, target: &Target, stored: Option<&Stored>) -> Result<Response, Failure> {
    let failed = |reason| Failure::new(502, "forward-failed", format!("`{name}` did not take it: {reason}"));
    let (address, poster) = poster(target).await.map_err(failed)?;
    let message = message(service, stored).map_err(failed)?;
    match poster.post(&address, target.secret.as_deref(), message, Time::now()).await {
        Outcome::Taken => Ok(warp::reply::json(&show(service, name, target)).into_response()),
        Outcome::Circle => Err(failed("it has had this event already".to_owned())),
        Outcome::Refused(reason) | Outcome::Failed(reason, _) => Err(failed(reason)),
    }
}

async fn put(service: &Service, name: &str, target: &Target) -> Result<(), Failure> {
    let (key, bytes) = (name.as_bytes().to_vec(), serde_json::to_vec(target).expect("plain data"));
    let put = move |tx: &mut Txn<'_>| {
        tx.put(FORWARD, &key, bytes);
        Ok::<_, Failure>(())
    };
    service.store().write(put).await??;
    service.forwards().bump();
    Ok(())
}

/// A wish, checked: a new target starts with the events to come, a changed one goes on where it was.
async fn check(
    service: &Service,
    name: &str,
    wish: Forward,
    all: &BTreeMap<String, Target>,
) -> Result<Target, Failure> {
    let named = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !named {
        let message = "a forward's name has 1 to 64 letters, digits and -_., and does not begin with -";
        return Err(Failure::new(400, "bad-name", message));
    }
    Address::parse(&wish.url).map_err(|message| Failure::new(400, "bad-url", message))?;
    if wish.url.len() > TEXT_BYTES_MAX {
        return Err(Failure::new(400, "bad-url", "a forward's URL has at most 2048 bytes"));
    }
    if wish.secret.as_ref().is_some_and(|s| s.is_empty() || s.len() > TEXT_BYTES_MAX) {
        return Err(Failure::new(400, "bad-secret", "a forward's secret has 1 to 2048 bytes"));
    }
    if let Some(ca) = &wish.ca {
        let bad = |message| Err(Failure::new(400, "bad-ca", message));
        if !ca.is_absolute() || ca.as_os_str().len() > TEXT_BYTES_MAX {
            return bad("give the file with the root certificates by its whole path".to_owned());
        }
        // Told now rather than in the list of forwards, later.
        if let Err(reason) = crate::daemon::forwards::post::Poster::new(Some(ca)) {
            return bad(reason);
        }
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
        ca: wish.ca,
        on_refused: wish.on_refused,
        max_age_ms: wish.max_age_ms,
        paused: wish.paused,
        // A target that was changed is tried again.
        stopped: None,
        retry: None,
        resumed: before.map_or(0, |b| b.resumed),
        moves: before.map_or(0, |b| b.moves),
        seq: before.map_or_else(|| *service.store().tail().borrow(), |b| b.seq),
        created: before.map_or_else(Time::now, |b| b.created),
    };
    // One that was told of when the forward was made, and is forgotten since, does not end it.
    if let Some(account) = target.account.as_deref().filter(|a| before.is_none_or(|b| b.account.as_deref() != Some(a)))
    {
        service.account_filter(Some(account)).await?;
    }
    filter(service, &target)?;
    Ok(target)
}
