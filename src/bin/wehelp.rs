//! The command line's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    wehelp::home::forget_empty_variables();
    wehelp::cli::main(std::env::args_os())
}
