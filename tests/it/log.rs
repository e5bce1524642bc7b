//! Contract 6: a log has an identity, and nobody goes on in another one by mistake.

use crate::fixture::{DEADLINE, Daemon, WEHELPD, clean, eventually, message, run};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

fn say(daemon: &Daemon, text: &str) {
    daemon.client().event(&message("wxid_me", "wxid_a", None, text));
}

fn identity(daemon: &Daemon) -> String {
    let log = daemon.status()["log"].as_str().expect("a log has an identity").to_owned();
    assert!(log.len() >= 16, "{log}");
    log
}

/// Puts a restored backup in place of the data folder of a daemon that does not run.
fn restore(daemon: &Daemon, backup: &str) {
    std::fs::rename(daemon.data_dir(), daemon.path("old")).unwrap();
    let mut command = clean(WEHELPD, &daemon.path("home"));
    command.arg("--restore").arg(daemon.path(backup)).arg("--data-dir").arg(daemon.data_dir());
    run(command, None, DEADLINE).exits(0);
}

fn refused(daemon: &Daemon, method: &str, path: &str, body: &str) {
    let answer = daemon.control(method, path, body.as_bytes());
    assert_eq!((answer.status, &answer.json()["error"]), (409, &Value::from("ahead")), "{path}");
}

#[test]
fn what_lies_after_the_newest_event_is_refused_and_not_waited_for() {
    let daemon = Daemon::new();
    (0..3).for_each(|n| say(&daemon, &n.to_string()));
    for path in
        ["/v1/events?after=4", "/v1/events?after=4&follow=true", "/v1/events?since=%235", "/v1/events?after=99&count=1"]
    {
        refused(&daemon, "GET", path, "");
    }
    refused(&daemon, "GET", "/v1/events?cursor=new&cursor_from=%234", "");
    refused(&daemon, "PUT", "/v1/cursors/c", r##"{"to":"#4"}"##);
    refused(&daemon, "POST", "/v1/cursors/c/commit", r#"{"seq":4}"#);
    daemon.cli(&["events", "--since", "#9"]).exits(5).says(&["only come to 3"]);
    daemon.cli(&["events", "-f", "--since", "#9"]).exits(5);
    daemon.cli(&["cursor", "set", "c", "#4"]).exits(5);
    // At the end is not after it.
    assert_eq!(daemon.control("GET", "/v1/events?after=3", b"").body, b"");
    assert!(daemon.events(&["--since", "#4"]).is_empty());
    daemon.cli(&["cursor", "set", "c", "#3"]).exits(0);
}

#[test]
fn every_stream_names_its_log_and_a_restart_keeps_it() {
    let mut daemon = Daemon::new();
    let log = identity(&daemon);
    for path in ["/v1/events", "/v1/events?cursor=c", "/v1/events?count=1&after=0"] {
        assert_eq!(daemon.control("GET", path, b"").header("Wehelp-Log"), Some(&log[..]), "{path}");
    }
    say(&daemon, "one");
    for (path, status) in [
        ("/v1/events/1", 200),
        ("/v1/events/1/bytes", 200),
        ("/v1/events/2", 404),
        ("/v1/events?after=7", 409),
        ("/v1/events?after=0&log=another", 409),
        ("/v1/cursors", 200),
    ] {
        let answer = daemon.control("GET", path, b"");
        assert_eq!((answer.status, answer.header("Wehelp-Log")), (status, Some(&log[..])), "{path}");
    }
    daemon.restart();
    assert_eq!(identity(&daemon), log);
    daemon.kill9();
    daemon.start();
    assert_eq!(identity(&daemon), log);
    let same = daemon.control("GET", &format!("/v1/events?after=0&log={log}"), b"");
    assert_eq!(same.status, 200);
    assert_ne!(identity(&Daemon::new()), log);
}

#[test]
fn a_restored_backup_is_another_log_with_the_same_token() {
    let mut daemon = Daemon::new();
    say(&daemon, "first");
    let (log, token) = (identity(&daemon), daemon.cli(&["token", "show"]).exits(0).out);
    daemon.cli(&["events", "--cursor", "c"]).exits(0);
    daemon.cli(&["backup", "b"]).exits(0);
    (0..5).for_each(|n| say(&daemon, &n.to_string()));
    let mut follower = daemon.beside(&["events", "-f", "-n", "all"]);
    let mut reader = daemon.beside(&["events", "-f", "--cursor", "d"]);
    (1..=6)
        .for_each(|n| assert_eq!((&follower.next_json()["seq"], &reader.next_json()["seq"]), (&n.into(), &n.into())));
    assert_eq!(daemon.terminate(), 0);
    restore(&daemon, "b");
    daemon.start();
    assert_ne!(identity(&daemon), log);
    assert_eq!(daemon.cli(&["token", "show"]).exits(0).out, token);
    let mode = std::fs::metadata(daemon.data_dir().join("token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As many as there were, and others.
    (0..9).for_each(|n| say(&daemon, &format!("other {n}")));
    for reader in [follower, reader] {
        reader.end().exits(5).says(&["another log"]);
    }
    let old = daemon.control("GET", &format!("/v1/events?after=3&log={log}"), b"");
    assert_eq!((old.status, &old.json()["error"]), (409, &"other-log".into()));
    let old = daemon.control("POST", "/v1/cursors/c/commit", format!(r#"{{"seq":6,"log":"{log}"}}"#).as_bytes());
    assert_eq!(old.status, 409);
    // A cursor of the backup stands where it stood in it.
    let rest = eventually("the cursor is free", || Some(daemon.events(&["--cursor", "c"])));
    assert_eq!(rest[0]["text"], "other 0");
}

#[test]
fn who_waits_for_a_command_is_told_that_another_daemon_has_taken_the_place_of_its_own() {
    let mut daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let waits = daemon.beside(&["room", "list", "--wait=60s"]);
    let asks = daemon.beside(&["ask", "wxid_q", "well?", "--timeout", "60s"]);
    let mut taken = 0;
    eventually("both are fetched", || {
        taken += daemon.client().poll("wxid=wxid_me").len();
        (taken == 2).then_some(())
    });
    (1..=2).for_each(|id| drop(daemon.reaches(id, "fetched")));
    daemon.kill9();
    std::fs::rename(daemon.data_dir(), daemon.path("its")).unwrap();
    daemon.start();
    // The new one has commands of these numbers, too, and a question that nobody may take up but who asked it.
    daemon.login("wxid_me", 7);
    daemon.queue_text("another");
    for waits in [waits, asks] {
        let run = waits.end().exits(6);
        run.says(&["another wehelpd", "queue show"]);
        assert!(!run.err.contains("forgotten"), "{run:?}");
    }
    assert_eq!(daemon.show(1)["state"], "ready");
}
