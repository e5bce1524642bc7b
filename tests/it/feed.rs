//! Contract 8: `queue list -f` and `GET /v1/commands?follow=true`: every change of a command's state once, in order, with a
//! number that rises over restarts, from any of them on.

use crate::client::Response;
use crate::fixture::{Daemon, Recipe, Running, UNPACED, eventually, fetch, known, message};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The changes that a reader was given: number, command, state.
type Told = Vec<(u64, u64, String)>;

fn change(receipt: &Value) -> (u64, u64, String) {
    let number = |key: &str| receipt[key].as_u64().unwrap_or_else(|| panic!("no {key}: {receipt}"));
    (number("rev"), number("id"), receipt["state"].as_str().unwrap().to_owned())
}

/// The next so many of a follower.
fn next(follower: &mut Running, n: usize) -> Told {
    (0..n).map(|_| change(&follower.next_json())).collect()
}

/// All changes after one, as far as there are now.
fn after(daemon: &Daemon, rev: u64) -> Vec<Value> {
    daemon.cli(&["queue", "list", "--after", &rev.to_string()]).exits(0).lines()
}

fn told(receipts: &[Value]) -> Told {
    receipts.iter().map(change).collect()
}

/// The lines of an answer.
fn lines(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of(told: &[(u64, u64, &str)]) -> Told {
    told.iter().map(|(rev, id, state)| (*rev, *id, (*state).to_owned())).collect()
}

/// One command's whole life, from the queue to its echo.
fn live(daemon: &Daemon, text: &str) -> u64 {
    let id = daemon.queue(&["send", "text", "wxid_a", text]);
    assert_eq!(fetch(daemon)["text"], text);
    daemon.reaches(id, "fetched");
    let mut echo: Value = serde_json::from_str(&message("wxid_me", "wxid_a", None, text)).unwrap();
    echo["myMsg"] = "1".into();
    daemon.client().event(&echo.to_string());
    daemon.reaches(id, "answered");
    id
}

#[test]
fn a_follower_is_told_every_change_of_state_once_and_in_order() {
    let daemon = known();
    let old = daemon.queue(&["send", "text", "wxid_a", "old", "--in", "1h"]);
    let mut follower = daemon.beside(&["queue", "list", "-f"]);
    let first = follower.next_json();
    assert_eq!(change(&first), (1, old, "scheduled".to_owned()), "how it stands comes first");
    let id = live(&daemon, "hi");
    let mut lines: Vec<Value> = (0..4).map(|_| follower.next_json()).collect();
    let states = ["ready", "in_flight", "fetched", "answered"];
    for (line, (rev, state)) in lines.iter().zip((2..).zip(states)) {
        assert_eq!(change(line), (rev, id, state.to_owned()));
        assert!(line["changed"].is_string(), "{line}");
    }
    assert_eq!((&lines[0]["attempts"], &lines[0]["fetched"]), (&json!(0), &Value::Null));
    assert_eq!((&lines[1]["attempts"], &lines[1]["answer"]), (&json!(1), &Value::Null));
    assert_eq!((&lines[2]["fetched"]["pid"], &lines[2]["answer"]), (&json!(7), &Value::Null));
    // The last one is how it is shown.
    lines[3].as_object_mut().unwrap().remove("changed");
    assert_eq!(lines[3], daemon.show(id));
    daemon.cli(&["queue", "cancel", &old.to_string()]).exits(0);
    daemon.cli(&["queue", "retry", &old.to_string()]).exits(0);
    assert_eq!(next(&mut follower, 2), of(&[(6, old, "cancelled"), (7, old, "ready")]));
}

#[test]
fn that_a_time_has_come_is_a_change() {
    let daemon = known();
    let mut follower = daemon.beside(&["queue", "list", "-f", "-n", "0"]);
    let id = daemon.queue(&["send", "text", "wxid_a", "x", "--in", "300ms", "--expires", "300ms"]);
    assert_eq!(next(&mut follower, 3), of(&[(1, id, "scheduled"), (2, id, "ready"), (3, id, "expired")]));
    // Whoever takes it in that moment comes not before it.
    let id = daemon.queue(&["send", "text", "wxid_a", "x", "--in", "200ms"]);
    fetch(&daemon);
    let states = [(4, id, "scheduled"), (5, id, "ready"), (6, id, "in_flight"), (7, id, "fetched")];
    assert_eq!(next(&mut follower, 4), of(&states));
}

#[test]
fn it_goes_on_at_every_change_over_restarts_and_kills_also_with_what_happened_meanwhile() {
    let mut daemon = known();
    let mut follower = daemon.beside(&["queue", "list", "-f", "-n", "0"]);
    let mut all = Told::new();
    for round in 0..3 {
        let id = live(&daemon, &format!("t{round}"));
        all.extend(next(&mut follower, 4));
        assert_eq!(all.last().unwrap(), &(all.len() as u64, id, "answered".to_owned()));
        if round % 2 == 0 {
            daemon.kill9();
            daemon.start();
        } else {
            daemon.restart();
        }
    }
    // Nobody listens to that one.
    drop(follower);
    live(&daemon, "unheard");
    all.extend(told(&after(&daemon, all.len() as u64)));
    assert_eq!(all.len(), 16);
    for rev in 0..=all.len() {
        assert_eq!(told(&after(&daemon, rev as u64)), all[rev..], "after {rev}");
        let path = format!("/v1/commands?follow=true&after={rev}&count={}", all.len() - rev);
        if rev < all.len() {
            assert_eq!(told(&lines(&daemon.control("GET", &path, b""))), all[rev..], "after {rev}");
        }
    }
    // Everything kept stands in the order of the last changes.
    let standing = daemon.cli(&["queue", "list", "--all", "-f", "--count", "4"]).exits(0).lines();
    assert_eq!(told(&standing).iter().map(|(rev, ..)| *rev).collect::<Vec<_>>(), [4, 8, 12, 16]);
}

#[test]
fn what_was_in_flight_at_a_kill_is_told_to_be_ready_again() {
    let mut daemon = Daemon::new();
    // More than a narrow client takes in, so that its hand-over does not end.
    let lines: Vec<String> =
        (0..8).map(|n| format!(r#"{{"api":"big{n}","filling":"{}"}}"#, "x".repeat(30_000))).collect();
    daemon.cli_with(&["raw", "-"], &lines.join("\n")).exits(0);
    let mut follower = daemon.beside(&["queue", "list", "-f"]);
    let all = |first: u64, state: &str| (1..=8).map(|id| (first + id, id, state.to_owned())).collect::<Told>();
    assert_eq!(next(&mut follower, 8), all(0, "ready"));
    let mut client = daemon.client().connect_narrow();
    client.send(b"GET /send_msg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(next(&mut follower, 8), all(8, "in_flight"));
    daemon.kill9();
    drop(client);
    daemon.start();
    assert_eq!(next(&mut follower, 8), all(16, "ready"));
}

#[test]
fn two_followers_agree_and_each_is_told_only_what_passes_its_filter() {
    let daemon = known();
    daemon.login("wxid_other", 8);
    let follow = |args: &[&str]| daemon.beside(&[&["queue", "list", "-f", "-n", "0"], args].concat());
    let (mut one, mut two) = (follow(&[]), follow(&[]));
    let mut over = follow(&["--state", "cancelled,answered"]);
    let mut keyed = follow(&["--key", "k-*"]);
    let mut others = follow(&["-a", "wxid_other"]);
    let mut infos = follow(&["--api", "friend info"]);
    eventually("followers", || (daemon.status()["events"]["followers"] == 6).then_some(()));
    let send =
        |account: &str, more: &[&str]| daemon.queue(&[&["send", "text", "wxid_a", "x", "-a", account], more].concat());
    let first = send("wxid_me", &[]);
    let second = send("wxid_other", &["--key", "k-1"]);
    let third = daemon.queue(&["friend", "info", "wxid_b", "-a", "wxid_me", "--no-wait"]);
    daemon.cli(&["queue", "cancel", &second.to_string()]).exits(0);
    let all = [(1, first, "ready"), (2, second, "ready"), (3, third, "ready"), (4, second, "cancelled")];
    assert_eq!(next(&mut one, 4), of(&all));
    assert_eq!(next(&mut two, 4), of(&all));
    assert_eq!(next(&mut over, 1), of(&all[3..]));
    assert_eq!(next(&mut keyed, 2), of(&[all[1], all[3]]));
    assert_eq!(next(&mut others, 2), of(&[all[1], all[3]]));
    assert_eq!(next(&mut infos, 1), of(&all[2..3]));
}

#[test]
fn a_change_that_has_not_been_is_refused_and_so_is_one_of_another_log() {
    let daemon = known();
    daemon.queue_text("x");
    daemon.cli(&["queue", "list", "-f", "--after", "2"]).exits(5).says(&["after change 2", "come to 1"]);
    assert_eq!(daemon.control("GET", "/v1/commands?after=2", b"").error(409), "ahead");
    assert_eq!(daemon.control("GET", "/v1/commands?follow=true&after=1&log=of-old", b"").error(409), "other-log");
    let log = daemon.status()["log"].as_str().unwrap().to_owned();
    let answer = daemon.control("GET", &format!("/v1/commands?after=0&log={log}"), b"");
    assert_eq!(answer.header("wehelp-log"), Some(log.as_str()));
    assert_eq!(told(&lines(&answer)).len(), 1);
    for wrong in ["after=-1", "follow=true&state=gone", "follow=maybe"] {
        daemon.control("GET", &format!("/v1/commands?{wrong}"), b"").error(400);
    }
    daemon.cli(&["queue", "list", "--after", "0", "--all"]).exits(2);
    daemon.cli(&["queue", "list", "--timeout", "1s"]).exits(2);
}

#[test]
fn what_is_kept_no_longer_is_told_to_be_dropped() {
    let daemon = Recipe::default().config(&format!("[queue]\nkeep_done = \"1s\"\n{UNPACED}")).start();
    daemon.login("wxid_me", 7);
    let kept = daemon.queue(&["send", "text", "wxid_a", "x", "--in", "1h"]);
    live(&daemon, "gone");
    eventually("that it is dropped", || {
        let run = daemon.cli(&["queue", "list", "--after", "0", "--json"]).exits(0);
        let lines = run.lines();
        let lost: Vec<Value> = run.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.len() + lost.iter().map(dropped).sum::<usize>(), 5, "{run:?}");
        lines.is_empty().then_some(())
    });
    // The command that waits is there, and what becomes of it.
    let standing = daemon.cli(&["queue", "list", "-f", "--count", "1"]).exits(0).lines();
    assert_eq!(told(&standing), of(&[(1, kept, "scheduled")]));
    daemon.cli(&["queue", "cancel", &kept.to_string()]).exits(0);
    let run = daemon.cli(&["queue", "list", "-f", "--after", "2", "--count", "1"]).exits(0);
    assert_eq!(told(&run.lines()), of(&[(6, kept, "cancelled")]));
    run.says(&["changes 3 to 5", "dropped"]);
}

fn dropped(line: &Value) -> usize {
    let number = |key: &str| line["dropped"][key].as_u64().unwrap_or_else(|| panic!("{line}"));
    usize::try_from(number("to") + 1 - number("from")).unwrap()
}

#[test]
fn count_timeout_and_no_reconnect_end_a_follower() {
    let mut daemon = known();
    daemon.queue_text("x");
    assert_eq!(daemon.cli(&["queue", "list", "-f", "--count", "1"]).exits(0).lines().len(), 1);
    daemon.cli(&["queue", "list", "-f", "--timeout", "300ms"]).exits(6).says(&["only 1 such line"]);
    daemon.cli(&["queue", "list", "-f", "-n", "0", "--timeout", "100ms"]).exits(6).says(&["no such change"]);
    let mut follower = daemon.beside(&["queue", "list", "-f", "--no-reconnect"]);
    follower.next();
    daemon.kill9();
    follower.end().exits(3);
}

#[test]
fn many_changes_reach_a_reader_that_is_slow_and_one_that_comes_late() {
    const N: usize = 600;
    let daemon = known();
    let slow = daemon.beside(&["queue", "list", "-f", "-n", "0"]);
    let line = |n: usize| format!(r#"{{"api":"sendTextMessage","code":1,"wxid":"wxid_a","text":"{n}"}}"#);
    let lines: Vec<String> = (0..N).map(line).collect();
    daemon.cli_with(&["raw", "-"], &lines.join("\n")).exits(0);
    daemon.cli(&["queue", "cancel", "--state", "ready", "--yes"]).exits(0);
    let mut follower = slow;
    let read = next(&mut follower, 2 * N);
    assert_eq!(read.iter().map(|(rev, ..)| *rev).collect::<Vec<_>>(), (1..=2 * N as u64).collect::<Vec<_>>());
    assert_eq!(told(&after(&daemon, 0)), read);
    let mut states: HashMap<u64, Vec<String>> = HashMap::new();
    for (_, id, state) in read {
        states.entry(id).or_default().push(state);
    }
    assert!(states.len() == N && states.values().all(|states| states == &["ready", "cancelled"]));
}

#[test]
fn on_a_terminal_a_change_is_one_line_for_people() {
    let daemon = known();
    let id = daemon.queue_text("hi\u{1b}[31m");
    let run = daemon.cli(&["queue", "list", "-f", "--text", "--count", "1"]).exits(0);
    let line = run.out.trim_end();
    for word in ["ready", "send text to filehelper: hi", "for wxid_me", &format!(" {id} ")] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(!line.contains(['\n', '\u{1b}']), "{line}");
}
