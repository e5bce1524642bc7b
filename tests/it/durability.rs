//! Contract 6, the promise: what was answered or printed is on disk.
//!
//! `WEHELP_KILLS=200 cargo test --test it kills` kills more often than the suite does.

use crate::client::{Client, reset};
use crate::fixture::{DEADLINE, Daemon, Recipe, UNPACED, WEHELPD, clean, eventually, message, run};
use crate::missing::{self, is_installed};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the daemon is killed in the suite; a long run asks for more.
const ROUNDS: usize = 12;

/// How many answers are waited for before it is killed: the load is under way then, and goes on meanwhile.
const ANSWERS: usize = 40;

/// What the daemon has promised to keep.
#[derive(Debug, Default)]
struct Promised {
    /// The texts of the callbacks answered 200.
    posted: Vec<String>,
    /// The ids of the receipts printed, with their texts.
    queued: Vec<(u64, String)>,
}

fn post_until(stop: &AtomicBool, client: Client, name: &str, done: &AtomicUsize, promised: &Mutex<Promised>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("{name}-{n}");
        let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, &text));
        let Ok(answer) = client.try_post("/recieve_msg", body.as_bytes()) else { continue };
        // A stopping or failing daemon may refuse; only a 200 is a promise.
        if answer.status == 200 {
            promised.lock().unwrap().posted.push(text);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn queue_until(stop: &AtomicBool, mut send: impl FnMut(&str) -> Command, name: &str, promised: &Mutex<Promised>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("{name}-{n}");
        let done = run(send(&text), None, Duration::from_secs(60));
        if let Some(line) = done.out.lines().next() {
            let receipt: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("half a receipt ({e}): {line}"));
            promised.lock().unwrap().queued.push((receipt["id"].as_u64().unwrap(), text));
        }
    }
}

#[test]
fn twelve_kills_under_load_lose_no_answered_event_and_no_printed_receipt() {
    let rounds = std::env::var("WEHELP_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let mut daemon = Daemon::unpaced();
    let promised = Mutex::new(Promised::default());
    for round in 0..rounds {
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let client = daemon.client();
        let before = promised.lock().unwrap().queued.len();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (stop, done, promised) = (&stop, &done, &promised);
                scope.spawn(move || post_until(stop, client, &format!("e{round}-{thread}"), done, promised));
            }
            let daemon_ref = &daemon;
            let send = |text: &str| daemon_ref.wehelp(["send", "text", "filehelper", text]);
            let (stop_ref, promised_ref) = (&stop, &promised);
            scope.spawn(move || queue_until(stop_ref, send, &format!("c{round}"), promised_ref));
            eventually("load", || {
                let queued = promised.lock().unwrap().queued.len() - before;
                (done.load(Ordering::Relaxed) >= ANSWERS && queued >= 2).then_some(())
            });
            // The load goes on while it dies: the kill lands in the middle of something.
            rustix::process::kill_process(daemon.pid(), rustix::process::Signal::KILL).unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        daemon.kill9();
        daemon.start();
    }
    let promised = promised.into_inner().unwrap();
    eprintln!("{rounds} kills: {} events answered, {} receipts printed", promised.posted.len(), promised.queued.len());
    let events = daemon.events(&["-n", "all"]);
    let seqs: Vec<u64> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "gaps");
    let mut stored: HashMap<&str, usize> = HashMap::new();
    for event in &events {
        *stored.entry(event["text"].as_str().unwrap()).or_default() += 1;
    }
    for text in &promised.posted {
        assert_eq!(stored.get(text.as_str()), Some(&1), "{text} was answered");
    }
    let queue: HashMap<u64, String> = daemon
        .cli(&["queue", "list", "--all"])
        .exits(0)
        .lines()
        .iter()
        .map(|r| (r["id"].as_u64().unwrap(), r["command"]["text"].as_str().unwrap().to_owned()))
        .collect();
    for (id, text) in &promised.queued {
        assert_eq!(queue.get(id), Some(text), "receipt {id} was printed");
    }
    let ids: HashSet<u64> = promised.queued.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), promised.queued.len(), "an id was given twice");
    // Everything is still handed over, each once.
    let mut texts = Vec::new();
    loop {
        let commands = daemon.client().poll("wxid=wxid_me");
        if commands.is_empty() {
            break;
        }
        texts.extend(commands.into_iter().map(|c| c["text"].as_str().unwrap().to_owned()));
    }
    let handed: HashSet<&String> = texts.iter().collect();
    assert_eq!(handed.len(), texts.len(), "handed over twice");
    assert!(promised.queued.iter().all(|(_, text)| handed.contains(text)));
}

/// Queues so much that a client with a narrow window cannot have acknowledged the answer, and polls it without reading.
fn stuck_poll(daemon: &Daemon) -> (Vec<u64>, crate::client::Wire<std::net::TcpStream>) {
    let lines: Vec<String> =
        (0..8).map(|n| format!(r#"{{"api":"big{n}","filling":"{}"}}"#, "x".repeat(30_000))).collect();
    let receipts = daemon.cli_with(&["raw", "-"], &lines.join("\n")).exits(0).lines();
    let ids: Vec<u64> = receipts.iter().map(|r| r["id"].as_u64().unwrap()).collect();
    let mut wire = daemon.client().connect_narrow();
    wire.send(b"GET /send_msg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for id in &ids {
        daemon.reaches(*id, "in_flight");
    }
    (ids, wire)
}

#[test]
fn after_a_crash_commands_in_flight_are_ready_again_with_their_attempts_counted() {
    let mut daemon = Daemon::unpaced();
    let (ids, wire) = stuck_poll(&daemon);
    daemon.kill9();
    drop(wire);
    daemon.start();
    for id in &ids {
        let receipt = daemon.show(*id);
        assert_eq!((&receipt["state"], receipt["attempts"].as_u64()), (&"ready".into(), Some(1)), "{receipt}");
    }
    let again = daemon.client().poll("");
    assert_eq!(again.iter().map(|c| c["api"].as_str().unwrap()).collect::<Vec<_>>()[..2], ["big0", "big1"]);
    let receipt = daemon.reaches(ids[0], "fetched");
    assert_eq!(receipt["attempts"], 2);
}

#[test]
fn without_redelivery_they_wait_for_a_retry() {
    let mut daemon = Recipe::default().config(&format!("{UNPACED}[queue]\nredeliver = false\n")).start();
    let (ids, wire) = stuck_poll(&daemon);
    daemon.kill9();
    drop(wire);
    daemon.start();
    assert_eq!(daemon.show(ids[0])["state"], "in_flight");
    assert!(daemon.client().poll("").is_empty());
    // A monitor hears of it.
    assert_eq!(daemon.status()["queue"]["hanging"], serde_json::json!(ids));
    daemon.cli(&["status", "--check"]).exits(1).says(&[&format!("queue retry {}", ids[0])]);
    daemon.cli(&["queue", "retry", &ids[0].to_string()]).exits(0);
    let again = daemon.client().poll("");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["api"], "big0");
    assert_eq!(daemon.show(ids[1])["state"], "in_flight");
    for id in &ids[1..] {
        daemon.cli(&["queue", "cancel", &id.to_string()]).exits(0);
    }
    daemon.cli(&["status", "--check"]).exits(0);
}

#[test]
fn everything_survives_a_clean_restart() {
    let mut daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let scheduled = daemon.queue(&["send", "text", "wxid_a", "later", "--in", "1h", "--key", "k"]);
    let ready = daemon.queue_text("now");
    let fetched = {
        let other = daemon.queue_text("first");
        assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 2);
        daemon.reaches(other, "fetched")
    };
    daemon.events(&["--cursor", "c", "-n", "all"]);
    let before: Vec<Value> = daemon.cli(&["queue", "list", "--all"]).exits(0).lines();
    let settled = daemon.reaches(ready, "fetched");
    daemon.restart();
    assert_eq!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().len(), before.len());
    assert_eq!(daemon.show(scheduled)["state"], "scheduled");
    assert_eq!(daemon.show(scheduled)["key"], "k");
    assert_eq!(daemon.show(ready), settled);
    assert_eq!(daemon.show(fetched["id"].as_u64().unwrap()), fetched);
    assert!(daemon.events(&["--cursor", "c"]).is_empty());
    let next = daemon.queue_text("after");
    assert!(next > scheduled && next > ready && next > fetched["id"].as_u64().unwrap());
    assert_eq!(daemon.reported(r#"{"type":90,"cwxid":"wxid_me"}"#)["seq"], 2);
    assert_eq!(daemon.status()["accounts"][0]["account"], "wxid_me");
}

#[test]
fn a_stop_ends_cleanly_while_followers_and_idle_clients_are_connected() {
    // Longer than a stop may take here.
    let mut daemon = Recipe::default().config("[http]\npoll_hold = \"5m\"\n").start();
    let mut follower = daemon.beside(&["events", "-f", "--no-reconnect"]);
    daemon.client().event(r#"{"type":90}"#);
    follower.next();
    let idle = daemon.client().connect();
    let mut parked = daemon.client().connect();
    parked.send(b"GET /send_msg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut half = daemon.client().connect();
    half.send(b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nContent-Le");
    assert_eq!(daemon.terminate(), 0, "{}", daemon.log());
    assert!(!daemon.socket().exists(), "the socket was left behind");
    follower.end().exits(3);
    reset(idle);
    if let Ok(answer) = parked.receive() {
        assert_eq!(answer.array(), [Value::Null; 0]);
    }
    drop(half);
}

#[test]
fn a_second_daemon_is_kept_out_also_when_the_lock_was_deleted() {
    let mut daemon = Daemon::new();
    let lock = daemon.data_dir().join("lock");
    let second = || {
        let other = daemon.path("other.sock");
        let mut command = clean(WEHELPD, &daemon.path("home"));
        command.arg("--data-dir").arg(daemon.data_dir()).arg("--socket").arg(&other).args(["--listen", "127.0.0.1:0"]);
        run(command, None, DEADLINE).exits(1).says(&["in use", &format!("(pid {})", daemon.pid())]);
        assert!(!other.exists());
    };
    for n in 1..=3 {
        std::fs::remove_file(&lock).unwrap();
        second();
        assert_eq!(daemon.reported(r#"{"type":90}"#)["seq"], n);
        let pid = daemon.pid().as_raw_pid().to_string();
        eventually("the lock is back", || (std::fs::read_to_string(&lock).ok()? == pid).then_some(()));
    }
    let kept = daemon.queue_text("kept");
    daemon.kill9();
    daemon.start();
    assert_eq!((daemon.events(&["-n", "all"]).len(), &daemon.show(kept)["state"]), (3, &"ready".into()));
}

#[test]
fn a_signal_ends_it_with_0_at_whatever_moment_of_its_start() {
    use rustix::process::{Signal, kill_process};
    let daemon = Recipe::default().lay_out();
    for round in 0..60_u64 {
        let mut child = daemon.command().stderr(std::process::Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        // Before it is its own program, no signal is its business.
        eventually("it takes signals", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            (u64::from_str_radix(caught.trim(), 16).ok()? >> 14 & 1 == 1).then_some(())
        });
        std::thread::sleep(Duration::from_micros(round * round * 20));
        kill_process(pid, if round % 2 == 0 { Signal::TERM } else { Signal::INT }).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "round {round}: {status}\n{said}");
        assert!(!daemon.socket().exists(), "round {round}: the socket was left behind");
    }
}

#[test]
fn an_interrupt_stops_it_cleanly_too() {
    let mut daemon = Daemon::new();
    let pid = daemon.pid();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    eventually("the socket is gone", || (!daemon.socket().exists()).then_some(()));
    daemon.ended_with(0);
}

#[test]
fn a_trace_shows_the_data_sync_before_every_answer() {
    if !is_installed("strace") {
        return;
    }
    let probe = run(
        clean("strace", std::path::Path::new("/tmp")).tap_arg("-o").tap_arg("/dev/null").tap_arg("true"),
        None,
        Duration::from_secs(10),
    );
    if probe.code != 0 {
        return missing::other(&format!("no right to trace with strace: {}", probe.err));
    }
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap().to_owned();
    let calls = "trace=fdatasync,fsync,msync,write,writev,sendto,sendmsg";
    let daemon = Recipe::default().under(&["strace", "-f", "-qq", "-s", "400", "-e", calls, "-o", &path]).start();
    for n in 0..5 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("m{n}")));
    }
    for n in 0..5 {
        daemon.queue(&["send", "text", "filehelper", &format!("c{n}")]);
    }
    drop(daemon);
    let trace = std::fs::read_to_string(&path).unwrap();
    // Nothing else was asked meanwhile: the `[]` of a callback and the NDJSON of a receipt each need a sync since the
    // answer before.
    let (mut synced, mut answers) = (false, 0);
    for line in trace.lines() {
        let is_sync = ["fdatasync", "fsync", "msync"].iter().any(|call| line.contains(call));
        if is_sync && !line.contains("unfinished") && line.ends_with("= 0") {
            synced = true;
        }
        let lower = line.to_lowercase();
        if lower.contains("http/1.1 20") && (lower.contains("content-length: 2\\r\\n") || lower.contains("ndjson")) {
            assert!(synced, "answered without a sync: {line}");
            (synced, answers) = (false, answers + 1);
        }
    }
    assert_eq!(answers, 10, "the trace shows other answers:\n{trace}");
}

/// Adds one argument by value.
trait Tap {
    fn tap_arg(self, arg: &str) -> Self;
}

impl Tap for Command {
    fn tap_arg(mut self, arg: &str) -> Self {
        self.arg(arg);
        self
    }
}

#[test]
fn concurrent_writers_are_all_answered_in_the_order_of_their_seqs() {
    let daemon = Daemon::new();
    let client = daemon.client();
    let texts: Arc<Mutex<Vec<String>>> = Arc::default();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let texts = Arc::clone(&texts);
            scope.spawn(move || {
                for n in 0..25 {
                    let text = format!("t{thread}-{n}");
                    client.event(&message("wxid_me", "wxid_a", None, &text));
                    texts.lock().unwrap().push(text);
                }
            });
        }
    });
    let events = daemon.events(&["-n", "all"]);
    assert_eq!(events.len(), 400);
    for thread in 0..16 {
        // What one writer posted one after the other stands in that order.
        let prefix = format!("t{thread}-");
        let own: Vec<&str> = events.iter().filter_map(|e| e["text"].as_str()?.strip_prefix(&prefix)).collect();
        assert_eq!(own, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
