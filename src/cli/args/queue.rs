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
  wehelp queue list --all --state rejected,expired | jq -r .id
  wehelp queue list --key 'news-2026-*'")]
pub struct List {
    /// Everything kept, not only what is unfinished
    #[arg(long)]
    pub all: bool,

    /// Which.
    #[command(flatten)]
    pub filter: Filter,

    /// At most so many, the newest
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<u64>,
}

/// Which commands are meant; all that is given must hold, and -a as well.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only commands in these states: scheduled, ready, in_flight, fetched, answered, rejected, expired, cancelled
    #[arg(long, value_name = "STATE,…")]
    pub state: Option<String>,

    /// Only commands of this api (sendTextMessage) or verb (send text)
    #[arg(long, value_name = "API")]
    pub api: Option<String>,

    /// Only commands whose key is like that: * is any text, ? any character
    #[arg(long, value_name = "GLOB")]
    pub key: Option<String>,
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
///
/// Without numbers, one of -a, --state, --api and --key says which are meant; nothing is cancelled without --yes, and how
/// many would be is told. Each is cancelled by itself: one that a client is handed meanwhile stays and is told of, and the
/// exit status is 5.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp queue cancel 42 43
  wehelp queue cancel -a work --key 'news-*' --yes")]
pub struct Cancel {
    /// The numbers of the commands
    #[arg(value_name = "ID", conflicts_with_all = ["state", "api", "key", "yes"])]
    pub ids: Vec<u64>,

    /// Which.
    #[command(flatten)]
    pub filter: Filter,

    /// Cancel all of them
    #[arg(long)]
    pub yes: bool,
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
