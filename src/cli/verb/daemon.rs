//! `wehelp daemon`: a background wehelpd for people without systemd.
//!
//! Start: is one there already? → log → spawn in a session of its own → wait until it serves or ends, and then say why.
//! What it was given is kept beside its log, so that a restart gives it the same.

mod logs;

use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::render;
use crate::control::Status;
use crate::control::client::{self, Client};
use crate::home::{self, Home, Target, Wishes};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Start and stop a wehelpd in the background, for people without systemd.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp daemon start")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// Start a wehelpd in the background
    Start(Start),
    /// Stop it
    Stop(Stop),
    /// Stop and start it
    Restart(Restart),
    /// Say whether it runs
    Status(DaemonStatus),
    /// Print its log
    Logs(logs::Logs),
}

/// Start a wehelpd in the background, and say when it serves or why it does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp daemon start
  wehelp daemon start -- --listen 0.0.0.0:4567")]
struct Start {
    /// What to give to wehelpd
    #[arg(value_name = "OPTION", last = true)]
    options: Vec<OsString>,
}

/// Stop the daemon.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp daemon stop")]
struct Stop {}

/// Stop the daemon and start it again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp daemon restart")]
struct Restart {
    /// What to give to wehelpd; what `start` gave it when left out
    #[arg(value_name = "OPTION", last = true)]
    options: Vec<OsString>,
}

/// Say whether the daemon runs, and where (exit 3 when it does not); `wehelp status` tells how it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp daemon status || wehelp daemon start")]
struct DaemonStatus {}

/// A start that takes longer is no failure, but nobody should wait for it: a large log is being checked.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A stop that takes longer: requests in flight have 5 s, the store then has to sync.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether it serves, or has ended.
const LOOK: Duration = Duration::from_millis(20);
/// A log is put aside at a start when it has grown to this, bytes.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// Of its last words, this many bytes are read.
const WORDS_BYTES_MAX: u64 = 8 << 10;

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::Start(args) => start(ctx, args.options),
        What::Stop(Stop {}) => stop(ctx),
        What::Restart(args) => restart(ctx, args.options),
        What::Status(DaemonStatus {}) => status(ctx),
        What::Logs(args) => logs::run(ctx, &args),
    }
}

/// What a daemon is started with.
struct Plan {
    home: Home,
    /// Which one is meant, if it serves already.
    target: Target,
    arguments: Vec<OsString>,
    /// Relative paths among the options mean this folder.
    folder: PathBuf,
    options: Vec<OsString>,
}

/// What is kept for a restart.
#[derive(Serialize, Deserialize)]
struct Kept {
    options: Vec<Vec<u8>>,
    folder: PathBuf,
}

impl Plan {
    fn new(ctx: &Ctx, options: Vec<OsString>, folder: PathBuf) -> Result<Self, Error> {
        let given = |name: &str| option(&options, name).map(|path| folder.join(path));
        // What wehelpd is given itself wins over what wehelp was given.
        let own = Wishes { config: given("--config"), data_dir: given("--data-dir"), socket: given("--socket") };
        let wishes = own.clone().or(ctx.wishes_with(own.config.clone())?);
        let home = Home::resolve(&wishes).map_err(|e| Error::failed(e.to_string()))?;
        let global = ctx.global();
        let mut arguments = Vec::new();
        for (name, own, value) in [
            ("--config", own.config.is_some(), &global.config),
            ("--data-dir", own.data_dir.is_some(), &global.data_dir),
            ("--socket", own.socket.is_some(), &global.socket),
        ] {
            if let (false, Some(path)) = (own, value) {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                arguments.extend([name.into(), path.into_os_string()]);
            }
        }
        arguments.extend(options.iter().cloned());
        let uid = rustix::process::getuid().as_raw();
        let ranks: Vec<Wishes> =
            [own.clone()].into_iter().chain(global.wishes()).chain([ctx.settings(own.config)?]).collect();
        let target = home::target(&ranks, uid).map_err(|e| Error::failed(e.to_string()))?;
        Ok(Self { home, target, arguments, folder, options })
    }

    /// The running daemon, if one serves.
    fn serving(&self) -> Result<Option<Status>, Error> {
        match Client::find(&self.target) {
            Ok(client) => Ok(Some(client.get("/v1/status")?)),
            Err(client::Error::NoDaemon { .. } | client::Error::OtherDaemon { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn log(&self) -> PathBuf {
        logs::log_path(&self.home.data_dir)
    }

    fn kept(&self) -> PathBuf {
        self.home.data_dir.join("wehelpd.options")
    }
}

/// The value of an option among those for wehelpd: `--name VALUE` or `--name=VALUE`.
fn option<'a>(options: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    options.iter().enumerate().find_map(|(n, option)| {
        let rest = option.as_bytes().strip_prefix(name.as_bytes())?;
        match rest.split_first() {
            None => options.get(n + 1).map(OsString::as_os_str),
            Some((b'=', value)) => Some(OsStr::from_bytes(value)),
            Some(_) => None,
        }
    })
}

fn here() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

fn start(ctx: &Ctx, options: Vec<OsString>) -> Result<(), Error> {
    let plan = Plan::new(ctx, options, here())?;
    if let Some(status) = plan.serving()? {
        ctx.out().note(&format!("wehelpd runs already (pid {})", status.daemon.pid));
        return told(ctx, &status, false, &plan.log());
    }
    launch(ctx, &plan)
}

fn launch(ctx: &Ctx, plan: &Plan) -> Result<(), Error> {
    let program = program()?;
    let data_dir = &plan.home.data_dir;
    let failed = |act: &str, path: &Path, e: io::Error| Error::failed(format!("{act} `{}`: {e}", path.display()));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(|e| failed("make the folder", data_dir, e))?;
    let path = plan.log();
    let (log, before) = open_log(&path).map_err(|e| failed("open the log", &path, e))?;
    let errors = log.try_clone().map_err(|e| failed("open the log", &path, e))?;
    let mut command = Command::new(&program);
    command.args(&plan.arguments).current_dir(&plan.folder).stdin(Stdio::null()).stdout(log).stderr(errors);
    own_session(&mut command);
    let mut child = command.spawn().map_err(|e| failed("start", &program, e))?;
    let status = wait_until_it_serves(plan, &mut child, &path, before)?;
    if status.daemon.pid != child.id() {
        // Somebody else started one at the same moment; ours has ended, or is about to.
        drop(child.wait());
        ctx.out().note(&format!("wehelpd runs already (pid {})", status.daemon.pid));
        return told(ctx, &status, false, &path);
    }
    let kept =
        Kept { options: plan.options.iter().map(|o| o.clone().into_vec()).collect(), folder: plan.folder.clone() };
    let kept = serde_json::to_vec(&kept).map_err(|e| Error::failed(format!("keep the options: {e}")))?;
    // A restart can do without, with a word.
    let written = private().write(true).create(true).truncate(true).open(plan.kept());
    if let Err(error) = written.and_then(|mut file| file.write_all(&kept)) {
        ctx.out().warn(&format!("`wehelp daemon restart` will not know these options: {error}"));
    }
    told(ctx, &status, true, &path)
}

#[expect(unsafe_code, reason = "std marks what runs between fork and exec unsafe")]
fn own_session(command: &mut Command) {
    // SAFETY: setsid(2) is async-signal-safe, and nothing else is done. It cannot fail in a new child.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
}

/// wehelpd beside this program, else in PATH.
fn program() -> Result<PathBuf, Error> {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("wehelpd"));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = beside.into_iter().chain(std::env::split_paths(&in_path).map(|dir| dir.join("wehelpd")));
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    places.find(is_program).ok_or_else(|| {
        Error::failed("there is no wehelpd beside this wehelp or in PATH; install it, or put its folder into PATH")
    })
}

/// Opens the log at its end, mode 0600, and says how long it was. A large one is put aside; the one before goes.
/// How a file in the data folder is opened for writing: closed to others, never through a symbolic link (contract 1).
fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

fn open_log(path: &Path) -> io::Result<(File, u64)> {
    if fs::metadata(path).is_ok_and(|m| m.len() >= LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    let log = private().append(true).create(true).open(path)?;
    let length = log.metadata()?.len();
    Ok((log, length))
}

fn wait_until_it_serves(plan: &Plan, child: &mut Child, log: &Path, before: u64) -> Result<Status, Error> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        let ended = child.try_wait().map_err(|e| Error::failed(format!("wait for wehelpd: {e}")))?;
        // A door that is just opening or closing is asked again.
        if let Ok(Some(status)) = plan.serving()
            && (ended.is_some() || status.daemon.pid == child.id())
        {
            return Ok(status);
        }
        if let Some(status) = ended {
            let words = last_words(log, before);
            let words = if words.is_empty() { format!("it ended with {status}") } else { words };
            return Err(Error::new(Exit::Failed, "not-started", format!("wehelpd did not start: {words}")));
        }
        if Instant::now() >= until {
            return Err(Error::new(
                Exit::Failed,
                "not-started",
                format!(
                    "wehelpd (pid {}) does not serve after {}s, and still runs; `wehelp daemon logs` says what it does",
                    child.id(),
                    START_PATIENCE.as_secs()
                ),
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// What a daemon that ended said about it: the lines that it meant for people, else the last one.
fn last_words(log: &Path, from: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(WORDS_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    words_for_people(&read().unwrap_or_default())
}

fn words_for_people(text: &str) -> String {
    let meant: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("wehelpd: ").or_else(|| line.strip_prefix("error: ")))
        .map(str::trim)
        .collect();
    if meant.is_empty() { text.lines().last().unwrap_or_default().trim().to_owned() } else { meant.join("; ") }
}

fn told(ctx: &Ctx, status: &Status, started: bool, log: &Path) -> Result<(), Error> {
    if ctx.out().is_quiet() {
        return Ok(());
    }
    let told = serde_json::json!({
        "pid": status.daemon.pid,
        "started": started,
        "listen": status.http.listen,
        "socket": status.daemon.socket,
        "log": log.to_string_lossy(),
    });
    ctx.out().print(&told, |_| {
        let listen = status.http.listen.join(", ");
        format!(
            "wehelpd (pid {}) listens on {listen}; its log is {}",
            status.daemon.pid,
            render::clean(&log.to_string_lossy())
        )
    })
}

fn stop(ctx: &Ctx) -> Result<(), Error> {
    let plan = Plan::new(ctx, Vec::new(), here())?;
    let Some(status) = plan.serving()? else { return Err(absent(&plan, "there is nothing to stop")) };
    terminate(&status)?;
    if ctx.out().is_quiet() {
        return Ok(());
    }
    let told = serde_json::json!({ "pid": status.daemon.pid, "stopped": true });
    ctx.out().print(&told, |_| format!("wehelpd (pid {}) has stopped", status.daemon.pid))
}

fn status(ctx: &Ctx) -> Result<(), Error> {
    let plan = Plan::new(ctx, Vec::new(), here())?;
    let status = plan.serving()?.ok_or_else(|| absent(&plan, "`wehelp daemon start` starts one"))?;
    told(ctx, &status, false, &plan.log())
}

/// The daemon that is meant does not run, and what follows from that.
fn absent(plan: &Plan, so: &str) -> Error {
    let message = match (&plan.target.data_dir, plan.target.sockets.first()) {
        (Some(dir), _) => format!("no wehelpd of the data folder `{}` runs: {so}", dir.display()),
        (None, socket) => {
            let socket = socket.map_or_else(String::new, |s| s.display().to_string());
            format!("no wehelpd listens at `{socket}`: {so}")
        }
    };
    Error::new(Exit::NoDaemon, "no-daemon", message)
}

fn restart(ctx: &Ctx, options: Vec<OsString>) -> Result<(), Error> {
    let mut plan = Plan::new(ctx, options, here())?;
    let serving = plan.serving()?;
    if plan.options.is_empty() {
        let kept = fs::read(plan.kept()).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        match kept {
            Some(kept) => {
                let options = kept.options.into_iter().map(OsString::from_vec).collect();
                let folder = if kept.folder.is_dir() { kept.folder } else { here() };
                plan = Plan::new(ctx, options, folder)?;
            }
            None if serving.is_some() => ctx.out().warn(
                "the running wehelpd was not started by `wehelp daemon start`; options that it was given are not known",
            ),
            None => {}
        }
    }
    if let Some(status) = serving {
        check(&plan)?;
        terminate(&status)?;
    }
    launch(ctx, &plan)
}

/// Whether wehelpd would take these options and settings: one that runs is not stopped for one that does not start.
fn check(plan: &Plan) -> Result<(), Error> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.args(&plan.arguments).arg("--check").current_dir(&plan.folder).stdin(Stdio::null());
    let checked = command.output();
    let checked = checked.map_err(|e| Error::failed(format!("start `{}`: {e}", program.display())))?;
    if checked.status.success() {
        return Ok(());
    }
    let words = words_for_people(&String::from_utf8_lossy(&checked.stderr));
    let message = format!("wehelpd would not start, and the one that runs is left as it is: {words}");
    Err(Error::new(Exit::Failed, "not-started", message))
}

/// SIGTERM, and the wait for its end.
fn terminate(status: &Status) -> Result<(), Error> {
    let number = status.daemon.pid;
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).filter(|_| is_wehelpd(number));
    let Some(pid) = pid else {
        return Err(Error::failed(format!(
            "the wehelpd that answers says it is process {number}, and that is no wehelpd here; stop it where it was \
             started (a container?)"
        )));
    };
    kill_process(pid, Signal::TERM).map_err(|e| Error::failed(format!("stop wehelpd (pid {number}): {e}")))?;
    let until = Instant::now() + STOP_PATIENCE;
    while !is_gone(pid, number) {
        if Instant::now() >= until {
            return Err(Error::failed(format!(
                "wehelpd (pid {number}) is still stopping after {}s; `wehelp daemon logs` says what it does",
                STOP_PATIENCE.as_secs()
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether a process is what it is taken for; a number from another container may be anybody's here.
fn is_wehelpd(pid: u32) -> bool {
    // Without /proc nobody can tell; the daemon itself said so.
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or(!Path::new("/proc/self").exists(), |name| name.trim() == "wehelpd")
}

/// Whether a process has ended; one that nobody has reaped yet has.
fn is_gone(pid: Pid, number: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('Z' | 'X')) || test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_wehelpd_are_found_in_both_forms() {
        let options: Vec<OsString> = ["--listen", "x", "--data-dir=/a b", "--socket", "/s"].map(Into::into).into();
        assert_eq!(option(&options, "--data-dir"), Some(OsStr::new("/a b")));
        assert_eq!(option(&options, "--socket"), Some(OsStr::new("/s")));
        assert_eq!(option(&options, "--config"), None);
        assert_eq!(option(&["--data-dir".into()], "--data-dir"), None);
    }

    #[test]
    fn what_a_failed_daemon_said_to_people_is_told_and_nothing_older() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let old = "wehelpd: yesterday's words\n";
        fs::write(file.path(), format!("{old}2026 INFO something\nwehelpd: listen on 1: taken\n")).unwrap();
        assert_eq!(last_words(file.path(), old.len() as u64), "listen on 1: taken");
        fs::write(file.path(), "thread panicked\nat x\n").unwrap();
        assert_eq!(last_words(file.path(), 0), "at x");
    }

    #[test]
    fn a_large_log_is_put_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wehelpd.log");
        fs::write(&path, "small").unwrap();
        assert_eq!(open_log(&path).unwrap().1, 5);
        File::options().write(true).open(&path).unwrap().set_len(LOG_BYTES_MAX).unwrap();
        assert_eq!(open_log(&path).unwrap().1, 0);
        assert_eq!(fs::metadata(dir.path().join("wehelpd.log.old")).unwrap().len(), LOG_BYTES_MAX);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
