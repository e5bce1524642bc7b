//! What only one may do at a time: kill and stop the daemon, let file calls fail, set the clock, close a forward's target.

use crate::faults::{Call, Fault};
use crate::fixture::Daemon;
use crate::reader::Target;
use crate::record::{Check, Fact};
use crate::world::{World, lock};
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A stop takes at most so long (contract 1).
const STOP: Duration = Duration::from_secs(8);

/// How wrong the clock may be, milliseconds.
const STEPS: [i64; 7] = [0, 0, 90_000, -90_000, 2 * 86_400_000, -2 * 86_400_000, 366 * 86_400_000];

/// A deed of the operator's. A new one is added to [`DEEDS`], and nowhere else.
pub(crate) struct Deed {
    pub(crate) name: &'static str,
    /// How often, against the others.
    weight: u32,
    act: fn(&mut Operator<'_>),
}

const fn deed(name: &'static str, weight: u32, act: fn(&mut Operator<'_>)) -> Deed {
    Deed { name, weight, act }
}

const DEEDS: &[Deed] = &[
    deed("kill", 4, |operator| operator.kill()),
    deed("stop", 3, |operator| operator.stop()),
    deed("stop right after a start that follows a kill", 2, |operator| operator.stop_early()),
    deed("one failing call", 4, |operator| operator.one_failing_call()),
    deed("a full disk", 2, |operator| operator.full_disk()),
    deed("failing syncs", 2, |operator| operator.failing_syncs()),
    deed("a kill while calls fail", 1, |operator| operator.kill_while_failing()),
    deed("set the clock", 3, |operator| operator.set_clock()),
    deed("hang up", 1, |operator| operator.hang_up()),
    deed("close a forward's target", 2, |operator| operator.close_target()),
    deed("nothing", 4, |_| {}),
];

pub(crate) struct Operator<'a> {
    pub(crate) world: &'a World,
    pub(crate) daemon: &'a mut Daemon,
    pub(crate) target: &'a Target,
    pub(crate) rng: fastrand::Rng,
}

impl Operator<'_> {
    /// Acts until the round's time is over; what was done, in order.
    pub(crate) fn work(&mut self, until: Instant) -> Vec<&'static str> {
        let sum: u32 = DEEDS.iter().map(|deed| deed.weight).sum();
        let mut done = Vec::new();
        loop {
            // The load between two deeds is what they hit.
            let pause = Duration::from_millis(self.rng.u64(200..1200));
            std::thread::sleep(pause.min(until.saturating_duration_since(Instant::now())));
            if Instant::now() >= until {
                return done;
            }
            let mut at = self.rng.u32(0..sum);
            let chosen = DEEDS.iter().find(|deed| {
                let here = at < deed.weight;
                at = at.wrapping_sub(deed.weight);
                here
            });
            let deed = chosen.expect("the weights sum up");
            (deed.act)(self);
            done.push(deed.name);
        }
    }

    /// Takes the daemon down and starts it again.
    fn down(&mut self, killed: bool, take_down: impl FnOnce(&mut Self)) {
        let from = self.world.recorder.now();
        self.world.downs.fetch_add(1, Ordering::SeqCst);
        take_down(self);
        self.disarm();
        self.daemon.start();
        *lock(&self.world.addr) = ([127, 0, 0, 1], self.daemon.port()).into();
        self.world.downs.fetch_add(1, Ordering::SeqCst);
        self.world.recorder.add(Fact::Down { span: self.world.recorder.since(from), killed });
    }

    fn kill(&mut self) {
        self.down(true, |operator| operator.daemon.kill9());
    }

    pub(crate) fn stop(&mut self) {
        self.down(false, |operator| {
            let start = Instant::now();
            let code = operator.daemon.terminate();
            let took = start.elapsed();
            if code != 0 || took > STOP {
                operator.world.recorder.saw(Check::Stop, format!("a stop ended with {code} after {took:?}"));
            }
        });
    }

    fn stop_early(&mut self) {
        self.kill();
        std::thread::sleep(Duration::from_millis(self.rng.u64(0..120)));
        self.stop();
    }

    /// Nothing fails any more, and the daemon has noticed.
    fn disarm(&self) {
        if let Some(faults) = &self.world.faults {
            faults.disarm();
        }
    }

    fn fail(&mut self, fault: &Fault, hold: Duration, meanwhile: impl FnOnce(&mut Self)) {
        let Some(faults) = &self.world.faults else { return };
        let from = self.world.recorder.now();
        self.world.faulty.store(true, Ordering::SeqCst);
        faults.arm(fault);
        std::thread::sleep(hold);
        meanwhile(self);
        self.disarm();
        let start = Instant::now();
        let healthy = || self.world.control("GET", "/v1/status", b"").filter(|status| status.status == 200);
        while healthy().is_none_or(|status| status.json()["store"]["writable"] != true) {
            if start.elapsed() > crate::world::PATIENCE {
                self.world.recorder.saw(Check::NoAnswer, format!("the store does not come back after {fault:?}"));
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.world.faulty.store(false, Ordering::SeqCst);
        self.world.recorder.add(Fact::Faulty { span: self.world.recorder.since(from) });
    }

    fn any_fault(&mut self) -> Fault {
        const CALLS: [Call; 6] = [Call::Write, Call::Sync, Call::Rename, Call::Open, Call::Truncate, Call::Unlink];
        Fault {
            calls: vec![CALLS[self.rng.usize(0..CALLS.len())]],
            after: self.rng.u32(0..40),
            count: Some(self.rng.u32(1..4)),
            error: [Errno::IO, Errno::NOSPC][self.rng.usize(0..2)],
            torn: self.rng.bool(),
        }
    }

    fn one_failing_call(&mut self) {
        let (fault, hold) = (self.any_fault(), self.rng.u64(200..800));
        self.fail(&fault, Duration::from_millis(hold), |_| {});
    }

    fn full_disk(&mut self) {
        let calls = vec![Call::Write, Call::Open];
        let fault = Fault { calls, after: self.rng.u32(0..20), count: None, error: Errno::NOSPC, torn: true };
        let hold = self.rng.u64(200..1500);
        self.fail(&fault, Duration::from_millis(hold), |_| {});
    }

    fn failing_syncs(&mut self) {
        let fault =
            Fault { calls: vec![Call::Sync], after: self.rng.u32(0..20), count: None, error: Errno::IO, torn: false };
        let hold = self.rng.u64(200..1500);
        self.fail(&fault, Duration::from_millis(hold), |_| {});
    }

    fn kill_while_failing(&mut self) {
        let fault = self.any_fault();
        let hold = self.rng.u64(50..500);
        self.fail(&fault, Duration::from_millis(hold), Self::kill);
    }

    /// Forward, back, or to the truth.
    fn set_clock(&mut self) {
        if let Some(faults) = &self.world.faults {
            faults.set_clock(STEPS[self.rng.usize(0..STEPS.len())]);
        }
    }

    fn hang_up(&mut self) {
        kill_process(self.daemon.pid(), Signal::HUP).unwrap();
    }

    fn close_target(&mut self) {
        self.target.set_away(true);
        std::thread::sleep(Duration::from_millis(self.rng.u64(50..600)));
        self.target.set_away(false);
    }
}
