//! `friend`

use super::{Wiring, place, who};
use crate::cli::who::{Place, Who};
use clap::{Args, Subcommand};

/// Ask about friends, add and accept them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp friend list | jq -r '[.wxid, .remark // .nick] | @tsv'")]
pub struct Friend {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum What {
    /// List the friends
    List(List),
    /// Ask somebody to become a friend
    Add(Add),
    /// Delete a friend
    Delete(Delete),
    /// Ask for the details of any number of friends
    Info(Info),
    /// Ask for the details of one friend
    Get(Get),
    /// Look somebody up on WeChat's servers
    Lookup(Lookup),
    /// Accept a friend request
    Accept(Accept),
    /// List the friend requests seen and not yet accepted
    Requests(Requests),
}

/// List the friends.
///
/// A list may come in pieces: it is printed when no further piece has come for 3 s. When only the ids came in time, those
/// are printed, and the exit status is 6.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp friend list
  wehelp friend list --cached | jq -r .nick")]
pub struct List {
    /// Answer at once from what the daemon has learned; ask nobody
    #[arg(long)]
    pub cached: bool,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Ask somebody to become a friend.
///
/// A member of a room who is no friend can only be added with a ticket, which the client learns when it is asked for it:
/// --room asks first, waits for the answer (30 s, or as --wait says), and then queues the command; without an answer
/// nobody is added. With --no-wait both are queued at once, in this order. WeChat blocks accounts that add many people
/// quickly, so the daemon holds these commands 5 s apart.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp friend add wxid_abc --message \"hello from the fair\"
  wehelp friend add wxid_abc --room 123@chatroom")]
pub struct Add {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// What the request says
    #[arg(long, value_name = "MESSAGE")]
    pub message: Option<String>,

    /// A room that both are in: ask for the member's ticket there first, then add
    #[arg(long, value_name = "ROOM", value_parser = place)]
    pub room: Option<Place>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Delete a friend.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp friend delete wxid_abc")]
pub struct Delete {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Ask for the details of any number of friends: 50 a command, as many commands as needed.
///
/// When the client does not tell of all of them in time, those that it told of are printed, and the exit status is 6.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp friend info wxid_a wxid_b
  wehelp friend list --cached | jq -r .wxid | xargs wehelp friend info")]
pub struct Info {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who, required = true)]
    pub wxids: Vec<Who>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Ask for the details of one friend.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp friend get wxid_abc")]
pub struct Get {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Look somebody up on WeChat's servers: also people who are no friends.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp friend lookup wxid_abc --raw | jq .decoded")]
pub struct Lookup {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Accept a friend request.
///
/// One that is being accepted already, or was accepted, is not accepted twice: the receipt of the command that does it is
/// printed, with `"repeated":true`, and the exit status is 0. When the client reports that it did not come to a
/// friendship, the command is `rejected` (exit 5 with --wait), and the request may be accepted again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp friend accept 17                  # the seq that `friend requests` prints
  wehelp friend accept wxid_abc
  wehelp friend accept --v1 v1_…@stranger --v2 v2_…@stranger")]
pub struct Accept {
    /// The request: its seq, or the id of who asks
    #[arg(value_name = "REQUEST", required_unless_present = "v1", conflicts_with_all = ["v1", "v2"])]
    pub request: Option<String>,

    /// The request's first ticket
    #[arg(long, value_name = "V1", requires = "v2")]
    pub v1: Option<String>,

    /// The request's second ticket
    #[arg(long, value_name = "V2", requires = "v1")]
    pub v2: Option<String>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// List the friend requests seen and not yet accepted, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp friend requests | jq -r '[.seq, .nick, .greeting] | @tsv'")]
pub struct Requests {}
