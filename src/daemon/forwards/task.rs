//! One target's task: a follower's loop that posts what passes its filter one by one, and how it goes on when that fails.

use crate::clock::Time;
use crate::control::OnRefused;
use crate::daemon::forwards::post::{Address, Outcome, Poster};
use crate::daemon::forwards::target::{Retry, Stopped, Target};
use crate::daemon::forwards::targets::Targets;
use crate::daemon::log::{filter::Filter, follow, follow::Gone};
use crate::daemon::seldom::Seldom;
use crate::key::FORWARD;
use crate::seq::Seq;
use crate::store::{Dropped, Query, Read, Stored};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The pause after a first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause of our own: a target that returns waits no longer than this.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(300);
/// An event that is refused is tried for so long before it stops its forward (contract 7): a receiver that is being
/// repaired may refuse for a while.
const REFUSED_MAX: Duration = Duration::from_secs(60 * 60);
/// With `--on-refused skip` an event is passed after this many tries (contract 7).
const SKIP_AFTER: u32 = 3;
/// A pause of so much is kept over a restart; the shorter ones are over by then.
const KEPT_PAUSE_MIN: Duration = Duration::from_secs(8);
/// Of a reason that is kept over a restart so much is, bytes.
const REASON_BYTES_MAX: usize = 512;
/// That a target's events are too old is logged at most so often.
const OLD_LOG_REST: Duration = Duration::from_secs(60);
/// Events that are not for a target are passed over durably this often: a restart looks at the rest again.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// Bytes of events read in one go.
const PAGE_BYTES: usize = 256 * 1024;

/// Posts a target's events, from its position on, until it is told to stop.
pub(super) struct Task {
    of: Arc<Targets>,
    name: String,
    target: Target,
    stopping: watch::Receiver<bool>,
    /// Events that were too old and that the log has not told of.
    old: (Seldom, u64),
    /// What is stored as this target's position, and since when.
    kept: (Seq, Instant),
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
    pub(super) fn new(of: Arc<Targets>, name: String, target: Target, stopping: watch::Receiver<bool>) -> Self {
        let kept = (target.seq, Instant::now());
        Self { of, name, target, stopping, old: (Seldom::new(OLD_LOG_REST), 0), kept }
    }

    fn failed(&self, error: String) {
        self.of.note(&self.name, |health| health.failed(error));
    }

    /// Waits; false when the task is to end.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = told_to_stop(&mut self.stopping) => false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let prepared = match self.of.filter(&self.target) {
                Ok(filter) => poster(&self.target).await.map(|poster| (filter, poster)),
                Err(refused) => Err(refused.to_string()),
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
        let mut tail = self.of.store.tail();
        self.kept = (self.target.seq, Instant::now());
        while !*self.stopping.borrow() {
            let page = match self.page(&query, &filter).await {
                Ok(Read::Page(page)) => page,
                Ok(Read::Dropped(Dropped { from, to })) => {
                    tracing::warn!(target = self.name, %from, %to, "events were dropped before they were forwarded");
                    let told = format!("events {from} to {to} were dropped before they were forwarded");
                    query.after = to;
                    self.of.note(&self.name, |health| (health.notice, health.at) = (Some(told), to));
                    self.move_on(to).await;
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
                self.of.note(&self.name, |health| health.well(seq));
                self.move_on(seq).await;
            }
            if page.looked_to > query.after {
                query.after = page.looked_to;
                self.of.note(&self.name, |health| health.at = query.after);
            }
            if !page.end {
                continue;
            }
            if self.pass_until_news(query.after, &mut tail).await.is_err() {
                return;
            }
        }
    }

    /// Waits until there is more than `after`, or the task is to end; an error when the store has gone. Passing over many
    /// events that are not for this target must not be repeated after a restart, but need not be stored one by one.
    async fn pass_until_news(&mut self, after: Seq, tail: &mut watch::Receiver<Seq>) -> Result<(), Gone> {
        let mut stopping = self.stopping.clone();
        loop {
            let (kept, kept_at) = self.kept;
            tokio::select! {
                gone = follow::tail_passes(tail, after) => if gone { return Err(Gone) } else { break },
                () = told_to_stop(&mut stopping) => break,
                () = tokio::time::sleep_until(kept_at + PASS_EVERY), if after > kept => self.move_on(after).await,
            }
        }
        if after > self.kept.0 && self.kept.1.elapsed() >= PASS_EVERY {
            self.move_on(after).await;
        }
        Ok(())
    }

    async fn page(&self, query: &Query, filter: &Arc<Filter>) -> Result<Read, String> {
        let (store, of, with) = (self.of.store.clone(), query.clone(), Arc::clone(filter));
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
        let ages = self.of.clock.ages();
        let age = ages.now(self.of.clock.now()).since(ages.of_event(stored.seq, stored.time));
        self.target.max_age_ms.is_some_and(|max| age > Duration::from_millis(max))
    }

    /// Counts an event that is too old.
    fn pass_over(&mut self, seq: Seq) {
        self.of.note(&self.name, |health| {
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

    async fn move_on(&mut self, seq: Seq) {
        self.kept = (seq, Instant::now());
        let (key, created, moves) = (self.name.as_bytes().to_vec(), self.target.created, self.target.moves);
        let moved = self.of.store.write_lazily(move |tx| {
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
        if !self.finish_pause(stored.seq, &mut tries).await {
            return End::Stop;
        }
        self.of.echo_is_known(stored).await;
        loop {
            if self.is_too_old(stored) {
                return End::TooOld;
            }
            let outcome = match self.of.message(Some(stored)) {
                Ok(message) => poster.post(address, self.target.secret.as_deref(), message, Time::now()).await,
                Err(reason) => Outcome::Failed(reason, None),
            };
            if matches!(outcome, Outcome::Refused(_)) {
                refused_since.get_or_insert_with(Instant::now);
            } else {
                refused_since = None;
            }
            let refused_for = refused_since.map(|since: Instant| since.elapsed()).unwrap_or_default();
            let (reason, wait) = match tries.next(outcome, self.target.on_refused, refused_for) {
                Step::Done => return End::Done,
                Step::Skip(reason) => {
                    tracing::warn!(target = self.name, seq = %stored.seq, "an event was refused and is skipped: {reason}");
                    let told = format!("event {} was refused and skipped: {reason}", stored.seq);
                    self.of.note(&self.name, |health| {
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
            if !self.pause_after(reason, stored.seq, tries.failures, refused_since.is_some(), wait).await {
                return End::Stop;
            }
        }
    }

    /// Waits what is left of a pause that a former run was in; false when the task is to end.
    async fn finish_pause(&mut self, seq: Seq, tries: &mut Tries) -> bool {
        let Some(retry) = self.target.retry.take() else { return true };
        let now = Time::now();
        let wait = retry.left(now);
        if retry.seq == seq {
            tries.failures = retry.failures;
        }
        self.of.note(&self.name, |health| {
            health.failed(retry.reason);
            (health.failures, health.trying) = (retry.failures, Some(seq));
            health.retry_at = Some(now.after(wait));
        });
        self.pause(wait).await
    }

    /// Waits before an event is tried again; false when the task is to end.
    async fn pause_after(&mut self, reason: String, seq: Seq, failures: u32, refused: bool, wait: Duration) -> bool {
        let until = Time::now().after(wait);
        if wait >= KEPT_PAUSE_MIN {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let kept = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
            self.keep_pause(Retry { seq, failures, reason: kept, until, wait_ms }).await;
        }
        tracing::info!(target = self.name, %seq, failures, "a forward failed: {reason}");
        self.of.note(&self.name, |health| {
            health.failed(reason);
            (health.failures, health.refused) = (failures, refused);
            (health.trying, health.retry_at) = (Some(seq), Some(until));
        });
        self.pause(wait).await
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
        if let Err(error) = self.of.change(&self.name, keep).await {
            tracing::debug!(target = self.name, "cannot keep a pause: {error}");
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
        while let Err(error) = self.of.change(&self.name, stop.clone()).await {
            self.failed(error.to_string());
            if !self.pause(PAUSE_MIN).await {
                return;
            }
        }
    }
}

/// Where a target's events go, and by which client: it reads files.
pub(super) async fn poster(target: &Target) -> Result<(Address, Poster), String> {
    let address = Address::parse(&target.url)?;
    let ca = target.ca.clone();
    let poster = tokio::task::spawn_blocking(move || Poster::new(ca.as_deref())).await;
    Ok((address, poster.map_err(|_| "reading the certificates failed; see the daemon's log".to_owned())??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::forwards::post::RETRY_AFTER_MAX;

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
