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
    /// Forget an account, and what is known of it
    Forget(Forget),
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

/// Forget an account: its contacts, rooms and friend requests, its pacing, and that it was ever there. Its events stay.
///
/// Refused (exit 5) while its client polls or commands wait for it. An account whose client reports an event later is
/// known again. A name that was only polled with, for instance a mistyped one, is forgotten in the same way.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp account forget wxid_old")]
pub struct Forget {
    /// Its wxid, a configured alias, or its nick or WeChat name if no other has it; or the name of a poller
    #[arg(value_name = "ACCOUNT")]
    pub name: String,

    /// Although its client polls or commands wait; those are cancelled
    #[arg(long)]
    pub force: bool,
}

/// List the accounts that the daemon has seen.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp account list | jq -r 'select(.logged_in | not) | .account'")]
pub struct List {}
