//! The control door: HTTP/1.1 with JSON and NDJSON for the CLI, curl and any program of the same user.
//!
//! The table of routes is the module doc of `crate::control`. Peers are checked by the accept loop (`serve`); here a
//! request is parsed, a part is asked, and the answer is written. Streams are pulled by their reader.

use crate::config::origin::Setting;
use crate::control;
use crate::daemon::doors::refusal::{Refusal, look};
use crate::daemon::doors::reply::{each, each_cancelled, json, ndjson, object, or_refusal, refusal, stream, typed};
use crate::daemon::doors::serve::{Head, Peer};
use crate::daemon::doors::{backup, body, client::Doors, delivery::Conn, events, forwards, people};
use crate::daemon::log::{about::Known, entry, range};
use crate::daemon::parts::Parts;
use crate::daemon::queue::{asks, list};
use crate::home;
use crate::seq::Seq;
use crate::store::Stored;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use warp::http::{Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

/// How long a request's body may take: it comes from a process on this machine.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The routes of the control door. They reject nothing: every error is JSON.
pub(crate) fn routes(
    parts: Parts,
    doors: Doors,
    settings: Arc<[Setting]>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    warp::ext::get::<Head>()
        .and(warp::body::stream())
        .then(move |head: Head, body| {
            let (parts, doors, settings) = (parts.clone(), doors.clone(), Arc::clone(&settings));
            async move {
                let answer = async {
                    let head = &head.0;
                    check_version(&head.headers)?;
                    check_data_dir(&head.headers, &parts.status.home.data_dir)?;
                    let declared = head.headers.get(header::CONTENT_LENGTH);
                    let declared = declared.and_then(|n| n.to_str().ok()?.parse().ok());
                    let max = control::REQUEST_BYTES_MAX as u64;
                    let mut taken = parts.bodies.open();
                    let body = body::read(body, declared, max, BODY_TIMEOUT, &mut taken).await?;
                    let method = head.method.clone();
                    let (path, query, conn) = (head.path(), head.raw_query(), &head.conn);
                    let (parts, doors, settings) = (&parts, &doors, &settings);
                    let ask = Ask { parts, doors, settings, method, path, query, body: &body, peer: head.peer, conn };
                    ask.answer().await
                };
                let mut response = answer.await.unwrap_or_else(|failure| refusal(&failure));
                if is_about_the_log(head.0.path())
                    && let Some(log) = parts.store.identity().ok().flatten()
                    && let Ok(log) = header::HeaderValue::from_str(&log)
                {
                    response.headers_mut().insert(control::LOG_HEADER, log);
                }
                response
            }
        })
        .recover(|_| async {
            Ok::<_, Infallible>(refusal(&Refusal::new(
                400,
                "bad-request",
                "this is no request that the control door knows; see wehelp-control(7)",
            )))
        })
        .unify()
}

/// Whether an answer has positions of the log or numbers of commands in it, or tells that one is none.
fn is_about_the_log(path: &str) -> bool {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ["/v1/events", "/v1/cursors", "/v1/commands", "/v1/asks"].into_iter().any(below)
}

fn check_version(headers: &header::HeaderMap) -> Result<(), Refusal> {
    let Some(theirs) = headers.get(control::VERSION_HEADER) else { return Ok(()) };
    if theirs.to_str().ok().and_then(|v| v.parse().ok()) == Some(control::VERSION) {
        return Ok(());
    }
    Err(Refusal::new(
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
fn check_data_dir(headers: &header::HeaderMap, own: &Path) -> Result<(), Refusal> {
    let Some(meant) = headers.get(control::DATA_DIR_HEADER) else { return Ok(()) };
    let meant: Vec<u8> = percent_encoding::percent_decode(meant.as_bytes()).collect();
    let meant = Path::new(OsStr::from_bytes(&meant));
    if home::is_same_folder(meant, own) {
        return Ok(());
    }
    Err(Refusal::new(
        control::OTHER_DAEMON,
        "other-daemon",
        format!("this is the wehelpd of `{}`, and the one of `{}` is meant", own.display(), meant.display()),
    ))
}

/// A request, taken apart, and who can answer it.
struct Ask<'a> {
    parts: &'a Parts,
    doors: &'a Doors,
    settings: &'a [Setting],
    method: Method,
    path: &'a str,
    query: &'a str,
    body: &'a [u8],
    peer: Peer,
    conn: &'a Arc<Conn>,
}

impl Ask<'_> {
    fn query<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_urlencoded::from_str(self.query)
            .map_err(|e| Refusal::new(400, "bad-query", format!("the query cannot be read: {e}")))
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let due = match self.path {
            "/v1/commands" | "/v1/asks" => "a JSON object as {\"commands\":[…]}",
            _ => "the JSON object due here",
        };
        object(if self.body.is_empty() { b"{}" } else { self.body }, due)
    }

    fn no_such_path(&self) -> Refusal {
        let path: String = self.path.chars().take(200).collect();
        Refusal::new(
            404,
            "no-such-path",
            format!("the control door has no `{path}` with this method; see wehelp-control(7)"),
        )
    }

    async fn answer(&self) -> Result<Response, Refusal> {
        let decoded: Vec<String> = self
            .path
            .trim_start_matches('/')
            .split('/')
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let names: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let ["v1", room, rest @ ..] = &names[..] else { return Err(self.no_such_path()) };
        let is_get = self.method == Method::GET;
        match (*room, rest) {
            ("status", []) if is_get => self.status().await,
            ("config", []) if is_get => Ok(ndjson(self.settings)),
            ("commands", rest) => self.commands(rest).await,
            ("asks", rest) => self.asks(rest).await,
            ("queue", [verb @ ("pause" | "resume")]) if self.method == Method::POST => {
                let named: control::Named = self.json()?;
                Ok(json(&self.parts.queue.pause(named.account.as_deref(), *verb == "pause").await?))
            }
            ("events", rest) if is_get => self.events(rest).await,
            ("cursors", rest) => self.cursors(rest).await,
            ("accounts", rest) => self.accounts(rest).await,
            ("contacts" | "rooms" | "requests" | "resolve", rest) if is_get => self.people(room, rest).await,
            ("forwards", rest) => forwards::answer(&self.parts.forwards, &self.method, rest, self.body).await,
            ("token", []) if is_get => Ok(json(&self.doors.token())),
            ("token", ["rotate"]) if self.method == Method::POST => Ok(json(&self.doors.rotate_token(self.query()?)?)),
            ("backup", []) if is_get => {
                Ok(backup::answer(&self.parts.store, &self.parts.status.home.data_dir, Arc::clone(self.conn)))
            }
            _ => Err(self.no_such_path()),
        }
    }

    async fn status(&self) -> Result<Response, Refusal> {
        let query: control::StatusQuery = self.query()?;
        match query.only.as_deref() {
            None => {}
            Some("daemon") => return Ok(json(&serde_json::json!({ "daemon": self.parts.status.daemon() }))),
            Some(_) => {
                let message = "`only` is none but `daemon`; leave it out for all of the status";
                return Err(Refusal::new(400, "bad-query", message));
            }
        }
        self.parts.learned.catch_up().await;
        let account = self.parts.accounts.told(query.account.as_deref()).await?;
        let of = Arc::clone(&self.parts.status);
        let limit = account.clone();
        let mut status = look(move || of.about(limit.as_deref())).await?;
        let mut forwards = Vec::new();
        for forward in std::mem::take(&mut status.forwards) {
            let of = self.parts.accounts.told(forward.account.as_deref()).await.unwrap_or_default();
            if account.is_none() || of.is_none() || of == account {
                forwards.push(forward);
            }
        }
        status.forwards = forwards;
        self.doors.fill(&mut status.http);
        Ok(json(&status))
    }

    async fn commands(&self, rest: &[&str]) -> Result<Response, Refusal> {
        let queue = &self.parts.queue;
        match (&self.method, rest) {
            (&Method::POST, []) => Ok(ndjson(queue.enqueue(self.json()?).await?)),
            (&Method::GET, []) => {
                let mut query: control::QueueQuery = self.query()?;
                query.account = queue.account_of(query.account.as_deref()).await?;
                if query.is_about_changes() {
                    return Ok(stream(self.parts.feed.begin(query)?, or_refusal));
                }
                Ok(stream(list::list(queue, query).await?, each))
            }
            (&Method::POST, ["cancel"]) => {
                let mut query: control::CancelQuery = self.json()?;
                query.account = queue.account_of(query.account.as_deref()).await?;
                Ok(stream(list::cancel(queue, query)?, each_cancelled))
            }
            (&Method::GET, [id]) => {
                let (id, of) = (number(id)?, Arc::clone(queue));
                Ok(json(&look(move || of.command(id)).await?))
            }
            (&Method::POST, [id, "cancel"]) => Ok(json(&queue.cancel(number(id)?).await?)),
            (&Method::POST, [id, "retry"]) => Ok(json(&queue.retry(number(id)?).await?)),
            (&Method::GET, [id, "wait"]) => {
                let query: control::WaitQuery = self.query()?;
                range::check_log(&self.parts.store, query.log.as_deref())?;
                Ok(stream(self.parts.waits.begin(number(id)?, &query)?, or_refusal))
            }
            _ => Err(self.no_such_path()),
        }
    }

    async fn asks(&self, rest: &[&str]) -> Result<Response, Refusal> {
        match (&self.method, rest) {
            (&Method::POST, []) => {
                let query: control::AskQuery = self.query()?;
                asks::filter(&query, None, None)?;
                Ok(stream(self.parts.asks.ask(self.json()?, query).await?, |line| line))
            }
            (&Method::GET, [id]) => {
                let query: control::AskQuery = self.query()?;
                asks::filter(&query, None, None)?;
                // IMPORTANT: before it is taken up, since it ends with the connection: the question of that number may be
                // somebody else's.
                range::check_log(&self.parts.store, query.log.as_deref())?;
                Ok(stream(self.parts.asks.again(number(id)?, query).await?, |line| line))
            }
            _ => Err(self.no_such_path()),
        }
    }

    async fn events(&self, rest: &[&str]) -> Result<Response, Refusal> {
        match rest {
            [] => events::answer(self.parts, self.query()?, self.peer).await,
            [seq] => {
                // What it is the echo of may be learned from it only now.
                self.parts.learned.catch_up().await;
                let store = self.parts.store.clone();
                let line = move |stored| entry::line(&stored, Some(&mut Known::new(&store)));
                let line = self.event(seq, line).await?;
                Ok(typed(line, "application/json"))
            }
            [seq, "bytes"] => Ok(typed(self.event(seq, |stored| stored.body).await?, "application/octet-stream")),
            _ => Err(self.no_such_path()),
        }
    }

    async fn event<T: Send + 'static>(
        &self,
        seq: &str,
        of: impl FnOnce(Stored) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (seq, store) = (Seq(number(seq.trim_start_matches('#'))?), self.parts.store.clone());
        look(move || range::one(&store, seq).map(of)).await
    }

    async fn cursors(&self, rest: &[&str]) -> Result<Response, Refusal> {
        let cursors = &self.parts.cursors;
        match (&self.method, rest) {
            (&Method::GET, []) => {
                let of = Arc::clone(cursors);
                Ok(ndjson(look(move || of.list()).await?))
            }
            (&Method::PUT, [name]) => {
                let set: control::CursorSet = self.json()?;
                Ok(json(&cursors.set(name, &set.to).await?))
            }
            (&Method::POST, [name, "commit"]) => {
                let commit: control::CursorCommit = self.json()?;
                Ok(json(&cursors.commit(name, &commit).await?))
            }
            (&Method::DELETE, [name]) => {
                cursors.delete(name).await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            _ => Err(self.no_such_path()),
        }
    }

    async fn accounts(&self, rest: &[&str]) -> Result<Response, Refusal> {
        match (&self.method, rest) {
            (&Method::GET, []) => {
                self.parts.learned.catch_up().await;
                let of = Arc::clone(&self.parts.status);
                Ok(ndjson(look(move || of.accounts()).await?))
            }
            (&Method::DELETE, [name]) => {
                let query: control::ForgetQuery = self.query()?;
                Ok(json(&self.parts.forget.account(name, query.force).await?))
            }
            _ => Err(self.no_such_path()),
        }
    }

    async fn people(&self, room: &str, rest: &[&str]) -> Result<Response, Refusal> {
        self.parts.lessons.all_learned().await;
        match (room, rest) {
            ("resolve", []) => people::resolve(self.parts, self.query()?).await,
            ("contacts", []) => people::contacts(self.parts, self.query()?).await,
            ("contacts", [wxid]) => people::contact(self.parts, wxid, self.query()?).await,
            ("rooms", []) => people::rooms(self.parts, self.query()?).await,
            ("rooms", [room, "members"]) => people::members(self.parts, room, self.query()?).await,
            ("requests", []) => people::requests(self.parts, self.query()?).await,
            _ => Err(self.no_such_path()),
        }
    }
}

fn number(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::new(400, "bad-number", format!("`{text}` is no number")))
}
