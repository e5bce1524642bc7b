//! The queue against a model of it: what contract 3, 4 and 6 promise of a command's life, in any order of events.
//!
//! The real functions run over a real store, which is closed, or killed (a copy of its folder at that moment), and
//! opened again in between. After each step every record is compared with the model's, and every index with what the
//! records say.

use super::answers::*;
use super::change::*;
use super::claim::*;
use super::enqueue::*;
use super::pacing::Purse;
use super::record::*;
use super::refused::Refused;
use super::revisions::{self, Telling};
use super::rows::*;
use super::settle::*;
use super::table::*;
use super::turns::{ask, ask_waits};
use super::{pacing, read};
use crate::clock::Time;
use crate::config;
use crate::control::{Receipt, Rev, State};
use crate::daemon::ages::Ages;
use crate::key::{ASKED, COUNT, DONE, DUE, ECHO, EXPIRY, IN_FLIGHT, READY, REFUSABLE, Space};
use crate::protocol::answer::{Conclusion, Verdict};
use crate::protocol::command::Wire;
use crate::seq::Seq;
use crate::store::{Options, Store, Txn};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

mod stories;

const ACCOUNTS: [Option<&str>; 3] = [None, Some("wxid_a"), Some("wxid_b")];
const UNPACED: config::Pacing = config::Pacing { sends_per_minute: 0, friend_gap: Duration::ZERO, friends_per_day: 0 };
/// Finished commands are forgotten after this.
const KEPT: Duration = Duration::from_secs(7200);

/// Something that happens to the queue.
#[derive(Debug, Clone)]
enum Step {
    Enqueue { account: usize, what: What, key: Option<u8>, delay_ms: u64, expires_ms: Option<u64> },
    Claim { account: usize, share: Share, batch: usize },
    Settle { handover: usize, settled: Settled },
    Expire,
    ComeDue,
    Cancel { at: usize },
    Retry { at: usize },
    Echo { account: usize, text: u8 },
    Refuse { account: usize },
    Forget,
    Pass { ms: u64 },
    Reopen { killed: bool, redeliver: bool },
}

/// What is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct What {
    text: u8,
    bulk: bool,
    /// A question about the login, which goes out for an account that is logged out.
    login: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let settled =
        prop_oneof![any::<bool>().prop_map(|confirmed| Settled::Fetched { confirmed }), Just(Settled::GivenBack),];
    let expires = proptest::option::weighted(0.3, prop_oneof![Just(0), Just(300), Just(5000)]);
    let what = (0..3_u8, any::<bool>(), proptest::bool::weighted(0.2));
    let what = what.prop_map(|(text, bulk, login)| What { text, bulk, login });
    let key = proptest::option::weighted(0.4, 0..3_u8);
    let enqueue = (0..3_usize, what, key, prop_oneof![Just(0), Just(400)], expires).prop_map(
        |(account, what, key, delay_ms, expires_ms)| Step::Enqueue { account, what, key, delay_ms, expires_ms },
    );
    let share = prop_oneof![4 => Just(Share::All), 1 => Just(Share::Login)];
    // Mostly moments; sometimes so long that an echo, a key or a finished command is too old.
    let pass = prop_oneof![6 => 1..600_u64, 1 => Just(700_000), 1 => Just(8_000_000), 1 => Just(90_000_000)];
    let step = prop_oneof![
        6 => enqueue,
        5 => (0..3_usize, share, 1..4_usize)
            .prop_map(|(account, share, batch)| Step::Claim { account, share, batch }),
        5 => (0..8_usize, settled).prop_map(|(handover, settled)| Step::Settle { handover, settled }),
        1 => Just(Step::Expire),
        1 => Just(Step::ComeDue),
        2 => (0..16_usize).prop_map(|at| Step::Cancel { at }),
        2 => (0..16_usize).prop_map(|at| Step::Retry { at }),
        3 => (1..3_usize, 0..3_u8).prop_map(|(account, text)| Step::Echo { account, text }),
        1 => (1..3_usize).prop_map(|account| Step::Refuse { account }),
        1 => Just(Step::Forget),
        3 => pass.prop_map(|ms| Step::Pass { ms }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(killed, redeliver)| Step::Reopen { killed, redeliver }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the model knows of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    id: u64,
    phase: Phase,
    account: Option<String>,
    key: Option<String>,
    text: String,
    bulk: bool,
    login: bool,
    created: Time,
    due: Time,
    expires: Option<Time>,
    attempts: u32,
    /// It was with a client, or may have been, before it was queued again.
    was_out: bool,
    /// Who claimed it last, and when.
    claimed: Option<(Option<String>, Time)>,
    fetched: Option<(Time, bool)>,
    done: Option<Time>,
}

impl Known {
    /// The account that it is for, as far as anybody knows.
    fn owner(&self) -> Option<&str> {
        let claimed = self.claimed.as_ref().filter(|_| !self.is_given_back());
        self.account.as_deref().or_else(|| claimed?.0.as_deref())
    }

    /// Queued again after a hand-over that seemed to fail.
    fn is_given_back(&self) -> bool {
        self.phase == Phase::Queued && self.claimed.is_some()
    }

    fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Expired | Phase::Cancelled) && self.fetched.is_none() && !self.was_out
    }

    fn is_unfinished(&self) -> bool {
        matches!(self.phase, Phase::Queued | Phase::InFlight)
    }
}

/// Which phase may follow which, in one step; staying is always possible.
fn may_follow(from: Phase, to: Phase) -> bool {
    use Phase::{Answered, Cancelled, Expired, Fetched, InFlight, Queued, Rejected};
    match from {
        Queued => matches!(to, InFlight | Expired | Cancelled),
        // An answer proves the arrival before it is recorded; after a crash it is nobody's, and can be cancelled.
        InFlight => matches!(to, Queued | Fetched | Answered | Rejected | Cancelled),
        Fetched => matches!(to, Queued | Answered | Rejected),
        // A refusal may come after the echo.
        Answered => matches!(to, Rejected),
        Rejected | Expired | Cancelled => matches!(to, Queued),
    }
}

/// The queue, and what it should be.
struct Both {
    dir: TempDir,
    store: Option<Store>,
    runtime: tokio::runtime::Runtime,
    now: Time,
    seq: u64,
    model: Vec<Known>,
    /// Ids in answers that are open.
    handovers: Vec<Vec<u64>>,
    last_id: u64,
    /// What a reader of all changes was told, each as it came: the first is change 1.
    told: Vec<Receipt>,
}

fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn open(dir: &Path) -> Store {
    let options = Options { segment_bytes: 256 << 10, free_bytes_min: 0, ..Options::default() };
    Store::open(dir, options).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Both {
    fn new() -> Self {
        let dir = folder();
        let store = Some(open(dir.path()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let now = Time::from_millis(1_800_000_000_000);
        Self {
            dir,
            store,
            runtime,
            now,
            seq: 1,
            model: Vec::new(),
            handovers: Vec::new(),
            last_id: 0,
            told: Vec::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn write<T: Send + 'static>(&self, work: impl FnOnce(&mut Txn<'_>) -> T + Send + 'static) -> T {
        let done = self.runtime.block_on(self.store().write(move |tx| Ok::<_, std::convert::Infallible>(work(tx))));
        let Ok(value) = done.unwrap();
        value
    }

    fn at(&mut self, id: u64) -> &mut Known {
        self.model.iter_mut().find(|known| known.id == id).unwrap()
    }

    fn is_live(&self, id: u64) -> bool {
        self.handovers.iter().any(|ids| ids.contains(&id))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Enqueue { account, what, key, delay_ms, expires_ms } => {
                self.enqueue(ACCOUNTS[account], what, key, delay_ms, expires_ms);
            }
            Step::Claim { account, share, batch } => self.claim(ACCOUNTS[account], share, batch),
            Step::Settle { handover, settled } => self.settle(handover, settled),
            Step::Expire => {
                let now = self.now;
                self.write(move |tx| expire(tx, now));
                self.expired();
            }
            Step::ComeDue => {
                let now = self.now;
                while self.write(move |tx| come_due(tx, now)) > 0 {}
            }
            Step::Cancel { at } => self.cancel(at),
            Step::Retry { at } => self.retry(at),
            Step::Echo { account, text } => self.echo(ACCOUNTS[account].unwrap(), text),
            Step::Refuse { account } => self.refuse(ACCOUNTS[account].unwrap()),
            Step::Forget => self.forget(),
            Step::Pass { ms } => self.now = self.now.after(Duration::from_millis(ms)),
            Step::Reopen { killed, redeliver } => self.reopen(killed, redeliver),
        }
        self.seq += 1;
    }

    fn enqueue(
        &mut self,
        account: Option<&'static str>,
        what: What,
        key: Option<u8>,
        delay: u64,
        expires: Option<u64>,
    ) {
        let What { text, bulk, login } = what;
        let (now, key, text) = (self.now, key.map(|key| format!("k{key}")), format!("t{text}"));
        let api = if login { "getLoginQrCode" } else { "sendTextMessage" };
        let wire = format!(r#"{{"api":"{api}","wxid":"wxid_friend","text":"{text}"}}"#);
        let due = now.after(Duration::from_millis(delay));
        let expires = expires.map(|ms| due.after(Duration::from_millis(ms)));
        let when = When { due, expires, fixed: false, bulk };
        let new = New { wire: Wire::from_json(&wire).unwrap(), key: key.clone() };
        let made = self.write(move |tx| enqueue(tx, now, account, vec![new], when, &config::Queue::default()));
        let stands: Vec<&Known> = self.standing(account, key.as_deref()).collect();
        match made {
            Err(refused) => {
                assert!(matches!(refused, Refused::KeyUsed { .. } | Refused::KeyTwice(_)), "{refused}");
                assert!(
                    stands.iter().any(|known| known.text != text || known.login != login),
                    "refused for nothing: {key:?} {text}"
                );
            }
            Ok(made) => {
                let [(record, repeated)] = &made[..] else { panic!("one was asked for: {made:?}") };
                if *repeated {
                    assert!(
                        stands.iter().any(|known| known.id == record.id && known.text == text && known.login == login),
                        "{record:?}"
                    );
                    // Named at last.
                    let known = self.at(record.id);
                    if known.account.is_none()
                        && known.phase == Phase::Queued
                        && known.claimed.is_none()
                        && !known.was_out
                    {
                        known.account = account.map(str::to_owned);
                    }
                    return;
                }
                assert!(stands.is_empty(), "the key stands for {stands:?}, and {record:?} is queued");
                assert!(record.id > self.last_id, "{record:?}");
                self.last_id = record.id;
                let (id, account) = (record.id, account.map(str::to_owned));
                self.model.push(Known {
                    id,
                    phase: Phase::Queued,
                    account,
                    key,
                    text,
                    bulk,
                    login,
                    created: now,
                    due,
                    expires,
                    attempts: 0,
                    was_out: false,
                    claimed: None,
                    fetched: None,
                    done: None,
                });
            }
        }
    }

    /// The commands that a key stands for, for whoever queues for that account.
    fn standing<'a>(&'a self, account: Option<&'a str>, key: Option<&'a str>) -> impl Iterator<Item = &'a Known> {
        let is_meant = move |known: &&Known| key.is_some() && known.key.as_deref() == key;
        self.model
            .iter()
            .filter(is_meant)
            .filter(|known| self.now.since(known.created) < KEY_LIFE)
            .filter(move |known| account.is_none() || known.owner().is_none() || known.owner() == account)
            .filter(|known| !known.is_free())
    }

    fn expired(&mut self) {
        let now = self.now;
        for known in &mut self.model {
            if known.phase == Phase::Queued && known.expires.is_some_and(|expires| expires <= now) {
                (known.phase, known.done) = (Phase::Expired, Some(now));
            }
        }
    }

    fn claim(&mut self, account: Option<&'static str>, share: Share, batch: usize) {
        let (now, tail) = (self.now, Seq(self.seq));
        let account = account.map(str::to_owned);
        let (peer, purse) = ("127.0.0.1:1".to_owned(), account.clone().unwrap_or_default());
        let by = Claimed {
            time: now,
            account: account.clone(),
            names: Vec::new(),
            pid: None,
            peer,
            tail,
            purse: purse.clone(),
        };
        let bound = account.iter().map(|account| (account.clone(), share)).collect();
        let lists = Lists { bound, unbound: share, purse: Purse::of(&purse) };
        let taken = self.write(move |tx| claim(tx, &lists, &by, batch, &UNPACED));
        self.expired();
        let mut due: Vec<&Known> = self
            .model
            .iter()
            .filter(|known| known.phase == Phase::Queued && known.due <= now)
            .filter(|known| known.account.is_none() || known.account == account)
            .filter(|known| known.login || share == Share::All)
            .collect();
        // What is asked about the login goes first, however it was queued.
        due.sort_by_key(|known| (known.bulk && !known.login, known.due, known.id));
        let wanted: Vec<u64> = due.iter().take(batch).map(|known| known.id).collect();
        let ids: Vec<u64> = taken.iter().map(|record| record.id).collect();
        assert_eq!(ids, wanted, "claimed, and due in this order");
        for id in &ids {
            let account = account.clone();
            let known = self.at(*id);
            (known.phase, known.claimed) = (Phase::InFlight, Some((account, now)));
            known.attempts += 1;
        }
        if !ids.is_empty() {
            self.handovers.push(ids);
        }
    }

    fn settle(&mut self, handover: usize, settled: Settled) {
        if self.handovers.is_empty() {
            return;
        }
        let ids = self.handovers.swap_remove(handover % self.handovers.len());
        let (now, of) = (self.now, ids.clone());
        let tail = Seq(self.seq);
        self.write(move |tx| settle(tx, &of, settled, tail, now));
        for id in ids {
            // One that is over may be forgotten before its hand-over ends.
            let Some(known) = self.model.iter_mut().find(|known| known.id == id) else { continue };
            match settled {
                // It was answered in the meantime: that stays.
                _ if known.phase != Phase::InFlight => {}
                Settled::GivenBack => known.phase = Phase::Queued,
                Settled::Fetched { confirmed } => {
                    (known.phase, known.fetched, known.done) = (Phase::Fetched, Some((now, confirmed)), Some(now));
                }
            }
        }
    }

    fn any(&self, at: usize) -> Option<Known> {
        (!self.model.is_empty()).then(|| self.model[at % self.model.len()].clone())
    }

    fn cancel(&mut self, at: usize) {
        let Some(Known { id, phase, .. }) = self.any(at) else { return };
        let (live, now) = (self.is_live(id), self.now);
        let done = self.write(move |tx| cancel(tx, id, live, now)).is_ok();
        let may = matches!(phase, Phase::Queued | Phase::Cancelled) || (phase == Phase::InFlight && !live);
        assert_eq!(done, may, "cancelling {id}, {phase:?}, live: {live}");
        if done && phase != Phase::Cancelled {
            let known = self.at(id);
            known.was_out |= phase == Phase::InFlight;
            (known.phase, known.done) = (Phase::Cancelled, Some(now));
        }
    }

    fn retry(&mut self, at: usize) {
        let Some(known) = self.any(at) else { return };
        let (id, live, now) = (known.id, self.is_live(known.id), self.now);
        let done = self.write(move |tx| retry(tx, id, live, now)).is_ok();
        // Its key may be another command's by now: two would stand under it.
        let is_over = !known.is_unfinished();
        let taken = is_over && self.standing(known.account.as_deref(), known.key.as_deref()).any(|k| k.id != id);
        let waits = known.phase == Phase::Queued && known.due > now;
        let refused = known.phase == Phase::Answered || (known.phase == Phase::InFlight && live);
        let may = !(refused || taken || waits);
        assert_eq!(done, may, "retrying {known:?}, live: {live}");
        if done {
            let known = self.at(id);
            known.was_out |= known.fetched.is_some() || known.phase == Phase::InFlight;
            known.due = if known.phase == Phase::Queued { known.due } else { now };
            known.expires = known.expires.filter(|expires| *expires > now);
            known.phase = Phase::Queued;
            (known.claimed, known.fetched, known.done) = (None, None, None);
        }
    }

    /// The client reports a text of the account's own: of those that it has, the oldest.
    fn echo(&mut self, account: &'static str, text: u8) {
        let (now, seq, text) = (self.now, Seq(self.seq + 1), format!("t{text}"));
        let of = text.clone();
        let concluded = self.write(move |tx| {
            let open = echoable(tx, account, "wxid_friend", &of, seq, now);
            let first = open.first()?;
            let conclusion = Conclusion { at: 0, verdict: Verdict::Answered, told: Vec::new() };
            conclude(tx, first, seq, &conclusion, now);
            Some(first.id)
        });
        let may_be = |known: &&Known| {
            let by = known.claimed.as_ref().and_then(|(by, _)| by.as_deref()).or(known.account.as_deref());
            let is_recent = known.claimed.as_ref().is_some_and(|(_, at)| now.since(*at) <= ECHO_LIFE);
            known.text == text && !known.login && by == Some(account) && is_recent
        };
        let has = |known: &&Known| matches!(known.phase, Phase::InFlight | Phase::Fetched);
        let wanted = self.model.iter().filter(may_be).find(has);
        assert_eq!(concluded, wanted.map(|known| known.id), "whose echo it is");
        if let Some(id) = concluded {
            let known = self.at(id);
            (known.phase, known.done) = (Phase::Answered, Some(now));
            known.fetched.get_or_insert((now, true));
        }
    }

    /// A notice refuses one of those that went there.
    fn refuse(&mut self, account: &'static str) {
        let (now, seq) = (self.now, Seq(self.seq + 1));
        let concluded = self.write(move |tx| {
            let open = refusable(tx, account, "wxid_friend", seq, now);
            let meant = refused(&open)?;
            let conclusion = Conclusion { at: 0, verdict: Verdict::Rejected, told: Vec::new() };
            conclude(tx, meant, seq, &conclusion, now);
            Some(meant.id)
        });
        if let Some(id) = concluded {
            let known = self.at(id);
            let by = known.claimed.as_ref().and_then(|(by, _)| by.clone()).or(known.account.clone());
            assert_eq!(by.as_deref(), Some(account), "{known:?}");
            assert!(matches!(known.phase, Phase::InFlight | Phase::Fetched | Phase::Answered), "{known:?}");
            (known.phase, known.done) = (Phase::Rejected, Some(now));
            known.fetched.get_or_insert((now, true));
        }
    }

    fn rejected(&self) -> Vec<u64> {
        self.model.iter().filter(|known| known.phase == Phase::Rejected).map(|known| known.id).collect()
    }

    fn forget(&mut self) {
        let (now, before) = (self.now, self.now.before(KEPT));
        // Those whose key is still promised are put off, and looked at again: it ends all the same.
        while self.write(move |tx| revisions::drop_old(tx, Some(before))) > 0 {}
        while self.write(move |tx| forget(tx, before, now)) > 0 {}
        self.model.retain_mut(|known| {
            let old = !known.is_unfinished() && known.done.is_some_and(|done| done < before);
            if old && known.key.is_some() && now.since(known.created) < KEY_LIFE {
                known.done = Some(known.created.max(now).after(KEY_LIFE));
                return true;
            }
            !old
        });
    }

    fn reopen(&mut self, killed: bool, redeliver_all: bool) {
        if killed {
            // What was answered is on disk at this moment, whatever else is not.
            let to = folder();
            copy(self.dir.path(), to.path());
            drop(self.store.take());
            self.dir = to;
        } else {
            self.store().close().unwrap();
            self.store = None;
        }
        self.store = Some(open(self.dir.path()));
        self.handovers.clear();
        if redeliver_all {
            let now = self.now;
            let left = read::unfinished(self.store()).unwrap();
            let tail = Seq(self.seq);
            self.write(move |tx| redeliver(tx, &left, tail, now));
            for known in self.model.iter_mut().filter(|known| known.phase == Phase::InFlight) {
                (known.phase, known.was_out) = (Phase::Queued, true);
            }
        }
    }

    /// Every record is what the model says, and every index what the records say.
    fn check(&self, before: &[Known]) {
        let store = self.store();
        let mut records = Vec::new();
        read::each(store, |record| {
            records.push(record);
            ControlFlow::Continue(())
        })
        .unwrap();
        let seen: Vec<Known> = records.iter().map(known).collect();
        assert_eq!(seen, self.model);
        for known in &seen {
            let was = before.iter().find(|was| was.id == known.id).map_or(Phase::Queued, |was| was.phase);
            assert!(was == known.phase || may_follow(was, known.phase), "{was:?} → {known:?}");
        }
        let mut wanted: BTreeMap<(Space, Vec<u8>), Vec<u8>> = BTreeMap::new();
        let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for record in &records {
            wanted.extend(entries(record));
            for key in count_keys(record) {
                *counts.entry(key).or_default() += 1;
            }
        }
        for space in [READY, DUE, IN_FLIGHT, EXPIRY, DONE, ASKED, ECHO, REFUSABLE] {
            let found: BTreeMap<_, _> = store.scan(space, ..).map(Result::unwrap).collect();
            let due = wanted.iter().filter(|((of, _), _)| *of == space).map(|((_, key), value)| (key, value));
            // What is too old to be answered may have been forgotten by the index.
            let forgets = matches!(space, ASKED | ECHO | REFUSABLE);
            let due: BTreeMap<_, _> = due.filter(|(key, _)| !forgets || found.contains_key(*key)).collect();
            assert_eq!(found.iter().collect::<BTreeMap<_, _>>(), due, "{space:?}");
        }
        let found = store.scan(COUNT, ..).map(Result::unwrap);
        let found: BTreeMap<_, _> = found.map(|(key, n)| (key, number(Some(n)))).collect();
        assert_eq!(found, counts);
        let mut unfinished = Vec::new();
        let all = read::each_unfinished(store, |record| {
            unfinished.push(record);
            Ok(())
        });
        all.unwrap();
        assert_eq!(unfinished.len(), self.model.iter().filter(|known| known.is_unfinished()).count());
        for (key, account) in ["k0", "k1", "k2"].into_iter().flat_map(|key| ACCOUNTS.map(|account| (key, account))) {
            let stand = self.model.iter().filter(|known| {
                known.key.as_deref() == Some(key)
                    && known.account.as_deref() == account
                    && !known.is_free()
                    && self.now.since(known.created) < KEY_LIFE
            });
            assert!(stand.clone().count() <= 1, "one key, two commands: {:?}", stand.collect::<Vec<_>>());
        }
    }
}

/// Which state may follow which in what is told of a command.
fn may_be_told(was: Option<State>, is: State) -> bool {
    use State::{Answered, Cancelled, Expired, Fetched, InFlight, Ready, Rejected, Scheduled};
    match was {
        None => matches!(is, Scheduled | Ready),
        Some(Scheduled) => matches!(is, Ready | Cancelled),
        Some(Ready) => matches!(is, InFlight | Expired | Cancelled),
        // It is told of an answer, or of the end, before it is known how the hand-over ended.
        Some(InFlight) => matches!(is, Ready | Fetched | Answered | Rejected | Cancelled),
        Some(Fetched) => matches!(is, Ready | Answered | Rejected),
        Some(Answered) => is == Rejected,
        Some(Rejected | Expired | Cancelled) => is == Ready,
    }
}

impl Both {
    /// What is told after a change; ranges that are not kept are told as such.
    fn read(&self, after: usize) -> Vec<Telling> {
        let (store, upto) = (self.store(), revisions::newest(self.store()).unwrap());
        let range = (Rev(after as u64), upto);
        let stretch =
            revisions::page(store, range, (9999, usize::MAX), &Ages::default(), |_| true, |_, _| true).unwrap();
        assert_eq!(stretch.looked_to, upto);
        stretch.told
    }

    /// A reader is told each change of the last step, once and in a legal order, and knows how the commands stand.
    fn follow(&mut self, step: &Step) {
        for telling in self.read(self.told.len()) {
            let Telling::Changed(receipt) = telling else { panic!("nothing is dropped yet: {telling:?}") };
            let was = self.told.iter().rev().find(|told| told.id == receipt.id).map(|told| told.state);
            assert!(may_be_told(was, receipt.state), "{was:?} → {receipt:?}");
            self.told.push(receipt);
            assert_eq!(self.told.last().unwrap().rev, Some(Rev(self.told.len() as u64)));
        }
        for known in &self.model {
            let record = read::one(self.store(), known.id).unwrap().unwrap();
            let last = self.told.iter().rev().find(|told| told.id == known.id).unwrap();
            let (is, waits) = (record.state(self.now), matches!(step, Step::ComeDue));
            let is_late = last.state == State::Scheduled && is == State::Ready && !waits;
            assert!(last.state == is || is_late, "{last:?} of {record:?}");
            // What can change without its state: it is bound by a repeated call, or queued again before it has expired.
            let mut stands = record.receipt_in(last.state);
            stands.account = stands.account.filter(|_| last.account.is_some());
            stands.expires = stands.expires.or(last.expires);
            assert_eq!(json(last), json(&stands), "as it stands");
        }
    }

    /// Whoever goes on anywhere is told the same that came at first, and of the rest that it is dropped.
    fn read_again(&self) {
        for after in 0..=self.told.len() {
            let mut at = after as u64;
            for telling in self.read(after) {
                match telling {
                    Telling::Changed(receipt) => {
                        assert_eq!(receipt.rev, Some(Rev(at + 1)), "after {after}");
                        assert_eq!(json(&receipt), json(&self.told[usize::try_from(at).unwrap()]));
                        at += 1;
                    }
                    Telling::Dropped(from, to) => {
                        assert_eq!((from, to.max(from)), (Rev(at + 1), to));
                        at = to.0;
                    }
                }
            }
            assert_eq!(at, self.told.len() as u64);
        }
    }
}

/// A receipt but for what is only told of the present.
fn json(receipt: &Receipt) -> serde_json::Value {
    serde_json::to_value(Receipt { held: None, changed: None, ..receipt.clone() }).unwrap()
}

fn known(record: &Record) -> Known {
    Known {
        id: record.id,
        phase: record.phase,
        account: record.account.clone(),
        key: record.key.clone(),
        text: serde_json::from_str::<serde_json::Value>(record.command.as_str()).unwrap()["text"]
            .as_str()
            .unwrap()
            .to_owned(),
        bulk: record.bulk,
        login: record.api == "getLoginQrCode",
        created: record.created,
        due: record.due,
        expires: record.expires,
        attempts: record.attempts,
        was_out: record.was_out,
        claimed: record.claimed.as_ref().map(|claimed| (claimed.account.clone(), claimed.time)),
        fetched: record.fetched.as_ref().map(|fetched| (fetched.time, fetched.confirmed)),
        done: record.done,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_command_is_where_the_model_says(steps in steps()) {
        let mut both = Both::new();
        for step in &steps {
            let before = both.model.clone();
            both.step(step);
            both.check(&before);
            both.follow(step);
        }
        both.read_again();
    }
}
