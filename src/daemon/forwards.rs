//! Forwards: events posted to URLs, each target at its own pace.
//!
//! One task a target, which runs a follower's loop: read a page after its durable position, post what passes its
//! filters one by one and in order, move on. A post that fails is tried again with growing pauses, for ever; a target
//! that is down therefore holds up nobody but itself, and misses nothing. An event that a target refuses is tried for
//! an hour and then stops its forward, durably, until somebody skips it, moves the forward or resumes it. After a crash
//! the last event may be posted again: at least once, never skipped.
//!
//! `post` is one POST. A task that is to end finishes the post that is under way, so
//! that a pause does not repeat it.

pub(crate) mod post;

use crate::clock::Time;
use crate::control::{Forward, ForwardState, OnRefused};
use crate::daemon::failure::Failure;
use crate::daemon::log::entry::{self, Filter};
use crate::daemon::log::follow;
use crate::daemon::seldom::Seldom;
use crate::daemon::service::Service;
use crate::daemon::sync::lock;
use crate::key::FORWARD;
use crate::seq::Seq;
use crate::store::{Dropped, Query, Read, Stored, Txn};
use post::{Address, LOOP, Message, Outcome, Poster, RETRY_AFTER_MAX, VIA, without_password};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use warp::http::HeaderMap;

/// Targets: each has a task and a connection.
pub(crate) const TARGETS_MAX: usize = 64;
/// The pause after a first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause of our own: a target that returns waits no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// An event that is refused is tried for so long before it stops its forward (contract 7): a receiver that is being
/// repaired may refuse for a while.
const REFUSED_MAX: Duration = Duration::from_secs(60 * 60);
/// With `--on-refused skip` an event is passed after so many tries (contract 7).
const SKIP_AFTER: u32 = 3;
/// A pause of so much is kept over a restart; the shorter ones are over by then.
const KEPT_PAUSE_MIN: Duration = Duration::from_secs(8);
/// Of a reason that is kept over a restart so much is, bytes.
const REASON_BYTES_MAX: usize = 512;
/// That a target's events are too old is logged at most so often.
const OLD_LOG_REST: Duration = Duration::from_secs(60);
/// Events that are not for a target are passed over durably this often: a restart looks at the rest again.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// Daemons that an event may pass: more is a circle of daemons that do not know their own mark.
const PASSED_MAX: usize = 16;
/// Bytes of events read in one go.
const PAGE_BYTES: usize = 256 * 1024;

/// A target as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) chat: Option<String>,
    pub(crate) r#match: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) paused: bool,
    pub(crate) seq: Seq,
    /// Distinguishes a target from an earlier one of the same name.
    pub(crate) created: Time,
    /// A PEM file with roots to trust besides the system's.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    #[serde(default)]
    pub(crate) on_refused: OnRefused,
    /// Events older than this are passed over, milliseconds.
    #[serde(default)]
    pub(crate) max_age_ms: Option<u64>,
    /// The event that stopped it.
    #[serde(default)]
    pub(crate) stopped: Option<Stopped>,
    /// The pause that it is in.
    #[serde(default)]
    pub(crate) retry: Option<Retry>,
    /// How often it was resumed: what is in a pause is tried at once then.
    #[serde(default)]
    pub(crate) resumed: u64,
    /// How often its position was moved by hand: what a task reports from before such a move does not count.
    #[serde(default)]
    pub(crate) moves: u64,
}

/// An event that was refused for too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stopped {
    pub(crate) seq: Seq,
    since: Time,
    reason: String,
}

/// A long pause: a target that asks for an hour gets it, whatever becomes of the daemon meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Retry {
    /// The event that is tried again.
    seq: Seq,
    failures: u32,
    reason: String,
    until: Time,
    /// How long it is in all, milliseconds: a clock that is set makes it no longer.
    wait_ms: u64,
}

impl Retry {
    /// What is left of it.
    fn left(&self, now: Time) -> Duration {
        self.until.since(now).min(Duration::from_millis(self.wait_ms)).min(RETRY_AFTER_MAX)
    }
}

impl Target {
    /// Whether a task that runs for this target may go on with that one: its position moves with every post, and its
    /// pauses come and go.
    fn is_still(&self, now: &Self) -> bool {
        *self == Self { seq: self.seq, retry: self.retry.clone(), ..now.clone() }
    }

    fn runs(&self) -> bool {
        !self.paused && self.stopped.is_none()
    }
}

/// How a target has fared since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    failures: u32,
    last_error: Option<String>,
    retry_at: Option<Time>,
    /// The event that is tried again and again.
    pub(crate) trying: Option<Seq>,
    /// The target refuses it (4xx).
    refused: bool,
    /// Told until the next failure: what retention took, what was skipped.
    notice: Option<String>,
    /// Events that were refused and passed over.
    skipped: u64,
    /// Events that were too old.
    passed_over: u64,
    /// How far its task has got; what is stored may lag behind.
    at: Seq,
}

impl Health {
    /// After a post was taken, or its event passed.
    fn well(&mut self, seq: Seq) {
        let (skipped, passed_over) = (self.skipped, self.passed_over);
        *self = Self { notice: self.notice.take(), skipped, passed_over, at: seq, ..Self::default() };
    }

    /// After something failed.
    fn failed(&mut self, error: String) {
        let (skipped, passed_over) = (self.skipped, self.passed_over);
        *self = Self { last_error: Some(error), skipped, passed_over, at: self.at, ..Self::default() };
    }
}

/// What the tasks and the control door share.
#[derive(Debug)]
pub(crate) struct Forwards {
    /// Bumped when a target was added, changed or removed.
    changed: watch::Sender<u64>,
    healths: Mutex<BTreeMap<String, Health>>,
}

impl Default for Forwards {
    fn default() -> Self {
        Self { changed: watch::Sender::new(0), healths: Mutex::default() }
    }
}

impl Forwards {
    pub(crate) fn health(&self, name: &str) -> Health {
        lock(&self.healths).get(name).cloned().unwrap_or_default()
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut Health)) {
        change(lock(&self.healths).entry(name.to_owned()).or_default());
    }

    pub(crate) fn forget(&self, name: &str) {
        lock(&self.healths).remove(name);
    }

    pub(crate) fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

/// A target's running task.
struct Running {
    target: Target,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// Keeps one task per target until shutdown.
pub(crate) async fn run(service: Service) {
    let mut changed = service.forwards().changed.subscribe();
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    // A name a task that has ended: at most as many as there are tasks.
    let (end, mut ended) = mpsc::unbounded_channel();
    loop {
        changed.mark_unchanged();
        match targets(&service) {
            Err(error) => tracing::warn!("cannot read the forward targets: {}", error.message),
            Ok(wanted) => {
                for (name, one) in &running {
                    if !wanted.get(name).is_some_and(|now| one.target.is_still(now)) {
                        // It ends after the post that is under way; its end brings us here again.
                        one.stop.send_replace(true);
                    }
                }
                for (name, target) in wanted {
                    if target.runs() && !running.contains_key(&name) {
                        let one = start(&service, name.clone(), target, end.clone());
                        running.insert(name, one);
                    }
                }
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            Some(name) = ended.recv() => drop(running.remove(&name)),
            () = service.shutdown().wait() => break,
        }
    }
    for one in running.into_values() {
        one.task.abort();
    }
}

fn start(service: &Service, name: String, target: Target, end: mpsc::UnboundedSender<String>) -> Running {
    let (stop, stopping) = watch::channel(false);
    let old = (Seldom::new(OLD_LOG_REST), 0);
    let task = Task { service: service.clone(), name: name.clone(), target: target.clone(), stopping, old };
    let task = tokio::spawn(async move {
        // Apart, so that a panic is seen; dropping the set ends what is in it.
        let mut one = JoinSet::new();
        one.spawn(task.run());
        if one.join_next().await.is_some_and(|end| end.is_err()) {
            // What panicked once would at once do so again.
            tracing::error!("a forward's task panicked; it is tried again later");
            tokio::time::sleep(PAUSE_MAX).await;
        }
        // Nobody listens at a shutdown.
        drop(end.send(name));
    });
    Running { target, stop, task }
}

pub(crate) fn targets(service: &Service) -> Result<BTreeMap<String, Target>, Failure> {
    let pairs = service.store().scan(FORWARD, ..).take(TARGETS_MAX).collect::<Result<Vec<_>, _>>()?;
    let read = |(name, target): (Vec<u8>, Vec<u8>)| {
        Some((String::from_utf8(name).ok()?, serde_json::from_slice(&target).ok()?))
    };
    Ok(pairs.into_iter().filter_map(read).collect())
}

/// Up to where every target has what it is to get; `None` without targets. Retention waits for what comes after.
pub(crate) fn wanted_after(service: &Service) -> Result<Option<Seq>, Failure> {
    Ok(targets(service)?.values().map(|target| target.seq).min())
}

pub(crate) fn filter(service: &Service, target: &Target) -> Result<Filter, Failure> {
    // It was told of when the forward was made, and may be forgotten since.
    let account = target.account.as_deref().map(|name| service.account_or_name(name));
    Filter::of(target.kind.as_deref(), target.chat.clone(), None, account, target.r#match.as_deref(), None)
}

/// Changes a target durably, if it is still there and `change` says so.
pub(crate) async fn change(
    service: &Service,
    name: &str,
    change: impl FnOnce(&mut Target) -> bool + Send + 'static,
) -> Result<(), Failure> {
    let key = name.as_bytes().to_vec();
    let put = move |tx: &mut Txn<'_>| {
        let now: Option<Target> = tx.get(FORWARD, &key).and_then(|b| serde_json::from_slice(&b).ok());
        if let Some(mut now) = now
            && change(&mut now)
        {
            tx.put(FORWARD, &key, serde_json::to_vec(&now).expect("plain data"));
        }
        Ok::<_, Failure>(())
    };
    service.store().write(put).await?
}

/// Posts a target's events, from its position on, until it is told to stop.
struct Task {
    service: Service,
    name: String,
    target: Target,
    stopping: watch::Receiver<bool>,
    /// Events that were too old and that the log has not told of.
    old: (Seldom, u64),
}

/// How often one event was posted in vain.
#[derive(Debug, Default)]
struct Tries {
    failures: u32,
    /// In a row.
    refusals: u32,
}

/// What to do after a post.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The event is posted, or has been there already.
    Done,
    /// Pass it.
    Skip(String),
    /// Stop the forward.
    Stop(String),
    /// Try again after a pause.
    Again(String, Duration),
}

impl Tries {
    /// Decides; `refused_for` is how long the target has refused this event, without any other answer in between.
    fn next(&mut self, outcome: Outcome, on_refused: OnRefused, refused_for: Duration) -> Step {
        let (reason, told) = match outcome {
            Outcome::Taken | Outcome::Circle => return Step::Done,
            Outcome::Refused(reason) => {
                self.refusals += 1;
                if on_refused == OnRefused::Skip && self.refusals >= SKIP_AFTER {
                    return Step::Skip(reason);
                }
                if refused_for >= REFUSED_MAX {
                    return Step::Stop(reason);
                }
                (reason, None)
            }
            Outcome::Failed(reason, told) => {
                self.refusals = 0;
                (reason, told)
            }
        };
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        Step::Again(reason, pause.max(told.unwrap_or_default()))
    }
}

/// What became of an event in the end.
enum End {
    Done,
    /// It is too old, or has become so while it was tried.
    TooOld,
    /// The task is to end; the event is still to be posted.
    Stop,
}

async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    // Nobody left to tell is the same.
    drop(stopping.wait_for(|stop| *stop).await);
}

impl Task {
    fn failed(&self, error: String) {
        self.service.forwards().note(&self.name, |health| health.failed(error));
    }

    /// Waits; false when the task is to end.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = told_to_stop(&mut self.stopping) => false,
        }
    }

    async fn run(mut self) {
        loop {
            let prepared = match filter(&self.service, &self.target) {
                Ok(filter) => poster(&self.target).await.map(|poster| (filter, poster)),
                Err(failure) => Err(failure.message),
            };
            match prepared {
                Ok((filter, (address, poster))) => return self.follow(filter, &address, &poster).await,
                Err(error) => {
                    tracing::warn!(target = self.name, "a forward cannot start: {error}");
                    self.failed(error);
                    // A file may be put in its place, an account become known.
                    if !self.pause(PAUSE_MAX).await {
                        return;
                    }
                }
            }
        }
    }

    async fn follow(mut self, filter: Filter, address: &Address, poster: &Poster) {
        let filter = Arc::new(filter);
        let mut query = Query { after: self.target.seq, any_of: filter.tags(), ..Query::default() };
        let mut tail = self.service.store().tail();
        let mut stopping = self.stopping.clone();
        // What is stored as this target's position, and since when.
        let (mut kept, mut kept_at) = (self.target.seq, tokio::time::Instant::now());
        while !*self.stopping.borrow() {
            let page = match self.page(&query, &filter).await {
                Ok(Read::Page(page)) => page,
                Ok(Read::Dropped(Dropped { from, to })) => {
                    tracing::warn!(target = self.name, %from, %to, "events were dropped before they were forwarded");
                    let told = format!("events {from} to {to} were dropped before they were forwarded");
                    query.after = to;
                    self.service.forwards().note(&self.name, |health| (health.notice, health.at) = (Some(told), to));
                    self.move_on(to).await;
                    (kept, kept_at) = (to, tokio::time::Instant::now());
                    continue;
                }
                Err(error) => {
                    self.failed(error);
                    if self.pause(PAUSE_MIN).await {
                        continue;
                    }
                    return;
                }
            };
            for (seq, reason) in &page.damaged {
                tracing::error!(target = self.name, %seq, "an event cannot be read and is not forwarded: {reason}");
            }
            for stored in page.entries {
                let seq = stored.seq;
                if *self.stopping.borrow() {
                    return;
                }
                match self.post_until_taken(address, poster, &stored).await {
                    End::Done => {}
                    End::TooOld => {
                        self.pass_over(seq);
                        continue;
                    }
                    End::Stop => return,
                }
                self.service.forwards().note(&self.name, |health| health.well(seq));
                self.move_on(seq).await;
                (kept, kept_at) = (seq, tokio::time::Instant::now());
            }
            if page.looked_to > query.after {
                query.after = page.looked_to;
                self.service.forwards().note(&self.name, |health| health.at = query.after);
            }
            if !page.end {
                continue;
            }
            // Passing over many events that are not for this target must not be repeated after a restart, but need not
            // be stored one by one.
            loop {
                let due = kept_at + PASS_EVERY;
                tokio::select! {
                    gone = follow::tail_passes(&mut tail, query.after) => if gone { return } else { break },
                    () = told_to_stop(&mut stopping) => break,
                    () = tokio::time::sleep_until(due), if query.after > kept => {
                        self.move_on(query.after).await;
                        (kept, kept_at) = (query.after, tokio::time::Instant::now());
                    }
                }
            }
            if query.after > kept && kept_at.elapsed() >= PASS_EVERY {
                self.move_on(query.after).await;
                (kept, kept_at) = (query.after, tokio::time::Instant::now());
            }
        }
    }

    async fn page(&self, query: &Query, filter: &Arc<Filter>) -> Result<Read, String> {
        let (store, of, with) = (self.service.store().clone(), query.clone(), Arc::clone(filter));
        let page = tokio::task::spawn_blocking(move || {
            let mut read = store.read(&of, PAGE_BYTES)?;
            if let Read::Page(page) = &mut read {
                page.entries.retain(|stored| with.matches(stored));
            }
            Ok::<_, crate::store::Error>(read)
        });
        match page.await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err("reading the log failed; see the daemon's log".to_owned()),
        }
    }

    fn is_too_old(&self, stored: &Stored) -> bool {
        let ages = self.service.ages();
        let age = ages.now(self.service.now()).since(ages.of_event(stored.seq, stored.time));
        self.target.max_age_ms.is_some_and(|max| age > Duration::from_millis(max))
    }

    /// Counts an event that is too old.
    fn pass_over(&mut self, seq: Seq) {
        self.service.forwards().note(&self.name, |health| {
            health.well(seq);
            health.passed_over += 1;
        });
        let (may_tell, events) = &mut self.old;
        *events += 1;
        if may_tell.may_speak() {
            tracing::warn!(target = self.name, %seq, events, "a forward passed over events that were older than its --max-age");
            *events = 0;
        }
    }

    async fn move_on(&self, seq: Seq) {
        let (key, created, moves) = (self.name.as_bytes().to_vec(), self.target.created, self.target.moves);
        let moved = self.service.store().write_lazily(move |tx| {
            let now: Option<Target> = tx.get(FORWARD, &key).and_then(|b| serde_json::from_slice(&b).ok());
            // The target may have been replaced, or moved, while its event was on the way.
            let same = |now: &Target| now.created == created && now.moves == moves && now.seq < seq;
            if let Some(mut now) = now.filter(same) {
                (now.seq, now.retry) = (seq, None);
                tx.put(FORWARD, &key, serde_json::to_vec(&now).expect("plain data"));
            }
            Ok::<_, ()>(())
        });
        if let Err(error) = moved.await {
            tracing::debug!(target = self.name, "cannot remember what was forwarded: {error}");
        }
    }

    async fn post_until_taken(&mut self, address: &Address, poster: &Poster, stored: &Stored) -> End {
        let mut tries = Tries::default();
        let mut refused_since = None;
        if let Some(retry) = self.target.retry.take() {
            let now = Time::now();
            let wait = retry.left(now);
            if retry.seq == stored.seq {
                tries.failures = retry.failures;
            }
            self.service.forwards().note(&self.name, |health| {
                health.failed(retry.reason);
                (health.failures, health.trying) = (retry.failures, Some(stored.seq));
                health.retry_at = Some(now.after(wait));
            });
            if !self.pause(wait).await {
                return End::Stop;
            }
        }
        loop {
            if self.is_too_old(stored) {
                return End::TooOld;
            }
            let outcome = match message(&self.service, Some(stored)) {
                Ok(message) => poster.post(address, self.target.secret.as_deref(), message, Time::now()).await,
                Err(reason) => Outcome::Failed(reason, None),
            };
            if matches!(outcome, Outcome::Refused(_)) {
                refused_since.get_or_insert_with(tokio::time::Instant::now);
            } else {
                refused_since = None;
            }
            let refused_for = refused_since.map(|since: tokio::time::Instant| since.elapsed()).unwrap_or_default();
            let (reason, wait) = match tries.next(outcome, self.target.on_refused, refused_for) {
                Step::Done => return End::Done,
                Step::Skip(reason) => {
                    tracing::warn!(target = self.name, seq = %stored.seq, "an event was refused and is skipped: {reason}");
                    let told = format!("event {} was refused and skipped: {reason}", stored.seq);
                    self.service.forwards().note(&self.name, |health| {
                        health.notice = Some(told);
                        health.skipped += 1;
                    });
                    return End::Done;
                }
                Step::Stop(reason) => {
                    self.stop_at(stored.seq, reason).await;
                    return End::Stop;
                }
                Step::Again(reason, pause) => (reason, pause.mul_f64(1.0 + fastrand::f64() / 4.0)),
            };
            let failures = tries.failures;
            let until = Time::now().after(wait);
            if wait >= KEPT_PAUSE_MIN {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let kept = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
                self.keep_pause(Retry { seq: stored.seq, failures, reason: kept, until, wait_ms }).await;
            }
            tracing::info!(target = self.name, seq = %stored.seq, failures, "a forward failed: {reason}");
            self.service.forwards().note(&self.name, |health| {
                health.failed(reason);
                (health.failures, health.refused) = (failures, refused_since.is_some());
                (health.trying, health.retry_at) = (Some(stored.seq), Some(until));
            });
            if !self.pause(wait).await {
                return End::Stop;
            }
        }
    }

    /// Keeps a pause over a restart.
    async fn keep_pause(&self, retry: Retry) {
        let (created, moves) = (self.target.created, self.target.moves);
        let keep = move |now: &mut Target| {
            let same = now.created == created && now.moves == moves && now.runs();
            if same {
                now.retry = Some(retry);
            }
            same
        };
        if let Err(error) = change(&self.service, &self.name, keep).await {
            tracing::debug!(target = self.name, "cannot keep a pause: {}", error.message);
        }
    }

    /// Stops this forward durably: what it is to get waits until somebody decides.
    async fn stop_at(&mut self, seq: Seq, reason: String) {
        tracing::warn!(target = self.name, %seq, "an event was refused for an hour, and its forward stands: {reason}");
        let stopped = Stopped { seq, since: Time::now(), reason };
        let (created, moves) = (self.target.created, self.target.moves);
        let stop = move |now: &mut Target| {
            let same = now.created == created && now.moves == moves;
            if same {
                now.stopped = Some(stopped);
            }
            same
        };
        while let Err(error) = change(&self.service, &self.name, stop.clone()).await {
            self.failed(error.message);
            if !self.pause(PAUSE_MIN).await {
                return;
            }
        }
    }
}

pub(crate) fn show(service: &Service, name: &str, target: &Target) -> Forward {
    let health = service.forwards().health(name);
    let seq = target.seq.max(health.at);
    let stopped = target.stopped.as_ref();
    let state = match (target.paused, stopped, health.failures) {
        (true, ..) => ForwardState::Paused,
        (_, Some(_), _) => ForwardState::Stopped,
        (.., 0) if health.last_error.is_none() => ForwardState::Ok,
        _ if health.refused => ForwardState::Refused,
        _ => ForwardState::Failing,
    };
    Forward {
        name: name.to_owned(),
        url: without_password(&target.url),
        secret: target.secret.as_ref().map(|_| "***".to_owned()),
        kind: target.kind.clone(),
        chat: target.chat.clone(),
        r#match: target.r#match.clone(),
        account: target.account.clone(),
        ca: target.ca.clone(),
        on_refused: target.on_refused,
        max_age_ms: target.max_age_ms,
        paused: target.paused,
        state,
        event: stopped.map(|stopped| stopped.seq).or(health.trying),
        seq,
        lag: service.store().tail().borrow().0.saturating_sub(seq.0),
        failures: health.failures,
        last_error: stopped.map(|stopped| stopped.reason.clone()).or(health.last_error).or(health.notice),
        retry_at: health.retry_at,
        skipped: health.skipped,
        passed_over: health.passed_over,
    }
}

/// Every target, as it is shown.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn statuses(service: &Service) -> Result<Vec<Forward>, Failure> {
    Ok(targets(service)?.iter().map(|(name, target)| show(service, name, target)).collect())
}

/// Where a target's events go, and by which client: it reads files.
pub(crate) async fn poster(target: &Target) -> Result<(Address, Poster), String> {
    let address = Address::parse(&target.url)?;
    let ca = target.ca.clone();
    let poster = tokio::task::spawn_blocking(move || Poster::new(ca.as_deref())).await;
    Ok((address, poster.map_err(|_| "reading the certificates failed; see the daemon's log".to_owned())??))
}

/// The logs that a callback has passed, when a wehelpd forwarded it (contract 2).
///
/// # Errors
/// 508 when this daemon's is among them, or they are too many to be anything but a circle.
pub(crate) fn passed(headers: &HeaderMap, service: &Service) -> Result<Option<String>, Failure> {
    if !headers.contains_key(VIA) {
        return Ok(None);
    }
    let values = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    let marks: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).filter(|m| !m.is_empty()).collect();
    let own = service.store().identity()?;
    if own.is_some_and(|own| marks.contains(&own.as_str())) {
        return Err(Failure::new(508, LOOP, "this event was forwarded by this daemon before; it ends here"));
    }
    if marks.len() > PASSED_MAX {
        let message = format!(
            "this event has passed more than {PASSED_MAX} daemons, as only one that goes in a circle does; it ends here"
        );
        return Err(Failure::new(508, LOOP, message));
    }
    Ok((!marks.is_empty()).then(|| marks.join(",")))
}

/// An event as it is posted, or a test.
pub(crate) fn message(service: &Service, stored: Option<&Stored>) -> Result<Message, String> {
    // Only a log that nothing could be written to since an older version has none.
    let log = service.store().identity().map_err(|e| e.to_string())?.unwrap_or_default();
    let passed = stored.and_then(|stored| entry::via(&stored.outline));
    let via = passed.map_or_else(|| log.clone(), |passed| format!("{passed},{log}"));
    let body = match stored {
        Some(stored) => entry::line(stored),
        None => format!(r#"{{"seq":0,"time":"{}","kind":"test"}}"#, Time::now()),
    };
    Ok(Message { body: body.into(), seq: stored.map(|stored| stored.seq), log, via })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Outcome {
        Outcome::Refused("no".to_owned())
    }

    fn failed(told: Option<u64>) -> Outcome {
        Outcome::Failed("down".to_owned(), told.map(Duration::from_secs))
    }

    #[test]
    fn a_failure_is_tried_for_ever_with_growing_pauses() {
        let mut tries = Tries::default();
        let pauses: Vec<u64> = (0..12)
            .map(|_| match tries.next(failed(None), OnRefused::Skip, Duration::ZERO) {
                Step::Again(_, pause) => pause.as_secs(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        tries.failures = u32::MAX;
        assert!(matches!(tries.next(failed(None), OnRefused::Stop, Duration::MAX), Step::Again(..)));
    }

    #[test]
    fn a_target_that_says_how_long_to_wait_is_left_alone_so_long() {
        let mut tries = Tries::default();
        let step = tries.next(failed(Some(90)), OnRefused::Stop, Duration::ZERO);
        assert_eq!(step, Step::Again("down".to_owned(), Duration::from_secs(90)));
        let step = tries.next(failed(Some(0)), OnRefused::Stop, Duration::ZERO);
        assert_eq!(step, Step::Again("down".to_owned(), Duration::from_secs(2)));
    }

    #[test]
    fn a_refused_event_is_tried_for_an_hour_and_then_stops_its_forward() {
        let mut tries = Tries::default();
        for minutes in 0..60 {
            let step = tries.next(refused(), OnRefused::Stop, Duration::from_secs(minutes * 60));
            assert!(matches!(step, Step::Again(..)), "{minutes} min: {step:?}");
        }
        let step = tries.next(refused(), OnRefused::Stop, Duration::from_secs(60 * 60));
        assert_eq!(step, Step::Stop("no".to_owned()));
    }

    #[test]
    fn a_refused_event_is_skipped_after_three_tries_in_a_row_where_that_is_wanted() {
        let mut tries = Tries::default();
        let mut step = |outcome| tries.next(outcome, OnRefused::Skip, Duration::ZERO);
        assert!(matches!(step(refused()), Step::Again(..)));
        assert!(matches!(step(refused()), Step::Again(..)));
        assert!(matches!(step(failed(None)), Step::Again(..)), "that one was no refusal");
        assert!(matches!(step(refused()), Step::Again(..)));
        assert!(matches!(step(refused()), Step::Again(..)));
        assert_eq!(step(refused()), Step::Skip("no".to_owned()));
    }

    #[test]
    fn what_has_been_there_already_is_done() {
        for outcome in [Outcome::Taken, Outcome::Circle] {
            assert_eq!(Tries::default().next(outcome, OnRefused::Stop, Duration::ZERO), Step::Done);
        }
    }

    #[test]
    fn a_pause_that_is_kept_is_never_longer_than_it_was_whatever_the_clock_says() {
        let now = Time::from_millis(1_700_000_000_000);
        let retry = |until, wait_ms| Retry { seq: Seq(1), failures: 1, reason: String::new(), until, wait_ms };
        let hour = Duration::from_secs(3600);
        let of_an_hour = retry(now.after(hour), 3_600_000);
        assert_eq!(of_an_hour.left(now), hour);
        assert_eq!(of_an_hour.left(now.after(hour / 4)), hour / 4 * 3);
        assert_eq!(of_an_hour.left(now.after(2 * hour)), Duration::ZERO);
        assert_eq!(of_an_hour.left(Time::from_millis(0)), hour, "the clock was set back");
        assert_eq!(retry(now.after(400 * hour), u64::MAX).left(now), RETRY_AFTER_MAX);
    }

    #[test]
    fn a_target_of_the_first_version_is_read() {
        let old = r#"{"url":"http://h/","secret":null,"kind":null,"chat":null,"match":null,"account":null,"paused":false,"seq":7,"created":"2026-11-23T09:00:00.000Z"}"#;
        let target: Target = serde_json::from_str(old).unwrap();
        assert_eq!((target.seq, target.on_refused, target.stopped), (Seq(7), OnRefused::Stop, None));
    }
}
