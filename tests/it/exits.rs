//! Contract 4, the exit codes: every verb says by its code what became of it, and by one sentence or one JSON object what
//! to do about it. The table has a call of every verb; a verb that is added is missed here.

use crate::fixture::{Daemon, Recipe, Run, eventually, message};
use serde_json::Value;
use std::collections::BTreeSet;

/// A call of every verb that does no harm, and asks for nothing that is not there.
const CALLS: &[&str] = &[
    "send text wxid_a hi",
    r"send image wxid_a C:\x.png",
    r"send file wxid_a C:\x.txt",
    "send link wxid_a --title t --url http://x",
    "ask wxid_a hi",
    "friend list",
    "friend add wxid_a",
    "friend delete wxid_a",
    "friend info wxid_a",
    "friend get wxid_a",
    "friend lookup wxid_a",
    "friend accept --v1 v1_a@stranger --v2 v2_a@stranger",
    "friend requests",
    "room list",
    "room members 1@chatroom",
    "room kick 1@chatroom wxid_a",
    "room invite 1@chatroom wxid_a",
    "room nick 1@chatroom n",
    "room stranger 1@chatroom wxid_a",
    "room rename 1@chatroom n",
    "account status",
    "account qrcode",
    "account logout",
    "account list",
    "account forget wxid_a",
    "login",
    "contact list",
    "contact show wxid_a",
    "contact avatars",
    "events",
    "events show 1",
    "events resend 1 --to f",
    "cursor list",
    "cursor set c now",
    "cursor delete c",
    "forward add f http://127.0.0.1:9/",
    "forward list",
    "forward remove f",
    "forward pause f",
    "forward resume f",
    "forward skip f",
    "forward set f now",
    "forward test f",
    "queue list",
    "queue show 1",
    "queue cancel 1",
    "queue retry 1",
    "queue pause",
    "queue resume",
    r#"raw {"api":"x"}"#,
    "status",
    "setup",
    "token show",
    "token rotate",
    "backup b.tar",
    "daemon status",
    "daemon stop",
    "simulate --for 1s",
    "simulate event login",
    "simulate replay /dev/null",
];

/// Those that need no daemon, or make one.
const ALONE: &[&str] = &["api", "completions", "config", "man", "daemon start", "daemon restart", "daemon logs"];

fn words(call: &str) -> Vec<&str> {
    call.split(' ').collect()
}

/// What went wrong, as it is told in JSON.
#[track_caller]
fn told(run: &Run, call: &str) -> Value {
    assert!(run.out.is_empty(), "{call}: {}", run.out);
    let last = run.err.lines().last().unwrap_or_else(|| panic!("{call}: nothing was said"));
    let told: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{call}: no JSON ({e}): {}", run.err));
    let code = told["error"].as_str().unwrap();
    assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{call}: {told}");
    assert_eq!(told["exit"], run.code, "{call}");
    told
}

/// Both ways to tell it: a sentence, and JSON with `--json` on either side.
#[track_caller]
fn fails(daemon: &Daemon, call: &str, code: i32) {
    let plain = daemon.cli(&words(call)).exits(code);
    assert!(plain.out.is_empty(), "{call}: {}", plain.out);
    let errors: Vec<_> = plain.err.lines().filter_map(|line| line.strip_prefix("wehelp: error: ")).collect();
    let [sentence] = errors[..] else { panic!("{call}: {}", plain.err) };
    assert!(!sentence.ends_with('.') && sentence.len() > 5, "{call}: {sentence}");
    let before = told(&daemon.cli(&[&["--json"], &words(call)[..]].concat()).exits(code), call);
    let after = told(&daemon.cli(&[&words(call)[..], &["--json"]].concat()).exits(code), call);
    assert_eq!(before["error"], after["error"], "{call}");
}

/// Every verb, by the help texts.
fn verbs(daemon: &Daemon, path: &[&str]) -> BTreeSet<String> {
    let help = daemon.cli(&[path, &["--help"]].concat()).exits(0).out;
    let listed = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let names =
        listed.lines().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let below: BTreeSet<_> =
        names.filter(|name| *name != "help").flat_map(|name| verbs(daemon, &[path, &[name]].concat())).collect();
    // These do something by themselves, too.
    let own = below.is_empty() || matches!(path, ["events" | "simulate"]);
    below.into_iter().chain(own.then(|| path.join(" "))).collect()
}

#[test]
fn the_table_has_every_verb() {
    let daemon = Recipe::default().lay_out();
    let has = |verb: &String| CALLS.iter().chain(ALONE).any(|call| format!("{call} ").starts_with(&format!("{verb} ")));
    let missed: Vec<_> = verbs(&daemon, &[]).into_iter().filter(|verb| !has(verb)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn without_a_daemon_every_verb_that_needs_one_ends_with_3() {
    let daemon = Recipe::default().lay_out();
    CALLS.iter().for_each(|call| fails(&daemon, call, 3));
    assert!(!daemon.path("b.tar").exists());
}

#[test]
fn an_option_that_no_verb_has_is_2_before_anything_is_done() {
    let daemon = Recipe::default().lay_out();
    CALLS.iter().chain(ALONE).for_each(|call| fails(&daemon, &format!("{call} --nosuch"), 2));
}

#[test]
fn each_code_means_what_the_table_says() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.client().event(&message("wxid_me", "wxid_a", None, "hi"));
    eventually("the account is known", || (daemon.cli(&["account", "list"]).out.contains("wxid_me")).then_some(()));
    daemon.cli(&["send", "text", "wxid_a", "one", "--key", "k"]).exits(0);
    assert_eq!(daemon.cli(&["daemon", "status"]).exits(0).line()["pid"], daemon.pid().as_raw_pid());
    for (code, calls) in [
        (
            2,
            &[
                "events --since 2026-02-30",
                "events --since 2026-11-23T09:00:00+25:00",
                "events --until 99999999999d",
                "events --since #99999999999999999999999",
                "events --kind nosuch",
                "events --match (",
                "events --timeout 1s",
                "cursor set c 24:01",
                "send text wxid_a x --at 2026-12-31T23:59:60Z",
                "send text wxid_a x --in 99999999999d",
                "send text a@b x",
                "room members wxid_a",
                "raw {}",
                "forward add f ftp://x",
            ][..],
        ),
        (
            4,
            &[
                "events show 99",
                "events resend 1 --to f",
                "events -a wxid_zz",
                "events --chat @nobody",
                "queue show 99",
                "queue cancel 99",
                "queue retry 99",
                "queue list -a nosuch",
                "cursor delete c",
                "forward remove f",
                "forward pause f",
                "forward resume f",
                "forward skip f",
                "forward set f now",
                "forward test f",
                "contact show wxid_zz",
                "account forget wxid_zz",
                "send text wxid_a hi -a nosuch",
                "send text @nobody hi",
                "room members 9@chatroom --cached",
                "friend accept 99",
            ],
        ),
        (5, &["send text wxid_a two --key k", "cursor set c #99", "events --since #99", "account forget wxid_me"]),
        (
            6,
            &[
                "ask wxid_a hi --timeout 200ms",
                "friend list --wait=200ms",
                "send text wxid_a x --wait=200ms",
                "events -f -n 0 --timeout 200ms",
                "setup --watch --timeout 200ms",
            ],
        ),
    ] {
        for call in calls {
            // What `setup` prints, it prints before it waits.
            if call.starts_with("setup") {
                daemon.cli(&words(call)).exits(code);
                continue;
            }
            fails(&daemon, call, code);
        }
    }
}
