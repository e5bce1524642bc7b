//! Where a chat meets a database: what the doors ask for, in terms of protocol, store and directory.
//!
//! Steps of a callback: read the body → append → (synced) → note the account → answer. Steps of a poll: who is it →
//! is anything due → claim (synced) → response → `handover`. Nothing is answered before its effect is
//! synced (contract 6). What an event *means* is worked out after its answer, by `learner`.

use crate::clock::Time;
use crate::config::Config;
use crate::control::{self, Enqueue, Receipt, State};
use crate::daemon::accounts::poller::Poller;
use crate::daemon::accounts::{Accounts, POLLS_EVERY, Told};
use crate::daemon::ages::Ages;
use crate::daemon::budget::Budget;
use crate::daemon::failure::Failure;
use crate::daemon::log::entry;
use crate::daemon::queue::clock_steps::{Clock, Reading};
use crate::daemon::queue::handover::{Handover, Handovers};
use crate::daemon::queue::pacing;
use crate::daemon::queue::{self, Claimed, Lists, read};
use crate::daemon::shutdown::Shutdown;
use crate::daemon::slow;
use crate::daemon::sync::lock;
use crate::directory::{Names, Sign};
use crate::home::Home;
use crate::protocol::event::{Kind, Outline};
use crate::seq::Seq;
use crate::store::{self, Health, Store};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// A body of so many bytes is read in a slow lane: it takes longer than a few small callbacks, which should not wait for
/// it.
const LARGE_BODY_BYTES: usize = 256 << 10;

/// A moment that was to come when a request was made is past by so much at most when it is read, on a busy machine.
const PAST_MAX: Duration = Duration::from_secs(60);

/// All bodies of requests under way together, bytes (contract 6).
const BODIES_BYTES_MAX: usize = 256 << 20;

/// What both doors call; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    home: Home,
    config: Config,
    store: Store,
    shutdown: Shutdown,
    started: Instant,
    accounts: Mutex<Accounts>,
    /// Commands in a response at this moment.
    handovers: Arc<Handovers>,
    waiters: Arc<Waiters>,
    /// How far `learner` has read.
    reacted: watch::Sender<Seq>,
    /// How far the log went at the start: until all that is learned from, nobody knows whose commands are whose.
    started_at: Seq,
    /// Held while the directory is written to.
    learner: tokio::sync::Mutex<()>,
    /// Somebody waits for it.
    hurry: Notify,
    /// An account has polled that had not since the start.
    polled_anew: Notify,
    /// For large bodies, and for what they teach: who posts one does not wait for the other.
    reading: slow::Lane,
    learning: slow::Lane,
    /// Who reads from which cursor.
    leases: Mutex<HashMap<String, (u64, String)>>,
    lease_next: AtomicU64,
    followers: AtomicU64,
    following: crate::daemon::log::follow::Following,
    /// Bodies of requests under way, at both doors.
    bodies: Budget,
    counters: Counters,
    forwards: crate::daemon::forwards::Forwards,
    clock: Arc<Clock>,
    /// Who asks, and holds a connection for it.
    asks: crate::daemon::queue::asks::Asks,
    /// Who waits for which answer.
    awaited: crate::daemon::queue::awaited::Awaited,
    /// What the doors listen on.
    listen: Mutex<Listen>,
}

/// Who waits for a change of the queue.
#[derive(Debug, Default)]
struct Waiters {
    /// Bumped when the queue changed: waiters look again.
    queue_changed: watch::Sender<u64>,
    /// A command may expire earlier than what was looked for last.
    expiring: Notify,
    /// Commands queued since the start.
    enqueued: AtomicU64,
}

/// Tells those who wait that the queue has changed, when it is dropped. It travels in a transaction's result: so it
/// speaks once the change is durable, also when whoever asked for it has gone meanwhile.
#[derive(Debug)]
struct News {
    waiters: Arc<Waiters>,
    queued: u64,
    expiring: bool,
    withheld: bool,
}

impl News {
    /// Nothing has changed after all.
    fn withhold(mut self) {
        self.withheld = true;
    }
}

impl Drop for News {
    fn drop(&mut self) {
        if self.withheld {
            return;
        }
        self.waiters.enqueued.fetch_add(self.queued, Ordering::Relaxed);
        self.waiters.queue_changed.send_modify(|n| *n += 1);
        if self.expiring {
            self.waiters.expiring.notify_one();
        }
    }
}

/// What the daemon tells the service of its doors, for `status`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listen {
    /// `ip:port` of each listener of the client door.
    pub(crate) http: Vec<SocketAddr>,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
    /// The settings file that was read.
    pub(crate) config: Option<std::path::PathBuf>,
}

/// What is counted since the start, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    kinds: Mutex<BTreeMap<&'static str, u64>>,
    polls: AtomicU64,
    handed: AtomicU64,
    given_back: AtomicU64,
    last_callback: Mutex<Option<Time>>,
}

/// What became of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    /// Durable; answer 200.
    Stored(Seq),
    /// Durable as `unparsed`; answer 400 with the reason.
    Unparsed(Seq, String),
}

/// Commands for one poll.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The response body: an ASCII JSON array, `[]` when there is nothing.
    pub(crate) body: Bytes,
    /// `None` when there is nothing to settle (an empty answer).
    pub(crate) handover: Option<Handover>,
    /// Whose poll it was taken for, as far as that is known.
    pub(crate) account: Option<String>,
}

impl Claim {
    fn empty() -> Self {
        Self { body: Bytes::from_static(b"[]"), handover: None, account: None }
    }

    /// Nothing, for a poll of that account.
    fn nothing_for(account: Option<String>) -> Self {
        Self { account, ..Self::empty() }
    }
}

/// A reader's hold on a cursor; others are refused until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    service: Service,
    name: String,
    pub(crate) id: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.service.release(&self.name, self.id);
    }
}

/// Takes an event into account when it is dropped: also when the client hangs up before its answer, for the event is
/// stored all the same.
struct Noted<'a> {
    service: &'a Service,
    outline: &'a Outline,
    sign: Sign,
    names: Names,
    now: Time,
    is_noted: bool,
}

impl Noted<'_> {
    /// Notes it, as of its place in the log; true when it is of the first account of all.
    fn note(&mut self, seq: Seq) -> bool {
        self.is_noted = true;
        let counters = &self.service.0.counters;
        let kind = self.outline.kind.map_or("other", Kind::as_str);
        *lock(&counters.kinds).entry(kind).or_default() += 1;
        *lock(&counters.last_callback) = Some(self.now);
        let Outline { account, pid, .. } = self.outline;
        let names = std::mem::take(&mut self.names);
        let told = Told { account: account.as_deref(), pid: *pid, sign: self.sign, names, seq, time: self.now };
        self.service.accounts().event(told)
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if !self.is_noted {
            // Its place is not known here, and is this or a later one. Names that have a wrong place would stay; it was
            // not answered, so they may come by way of `learner`.
            let tail = *self.service.0.store.tail().borrow();
            self.names = Names::default();
            self.note(tail);
        }
    }
}

/// Runs a read of the store on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    service: &Service,
    work: impl FnOnce(&Service) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let service = service.clone();
    let done = tokio::task::spawn_blocking(move || work(&service)).await;
    done.unwrap_or_else(|_| Err(Failure::new(500, "internal", "an internal error; the daemon's log says more")))
}

impl Service {
    /// A service over an open store.
    #[must_use]
    pub(crate) fn new(home: Home, config: Config, store: Store, shutdown: Shutdown) -> Self {
        let started_at = *store.tail().borrow();
        let following = crate::daemon::log::follow::Following::new(home.data_dir.clone());
        let clock = Arc::new(Clock::new(store.clone()));
        Self(Arc::new(Inner {
            home,
            config,
            store,
            shutdown,
            started: Instant::now(),
            accounts: Mutex::default(),
            handovers: Arc::default(),
            waiters: Arc::default(),
            reacted: watch::Sender::new(Seq::ZERO),
            started_at,
            learner: tokio::sync::Mutex::default(),
            hurry: Notify::new(),
            polled_anew: Notify::new(),
            reading: slow::Lane::default(),
            learning: slow::Lane::default(),
            leases: Mutex::default(),
            // A lease of the daemon before this one must not be taken for one of this one's.
            lease_next: AtomicU64::new(fastrand::u64(1..1 << 52)),
            followers: AtomicU64::new(0),
            following,
            bodies: Budget::new(BODIES_BYTES_MAX),
            counters: Counters::default(),
            forwards: crate::daemon::forwards::Forwards::default(),
            clock,
            asks: crate::daemon::queue::asks::Asks::default(),
            awaited: crate::daemon::queue::awaited::Awaited::default(),
            listen: Mutex::default(),
        }))
    }

    /// The settings in force.
    #[must_use]
    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn home(&self) -> &Home {
        &self.0.home
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    pub(crate) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        lock(&self.0.accounts)
    }

    pub(crate) fn forwards(&self) -> &crate::daemon::forwards::Forwards {
        &self.0.forwards
    }

    pub(crate) fn reacted(&self) -> &watch::Sender<Seq> {
        &self.0.reacted
    }

    /// Held while the directory is written to: by one at a time.
    pub(crate) fn learner(&self) -> &tokio::sync::Mutex<()> {
        &self.0.learner
    }

    /// Told when somebody waits for `learner`.
    pub(crate) fn hurry(&self) -> &Notify {
        &self.0.hurry
    }

    /// Told when an account has polled that had not since the start.
    pub(crate) fn polled_anew(&self) -> &Notify {
        &self.0.polled_anew
    }

    pub(crate) fn handovers(&self) -> &Arc<Handovers> {
        &self.0.handovers
    }

    pub(crate) fn count_given_back(&self, commands: u64) {
        self.0.counters.given_back.fetch_add(commands, Ordering::Relaxed);
    }

    pub(crate) fn asks(&self) -> &crate::daemon::queue::asks::Asks {
        &self.0.asks
    }

    pub(crate) fn awaited(&self) -> &crate::daemon::queue::awaited::Awaited {
        &self.0.awaited
    }

    pub(crate) fn following(&self) -> &crate::daemon::log::follow::Following {
        &self.0.following
    }

    /// What bodies of requests may take together.
    pub(crate) fn bodies(&self) -> &Budget {
        &self.0.bodies
    }

    pub(crate) fn followers(&self) -> &AtomicU64 {
        &self.0.followers
    }

    pub(crate) fn queue_changed(&self) -> watch::Receiver<u64> {
        self.0.waiters.queue_changed.subscribe()
    }

    /// Where large events are learned from.
    pub(crate) fn learning(&self) -> &slow::Lane {
        &self.0.learning
    }

    /// Told when a command may expire earlier than what was looked for last.
    pub(crate) fn expiring(&self) -> &Notify {
        &self.0.waiters.expiring
    }

    /// Tells waiters that the queue is not what it was.
    pub(crate) fn bump(&self) {
        self.0.waiters.queue_changed.send_modify(|n| *n += 1);
    }

    /// To be put into the result of a transaction that changes the queue.
    fn news(&self) -> News {
        News { waiters: Arc::clone(&self.0.waiters), queued: 0, expiring: false, withheld: false }
    }

    /// Tells what the doors listen on, for `status`.
    pub(crate) fn listens(&self, listen: Listen) {
        *lock(&self.0.listen) = listen;
    }

    /// After a start: lets go, or says, what was in flight when the daemon before ended.
    pub(crate) async fn start(&self, redeliver: bool) {
        if let Err(error) = self.0.clock.restore() {
            tracing::error!("cannot see whether the clock was set: {error}");
        }
        crate::daemon::queue::takeup::run(self, redeliver).await;
    }

    /// What the wall clock says, steps that are not followed yet apart.
    pub(crate) fn now(&self) -> Time {
        self.0.clock.now()
    }

    /// The same for what is stored by it: no step is followed while this lives.
    pub(crate) async fn reading(&self) -> Reading {
        self.0.clock.reading().await
    }

    /// The same for the end of a hand-over.
    pub(crate) async fn reading_in_flight(&self) -> Reading {
        self.0.clock.reading_in_flight().await
    }

    /// How old things are.
    pub(crate) fn ages(&self) -> Ages {
        self.0.clock.ages()
    }

    /// Remembers how the clock stands.
    pub(crate) async fn remember_the_clock(&self) {
        self.0.clock.remember().await;
    }

    /// Sees whether the clock was set, before anything is done by it.
    pub(crate) async fn mind_the_clock(&self) -> Result<(), store::Error> {
        self.0.clock.mind().await
    }

    /// Waits until everything answered so far has been learned from: so that a question asked after a callback was
    /// answered sees what it told. Bounded, because a slow directory must not hold a user up.
    pub(crate) async fn caught_up(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let tail = *self.0.store.tail().borrow();
        let mut reacted = self.0.reacted.subscribe();
        self.0.hurry.notify_one();
        // After the patience we answer with what is known.
        drop(tokio::time::timeout(PATIENCE, reacted.wait_for(|seq| *seq >= tail)).await);
    }

    /// How far the log went at the start.
    pub(crate) fn started_at(&self) -> Seq {
        self.0.started_at
    }

    /// As [`caught_up`](Self::caught_up), and waits also for what the ends of commands teach: for questions about people
    /// and rooms. A list that may get another piece teaches nothing yet.
    pub(crate) async fn all_learned(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        const LOOK: Duration = Duration::from_millis(10);
        self.caught_up().await;
        let until = tokio::time::Instant::now() + PATIENCE;
        while crate::daemon::learner::lessons::are_left(self) && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The first account of all: what unnamed clients have spent was its own.
    async fn adopt_unnamed(&self) {
        let Some(purse) = self.accounts().only_purse() else { return };
        let (now, pacing) = (self.now(), self.0.config.pacing.clone());
        let adopt = move |tx: &mut store::Txn<'_>| {
            pacing::Pace::load(tx, &purse, now, &pacing).store(tx, &purse);
            Ok::<_, std::convert::Infallible>(())
        };
        // Should it fail, the account's first claim does the same, unless another account is known by then.
        if let Err(error) = self.0.store.write_lazily(adopt).await {
            tracing::debug!("cannot note whose the pacing of unnamed clients is: {error}");
        }
    }

    /// Stores one callback; returns when it is durable, with the account and process that the event is of.
    /// `via` is what the request said of the daemons that it has passed.
    ///
    /// # Errors
    /// 503 when the store refuses writes.
    pub(crate) async fn receive(
        &self,
        body: Bytes,
        via: Option<String>,
    ) -> Result<(Received, Option<String>, Option<u64>), Failure> {
        let now = self.now();
        if !self.0.clock.is_quiet() {
            // The janitor follows it; a callback does not wait for that.
            self.expiring().notify_one();
        }
        let read = if body.len() < LARGE_BODY_BYTES {
            entry::incoming(body, now, via.as_deref(), |pid| self.owner(pid))
        } else {
            let service = self.clone();
            let read = move || entry::incoming(body, now, via.as_deref(), |pid| service.owner(pid));
            let read = self.0.reading.run(read).await;
            read.map_err(|slow::Failed| Failure::new(500, "internal", "an internal error; the daemon's log says more"))?
        };
        let entry::Incoming { append, outline, sign, names, unreadable } = read;
        let mut noted = Noted { service: self, outline: &outline, sign, names, now, is_noted: false };
        let seq = match self.0.store.append(append).await {
            Ok(seq) => seq,
            Err(error) => {
                noted.is_noted = true;
                return Err(error.into());
            }
        };
        let is_first = noted.note(seq);
        drop(noted);
        if is_first {
            self.adopt_unnamed().await;
        }
        let received = match unreadable {
            None => Received::Stored(seq),
            Some(reason) => Received::Unparsed(seq, reason),
        };
        Ok((received, outline.account, outline.pid))
    }

    /// Who is logged in in a process. Nobody can tell while the last that was told before the start is not yet learned.
    fn owner(&self, pid: u64) -> Option<String> {
        let knows = *self.0.reacted.borrow() >= self.0.started_at;
        if knows { self.accounts().owner(pid) } else { None }
    }

    /// Takes what is due for this poller; durably in flight when it returns. Waits up to `hold` for something to
    /// become due; returns empty at shutdown, and when `leaving` resolves: the poller may be gone.
    ///
    /// # Errors
    /// 503 when something is due but the store refuses writes.
    pub(crate) async fn claim(
        &self,
        poller: &Poller,
        hold: Duration,
        leaving: impl Future<Output = ()>,
    ) -> Result<Claim, Failure> {
        self.0.counters.polls.fetch_add(1, Ordering::Relaxed);
        let until = tokio::time::Instant::now() + hold;
        let mut leaving = std::pin::pin!(leaving);
        let mut changed = self.queue_changed();
        loop {
            changed.mark_unchanged();
            // A refusing store refuses the claim as well, when there is something to claim.
            drop(self.mind_the_clock().await);
            let now = self.now();
            let claim = self.claim_now(poller).await?;
            if claim.handover.is_some() || hold.is_zero() || self.0.shutdown.is_triggered() {
                return Ok(claim);
            }
            // Pacing lets a command go later than it is due, so look again every second while something is due.
            let again = match read::next_due(&self.0.store, now)? {
                _ if read::has_due(&self.0.store, now)? => Duration::from_secs(1),
                Some(next) => next.since(now) + Duration::from_millis(1),
                None => hold,
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(Claim::empty()),
                () = self.0.shutdown.wait() => return Ok(Claim::empty()),
                () = &mut leaving => return Ok(Claim::empty()),
                () = tokio::time::sleep(again) => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// Waits until what was told before the start is learned from: a logout may be the last thing there. Not for long;
    /// false when it is not yet.
    async fn knows_the_accounts(&self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(2);
        let start = self.0.started_at;
        if *self.0.reacted.borrow() >= start {
            return true;
        }
        let mut reacted = self.0.reacted.subscribe();
        let learned = tokio::time::timeout(PATIENCE, reacted.wait_for(|seq| *seq >= start)).await;
        matches!(learned, Ok(Ok(_)))
    }

    async fn claim_now(&self, poller: &Poller) -> Result<Claim, Failure> {
        if !self.knows_the_accounts().await {
            return Ok(Claim::empty());
        }
        let reading = self.reading().await;
        let now = reading.now;
        let mut routed = self.accounts().route(poller, &self.0.config.accounts, now);
        if self.accounts().take_polled_anew() {
            self.0.polled_anew.notify_one();
        }
        if !read::has_due(&self.0.store, now)? {
            return Ok(Claim::nothing_for(routed.account));
        }
        if read::has_given_back(&self.0.store)? {
            // An event that was answered already may prove that it arrived; and a logout counts too.
            self.caught_up().await;
            routed = self.accounts().route(poller, &self.0.config.accounts, now);
        }
        let account = routed.account.clone();
        let purse = self.accounts().purse_of(&routed, poller.pid);
        let tail = *self.0.store.tail().borrow();
        let by = Claimed {
            time: now,
            account: routed.account,
            names: routed.names,
            pid: poller.pid,
            peer: poller.peer.to_string(),
            tail,
            purse: purse.key().to_owned(),
        };
        let lists = Lists { bound: routed.bound, unbound: routed.unbound, purse };
        let (batch, pacing) = (self.0.config.queue.batch, self.0.config.pacing.clone());
        let (handovers, news) = (Arc::clone(&self.0.handovers), self.news());
        let taken = self.0.store.write(move |tx| {
            let taken = queue::claim(tx, &lists, &by, batch, &pacing);
            // If the poll goes away while this is synced, dropping the hand-over gives the commands back.
            let handover = handovers.begin(taken.iter().map(|r| r.id).collect());
            Ok::<_, Failure>((taken, handover, news, reading))
        });
        let (taken, handover, news, _reading) = taken.await??;
        if taken.is_empty() {
            // Something was due, and not for this one; or it expired just now.
            news.withhold();
            return Ok(Claim::nothing_for(account));
        }
        self.0.counters.handed.fetch_add(taken.len() as u64, Ordering::Relaxed);
        let commands: Vec<&str> = taken.iter().map(|r| r.command.get()).collect();
        Ok(Claim { body: format!("[{}]", commands.join(",")).into(), handover: Some(handover), account })
    }

    /// Whether the store accepts writes.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn healthy(&self) -> Result<(), String> {
        match &*self.0.store.health().borrow() {
            Health::Writable => Ok(()),
            Health::Refusing(reason) => Err(reason.clone()),
        }
    }

    // What the control door asks for.

    /// Queues commands; all or none.
    pub(crate) async fn enqueue(&self, request: Enqueue) -> Result<Vec<Receipt>, Failure> {
        self.enqueue_by(request, queue::enqueue).await
    }

    /// Queues a question to a person; it has a turn in its chat, see `asks`.
    pub(crate) async fn enqueue_ask(&self, request: Enqueue, queue: bool) -> Result<Receipt, Failure> {
        let one = || Failure::new(400, "no-question", "give one command, the question");
        if request.commands.len() != 1 || request.dry_run {
            return Err(one());
        }
        let ask =
            move |tx: &mut store::Txn<'_>, now, account: Option<&str>, mut new: Vec<queue::New>, when, limits: &_| {
                let question = new.pop().ok_or_else(one)?;
                queue::ask(tx, now, account, question, when, limits, queue).map(|made| vec![made])
            };
        self.enqueue_by(request, ask).await?.pop().ok_or_else(one)
    }

    /// A question whose asker came back after a start may be asked.
    pub(crate) async fn asker_is_back(&self, id: u64) -> Result<(), store::Error> {
        let news = self.news();
        let back = self.0.store.write(move |tx| {
            queue::ask_waits(tx, id, false);
            Ok::<_, std::convert::Infallible>(news)
        });
        let Ok(_done) = back.await?;
        Ok(())
    }

    /// Ends the turn of a question that nobody waits for any more.
    pub(crate) async fn end_ask(&self, id: u64) -> Result<(), store::Error> {
        let (reading, news) = (self.reading().await, self.news());
        let ended = self.0.store.write(move |tx| {
            queue::end_ask(tx, id, reading.now);
            Ok::<_, std::convert::Infallible>((news, reading))
        });
        let Ok(_done) = ended.await?;
        Ok(())
    }

    /// Waits, where pollers that were no account have taken something, until that is the account's that they are by now.
    async fn knows_its_pollers(&self) -> Result<(), Failure> {
        if queue::introduce::has_pollers(&self.0.store)? {
            self.caught_up().await;
        }
        Ok(())
    }

    async fn enqueue_by(
        &self,
        request: Enqueue,
        act: impl FnOnce(
            &mut store::Txn<'_>,
            Time,
            Option<&str>,
            Vec<queue::New>,
            queue::When,
            &crate::config::Queue,
        ) -> Result<Vec<(queue::Record, bool)>, Failure>
        + Send
        + 'static,
    ) -> Result<Vec<Receipt>, Failure> {
        // A nick may have been told, or become ambiguous, before the start; an id cannot.
        let by_nick =
            request.account.as_deref().is_some_and(|name| !self.accounts().is_id(name, &self.0.config.accounts));
        if by_nick {
            self.knows_the_accounts().await;
        }
        self.knows_its_pollers().await?;
        self.mind_the_clock().await?;
        // It is stored by the time that is looked at here, and moved with the rest should the clock be set meanwhile.
        let reading = self.reading().await;
        let now = reading.now;
        let meant = self.accounts().mean(request.account.as_deref(), &self.0.config.accounts);
        // What is wrong with the commands is told before whose they are.
        let new = crate::daemon::queue::checks::commands(&request, &self.0.config.files, |name| {
            let account = meant.as_ref().ok().cloned().flatten();
            let query = control::ResolveQuery { name: name.to_owned(), account, ..control::ResolveQuery::default() };
            crate::directory::resolve(&self.0.store, &query).is_ok_and(|found| !found.is_empty())
        })?;
        let account = meant?;
        if request.delay_ms.is_some() && request.due.is_some() {
            return Err(Failure::new(400, "bad-time", "give `delay_ms` or `due`, not both"));
        }
        if request.due.is_some_and(|due| now.since(due) > PAST_MAX) {
            let message = "`due` is past; give a moment to come, or leave it out for at once";
            return Err(Failure::new(400, "bad-time", message));
        }
        let due = match request.delay_ms {
            Some(ms) => now.after(Duration::from_millis(ms)),
            None => request.due.unwrap_or(now),
        };
        let expires = request.expires_ms.map(|ms| due.max(now).after(Duration::from_millis(ms)));
        let when = queue::When { due, expires, fixed: request.due.is_some(), bulk: request.bulk };
        let limits = self.0.config.queue.clone();
        let dry_run = request.dry_run;
        let mut news = self.news();
        let made = self.0.store.write(move |tx| {
            let made = act(tx, now, account.as_deref(), new, when, &limits).map_err(Err)?;
            // An error undoes what the transaction did: the dry run's way out.
            if dry_run {
                return Err(Ok(made));
            }
            (news.queued, news.expiring) = (made.len() as u64, expires.is_some());
            Ok((made, news, reading))
        });
        let made = match made.await? {
            Ok((made, ..)) | Err(Ok(made)) => made,
            Err(Err(failure)) => return Err(failure),
        };
        // Of a batch the first tells how it stands; the others wait behind it. They are queued, whatever is told of it.
        let first = made.first().filter(|_| !dry_run);
        let mut held =
            first.and_then(|(first, _)| crate::daemon::queue::held::Holder::new(self, now).ok()?.one(first).ok()?);
        let receipt = |(record, repeated): &(queue::Record, bool)| Receipt {
            repeated: *repeated,
            held: held.take(),
            ..record.receipt(now)
        };
        Ok(made.iter().map(receipt).collect())
    }

    pub(crate) async fn cancel(&self, id: u64) -> Result<Receipt, Failure> {
        self.cancel_each(vec![id]).await?.remove(0)
    }

    /// Takes commands back that nobody has fetched, each by itself; tells of each what became of it.
    pub(crate) async fn cancel_each(&self, ids: Vec<u64>) -> Result<Vec<Result<Receipt, Failure>>, Failure> {
        let (handovers, news) = (Arc::clone(&self.0.handovers), self.news());
        let reading = self.reading().await;
        let now = reading.now;
        let done = self.0.store.write(move |tx| {
            let cancelled = ids.into_iter().map(|id| queue::cancel(tx, id, handovers.has(id), now)).collect::<Vec<_>>();
            Ok::<_, std::convert::Infallible>((cancelled, news, reading))
        });
        let Ok((cancelled, ..)) = done.await?;
        Ok(cancelled.into_iter().map(|done| done.map(|record| record.receipt(now))).collect())
    }

    pub(crate) async fn retry(&self, id: u64) -> Result<Receipt, Failure> {
        let (handovers, mut news) = (Arc::clone(&self.0.handovers), self.news());
        news.expiring = true;
        self.knows_its_pollers().await?;
        self.mind_the_clock().await?;
        let reading = self.reading().await;
        let now = reading.now;
        let record = self.0.store.write(move |tx| {
            let record = queue::retry(tx, id, handovers.has(id), now)?;
            Ok::<_, Failure>((record, news, reading))
        });
        let (record, ..) = record.await??;
        Ok(record.receipt(now))
    }

    pub(crate) fn record(&self, id: u64) -> Result<queue::Record, Failure> {
        read::one(&self.0.store, id)?.ok_or_else(|| {
            Failure::new(
                404,
                "not-found",
                format!("there is no command {id}; `wehelp queue list --all` shows those kept"),
            )
        })
    }

    /// One command as it is now. Cheap: waiters ask at each change of the queue.
    pub(crate) fn receipt(&self, id: u64, now: Time) -> Result<Receipt, Failure> {
        Ok(self.record(id)?.receipt(now))
    }

    /// One command, with the reason why it is held, if it is: that needs a look at all those in front.
    pub(crate) fn command(&self, id: u64, now: Time) -> Result<Receipt, Failure> {
        let record = self.record(id)?;
        if !matches!(record.state(now), State::Ready | State::Scheduled) {
            return Ok(record.receipt(now));
        }
        let held = crate::daemon::queue::held::Holder::new(self, now)?.one(&record)?;
        Ok(Receipt { held, ..record.receipt(now) })
    }

    pub(crate) async fn pause(&self, account: Option<&str>, pause: bool) -> Result<control::Paused, Failure> {
        // What can be sent to can be paused, and what commands are kept of.
        let sendable = account.map(|name| self.accounts().named(name, &self.0.config.accounts));
        let account = match sendable {
            Some(Err(_)) => self.account_filter(account).await?,
            sendable => sendable.transpose()?,
        };
        let news = self.news();
        let paused = self.0.store.write(move |tx| {
            let paused = queue::set_paused(tx, account.as_deref(), pause);
            Ok::<_, Failure>((paused, news))
        });
        let (paused, _news) = paused.await??;
        Ok(paused)
    }

    /// The account that a filter names: an event has told of it, or the queue keeps commands of it, which may be ahead of
    /// the login, or behind `account forget`.
    ///
    /// # Errors
    /// When it is neither (contract 5), or several have the name.
    pub(crate) async fn account_filter(&self, name: Option<&str>) -> Result<Option<String>, Failure> {
        let Some(name) = name else { return Ok(None) };
        let told = self.account_told(Some(name)).await;
        let meant = self.account_or_name(name);
        let Err(unknown) = told else { return told };
        let (service, account) = (self.clone(), meant.clone());
        let keeps = tokio::task::spawn_blocking(move || read::keeps(&service.0.store, &account)).await;
        match keeps.unwrap_or(Ok(false))? {
            true if unknown.status == 404 => Ok(Some(meant)),
            _ => Err(unknown),
        }
    }

    /// The account of that name, which an event has told of.
    ///
    /// # Errors
    /// When none has (contract 5), or several have the name.
    pub(crate) async fn account_told(&self, name: Option<&str>) -> Result<Option<String>, Failure> {
        let Some(name) = name else { return Ok(None) };
        if !self.accounts().is_id(name, &self.0.config.accounts) {
            self.knows_the_accounts().await;
        }
        self.accounts().told(name, &self.0.config.accounts).map(Some)
    }

    /// The account that a name means, or the name: for what may not be told of yet, or be forgotten since.
    pub(crate) fn account_or_name(&self, name: &str) -> String {
        self.accounts().id_of(name, &self.0.config.accounts)
    }

    /// What to type into a client so that it gets the commands of an account.
    pub(crate) fn poll_address(&self, account: &str) -> String {
        let port = lock(&self.0.listen).http.first().map_or(4567, SocketAddr::port);
        format!("http://HOST:{port}/send_msg?account={account}")
    }

    /// Forgets an account, or a poller, and what is known of it; its events stay.
    ///
    /// # Errors
    /// `account-in-use` while its client polls or commands wait, unless `force`, which cancels those.
    pub(crate) async fn forget_account(&self, name: &str, force: bool) -> Result<control::Forgotten, Failure> {
        /// Cancelled, or forgotten, in one transaction: keeps the writer free for others.
        const STEP: usize = 500;
        self.caught_up().await;
        let account = self.accounts().known_or_polled(name, &self.0.config.accounts)?;
        let waiting = read::waiting(&self.0.store, &account)?;
        let polled = self.accounts().is_polled(&account, POLLS_EVERY);
        if !force && (polled || waiting > 0) {
            let why = if polled { "its client polls".to_owned() } else { format!("{waiting} commands wait for it") };
            let message = format!("`{account}` is not forgotten: {why}; --force forgets it, and cancels what waits");
            return Err(Failure::new(409, "account-in-use", message));
        }
        let mut cancelled = 0;
        loop {
            let (reading, of) = (self.reading().await, account.clone());
            let some = self.0.store.write(move |tx| {
                let ids = queue::queued_of(tx, &of, STEP);
                ids.iter().try_for_each(|id| queue::cancel(tx, *id, false, reading.now).map(drop))?;
                Ok::<_, Failure>((ids.len(), reading))
            });
            match some.await??.0 {
                0 => break,
                n => cancelled += n as u64,
            }
        }
        self.bump();
        // Nothing is learned meanwhile, and what was learned from is not read again.
        let _alone = self.0.learner.lock().await;
        let at = *self.0.reacted.borrow();
        loop {
            let (of, purse) = (account.clone(), self.accounts().purse(&account));
            let step = self.0.store.write(move |tx| {
                let done = crate::directory::forget(tx, &of, STEP);
                if done {
                    pacing::forget(tx, &purse);
                    queue::set_paused(tx, Some(&of), false);
                    crate::daemon::learner::remember(tx, at);
                }
                Ok::<_, std::convert::Infallible>(done)
            });
            let Ok(done) = step.await?;
            if done {
                break;
            }
        }
        self.accounts().forget(&account);
        crate::daemon::janitor::remember(self).await;
        Ok(control::Forgotten { account, cancelled })
    }

    /// Every account, with what waits for it.
    pub(crate) fn account_list(&self) -> Result<Vec<control::Account>, Failure> {
        let paused = read::paused(&self.0.store)?;
        let now = self.now();
        let mut accounts = self.accounts().all(&self.0.config.accounts, now);
        let mut holder = crate::daemon::queue::held::Holder::new(self, now)?;
        for account in &mut accounts {
            account.waiting = read::waiting(&self.0.store, &account.account)?;
            account.paused = paused.all || paused.accounts.contains(&account.account);
            if account.waiting > 0
                && let Some(first) = read::foremost(&self.0.store, &account.account, now)?
            {
                account.held = holder.one(&first)?;
            }
        }
        Ok(accounts)
    }

    /// Holds a cursor for one reader.
    pub(crate) fn lease(&self, name: &str, holder: String, own: Option<u64>) -> Result<Lease, Failure> {
        let mut leases = lock(&self.0.leases);
        if let Some((id, other)) = leases.get(name)
            && own != Some(*id)
        {
            return Err(Failure::new(
                409,
                "cursor-in-use",
                format!("the cursor `{name}` is being read by {other}; stop that reader or use another cursor"),
            ));
        }
        let id = self.0.lease_next.fetch_add(1, Ordering::Relaxed);
        leases.insert(name.to_owned(), (id, holder));
        Ok(Lease { service: self.clone(), name: name.to_owned(), id })
    }

    /// Ends a lease, unless another reader has the cursor by now.
    pub(crate) fn release(&self, name: &str, lease: u64) {
        let mut leases = lock(&self.0.leases);
        if leases.get(name).is_some_and(|(id, _)| *id == lease) {
            leases.remove(name);
        }
    }

    /// Who reads from a cursor: lease and description.
    pub(crate) fn holder(&self, name: &str) -> Option<(u64, String)> {
        lock(&self.0.leases).get(name).cloned()
    }

    /// Which daemon this is.
    pub(crate) fn daemon_status(&self) -> control::DaemonStatus {
        control::DaemonStatus {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            uptime_s: self.0.started.elapsed().as_secs(),
            data_dir: self.0.home.data_dir.clone(),
            socket: self.0.home.socket.clone(),
            config: lock(&self.0.listen).config.clone(),
        }
    }

    /// Everything that `wehelp status` shows; the doors' own counters are filled in by the caller.
    pub(crate) fn status(&self) -> Result<control::Status, Failure> {
        let now = self.now();
        let stats = self.0.store.stats()?;
        let listen = lock(&self.0.listen).clone();
        let unnamed = self.accounts().unnamed();
        let accounts = self.account_list()?;
        let mut queue: serde_json::Map<_, _> =
            read::counts(&self.0.store, now)?.into_iter().map(|(s, n)| (s.to_string(), n.into())).collect();
        let oldest = read::oldest_due(&self.0.store, now)?;
        queue.insert("oldest".to_owned(), serde_json::to_value(oldest).unwrap_or_default());
        let hanging = self.0.handovers.hanging(&self.0.store, self.0.config.http.write_timeout)?;
        queue.insert("hanging".to_owned(), hanging.clone().into());
        let health = self.healthy();
        let paused = read::paused(&self.0.store)?;
        let mut hints = Vec::new();
        if let Err(reason) = &health {
            hints.push(format!("the store does not accept writes: {reason}"));
        }
        let lost = self.0.store.lost();
        if let ([(from, _), ..], [.., (_, to)]) = (&lost[..], &lost[..]) {
            hints.push(format!(
                "{} events between {from} and {to} are lost: what held them in the journal is gone or damaged, as the log \
                 said at the start; if there is a copy of the data folder's `journal`, stop wehelpd and put back what is \
                 missing",
                lost.iter().map(|(from, to)| to.0 - from.0 + 1).sum::<u64>()
            ));
        }
        for account in &accounts {
            let reason = account.held.as_ref().and_then(|held| held.reason.strip_prefix(control::NOBODY_MAY));
            hints.extend(reason.map(|reason| format!("{reason}: {} commands wait for it", account.waiting)));
        }
        if let Some(id) = hanging.first() {
            hints.push(format!(
                "{} in flight though no answer has it, the first is {id}; `wehelp queue retry {id}` hands it over again, \
                 `wehelp queue cancel {id}` drops it",
                if hanging.len() == 1 { "a command is".to_owned() } else { format!("{} commands are", hanging.len()) }
            ));
        }
        let pollers = self.accounts().pollers();
        hints.extend(
            pollers.iter().filter(|p| p.last_poll_s < crate::daemon::queue::held::UNNAMED_COUNTS.as_secs()).map(hint),
        );
        if paused.all {
            hints.push("the queue is paused; `wehelp queue resume` lets it go on".to_owned());
        }
        let forwards = crate::daemon::forwards::statuses(self)?;
        hints.extend(forwards.iter().filter_map(control::Forward::trouble));
        Ok(control::Status {
            daemon: self.daemon_status(),
            http: control::HttpStatus {
                listen: listen.http.iter().map(ToString::to_string).collect(),
                tls: listen.tls,
                anonymous_poll: unnamed.map(|unnamed| unnamed.time),
                anonymous_peer: unnamed.map(|unnamed| unnamed.peer.to_string()),
                last_callback: *lock(&self.0.counters.last_callback),
                ..control::HttpStatus::default()
            },
            accounts,
            pollers,
            queue,
            log: self.0.store.identity()?,
            events: control::EventsStatus {
                first: stats.first,
                last: stats.last,
                count: stats.count,
                followers: self.0.followers.load(Ordering::Relaxed),
            },
            store: control::StoreStatus {
                bytes: stats.bytes,
                free_bytes: stats.free_bytes,
                writable: health.is_ok(),
                reason: health.err(),
            },
            paused,
            forwards,
            hints,
        })
    }

    /// Prometheus text of everything the service knows.
    #[must_use]
    pub(crate) fn metrics(&self) -> String {
        let kinds = lock(&self.0.counters.kinds).clone();
        crate::daemon::metrics::service(
            self,
            &kinds,
            &crate::daemon::metrics::Totals {
                enqueued: self.0.waiters.enqueued.load(Ordering::Relaxed),
                polls: self.0.counters.polls.load(Ordering::Relaxed),
                handed: self.0.counters.handed.load(Ordering::Relaxed),
                given_back: self.0.counters.given_back.load(Ordering::Relaxed),
                followers: self.0.followers.load(Ordering::Relaxed),
            },
        )
    }
}

/// What is said of a client that polls by a name which is no account's.
fn hint(poller: &control::Poller) -> String {
    let control::Poller { name, peer, several, .. } = poller;
    let why = if several.is_empty() {
        "no event has told of such an account; it gets only what is bound to nobody or to that name, and is known as \
         soon as its client reports an event"
            .to_owned()
    } else {
        format!("several accounts are called so; type one of their ids: {}", several.join(", "))
    };
    format!("a client at {peer} polls as `{name}`: {why}; `wehelp account forget {name}` forgets a mistyped name")
}
