//! The guard: everything at once against the real `wehelpd`, and a judge that knows what was promised (contract 2, 5, 6).
//!
//! A run is a row of rounds. In a round dozens of hands (`world::ACTIONS`) poll, report, queue, cancel and read, and go
//! away at any byte, while the operator (`operator::DEEDS`) kills and stops the daemon, lets file calls fail and sets
//! its clock. Then everything falls silent, every account polls until it gets nothing, every reader reads to the end,
//! and the oracle judges the facts that were written down. Another round goes on with the same store, under other
//! settings.
//!
//! `WEHELP_CHAOS_SECONDS=3600 cargo test --test chaos -- --nocapture` runs longer than the suite does;
//! `WEHELP_CHAOS_SEED=N` repeats the choices of a run. The seed is printed at the start and at a failure. It fixes what
//! each hand does in which order, not how the threads and the machine run: a fault may take several runs to come back.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and tells its seed")]

#[allow(dead_code, reason = "shared with the integration suite; not all of it is used here")]
#[path = "../it/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the integration suite; not all of it is used here")]
#[path = "../it/fixture.rs"]
mod fixture;
#[path = "../untested/missing.rs"]
mod missing;
#[path = "../it/trustful.rs"]
mod trustful;

mod door;
mod faults;
mod operator;
mod oracle;
mod pc;
mod reader;
mod record;
mod script;
mod world;

use crate::door::Manner;
use crate::faults::Faults;
use crate::fixture::{Daemon, Recipe, UNPACED};
use crate::operator::Operator;
use crate::oracle::{Finding, Logged, Oracle, Quiet, Receipt};
use crate::reader::{Follower, Target};
use crate::record::{Check, Fact, Naming, Outcome, Recorder};
use crate::world::{ALIAS, Hand, NICK, PATIENCE, PCS, Role, STEADY, World, lock};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the hands act in the suite.
const SECONDS: u64 = 8;
/// The most that a round takes.
const ROUND: Duration = Duration::from_secs(10);
/// After its connection has ended a command is in flight at most so long (contract 6), and a busy machine's time.
const JUDGED: Duration = Duration::from_secs(15 + 5);
/// One of an account's commands is taken within this, holds of a second or two included.
const DRAIN: Duration = Duration::from_secs(8);
/// While what stays in flight is not looked for, it is not waited for either.
const NOT_JUDGED: Duration = Duration::from_secs(1);

/// How many hands there are of each role, beside one operator.
const HANDS: [(Role, usize); 4] = [(Role::Pc, PCS), (Role::Client, 8), (Role::Script, 5), (Role::Reader, 3)];

/// Checks that are told and do not fail the short run, and the finding of each that is not explained yet; a long run
/// fails by them. Whoever mends it deletes the line.
const OFF: &[(Check, &str)] = &[];

fn is_off(check: Check) -> bool {
    number("WEHELP_CHAOS_SECONDS").is_none() && OFF.iter().any(|(off, _)| *off == check)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// The settings of a round.
#[derive(Debug)]
struct Settings {
    tls: bool,
    text: String,
}

impl Settings {
    fn any(rng: &mut fastrand::Rng, folder: &Path) -> Self {
        let tls = rng.u8(0..4) == 0;
        let mut http = String::from("[http]\n");
        if tls {
            let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
            http.push_str(&format!("tls_cert = {cert:?}\ntls_key = {key:?}\n"));
        }
        if rng.u8(0..3) == 0 {
            http.push_str("poll_hold = \"1s\"\n");
        }
        if rng.u8(0..3) == 0 {
            http.push_str("commands_in_callback = true\n");
        }
        let events = match rng.u8(0..4) {
            0 => "[events]\nmax_bytes = \"256KiB\"\n",
            1 => "[events]\nkeep = \"30d\"\n",
            _ => "",
        };
        let batch = [1, 3, 20][rng.usize(0..3)];
        let accounts = format!("[accounts.alias]\n{ALIAS} = {:?}\n", STEADY[0].0);
        let store = "[store]\nsegment = \"1MiB\"\n";
        Self { tls, text: format!("{http}[queue]\nbatch = {batch}\n{UNPACED}{events}{accounts}{store}") }
    }
}

/// The one who works for the test itself: hands that do everything right.
struct Steward<'a> {
    hand: Hand<'a>,
}

impl Steward<'_> {
    /// Reports an event and asks until it is answered.
    fn tell(&mut self, event: &Value) -> (Outcome, crate::record::Span) {
        let start = Instant::now();
        loop {
            let told = self.hand.post(event.clone(), Manner::GOOD);
            if told.0 == Outcome::Answered {
                return told;
            }
            assert!(start.elapsed() < PATIENCE, "nobody answers a good client: {told:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_in(&mut self, account: &str, pid: u64) {
        let event = json!({ "type": 67, "code": 200, "processid": pid, "cwxid": account });
        let (outcome, span) = self.tell(&event);
        let account = account.to_owned();
        self.hand.world.recorder.add(Fact::Told { account, pid, logged_in: true, span, outcome });
    }

    /// Polls until nothing is left, or nothing goes any more.
    fn drain(&mut self, account: &str, pid: u64) {
        let naming = Naming { account: Some(account.to_owned()), pid: Some(pid) };
        let (mut least, mut since) = (usize::MAX, Instant::now());
        loop {
            let left = self.waiting(account);
            if left < least {
                (least, since) = (left, Instant::now());
            }
            // A hold that is not over is waited for.
            if left == 0 || since.elapsed() > DRAIN {
                return;
            }
            // Over TLS the daemon's goodbye is not waited for: there may be many to take.
            let manner = Manner { polite: false, ..Manner::GOOD };
            self.hand.poll(&format!("wxid={account}&pid={pid}"), naming.clone(), manner);
        }
    }

    fn waiting(&self, account: &str) -> usize {
        let path = format!("/v1/commands?account={account}&state=ready,scheduled");
        self.hand.world.control("GET", &path, b"").map_or(usize::MAX, |response| response.text().lines().count())
    }
}

/// Lets the queue go on, once the store accepts writes again.
fn resume(world: &World) {
    let start = Instant::now();
    loop {
        let resumed = world.control("POST", "/v1/queue/resume", b"{}");
        if resumed.is_some_and(|resumed| resumed.status == 200) {
            return;
        }
        if start.elapsed() > PATIENCE {
            return world.recorder.saw(Check::NoAnswer, "the queue cannot be resumed");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn id_of(receipt: &str) -> u64 {
    serde_json::from_str::<Value>(receipt).ok().and_then(|receipt| receipt["id"].as_u64()).unwrap_or(0)
}

/// Waits until nothing is in flight: everybody has gone.
fn settle(world: &World) {
    let start = Instant::now();
    let judged = if is_off(Check::Stuck) { NOT_JUDGED } else { JUDGED };
    loop {
        let found = world.control("GET", "/v1/commands?state=in_flight", b"").map(|response| response.text());
        let ids = found.as_ref().map(|found| found.lines().map(id_of).collect::<Vec<_>>());
        match &ids {
            Some(ids) if ids.is_empty() => return,
            _ if start.elapsed() > judged => {
                world.recorder.saw(Check::Stuck, format!("in flight {judged:?} after all went: {ids:?}"));
                return;
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn lines(world: &World, path: &str) -> Vec<Value> {
    let response = world.control("GET", path, b"").unwrap_or_else(|| panic!("no answer to GET {path}"));
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The daemon as it is now.
fn look(world: &World, facts: &[Fact], oracle: &Oracle) -> Quiet {
    let entries = lines(world, &format!("/v1/events?after={}", oracle.tail()));
    // Retention goes on: where the log begins is asked behind it, and what was dropped meanwhile is left out.
    let status = world.control("GET", "/v1/status", b"").expect("it is up").json();
    let first = status["events"]["first"].as_u64().unwrap();
    let entries = entries.iter().filter(|entry| entry.get("kind").is_some() && entry["seq"].as_u64() >= Some(first));
    let log = entries
        .map(|entry| Logged {
            seq: entry["seq"].as_u64().unwrap(),
            mark: reader::mark(entry),
            kind: entry["kind"].as_str().unwrap().to_owned(),
        })
        .collect();
    let queued = facts.iter().filter(|fact| matches!(fact, Fact::Queued { .. })).count();
    let receipts = match queued {
        0 => Vec::new(),
        // Those of requests without an answer are among them.
        _ => lines(world, &format!("/v1/commands?all=true&limit={queued}")),
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let receipt = |value: &Value| Receipt {
        id: value["id"].as_u64().unwrap(),
        state: text(&value["state"]).unwrap(),
        account: text(&value["account"]),
        api: text(&value["api"]).unwrap(),
        text: world::text_of(&value["command"]).to_owned(),
        key: text(&value["key"]),
        fetched: value["fetched"]["peer"]
            .as_str()
            .map(|peer| (peer.to_owned(), value["fetched"]["confirmed"].as_bool() == Some(true))),
    };
    let mut nicks = HashMap::new();
    for fact in facts {
        let Fact::Named { wxid, .. } = fact else { continue };
        let path = format!("/v1/contacts/{wxid}?account={}", STEADY[0].0);
        let contact = world.control("GET", &path, b"").filter(|contact| contact.status == 200);
        if let Some(nick) = contact.and_then(|contact| text(&contact.json()["nick"])) {
            nicks.insert(wxid.clone(), nick);
        }
    }
    Quiet {
        log,
        first,
        receipts: receipts.iter().map(receipt).filter(|receipt| receipt.id > oracle.newest()).collect(),
        nicks,
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
struct Holds {
    memory_mib: u64,
    descriptors: u64,
    threads: u64,
}

impl Holds {
    fn of(daemon: &Daemon) -> Self {
        let proc = PathBuf::from(format!("/proc/{}", daemon.pid().as_raw_nonzero()));
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let field = |name: &str| {
            let value =
                status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
            value.unwrap_or(0)
        };
        Self {
            memory_mib: field("VmRSS:") / 1024,
            descriptors: std::fs::read_dir(proc.join("fd")).unwrap().count() as u64,
            threads: field("Threads:"),
        }
    }

    /// More than at the first quiet moment, and than noise. A map takes some 40 MiB in a debug build, and one that failed
    /// is there beside the new one until its last reader has gone; what it had goes back to the system only in part. After
    /// a kill the map is made again, and all `commands` pass through memory: about a KiB each in a debug build.
    fn grew(self, first: Self, commands: u64) -> bool {
        self.memory_mib > first.memory_mib + 160 + commands / 1024
            || self.descriptors > first.descriptors + 24
            || self.threads > first.threads + 96
    }
}

/// Everything that a run consists of.
struct Run<'a> {
    world: &'a World,
    hands: Vec<Hand<'a>>,
    steward: Steward<'a>,
    follower: Follower,
    targets: [Target; 2],
    oracle: Oracle,
    first: Option<Holds>,
    rng: fastrand::Rng,
}

impl Run<'_> {
    /// A round; what it broke.
    fn round(&mut self, daemon: &mut Daemon, until: Instant) -> Vec<Finding> {
        let world = self.world;
        world.stop.store(false, Ordering::SeqCst);
        let rng = self.rng.fork();
        let done = std::thread::scope(|scope| {
            for hand in &mut self.hands {
                scope.spawn(|| hand.work());
            }
            scope.spawn(|| learn_names(&mut self.steward));
            let _over = Over(world);
            Operator { world, daemon, target: &self.targets[1], rng }.work(until)
        });
        lock(&world.recent).clear();
        self.fall_silent(daemon);
        let holds = Holds::of(daemon);
        let first = *self.first.get_or_insert(holds);
        if holds.grew(first, self.oracle.newest()) {
            world.recorder.saw(Check::Grown, format!("{holds:?}, at first {first:?}"));
        }
        if daemon.log().contains("panicked") {
            let log = daemon.log();
            let line = log.lines().find(|line| line.contains("panicked")).unwrap_or_default();
            world.recorder.saw(Check::Panic, line);
        }
        let facts = world.recorder.take();
        let quiet = look(world, &facts, &self.oracle);
        for fact in &facts {
            if let Fact::Down { span, killed } = fact {
                let how = if *killed { "killed" } else { "stopped" };
                eprintln!("{how} at {} ms, back at {} ms", span.from / 1000, span.to / 1000);
            }
        }
        let count = |what: fn(&Fact) -> bool| facts.iter().filter(|fact| what(fact)).count();
        eprintln!(
            "{} callbacks, {} commands, {} polls, {} reads; {done:?}; {holds:?}",
            count(|fact| matches!(fact, Fact::Posted { .. })),
            count(|fact| matches!(fact, Fact::Queued { .. })),
            count(|fact| matches!(fact, Fact::Polled { .. })),
            count(|fact| matches!(fact, Fact::Read { .. })),
        );
        self.oracle.judge(&facts, &quiet)
    }

    /// Nobody is connected; every account takes what is left, every reader reads to the end.
    fn fall_silent(&mut self, daemon: &Daemon) {
        let world = self.world;
        resume(world);
        settle(world);
        for which in 0..2 {
            for pc in 0..PCS {
                let (account, pid) = (format!("wxid_pc{pc}_{which}"), 7000 + pc as u64);
                self.steward.log_in(&account, pid);
                self.steward.drain(&account, pid);
                self.hands[pc].logged_in = Some(which);
                self.hands[pc].was_in = which;
            }
        }
        for (account, pid) in STEADY {
            self.steward.drain(account, pid);
        }
        settle(world);
        let tail = daemon.status()["events"]["last"].as_u64().unwrap();
        for hand in self.hands.iter_mut().filter(|hand| hand.role == Role::Reader) {
            let at = reader::catch_up(hand);
            if at != Some(tail) {
                world.recorder.saw(Check::ReaderBehind, format!("a follower is at {at:?}, the log at #{tail}"));
            }
        }
        self.follower.take(world, Some(tail));
        for target in &mut self.targets {
            // A forward that waits to try again tries at once.
            for verb in ["pause", "resume"] {
                world.control("POST", &format!("/v1/forwards/{}/{verb}", target.name), b"");
            }
            target.take(world, Some(tail));
        }
    }
}

/// Ends a round for all hands, also when the operator panics: nobody would else.
struct Over<'a>(&'a World);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

/// People get new names, one after the other.
fn learn_names(steward: &mut Steward<'_>) {
    while !steward.hand.world.is_over() {
        let wxid = format!("wxid_named{}", steward.hand.rng.u8(0..6));
        let nick = steward.hand.fresh("nick");
        let event = json!({
            "type": 71, "processid": STEADY[0].1, "cwxid": STEADY[0].0, "wxid": wxid, "nick": nick, "username": "",
        });
        let (outcome, _) = steward.hand.post(event, Manner::GOOD);
        steward.hand.world.recorder.add(Fact::Named { wxid, nick, outcome });
        std::thread::sleep(Duration::from_millis(25));
    }
}

#[test]
fn nothing_is_lost_stuck_twice_or_anybody_elses_whatever_happens() {
    let seed = number("WEHELP_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(1..1_000_000));
    let seconds = number("WEHELP_CHAOS_SECONDS").unwrap_or(SECONDS);
    eprintln!("chaos for {seconds} s; WEHELP_CHAOS_SEED={seed} repeats it");
    let mut rng = fastrand::Rng::with_seed(seed);

    let laid_out = Recipe::default().lay_out();
    let folder = laid_out.path("");
    let faults = Faults::prepare(&folder);
    let mut recipe = Recipe::default();
    for (name, value) in faults.iter().flat_map(|faults| faults.environment(&folder.join("data"))) {
        recipe = recipe.env(name, &value);
    }
    let mut daemon = laid_out.with(recipe);
    for part in ["cert", "key"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/tls/one.{part}.pem"));
        std::fs::copy(from, folder.join(format!("{part}.pem"))).unwrap();
    }
    let trusted = trustful::trustful();
    let mut settings = Settings::any(&mut rng, &folder);
    daemon.rewrite_config(&settings.text);
    daemon.start();

    let world = World {
        recorder: Recorder::new(),
        stop: false.into(),
        socket: daemon.socket(),
        addr: SocketAddr::from(([127, 0, 0, 1], daemon.port())).into(),
        tls: settings.tls.then(|| trusted.clone()).into(),
        faults,
        recent: Vec::new().into(),
        downs: 0.into(),
        faulty: false.into(),
        folder,
    };
    let targets = ["steady", "dying"].map(Target::open);
    for target in &targets {
        let body = json!({ "url": target.url() }).to_string();
        let made = world.control("PUT", &format!("/v1/forwards/{}", target.name), body.as_bytes()).unwrap();
        assert_eq!(made.status, 200, "{}", made.text());
    }
    let roles = HANDS.iter().flat_map(|(role, count)| std::iter::repeat_n(*role, *count));
    let hands: Vec<_> = roles.enumerate().map(|(number, role)| Hand::new(&world, role, number, seed)).collect();
    let mut steward = Steward { hand: Hand::new(&world, Role::Client, hands.len(), seed) };
    for (account, pid) in STEADY {
        steward.log_in(account, pid);
    }
    let nick = json!({
        "type": 71, "processid": STEADY[1].1, "cwxid": STEADY[1].0, "wxid": STEADY[1].0, "nick": NICK, "username": "",
    });
    steward.tell(&nick);
    let follower = Follower::start(&world);
    let oracle = Oracle::default();
    let mut run = Run { world: &world, hands, steward, follower, targets, oracle, first: None, rng };

    let end = Instant::now() + Duration::from_secs(seconds);
    let mut found: BTreeMap<Check, Vec<String>> = BTreeMap::new();
    while Instant::now() < end {
        eprintln!("a round with\n{}", settings.text);
        let findings = run.round(&mut daemon, (Instant::now() + ROUND).min(end));
        for Finding { check, what } in findings {
            found.entry(check).or_default().push(what);
        }
        if found.keys().any(|check| !is_off(*check)) {
            break;
        }
        // Every other round goes on with the same process, so that what it holds can be compared.
        if run.rng.bool() {
            settings = Settings::any(&mut run.rng, &world.folder);
            daemon.rewrite_config(&settings.text);
            *lock(&world.tls) = settings.tls.then(|| trusted.clone());
            let rng = run.rng.fork();
            Operator { world: &world, daemon: &mut daemon, target: &run.targets[1], rng }.stop();
            run.first = None;
        }
    }
    for (check, whats) in &found {
        let off = OFF.iter().find(|(off, _)| off == check).map(|(_, why)| format!(" (switched off: {why})"));
        eprintln!("{check:?}: {}{}", whats.len(), off.unwrap_or_default());
        whats.iter().take(5).for_each(|what| eprintln!("  {what}"));
    }
    let broken: Vec<&Check> = found.keys().filter(|check| !is_off(**check)).collect();
    assert!(broken.is_empty(), "{broken:?} with WEHELP_CHAOS_SEED={seed}");
}
