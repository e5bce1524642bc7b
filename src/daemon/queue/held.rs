//! Why a due command is not handed over now: what receipts and `status` print as `held`.
//!
//! Reasons are the contract's words: `paused`, `logged out`, `no client may take it: …`, `pacing: …`.

use crate::clock::Time;
use crate::config;
use crate::control::{Held, NOBODY_MAY, Paused};
use crate::daemon::accounts::Accounts;
use crate::daemon::accounts::table::{POLLS_EVERY, Table, Unnamed};
use crate::daemon::queue::pacing::{Pace, Purse};
use crate::daemon::queue::record::{Lane, Phase, Record};
use crate::daemon::queue::{handover::Handovers, read};
use crate::protocol::command::Class;
use crate::store::{Error, Store};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For one command this many in front of it are counted; with more, it is told a time that is too early.
const IN_FRONT_MAX: usize = 2000;

/// A client that did not say who it is still counts as the one that may be meant, for so long.
pub(crate) const UNNAMED_COUNTS: Duration = Duration::from_secs(600);

/// Knows why commands wait.
#[derive(Debug)]
pub(crate) struct Reasons {
    pub(crate) store: Store,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) handovers: Arc<Handovers>,
    pub(crate) pacing: config::Pacing,
    /// Where the client door is.
    pub(crate) port: u16,
}

impl Reasons {
    /// Tells of commands why they wait at that time.
    pub(crate) fn at(&self, now: Time) -> Result<Holder<'_>, Error> {
        let paused = read::paused(&self.store)?;
        Ok(Holder { of: self, now, paused, paces: HashMap::new(), before: HashMap::new(), prompt: HashMap::new() })
    }

    /// What to type into a client so that it gets the commands of an account.
    fn poll_address(&self, account: &str) -> String {
        format!("http://HOST:{}/send_msg?account={account}", self.port)
    }
}

/// Tells of commands why they wait.
#[derive(Debug)]
pub(crate) struct Holder<'a> {
    of: &'a Reasons,
    now: Time,
    paused: Paused,
    paces: HashMap<String, Pace>,
    /// This many of an account and lane stand in front.
    before: HashMap<(String, Lane), u32>,
    /// This many of an account are due in a lane that goes before another.
    prompt: HashMap<(String, Lane), u32>,
}

impl Holder<'_> {
    /// Why the next one waits. Call it with all that is unfinished, in the order in which it becomes due: each is in front
    /// of those to come.
    pub(crate) fn next(&mut self, record: &Record) -> Result<Option<Held>, Error> {
        if record.phase != Phase::Queued || record.due > self.now {
            return Ok(self.stuck(record));
        }
        let place = self.before.entry((name(record), record.lane())).or_insert(0);
        let mut before = *place;
        *place = place.saturating_add(1);
        if let Some(reason) = self.closed(record) {
            return Ok(Some(reason));
        }
        if let Some(lane) = record.lane().in_front() {
            before = before.saturating_add(self.prompt(record, lane)?);
        }
        self.paced(record, before)
    }

    /// How many are due in a lane that goes before the record's.
    fn prompt(&mut self, record: &Record, lane: Lane) -> Result<u32, Error> {
        let key = (name(record), lane);
        if let Some(known) = self.prompt.get(&key) {
            return Ok(*known);
        }
        let count = read::due_in(&self.of.store, &key.0, lane, self.now, usize::MAX)?;
        Ok(*self.prompt.entry(key).or_insert(count))
    }

    /// Why this one waits.
    pub(crate) fn one(&mut self, record: &Record) -> Result<Option<Held>, Error> {
        if record.phase != Phase::Queued || record.due > self.now {
            return Ok(self.stuck(record));
        }
        if let Some(reason) = self.closed(record) {
            return Ok(Some(reason));
        }
        if !Pace::can_hold(record.class(), &self.of.pacing) {
            return Ok(None);
        }
        // A look at thousands of keys: not for nothing, at every command that is queued.
        let before = read::in_front(&self.of.store, record, self.now, IN_FRONT_MAX)?;
        self.paced(record, before)
    }

    fn stuck(&self, record: &Record) -> Option<Held> {
        let stuck = record.phase == Phase::InFlight && !self.of.handovers.has(record.id);
        stuck.then(|| Held {
            until: None,
            reason: "handed over, and not known to have arrived; `wehelp queue retry` hands it over again".to_owned(),
        })
    }

    /// Why nobody may take it, whatever stands in front of it.
    fn closed(&self, record: &Record) -> Option<Held> {
        let held = |reason: String| Some(Held { until: None, reason });
        let account = record.account.as_deref();
        if self.paused.all || account.is_some_and(|a| self.paused.accounts.iter().any(|paused| paused == a)) {
            return held("paused".to_owned());
        }
        if let Some(held) = record.waits_for_its_turn() {
            return Some(held);
        }
        let accounts = self.of.accounts.table();
        let is_out = account.map_or_else(|| accounts.all_out(), |account| accounts.is_out(account));
        if is_out {
            return (record.lane() != Lane::Login).then(|| Held { until: None, reason: "logged out".to_owned() });
        }
        let account = account?;
        let address = || self.of.poll_address(account);
        if !accounts.is_known(account) {
            let polled = accounts.is_polled(account, UNNAMED_COUNTS);
            return if polled {
                None
            } else {
                held(format!(
                    "{NOBODY_MAY}no event has told of the account `{account}` yet; it goes to the client that polls {}",
                    address()
                ))
            };
        }
        let (peer, says) = astray(&accounts, account)?;
        held(format!("{NOBODY_MAY}the client at {} {says}; type {} into it as its poll address", peer.ip(), address()))
    }

    /// Until when pacing holds it, with this many in front.
    fn paced(&mut self, record: &Record, before: u32) -> Result<Option<Held>, Error> {
        let class = record.class();
        if class == Class::Question {
            return Ok(None);
        }
        let pacing = &self.of.pacing;
        let name = name(record);
        if !self.paces.contains_key(&name) {
            let purse = self.purse(record);
            let pace = Pace::read(&self.of.store, &purse, self.now, pacing)?;
            self.paces.insert(name.clone(), pace);
        }
        Ok(self.paces[&name].held(class, before, self.now, pacing))
    }

    /// What is bound to nobody goes by whoever polls; with one account known, that is the likely one.
    fn purse(&self, record: &Record) -> Purse {
        let accounts = self.of.accounts.table();
        match &record.account {
            Some(account) => accounts.purse(account),
            None => accounts.only_purse().unwrap_or_else(|| Purse::unnamed(None)),
        }
    }
}

/// Who has polled lately and may not take what is bound to a known account whose own client has not, and what that one
/// says of itself.
fn astray(accounts: &Table, account: &str) -> Option<(SocketAddr, String)> {
    let polled = accounts.last_polled(account);
    let is_fresh = |at: Instant| at.elapsed() < UNNAMED_COUNTS && polled.is_none_or(|own| own < at);
    let unnamed = accounts.unnamed().filter(|unnamed| is_fresh(unnamed.polled));
    let is_only = accounts.is_only(account);
    let is_elsewhere = |unnamed: &Unnamed| is_only && !accounts.may_be_at(account, unnamed.pid);
    if let Some(Unnamed { pid: Some(pid), peer, .. }) = unnamed.filter(is_elsewhere) {
        // It took the place of the account's own, as far as anybody can tell.
        return polled
            .is_none_or(|own| own.elapsed() > POLLS_EVERY)
            .then(|| (peer, format!("polls from the process {pid}, which no event has told to be that account's")));
    }
    if polled.is_some_and(|own| own.elapsed() < UNNAMED_COUNTS) {
        return None;
    }
    if let Some((name, are_several, peer, _)) = accounts.misnamed().filter(|(.., at)| is_fresh(*at)) {
        let what = if are_several { "which is the name of several accounts" } else { "which no event has told of" };
        return Some((peer, format!("polls as `{name}`, {what}")));
    }
    let unnamed = unnamed.filter(|_| !is_only)?;
    Some((unnamed.peer, "does not say which account it is".to_owned()))
}

fn name(record: &Record) -> String {
    record.account.clone().unwrap_or_default()
}
