//! Which event answers which command (contract 3), and the items in it.
//!
//! Promises: pure functions of commands and one event. [`bearing`] tells of one command whether an event could be
//! about it; [`conclude`] decides between all those that are open.
//! Leaves to others: accounts, which commands are open and who waits for them, and adding up parts.

mod matching;

use super::command::{Api, Command, Says};
use super::contact::{Contact, Member, Room};
use super::decoded::{App, Contacts, Decoded, RoomMembers, Rooms};
use super::event::{Event, Kind};
use super::{id, refusal};
pub use matching::{Conclusion, Open, Verdict, conclude};
use serde::Serialize;
use std::collections::HashSet;

/// How an event bears on a command that a client has fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearing {
    /// It answers it, whole.
    Answers,
    /// It is a part of the answer; more may come (97 before 210; 210 that holds some of the ids asked for).
    Part,
    /// An echo of the text that we sent.
    Echo,
    /// It tells that the command was refused.
    Refuses,
}

/// How sure it is that an event is about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Nothing speaks against it.
    Maybe,
    /// It names what was asked for.
    Named,
}

/// How `event` bears on `command`; `None` when it does not. Accounts are compared by the caller.
#[must_use]
pub fn bearing(command: &Command, event: &Event) -> Option<Bearing> {
    fit(command, event).map(|(bearing, _)| bearing)
}

fn fit(command: &Command, event: &Event) -> Option<(Bearing, Fit)> {
    let answers = |fit: Option<Fit>| fit.map(|fit| (Bearing::Answers, fit));
    let row = command.api();
    match event.kind {
        Kind::MessageText if row.says == Says::Text => is_echo(command, event).then_some((Bearing::Echo, Fit::Named)),
        Kind::MessageSystem if row.says != Says::Nothing => {
            is_refusal(command, event).then_some((Bearing::Refuses, Fit::Named))
        }
        kind if !is_answered_by(row, kind) => None,
        Kind::FriendVerified => {
            let Decoded::FriendVerified { ok, v1s } = &event.decoded else { return None };
            let v1 = command.member("v1").text();
            let named = v1.is_some_and(|v1| v1s.iter().any(|told| told == v1));
            // 96 without a v1: it did not come to a friendship (wehelp-api.zh.md `#acceptingFriend`).
            let bearing = if *ok { Bearing::Answers } else { Bearing::Refuses };
            Some((bearing, if named { Fit::Named } else { Fit::Maybe }))
        }
        Kind::ContactsPacket => Some((Bearing::Part, Fit::Maybe)),
        Kind::Contacts | Kind::ContactPacket => asked_list(command, event),
        Kind::Profile | Kind::FriendV2 => answers(names(command.ids_asked().first().copied(), person(event))),
        Kind::RoomMembers => answers(same(command.ids_asked().first().copied(), room(event))),
        _ => answers(Some(Fit::Maybe)),
    }
}

/// Whether an event of that kind could answer a command of that `api`.
#[must_use]
pub fn may_answer(api: &str, kind: Kind) -> bool {
    Api::find(api).is_some_and(|row| is_answered_by(row, kind))
}

fn is_answered_by(row: &Api, kind: Kind) -> bool {
    row.answers.iter().any(|r#type| Kind::of_type(*r#type) == kind)
}

/// Whether answers of this command come in pieces that add up, of which none says that it is the last: lists of friends,
/// rooms and members.
#[must_use]
pub fn comes_in_pieces(api: &str) -> bool {
    matches!(api, "initContact" | "getChatRoomLists" | "getChatRoomUserLists")
}

/// The ids that stand in a list of friends, rooms or members.
pub fn listed(event: &Event) -> impl Iterator<Item = &str> {
    let (people, rooms, ids): (&[Contact], &[Room], &[String]) = match &event.decoded {
        Decoded::Contacts(told) => (&told.contacts, &[], &[]),
        Decoded::RoomMembers(told) => (&told.members, &[], &[]),
        Decoded::Rooms(told) => (&[], &told.rooms, &[]),
        Decoded::Gathered { ids, .. } => (&[], &[], ids),
        _ => (&[], &[], &[]),
    };
    let people = people.iter().filter_map(|contact| contact.wxid.as_deref());
    people.chain(rooms.iter().filter_map(|room| room.wxid.as_deref())).chain(ids.iter().map(String::as_str))
}

/// How many members a room has, as a list of them says itself.
#[must_use]
pub fn members_counted(event: &Event) -> Option<u64> {
    let told = match &event.decoded {
        Decoded::RoomMembers(told) => told.info.as_ref()?.members.len(),
        Decoded::Gathered { counted, .. } => *counted,
        _ => return None,
    };
    u64::try_from(told).ok().filter(|told| *told > 0)
}

/// The person that an event is about.
fn person(event: &Event) -> Option<&Contact> {
    match &event.decoded {
        Decoded::Profile { contact, .. } | Decoded::FriendV2 { contact, .. } => Some(contact),
        _ => None,
    }
}

/// The room whose members an event tells.
fn room(event: &Event) -> Option<&str> {
    let told = match &event.decoded {
        Decoded::RoomMembers(RoomMembers { room, .. }) | Decoded::Gathered { room, .. } => room.as_deref(),
        _ => None,
    };
    told.or(event.chat.as_deref())
}

/// The ids that an event may be the answer for; none when it may be for anybody.
#[must_use]
pub fn ids_told(event: &Event) -> HashSet<&str> {
    match event.kind {
        Kind::Contacts => listed(event).collect(),
        Kind::ContactPacket => match &event.decoded {
            // Not every id in it: who is looked up chose a nick, and that may be another's id.
            Decoded::ContactPacket(packet) => packet.about.iter().map(String::as_str).collect(),
            _ => HashSet::new(),
        },
        Kind::Profile | Kind::FriendV2 => match person(event).map(|person| (&person.wxid, &person.username)) {
            Some((Some(id), username)) => [id].into_iter().chain(username).map(String::as_str).collect(),
            _ => HashSet::new(),
        },
        Kind::RoomMembers => room(event).into_iter().collect(),
        _ => HashSet::new(),
    }
}

/// Gathers of an event that comes in pieces what [`conclude`] looks at: of a list only whom it names, and what a room says
/// of itself. The whole may have fifty times the bytes that came.
pub fn gather(gathered: &mut Option<Event>, piece: Event) {
    let named: Vec<String> = listed(&piece).map(str::to_owned).collect();
    let event = gathered.get_or_insert_with(|| {
        let named = |room, counted| Decoded::Gathered { room, ids: Vec::new(), counted };
        let decoded = match piece.decoded {
            Decoded::RoomMembers(told) => named(told.room, told.info.map_or(0, |info| info.members.len())),
            Decoded::Contacts(_) | Decoded::Rooms(_) | Decoded::Avatars { .. } => named(None, 0),
            decoded => decoded,
        };
        Event { decoded, ..piece }
    });
    if let Decoded::Gathered { ids, .. } = &mut event.decoded {
        ids.extend(named);
    }
}

/// One line of what an answer holds: somebody, a room, or what else was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnswerItem {
    /// Somebody.
    Contact(Contact),
    /// Somebody in a room.
    Member(Member<Contact>),
    /// A room.
    Room(Room),
    /// Somebody of whom only the id was told.
    Id {
        /// The id.
        wxid: String,
    },
    /// Somebody, with the ticket that adding them needs.
    Stranger {
        /// Who it is.
        #[serde(flatten)]
        contact: Box<Contact>,
        /// The ticket.
        v2: Option<String>,
    },
    /// The account has logged out.
    LoggedOut {
        /// `true`
        logged_out: bool,
    },
    /// What else an event holds, or would hold if it said the same in another way.
    Other(Decoded),
}

/// What an answering event holds for `command`, one value per line to print: members, rooms, friends ….
#[must_use]
pub fn items(command: &Command, event: Event) -> Vec<AnswerItem> {
    match event.decoded {
        Decoded::Contacts(Contacts { contacts }) => {
            // Those asked for, in the list's order; all when nothing in particular was asked for.
            let asked: HashSet<&str> = command.ids_asked().into_iter().collect();
            let is_asked = |id: &Option<String>| id.as_deref().is_some_and(|id| asked.contains(id));
            let meant = |contact: &Contact| asked.is_empty() || is_asked(&contact.wxid);
            contacts.into_iter().filter(meant).map(AnswerItem::Contact).collect()
        }
        Decoded::ContactsPacket { wxids } => wxids.into_iter().map(|wxid| AnswerItem::Id { wxid }).collect(),
        Decoded::Rooms(Rooms { rooms }) => rooms.into_iter().map(AnswerItem::Room).collect(),
        Decoded::RoomMembers(RoomMembers { room, members, .. }) => {
            let room = room.or(event.chat);
            let with_room = |contact| AnswerItem::Member(Member { room: room.clone(), contact });
            members.into_iter().map(with_room).collect()
        }
        Decoded::Profile { contact, .. } => vec![AnswerItem::Contact(*contact)],
        Decoded::FriendV2 { contact, v2 } => vec![AnswerItem::Stranger { contact, v2 }],
        Decoded::Login { code } => vec![AnswerItem::Other(Decoded::LoginState { logged_in: Some(code == Some(200)) })],
        Decoded::FriendVerified { ok, .. } => vec![AnswerItem::Other(Decoded::FriendVerified { ok, v1s: Vec::new() })],
        decoded => match event.kind {
            Kind::LoginState | Kind::ContactPacket | Kind::LoginQrcode => vec![AnswerItem::Other(decoded)],
            Kind::Logout => vec![AnswerItem::LoggedOut { logged_out: true }],
            _ => Vec::new(),
        },
    }
}

/// A missing id on either side is no contradiction.
fn same(asked: Option<&str>, told: Option<&str>) -> Option<Fit> {
    match asked.zip(told) {
        None => Some(Fit::Maybe),
        Some((asked, told)) => (asked == told).then_some(Fit::Named),
    }
}

/// Whether a contact is the one asked for, by id or by the username, which people choose for themselves and WeChat gives
/// once. What has the form of an id is no username.
fn names(asked: Option<&str>, contact: Option<&Contact>) -> Option<Fit> {
    let username = contact.and_then(|contact| contact.username.as_deref()).filter(|name| !name.starts_with("wxid_"));
    if asked.is_some() && asked == username {
        return Some(Fit::Named);
    }
    same(asked, contact.and_then(|contact| contact.wxid.as_deref()))
}

/// 210 or 88: the whole answer when every id asked for is there, a part when only some are.
fn asked_list(command: &Command, event: &Event) -> Option<(Bearing, Fit)> {
    let asked = command.ids_asked();
    let told = ids_told(event);
    if asked.is_empty() {
        return Some((Bearing::Answers, Fit::Maybe));
    }
    if told.is_empty() {
        // A packet without ids is about one person, a list without anybody about nobody.
        let whole = event.kind == Kind::ContactPacket && asked.len() == 1;
        return Some((if whole { Bearing::Answers } else { Bearing::Part }, Fit::Maybe));
    }
    match asked.iter().filter(|id| told.contains(*id)).count() {
        0 => None,
        found if found == asked.len() => Some((Bearing::Answers, Fit::Named)),
        _ => Some((Bearing::Part, Fit::Named)),
    }
}

/// Whether the client reports the very text that we sent, in the chat that we sent it to.
fn is_echo(command: &Command, event: &Event) -> bool {
    let sent = command.member("text").text();
    let same_text = sent.zip(event.text.as_deref()).is_some_and(|(sent, told)| lines(sent).eq(lines(told)));
    event.is_self == Some(true) && in_chat(command, event) && same_text
}

/// Whether the client reports the picture, file or link that we sent, in the chat that we sent it to. Of a picture it tells
/// nothing that we know. That is no answer: what is reported is that the client began.
#[must_use]
pub fn is_media_echo(command: &Command, event: &Event) -> bool {
    let app = event.decoded.app();
    let (word, told) = (app.and_then(App::word), app.and_then(|app| app.title.as_deref()));
    let is_it = match (command, event.kind) {
        (Command::SendImage { .. }, Kind::MessageImage) => true,
        (Command::SendFile { path, .. }, Kind::MessageApp) => {
            let name = path.rsplit(['/', '\\']).next();
            matches!(word, Some("file" | "file_upload")) && told == name
        }
        (Command::SendLink { title, .. }, Kind::MessageApp) => {
            word == Some("link") && told.is_some_and(|told| told.trim() == title.trim())
        }
        _ => false,
    };
    is_it && event.is_self == Some(true) && in_chat(command, event)
}

/// The lines of a text: the client may change how they end, and cut what is blank at the end.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_end().lines()
}

fn is_refusal(command: &Command, event: &Event) -> bool {
    in_chat(command, event)
        && !event.chat.as_deref().is_some_and(id::is_room)
        && event.text.as_deref().is_some_and(refusal::is_one)
}

/// Whether the event is of the chat that the command sends to.
fn in_chat(command: &Command, event: &Event) -> bool {
    command.chat().is_some_and(|chat| event.chat.as_deref() == Some(chat))
}

#[cfg(test)]
mod tests;
