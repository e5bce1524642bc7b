//! Contract 3, 4 and 8: what is said of commands when many are sent, or when the daemon goes away or hangs meanwhile.

use crate::fixture::{DEADLINE, Daemon, Recipe, Run, Running, WEHELP, clean, eventually, is_heard, known, run};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A control door that is not a daemon's: it takes every request whole, and then does as it is told.
struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    fn new(act: impl Fn(UnixStream, usize) + Send + Sync + 'static) -> Self {
        let dir = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(dir.path().join("w.sock")).unwrap();
        let act = std::sync::Arc::new(act);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let act = std::sync::Arc::clone(&act);
                std::thread::spawn(move || {
                    let mut stream = stream;
                    if let Some(commands) = request(&mut stream) {
                        act(stream, commands);
                    }
                });
            }
        });
        Self { dir }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("w.sock")
    }

    fn cli(&self, args: &[&str], stdin: Option<&str>) -> Run {
        let mut command = clean(WEHELP, self.dir.path());
        command.env("WEHELP_SOCKET", self.socket()).args(args);
        run(command, stdin.map(str::as_bytes), Duration::from_secs(60))
    }
}

/// Reads a request; how many commands it has. None when the peer only looked whether somebody listens.
fn request(stream: &mut UnixStream) -> Option<usize> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut bytes, mut part) = (Vec::new(), [0; 65536]);
    loop {
        let n = stream.read(&mut part).unwrap_or(0);
        if n == 0 {
            return None;
        }
        bytes.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        if body.len() >= length {
            return Some(body.matches("\"api\"").count());
        }
    }
}

/// What a daemon answers to so many commands.
fn receipts(commands: usize) -> String {
    (1..=commands)
        .map(|id| format!("{{\"id\":{id},\"state\":\"ready\",\"account\":null,\"api\":\"sendTextMessage\",\"command\":{{\"api\":\"x\"}},\"created\":\"2026-11-23T09:00:00.000Z\",\"due\":\"2026-11-23T09:00:00.000Z\",\"expires\":null,\"key\":null,\"attempts\":0,\"fetched\":null,\"answer\":null}}\n"))
        .collect()
}

/// Of what is or may be queued nothing else is ever said.
#[track_caller]
fn gives_no_bad_advice(run: &Run) {
    let said = run.err.to_lowercase();
    assert!(said.contains("queue list"), "it does not say how to see it: {}", run.err);
    for bad in ["not queued", "try again", "again"] {
        assert!(!said.contains(bad), "`{bad}` is said of what may be queued: {}", run.err);
    }
}

const SEND: [&str; 4] = ["send", "text", "filehelper", "hi"];

#[test]
fn a_connection_that_breaks_after_the_request_says_that_it_may_be_queued() {
    let fake = Fake::new(|stream, _| drop(stream));
    for args in [&SEND[..], &[&SEND[..], &["--key", "k"]].concat(), &["room", "kick", "1@chatroom", "wxid_a", "wxid_b"]]
    {
        let run = fake.cli(args, None).exits(3);
        run.says(&["may be queued"]);
        gives_no_bad_advice(&run);
    }
    let run = fake.cli(&[&SEND[..], &["--json"]].concat(), None).exits(3);
    let error: Value = serde_json::from_str(run.err.trim()).unwrap();
    assert_eq!((&error["error"], &error["exit"]), (&json!("daemon-gone"), &json!(3)));
}

#[test]
fn whatever_answers_is_asked_which_folder_it_has_before_anything_is_queued() {
    for answer in [r#"{"daemon":{"data_dir":"/elsewhere"}}"#, "{}", "hello"] {
        let posted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&posted);
        let fake = Fake::new(move |mut stream, commands| {
            count.fetch_add(commands, std::sync::atomic::Ordering::SeqCst);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            drop(stream.write_all(answer.as_bytes()));
        });
        let folder = fake.dir.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("socket"), format!("{}\n", fake.socket().display())).unwrap();
        let mut command = clean(WEHELP, fake.dir.path());
        command.arg("--data-dir").arg(&folder).args(SEND);
        run(command, None, DEADLINE).exits(3).says(&[folder.to_str().unwrap()]);
        assert_eq!(posted.load(std::sync::atomic::Ordering::SeqCst), 0, "{answer}");
    }
}

#[test]
fn lines_that_the_queue_has_no_room_for_are_refused_one_by_one_and_the_others_queued() {
    let daemon = Recipe::default().config("[queue]\ncommands_max = 20\n").start();
    let lines: String = (1..=30).map(|n| format!("wxid_a\ttext {n}\n")).collect();
    let send = || daemon.cli_with(&["send", "text", "--from", "-", "--key-prefix", "p"], &lines).exits(1);
    let run = send();
    run.says(&["10 of 30 lines failed", "room"]);
    let results = run.lines();
    let queued = |result: &&Value| result["state"] == "ready";
    assert_eq!(results.iter().take_while(queued).count(), 20);
    for (n, refused) in results.iter().enumerate().skip(20) {
        assert_eq!((&refused["line"], &refused["error"]), (&json!(n + 1), &json!("queue-full")), "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("20 commands wait"), "{refused}");
    }
    // Once more when there is room again: what is queued is not queued twice.
    assert_eq!(daemon.client().poll("").len(), 20);
    daemon.reaches(results[19]["id"].as_u64().unwrap(), "fetched");
    let again = daemon.cli_with(&["send", "text", "--from", "-", "--key-prefix", "p"], &lines).exits(0);
    assert_eq!(again.lines().iter().filter(|receipt| receipt["repeated"] == true).count(), 20);
}

#[test]
fn receipts_that_break_off_say_that_all_are_queued() {
    let receipt = r#"{"id":7,"state":"ready","account":null,"api":"delChatRoomUser","command":{"api":"x"},"created":"2026-11-23T09:00:00.000Z","due":"2026-11-23T09:00:00.000Z","expires":null,"key":null,"attempts":0,"fetched":null,"answer":null}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{receipt}\n");
    let fake = Fake::new(move |mut stream, _| drop(stream.write_all(answer.as_bytes())));
    let run = fake.cli(&["room", "kick", "1@chatroom", "wxid_a", "wxid_b"], None).exits(3);
    assert_eq!(run.line()["id"], 7, "the receipt that came is not printed");
    run.says(&["are queued", "receipt"]);
    gives_no_bad_advice(&run);
}

#[test]
fn a_daemon_that_hangs_costs_ten_seconds_and_the_command_may_be_queued() {
    // It hangs for longer than a run of `wehelp` may take here.
    let fake = Fake::new(|stream, _| {
        std::thread::sleep(DEADLINE * 2);
        drop(stream);
    });
    std::thread::scope(|scope| {
        let timed = |args: Vec<&'static str>, stdin: Option<&'static str>| {
            let fake = &fake;
            scope.spawn(move || {
                let begun = Instant::now();
                let run = fake.cli(&args, stdin).exits(6);
                assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
                assert!(!run.err.contains("os error"), "{}", run.err);
                run
            })
        };
        let sends = timed(SEND.to_vec(), None);
        let bulk = timed(vec!["send", "text", "--from", "-"], Some("wxid_a\tone\n"));
        let asks = timed(vec!["status"], None);
        // What changes something may be done as well.
        let changes = [
            &["queue", "retry", "21"][..],
            &["queue", "cancel", "21"],
            &["queue", "pause"],
            &["account", "forget", "wxid_a"],
            &["cursor", "set", "c", "1"],
            &["cursor", "delete", "c"],
            &["forward", "remove", "f"],
        ];
        let changes = changes.iter().map(|args| timed(args.to_vec(), None)).collect::<Vec<_>>();
        for run in changes.into_iter().map(|run| run.join().unwrap()) {
            run.says(&["does not answer", "may be done all the same", "tells"]);
        }
        for run in [sends, bulk].map(|run| run.join().unwrap()) {
            run.says(&["does not answer", "may be queued"]);
            gives_no_bad_advice(&run);
        }
        asks.join().unwrap().says(&["does not answer"]);
    });
}

#[test]
fn every_line_of_a_file_is_told_its_fate_when_the_daemon_goes_away_in_the_middle() {
    // The first request is answered, the second is read, and from then on nobody is there.
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::new(move |mut stream, commands| {
        if requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
            return;
        }
        let receipts = receipts(commands);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", receipts.len());
        drop(stream.write_all(&[head.as_bytes(), receipts.as_bytes()].concat()));
    });
    let list = fake.dir.path().join("list");
    let lines: String = (0..3000).map(|n| format!("wxid_a\ttext {n} {}\n", "x".repeat(30))).collect();
    std::fs::write(&list, lines).unwrap();
    for (args, stdin) in [(["send", "text", "--from", list.to_str().unwrap()], false)] {
        assert!(!stdin);
        let run = fake.cli(&args, None).exits(3);
        let told = run.lines();
        assert_eq!(told.len(), 3000, "{}", run.err);
        let (mut queued, mut perhaps, mut not) = (0, 0, 0);
        for (n, line) in told.iter().enumerate() {
            match (&line["id"], line["message"].as_str().unwrap_or_default()) {
                (Value::Number(id), _) => {
                    assert_eq!(id.as_u64(), Some(n as u64 + 1));
                    queued += 1;
                }
                (_, message) if message.contains("may be queued") => perhaps += 1,
                (_, message) => {
                    assert!(message.contains("not handed over"), "{message}");
                    not += 1;
                }
            }
            assert!(line["id"].is_u64() || line["line"] == n as u64 + 1, "{line}");
        }
        assert!(queued > 0 && perhaps > 0 && not > 0, "{queued} {perhaps} {not}");
        run.says(&[&format!("lines {} to {} may be queued", queued + 1, queued + perhaps), "not handed over"]);
        gives_no_bad_advice(&run);
    }
}

#[test]
fn a_signal_lets_the_request_under_way_end_and_tells_what_is_queued() {
    let dir = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
    let [got, go, list] = ["got", "go", "list"].map(|name| dir.path().join(name));
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let (told, may) = (got.clone(), go.clone());
    let fake = Fake::new(move |mut stream, commands| {
        if requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
            // Should the signal not be noticed yet, it is given no answer until it is.
            drop(stream.read(&mut [0]));
            return;
        }
        std::fs::write(&told, "").unwrap();
        eventually("the signal was sent", || may.exists().then_some(()));
        let answer = receipts(commands);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        drop(stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat()));
    });
    let lines: String = (0..3000).map(|n| format!("wxid_a\ttext {n} {}\n", "x".repeat(30))).collect();
    std::fs::write(&list, lines).unwrap();
    let mut command = clean(WEHELP, fake.dir.path());
    command.env("WEHELP_SOCKET", fake.socket()).args(["send", "text", "--from"]).arg(&list);
    let sender = Running::start(command);
    eventually("a request is under way", || got.exists().then_some(()));
    kill_process(sender.pid(), Signal::TERM).unwrap();
    std::fs::write(&go, "").unwrap();
    let run = sender.end().exits(143);
    let queued = run.lines().iter().filter(|line| line["id"].is_u64()).count();
    assert!((1..3000).contains(&queued), "{queued}");
    run.says(&["ended by a signal", &format!("{queued} lines are queued"), "not handed over"]);
}

#[test]
fn a_signal_ends_a_bulk_that_waits_for_its_input() {
    let daemon = Daemon::new();
    let signals = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];
    for (signal, code) in signals.into_iter().filter(|(signal, _)| is_heard(*signal)) {
        let sender = daemon.beside(&["send", "text", "--from", "-"]);
        eventually("it watches for signals", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", sender.pid().as_raw_nonzero())).ok()?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (caught >> (signal.as_raw() - 1) & 1 == 1).then_some(())
        });
        kill_process(sender.pid(), signal).unwrap();
        sender.end().exits(code).says(&["ended by a signal", "0 lines are queued"]);
    }
}

#[test]
fn a_bulk_that_got_no_answer_does_not_ask_for_the_lines_anew() {
    let daemon = Daemon::new();
    let input = "wxid_a\tone\nwxid_b\ttwo\n";
    let run = daemon.cli_with(&["send", "text", "--from", "-", "--wait=100ms"], input).exits(6);
    let ids: Vec<Value> = run.lines().iter().map(|l| l["id"].clone()).collect();
    assert_eq!(ids, [1, 2]);
    assert!(run.lines().iter().all(|l| l["error"] == "no-answer"), "{}", run.out);
    gives_no_bad_advice(&run);
}

#[test]
fn a_line_may_say_its_account_its_time_and_its_key() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    let input = [
        json!({"wxid": "wxid_a", "text": "1", "account": "wxid_you", "key": "own"}),
        json!({"wxid": "wxid_a", "text": "2", "in": "1h", "expires": 60}),
        json!({"wxid": "wxid_a", "text": "3", "at": "2099-01-01T00:00:00Z"}),
        json!({"wxid": "wxid_a", "text": "4", "key": "own"}),
        json!({"wxid": "wxid_a", "text": "5", "account": "nobody"}),
        json!({"wxid": "wxid_a", "text": "6", "at": "2001-01-01T00:00:00Z"}),
        json!({"wxid": "wxid_a", "text": "7", "at": "2099-01-01T00:00:00Z", "in": 5}),
        json!({"wxid": "wxid_a", "text": "8", "key": ""}),
        json!({"wxid": "wxid_a", "text": "9"}),
    ];
    let input: String = input.iter().map(|line| format!("{line}\n")).collect();
    let args = ["send", "text", "--from", "-", "-a", "wxid_me", "--key-prefix", "p"];
    let told = daemon.cli_with(&args, &input).exits(1).lines();
    assert_eq!(told.len(), 9);
    let account = |n: usize| told[n]["account"].as_str().unwrap();
    assert_eq!((account(0), account(1), account(3), account(8)), ("wxid_you", "wxid_me", "wxid_me", "wxid_me"));
    assert_eq!((&told[0]["key"], &told[3]["key"]), (&json!("own"), &json!("own")));
    assert!(told[8]["key"].as_str().unwrap().starts_with("p-"));
    assert_eq!((&told[1]["state"], &told[2]["due"]), (&json!("scheduled"), &json!("2099-01-01T00:00:00.000Z")));
    assert!(told[1]["expires"].is_string() && told[2]["expires"].is_null());
    for (n, line) in told.iter().enumerate().take(8).skip(4) {
        assert_eq!(line["line"], n as u64 + 1, "{line}");
        assert!(line["error"].is_string(), "{line}");
    }
}

#[test]
fn one_line_that_is_refused_does_not_refuse_the_others() {
    let daemon = Daemon::unpaced();
    let first = daemon.queue(&["send", "text", "wxid_a", "first", "--key", "taken"]);
    let mut lines: Vec<String> =
        (0..40).map(|n| json!({"wxid": "wxid_a", "text": n.to_string()}).to_string()).collect();
    for n in [0, 17, 39] {
        lines[n] = json!({"wxid": "wxid_a", "text": "another", "key": "taken"}).to_string();
    }
    // Keys of their own make them all alike to the request.
    let lines: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(n, line)| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().entry("key").or_insert(format!("k{n}").into());
            line.to_string() + "\n"
        })
        .collect();
    let told = daemon.cli_with(&["send", "text", "--from", "-"], &lines.concat()).exits(1).lines();
    assert_eq!(told.len(), 40);
    for (n, line) in told.iter().enumerate() {
        if [0, 17, 39].contains(&n) {
            assert_eq!((&line["error"], &line["line"]), (&json!("key-reused"), &json!(n + 1)));
        } else {
            assert_eq!(line["command"]["text"], n.to_string());
        }
    }
    assert_eq!(daemon.cli(&["queue", "list"]).exits(0).lines().len(), 38);
    assert_eq!(daemon.show(first)["command"]["text"], "first");
}

#[test]
fn a_key_prefix_makes_keys_that_do_not_depend_on_how_the_account_was_typed() {
    let daemon = Daemon::unpaced();
    let input = "wxid_a\tone\nwxid_b\ttwo\n";
    let send = |more: &[&str]| {
        let args = [&["send", "text", "--from", "-", "--key-prefix", "p"][..], more].concat();
        daemon.cli_with(&args, input).exits(0).lines().iter().map(|l| l["id"].clone()).collect::<Vec<_>>()
    };
    let first = send(&[]);
    daemon.login("wxid_me", 7);
    daemon.reported(r#"{"type":71,"cwxid":"wxid_me","processid":7,"data":{"wxid":"wxid_me","nick":"Anna"}}"#);
    for named in [&[][..], &["-a", "wxid_me"]] {
        assert_eq!(send(named), first, "{named:?}");
    }
    daemon.cli(&["send", "text", "wxid_a", "x", "--key-prefix", "p"]).exits(2).says(&["--key-prefix", "--from"]);
    assert_eq!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().len(), 2);
}

#[test]
fn a_sender_goes_on_when_nobody_reads_its_receipts() {
    let daemon = Daemon::unpaced();
    let list = daemon.path("list");
    std::fs::write(&list, (0..5000).map(|n| format!("wxid_a\t{n}\n")).collect::<String>()).unwrap();
    let folder = std::path::Path::new(WEHELP).parent().unwrap().to_str().unwrap();
    let shell = |line: &str| {
        let mut command = clean("bash", &daemon.path("home"));
        command.env("WEHELP_SOCKET", daemon.socket()).env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"));
        command.args(["-c", line]);
        run(command, None, DEADLINE)
    };
    let run = shell(&format!("wehelp send text --from {} | head -1; exit ${{PIPESTATUS[0]}}", list.display())).exits(0);
    assert_eq!((run.out.lines().count(), run.err.as_str()), (1, ""));
    assert_eq!(daemon.status()["queue"]["ready"], 5000);
    let ids: Vec<String> = (1..=3000).map(|n| n.to_string()).collect();
    let run = shell(&format!("wehelp queue cancel {} | true; exit ${{PIPESTATUS[0]}}", ids.join(" "))).exits(0);
    assert_eq!(run.err, "");
    assert_eq!(daemon.status()["queue"]["cancelled"], 3000);
}

#[test]
fn receipts_that_cannot_be_written_do_not_hide_what_is_queued() {
    let daemon = Daemon::new();
    let lines = "wxid_a\tone\nwxid_a\ttwo\n";
    let file = daemon.path("lines");
    std::fs::write(&file, lines).unwrap();
    let file = file.to_str().unwrap();
    for (args, queued) in [(&["send", "text", "wxid_a", "full"][..], 1), (&["send", "text", "--from", file][..], 3)] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = daemon.wehelp(args).stdin(std::process::Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{said}");
        assert!(said.contains("done all the same") && said.contains("queue list --all"), "{said}");
        assert_eq!(daemon.cli(&["queue", "list"]).exits(0).lines().len(), queued, "all of it, once");
    }
}

#[test]
fn a_long_text_goes_in_pieces_all_or_none() {
    let daemon = known();
    let text = format!("{}\n\n{}", "One sentence. ".repeat(100).trim_end(), "字".repeat(2500));
    let run = daemon.cli_with(&["send", "text", "wxid_a", "-", "--split", "--key", "k"], &text).exits(0);
    let (keys, ids): (Vec<Value>, Vec<Value>) =
        run.lines().iter().map(|receipt| (receipt["key"].clone(), receipt["id"].clone())).unzip();
    assert_eq!(keys, ["k/1", "k/2", "k/3"]);
    // Once more is the same; another text under these keys is refused, whole.
    let again = daemon.cli_with(&["send", "text", "wxid_a", "-", "--split", "--key", "k"], &text).exits(0).lines();
    assert!(again.iter().all(|receipt| receipt["repeated"] == true && ids.contains(&receipt["id"])), "{again:?}");
    let other = format!("{text}{}", "more ".repeat(1000));
    daemon.cli_with(&["send", "text", "wxid_a", "-", "--split", "--key", "k"], &other).exits(5).says(&["k/3"]);
    let sent: Vec<String> =
        daemon.client().poll("wxid=wxid_me").iter().map(|sent| sent["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sent, ["One sentence. ".repeat(100).trim_end().to_owned(), "字".repeat(2000), "字".repeat(500)]);
    let dry = daemon.cli(&["send", "text", "wxid_a", "a b. c d.", "--split=5", "--dry-run"]).exits(0).lines();
    assert_eq!(dry.iter().map(|wire| wire["text"].clone()).collect::<Vec<_>>(), ["a b.", "c d."]);
    // What is short is not cut, and has the key that was given.
    assert_eq!(daemon.cli(&["send", "text", "wxid_a", "x", "--split", "--key", "x"]).exits(0).line()["key"], "x");
    daemon.cli(&["send", "text", "wxid_a", "x", "--split=0"]).exits(2);
    daemon.cli(&["send", "text", "wxid_a", "--split", " \n ".repeat(2000).as_str()]).exits(2).says(&["text"]);
    daemon.cli(&["send", "text", "--from", "-", "--split"]).exits(2).says(&["--from", "--split"]);
    let many = "a. ".repeat(2000);
    daemon.cli_with(&["send", "text", "wxid_a", "-", "--split=3"], &many).exits(2).says(&["1000", "all or none"]);
    // Where the queue has not room for all, none is queued.
    let small = Recipe::default().config("[queue]\ncommands_max = 2\n").start();
    small.cli(&["send", "text", "wxid_a", "1 2 3", "--split=1"]).exits(5);
    assert!(small.cli(&["queue", "list", "--all"]).exits(0).lines().is_empty());
}
