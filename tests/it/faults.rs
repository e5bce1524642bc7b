//! Contract 6, faults: a full disk, a read-only file system, a damaged store, no room to start with.

use crate::fixture::{DEADLINE, Daemon, Recipe, WEHELPD, clean, eventually, message, run};
use crate::missing::{self, is_installed};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs of our own; unmounted in the end.
struct Small(PathBuf);

impl Small {
    /// `None` where this user cannot mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        if !is_installed("mount") {
            return None;
        }
        std::fs::create_dir_all(at).unwrap();
        let mut mount = clean("mount", Path::new("/"));
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "wehelp-test"]).arg(at);
        let run = run(mount, None, DEADLINE);
        if run.code != 0 {
            missing::other(&format!("no right to mount a small file system: {}", run.err.trim()));
            return None;
        }
        Some(Self(at.to_owned()))
    }

    fn remount(&self, option: &str) -> bool {
        let mut mount = clean("mount", Path::new("/"));
        mount.args(["-o", &format!("remount,{option}")]).arg(&self.0);
        run(mount, None, DEADLINE).code == 0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Writes until nothing more fits.
pub(crate) fn ballast(at: &Path) -> PathBuf {
    let path = at.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    let zeros = vec![0; 4096];
    while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    path
}

/// What a daemon promises while it cannot write.
pub(crate) fn refuses_to_write(daemon: &Daemon, kept: usize) {
    let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, &"x".repeat(100_000)));
    eventually("callbacks are refused", || {
        let answer = daemon.client().post("/recieve_msg", body.as_bytes());
        match answer.status {
            503 => Some(answer.error(503)),
            // What still fitted into a file that was there is kept.
            200 => None,
            other => panic!("{other}: {}", answer.text()),
        }
    });
    let health = daemon.client().get("/healthz");
    assert_eq!(health.status, 503, "{}", health.text());
    // Who watches over the machine is a stranger: what is wrong there is told to whoever shows the token.
    let token = daemon.control("GET", "/v1/token", b"").json()["token"].as_str().unwrap().to_owned();
    let told = daemon.client().get(&format!("/t/{token}/healthz"));
    assert_eq!((health.error(503), told.error(503)), ("store-refuses-writes".into(), "store-refuses-writes".into()));
    assert!(!health.text().contains('/') && health.text() != told.text(), "{} {}", health.text(), told.text());
    let refused = daemon.cli(&["send", "text", "filehelper", "x"]).exits(5);
    assert!(refused.out.is_empty() && !refused.err.is_empty());
    let status = daemon.status();
    assert_eq!(status["store"]["writable"], false, "{status}");
    assert!(daemon.events(&["-n", "all"]).len() >= kept, "what was stored is not readable");
    daemon.cli(&["queue", "list", "--all"]).exits(0);
}

/// And when it can again.
pub(crate) fn writes_again(daemon: &Daemon) {
    eventually("callbacks are taken again", || {
        (daemon.client().post("/recieve_msg", br#"{"data":{"type":90}}"#).status == 200).then_some(())
    });
    assert_eq!(daemon.client().get("/healthz").status, 200);
    assert_eq!(daemon.status()["store"]["writable"], true);
    daemon.queue_text("after");
}

pub(crate) fn everything(daemon: &Daemon, kept: usize) {
    let events = daemon.events(&["-n", "all"]);
    let seqs: Vec<u64> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "gaps");
    assert!(seqs.len() > kept);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[test]
fn a_full_disk_refuses_writes_loses_nothing_and_is_recovered_from_by_itself() {
    let mut daemon = Recipe::default().lay_out();
    let Some(small) = Small::mount(&daemon.data_dir(), "64m") else { return };
    daemon.start();
    for n in 0..50 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &n.to_string()));
    }
    daemon.queue_text("before");
    let file = ballast(&daemon.data_dir());
    refuses_to_write(&daemon, 50);
    std::fs::remove_file(file).unwrap();
    writes_again(&daemon);
    everything(&daemon, 50);
    daemon.kill9();
    daemon.start();
    everything(&daemon, 50);
    assert_eq!(daemon.terminate(), 0);
    drop(daemon);
    drop(small);
}

#[test]
fn a_file_system_that_became_read_only_refuses_writes_until_it_is_writable() {
    let mut daemon = Recipe::default().lay_out();
    let Some(small) = Small::mount(&daemon.data_dir(), "128m") else { return };
    daemon.start();
    for n in 0..10 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &n.to_string()));
    }
    if !small.remount("ro") {
        missing::other("no file system that can be made read-only while it is written to");
        return;
    }
    refuses_to_write(&daemon, 10);
    assert!(small.remount("rw"));
    writes_again(&daemon);
    everything(&daemon, 10);
    drop(daemon);
    drop(small);
}

#[test]
fn without_room_to_start_with_it_says_so_and_exits_1() {
    let mut daemon = Recipe::default().lay_out();
    let Some(small) = Small::mount(&daemon.data_dir(), "64m") else { return };
    daemon.start();
    daemon.login("wxid_me", 7);
    assert_eq!(daemon.terminate(), 0);
    let file = ballast(&daemon.data_dir());
    let mut child = daemon.command().stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It either ends with a sentence, or serves what it can read and refuses to write.
    let ended = eventually("an outcome", || {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(Some(status));
        }
        daemon.try_control("GET", "/v1/status", b"").filter(|a| a.status == 200).map(|_| None)
    });
    match ended {
        Some(status) => assert_eq!(status.code(), Some(1)),
        None => assert_eq!(daemon.status()["store"]["writable"], false),
    }
    drop(child.kill());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    std::fs::remove_file(file).unwrap();
    daemon.start();
    assert_eq!(daemon.events(&["-n", "all"]).len(), 1);
    drop(daemon);
    drop(small);
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let data = dir.path().join("file/data");
    let mut command = clean(WEHELPD, dir.path());
    command
        .arg("--data-dir")
        .arg(&data)
        .arg("--socket")
        .arg(dir.path().join("s/w.sock"))
        .args(["--listen", "127.0.0.1:0"]);
    let run = run(command, None, DEADLINE).exits(1);
    run.says(&[data.to_str().unwrap()]);
    assert!(!run.err.contains("panicked"), "{}", run.err);
}

/// The files of a data folder that hold something.
fn files(at: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(at).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() && entry.metadata().unwrap().len() > 0 {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn a_damaged_store_is_reported_or_survived_but_never_panicked_over() {
    let mut daemon = Daemon::unpaced();
    for n in 0..50 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("{n} {}", "x".repeat(500))));
        if n % 10 == 0 {
            daemon.queue_text("x");
        }
    }
    assert_eq!(daemon.terminate(), 0);
    let keep = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        drop(std::fs::remove_dir_all(to));
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy(&daemon.data_dir(), &keep.path().join("data"));
    let (mut served, mut reported) = (0, 0);
    for victim in files(&daemon.data_dir()) {
        for damage in ["middle", "tail"] {
            copy(&keep.path().join("data"), &daemon.data_dir());
            let mut bytes = std::fs::read(&victim).unwrap();
            let half = bytes.len() / 2;
            match damage {
                "middle" => bytes[half] ^= 0x40,
                _ => bytes.truncate(half),
            }
            std::fs::write(&victim, bytes).unwrap();
            let log = std::fs::File::create(daemon.path("damage.log")).unwrap();
            let mut child = daemon.command().stdout(std::process::Stdio::null()).stderr(log).spawn().unwrap();
            let ended = eventually("an outcome", || {
                if let Some(status) = child.try_wait().unwrap() {
                    return Some(Some(status));
                }
                daemon.try_control("GET", "/v1/status", b"").filter(|a| a.status == 200).map(|_| None)
            });
            let case = format!("{damage} of {}", victim.display());
            if let Some(status) = ended {
                let said = std::fs::read_to_string(daemon.path("damage.log")).unwrap();
                assert_eq!(status.code(), Some(1), "{case}: {said}");
                assert!(!said.trim().is_empty() && !said.contains("panicked at"), "{case}: {said}");
                reported += 1;
            } else {
                let run = daemon.cli(&["events", "-n", "all"]);
                assert!(matches!(run.code, 0 | 1 | 5), "{case}: {run:?}");
                served += 1;
            }
            drop(child.kill());
            child.wait().unwrap();
        }
    }
    eprintln!("{served} damaged stores were served, {reported} reported");
}

#[test]
fn a_stop_right_after_the_disk_has_room_again_forgets_no_hand_over() {
    let mut daemon = Recipe::default().lay_out();
    let Some(small) = Small::mount(&daemon.data_dir(), "64m") else { return };
    daemon.start();
    let id = daemon.queue_text("x");
    let mut wire = daemon.client().connect();
    wire.send(b"GET /send_msg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(wire.receive().unwrap().array().len(), 1);
    let file = ballast(&daemon.data_dir());
    // What still fits into a file that is there is taken.
    let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, &"x".repeat(100_000)));
    eventually("writes are refused", || {
        (daemon.client().post("/recieve_msg", body.as_bytes()).status == 503).then_some(())
    });
    drop(wire);
    eventually("it cannot be recorded", || daemon.log().contains("cannot record a hand-over").then_some(()));
    std::fs::remove_file(file).unwrap();
    daemon.restart();
    let receipt = daemon.show(id);
    assert_eq!((&receipt["state"], &receipt["attempts"]), (&"fetched".into(), &1.into()), "{receipt}");
    drop(daemon);
    drop(small);
}

#[test]
fn readers_outlive_a_store_that_refuses_for_a_while() {
    let mut daemon = Recipe::default().lay_out();
    let Some(small) = Small::mount(&daemon.data_dir(), "64m") else { return };
    daemon.start();
    daemon.cli(&["cursor", "set", "c", "now"]).exits(0);
    // It ends when it may, so that its cursor is to move while nothing can be written.
    let script = "echo $WEHELP_TEXT >> began; while [ ! -e go ]; do sleep 0.05; done; echo $WEHELP_TEXT >> seen";
    let mut bot = daemon.beside(&["events", "-f", "--cursor", "c", "--exec", "sh", "-c", script]);
    let args =
        ["events", "-f", "--cursor", "r", "--cursor-from", "now", "--max-age", "1h", "--reply", "--exec", "sh", "-c"];
    let answer = "touch asked; while [ ! -e go ]; do sleep 0.05; done; echo \"re $WEHELP_TEXT\"";
    let mut replier = daemon.beside(&[&args[..], &[answer]].concat());
    let mut reader = daemon.beside(&["events", "-f", "-n", "0"]);
    let read = |name: &str| std::fs::read_to_string(daemon.path(name)).unwrap_or_default();
    let position = |name: &str| {
        let cursors = daemon.cli(&["cursor", "list"]).exits(0).lines();
        cursors.iter().find(|cursor| cursor["name"] == name).and_then(|cursor| cursor["seq"].as_u64())
    };
    eventually("both follow", || (daemon.status()["events"]["followers"] == 3).then_some(()));
    daemon.client().event(&message("wxid_me", "wxid_a", None, "before"));
    assert_eq!(reader.next_json()["text"], "before");
    eventually("the command runs", || (read("began") == "before\n").then_some(()));
    eventually("the other one, too", || daemon.path("asked").exists().then_some(()));
    let file = ballast(&daemon.data_dir());
    let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, &"x".repeat(100_000)));
    eventually("writes are refused", || {
        (daemon.client().post("/recieve_msg", body.as_bytes()).status == 503).then_some(())
    });
    std::fs::write(daemon.path("go"), "").unwrap();
    eventually("the cursor cannot be moved, and that is told", || {
        let said = bot.said().join("\n");
        assert!(bot.is_running(), "{said}");
        said.contains("told later").then_some(())
    });
    eventually("the reply cannot be queued, and that is told", || {
        let said = replier.said().join("\n");
        assert!(replier.is_running(), "{said}");
        said.contains("the reply to event 1 waits").then_some(())
    });
    std::fs::remove_file(file).unwrap();
    writes_again(&daemon);
    daemon.client().event(&message("wxid_me", "wxid_a", None, "after"));
    eventually("the command is given what came after", || read("seen").ends_with("after\n").then_some(()));
    let tail = daemon.status()["events"]["last"].as_u64();
    eventually("the cursor has moved", || (position("c") == tail).then_some(()));
    while reader.next_json()["text"] != "after" {}
    assert!(bot.is_running() && reader.is_running());
    assert_eq!(read("seen").matches("before").count(), 1, "nothing was run twice");
    let replies: Vec<_> = eventually("the replies", || {
        let texts = daemon.cli(&["queue", "list", "--all"]).exits(0).lines();
        let texts: Vec<_> =
            texts.iter().filter_map(|sent| sent["command"]["text"].as_str().map(str::to_owned)).collect();
        let replies: Vec<_> = texts.into_iter().filter(|text| text == "re before" || text == "re after").collect();
        (replies.len() >= 2).then_some(replies)
    });
    assert_eq!(replies, ["re before", "re after"]);
    drop((bot, replier, reader, daemon));
    drop(small);
}

#[test]
fn a_first_start_where_nothing_can_be_written_says_why_and_what_to_do() {
    let mut daemon = Recipe::default().lay_out();
    let Some(small) = Small::mount(&daemon.data_dir(), "1m") else { return };
    let file = ballast(&daemon.data_dir());
    let said = run(daemon.command(), None, DEADLINE).exits(1);
    said.says(&[daemon.data_dir().to_str().unwrap(), "No space left", "--data-dir"]);
    std::fs::remove_file(file).unwrap();
    assert!(small.remount("ro"));
    let said = run(daemon.command(), None, DEADLINE).exits(1);
    said.says(&[daemon.data_dir().to_str().unwrap(), "Read-only file system", "--data-dir"]);
    assert!(small.remount("rw,size=64m"));
    daemon.start();
    drop(daemon);
    drop(small);
}
