//! Whole processes: from spawning one to its exit, one after the other in turns.

use crate::Run;
use crate::daemon::Daemon;
use crate::rivals::Redis;
use crate::table::{Goal, Unit, median};
use std::process::{Command, Stdio};
use std::time::Instant;

/// `wehelp send text` against redis-cli, and `wehelp --version` against nothing at all.
pub(crate) fn run(run: &mut Run) {
    let dir = run.folder("process");
    let daemon = Daemon::start(&dir);
    let redis = Redis::start(&dir);
    let mut nothing = Command::new("/bin/true");
    let mut version = Command::new(env!("CARGO_BIN_EXE_wehelp"));
    version.arg("--version");
    let mut send = daemon.wehelp(&["send", "text", "filehelper", "hello"]);
    let mut push = redis.as_ref().map(|redis| {
        let mut push = Command::new("redis-cli");
        push.arg("-s").arg(&redis.socket).args(["LPUSH", "queue", "hello"]);
        push
    });
    let (mut nothings, mut versions, mut sends, mut pushes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if run.smoke { 5 } else { 200 } {
        nothings.push(micros(&mut nothing));
        versions.push(micros(&mut version));
        sends.push(micros(&mut send));
        if let Some(push) = &mut push {
            pushes.push(micros(push));
        }
    }
    let medians = |ours: &[f64], theirs: &[f64]| [(median(ours.iter().copied()), median(theirs.iter().copied()))];
    if push.is_some() {
        let pair = medians(&sends, &pushes);
        run.table.compare("process: send text, redis-cli LPUSH always", Unit::Micros, &pair, Goal::RatioMax(1.3));
    } else {
        run.table.note("no redis-server here: `wehelp send text` is not compared with redis-cli");
    }
    let pair = medians(&sends, &nothings);
    run.table.compare("process: send text, /bin/true", Unit::Micros, &pair, Goal::OverMax(3000.0));
    let pair = medians(&versions, &nothings);
    run.table.compare("process: --version, /bin/true", Unit::Micros, &pair, Goal::RatioMax(1.5));
}

/// How long one run takes, µs.
fn micros(command: &mut Command) -> f64 {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().unwrap();
    let took = began.elapsed().as_secs_f64() * 1e6;
    assert!(status.success(), "{command:?}: {status}");
    took
}
