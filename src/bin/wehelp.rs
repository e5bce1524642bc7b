//! The command line's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    wehelp::cli::main(std::env::args_os())
}
