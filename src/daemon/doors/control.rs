//! The control door: HTTP/1.1 with JSON and NDJSON for the CLI, curl and any program of the same user.
//!
//! The table of routes is the module doc of `crate::control`. Peers are checked by the accept loop (`serve`); here a
//! request is parsed, the service is asked, and the answer is written. Streams are pulled by their reader.

use crate::clock::Time;
use crate::control::{self, Progress, Refusal, Until};
use crate::daemon::cursors;
use crate::daemon::doors::backup;
use crate::daemon::doors::client;
use crate::daemon::doors::delivery::Conn;
use crate::daemon::doors::forwards;
use crate::daemon::doors::serve::{Head, Peer};
use crate::daemon::failure::Failure;
use crate::daemon::log::entry;
use crate::daemon::log::follow::{self, Follow};
use crate::daemon::queue::PIECES;
use crate::daemon::queue::asks;
use crate::daemon::queue::list;
use crate::daemon::service::{Lease, Service, blocking};
use crate::home;
use crate::protocol::command::Wire;
use crate::seq::Seq;
use crate::store::Query;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use warp::http::{Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

/// The longest wait for an answer: a day. Scripts that wait longer ask again.
const WAIT_MAX: Duration = Duration::from_secs(86_400);
/// How long a request's body may take: it comes from a process on this machine.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// After a text was fetched, a notice that refuses it is waited for so long (contract 3).
const NOTICE: Duration = Duration::from_millis(500);
/// The routes of the control door. They reject nothing: every error is JSON.
pub(crate) fn routes(
    service: Service,
    doors: client::Doors,
) -> impl Filter<Extract = (Response,), Error = std::convert::Infallible> + Clone {
    warp::ext::get::<Head>()
        .and(warp::body::stream())
        .then(move |head: Head, body| {
            let (service, doors) = (service.clone(), doors.clone());
            async move {
                let answer = async {
                    let head = &head.0;
                    check_version(&head.headers)?;
                    check_data_dir(&head.headers, &service)?;
                    let declared = head.headers.get(header::CONTENT_LENGTH);
                    let declared = declared.and_then(|n| n.to_str().ok()?.parse().ok());
                    let max = control::REQUEST_BYTES_MAX as u64;
                    let mut taken = service.bodies().open();
                    let body = client::read_body(body, declared, max, BODY_TIMEOUT, &mut taken).await?;
                    let method = head.method.clone();
                    let (path, query, conn) = (head.path(), head.raw_query(), &head.conn);
                    let ask = Ask { method, path, query, body: &body, peer: Some(head.peer), conn };
                    answer(&service, &doors, &ask).await
                };
                let mut response = answer.await.unwrap_or_else(|failure| refusal(&failure));
                if is_about_the_log(head.0.path())
                    && let Some(log) = service.store().identity().ok().flatten()
                    && let Ok(log) = header::HeaderValue::from_str(&log)
                {
                    response.headers_mut().insert(control::LOG_HEADER, log);
                }
                response
            }
        })
        .recover(|_| async {
            Ok::<_, std::convert::Infallible>(refusal(&Failure::new(
                400,
                "bad-request",
                "this is no request that the control door knows; see wehelp-control(7)",
            )))
        })
        .unify()
}

/// Whether an answer has positions of the log in it, or tells that one is none.
fn is_about_the_log(path: &str) -> bool {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below("/v1/events") || below("/v1/cursors")
}

fn check_version(headers: &header::HeaderMap) -> Result<(), Failure> {
    let Some(theirs) = headers.get(control::VERSION_HEADER) else { return Ok(()) };
    if theirs.to_str().ok().and_then(|v| v.parse().ok()) == Some(control::VERSION) {
        return Ok(());
    }
    Err(Failure::new(
        426,
        "version-mismatch",
        format!(
            "this wehelpd is version {} and speaks another control protocol than that wehelp; install the same \
             version of both and restart wehelpd",
            crate::VERSION
        ),
    ))
}

/// Refuses what is meant for the daemon of another data folder (contract 1).
fn check_data_dir(headers: &header::HeaderMap, service: &Service) -> Result<(), Failure> {
    let Some(meant) = headers.get(control::DATA_DIR_HEADER) else { return Ok(()) };
    let meant: Vec<u8> = percent_encoding::percent_decode(meant.as_bytes()).collect();
    let (meant, own) = (Path::new(OsStr::from_bytes(&meant)), &service.home().data_dir);
    if home::is_same_folder(meant, own) {
        return Ok(());
    }
    Err(Failure::new(
        control::OTHER_DAEMON,
        "other-daemon",
        format!("this is the wehelpd of `{}`, and the one of `{}` is meant", own.display(), meant.display()),
    ))
}

/// A request, taken apart.
struct Ask<'a> {
    method: Method,
    path: &'a str,
    query: &'a str,
    body: &'a [u8],
    peer: Option<Peer>,
    conn: &'a Arc<Conn>,
}

impl Ask<'_> {
    fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_urlencoded::from_str(self.query)
            .map_err(|e| Failure::new(400, "bad-query", format!("the query cannot be read: {e}")))
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let due = match self.path {
            "/v1/commands" | "/v1/asks" => "a JSON object as {\"commands\":[…]}",
            _ => "the JSON object due here",
        };
        object(if self.body.is_empty() { b"{}" } else { self.body }, due)
    }
}

/// Reads a body, which is an object: of an array, serde would take the items for the members, whatever their names.
pub(crate) fn object<T: DeserializeOwned>(body: &[u8], due: &str) -> Result<T, Failure> {
    let bad = |why: &str| {
        Failure::new(
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

fn refusal(failure: &Failure) -> Response {
    let body = Refusal { error: failure.code.to_owned(), message: failure.message.clone() };
    let mut response = json(&body);
    *response.status_mut() = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("replies are plain data");
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

const NDJSON: header::HeaderValue = header::HeaderValue::from_static("application/x-ndjson");

fn ndjson<T: Serialize>(values: impl IntoIterator<Item = T>) -> Response {
    let mut body = Vec::new();
    for value in values {
        serde_json::to_writer(&mut body, &value).expect("replies are plain data");
        body.push(b'\n');
    }
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, NDJSON);
    response
}

/// Values of which there may be many: their lines are made as the reader takes them, and each value goes with its line.
fn ndjson_in_steps<T: Serialize + Send + 'static>(values: Vec<T>) -> Response {
    /// Lines made at a time; so few are one answer with its length.
    const LINES: usize = 256;
    if values.len() <= LINES {
        return ndjson(values);
    }
    let (out, chunks) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut values = values.into_iter().peekable();
        while values.peek().is_some() {
            let mut chunk = Vec::new();
            for value in values.by_ref().take(LINES) {
                serde_json::to_writer(&mut chunk, &value).expect("replies are plain data");
                chunk.push(b'\n');
            }
            if out.send(chunk.into()).await.is_err() {
                return;
            }
        }
    });
    stream(chunks)
}

/// Chunks that a task makes, as a body that its reader pulls.
struct Chunks(mpsc::Receiver<Bytes>);

impl warp::Stream for Chunks {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(Ok))
    }
}

fn stream(chunks: mpsc::Receiver<Bytes>) -> Response {
    let mut response = warp::reply::stream(Chunks(chunks)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, NDJSON);
    response
}

async fn answer(service: &Service, doors: &client::Doors, ask: &Ask<'_>) -> Result<Response, Failure> {
    let decoded: Vec<String> = ask
        .path
        .trim_start_matches('/')
        .split('/')
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let ["v1", parts @ ..] = &parts[..] else { return Err(no_such_path(ask.path)) };
    let (get, post) = (ask.method == Method::GET, ask.method == Method::POST);
    let (put, delete) = (ask.method == Method::PUT, ask.method == Method::DELETE);
    match parts {
        ["status"] if get && ask.query::<control::StatusQuery>()?.only.is_some() => {
            match ask.query::<control::StatusQuery>()?.only.as_deref() {
                Some("daemon") => Ok(json(&serde_json::json!({ "daemon": service.daemon_status() }))),
                _ => Err(Failure::new(
                    400,
                    "bad-query",
                    "`only` is none but `daemon`; leave it out for all of the status",
                )),
            }
        }
        ["status"] if get => {
            service.caught_up().await;
            let query: control::StatusQuery = ask.query()?;
            let account = service.account_told(query.account.as_deref()).await?;
            let mut status = blocking(service, Service::status).await?;
            status.accounts.retain(|known| account.as_ref().is_none_or(|account| known.account == *account));
            doors.fill(&mut status.http);
            Ok(json(&status))
        }
        ["commands"] if post => Ok(ndjson(service.enqueue(ask.json()?).await?)),
        ["commands"] if get => {
            let mut query: control::QueueQuery = ask.query()?;
            query.account = service.account_filter(query.account.as_deref()).await?;
            Ok(stream(list::list(service, query).await?))
        }
        ["commands", "cancel"] if post => {
            let mut query: control::CancelQuery = ask.json()?;
            query.account = service.account_filter(query.account.as_deref()).await?;
            Ok(stream(list::cancel(service, query)?))
        }
        ["commands", id] if get => {
            let id = number(id)?;
            Ok(json(&blocking(service, move |s| s.command(id, s.now())).await?))
        }
        ["commands", id, "cancel"] if post => Ok(json(&service.cancel(number(id)?).await?)),
        ["commands", id, "retry"] if post => Ok(json(&service.retry(number(id)?).await?)),
        ["commands", id, "wait"] if get => wait(service, number(id)?, &ask.query()?),
        ["asks"] if post => {
            let query: control::AskQuery = ask.query()?;
            Ok(stream(asks::ask(service, ask.json()?, query.queue).await?))
        }
        ["asks", id] if get => Ok(stream(asks::again(service, number(id)?).await?)),
        ["queue", verb @ ("pause" | "resume")] if post => {
            let named: control::Named = ask.json()?;
            Ok(json(&service.pause(named.account.as_deref(), *verb == "pause").await?))
        }
        ["events"] if get => events(service, ask.query()?, ask.peer).await,
        ["events", seq] if get => {
            let seq = Seq(number(seq.trim_start_matches('#'))?);
            let line = blocking(service, move |s| Ok(entry::line(&follow::one(s.store(), seq)?))).await?;
            let mut response = Response::new(line.into());
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            Ok(response)
        }
        ["events", seq, "bytes"] if get => {
            let seq = Seq(number(seq.trim_start_matches('#'))?);
            let body = blocking(service, move |s| Ok(follow::one(s.store(), seq)?.body)).await?;
            let mut response = Response::new(body.into());
            let octets = header::HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, octets);
            Ok(response)
        }
        ["cursors"] if get => Ok(ndjson(blocking(service, cursors::list).await?)),
        ["cursors", name] if put => {
            let set: control::CursorSet = ask.json()?;
            Ok(json(&cursors::set(service, name, &set.to).await?))
        }
        ["cursors", name, "commit"] if post => {
            let commit: control::CursorCommit = ask.json()?;
            Ok(json(&cursors::commit(service, name, &commit).await?))
        }
        ["cursors", name] if delete => {
            cursors::delete(service, name).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        ["accounts"] if get => {
            service.caught_up().await;
            Ok(ndjson(blocking(service, Service::account_list).await?))
        }
        ["accounts", name] if delete => {
            let query: control::ForgetQuery = ask.query()?;
            Ok(json(&service.forget_account(name, query.force).await?))
        }
        ["contacts" | "rooms" | "requests" | "resolve", ..] if get => {
            service.all_learned().await;
            people(service, parts, ask).await
        }
        ["forwards", ..] => forwards::answer(service, &ask.method, parts, ask.body).await,
        ["token"] if get => Ok(json(&doors.token())),
        ["token", "rotate"] if post => Ok(json(&doors.rotate_token(ask.query()?)?)),
        ["backup"] if get => Ok(backup::answer(service, Arc::clone(ask.conn))),
        _ => Err(no_such_path(ask.path)),
    }
}

fn no_such_path(path: &str) -> Failure {
    let path: String = path.chars().take(200).collect();
    Failure::new(
        404,
        "no-such-path",
        format!("the control door has no `{path}` with this method; see wehelp-control(7)"),
    )
}

fn number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::new(400, "bad-number", format!("`{text}` is no number")))
}

/// Directory look-ups.
async fn people(service: &Service, parts: &[&str], ask: &Ask<'_>) -> Result<Response, Failure> {
    use crate::directory;
    match parts {
        ["resolve"] => {
            let mut query: control::ResolveQuery = ask.query()?;
            // Where none is named, the names are those of the account that a command would be bound to.
            query.account = match query.account.as_deref() {
                None => service.accounts().mean(None, &service.config().accounts).ok().flatten(),
                // A command may be for an account that nothing has told of yet; it knows nobody.
                Some(name) => Some(service.accounts().named(name, &service.config().accounts)?),
            };
            Ok(ndjson(blocking(service, move |s| Ok(directory::resolve(s.store(), &query)?)).await?))
        }
        ["contacts", wxid] => {
            let query: control::DirectoryQuery = ask.query()?;
            let account = service.account_told(query.account.as_deref()).await?;
            let id = (*wxid).to_owned();
            let found = blocking(service, move |s| Ok(directory::contact(s.store(), account.as_deref(), &id)?)).await?;
            found.map(|contact| json(&contact)).ok_or_else(|| {
                Failure::new(
                    404,
                    "not-found",
                    format!("no event has told of `{wxid}`; `wehelp friend list` asks the client"),
                )
            })
        }
        _ => {
            let mut query: control::DirectoryQuery = ask.query()?;
            query.account = match (query.account.as_deref(), parts) {
                // Requests are told with whose they are, and are accepted as that account.
                (None, ["requests"]) => None,
                // What is asked of the directory is about the account that a command would be bound to.
                (None, _) => service.accounts().mean(None, &service.config().accounts)?,
                (named, _) => service.account_told(named).await?,
            };
            match parts {
                ["contacts"] => {
                    Ok(ndjson_in_steps(blocking(service, move |s| Ok(directory::contacts(s.store(), &query)?)).await?))
                }
                ["rooms"] => {
                    Ok(ndjson_in_steps(blocking(service, move |s| Ok(directory::rooms(s.store(), &query)?)).await?))
                }
                ["rooms", room, "members"] => {
                    let room = (*room).to_owned();
                    let found = blocking(service, move |s| Ok(directory::members(s.store(), &room, &query)?)).await?;
                    Ok(ndjson_in_steps(found))
                }
                ["requests"] => {
                    Ok(ndjson(blocking(service, move |s| Ok(directory::requests(s.store(), &query)?)).await?))
                }
                _ => Err(no_such_path(ask.path)),
            }
        }
    }
}

/// Holds a cursor for a reader. One that has just ended may still hold it for the moment that its closing takes.
async fn lease_patiently(service: &Service, name: &str, reader: &str, own: Option<u64>) -> Result<Lease, Failure> {
    /// So long a cursor may be held by a reader that is gone, on a busy machine.
    const PATIENCE: Duration = Duration::from_millis(500);
    /// Between two looks.
    const LOOK: Duration = Duration::from_millis(10);
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match service.lease(name, reader.to_owned(), own) {
            Err(_) if tokio::time::Instant::now() < until => tokio::time::sleep(LOOK).await,
            other => return other,
        }
    }
}

/// `GET /v1/events`
async fn events(service: &Service, query: control::EventsQuery, peer: Option<Peer>) -> Result<Response, Failure> {
    let account = service.account_filter(query.account.as_deref()).await?;
    let filter = entry::Filter::new(&query, account)?;
    let mut range = entry::range(query.since.as_deref(), query.until.as_deref(), Time::now())?;
    follow::check_log(service.store(), query.log.as_deref())?;
    let (mut lease, mut began) = (None, false);
    // Somebody who names a place expects to get everything from there on; who names none is content with what is kept.
    let mut named_start = matches!(query.since.as_deref(), Some(since) if since.trim().starts_with('#'));
    if let Some(name) = &query.cursor {
        let reader = match peer {
            Some(Peer::Unix { pid: Some(pid), .. }) => format!("process {pid}"),
            _ => "another reader".to_owned(),
        };
        let held = lease_patiently(service, name, &format!("{reader} since {}", Time::now()), query.lease).await?;
        let at;
        (at, began) = cursors::position(service, name, query.cursor_from.as_deref()).await?;
        follow::check_reached(service.store(), at, &format!("the cursor `{name}`"))?;
        named_start = true;
        range.after = range.after.max(at);
        lease = Some(held);
    }
    if let Some(after) = query.after {
        range.after = range.after.max(after);
        named_start = true;
    }
    follow::check_reached(service.store(), range.after, "what is asked for")?;
    let stats = service.store().stats()?;
    let dropped = named_start && range.after.next() < stats.first;
    let lost = (range.after.next(), stats.first);
    if !named_start {
        range.after = range.after.max(Seq(stats.first.0.saturating_sub(1)));
    }
    let lines = query.lines.filter(|_| query.after.is_none());
    // Of a cursor the next ones are meant, and no others are consumed.
    let (lines, next) = if query.cursor.is_some() { (None, lines) } else { (lines, None) };
    let count = query.count.into_iter().chain(next).min();
    let (range, filter) = blocking(service, move |s| {
        let range = follow::bounded(s.store(), range)?;
        let after = match lines {
            None => range.after,
            Some(lines) => follow::newest(s.store(), &range, &filter, lines)?,
        };
        Ok((Query { after, ..range }, filter))
    })
    .await?;
    let (lease_id, after) = (lease.as_ref().map(|l| l.id), range.after);
    let lines = follow::start(
        service,
        Follow {
            query: range,
            filter,
            follow: query.follow,
            count,
            marks: query.marks,
            heartbeat: query.heartbeat_ms.map(|ms| Duration::from_millis(ms.max(100))),
            lease,
        },
    );
    let mut response = stream(lines);
    response.headers_mut().insert(control::AFTER_HEADER, after.0.into());
    if let Some(id) = lease_id {
        response.headers_mut().insert(control::LEASE_HEADER, id.into());
    }
    if began {
        response.headers_mut().insert(control::CURSOR_BEGAN_HEADER, after.0.into());
    }
    if dropped {
        let value = format!("{}-{}", lost.0, lost.1.0 - 1);
        if let Ok(value) = header::HeaderValue::from_str(&value) {
            response.headers_mut().insert(control::DROPPED_HEADER, value);
        }
    }
    Ok(response)
}

/// `GET /v1/commands/ID/wait`
fn wait(service: &Service, id: u64, query: &control::WaitQuery) -> Result<Response, Failure> {
    service.receipt(id, service.now())?;
    let (timeout, awaited) = (Duration::from_millis(query.timeout_ms).min(WAIT_MAX), query.until);
    let (out, lines) = mpsc::channel(8);
    let service = service.clone();
    let waiter = service.awaited().begin(id);
    tokio::spawn(async move {
        let _waiter = waiter;
        let until = tokio::time::Instant::now() + timeout;
        let mut changed = service.queue_changed();
        let mut told = Vec::new();
        let mut last = String::new();
        let reached = loop {
            changed.mark_unchanged();
            let now = service.now();
            let Ok(record) = service.record(id) else { break false };
            let receipt = record.receipt(now);
            let line = Progress::Receipt(receipt.clone()).line();
            if line != last {
                last.clone_from(&line);
                if out.send(line.into()).await.is_err() {
                    return;
                }
            }
            for seq in all_answers(&receipt) {
                if told.contains(&seq) {
                    continue;
                }
                told.push(seq);
                let Ok(command) = Wire::from_json(receipt.command.get()) else { continue };
                if follow::send_answer(&service, &out, seq, command).await.is_err() {
                    return;
                }
            }
            let mut wake = until;
            let mut over = false;
            match stage(&receipt, awaited, record.had(), record.done, service.ages().now(now)) {
                Stage::Open => {}
                Stage::Over => break true,
                Stage::Failed => break false,
                Stage::OverAfter(left) => {
                    over = true;
                    wake = (tokio::time::Instant::now() + left).min(until);
                }
            }
            // A scheduled command becomes ready without anything changing; look again now and then.
            let look = tokio::time::Instant::now() + Duration::from_secs(1);
            tokio::select! {
                () = tokio::time::sleep_until(wake.min(look)) => {
                    if tokio::time::Instant::now() >= until { break over; }
                }
                _ = changed.changed() => {}
                () = out.closed() => return,
                () = service.shutdown().wait() => break false,
            }
        };
        // The waiter may have gone.
        drop(out.send(Progress::End { reached }.line().into()).await);
    });
    Ok(stream(lines))
}

/// How far a wait has come.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// What is waited for has not come.
    Open,
    /// It has, unless something more comes within so long.
    OverAfter(Duration),
    /// It has.
    Over,
    /// It will not come any more.
    Failed,
}

/// How far the wait for a command has come; `had`: when a client had it; `done`: when it was answered, and when the last
/// piece of the answer came. All times are by age.
fn stage(receipt: &control::Receipt, awaited: Until, had: Option<Time>, done: Option<Time>, now: Time) -> Stage {
    use crate::protocol::{answer, command};
    let left = |since: Time, patience: Duration| match patience.saturating_sub(now.since(since)) {
        Duration::ZERO => Stage::Over,
        left => Stage::OverAfter(left),
    };
    let fetched = receipt.fetched.as_ref();
    let is_text = command::Api::says(&receipt.api) == command::Says::Text;
    match (receipt.state, fetched) {
        (control::State::Rejected, _) => Stage::Over,
        (control::State::Expired | control::State::Cancelled, _) => Stage::Failed,
        (_, Some(_)) if awaited == Until::Fetched => Stage::Over,
        // A notice may still tell that it was refused, also after the echo.
        (control::State::Fetched | control::State::Answered, Some(fetched)) if is_text => {
            left(had.unwrap_or(fetched.time), NOTICE)
        }
        (control::State::Answered, _) => match done.filter(|_| answer::comes_in_pieces(&receipt.api)) {
            Some(last) => left(last, PIECES),
            None => Stage::Over,
        },
        (_, Some(_)) if command::Api::find(&receipt.api).is_none_or(|api| api.answers.is_empty()) => Stage::Over,
        _ => Stage::Open,
    }
}

fn all_answers(receipt: &control::Receipt) -> Vec<Seq> {
    let mut answers = receipt.answers.clone();
    if let Some(answer) = receipt.answer
        && !answers.contains(&answer)
    {
        answers.push(answer);
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    /// A receipt that is fetched at 0, unless it is only queued.
    fn receipt(api: &str, state: &str) -> control::Receipt {
        let fetched = json!({"time": at(0), "account": null, "pid": null, "peer": "", "confirmed": true, "after": 0});
        serde_json::from_value(json!({
            "id": 1, "state": state, "account": null, "api": api, "command": {"api": api},
            "created": at(0), "due": at(0), "expires": null, "key": null, "attempts": 0,
            "fetched": if matches!(state, "ready" | "in_flight" | "expired") { json!(null) } else { fetched },
            "answer": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_wait_ends_with_what_was_waited_for() {
        let text = ["sendTextMessage"];
        let silent = ["sendChatroom", "sendPicMessage", "sendBrandNew", "delUser"];
        let answered = ["getUserInfo", "acceptFriend", "outLogin"];
        let lists = ["initContact", "getChatRoomLists"];
        let ms = Duration::from_millis;
        for (apis, state, after, stage_then) in [
            (&text[..], "fetched", 100, Stage::OverAfter(ms(400))),
            (&text[..], "fetched", 500, Stage::Over),
            // A refusal may come behind the echo.
            (&text[..], "answered", 100, Stage::OverAfter(ms(400))),
            (&text[..], "rejected", 0, Stage::Over),
            (&text[..], "in_flight", 100, Stage::Open),
            // Only texts have an echo that could be waited for.
            (&silent[..], "fetched", 0, Stage::Over),
            (&silent[..], "ready", 0, Stage::Open),
            (&answered[..], "fetched", 100_000, Stage::Open),
            (&answered[..], "answered", 0, Stage::Over),
            (&answered[..], "expired", 0, Stage::Failed),
            (&lists[..], "fetched", 100, Stage::Open),
            (&lists[..], "answered", 1000, Stage::OverAfter(ms(2000))),
            (&lists[..], "answered", 3000, Stage::Over),
        ] {
            for api in apis {
                let done = (state == "answered").then(|| at(0));
                let receipt = receipt(api, state);
                assert_eq!(
                    stage(&receipt, Until::Answered, None, done, at(after)),
                    stage_then,
                    "{api} {state} {after}"
                );
            }
        }
        assert_eq!(stage(&receipt("getUserInfo", "fetched"), Until::Fetched, None, None, at(0)), Stage::Over);
    }
}
