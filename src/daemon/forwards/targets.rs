//! All targets: what is stored of them, how they fare, and what they are to get. Their tasks and the forwards share it.

use crate::clock::Time;
use crate::control::{Forward, ForwardState};
use crate::daemon::accounts::Accounts;
use crate::daemon::forwards::post::{Message, without_password};
use crate::daemon::forwards::target::{Health, TARGETS_MAX, Target};
use crate::daemon::log::{about::Known, entry, filter::Filter, refused::Refused};
use crate::daemon::{learned::CatchUp, queue::clock_steps::Clock};
use crate::key::FORWARD;
use crate::seq::Seq;
use crate::store::{Error, Store, Stored, Txn};
use crate::sync::lock;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// The targets.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(super) store: Store,
    pub(super) clock: Arc<Clock>,
    accounts: Arc<Accounts>,
    learned: Arc<CatchUp>,
    /// Bumped when a target was added, changed or removed.
    pub(super) changed: watch::Sender<u64>,
    healths: Mutex<BTreeMap<String, Health>>,
}

impl Targets {
    pub(crate) fn new(store: Store, clock: Arc<Clock>, accounts: Arc<Accounts>, learned: Arc<CatchUp>) -> Self {
        Self { store, clock, accounts, learned, changed: watch::Sender::new(0), healths: Mutex::default() }
    }

    pub(super) fn health(&self, name: &str) -> Health {
        lock(&self.healths).get(name).cloned().unwrap_or_default()
    }

    pub(super) fn note(&self, name: &str, change: impl FnOnce(&mut Health)) {
        change(lock(&self.healths).entry(name.to_owned()).or_default());
    }

    pub(super) fn forget(&self, name: &str) {
        lock(&self.healths).remove(name);
    }

    pub(super) fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    pub(super) fn targets(&self) -> Result<BTreeMap<String, Target>, Error> {
        let pairs = self.store.scan(FORWARD, ..).take(TARGETS_MAX).collect::<Result<Vec<_>, _>>()?;
        let read = |(name, target): (Vec<u8>, Vec<u8>)| {
            Some((String::from_utf8(name).ok()?, serde_json::from_slice(&target).ok()?))
        };
        Ok(pairs.into_iter().filter_map(read).collect())
    }

    /// Up to where every target has what it is to get; `None` without targets. Retention waits for what comes after.
    pub(crate) fn wanted_after(&self) -> Result<Option<Seq>, Error> {
        Ok(self.targets()?.values().map(|target| target.seq).min())
    }

    pub(super) fn filter(&self, target: &Target) -> Result<Filter, Refused> {
        // It was told of when the forward was made, and may be forgotten since.
        let account = target.account.as_deref().map(|name| self.accounts.table().id_of(name));
        Filter::of(target.kind.as_deref(), target.chat.clone(), None, account, target.r#match.as_deref(), None)
    }

    /// Changes a target durably, if it is still there and `change` says so.
    pub(super) async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut Target) -> bool + Send + 'static,
    ) -> Result<(), Error> {
        let key = name.as_bytes().to_vec();
        let put = move |tx: &mut Txn<'_>| {
            let now: Option<Target> = tx.get(FORWARD, &key).and_then(|b| serde_json::from_slice(&b).ok());
            if let Some(mut now) = now
                && change(&mut now)
            {
                tx.put(FORWARD, &key, serde_json::to_vec(&now).expect("plain data"));
            }
            Ok::<_, Infallible>(())
        };
        let Ok(()) = self.store.write(put).await?;
        Ok(())
    }

    pub(super) fn show(&self, name: &str, target: &Target) -> Forward {
        let health = self.health(name);
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
            lag: self.store.tail().borrow().0.saturating_sub(seq.0),
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
    pub(crate) fn statuses(&self) -> Result<Vec<Forward>, Error> {
        Ok(self.targets()?.iter().map(|(name, target)| self.show(name, target)).collect())
    }

    /// Waits until it is known of which command an own message is the echo, if it is one.
    pub(super) async fn echo_is_known(&self, stored: &Stored) {
        if entry::may_be_echo(stored) {
            self.learned.reaches(stored.seq).await;
        }
    }

    /// An event as it is posted, or a test.
    pub(super) fn message(&self, stored: Option<&Stored>) -> Result<Message, String> {
        // Only a log that nothing could be written to since an older version has none.
        let log = self.store.identity().map_err(|e| e.to_string())?.unwrap_or_default();
        let passed = stored.and_then(|stored| entry::via(&stored.outline));
        let via = passed.map_or_else(|| log.clone(), |passed| format!("{passed},{log}"));
        let body = match stored {
            Some(stored) => entry::line(stored, Some(&mut Known::new(&self.store))),
            None => format!(r#"{{"seq":0,"time":"{}","kind":"test"}}"#, Time::now()),
        };
        Ok(Message { body: body.into(), seq: stored.map(|stored| stored.seq), log, via })
    }
}
