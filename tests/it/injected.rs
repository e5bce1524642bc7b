//! Contract 6 while system calls fail: no panic, no false 200, and a daemon that recovers, or ends with an error.
//!
//! strace lets the N-th call of a kind fail, in each thread. One of each kind is tried; `WEHELP_FAULTS=N` tries the first
//! N calls of each, once and three times in a row.

use crate::client::Client;
use crate::fixture::{Daemon, Recipe, clean, eventually, message};
use crate::missing::is_installed;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What fails, and how; calls that the store makes.
const FAULTS: [(&str, &str); 8] = [
    ("fdatasync", "EIO"),
    ("fdatasync", "ENOSPC"),
    ("pwrite64", "ENOSPC"),
    ("fsync", "EIO"),
    ("rename", "EIO"),
    ("ftruncate", "EIO"),
    ("unlink", "EIO"),
    ("mkdir", "ENOSPC"),
];

/// The command that starts a daemon whose calls fail.
fn injected(daemon: &Daemon, call: &str, fault: &str) -> Command {
    let plain = daemon.command();
    let mut command = clean("strace", &daemon.path("home"));
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={fault}"),
        "--",
    ]);
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(daemon.path("run"));
    command
}

/// strace and the daemon under it; both go with it.
struct Traced(Child);

impl Drop for Traced {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            drop(self.0.wait());
        }
    }
}

fn text(n: usize) -> String {
    format!("event {n} {}", "x".repeat(if n.is_multiple_of(3) { 40_000 } else { 10 }))
}

/// Whether a callback was answered 200.
fn told(client: Client, text: &str) -> bool {
    let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, text));
    client.post("/recieve_msg", body.as_bytes()).status == 200
}

/// Starts, loads, backs up and stops a daemon while calls fail; then everything that was answered is there.
fn survives(call: &str, fault: &str, is_new: bool) {
    let case = format!("{fault}, new: {is_new}");
    let mut daemon = Recipe::default().config("[events]\nmax_bytes = \"1MiB\"\n[store]\nmin_free = 0\n").lay_out();
    if !is_new {
        daemon.start();
        for n in 0..40 {
            assert!(told(daemon.client(), &format!("before {n} {}", "y".repeat(40_000))));
        }
        assert_eq!(daemon.terminate(), 0);
    }
    let log = std::fs::File::create(daemon.path("injected.log")).unwrap();
    let said = || std::fs::read_to_string(daemon.path("injected.log")).unwrap();
    let mut command = injected(&daemon, call, fault);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
    let mut child = Traced(command.spawn().unwrap());
    let status = eventually(&format!("an outcome of {case}"), || {
        if let Some(status) = child.0.try_wait().unwrap() {
            assert!(status.code().is_some_and(|code| code != 0) && !said().is_empty(), "{case}: {status} {}", said());
            return Some(None);
        }
        daemon.try_control("GET", "/v1/status", b"").filter(|answer| answer.status == 200).map(|a| Some(a.json()))
    });
    let mut answered = Vec::new();
    if let Some(status) = status {
        let client = || Client { addr: status["http"]["listen"][0].as_str().unwrap().parse().unwrap() };
        answered.extend((0..14).map(text).filter(|text| told(client(), text)));
        // It may end early; it must not hang.
        drop(daemon.try_control("GET", "/v1/backup", b""));
        eventually(&format!("it recovers from {case}"), || {
            let ended = child.0.try_wait().unwrap();
            assert!(ended.is_none(), "{case}: {ended:?} {}", said());
            told(client(), "recovered").then_some(())
        });
        let pid = status["daemon"]["pid"].as_i64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = eventually(&format!("{case} ends"), || child.0.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "{case}: {}", said());
    }
    assert!(!said().contains("panic"), "{case}: {}", said());
    daemon.start();
    let kept = daemon.events(&["-n", "all"]);
    for text in &answered {
        let found = kept.iter().any(|event: &Value| event["text"] == text.as_str());
        assert!(found, "{case}: {} was answered and is gone", &text[..10]);
    }
    assert_eq!(daemon.terminate(), 0);
    assert!(!daemon.log().contains("panic"), "{case}: {}", daemon.log());
}

#[test]
fn a_call_that_fails_costs_nothing_that_was_answered() {
    if !is_installed("strace") {
        return;
    }
    let many: Option<usize> = std::env::var("WEHELP_FAULTS").ok().and_then(|n| n.parse().ok());
    for (at, (call, error)) in FAULTS.into_iter().enumerate() {
        let Some(many) = many else {
            survives(call, &format!("{call}:error={error}:when={}", at + 2), at % 2 == 1);
            continue;
        };
        for n in 1..=many {
            for is_new in [false, true] {
                survives(call, &format!("{call}:error={error}:when={n}"), is_new);
                survives(call, &format!("{call}:error={error}:when={n}..{}", n + 2), is_new);
            }
        }
    }
}
