//! An HTTP/1.1 client that costs little: one connection, one buffer, one read an answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where to connect to.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A connection of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn connect(door: &Door) -> io::Result<Self> {
        Ok(match door {
            Door::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Self::Tcp(stream)
            }
            Door::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Self::Unix(stream)
            }
        })
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    /// Unblocks whoever reads.
    pub(crate) fn shut(&self) {
        match self {
            Self::Tcp(stream) => drop(stream.shutdown(std::net::Shutdown::Both)),
            Self::Unix(stream) => drop(stream.shutdown(std::net::Shutdown::Both)),
        }
    }

    pub(crate) fn twin(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }
}

/// A keep-alive client; connects again when the server does not keep the connection.
#[derive(Debug)]
pub(crate) struct Client {
    door: Door,
    stream: Option<Stream>,
    buffer: Vec<u8>,
}

/// An answer: its status and its body.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Client {
    pub(crate) fn new(door: &Door) -> Self {
        Self { door: door.clone(), stream: None, buffer: vec![0; 16 * 1024] }
    }

    /// Sends a whole request, reads the whole answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        let kept = self.stream.is_some();
        let (status, from, to) = match self.try_ask(request) {
            // A server may close an idle connection at the moment we use it.
            Err(_) if kept => {
                self.stream = None;
                self.try_ask(request)?
            }
            other => other?,
        };
        Ok(Answer { status, body: &self.buffer[from..to] })
    }

    fn try_ask(&mut self, request: &[u8]) -> io::Result<(u16, usize, usize)> {
        if self.stream.is_none() {
            self.stream = Some(Stream::connect(&self.door)?);
        }
        let stream = self.stream.as_mut().unwrap();
        stream.write_all(request)?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            let n = stream.read(&mut self.buffer[filled..])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += n;
            let Some(head) = Head::read(&self.buffer[..filled]) else { continue };
            let end = head.end + head.length;
            if filled >= end {
                if head.closes {
                    self.stream = None;
                }
                return Ok((head.status, head.end, end));
            }
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
        }
    }
}

/// What is needed of an answer's head.
struct Head {
    status: u16,
    end: usize,
    length: usize,
    closes: bool,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let mut lines = bytes[..end].split(|b| *b == b'\n');
        let first = lines.next()?;
        let status = std::str::from_utf8(first.get(9..12)?).ok()?.parse().ok()?;
        let (mut length, mut closes) = (0, first.starts_with(b"HTTP/1.0"));
        for line in lines.filter(|l| matches!(l.first(), Some(b'c' | b'C'))) {
            let line = line.trim_ascii().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix(b"content-length:") {
                length = std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?;
            } else if line.starts_with(b"connection:") {
                closes = line.ends_with(b"close");
            }
        }
        Some(Self { status, end, length, closes })
    }
}

/// A POST of a body, as bytes to be sent.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A GET, as bytes to be sent.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// Asks a Unix door once for a JSON value.
pub(crate) fn json(socket: &Path, path: &str) -> io::Result<serde_json::Value> {
    let mut client = Client::new(&Door::Unix(socket.to_owned()));
    let answer = client.ask(&get(path))?;
    if answer.status != 200 {
        return Err(io::Error::other(String::from_utf8_lossy(answer.body).into_owned()));
    }
    serde_json::from_slice(answer.body).map_err(io::Error::other)
}
