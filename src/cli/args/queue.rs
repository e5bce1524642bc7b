//! `queue`

use clap::{Args, Subcommand};

/// Show and change the commands in the queue.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp queue list")]
pub struct Queue {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum What {
    /// List commands
    List(List),
    /// Show commands
    Show(Ids),
    /// Take commands back that no client has fetched
    Cancel(Cancel),
    /// Hand commands over again
    Retry(Retry),
    /// Hand nothing over until resumed
    Pause(Pause),
    /// Go on after a pause
    Resume(Resume),
}

/// List the commands that no client has fetched yet; with --all, everything kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp queue list
  wehelp queue list --all --state rejected,expired | jq -r .id")]
pub struct List {
    /// Everything kept, not only what is unfinished
    #[arg(long)]
    pub all: bool,

    /// Only commands in these states: scheduled, ready, in_flight, fetched, answered, rejected, expired, cancelled
    #[arg(long, value_name = "STATE,…")]
    pub state: Option<String>,

    /// Only commands of this api (sendTextMessage) or verb (send text)
    #[arg(long, value_name = "API")]
    pub api: Option<String>,

    /// At most so many, the newest
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<u64>,
}

/// Show commands.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp queue show 42 | jq -r .state")]
pub struct Ids {
    /// The numbers of the commands
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<u64>,
}

/// Take commands back that no client has fetched.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp queue cancel 42 43")]
pub struct Cancel {
    /// The numbers of the commands
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<u64>,
}

/// Hand commands over again: those that expired, were refused or cancelled, or were fetched by a client that lost them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp queue retry 42")]
pub struct Retry {
    /// The numbers of the commands
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<u64>,
}

/// Hand nothing over until resumed; with -a, nothing to that account. Commands can still be queued.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp queue pause -a work")]
pub struct Pause {}

/// Go on after a pause; without -a, for every account.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp queue resume")]
pub struct Resume {}
