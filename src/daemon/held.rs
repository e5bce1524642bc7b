//! Why a due command is not handed over now: what `queue show` prints as `held`.

use super::pacing::Pace;
use super::queue::{Phase, Record, read};
use super::service::{Failure, Service};
use crate::clock::Time;
use crate::control::{Held, Paused};
use crate::protocol::command::Class;
use std::collections::HashMap;

/// Walks the unfinished commands in the order they become due and tells each one's wait.
#[derive(Debug)]
pub(super) struct Holder<'a> {
    service: &'a Service,
    now: Time,
    paused: Paused,
    paces: HashMap<String, Pace>,
    /// So many of this account and class stand in front.
    before: HashMap<(String, u8), u32>,
}

impl<'a> Holder<'a> {
    pub(super) fn new(service: &'a Service, now: Time) -> Result<Self, Failure> {
        let paused = read::paused(service.store())?;
        Ok(Self { service, now, paused, paces: HashMap::new(), before: HashMap::new() })
    }

    /// Why this one waits; call it with every unfinished command, in order, for it counts those in front.
    pub(super) fn held(&mut self, record: &Record) -> Result<Option<Held>, Failure> {
        if record.phase == Phase::InFlight {
            let reason = "handed over, and not known to have arrived; `wehelp queue retry` hands it over again";
            let stale = !self.service.handovers().has(record.id);
            return Ok(stale.then(|| Held { until: None, reason: reason.to_owned() }));
        }
        if record.due > self.now {
            return Ok(None);
        }
        if self.paused.all || record.account.as_ref().is_some_and(|a| self.paused.accounts.contains(a)) {
            return Ok(Some(Held { until: None, reason: "paused; `wehelp queue resume` lets it go".to_owned() }));
        }
        if let Some(held) = record.waits_for_its_turn() {
            return Ok(Some(held));
        }
        let class = record.class();
        // What is bound to nobody goes by whoever polls; with one account known, that is the likely one.
        let account = match &record.account {
            Some(account) => account.clone(),
            None => {
                self.service.accounts().mean(None, &self.service.config().accounts).ok().flatten().unwrap_or_default()
            }
        };
        let before = self.before.entry((account.clone(), class as u8)).or_insert(0);
        let place = *before;
        *before = before.saturating_add(1);
        if class == Class::Question {
            return Ok(None);
        }
        if !self.paces.contains_key(&account) {
            let pace = Pace::read(self.service.store(), &account, self.now)?;
            self.paces.insert(account.clone(), pace);
        }
        Ok(self.paces[&account].held(class, place, self.now, &self.service.config().pacing))
    }
}
