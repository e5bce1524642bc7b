//! What the doors answer with: JSON, lines of it, and refusals; and what they read as JSON.

use crate::control::{Line, NotCancelled};
use crate::daemon::doors::refusal::Refusal;
use crate::daemon::queue::list::Cancelled;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use warp::Reply;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

/// Bytes that are something.
pub(super) fn typed(body: impl Into<Bytes>, kind: &'static str) -> Response {
    let mut response = Response::new(body.into().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// One value.
pub(super) fn json(value: &impl Serialize) -> Response {
    typed(serde_json::to_vec(value).expect("replies are plain data"), "application/json")
}

/// A refusal.
pub(super) fn refusal(failure: &Refusal) -> Response {
    let mut response = json(&failure.told());
    *response.status_mut() = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

const NDJSON: &str = "application/x-ndjson";

fn lines<T: Serialize>(values: impl Iterator<Item = T>) -> Vec<u8> {
    let mut body = Vec::new();
    for value in values {
        serde_json::to_writer(&mut body, &value).expect("replies are plain data");
        body.push(b'\n');
    }
    body
}

/// Values, a line each.
pub(super) fn ndjson<T: Serialize>(values: impl IntoIterator<Item = T>) -> Response {
    typed(lines(values.into_iter()), NDJSON)
}

/// Values of which there may be many: their lines are made as the reader takes them, and each value goes with its line.
pub(super) fn ndjson_in_steps<T: Serialize + Send + 'static>(values: Vec<T>) -> Response {
    /// Lines made at a time; so few are one answer with its length.
    const LINES: usize = 256;
    if values.len() <= LINES {
        return ndjson(values);
    }
    let (out, chunks) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let mut values = values.into_iter().peekable();
        while values.peek().is_some() {
            if out.send(lines(values.by_ref().take(LINES)).into()).await.is_err() {
                return;
            }
        }
    });
    stream(chunks, |chunk| chunk)
}

/// Chunks that a task makes, as a body that its reader pulls.
struct Chunks<T>(mpsc::Receiver<T>, fn(T) -> Bytes);

impl<T> warp::Stream for Chunks<T> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let made = self.1;
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(made(chunk))))
    }
}

/// Lines as a task makes them.
pub(super) fn stream<T: Send + 'static>(chunks: mpsc::Receiver<T>, made: fn(T) -> Bytes) -> Response {
    let mut response = warp::reply::stream(Chunks(chunks, made)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

/// What was read, or the line of a refusal, which is the last one and has no number.
pub(super) fn or_refusal<E: Into<Refusal>>(made: Result<Bytes, E>) -> Bytes {
    made.unwrap_or_else(|refused| Line::Refused(refused.into().told()).bytes().into())
}

/// A line for each value.
pub(super) fn each<T: Serialize, E: Into<Refusal>>(made: Result<Vec<T>, E>) -> Bytes {
    or_refusal(made.map(|values| lines(values.into_iter()).into()))
}

/// A line for each command that was meant: how it stands, or why it was not taken back.
pub(super) fn each_cancelled<E: Into<Refusal>>(made: Result<Vec<Cancelled>, E>) -> Bytes {
    let mut body = Vec::new();
    let told = made.map(|commands| {
        for (id, done) in commands {
            body.extend(match done {
                Ok(receipt) => lines([receipt].into_iter()),
                Err(refused) => {
                    let Refusal { code, message, .. } = refused.into();
                    lines([NotCancelled { id, error: code.to_owned(), message }].into_iter())
                }
            });
        }
        body.into()
    });
    or_refusal(told)
}

/// Reads a body, which is an object: of an array, serde would take the items for the members, whatever their names.
pub(super) fn object<T: DeserializeOwned>(body: &[u8], due: &str) -> Result<T, Refusal> {
    let bad = |why: &str| {
        Refusal::new(
            400,
            "bad-body",
            format!("the body is not {due}: {why}; wehelp-control(7) shows what each path takes"),
        )
    };
    match body.trim_ascii_start().first() {
        Some(b'[') => Err(bad("it is an array")),
        _ => serde_json::from_slice(body).map_err(|error| bad(&error.to_string())),
    }
}
