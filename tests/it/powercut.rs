//! Contract 6, the promise, at a power cut: the file system below the daemon stops at an instruction, its unsynced
//! pages are gone, and what was answered is there all the same.
//!
//! The cut is ext4's or XFS's own: a forced shutdown of a loop-mounted file system without flushing its journal, which
//! drops exactly what no sync had made durable. It needs root, a loop device and the file system's `mkfs`; elsewhere it
//! says that it was skipped.
//! `WEHELP_POWERCUTS=100 cargo test --test it powercut -- --nocapture` runs more rounds than the suite does.

use crate::client::Client;
use crate::fixture::{Daemon, Recipe, eventually, message};
use crate::missing::{self, is_installed};
use serde_json::Value;
use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Cuts in the suite; a long run asks for more.
const ROUNDS: usize = 3;

/// Answers waited for before the power goes.
const ANSWERS: usize = 60;

/// A file system on a loop device, mounted at a daemon's data folder.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|o| o.status.success())
}

impl Disk {
    /// `None` where this user cannot make one with this `mkfs`.
    fn make(mkfs: &str, dir: &Path, at: PathBuf) -> Option<Self> {
        let image = dir.join("disk");
        std::fs::File::create(&image).ok()?.set_len(512 << 20).ok()?;
        std::fs::create_dir_all(&at).ok()?;
        let disk = Self { image, at };
        // On a new file none of them asks.
        let made = succeeds(mkfs, &["-q", disk.image.to_str()?]);
        (made && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        let (image, at) = (self.image.to_str().unwrap(), self.at.to_str().unwrap());
        succeeds("mount", &["-o", "loop", image, at])
    }

    /// Cuts the power: nothing that is not durable by now ever will be.
    #[expect(unsafe_code, reason = "the forced shutdown of a file system is an ioctl without a safe name")]
    fn cut(&self) {
        /// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`, `_IOR('X', 125, __u32)`.
        const SHUTDOWN: u64 = 0x8004_587d;
        /// `NOLOGFLUSH` of both: not even the file system's own journal is written out.
        const WITHOUT_FLUSH: u32 = 2;
        let folder = std::fs::File::open(&self.at).unwrap();
        let flags = WITHOUT_FLUSH;
        // SAFETY: the ioctl reads one u32 that outlives the call.
        let failed = unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, &raw const flags) };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    }

    /// The power comes back.
    fn return_power(&self) {
        eventually("the dead file system is unmounted", || {
            succeeds("umount", &[self.at.to_str().unwrap()]).then_some(())
        });
        assert!(self.mount(), "the file system recovers");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.at).output());
    }
}

#[derive(Debug, Default)]
struct Promised {
    posted: Vec<String>,
    queued: Vec<(u64, String)>,
}

/// Posts events, one in twenty of them large, until told to stop.
fn post(stop: &AtomicBool, client: Client, name: &str, done: &AtomicUsize, promised: &Mutex<Promised>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("{name}-{n}");
        let padding = "x".repeat(if n % 20 == 7 { 300_000 } else { n % 5 * 1000 });
        let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, &format!("{text} {padding}")));
        let Ok(answer) = client.try_post("/recieve_msg", body.as_bytes()) else { continue };
        if answer.status == 200 {
            promised.lock().unwrap().posted.push(text);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Queues commands over the control door and fetches them as a client.
fn traffic(stop: &AtomicBool, daemon: &Daemon, name: &str, promised: &Mutex<Promised>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("{name}-{n}");
        let body =
            format!(r#"{{"commands":[{{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"{text}"}}]}}"#);
        if let Some(answer) = daemon.try_control("POST", "/v1/commands", body.as_bytes())
            && answer.status == 200
            && let Ok(receipt) = serde_json::from_str::<Value>(answer.text().trim())
        {
            promised.lock().unwrap().queued.push((receipt["id"].as_u64().unwrap(), text));
        }
        if n % 3 == 0 {
            drop(daemon.client().try_post("/send_msg?wxid=wxid_me", b""));
        }
    }
}

#[test]
fn a_power_cut_under_load_loses_nothing_that_was_answered_on_ext4() {
    survives_on("mkfs.ext4");
}

#[test]
fn a_power_cut_under_load_loses_nothing_that_was_answered_on_xfs() {
    survives_on("mkfs.xfs");
}

fn survives_on(mkfs: &str) {
    if !is_installed(mkfs) {
        return;
    }
    let rounds = std::env::var("WEHELP_POWERCUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    // Retention drops old events all the while, since reused space is what a cut finds out.
    let settings = "[pacing]\nsends_per_minute = 0\n[events]\nmax_bytes = \"20MB\"\n[store]\nsegment = \"1MiB\"\n";
    let mut daemon = Recipe::default().config(settings).lay_out();
    let Some(disk) = Disk::make(mkfs, &daemon.path("home"), daemon.data_dir()) else {
        missing::other("no right to mount a file system on a loop device");
        return;
    };
    daemon.start();
    let promised = Mutex::new(Promised::default());
    for round in 0..rounds {
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let client = daemon.client();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (stop, done, promised) = (&stop, &done, &promised);
                scope.spawn(move || post(stop, client, &format!("e{round}-{thread}"), done, promised));
            }
            let (stop_ref, daemon_ref, promised_ref) = (&stop, &daemon, &promised);
            scope.spawn(move || traffic(stop_ref, daemon_ref, &format!("c{round}"), promised_ref));
            // Rounds differ in length, so that cuts fall before, into and after checkpoints and new segments.
            let wanted = ANSWERS + round % 7 * 40;
            eventually("load", || (done.load(Ordering::Relaxed) >= wanted).then_some(()));
            disk.cut();
            stop.store(true, Ordering::Relaxed);
            rustix::process::kill_process(daemon.pid(), rustix::process::Signal::KILL).unwrap();
        });
        daemon.kill9();
        disk.return_power();
        daemon.start();

        let promised = promised.lock().unwrap();
        let status = daemon.status();
        let last = status["events"]["last"].as_u64().unwrap();
        let answer = daemon.control("GET", "/v1/events", b"");
        let text = answer.text();
        let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        // Retention goes on meanwhile: from which one on is only known by what comes, behind a line that says so.
        let from = events.iter().rposition(|e| !e["dropped"].is_null()).map_or(0, |told| told + 1);
        let mut seqs = events[from..].iter().map(|e| e["seq"].as_u64().unwrap());
        let first = seqs.next().unwrap();
        let end = seqs.try_fold(first, |before, seq| (seq == before + 1).then_some(seq).ok_or(before));
        assert_eq!(end, Ok(last), "round {round}: seq has a gap, or the end is missing");
        let kept: HashSet<&str> = events.iter().filter_map(|e| e["text"].as_str()?.split(' ').next()).collect();
        // What retention had not dropped must be there: the newest of each thread's events, from the first kept on.
        if first == 1 {
            for posted in &promised.posted {
                assert!(kept.contains(posted.as_str()), "round {round}: {posted} was answered and is gone");
            }
        } else {
            let recent = promised.posted.iter().rev().take(20);
            for posted in recent {
                assert!(kept.contains(posted.as_str()), "round {round}: {posted} was answered and is gone");
            }
        }
        for (id, text) in promised.queued.iter().rev().take(200) {
            let shown = daemon.show(*id);
            assert_eq!(shown["command"]["text"], text.as_str(), "round {round}: the receipt {id} was printed");
        }
    }
}
