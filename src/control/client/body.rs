//! The body of a reply, as HTTP/1.1 frames it. Nothing is buffered beyond what has come.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Who was told to end waits no longer than this for what is under way.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(2);
/// How soon it is noticed that we were.
const LOOK: Duration = Duration::from_millis(100);

/// Not zero when we were told to end.
pub type Ending = Arc<AtomicI32>;

/// How a body ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// After this many bytes.
    Sized(u64),
    /// In chunks: bytes left of this one; `None` between two.
    Chunked(Option<u64>),
    /// With the connection.
    UntilClosed,
    /// It has ended.
    Over,
}

/// A body that is read as it comes.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) from: Wire,
    pub(super) framing: Framing,
}

/// The connection, and what was read of it too early. Unlike a `BufReader` it can add to what it holds, so that a
/// time-out in the middle of a line loses nothing.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: UnixStream,
    ending: Option<Ending>,
    held: Vec<u8>,
    /// How much of `held` was taken.
    taken: usize,
}

impl Wire {
    /// Bytes read at once.
    const GULP: usize = 64 * 1024;

    pub(super) fn new(stream: UnixStream, ending: Option<Ending>) -> Self {
        Self { stream, ending, held: Vec::new(), taken: 0 }
    }

    /// Takes everything up to the first `end`, and that too.
    ///
    /// # Errors
    /// When there is none within `max` bytes, or the connection ends before.
    pub(super) fn take_until(&mut self, end: &[u8], max: usize) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.held().windows(end.len()).position(|bytes| bytes == end) {
                let taken = self.held()[..at + end.len()].to_vec();
                self.taken += taken.len();
                return Ok(taken);
            }
            if self.held().len() > max {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.more()?;
        }
    }

    /// Adds to what is held.
    fn more(&mut self) -> io::Result<()> {
        self.held.drain(..self.taken);
        self.taken = 0;
        let before = self.held.len();
        self.held.resize(before + Self::GULP, 0);
        let read = loop {
            match receive(&mut self.stream, self.ending.as_ref(), &mut self.held[before..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.held.truncate(before + *read.as_ref().unwrap_or(&0));
        if read? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    pub(super) fn held(&self) -> &[u8] {
        &self.held[self.taken..]
    }
}

/// Reads what has come, or waits for it as long as the stream's time-out allows; less, once we were told to end.
fn receive(stream: &mut UnixStream, ending: Option<&Ending>, into: &mut [u8]) -> io::Result<usize> {
    let Some(ending) = ending else { return stream.read(into) };
    let mut until = stream.read_timeout()?.and_then(|patience| Instant::now().checked_add(patience));
    let mut told = false;
    loop {
        let now = Instant::now();
        if !told && ending.load(Ordering::SeqCst) != 0 {
            let end = now + PATIENCE_AT_THE_END;
            (told, until) = (true, Some(until.map_or(end, |until| until.min(end))));
        }
        let left = until.map_or(LOOK, |until| until.saturating_duration_since(now).min(LOOK));
        let left = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&*stream, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) if until.is_some_and(|until| until <= now) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) => {}
            Ok(_) => return stream.read(into),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.held.len() {
            return receive(&mut self.stream, self.ending.as_ref(), into);
        }
        let n = self.held().len().min(into.len());
        into[..n].copy_from_slice(&self.held[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match self.framing {
                Framing::Over | Framing::Sized(0) => return Ok(0),
                Framing::UntilClosed => return self.from.read(into),
                Framing::Sized(left) => {
                    let n = self.take_at_most(into, left)?;
                    self.framing = Framing::Sized(left - n);
                    return Ok(usize::try_from(n).unwrap_or(into.len()));
                }
                Framing::Chunked(Some(left)) if left > 0 => {
                    let n = self.take_at_most(into, left)?;
                    self.framing = Framing::Chunked(Some(left - n));
                    return Ok(usize::try_from(n).unwrap_or(into.len()));
                }
                Framing::Chunked(between) => self.next_chunk(between.is_some())?,
            }
        }
    }
}

impl Body {
    /// Reads; the end of the connection is none that the body may have here.
    fn take_at_most(&mut self, into: &mut [u8], left: u64) -> io::Result<u64> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let n = self.from.read(&mut into[..most])?;
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(n as u64) }
    }

    /// Reads the line that says how long the next chunk is; `after_one`: behind the line break of the one before.
    fn next_chunk(&mut self, after_one: bool) -> io::Result<()> {
        /// The longest such line, bytes: a number in hex.
        const LINE_MAX: usize = 1024;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "its chunks are no chunks");
        // Both at once: a time-out in between would lose where we stand.
        let start = if after_one { 2 } else { 0 };
        loop {
            let held = self.from.held();
            if held.len() >= start
                && let Some(end) = held[start..].iter().position(|b| *b == b'\n')
            {
                let line = std::str::from_utf8(&held[start..start + end]).map_err(|_| bad())?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let length = u64::from_str_radix(digits, 16).map_err(|_| bad())?;
                self.from.taken += start + end + 1;
                self.framing = if length == 0 { Framing::Over } else { Framing::Chunked(Some(length)) };
                return Ok(());
            }
            if held.len() > LINE_MAX {
                return Err(bad());
            }
            self.from.more()?;
        }
    }
}
