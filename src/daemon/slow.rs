//! A slow lane: long work on a thread of low priority, so that those who are answered in between come first.
//!
//! Reading a list of some megabytes takes tens of milliseconds of a processor. On the runtime's own threads, or beside
//! them with the same rights, it would keep the store's writer waiting, and with it everybody.

use crate::sync::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, mpsc};
use tokio::sync::oneshot;

/// Below what others have by default, and not so far that nothing is left on a busy machine (about a thirtieth).
const NICE: i32 = 15;

type Work = Box<dyn FnOnce() + Send>;

/// The lane; its thread begins with the first work, and ends with the lane.
#[derive(Debug, Default)]
pub(crate) struct Lane(Mutex<Option<mpsc::Sender<Work>>>);

/// The work panicked, or no thread could be made for it.
#[derive(Debug)]
pub(crate) struct Failed;

impl Lane {
    /// Does it after what was asked before it.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move || {
            if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
                // Who asked may be gone.
                drop(reply.send(done));
            }
        });
        self.send(work)?;
        answer.await.map_err(|_| Failed)
    }

    fn send(&self, work: Work) -> Result<(), Failed> {
        let mut lane = lock(&self.0);
        let sender = match &mut *lane {
            Some(sender) => sender,
            none => none.insert(start().map_err(|error| {
                tracing::error!("cannot start a thread: {error}");
                Failed
            })?),
        };
        sender.send(work).map_err(|_| Failed)
    }
}

fn start() -> std::io::Result<mpsc::Sender<Work>> {
    let (sender, receiver) = mpsc::channel::<Work>();
    std::thread::Builder::new().name("slow".to_owned()).spawn(move || {
        // Of this thread alone, as Linux has it. Where it is refused the work is only less patient.
        let own = rustix::process::getpriority_process(None).unwrap_or_default();
        if let Err(error) = rustix::process::setpriority_process(None, NICE.max(own)) {
            tracing::debug!("cannot lower a thread's priority: {error}");
        }
        for work in receiver {
            work();
        }
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_on_after_a_panic_and_leaves_others_their_priority() {
        let lane = Lane::default();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(lane.run(nice).await.unwrap(), before.max(NICE));
        assert!(lane.run(|| panic!("as a test")).await.is_err());
        assert_eq!(lane.run(|| 7).await.unwrap(), 7);
        assert_eq!(nice(), before);
    }
}
