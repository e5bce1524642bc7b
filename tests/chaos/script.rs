//! What scripts do: they queue with and without keys, by `wehelp` and at the control door, cancel, retry and pause.

use crate::client::Response;
use crate::record::{Check, Fact, Span};
use crate::world::{ALIAS, Hand, NICK, PCS, STEADY, lock};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Commands that whoever cancels or retries chooses from.
const RECENT_MAX: usize = 64;

/// How an account is named, and which one is meant.
fn any_account(rng: &mut fastrand::Rng) -> (String, String) {
    let (first, second) = (STEADY[0].0.to_owned(), STEADY[1].0.to_owned());
    match rng.u8(0..8) {
        0 => (ALIAS.to_owned(), first),
        1 => (NICK.to_owned(), second),
        2 => (first.clone(), first),
        3 => (second.clone(), second),
        _ => {
            let name = format!("wxid_pc{}_{}", rng.usize(0..PCS), rng.usize(0..2));
            (name.clone(), name)
        }
    }
}

/// Queues one command and writes down what came of it.
fn enqueue(hand: &mut Hand<'_>, command: &Value, more: Value, key: Option<&str>) -> Option<u64> {
    let (name, account) = any_account(&mut hand.rng);
    enqueue_for(hand, (&name, account), command, more, key)
}

fn enqueue_for(
    hand: &mut Hand<'_>,
    (name, account): (&str, String),
    command: &Value,
    more: Value,
    key: Option<&str>,
) -> Option<u64> {
    let request = body(command, name, more, key);
    let from = hand.world.recorder.now();
    let weather = hand.world.weather();
    let response = hand.world.control("POST", "/v1/commands", request.to_string().as_bytes());
    if response.is_none() && hand.world.was_fair(weather) {
        hand.world.recorder.saw(Check::NoAnswer, format!("POST /v1/commands, {command}"));
    }
    let id = response.and_then(|response| receipt(hand, &response));
    queued(hand, command, account, key, hand.world.recorder.since(from), id);
    id
}

fn body(command: &Value, name: &str, more: Value, key: Option<&str>) -> Value {
    let mut body = json!({ "commands": [command], "account": name });
    let object = body.as_object_mut().expect("it was made as one");
    if let Some(key) = key {
        object.insert("keys".to_owned(), json!([key]));
    }
    if let Value::Object(more) = more {
        object.extend(more);
    }
    body
}

fn queued(hand: &Hand<'_>, command: &Value, account: String, key: Option<&str>, span: Span, id: Option<u64>) {
    let text = crate::world::text_of(command).to_owned();
    let fact = Fact::Queued { text, account: Some(account), key: key.map(str::to_owned), span, id };
    hand.world.recorder.add(fact);
    if let Some(id) = id {
        let mut recent = lock(&hand.world.recent);
        if recent.len() == RECENT_MAX {
            recent.remove(0);
        }
        recent.push((id, key.is_some()));
    }
}

/// The id in a receipt; a refusal is one that may be.
fn receipt(hand: &Hand<'_>, response: &Response) -> Option<u64> {
    match response.status {
        200 => {
            let id = serde_json::from_slice::<Value>(&response.body).ok().and_then(|receipt| receipt["id"].as_u64());
            if id.is_none() {
                hand.world.recorder.saw(Check::BadAnswer, format!("no receipt: {}", response.text()));
            }
            id
        }
        // The store refuses; or the nick was not known yet.
        503 | 404 => None,
        status => {
            hand.world.recorder.saw(Check::BadAnswer, format!("{status} to a command: {}", response.text()));
            None
        }
    }
}

fn text(hand: &mut Hand<'_>) -> Value {
    let text = hand.fresh("c");
    let filling = if hand.rng.u8(0..10) == 0 { "x".repeat(30_000) } else { String::new() };
    json!({ "api": "sendTextMessage", "code": 1, "wxid": "wxid_friend", "text": text, "filling": filling })
}

pub(crate) fn queue(hand: &mut Hand<'_>) {
    let command = text(hand);
    enqueue(hand, &command, Value::Null, None);
}

pub(crate) fn queue_with_key(hand: &mut Hand<'_>) {
    let (command, key) = (text(hand), hand.fresh("k"));
    let (name, account) = any_account(&mut hand.rng);
    for _ in 0..hand.rng.usize(2..4) {
        enqueue_for(hand, (&name, account.clone()), &command, Value::Null, Some(&key));
    }
}

pub(crate) fn queue_with_cli(hand: &mut Hand<'_>) {
    let (name, account) = any_account(&mut hand.rng);
    let (text, key) = (hand.fresh("c"), hand.rng.bool().then(|| hand.fresh("k")));
    let mut args = vec!["send", "text", "wxid_friend", &text, "-a", &name, "--json"];
    if let Some(key) = &key {
        args.extend(["--key", key]);
    }
    let from = hand.world.recorder.now();
    let run = hand.world.cli(&args);
    let id = serde_json::from_str::<Value>(&run.out).ok().and_then(|receipt| receipt["id"].as_u64());
    match (run.code, id) {
        (0, Some(_)) | (3..=6, None) => {}
        _ => hand.world.recorder.saw(Check::BadAnswer, format!("wehelp {args:?}: {run:?}")),
    }
    queued(hand, &json!({ "text": text }), account, key.as_deref(), hand.world.recorder.since(from), id);
}

pub(crate) fn queue_for_later(hand: &mut Hand<'_>) {
    let command = text(hand);
    let delay = hand.rng.u64(1..1500);
    enqueue(hand, &command, json!({ "delay_ms": delay }), None);
}

pub(crate) fn queue_expiring(hand: &mut Hand<'_>) {
    let command = text(hand);
    let expires = hand.rng.u64(1..1500);
    enqueue(hand, &command, json!({ "expires_ms": expires }), None);
}

pub(crate) fn ask_for_login_code(hand: &mut Hand<'_>) {
    let mark = hand.fresh("q");
    enqueue(hand, &json!({ "api": "getLoginQrCode", "code": 36, "mark": mark }), Value::Null, None);
}

fn any_recent(hand: &mut Hand<'_>) -> Option<(u64, bool)> {
    let mut recent = lock(&hand.world.recent);
    (!recent.is_empty()).then(|| {
        let at = hand.rng.usize(0..recent.len());
        recent.swap_remove(at)
    })
}

pub(crate) fn cancel(hand: &mut Hand<'_>) {
    let Some((id, _)) = any_recent(hand) else { return };
    let from = hand.world.recorder.now();
    let response = hand.world.control("POST", &format!("/v1/commands/{id}/cancel"), b"");
    let status = response.map(|response| response.status);
    if !matches!(status, None | Some(200 | 409 | 503)) {
        hand.world.recorder.saw(Check::BadAnswer, format!("{status:?} to the cancelling of {id}"));
    }
    let span = hand.world.recorder.since(from);
    hand.world.recorder.add(Fact::Cancelled { id, span, done: status == Some(200) });
}

pub(crate) fn retry(hand: &mut Hand<'_>) {
    // A key whose command was cancelled is free: what is queued anew under it and what is retried would be two.
    let Some((id, false)) = any_recent(hand) else { return };
    let from = hand.world.recorder.now();
    let response = hand.world.control("POST", &format!("/v1/commands/{id}/retry"), b"");
    match response.map(|response| response.status) {
        None | Some(200) => {
            let span = hand.world.recorder.since(from);
            hand.world.recorder.add(Fact::Retried { id, span });
        }
        Some(409 | 503) => {}
        other => hand.world.recorder.saw(Check::BadAnswer, format!("{other:?} to the retry of {id}")),
    }
}

pub(crate) fn pause(hand: &mut Hand<'_>) {
    let all = hand.rng.bool();
    let (name, _) = any_account(&mut hand.rng);
    let body = if all { json!({}) } else { json!({ "account": name }) }.to_string();
    hand.world.control("POST", "/v1/queue/pause", body.as_bytes());
    std::thread::sleep(Duration::from_millis(hand.rng.u64(1..100)));
    while hand.world.control("POST", "/v1/queue/resume", body.as_bytes()).is_none_or(|r| r.status == 503)
        && !hand.world.is_over()
    {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks, and goes before the answer; then asks again under the same key.
pub(crate) fn vanish(hand: &mut Hand<'_>) {
    let (command, key) = (text(hand), hand.fresh("k"));
    let (name, account) = any_account(&mut hand.rng);
    let request = body(&command, &name, Value::Null, Some(&key)).to_string();
    let bytes = crate::client::request("POST", "/v1/commands", &[], request.as_bytes());
    let count = if hand.rng.bool() { bytes.len() } else { hand.rng.usize(0..bytes.len()) };
    let from = hand.world.recorder.now();
    if let Ok(mut stream) = UnixStream::connect(&hand.world.socket) {
        // A daemon that goes away meanwhile is one more way to end.
        drop(stream.write_all(&bytes[..count]));
    }
    queued(hand, &command, account.clone(), Some(&key), hand.world.recorder.since(from), None);
    enqueue_for(hand, (&name, account), &command, Value::Null, Some(&key));
}

pub(crate) fn back_up(hand: &mut Hand<'_>) {
    let Ok(mut stream) = UnixStream::connect(&hand.world.socket) else { return };
    let patience = Some(crate::world::PATIENCE);
    if stream.set_read_timeout(patience).is_err() || stream.write_all(b"GET /v1/backup HTTP/1.0\r\n\r\n").is_err() {
        return;
    }
    let mut left = if hand.rng.bool() { usize::MAX } else { hand.rng.usize(0..100_000) };
    let mut piece = [0; 16 << 10];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        left = left.saturating_sub(count);
        if left == 0 || hand.world.is_over() {
            break;
        }
    }
}

pub(crate) fn look_around(hand: &mut Hand<'_>) {
    const PLACES: [&str; 8] = [
        "/v1/status",
        "/v1/commands",
        "/v1/accounts",
        "/v1/contacts?limit=5&account=wxid_steady0",
        "/v1/cursors",
        "/v1/forwards",
        "/v1/commands?all=true&limit=20",
        "/v1/events?lines=3",
    ];
    let path = PLACES[hand.rng.usize(0..PLACES.len())];
    let weather = hand.world.weather();
    let response = hand.world.control("GET", path, b"");
    if !hand.world.was_fair(weather) {
        return;
    }
    match response {
        None => hand.world.recorder.saw(Check::NoAnswer, format!("GET {path}")),
        Some(response) if response.status != 200 => {
            let what = format!("{} to GET {path}: {}", response.status, response.text());
            hand.world.recorder.saw(Check::BadAnswer, what);
        }
        Some(_) => {}
    }
}
