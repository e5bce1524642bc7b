//! The client door: what a WeHelp client may ask over HTTP (contract 2).
//!
//! Every answer is JSON, errors included, with a length; nothing is rejected into warp's own error pages. Steps of a
//! request: is it a browser's? → which path, with which token? → may it? → what it wants. Claiming commands is the
//! last step before the answer, because a handler may be dropped at any `.await` before.

use super::limits::Limits;
use super::metrics;
use super::serve::{Ask, Hands, Head, Peer};
use super::service::{Claim, Failure, Poller, Received, Service, lock};
use super::token::Tokens;
use crate::clock::Time;
use crate::config::RequireToken;
use crate::control;
use crate::protocol::contact;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

/// The longest name that a poller may give itself, bytes: ids have at most 128.
const NAME_BYTES_MAX: usize = 128;

/// What the client door shares with `status`, `token` and `metrics`.
#[derive(Debug, Clone)]
pub struct Doors {
    tokens: Arc<Tokens>,
    limits: Arc<Limits>,
    control: Arc<Limits>,
    require: RequireToken,
    hosts: Arc<[String]>,
    /// When the last refusal of a token was logged: a flood must not fill the log.
    logged: Arc<Mutex<Option<Time>>>,
}

impl Doors {
    /// The doors of a daemon.
    #[must_use]
    pub fn new(tokens: Arc<Tokens>, limits: Arc<Limits>, control: Arc<Limits>, http: &crate::config::Http) -> Self {
        let hosts = http.hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
        Self { tokens, limits, control, require: http.require_token, hosts, logged: Arc::default() }
    }

    /// Fills in what the doors counted.
    pub(super) fn fill(&self, status: &mut control::HttpStatus) {
        status.connections = self.limits.open() as u64;
        for (reason, n) in self.limits.rejected().into_iter().chain(self.control.rejected()) {
            *status.rejected.entry(reason.to_owned()).or_default() += n;
        }
    }

    /// The token, for `setup` and `token show`.
    pub(super) fn token(&self) -> control::Token {
        let (token, previous_until) = self.tokens.current();
        let required = match self.require {
            RequireToken::Always => "always",
            RequireToken::Remote => "remote",
            RequireToken::Never => "never",
        };
        control::Token { token, previous_until, required: required.to_owned() }
    }

    pub(super) fn rotate_token(&self) -> Result<control::Token, Failure> {
        let rotated = self.tokens.rotate(Time::now());
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
        out
    }
}

/// The routes of the client door.
pub fn routes(service: Service, doors: Doors) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    warp::ext::get::<Head>()
        .and(warp::body::stream())
        .then(move |head: Head, body| {
            let (service, doors) = (service.clone(), doors.clone());
            async move {
                match answer(&service, &doors, &head.0, body).await {
                    Ok(response) => response,
                    Err(failure) => {
                        doors.limits.reject(failure.code);
                        refusal(&failure)
                    }
                }
            }
        })
        .recover(|_| async {
            Ok::<_, Infallible>(refusal(&Failure::new(400, "bad-request", "this is no request that wehelpd can read")))
        })
        .unify()
}

impl Ask {
    fn query(&self, names: &[&str]) -> Option<String> {
        form_urlencoded::parse(self.raw_query().as_bytes())
            .find(|(name, value)| names.contains(&name.as_ref()) && !contact::nothing(value))
            .map(|(_, value)| value.into_owned())
    }

    /// Whether a proxy passed this request on, as far as it says so.
    fn came_through_proxy(&self) -> bool {
        self.headers.keys().any(|name| {
            let name = name.as_str();
            matches!(name, "via" | "forwarded" | "x-real-ip") || name.starts_with("x-forwarded-")
        })
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
            Self::Health | Self::Metrics => &[Method::GET],
        }
    }
}

/// Takes the token out of a path: `/t/<token>/recieve_msg`.
fn split_token(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/t/") else { return (None, path) };
    match rest.find('/') {
        Some(at) => (Some(&rest[..at]), &rest[at..]),
        None => (Some(rest), "/"),
    }
}

async fn answer<S, B>(service: &Service, doors: &Doors, ask: &Ask, body: S) -> Result<Response, Failure>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    not_a_browser(&ask.headers, &doors.hosts)?;
    let (path_token, path) = split_token(ask.path());
    let route = Route::of(path);
    // Whoever watches over this machine need not know the token to see that it is well.
    if route != Some(Route::Health) {
        doors.admit(ask, path_token)?;
    }
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
        Route::Callback => callback(service, ask, body).await,
        Route::Poll => {
            let Peer::Tcp(peer) = ask.peer else { return Err(unknown_peer()) };
            // Boxed: the state of a poll is much larger than a callback's, which should be small to be moved about.
            let poller = poller(ask, peer);
            let claim = Box::pin(service.claim(&poller, service.config().http.poll_hold));
            Ok(commands(claim.await?, ask))
        }
        Route::Health => service
            .healthy()
            .map(|()| json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}")))
            .map_err(|reason| Failure::new(503, "store-refuses-writes", reason)),
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
    /// Whether this request may come in.
    fn admit(&self, ask: &Ask, path_token: Option<&str>) -> Result<(), Failure> {
        let needed = match self.require {
            RequireToken::Always => true,
            RequireToken::Never => false,
            RequireToken::Remote => !matches!(ask.peer, Peer::Tcp(a) if a.ip().to_canonical().is_loopback()),
        };
        if !needed {
            return Ok(());
        }
        let bearer = ask.header(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        let given = path_token.map(str::to_owned).or_else(|| ask.query(&["token"])).or(bearer);
        if given.as_deref().is_some_and(|given| self.tokens.matches(given, Time::now())) {
            return Ok(());
        }
        let now = Time::now();
        let mut logged = lock(&self.logged);
        if logged.is_none_or(|last| now.since(last) > Duration::from_secs(10)) {
            *logged = Some(now);
            tracing::warn!(peer = ?ask.peer, given = given.is_some(), "refused a request without a valid token");
        }
        Err(Failure::new(
            401,
            "token-needed",
            "this address needs the token in it: /t/TOKEN/recieve_msg or ?token=TOKEN; `wehelp setup` prints it",
        ))
    }
}

/// Refuses what a web page may have caused (contract 2): no page that the user happens to visit may inject events or
/// drain the queue, not even by way of a host name that resolves to this machine.
fn not_a_browser(headers: &HeaderMap, hosts: &[String]) -> Result<(), Failure> {
    let refuse = |message: &str| Err(Failure::new(403, "browser-refused", message));
    if headers.contains_key(header::ORIGIN) {
        return refuse("requests with an Origin header come from web pages, and are refused");
    }
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"none" | b"same-origin")
    {
        return refuse("requests that web pages cause are refused");
    }
    let mut names = headers.get_all(header::HOST).iter();
    // HTTP/1.0 has no Host; two of them are somebody's trick.
    let Some(host) = names.next() else { return Ok(()) };
    if names.next().is_none() && host.to_str().is_ok_and(|host| is_ours(host, hosts)) {
        return Ok(());
    }
    refuse("the Host is neither an IP address, localhost, nor named in http.hosts of the settings")
}

/// Whether a Host header names this machine in a way that no other web site can.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    if host.is_empty() || host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bracketed.is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok()) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || hosts.contains(&name)
}

/// Who asks, as far as it says. A name that could be no id is no name.
fn poller(ask: &Ask, peer: SocketAddr) -> Poller {
    let sound = |name: &String| name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    Poller {
        account: ask.query(&["wxid", "account"]).map(|name| name.trim().to_owned()).filter(sound),
        pid: ask.query(&["pid"]).and_then(|pid| pid.trim().parse().ok()),
        peer,
    }
}

async fn callback<S, B>(service: &Service, ask: &Ask, body: S) -> Result<Response, Failure>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let http = &service.config().http;
    let declared = ask.header(header::CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok());
    if declared.is_some_and(|n| n > http.body_max) {
        return Err(too_large(http.body_max));
    }
    let body = read_body(body, declared, http.body_max, http.body_timeout).await?;
    let (received, account) = service.receive_from(body).await?;
    if let Received::Unparsed(seq, reason) = received {
        let message = format!("{reason}; the bytes are kept as event {seq}");
        return Err(Failure::new(400, "unparsed", message));
    }
    if http.commands_in_callback
        && let (Some(account), Peer::Tcp(peer)) = (account, ask.peer)
    {
        let poller = Poller { account: Some(account), pid: None, peer };
        // The event is stored; a queue that refuses must not make the client report it again.
        if let Ok(claim) = Box::pin(service.claim(&poller, Duration::ZERO)).await {
            return Ok(commands(claim, ask));
        }
    }
    Ok(json(StatusCode::OK, Bytes::from_static(b"[]")))
}

fn too_large(max: u64) -> Failure {
    Failure::new(413, "body-too-large", format!("the body is larger than {max} bytes (http.body_max)"))
}

/// Reads a request's body, chunked or not, up to `max` bytes within `timeout` in all. `declared`: how many bytes the
/// request said there are, as far as it said.
pub(super) async fn read_body<S, B>(
    body: S,
    declared: Option<u64>,
    max: u64,
    timeout: Duration,
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

/// The answer to a poll. One that hands commands over ends its connection: the close tells at once that it was read.
fn commands(claim: Claim, ask: &Ask) -> Response {
    let mut response = json(StatusCode::OK, claim.body);
    if let Some(handover) = claim.handover {
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

fn refusal(failure: &Failure) -> Response {
    let body = control::Refusal { error: failure.code.to_owned(), message: failure.message.clone() };
    let body = serde_json::to_vec(&body).expect("a refusal is plain data");
    let mut response =
        json(StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.into());
    // What the request still sends is not read: the connection cannot go on.
    if matches!(failure.status, 408 | 413) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_a_foreign_page_could_not_name_are_ours() {
        let hosts = ["pc.lan".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:4567",
            "[::1]:4567",
            "[::1]",
            "192.168.1.7:80",
            "localhost",
            "LOCALHOST:4567",
            "pc.lan:4567",
            "PC.lan.",
        ] {
            assert!(is_ours(host, &hosts), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:4567", "pc.lan.evil.example", "[::1", "a:b"]
        {
            assert!(!is_ours(host, &hosts), "{host}");
        }
    }

    #[test]
    fn a_path_may_begin_with_the_token() {
        assert_eq!(split_token("/t/abc/recieve_msg"), (Some("abc"), "/recieve_msg"));
        assert_eq!(split_token("/t/abc"), (Some("abc"), "/"));
        assert_eq!(split_token("/recieve_msg"), (None, "/recieve_msg"));
    }

    #[test]
    fn what_a_web_page_causes_is_refused() {
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:1"));
            headers.insert(name, HeaderValue::from_static(value));
            not_a_browser(&headers, &[])
        };
        assert!(with("accept", "*/*").is_ok());
        assert!(with("sec-fetch-site", "none").is_ok());
        for (name, value) in [("origin", "null"), ("origin", "http://127.0.0.1:1"), ("sec-fetch-site", "cross-site")] {
            assert_eq!(with(name, value).unwrap_err().status, 403, "{name}: {value}");
        }
    }

    #[test]
    fn a_poller_says_who_it_is_or_nothing() {
        let of = |query: &str| {
            let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
            let uri = format!("/?{query}").parse().unwrap();
            let ask = Ask { method: Method::GET, uri, headers: HeaderMap::new(), peer: Peer::Tcp(peer) };
            let poller = poller(&ask, peer);
            (poller.account, poller.pid)
        };
        assert_eq!(of("wxid=wxid_a&pid=7"), (Some("wxid_a".into()), Some(7)));
        assert_eq!(of("account=%E5%AE%B6&pid=x"), (Some("家".into()), None));
        assert_eq!(of("wxid=null&pid=(null)"), (None, None));
        assert_eq!(of("wxid=&account=work"), (Some("work".into()), None));
        assert_eq!(of(""), (None, None));
    }
}
