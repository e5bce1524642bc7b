//! People and rooms as the client describes them, brought into one form. wehelp-api.zh.md `#friendsListDetails`,
//! `#getGroupList`, `#getListGroupMembers`, and the later client's forms (client-facts.md).
//!
//! Promises: every key is there, `null` where nothing is known; numbers and strings are taken for each other; damage
//! gives nulls, never an error. Linear in the input.
//! Leaves to others: which event these came in, and remembering them (`directory`).

use super::message::xml::{self, Element, Tree};
use super::{encoding, json, name};
use serde_json::value::RawValue;
use serde_json::{Value, json};
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
    fn of(value: &Value) -> Self {
        let told = |key: &str| match value.get(key) {
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

/// A normalised contact: `wxid`, `nick`, `remark` (`asName`), `username`, `sex` (a word), `province`, `city`, `region`,
/// `sign`, `avatar`, `avatar_small`, `type`, `group_id`.
#[must_use]
pub fn contact(value: &Value) -> Value {
    let get = |key: &str| value.get(key).and_then(word);
    let named = |key: &str| get(key).map(|text| name::plain(&text).into_owned());
    let avatar = get("headPic").or_else(|| get("sheadPic"));
    json!({
        "wxid": get("wxid"),
        "nick": named("nick"),
        "remark": named("asName"),
        "username": get("username"),
        "sex": get("sex").and_then(|number| sex_word(&number)),
        "province": get("province"),
        "city": get("city"),
        "region": get("regionCode"),
        "sign": get("sign"),
        "avatar": avatar,
        "avatar_small": get("sheadPic"),
        "type": value.get("type").and_then(integer),
        "group_id": get("groupId"),
    })
}

/// The contact in the text of an object, and which of its names are empty; `but` names members that are not the
/// contact's.
#[must_use]
pub fn person(object: &str, but: &[&str]) -> (Value, Emptied) {
    let mut members = json::members(object, CONTACT_BYTES_MAX, &[]);
    members.retain(|key, _| !but.contains(&key.as_str()));
    let members = Value::Object(members);
    (contact(&members), Emptied::of(&members))
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

/// The contact that an item of a list is, and which of its names are empty; an id alone counts as one.
pub(super) fn listed(item: &str) -> Option<(Value, Emptied)> {
    match item.as_bytes().first() {
        Some(b'{') => Some(person(item, &[])),
        Some(b'"') => {
            let id = serde_json::from_str(item).ok().and_then(json::text);
            let id = id.filter(|id| !nothing(id) && id.len() <= CONTACT_BYTES_MAX)?;
            Some((contact(&json!({ "wxid": id })), Emptied::default()))
        }
        _ => None,
    }
}

/// The room that an item of a 211 event is, see [`room`], and which of its names are empty.
pub(super) fn listed_room(item: &str) -> (Value, Emptied) {
    let told = Value::Object(json::members(item, ROOM_BYTES_MAX, &["userLists"]));
    // Whether the packed XML has a name is another question.
    (room(&told), Emptied { nick: false, ..Emptied::of(&told) })
}

/// One room of a 211 event: `wxid`, `nick`, `avatar`, `count`, `owner`, `exist`, `members`, from the base64 XML in `xml` or from
/// the later client's `nick`, `headPic` and `userLists`.
#[must_use]
pub fn room(value: &Value) -> Value {
    let get = |key: &str| value.get(key).and_then(word);
    let xml = value.get("xml").and_then(Value::as_str).and_then(unpack).unwrap_or_default();
    let described = RoomXml::read(&xml);
    let mut members = value.get("userLists").map(member_ids).unwrap_or_default();
    if members.is_empty() {
        members = described.members;
    }
    let count =
        value.get("count").and_then(integer).or_else(|| members.len().try_into().ok().filter(|&count: &i64| count > 0));
    json!({
        "wxid": get("wxid").or(described.wxid.map(Cow::Owned)),
        "nick": get("nick").map(|nick| name::plain(&nick).into_owned()).or(described.nick),
        "avatar": get("headPic").or_else(|| get("sheadPic")).or(described.avatar.map(Cow::Owned)),
        "count": count,
        "owner": value.get("roomLord").and_then(flag),
        "exist": value.get("exist").and_then(flag),
        "members": members,
    })
}

/// The `info` of a 77 event, decoded: `xml` (its text), and what was found in it: `wxid`, `nick`, `avatar`,
/// `avatar_small`, `owner` (an id), `notice`, `members`.
#[must_use]
pub fn room_info(base64: &str) -> Value {
    let xml = unpack(base64);
    let described = RoomXml::read(xml.as_deref().unwrap_or_default());
    json!({
        "xml": xml,
        "wxid": described.wxid,
        "nick": described.nick,
        "avatar": described.avatar,
        "avatar_small": described.avatar_small,
        "owner": described.owner,
        "notice": described.notice,
        "members": described.members,
    })
}

/// What the XML of a room tells. The spec prints it cut off, so the names are looked for liberally.
#[derive(Default)]
struct RoomXml {
    wxid: Option<String>,
    nick: Option<String>,
    avatar: Option<String>,
    avatar_small: Option<String>,
    owner: Option<String>,
    notice: Option<String>,
    members: Vec<String>,
}

impl RoomXml {
    fn read(text: &str) -> Self {
        let Some(tree) = xml::locate(text).map(xml::parse) else { return Self::default() };
        let members = xml_members(&tree);
        let get = |names: &[&str]| names.iter().find_map(|name| field(&tree, name)).map(str::to_owned);
        let like = |part: &str| field_like(&tree, part).map(str::to_owned);
        let avatar_small = get(&["smallheadimgurl", "smallheadurl", "sheadpic", "smallavatar"]);
        let avatar = get(&["bigheadimgurl", "headimgurl", "bigheadurl", "headimg", "headpic", "avatar"]);
        Self {
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
