//! The hand-played client: HTTP/1.1 over raw sockets, one connection a request unless a test wants otherwise.
//!
//! It sends exactly the bytes it is given and reads exactly one response; how a connection ends is the test's choice.

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one read or write may block before the test fails; far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One response, whole.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// The body as a JSON array, as a client needs it.
    pub(crate) fn array(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json().as_array().unwrap_or_else(|| panic!("no array: {}", self.text())).clone()
    }

    /// Asserts the JSON error of contract 2 and gives its code.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let value = self.json();
        let code = value["error"].as_str().unwrap_or_else(|| panic!("no `error`: {value}")).to_owned();
        assert!(
            !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "`{code}` is not kebab-case"
        );
        assert!(value["message"].as_str().is_some_and(|m| m.len() > 5), "no sentence: {value}");
        assert!(self.header("content-type").is_some_and(|t| t.starts_with("application/json")), "{self:?}");
        code
    }
}

/// A connection that remembers what it has read beyond one response.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Reads more into the buffer; false at the end of the stream.
    fn more(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// The header of the next response, and the bytes of it that are taken from the stream.
    fn head(&mut self) -> std::io::Result<(u16, Vec<(String, String)>)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = response.parse(&self.buffer).expect("an HTTP response") {
                let status = response.code.unwrap();
                let headers = response
                    .headers
                    .iter()
                    .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
                    .collect();
                self.buffer.drain(..length);
                if status == 100 {
                    continue;
                }
                return Ok((status, headers));
            }
            if !self.more()? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads one whole response.
    pub(crate) fn receive(&mut self) -> std::io::Result<Response> {
        let (status, headers) = self.head()?;
        let mut response = Response { status, headers, body: Vec::new() };
        if response.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
            while let Some(chunk) = self.chunk()? {
                response.body.extend(chunk);
            }
        } else if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                if !self.more()? {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            response.body = self.buffer.drain(..length).collect();
        } else if status != 204 && status != 304 {
            while self.more()? {}
            response.body = std::mem::take(&mut self.buffer);
        }
        Ok(response)
    }

    /// As `receive`, for the answer to HEAD: a header, no body.
    pub(crate) fn receive_head(&mut self) -> std::io::Result<Response> {
        let (status, headers) = self.head()?;
        Ok(Response { status, headers, body: Vec::new() })
    }

    fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let size = std::str::from_utf8(&self.buffer[..end]).unwrap();
                let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
                if self.buffer.len() >= end + 2 + size + 2 {
                    let chunk: Vec<u8> = self.buffer[end + 2..end + 2 + size].to_vec();
                    self.buffer.drain(..end + 2 + size + 2);
                    return Ok((size > 0).then_some(chunk));
                }
            }
            if !self.more()? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Writes a request whose body is sized.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        out.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        out.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

/// The client on the PC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
}

impl Client {
    pub(crate) fn connect(self) -> Wire<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.addr, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::new(stream)
    }

    /// A connection that takes in only a few kilobytes until it is read from: more is not acknowledged.
    pub(crate) fn connect_narrow(self) -> Wire<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.addr), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&self.addr.into()).unwrap();
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Wire::new(stream)
    }

    pub(crate) fn try_post(self, path: &str, body: &[u8]) -> std::io::Result<Response> {
        let stream = TcpStream::connect_timeout(&self.addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut wire = Wire::new(stream);
        wire.stream.write_all(&request("POST", path, &[("Connection", "close")], body))?;
        wire.receive()
    }

    pub(crate) fn send(self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut wire = self.connect();
        wire.send(&request(method, path, headers, body));
        wire.receive().unwrap_or_else(|e| panic!("no response to {method} {path}: {e}"))
    }

    /// Posts a callback as the client does.
    pub(crate) fn post(self, path: &str, body: &[u8]) -> Response {
        self.send("POST", path, &[("Content-Type", "application/json")], body)
    }

    pub(crate) fn get(self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    /// Reports one event, given as the inner object; it must be taken.
    pub(crate) fn event(self, inner: &str) {
        let answer = self.post("/recieve_msg", format!("{{\"data\":{inner}}}").as_bytes());
        assert_eq!((answer.status, answer.text().as_str()), (200, "[]"), "{inner}");
    }

    /// Asks for commands, reads the answer and closes in order. `query` as in `wxid=wxid_me&pid=7`, or empty.
    pub(crate) fn poll(self, query: &str) -> Vec<Value> {
        let path = if query.is_empty() { "/send_msg".to_owned() } else { format!("/send_msg?{query}") };
        self.get(&path).array()
    }
}

/// Closes with a reset.
pub(crate) fn reset(wire: Wire<TcpStream>) {
    SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(wire);
}

#[test]
fn the_hand_played_client_reads_sized_and_chunked_answers_one_by_one() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]\
        HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\na;x=y\r\n0123456789\r\n0\r\n\r\n\
        HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let mut wire = Wire::new(std::io::Cursor::new(bytes.to_vec()));
    let answers: Vec<_> = (0..3).map(|_| wire.receive().unwrap()).map(|r| (r.status, r.text())).collect();
    assert_eq!(answers, [(200, "[]".into()), (200, "abc0123456789".into()), (404, String::new())]);
    assert!(wire.receive().is_err());
}
