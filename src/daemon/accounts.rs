//! Which accounts there are, who polls for them, and which one is meant (contract 5).
//!
//! Kept in memory, because every callback and every poll touches it; what must outlive the daemon is written by
//! `react` (nick, pid, logged in: the directory) and by the janitor ([`Seen`], now and then).

use crate::clock::Time;
use crate::config;
use crate::control::Account;
use crate::daemon::service::Failure;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Names that pollers gave themselves are remembered for so many accounts: anybody on the machine can invent them.
const POLLED_MAX: usize = 256;

/// What is worth keeping over a restart, beside the directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) last_poll: Option<Time>,
    pub(super) last_event: Option<Time>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    nick: Option<String>,
    pid: Option<u64>,
    logged_in: Option<bool>,
    seen: Seen,
    /// An event told of it; a poll alone may be a typing error.
    told: bool,
}

/// The table of accounts.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: BTreeMap<String, Known>,
    pids: HashMap<u64, String>,
    changed: bool,
}

/// Whose commands a poll takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Routed {
    /// Bound commands of this one.
    pub(super) account: Option<String>,
    /// It did not say who it is, or not in a way that we know.
    pub(super) anonymous: bool,
}

impl Accounts {
    /// An event told of an account (and its process).
    pub(super) fn event(&mut self, account: Option<&str>, pid: Option<u64>, now: Time) {
        let Some(account) = account else { return };
        let known = self.entry(account);
        known.told = true;
        known.seen.last_event = Some(now);
        if let Some(pid) = pid {
            known.pid = Some(pid);
            if self.pids.get(&pid).is_none_or(|a| a != account) {
                self.pids.insert(pid, account.to_owned());
            }
        }
    }

    /// Profile and login events told more.
    pub(super) fn learn(&mut self, account: &str, nick: Option<String>, pid: Option<u64>, logged_in: Option<bool>) {
        let known = self.entry(account);
        known.told = true;
        known.nick = nick.or(known.nick.take());
        known.pid = pid.or(known.pid);
        known.logged_in = logged_in.or(known.logged_in);
        if let Some(pid) = pid {
            self.pids.insert(pid, account.to_owned());
        }
    }

    /// What a former run had seen.
    pub(super) fn restore(&mut self, account: &str, seen: Seen) {
        self.entry(account).seen = seen;
    }

    /// What to keep, when it changed since the last call.
    pub(super) fn take_seen(&mut self) -> Option<BTreeMap<String, Seen>> {
        std::mem::take(&mut self.changed).then(|| self.known.iter().map(|(a, k)| (a.clone(), k.seen.clone())).collect())
    }

    fn entry(&mut self, account: &str) -> &mut Known {
        self.changed = true;
        if !self.known.contains_key(account) {
            self.known.insert(account.to_owned(), Known::default());
        }
        self.known.get_mut(account).expect("it was just inserted")
    }

    /// Who a poller is, as far as it said (contract 5); notes the poll.
    pub(super) fn route(
        &mut self,
        account: Option<&str>,
        pid: Option<u64>,
        settings: &config::Accounts,
        now: Time,
    ) -> Routed {
        let named = account.map(|name| self.find(name, settings).unwrap_or_else(|| name.to_owned()));
        let named = named.or_else(|| pid.and_then(|pid| self.pids.get(&pid).cloned()));
        if let Some(account) = named {
            if self.known.contains_key(&account) || self.known.len() < POLLED_MAX {
                let known = self.entry(&account);
                known.seen.last_poll = Some(now);
                known.pid = pid.or(known.pid);
            }
            return Routed { account: Some(account), anonymous: false };
        }
        let only = self.only();
        if let Some(only) = &only {
            self.entry(only).seen.last_poll = Some(now);
        }
        Routed { account: only, anonymous: true }
    }

    /// The accounts that count when one is looked for without a name: those that events told of. A name that was only
    /// polled with may be a typing error; it counts while there is nothing better.
    fn counted(&self) -> impl Iterator<Item = &String> {
        let told = self.known.values().any(|k| k.told);
        self.known.iter().filter(move |(_, k)| k.told || !told).map(|(account, _)| account)
    }

    /// The only account known.
    fn only(&self) -> Option<String> {
        let mut names = self.counted();
        names.next().filter(|_| names.next().is_none()).cloned()
    }

    /// The account that a name means: wxid, alias, or unique nick.
    fn find(&self, name: &str, settings: &config::Accounts) -> Option<String> {
        if let Some(account) = settings.alias.get(name) {
            return Some(account.clone());
        }
        if self.known.contains_key(name) {
            return Some(name.to_owned());
        }
        match self.nicked(name)[..] {
            [one] => Some(one.to_owned()),
            _ => None,
        }
    }

    /// Whether a name is an alias or the id of a known account, which no event can make mean another.
    pub(super) fn is_id(&self, name: &str, settings: &config::Accounts) -> bool {
        settings.alias.contains_key(name) || self.known.contains_key(name)
    }

    fn nicked(&self, nick: &str) -> Vec<&str> {
        self.known.iter().filter(|(_, k)| k.nick.as_deref() == Some(nick)).map(|(a, _)| a.as_str()).collect()
    }

    /// The account that a user means (contract 5): the named one, else the default, else the only one known, else
    /// nobody while none is known.
    ///
    /// # Errors
    /// `ambiguous-account` with a list, or `unknown-account`.
    pub(super) fn mean(&self, named: Option<&str>, settings: &config::Accounts) -> Result<Option<String>, Failure> {
        match named.or(settings.default.as_deref()) {
            Some(name) => self.named(name, settings).map(Some),
            None if self.counted().nth(1).is_some() => Err(Failure::new(
                409,
                "ambiguous-account",
                format!("several accounts are known; name one with --account: {}", self.list()),
            )),
            None => Ok(self.only()),
        }
    }

    /// The account of that name.
    pub(super) fn named(&self, name: &str, settings: &config::Accounts) -> Result<String, Failure> {
        if let Some(found) = self.find(name, settings) {
            return Ok(found);
        }
        let several = self.nicked(name);
        if several.len() > 1 {
            return Err(Failure::new(
                409,
                "ambiguous-account",
                format!("`{name}` is the nick of several accounts; name one by its wxid: {}", several.join(", ")),
            ));
        }
        // A script may queue for an account whose client has not shown itself yet; a word that is no wxid is rather
        // a mistyped alias, and its commands would wait for ever.
        let is_id = !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_graphic());
        if is_id && (self.known.is_empty() || name.starts_with("wxid_")) {
            return Ok(name.to_owned());
        }
        Err(Failure::new(404, "unknown-account", format!("no account is called `{name}`; known: {}", self.list())))
    }

    fn list(&self) -> String {
        if self.known.is_empty() {
            return "none yet".to_owned();
        }
        let name = |(account, known): (&String, &Known)| match &known.nick {
            Some(nick) => format!("{account} ({nick})"),
            None => account.clone(),
        };
        self.known.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// Every account, for `status` and `account list`; what is waiting is filled in by the caller.
    pub(super) fn all(&self, settings: &config::Accounts) -> Vec<Account> {
        let of = |(account, known): (&String, &Known)| Account {
            account: account.clone(),
            nick: known.nick.clone(),
            pid: known.pid,
            logged_in: known.logged_in,
            last_poll: known.seen.last_poll,
            last_event: known.seen.last_event,
            waiting: 0,
            alias: settings.alias.iter().find(|(_, wxid)| *wxid == account).map(|(alias, _)| alias.clone()),
            paused: false,
        };
        self.known.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        Time::from_millis(1)
    }

    fn settings() -> config::Accounts {
        config::Accounts { default: None, alias: [("work".to_owned(), "wxid_b".to_owned())].into() }
    }

    fn two() -> Accounts {
        let mut accounts = Accounts::default();
        accounts.event(Some("wxid_a"), Some(1), now());
        accounts.event(Some("wxid_b"), Some(2), now());
        accounts.learn("wxid_a", Some("Anna".into()), None, Some(true));
        accounts
    }

    #[test]
    fn the_only_account_known_is_meant_and_none_while_none_is_known() {
        let mut accounts = Accounts::default();
        assert_eq!(accounts.mean(None, &settings()).unwrap(), None);
        accounts.event(Some("wxid_a"), None, now());
        assert_eq!(accounts.mean(None, &settings()).unwrap().as_deref(), Some("wxid_a"));
    }

    #[test]
    fn with_several_accounts_one_must_be_named() {
        let failure = two().mean(None, &settings()).unwrap_err();
        assert_eq!((failure.status, failure.code), (409, "ambiguous-account"));
        assert!(failure.message.contains("wxid_a (Anna), wxid_b"), "{}", failure.message);
        for (name, account) in [("wxid_a", "wxid_a"), ("Anna", "wxid_a"), ("work", "wxid_b"), ("wxid_new", "wxid_new")]
        {
            assert_eq!(two().mean(Some(name), &settings()).unwrap().as_deref(), Some(account), "{name}");
        }
        assert_eq!(two().mean(Some("wrok"), &settings()).unwrap_err().status, 404);
    }

    #[test]
    fn the_default_account_is_meant_when_none_is_named() {
        let settings = config::Accounts { default: Some("work".into()), ..settings() };
        assert_eq!(two().mean(None, &settings).unwrap().as_deref(), Some("wxid_b"));
    }

    #[test]
    fn a_poller_is_known_by_name_alias_nick_or_process() {
        for (account, pid, who) in [
            (Some("wxid_a"), None, "wxid_a"),
            (Some("work"), None, "wxid_b"),
            (Some("Anna"), Some(9), "wxid_a"),
            (None, Some(2), "wxid_b"),
        ] {
            let routed = two().route(account, pid, &settings(), now());
            assert_eq!(routed, Routed { account: Some(who.into()), anonymous: false });
        }
    }

    #[test]
    fn an_unnamed_poller_stands_for_the_only_account_or_for_none() {
        let mut accounts = two();
        assert_eq!(accounts.route(None, Some(99), &settings(), now()), Routed { account: None, anonymous: true });
        let mut one = Accounts::default();
        one.event(Some("wxid_a"), None, now());
        let routed = one.route(None, None, &settings(), now());
        assert_eq!(routed, Routed { account: Some("wxid_a".into()), anonymous: true });
    }

    #[test]
    fn invented_pollers_do_not_fill_the_memory() {
        let mut accounts = Accounts::default();
        for n in 0..10_000 {
            accounts.route(Some(&format!("wxid_{n}")), None, &settings(), now());
        }
        assert!(accounts.known.len() <= POLLED_MAX);
    }
}
