//! The client door from the client's side: what a WeHelp client sends over the wire, and the ways in which its line
//! breaks. HTTP/1.1 over a bare TCP stream, because a break in the middle of an answer is part of the play.

use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::control::{Status, Token};
use crate::protocol::command::Wire;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A daemon that does not answer for so long hangs; longer than any `http.poll_hold`.
const PATIENCE: Duration = Duration::from_secs(330);
/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, bytes: a thousand commands of the longest kind.
const ANSWER_BYTES_MAX: u64 = 128 << 20;

/// TLS would double the size of the program, and with it the time of every call, for a client that is a plaything.
const NO_TLS: &str = "the played client does not speak TLS; play against a wehelpd without http.tls_cert";

/// Where the two addresses lie: what a person would type into the client, less `/recieve_msg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Door {
    host: String,
    prefix: String,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Where the line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// After the request: whatever the daemon answers does not arrive.
    BeforeAnswer,
    /// After the first bytes of the answer have been read.
    InAnswer,
}

impl Door {
    /// The door that `--url` names, or that the daemon tells of.
    ///
    /// # Errors
    /// When the URL is none, no daemon runs, or it listens nowhere.
    pub(super) fn find(ctx: &Ctx, url: Option<&str>) -> Result<Self, Error> {
        match url {
            Some(url) => Self::parse(url).map_err(|e| Error::usage(format!("--url `{url}`: {e}"))),
            None => Self::ask(ctx),
        }
    }

    fn parse(url: &str) -> Result<Self, &'static str> {
        if url.starts_with("https://") {
            return Err(NO_TLS);
        }
        let rest = url.strip_prefix("http://").ok_or("it does not begin with http://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it names no host");
        }
        // What `wehelp setup` prints for the client is taken as well.
        let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let path = ["recieve_msg", "send_msg"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
        let path = path.trim_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), prefix })
    }

    fn ask(ctx: &Ctx) -> Result<Self, Error> {
        let status: Status = ctx.client()?.get("/v1/status")?;
        if status.http.tls {
            return Err(Error::failed(NO_TLS));
        }
        let mut listen: Vec<SocketAddr> = status.http.listen.iter().filter_map(|a| a.parse().ok()).collect();
        for at in &mut listen {
            if at.ip().is_unspecified() {
                let loopback: std::net::IpAddr = if at.is_ipv4() {
                    std::net::Ipv4Addr::LOCALHOST.into()
                } else {
                    std::net::Ipv6Addr::LOCALHOST.into()
                };
                at.set_ip(loopback);
            }
        }
        let at = listen.iter().find(|at| at.ip().is_loopback()).or(listen.first());
        let at = at.ok_or_else(|| Error::failed("wehelpd listens on no address for clients; see http.listen"))?;
        let token: Token = ctx.client()?.get("/v1/token")?;
        let needed = token.required == "always" || (token.required == "remote" && !at.ip().is_loopback());
        let prefix = if needed { format!("/t/{}", token.token) } else { String::new() };
        Ok(Self { host: at.to_string(), prefix })
    }

    /// Where it is, without the token.
    pub(super) fn address(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Reports an event; `body` as the client sends it.
    pub(super) fn post(&self, body: &[u8]) -> io::Result<Answer> {
        self.ask_for("POST", "/recieve_msg", Some(body), None)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks for commands; `None` when the line was broken off.
    pub(super) fn poll(&self, query: &str, broken: Option<Break>) -> io::Result<Option<Vec<Wire>>> {
        let Some(answer) = self.ask_for("GET", &format!("/send_msg?{query}"), None, broken)? else { return Ok(None) };
        if answer.status != 200 {
            return Err(io::Error::other(refused(&answer)));
        }
        let commands = serde_json::from_slice(&answer.body)
            .map_err(|e| io::Error::other(format!("the answer to a poll is no JSON array: {e}")))?;
        Ok(Some(commands))
    }

    fn ask_for(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        broken: Option<Break>,
    ) -> io::Result<Option<Answer>> {
        let mut stream = self.connect()?;
        let mut request =
            format!("{method} {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.prefix, self.host);
        if let Some(body) = body {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let written = stream.write_all(&[request.as_bytes(), body.unwrap_or_default()].concat());
        match broken {
            None => {}
            Some(Break::BeforeAnswer) => return reset(&stream).map(|()| None),
            Some(Break::InAnswer) => {
                // The head's first bytes; the commands stand behind them.
                stream.read_exact(&mut [0; 16])?;
                return reset(&stream).map(|()| None);
            }
        }
        let mut bytes = Vec::new();
        let read = (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        match (parse(&bytes), read, written) {
            (Some(answer), _, _) => Ok(Some(answer)),
            (None, Err(error), _) | (None, _, Err(error)) => Err(error),
            (None, Ok(_), Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let bare = self.host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err());
        let with_port = if bare { format!("{}:80", self.host) } else { self.host.clone() };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in with_port.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Closes with a reset, as a line that breaks.
fn reset(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// A whole answer with a length or up to the end of the connection; the daemon's polls have no other.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(end) = head.parse(bytes).ok()? else { return None };
    let status = head.code?;
    let length = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|h| std::str::from_utf8(h.value).ok()?.trim().parse::<usize>().ok());
    let body = match length {
        Some(length) => bytes.get(end..end.checked_add(length)?)?,
        None => &bytes[end..],
    };
    Some(Answer { status, body: body.to_vec() })
}

/// A refusal as a sentence.
pub(super) fn refused(answer: &Answer) -> String {
    let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let said = said.as_ref().and_then(|v| v["message"].as_str()).unwrap_or("no reason given");
    format!("wehelpd answered {}: {said}", answer.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_it_would_be_typed_into_the_client() {
        let door = |url| Door::parse(url).map(|d| (d.address(), d.prefix));
        let plain = Ok(("http://127.0.0.1:4567".to_owned(), String::new()));
        for url in [
            "http://127.0.0.1:4567",
            "http://127.0.0.1:4567/",
            "http://127.0.0.1:4567/recieve_msg",
            "http://127.0.0.1:4567/send_msg?account=a",
        ] {
            assert_eq!(door(url), plain, "{url}");
        }
        assert_eq!(door("http://h/t/abc/send_msg"), Ok(("http://h".to_owned(), "/t/abc".to_owned())));
        for url in ["127.0.0.1:4567", "http://", "https://127.0.0.1:4567"] {
            assert!(door(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"[]"[..]));
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[]").is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nCont").is_none());
    }
}
