//! A log of a million events (or `WEHELP_BENCH_EVENTS`): what it weighs, how it reads, how it starts.

use crate::Run;
use crate::callbacks::event_with;
use crate::daemon::{self, Daemon};
use crate::http::{self, Client};
use crate::table::{Goal, Unit, median};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Events come from so many connections.
const CONNECTIONS: u64 = 256;
/// Every so manyth event is of the chat that is looked for where few match.
const RARE: u64 = 25_000;
/// Ordinary chats.
const CHATS: u64 = 1000;

/// Fills, reads, restarts.
pub(crate) fn run(run: &mut Run) {
    let wanted = std::env::var("WEHELP_BENCH_EVENTS").ok().and_then(|n| n.parse().ok());
    let events = wanted.unwrap_or(if run.smoke { 20_000 } else { 1_000_000 });
    let dir = run.folder("million");
    let daemon = Daemon::start(&dir);
    let tenths = fill(&daemon, events);
    let name = format!("{events} events: ingest, the last tenth, the first");
    run.table.compare(&name, Unit::PerSecond, &[(tenths.last, tenths.first)], Goal::RatioMin(0.8));
    daemon.rest();
    let memory = daemon::status(daemon.child.pid(), "VmHWM") as f64 / 1024.0;
    run.table.alone("  most memory of the daemon so far", Unit::Mebibytes, memory, Goal::OursMax(64.0));
    let disk = daemon.disk() as f64 / tenths.bytes as f64;
    run.table.alone("  disk, in bytes of its events", Unit::Times, disk, Goal::OursMax(2.0));

    scans(run, &daemon, events);
    questions(run, &daemon);
    let daemon = starts(run, daemon, &dir);
    let memory = daemon::status(daemon.child.pid(), "VmHWM") as f64 / 1024.0;
    run.table.alone("  most memory of the daemon after a start", Unit::Mebibytes, memory, Goal::OursMax(64.0));
}

/// Events a second of the first and the last tenth, and the bytes of all.
struct Filled {
    first: f64,
    last: f64,
    bytes: u64,
}

fn fill(daemon: &Daemon, events: u64) -> Filled {
    let (next, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    // When a tenth of all was sent, and when nine tenths were, nanoseconds.
    let marks = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let work = || {
                let mut client = Client::new(&daemon.door);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= events {
                        return;
                    }
                    for (mark, at) in marks.iter().zip([events / 10, events / 10 * 9]) {
                        if n == at {
                            mark.store(u64::try_from(started.elapsed().as_nanos()).unwrap(), Ordering::Relaxed);
                        }
                    }
                    let body = body(n);
                    bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                    assert_eq!(client.ask(&http::post("/recieve_msg", body.as_bytes())).unwrap().status, 200);
                }
            };
            std::thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, work).unwrap();
        }
    });
    let all = started.elapsed().as_secs_f64();
    let [first, last] = marks.map(|mark| mark.into_inner() as f64 / 1e9);
    let tenth = (events / 10) as f64;
    Filled { first: tenth / first, last: tenth / (all - last), bytes: bytes.into_inner() }
}

/// The nth event: about 600 bytes that repeat as little as a chat's do.
fn body(n: u64) -> String {
    let chat = if n.is_multiple_of(RARE) { "rare@chatroom".to_owned() } else { format!("wxid_chat{:06}", n % CHATS) };
    let mut text = format!("message {n}: ");
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < 400 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{:x} ", state >> 24));
    }
    event_with(&chat, &text)
}

/// What a `wehelp` came to.
pub(crate) struct Ran {
    pub(crate) time: Duration,
    pub(crate) lines: u64,
    /// The most memory of it, MiB.
    memory: f64,
}

/// Runs a `wehelp` with its output in a file.
pub(crate) fn ran(daemon: &Daemon, args: &[&str], out: &Path) -> Ran {
    let began = Instant::now();
    let file = std::fs::File::create(out).unwrap();
    let mut child = daemon.wehelp(args).stdout(file).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let mut memory = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        memory = memory.max(daemon::status(pid, "VmHWM"));
        std::thread::sleep(Duration::from_millis(if began.elapsed().as_millis() < 100 { 1 } else { 10 }));
    };
    let time = began.elapsed();
    assert!(status.success(), "wehelp {args:?}: {status}");
    Ran { time, lines: count_lines(out), memory: memory as f64 / 1024.0 }
}

fn count_lines(path: &Path) -> u64 {
    let out = Command::new("wc").arg("-l").arg(path).output().unwrap();
    String::from_utf8_lossy(&out.stdout).split_whitespace().next().unwrap().parse().unwrap()
}

/// Reading all of it, whole and filtered.
fn scans(run: &mut Run, daemon: &Daemon, events: u64) {
    let out = run.dir.path().join("out");
    let rate = |ran: &Ran| events as f64 / ran.time.as_secs_f64();
    let rounds = run.rounds();
    let all: Vec<Ran> = (0..rounds).map(|_| ran(daemon, &["events", "-n", "all", "--json"], &out)).collect();
    assert!(all.iter().all(|ran| ran.lines == events), "not all events were printed");
    run.table.alone("  events -n all > file", Unit::PerSecond, median(all.iter().map(rate)), Goal::OursMin(300_000.0));
    let memory = all.iter().map(|ran| ran.memory).fold(0.0, f64::max);
    run.table.alone("  most memory of wehelp meanwhile", Unit::Mebibytes, memory, Goal::OursMax(20.0));
    let filters: [(&str, &[&str], u64); 3] = [
        ("--chat, one in a thousand", &["--chat", "wxid_chat000007"], events / CHATS),
        ("--self, which none has", &["--self"], 0),
        ("--match, which none has", &["--match", "qqq+zzz"], 0),
    ];
    for (name, filter, matching) in filters {
        let args = [&["events", "-n", "all", "--json"], filter].concat();
        let looked: Vec<Ran> = (0..rounds).map(|_| ran(daemon, &args, &out)).collect();
        // Some of the chat's are of the rare one.
        assert!(looked.iter().all(|ran| ran.lines.abs_diff(matching) <= events / RARE), "{name}: {}", looked[0].lines);
        let name = format!("  scan with {name}");
        run.table.alone(&name, Unit::PerSecond, median(looked.iter().map(rate)), Goal::OursMin(500_000.0));
    }
    let memory = daemon::status(daemon.child.pid(), "VmHWM") as f64 / 1024.0;
    run.table.alone("  most memory of the daemon so far", Unit::Mebibytes, memory, Goal::OursMax(64.0));
    std::fs::remove_file(&out).unwrap();
}

/// What a person asks now and then.
fn questions(run: &mut Run, daemon: &Daemon) {
    let out = run.dir.path().join("few");
    let asked: [(&str, &[&str], f64); 4] = [
        ("events -n 20", &["-n", "20"], 50.0),
        ("events --since 1h -n 20", &["--since", "1h", "-n", "20"], 50.0),
        ("events -n 20 --chat, a rare one", &["-n", "20", "--chat", "rare@chatroom"], 100.0),
        ("events -n 20 --kind, none there", &["-n", "20", "--kind", "logout"], 100.0),
    ];
    for (name, filter, goal) in asked {
        let args = [&["events", "--json"], filter].concat();
        let times = (0..if run.smoke { 1 } else { 9 }).map(|_| ran(daemon, &args, &out).time.as_secs_f64() * 1e3);
        run.table.alone(&format!("  {name}"), Unit::Millis, median(times), Goal::OursMax(goal));
    }
}

/// Starting with all of it, after a clean stop and after a kill under load.
fn starts(run: &mut Run, daemon: Daemon, dir: &Path) -> Daemon {
    let Daemon { child, .. } = daemon;
    assert!(child.stop().success(), "wehelpd did not stop well");
    let began = Instant::now();
    let daemon = Daemon::start(dir);
    run.table.alone("  start after a stop", Unit::Millis, began.elapsed().as_secs_f64() * 1e3, Goal::OursMax(1000.0));
    // A few events more, so that there is something to be mended.
    let mut client = Client::new(&daemon.door);
    for n in 0..100 {
        assert_eq!(client.ask(&http::post("/recieve_msg", body(n).as_bytes())).unwrap().status, 200);
    }
    let Daemon { child, .. } = daemon;
    child.kill();
    let began = Instant::now();
    let daemon = Daemon::start(dir);
    run.table.alone("  start after a kill", Unit::Millis, began.elapsed().as_secs_f64() * 1e3, Goal::OursMax(3000.0));
    // The journal is the truth: the map is made of it again.
    let Daemon { child, .. } = daemon;
    assert!(child.stop().success(), "wehelpd did not stop well");
    std::fs::remove_dir_all(dir.join("data/sled")).unwrap();
    let began = Instant::now();
    let daemon = Daemon::start(dir);
    run.table.alone("  start without its map", Unit::Millis, began.elapsed().as_secs_f64() * 1e3, Goal::Known);
    daemon
}
