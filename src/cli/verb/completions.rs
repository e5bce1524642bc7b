//! `wehelp completions`

use crate::cli::args::daemon as args;
use crate::cli::complete;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;

pub(in crate::cli) fn run(ctx: &Ctx, args: &args::Completions) -> Result<(), Error> {
    // A script is no result to be wrapped: it is printed as it is shipped, whoever reads it.
    match complete::script(&args.shell) {
        Some(script) => ctx.out().bytes(script.as_bytes()),
        None => Err(Error::usage(format!("there are no completions for `{}`", args.shell))),
    }
}
