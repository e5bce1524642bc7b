//! One run of a command for one event: JSON on its standard input, the event's fields in its environment, no shell.
//!
//! A command need not read its input; it may print without end while we write, so both are served at once.

use crate::cli::wake;
use crate::control::Entry;
use rustix::event::PollFlags;
use rustix::io::{ioctl_fionbio, ioctl_fionread};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A value longer than this stays out of the environment, and a text is cut there, bytes: the kernel refuses to start a
/// command with too much of it, and the whole event is on standard input anyway.
const VALUE_BYTES_MAX: usize = 32 * 1024;
/// Output is handed on in pieces of this size, bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// After so much of it, bytes, the time and signals are looked at, however much more there is.
const READ_AT_ONCE: usize = 1 << 20;
/// How often signals are looked at, and ends of commands where the kernel does not tell of them.
const LOOK: Duration = Duration::from_millis(100);
/// A command that was told to end because its time is over gets so long before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// What every run has in common.
#[derive(Debug)]
pub(super) struct Spec {
    /// The program and its arguments; at least one.
    pub(super) words: Vec<OsString>,
    /// The daemon's socket, so that `wehelp` in a command talks to the same one.
    pub(super) socket: PathBuf,
    /// Longer runs are ended.
    pub(super) timeout: Option<Duration>,
    /// Those that run.
    pub(super) runs: Runs,
    /// Hand its output to us, not to our standard output.
    pub(super) capture: bool,
}

/// The commands that run, each with whether it has a process group of its own: none outlives us.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs(Arc<Mutex<Vec<(Pid, bool)>>>);

impl Runs {
    fn running(&self) -> MutexGuard<'_, Vec<(Pid, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, command: &mut Command, has_group: bool) -> io::Result<Child> {
        let mut running = self.running();
        let child = command.spawn()?;
        running.push((Pid::from_child(&child), has_group));
        Ok(child)
    }

    /// How it ended, if it has: from then on its number may be another's.
    fn try_wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut running = self.running();
        let status = child.try_wait()?;
        if status.is_some() {
            running.retain(|(pid, _)| *pid != Pid::from_child(child));
        }
        Ok(status)
    }

    /// Kills them, when we are about to be killed: nothing is started any more.
    pub(super) fn kill(&self) {
        let running = self.running();
        running.iter().for_each(|(pid, has_group)| signal(*pid, *has_group, Signal::KILL));
        std::mem::forget(running);
    }
}

/// Tells a command, with all that it started where it has a group of its own. What has ended meanwhile needs no signal.
fn signal(pid: Pid, has_group: bool, signal: Signal) {
    let _ = if has_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
}

/// Why a run did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is nothing to run.
    NotStarted(String),
    /// It ran, and failed.
    Failed(String),
    /// It was ended by printing to nobody: whoever read our standard output, which is also its own, has gone.
    Unread,
}

/// Runs the command for an event, for the first time or once more: `attempt` counts from 1. `output` is given what it
/// prints, if that is captured, and says why it has enough.
/// `signal` holds the number of a signal that asked us to end.
pub(super) fn run(
    spec: &Spec,
    entry: &Entry,
    attempt: u32,
    json: &[u8],
    signal: Option<&AtomicI32>,
    output: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), Failure> {
    let program = spec.words[0].to_string_lossy();
    let mut command = Command::new(&spec.words[0]);
    command.args(&spec.words[1..]).stdin(Stdio::piped()).env("WEHELP_SOCKET", &spec.socket);
    for (name, value) in environment(entry, attempt) {
        match value {
            Some(value) if value.len() <= VALUE_BYTES_MAX && !value.contains('\0') => command.env(name, value),
            // Whose command we are may have set it for another event.
            _ if name != "WEHELP_ACCOUNT" => command.env_remove(name),
            _ => &mut command,
        };
    }
    if spec.capture {
        command.stdout(Stdio::piped());
    }
    if spec.timeout.is_some() {
        // So that all of it can be ended.
        command.process_group(0);
    }
    let child = spec
        .runs
        .start(&mut command, spec.timeout.is_some())
        .map_err(|e| Failure::NotStarted(format!("cannot run `{program}`: {e}")))?;
    let broken = |e: io::Error| Failure::Failed(format!("`{program}` cannot be looked after: {e}"));
    let mut running = Running::new(child, spec, json).map_err(broken)?;
    let status = running.watch(signal, output).map_err(broken)?;
    match (status, running.enough) {
        (_, Some(reason)) => Err(Failure::Failed(format!("`{program}` {reason}"))),
        _ if running.late => {
            let after = spec.timeout.unwrap_or_default();
            Err(Failure::Failed(format!("`{program}` was ended after {after:?} (--exec-timeout)")))
        }
        (status, None) if status.success() => Ok(()),
        (status, None) if status.signal() == Some(Signal::PIPE.as_raw()) && !spec.capture && is_unread() => {
            Err(Failure::Unread)
        }
        (status, None) => Err(Failure::Failed(match (status.code(), status.signal()) {
            (Some(code), _) => format!("`{program}` exited with {code}"),
            (None, signal) => format!("`{program}` was killed by signal {}", signal.unwrap_or(0)),
        })),
    }
}

/// Whether nobody reads our standard output any more.
fn is_unread() -> bool {
    let stdout = io::stdout();
    let looked = wake::wait([Some((stdout.as_fd(), PollFlags::empty()))], Some(Instant::now()));
    looked.is_ok_and(|[stdout]| stdout.intersects(PollFlags::ERR))
}

/// What is known of the event, for scripts that do not read JSON. What does not apply is not set.
fn environment(entry: &Entry, attempt: u32) -> [(&'static str, Option<String>); 15] {
    let text = entry.text.as_deref().map(cut);
    let is_cut = text.is_some_and(|text| entry.text.as_ref().is_some_and(|whole| whole.len() > text.len()));
    [
        ("WEHELP_SEQ", Some(entry.seq.to_string())),
        ("WEHELP_TIME", Some(entry.time.to_string())),
        ("WEHELP_KIND", Some(entry.kind.clone())),
        ("WEHELP_TYPE", entry.r#type.map(|n| n.to_string())),
        ("WEHELP_ACCOUNT", entry.account.clone()),
        ("WEHELP_PID", entry.pid.map(|n| n.to_string())),
        ("WEHELP_CHAT", entry.chat.clone()),
        ("WEHELP_FROM", entry.from.clone()),
        ("WEHELP_FROM_NAME", entry.from_name.clone()),
        ("WEHELP_MENTIONED", entry.mentioned.map(|mentioned| mentioned.to_string())),
        ("WEHELP_SELF", entry.is_self.map(|own| own.to_string())),
        ("WEHELP_NICK", entry.nick.clone()),
        ("WEHELP_TEXT", text.map(str::to_owned)),
        ("WEHELP_TEXT_CUT", is_cut.then(|| "1".to_owned())),
        ("WEHELP_ATTEMPT", Some(attempt.to_string())),
    ]
}

/// As much of a text as fits into the environment.
fn cut(text: &str) -> &str {
    let text = &text[..text.floor_char_boundary(VALUE_BYTES_MAX)];
    text.split('\0').next().unwrap_or_default()
}

/// A command that runs.
struct Running<'r> {
    child: Child,
    runs: &'r Runs,
    /// Readable when it has ended; `None` where the kernel has no such thing.
    ended: Option<OwnedFd>,
    /// What it still has to be given.
    input: &'r [u8],
    stdout: Option<ChildStdout>,
    /// Its process group, when it has one of its own.
    group: Option<Pid>,
    deadline: Option<Instant>,
    late: bool,
    interrupted: bool,
    enough: Option<String>,
}

impl<'r> Running<'r> {
    fn new(mut child: Child, spec: &'r Spec, input: &'r [u8]) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        if let Some(stdin) = &child.stdin {
            ioctl_fionbio(stdin, true)?;
        }
        let stdout = child.stdout.take();
        if let Some(stdout) = &stdout {
            ioctl_fionbio(stdout, true)?;
        }
        Ok(Self {
            ended: pidfd_open(pid, PidfdFlags::empty()).ok(),
            child,
            runs: &spec.runs,
            input,
            stdout,
            group: spec.timeout.map(|_| pid),
            deadline: spec.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            late: false,
            interrupted: false,
            enough: None,
        })
    }

    /// Feeds it and reads from it until it has ended itself. What it started and left behind may hold its output open for
    /// as long as it likes.
    fn watch(
        &mut self,
        signal: Option<&AtomicI32>,
        output: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> io::Result<ExitStatus> {
        loop {
            self.feed();
            self.drain(READ_AT_ONCE, output)?;
            if let Some(status) = self.runs.try_wait(&mut self.child)? {
                let printed = self.stdout.as_ref().map_or(Ok(0), ioctl_fionread)?;
                self.drain(usize::try_from(printed).unwrap_or(usize::MAX), output)?;
                // Whatever it left behind was a part of what was to end.
                if self.late {
                    self.kill(Signal::KILL);
                }
                return Ok(status);
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) || (self.enough.is_some() && !self.late) {
                self.kill(if self.late { Signal::KILL } else { Signal::TERM });
                self.late = true;
                self.deadline = Some(now + GRACE);
            }
            // The terminal tells only the group in front, to which this one does not belong.
            if !self.interrupted && signal.is_some_and(|signal| signal.load(Ordering::SeqCst) == 2) {
                self.interrupted = true;
                if let Some(group) = self.group {
                    let _ = kill_process_group(group, Signal::INT);
                }
            }
            let look = now + LOOK;
            wake::wait(
                [
                    self.child.stdin.as_ref().map(|fd| (fd.as_fd(), PollFlags::OUT)),
                    self.stdout.as_ref().map(|fd| (fd.as_fd(), PollFlags::IN)),
                    self.ended.as_ref().map(|fd| (fd.as_fd(), PollFlags::IN)),
                ],
                Some(self.deadline.map_or(look, |deadline| deadline.min(look))),
            )?;
        }
    }

    fn feed(&mut self) {
        let Some(stdin) = &mut self.child.stdin else { return };
        while !self.input.is_empty() {
            match stdin.write(self.input) {
                Ok(n) => self.input = &self.input[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // It does not want to know more.
                Err(_) => break,
            }
        }
        self.child.stdin = None;
    }

    /// Takes in what it has printed, so much at most: somebody may print without end.
    fn drain(&mut self, mut left: usize, output: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> io::Result<()> {
        let mut piece = [0; PIECE_BYTES];
        while left > 0
            && let Some(stdout) = &mut self.stdout
        {
            match stdout.read(&mut piece[..left.min(PIECE_BYTES)]) {
                Ok(0) => self.stdout = None,
                Ok(n) => {
                    left -= n;
                    if let Err(reason) = output(&piece[..n]) {
                        self.enough = Some(reason);
                        self.stdout = None;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn kill(&mut self, signal: Signal) {
        self::signal(Pid::from_child(&self.child), self.group.is_some(), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry { seq: crate::seq::Seq(7), kind: "message.text".into(), text: Some("hi".into()), ..Entry::default() }
    }

    fn spec(words: &[&str]) -> Spec {
        let words = words.iter().map(OsString::from).collect();
        Spec { words, socket: "/s".into(), timeout: None, runs: Runs::default(), capture: true }
    }

    fn outcome(spec: &Spec, json: &[u8]) -> Result<String, String> {
        let mut out = Vec::new();
        let done = run(spec, &entry(), 1, json, None, &mut |piece| {
            out.extend_from_slice(piece);
            Ok(())
        });
        match done {
            Ok(()) => Ok(String::from_utf8(out).unwrap()),
            Err(Failure::Failed(reason) | Failure::NotStarted(reason)) => Err(reason),
            Err(Failure::Unread) => Err("unread".to_owned()),
        }
    }

    #[test]
    fn a_command_gets_json_and_environment_and_no_shell() {
        assert_eq!(outcome(&spec(&["cat"]), b"{}\n").unwrap(), "{}\n");
        let said = outcome(
            &spec(&["sh", "-c", "echo $WEHELP_SEQ $WEHELP_KIND $WEHELP_TEXT ${WEHELP_CHAT-none} $1", "sh", "$HOME"]),
            b"",
        );
        assert_eq!(said.unwrap(), "7 message.text hi none $HOME\n");
    }

    #[test]
    fn a_text_that_does_not_fit_is_cut() {
        let told = |text: &str| {
            let environment = environment(&Entry { text: Some(text.to_owned()), ..entry() }, 3);
            let value = |name| environment.iter().find(|(n, _)| *n == name).and_then(|(_, value)| value.clone());
            assert_eq!(value("WEHELP_ATTEMPT").as_deref(), Some("3"));
            (value("WEHELP_TEXT").unwrap(), value("WEHELP_TEXT_CUT"))
        };
        let most = "x".repeat(VALUE_BYTES_MAX);
        assert_eq!(told(&most), (most.clone(), None));
        assert_eq!(told(&format!("{most}y")), (most, Some("1".to_owned())));
        let (text, cut) = told(&"字".repeat(1_000_000));
        assert!(text == "字".repeat(VALUE_BYTES_MAX / 3) && cut.is_some());
        assert_eq!(told("no\0more"), ("no".to_owned(), Some("1".to_owned())));
        assert_eq!(told(""), (String::new(), None));
    }

    #[test]
    fn more_than_pipes_hold_goes_in_and_out_at_once() {
        let json = vec![b'x'; 1 << 20];
        assert_eq!(outcome(&spec(&["cat"]), &json).unwrap().len(), json.len());
        assert_eq!(outcome(&spec(&["true"]), &json).unwrap(), "", "it need not read");
    }

    #[test]
    fn failures_are_told_apart() {
        assert!(outcome(&spec(&["/no/such"]), b"").unwrap_err().contains("/no/such"));
        assert_eq!(outcome(&spec(&["sh", "-c", "exit 3"]), b"").unwrap_err(), "`sh` exited with 3");
        assert_eq!(outcome(&spec(&["sh", "-c", "kill -9 $$"]), b"").unwrap_err(), "`sh` was killed by signal 9");
    }

    #[test]
    fn a_command_has_ended_when_it_exits_whatever_holds_its_output() {
        // Whoever waited for what is left behind would wait for more than an hour.
        let said = outcome(&spec(&["sh", "-c", "sleep 5000 & echo $!; head -c 40000 /dev/zero"]), b"").unwrap();
        let (left_behind, rest) = said.split_once('\n').unwrap();
        assert_eq!(rest.len(), 40_000, "what it printed itself is whole");
        let left_behind = Pid::from_raw(left_behind.parse().unwrap()).unwrap();
        kill_process(left_behind, Signal::KILL).expect("it goes on");
        // This one ends when nobody reads it.
        let noise = "(while :; do echo noise; done) & exec echo pong";
        let said = outcome(&spec(&["timeout", "5000", "sh", "-c", noise]), b"").unwrap();
        assert!(said.contains("pong\n"), "{said}");
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let slow = Spec { timeout: Some(Duration::from_millis(100)), ..spec(&["sh", "-c", "sleep 5000 & sleep 5000"]) };
        let reason = outcome(&slow, b"").unwrap_err();
        assert!(reason.contains("100ms"), "{reason}");
    }
}
