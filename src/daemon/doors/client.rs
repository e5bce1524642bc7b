//! The client door: what a WeHelp client may ask over HTTP (contract 2).
//!
//! Every answer is JSON, errors included, with a length; nothing is rejected into warp's own error pages. Steps of a
//! request: is it a browser's? → which path, with which token? → may it? → what it wants. Claiming commands is the
//! last step before the answer, because a handler may be dropped at any `.await` before.

use crate::clock::Time;
use crate::config::RequireToken;
use crate::control;
use crate::daemon::accounts::poller::Poller;
use crate::daemon::budget::Taken;
use crate::daemon::doors::admission::{self, Caller, Rules, Standing};
use crate::daemon::doors::limits::{Limits, REFUSALS_LOG_REST};
use crate::daemon::doors::poller;
use crate::daemon::doors::serve::{Ask, Hands, Head, Peer};
use crate::daemon::doors::token::Tokens;
use crate::daemon::failure::Failure;
use crate::daemon::forwards;
use crate::daemon::metrics;
use crate::daemon::seldom::{Seldom, SeldomEach};
use crate::daemon::service::{Claim, Received, Service};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::body::Body;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use warp::http::{HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

/// What the client door shares with `status`, `token` and `metrics`.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    tokens: Arc<Tokens>,
    limits: Arc<Limits>,
    control: Arc<Limits>,
    rules: Arc<Rules>,
    /// A flood of refused requests must not fill the log.
    refusals: Arc<SeldomEach>,
    cut: Arc<Cut>,
}

/// Callbacks whose body ended too early or came too slowly. Such a request was never whole: it is not kept, and its
/// client knows that it failed.
#[derive(Debug)]
struct Cut {
    total: AtomicU64,
    /// Of them those that the log has not told of.
    untold: AtomicU64,
    may_tell: Seldom,
}

/// That they come is logged at most so often.
const CUT_LOG_REST: Duration = Duration::from_secs(60);

/// A callback's body under way. Counts and tells, once in a while, when it is dropped before `ended`: also when its
/// connection ends and nobody is left to be answered.
struct UnderWay<'a> {
    doors: &'a Doors,
    caller: &'a Caller,
    declared: Option<u64>,
    taken: Taken,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let cut = &self.doors.cut;
        cut.total.fetch_add(1, Ordering::Relaxed);
        cut.untold.fetch_add(1, Ordering::Relaxed);
        if cut.may_tell.may_speak() {
            tracing::warn!(
                peer = %self.caller.from,
                received = self.taken.bytes(),
                declared = self.declared,
                callbacks = cut.untold.swap(0, Ordering::Relaxed),
                "the body of a callback ended too early or came too slowly: it is not kept, and its client knows"
            );
        }
    }
}

impl Doors {
    /// The doors of a daemon.
    #[must_use]
    pub(crate) fn new(
        tokens: Arc<Tokens>,
        limits: Arc<Limits>,
        control: Arc<Limits>,
        http: &crate::config::Http,
    ) -> Self {
        let refusals = Arc::new(SeldomEach::new(REFUSALS_LOG_REST));
        let cut = Cut { total: AtomicU64::new(0), untold: AtomicU64::new(0), may_tell: Seldom::new(CUT_LOG_REST) };
        Self { tokens, limits, control, rules: Arc::new(Rules::new(http)), refusals, cut: Arc::new(cut) }
    }

    /// Fills in what the doors counted.
    pub(crate) fn fill(&self, status: &mut control::HttpStatus) {
        status.connections = self.limits.open() as u64;
        status.hosts = self.rules.hosts.iter().map(ToString::to_string).collect();
        for (reason, n) in self.limits.rejected().into_iter().chain(self.control.rejected()) {
            *status.rejected.entry(reason.to_owned()).or_default() += n;
        }
    }

    /// The token, for `setup` and `token show`.
    pub(crate) fn token(&self) -> control::Token {
        let (token, previous_until) = self.tokens.current();
        let required = match self.rules.require {
            RequireToken::Always => "always",
            RequireToken::Remote => "remote",
            RequireToken::Never => "never",
        };
        control::Token { token, previous_until, required: required.to_owned() }
    }

    pub(crate) fn rotate_token(&self, rotate: control::TokenRotate) -> Result<control::Token, Failure> {
        let rotated = self.tokens.rotate(Time::now(), rotate.now);
        rotated.map_err(|e| Failure::new(503, "token-not-written", format!("the new token cannot be written: {e}")))?;
        Ok(self.token())
    }

    fn metrics(&self, service: &Service) -> String {
        let mut out = service.metrics();
        metrics::head(&mut out, "wehelp_connections", "gauge", "Open connections, by door.");
        metrics::line(&mut out, "wehelp_connections", &[("door", "client")], self.limits.open());
        metrics::line(&mut out, "wehelp_connections", &[("door", "control")], self.control.open());
        metrics::head(&mut out, "wehelp_rejected_total", "counter", "Requests and connections turned away.");
        for (door, limits) in [("client", &self.limits), ("control", &self.control)] {
            for (reason, n) in limits.rejected() {
                metrics::line(&mut out, "wehelp_rejected_total", &[("door", door), ("reason", reason)], n);
            }
        }
        let name = "wehelp_callbacks_cut_total";
        metrics::head(&mut out, name, "counter", "Callbacks whose body ended too early or came too slowly; not kept.");
        metrics::line(&mut out, name, &[], self.cut.total.load(Ordering::Relaxed));
        out
    }
}

/// The routes of the client door.
pub(crate) fn routes(service: Service, doors: Doors) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    warp::ext::get::<Head>()
        .and(warp::body::stream())
        .then(move |head: Head, body| {
            let (service, doors) = (service.clone(), doors.clone());
            async move {
                let mut about = About::default();
                let mut response = match answer(&service, &doors, &head.0, body, &mut about).await {
                    Ok(response) => response,
                    Err(failure) => {
                        doors.limits.reject(failure.code);
                        refused(&failure, &head.0)
                    }
                };
                // As the maker's own servers do; and the client's close tells at once that it has read the answer.
                if Route::of(admission::in_path(head.0.path()).1) == Some(Route::Poll) {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                about.log(&head.0, &response, &doors.tokens);
                response
            }
        })
        .recover(|_| async {
            Ok::<_, Infallible>(refusal(&Failure::new(400, "bad-request", "this is no request that wehelpd can read")))
        })
        .unify()
}

/// What a request was about, for the log: ids and sizes, never text and never a path, which may hold the token.
#[derive(Debug, Default)]
struct About {
    account: Option<String>,
    /// The body's bytes.
    bytes: Option<usize>,
    /// The position that a callback was given.
    event: Option<u64>,
    /// The commands handed over.
    commands: Vec<u64>,
}

impl About {
    fn log(&self, ask: &Ask, response: &Response, tokens: &Tokens) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let Peer::Tcp(caller) = &ask.peer else { return };
        let route = Route::of(admission::in_path(ask.path()).1).map_or("none", Route::name);
        // Somebody may have typed the token in the place of a name.
        let hide = |text: &str| tracing::field::debug(tokens.hide(text));
        let hide_value = |name| ask.headers.get(name).map(|value| hide(&String::from_utf8_lossy(value.as_bytes())));
        let account = self.account.as_deref().map(hide);
        let answer = response.size_hint().exact();
        tracing::debug!(
            method = %tokens.hide(ask.method.as_str()),
            route,
            peer = %caller.from,
            account,
            status = response.status().as_u16(),
            event = self.event,
            commands = (!self.commands.is_empty()).then(|| tracing::field::debug(&self.commands)),
            bytes = self.bytes,
            answer,
            "request"
        );
        tracing::trace!(
            peer = %caller.from,
            at = %caller.at,
            owner = ?caller.owner,
            tls = caller.tls,
            version = ?ask.version,
            host = hide_value(header::HOST),
            agent = hide_value(header::USER_AGENT),
            headers = ?ask.headers.keys().map(|name| tokens.hide(name.as_str())).collect::<Vec<_>>(),
            "request's head"
        );
    }
}

impl Ask {
    /// Whether a proxy passed this request on, as far as it says so.
    fn came_through_proxy(&self) -> bool {
        self.headers.keys().any(admission::is_proxys)
    }

    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Callback,
    Poll,
    Health,
    Metrics,
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Poll => "poll",
            Self::Health => "healthz",
            Self::Metrics => "metrics",
        }
    }

    fn of(path: &str) -> Option<Self> {
        match path.strip_suffix('/').unwrap_or(path) {
            "/recieve_msg" | "/receive_msg" | "/callback" => Some(Self::Callback),
            "/send_msg" | "/poll" => Some(Self::Poll),
            "/healthz" => Some(Self::Health),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }

    fn methods(self) -> &'static [Method] {
        match self {
            Self::Callback => &[Method::POST],
            Self::Poll => &[Method::GET, Method::POST],
            Self::Health => &[Method::GET, Method::HEAD],
            Self::Metrics => &[Method::GET],
        }
    }
}

async fn answer<S, B>(
    service: &Service,
    doors: &Doors,
    ask: &Ask,
    body: S,
    about: &mut About,
) -> Result<Response, Failure>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let Peer::Tcp(caller) = &ask.peer else { return Err(unknown_peer()) };
    let route = Route::of(admission::in_path(ask.path()).1);
    let standing = doors.admit(ask, caller, route)?;
    let Some(route) = route else {
        return Err(Failure::new(
            404,
            "no-such-path",
            "there is nothing at this path; the client's addresses end in /recieve_msg and /send_msg",
        ));
    };
    if !route.methods().contains(&ask.method) {
        let wanted: Vec<&str> = route.methods().iter().map(Method::as_str).collect();
        let message = format!("this path is asked with {}", wanted.join(" or "));
        return Err(Failure::new(405, "wrong-method", message));
    }
    match route {
        Route::Callback => callback(service, doors, ask, caller, body, about).await,
        Route::Poll => {
            // Boxed: the state of a poll is much larger than a callback's, which should be small to be moved about.
            let poller = poller::read(ask.raw_query(), caller.from);
            about.account = poller.wxid.as_ref().or(poller.account.as_ref()).map(|name| name.text.clone());
            // A held poll ends early when its client leaves, and when its place is wanted.
            let ended = async {
                tokio::select! {
                    () = ask.conn.half_closed() => {}
                    () = ask.turn.held() => {
                        doors.limits.reject("hold-ended");
                        ask.conn.hurry();
                    }
                }
            };
            let claim = Box::pin(service.claim(&poller, service.config().http.poll_hold, ended));
            let claim = claim.await.map_err(unavailable)?;
            about.account = claim.account.clone().or_else(|| about.account.take());
            Ok(commands(claim, ask, about))
        }
        Route::Health => service
            .healthy()
            .map(|()| json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}")))
            .map_err(|reason| match standing {
                Standing::Token => Failure::new(503, "store-refuses-writes", reason),
                // The reason names places of this machine, which are no stranger's business.
                Standing::Free => Failure::new(
                    503,
                    "store-refuses-writes",
                    "the store takes no writes; `wehelp status` on its machine, or this with the token, tells why",
                ),
            }),
        Route::Metrics => {
            let (service, doors) = (service.clone(), doors.clone());
            let text = tokio::task::spawn_blocking(move || doors.metrics(&service)).await.unwrap_or_default();
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Ok(warp::reply::with_header(text, header::CONTENT_TYPE, kind).into_response())
        }
    }
}

fn unknown_peer() -> Failure {
    Failure::new(500, "internal", "the peer's address is not known")
}

impl Doors {
    /// Whether this request may come in, and how.
    fn admit(&self, ask: &Ask, caller: &Caller, route: Option<Route>) -> Result<Standing, Failure> {
        let now = Time::now();
        let is_health = route == Some(Route::Health);
        let is_right = |token: &str| self.tokens.matches(token, now);
        let admitted = self.rules.admit(caller, &ask.uri, &ask.headers, is_health, is_right);
        admitted.map_err(|refusal| {
            // Somebody may have typed the token in the place of the host.
            let sentence = self.tokens.hide(&refusal.to_string());
            if self.refusals.may_speak(refusal.code(), &sentence) {
                tracing::warn!(peer = %caller.from, owner = ?caller.owner, "refused a request: {sentence}");
            }
            Failure::new(refusal.status(), refusal.code(), sentence)
        })
    }
}

/// A store that has failed in whatever way takes no writes: the client is told so, and comes again (contract 6). The
/// control door tells the ways apart, since a command may be queued all the same.
fn unavailable(failure: Failure) -> Failure {
    if failure.code == "store-failed" { Failure { status: 503, ..failure } } else { failure }
}

async fn callback<S, B>(
    service: &Service,
    doors: &Doors,
    ask: &Ask,
    caller: &Caller,
    body: S,
    about: &mut About,
) -> Result<Response, Failure>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let http = &service.config().http;
    let declared = ask.header(header::CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok());
    if declared.is_some_and(|n| n > http.body_max) {
        return Err(too_large(http.body_max));
    }
    let via = forwards::passed(&ask.headers, service)?;
    // Until the event is stored it takes its place in memory.
    let mut under_way = UnderWay { doors, caller, declared, taken: service.bodies().open(), ended: false };
    let body = read_body(body, declared, http.body_max, http.body_timeout, &mut under_way.taken).await;
    // What is refused is answered; the rest of it is nobody's loss.
    under_way.ended = body.as_ref().map_or_else(|failure| matches!(failure.status, 413 | 503), |_| true);
    let body = body?;
    about.bytes = Some(body.len());
    let (received, account, pid) = service.receive(body, via).await.map_err(unavailable)?;
    about.account.clone_from(&account);
    let (Received::Stored(seq) | Received::Unparsed(seq, _)) = &received;
    about.event = Some(seq.0);
    if let Received::Unparsed(seq, reason) = received {
        let message = format!("{reason}; the bytes are kept as event {seq}");
        return Err(Failure::new(400, "unparsed", message));
    }
    // Who calls says so in the event, else in the address as a poller does; who says nothing gets nothing.
    let poller = match account {
        Some(account) => Poller { wxid: Some(account.into()), account: None, pid: None, peer: caller.from },
        None => {
            let said = poller::read(ask.raw_query(), caller.from);
            Poller { pid: pid.filter(|pid| *pid != 0).or(said.pid), ..said }
        }
    };
    if http.commands_in_callback && (poller.wxid.is_some() || poller.account.is_some() || poller.pid.is_some()) {
        // The event is stored; a queue that refuses must not make the client report it again.
        if let Ok(claim) = Box::pin(service.claim(&poller, Duration::ZERO, std::future::pending())).await {
            return Ok(commands(claim, ask, about));
        }
    }
    Ok(json(StatusCode::OK, Bytes::from_static(b"[]")))
}

fn too_large(max: u64) -> Failure {
    Failure::new(413, "body-too-large", format!("the body is larger than {max} bytes (http.body_max)"))
}

/// Reads a request's body, chunked or not, up to `max` bytes within `timeout` in all. `declared`: how many bytes the
/// request said there are, as far as it said. `taken` counts them among all bodies under way.
pub(crate) async fn read_body<S, B>(
    body: S,
    declared: Option<u64>,
    max: u64,
    timeout: Duration,
    taken: &mut Taken,
) -> Result<Bytes, Failure>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let declared = usize::try_from(declared.unwrap_or(0).min(max)).unwrap_or(0);
    let read = async {
        let mut body = pin!(body);
        // Most bodies come in one piece, and stay where they are.
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        while let Some(chunk) = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let mut chunk = chunk.map_err(|_| Failure::new(400, "body-broken", "the body ended too early"))?;
            if (first.len() + whole.len()) as u64 + chunk.remaining() as u64 > max {
                return Err(too_large(max));
            }
            if !taken.grow(chunk.remaining()) {
                return Err(Failure::new(
                    503,
                    "busy",
                    "too many large requests are under way; send it again in a moment",
                ));
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk.copy_to_bytes(chunk.remaining());
                continue;
            }
            if !first.is_empty() {
                whole.reserve(declared.max(first.len() + chunk.remaining()));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.put(chunk);
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    };
    tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| {
        Err(Failure::new(
            408,
            "body-too-slow",
            format!("the body did not arrive within {timeout:?} (http.body_timeout)"),
        ))
    })
}

/// Commands, as an answer. One that hands some over ends its connection, a callback's too: the client's close tells at
/// once that it was read.
fn commands(claim: Claim, ask: &Ask, about: &mut About) -> Response {
    let mut response = json(StatusCode::OK, claim.body);
    if let Some(handover) = claim.handover {
        about.commands = handover.ids().to_vec();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response.extensions_mut().insert(Hands::new(handover.through_proxy(ask.came_through_proxy())));
    }
    response
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A refusal, with what its status promises beside the sentence.
fn refused(failure: &Failure, ask: &Ask) -> Response {
    let mut response = refusal(failure);
    let headers = response.headers_mut();
    match failure.status {
        401 => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"wehelpd\""));
        }
        405 => {
            let route = Route::of(admission::in_path(ask.path()).1);
            let methods = route.map_or(&[][..], Route::methods).iter().map(Method::as_str).collect::<Vec<_>>();
            headers.extend(HeaderValue::from_str(&methods.join(", ")).map(|allowed| (header::ALLOW, allowed)));
        }
        _ => {}
    }
    response
}

fn refusal(failure: &Failure) -> Response {
    let body = control::Refusal { error: failure.code.to_owned(), message: failure.message.clone() };
    let body = serde_json::to_vec(&body).expect("a refusal is plain data");
    let mut response =
        json(StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.into());
    // What the request still sends is not read: the connection cannot go on. A stranger's need not.
    if matches!(failure.status, 401 | 403 | 408 | 413) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::budget::Budget;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body as it comes over the wire; without an end when `open`.
    struct Arriving {
        pieces: VecDeque<Bytes>,
        open: bool,
    }

    impl warp::Stream for Arriving {
        type Item = Result<Bytes, warp::Error>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.pieces.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(piece))),
                None if self.open => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn body(pieces: &[&'static [u8]], open: bool) -> Arriving {
        Arriving { pieces: pieces.iter().map(|piece| Bytes::from_static(piece)).collect(), open }
    }

    #[tokio::test]
    async fn a_body_beyond_what_all_may_have_under_way_is_refused_until_there_is_room_again() {
        const TIMEOUT: Duration = Duration::from_secs(20);
        let budget = Budget::new(10);
        let read = |body, mut taken| async move {
            let read = read_body(body, None, 100, TIMEOUT, &mut taken).await;
            (read.map_err(|failure| (failure.status, failure.code)), taken)
        };
        let mut one = Box::pin(read(body(&[b"123", b"456"], true), budget.open()));
        assert!(tokio::time::timeout(Duration::ZERO, &mut one).await.is_err(), "it is under way");
        let (refused, taken) = read(body(&[b"1234", b"5"], false), budget.open()).await;
        assert_eq!(refused, Err((503, "busy")));
        drop(taken);
        let (whole, taken) = read(body(&[b"12", b"34"], false), budget.open()).await;
        assert_eq!(whole.unwrap(), "1234");
        // What was read counts until it is stored; a connection that breaks gives back what had come.
        assert_eq!(read(body(&[b"5"], false), budget.open()).await.0, Err((503, "busy")));
        drop((one, taken));
        assert_eq!(read(body(&[b"12345", b"67890"], false), budget.open()).await.0.unwrap(), "1234567890");
    }
}
