//! What interrupts a wait: a pipe that anybody may write to, and the signals that do.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use crate::cli::error::{Error, Exit};
use rustix::event::{PollFd, PollFlags, Timespec};

/// The end that is waited on.
#[derive(Debug)]
pub(super) struct Wake {
    ours: UnixStream,
    theirs: Waker,
}

/// The end that ends the wait; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Waker(Arc<UnixStream>);

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok(Self { ours, theirs: Waker(Arc::new(theirs)) })
    }

    pub(super) fn waker(&self) -> Waker {
        self.theirs.clone()
    }

    /// Forgets who has woken us; whoever does from now on is heard.
    pub(super) fn heard(&mut self) {
        let mut rubbish = [0; 256];
        while matches!(self.ours.read(&mut rubbish), Ok(n) if n > 0) {}
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

impl Waker {
    pub(super) fn wake(&self) {
        // A full pipe wakes as well.
        drop((&*self.0).write(&[1]));
    }
}

/// SIGINT, SIGTERM and SIGHUP (the terminal was closed), noticed instead of obeyed: what is at work ends in order first.
/// A second one is obeyed, at once.
#[derive(Debug)]
pub(super) struct Signals(Arc<AtomicI32>);

impl Signals {
    /// Watches from now on, in a thread that ends with the process. `last` is done before a second signal ends it.
    pub(super) fn watch(waker: Waker, last: impl Fn() + Send + 'static) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let got = Arc::new(AtomicI32::new(0));
        let ours = Arc::clone(&got);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate, mut hangup) = {
            let _in = runtime.enter();
            // What our parent made us deaf to (a job in the background, nohup) stays unheard.
            let watch =
                |kind: SignalKind| if is_ignored(kind.as_raw_value()) { Ok(None) } else { signal(kind).map(Some) };
            (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?, watch(SignalKind::hangup())?)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                loop {
                    let number = tokio::select! {
                        Some(()) = heard(&mut interrupt) => SignalKind::interrupt().as_raw_value(),
                        Some(()) = heard(&mut terminate) => SignalKind::terminate().as_raw_value(),
                        Some(()) = heard(&mut hangup) => SignalKind::hangup().as_raw_value(),
                    };
                    if ours.swap(number, Ordering::SeqCst) != 0 {
                        // Whoever asks twice does not want to wait.
                        last();
                        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                    }
                    waker.wake();
                }
            });
        })?;
        Ok(Self(got))
    }

    /// How to end, when a signal asked for it.
    pub(super) fn asked(&self) -> Option<Error> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Error::silent(Exit::HungUp)),
            2 => Some(Error::silent(Exit::Interrupted)),
            _ => Some(Error::silent(Exit::Terminated)),
        }
    }

    /// The flag itself, for those who look at it now and then.
    pub(super) fn flag(&self) -> Arc<AtomicI32> {
        Arc::clone(&self.0)
    }
}

async fn heard(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// Waits until one of these can be read from (for `PollFlags::IN`) or is broken, at most until then. Says which.
pub(super) fn wait<const N: usize>(
    fds: [Option<(BorrowedFd<'_>, PollFlags)>; N],
    until: Option<Instant>,
) -> io::Result<[PollFlags; N]> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().flatten().map(|(fd, on)| PollFd::from_borrowed_fd(*fd, *on)).collect();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().min(1 << 30).try_into().unwrap_or(1 << 30),
            tv_nsec: left.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let mut results = polled.iter().map(PollFd::revents);
    Ok(fds.map(|fd| fd.and_then(|_| results.next()).unwrap_or_else(PollFlags::empty)))
}
