//! Forwards: events posted to URLs, each target at its own pace.
//!
//! One task a target, which runs a follower's loop: read a page after its durable position, post what passes its
//! filters one by one and in order, move on. A post that fails is tried again with growing pauses, for ever; a target
//! that is down therefore holds up nobody but itself, and misses nothing. An event that a target refuses is tried for
//! an hour and then stops its forward, durably, until somebody skips it, moves the forward or resumes it. After a crash
//! the last event may be posted again: at least once, never skipped.
//!
//! `targets` is what is stored, `task` one target's loop, `post` one POST. A task that is to end finishes the post that is under way, so
//! that a pause does not repeat it.

pub(crate) mod post;
mod target;
pub(crate) mod targets;
mod task;

use crate::clock::Time;
use crate::control::Forward;
use crate::daemon::log::{range, refused as log};
use crate::daemon::queue::{CommandQueue, refused as queue};
use crate::daemon::shutdown::Shutdown;
use crate::key::FORWARD;
use crate::seq::Seq;
use crate::store::{self, Stored, Txn};
use post::{Address, Outcome, Poster};
use std::collections::BTreeMap;
use std::sync::Arc;
use target::{TARGETS_MAX, Target};
use targets::Targets;
use task::{PAUSE_MAX, Task, poster};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The longest URL, secret and path of a file, bytes.
const TEXT_BYTES_MAX: usize = 2048;
/// Daemons that an event may pass: more is a circle of daemons that do not know their own mark.
const PASSED_MAX: usize = 16;

/// Why a forward is not made, changed or tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("there is no forward `{0}`")]
    NotFound(String),
    #[error("`{0}` stands at no event")]
    AtNothing(String),
    #[error("`{name}` did not take it: {reason}")]
    NotTaken { name: String, reason: String },
    #[error("a forward's name has 1 to 64 letters, digits and -_., and does not begin with -")]
    Name,
    #[error("{0}")]
    Url(String),
    #[error("a forward's secret has 1 to {TEXT_BYTES_MAX} bytes")]
    Secret,
    #[error("with a greatest age of 0 a forward would pass over every event; leave it out to forward all of them")]
    MaxAge,
    /// Its certificates.
    #[error("{0}")]
    Ca(String),
    #[error("at most {TARGETS_MAX} forwards")]
    TooMany,
    #[error("this event was forwarded by this daemon before")]
    Circle,
    #[error("this event has passed more than {PASSED_MAX} daemons, as only one that goes in a circle does")]
    Passed,
    #[error(transparent)]
    Log(#[from] log::Refused),
    #[error(transparent)]
    Queue(#[from] queue::Refused),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The forwards.
#[derive(Debug)]
pub(crate) struct Forwards {
    pub(crate) targets: Arc<Targets>,
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) shutdown: Shutdown,
}

/// A target's running task.
struct Running {
    target: Target,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Forwards {
    /// Keeps one task per target until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut changed = self.targets.changed.subscribe();
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        // A name a task that has ended: at most as many as there are tasks.
        let (end, mut ended) = mpsc::unbounded_channel();
        loop {
            changed.mark_unchanged();
            match self.targets.targets() {
                Err(error) => tracing::warn!("cannot read the forward targets: {error}"),
                Ok(wanted) => {
                    for (name, one) in &running {
                        if !wanted.get(name).is_some_and(|now| one.target.is_still(now)) {
                            // It ends after the post that is under way; its end brings us here again.
                            one.stop.send_replace(true);
                        }
                    }
                    for (name, target) in wanted {
                        if target.runs() && !running.contains_key(&name) {
                            let one = self.start(name.clone(), target, end.clone());
                            running.insert(name, one);
                        }
                    }
                }
            }
            tokio::select! {
                _ = changed.changed() => {}
                Some(name) = ended.recv() => drop(running.remove(&name)),
                () = self.shutdown.wait() => break,
            }
        }
        for one in running.into_values() {
            one.task.abort();
        }
    }

    fn start(self: &Arc<Self>, name: String, target: Target, end: mpsc::UnboundedSender<String>) -> Running {
        let (stop, stopping) = watch::channel(false);
        let task = Task::new(Arc::clone(&self.targets), name.clone(), target.clone(), stopping);
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

    fn target(&self, name: &str) -> Result<Target, Refused> {
        self.targets.targets()?.remove(name).ok_or_else(|| Refused::NotFound(name.to_owned()))
    }

    /// One target, as it is shown.
    ///
    /// # Errors
    /// When there is none, as in what follows.
    pub(crate) fn one(&self, name: &str) -> Result<Forward, Refused> {
        Ok(self.targets.show(name, &self.target(name)?))
    }

    /// Makes a target, or changes it.
    ///
    /// # Errors
    /// When the wish cannot be.
    pub(crate) async fn set(&self, name: &str, wish: Forward) -> Result<Forward, Refused> {
        let target = self.check(name, wish, &self.targets.targets()?).await?;
        self.put(name, &target).await?;
        Ok(self.targets.show(name, &target))
    }

    /// Removes a target.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), Refused> {
        self.target(name)?;
        let key = name.as_bytes().to_vec();
        let delete = move |tx: &mut Txn<'_>| {
            tx.delete(FORWARD, &key);
            Ok::<_, Refused>(())
        };
        self.targets.store.write(delete).await??;
        self.targets.forget(name);
        self.targets.bump();
        Ok(())
    }

    /// Holds a target up.
    pub(crate) async fn pause(&self, name: &str) -> Result<Forward, Refused> {
        self.target(name)?;
        self.changed(name, |now| now.paused = true).await
    }

    /// Lets one that is paused or stopped, or in a pause, go on.
    pub(crate) async fn resume(&self, name: &str) -> Result<Forward, Refused> {
        self.target(name)?;
        self.changed(name, |now| {
            (now.paused, now.stopped, now.retry, now.resumed) = (false, None, None, now.resumed + 1);
        })
        .await
    }

    /// Moves a target to a moment ([`range::place`]).
    pub(crate) async fn place(&self, name: &str, to: &str) -> Result<Forward, Refused> {
        self.target(name)?;
        self.move_to(name, range::place(&self.targets.store, to)?).await
    }

    /// Posts a test, or an event, beside the others.
    pub(crate) async fn deliver(&self, name: &str, seq: Option<Seq>) -> Result<Forward, Refused> {
        let target = self.target(name)?;
        let stored = seq.map(|seq| range::one(&self.targets.store, seq)).transpose()?;
        self.post(name, &target, stored.as_ref()).await
    }

    /// Changes a target and shows it.
    async fn changed(&self, name: &str, with: impl FnOnce(&mut Target) + Send + 'static) -> Result<Forward, Refused> {
        let change_it = move |now: &mut Target| {
            with(now);
            true
        };
        self.targets.change(name, change_it).await?;
        self.targets.bump();
        let now = self.targets.targets()?;
        let target = now.get(name).ok_or_else(|| Refused::NotFound(name.to_owned()))?;
        Ok(self.targets.show(name, target))
    }

    /// Moves a target's position: what it gets next is what comes after `seq`.
    async fn move_to(&self, name: &str, seq: Seq) -> Result<Forward, Refused> {
        self.targets.forget(name);
        self.changed(name, move |now| {
            (now.seq, now.stopped, now.retry, now.moves) = (seq, None, None, now.moves + 1);
        })
        .await
    }

    /// Passes the event that a target refuses, or cannot take.
    pub(crate) async fn skip(&self, name: &str) -> Result<Forward, Refused> {
        let target = self.target(name)?;
        let at = target.stopped.as_ref().map(|stopped| stopped.seq).or(self.targets.health(name).trying);
        let Some(seq) = at.filter(|seq| *seq > target.seq) else {
            return Err(Refused::AtNothing(name.to_owned()));
        };
        self.move_to(name, seq).await
    }

    async fn post(&self, name: &str, target: &Target, stored: Option<&Stored>) -> Result<Forward, Refused> {
        let failed = |reason| Refused::NotTaken { name: name.to_owned(), reason };
        let (address, poster) = poster(target).await.map_err(failed)?;
        let message = self.targets.message(stored).map_err(failed)?;
        match poster.post(&address, target.secret.as_deref(), message, Time::now()).await {
            Outcome::Taken => Ok(self.targets.show(name, target)),
            Outcome::Circle => Err(failed("it has had this event already".to_owned())),
            Outcome::Refused(reason) | Outcome::Failed(reason, _) => Err(failed(reason)),
        }
    }

    async fn put(&self, name: &str, target: &Target) -> Result<(), Refused> {
        let (key, bytes) = (name.as_bytes().to_vec(), serde_json::to_vec(target).expect("plain data"));
        let put = move |tx: &mut Txn<'_>| {
            tx.put(FORWARD, &key, bytes);
            Ok::<_, Refused>(())
        };
        self.targets.store.write(put).await??;
        self.targets.bump();
        Ok(())
    }

    /// A wish, checked: a new target starts with the events to come, a changed one goes on where it was.
    async fn check(&self, name: &str, wish: Forward, all: &BTreeMap<String, Target>) -> Result<Target, Refused> {
        let named = !name.is_empty()
            && name.len() <= 64
            && !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !named {
            return Err(Refused::Name);
        }
        Address::parse(&wish.url).map_err(|why| Refused::Url(why.to_string()))?;
        if wish.url.len() > TEXT_BYTES_MAX {
            return Err(Refused::Url(format!("a forward's URL has at most {TEXT_BYTES_MAX} bytes")));
        }
        if wish.secret.as_ref().is_some_and(|s| s.is_empty() || s.len() > TEXT_BYTES_MAX) {
            return Err(Refused::Secret);
        }
        if wish.max_age_ms == Some(0) {
            return Err(Refused::MaxAge);
        }
        if let Some(ca) = &wish.ca {
            if !ca.is_absolute() || ca.as_os_str().len() > TEXT_BYTES_MAX {
                return Err(Refused::Ca("give the file with the root certificates by its whole path".to_owned()));
            }
            // Told now rather than in the list of forwards, later.
            Poster::new(Some(ca)).map_err(Refused::Ca)?;
        }
        let before = all.get(name);
        if before.is_none() && all.len() >= TARGETS_MAX {
            return Err(Refused::TooMany);
        }
        let target = Target {
            url: wish.url,
            secret: wish.secret.or_else(|| before.and_then(|b| b.secret.clone())),
            kind: wish.kind,
            chat: wish.chat,
            r#match: wish.r#match,
            account: wish.account,
            ca: wish.ca,
            on_refused: wish.on_refused,
            max_age_ms: wish.max_age_ms,
            paused: wish.paused,
            // A target that was changed is tried again.
            stopped: None,
            retry: None,
            resumed: before.map_or(0, |b| b.resumed),
            moves: before.map_or(0, |b| b.moves),
            seq: before.map_or_else(|| *self.targets.store.tail().borrow(), |b| b.seq),
            created: before.map_or_else(Time::now, |b| b.created),
        };
        // One that was told of when the forward was made, and is forgotten since, does not end it.
        if let Some(account) =
            target.account.as_deref().filter(|a| before.is_none_or(|b| b.account.as_deref() != Some(a)))
        {
            self.queue.account_of(Some(account)).await?;
        }
        self.targets.filter(&target)?;
        Ok(target)
    }

    /// The logs that a callback has passed, when a wehelpd forwarded it (contract 2); `marks` are the values of its header.
    ///
    /// # Errors
    /// 508 when this daemon's is among them, or they are too many to be anything but a circle.
    pub(crate) fn passed<'a>(&self, marks: impl Iterator<Item = &'a str>) -> Result<Option<String>, Refused> {
        let marks: Vec<&str> =
            marks.flat_map(|value| value.split(',')).map(str::trim).filter(|m| !m.is_empty()).collect();
        if marks.is_empty() {
            return Ok(None);
        }
        let own = self.targets.store.identity()?;
        if own.is_some_and(|own| marks.contains(&own.as_str())) {
            return Err(Refused::Circle);
        }
        if marks.len() > PASSED_MAX {
            return Err(Refused::Passed);
        }
        Ok(Some(marks.join(",")))
    }
}
