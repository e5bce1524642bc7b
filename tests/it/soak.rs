//! Contract 6 and 5 over time: the memory of a daemon that everybody reads slowly from while large events come.
//!
//! `WEHELP_SOAK_SECONDS=3600` runs longer than the suite does, and tells how the most that was taken changes over time.

use crate::client::{Wire, request};
use crate::fixture::{DEADLINE, Daemon, Recipe, message, run};
use crate::memory::{CONTACTS, PEAK_MIB as RELEASE_MIB, contacts, listed, peak};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the daemon may take at most, MiB. A debug build is larger, and sled writes to all of 20 MiB that it only asks for
/// in a release build: it takes 46 before anything has come, a release build 11.
const PEAK_MIB: u64 = RELEASE_MIB + if cfg!(debug_assertions) { 35 } else { 0 };
/// What learning and telling lists of 50,000 contacts, one after the other, may take beside that, MiB.
const LISTS_MIB: u64 = 40;
/// How long it takes in the suite, once everybody is there.
const SECONDS: u64 = 4;
/// Followers that read the begin of their first line, and nothing more.
const SILENT: usize = 200;
/// Bytes of a large event: a little below the limit of a body.
const LARGE_BYTES: usize = 15 << 20;
/// Between two large events.
const LARGE_EVERY: Duration = Duration::from_secs(3);
/// Between two small ones.
const SMALL_EVERY: Duration = Duration::from_millis(5);
/// A slow reader reads so much at a time…
const GULP_BYTES: usize = 64 << 10;
/// …so often.
const GULP_EVERY: Duration = Duration::from_millis(20);
/// How long a question waits for its answer: a debug build on a busy machine needs a while to learn a long list.
const ANSWERED_WITHIN: Duration = Duration::from_secs(660);
/// How often a reader that waits looks whether the load has ended.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is told how it is doing.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The load, which ends when somebody says so.
struct Soak<'a> {
    daemon: &'a Daemon,
    over: AtomicBool,
    /// What was done: small events, large ones, answered questions.
    done: [AtomicU64; 3],
}

impl Soak<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Waits, but not longer than it goes on.
    fn pause(&self, pause: Duration) {
        let begun = Instant::now();
        while self.goes_on() && begun.elapsed() < pause {
            std::thread::sleep(pause.min(Duration::from_millis(50)));
        }
    }

    fn follower(&self, query: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.daemon.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&request("GET", &format!("/v1/events?{query}"), &[("Connection", "close")], b"")).unwrap();
        stream
    }

    fn small_events(&self) {
        while self.goes_on() {
            let n = self.done[0].fetch_add(1, Ordering::SeqCst);
            self.daemon.client().event(&message("wxid_me", &format!("wxid_{}", n % 500), None, &format!("small {n}")));
            self.pause(SMALL_EVERY);
        }
    }

    fn large_events(&self) {
        let text = "x".repeat(LARGE_BYTES);
        while self.goes_on() {
            self.daemon.client().event(&message("wxid_me", "wxid_large", None, &text));
            self.done[1].fetch_add(1, Ordering::SeqCst);
            self.pause(LARGE_EVERY);
        }
    }

    /// Polls, and answers whoever asks for all friends.
    fn client(&self) {
        let list = listed(210, "userLists", &contacts());
        while self.goes_on() {
            for command in self.daemon.client().poll("wxid=wxid_me&pid=7") {
                if command["api"] == "initContact" {
                    let answer = self.daemon.client().post("/recieve_msg", list.as_bytes());
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            }
            self.pause(SMALL_EVERY);
        }
    }

    fn questions(&self) {
        while self.goes_on() {
            let asked = self.daemon.wehelp(["friend", "list", "--wait=10m"]);
            let answer = run(asked, None, ANSWERED_WITHIN).exits(0).out;
            assert_eq!(answer.lines().count(), CONTACTS);
            self.done[2].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Reads on for ever, slowly.
    fn slow_reader(&self) {
        self.read_until_end(&mut self.follower("follow=true&lines=10"), GULP_EVERY);
        assert!(!self.goes_on(), "a slow reader is let go");
    }

    /// Reads what is there already, and then its list of commands.
    fn reader_of_old_ones(&self) {
        while self.goes_on() {
            let mut wire = Wire::new(self.follower("lines=50"));
            assert_eq!(wire.receive_head().unwrap().status, 200);
            self.read_until_end(&mut wire.stream, Duration::ZERO);
            assert_eq!(self.daemon.control("GET", "/v1/commands?all=true", b"").status, 200);
        }
    }

    /// Reads until nothing more comes, or the load ends; `every` is between two reads.
    fn read_until_end(&self, stream: &mut UnixStream, every: Duration) {
        let mut bytes = vec![0; GULP_BYTES];
        stream.set_read_timeout(Some(LOOK)).unwrap();
        let mut last = Instant::now();
        while self.goes_on() {
            match stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => last = Instant::now(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            assert!(last.elapsed() < ANSWERED_WITHIN, "nothing comes");
            self.pause(every);
        }
    }
}

/// The most that it has had is counted anew from now on.
fn forget_peak(daemon: &Daemon) {
    let pid = daemon.pid().as_raw_nonzero();
    // Where it cannot be, it is the most since the start.
    drop(std::fs::write(format!("/proc/{pid}/clear_refs"), "5"));
}

#[test]
fn slow_readers_and_large_events_take_bounded_memory_for_as_long_as_it_goes_on() {
    soak(PEAK_MIB, false);
}

#[test]
fn long_lists_beside_them_take_bounded_memory_too() {
    soak(PEAK_MIB + LISTS_MIB, true);
}

/// Puts the load on a daemon, with or without long lists, and looks that it never takes more than so many MiB.
fn soak(peak_mib: u64, lists: bool) {
    let seconds = std::env::var("WEHELP_SOAK_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let config = "[events]\nmax_bytes = \"128MiB\"\n[queue]\nkeep_done = \"10m\"\n";
    let mut daemon = Recipe::default().config(config).start();
    daemon.login("wxid_me", 7);
    let soak = Soak { daemon: &daemon, over: AtomicBool::new(false), done: Default::default() };
    let begun = Instant::now();
    let (mut told, mut most) = (Duration::ZERO, 0);
    std::thread::scope(|scope| {
        /// Ends the load, also when the test fails: nobody would else.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _over = Over(&soak.over);
        let mut threads = vec![
            scope.spawn(|| soak.small_events()),
            scope.spawn(|| soak.large_events()),
            scope.spawn(|| soak.slow_reader()),
            scope.spawn(|| soak.reader_of_old_ones()),
        ];
        if lists {
            threads.extend([scope.spawn(|| soak.client()), scope.spawn(|| soak.questions())]);
        }
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            let mut wire = Wire::new(soak.follower("follow=true&after=0"));
            assert_eq!(wire.receive_head().unwrap().status, 200);
            silent.push(wire);
        }
        let all_there = begun.elapsed().as_secs();
        while begun.elapsed().as_secs() < all_there + seconds {
            assert!(threads.iter().all(|thread| !thread.is_finished()), "a part of the load has failed");
            let lately = peak(&daemon);
            assert!(lately <= peak_mib, "{lately} MiB");
            most = most.max(lately);
            if begun.elapsed() >= told {
                let done: Vec<u64> = soak.done.iter().map(|done| done.load(Ordering::SeqCst)).collect();
                let at = begun.elapsed().as_secs();
                eprintln!("{at} s: {lately} MiB lately, {most} at most; small, large, answered: {done:?}");
                told = begun.elapsed() + TOLD_EVERY;
                forget_peak(&daemon);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let lately = peak(&daemon);
    assert!(lately <= peak_mib, "{lately} MiB");
    assert_eq!(daemon.terminate(), 0);
}
