//! Replies of the daemon: read whole, line by line ([`Lines`]), or as many lines as have come ([`Batches`]).

use super::body::{Body, Ending, Framing, Wire};
use super::error::{Error, is_timeout};
use crate::control::stream;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The longest header of a reply, bytes: the daemon's have a few hundred.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header lines of a reply.
const HEADERS_MAX: usize = 32;
/// The longest line of a stream, bytes: an event with the largest body, whose bytes may stand in it as base64.
pub const LINE_BYTES_MAX: usize = 96 << 20;
/// The longest reply that is read whole, bytes: a status, a receipt, one event.
const REPLY_BYTES_MAX: u64 = LINE_BYTES_MAX as u64;
/// The longest refusal, bytes: a sentence.
const REFUSAL_BYTES_MAX: u64 = 1 << 20;

/// A reply whose body is read as it comes.
#[derive(Debug)]
pub struct Reply {
    headers: Vec<(String, String)>,
    body: Body,
}

impl Reply {
    /// Reads the head.
    pub(super) fn receive(stream: UnixStream, ending: Option<Ending>) -> Result<Self, Error> {
        let mut from = Wire::new(stream, ending);
        let head = from.take_until(b"\r\n\r\n", HEAD_BYTES_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Error::Strange("its header is too long".into()),
            _ => error.into(),
        })?;
        let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut lines);
        parsed.parse(&head).map_err(|e| Error::Strange(e.to_string()))?;
        let status = parsed.code.unwrap_or_default();
        let header = |h: &httparse::Header<'_>| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into());
        let headers = parsed.headers.iter().map(header).collect();
        let mut reply = Self { headers, body: Body { from, framing: Framing::Over } };
        if status != 204 {
            reply.body.framing = reply.framing()?;
        }
        if (200..300).contains(&status) { Ok(reply) } else { Err(reply.refusal(status)) }
    }

    fn framing(&self) -> Result<Framing, Error> {
        if self.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return Ok(Framing::Chunked(None));
        }
        let Some(length) = self.header("content-length") else { return Ok(Framing::UntilClosed) };
        Ok(Framing::Sized(length.parse().map_err(|_| Error::Strange("its length is no number".into()))?))
    }

    fn refusal(self, status: u16) -> Error {
        let mut text = Vec::new();
        match self.body.take(REFUSAL_BYTES_MAX).read_to_end(&mut text) {
            Ok(_) => match serde_json::from_slice(&text) {
                Ok(refusal) => Error::Refused { status, refusal },
                Err(_) => Error::Strange(format!("status {status}")),
            },
            Err(error) => Error::Broken(error),
        }
    }

    /// A header's value; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The number that a header is.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }

    /// How long the next reads may wait; `None`: for ever.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        set_patience(&self.body, patience)
    }

    /// The whole body as one JSON value.
    ///
    /// # Errors
    /// When the connection breaks, or it is no such value.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let mut text = Vec::new();
        self.body.take(REPLY_BYTES_MAX).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(|e| Error::Strange(e.to_string()))
    }

    /// The body, line by line.
    #[must_use]
    pub fn lines(self) -> Lines {
        Lines { body: BufReader::with_capacity(64 * 1024, self.body), line: Vec::new() }
    }

    /// The body, as many lines at once as have come.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn batches(self) -> io::Result<Batches> {
        self.body.from.stream.set_nonblocking(true)?;
        Ok(Batches { body: self.body, bytes: Vec::new(), filled: 0, whole: 0 })
    }
}

/// Reads the body as plain bytes (a backup).
impl Read for Reply {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.body.read(into)
    }
}

fn set_patience(body: &Body, patience: Option<Duration>) -> io::Result<()> {
    // Zero would be refused by std; the smallest wait is what it means.
    let patience = patience.map(|p| p.max(Duration::from_millis(1)));
    body.from.stream.set_read_timeout(patience)
}

/// A stream that is read line by line; each is waited for.
#[derive(Debug)]
pub struct Lines {
    body: BufReader<Body>,
    line: Vec<u8>,
}

impl Lines {
    /// How long the next reads may wait; `None`: for ever.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        set_patience(self.body.get_ref(), patience)
    }

    /// The next line, without its end; `None` when the stream has ended in order.
    ///
    /// # Errors
    /// When the connection breaks or the wait is over (then [`is_timeout`] says so, and reading may go on), a line is
    /// longer than [`LINE_BYTES_MAX`], or the daemon ends the stream with a refusal.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        let left = (LINE_BYTES_MAX - self.line.len()) as u64;
        // What was read before a time-out stays in `line`, so nothing is lost when reading goes on.
        (&mut self.body).take(left).read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        if self.line.last() != Some(&b'\n') {
            return Err(if self.line.len() == LINE_BYTES_MAX {
                Error::Strange("a line is too long".into())
            } else {
                Error::Broken(io::ErrorKind::UnexpectedEof.into())
            });
        }
        let line = &self.line[..self.line.len() - 1];
        match stream::refusal(line) {
            Some(refusal) => Err(Error::Refused { status: 500, refusal }),
            None => Ok(Some(line)),
        }
    }

    /// Whether the daemon still holds a stream on which it has nothing more to say. Waits for nothing.
    #[must_use]
    pub fn is_open(&mut self) -> bool {
        let set = |lines: &Self, nonblocking| lines.body.get_ref().from.stream.set_nonblocking(nonblocking).is_ok();
        let is_open = set(self, true)
            && loop {
                match self.next_line() {
                    // A sign of life.
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(error) => break is_timeout(&error),
                }
            };
        is_open && set(self, false)
    }

    /// The next line as a value.
    ///
    /// # Errors
    /// As [`Lines::next_line`], and when the line is no such value.
    pub fn next_value<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let value = self.next_line()?.map(serde_json::from_slice).transpose();
        value.map_err(|e| Error::Strange(e.to_string()))
    }

    /// Every line as a value.
    ///
    /// # Errors
    /// As [`Lines::next_value`].
    pub fn values<T: DeserializeOwned>(mut self) -> Result<Vec<T>, Error> {
        std::iter::from_fn(|| self.next_value().transpose()).collect()
    }
}

/// A stream that is read in batches of whole lines, without waiting for them.
#[derive(Debug)]
pub struct Batches {
    body: Body,
    bytes: Vec<u8>,
    filled: usize,
    /// Where the last whole line ends; behind it is the begin of one that has not come whole.
    whole: usize,
}

impl Batches {
    /// Bytes read at once.
    const GULP: usize = 256 * 1024;
    /// What had to hold a longer line is given back when the line has gone, bytes.
    const KEPT: usize = 1 << 20;

    /// Reads as many whole lines as have come, at least one; false when the stream has ended in order. They are
    /// [`Batches::fetched`], and gone with the next call.
    ///
    /// # Errors
    /// When no whole line has come ([`is_timeout`] says so, and nothing is lost), the connection breaks, or
    /// a line is longer than [`LINE_BYTES_MAX`]. A refusal is a line like others.
    pub fn fetch(&mut self) -> Result<bool, Error> {
        self.bytes.copy_within(self.whole..self.filled, 0);
        self.filled -= std::mem::take(&mut self.whole);
        if self.bytes.len() > Self::KEPT && self.filled < Self::GULP {
            self.bytes.truncate(Self::GULP);
            self.bytes.shrink_to_fit();
        }
        loop {
            if self.filled == self.bytes.len() {
                if self.filled >= LINE_BYTES_MAX {
                    return Err(Error::Strange("a line is too long".into()));
                }
                // Not twice as much: a line of tens of megabytes would take as much again.
                let more = (self.filled / 4).max(Self::GULP);
                self.bytes.resize((self.filled + more).min(LINE_BYTES_MAX), 0);
            }
            let read = match self.body.read(&mut self.bytes[self.filled..]) {
                Ok(0) if self.filled == 0 => return Ok(false),
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                read => read,
            };
            let read = match read {
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) if self.whole > 0 => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            let new = &self.bytes[self.filled..self.filled + read];
            if let Some(end) = new.iter().rposition(|b| *b == b'\n') {
                self.whole = self.filled + end + 1;
            }
            self.filled += read;
            // What has been read off the socket is taken along; for more, those lines do not wait.
            let in_chunk = matches!(self.body.framing, Framing::Chunked(Some(left)) if left > 0);
            let more = in_chunk && !self.body.from.held().is_empty();
            if self.whole > 0 && !(more && self.filled < self.bytes.len()) {
                return Ok(true);
            }
        }
    }

    /// What [`Batches::fetch`] has read: whole lines, each with its end.
    #[must_use]
    pub fn fetched(&self) -> &[u8] {
        &self.bytes[..self.whole]
    }
}

/// The connection, to wait on beside other things.
impl AsFd for Batches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.body.from.stream.as_fd()
    }
}
