//! Who may come in at the client door, decided from a request's head and what is known of its connection (contract 2).
//!
//! Two questions, in this order, and nothing here looks anywhere but into what it is given:
//!
//! 1. *Did a browser send it?* No page that the user happens to visit may inject events or drain the queue. Browsers say
//!    who they are by headers that no client of this family sends, and where a page gives them no cause to, it had to
//!    reach us under a name: so only names that no foreign page can use are let in. A right token makes any name right,
//!    since a page cannot know it; it never makes a browser's header right, since a person may type the address, with
//!    the token in it, into a browser.
//! 2. *Does it need the token?* Only this machine's own user, without a proxy between, does not.
//!
//! All values of a repeated header are looked at: who comes after us might take another than we.

use crate::config::{HostName, Http, RequireToken};
use crate::daemon::doors::owner::Owner;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use warp::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// The most characters of a header that a refusal or the log quotes.
const QUOTED_CHARS_MAX: usize = 100;

/// What the settings say of it.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) require: RequireToken,
    pub(crate) hosts: Vec<HostName>,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The other end.
    pub(crate) from: SocketAddr,
    /// Our end.
    pub(crate) at: SocketAddr,
    /// Whose the other end is.
    pub(crate) owner: Owner,
    /// Whether it is encrypted by us.
    pub(crate) tls: bool,
}

/// How somebody came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// With the token.
    Token,
    /// Without, and none was asked for.
    Free,
}

/// Why somebody may not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A header that only browsers send.
    Browser {
        /// Its name.
        header: HeaderName,
        /// Somebody looks at the answer.
        navigation: bool,
    },
    /// It says that it comes from another page than our own address: that page's origin.
    Referer(String),
    /// It names us in a way that foreign pages can.
    Host(String),
    /// It names us twice.
    Hosts,
    /// It lacks a right token.
    Token {
        /// Whether it had a wrong one.
        given: bool,
        /// Why it needs one.
        because: Because,
    },
}

/// Why a request needs the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Because {
    /// The settings say so.
    Always,
    /// It comes from another machine.
    Remote,
    /// It comes from another user of this machine.
    AnotherUser(u32),
    /// It comes from this machine, from nobody who can be told.
    Unknown,
    /// It came through a proxy, which says so by this header.
    Proxy(HeaderName),
    /// It names this machine as others do.
    Name(String),
}

impl Rules {
    pub(crate) fn new(http: &Http) -> Self {
        Self { require: http.require_token, hosts: http.hosts.clone() }
    }

    /// Whether a request may come in. `is_health`: it only asks whether all is well. `is_right` compares a token in
    /// constant time.
    pub(crate) fn admit(
        &self,
        caller: &Caller,
        target: &Uri,
        headers: &HeaderMap,
        is_health: bool,
        is_right: impl Fn(&str) -> bool,
    ) -> Result<Standing, Refusal> {
        let signs = Signs::of(headers);
        if let Some(header) = signs.browser {
            return Err(Refusal::Browser { header: header.clone(), navigation: is_navigation(headers) });
        }
        let hosts = headers.get_all(header::HOST);
        if hosts.iter().nth(1).is_some() {
            return Err(Refusal::Hosts);
        }
        // A request to a proxy names its target whole; then there are two names, and each must be right.
        let named = || hosts.iter().map(HeaderValue::as_bytes).chain(target.authority().map(|a| a.as_str().as_bytes()));
        if signs.has_referer
            && let Some(origin) = foreign_referer(headers, &own_origin(caller, signs.proxy.is_some(), named().next()))
        {
            return Err(Refusal::Referer(origin));
        }
        let token = Given::of(target, headers, is_right);
        if token == Given::Right {
            return Ok(Standing::Token);
        }
        if is_health {
            return Ok(Standing::Free);
        }
        let mut foreign = None;
        for host in named() {
            match Name::of(host) {
                Some(name) if name.is_loopback() => {}
                Some(Name::Called(name)) if !self.hosts.iter().any(|host| host.matches(&name)) => {
                    return Err(Refusal::Host(quoted(host)));
                }
                Some(_) => foreign = foreign.or_else(|| Some(quoted(host))),
                None => return Err(Refusal::Host(quoted(host))),
            }
        }
        match self.because(caller, signs.proxy, foreign) {
            None => Ok(Standing::Free),
            Some(because) => Err(Refusal::Token { given: token == Given::Wrong, because }),
        }
    }

    /// Why the token is needed, if it is; `name` is what the request calls us, when that is not loopback.
    fn because(&self, caller: &Caller, proxy: Option<&HeaderName>, name: Option<String>) -> Option<Because> {
        match (self.require, caller.owner) {
            (RequireToken::Always, _) => Some(Because::Always),
            (RequireToken::Never, _) => None,
            (RequireToken::Remote, Owner::Remote) => Some(Because::Remote),
            (RequireToken::Remote, Owner::Another(uid)) => Some(Because::AnotherUser(uid)),
            (RequireToken::Remote, Owner::Unknown) => Some(Because::Unknown),
            (RequireToken::Remote, Owner::Ours) => {
                proxy.map(|header| Because::Proxy(header.clone())).or(name.map(Because::Name))
            }
        }
    }
}

impl Refusal {
    /// The answer's status.
    pub(crate) fn status(&self) -> u16 {
        if matches!(self, Self::Token { .. }) { 401 } else { 403 }
    }

    /// The error's code, by which `status` counts.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Browser { .. } | Self::Referer(_) => "browser-refused",
            Self::Host(_) | Self::Hosts => "host-refused",
            Self::Token { .. } => "token-needed",
        }
    }
}

impl std::fmt::Display for Refusal {
    /// A sentence that says what to do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Browser { navigation: true, .. } => f.write_str(
                "this address works, and is for the WeHelp client: type it into the client's settings; a browser, which \
                 would take the client's commands away, is not let in",
            ),
            Self::Browser { header, .. } => write!(
                f,
                "requests that web pages cause are refused, and this one has the header `{header}`, which only browsers \
                 send"
            ),
            Self::Referer(origin) => write!(
                f,
                "requests that web pages cause are refused, and the Referer of this one is on `{origin}`, which is not \
                 the address that was asked"
            ),
            Self::Host(host) => write!(
                f,
                "the Host `{host}` is neither an IP address as people type it, nor localhost, nor a name in `hosts` \
                 under [http] in the settings of wehelpd; ask by the IP address, add the name there, or put the token \
                 into the address"
            ),
            Self::Hosts => f.write_str("the request has more than one Host; send one"),
            Self::Token { given, because } => {
                write!(f, "{because}")?;
                if *given {
                    f.write_str(", and the one in it is not right")?;
                }
                f.write_str(": /t/TOKEN/recieve_msg, ?token=TOKEN or Authorization: Bearer; `wehelp setup` prints it")
            }
        }
    }
}

impl std::fmt::Display for Because {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Always => f.write_str("every request needs the token"),
            Self::Remote => f.write_str("a request from another machine needs the token"),
            Self::AnotherUser(_) => f.write_str("a request of another user of this machine needs the token"),
            Self::Unknown => f.write_str("a request of a program whose user cannot be told needs the token"),
            Self::Proxy(header) => write!(f, "a request that came through a proxy (`{header}`) needs the token"),
            Self::Name(name) => write!(f, "a request to `{name}`, which is not loopback, needs the token"),
        }
    }
}

/// What the names of a request's headers tell.
struct Signs<'a> {
    /// A header that only browsers send.
    browser: Option<&'a HeaderName>,
    /// A header that only proxies add.
    proxy: Option<&'a HeaderName>,
    /// It says where it comes from.
    has_referer: bool,
}

impl<'a> Signs<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut signs = Self { browser: None, proxy: None, has_referer: false };
        for name in headers.keys() {
            match name.as_str() {
                "origin" | "sec-purpose" | "purpose" | "x-moz" | "upgrade-insecure-requests" => {
                    signs.browser = Some(name);
                }
                text if text.starts_with("sec-fetch-") => signs.browser = Some(name),
                "referer" => signs.has_referer = true,
                _ if is_proxys(name) => signs.proxy = Some(name),
                _ => {}
            }
        }
        signs
    }
}

/// Whether a header is one that only proxies add.
pub(crate) fn is_proxys(header: &HeaderName) -> bool {
    matches!(header.as_str(), "forwarded" | "via" | "x-real-ip") || header.as_str().starts_with("x-forwarded-")
}

/// Whether somebody looks at the answer: a page of its own, not a part of one.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers.contains_key("upgrade-insecure-requests")
        || headers.get_all("sec-fetch-mode").iter().any(|mode| mode == "navigate")
}

/// Whether a request has a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    Wrong,
    Right,
}

impl Given {
    /// Looks at every place that a token may stand in: a right one is not made wrong by another.
    fn of(target: &Uri, headers: &HeaderMap, is_right: impl Fn(&str) -> bool) -> Self {
        let mut given = Self::Nothing;
        let mut look = |token: &str| {
            let token = percent_encoding::percent_decode_str(token).decode_utf8_lossy();
            if !token.is_empty() && given != Self::Right {
                given = if is_right(&token) { Self::Right } else { Self::Wrong };
            }
        };
        if let Some(token) = in_path(target.path()).0 {
            look(token);
        }
        // Clients glue what they say of themselves on with a second `?`.
        for pair in target.query().unwrap_or_default().split(['&', '?']) {
            if let Some(token) = pair.strip_prefix("token=") {
                look(token);
            }
        }
        for value in headers.get_all(header::AUTHORIZATION) {
            let value = value.to_str().unwrap_or_default().trim().split_once(' ');
            if let Some((scheme, token)) = value
                && scheme.eq_ignore_ascii_case("bearer")
            {
                look(token.trim());
            }
        }
        given
    }
}

/// Takes the token out of a path: `/t/<token>/recieve_msg`.
pub(crate) fn in_path(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/t/") else { return (None, path) };
    match rest.find('/') {
        Some(at) => (Some(&rest[..at]), &rest[at..]),
        None => (Some(rest), "/"),
    }
}

/// What a Host calls us.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// An address.
    Ip(IpAddr),
    /// A name, in lower case.
    Called(String),
}

impl Name {
    /// Reads a Host; `None` when it is nothing that a person types as an address. An empty one says nothing, as none.
    fn of(host: &[u8]) -> Option<Self> {
        let host = std::str::from_utf8(host).ok()?;
        if host.is_empty() {
            return Some(Self::Called("localhost".to_owned()));
        }
        let (name, port) = split_port(host)?;
        if !port.is_none_or(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())) {
            return None;
        }
        let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if let Some(ip) = bracketed {
            // A link-local address is typed with its interface, which browsers refuse.
            let (ip, zone) = ip.split_once('%').map_or((ip, ""), |(ip, zone)| (ip, zone));
            let ip: Ipv6Addr = ip.parse().ok()?;
            let is_zone = zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%".contains(&b));
            return (is_typed(ip.into()) && is_zone).then_some(Self::Ip(ip.into()));
        }
        match name.parse::<IpAddr>() {
            Ok(ip) => is_typed(ip).then_some(Self::Ip(ip)),
            Err(_) => Some(Self::Called(name.to_ascii_lowercase())),
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Called(name) => name == "localhost",
        }
    }
}

/// Cuts the port off a host; `None` when there is something else behind the brackets.
fn split_port(host: &str) -> Option<(&str, Option<&str>)> {
    if let Some(end) = host.rfind(']') {
        let (name, rest) = host.split_at(end + 1);
        return match rest.strip_prefix(':') {
            None if rest.is_empty() => Some((name, None)),
            None => None,
            port => Some((name, port)),
        };
    }
    match host.rsplit_once(':') {
        // An IPv6 address without its brackets.
        Some((name, _)) if name.contains(':') => Some((host, None)),
        Some((name, port)) => Some((name, Some(port))),
        None => Some((host, None)),
    }
}

/// Whether an address is one that people type. The others lead to this machine as well, but browsers do not take them
/// for it, and send none of the headers that tell a browser: `0.0.0.0`, `[::]`, IPv4 inside of IPv6.
fn is_typed(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] != 0,
        // Nothing is below ::/64 but the loopback address and spellings of IPv4.
        IpAddr::V6(ip) => ip.segments()[..4] != [0; 4] || ip == Ipv6Addr::LOCALHOST,
    }
}

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    is_https: bool,
    host: Name,
    port: u16,
}

impl Origin {
    fn new(is_https: bool, authority: &str) -> Option<Self> {
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let (_, port) = split_port(authority)?;
        let port = match port {
            None | Some("") => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok()?,
        };
        Some(Self { is_https, host: Name::of(authority.as_bytes())?, port })
    }
}

/// What a request's own address is, as far as it can be told.
struct Own {
    /// Spelled as the request does, or else by the address that was connected to.
    origin: Option<Origin>,
    /// The request named no host: then every name of loopback is the same.
    is_unnamed: bool,
    /// A proxy may have taken the encryption off.
    is_proxied: bool,
}

fn own_origin(caller: &Caller, is_proxied: bool, host: Option<&[u8]>) -> Own {
    let host = host.and_then(|host| std::str::from_utf8(host).ok()).filter(|host| !host.is_empty());
    let origin = match host {
        Some(host) => Origin::new(caller.tls, host),
        None => Some(Origin { is_https: caller.tls, host: Name::Ip(caller.at.ip()), port: caller.at.port() }),
    };
    Own { origin, is_unnamed: host.is_none(), is_proxied }
}

impl Own {
    fn is(&self, is_https: bool, authority: &str) -> bool {
        let Some(own) = &self.origin else { return false };
        let Some(theirs) = Origin::new(is_https, authority) else { return false };
        if self.is_unnamed && own.host.is_loopback() && theirs.host.is_loopback() {
            return (own.is_https, own.port) == (theirs.is_https, theirs.port);
        }
        // Behind a proxy the scheme, and with it the port that is left out, is the proxy's.
        let outside = Origin { is_https: true, port: if own.port == 80 { 443 } else { own.port }, ..own.clone() };
        theirs == *own || (self.is_proxied && theirs == outside)
    }
}

/// The origin that a Referer names, when it is not the request's own. Some Windows libraries send the very address that
/// they ask.
fn foreign_referer(headers: &HeaderMap, own: &Own) -> Option<String> {
    headers.get_all(header::REFERER).iter().find_map(|referer| {
        let text = String::from_utf8_lossy(referer.as_bytes());
        let text = text.trim();
        // A path of our own, which no browser sends.
        if text.is_empty() || (text.starts_with('/') && !text.starts_with("//")) {
            return None;
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let is_https = scheme.eq_ignore_ascii_case("https");
        let is_own = (is_https || scheme.eq_ignore_ascii_case("http")) && own.is(is_https, authority);
        (!is_own).then(|| quoted(format!("{scheme}://{authority}").as_bytes()))
    })
}

/// A header's value for people: bounded, and without anything that a terminal would obey.
fn quoted(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut chars = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
    let mut quoted: String = chars.by_ref().take(QUOTED_CHARS_MAX).collect();
    if chars.next().is_some() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests;
