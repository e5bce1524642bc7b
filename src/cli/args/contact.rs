//! `contact`

use super::who;
use crate::cli::who::Who;
use clap::{Args, Subcommand};

/// Look up people and rooms that the daemon has learned of from events; nobody is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp contact list --name li")]
pub struct Contact {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum What {
    /// List people and rooms
    List(List),
    /// Show one
    Show(Show),
    /// List the URLs of pictures
    Avatars(Avatars),
}

/// List people and rooms.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp contact list --name li
  wehelp contact list --only rooms | jq -r '[.wxid, .nick] | @tsv'")]
pub struct List {
    /// Only those whose nick, remark or username contains this, or whose id begins with it
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,

    /// Only people, or only rooms
    #[arg(long, value_name = "WHICH", value_parser = ["people", "rooms"])]
    pub only: Option<String>,

    /// Only friends, not everybody who was seen in a room
    #[arg(long)]
    pub friends: bool,

    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// Show one person or room.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp contact show @boss")]
pub struct Show {
    /// Who
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,
}

/// List the URLs of pictures, as events told them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp contact avatars wxid_abc | jq -r .avatar | xargs curl -o abc.jpg")]
pub struct Avatars {
    /// Whose; everybody's when none is named
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxids: Vec<Who>,
}
