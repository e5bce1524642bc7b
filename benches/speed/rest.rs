//! At rest: a daemon that nobody asks for anything.

use crate::Run;
use crate::daemon::{self, Daemon};
use crate::table::{Goal, Unit};
use std::time::Duration;

/// Wake-ups, writes and memory.
pub(crate) fn run(run: &mut Run) {
    let dir = run.folder("idle");
    let daemon = Daemon::start(&dir);
    daemon.rest();
    let pid = daemon.child.pid();
    // What a start leaves to be done is done by then.
    std::thread::sleep(Duration::from_secs(if run.smoke { 0 } else { 3 }));
    let io = format!("/proc/{pid}/io");
    let look = || (daemon::wakeups(pid), daemon::number(&io, "syscw") + daemon::number(&io, "write_bytes"));
    let (woken, written) = look();
    let time = Duration::from_secs(if run.smoke { 1 } else { 10 });
    std::thread::sleep(time);
    let (woken_then, written_then) = look();
    // A thread that has ended meanwhile was woken for that; one that is new, to begin.
    let since = |(thread, n): (&std::path::PathBuf, &u64)| n - woken.get(thread).unwrap_or(&0);
    let ended = woken.keys().filter(|thread| !woken_then.contains_key(*thread)).count() as u64;
    let woken = (woken_then.iter().map(since).sum::<u64>() + ended) as f64 / time.as_secs_f64();
    run.table.alone("idle: wake-ups of all threads", Unit::PerSecond, woken, Goal::OursMax(2.0));
    run.table.alone("idle: writes", Unit::Times, (written_then - written) as f64, Goal::OursMax(0.0));
    let memory = daemon::status(pid, "VmRSS") as f64 / 1024.0;
    run.table.alone("idle: resident memory", Unit::Mebibytes, memory, Goal::OursMax(20.0));
}
