//! Contract 3 and 4: holding, expiring, idempotency, cancelling, order, pacing, and what a receipt says.

use crate::fixture::{Daemon, Recipe, eventually};
use serde_json::{Value, json};

/// The keys of a receipt, in the contract's order.
const KEYS: &[&str] =
    &["id", "state", "account", "api", "command", "created", "due", "expires", "key", "attempts", "fetched", "answer"];

/// Queues `count` texts in one go.
fn bulk(daemon: &Daemon, count: usize, more: &[&str]) -> Vec<u64> {
    let lines: Vec<String> =
        (0..count).map(|n| format!(r#"{{"api":"sendTextMessage","code":1,"wxid":"wxid_a","text":"t{n}"}}"#)).collect();
    let receipts = daemon.cli_with(&[&["raw", "-"], more].concat(), &lines.join("\n")).exits(0).lines();
    receipts.iter().map(|r| r["id"].as_u64().unwrap()).collect()
}

fn texts(commands: &[Value]) -> Vec<String> {
    commands.iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect()
}

fn states(daemon: &Daemon, args: &[&str]) -> Vec<(u64, String)> {
    let run = daemon.cli(&[&["queue", "list"], args].concat()).exits(0);
    run.lines().iter().map(|r| (r["id"].as_u64().unwrap(), r["state"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn a_receipt_has_every_key_in_the_contracts_order() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let receipt = daemon.cli(&["send", "text", "filehelper", "hi"]).exits(0).line();
    let keys: Vec<_> = receipt.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys[..KEYS.len()], *KEYS);
    assert_eq!(receipt["id"], 1);
    assert_eq!(receipt["state"], "ready");
    assert_eq!(receipt["account"], "wxid_me");
    assert_eq!(receipt["api"], "sendTextMessage");
    assert_eq!(receipt["command"].to_string(), r#"{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"hi"}"#);
    for null in ["expires", "key", "fetched", "answer"] {
        assert_eq!(receipt[null], Value::Null, "{null}");
    }
    assert_eq!(receipt["attempts"], 0);
    for time in ["created", "due"] {
        let time = receipt[time].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    }
    assert_eq!(daemon.show(1), receipt);
}

#[test]
fn a_delayed_command_is_scheduled_and_fetched_only_when_it_is_due() {
    let daemon = Daemon::new();
    let long = daemon.queue(&["send", "text", "wxid_a", "long", "--in", "1h"]);
    let short = daemon.queue(&["send", "text", "wxid_a", "short", "--in", "700ms"]);
    let receipt = daemon.show(long);
    assert_eq!(receipt["state"], "scheduled");
    assert!(receipt["due"].as_str().unwrap() > receipt["created"].as_str().unwrap());
    let commands = eventually("due", || {
        let commands = daemon.client().poll("");
        (!commands.is_empty()).then_some(commands)
    });
    assert_eq!(texts(&commands), ["short"]);
    let receipt = daemon.reaches(short, "fetched");
    assert!(receipt["fetched"]["time"].as_str().unwrap() >= receipt["due"].as_str().unwrap(), "{receipt}");
    assert_eq!(daemon.show(long)["state"], "scheduled");
}

#[test]
fn at_takes_a_time_to_come_and_nothing_else() {
    let daemon = Daemon::new();
    let id = daemon.queue(&["send", "text", "wxid_a", "x", "--at", "2099-01-01T00:00:00Z"]);
    let receipt = daemon.show(id);
    assert_eq!((&receipt["state"], &receipt["due"]), (&json!("scheduled"), &json!("2099-01-01T00:00:00.000Z")));
    let zoned = daemon.queue(&["send", "text", "wxid_a", "x", "--at", "2099-01-01T02:00:00+02:00"]);
    assert_eq!(daemon.show(zoned)["due"], "2099-01-01T00:00:00.000Z");
    // What lies in the past is a mistake, for every language.
    for past in ["2020-01-01T00:00:00Z", "yesterday", "2h ago", "@1600000000"] {
        daemon.cli(&["send", "text", "wxid_a", "past", "--at", past]).exits(2).says(&["--at", "past"]);
    }
    let command = r#"{"commands":[{"api":"sendTextMessage","wxid":"a","text":"b"}],"due":"2020-01-01T00:00:00Z"}"#;
    daemon.control("POST", "/v1/commands", command.as_bytes()).error(400);
    // A bare number could be three things.
    for number in ["1790000000", "4", "-1"] {
        let at = format!("--at={number}");
        daemon.cli(&["send", "text", "wxid_a", "x", &at]).exits(2).says(&[
            "--at",
            &format!("{number}s"),
            &format!("@{number}"),
        ]);
    }
    assert_eq!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().len(), 2);
}

#[test]
fn a_length_behind_wait_is_no_id_and_no_text() {
    let daemon = Daemon::new();
    for args in [
        &["friend", "info", "wxid_a", "--wait", "10s"][..],
        &["send", "text", "wxid_a", "hi", "--wait", "10s"],
        &["send", "text", "wxid_a", "--wait", "10s"],
        &["room", "kick", "1@chatroom", "--wait", "5", "wxid_a"],
        &["room", "list", "--wait", "1m"],
    ] {
        let length = args.iter().skip_while(|arg| **arg != "--wait").nth(1).unwrap();
        daemon.cli(args).exits(2).says(&[&format!("--wait={length}")]);
    }
    assert!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().is_empty());
    // Behind other words it is a word.
    daemon.cli(&["send", "text", "wxid_a", "10s", "--wait=50ms"]).exits(6);
    daemon.cli(&["send", "text", "--no-wait", "wxid_a", "--", "10s"]).exits(0);
}

#[test]
fn what_nobody_fetches_in_time_expires() {
    let daemon = Daemon::new();
    let id = daemon.queue(&["send", "text", "wxid_a", "x", "--expires", "300ms"]);
    let kept = daemon.queue(&["send", "text", "wxid_a", "y", "--expires", "1h"]);
    assert!(daemon.show(id)["expires"].is_string());
    daemon.reaches(id, "expired");
    assert_eq!(texts(&daemon.client().poll("")), ["y"]);
    let _settled: Value = daemon.reaches(kept, "fetched");
}

#[test]
fn the_same_key_and_command_enqueue_nothing_new() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    let send = |account: &str, text: &str| daemon.cli(&["send", "text", "wxid_a", text, "--key", "k 1", "-a", account]);
    let first = send("wxid_me", "once").exits(0).line();
    let again = send("wxid_me", "once").exits(0).line();
    assert_eq!(first["id"], again["id"]);
    assert_eq!(first["key"], "k 1");
    send("wxid_me", "other").exits(5);
    // Another account's keys are its own.
    let other = send("wxid_you", "once").exits(0).line();
    assert_ne!(other["id"], first["id"]);
    assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 1);
    daemon.reaches(first["id"].as_u64().unwrap(), "fetched");
    // After it was fetched it is still the same one.
    let later = send("wxid_me", "once").exits(0).line();
    assert_eq!(later["id"], first["id"]);
    assert!(daemon.client().poll("wxid=wxid_me").is_empty());
}

#[test]
fn a_key_is_the_accounts_however_it_was_named_and_whenever_it_was_known() {
    let daemon = Recipe::default().config("[accounts]\nalias = { work = \"wxid_me\" }\n").start();
    let send = |key: &str, more: &[&str]| {
        daemon.cli(&[&["send", "text", "wxid_a", "once", "--key", key][..], more].concat()).exits(0).line()
    };
    // Nobody is known yet: the one is bound, the other is not.
    let (bound, unbound) = (send("bound", &["-a", "wxid_me"]), send("unbound", &[]));
    assert_eq!((&bound["account"], &unbound["account"]), (&json!("wxid_me"), &Value::Null));
    assert_eq!(send("bound", &[])["id"], bound["id"], "an unbound one finds the key of a bound one");
    let named = send("unbound", &["-a", "wxid_me"]);
    assert_eq!(named["id"], unbound["id"], "and the reverse");
    // From then on it is that account's: whoever else polls first does not send it.
    assert_eq!(named["account"], "wxid_me");
    assert!(daemon.client().poll("wxid=wxid_you").is_empty());
    daemon.login("wxid_me", 7);
    daemon.reported(r#"{"type":71,"cwxid":"wxid_me","processid":7,"data":{"wxid":"wxid_me","nick":"Anna"}}"#);
    for named in [&[][..], &["-a", "wxid_me"], &["-a", "work"]] {
        assert_eq!(send("bound", named)["id"], bound["id"], "{named:?}");
        let again = send("unbound", named);
        assert_eq!((&again["id"], &again["repeated"]), (&unbound["id"], &json!(true)), "{named:?}");
    }
    daemon.cli(&["send", "text", "wxid_a", "other", "--key", "bound"]).exits(5).says(&["bound", "another command"]);
    // Whoever takes an unbound one has it from then on; to another account the same key is free.
    assert_eq!(texts(&daemon.client().poll("wxid=wxid_me")), ["once", "once"]);
    daemon.reaches(unbound["id"].as_u64().unwrap(), "fetched");
    daemon.login("wxid_you", 8);
    assert_eq!(send("unbound", &["-a", "wxid_me"])["id"], unbound["id"]);
    assert_ne!(send("unbound", &["-a", "wxid_you"])["id"], unbound["id"]);
}

#[test]
fn a_key_whose_command_ended_unsent_is_free_again() {
    let daemon = Daemon::new();
    let send = |text: &str, more: &[&str]| {
        let receipt = daemon.cli(&[&["send", "text", "wxid_a", text, "--key", "k"][..], more].concat()).exits(0).line();
        receipt["id"].as_u64().unwrap()
    };
    let cancelled = send("one", &[]);
    daemon.cli(&["queue", "cancel", &cancelled.to_string()]).exits(0);
    let expired = send("two", &["--expires", "50ms"]);
    assert_ne!(expired, cancelled);
    daemon.reaches(expired, "expired");
    let sent = send("three", &[]);
    assert_ne!(sent, expired);
    assert_eq!(texts(&daemon.client().poll("")), ["three"]);
    daemon.reaches(sent, "fetched");
    // What a client had once is no more unsent, even where it was queued again and then cancelled.
    daemon.cli(&["queue", "retry", &sent.to_string()]).exits(0);
    daemon.cli(&["queue", "cancel", &sent.to_string()]).exits(0);
    assert_eq!(send("three", &[]), sent);
}

#[test]
fn a_key_of_several_commands_holds_for_each_of_them() {
    let daemon = Daemon::unpaced();
    let kick = || daemon.cli(&["room", "kick", "1@chatroom", "wxid_a", "wxid_b", "--key", "k"]).exits(0);
    let ids = |run: &crate::fixture::Run| run.lines().iter().map(|l| l["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&kick()), [1, 2]);
    let again = kick();
    assert_eq!(ids(&again), [1, 2]);
    again.says(&["nothing new"]);
    // Who is put out with that key is put out, and another one is another command.
    daemon.cli(&["room", "kick", "1@chatroom", "wxid_c", "--key", "k"]).exits(5);
    assert_eq!(daemon.client().poll("").len(), 2);
    daemon.cli(&["send", "text", "wxid_a", "x", "--key", ""]).exits(2).says(&["--key"]);
}

#[test]
fn of_several_commands_each_is_changed_and_each_failure_told() {
    let daemon = Daemon::new();
    let ids: Vec<u64> = (0..3).map(|n| daemon.queue_text(&n.to_string())).collect();
    let run = daemon.cli(&["queue", "cancel", "1", "98", "2", "99"]).exits(4);
    run.says(&["98", "99"]);
    assert_eq!(run.lines().len(), 2);
    assert_eq!(states(&daemon, &[]), [(ids[2], "ready".to_owned())]);
}

#[test]
fn commands_are_found_and_cancelled_by_what_they_are() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    let queue = |account: &str, key: &str, more: &[&str]| {
        daemon.queue(&[&["send", "text", "wxid_a", "x", "-a", account, "--key", key][..], more].concat())
    };
    let mine = queue("wxid_me", "news-1", &[]);
    let later = queue("wxid_me", "news-2", &["--in", "1h"]);
    let other = queue("wxid_me", "bill-1", &[]);
    let yours = queue("wxid_you", "news-1", &[]);
    let question = daemon.queue(&["friend", "list", "--no-wait", "-a", "wxid_you"]);
    let is = |args: &[&str]| {
        let mut ids: Vec<u64> = states(&daemon, args).into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    };
    for (args, found) in [
        (&["--key", "news-*"][..], &[mine, later, yours][..]),
        (&["--key", "news-?", "-a", "wxid_me"], &[mine, later]),
        (&["--key", "*", "--state", "ready"], &[mine, other, yours]),
        (&["--key", "*-1", "--api", "send text", "-a", "wxid_you"], &[yours]),
        (&["--key", "news"], &[]),
        (&["-a", "wxid_you"], &[yours, question]),
    ] {
        assert_eq!(is(args), found, "{args:?}");
        // The same is meant by the same words, and nothing is done yet.
        let run = daemon.cli(&[&["queue", "cancel"], args].concat()).exits(2);
        run.says(&[&if found.is_empty() { "no command".to_owned() } else { format!("{} command", found.len()) }]);
        assert!(run.out.is_empty(), "{run:?}");
        assert_eq!(is(args), found, "{args:?}");
    }
    let cancelled = |args: &[&str]| -> Vec<(u64, Value)> {
        let lines = daemon.cli(&[&["queue", "cancel", "--yes"], args].concat()).exits(0).lines();
        lines.iter().map(|receipt| (receipt["id"].as_u64().unwrap(), receipt["state"].clone())).collect()
    };
    assert_eq!(
        cancelled(&["--key", "news-*", "-a", "wxid_me"]),
        [(mine, "cancelled".into()), (later, "cancelled".into())]
    );
    assert_eq!(cancelled(&["--key", "news-*", "-a", "wxid_me"]), []);
    assert_eq!(is(&[]), [other, yours, question]);
    assert_eq!(cancelled(&["--api", "initContact"]), [(question, "cancelled".into())]);
    for wrong in [
        &[][..],
        &["--yes"],
        &["1", "--yes"],
        &["1", "--key", "*"],
        &["--state", "nonsense", "--yes"],
        &["--state", "ready,fetched", "--yes"],
    ] {
        daemon.cli(&[&["queue", "cancel"], wrong].concat()).exits(2);
    }
    daemon.cli(&["queue", "cancel", "-a", "wxid_nobody", "--yes"]).exits(4);
    assert_eq!(daemon.control("POST", "/v1/commands/cancel", b"{}").error(400), "no-filter");
    assert_eq!(is(&[]), [other, yours]);
}

#[test]
fn what_a_client_is_being_handed_is_not_cancelled_and_told_of() {
    let daemon = Daemon::new();
    let lines: Vec<String> =
        (0..8).map(|n| format!(r#"{{"api":"big","n":{n},"filling":"{}"}}"#, "x".repeat(30_000))).collect();
    let receipts = daemon.cli_with(&["raw", "-"], &lines.join("\n")).exits(0).lines();
    let ids: Vec<u64> = receipts.iter().map(|receipt| receipt["id"].as_u64().unwrap()).collect();
    // More than it takes in without reading.
    let mut wire = daemon.client().connect_narrow();
    wire.send(b"GET /send_msg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    daemon.reaches(ids[7], "in_flight");
    let waiting = daemon.queue(&["raw", r#"{"api":"big"}"#]);
    daemon.cli(&["queue", "cancel", "--api", "big"]).exits(2).says(&["1 command would"]);
    let run = daemon.cli(&["queue", "cancel", "--api", "big", "--yes"]).exits(5);
    run.says(&["1 command of 9", "8 not"]);
    let (lines, cancelled) = (run.lines(), daemon.show(waiting));
    assert_eq!(
        lines.iter().map(|line| line["id"].as_u64().unwrap()).collect::<Vec<_>>(),
        [&ids[..], &[waiting]].concat()
    );
    assert!(lines[..8].iter().all(|line| line["error"] == "too-late" && line["message"].is_string()), "{lines:?}");
    assert_eq!((&lines[8]["state"], &cancelled["state"]), (&"cancelled".into(), &"cancelled".into()));
    let text = daemon.cli(&["queue", "cancel", "--api", "big", "--yes", "--text"]).exits(5);
    assert!(text.out.is_empty(), "{text:?}");
    text.says(&["command 1 is in_flight"]);
    assert_eq!(wire.receive().unwrap().array().len(), 8, "nothing of the answer was taken back");
}

#[test]
fn a_key_holds_across_a_crash_and_among_racing_senders() {
    let mut daemon = Daemon::new();
    let first = daemon.queue(&["send", "text", "wxid_a", "once", "--key", "k"]);
    daemon.kill9();
    daemon.start();
    assert_eq!(daemon.queue(&["send", "text", "wxid_a", "once", "--key", "k"]), first);
    let ids: Vec<u64> = std::thread::scope(|scope| {
        let daemon = &daemon;
        let racers: Vec<_> = (0..6)
            .map(|_| scope.spawn(move || daemon.queue(&["send", "text", "wxid_a", "race", "--key", "race"])))
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(texts(&daemon.client().poll("")), ["once", "race"]);
}

#[test]
fn a_cancelled_command_is_never_handed_over() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let scheduled = daemon.queue(&["send", "text", "wxid_a", "y", "--in", "1h"]);
    for id in [id, scheduled] {
        daemon.cli(&["queue", "cancel", &id.to_string()]).exits(0);
        assert_eq!(daemon.show(id)["state"], "cancelled");
    }
    assert!(daemon.client().poll("").is_empty());
    daemon.cli(&["queue", "cancel", "99"]).exits(4);
    daemon.cli(&["queue", "show", "99"]).exits(4);
    daemon.cli(&["queue", "retry", "99"]).exits(4);
    daemon.cli(&["queue", "show", "x"]).exits(2);
    let fetched = daemon.queue_text("z");
    daemon.client().poll("");
    daemon.reaches(fetched, "fetched");
    daemon.cli(&["queue", "cancel", &fetched.to_string()]).exits(5);
    assert_eq!(daemon.show(fetched)["state"], "fetched");
}

#[test]
fn a_retry_hands_a_fetched_command_over_again() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    daemon.client().poll("");
    daemon.reaches(id, "fetched");
    daemon.cli(&["queue", "retry", &id.to_string()]).exits(0);
    assert_eq!(texts(&daemon.client().poll("")), ["x"]);
    assert_eq!(daemon.reaches(id, "fetched")["attempts"], 2);
}

#[test]
fn a_retry_does_not_take_back_what_is_another_commands_by_now() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let text = ["send", "text", "wxid_a", "same", "--key", "K"];
    let accept = ["friend", "accept", "--no-wait", "--v1", "v1_a@stranger", "--v2", "v2_a@stranger"];
    for args in [&text[..], &accept] {
        let first = daemon.queue(args);
        daemon.cli(&["queue", "cancel", &first.to_string()]).exits(0);
        let second = daemon.queue(args);
        assert_ne!(first, second);
        daemon.cli(&["queue", "retry", &first.to_string()]).exits(5).says(&[&format!("command {second}")]);
        assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 1, "{args:?}");
        assert_eq!(daemon.show(first)["state"], "cancelled");
        daemon.reaches(second, "fetched");
    }
}

#[test]
fn commands_come_in_the_order_they_became_due_twenty_at_a_time() {
    let daemon = Daemon::unpaced();
    // The later one is queued first.
    daemon.queue(&["send", "text", "wxid_a", "second", "--in", "400ms"]);
    daemon.queue(&["send", "text", "wxid_a", "first", "--in", "100ms"]);
    let second = 1;
    eventually("both due", || {
        let receipt = daemon.show(second);
        (receipt["state"] == "ready").then_some(())
    });
    bulk(&daemon, 45, &[]);
    let sizes: Vec<Vec<String>> = (0..4).map(|_| texts(&daemon.client().poll(""))).collect();
    assert_eq!(sizes.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 7, 0]);
    let all = sizes.concat();
    assert_eq!(all[..2], ["first", "second"]);
    assert_eq!(all[2..], (0..45).map(|n| format!("t{n}")).collect::<Vec<_>>());
}

#[test]
fn the_batch_is_a_setting() {
    let daemon = Recipe::default().config("[queue]\nbatch = 3\n").start();
    bulk(&daemon, 7, &[]);
    let sizes: Vec<usize> = (0..4).map(|_| daemon.client().poll("").len()).collect();
    assert_eq!(sizes, [3, 3, 1, 0]);
}

#[test]
fn every_state_can_be_listed() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let fetched = daemon.queue_text("f");
    assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 1);
    daemon.reaches(fetched, "fetched");
    let cancelled = daemon.queue_text("c");
    daemon.cli(&["queue", "cancel", &cancelled.to_string()]).exits(0);
    let scheduled = daemon.queue(&["send", "text", "wxid_a", "s", "--in", "1h"]);
    let ready = daemon.queue(&["friend", "delete", "wxid_a"]);
    let is = |args: &[&str]| states(&daemon, args).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let mut unfinished = is(&[]);
    unfinished.sort_unstable();
    assert_eq!(unfinished, [scheduled, ready]);
    assert_eq!(is(&["--all"]).len(), 4);
    assert_eq!(is(&["--state", "fetched"]), [fetched]);
    assert_eq!(is(&["--state", "cancelled"]), [cancelled]);
    assert_eq!(is(&["--state", "scheduled"]), [scheduled]);
    assert_eq!(is(&["--all", "--state", "ready"]), [ready]);
    assert_eq!(is(&["--api", "delUser"]), [ready]);
    assert_eq!(is(&["--all", "--api", "sendTextMessage"]).len(), 3);
    assert_eq!(is(&["--all", "-a", "wxid_me"]).len(), 4);
    daemon.cli(&["queue", "list", "--state", "nonsense"]).exits(2);
    let queue = daemon.status()["queue"].clone();
    for (state, count) in [("scheduled", 1), ("ready", 1), ("in_flight", 0), ("fetched", 1), ("cancelled", 1)] {
        assert_eq!(queue[state], count, "{state} in {queue}");
    }
    for state in ["answered", "rejected", "expired"] {
        assert_eq!(queue[state], 0, "{state} in {queue}");
    }
}

#[test]
fn a_paused_queue_hands_nothing_over_until_it_is_resumed() {
    let mut daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    daemon.queue(&["send", "text", "wxid_a", "mine", "-a", "wxid_me"]);
    daemon.queue(&["send", "text", "wxid_a", "yours", "-a", "wxid_you"]);
    daemon.cli(&["queue", "pause"]).exits(0);
    assert!(daemon.client().poll("wxid=wxid_me").is_empty());
    daemon.restart();
    assert!(daemon.client().poll("wxid=wxid_me").is_empty(), "the pause is forgotten");
    daemon.cli(&["queue", "resume"]).exits(0);
    daemon.cli(&["queue", "pause", "-a", "wxid_me"]).exits(0);
    assert!(daemon.client().poll("wxid=wxid_me").is_empty());
    assert_eq!(texts(&daemon.client().poll("wxid=wxid_you")), ["yours"]);
    let held = daemon.show(1)["held"].clone();
    assert!(held["reason"].as_str().is_some_and(|r| r.contains("pause")), "{held}");
    daemon.cli(&["queue", "resume", "-a", "wxid_me"]).exits(0);
    assert_eq!(texts(&daemon.client().poll("wxid=wxid_me")), ["mine"]);
}

#[test]
fn forty_go_at_once_and_the_rest_is_held_with_a_reason() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let ids = bulk(&daemon, 80, &[]);
    let mut seen = 0;
    loop {
        let count = daemon.client().poll("wxid=wxid_me").len();
        seen += count;
        if count == 0 {
            break;
        }
    }
    // A token comes every 1.5 s: a busy machine sees a few of them.
    assert!((40..=50).contains(&seen), "{seen}");
    let receipt = daemon.show(*ids.last().unwrap());
    let held = &receipt["held"];
    assert!(held["reason"].as_str().is_some_and(|r| r.starts_with("pacing: ")), "{receipt}");
    assert!(held["until"].is_string(), "{receipt}");
    // Questions are never paced.
    daemon.cli(&["room", "list", "--no-wait"]).exits(0);
    let commands = daemon.client().poll("wxid=wxid_me");
    assert!(commands.iter().any(|c| c["api"] == "getChatRoomLists"), "{commands:?}");
}

#[test]
fn commands_that_add_or_accept_friends_keep_their_distance() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let first = daemon.queue(&["friend", "add", "wxid_a", "--no-wait"]);
    let second = daemon.queue(&["friend", "accept", "--v1", "v1_x@stranger", "--v2", "v2_x@stranger", "--no-wait"]);
    assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 1);
    assert!(daemon.client().poll("wxid=wxid_me").is_empty());
    daemon.reaches(first, "fetched");
    let receipt = daemon.show(second);
    assert!(receipt["held"]["reason"].as_str().unwrap().starts_with("pacing: "), "{receipt}");
    eventually("the gap is over", || (daemon.client().poll("wxid=wxid_me").len() == 1).then_some(()));
    let went = daemon.reaches(second, "fetched");
    assert!(went["fetched"]["time"].as_str() >= receipt["held"]["until"].as_str(), "{receipt} {went}");
}

#[test]
fn pacing_is_per_account_and_can_be_switched_off() {
    let daemon = Recipe::default().config("[pacing]\nsends_per_minute = 2\n").start();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    bulk(&daemon, 6, &["-a", "wxid_me"]);
    bulk(&daemon, 6, &["-a", "wxid_you"]);
    assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 2);
    assert_eq!(daemon.client().poll("wxid=wxid_you").len(), 2);
    daemon.rewrite_config("[pacing]\nsends_per_minute = 0\n");
    let mut daemon = daemon;
    daemon.restart();
    assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 4);
}

#[test]
fn a_broadcast_lets_everything_else_go_first() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let list: String = (0..45).map(|n| format!("wxid_a\tbulk{n:02}\n")).collect();
    let receipts = daemon.cli_with(&["send", "text", "--from", "-"], &list).exits(0).lines();
    assert!(receipts.iter().all(|receipt| receipt["bulk"] == true), "{:?}", receipts.first());
    daemon.cli(&["send", "text", "wxid_a", "last", "--bulk"]).exits(0);
    daemon.cli(&["send", "text", "wxid_a", "reply"]).exits(0);
    let turn = daemon.cli_with(&["send", "text", "--from", "-", "--no-bulk"], "wxid_a\tturn\n").exits(0).line();
    assert_eq!(turn["bulk"], Value::Null);
    daemon.cli(&["friend", "list", "--no-wait"]).exits(0);
    let first = daemon.client().poll("");
    assert_eq!(first.len(), 20);
    assert_eq!(
        first[..3].iter().map(|c| c["api"].clone()).collect::<Vec<_>>(),
        ["sendTextMessage", "sendTextMessage", "initContact"]
    );
    assert_eq!(texts(&[first[0].clone(), first[1].clone()]), ["reply", "turn"]);
    // The broadcast keeps its own order, and what comes meanwhile goes before the rest of it.
    assert_eq!(texts(&first[3..5]), ["bulk00", "bulk01"]);
    daemon.cli(&["send", "text", "wxid_a", "again"]).exits(0);
    let second = texts(&daemon.client().poll(""));
    assert_eq!((second[0].as_str(), second[1].as_str(), second.len()), ("again", "bulk17", 20));
    assert_eq!(texts(&daemon.client().poll("")).last().map(String::as_str), Some("last"));
}

#[test]
fn a_broadcast_waits_behind_everything_else_in_the_receipts_as_well() {
    let daemon = Recipe::default().config("[pacing]\nsends_per_minute = 2\n").start();
    daemon.login("wxid_me", 7);
    let bulk = daemon.queue(&["send", "text", "wxid_a", "bulk", "--bulk"]);
    for n in 0..4 {
        daemon.cli(&["send", "text", "wxid_a", &format!("t{n}")]).exits(0);
    }
    assert_eq!(daemon.client().poll("").len(), 2);
    for id in [2, 3] {
        daemon.reaches(id, "fetched");
    }
    let until = |id: u64| daemon.show(id)["held"]["until"].as_str().unwrap().to_owned();
    let listed = daemon.cli(&["queue", "list"]).exits(0).lines();
    let held: Vec<_> = listed.iter().map(|r| r["held"]["until"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed.iter().map(|r| r["id"].as_u64().unwrap()).collect::<Vec<_>>(), [bulk, 4, 5]);
    assert!(held[0] > held[2] && held[2] > held[1], "{held:?}");
    assert!(until(bulk) > until(5), "{held:?}");
}
