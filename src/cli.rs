//! The command line: parse → look names up → ask the daemon → print.
//!
//! `verb/NAME.rs` is `wehelp NAME`, all of it; `options` has what many verbs take, `parse` lays the command line out and
//! reads it, `complete` knows what could stand there. What all verbs share that put something on the wire: `names` knows
//! whom @NAME means, `enqueue` queues it, `wait` waits for the answer and prints it; `stream` follows events, and `backoff`
//! says how long a daemon that is away is waited for. `render` makes text of values, `output` prints them, `error` says which
//! exit code a failure has and what to do about it; `progress` draws on a terminal meanwhile, `qr` makes and reads login
//! codes. Nothing here opens a database, and nothing but `main` exits.

mod backoff;
mod complete;
mod ctx;
mod enqueue;
mod error;
mod manual;
mod names;
mod options;
mod output;
mod parse;
mod progress;
mod qr;
mod render;
mod stream;
mod verb;
mod wait;
mod wake;
mod who;

use ctx::Ctx;
use parse::{Cli, Stop};
use std::ffi::OsString;
use std::process::ExitCode;

pub use parse::command;

/// Runs `wehelp` with these arguments (the program's name is the first) and says how it ended.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(done) = parse::completed(&args) {
        return done;
    }
    match parse::parse(&args) {
        Ok(Cli { global, verb }) => {
            let ctx = Ctx::new(global);
            let done = verb::run(&ctx, verb).and_then(|()| ctx.out().finish());
            ctx.out().exit(done)
        }
        Err(Stop::Said(text)) => output::said(&text, parse::typed_color(&args)),
        Err(Stop::Helped(text)) => output::helped(&text),
        Err(Stop::Wrong(message)) => output::wrong(message, parse::typed_color(&args), parse::last_says_json(&args)),
    }
}
