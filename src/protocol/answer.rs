//! Which event answers which command (contract 3), and the items in it.
//!
//! Promises: pure functions of commands and one event. [`bearing`] tells of one command whether an event could be
//! about it; [`conclude`] decides between all those that are open.
//! Leaves to others: accounts, which commands are open and who waits for them, and adding up parts.

mod matching;

use super::{
    command::{Api, Command, Says},
    event::{Event, Kind},
    id, refusal,
};
pub use matching::{Conclusion, Open, Verdict, conclude};
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
            let v1 = command.member("v1").text();
            let named = v1.is_some() && list(&event.decoded, "v1s").iter().any(|told| told.as_str() == v1);
            Some((verified(event), if named { Fit::Named } else { Fit::Maybe }))
        }
        Kind::ContactsPacket => Some((Bearing::Part, Fit::Maybe)),
        Kind::Contacts | Kind::ContactPacket => asked_list(command, event),
        Kind::Profile | Kind::FriendV2 => {
            answers(names(command.ids_asked().first().copied(), event.decoded.get("contact")))
        }
        Kind::RoomMembers => {
            let room = text(&event.decoded, "room").or(event.chat.as_deref());
            answers(same(command.ids_asked().first().copied(), room))
        }
        _ => answers(Some(Fit::Maybe)),
    }
}

/// 96 without a v1: it did not come to a friendship (wehelp-api.zh.md `#acceptingFriend`).
fn verified(event: &Event) -> Bearing {
    if event.decoded.get("ok") == Some(&Value::Bool(true)) { Bearing::Answers } else { Bearing::Refuses }
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
    let key = list_key(event.kind).unwrap_or_default();
    list(&event.decoded, key).iter().filter_map(|item| item.as_str().or_else(|| text(item, "wxid")))
}

/// How many members a room has, as a list of them says itself.
#[must_use]
pub fn members_counted(event: &Event) -> Option<u64> {
    let told = list(event.decoded.get("info")?, "members").len();
    u64::try_from(told).ok().filter(|told| *told > 0)
}

/// Where the list of an event stands.
fn list_key(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Contacts => Some("contacts"),
        Kind::Rooms => Some("rooms"),
        Kind::RoomMembers => Some("members"),
        _ => None,
    }
}

/// The ids that an event may be the answer for; none when it may be for anybody.
#[must_use]
pub fn ids_told(event: &Event) -> HashSet<&str> {
    let decoded = &event.decoded;
    match event.kind {
        Kind::Contacts => listed(event).collect(),
        // Not every id in it: who is looked up chose a nick, and that may be another's id.
        Kind::ContactPacket => event.about.iter().map(String::as_str).collect(),
        Kind::Profile | Kind::FriendV2 => {
            let contact = decoded.get("contact").unwrap_or(decoded);
            match text(contact, "wxid") {
                Some(id) => std::iter::once(id).chain(text(contact, "username")).collect(),
                None => HashSet::new(),
            }
        }
        Kind::RoomMembers => text(decoded, "room").or(event.chat.as_deref()).into_iter().collect(),
        _ => HashSet::new(),
    }
}

/// Gathers of an event that comes in pieces what [`conclude`] looks at: of a list only whom it names, and what a room says
/// of itself. The whole may have fifty times the bytes that came.
pub fn gather(gathered: &mut Option<Event>, piece: Event) {
    let ids: Vec<Value> = listed(&piece).map(Value::from).collect();
    let event = gathered.get_or_insert_with(|| {
        let mut event = Event { emptied: Vec::new(), ..piece };
        if let Some(decoded) = event.decoded.as_object_mut() {
            decoded.retain(|key, told| key == "info" || !(told.is_array() || told.is_object()));
        }
        event
    });
    let Some((key, decoded)) = list_key(event.kind).zip(event.decoded.as_object_mut()) else { return };
    match decoded.get_mut(key) {
        Some(Value::Array(before)) => before.extend(ids),
        _ => drop(decoded.insert(key.to_owned(), ids.into())),
    }
}

/// What an answering event holds for `command`, one value per line to print: members, rooms, friends ….
#[must_use]
pub fn items(command: &Command, event: &Event) -> Vec<Value> {
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

/// A missing id on either side is no contradiction.
fn same(asked: Option<&str>, told: Option<&str>) -> Option<Fit> {
    match asked.zip(told) {
        None => Some(Fit::Maybe),
        Some((asked, told)) => (asked == told).then_some(Fit::Named),
    }
}

/// Whether a contact is the one asked for, by id or by the username, which people choose for themselves and WeChat gives
/// once. What has the form of an id is no username.
fn names(asked: Option<&str>, contact: Option<&Value>) -> Option<Fit> {
    let get = |key| contact.and_then(|contact| text(contact, key));
    let username = get("username").filter(|name| !name.starts_with("wxid_"));
    if asked.is_some() && asked == username { Some(Fit::Named) } else { same(asked, get("wxid")) }
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
    let told = |key: &str| text(&event.decoded, key);
    let is_it = match (command, event.kind) {
        (Command::SendImage { .. }, Kind::MessageImage) => true,
        (Command::SendFile { path, .. }, Kind::MessageApp) => {
            let name = path.rsplit(['/', '\\']).next();
            matches!(told("app"), Some("file" | "file_upload")) && told("title") == name
        }
        (Command::SendLink { title, .. }, Kind::MessageApp) => {
            told("app") == Some("link") && told("title").is_some_and(|told| told.trim() == title.trim())
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

/// Of a contact list those asked for, in its order; all when nothing in particular was asked for.
fn asked_contacts(command: &Command, contacts: &[Value]) -> Vec<Value> {
    let asked: HashSet<&str> = command.ids_asked().into_iter().collect();
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
