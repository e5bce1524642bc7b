//! Speed, side by side in one run: ratios against a physical limit and against what people use today.
//!
//! `cargo bench` runs everything and prints one table; `cargo bench -- NAME` runs one of them, and
//! `cargo bench -- --smoke` only proves that everything runs. The method is in `benches/README.md`. Times of one
//! machine mean nothing on another; the ratios do.
//!
//! Every case of [`CASES`] starts what it compares, in processes of their own, and adds rows to the table. What a
//! case does with a server is in `load`, the servers are in `daemon`, `bare` and `rivals`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that cannot measure should stop with a trace, and speaks to people"
)]

#[path = "speed/appends.rs"]
mod appends;
#[path = "speed/bare.rs"]
mod bare;
#[path = "speed/callbacks.rs"]
mod callbacks;
#[path = "speed/commands.rs"]
mod commands;
#[path = "speed/crowd.rs"]
mod crowd;
#[path = "speed/daemon.rs"]
mod daemon;
#[path = "speed/decode.rs"]
mod decode;
#[path = "speed/followers.rs"]
mod followers;
#[path = "speed/http.rs"]
mod http;
#[path = "speed/load.rs"]
mod load;
#[path = "speed/million.rs"]
mod million;
#[path = "speed/process.rs"]
mod process;
#[path = "speed/rest.rs"]
mod rest;
#[path = "speed/rivals.rs"]
mod rivals;
#[path = "speed/table.rs"]
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::Table;

/// A name and what it runs.
type Case = (&'static str, fn(&mut Run));

/// What can be run, in this order.
const CASES: &[Case] = &[
    ("callbacks", callbacks::small),
    ("flask", callbacks::flask),
    ("lists", callbacks::lists),
    ("enqueue", commands::enqueue),
    ("cycles", commands::cycles),
    ("process", process::run),
    ("follow", followers::latency),
    ("idle-followers", followers::idle),
    ("idle", rest::run),
    ("decode", decode::run),
    ("appends", appends::run),
    ("crowd", crowd::run),
    ("million", million::run),
];

/// One run of the bench: how thoroughly, where, and what came out.
pub(crate) struct Run {
    /// Only prove that it runs.
    smoke: bool,
    /// Where every server keeps its data: one file system for all.
    dir: tempfile::TempDir,
    table: Table,
}

impl Run {
    /// How long one measurement lasts.
    fn time(&self) -> Duration {
        if self.smoke { Duration::from_millis(200) } else { Duration::from_millis(2500) }
    }

    /// How often the sides take turns.
    fn rounds(&self) -> usize {
        if self.smoke { 1 } else { 3 }
    }

    /// Gives back the disk space of a case.
    fn clear(&self) {
        for entry in std::fs::read_dir(self.dir.path()).unwrap().flatten() {
            let path = entry.path();
            // What cannot be removed goes with the folder, or stays for who wants to know why.
            drop(std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)));
        }
    }

    /// A fresh folder.
    fn folder(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    }
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == bare::ARGUMENT) {
        let paths: Vec<PathBuf> = args.drain(1..).map(PathBuf::from).collect();
        bare::serve(&paths[0], paths.get(1).map(PathBuf::as_path));
        return ExitCode::SUCCESS;
    }
    let smoke = args.iter().any(|a| a == "--smoke" || a == "--test");
    // cargo adds `--bench`.
    let names: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let chosen: Vec<_> =
        CASES.iter().filter(|(case, _)| names.is_empty() || names.iter().any(|n| *n == case)).collect();
    if chosen.is_empty() {
        let all: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        eprintln!("no bench is called so; there are: {}", all.join(", "));
        return ExitCode::from(2);
    }
    let place = std::env::var_os("WEHELP_BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let dir = tempfile::tempdir_in(place).unwrap();
    let mut run = Run { smoke, dir, table: Table::default() };
    let started = Instant::now();
    for (name, case) in chosen {
        let began = Instant::now();
        case(&mut run);
        eprintln!("# {name}: {:.1} s", began.elapsed().as_secs_f64());
        run.clear();
    }
    eprintln!("# all: {:.0} s\n", started.elapsed().as_secs_f64());
    print!("{}", run.table.render(!smoke));
    ExitCode::SUCCESS
}
