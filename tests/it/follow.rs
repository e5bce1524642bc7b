//! Contract 7: following, cursors, filters and `--exec`: every event exactly once and in order.

use crate::fixture::{DEADLINE, Daemon, Running, eventually, is_heard, message, run};
use crate::missing::is_installed;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn say(daemon: &Daemon, text: &str) {
    daemon.client().event(&message("wxid_me", "wxid_a", None, text));
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {event}"))
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(seq).collect()
}

/// Waits until a follower's stream is open.
fn attached(daemon: &Daemon) {
    eventually("a follower", || (daemon.status()["events"]["followers"].as_u64() != Some(0)).then_some(()));
}

#[test]
fn a_follower_sees_each_posted_event() {
    let daemon = Daemon::new();
    say(&daemon, "old");
    let mut follower = daemon.beside(&["events", "-f"]);
    assert_eq!(follower.next_json()["text"], "old");
    for n in 0..20 {
        say(&daemon, &format!("m{n}"));
        assert_eq!(follower.next_json()["text"], format!("m{n}"));
    }
}

#[test]
fn two_followers_and_concurrent_posters_agree_on_the_order() {
    let daemon = Daemon::new();
    let mut first = daemon.beside(&["events", "-f", "-n", "all"]);
    let mut second = daemon.beside(&["events", "-f", "-n", "all"]);
    let client = daemon.client();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..50 {
                    client.event(&message("wxid_me", "wxid_a", None, &format!("{thread}-{n}")));
                }
            });
        }
    });
    // Who speaks is called as the directory knows when the line is made: the two may be told at different moments.
    let read = |follower: &mut Running| {
        let next = |_| {
            let mut event = follower.next_json();
            event["from_name"] = serde_json::Value::Null;
            event
        };
        (0..200).map(next).collect::<Vec<_>>()
    };
    let lines = read(&mut first);
    assert_eq!(lines, read(&mut second));
    let numbers: Vec<u64> = lines.iter().map(seq).collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    assert_eq!(first.next_within(Duration::from_millis(100)), None);
}

#[test]
fn a_slow_reader_gets_every_event_once_and_the_daemon_does_not_grow() {
    let daemon = Daemon::new();
    // Nobody reads this pipe for now: pipe, socket and the CLI's buffer fill up, and the rest stays in the store.
    let mut command = daemon.wehelp(["events", "-f", "-n", "all"]);
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    attached(&daemon);
    let filling = "x".repeat(20_000);
    for n in 0..400 {
        say(&daemon, &format!("{n} {filling}"));
    }
    let resident = |pid: rustix::process::Pid| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!(resident(daemon.pid()) < 150_000, "{} kB", resident(daemon.pid()));
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(out);
    for expected in 1..=400 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(seq(&event), expected);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_follower_goes_on_without_gap_or_repeat_when_the_daemon_restarts() {
    let mut daemon = Daemon::new();
    say(&daemon, "0");
    let mut follower = daemon.beside(&["events", "-f", "-n", "all"]);
    assert_eq!(seq(&follower.next_json()), 1);
    for round in 0..3 {
        if round % 2 == 0 {
            daemon.restart();
        } else {
            daemon.kill9();
            daemon.start();
        }
        say(&daemon, "while it may still be away");
        say(&daemon, "and after");
        assert_eq!(seq(&follower.next_json()), 2 + 2 * round);
        assert_eq!(seq(&follower.next_json()), 3 + 2 * round);
    }
    assert!(follower.is_running());
    assert_eq!(follower.next_within(Duration::from_millis(100)), None);
}

#[test]
fn without_reconnect_a_lost_daemon_ends_it_with_3() {
    let mut daemon = Daemon::new();
    say(&daemon, "x");
    let mut follower = daemon.beside(&["events", "-f", "--no-reconnect"]);
    follower.next();
    daemon.kill9();
    let run = follower.end().exits(3);
    assert!(!run.err.trim().is_empty());
}

#[test]
fn count_ends_it_with_0_and_timeout_with_6() {
    let daemon = Daemon::new();
    for n in 0..5 {
        say(&daemon, &n.to_string());
    }
    let mut follower = daemon.beside(&["events", "-f", "-n", "0", "--count", "2", "--timeout", "60s"]);
    attached(&daemon);
    say(&daemon, "a");
    say(&daemon, "b");
    say(&daemon, "c");
    assert_eq!([follower.next_json(), follower.next_json()].map(|e| seq(&e)), [6, 7]);
    let rest = follower.end().exits(0);
    assert!(rest.out.is_empty(), "{}", rest.out);
    // It would end at once, as if something had come.
    daemon.cli(&["events", "--count", "1", "--timeout", "300ms"]).exits(2).says(&["-f"]);
    let run = daemon.cli(&["events", "-f", "-n", "0", "--count", "1", "--timeout", "300ms"]).exits(6);
    assert!(run.out.is_empty());
    let run = daemon.cli(&["events", "-f", "-n", "3", "--count", "2"]).exits(0);
    assert_eq!(run.lines().len(), 2);
}

#[test]
fn all_filters_must_hold() {
    let daemon = Daemon::new();
    let own = |text: &str| {
        format!(r#"{{"type":78,"msgType":"1","cwxid":"wxid_me","wxid":"wxid_a","myMsg":"1","message":"{text}"}}"#)
    };
    let told = [
        message("wxid_me", "wxid_a", None, "deploy ok 42"), // 1
        message("wxid_me", "5@chatroom", Some("wxid_b"), "deploy failed 43"), // 2
        message("wxid_you", "wxid_a", None, "deploy ok 44"), // 3
        own("deploy ok 45"),                                // 4
        r#"{"type":90,"cwxid":"wxid_me"}"#.to_owned(),      // 5
        message("wxid_me", "5@chatroom", Some("wxid_a"), "您好"), // 6
        message("wxid_me", "wxid_a", None, "<x/>").replace("\"msgType\":\"1\"", "\"msgType\":\"49\""), // 7
        r#"{"type":67,"code":200,"cwxid":"wxid_me"}"#.to_owned(), // 8
    ];
    for inner in &told {
        daemon.client().event(inner);
    }
    let found = |args: &[&str]| seqs(&daemon.events(&[args, &["-n", "all"]].concat()));
    assert_eq!(found(&["--kind", "message.text"]), [1, 2, 3, 4, 6]);
    assert_eq!(found(&["--kind", "message.*"]), [1, 2, 3, 4, 6, 7]);
    assert_eq!(found(&["--kind", "logout,login"]), [5, 8]);
    assert_eq!(found(&["--kind", "log*"]), [5, 8]);
    assert_eq!(found(&["--chat", "5@chatroom"]), [2, 6]);
    assert_eq!(found(&["--chat", "wxid_a", "--kind", "message.text"]), [1, 3, 4]);
    assert_eq!(found(&["--from", "wxid_a", "--kind", "message.text"]), [1, 3, 6]);
    assert_eq!(found(&["-a", "wxid_you"]), [3]);
    assert_eq!(found(&["--match", "ok [0-9]+$"]), [1, 3, 4]);
    assert_eq!(found(&["--match", "好"]), [6]);
    assert_eq!(found(&["--self"]), [4]);
    assert_eq!(found(&["--no-self", "--match", "^deploy", "-a", "wxid_me"]), [1, 2]);
    assert_eq!(seqs(&daemon.events(&["--match", "deploy", "-n", "2"])), [3, 4], "the newest that match");
    assert_eq!(seqs(&daemon.events(&["--since", "#2", "--until", "#6", "--chat", "5@chatroom"])), [2, 6]);
    daemon.cli(&["events", "--match", "("]).exits(2);
    daemon.cli(&["events", "--kind", "no.such.kind"]);
}

#[test]
fn filters_hold_while_following() {
    let daemon = Daemon::new();
    let mut follower = daemon.beside(&["events", "-f", "-n", "0", "--kind", "message.*", "--match", "^yes"]);
    attached(&daemon);
    for text in ["no", "yes 1", "maybe", "yes 2"] {
        daemon.client().event(r#"{"type":90}"#);
        say(&daemon, text);
    }
    assert_eq!(follower.next_json()["text"], "yes 1");
    assert_eq!(follower.next_json()["text"], "yes 2");
}

#[test]
fn a_new_cursor_starts_at_the_oldest_event_and_remembers_what_was_written_out() {
    let mut daemon = Daemon::new();
    for n in 1..=30 {
        say(&daemon, &n.to_string());
    }
    assert_eq!(seqs(&daemon.events(&["--cursor", "c"])), (1..=30).collect::<Vec<_>>());
    assert!(daemon.events(&["--cursor", "c"]).is_empty());
    say(&daemon, "31");
    daemon.kill9();
    daemon.start();
    assert_eq!(seqs(&daemon.events(&["--cursor", "c"])), [31]);
    assert_eq!(daemon.events(&["--cursor", "other"]).len(), 31, "cursors are independent");
    let cursors = daemon.cli(&["cursor", "list"]).exits(0).lines();
    assert_eq!(cursors.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(), ["c", "other"]);
    assert_eq!(cursors[0]["seq"], 31);
    daemon.cli(&["cursor", "set", "c", "#29"]).exits(0);
    let again = seqs(&daemon.events(&["--cursor", "c"]));
    assert!(again == [30, 31] || again == [29, 30, 31], "{again:?}");
    daemon.cli(&["cursor", "delete", "c"]).exits(0);
    daemon.cli(&["cursor", "delete", "c"]).exits(4);
    assert_eq!(daemon.events(&["--cursor", "c"]).len(), 31);
}

#[test]
fn a_cursor_moves_over_what_a_filter_leaves_out() {
    let daemon = Daemon::new();
    for text in ["no", "yes", "no"] {
        say(&daemon, text);
    }
    assert_eq!(seqs(&daemon.events(&["--cursor", "c", "--match", "yes"])), [2]);
    assert!(daemon.events(&["--cursor", "c", "--match", "yes"]).is_empty());
    say(&daemon, "yes");
    assert_eq!(seqs(&daemon.events(&["--cursor", "c", "--match", "yes"])), [4]);
}

#[test]
fn a_cursor_follows_and_is_safe_when_its_reader_is_killed() {
    let daemon = Daemon::new();
    for n in 1..=10 {
        say(&daemon, &n.to_string());
    }
    let mut first = daemon.beside(&["events", "-f", "--cursor", "c"]);
    for n in 1..=10 {
        assert_eq!(seq(&first.next_json()), n);
    }
    // It is remembered soon after it was written out, not only at the end.
    eventually("the cursor has moved", || {
        let cursors = daemon.cli(&["cursor", "list"]).exits(0).lines();
        (cursors.first()?["seq"] == 10).then_some(())
    });
    kill_process(first.pid(), Signal::KILL).unwrap();
    drop(first);
    say(&daemon, "11");
    let next = eventually("the cursor is free again", || {
        let run = daemon.cli(&["events", "--cursor", "c"]);
        assert!(matches!(run.code, 0 | 5), "{run:?}");
        (run.code == 0).then(|| seqs(&run.lines()))
    });
    assert_eq!(next, [11]);
}

#[test]
fn with_a_cursor_and_count_exactly_that_many_are_consumed() {
    let daemon = Daemon::new();
    for n in 1..=5 {
        say(&daemon, &n.to_string());
    }
    assert_eq!(seqs(&daemon.events(&["-f", "--cursor", "c", "--count", "2"])), [1, 2]);
    assert_eq!(seqs(&daemon.events(&["-f", "--cursor", "c", "--count", "2"])), [3, 4]);
    assert_eq!(seqs(&daemon.events(&["--cursor", "c"])), [5]);
}

#[test]
fn with_a_cursor_lines_are_the_next_ones_and_no_others_are_consumed() {
    let daemon = Daemon::new();
    for n in 1..=9 {
        say(&daemon, &n.to_string());
    }
    assert_eq!(seqs(&daemon.events(&["--cursor", "c", "-n", "2"])), [1, 2]);
    assert!(daemon.events(&["--cursor", "c", "-n", "0"]).is_empty());
    assert_eq!(seqs(&daemon.events(&["--cursor", "c", "-n", "1", "--match", "[57]"])), [5]);
    // The smaller number counts, and with -f they are waited for.
    assert_eq!(seqs(&daemon.events(&["-f", "--cursor", "c", "-n", "2", "--count", "9"])), [6, 7]);
    // Whatever language asks.
    let other = daemon.control("GET", "/v1/events?cursor=d&lines=2", b"");
    assert_eq!(other.text().lines().count(), 2);
    assert!(other.text().starts_with("{\"seq\":1,"), "{}", other.text());
    assert_eq!(seqs(&daemon.events(&["--cursor", "c", "-n", "all"])), [8, 9]);
}

#[test]
fn a_second_reader_of_a_cursor_is_told_who_holds_it() {
    let daemon = Daemon::new();
    say(&daemon, "1");
    let mut first = daemon.beside(&["events", "-f", "--cursor", "c"]);
    first.next();
    let run = daemon.cli(&["events", "--cursor", "c"]).exits(5);
    run.says(&["c"]);
    assert!(run.out.is_empty());
    // Another cursor is free.
    assert_eq!(daemon.events(&["--cursor", "d"]).len(), 1);
}

#[test]
fn only_the_reader_that_holds_a_cursor_moves_it() {
    let daemon = Daemon::new();
    (0..9).for_each(|n| say(&daemon, &format!("m{n}")));
    let mut reader = daemon.beside(&["events", "-f", "--cursor", "c", "--count", "20"]);
    (1..=9).for_each(|n| assert_eq!(reader.next_json()["seq"], n));
    let commit = |body: &str| daemon.control("POST", "/v1/cursors/c/commit", body.as_bytes());
    (0..9).for_each(|n| say(&daemon, &format!("n{n}")));
    (10..=18).for_each(|n| assert_eq!(reader.next_json()["seq"], n));
    for stranger in [r#"{"seq":18}"#, r#"{"seq":18,"lease":null}"#, r#"{"seq":18,"lease":1}"#] {
        let refused = commit(stranger);
        assert_eq!((refused.status, &refused.json()["error"]), (409, &"cursor-in-use".into()), "{stranger}");
    }
    kill_process(reader.pid(), Signal::KILL).unwrap();
    drop(reader);
    // Nobody holds it: a program of one request may move it.
    eventually("the cursor is free", || (commit(r#"{"seq":18}"#).status == 200).then_some(()));
    assert!(daemon.events(&["--cursor", "c"]).is_empty());
}

#[test]
fn a_bare_number_is_a_position_to_cursor_set_and_no_moment_elsewhere() {
    let daemon = Daemon::new();
    for n in 0..10 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("t{n}")));
    }
    assert_eq!(daemon.cli(&["cursor", "set", "c", "4"]).exits(0).line()["seq"], 4);
    assert_eq!(daemon.cli(&["cursor", "list"]).exits(0).line()["seq"], 4);
    let answer = daemon.control("PUT", "/v1/cursors/d", br#"{"to":"4"}"#);
    assert_eq!(answer.json()["seq"], 4);
    for args in [
        &["events", "--since", "4"][..],
        &["events", "--until", "1790000000"],
        &["events", "--cursor", "e", "--cursor-from", "4"],
    ] {
        let number = args.last().unwrap();
        let ways = [format!("{number}s"), format!("@{number}"), format!("#{number}"), args[args.len() - 2].to_owned()];
        daemon.cli(args).exits(2).says(&ways.each_ref().map(String::as_str));
    }
    daemon.control("GET", "/v1/events?since=4", b"").error(400);
    assert_eq!(daemon.events(&["--since", "@1"]).len(), 10);
    assert_eq!(daemon.events(&["--since", "yesterday"]).len(), 10);
    assert!(daemon.events(&["--until", "yesterday"]).is_empty());
    assert_eq!(daemon.cli(&["cursor", "set", "c", "yesterday"]).exits(0).line()["seq"], 0);
    assert_eq!(daemon.cli(&["cursor", "set", "c", "now"]).exits(0).line()["seq"], 10);
}

#[test]
fn a_new_cursor_starts_where_it_is_told_to() {
    let daemon = Daemon::new();
    for n in 1..=5 {
        say(&daemon, &n.to_string());
    }
    assert!(daemon.events(&["--cursor", "now", "--cursor-from", "now"]).is_empty());
    assert_eq!(daemon.events(&["--cursor", "old", "--cursor-from", "oldest"]).len(), 5);
    let at = seqs(&daemon.events(&["--cursor", "at", "--cursor-from", "#4"]));
    assert!(at == [4, 5] || at == [5], "{at:?}");
    say(&daemon, "6");
    // Once it is there, it is where it is.
    assert_eq!(seqs(&daemon.events(&["--cursor", "now", "--cursor-from", "oldest"])), [6]);
}

/// A script in the daemon's folder.
fn script(daemon: &Daemon, text: &str) -> String {
    let path = daemon.path("script.sh");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
    drop(file);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn exec_runs_a_command_per_event_with_json_on_stdin_and_no_shell_in_between() {
    let daemon = Daemon::new();
    daemon.client().event(&message("wxid_me", "5@chatroom", Some("wxid_a"), "$(id); `id` \"q\" 你好"));
    daemon.client().event(r#"{"type":78,"msgType":"1","cwxid":"wxid_me","wxid":"wxid_a","myMsg":"1","message":"own"}"#);
    let script =
        script(&daemon, r#"echo "$WEHELP_SEQ|$WEHELP_KIND|$WEHELP_CHAT|$WEHELP_FROM|$WEHELP_TEXT|$1"; cat; echo"#);
    let run = daemon.cli(&["events", "-n", "all", "--exec", &script, "$HOME"]).exits(0);
    let lines: Vec<&str> = run.out.lines().filter(|l| !l.is_empty()).collect();
    assert_eq!(lines[0], "1|message.text|5@chatroom|wxid_a|$(id); `id` \"q\" 你好|$HOME");
    let event: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(seq(&event), 1);
    assert_eq!(lines.len(), 2, "own messages are skipped: {}", run.out);
    let run = daemon.cli(&["events", "-n", "all", "--self", "--exec", &script]).exits(0);
    assert!(run.out.contains("|own|"), "{}", run.out);
}

#[test]
fn with_a_cursor_an_event_is_consumed_only_when_the_command_succeeds() {
    let daemon = Daemon::new();
    for text in ["one", "bad", "three"] {
        say(&daemon, text);
    }
    let script = script(
        &daemon,
        r#"cat > /dev/null; [ "$WEHELP_TEXT" = bad ] && [ ! -e mended ] && exit 7; echo "$WEHELP_SEQ" >> seen"#,
    );
    let run = daemon.cli(&["events", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]);
    assert_ne!(run.code, 0, "a failing command goes unnoticed: {run:?}");
    let seen = || std::fs::read_to_string(daemon.path("seen")).unwrap_or_default();
    assert_eq!(seen(), "1\n");
    std::fs::write(daemon.path("mended"), "").unwrap();
    daemon.cli(&["events", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]).exits(0);
    assert_eq!(seen(), "1\n2\n3\n");
    daemon.cli(&["events", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]).exits(0);
    assert_eq!(seen(), "1\n2\n3\n");
}

#[test]
fn a_killed_exec_loses_nothing_and_skips_nothing() {
    let daemon = Daemon::new();
    for n in 1..=60 {
        say(&daemon, &n.to_string());
    }
    let script = script(&daemon, r#"cat > /dev/null; echo "$WEHELP_SEQ" >> seen"#);
    let seen = || -> Vec<u64> {
        let text = std::fs::read_to_string(daemon.path("seen")).unwrap_or_default();
        text.lines().map(|l| l.parse().unwrap()).collect()
    };
    for round in 1..=3 {
        let reader = daemon.beside(&["events", "-f", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]);
        eventually("some progress", || (seen().last().copied().unwrap_or(0) >= round * 10).then_some(()));
        kill_process(reader.pid(), Signal::KILL).unwrap();
        drop(reader);
    }
    eventually("the cursor is free", || {
        let run = daemon.cli(&["events", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]);
        assert!(matches!(run.code, 0 | 5), "{run:?}");
        (run.code == 0).then_some(())
    });
    let seen = seen();
    let mut unique = seen.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique, (1..=60).collect::<Vec<_>>());
    // A repeat only where a kill cut one (its script may have been about to write).
    assert!(seen.len() <= 60 + 6, "{seen:?}");
}

#[test]
fn exec_of_what_is_not_there_fails_with_its_name() {
    let daemon = Daemon::new();
    say(&daemon, "x");
    let run = daemon.cli(&["events", "--exec", "/no/such/program"]);
    assert!(matches!(run.code, 1 | 2 | 4), "{run:?}");
    run.says(&["/no/such/program"]);
}

#[test]
fn the_curl_of_the_contract_follows_too() {
    if !is_installed("curl") {
        return;
    }
    let daemon = Daemon::new();
    say(&daemon, "x");
    let mut curl = crate::fixture::clean("curl", &daemon.path("home"));
    curl.args(["-sSN", "--max-time", "60", "--unix-socket"])
        .arg(daemon.socket())
        .arg("http://localhost/v1/events?follow=true");
    let mut curl = Running::start(curl);
    assert_eq!(curl.next_json()["text"], "x");
    say(&daemon, "y");
    assert_eq!(curl.next_json()["text"], "y");
}

#[test]
fn a_follower_ends_quietly_when_its_reader_leaves_or_it_is_interrupted() {
    let daemon = Daemon::new();
    say(&daemon, "x");
    let mut follower = daemon.beside(&["events", "-f"]);
    follower.next();
    kill_process(follower.pid(), if is_heard(Signal::INT) { Signal::INT } else { Signal::TERM }).unwrap();
    let run_ = follower.end();
    assert!(!run_.err.contains("panic"), "{run_:?}");
    let mut shell = crate::fixture::clean("sh", &daemon.path("home"));
    shell
        .env("WEHELP_SOCKET", daemon.socket())
        .args(["-c", &format!("'{}' events -f | head -1", crate::fixture::WEHELP)]);
    let shell = std::thread::spawn(move || run(shell, None, DEADLINE));
    // head leaves after the first line; the writer notices with one of the next.
    let client = daemon.client();
    while !shell.is_finished() {
        client.event(&message("wxid_me", "wxid_a", None, "more"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let run = shell.join().unwrap();
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    assert_eq!(run.out.lines().count(), 1);
}

#[test]
fn everything_into_a_closed_pipe_ends_quietly() {
    let daemon = Daemon::new();
    let text = "x".repeat(10_000);
    for _ in 0..100 {
        say(&daemon, &text);
    }
    let mut shell = crate::fixture::clean("sh", &daemon.path("home"));
    let line = format!("'{}' events -n all | head -1 | cut -c1-8", crate::fixture::WEHELP);
    shell.env("WEHELP_SOCKET", daemon.socket()).args(["-c", &line]);
    let run = run(shell, None, DEADLINE);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "{\"seq\":1\n", ""));
}

#[test]
fn a_reader_that_leaves_is_noticed_though_nothing_comes() {
    let daemon = Daemon::new();
    say(&daemon, "x");
    let mut shell = crate::fixture::clean("sh", &daemon.path("home"));
    let line = format!("'{}' events -f | head -1", crate::fixture::WEHELP);
    shell.env("WEHELP_SOCKET", daemon.socket()).args(["-c", &line]);
    let run = run(shell, None, DEADLINE);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
}

#[test]
fn a_follower_that_has_seen_nothing_yet_misses_nothing_when_the_daemon_restarts() {
    let mut daemon = Daemon::new();
    say(&daemon, "old");
    let mut follower = daemon.beside(&["events", "-f", "-n", "0"]);
    attached(&daemon);
    daemon.terminate();
    daemon.start();
    say(&daemon, "new");
    assert_eq!(follower.next_json()["text"], "new");
    let told = follower.is_running();
    kill_process(follower.pid(), Signal::TERM).unwrap();
    let run = follower.end();
    assert!(told && run.err.contains("again"), "{run:?}");
}

#[test]
fn an_end_in_time_ends_a_cursor_there_too() {
    let daemon = Daemon::new();
    say(&daemon, "early");
    let then = daemon.last_event()["time"].as_str().unwrap().to_owned();
    // The clock is the condition.
    std::thread::sleep(Duration::from_millis(20));
    say(&daemon, "late");
    assert_eq!(seqs(&daemon.events(&["--cursor", "c", "--until", &then])), [1]);
    assert_eq!(seqs(&daemon.events(&["--cursor", "c"])), [2]);
    for bad in [["--since", "yesterdayish"], ["--until", "#x"], ["--since", "-3"]] {
        daemon.cli(&["events", bad[0], bad[1]]).exits(2);
    }
}
