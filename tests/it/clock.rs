//! Contract 6: a wrong clock, at start or later, in either direction, drops nothing, forgets no key and holds no command.
//!
//! The daemon's wall clock is shifted from outside, with the library of the chaos test.

use crate::fixture::{Daemon, Recipe, eventually, message};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

#[allow(dead_code, reason = "shared with the chaos test; only its clock is used here")]
#[path = "../chaos/faults.rs"]
pub(crate) mod faults;

const DAY: i64 = 86_400_000;
/// Its rounds are five seconds apart.
const KEEP: &str = "[events]\nkeep = \"1h\"\nmax_bytes = \"1GiB\"\n[queue]\nkeep_done = \"1h\"\n";

/// A daemon whose clock can be set, and whose machine can be started anew.
struct Set {
    daemon: Daemon,
    faults: faults::Faults,
    boot: PathBuf,
    keyed: u64,
    _dir: TempDir,
}

impl Set {
    /// With an event, a cursor that has not read it, and a finished command that had a key; `None` where there is no C
    /// compiler.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let faults = faults::Faults::prepare(dir.path())?;
        let boot = dir.path().join("boot");
        std::fs::write(&boot, "one\n").unwrap();
        let mut recipe = Recipe::default().config(KEEP).env("WEHELP_FAULTS_BOOT", boot.to_str().unwrap());
        for (name, value) in faults.environment(dir.path()) {
            recipe = recipe.env(name, &value);
        }
        let daemon = recipe.start();
        for n in 1..=3 {
            daemon.reported(&message("wxid_me", "wxid_a", None, &format!("text {n}")));
        }
        assert_eq!(daemon.events(&["--cursor", "c", "-n", "all", "--count", "1"]).len(), 1);
        let keyed = daemon.queue(&["send", "text", "wxid_a", "keyed", "--key", "k"]);
        assert_eq!(daemon.client().poll("account=wxid_me").len(), 1);
        daemon.reaches(keyed, "fetched");
        Some(Self { daemon, faults, boot, keyed, _dir: dir })
    }

    /// Nothing of it is gone.
    fn is_whole(&self, when: &str) {
        let daemon = &self.daemon;
        assert_eq!(daemon.status()["events"]["first"], 1, "{when}");
        assert_eq!(daemon.show(self.keyed)["state"], "fetched", "{when}");
        assert_eq!(
            daemon.queue(&["send", "text", "wxid_a", "keyed", "--key", "k"]),
            self.keyed,
            "{when}: the key is known"
        );
    }

    /// What waits goes as soon as it was to go.
    fn hands_out(&self, id: u64, when: &str) {
        eventually(when, || {
            self.daemon.client().poll("account=wxid_me");
            (self.daemon.show(id)["state"] == "fetched").then_some(())
        });
    }

    fn in_a_second(&self) -> u64 {
        self.daemon.queue(&["send", "text", "wxid_a", "later", "--in", "1s", "--expires", "1h"])
    }
}

/// Rounds of retention pass: only time shows that they drop nothing.
fn rounds() {
    std::thread::sleep(Duration::from_millis(6500));
}

#[test]
fn a_clock_that_is_set_while_it_runs_drops_forgets_and_holds_nothing() {
    for by in [366 * DAY, -2 * DAY] {
        let Some(set) = Set::new() else { return };
        let later = set.in_a_second();
        set.faults.set_clock(by);
        set.is_whole(&format!("at once, {by}"));
        set.hands_out(later, &format!("queued before the step of {by}"));
        set.hands_out(set.in_a_second(), &format!("queued after the step of {by}"));
        rounds();
        set.is_whole(&format!("later, {by}"));
        set.faults.set_clock(0);
        rounds();
        set.is_whole(&format!("back again, {by}"));
    }
}

#[test]
fn a_clock_that_is_set_while_no_daemon_runs_drops_forgets_and_holds_nothing() {
    for (by, clean) in [(366 * DAY, true), (366 * DAY, false), (-366 * DAY, true), (2 * DAY, false)] {
        let Some(mut set) = Set::new() else { return };
        let later = set.in_a_second();
        if clean {
            set.daemon.terminate();
        } else {
            set.daemon.kill9();
        }
        set.faults.set_clock(by);
        set.daemon.start();
        set.hands_out(later, &format!("queued before the step of {by}"));
        rounds();
        set.is_whole(&format!("{by}, clean: {clean}"));
    }
}

#[test]
fn a_machine_that_starts_with_a_wrong_clock_drops_and_forgets_nothing() {
    for by in [366 * DAY, -20 * 366 * DAY] {
        let Some(mut set) = Set::new() else { return };
        let later = set.in_a_second();
        set.daemon.terminate();
        std::fs::write(&set.boot, "two\n").unwrap();
        set.faults.set_clock(by);
        set.daemon.start();
        rounds();
        set.is_whole(&format!("{by}"));
        if by < 0 {
            set.hands_out(later, "queued before the machine was off");
        }
        // The clock is put right.
        set.faults.set_clock(0);
        set.hands_out(set.in_a_second(), "queued after the clock was put right");
        rounds();
        set.is_whole(&format!("{by}, put right"));
    }
}
