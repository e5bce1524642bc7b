//! One connection, seen from below HTTP: what was written, what the peer's TCP has acknowledged, how it ended.
//!
//! The WeHelp protocol has no acknowledgement, so whether a poll's answer arrived is judged by TCP (contract 6):
//!
//! * *failed*: the connection ended, was reset or timed out before the last byte was acknowledged;
//! * *delivered*: every byte was acknowledged, and then the peer closed in order or asked again;
//! * *uncertain*: every byte was acknowledged, and then the peer reset the connection or fell silent.
//!
//! With a sized body hyper drops the body before a byte of it is written, so the body's end proves nothing. After its
//! buffer is written hyper flushes: the first flush after the body was taken marks the answer's last byte. What the
//! peer has acknowledged is the kernel's `tcpi_bytes_acked`, which (unlike the length of the send queue) can still be
//! read after a reset. A duplicate of the socket keeps all this readable after hyper has closed its own.

use super::handover::{Handover, Outcome};
use super::limits::{LINGER_BYTES, LINGER_TIME};
use super::service::lock;
use super::shutdown::Shutdown;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// An acknowledgement is waited for so long: Windows delays it by 200 ms, a bad Wi-Fi retransmits for seconds.
const ACK_PATIENCE: Duration = Duration::from_secs(10);
/// After the last byte was acknowledged, the peer's close or next request is waited for so long.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// What came before a reset is read within so long.
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// Pauses between looks at the kernel's view: the first ones short, since on a LAN all is over in a millisecond.
const LOOKS: [u64; 8] = [1, 1, 2, 4, 8, 15, 25, 50];

/// What is known of a connection, shared by its IO, its handlers and the watcher of its delivery.
#[derive(Debug)]
pub(super) struct Conn {
    /// A duplicate of a TCP socket.
    socket: Option<OwnedFd>,
    written: AtomicU64,
    /// The peer closed its side in order.
    ended: AtomicBool,
    /// Reading or writing failed.
    broken: AtomicBool,
    /// The peer sent something after the answer's last byte was written.
    asked_again: AtomicBool,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
enum Pending {
    /// Nothing is to be watched.
    #[default]
    Nothing,
    /// The answer is not written yet; true once hyper has taken its body.
    Answer(Handover, bool),
    /// The answer's last byte was written; a watcher looks after it.
    Watched,
}

impl Conn {
    /// A TCP connection.
    pub(super) fn tcp(stream: &tokio::net::TcpStream) -> Arc<Self> {
        Arc::new(Self::new(stream.as_fd().try_clone_to_owned().ok()))
    }

    /// A connection whose answers need no watching.
    pub(super) fn local() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    fn new(socket: Option<OwnedFd>) -> Self {
        Self {
            socket,
            written: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            asked_again: AtomicBool::new(false),
            pending: Mutex::default(),
        }
    }

    /// The answer that goes out next hands these commands over.
    pub(super) fn watch(&self, handover: Handover) {
        *lock(&self.pending) = Pending::Answer(handover, false);
    }

    /// Hyper has taken the answer's body.
    pub(super) fn body_taken(&self) {
        if let Pending::Answer(_, taken) = &mut *lock(&self.pending) {
            *taken = true;
        }
    }

    /// Everything that hyper had was written.
    fn flushed(self: &Arc<Self>) {
        let mut pending = lock(&self.pending);
        if matches!(*pending, Pending::Answer(_, true))
            && let Pending::Answer(handover, _) = std::mem::replace(&mut *pending, Pending::Watched)
        {
            let (conn, end) = (Arc::clone(self), self.written.load(Ordering::Acquire));
            tokio::spawn(async move { handover.settle(conn.outcome(end).await) });
        }
    }

    /// The connection's task is over: what was not written by now never will be.
    pub(super) fn over(&self) {
        // Dropping the hand-over gives its commands back.
        drop(std::mem::take(&mut *lock(&self.pending)));
    }

    /// Watches until it is known, or known to be unknowable, whether the first `end` bytes arrived.
    async fn outcome(&self, end: u64) -> Outcome {
        let Some(socket) = &self.socket else { return Outcome::Uncertain };
        let started = Instant::now();
        let mut acked_at = None;
        for look in 0.. {
            let tcp = Tcp::of(socket);
            let acked = tcp.acked >= end;
            let said_more = || self.asked_again.load(Ordering::Acquire) || self.ended.load(Ordering::Acquire);
            // Errors before the socket's state: a reset that comes between two looks must not be taken for an end.
            if self.broken.load(Ordering::Acquire) || tcp.error {
                // The last bytes may have been acknowledged between the look above and the error.
                if !acked && Tcp::of(socket).acked < end {
                    return Outcome::Failed;
                }
                // What the peer sent before the reset may not be read yet: under TLS it says goodbye, and its close
                // becomes a reset when our own goodbye crosses it.
                // Only what it sent counts: once the error was taken, reading gives an end that is none.
                tokio::time::sleep(BEFORE_RESET).await;
                let goodbye = self.asked_again.load(Ordering::Acquire);
                return if goodbye { Outcome::Delivered } else { Outcome::Uncertain };
            }
            if acked {
                if said_more() || tcp.peer_closed() {
                    return Outcome::Delivered;
                }
                let since = *acked_at.get_or_insert_with(Instant::now);
                if since.elapsed() > CLOSE_PATIENCE {
                    return Outcome::Uncertain;
                }
            } else if tcp.state == Tcp::CLOSE {
                return Outcome::Failed;
            } else if started.elapsed() > ACK_PATIENCE {
                // Nothing of it may arrive after we have said that it did not.
                reset(socket);
                return Outcome::Failed;
            }
            let pause = LOOKS.get(look).or(LOOKS.last()).copied().unwrap_or(50);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Outcome::Uncertain
    }
}

/// Ends a connection at once, both ways.
fn reset(socket: &OwnedFd) {
    let socket = socket2::SockRef::from(socket);
    // Either may fail on a socket that is gone already, which is what is wanted.
    drop(socket.set_linger(Some(Duration::ZERO)));
    drop(socket.shutdown(std::net::Shutdown::Both));
}

/// The kernel's view of a TCP connection.
#[derive(Debug, Clone, Copy)]
struct Tcp {
    state: u8,
    acked: u64,
    error: bool,
}

impl Tcp {
    const TIME_WAIT: u8 = 6;
    const CLOSE: u8 = 7;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;

    fn of(socket: &OwnedFd) -> Self {
        let error = socket2::SockRef::from(socket).take_error();
        let (state, acked) = tcp_info(socket).unwrap_or((Self::CLOSE, 0));
        Self { state, acked, error: !matches!(error, Ok(None)) }
    }

    /// Whether the peer's FIN was seen.
    fn peer_closed(self) -> bool {
        matches!(self.state, Self::TIME_WAIT | Self::CLOSE | Self::CLOSE_WAIT | Self::LAST_ACK | Self::CLOSING)
    }
}

/// `tcpi_state` and `tcpi_bytes_acked` (Linux 4.1) of a socket.
#[expect(unsafe_code, reason = "no safe crate reads tcpi_bytes_acked; one getsockopt into a buffer of our own")]
fn tcp_info(socket: &OwnedFd) -> Option<(u8, u64)> {
    /// Where `tcpi_bytes_acked` lies in `struct tcp_info` (linux/tcp.h): part of the kernel's ABI.
    const ACKED: usize = 120;
    let mut info = [0_u8; 256];
    let mut len = libc::socklen_t::try_from(info.len()).ok()?;
    // SAFETY: `info` is writable for `len` bytes, which the kernel shortens to what it wrote.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if failed != 0 || (len as usize) < ACKED + 8 {
        return None;
    }
    let acked = u64::from_ne_bytes(info[ACKED..ACKED + 8].try_into().ok()?);
    Some((info[0], acked))
}

/// A stream that counts, stalls no longer than allowed, and closes without destroying its last answer.
#[derive(Debug)]
pub(super) struct Wire<S> {
    inner: S,
    conn: Arc<Conn>,
    write_timeout: Option<Duration>,
    stall: Option<Pin<Box<Sleep>>>,
    shutdown: Shutdown,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Wire<S> {
    pub(super) fn new(inner: S, conn: Arc<Conn>, write_timeout: Option<Duration>, shutdown: Shutdown) -> Self {
        Self { inner, conn, write_timeout, stall: None, shutdown, linger: None }
    }

    /// Counts the time that a peer leaves our bytes unread; an error when it is too long for one answer.
    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(timeout) = self.write_timeout else { return Poll::Pending };
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer"))
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.conn.broken.store(true, Ordering::Release);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if result.is_ok() {
            if buf.filled().len() > before {
                if matches!(*lock(&self.conn.pending), Pending::Watched) {
                    self.conn.asked_again.store(true, Ordering::Release);
                }
            } else if buf.remaining() > 0 {
                self.conn.ended.store(true, Ordering::Release);
            }
        }
        Poll::Ready(self.note(result))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, buf) {
            Poll::Ready(result) => {
                if let Ok(n) = result {
                    self.conn.written.fetch_add(n as u64, Ordering::AcqRel);
                }
                Poll::Ready(self.note(result))
            }
            Poll::Pending => self.stalled(cx).map(|error| self.note(Err(error))),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write_vectored(cx, bufs) {
            Poll::Ready(result) => {
                if let Ok(n) = result {
                    self.conn.written.fetch_add(n as u64, Ordering::AcqRel);
                }
                Poll::Ready(self.note(result))
            }
            Poll::Pending => self.stalled(cx).map(|error| self.note(Err(error))),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => return self.stalled(cx).map(|error| self.note(Err(error))),
        };
        if result.is_ok() {
            self.stall = None;
            self.conn.flushed();
        }
        Poll::Ready(self.note(result))
    }

    /// Closes our side, then reads what the peer still sends: input left unread would turn our close into a reset,
    /// and a reset destroys an answer that the peer has not read yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.linger = Some((Box::pin(tokio::time::sleep(LINGER_TIME)), LINGER_BYTES));
        }
        let mut scratch = [0; 8192];
        loop {
            if self.shutdown.is_triggered() || self.conn.ended.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match self.as_mut().poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    let read = buf.filled().len();
                    let Some((_, left)) = &mut self.linger else { return Poll::Ready(Ok(())) };
                    *left = left.saturating_sub(read);
                    if *left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let Some((time, _)) = &mut self.linger else { return Poll::Ready(Ok(())) };
                    return time.as_mut().poll(cx).map(Ok);
                }
            }
        }
    }
}
