//! `account`, `login`

use super::Wiring;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Log accounts in and out, and list them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp account list")]
pub struct Account {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum What {
    /// Ask a client whether it is logged in
    Status(Status),
    /// Show the QR code that logs an account in
    #[command(alias = "login")]
    Qrcode(Qrcode),
    /// Log an account out
    Logout(Logout),
    /// List the accounts that the daemon has seen
    List(List),
}

/// Ask a client whether it is logged in.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp account status -a work | jq .logged_in")]
pub struct Status {
    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Show the QR code that logs an account in.
///
/// On a terminal the code is drawn, drawn anew when WeChat makes a new one, and the program ends when somebody has
/// scanned it and the account is logged in. In a pipe the code is printed as JSON.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp account qrcode
  wehelp login --png code.png")]
pub struct Qrcode {
    /// Save the code as a picture too
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Log an account out.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp account logout -a work --wait")]
pub struct Logout {
    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// List the accounts that the daemon has seen.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp account list | jq -r 'select(.logged_in | not) | .account'")]
pub struct List {}
