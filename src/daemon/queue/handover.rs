//! Hand-overs: commands that are in a client's answer, and how each comes back.
//!
//! A command is claimed on the store's thread, travels through a handler that may be cancelled at any `.await`, and is
//! judged by a watcher of its connection. Whoever holds the [`Handover`] when it is dropped, on whatever thread, ends it:
//! dropping only sends a word to the one task that records ends ([`Handovers::run`]). Nothing else settles a command, so nothing
//! that is claimed stays in flight because somebody had no runtime, no time or no next poll.

use crate::daemon::queue::settle::{Settled, settle};
use crate::daemon::queue::{changes::Changes, clock_steps::Clock, read, record::Phase};
use crate::store::{Error, Health, Store};
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Ends recorded in one transaction: keeps the writer free for others.
const SETTLE_MAX: usize = 200;
/// Between two tries while the store refuses.
const RETRY: Duration = Duration::from_secs(1);
/// A hand-over is judged so long after its connection ended at the latest (contract 6).
const JUDGED_WITHIN: Duration = Duration::from_secs(15);

/// What is known of a response's delivery (contract 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged by the peer's TCP, then an orderly close or a next request.
    Delivered,
    /// Acknowledged, then a reset or silence.
    Uncertain,
    /// The connection broke before the last byte was acknowledged.
    Failed,
}

/// Commands that are durably in flight until settled. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Handover {
    owner: Arc<Handovers>,
    number: u64,
    ids: Vec<u64>,
    through_proxy: bool,
}

/// A hand-over that is over, on its way to be recorded.
#[derive(Debug, Clone)]
struct Ended {
    number: u64,
    ids: Vec<u64>,
    outcome: Outcome,
}

/// A command in an answer: which hand-over has it, since when.
#[derive(Debug, Clone, Copy)]
struct Open {
    number: u64,
    since: Instant,
}

/// Every hand-over that is not recorded yet.
#[derive(Debug)]
pub(crate) struct Handovers {
    store: Store,
    clock: Arc<Clock>,
    changes: Arc<Changes>,
    ended: mpsc::UnboundedSender<Ended>,
    /// Until [`run`](Self::run) takes it. As many can wait as commands are in flight.
    to_record: Mutex<Option<mpsc::UnboundedReceiver<Ended>>>,
    /// By the command's id.
    open: Mutex<HashMap<u64, Open>>,
    unrecorded: watch::Sender<usize>,
    next: AtomicU64,
    /// Commands whose hand-over failed since the start.
    given_back: AtomicU64,
}

impl Handovers {
    pub(crate) fn new(store: Store, clock: Arc<Clock>, changes: Arc<Changes>) -> Self {
        let (ended, to_record) = mpsc::unbounded_channel();
        Self {
            store,
            clock,
            changes,
            ended,
            to_record: Mutex::new(Some(to_record)),
            open: Mutex::default(),
            unrecorded: watch::Sender::new(0),
            next: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
        }
    }

    /// Commands whose hand-over failed since the start.
    pub(crate) fn given_back(&self) -> u64 {
        self.given_back.load(Ordering::Relaxed)
    }

    /// Takes charge of commands that are being claimed. Call it inside the transaction: they must be known here before
    /// anybody can see them in flight, or a `retry` could slip in between.
    pub(crate) fn begin(self: &Arc<Self>, ids: Vec<u64>) -> Handover {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if !ids.is_empty() {
            self.unrecorded.send_modify(|n| *n += 1);
            let open = Open { number, since: Instant::now() };
            lock(&self.open).extend(ids.iter().map(|id| (*id, open)));
        }
        Handover { owner: Arc::clone(self), number, ids, through_proxy: false }
    }

    /// Whether a command is in an answer at this moment, or is being judged.
    pub(crate) fn has(&self, id: u64) -> bool {
        lock(&self.open).contains_key(&id)
    }

    /// Waits until every hand-over has been recorded; at a stop, before the store closes.
    pub(crate) async fn recorded(&self) {
        let mut unrecorded = self.unrecorded.subscribe();
        // The sender lives in `self`.
        drop(unrecorded.wait_for(|n| *n == 0).await);
    }

    /// Commands in flight although no answer has them, or for longer than an answer may take: ids, oldest first. After a
    /// crash with `redeliver = false` there are such; else there should be none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn hanging(&self, write_timeout: Duration) -> Result<Vec<u64>, Error> {
        let longest = write_timeout + JUDGED_WITHIN;
        let hangs = |id: u64| lock(&self.open).get(&id).is_none_or(|open| open.since.elapsed() > longest);
        let mut hanging = Vec::new();
        for id in read::in_flight(&self.store)? {
            // Its end may be recorded between the two looks.
            let still = || read::one(&self.store, id).map(|record| record.is_some_and(|r| r.phase == Phase::InFlight));
            if hangs(id) && still()? && hangs(id) {
                hanging.push(id);
            }
        }
        Ok(hanging)
    }

    /// What is still an ended hand-over's own. A claim that could not be synced leaves its commands ready, and another
    /// may have claimed them before its end is recorded. Call it inside the transaction, as `begin`.
    fn own(&self, ended: &Ended) -> Vec<u64> {
        let open = lock(&self.open);
        let is_own = |id: &&u64| open.get(id).is_some_and(|open| open.number == ended.number);
        ended.ids.iter().filter(is_own).copied().collect()
    }

    fn close(&self, ended: &Ended) {
        let mut open = lock(&self.open);
        for id in &ended.ids {
            // Once its end is durable, another poll may have claimed it already.
            if open.get(id).is_some_and(|open| open.number == ended.number) {
                open.remove(id);
            }
        }
        drop(open);
        self.unrecorded.send_modify(|n| *n -= 1);
    }

    /// Records how hand-overs ended, and goes on trying while the store refuses. Runs until it is aborted.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some(mut to_record) = lock(&self.to_record).take() else { return };
        let mut health = self.store.health();
        let mut waiting: Vec<Ended> = Vec::new();
        loop {
            let before = waiting.len();
            if before == 0 {
                // The sender lives in `self`.
                to_record.recv_many(&mut waiting, SETTLE_MAX).await;
            } else {
                tokio::select! {
                    _ = to_record.recv_many(&mut waiting, SETTLE_MAX) => {}
                    () = tokio::time::sleep(RETRY) => {}
                    _ = health.wait_for(|health| *health == Health::Writable), if *health.borrow() != Health::Writable => {}
                }
            }
            let given_back = waiting[before..].iter().filter(|ended| ended.outcome == Outcome::Failed);
            self.given_back.fetch_add(given_back.map(|ended| ended.ids.len() as u64).sum(), Ordering::Relaxed);
            waiting = self.record(waiting).await;
        }
    }

    /// Records ends, all in one step where that is possible; returns those that could not be recorded.
    async fn record(self: &Arc<Self>, ended: Vec<Ended>) -> Vec<Ended> {
        let ended = Arc::new(ended);
        let recorded = self.record_together(&ended).await;
        let ended = Arc::unwrap_or_clone(ended);
        match recorded {
            Ok(()) => {
                ended.iter().for_each(|ended| self.close(ended));
                self.changes.bump();
                if ended.iter().any(|ended| ended.outcome == Outcome::Failed) {
                    self.changes.hurry();
                }
                Vec::new()
            }
            Err(Error::Other(_)) if ended.len() > 1 => {
                // One that cannot be recorded must not keep the others from it.
                let mut left = Vec::new();
                for one in ended {
                    left.extend(Box::pin(self.record(vec![one])).await);
                }
                left
            }
            Err(error) => {
                let commands: usize = ended.iter().map(|ended| ended.ids.len()).sum();
                tracing::warn!(commands, "cannot record a hand-over, trying again: {error}");
                ended
            }
        }
    }

    async fn record_together(self: &Arc<Self>, ended: &Arc<Vec<Ended>>) -> Result<(), Error> {
        let reading = self.clock.reading_in_flight().await;
        let (handovers, ended) = (Arc::clone(self), Arc::clone(ended));
        let tail = *self.store.tail().borrow();
        let stored = self.store.write(move |tx| {
            for ended in ended.iter() {
                let settled = match ended.outcome {
                    Outcome::Delivered => Settled::Fetched { confirmed: true },
                    Outcome::Uncertain => Settled::Fetched { confirmed: false },
                    Outcome::Failed => Settled::GivenBack,
                };
                settle(tx, &handovers.own(ended), settled, tail, reading.now);
            }
            Ok::<_, std::convert::Infallible>(reading)
        });
        let Ok(_reading) = stored.await?;
        Ok(())
    }
}

impl Handover {
    /// The commands' ids.
    pub(crate) fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// The answer goes through a proxy, which acknowledges for a client that may be gone: nothing confirms it.
    #[must_use]
    pub(crate) fn through_proxy(mut self, through_proxy: bool) -> Self {
        self.through_proxy = through_proxy;
        self
    }

    /// Has the outcome recorded; returns at once.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        let ids = std::mem::take(&mut self.ids);
        if ids.is_empty() {
            return;
        }
        let outcome = match outcome {
            Outcome::Delivered if self.through_proxy => Outcome::Uncertain,
            outcome => outcome,
        };
        // Nobody records any more: the daemon is stopping, and the next start finds them in flight.
        drop(self.owner.ended.send(Ended { number: self.number, ids, outcome }));
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.end(Outcome::Failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::control::{Enqueue, State};
    use crate::daemon::accounts::poller::Poller;
    use crate::daemon::parts::Parts;
    use crate::daemon::shutdown::Shutdown;
    use crate::daemon::status::Listen;
    use crate::home::{Home, Wishes};
    use crate::store::Options;
    use std::path::Path;
    use std::pin::pin;
    use std::task::{Context, Waker};

    /// Far above what a busy machine needs.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// The parts over a store whose writer answers on its own thread, as it does when one waits alone.
    fn parts(dir: &Path) -> Parts {
        let (data, socket) = (dir.join("data"), dir.join("s"));
        std::fs::create_dir(&data).unwrap();
        let store = Store::open(&data, Options::default()).unwrap();
        let home = Home::resolve(&Wishes { config: Some(dir.join("c")), data_dir: Some(data), socket: Some(socket) });
        Parts::new(home.unwrap(), Config::default(), store, Listen::default(), Shutdown::new())
    }

    fn text(text: &str) -> Enqueue {
        let command = format!(r#"{{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"{text}"}}"#);
        serde_json::from_value(
            serde_json::json!({ "commands": [serde_json::from_str::<serde_json::Value>(&command).unwrap()] }),
        )
        .unwrap()
    }

    fn poller() -> Poller {
        Poller { wxid: None, account: None, pid: None, peer: "127.0.0.1:9".parse().unwrap() }
    }

    /// Polls a future this many times, with the store given time in between, and drops it.
    async fn abandon(future: impl Future, polls: usize) -> bool {
        let mut future = pin!(future);
        for n in 0..polls {
            if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return true;
            }
            if n + 1 < polls {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        false
    }

    impl Handover {
        /// As if the commands from `at` on had gone out in an answer of their own.
        fn split_off(&mut self, at: usize) -> Self {
            self.owner.begin(self.ids.split_off(at))
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    /// Waits until a command was claimed so often and is in that state.
    async fn reaches(parts: &Parts, id: u64, attempts: u32, state: State) {
        let start = Instant::now();
        loop {
            let receipt = parts.queue.receipt(id).unwrap();
            if (receipt.attempts, receipt.state) == (attempts, state) && !parts.handovers.has(id) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "still {} after {}", receipt.state, receipt.attempts);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn a_claim_that_is_dropped_at_any_await_gives_its_commands_back() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let parts = parts(dir.path());
            let recorder = tokio::spawn(Arc::clone(&parts.handovers).run());
            for polls in 0..4 {
                for round in 0..3 {
                    let id = parts.queue.enqueue(text(&format!("{polls} {round}"))).await.unwrap()[0].id;
                    abandon(parts.queue.claim(&poller(), Duration::ZERO, std::future::pending()), polls).await;
                    reaches(&parts, id, u32::from(polls > 0), State::Ready).await;
                    parts.queue.cancel(id).await.unwrap();
                }
            }
            // Nothing is left that would keep a stop waiting.
            tokio::time::timeout(DEADLINE, parts.handovers.recorded()).await.unwrap();
            assert!(parts.handovers.hanging(Duration::ZERO).unwrap().is_empty());
            recorder.abort();
        });
    }

    #[test]
    fn the_late_end_of_a_claim_that_failed_leaves_the_next_claim_alone() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let parts = parts(dir.path());
            let id = parts.queue.enqueue(text("a")).await.unwrap()[0].id;
            // As when the transaction's sync fails: the hand-over has begun, and the command stays ready.
            let failed = parts.handovers.begin(vec![id]);
            let claimed = parts.queue.claim(&poller(), Duration::ZERO, std::future::pending()).await.unwrap();
            assert_eq!(claimed.handover.as_ref().unwrap().ids(), [id]);
            drop(failed);
            let recorder = tokio::spawn(Arc::clone(&parts.handovers).run());
            // Ends are recorded in their order, so after this one the failed claim's is recorded as well.
            drop(parts.handovers.begin(vec![id + 1]));
            let all_but_one = async { parts.handovers.unrecorded.subscribe().wait_for(|n| *n == 1).await.is_ok() };
            assert!(tokio::time::timeout(DEADLINE, all_but_one).await.unwrap());
            assert_eq!(parts.queue.receipt(id).unwrap().state, State::InFlight);
            claimed.handover.unwrap().settle(Outcome::Delivered);
            reaches(&parts, id, 1, State::Fetched).await;
            recorder.abort();
        });
    }

    #[test]
    fn a_change_of_the_queue_is_told_though_who_asked_for_it_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let parts = parts(dir.path());
            let mut changed = parts.changes.subscribe();
            let mut told = async |what: &str| {
                let told = tokio::time::timeout(DEADLINE, changed.changed()).await;
                assert!(told.is_ok(), "nobody was told of {what}");
            };
            abandon(parts.queue.enqueue(text("a")), 1).await;
            told("a new command").await;
            let id = parts.queue.enqueue(text("b")).await.unwrap()[0].id;
            told("another").await;
            abandon(parts.queue.cancel(id), 1).await;
            told("a cancelled one").await;
            abandon(parts.queue.retry(id), 1).await;
            told("one that is tried again").await;
            abandon(parts.queue.pause(None, true), 1).await;
            told("a pause").await;
        });
    }

    #[test]
    fn a_hand_over_that_ends_on_a_thread_without_a_runtime_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let parts = parts(dir.path());
            let recorder = tokio::spawn(Arc::clone(&parts.handovers).run());
            for (outcome, proxy, state, confirmed) in [
                (None, false, State::Ready, None),
                (Some(Outcome::Failed), true, State::Ready, None),
                (Some(Outcome::Uncertain), false, State::Fetched, Some(false)),
                (Some(Outcome::Delivered), true, State::Fetched, Some(false)),
                (Some(Outcome::Delivered), false, State::Fetched, Some(true)),
            ] {
                let id = parts.queue.enqueue(text("x")).await.unwrap()[0].id;
                let claim = parts.queue.claim(&poller(), Duration::ZERO, std::future::pending()).await.unwrap();
                assert!(parts.handovers.has(id) && parts.queue.cancel(id).await.is_err());
                let handover = claim.handover.unwrap().through_proxy(proxy);
                let end = move || match outcome {
                    None => drop(handover),
                    Some(outcome) => handover.settle(outcome),
                };
                std::thread::spawn(end).join().unwrap();
                reaches(&parts, id, 1, state).await;
                let receipt = parts.queue.receipt(id).unwrap();
                assert_eq!(receipt.fetched.map(|f| f.confirmed), confirmed, "{outcome:?}");
                // Whatever became of it, it can be taken in hand again.
                parts.queue.retry(id).await.unwrap();
                parts.queue.cancel(id).await.unwrap();
            }
            recorder.abort();
        });
    }

    /// What the client reports when it has sent a text.
    fn echo(text: &str) -> bytes::Bytes {
        format!(
            r#"{{"data":{{"type":78,"msgType":"1","myMsg":"1","processid":"7","cwxid":"wxid_me","wxid":"filehelper","message":"{text}"}}}}"#
        )
        .into()
    }

    #[test]
    fn a_report_stops_the_next_hand_over_if_it_came_before_the_give_back() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let parts = parts(dir.path());
            let tasks =
                [tokio::spawn(Arc::clone(&parts.handovers).run()), tokio::spawn(Arc::clone(&parts.learner).run())];
            let named = Poller { account: Some("wxid_me".to_owned().into()), ..poller() };
            let claim = async || parts.queue.claim(&named, Duration::ZERO, std::future::pending()).await.unwrap();
            parts
                .log
                .receive(r#"{"data":{"type":67,"code":200,"processid":7,"cwxid":"wxid_me"}}"#.into(), None)
                .await
                .unwrap();

            // It is given back, and the next poll comes, before anything was learned from the report.
            let id = parts.queue.enqueue(text("early")).await.unwrap()[0].id;
            let (first, learning) = (claim().await, parts.learned.alone().await);
            parts.log.receive(echo("early"), None).await.unwrap();
            drop(first);
            reaches(&parts, id, 1, State::Ready).await;
            drop(learning);
            let next = claim().await;
            assert!(next.handover.is_none(), "{:?}", next.body);
            let receipt = parts.queue.receipt(id).unwrap();
            assert_eq!(receipt.state, State::Answered);
            assert!(receipt.fetched.unwrap().confirmed && receipt.answer.is_some());

            // What comes while no client has it is about something else.
            let id = parts.queue.enqueue(text("late")).await.unwrap()[0].id;
            drop(claim().await);
            reaches(&parts, id, 1, State::Ready).await;
            parts.log.receive(echo("late"), None).await.unwrap();
            let report = *parts.store.tail().borrow();
            let next = claim().await;
            next.handover.unwrap().settle(Outcome::Delivered);
            reaches(&parts, id, 2, State::Fetched).await;
            assert_eq!(parts.queue.receipt(id).unwrap().fetched.unwrap().after, report);

            // One of two equal ones that was handed over has the report, and the other goes again.
            let ids = [
                parts.queue.enqueue(text("twin")).await.unwrap()[0].id,
                parts.queue.enqueue(text("twin")).await.unwrap()[0].id,
            ];
            let both = claim().await;
            assert_eq!(both.body.iter().filter(|b| **b == b'{').count(), 2);
            let mut handover = both.handover.unwrap();
            let second = handover.split_off(1);
            drop(handover);
            second.settle(Outcome::Uncertain);
            reaches(&parts, ids[0], 1, State::Ready).await;
            reaches(&parts, ids[1], 1, State::Fetched).await;
            parts.log.receive(echo("twin"), None).await.unwrap();
            reaches(&parts, ids[1], 1, State::Answered).await;
            assert_eq!(parts.queue.receipt(ids[0]).unwrap().state, State::Ready);

            // A report that is learned from while it is handed over again ends it all the same.
            let again = claim().await;
            assert!(again.handover.is_some());
            parts.log.receive(echo("twin"), None).await.unwrap();
            drop(again);
            reaches(&parts, ids[0], 2, State::Answered).await;
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
        });
    }

    #[test]
    fn what_no_answer_has_is_told_as_hanging() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let parts = parts(dir.path());
            let id = parts.queue.enqueue(text("x")).await.unwrap()[0].id;
            let claim = parts.queue.claim(&poller(), Duration::ZERO, std::future::pending()).await.unwrap();
            let hanging = || parts.handovers.hanging(Duration::from_secs(60)).unwrap();
            assert!(hanging().is_empty(), "an answer has it");
            // As after a crash.
            lock(&parts.handovers.open).clear();
            assert_eq!(hanging(), [id]);
            drop(claim);
        });
    }
}
