//! `wehelp completions`

use crate::cli::complete;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;

/// Print the completions of a shell: they ask the running daemon for ids and names.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(wehelp completions bash)                                      # in ~/.bashrc
  wehelp completions zsh > ~/.zfunc/_wehelp
  wehelp completions fish > ~/.config/fish/completions/wehelp.fish")]
pub(in crate::cli) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

pub(in crate::cli) fn run(ctx: &Ctx, Args { shell }: Args) -> Result<(), Error> {
    // A script is no result to be wrapped: it is printed as it is shipped, whoever reads it.
    match complete::script(&shell) {
        Some(script) => ctx.out().bytes(script.as_bytes()),
        None => Err(Error::usage(format!("there are no completions for `{}`", shell))),
    }
}
