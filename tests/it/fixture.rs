//! A daemon of one's own, and the command line that talks to it.
//!
//! Every daemon lives in a temporary folder with its own HOME; nothing of the user's environment reaches it. Dropping
//! it kills and reaps the process. A run of `wehelp` has a deadline; one that overstays is killed and the test fails.

use crate::client::{Client, PATIENCE, Response, Wire, request};
use crate::missing;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) const WEHELPD: &str = env!("CARGO_BIN_EXE_wehelpd");
pub(crate) const WEHELP: &str = env!("CARGO_BIN_EXE_wehelp");

/// How long a condition may take to come true; far above what a busy and slow machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `ready` gives something.
pub(crate) fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Whether a signal reaches what is started here: what ran these tests in the background, or under `nohup`, had some of
/// them ignored, and every program that they start ignores them, too, as it should.
pub(crate) fn is_heard(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let is_heard = u64::from_str_radix(ignored, 16).unwrap() >> (signal.as_raw() - 1) & 1 == 0;
    if !is_heard {
        missing::other(&format!("signal {} is ignored in the background of a script", signal.as_raw()));
    }
    is_heard
}

/// A command without anything of this process's environment but PATH.
pub(crate) fn clean(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// What a finished program left.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The exit code; 128 + N when a signal ended it.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Every line of stdout as JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("no JSON ({e}): {l}"))).collect()
    }

    /// The only line of stdout as JSON.
    #[track_caller]
    pub(crate) fn line(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "stdout: {}\nstderr: {}", self.out, self.err);
        lines.remove(0)
    }

    /// stderr holds each of the words, any case.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) {
        let err = self.err.to_lowercase();
        for word in words {
            assert!(err.contains(&word.to_lowercase()), "`{word}` is not in: {}", self.err);
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn run(mut command: Command, stdin: Option<&[u8]>, deadline: Duration) -> Run {
    let mut child = command
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let slurp = |mut stream: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            drop(stream.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = slurp(Box::new(child.stdout.take().unwrap()));
    let err = slurp(Box::new(child.stderr.take().unwrap()));
    let feeder = stdin.map(|bytes| {
        let (mut pipe, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
        std::thread::spawn(move || drop(pipe.write_all(&bytes)))
    });
    let Some(status) = wait(&mut child, deadline) else {
        drop(child.kill());
        drop(child.wait());
        panic!("{command:?} did not end within {deadline:?}\n{}\n{}", out.join().unwrap(), err.join().unwrap());
    };
    if let Some(feeder) = feeder {
        feeder.join().unwrap();
    }
    Run { code: code(status), out: out.join().unwrap(), err: err.join().unwrap() }
}

fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A program that runs beside the test: its lines are read as they come.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: mpsc::Receiver<String>,
    err: mpsc::Receiver<String>,
    /// Held open: a program that waits for the end of its input would hang.
    _stdin: Option<ChildStdin>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = |stream: Box<dyn Read + Send>| {
            let (sender, receiver) = mpsc::channel();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines() {
                    let Ok(line) = line else { break };
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
            receiver
        };
        let out = lines(Box::new(child.stdout.take().unwrap()));
        let err = lines(Box::new(child.stderr.take().unwrap()));
        let stdin = child.stdin.take();
        Self { child, out, err, _stdin: stdin }
    }

    /// The next line of stdout.
    #[track_caller]
    pub(crate) fn next(&mut self) -> String {
        match self.out.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(_) => panic!("no line within {DEADLINE:?}; stderr: {:?}", self.err.try_iter().collect::<Vec<_>>()),
        }
    }

    #[track_caller]
    pub(crate) fn next_json(&mut self) -> Value {
        let line = self.next();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"))
    }

    /// A line of stdout, if one comes within `patience`.
    pub(crate) fn next_within(&mut self, patience: Duration) -> Option<String> {
        self.out.recv_timeout(patience).ok()
    }

    /// What has come on stderr since this was asked last.
    pub(crate) fn said(&self) -> Vec<String> {
        self.err.try_iter().collect()
    }

    pub(crate) fn pid(&self) -> Pid {
        pid(&self.child)
    }

    /// Waits for the end; what was not yet read comes with it.
    #[track_caller]
    pub(crate) fn end(mut self) -> Run {
        let status = wait(&mut self.child, DEADLINE);
        let status = status.unwrap_or_else(|| {
            panic!("still running; stderr: {:?}", self.err.try_iter().collect::<Vec<_>>());
        });
        let join = |lines: &mpsc::Receiver<String>| lines.iter().map(|l| l + "\n").collect::<String>();
        Run { code: code(status), out: join(&self.out), err: join(&self.err) }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A shell's children too.
            let _ = kill_process_group(pid(&self.child), Signal::KILL);
            drop(self.child.wait());
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// How a daemon is to be started.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recipe {
    config: String,
    args: Vec<String>,
    listen: Option<String>,
    wrapper: Vec<String>,
    env: Vec<(String, String)>,
}

impl Recipe {
    /// The settings file's text.
    pub(crate) fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub(crate) fn listen(mut self, listen: &str) -> Self {
        self.listen = Some(listen.to_owned());
        self
    }

    /// A program and its arguments that start the daemon (strace …).
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&w| w.to_owned()).collect();
        self
    }

    /// An environment variable of the daemon's.
    #[allow(dead_code, reason = "the chaos test's")]
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn start(self) -> Daemon {
        let mut daemon = self.lay_out();
        daemon.start();
        daemon
    }

    /// Everything but the start.
    pub(crate) fn lay_out(self) -> Daemon {
        let dir = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
        for name in ["home", "run"] {
            fs::DirBuilder::new().mode(0o700).create(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("config.toml"), &self.config).unwrap();
        Daemon { dir, recipe: self, child: None, addr: None }
    }
}

/// A running `wehelpd`.
#[derive(Debug)]
pub(crate) struct Daemon {
    dir: tempfile::TempDir,
    recipe: Recipe,
    child: Option<Child>,
    addr: Option<SocketAddr>,
}

impl Daemon {
    /// A daemon with the defaults.
    pub(crate) fn new() -> Self {
        Recipe::default().start()
    }

    /// A daemon without pacing, for tests that hand over much.
    pub(crate) fn unpaced() -> Self {
        Recipe::default().config(UNPACED).start()
    }

    /// The same place, to be started by another recipe.
    #[allow(dead_code, reason = "the chaos test's")]
    pub(crate) fn with(mut self, recipe: Recipe) -> Self {
        assert!(self.child.is_none());
        self.recipe = recipe;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/w.sock")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The command that starts this daemon, not yet started.
    pub(crate) fn command(&self) -> Command {
        let mut words: Vec<&OsStr> = self.recipe.wrapper.iter().map(OsStr::new).collect();
        words.push(OsStr::new(WEHELPD));
        let mut command = clean(words[0], &self.path("home"));
        command
            .args(&words[1..])
            .arg("--config")
            .arg(self.path("config.toml"))
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg("--socket")
            .arg(self.socket())
            .args(["--listen", self.recipe.listen.as_deref().unwrap_or("127.0.0.1:0")])
            .args(&self.recipe.args)
            .envs(self.recipe.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path());
        command
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none());
        let log = File::options().append(true).create(true).open(self.path("log")).unwrap();
        let child = self.command().stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                panic!("wehelpd ended with {status}:\n{}", self.log());
            }
            if let Some(answer) = self.try_control("GET", "/v1/status", b"")
                && answer.status == 200
            {
                break answer.json();
            }
            assert!(start.elapsed() < DEADLINE, "wehelpd is not ready:\n{}", self.log());
            std::thread::sleep(LOOK);
        };
        let listen = status["http"]["listen"][0].as_str().unwrap_or_else(|| panic!("no address: {status}"));
        let mut addr: SocketAddr = listen.parse().unwrap();
        if addr.ip().is_unspecified() {
            addr.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        self.addr = Some(addr);
    }

    /// The process id of wehelpd itself.
    pub(crate) fn pid(&self) -> Pid {
        if self.recipe.wrapper.is_empty() {
            return pid(self.child.as_ref().unwrap());
        }
        let pid = self.status()["daemon"]["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.unwrap().port()
    }

    pub(crate) fn client(&self) -> Client {
        Client { addr: self.addr.unwrap() }
    }

    /// As a power cut of the process: SIGKILL, reaped.
    pub(crate) fn kill9(&mut self) {
        assert!(self.recipe.wrapper.is_empty(), "would kill the wrapper");
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> i32 {
        let pid = self.pid();
        let mut child = self.child.take().unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = wait(&mut child, DEADLINE);
        if status.is_none() {
            drop(child.kill());
            drop(child.wait());
        }
        code(status.unwrap_or_else(|| panic!("wehelpd does not stop:\n{}", self.log())))
    }

    /// Waits for the end of a daemon that something else is stopping.
    #[track_caller]
    pub(crate) fn ended_with(&mut self, expected: i32) {
        let mut child = self.child.take().unwrap();
        let status = wait(&mut child, DEADLINE);
        if status.is_none() {
            drop(child.kill());
            drop(child.wait());
        }
        assert_eq!(status.map(code), Some(expected), "{}", self.log());
    }

    pub(crate) fn restart(&mut self) {
        assert_eq!(self.terminate(), 0, "{}", self.log());
        self.start();
    }

    /// Changes the settings file; the next start reads it.
    pub(crate) fn rewrite_config(&self, toml: &str) {
        fs::write(self.path("config.toml"), toml).unwrap();
    }

    /// One request at the control door, if it is open.
    pub(crate) fn try_control(&self, method: &str, path: &str, body: &[u8]) -> Option<Response> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut wire = Wire::new(stream);
        wire.stream.write_all(&request(method, path, &[("Content-Type", "application/json")], body)).ok()?;
        wire.receive().ok()
    }

    #[track_caller]
    pub(crate) fn control(&self, method: &str, path: &str, body: &[u8]) -> Response {
        self.try_control(method, path, body)
            .unwrap_or_else(|| panic!("no answer to {method} {path}; the log:\n{}", self.log()))
    }

    /// `GET /v1/status`
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.control("GET", "/v1/status", b"").json()
    }

    /// `wehelp` with these arguments, not yet started.
    pub(crate) fn wehelp<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = clean(WEHELP, &self.path("home"));
        command.env("WEHELP_SOCKET", self.socket()).args(args).current_dir(self.dir.path());
        command
    }

    /// Runs `wehelp` with nothing on stdin.
    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> Run {
        run(self.wehelp(args), None, DEADLINE)
    }

    /// Runs `wehelp` with these bytes on stdin.
    #[track_caller]
    pub(crate) fn cli_with(&self, args: &[&str], stdin: &str) -> Run {
        run(self.wehelp(args), Some(stdin.as_bytes()), DEADLINE)
    }

    /// Starts `wehelp` beside the test.
    pub(crate) fn beside(&self, args: &[&str]) -> Running {
        Running::start(self.wehelp(args))
    }

    /// Queues one command; its id.
    #[track_caller]
    pub(crate) fn queue(&self, args: &[&str]) -> u64 {
        let receipt = self.cli(args).exits(0).line();
        receipt["id"].as_u64().unwrap_or_else(|| panic!("no id: {receipt}"))
    }

    /// Queues a text to `filehelper`; its id.
    #[track_caller]
    pub(crate) fn queue_text(&self, text: &str) -> u64 {
        self.queue(&["send", "text", "filehelper", text])
    }

    /// `queue show`
    #[track_caller]
    pub(crate) fn show(&self, id: u64) -> Value {
        self.cli(&["queue", "show", &id.to_string()]).exits(0).line()
    }

    /// Waits until a command is in this state; its receipt.
    #[track_caller]
    pub(crate) fn reaches(&self, id: u64, state: &str) -> Value {
        let start = Instant::now();
        loop {
            let receipt = self.show(id);
            if receipt["state"] == state {
                return receipt;
            }
            assert!(start.elapsed() < DEADLINE, "not `{state}`: {receipt}");
            std::thread::sleep(LOOK);
        }
    }

    /// `events` with these further arguments.
    #[track_caller]
    pub(crate) fn events(&self, args: &[&str]) -> Vec<Value> {
        self.cli(&[&["events"], args].concat()).exits(0).lines()
    }

    /// Posts an inner object and gives the event that it became.
    #[track_caller]
    pub(crate) fn reported(&self, inner: &str) -> Value {
        self.client().event(inner);
        self.last_event()
    }

    /// The newest event.
    #[track_caller]
    pub(crate) fn last_event(&self) -> Value {
        self.cli(&["events", "-n", "1"]).exits(0).line()
    }

    /// Makes an account known and logged in.
    pub(crate) fn login(&self, account: &str, pid: u32) {
        self.client().event(&format!(r#"{{"processid":{pid},"type":67,"code":200,"cwxid":"{account}"}}"#));
    }
}

/// Settings that switch pacing off.
pub(crate) const UNPACED: &str = "[pacing]\nsends_per_minute = 0\nfriend_gap = \"0s\"\nfriends_per_day = 0\n";

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if !self.recipe.wrapper.is_empty() {
                // Killing the wrapper would leave its child behind.
                if let Some(status) = self.try_control("GET", "/v1/status", b"")
                    && let Some(pid) = status.json()["daemon"]["pid"].as_i64()
                    && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
                {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// A message of type 78 in the shape of the spec, text of `wxid` (a person or a room) to `account`.
pub(crate) fn message(account: &str, chat: &str, from: Option<&str>, text: &str) -> String {
    let mut inner = serde_json::json!({
        "type": 78, "msgType": "1", "processid": "7768", "cwxid": account, "wxid": chat, "nick": "n", "message": text,
    });
    if let Some(from) = from {
        inner["formWxid"] = from.into();
    }
    inner.to_string()
}

/// A daemon that knows one account, `wxid_me` in process 7.
pub(crate) fn known() -> Daemon {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    daemon
}

/// Fetches the next command as the client of `wxid_me`.
#[track_caller]
pub(crate) fn fetch(daemon: &Daemon) -> Value {
    eventually("a command", || daemon.client().poll("wxid=wxid_me&pid=7").into_iter().next())
}
