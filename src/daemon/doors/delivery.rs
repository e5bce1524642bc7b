//! One connection, seen from below HTTP: what was written, what the peer's TCP has acknowledged, how it ended.
//!
//! The WeHelp protocol has no acknowledgement, so whether a poll's answer arrived is judged by TCP (contract 6):
//!
//! * *failed*: the connection ended, was reset or timed out before the last byte was acknowledged;
//! * *delivered*: every byte was acknowledged, and then the peer closed in order or asked again;
//! * *uncertain*: every byte was acknowledged, and then the peer reset the connection or fell silent. So is an answer to
//!   a peer that had closed its sending side before it had taken in the last byte: it cannot say anything more.
//!
//! What the peer sent tells of an answer only what came after its acknowledgement (`Early`): who has read an answer to
//! its end acknowledges all of it with the very segment that closes or asks again.
//!
//! With a sized body hyper drops the body before a byte of it is written, so the body's end proves nothing. After its
//! buffer is written hyper flushes: the first flush after the body was taken marks the answer's last byte. What the
//! peer has acknowledged and sent is the kernel's `tcpi_bytes_acked` and `tcpi_bytes_received`, which (unlike the length
//! of the send queue) can still be read after a reset. A duplicate of the socket keeps all this readable after hyper has closed its own.
//!
//! Over TLS our goodbye (close_notify) is data. A client that closes without reading it resets the connection, and a
//! reset carries no acknowledgement: one that was still delayed never comes. So nothing is sent after an answer until it
//! is acknowledged, and then for a moment more (`Goodbye`). That the acknowledgement be not delayed, an answer's last
//! bytes go in a packet of their own: of two small ones in a row Linux acknowledges the second as soon as it is read, and
//! Windows at once. So also a client that resets right after it has read everything has acknowledged it (`Conn::part`).
//!
//! Hyper reads nothing while a handler works. Meanwhile `Wire` reads ahead, a little: so a peer that resets ends its
//! handler, and one that closes its sending side is answered at once instead of being held.

use crate::daemon::doors::limits::{IDLE_TIMEOUT, LINGER_BYTES, LINGER_TIME};
use crate::daemon::queue::handover::{Handover, Outcome};
use crate::daemon::shutdown::Shutdown;
use crate::sync::lock;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// The next acknowledgement is waited for so long: Windows delays it by 200 ms, a bad Wi-Fi retransmits for seconds, and a
/// client that reads slowly but steadily acknowledges again and again.
const ACK_PATIENCE: Duration = Duration::from_secs(10);
/// After the last byte was acknowledged, the peer's close or next request is waited for so long.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// While a peer takes nothing in, it is looked at this often.
const STALL_LOOK: Duration = Duration::from_millis(500);
/// At a stop, everything is judged within so long.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Over TLS, after the last byte was acknowledged, the peer may close first for so long: then it cannot miss our goodbye.
const GOODBYE_REST: Duration = Duration::from_millis(300);
/// Read ahead while a handler works: a pipelined request, or a TLS client's goodbye.
const AHEAD_BYTES: usize = 16 * 1024;
/// Pauses between looks at the kernel's view: the first ones short, since on a LAN all is over in a millisecond.
const LOOKS: [u64; 8] = [1, 1, 2, 4, 8, 15, 25, 50];

/// What is known of a connection, shared by its IO, its handlers and the watcher of its delivery.
#[derive(Debug)]
pub(crate) struct Conn {
    /// A duplicate of a TCP socket.
    socket: Option<OwnedFd>,
    written: AtomicU64,
    /// Nothing more comes from the peer.
    ended: AtomicBool,
    /// What it had acknowledged and sent when its end was read; the first time.
    end: OnceLock<Tcp>,
    /// Reading or writing failed.
    broken: AtomicBool,
    /// A handler works, or its answer is not whole yet.
    busy: AtomicBool,
    /// Others wait for its place.
    hurries: AtomicBool,
    /// It is TLS.
    is_secure: AtomicBool,
    /// Told when the peer has closed its sending side while a handler works.
    half_closed: Notify,
    /// Told when nothing more is to go over it.
    cut: Notify,
    pending: Mutex<Pending>,
    goodbye: Mutex<Goodbye>,
    head: Mutex<Head>,
}

/// When we may say goodbye, over TLS.
#[derive(Debug, Default)]
enum Goodbye {
    /// At any time.
    #[default]
    Free,
    /// Not before an answer is acknowledged; who waits for that.
    Withheld(Option<Waker>),
}

/// What is waited for of the next request's head.
#[derive(Debug, Clone, Copy)]
enum Head {
    /// Its first byte, on a connection that was used before.
    Idle(Instant),
    /// The rest of it.
    Begun(Instant),
}

#[derive(Debug, Default)]
enum Pending {
    /// Nothing is to be watched.
    #[default]
    Nothing,
    /// The answer is not written yet.
    Answer(Answer),
    /// The answer's last byte was written; a watcher looks after it.
    Watched,
}

#[derive(Debug)]
struct Answer {
    handover: Handover,
    begun: Instant,
    /// What the peer had said before a byte of it was written.
    early: Early,
    /// Hyper has taken its body.
    taken: bool,
}

/// Lets the goodbye go when it is dropped, however a watcher ends.
struct LetGo<'a>(&'a Conn);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl Conn {
    /// A TCP connection.
    pub(crate) fn tcp(stream: &tokio::net::TcpStream) -> Arc<Self> {
        Arc::new(Self::new(stream.as_fd().try_clone_to_owned().ok()))
    }

    /// A connection whose answers need no watching.
    pub(crate) fn local() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    fn new(socket: Option<OwnedFd>) -> Self {
        Self {
            socket,
            written: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            end: OnceLock::new(),
            broken: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            hurries: AtomicBool::new(false),
            is_secure: AtomicBool::new(false),
            half_closed: Notify::new(),
            cut: Notify::new(),
            pending: Mutex::default(),
            goodbye: Mutex::default(),
            head: Mutex::new(Head::Begun(Instant::now())),
        }
    }

    /// A request's head is whole: a handler works.
    pub(crate) fn asked(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// It is to close as soon as its answer is with the system.
    pub(crate) fn hurry(&self) {
        self.hurries.store(true, Ordering::Release);
    }

    /// The answer that goes out next hands these commands over.
    pub(crate) fn watch(&self, handover: Handover) {
        let early = Early::of(self.socket.as_ref().map(Tcp::of).unwrap_or_default());
        *lock(&self.pending) = Pending::Answer(Answer { handover, begun: Instant::now(), early, taken: false });
    }

    /// Hyper has taken the answer's body.
    pub(crate) fn body_taken(&self) {
        self.busy.store(false, Ordering::Release);
        *lock(&self.head) = Head::Idle(Instant::now());
        if let Pending::Answer(answer) = &mut *lock(&self.pending) {
            answer.taken = true;
        }
    }

    /// How much of `bytes` goes in one packet: over TLS the end of an answer that is watched goes in a second one, and in
    /// a third where the peer has acknowledged the first already, for of one alone the acknowledgement is delayed.
    fn part(&self, bytes: usize) -> usize {
        let ends = || matches!(&*lock(&self.pending), Pending::Answer(answer) if answer.taken);
        if bytes < 2 || !self.is_secure.load(Ordering::Acquire) || !ends() {
            return bytes;
        }
        let all_is_acked = || self.acked() >= self.written.load(Ordering::Acquire);
        match bytes {
            2 if all_is_acked() => 1,
            2 => 2,
            _ => bytes - 2,
        }
    }

    /// An end was read.
    fn at_end(&self) {
        self.end.get_or_init(|| self.socket.as_ref().map(Tcp::of).unwrap_or_default());
        self.ended.store(true, Ordering::Release);
    }

    /// Something of the next request's head has come.
    fn head_comes(&self) {
        let mut head = lock(&self.head);
        if matches!(*head, Head::Idle(_)) {
            *head = Head::Begun(Instant::now());
        }
    }

    /// Resolves when the peer has closed its sending side while a handler works: whether it is still there, nobody can
    /// tell.
    pub(crate) async fn half_closed(&self) {
        self.half_closed.notified().await;
    }

    /// Breaks the connection, whatever is on its way.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Resolves when it is to be broken.
    pub(crate) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    /// When the next request's head must be whole, and whether anything of it has come.
    pub(crate) fn head_due(&self, head_timeout: Duration) -> (Instant, bool) {
        match *lock(&self.head) {
            Head::Idle(since) => (since + IDLE_TIMEOUT, false),
            Head::Begun(since) => (since + head_timeout, true),
        }
    }

    /// Everything that hyper had was written.
    fn flushed(self: &Arc<Self>, limits: &Patience) {
        let mut pending = lock(&self.pending);
        if !matches!(&*pending, Pending::Answer(answer) if answer.taken) {
            return;
        }
        let Pending::Answer(answer) = std::mem::replace(&mut *pending, Pending::Watched) else { return };
        *lock(&self.goodbye) = Goodbye::Withheld(None);
        drop(pending);
        let (conn, end) = (Arc::clone(self), self.written.load(Ordering::Acquire));
        let limits = limits.clone();
        tokio::spawn(async move {
            let _let_go = LetGo(&conn);
            let Answer { handover, begun, early, .. } = answer;
            handover.settle(conn.outcome(end, begun, early, &limits).await);
        });
    }

    /// Bytes that the peer has acknowledged.
    fn acked(&self) -> u64 {
        self.socket.as_ref().map_or(0, |socket| Tcp::of(socket).acked)
    }

    fn let_go(&self) {
        let goodbye = std::mem::take(&mut *lock(&self.goodbye));
        if let Goodbye::Withheld(Some(waiting)) = goodbye {
            waiting.wake();
        }
    }

    /// Ready once our goodbye may be said.
    fn poll_goodbye(&self, cx: &Context<'_>) -> Poll<()> {
        match &mut *lock(&self.goodbye) {
            Goodbye::Free => Poll::Ready(()),
            Goodbye::Withheld(waiting) => {
                *waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The connection's task is over: what was not written by now never will be.
    pub(crate) fn over(&self) {
        // Dropping the hand-over gives its commands back.
        drop(std::mem::take(&mut *lock(&self.pending)));
    }

    /// Watches until it is known, or known to be unknowable, whether an answer that was begun then, and whose last byte
    /// is the connection's byte `end`, arrived.
    async fn outcome(&self, end: u64, begun: Instant, mut early: Early, limits: &Patience) -> Outcome {
        let Some(socket) = &self.socket else { return Outcome::Uncertain };
        let mut acks = Acks::new();
        let whole_due = limits.write_timeout.map(|timeout| begun + timeout);
        let mut stop_due = None;
        let mut acked_at = None;
        for look in 0.. {
            let error = socket2::SockRef::from(socket).take_error();
            let tcp = Tcp::of(socket);
            let acked = tcp.acked >= end;
            for seen in [Some(&tcp), self.end.get()].into_iter().flatten() {
                early.note(*seen, end);
            }
            let now = Instant::now();
            let overdue = acks.due(tcp.acked, now);
            if limits.shutdown.is_triggered() {
                stop_due.get_or_insert(now + STOP_PATIENCE);
            }
            // Errors before the socket's state: a reset that comes between two looks must not be taken for an end.
            if self.broken.load(Ordering::Acquire) || !matches!(error, Ok(None)) {
                // The last bytes may have been acknowledged between the look above and the error. What came before a
                // reset counts: under TLS the peer's close becomes one when our own goodbye crosses it.
                return match Tcp::of(socket) {
                    tcp if tcp.acked < end => Outcome::Failed,
                    tcp if early.is_followed_by_more(tcp) => Outcome::Delivered,
                    _ => Outcome::Uncertain,
                };
            }
            if acked {
                if early.is_followed_by_more(tcp) {
                    return Outcome::Delivered;
                }
                if early.is_closed {
                    return Outcome::Uncertain;
                }
                let since = *acked_at.get_or_insert(now);
                if now - since > GOODBYE_REST {
                    self.let_go();
                }
                if now - since > CLOSE_PATIENCE || stop_due.is_some_and(|due| now > due) {
                    return Outcome::Uncertain;
                }
            } else if tcp.state == Tcp::CLOSE {
                return Outcome::Failed;
            } else if overdue || [whole_due, stop_due].into_iter().flatten().any(|due| now > due) {
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

/// What a peer had sent before it had acknowledged the whole of an answer: that says nothing of the answer.
#[derive(Debug, Clone, Copy)]
struct Early {
    received: u64,
    /// Nothing can follow.
    is_closed: bool,
}

impl Early {
    fn of(tcp: Tcp) -> Self {
        Self { received: tcp.received, is_closed: tcp.peer_closed() }
    }

    /// Takes in what was seen of the connection at some moment, if the answer up to `end` was not acknowledged then.
    fn note(&mut self, seen: Tcp, end: u64) {
        if seen.acked < end && seen.received >= self.received {
            *self = Self::of(seen);
        }
    }

    /// Whether the peer has said more by now: a request, a goodbye or its end, which counts as a byte.
    fn is_followed_by_more(self, now: Tcp) -> bool {
        now.received > self.received
    }
}

/// Whether a peer goes on acknowledging.
#[derive(Debug)]
struct Acks {
    to: u64,
    next_due: Instant,
}

impl Acks {
    fn new() -> Self {
        Self { to: 0, next_due: Instant::now() + ACK_PATIENCE }
    }

    /// Whether the next acknowledgement is overdue. `acked`: bytes that were acknowledged by now.
    fn due(&mut self, acked: u64, now: Instant) -> bool {
        if acked > self.to {
            (self.to, self.next_due) = (acked, now + ACK_PATIENCE);
        }
        now > self.next_due
    }
}

/// An answer that is being written, and that the peer does not take in.
#[derive(Debug)]
struct Stall {
    acks: Acks,
    whole_due: Instant,
    look: Pin<Box<Sleep>>,
}

impl Stall {
    fn new(write_timeout: Duration) -> Self {
        let now = Instant::now();
        let whole_due = now + write_timeout;
        let look = Box::pin(tokio::time::sleep_until(whole_due.min(now + STALL_LOOK)));
        Self { acks: Acks::new(), whole_due, look }
    }
}

/// For how long an answer's way is followed.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    /// In all; `None`: for ever.
    pub(crate) write_timeout: Option<Duration>,
    /// At a stop it ends sooner.
    pub(crate) shutdown: Shutdown,
}

/// The first bytes of what is to be written.
fn first<'b>(bufs: &'b [io::IoSlice<'_>], mut bytes: usize) -> Vec<io::IoSlice<'b>> {
    let mut take = |buf: &'b io::IoSlice<'_>| {
        let part = &buf[..buf.len().min(bytes)];
        bytes -= part.len();
        io::IoSlice::new(part)
    };
    bufs.iter().map(&mut take).filter(|part| !part.is_empty()).collect()
}

/// Ends a connection at once: what it still had to send is thrown away.
fn reset(socket: &OwnedFd) {
    if let Err(error) = rustix::net::connect_unspec(socket) {
        // It may be gone already, which is what is wanted.
        tracing::debug!("cannot reset a connection: {error}");
    }
}

/// Whether the peer has closed its receiving side too, or reset the connection.
fn hung_up(socket: &impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut looked = [PollFd::new(socket, PollFlags::empty())];
    let now = rustix::time::Timespec::default();
    poll(&mut looked, Some(&now)).is_ok() && looked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// The kernel's view of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tcp {
    state: u8,
    /// Bytes that the peer has acknowledged.
    acked: u64,
    /// Bytes that came from the peer in order, read or not; its FIN counts as one.
    received: u64,
}

impl Default for Tcp {
    fn default() -> Self {
        Self { state: Self::CLOSE, acked: 0, received: 0 }
    }
}

impl Tcp {
    const TIME_WAIT: u8 = 6;
    const CLOSE: u8 = 7;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;

    fn of(socket: &OwnedFd) -> Self {
        tcp_info(socket).unwrap_or_default()
    }

    /// Whether the peer's FIN was seen.
    fn peer_closed(self) -> bool {
        matches!(self.state, Self::TIME_WAIT | Self::CLOSE | Self::CLOSE_WAIT | Self::LAST_ACK | Self::CLOSING)
    }
}

/// `tcpi_state`, `tcpi_bytes_acked` and `tcpi_bytes_received` (Linux 4.1) of a socket.
#[expect(unsafe_code, reason = "no safe crate reads tcpi_bytes_acked; one getsockopt into a buffer of our own")]
fn tcp_info(socket: &OwnedFd) -> Option<Tcp> {
    /// Where they lie in `struct tcp_info` (linux/tcp.h): part of the kernel's ABI.
    const ACKED: usize = 120;
    const RECEIVED: usize = 128;
    let mut info = [0_u8; 256];
    let mut len = libc::socklen_t::try_from(info.len()).ok()?;
    // SAFETY: `info` is writable for `len` bytes, which the kernel shortens to what it wrote.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if failed != 0 || (len as usize) < RECEIVED + 8 {
        return None;
    }
    let number = |at: usize| info[at..at + 8].try_into().ok().map(u64::from_ne_bytes);
    Some(Tcp { state: info[0], acked: number(ACKED)?, received: number(RECEIVED)? })
}

/// A stream that counts, stalls no longer than allowed, and closes without destroying its last answer.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    inner: S,
    conn: Arc<Conn>,
    patience: Patience,
    stall: Option<Stall>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
    /// Read while hyper did not read.
    ahead: VecDeque<u8>,
}

impl<S> Wire<S> {
    pub(crate) fn new(inner: S, conn: Arc<Conn>, patience: Patience) -> Self {
        Self { inner, conn, patience, stall: None, linger: None, ahead: VecDeque::new() }
    }

    /// Counts the time that a peer leaves our bytes unread; an error when it takes none of them in for too long, or is too
    /// slow for one answer.
    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(timeout) = self.patience.write_timeout else { return Poll::Pending };
        let stall = self.stall.get_or_insert_with(|| Stall::new(timeout));
        loop {
            ready!(stall.look.as_mut().poll(cx));
            let now = Instant::now();
            if now >= stall.whole_due || stall.acks.due(self.conn.acked(), now) {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer"));
            }
            stall.look.as_mut().reset(stall.whole_due.min(now + STALL_LOOK));
        }
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.conn.broken.store(true, Ordering::Release);
        }
        result
    }
}

impl<S: AsyncRead + AsFd + Unpin> Wire<S> {
    /// Looks after the peer while a handler works and hyper does not read.
    ///
    /// # Errors
    /// When nobody is left to be answered.
    fn look_after_peer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut scratch = [0; 1024];
        while self.ahead.len() < AHEAD_BYTES && !self.conn.ended.load(Ordering::Acquire) {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return self.note(Err(error)),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    self.conn.at_end();
                    if hung_up(&self.inner) {
                        return self.note(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    self.conn.half_closed.notify_one();
                }
                Poll::Ready(Ok(())) => {
                    self.ahead.extend(buf.filled());
                    // Hyper may have left it to the socket to wake it.
                    cx.waker().wake_by_ref();
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let (bytes, _) = self.ahead.as_slices();
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..n]);
            self.ahead.drain(..n);
            self.conn.head_comes();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if result.is_ok() {
            if buf.filled().len() > before {
                self.conn.head_comes();
            } else if buf.remaining() > 0 {
                self.conn.at_end();
            }
        }
        Poll::Ready(self.note(result))
    }
}

impl<S: AsyncRead + AsyncWrite + AsFd + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let buf = &buf[..self.conn.part(buf.len())];
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
        let shorter;
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        let bufs = match self.conn.part(bytes) {
            part if part < bytes => {
                shorter = first(bufs, part);
                &shorter[..]
            }
            _ => bufs,
        };
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
            self.conn.flushed(&self.patience);
            if self.conn.busy.load(Ordering::Acquire) {
                self.look_after_peer(cx)?;
            }
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
            let conn = &self.conn;
            let hurries = conn.hurries.load(Ordering::Acquire) || self.patience.shutdown.is_triggered();
            if hurries || conn.ended.load(Ordering::Acquire) {
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

/// TLS over a [`Wire`]: says goodbye only when that cannot cost an answer its acknowledgement.
#[derive(Debug)]
pub(crate) struct Polite<S> {
    inner: S,
    conn: Arc<Conn>,
    /// It has said its goodbye.
    peer_is_done: bool,
}

impl<S> Polite<S> {
    pub(crate) fn new(inner: S, conn: Arc<Conn>) -> Self {
        conn.is_secure.store(true, Ordering::Release);
        Self { inner, conn, peer_is_done: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Polite<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Polite<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 1024];
        while self.conn.poll_goodbye(cx).is_pending() {
            // One that comes before the peer has taken the answer in is no acknowledgement: its watcher knows.
            if self.peer_is_done {
                return Poll::Pending;
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
                Ok(()) => self.peer_is_done = buf.filled().is_empty(),
                Err(_) => break,
            }
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
