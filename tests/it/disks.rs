//! Contract 6 on real file systems: full ones and read-only ones, at the start and later. Each lies on a loop device,
//! which needs root and the file system's `mkfs`; elsewhere it says that it was skipped.

use crate::faults::{ballast, everything, refuses_to_write, writes_again};
use crate::fixture::{DEADLINE, Daemon, Recipe, Running, WEHELP, WEHELPD, clean, eventually, message, run};
use crate::missing::{self, is_installed};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system on a loop device; unmounted in the end.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user cannot make one with this `mkfs`.
    fn make(mkfs: &str, dir: &Path, at: PathBuf) -> Option<Self> {
        if !is_installed(mkfs) {
            return None;
        }
        /// The least that XFS makes.
        const BYTES: u64 = 300 << 20;
        let image = dir.join("disk");
        std::fs::File::create(&image).unwrap().set_len(BYTES).unwrap();
        std::fs::create_dir_all(&at).unwrap();
        let mut make = clean(mkfs, Path::new("/"));
        make.arg("-q").arg(&image);
        let mut mount = clean("mount", Path::new("/"));
        mount.args(["-o", "loop"]).arg(&image).arg(&at);
        for command in [make, mount] {
            let run = run(command, None, DEADLINE);
            if run.code != 0 {
                missing::other(&format!("no right to mount what {mkfs} makes: {}", run.err.trim()));
                return None;
            }
        }
        Some(Self(at))
    }

    fn remount(&self, option: &str) -> bool {
        let mut mount = clean("mount", Path::new("/"));
        mount.args(["-o", &format!("remount,{option}")]).arg(&self.0);
        run(mount, None, DEADLINE).code == 0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Lines of the log that say that writes are refused, and that they are accepted again.
fn changes(daemon: &Daemon) -> (usize, usize) {
    let log = daemon.log();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    (count("the store refuses writes"), count("the store accepts writes again"))
}

/// Killed on a full disk, and on one that is read-only, it starts, reads, refuses, and goes on when it can.
fn starts_all_the_same(mkfs: &str, min_free: &str) {
    let settings = format!("[pacing]\nsends_per_minute = 0\n[store]\nmin_free = \"{min_free}\"\nsegment = \"1MiB\"\n");
    let still_full = |daemon: &Daemon| {
        if min_free == "0" {
            // A map that is made again may leave room for some more.
            assert!(daemon.events(&["-n", "all"]).len() >= 60, "what was stored is not readable");
            daemon.cli(&["queue", "list", "--all"]).exits(0);
        } else {
            refuses_to_write(daemon, 60);
        }
    };
    let mut daemon = Recipe::default().config(&settings).lay_out();
    let Some(disk) = Disk::make(mkfs, &daemon.path("home"), daemon.data_dir()) else { return };
    daemon.start();
    daemon.login("wxid_me", 7);
    for n in 0..60 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("{n} {}", "x".repeat(30_000))));
    }
    let id = daemon.queue_text("waits");
    let mut wire = daemon.client().connect();
    wire.send(b"GET /send_msg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(wire.receive().unwrap().array().len(), 1);
    let file = ballast(&daemon.data_dir());
    refuses_to_write(&daemon, 60);
    daemon.kill9();
    // On a slow machine it is known to be fetched before the disk is full.
    let mut known = false;
    for _ in 0..2 {
        daemon.start();
        still_full(&daemon);
        known = daemon.show(id)["state"] == "fetched";
        daemon.kill9();
    }
    daemon.start();
    still_full(&daemon);
    let (refused, accepted) = changes(&daemon);
    std::fs::remove_file(file).unwrap();
    // btrfs gives room back when it commits, every 30 s.
    rustix::fs::syncfs(std::fs::File::open(&disk.0).unwrap()).unwrap();
    writes_again(&daemon);
    // What was in flight is not so for ever, though its start could not write.
    daemon.reaches(id, if known { "fetched" } else { "ready" });
    // A few writes may have found room that was gone the next time; it does not go back and forth.
    assert!(refused < 30 && accepted < 30, "{mkfs}: {refused} {accepted}\n{}", daemon.log());
    everything(&daemon, 60);

    daemon.kill9();
    eventually("nothing in it is open", || disk.remount("ro").then_some(()));
    daemon.start();
    refuses_to_write(&daemon, 60);
    assert_eq!(daemon.show(id)["state"], if known { "fetched" } else { "ready" });
    assert!(disk.remount("rw"));
    writes_again(&daemon);
    everything(&daemon, 60);
    daemon.restart();
    everything(&daemon, 60);
    // What waited is handed over.
    let texts: Vec<_> = daemon.client().poll("wxid=wxid_me").iter().map(|c| c["text"].clone()).collect();
    assert_eq!(texts.contains(&"waits".into()), !known, "{texts:?}");
    assert_eq!(daemon.terminate(), 0);
    drop(daemon);
    drop(disk);
}

#[test]
fn a_read_only_folder_without_a_socket_is_served_and_found_and_named() {
    let mut daemon = Recipe::default().lay_out();
    let Some(disk) = Disk::make("mkfs.ext4", &daemon.path("home"), daemon.data_dir()) else { return };
    daemon.start();
    daemon.kill9();
    eventually("nothing in it is open", || disk.remount("ro").then_some(()));
    let command = || {
        let mut command = clean(WEHELPD, &daemon.path("home"));
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(daemon.data_dir());
        command
    };
    let running = Running::start(command());
    let pid = running.pid().as_raw_pid();
    let status = || {
        let mut status = clean(WEHELP, &daemon.path("home"));
        status.arg("--data-dir").arg(daemon.data_dir()).args(["--json", "status"]);
        let run = run(status, None, DEADLINE);
        (run.code == 0).then(|| run.line())
    };
    let found = eventually("it is found by its folder", status);
    assert_eq!(found["daemon"]["pid"], pid);
    let socket = Path::new(found["daemon"]["socket"].as_str().unwrap());
    assert!(socket.exists() && !socket.starts_with(daemon.data_dir()), "{found}");
    run(command(), None, DEADLINE).exits(1).says(&[&format!("(pid {pid})")]);

    assert!(disk.remount("rw"));
    eventually("its pid is written", || {
        (std::fs::read_to_string(daemon.data_dir().join("lock")).ok()? == pid.to_string()).then_some(())
    });
    eventually("where its socket is, is written", || {
        let pointer = std::fs::read_to_string(daemon.data_dir().join("socket")).ok()?;
        (Path::new(pointer.trim()) == socket).then_some(())
    });
    rustix::process::kill_process(running.pid(), rustix::process::Signal::TERM).unwrap();
    let run = running.end().exits(0);
    run.says(&["the data folder is read-only"]);
    assert!(!run.err.contains("Invalid argument"), "{}", run.err);
    assert!(!socket.exists(), "it is left behind");
}

#[test]
fn a_full_or_read_only_ext4_is_no_reason_not_to_start() {
    starts_all_the_same("mkfs.ext4", "16MiB");
    starts_all_the_same("mkfs.ext4", "0");
}

#[test]
fn a_full_or_read_only_xfs_is_no_reason_not_to_start() {
    starts_all_the_same("mkfs.xfs", "16MiB");
    starts_all_the_same("mkfs.xfs", "0");
}

#[test]
fn a_full_or_read_only_btrfs_is_no_reason_not_to_start() {
    starts_all_the_same("mkfs.btrfs", "16MiB");
    starts_all_the_same("mkfs.btrfs", "0");
}
