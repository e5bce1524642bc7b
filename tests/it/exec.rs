//! Contract 7, `--exec`: every event at least once and none skipped, in order within a chat, replies not repeated.

use crate::fixture::{Daemon, Running, eventually, is_heard, message};
use rustix::process::{Signal, kill_process};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn say(daemon: &Daemon, chat: &str, text: &str) {
    daemon.client().event(&message("wxid_me", chat, None, text));
}

/// A script in the daemon's folder, where it also runs.
fn script(daemon: &Daemon, text: &str) -> String {
    let path = daemon.path("script.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn read(daemon: &Daemon, name: &str) -> String {
    std::fs::read_to_string(daemon.path(name)).unwrap_or_default()
}

/// Where a cursor stands.
fn position(daemon: &Daemon, cursor: &str) -> Option<u64> {
    let cursors = daemon.cli(&["cursor", "list"]).exits(0).lines();
    cursors.iter().find(|c| c["name"] == cursor)?["seq"].as_u64()
}

#[test]
fn jobs_run_side_by_side_but_those_of_a_chat_in_order() {
    let daemon = Daemon::new();
    for n in 0..4 {
        for chat in ["wxid_a", "wxid_b", "5@chatroom"] {
            say(&daemon, chat, &n.to_string());
        }
    }
    // Each waits until another chat's has begun: alone it would fail.
    let script = script(
        &daemon,
        r#"echo "$WEHELP_CHAT $WEHELP_TEXT" >> began
        i=0; while [ "$(cut -d' ' -f1 began | sort -u | wc -l)" -lt 3 ]; do i=$((i+1)); [ $i -lt 500 ] || exit 1; sleep 0.02; done
        echo "first $WEHELP_SEQ"; sleep 0.01; echo "second $WEHELP_SEQ""#,
    );
    let run =
        daemon.cli(&["events", "--cursor", "c", "--cursor-from", "oldest", "--jobs", "3", "--exec", &script]).exits(0);
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in read(&daemon, "began").lines() {
        let (chat, text) = line.split_once(' ').unwrap();
        texts.entry(chat.to_owned()).or_default().push(text.to_owned());
    }
    assert_eq!(texts.len(), 3);
    assert!(texts.values().all(|texts| texts == &["0", "1", "2", "3"]), "{texts:?}");
    // What a run prints stays in one piece.
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines.len(), 24);
    for pair in lines.chunks(2) {
        assert_eq!(pair[0].replace("first", "second"), pair[1]);
    }
    assert_eq!(position(&daemon, "c"), Some(12));
}

#[test]
fn a_failed_command_is_tried_again_and_then_stops_everything_or_is_skipped() {
    let daemon = Daemon::new();
    for text in ["one", "flaky", "bad", "four"] {
        say(&daemon, "wxid_a", text);
    }
    let script = script(
        &daemon,
        r#"echo "$WEHELP_TEXT" >> tried; echo "$WEHELP_ATTEMPT" >> attempts
        case "$WEHELP_TEXT" in
            flaky) [ "$(grep -c flaky tried)" -ge 3 ];;
            bad) exit 7;;
        esac"#,
    );
    let args = ["events", "--cursor", "c", "--cursor-from", "oldest", "--retries", "2", "--backoff", "10ms"];
    let run = daemon.cli(&[&args[..], &["--exec", &script]].concat()).exits(1);
    run.says(&["event 3", "7", "`c`"]);
    assert_eq!(read(&daemon, "tried"), "one\nflaky\nflaky\nflaky\nbad\nbad\nbad\n");
    assert_eq!(read(&daemon, "attempts"), "1\n1\n2\n3\n1\n2\n3\n");
    assert_eq!(position(&daemon, "c"), Some(2));
    let skip = ["--on-failure", "skip", "--exec", "--", &script];
    let run = daemon.cli(&[&args[..], &skip].concat()).exits(0);
    run.says(&["event 3", "skipped"]);
    assert!(read(&daemon, "tried").ends_with("bad\nbad\nbad\nfour\n"));
    assert_eq!(position(&daemon, "c"), Some(4));
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_its_children() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", "x");
    let script = script(&daemon, "sleep 300 & echo $! > child; wait");
    let run = daemon.cli(&["events", "-n", "all", "--exec-timeout", "300ms", "--exec", &script]).exits(1);
    run.says(&["event 1", "300ms"]);
    let child = read(&daemon, "child").trim().to_owned();
    eventually("its child has ended", || {
        let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    });
}

#[test]
fn a_command_need_not_read_its_input_and_large_texts_are_cut_in_its_environment() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", &"x".repeat(300_000));
    say(&daemon, "wxid_a", "small");
    assert!(daemon.cli(&["events", "-n", "all", "--exec", "true"]).exits(0).out.is_empty());
    let print = "echo \"${#WEHELP_TEXT} ${WEHELP_TEXT_CUT-whole}\"; cat | wc -c";
    let run = daemon.cli(&["events", "-n", "all", "--exec", "sh", "-c", print]).exits(0);
    let lines: Vec<&str> = run.out.lines().map(str::trim).collect();
    assert_eq!((lines[0], lines[2]), ("32768 1", "5 whole"));
    assert!(lines[1].parse::<usize>().unwrap() > 300_000, "{lines:?}");
}

#[test]
fn what_a_command_prints_is_sent_to_the_chat_once() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    daemon.client().event(&message("wxid_me", "5@chatroom", Some("wxid_a"), "ping"));
    daemon.client().event(&message("wxid_me", "wxid_b", None, "silence"));
    let script = script(&daemon, r#"[ "$WEHELP_TEXT" = silence ] || printf 'pong\nto %s\n\n' "$WEHELP_FROM""#);
    let from = ["events", "--cursor", "bot", "--cursor-from", "oldest", "--kind", "message.text"];
    let args = [&from[..], &["--reply", "--exec", &script]].concat();
    let receipts = daemon.cli(&args).exits(0).lines();
    assert_eq!(receipts.len(), 1, "nothing is said where nothing was printed");
    // As after a crash between reply and cursor.
    daemon.cli(&["cursor", "set", "bot", "oldest"]).exits(0);
    daemon.cli(&args).exits(0);
    let sent = daemon.client().poll("wxid=wxid_me");
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!((&sent[0]["wxid"], &sent[0]["text"]), (&"5@chatroom".into(), &"pong\nto wxid_a".into()));
}

#[test]
fn a_reply_that_is_no_utf_8_is_not_sent() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", "hello");
    // \304\343 is 你 in GBK.
    let script = script(&daemon, r#"echo "$WEHELP_SEQ" >> ran; printf '\304\343'"#);
    let args = ["events", "--cursor", "c", "--cursor-from", "oldest", "--retries", "1", "--backoff", "1ms", "--reply"];
    let run = daemon.cli(&[&args[..], &["--exec", &script]].concat()).exits(1);
    run.says(&["event 1", "no UTF-8", "`c`"]);
    assert_eq!((run.out.as_str(), read(&daemon, "ran").as_str()), ("", "1\n1\n"));
    assert_eq!(position(&daemon, "c"), Some(0));
    assert!(daemon.client().poll("wxid=wxid_me").is_empty());
}

/// A message of any type.
fn report(daemon: &Daemon, msg_type: &str, chat: &str, text: &str) {
    let mut event: serde_json::Value = serde_json::from_str(&message("wxid_me", chat, None, text)).unwrap();
    event["msgType"] = msg_type.into();
    daemon.client().event(&event.to_string());
}

#[test]
fn only_what_a_person_said_is_replied_to() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7768);
    let before = daemon.last_event()["seq"].as_u64().unwrap();
    let notices = [
        ("10000", "wxid_a", "消息已发出，但被对方拒收了。"),
        ("10002", "wxid_a", "<sysmsg type=\"revokemsg\"><revokemsg/></sysmsg>"),
        ("50", "wxid_a", "<voip/>"),
        ("37", "fmessage", "<msg fromusername=\"wxid_q\" content=\"hi\"/>"),
        ("9999", "wxid_a", "what nobody knows"),
    ];
    for (msg_type, chat, text) in notices {
        report(&daemon, msg_type, chat, text);
    }
    for chat in ["wxid_a", "wxid_b", "wxid_c"] {
        report(&daemon, "1", chat, "hello");
    }
    let script = script(&daemon, r#"echo "$WEHELP_KIND" >> ran; echo "re $WEHELP_TEXT""#);
    let cursor = ["events", "--cursor", "bot", "--cursor-from", "oldest", "--kind", "message.*"];
    let bot = |more: &[&str]| daemon.cli(&[&cursor[..], more, &["--reply", "--exec", &script]].concat()).exits(0);
    // What is passed over does not count as one of the two, and is consumed.
    let run = bot(&["--count", "2"]);
    run.says(&["5 events were passed over", "--reply"]);
    let chats = |lines: Vec<serde_json::Value>| lines.iter().map(|r| r["command"]["wxid"].clone()).collect::<Vec<_>>();
    assert_eq!(chats(run.lines()), ["wxid_a", "wxid_b"]);
    assert_eq!(position(&daemon, "bot"), Some(before + 7));
    assert_eq!(chats(bot(&["-n", "1"]).lines()), ["wxid_c"]);
    assert_eq!(read(&daemon, "ran"), "message.text\n".repeat(3));
    // Where nothing is replied, every event is run.
    let run = daemon.cli(&["events", "-n", "all", "--kind", "message.system", "--exec", "echo", "ran"]).exits(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("ran\n", ""));
    daemon.cli(&["events", "-n", "all", "--kind", "message.system", "--reply", "--exec", "echo"]).exits(0);
}

#[test]
fn what_is_too_old_is_passed_over() {
    let daemon = Daemon::new();
    for text in ["one", "two"] {
        say(&daemon, "wxid_a", text);
    }
    let told: wehelp::clock::Time = serde_json::from_value(daemon.last_event()["time"].clone()).unwrap();
    eventually("a moment passes", || (wehelp::clock::Time::now().millis() > told.millis() + 1).then_some(()));
    let cursor = ["events", "--cursor", "c", "--cursor-from", "oldest"];
    let old = daemon.cli(&[&cursor[..], &["--max-age", "0s", "--exec", "echo", "ran"]].concat()).exits(0);
    old.says(&["2 events were passed over", "--max-age"]);
    assert_eq!((old.out.as_str(), position(&daemon, "c")), ("", Some(2)));
    // Those that become so while they wait to be tried again, too.
    say(&daemon, "wxid_a", "three");
    let retry = ["--max-age", "1s", "--retries", "9", "--backoff", "100ms", "--exec", "false"];
    daemon.cli(&[&cursor[..], &retry].concat()).exits(0).says(&["1 event was passed over"]);
    let young = daemon.cli(&["events", "-n", "all", "--max-age", "1h", "--exec", "echo", "ran"]).exits(0);
    assert_eq!((young.out.as_str(), young.err.as_str()), ("ran\nran\nran\n", ""));
}

#[test]
fn a_signal_lets_what_runs_end_and_keeps_the_cursor_right() {
    let daemon = Daemon::new();
    for n in 1..=3 {
        say(&daemon, "wxid_a", &n.to_string());
    }
    let script = script(&daemon, r#"echo "$1 $WEHELP_SEQ" >> began; sleep 0.5; echo "$WEHELP_SEQ" >> "$1""#);
    let signals = [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)];
    for (signal, code) in signals.into_iter().filter(|(signal, _)| is_heard(*signal)) {
        let name = code.to_string();
        let args = ["events", "-f", "--cursor", &name, "--cursor-from", "oldest", "--exec", &script, &name];
        let reader = daemon.beside(&args);
        eventually("the second runs", || read(&daemon, "began").contains(&format!("{name} 2")).then_some(()));
        kill_process(reader.pid(), signal).unwrap();
        assert_eq!(reader.end().code, code);
        assert_eq!(read(&daemon, &name), "1\n2\n");
        assert_eq!(position(&daemon, &name), Some(2));
    }
}

#[test]
fn a_second_signal_ends_what_runs_as_well() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", "x");
    // With a time-out it has a process group of its own.
    for (name, more) in [("alone", &[][..]), ("group", &["--exec-timeout", "10m"])] {
        let script = script(&daemon, r#"trap '' INT TERM HUP; echo $$ > "$1"; while :; do sleep 0.1; done"#);
        let mut reader = daemon.beside(&[&["events", "-n", "all"], more, &["--exec", &script, name]].concat());
        let child = eventually("it runs", || read(&daemon, name).trim().parse::<u32>().ok());
        // Two that come at once are one.
        eventually("it has ended", || {
            let _ = kill_process(reader.pid(), Signal::TERM);
            (!reader.is_running()).then_some(())
        });
        eventually("its command has ended", || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            (state.is_empty() || state.contains(") Z ")).then_some(())
        });
    }
}

#[test]
fn nobody_else_gets_a_cursor_while_its_reader_still_works() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", "x");
    // The daemon has nothing more to say to this reader.
    let script = script(&daemon, "touch began; while [ ! -e go ]; do sleep 0.02; done");
    let reader = daemon.beside(&["events", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]);
    eventually("it runs", || daemon.path("began").exists().then_some(()));
    daemon.cli(&["events", "--cursor", "c"]).exits(5).says(&["process"]);
    daemon.cli(&["cursor", "set", "c", "now"]).exits(5);
    daemon.cli(&["cursor", "delete", "c"]).exits(5);
    std::fs::write(daemon.path("go"), "").unwrap();
    reader.end().exits(0);
    assert!(daemon.events(&["--cursor", "c"]).is_empty());
}

#[test]
fn a_reader_with_a_cursor_gets_it_back_when_the_daemon_restarts() {
    let mut daemon = Daemon::new();
    say(&daemon, "wxid_a", "1");
    let script = script(&daemon, r#"echo "$WEHELP_SEQ" >> seen"#);
    let mut printer = daemon.beside(&["events", "-f", "--cursor", "p"]);
    let mut runner = daemon.beside(&["events", "-f", "--cursor", "r", "--cursor-from", "oldest", "--exec", &script]);
    assert_eq!(printer.next_json()["seq"], 1);
    eventually("both are at work", || (position(&daemon, "r") == Some(1)).then_some(()));
    for round in 2..=4 {
        daemon.kill9();
        daemon.start();
        say(&daemon, "wxid_a", &round.to_string());
        assert_eq!(printer.next_json()["seq"], round);
    }
    eventually("all were run", || (read(&daemon, "seen") == "1\n2\n3\n4\n").then_some(()));
    eventually("both cursors have moved", || {
        (position(&daemon, "p") == Some(4) && position(&daemon, "r") == Some(4)).then_some(())
    });
    daemon.cli(&["events", "--cursor", "p"]).exits(5);
    assert!(printer.is_running() && runner.is_running());
}

#[test]
fn a_reader_killed_at_random_moments_misses_nothing() {
    // `WEHELP_EVENTS=100000` for the long run.
    let events: u64 = std::env::var("WEHELP_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let daemon = Daemon::new();
    let filler = std::thread::scope(|scope| {
        let client = daemon.client();
        let filler = scope.spawn(move || {
            for n in 0..events {
                client.event(&message("wxid_me", &format!("wxid_{}", n % 7), None, &n.to_string()));
            }
        });
        let script = script(&daemon, r#"cat > /dev/null; echo "$WEHELP_SEQ" >> seen"#);
        let mut kills = 0;
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        loop {
            let count = read(&daemon, "seen").lines().count() as u64;
            if count >= events && position(&daemon, "c") == Some(events) {
                return (kills, filler.join().is_ok());
            }
            let reader =
                daemon.beside(&["events", "-f", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]);
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // When it is killed is left to chance: that is the point.
            std::thread::sleep(Duration::from_millis(20 + state % (events / 2).clamp(200, 5000)));
            kill_process(reader.pid(), Signal::KILL).unwrap();
            drop(reader);
            kills += 1;
        }
    });
    let (kills, filled) = filler;
    assert!(filled);
    let seen: Vec<u64> = read(&daemon, "seen").lines().map(|l| l.parse().unwrap()).collect();
    let mut unique = seen.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique, (1..=events).collect::<Vec<_>>());
    let repeats = seen.len() as u64 - events;
    assert!(repeats <= 2 * kills, "{repeats} repeats by {kills} kills");
}

#[test]
fn a_reply_does_not_wait_for_what_the_command_has_left_behind() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", "ping");
    // It holds the command's standard output, and nothing else of ours.
    let behind = "sleep 120 2>/dev/null & echo $! > left; echo pong";
    let args = ["events", "-n", "1", "--reply", "--exec", "sh", "-c", behind];
    let replied = daemon.cli(&args).exits(0).line();
    assert_eq!(replied["command"]["text"], "pong");
    let left = read(&daemon, "left").trim().parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
    kill_process(left, Signal::KILL).expect("it was not waited for");
}

/// Waits until a reader says something that holds this.
pub(crate) fn says(reader: &Running, words: &str) {
    let mut said = String::new();
    eventually(words, || {
        said.extend(reader.said());
        said.contains(words).then_some(())
    });
}

#[test]
fn a_command_begins_with_new_events_unless_told_where() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", "one");
    say(&daemon, "wxid_a", "two");
    let script = script(&daemon, r#"echo "$1 $WEHELP_SEQ" >> seen"#);
    let exec = |args: &[&'static str], name: &'static str| [&["events"], args, &["--exec", &script, name]].concat();
    let bare = daemon.beside(&exec(&["-f"], "bare"));
    says(&bare, "beginning with new events, after #2");
    let named = daemon.beside(&exec(&["-f", "--cursor", "new"], "named"));
    says(&named, "`new` is new and begins with new events, after #2");
    // Every event that is answered from now on is one of theirs.
    say(&daemon, "wxid_a", "three");
    let lines = |name: &str| -> Vec<String> {
        read(&daemon, "seen").lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
    };
    eventually("both are given the new one", || (position(&daemon, "new") == Some(3)).then_some(()));
    eventually("both are given the new one", || (!lines("bare").is_empty()).then_some(()));
    assert_eq!((lines("bare"), lines("named")), (vec![" 3".to_owned()], vec![" 3".to_owned()]));
    drop((bare, named));
    // As cron calls it: what has come since the last time, and the first time nothing.
    let cron = |name| {
        let run = daemon.cli(&exec(&["--cursor", "cron"], name)).exits(0);
        (lines(name), run.err)
    };
    let (ran, said) = cron("first");
    assert!(ran.is_empty() && said.contains("`cron` is new"), "{ran:?} {said}");
    say(&daemon, "wxid_a", "four");
    assert_eq!(cron("second"), (vec![" 4".to_owned()], String::new()));
    for (name, told) in [
        ("all", &["-n", "all"][..]),
        ("since", &["--since", "#1"]),
        ("oldest", &["--cursor", "a", "--cursor-from", "oldest"]),
        ("cursor-since", &["--cursor", "b", "--since", "#1"]),
    ] {
        let run = daemon.cli(&exec(told, name)).exits(0);
        assert_eq!((lines(name).len(), run.err), (4, String::new()), "{told:?}");
    }
    // What was meant for us is not the command's.
    for option in ["--reply", "--cursor", "--max-age=1h"] {
        daemon.cli(&["events", "-f", "--exec", &script, option]).exits(2).says(&[option, "--exec -- CMD"]);
    }
    assert!(daemon.cli(&["events", "-n", "1", "--exec", "--", "echo", "--reply"]).exits(0).out.contains("--reply"));
    // It could do nothing.
    daemon.cli(&exec(&[], "nothing")).exits(2).says(&["-f", "-n", "--since", "--cursor"]);
    daemon.cli(&["events", "-f", "--exec", "no-such-program"]).exits(2).says(&["`no-such-program`", "PATH"]);
}

#[test]
fn a_reader_of_its_output_that_leaves_ends_it_quietly() {
    let daemon = Daemon::new();
    for n in 1..=3 {
        say(&daemon, "wxid_a", &n.to_string());
    }
    let script =
        script(&daemon, r#"[ "$WEHELP_SEQ" = 1 ] || while [ ! -e gone ]; do sleep 0.02; done; echo "$WEHELP_SEQ""#);
    let mut wehelp = daemon.wehelp(["events", "--cursor", "c", "--cursor-from", "oldest", "--exec", &script]);
    let mut child = wehelp.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut reader = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    drop(reader);
    std::fs::write(daemon.path("gone"), "").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!((line.as_str(), ended.status.code()), ("1\n", Some(0)));
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(position(&daemon, "c"), Some(1), "the second could not say what it had to");
}

#[test]
fn a_reply_that_can_never_be_queued_is_told_and_the_next_ones_are_answered() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7768);
    daemon.login("oldid77", 8);
    say(&daemon, "wxid_1", "ping");
    say(&daemon, "25984@newkind", "ping");
    daemon.client().event(&message("oldid77", "wxid_2", None, "ping").replace("7768", "8"));
    say(&daemon, "wxid_3", "ping");
    daemon.cli(&["account", "forget", "oldid77", "--force"]).exits(0);
    let bot = ["events", "--cursor", "bot", "--cursor-from", "oldest", "--kind", "message.text", "--reply"];
    let run = daemon.cli(&[&bot[..], &["-q", "--exec", "echo", "pong"]].concat()).exits(0);
    run.says(&["event 4", "newkind", "event 5", "oldid77"]);
    let chats: Vec<_> = daemon.client().poll("wxid=wxid_me").iter().map(|c| c["wxid"].clone()).collect();
    assert_eq!(chats, ["wxid_1", "wxid_3"]);
    assert_eq!(position(&daemon, "bot"), Some(6));
    assert!(!daemon.cli(&[&bot[..], &["--exec", "echo", "pong"]].concat()).exits(0).err.contains("newkind"));
}
