//! Signals: taken before anything is opened, so that whenever SIGTERM or SIGINT comes the process ends in order, with 0
//! and in bounded time (contract 1).
//!
//! The main thread watches, and the work is done in another one. So nobody but `main` ends the process, also when what
//! is still at work hangs in a disk that does not answer.

use crate::daemon::shutdown::Shutdown;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A stop takes no longer than this, whatever is open: half a second less than is promised.
pub const STOP_MAX: Duration = Duration::from_millis(7500);
/// As much as a main thread has.
const STACK_BYTES: usize = 8 << 20;

/// What signals ask for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// To stop.
    pub shutdown: Shutdown,
    /// To read again what can be read again.
    pub reload: Arc<Notify>,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A file that may not grow further is an error of its write, and no reason to be killed.
    _too_large: Signal,
}

/// How the work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It was done, or could not be.
    Done(Result<(), String>),
    /// It did not end in time after this signal asked it to, and is left behind.
    Left(i32),
    /// It panicked.
    Panicked,
}

impl Signals {
    /// Takes the signals: from now on they do nothing but what [`Signals::run`] does. Starts no thread.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub fn take() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _in = runtime.enter();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _too_large: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
            runtime: {
                drop(_in);
                runtime
            },
        })
    }

    /// Does `work` in a thread of its own until it ends; a signal asks it to, and waits for `patience` at most.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn run(
        self,
        asked: &Asked,
        patience: Duration,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> io::Result<End> {
        let (done, ended) = oneshot::channel();
        let work = move || {
            // Whoever waits has left.
            drop(done.send(work()));
        };
        std::thread::Builder::new().name("daemon".to_owned()).stack_size(STACK_BYTES).spawn(work)?;
        let Self { runtime, mut terminate, mut interrupt, mut hangup, .. } = self;
        Ok(runtime.block_on(async {
            let mut ended = ended;
            let mut until: Option<Instant> = None;
            let mut number = 0;
            loop {
                tokio::select! {
                    result = &mut ended => return result.map_or(End::Panicked, End::Done),
                    Some(()) = terminate.recv() => number = libc::SIGTERM,
                    Some(()) = interrupt.recv() => number = libc::SIGINT,
                    Some(()) = hangup.recv() => {
                        asked.reload.notify_one();
                        continue;
                    }
                    () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                        return End::Left(number);
                    }
                }
                asked.shutdown.trigger();
                until.get_or_insert_with(|| Instant::now() + patience);
            }
        }))
    }
}
