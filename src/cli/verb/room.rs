//! `wehelp room`

use super::contact::{self, Found};
use crate::cli::args::room as args;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue;
use crate::cli::error::Error;
use crate::cli::names;
use crate::cli::render::items;
use crate::control::{DirectoryQuery, client};
use crate::protocol::command::Command;

pub(in crate::cli) fn run(ctx: &Ctx, args: args::Room) -> Result<(), Error> {
    match args.what {
        args::What::List(list) if list.cached => {
            let none = "no event has told of rooms yet; `wehelp room list` asks the client";
            contact::list(ctx, "/v1/rooms", &whose(ctx), items::ROOMS, Found::MayBeEmpty(none))
        }
        args::What::List(list) => enqueue::put(ctx, &list.wiring, |_| Ok(vec![Command::RoomList])),
        args::What::Members(members) if members.cached => {
            let room = names::room(ctx, &members.room)?;
            let path = format!("/v1/rooms/{}/members", client::part(room.as_str()));
            let unknown = format!("no event has told of the members of {room}; leave out --cached to ask the client");
            contact::list(ctx, &path, &whose(ctx), items::MEMBERS, Found::MustBeThere(&unknown))
        }
        args::What::Members(members) => enqueue::put(ctx, &members.wiring, |names| {
            Ok(vec![Command::RoomMembers { room: names.room(&members.room)? }])
        }),
        args::What::Kick(args::Kick { room, wxids, wiring }) => enqueue::put(ctx, &wiring, |names| {
            let room = names.room(&room)?;
            let kick = |who| Ok(Command::RoomKick { room: room.clone(), wxid: names.member(who, &room)? });
            wxids.iter().map(kick).collect()
        }),
        args::What::Invite(args::Invite { room, wxids, wiring }) => enqueue::put(ctx, &wiring, |names| {
            let room = names.room(&room)?;
            let invite = |who| Ok(Command::RoomInvite { room: room.clone(), wxid: names.person(who)? });
            wxids.iter().map(invite).collect()
        }),
        args::What::Nick(args::Nick { room, name, wiring }) => enqueue::put(ctx, &wiring, |names| {
            Ok(vec![Command::RoomNick { room: names.room(&room)?, name: name.clone() }])
        }),
        args::What::Stranger(args::Stranger { room, wxid, wiring }) => enqueue::put(ctx, &wiring, |names| {
            let room = names.room(&room)?;
            Ok(vec![Command::RoomStranger { wxid: names.member(&wxid, &room)?, room }])
        }),
        args::What::Rename(args::Rename { room, name, wiring }) => {
            let enqueuer = enqueue::Enqueuer::new(ctx, &wiring)?;
            let wires = enqueuer
                .wires(ctx, |names| Ok(vec![Command::RoomRename { room: names.room(&room)?, name: name.clone() }]))?;
            ctx.out().warn("the spec announces this command as coming; old clients may ignore it");
            enqueuer.put(ctx, &wires)
        }
    }
}

fn whose(ctx: &Ctx) -> DirectoryQuery {
    DirectoryQuery { account: ctx.global().account.clone(), ..DirectoryQuery::default() }
}
