//! Contract 7, `client.offline` and `client.online`: the daemon tells when an account's client stops polling, and when it
//! polls again.
//!
//! The daemon's clock runs ten times faster, with the library of the chaos test: nobody is missed before thirty seconds.

use crate::clock::faults::Faults;
use crate::fixture::{Daemon, Recipe, eventually, message};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

const SPEED: &str = "10";

/// A daemon that knows `wxid_me`, in a hurry; none where there is no C compiler.
fn hurried() -> Option<(Daemon, TempDir)> {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::prepare(dir.path())?;
    let mut recipe = Recipe::default().env("WEHELP_FAULTS_SPEED", SPEED);
    for (name, value) in faults.environment(dir.path()) {
        recipe = recipe.env(name, &value);
    }
    let daemon = recipe.start();
    daemon.reported(&message("wxid_me", "wxid_a", None, "hello"));
    Some((daemon, dir))
}

/// A few polls, a second of the daemon's apart.
fn polls(daemon: &Daemon) {
    for _ in 0..5 {
        daemon.client().poll("wxid=wxid_me&pid=7768");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn told(daemon: &Daemon) -> Vec<Value> {
    daemon.events(&["-n", "all", "--kind", "client.*"])
}

/// The newest of so many that are told, once there are as many.
fn newest(daemon: &Daemon, of: usize) -> Value {
    let all = eventually("something is told", || Some(told(daemon)).filter(|told| told.len() >= of));
    assert_eq!(all.len(), of, "{all:?}");
    let kinds: Vec<&str> = all.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.chunks(2).all(|pair| ["client.offline", "client.online"].starts_with(pair)), "{kinds:?}");
    all.last().unwrap().clone()
}

#[test]
fn a_client_that_stops_is_told_once_and_its_return_once_over_kills_and_restarts() {
    let Some((mut daemon, _dir)) = hurried() else { return };
    let mut follower = daemon.beside(&["events", "-f", "-n", "0", "--kind", "client.*", "--json"]);
    polls(&daemon);
    let gone = newest(&daemon, 1);
    assert_eq!(follower.next_json(), gone);
    let nothing = ["type", "chat", "from", "nick", "text", "from_name", "mentioned", "command", "repeat_of"];
    assert!(nothing.iter().all(|key| gone[key].is_null()), "{gone}");
    assert_eq!(
        (&gone["kind"], &gone["account"], &gone["pid"], &gone["self"]),
        (&json!("client.offline"), &json!("wxid_me"), &json!(7768), &json!(false))
    );
    assert_eq!(gone["decoded"].as_object().unwrap().keys().collect::<Vec<_>>(), ["since", "last_poll", "interval_s"]);
    assert!(gone["decoded"]["interval_s"].as_u64().is_some_and(|interval| (1..10).contains(&interval)), "{gone}");
    for key in ["since", "last_poll", "interval_s"] {
        assert_eq!(gone["data"][key], gone["decoded"][key], "{key}");
    }
    assert_eq!(daemon.status()["accounts"][0]["last_poll"], gone["decoded"]["last_poll"]);

    // It is not told again, and its return is.
    daemon.kill9();
    daemon.start();
    polls(&daemon);
    let back = newest(&daemon, 2);
    assert_eq!(follower.next_json(), back);
    assert_eq!(back["decoded"]["last_poll"], gone["decoded"]["last_poll"], "before it went away");
    assert!(back["decoded"]["since"].as_str() > back["decoded"]["last_poll"].as_str(), "{back}");

    // A restart of the daemon alone tells nothing.
    polls(&daemon);
    daemon.restart();
    polls(&daemon);
    newest(&daemon, 3);
    polls(&daemon);
    newest(&daemon, 4);

    // Who goes away while no daemon runs is missed after its start.
    daemon.restart();
    let gone = newest(&daemon, 5);
    assert_eq!(gone["pid"], 7768);
    assert_eq!(daemon.events(&["show", &gone["seq"].to_string()])[0], gone);

    // They are events as any: a cursor, a command, a sentence.
    let run = daemon.cli(&[
        "events",
        "--cursor",
        "c",
        "--cursor-from",
        "oldest",
        "-n",
        "all",
        "--kind",
        "client.online",
        "--exec",
        "sh",
        "-c",
        "echo $WEHELP_KIND $WEHELP_ACCOUNT $WEHELP_SELF",
    ]);
    assert_eq!(run.exits(0).out, "client.online wxid_me false\nclient.online wxid_me false\n");
    let run = daemon.cli(&["events", "-n", "1", "--text"]).exits(0);
    assert!(run.out.contains("wxid_me client.offline the client has not polled since 20"), "{}", run.out);

    // Who is forgotten is not missed, and does not return.
    daemon.cli(&["account", "forget", "wxid_me"]).exits(0);
    daemon.reported(&message("wxid_me", "wxid_a", None, "hello again"));
    polls(&daemon);
    let all = eventually("it is missed again", || Some(told(&daemon)).filter(|told| told.len() > 5));
    assert_eq!((all.len(), &all[5]["kind"]), (6, &json!("client.offline")), "no return without an absence: {all:?}");
}

#[test]
fn a_poll_that_is_held_open_is_a_client_that_is_there() {
    let Some((daemon, _dir)) = hurried() else { return };
    daemon.rewrite_config("[http]\npoll_hold = \"40s\"\n");
    let mut daemon = daemon;
    daemon.restart();
    // By the daemon's time each takes longer than anybody is waited for.
    for _ in 0..2 {
        assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 0);
    }
    assert_eq!(told(&daemon).len(), 0);
    newest(&daemon, 1);
}

#[test]
fn no_callback_makes_an_event_of_the_daemon() {
    let daemon = Daemon::new();
    for forged in [
        r#"{"kind":"client.offline","account":"wxid_me","pid":7,"since":"2026-11-23T09:00:00.000Z","last_poll":"2026-11-23T09:00:00.000Z","interval_s":5}"#,
        r#"{"type":null,"kind":"client.online","cwxid":"wxid_me"}"#,
        r#"{"type":"client.offline","cwxid":"wxid_me"}"#,
        r#"{"type":38,"cwxid":"wxid_me"}"#,
    ] {
        let event = daemon.reported(forged);
        assert_eq!(event["kind"], "other", "{forged}");
    }
    assert_eq!(told(&daemon).len(), 0);
}
