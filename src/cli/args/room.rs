//! `room`

use super::{Wiring, place, who};
use crate::cli::who::{Place, Who};
use clap::{Args, Subcommand};

/// Ask about rooms, change them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp room list | jq -r '[.wxid, .nick] | @tsv'")]
pub struct Room {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum What {
    /// List the rooms
    List(List),
    /// List the members of a room
    Members(Members),
    /// Put members out of a room
    Kick(Kick),
    /// Invite people into a room
    Invite(Invite),
    /// Change the account's own nick in a room
    Nick(Nick),
    /// Ask for the ticket that adding a member as a friend needs
    Stranger(Stranger),
    /// Change a room's name
    Rename(Rename),
}

/// List the rooms.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp room list --cached")]
pub struct List {
    /// Answer at once from what the daemon has learned; ask nobody
    #[arg(long)]
    pub cached: bool,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// List the members of a room.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp room members 123@chatroom | jq -r .nick
  wehelp room members @family --cached")]
pub struct Members {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place)]
    pub room: Place,

    /// Answer at once from what the daemon has learned; ask nobody
    #[arg(long)]
    pub cached: bool,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Put members out of a room; one command each.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp room kick 123@chatroom wxid_a wxid_b")]
pub struct Kick {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place)]
    pub room: Place,

    /// Whom
    #[arg(value_name = "WXID", value_parser = who, required = true)]
    pub wxids: Vec<Who>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Invite people into a room; one command each.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp room invite 123@chatroom wxid_a wxid_b")]
pub struct Invite {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place)]
    pub room: Place,

    /// Whom
    #[arg(value_name = "WXID", value_parser = who, required = true)]
    pub wxids: Vec<Who>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Change the account's own nick in a room.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp room nick 123@chatroom \"on call: Li\"")]
pub struct Nick {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place)]
    pub room: Place,

    /// The new nick
    #[arg(value_name = "NAME")]
    pub name: String,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Ask for the ticket that adding a member as a friend needs.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp room stranger 123@chatroom wxid_abc | jq -r .v2")]
pub struct Stranger {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place)]
    pub room: Place,

    /// The member
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Change a room's name. The spec announces this command as coming: old clients may ignore it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp room rename 123@chatroom \"team north\"")]
pub struct Rename {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place)]
    pub room: Place,

    /// The new name
    #[arg(value_name = "NAME")]
    pub name: String,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}
