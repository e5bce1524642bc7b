//! The daemon's process: parse → log → run → exit code.
#![expect(clippy::print_stderr, reason = "a process speaks to people here and nowhere else")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use wehelp::daemon::args::{Args, LogFormat};
use wehelp::daemon::signals::{Asked, End, STOP_MAX, Signals};
use wehelp::daemon::{self, instance};

#[global_allocator]
static ALLOCATOR: wehelp::daemon::alloc::Allocator = wehelp::daemon::alloc::Allocator;

fn main() -> ExitCode {
    wehelp::daemon::alloc::give_back();
    // First of all, so that a signal ends the process in order whenever it comes.
    let signals = Signals::take();
    // While no other thread runs: both change the environment.
    wehelp::home::forget_empty_variables();
    let activated = instance::activated();
    wehelp::daemon::private::close_to_others();
    let args = Args::read();
    // What chats say is nobody else's to read: files of the daemon are 0600, folders 0700, whatever the shell says.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    log(&args);
    log_panics();
    let asked = Asked::default();
    let stopped = asked.clone();
    // What is no daemon has nothing to finish.
    let serves = !(args.print_config || args.check || args.salvage.is_some() || args.restore.is_some());
    let patience = if serves { STOP_MAX } else { Duration::ZERO };
    let ended = signals.and_then(|signals| signals.run(&asked, patience, move || run(&args, activated, &stopped)));
    match ended {
        Ok(End::Done(Ok(()))) => ExitCode::SUCCESS,
        Ok(End::Done(Err(message))) => {
            eprintln!("wehelpd: {message}");
            ExitCode::FAILURE
        }
        Ok(End::Left(signal)) if !serves => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Ok(End::Left(_)) => {
            tracing::error!("the stop took too long; what was not finished is found by the next start");
            ExitCode::SUCCESS
        }
        Ok(End::Panicked) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wehelpd: start a thread: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, activated: instance::Activated, asked: &Asked) -> Result<(), String> {
    let mut say = |line: String| eprintln!("wehelpd: {line}");
    if args.print_config {
        return match std::io::stdout().write_all(wehelp::config::ANNOTATED.as_bytes()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("print the settings: {e}")),
            _ => Ok(()),
        };
    }
    if let Some(dir) = &args.salvage {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        daemon::salvage::run(dir, &mut out, &mut say)?;
        return out.flush().map_err(|e| format!("write what was salvaged: {e}"));
    }
    if let Some(archive) = &args.restore {
        let (home, _) = daemon::settle(args).map_err(|e| e.to_string())?;
        let mut file =
            std::fs::File::open(archive).map_err(|e| format!("open the backup `{}`: {e}", archive.display()))?;
        wehelp::store::Store::restore(&mut file, &home.data_dir, &daemon::TOKEN_FILES)
            .map_err(|e| format!("restore `{}` into `{}`: {e}", archive.display(), home.data_dir.display()))?;
        say(format!("restored into {}", home.data_dir.display()));
        return Ok(());
    }
    if args.check {
        daemon::check(args).map_err(|e| e.to_string())?;
        say("the settings are fine".to_owned());
        return Ok(());
    }
    daemon::run(args, activated, asked).map_err(|e| e.to_string())
}

fn log(args: &Args) {
    let level = match args.verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    // sled and the HTTP stack have nothing to say to people unless asked for.
    let standard = || EnvFilter::new(format!("warn,wehelp={level}"));
    let filter = EnvFilter::try_from_env("WEHELP_LOG").unwrap_or_else(|_| standard());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
    }
}

/// Panics are logged with their place, and of their messages only what stands in the code: a string that was cut
/// wrongly would else show a chat.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload().downcast_ref::<&str>().copied().unwrap_or_default();
        tracing::error!(thread, place, reason = message, "a panic, please report this");
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            tracing::error!("{trace}");
        }
    }));
}
