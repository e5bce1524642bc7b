//! The real wehelpd and wehelp, and what `/proc` says of a process.

use crate::http::{self, Door};
use crate::load::Load;
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A server is up, down or at rest within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with its handle.
#[derive(Debug)]
pub(crate) struct Child(std::process::Child);

impl Child {
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Self> {
        command.spawn().map(Self)
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and waits.
    pub(crate) fn stop(mut self) -> ExitStatus {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::TERM)
            .unwrap();
        self.0.wait().unwrap()
    }

    /// SIGKILL, and waits.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A real wehelpd.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) door: Door,
}

impl Daemon {
    /// Starts one with its data in `dir`, and waits until it answers.
    pub(crate) fn start(dir: &Path) -> Self {
        let (socket, config) = (dir.join("s"), dir.join("config.toml"));
        // What protects a person's account is no part of the speed.
        std::fs::write(&config, "[pacing]\nsends_per_minute = 0\n[queue]\ncommands_max = 100000000\n").unwrap();
        let address = free_address();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Child::start(
            Command::new(env!("CARGO_BIN_EXE_wehelpd"))
                .arg("--listen")
                .arg(address.to_string())
                .arg("--config")
                .arg(config)
                .arg("--data-dir")
                .arg(dir.join("data"))
                .arg("--socket")
                .arg(&socket)
                .stdin(Stdio::null())
                .stderr(log),
        )
        .unwrap();
        let mut daemon = Self { child, socket, dir: dir.to_owned(), door: Door::Tcp(address) };
        let started = Instant::now();
        while !daemon.is_healthy() {
            let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(daemon.child.is_running(), "wehelpd ended: {}", log());
            assert!(started.elapsed() < PATIENCE, "wehelpd did not start: {}", log());
            std::thread::sleep(Duration::from_millis(1));
        }
        daemon
    }

    fn is_healthy(&self) -> bool {
        http::Client::new(&self.door).ask(&http::get("/healthz")).is_ok_and(|answer| answer.status == 200)
    }

    /// The control door.
    pub(crate) fn control(&self) -> Door {
        Door::Unix(self.socket.clone())
    }

    pub(crate) fn status(&self) -> Value {
        http::json(&self.socket, "/v1/status").unwrap()
    }

    /// `wehelp` that talks to it.
    pub(crate) fn wehelp(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wehelp"));
        command.arg("--socket").arg(&self.socket).args(args).stdin(Stdio::null());
        command
    }

    /// Waits until it does nothing: what it does after its answers must not fall into the other side's round. Returns
    /// how long that took.
    pub(crate) fn rest(&self) -> Duration {
        rest(self.child.pid())
    }

    /// Blocks on disk of all that it stored, bytes.
    pub(crate) fn disk(&self) -> u64 {
        disk(&self.dir.join("data"))
    }
}

/// Waits until a process uses no processor time for a tenth of a second.
pub(crate) fn rest(pid: u32) -> Duration {
    let started = Instant::now();
    let mut used = ticks(pid);
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = ticks(pid);
        if now <= used + 1 || started.elapsed() > PATIENCE {
            return started.elapsed().saturating_sub(Duration::from_millis(100));
        }
        used = now;
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Does work, and tells what a unit of it cost a process, afterwards included: processor time, µs.
pub(crate) fn cost(pid: u32, work: impl FnOnce() -> Load) -> (Load, f64) {
    let before = ticks(pid);
    let load = work();
    rest(pid);
    let used = (ticks(pid) - before) as f64 * 1e4;
    let cost = used / load.all.max(1) as f64;
    (load, cost)
}

/// Processor time used, in hundredths of a second.
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}

/// A number of `/proc/PID/status`: `VmRSS`, `VmHWM` in kB; 0 when the process is gone.
pub(crate) fn status(pid: u32, name: &str) -> u64 {
    number(&format!("/proc/{pid}/status"), name)
}

/// A number of a file of `/proc` with lines `name: number`.
pub(crate) fn number(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How often each thread of a process went to sleep by itself: as often it was woken.
pub(crate) fn wakeups(pid: u32) -> HashMap<PathBuf, u64> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return HashMap::new() };
    let count = |path: &Path| number(&path.join("status").display().to_string(), "voluntary_ctxt_switches");
    tasks.flatten().map(|task| (task.path(), count(&task.path()))).collect()
}

fn disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entry) = path.symlink_metadata() else { return 0 };
    let below = std::fs::read_dir(path).map_or(0, |d| d.flatten().map(|e| disk(&e.path())).sum());
    entry.blocks() * 512 + below
}
