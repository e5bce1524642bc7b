//! People and rooms as the client describes them, brought into one form. wehelp-api.zh.md `#friendsListDetails`,
//! `#getGroupList`, `#getListGroupMembers`, and the later client's forms (client-facts.md).
//!
//! Promises: every key is there, `null` where nothing is known; numbers and strings are taken for each other; damage
//! gives nulls, never an error. Linear in the input.
//! Leaves to others: which event these came in, and remembering them (`directory`).

use super::message::xml::{self, Element, Tree};
use super::{encoding, json, name};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashSet;

/// Most members that are taken from one room; the maker of `WeChat` allows 500.
const MEMBERS_MAX: usize = 10_000;

/// Most members that are taken from all rooms of one list: 2,000 full ones.
pub(super) const LIST_MEMBERS_MAX: usize = 1_000_000;

/// Most contacts or rooms that are taken from one list; `WeChat` allows 10,000 friends. A normalised contact takes
/// fifty times the room of the shortest one on the wire, so without a bound a body could take all memory.
const LIST_MAX: usize = 50_000;

/// The longest member of a contact, bytes of JSON: no name, sign or URL comes near it.
const CONTACT_BYTES_MAX: usize = 64 * 1024;

/// The longest member of a room, bytes of JSON: the packed XML of 500 members has some 100,000.
const ROOM_BYTES_MAX: usize = 4 << 20;

/// Whether a client says nothing with this, where it names somebody or something: the words of the languages that
/// clients are written in, and blanks. The one place that knows them, for polls and events alike.
#[must_use]
pub fn nothing(text: &str) -> bool {
    const ANY_CASE: [&str; 4] = ["", "(null)", "null", "undefined"];
    let text = text.trim();
    // Python's; written otherwise it is rather a name.
    text == "None" || ANY_CASE.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Which names are told to be empty: in the normalised form, `null` stands both for that and for a name that was not
/// told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emptied {
    /// `nick` is there and says nothing.
    pub nick: bool,
    /// `asName` is there and says nothing.
    pub remark: bool,
}

impl Emptied {
    fn of(told: &Map<String, Value>) -> Self {
        let told = |key: &str| match told.get(key) {
            Some(Value::Null) => true,
            Some(Value::String(text)) => nothing(text),
            _ => false,
        };
        Self { nick: told("nick"), remark: told("asName") }
    }
}

/// The word for `WeChat`'s number: `"1"` male, `"2"` female, `"0"` unknown.
pub(super) fn sex_word(number: &str) -> Option<&'static str> {
    match number.trim() {
        "1" => Some("male"),
        "2" => Some("female"),
        "0" => Some("unknown"),
        _ => None,
    }
}

/// A person as the client describes them, in one form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Contact {
    /// The id.
    pub wxid: Option<String>,
    /// The name that they gave themselves.
    pub nick: Option<String>,
    /// The name that the account gave them: `asName`.
    pub remark: Option<String>,
    /// The WeChat number that they chose.
    pub username: Option<String>,
    /// `male`, `female`, `unknown`
    pub sex: Option<&'static str>,
    /// As the client tells it.
    pub province: Option<String>,
    /// As the client tells it.
    pub city: Option<String>,
    /// Two letters of a country.
    pub region: Option<String>,
    /// What they say of themselves.
    pub sign: Option<String>,
    /// URL of the picture; of the small one where the client told no other.
    pub avatar: Option<String>,
    /// URL of the small picture.
    pub avatar_small: Option<String>,
    /// WeChat's flags; the lowest bit is set for those in the contact list.
    pub r#type: Option<i64>,
    /// As the client tells it.
    pub group_id: Option<String>,
    /// Which of the names are told to be empty.
    #[serde(skip)]
    pub emptied: Emptied,
}

impl Contact {
    fn of(told: &Map<String, Value>) -> Self {
        let get = |key: &str| told.get(key).and_then(word).map(Cow::into_owned);
        Self {
            wxid: get("wxid"),
            nick: named(told, "nick"),
            remark: named(told, "asName"),
            username: get("username"),
            sex: told.get("sex").and_then(word).and_then(|number| sex_word(&number)),
            province: get("province"),
            city: get("city"),
            region: get("regionCode"),
            sign: get("sign"),
            avatar: get("headPic").or_else(|| get("sheadPic")),
            avatar_small: get("sheadPic"),
            r#type: told.get("type").and_then(integer),
            group_id: get("groupId"),
            emptied: Emptied::of(told),
        }
    }
}

/// A member of a room, as lists of them are printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member<C> {
    /// The room.
    pub room: Option<String>,
    /// Who it is.
    #[serde(flatten)]
    pub contact: C,
}

/// The name under `key`, as people read it.
fn named(told: &Map<String, Value>, key: &str) -> Option<String> {
    told.get(key).and_then(word).map(|text| name::plain(&text).into_owned())
}

/// The contact in the text of an object; `but` names members that are not the contact's.
#[must_use]
pub fn person(object: &str, but: &[&str]) -> Contact {
    let mut members = json::members(object, CONTACT_BYTES_MAX, &[]);
    members.retain(|key, _| !but.contains(&key.as_str()));
    Contact::of(&members)
}

/// Hands out the items of a list of contacts, unread; a contact alone counts as a list of one.
pub(super) fn each_contact<'a>(list: &'a RawValue, mut each: impl FnMut(&'a str)) {
    if list.get().starts_with('{') {
        return each(list.get());
    }
    json::each_item(list, LIST_MAX, |item| each(item.get()));
}

/// Hands out the items of the list of a 211 event, unread.
pub(super) fn each_room<'a>(list: &'a RawValue, mut each: impl FnMut(&'a str)) {
    json::each_item(list, LIST_MAX, |item| each(item.get()));
}

/// The contact that an item of a list is; an id alone counts as one.
pub(super) fn listed(item: &str) -> Option<Contact> {
    match item.as_bytes().first() {
        Some(b'{') => Some(person(item, &[])),
        Some(b'"') => {
            let id = serde_json::from_str(item).ok().and_then(json::text);
            let id = id.filter(|id| !nothing(id) && id.len() <= CONTACT_BYTES_MAX)?;
            Some(Contact { wxid: Some(id.into_owned()), ..Contact::default() })
        }
        _ => None,
    }
}

/// A room as a 211 event describes it, in one form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Room {
    /// The id.
    pub wxid: Option<String>,
    /// The room's name.
    pub nick: Option<String>,
    /// URL of the picture.
    pub avatar: Option<String>,
    /// How many members it has.
    pub count: Option<i64>,
    /// Whether the account owns it.
    pub owner: Option<bool>,
    /// Whether the account is in it.
    pub exist: Option<bool>,
    /// The ids of its members.
    pub members: Vec<String>,
    /// Which of the names are told to be empty.
    #[serde(skip)]
    pub emptied: Emptied,
}

impl Room {
    /// From the base64 XML in `xml` or from the later client's `nick`, `headPic` and `userLists`.
    fn of(told: &Map<String, Value>) -> Self {
        let get = |key: &str| told.get(key).and_then(word).map(Cow::into_owned);
        let xml = told.get("xml").and_then(Value::as_str).and_then(unpack).unwrap_or_default();
        let described = RoomInfo::read(&xml);
        let mut members = told.get("userLists").map(member_ids).unwrap_or_default();
        if members.is_empty() {
            members = described.members;
        }
        let known = || members.len().try_into().ok().filter(|&count: &i64| count > 0);
        Self {
            wxid: get("wxid").or(described.wxid),
            nick: named(told, "nick").or(described.nick),
            avatar: get("headPic").or_else(|| get("sheadPic")).or(described.avatar),
            count: told.get("count").and_then(integer).or_else(known),
            owner: told.get("roomLord").and_then(flag),
            exist: told.get("exist").and_then(flag),
            members,
            // Whether the packed XML has a name is another question.
            emptied: Emptied { nick: false, ..Emptied::of(told) },
        }
    }
}

/// The room that an item of a 211 event is.
pub(super) fn listed_room(item: &str) -> Room {
    Room::of(&json::members(item, ROOM_BYTES_MAX, &["userLists"]))
}

/// The `info` of a 77 event, decoded.
#[must_use]
pub fn room_info(base64: &str) -> RoomInfo {
    let xml = unpack(base64);
    let described = RoomInfo::read(xml.as_deref().unwrap_or_default());
    RoomInfo { xml, ..described }
}

/// What the XML of a room tells. The spec prints it cut off, so the names are looked for liberally.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RoomInfo {
    /// Its text.
    pub xml: Option<String>,
    /// The id.
    pub wxid: Option<String>,
    /// The room's name.
    pub nick: Option<String>,
    /// URL of the picture.
    pub avatar: Option<String>,
    /// URL of the small picture.
    pub avatar_small: Option<String>,
    /// The id of who owns it.
    pub owner: Option<String>,
    /// The room's announcement.
    pub notice: Option<String>,
    /// The ids of its members.
    pub members: Vec<String>,
}

impl RoomInfo {
    fn read(text: &str) -> Self {
        let Some(tree) = xml::locate(text).map(xml::parse) else { return Self::default() };
        let members = xml_members(&tree);
        let get = |names: &[&str]| names.iter().find_map(|name| field(&tree, name)).map(str::to_owned);
        let like = |part: &str| field_like(&tree, part).map(str::to_owned);
        let avatar_small = get(&["smallheadimgurl", "smallheadurl", "sheadpic", "smallavatar"]);
        let avatar = get(&["bigheadimgurl", "headimgurl", "bigheadurl", "headimg", "headpic", "avatar"]);
        Self {
            xml: None,
            wxid: get(&["username", "chatroomname", "chatroomid", "chatroom", "roomid", "wxid"])
                .filter(|id| id.ends_with("chatroom")),
            nick: get(&["nickname", "nick", "displayname", "roomname", "topic"])
                .or_else(|| like("nick"))
                .or_else(|| get(&["title", "name"])),
            avatar: avatar
                .or_else(|| avatar_small.clone())
                .or_else(|| ["head", "avatar"].into_iter().filter_map(like).find(|url| url.starts_with("http"))),
            avatar_small,
            owner: get(&["roomowner", "chatroomowner", "owner"]),
            notice: get(&["announcement", "notice", "roomannouncement"]),
            members,
        }
    }
}

/// Whether an element is one of a room's members, or stands for all of them.
fn is_member(element: Element<'_>) -> bool {
    ["member", "user", "memberlist", "members", "userlists", "userlist", "roomdata"].iter().any(|name| element.is(name))
}

/// The attribute or element of that name that says something, but not that of a member.
fn field<'t>(tree: &'t Tree, name: &str) -> Option<&'t str> {
    let said = |text: &&str| !nothing(text);
    tree.elements_outside(is_member).find_map(|element| {
        let text = Some(element.text()).filter(|_| element.is(name));
        element.attribute(name).filter(said).or(text.filter(said))
    })
}

/// The attribute or element that says something and whose name contains `part`, which is in lower case.
fn field_like<'t>(tree: &'t Tree, part: &str) -> Option<&'t str> {
    tree.elements_outside(is_member)
        .flat_map(|element| element.attributes().chain([(element.name(), element.text())]))
        .find(|(name, text)| !nothing(text) && name.to_ascii_lowercase().contains(part))
        .map(|(_, text)| text)
}

/// The ids of the members: joined in one text or attribute, or one element each.
fn xml_members(tree: &Tree) -> Vec<String> {
    let mut ids = Ids::default();
    for element in tree.elements() {
        if ["member", "user"].iter().any(|name| element.is(name)) {
            let names = ["username", "wxid"];
            let id = names.iter().find_map(|name| element.attribute(name).or_else(|| element.child_text(name)));
            ids.add(id.unwrap_or_else(|| element.text()));
        } else if is_member(element) {
            ids.add_joined(element.text());
        }
        for name in ["memberlist", "members", "userlists", "userlist"] {
            if let Some(joined) = element.attribute(name) {
                ids.add_joined(joined);
            }
        }
    }
    ids.list
}

/// The ids in a `userLists`: joined with `^G`, or an array of ids or contacts.
fn member_ids(list: &Value) -> Vec<String> {
    let mut ids = Ids::default();
    match list {
        Value::String(joined) => ids.add_joined(joined),
        Value::Array(items) => {
            for item in items {
                if let Some(id) = item.as_str().or_else(|| item.get("wxid").and_then(Value::as_str)) {
                    ids.add(id);
                }
            }
        }
        _ => {}
    }
    ids.list
}

/// Ids in order, without repeats.
#[derive(Default)]
struct Ids {
    list: Vec<String>,
    seen: HashSet<String>,
}

impl Ids {
    fn add(&mut self, id: &str) {
        let id = id.trim();
        let is_id = !nothing(id) && !id.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_id && self.list.len() < MEMBERS_MAX && self.seen.insert(id.to_owned()) {
            self.list.push(id.to_owned());
        }
    }

    /// `^G` is the bell character as terminals show it; both forms occur, at both ends as well.
    fn add_joined(&mut self, joined: &str) {
        for part in joined.split(['\u{7}', ';', ',']) {
            part.split("^G").for_each(|id| self.add(id));
        }
    }
}

/// Text, or a number as text; `None` for what says nothing.
fn word(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if !nothing(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// A whole number, or a string that holds one.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A truth value in any of its forms.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.trim() {
            "1" | "true" | "True" => Some(true),
            "0" | "false" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The text in a base64 value; XML that was not packed at all passes as it is.
fn unpack(base64: &str) -> Option<String> {
    if nothing(base64) {
        return None;
    }
    if base64.trim_start().starts_with('<') {
        return Some(base64.to_owned());
    }
    let bytes = decode_base64(base64);
    if bytes.is_empty() {
        return None;
    }
    Some(encoding::decode(&bytes).into_owned())
}

/// Decodes base64 of either alphabet, padded or not, with line breaks in it, up to where it is damaged or cut off.
fn decode_base64(text: &str) -> Vec<u8> {
    let mut digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            _ => byte,
        })
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        .collect();
    // Filled up with zero bits, and what came of those taken away again.
    let whole = digits.len() * 6 / 8;
    digits.resize(digits.len().next_multiple_of(4), b'A');
    let mut bytes = data_encoding::BASE64.decode(&digits).unwrap_or_default();
    bytes.truncate(whole);
    bytes
}

#[cfg(test)]
mod tests;
