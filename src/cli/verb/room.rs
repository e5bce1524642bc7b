//! `wehelp room`

use super::contact::{self, Found};
use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue;
use crate::cli::error::Error;
use crate::cli::names;
use crate::cli::options::{Wiring, place, who};
use crate::cli::render::items;
use crate::cli::who::{Place, Who};
use crate::control::{DirectoryQuery, client};
use crate::protocol::command::{self, Command};

/// Ask about rooms, change them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp room list | jq -r '[.wxid, .nick] | @tsv'")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
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
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp room list --cached")]
struct List {
    /// Answer at once from what the daemon has learned; ask nobody
    #[arg(long)]
    cached: bool,

    #[command(flatten)]
    wiring: Wiring,
}

/// List the members of a room.
///
/// The list may come in pieces. It is printed at once when it tells of as many as the room has, by its own count or that
/// of `room list`; else when no further piece has come for 3 s.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp room members 123@chatroom | jq -r .nick
  wehelp room members @family --cached")]
struct Members {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place, add = Known::Rooms.completer())]
    room: Place,

    /// Answer at once from what the daemon has learned; ask nobody
    #[arg(long)]
    cached: bool,

    #[command(flatten)]
    wiring: Wiring,
}

/// Put members out of a room; one command each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp room kick 123@chatroom wxid_a wxid_b")]
struct Kick {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place, add = Known::Rooms.completer())]
    room: Place,

    /// Whom
    #[arg(value_name = "WXID", value_parser = who, required = true, add = Known::People.completer())]
    wxids: Vec<Who>,

    #[command(flatten)]
    wiring: Wiring,
}

/// Invite people into a room; one command each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp room invite 123@chatroom wxid_a wxid_b")]
struct Invite {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place, add = Known::Rooms.completer())]
    room: Place,

    /// Whom
    #[arg(value_name = "WXID", value_parser = who, required = true, add = Known::People.completer())]
    wxids: Vec<Who>,

    #[command(flatten)]
    wiring: Wiring,
}

/// Change the account's own nick in a room.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp room nick 123@chatroom \"on call: Li\"")]
struct Nick {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place, add = Known::Rooms.completer())]
    room: Place,

    /// The new nick
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    wiring: Wiring,
}

/// Ask for the ticket that adding a member as a friend needs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp room stranger 123@chatroom wxid_abc | jq -r .v2")]
struct Stranger {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place, add = Known::Rooms.completer())]
    room: Place,

    /// The member
    #[arg(value_name = "WXID", value_parser = who, add = Known::People.completer())]
    wxid: Who,

    #[command(flatten)]
    wiring: Wiring,
}

/// Change a room's name. The spec announces this command as coming: old clients may ignore it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp room rename 123@chatroom \"team north\"")]
struct Rename {
    /// The room's id, or @NAME
    #[arg(value_name = "ROOM", value_parser = place, add = Known::Rooms.completer())]
    room: Place,

    /// The new name
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    wiring: Wiring,
}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::List(list) if list.cached => {
            let none = "no event has told of rooms yet; `wehelp room list` asks the client";
            contact::list(ctx, "/v1/rooms", &whose(ctx), items::ROOMS, Found::MayBeEmpty(none))
        }
        What::List(list) => enqueue::put(ctx, &list.wiring, || Ok(vec![Command::RoomList])),
        What::Members(members) if members.cached => {
            let room = names::room(ctx, &members.room)?;
            let path = format!("/v1/rooms/{}/members", client::part(room.as_str()));
            let unknown = format!("no event has told of the members of {room}; leave out --cached to ask the client");
            contact::list(ctx, &path, &whose(ctx), items::MEMBERS, Found::MustBeThere(&unknown))
        }
        What::Members(members) => enqueue::put(ctx, &members.wiring, || {
            Ok(vec![Command::RoomMembers { room: Some(names::room(ctx, &members.room)?) }])
        }),
        What::Kick(Kick { room, wxids, wiring }) => enqueue::put(ctx, &wiring, || {
            names::check_people(&wxids)?;
            let room = names::room(ctx, &room)?;
            let kick = |who| Ok(Command::RoomKick { wxid: names::member(ctx, who, &room)?, room: room.clone() });
            wxids.iter().map(kick).collect()
        }),
        What::Invite(Invite { room, wxids, wiring }) => enqueue::put(ctx, &wiring, || {
            names::check_people(&wxids)?;
            let room = names::room(ctx, &room)?;
            let invite = |who| Ok(Command::RoomInvite { wxid: names::person(ctx, who)?, room: room.clone() });
            wxids.iter().map(invite).collect()
        }),
        What::Nick(Nick { room, name, wiring }) => enqueue::put(ctx, &wiring, || {
            command::said("name", &name)?;
            Ok(vec![Command::RoomNick { room: names::room(ctx, &room)?, name }])
        }),
        What::Stranger(Stranger { room, wxid, wiring }) => enqueue::put(ctx, &wiring, || {
            names::check_people(std::slice::from_ref(&wxid))?;
            let room = names::room(ctx, &room)?;
            Ok(vec![Command::RoomStranger { wxid: Some(names::member(ctx, &wxid, &room)?), room: Some(room) }])
        }),
        What::Rename(Rename { room, name, wiring }) => {
            let enqueuer = enqueue::Enqueuer::new(ctx, &wiring)?;
            command::said("name", &name)?;
            let wires = enqueuer.wires(&[Command::RoomRename { room: names::room(ctx, &room)?, name }])?;
            ctx.out().warn("the spec announces this command as coming; old clients may ignore it");
            enqueuer.put(ctx, &wires)
        }
    }
}

fn whose(ctx: &Ctx) -> DirectoryQuery {
    DirectoryQuery { account: ctx.global().account.clone(), ..DirectoryQuery::default() }
}
