//! Which event answers which command (contract 3), and the items in it.
//!
//! Promises: pure functions of one command and one event; a doubt that the wire leaves (an answer without an id) is
//! decided for the command, since the caller offers an event to the oldest question first.
//! Leaves to others: accounts, the order of questions, and adding up parts.

use super::{
    command::Wire,
    event::{Event, Kind},
};
use serde_json::{Map, Value, json};
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

/// What a system notice says when the other side did not get what was sent, in the wordings of `WeChat`'s languages.
const REFUSALS: &[&str] = &[
    "被对方拒收了",
    "被對方拒收了",
    "开启了朋友验证",
    "開啟了朋友驗證",
    "开启了好友验证",
    "開啟了好友驗證",
    "rejected by the receiver",
    "rejected by the recipient",
    "has enabled Friend Confirmation",
    "has enabled friend verification",
];

/// How `event` bears on `command`; `None` when it does not. Accounts are compared by the caller.
#[must_use]
pub fn bearing(command: &Wire, event: &Event) -> Option<Bearing> {
    use Kind::{
        ContactPacket, Contacts, ContactsPacket, FriendV2, FriendVerified, Login, LoginQrcode, LoginState, Logout,
        Profile, RoomMembers, Rooms,
    };
    let answers = |holds: bool| holds.then_some(Bearing::Answers);
    match (command.api(), event.kind) {
        ("initContact", Contacts)
        | ("addUserEvent" | "acceptFriend", FriendVerified)
        | ("getChatRoomLists", Rooms)
        | ("getLoginStatus", Login | LoginState)
        | ("getLoginQrCode", LoginQrcode)
        | ("outLogin", Logout) => Some(Bearing::Answers),
        ("initContact", ContactsPacket) => Some(Bearing::Part),
        ("newGetUserLists", Contacts | ContactPacket) => asked_list(command, event),
        ("getUserInfo", Profile) | ("getRoomUserV2", FriendV2) => {
            answers(names(asked(command, "wxid"), event.decoded.get("contact")))
        }
        ("netGetUserInfo" | "getRoomUserV2", ContactPacket) => answers(packet_names(asked(command, "wxid"), event)),
        ("getChatRoomUserLists", RoomMembers) => {
            let room = text(&event.decoded, "room").or(event.chat.as_deref());
            answers(same(asked(command, "wxid"), room))
        }
        ("sendTextMessage", Kind::MessageText) => is_echo(command, event).then_some(Bearing::Echo),
        ("sendTextMessage" | "sendPicMessage" | "sendFileMessage" | "sendXmlMessage", Kind::MessageSystem) => {
            is_refusal(command, event).then_some(Bearing::Refuses)
        }
        _ => None,
    }
}

/// What an answering event holds for `command`, one value per line to print: members, rooms, friends ….
#[must_use]
pub fn items(command: &Wire, event: &Event) -> Vec<Value> {
    let decoded = &event.decoded;
    match event.kind {
        Kind::Contacts => asked_contacts(command, list(decoded, "contacts")),
        Kind::ContactsPacket => list(decoded, "wxids").iter().map(|id| json!({ "wxid": id })).collect(),
        Kind::Rooms => list(decoded, "rooms").to_vec(),
        Kind::RoomMembers => members(event),
        Kind::Profile => vec![decoded.get("contact").unwrap_or(decoded).clone()],
        Kind::FriendV2 => vec![with_v2(decoded)],
        Kind::ContactPacket | Kind::LoginQrcode => vec![decoded.clone()],
        Kind::LoginState => vec![json!({ "logged_in": decoded.get("logged_in") })],
        Kind::Login => vec![json!({ "logged_in": decoded.get("code").map(|code| number(code) == Some(200)) })],
        Kind::FriendVerified => vec![json!({ "ok": decoded.get("ok") })],
        Kind::Logout => vec![json!({ "logged_out": true })],
        _ => Vec::new(),
    }
}

/// The id that a command asks for; `None` when it asks for none, as a raw command may.
fn asked<'c>(command: &'c Wire, key: &str) -> Option<&'c str> {
    command.as_map().get(key).and_then(Value::as_str).map(str::trim).filter(|id| !id.is_empty())
}

/// The ids that `newGetUserLists` asks for.
fn asked_ids(command: &Wire) -> HashSet<&str> {
    let ids = command.as_map().get("wxidLists").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    ids.iter().filter_map(Value::as_str).map(str::trim).filter(|id| !id.is_empty()).collect()
}

/// A missing id on either side is no contradiction.
fn same(asked: Option<&str>, told: Option<&str>) -> bool {
    asked.zip(told).is_none_or(|(asked, told)| asked == told)
}

/// Whether a contact is the one asked for, by id or by the name that people choose for themselves.
fn names(asked: Option<&str>, contact: Option<&Value>) -> bool {
    let get = |key| contact.and_then(|contact| text(contact, key));
    same(asked, get("wxid")) || (asked.is_some() && asked == get("username"))
}

/// Whether a packet holds the id asked for; one without any id may hold anybody.
fn packet_names(asked: Option<&str>, event: &Event) -> bool {
    let Some(asked) = asked else { return true };
    let own = text(&event.decoded, "wxid");
    let ids = list(&event.decoded, "wxids");
    if own.is_none() && ids.is_empty() {
        return true;
    }
    // The ids of long-time users are bare words, and may stand among the strings only.
    own == Some(asked) || ids.iter().chain(list(&event.decoded, "strings")).any(|id| id.as_str() == Some(asked))
}

/// 46 → 210 or 88: the whole answer when every id asked for is there, a part when only some are.
fn asked_list(command: &Wire, event: &Event) -> Option<Bearing> {
    let asked = asked_ids(command);
    let told = told_ids(event);
    if asked.is_empty() || told.is_empty() {
        return Some(Bearing::Answers);
    }
    let strings = if event.kind == Kind::ContactPacket { list(&event.decoded, "strings") } else { &[] };
    let strings: HashSet<&str> = strings.iter().filter_map(Value::as_str).collect();
    match asked.iter().filter(|id| told.contains(*id) || strings.contains(*id)).count() {
        0 => None,
        found if found == asked.len() => Some(Bearing::Answers),
        _ => Some(Bearing::Part),
    }
}

/// The ids that a contact list or a contact packet is about.
fn told_ids(event: &Event) -> HashSet<&str> {
    if event.kind == Kind::ContactPacket {
        let ids = list(&event.decoded, "wxids").iter().filter_map(Value::as_str);
        return ids.chain(text(&event.decoded, "wxid")).collect();
    }
    list(&event.decoded, "contacts").iter().filter_map(|contact| text(contact, "wxid")).collect()
}

/// Whether the client reports the very text that we sent, in the chat that we sent it to.
fn is_echo(command: &Wire, event: &Event) -> bool {
    let sent = command.as_map().get("text").and_then(Value::as_str);
    let same_text = sent.zip(event.text.as_deref()).is_some_and(|(sent, told)| lines(sent).eq(lines(told)));
    event.is_self == Some(true) && in_chat(command, event) && same_text
}

/// The lines of a text: the client may change how they end, and cut what is blank at the end.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_end().lines()
}

fn is_refusal(command: &Wire, event: &Event) -> bool {
    let tells = |notice: &str| REFUSALS.iter().any(|refusal| notice.contains(refusal));
    in_chat(command, event) && event.text.as_deref().is_some_and(tells)
}

/// Whether the event is of the chat that the command sends to.
fn in_chat(command: &Wire, event: &Event) -> bool {
    let chat = asked(command, "wxid");
    chat.is_some() && chat == event.chat.as_deref()
}

/// Of a contact list those asked for, in its order; all when nothing in particular was asked for.
fn asked_contacts(command: &Wire, contacts: &[Value]) -> Vec<Value> {
    let asked = asked_ids(command);
    if asked.is_empty() {
        return contacts.to_vec();
    }
    contacts.iter().filter(|contact| text(contact, "wxid").is_some_and(|id| asked.contains(id))).cloned().collect()
}

/// The members of a room, each with the room that it is a member of.
fn members(event: &Event) -> Vec<Value> {
    let room = text(&event.decoded, "room").or(event.chat.as_deref());
    let with_room = |member: &Value| {
        let mut item = Map::new();
        item.insert("room".into(), room.into());
        item.extend(member.as_object().cloned().unwrap_or_default());
        Value::Object(item)
    };
    list(&event.decoded, "members").iter().map(with_room).collect()
}

/// The contact with the v2 that adding it needs.
fn with_v2(decoded: &Value) -> Value {
    let mut item = decoded.get("contact").and_then(Value::as_object).cloned().unwrap_or_default();
    item.insert("v2".into(), decoded.get("v2").cloned().unwrap_or_default());
    Value::Object(item)
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
