//! What can be typed behind `wehelp simulate`.

use crate::cli::complete::Known;
use crate::cli::options::duration;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Play a WeHelp client against the daemon, so that a script can be tried without Windows.
///
/// It logs in, polls, answers every question from a small invented world, and echoes texts as newer clients do. It
/// goes on until it is interrupted. It waits up to 10 s for the daemon, and does not play beside real clients, whose log
/// and bots would take it for one of them, unless --force says so.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  wehelp simulate --chatter 5s
  wehelp simulate --drop 0.1 --slow 2s        # a client on a bad line
  wehelp simulate event message.text text=hello
  wehelp simulate replay yesterday.jsonl"
)]
pub(in crate::cli) struct Simulate {
    /// Something other than playing.
    #[command(subcommand)]
    pub(in crate::cli) what: Option<What>,
    /// How to play.
    #[command(flatten)]
    pub(in crate::cli) play: Play,
}

/// How to play.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Play {
    /// How long to wait between two polls (10 ms at least)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(in crate::cli) interval: Duration,

    /// Let somebody say something so often (every 10 ms at most)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(in crate::cli) chatter: Option<Duration>,

    /// Break off this share of the polls in the middle of the answer
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub(in crate::cli) drop: f64,

    /// Wait so long before answering
    #[arg(long, value_name = "DURATION", value_parser = duration, num_args = 0..=1, default_missing_value = "3s")]
    pub(in crate::cli) slow: Option<Duration>,

    /// Answer texts with WeChat's notice that they were refused
    #[arg(long)]
    pub(in crate::cli) refuse: bool,

    /// Be logged out: poll, carry nothing out but questions for the login code and state
    #[arg(long)]
    pub(in crate::cli) offline: bool,

    /// The account to play
    #[arg(long = "as", id = "as", value_name = "WXID", default_value = "wxid_simulated01")]
    pub(in crate::cli) account: String,

    /// The client door, when the daemon does not say
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) url: Option<String>,

    /// Play also where real clients are: what is played is told beside them
    #[arg(long)]
    pub(in crate::cli) force: bool,

    /// End after so long
    #[arg(long = "for", id = "for", value_name = "DURATION", value_parser = duration)]
    pub(in crate::cli) length: Option<Duration>,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|s| (0.0..=1.0).contains(s))
        .ok_or_else(|| format!("`{text}` is not between 0 and 1"))
}

/// Something other than playing.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(in crate::cli) enum What {
    /// Post a single event
    Event(Event),
    /// Post the events of a file
    Replay(Replay),
}

/// Post a single event.
///
/// KEY=VALUE changes a field of the event: those of the wire (message=…, wxid=…, formWxid=…, cwxid=…), or the readable
/// ones: text, chat, from, self, account, nick; in notices of rooms also who and by (ids), how, name.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp simulate event message.text text=hello chat=123@chatroom from=wxid_a
  wehelp simulate event room.joined chat=123@chatroom who=wxid_a by=wxid_b how=invite
  wehelp simulate event message.friend_request text=\"hello from the fair\"
  wehelp simulate event logout")]
pub(in crate::cli) struct Event {
    /// The kind, as `events` prints it
    #[arg(value_name = "KIND", add = Known::Kind.completer())]
    pub(in crate::cli) kind: String,

    /// Fields to change
    #[arg(value_name = "KEY=VALUE")]
    pub(in crate::cli) fields: Vec<String>,

    /// The client door, when the daemon does not say
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) url: Option<String>,
}

/// Post the events of a file: JSON lines as `events` prints them, or callbacks as the client sends them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp events -n all > all.jsonl; wehelp simulate replay all.jsonl")]
pub(in crate::cli) struct Replay {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,

    /// Wait so long between two events
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub(in crate::cli) interval: Duration,

    /// The client door, when the daemon does not say
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) url: Option<String>,
}
