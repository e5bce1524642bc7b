//! Which accounts there are, who polls for them, and which one is meant (contract 5).
//!
//! Promises: an account is one that an event told of; a name that only polled is a [`Poller`](control::Poller) and
//! shadows nobody. What an event says of a login or a name holds before the event is answered, in the order of the log,
//! however callbacks overtake each other here. A poll is routed to what a client that is *there* may take: of an account that
//! is logged out only its login questions.
//!
//! A pure table: it reads no store.

use crate::clock::Time;
use crate::config;
use crate::control::{self, Account};
use crate::daemon::accounts::heartbeat::{Finding, Found, Heartbeat, PollsKept};
use crate::daemon::accounts::poller::{Name, Poller};
use crate::daemon::accounts::refused::Refused;
use crate::daemon::queue::{claim::Share, pacing};
use crate::directory::{self, ACCOUNTS_MAX, Names, Seat, Sign};
use crate::protocol::id::Wxid;
use crate::seq::Seq;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Pollers that are no account are remembered up to this many, the newest: anybody on the machine can invent them.
const POLLERS_MAX: usize = 256;

/// A client that has not polled for so long is taken to be gone.
pub(crate) const POLLS_EVERY: Duration = Duration::from_secs(30);

/// What is worth keeping over a restart, beside the directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) last_poll: Option<Time>,
    pub(crate) last_event: Option<Time>,
    /// Its client's polls, since a version that learns from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat: Option<PollsKept>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    nick: Called,
    username: Called,
    seat: Seat,
    /// The event that `seat` is as of.
    seq: Seq,
    seen: Seen,
    /// The last poll by a clock that nobody sets; absent when that was before the start.
    polled: Option<Instant>,
    heartbeat: Heartbeat,
}

/// A name, and the event that it is as of.
#[derive(Debug, Clone, Default)]
struct Called {
    name: Option<String>,
    seq: Seq,
}

impl Called {
    /// Takes over what was told no earlier.
    fn take(&mut self, name: Option<String>, seq: Seq) {
        if self.seq <= seq {
            *self = Self { name, seq };
        }
    }
}

impl Known {
    fn names(&self) -> impl Iterator<Item = &String> {
        [&self.nick, &self.username].into_iter().filter_map(|called| called.name.as_ref())
    }

    /// Whether that is its nick or its username, of which WeChat gives nobody another's; with `own`, its username. A name
    /// of the form of an id is nobody's: people choose their nicks, and might choose another account's id.
    fn called(&self, name: &str, own: bool) -> bool {
        let nick = self.nick.name.as_deref().filter(|_| !own);
        !directory::is_wxid(name) && [nick, self.username.name.as_deref()].contains(&Some(name))
    }
}

/// A poll by a name that no event has told.
#[derive(Debug, Clone)]
struct Stranger {
    /// How else its name reads.
    or: Option<String>,
    /// Its client said the name itself: it is no nick.
    is_own: bool,
    pid: Option<u64>,
    peer: SocketAddr,
    last_poll: Time,
    polled: Instant,
}

/// A poll that said no name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unnamed {
    /// The process that it named: nobody's.
    pub(crate) pid: Option<u64>,
    pub(crate) peer: SocketAddr,
    pub(crate) time: Time,
    pub(crate) polled: Instant,
}

/// The table of accounts.
#[derive(Debug, Default)]
pub(crate) struct Table {
    settings: config::Accounts,
    known: BTreeMap<String, Known>,
    /// Whose a process is: one account's, the last that an event told.
    pids: HashMap<u64, String>,
    strangers: BTreeMap<String, Stranger>,
    /// The last poll that said no name.
    unnamed: Option<Unnamed>,
    /// What a former run had seen of accounts that are not known yet: what told of them is still to be learned from.
    former: BTreeMap<String, Seen>,
    /// Whose client a former run told to be missing, of accounts that are not known yet.
    missing: BTreeMap<String, PollsKept>,
    /// Whose client polled with the last poll, and whether that said no name.
    heard: Vec<(String, bool)>,
    changed: bool,
    /// An account has polled that had not since the start.
    polled_anew: bool,
}

/// What an event says of its account.
#[derive(Debug, Clone)]
pub(crate) struct Told<'a> {
    /// `cwxid`
    pub(crate) account: Option<&'a str>,
    /// `processid`
    pub(crate) pid: Option<u64>,
    pub(crate) sign: Sign,
    /// What its account is called.
    pub(crate) names: Names,
    /// Its place in the log.
    pub(crate) seq: Seq,
    pub(crate) time: Time,
}

/// Whose commands a poll takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Routed {
    /// Who it is taken for.
    pub(crate) account: Option<String>,
    /// How the name reads that it said, when that is no account: one way, or two.
    pub(crate) names: Vec<String>,
    /// It did not say who it is, or not in a way that we know.
    pub(crate) anonymous: bool,
    /// Bound commands: of whom, and which.
    pub(crate) bound: Vec<(String, Share)>,
    /// Commands that are bound to nobody.
    pub(crate) unbound: Share,
}

impl Table {
    pub(crate) fn new(settings: config::Accounts) -> Self {
        Self { settings, ..Self::default() }
    }

    /// An event told of an account and its process. True when it is the first account of all.
    pub(crate) fn event(&mut self, told: Told<'_>) -> bool {
        let pid = told.pid.filter(|pid| *pid != 0);
        // Most events are of an account that is where it was.
        if let (Sign::Alive, Some(account)) = (told.sign, told.account)
            && let Some(known) = self.known.get_mut(account)
            && !known.seat.is_out()
            && (pid.is_none() || pid == known.seat.pid)
        {
            known.seen.last_event = Some(told.time);
            known.seq = known.seq.max(told.seq);
            self.changed = true;
            return false;
        }
        let account = match told.account.filter(|id| directory::is_account(id)) {
            Some(account) => account.to_owned(),
            // Who is logged out may be nobody already.
            None if told.sign == Sign::Out => match pid.and_then(|pid| self.pids.get(&pid)) {
                Some(account) => account.clone(),
                None => return false,
            },
            None => return false,
        };
        let first = self.known.is_empty();
        if !self.known.contains_key(&account) {
            if self.known.len() >= ACCOUNTS_MAX {
                return false;
            }
            self.add(&account);
            self.introduce(&account);
        }
        self.changed = true;
        self.name(&account, told.names, told.seq);
        let known = self.known.get_mut(&account).expect("it is there now");
        known.seen.last_event = Some(told.time);
        if told.seq < known.seq {
            return first;
        }
        known.seq = told.seq;
        let (old, mut seat) = (known.seat, known.seat);
        let holder = pid.and_then(|pid| self.pids.get(&pid)).filter(|holder| **holder != account).cloned();
        let mut holder = holder.and_then(|holder| self.known.get_mut(&holder));
        match (&mut holder, pid) {
            // Callbacks overtook each other: the other account came later, as the log has it.
            (Some(holder), Some(pid)) if holder.seq > told.seq => {
                seat.take(told.sign, None, None, told.time);
                if matches!(told.sign, Sign::In | Sign::Alive) {
                    seat.displace(pid, told.time);
                }
            }
            (holder, pid) => {
                let before = holder.as_ref().map(|holder| holder.seat);
                seat.take(told.sign, pid, holder.as_mut().map(|holder| &mut holder.seat), told.time);
                if let Some(holder) = holder.as_mut().filter(|holder| Some(holder.seat) != before) {
                    holder.seq = told.seq;
                }
            }
        }
        self.sit(&account, old, seat);
        first
    }

    /// Notes what an event calls an account; absent names are not told.
    fn name(&mut self, account: &str, told: Names, seq: Seq) {
        let Some(known) = self.known.get_mut(account).filter(|_| told != Names::default()) else { return };
        for (called, told) in [(&mut known.nick, told.nick), (&mut known.username, told.username)] {
            if told.is_some() {
                called.take(told, seq);
            }
        }
        self.introduce(account);
    }

    fn add(&mut self, account: &str) {
        let seen = self.former.remove(account).unwrap_or_default();
        let heartbeat = self.heartbeat_of(account, &seen);
        self.known.insert(account.to_owned(), Known { seen, heartbeat, ..Known::default() });
    }

    /// Gives an account its seat, and its process to it.
    fn sit(&mut self, account: &str, old: Seat, seat: Seat) {
        if let Some(known) = self.known.get_mut(account) {
            known.seat = seat;
        }
        if let Some(left) =
            old.pid.filter(|left| Some(*left) != seat.pid && self.pids.get(left).is_some_and(|a| a == account))
        {
            self.pids.remove(&left);
        }
        if let Some(pid) = seat.pid.filter(|pid| self.pids.get(pid).is_none_or(|a| a != account)) {
            self.pids.insert(pid, account.to_owned());
        }
    }

    /// What the directory knows of an account. Where it is, this table may know better.
    pub(crate) fn learn(&mut self, told: &directory::Account) {
        if !self.known.contains_key(&told.account) {
            if self.known.len() >= ACCOUNTS_MAX {
                return;
            }
            self.add(&told.account);
        }
        let known = self.known.get_mut(&told.account).expect("it is there now");
        known.nick.take(told.nick.clone(), told.seq);
        known.username.take(told.username.clone(), told.seq);
        if known.seq < told.seq {
            let old = known.seat;
            known.seq = told.seq;
            let seat = told.seat();
            // Who had the process has lost it: the directory says so too, in a record of its own.
            let other = seat.pid.and_then(|pid| self.pids.get(&pid)).filter(|other| **other != told.account).cloned();
            if let Some(other) = other.and_then(|other| self.known.get_mut(&other)) {
                other.seat.pid = None;
            }
            self.sit(&told.account, old, seat);
        }
        self.introduce(&told.account);
    }

    /// An account may be known by a name now that a poller went by.
    fn introduce(&mut self, account: &str) {
        let Some(known) = self.known.get_mut(account) else { return };
        let of = |(name, stranger): (&String, &Stranger)| {
            let is_own = stranger.is_own;
            let own = |name: &&String| *name == account || known.called(name, is_own);
            let reading = [Some(name), stranger.or.as_ref()].into_iter().flatten().find(own)?;
            Some((name.clone(), reading.clone(), is_own))
        };
        let names: Vec<(String, String, bool)> = self.strangers.iter().filter_map(of).collect();
        for (name, reading, is_own) in names {
            // The nick of several is still nobody's.
            if !matches!(self.called_by(&reading, is_own)[..], [only] if only == account) && reading != account {
                continue;
            }
            let Some(stranger) = self.strangers.remove(&name) else { continue };
            if let Some(known) = self.known.get_mut(account)
                && known.seen.last_poll.is_none_or(|last| last < stranger.last_poll)
            {
                (known.seen.last_poll, known.polled) = (Some(stranger.last_poll), Some(stranger.polled));
                known.heartbeat.was_there(stranger.polled, stranger.last_poll);
                self.changed = true;
            }
        }
    }

    /// What a former run had seen of the accounts, and whose client it told to be missing.
    pub(crate) fn restore(&mut self, former: BTreeMap<String, Seen>, missing: BTreeMap<String, PollsKept>) {
        self.missing = missing;
        for (account, seen) in former {
            let heartbeat = self.known.contains_key(&account).then(|| self.heartbeat_of(&account, &seen));
            match (self.known.get_mut(&account), heartbeat) {
                (Some(known), Some(heartbeat)) => (known.seen, known.heartbeat) = (seen, heartbeat),
                _ => drop(self.former.insert(account, seen)),
            }
        }
        // What was seen is stored now and then, and may lack one.
        let known = self.known.keys().filter(|account| self.missing.contains_key(*account));
        for account in known.cloned().collect::<Vec<_>>() {
            let heartbeat = self.heartbeat_of(&account, &Seen::default());
            self.known.entry(account).and_modify(|known| known.heartbeat = heartbeat);
        }
    }

    /// What a former run knew of the polls of an account's client.
    fn heartbeat_of(&mut self, account: &str, seen: &Seen) -> Heartbeat {
        let missing = self.missing.remove(account);
        let kept = seen.heartbeat.or(missing);
        kept.map_or_else(Heartbeat::default, |kept| Heartbeat::restore(kept, missing, Instant::now()))
    }

    /// What to keep, when it changed since the last call.
    pub(crate) fn take_seen(&mut self) -> Option<BTreeMap<String, Seen>> {
        std::mem::take(&mut self.changed).then(|| self.seen())
    }

    /// Whether an account has polled, since the last call, that had not since the start.
    pub(crate) fn take_polled_anew(&mut self) -> bool {
        std::mem::take(&mut self.polled_anew)
    }

    fn seen(&self) -> BTreeMap<String, Seen> {
        let seen = |known: &Known| Seen { heartbeat: known.heartbeat.kept(), ..known.seen.clone() };
        self.known.iter().map(|(account, known)| (account.clone(), seen(known))).collect()
    }

    /// Forgets an account, or a poller; false when there is neither.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        let poller = self.strangers.remove(name).is_some();
        self.former.remove(name);
        self.missing.remove(name);
        let Some(known) = self.known.remove(name) else { return poller };
        if let Some(pid) = known.seat.pid {
            self.pids.remove(&pid);
        }
        self.changed = true;
        true
    }

    /// Who a poller is, as far as it said, and what it takes (contract 5); notes the poll.
    pub(crate) fn route(&mut self, poller: &Poller, now: Time) -> Routed {
        self.heard.clear();
        let pid = poller.pid.filter(|pid| *pid != 0);
        // Who is there, as events told: a process whose account is logged out is nobody's.
        let there = pid.and_then(|pid| self.owner(pid));
        let typed = || poller.account.as_ref().map(|name| self.called_or(name, false));
        let named = match &poller.wxid {
            Some(wxid) => Some(self.called_or(wxid, poller.says_own_id())),
            // Somebody typed that name once; where another account has logged in since, its process tells.
            None => match (typed(), &there) {
                (Some(Ok(typed)), Some(there)) if typed != *there => Some(Ok(there.clone())),
                (typed, _) => typed,
            },
        };
        let routed = match named.or(there.map(Ok)) {
            Some(Ok(account)) => self.route_account(&account, false, now),
            Some(Err(name)) => self.route_stranger(name, poller, now),
            None => self.route_unnamed(pid, poller.peer, now),
        };
        self.with_logged_out(routed, pid, now)
    }

    /// The account of that name, or the name. That which a client says itself is its id, and never a nick, which
    /// another account may have given itself.
    fn called_or(&self, name: &Name, is_own: bool) -> Result<String, Name> {
        let mut unknown = name.clone();
        for reading in name.readings() {
            match self.find_by(reading, is_own) {
                Some(account) if self.known.contains_key(&account) => return Ok(account),
                // An alias of an account that nothing has told of yet.
                Some(id) => unknown = id.into(),
                None => {}
            }
        }
        Err(unknown)
    }

    fn polled(&mut self, account: &str, is_unnamed: bool, now: Time) {
        let Some(known) = self.known.get_mut(account) else { return };
        match self.heard.iter_mut().find(|(heard, _)| heard == account) {
            Some((_, said_nothing)) => *said_nothing &= is_unnamed,
            None => self.heard.push((account.to_owned(), is_unnamed)),
        }
        self.polled_anew |= known.polled.is_none();
        known.seen.last_poll = Some(now);
        known.polled = Some(Instant::now());
        self.changed = true;
    }

    fn route_account(&mut self, account: &str, anonymous: bool, now: Time) -> Routed {
        self.polled(account, anonymous, now);
        let share = if self.is_out(account) { Share::Login } else { Share::All };
        let account = account.to_owned();
        let bound = vec![(account.clone(), share)];
        Routed { bound, account: Some(account), names: Vec::new(), anonymous, unbound: share }
    }

    fn route_stranger(&mut self, name: Name, poller: &Poller, now: Time) -> Routed {
        let Name { text: name, or } = name;
        if !self.strangers.contains_key(&name) && self.strangers.len() >= POLLERS_MAX {
            let oldest =
                self.strangers.iter().min_by_key(|(_, stranger)| stranger.polled).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.strangers.remove(&oldest));
        }
        let (is_own, pid, peer) = (poller.says_own_id(), poller.pid, poller.peer);
        // An id stays what it is, whatever is told later.
        let names = [Some(&name), or.as_ref()].into_iter().flatten().filter(|_| !is_own).cloned().collect();
        let stranger = Stranger { or, is_own, pid, peer, last_poll: now, polled: Instant::now() };
        self.strangers.insert(name.clone(), stranger);
        Routed {
            account: Some(name.clone()),
            names,
            anonymous: false,
            bound: vec![(name.clone(), Share::All)],
            unbound: Share::All,
        }
    }

    /// Who is logged in in a process.
    pub(crate) fn owner(&self, pid: u64) -> Option<String> {
        self.pids.get(&pid).filter(|account| pid != 0 && !self.is_out(account)).cloned()
    }

    fn route_unnamed(&mut self, pid: Option<u64>, peer: SocketAddr, now: Time) -> Routed {
        self.unnamed = Some(Unnamed { pid, peer, time: now, polled: Instant::now() });
        if let Some(only) = self.only().filter(|only| self.may_be_at(only, pid)) {
            return self.route_account(&only, true, now);
        }
        // A client without a name is one of those known, or a new one. Where none of those known is logged in, it is
        // most likely one that nobody is logged in to.
        let nobody_is_in = !self.known.is_empty() && self.known.keys().all(|account| self.is_out(account));
        let unbound = if nobody_is_in || pid.is_some_and(|pid| self.out_at(pid).next().is_some()) {
            Share::Login
        } else {
            Share::All
        };
        Routed { account: None, names: Vec::new(), anonymous: true, bound: Vec::new(), unbound }
    }

    /// Login questions also go where their account was logged in last, unless another account is there.
    fn with_logged_out(&mut self, mut routed: Routed, pid: Option<u64>, now: Time) -> Routed {
        let Some(pid) = pid else { return routed };
        if self.pids.get(&pid).is_some_and(|owner| !self.is_out(owner)) {
            return routed;
        }
        if routed.account.as_ref().is_some_and(|a| self.known.get(a).is_some_and(|known| !known.seat.is_out()))
            && !routed.anonymous
        {
            return routed;
        }
        let here: Vec<String> = self.out_at(pid).map(str::to_owned).collect();
        for account in here {
            if self.pids.get(&pid) == Some(&account) {
                self.polled(&account, false, now);
            }
            if !routed.bound.iter().any(|(bound, _)| *bound == account) {
                routed.bound.push((account, Share::Login));
            }
        }
        routed
    }

    /// The poll that was routed last begins: it is open, for the accounts that are returned, until [`ended`](Self::ended).
    /// With them: whether somebody should look after them.
    pub(crate) fn begun(&mut self, pid: Option<u64>, now: Time) -> (Vec<String>, bool) {
        let (heard, began) = (std::mem::take(&mut self.heard), Instant::now());
        let mut is_news = false;
        for (account, is_unnamed) in &heard {
            if let Some(known) = self.known.get_mut(account) {
                is_news |= known.heartbeat.begin(began, now, pid.filter(|pid| *pid != 0), *is_unnamed);
            }
        }
        (heard.into_iter().map(|(account, _)| account).collect(), is_news)
    }

    /// A poll of these accounts has ended.
    pub(crate) fn ended(&mut self, of: &[String]) {
        let now = Instant::now();
        for account in of {
            if let Some(known) = self.known.get_mut(account) {
                known.heartbeat.end(now);
            }
        }
    }

    /// What is to be told of clients, of this many at most, and when to look again, if there is nothing before that.
    pub(crate) fn look(&mut self, now: Instant, max: usize) -> (Vec<(String, Finding)>, Option<Instant>) {
        let is_only = self.known.len() == 1;
        let (mut found, mut next) = (Vec::new(), None::<Instant>);
        for (account, known) in &mut self.known {
            if known.heartbeat.is_unnamed() && !is_only {
                // Nobody can tell any more whose client that is.
                known.heartbeat = Heartbeat::default();
            }
            match known.heartbeat.look(now) {
                Found::Nothing => {}
                Found::NothingUntil(then) => next = Some(next.map_or(then, |next| next.min(then))),
                Found::Finding(mut news) if found.len() < max => {
                    news.pid = news.pid.or(known.seat.pid);
                    found.push((account.clone(), news));
                }
                Found::Finding(_) => next = Some(now),
            }
        }
        (found, next)
    }

    /// What was found of a client is stored.
    pub(crate) fn noted(&mut self, account: &str, news: &Finding) {
        if let Some(known) = self.known.get_mut(account) {
            known.heartbeat.note(news);
            self.changed = true;
        }
    }

    /// The accounts' clients are waited for from now on.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.known.values_mut().for_each(|known| known.heartbeat.resume(now));
    }

    /// The daemon has stood still for so long.
    pub(crate) fn stood_still(&mut self, length: Duration) {
        self.known.values_mut().for_each(|known| known.heartbeat.stood_still(length));
    }

    /// Whether a client in that process, which is nobody's, may be the account's: not while that is logged in in
    /// another. `WeChat` that was started anew waits for the event that tells so; a second one never gets what is not its.
    pub(crate) fn may_be_at(&self, account: &str, pid: Option<u64>) -> bool {
        let is_elsewhere = |known: &Known| !known.seat.is_out() && known.seat.pid.is_some_and(|own| Some(own) != pid);
        pid.is_none() || !self.known.get(account).is_some_and(is_elsewhere)
    }

    /// Accounts that are logged out and were last logged in in that process.
    fn out_at(&self, pid: u64) -> impl Iterator<Item = &str> {
        let here = move |known: &Known| known.seat.is_out() && known.seat.home == Some(pid);
        self.known.iter().filter(move |(_, known)| here(known)).map(|(account, _)| account.as_str())
    }

    /// Whether events told that an account is logged out.
    pub(crate) fn is_out(&self, account: &str) -> bool {
        self.known.get(account).is_some_and(|known| known.seat.is_out())
    }

    /// Whether there are accounts, and none of them is logged in.
    pub(crate) fn all_out(&self) -> bool {
        !self.known.is_empty() && self.known.values().all(|known| known.seat.is_out())
    }

    /// Whether an event told of an account.
    pub(crate) fn is_known(&self, account: &str) -> bool {
        self.known.contains_key(account)
    }

    /// Whether this is the only account that events told of.
    pub(crate) fn is_only(&self, account: &str) -> bool {
        self.known.len() == 1 && self.known.contains_key(account)
    }

    /// Whether a client has polled under that name lately: an account's, or a poller's.
    pub(crate) fn is_polled(&self, name: &str, lately: Duration) -> bool {
        let polled = self.known.get(name).and_then(|known| known.polled);
        let polled = polled.max(self.strangers.get(name).map(|stranger| stranger.polled));
        polled.is_some_and(|polled| polled.elapsed() < lately)
    }

    /// When the account's client polled last, since the start.
    pub(crate) fn last_polled(&self, account: &str) -> Option<Instant> {
        self.known.get(account)?.polled
    }

    /// The last poll that said no name.
    pub(crate) fn unnamed(&self) -> Option<Unnamed> {
        self.unnamed
    }

    /// The last poll by a name that is no account's: the name, whether several are called so, from where, and when.
    pub(crate) fn misnamed(&self) -> Option<(&str, bool, SocketAddr, Instant)> {
        let (name, stranger) = self.strangers.iter().max_by_key(|(_, stranger)| stranger.polled)?;
        Some((name, self.called_by(name, stranger.is_own).len() > 1, stranger.peer, stranger.polled))
    }

    /// Whose budget a poll spends.
    pub(crate) fn purse_of(&self, routed: &Routed, pid: Option<u64>) -> pacing::Purse {
        match &routed.account {
            Some(account) => self.purse(account),
            None => pacing::Purse::unnamed(pid.filter(|pid| *pid != 0)),
        }
    }

    /// Whose budgets are an account's: its own, and what was spent before it was known by that name.
    pub(crate) fn purse(&self, account: &str) -> pacing::Purse {
        let mut purse = pacing::Purse::of(account);
        let Some(known) = self.known.get(account) else { return purse };
        if let Some(pid) = known.seat.pid {
            purse.add(pacing::Purse::unnamed(Some(pid)));
        }
        for name in known.names() {
            let is_anothers = self.known.contains_key(name) || self.strangers.get(name).is_some_and(|s| s.is_own);
            if matches!(self.called(name)[..], [one] if one == account) && !is_anothers {
                purse.add(pacing::Purse::of(name));
            }
        }
        if self.known.len() == 1 {
            purse.add(pacing::Purse::unnamed(None));
        }
        purse
    }

    /// The budget of the only account known.
    pub(crate) fn only_purse(&self) -> Option<pacing::Purse> {
        self.only().map(|only| self.purse(&only))
    }

    /// The only account known.
    fn only(&self) -> Option<String> {
        let mut names = self.known.keys();
        names.next().filter(|_| names.next().is_none()).cloned()
    }

    /// The account that a name means: alias, wxid, or unique nick or username.
    fn find(&self, name: &str) -> Option<String> {
        self.find_by(name, false)
    }

    /// Likewise; with `own` nicks do not count.
    fn find_by(&self, name: &str, own: bool) -> Option<String> {
        if let Some(account) = self.settings.alias.get(name) {
            return Some(account.clone());
        }
        if self.known.contains_key(name) {
            return Some(name.to_owned());
        }
        match self.called_by(name, own)[..] {
            [one] => Some(one.to_owned()),
            _ => None,
        }
    }

    /// The id that a name means, or the name, which is then one.
    pub(crate) fn id_of(&self, name: &str) -> String {
        self.find(name).unwrap_or_else(|| name.to_owned())
    }

    /// Whether a name is an alias or the id of a known account, which no event can make mean another.
    pub(crate) fn is_id(&self, name: &str) -> bool {
        self.settings.alias.contains_key(name) || self.known.contains_key(name)
    }

    /// Those with that nick or username.
    fn called(&self, name: &str) -> Vec<&str> {
        self.called_by(name, false)
    }

    /// Likewise; with `own` nicks do not count.
    fn called_by(&self, name: &str, own: bool) -> Vec<&str> {
        self.known.iter().filter(|(_, known)| known.called(name, own)).map(|(a, _)| a.as_str()).collect()
    }

    /// The account that a user means (contract 5): the named one, else the default, else the only one known, else
    /// nobody while none is known.
    ///
    /// # Errors
    /// When several can be meant, or none is called so.
    pub(crate) fn mean(&self, named: Option<&str>) -> Result<Option<String>, Refused> {
        match named.or(self.settings.default.as_deref()) {
            Some(name) => self.named(name).map(Some),
            None if self.known.len() > 1 => Err(Refused::Unnamed { known: self.list() }),
            None => Ok(self.only()),
        }
    }

    /// The account of that name, for a command: one that nothing has told of yet counts when it is an alias or has
    /// the form `wxid_…`, for a script may be ahead of the login. Any other word is rather a mistyped alias, and its
    /// commands would wait for ever.
    pub(crate) fn named(&self, name: &str) -> Result<String, Refused> {
        match self.found(name)? {
            Some(found) => Ok(found),
            None if directory::is_wxid(name) && Wxid::check_person(name).is_ok() => Ok(name.to_owned()),
            None => Err(self.unknown(name)),
        }
    }

    /// The account of that name, for a filter: an event has told of it.
    pub(crate) fn told(&self, name: &str) -> Result<String, Refused> {
        match self.found(name)? {
            Some(found) if self.known.contains_key(&found) => Ok(found),
            _ => Err(self.unknown(name)),
        }
    }

    /// The account or the poller of that name.
    pub(crate) fn known_or_polled(&self, name: &str) -> Result<String, Refused> {
        match self.found(name)? {
            Some(found) if self.known.contains_key(&found) || self.strangers.contains_key(&found) => Ok(found),
            _ if self.strangers.contains_key(name) => Ok(name.to_owned()),
            _ => Err(self.unknown(name)),
        }
    }

    fn found(&self, name: &str) -> Result<Option<String>, Refused> {
        let found = self.find(name);
        let several = self.called(name);
        if found.is_none() && several.len() > 1 {
            return Err(Refused::Ambiguous { name: name.to_owned(), several: several.join(", ") });
        }
        Ok(found)
    }

    fn unknown(&self, name: &str) -> Refused {
        let what = match self.settings.alias.get(name) {
            Some(account) => format!("no event has told of `{account}`, whose alias is `{name}`"),
            None => format!("no account is called `{name}`"),
        };
        Refused::Unknown { what, known: self.list() }
    }

    /// The accounts, with what else they are called.
    fn list(&self) -> String {
        /// More are told by their number: it is one sentence of an error.
        const LISTED_MAX: usize = 20;
        if self.known.is_empty() {
            return "none yet".to_owned();
        }
        let name = |(account, known): (&String, &Known)| {
            let aliases = self.settings.alias.iter().filter(|(_, of)| *of == account).map(|(alias, _)| alias);
            match &aliases.chain(known.names()).map(String::as_str).collect::<Vec<_>>()[..] {
                [] => account.clone(),
                names => format!("{account} ({})", names.join(", ")),
            }
        };
        let mut listed: Vec<String> = self.known.iter().take(LISTED_MAX).map(name).collect();
        if let more @ 1.. = self.known.len().saturating_sub(LISTED_MAX) {
            listed.push(format!("and {more} more, which `wehelp account list` shows"));
        }
        listed.join(", ")
    }

    /// Every account, for `status` and `account list`; what is waiting is filled in by the caller.
    pub(crate) fn all(&self, now: Time) -> Vec<Account> {
        let of = |(account, known): (&String, &Known)| Account {
            account: account.clone(),
            nick: known.nick.name.clone(),
            username: known.username.name.clone(),
            pid: known.seat.pid,
            logged_in: known.seat.logged_in,
            last_poll: known.seen.last_poll,
            last_poll_s: match known.polled {
                Some(polled) => Some(polled.elapsed().as_secs()),
                None => known.seen.last_poll.map(|last| now.since(last).as_secs()),
            },
            last_event: known.seen.last_event,
            alias: self.settings.alias.iter().find(|(_, wxid)| *wxid == account).map(|(alias, _)| alias.clone()),
            ..Account::default()
        };
        self.known.iter().map(of).collect()
    }

    /// Those who polled by a name that is no account's.
    pub(crate) fn pollers(&self) -> Vec<control::Poller> {
        let of = |(name, stranger): (&String, &Stranger)| control::Poller {
            name: name.clone(),
            pid: stranger.pid,
            peer: stranger.peer.to_string(),
            last_poll: stranger.last_poll,
            last_poll_s: stranger.polled.elapsed().as_secs(),
            several: self.called_by(name, stranger.is_own).into_iter().map(str::to_owned).collect(),
        };
        self.strangers.iter().map(of).collect()
    }
}

/// Whether the accounts that the settings name can be accounts (contract 1). The daemon itself starts with others, since
/// events may tell of them.
///
/// # Errors
/// A sentence that names the key and says what to do.
pub(crate) fn check(settings: &config::Accounts) -> Result<(), String> {
    for (alias, account) in &settings.alias {
        if alias.trim().is_empty() || alias.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("accounts.alias: `{alias}` is no alias; give a word without blanks"));
        }
        if let Err(error) = Wxid::check(account) {
            return Err(format!(
                "accounts.alias.{alias}: {error}; give the account's wxid, as `wehelp account list` shows it"
            ));
        }
    }
    match &settings.default {
        Some(default)
            if !(settings.alias.contains_key(default)
                || default.starts_with("wxid_") && Wxid::check(default).is_ok()) =>
        {
            Err(format!(
                "accounts.default: `{default}` is neither an alias of [accounts.alias] nor of the form wxid_…; give the \
                 account's wxid, or an alias of it"
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
