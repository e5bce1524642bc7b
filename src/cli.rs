//! The command line: parse → look names up → ask the daemon → print.
//!
//! `args` is what can be typed (data), `verb/NAME.rs` does what `wehelp NAME` says, `render` makes text of values,
//! `output` prints them, `error` says which exit code a failure has. What all verbs share that put something on the wire:
//! `names` knows whom @NAME means, `enqueue` queues it, `wait` waits for the answer and prints it; `stream` follows events, and
//! `patience` says how long a daemon that is away is waited for. `progress` draws on a terminal meanwhile, `qr` makes and reads login codes. Nothing here opens a database, and nothing but `main` exits.

pub mod args;
pub mod complete;
pub mod error;
pub mod render;
pub mod who;

mod ctx;
mod enqueue;
mod names;
mod output;
mod patience;
mod progress;
mod qr;
mod stream;
mod verb;
mod wait;
mod wake;

use args::{Cli, Verb};
use ctx::Ctx;
use error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `wehelp` with these arguments (the program's name is the first) and says how it ended.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(done) = complete::asked(&args) {
        return done;
    }
    match args::parse(&args) {
        Ok(Cli { global, verb }) => {
            let ctx = Ctx::new(global);
            let done = run(&ctx, verb).and_then(|()| ctx.out().finish());
            ctx.out().exit(done)
        }
        Err(stop) => output::stopped(&args, stop),
    }
}

fn run(ctx: &Ctx, verb: Verb) -> Result<(), Error> {
    match verb {
        Verb::Send(args) => verb::send::run(ctx, args),
        Verb::Ask(args) => verb::ask::run(ctx, args),
        Verb::Friend(args) => verb::friend::run(ctx, args),
        Verb::Room(args) => verb::room::run(ctx, args),
        Verb::Account(args) => verb::account::run(ctx, args),
        Verb::Login(args) => verb::account::qrcode(ctx, args),
        Verb::Contact(args) => verb::contact::run(ctx, args),
        Verb::Events(args) => verb::events::run(ctx, args),
        Verb::Cursor(args) => verb::cursor::run(ctx, args),
        Verb::Forward(args) => verb::forward::run(ctx, args),
        Verb::Queue(args) => verb::queue::run(ctx, args),
        Verb::Raw(args) => verb::raw::run(ctx, &args),
        Verb::Api(args) => verb::api::run(ctx, args),
        Verb::Status(args) => verb::status::run(ctx, &args),
        Verb::Setup(args) => verb::setup::run(ctx, &args),
        Verb::Token(args) => verb::token::run(ctx, &args),
        Verb::Backup(args) => verb::backup::run(ctx, &args),
        Verb::Daemon(args) => verb::daemon::run(ctx, args),
        Verb::Simulate(args) => verb::simulate::run(ctx, args),
        Verb::Completions(args) => verb::completions::run(ctx, &args),
    }
}

/// The inner object of an event of this kind, as `wehelp simulate event` posts it; none for what is not readable. The
/// manual's examples are made of these.
#[must_use]
pub fn example(kind: crate::protocol::event::Kind) -> Option<String> {
    verb::simulate::example(kind)
}
