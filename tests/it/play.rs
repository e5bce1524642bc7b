//! The played client, the background daemon and the backup: what stands in for Windows, systemd and luck.

use crate::fixture::{DEADLINE, Daemon, Recipe, Running, UNPACED, WEHELP, WEHELPD, clean, eventually, is_heard, run};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

/// A daemon with a played client that is logged in.
fn played(args: &[&str]) -> (Daemon, Running) {
    let daemon = Daemon::unpaced();
    let client = play(&daemon, args);
    (daemon, client)
}

fn play(daemon: &Daemon, args: &[&str]) -> Running {
    let client = daemon.beside(&[&["simulate", "--interval", "50ms"], args].concat());
    eventually("a login", || (daemon.status()["events"]["count"].as_u64()? > 0).then_some(()));
    client
}

#[test]
fn a_played_client_answers_what_is_asked() {
    let (daemon, _client) = played(&[]);
    let people = daemon.cli(&["friend", "list"]).exits(0).lines();
    assert!(people.len() > 10, "{people:?}");
    let found = daemon.cli(&["friend", "lookup", "annahoffmann"]).exits(0);
    assert!(found.out.contains("v2_"), "{}", found.out);
    daemon.cli(&["room", "stranger", "20260101002@chatroom", "wxid_qianhao12zz901"]).exits(0);
    assert_eq!(daemon.cli(&["account", "status"]).exits(0).line()["logged_in"], true);
    daemon.cli(&["send", "text", "filehelper", "hello 😀", "--wait=20s"]).exits(0);
    let answer = daemon.cli(&["ask", "annahoffmann", "deploy? (yes/no)", "--timeout", "20s"]).exits(0);
    assert!(answer.out.contains("yes"), "{}", answer.out);
}

#[test]
fn nothing_is_played_beside_a_real_client_unless_told() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let events = daemon.status()["events"]["count"].clone();
    daemon.cli(&["simulate", "--for", "1s"]).exits(5).says(&["wxid_me", "--force", "account forget"]);
    assert_eq!(daemon.status()["events"]["count"], events);
    daemon
        .cli(&["simulate", "--force", "--for", "100ms"])
        .exits(0)
        .says(&["wehelp account forget wxid_simulated01 --force"]);
    // What was only played is forgotten again, and then nobody is in the way of another one.
    let other = Daemon::unpaced();
    other.cli(&["simulate", "--for", "100ms"]).exits(0);
    other.cli(&["simulate", "--for", "100ms"]).exits(0);
    other.cli(&["simulate", "--as", "wxid_b", "--for", "100ms"]).exits(5).says(&["wxid_simulated01"]);
    other.cli(&["account", "forget", "wxid_simulated01", "--force"]).exits(0);
    other.cli(&["simulate", "--as", "wxid_b", "--for", "100ms"]).exits(0);
}

#[test]
fn a_played_client_waits_for_its_daemon_and_ends_in_order() {
    let mut daemon = Recipe::default().config(UNPACED).lay_out();
    let client = daemon.beside(&["simulate", "--interval", "50ms"]);
    daemon.start();
    eventually("a login", || (daemon.status()["events"]["count"].as_u64()? > 0).then_some(()));
    let (signal, code) = if is_heard(Signal::INT) { (Signal::INT, 130) } else { (Signal::TERM, 143) };
    kill_process(client.pid(), signal).unwrap();
    client.end().exits(code).says(&["wehelp account forget wxid_simulated01 --force"]);
}

#[test]
fn a_played_friend_request_can_be_accepted() {
    let (daemon, _client) = played(&[]);
    let event = daemon.cli(&["simulate", "event", "message.friend_request", "text=hello"]).exits(0).line();
    assert_eq!((&event["kind"], &event["text"]), (&"message.friend_request".into(), &"hello".into()));
    let request = eventually("a request", || daemon.cli(&["friend", "requests"]).exits(0).lines().into_iter().next());
    let seq = request["seq"].to_string();
    daemon.cli(&["friend", "accept", &seq, "--wait=20s"]).exits(0);
    eventually("no request", || daemon.cli(&["friend", "requests"]).exits(0).lines().is_empty().then_some(()));
}

#[test]
fn a_played_client_refuses_loses_and_logs_out_on_request() {
    let (daemon, _client) = played(&["--refuse"]);
    daemon.cli(&["send", "text", "annahoffmann", "x", "--wait=20s"]).exits(5);
    let (daemon, _client) = played(&["--drop", "1"]);
    let id = daemon.queue_text("lost");
    eventually("an attempt", || (daemon.show(id)["attempts"].as_u64()? > 0).then_some(()));
    assert_ne!(daemon.show(id)["state"], "answered");
    let (daemon, client) = played(&[]);
    daemon.cli(&["account", "logout", "--wait=20s"]).exits(0);
    daemon.cli(&["status", "--check"]).exits(1).says(&["logged out"]);
    drop(client);
}

#[test]
fn a_played_client_survives_a_restart_of_the_daemon() {
    let (mut daemon, client) = played(&[]);
    daemon.restart();
    daemon.cli(&["send", "text", "filehelper", "still there?", "--wait=20s"]).exits(0);
    drop(client);
}

#[test]
fn chatter_goes_on_for_as_long_as_told() {
    let daemon = Daemon::new();
    let run = daemon.cli(&["simulate", "--interval", "50ms", "--chatter", "20ms", "--for", "1s"]).exits(0);
    assert!(run.out.is_empty() && run.err.contains("playing"), "{run:?}");
    let events = daemon.events(&["-n", "all", "--kind", "message.*"]);
    assert!(events.len() > 5, "{}", events.len());
    assert!(daemon.cli(&["simulate", "-q", "--for", "100ms"]).exits(0).err.is_empty());
}

#[test]
fn single_events_are_posted_and_mistyped_ones_are_not() {
    let daemon = Daemon::new();
    let event = daemon.cli(&["simulate", "event", "message.text", "text=hi", "chat=1@chatroom", "from=wxid_a"]);
    let event = event.exits(0).line();
    assert_eq!(
        (&event["chat"], &event["from"], &event["text"]),
        (&"1@chatroom".into(), &"wxid_a".into(), &"hi".into())
    );
    assert_eq!(daemon.cli(&["simulate", "event", "unparsed"]).exits(0).line()["kind"], "unparsed");
    daemon.cli(&["simulate", "event", "mesage.text"]).exits(2).says(&["message.text"]);
    daemon.cli(&["simulate", "event", "logout", "text=x"]).exits(2).says(&["text="]);
    assert_eq!(daemon.status()["events"]["count"], 2);
}

#[test]
fn a_recorded_log_is_replayed_byte_for_byte() {
    let (from, to) = (Daemon::new(), Daemon::new());
    for kind in ["login", "message.text", "rooms", "unparsed", "contact.packet"] {
        from.cli(&["simulate", "event", kind]).exits(0);
    }
    from.client().event(r#"{"type":9999, "x": 1.10}"#);
    let recorded = from.cli(&["events", "-n", "all"]).exits(0).out;
    to.cli_with(&["simulate", "replay", "-"], &recorded).exits(0);
    let data = |daemon: &Daemon| -> Vec<String> {
        let lines = daemon.cli(&["events", "-n", "all"]).exits(0).out;
        lines.lines().map(|l| l[l.find("\"kind\"").unwrap()..].to_owned()).collect()
    };
    assert_eq!(data(&from), data(&to));
    to.cli_with(&["simulate", "replay", "-"], "no json\n").exits(1).says(&["line 1"]);
}

#[test]
fn a_played_client_finds_the_way_past_the_token() {
    let daemon = Recipe::default().config(&format!("{UNPACED}[http]\nrequire_token = \"always\"\n")).start();
    let _client = play(&daemon, &[]);
    daemon.cli(&["room", "list"]).exits(0);
}

#[test]
fn a_backup_is_whole_private_and_not_overwritten() {
    let daemon = Daemon::new();
    for n in 0..50 {
        daemon.cli(&["simulate", "event", "message.text", &format!("text={n}")]).exits(0);
    }
    let file = daemon.path("x.backup");
    let name = file.to_str().unwrap();
    let told = daemon.cli(&["backup", name]).exits(0).line();
    assert_eq!(told["bytes"].as_u64(), Some(std::fs::metadata(&file).unwrap().len()));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    daemon.cli(&["backup", name]).exits(1).says(&["--force"]);
    daemon.cli(&["backup", name, "--force"]).exits(0);
    // What is no file is never replaced: for a device that would be everybody's.
    let pipe = daemon.path("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let link = daemon.path("link");
    std::os::unix::fs::symlink("/dev/stdout", &link).unwrap();
    for there in [&pipe, &link] {
        for force in [&[][..], &["--force"]] {
            let run = daemon.cli(&[&["backup", there.to_str().unwrap()], force].concat()).exits(1);
            run.says(&["is no file", "give -"]);
        }
        assert!(!there.symlink_metadata().unwrap().is_file());
    }
    // Nothing unfinished is left beside it.
    let beside: Vec<_> = std::fs::read_dir(daemon.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!beside.iter().any(|n| n.to_string_lossy().contains("partial")), "{beside:?}");
    let mut restore = clean(WEHELPD, &daemon.path("home"));
    restore.arg("--restore").arg(&file).arg("--data-dir").arg(daemon.path("restored"));
    run(restore, None, DEADLINE).exits(0);
    let (other, restored) = (daemon.path("other.sock"), daemon.path("restored"));
    let mut second = clean(WEHELPD, &daemon.path("home"));
    second.arg("--data-dir").arg(&restored).arg("--socket").arg(&other).args(["--listen", "127.0.0.1:0"]);
    let _second = Running::start(second);
    let text = eventually("the restored daemon", || {
        let mut command = daemon.wehelp(["events", "-n", "1"]);
        command.env("WEHELP_SOCKET", &other);
        let run = run(command, None, DEADLINE);
        (run.code == 0).then(|| run.line()["text"].clone())
    });
    assert_eq!(text, "49");
}

#[test]
fn a_background_daemon_that_cannot_start_says_why() {
    let daemon = Daemon::new();
    let address = format!("127.0.0.1:{}", daemon.port());
    let home = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
    let call = |args: &[&str]| {
        let mut command = clean(WEHELP, home.path());
        command.args(args);
        run(command, None, DEADLINE)
    };
    call(&["daemon", "start", "--", "--listen", &address]).exits(1).says(&[&address]);
    call(&["daemon", "stop"]).exits(3);
    call(&["daemon", "logs", "--text"]).exits(0);
    call(&["daemon", "start", "--", "--nonsense"]).exits(1).says(&["--nonsense"]);
}

#[test]
fn a_restart_keeps_what_the_daemon_was_given() {
    let home = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
    let call = |args: &[&str]| {
        let mut command = clean(WEHELP, home.path());
        command.args(args);
        run(command, None, DEADLINE)
    };
    struct Stop<F: Fn()>(F);
    impl<F: Fn()> Drop for Stop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let _stop = Stop(|| drop(call(&["daemon", "stop"])));
    let given = ["--", "--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
    let started = call(&[&["daemon", "start"][..], &given].concat()).exits(0).line();
    assert_eq!(started["started"], true);
    let again = call(&["daemon", "start"]).exits(0);
    assert_eq!((&again.line()["started"], &again.line()["pid"]), (&false.into(), &started["pid"]));
    call(&["daemon", "restart"]).exits(0);
    // What would not start stops nothing.
    let pid = call(&["daemon", "status"]).exits(0).line()["pid"].clone();
    call(&["daemon", "restart", "--", "--listen", "127.0.0.1:99999"]).exits(1).says(&["left as it is", "99999"]);
    assert_eq!(call(&["daemon", "status"]).exits(0).line()["pid"], pid);
    let listen = call(&["status"]).exits(0).line()["http"]["listen"].clone();
    assert_eq!(listen.as_array().map(Vec::len), Some(2), "{listen}");
    // Another data folder's daemon is not meant, even where its socket is looked for.
    let other = home.path().join("other");
    call(&["--data-dir", other.to_str().unwrap(), "daemon", "stop"]).exits(3);
    let log = home.path().join(".local/share/wehelp/wehelpd.log");
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    let lines = call(&["daemon", "logs", "-n", "2"]).exits(0).lines();
    assert!(lines.len() == 2 && lines.iter().all(|l| l["message"] != Value::Null), "{lines:?}");
    call(&["daemon", "stop"]).exits(0);
}

#[test]
fn setup_watches_for_the_first_poll_and_callback() {
    let daemon = Daemon::new();
    let mut setup = daemon.beside(&["setup", "--watch", "--timeout", "20s"]);
    let address = setup.next_json();
    assert!(address["poll"].as_str().unwrap().ends_with("/send_msg"), "{address}");
    daemon.login("wxid_me", 7);
    assert_eq!(setup.next_json()["arrived"], "callback");
    daemon.client().poll("wxid=wxid_me&pid=7");
    assert_eq!(setup.next_json()["arrived"], "poll");
    setup.end().exits(0);
    daemon.cli(&["setup", "--watch", "--timeout", "300ms"]).exits(6);
}

#[test]
fn the_version_names_the_daemon_and_the_command_line_alike() {
    let daemon = Daemon::new();
    let told = daemon.cli(&["--version"]).exits(0).out;
    let version = daemon.status()["daemon"]["version"].as_str().unwrap().to_owned();
    assert_eq!(told.trim(), format!("wehelp {version}"));
}
