//! The client door: what a WeHelp client may ask over HTTP (contract 2).
//!
//! Every answer is JSON, errors included, with a length; nothing is rejected into warp's own error pages. Steps of a
//! request: is it a browser's? → which path, with which token? → may it? → what it wants. Claiming commands is the
//! last step before the answer, because a handler may be dropped at any `.await` before.

use crate::clock::Time;
use crate::config::RequireToken;
use crate::control;
use crate::daemon::accounts::poller::Poller;
use crate::daemon::doors::admission::{Caller, Rules, Standing};
use crate::daemon::doors::limits::{Limits, REFUSALS_LOG_REST};
use crate::daemon::doors::serve::{Ask, Hands, Head, Peer};
use crate::daemon::doors::{admission, body, poller, refusal::Refusal, reply, reply::typed, token::Tokens};
use crate::daemon::forwards::post::VIA;
use crate::daemon::log::Received;
use crate::daemon::queue::Claim;
use crate::daemon::seldom::{Seldom, SeldomEach};
use crate::daemon::{budget::Taken, metrics, parts::Parts};
use bytes::Buf;
use hyper::body::Body;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use warp::http::{HeaderValue, Method, header};
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

    pub(crate) fn rotate_token(&self, rotate: control::TokenRotate) -> Result<control::Token, Refusal> {
        let rotated = self.tokens.rotate(Time::now(), rotate.now);
        rotated.map_err(|e| Refusal::new(503, "token-not-written", format!("the new token cannot be written: {e}")))?;
        Ok(self.token())
    }

    fn metrics(&self, parts: &Parts) -> String {
        let mut out = parts.metrics.all();
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
pub(crate) fn routes(parts: Parts, doors: Doors) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    warp::ext::get::<Head>()
        .and(warp::body::stream())
        .then(move |head: Head, body| {
            let (parts, doors) = (parts.clone(), doors.clone());
            async move {
                let mut about = About::default();
                let mut response = match answer(&parts, &doors, &head.0, body, &mut about).await {
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
            Ok::<_, Infallible>(refusal(&Refusal::new(400, "bad-request", "this is no request that wehelpd can read")))
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

async fn answer<S, B>(parts: &Parts, doors: &Doors, ask: &Ask, body: S, about: &mut About) -> Result<Response, Refusal>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let Peer::Tcp(caller) = &ask.peer else { return Err(unknown_peer()) };
    let route = Route::of(admission::in_path(ask.path()).1);
    let standing = doors.admit(ask, caller, route)?;
    let Some(route) = route else {
        return Err(Refusal::new(
            404,
            "no-such-path",
            "there is nothing at this path; the client's addresses end in /recieve_msg and /send_msg",
        ));
    };
    if !route.methods().contains(&ask.method) {
        let wanted: Vec<&str> = route.methods().iter().map(Method::as_str).collect();
        let message = format!("this path is asked with {}", wanted.join(" or "));
        return Err(Refusal::new(405, "wrong-method", message));
    }
    match route {
        Route::Callback => callback(parts, doors, ask, caller, body, about).await,
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
            let claim = Box::pin(parts.queue.claim(&poller, parts.config.http.poll_hold, ended));
            let claim = claim.await.map_err(unavailable)?;
            about.account = claim.account.clone().or_else(|| about.account.take());
            Ok(commands(claim, ask, about))
        }
        Route::Health => {
            parts.status.healthy().map(|()| typed(&b"{\"status\":\"ok\"}"[..], "application/json")).map_err(|reason| {
                match standing {
                    Standing::Token => Refusal::new(503, "store-refuses-writes", reason),
                    // The reason names places of this machine, which are no stranger's business.
                    Standing::Free => Refusal::new(
                        503,
                        "store-refuses-writes",
                        "the store takes no writes; `wehelp status` on its machine, or this with the token, tells why",
                    ),
                }
            })
        }
        Route::Metrics => {
            let (parts, doors) = (parts.clone(), doors.clone());
            let text = tokio::task::spawn_blocking(move || doors.metrics(&parts)).await.unwrap_or_default();
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Ok(warp::reply::with_header(text, header::CONTENT_TYPE, kind).into_response())
        }
    }
}

fn unknown_peer() -> Refusal {
    Refusal::new(500, "internal", "the peer's address is not known")
}

impl Doors {
    /// Whether this request may come in, and how.
    fn admit(&self, ask: &Ask, caller: &Caller, route: Option<Route>) -> Result<Standing, Refusal> {
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
            Refusal::new(refusal.status(), refusal.code(), sentence)
        })
    }
}

/// A store that has failed in whatever way takes no writes: the client is told so, and comes again (contract 6). The
/// control door tells the ways apart, since a command may be queued all the same.
fn unavailable(refused: impl Into<Refusal>) -> Refusal {
    let failure = refused.into();
    if failure.code == "store-failed" { Refusal { status: 503, ..failure } } else { failure }
}

async fn callback<S, B>(
    parts: &Parts,
    doors: &Doors,
    ask: &Ask,
    caller: &Caller,
    body: S,
    about: &mut About,
) -> Result<Response, Refusal>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let http = &parts.config.http;
    let declared = ask.header(header::CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok());
    if declared.is_some_and(|n| n > http.body_max) {
        return Err(body::too_large(http.body_max));
    }
    let via = ask.headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    let via = parts.forwards.passed(via)?;
    // Until the event is stored it takes its place in memory.
    let mut under_way = UnderWay { doors, caller, declared, taken: parts.bodies.open(), ended: false };
    let body = body::read(body, declared, http.body_max, http.body_timeout, &mut under_way.taken).await;
    // What is refused is answered; the rest of it is nobody's loss.
    under_way.ended = body.as_ref().map_or_else(|failure| matches!(failure.status, 413 | 503), |_| true);
    let body = body?;
    about.bytes = Some(body.len());
    let Received { seq, unreadable, account, pid } = parts.log.receive(body, via).await.map_err(unavailable)?;
    about.account.clone_from(&account);
    about.event = Some(seq.0);
    if let Some(reason) = unreadable {
        let message = format!("{reason}; the bytes are kept as event {seq}");
        return Err(Refusal::new(400, "unparsed", message));
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
        if let Ok(claim) = Box::pin(parts.queue.claim(&poller, Duration::ZERO, std::future::pending())).await {
            return Ok(commands(claim, ask, about));
        }
    }
    Ok(typed(&b"[]"[..], "application/json"))
}

/// Commands, as an answer. One that hands some over ends its connection, a callback's too: the client's close tells at
/// once that it was read.
fn commands(claim: Claim, ask: &Ask, about: &mut About) -> Response {
    let mut response = typed(claim.body, "application/json");
    if let Some(handover) = claim.handover {
        about.commands = handover.ids().to_vec();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response.extensions_mut().insert(Hands::new(handover.through_proxy(ask.came_through_proxy())));
    }
    response
}

/// A refusal, with what its status promises beside the sentence.
fn refused(failure: &Refusal, ask: &Ask) -> Response {
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

/// A refusal. What the request still sends is not read: the connection cannot go on. A stranger's need not.
fn refusal(failure: &Refusal) -> Response {
    let mut response = reply::refusal(failure);
    if matches!(failure.status, 401 | 403 | 408 | 413) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
