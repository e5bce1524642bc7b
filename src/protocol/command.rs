//! Every command that a client carries out: its JSON, its code, and what answers it (spec part 二, contract 3).
//!
//! Promises: a [`Command`] is what a user means, a [`Wire`] is what goes over the wire: pure ASCII, no spaces, keys in
//! the spec's order, because that is what the maker's own demo servers send; bounded in size and depth. What cannot be
//! meant (an empty text, half a ticket pair) is refused with a sentence.
//! Leaves to others: when it goes (`daemon`), and which event is its answer (`answer`).

mod check;

pub use check::{Fault, check, is_local_path, local_path, path_member};

use super::id::{RoomId, TICKET_BYTES_MAX, Wxid};
use super::json;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The longest command, bytes of ASCII JSON: WeChat cuts texts at a few thousand characters, six bytes each here.
pub const WIRE_BYTES_MAX: usize = 64 * 1024;

/// The deepest nesting of a command given as JSON: the spec's have two levels.
pub const WIRE_DEPTH_MAX: usize = 32;

/// The most characters of a member's name that a refusal quotes.
const MEMBER_CHARS_MAX: usize = 64;

/// The most ids in one `newGetUserLists` (spec 好友操作 4: 一次最多五十人).
pub const INFO_IDS_MAX: usize = 50;

/// For pacing (contract 2): what a command does to an account's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Does something that others see: sends, kicks, renames ….
    Send,
    /// Adds or accepts a friend.
    Friend,
    /// Asks something; never paced.
    Question,
}

/// Whether a command puts a message into the chat that its `wxid` names. Only those are refused by a notice in their
/// chat, and only texts come back as an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It says nothing in a chat.
    Nothing,
    /// A text.
    Text,
    /// A picture, a file, a link.
    Media,
}

/// One row of the table of contract 3.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// The CLI words, `send text`.
    pub verb: &'static str,
    /// The wire's `api`.
    pub api: &'static str,
    /// The wire's `code`.
    pub code: Option<u32>,
    /// The event types that answer it, the surest first; empty: nothing answers.
    pub answers: &'static [i64],
    /// For pacing.
    pub class: Class,
    /// What it says in a chat.
    pub says: Says,
    /// Where it is specified: the heading and its anchor in `wehelp-api.zh.md`.
    pub spec: &'static str,
}

macro_rules! apis {
    ($($verb:literal $api:literal $code:expr, $answers:expr, $class:ident, $says:ident, $spec:literal;)*) => {
        /// Every row, in the order of the contract's table.
        pub const APIS: &[Api] = &[$(Api {
            verb: $verb, api: $api, code: $code, answers: &$answers, class: Class::$class,
            says: Says::$says, spec: $spec,
        }),*];
    };
}

apis! {
    "send text" "sendTextMessage" Some(1), [], Send, Text, "发送消息 1 #text";
    "send image" "sendPicMessage" Some(2), [], Send, Media, "发送消息 2 #img";
    "send file" "sendFileMessage" Some(25), [], Send, Media, "发送消息 3 #file";
    "send link" "sendXmlMessage" Some(3), [], Send, Media, "发送消息 4 #xml";
    "friend list" "initContact" Some(45), [210, 97], Question, Nothing, "好友操作 1 #getFriends";
    "friend add" "addUserEvent" Some(5), [96], Friend, Nothing, "好友操作 2 #addFriend";
    "friend delete" "delUser" Some(17), [], Send, Nothing, "好友操作 3 #destroyFriend";
    "friend info" "newGetUserLists" Some(46), [210, 88], Question, Nothing, "好友操作 4 #queryFriendInfo";
    "friend get" "getUserInfo" Some(19), [71], Question, Nothing, "好友操作 5 #getFriendInfo";
    "friend lookup" "netGetUserInfo" Some(30), [88], Question, Nothing, "其他 2 #networkGetWxidInfo";
    "friend accept" "acceptFriend" Some(10), [96], Friend, Nothing, "好友操作 6 #agreeNewFriends";
    "room list" "getChatRoomLists" Some(47), [211], Question, Nothing, "群操作 1 #getRooms";
    "room members" "getChatRoomUserLists" Some(6), [77], Question, Nothing, "群操作 4 #getRoomMembers";
    "room kick" "delChatRoomUser" Some(12), [], Send, Nothing, "群操作 3 #destoryRoomMember";
    "room invite" "sendChatroom" Some(4), [], Send, Nothing, "群操作 7 #groupInvitation";
    "room nick" "updateRoomAsName" Some(44), [], Send, Nothing, "群操作 5 #editRoomAsName";
    "room stranger" "getRoomUserV2" Some(34), [81, 88], Question, Nothing, "群操作 6 #getRoomMemberV2";
    "room rename" "updateChatRoomName" None, [], Send, Nothing, "群操作 2 #editRoomName (更新中; the newer client's shape)";
    "account status" "getLoginStatus" Some(20), [67, 66], Question, Nothing, "其他 1 #getLoginState";
    "account qrcode" "getLoginQrCode" Some(36), [401, 82], Question, Nothing, "其他 3 #loginQrCode";
    "account logout" "outLogin" Some(39), [90], Send, Nothing, "其他 4 #getLogout";
}

impl Api {
    /// The row of that `api` name.
    #[must_use]
    pub fn find(api: &str) -> Option<&'static Self> {
        APIS.iter().find(|row| row.api == api)
    }

    /// What a command of that `api` says in a chat; one that we do not know says nothing that we could recognise.
    #[must_use]
    pub fn says(api: &str) -> Says {
        Self::find(api).map_or(Says::Nothing, |row| row.says)
    }

    /// Whether it asks about the login: the one thing that a client can answer when nobody is logged in to it.
    #[must_use]
    pub fn is_about_login(&self) -> bool {
        matches!(self.code, Some(20 | 36))
    }

    /// Whether it only asks: then a user waits for its answer unless told otherwise.
    #[must_use]
    pub fn is_question(&self) -> bool {
        self.class == Class::Question
    }
}

/// What a user wants a client to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the wire's own names, explained in the spec section of each variant")]
pub enum Command {
    /// 发送消息 1
    SendText { wxid: Wxid, text: String },
    /// 发送消息 2
    SendImage { wxid: Wxid, path: String },
    /// 发送消息 3
    SendFile { wxid: Wxid, path: String },
    /// 发送消息 4
    SendLink { wxid: Wxid, title: String, url: String, desc: Option<String>, pic: Option<String> },
    /// 好友操作 1
    FriendList,
    /// 好友操作 2
    FriendAdd { wxid: Wxid, message: Option<String> },
    /// 好友操作 3
    FriendDelete { wxid: Wxid },
    /// 好友操作 4; at most [`INFO_IDS_MAX`] ids, see [`Command::friend_info`].
    FriendInfo { wxids: Vec<Wxid> },
    /// 好友操作 5
    FriendGet { wxid: Wxid },
    /// 其他 2
    FriendLookup { wxid: Wxid },
    /// 好友操作 6
    FriendAccept { v1: String, v2: String },
    /// 群操作 1
    RoomList,
    /// 群操作 4
    RoomMembers { room: RoomId },
    /// 群操作 3
    RoomKick { room: RoomId, wxid: Wxid },
    /// 群操作 7
    RoomInvite { room: RoomId, wxid: Wxid },
    /// 群操作 5
    RoomNick { room: RoomId, name: String },
    /// 群操作 6
    RoomStranger { room: RoomId, wxid: Wxid },
    /// 群操作 2: announced in the spec, the shape is the newer client's.
    RoomRename { room: RoomId, name: String },
    /// 其他 1
    AccountStatus,
    /// 其他 3
    AccountQrcode,
    /// 其他 4
    AccountLogout,
}

impl Command {
    /// As many `FriendInfo` commands as so many ids need.
    #[must_use]
    pub fn friend_info(wxids: &[Wxid]) -> Vec<Self> {
        wxids.chunks(INFO_IDS_MAX).map(|chunk| Self::FriendInfo { wxids: chunk.to_vec() }).collect()
    }

    /// The wire form, with the spec's client-side delay in seconds when one is given.
    ///
    /// # Errors
    /// When something that must be said is empty, a ticket is none, there are too many ids, or all of it is longer than
    /// [`WIRE_BYTES_MAX`].
    pub fn to_wire(&self, time: Option<u64>) -> Result<Wire, Error> {
        self.check()?;
        let api = self.api();
        let mut map = Map::new();
        map.insert("api".to_owned(), api.into());
        if let Some(code) = Api::find(api).and_then(|row| row.code) {
            map.insert("code".to_owned(), code.into());
        }
        for (key, value) in self.fields() {
            map.insert(key.to_owned(), value);
        }
        let wire = Wire::from_value(Value::Object(map))?;
        match time {
            Some(seconds) => wire.with_time(seconds),
            None => Ok(wire),
        }
    }

    /// Refuses what the types let through and no client can carry out.
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::SendText { text, .. } => said("text", text),
            Self::SendImage { path, .. } | Self::SendFile { path, .. } => said("path", path),
            Self::SendLink { title, url, desc, pic, .. } => {
                said("title", title)?;
                said("url", url)?;
                whole("description", desc.as_deref())?;
                whole("picture", pic.as_deref())
            }
            Self::FriendAdd { message, .. } => whole("message", message.as_deref()),
            Self::RoomNick { name, .. } | Self::RoomRename { name, .. } => said("name", name),
            Self::FriendAccept { v1, v2 } => {
                ticket("v1", v1)?;
                ticket("v2", v2)?;
                swapped(v1, v2)
            }
            Self::FriendInfo { wxids } if wxids.is_empty() => Err(Error::Empty("list of ids")),
            Self::FriendInfo { wxids } if wxids.len() > INFO_IDS_MAX => Err(Error::TooMany(wxids.len())),
            _ => Ok(()),
        }
    }

    fn api(&self) -> &'static str {
        match self {
            Self::SendText { .. } => "sendTextMessage",
            Self::SendImage { .. } => "sendPicMessage",
            Self::SendFile { .. } => "sendFileMessage",
            Self::SendLink { .. } => "sendXmlMessage",
            Self::FriendList => "initContact",
            Self::FriendAdd { .. } => "addUserEvent",
            Self::FriendDelete { .. } => "delUser",
            Self::FriendInfo { .. } => "newGetUserLists",
            Self::FriendGet { .. } => "getUserInfo",
            Self::FriendLookup { .. } => "netGetUserInfo",
            Self::FriendAccept { .. } => "acceptFriend",
            Self::RoomList => "getChatRoomLists",
            Self::RoomMembers { .. } => "getChatRoomUserLists",
            Self::RoomKick { .. } => "delChatRoomUser",
            Self::RoomInvite { .. } => "sendChatroom",
            Self::RoomNick { .. } => "updateRoomAsName",
            Self::RoomStranger { .. } => "getRoomUserV2",
            Self::RoomRename { .. } => "updateChatRoomName",
            Self::AccountStatus => "getLoginStatus",
            Self::AccountQrcode => "getLoginQrCode",
            Self::AccountLogout => "outLogin",
        }
    }

    /// The fields after `api` and `code`, in the spec's order; optional ones are left out when not given.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let id = |wxid: &Wxid| json!(wxid.as_str());
        let room_id = |room: &RoomId| json!(room.as_str());
        match self {
            Self::SendText { wxid, text } => vec![("wxid", id(wxid)), ("text", json!(text))],
            Self::SendImage { wxid, path } => vec![("wxid", id(wxid)), ("imgPath", json!(path))],
            Self::SendFile { wxid, path } => vec![("wxid", id(wxid)), ("filePath", json!(path))],
            Self::SendLink { wxid, title, url, desc, pic } => {
                let mut fields = vec![("wxid", id(wxid)), ("title", json!(title)), ("url", json!(url))];
                fields.extend(desc.as_ref().map(|desc| ("desc", json!(desc))));
                fields.extend(pic.as_ref().map(|pic| ("pic", json!(pic))));
                fields
            }
            Self::FriendList | Self::RoomList | Self::AccountQrcode | Self::AccountLogout => vec![],
            Self::FriendAdd { wxid, message } => {
                let mut fields = vec![("wxid", id(wxid))];
                fields.extend(message.as_ref().map(|message| ("message", json!(message))));
                fields
            }
            Self::FriendDelete { wxid } | Self::FriendGet { wxid } | Self::FriendLookup { wxid } => {
                vec![("wxid", id(wxid))]
            }
            Self::FriendInfo { wxids } => {
                vec![("wxidLists", wxids.iter().map(|w| json!(w.as_str())).collect())]
            }
            Self::FriendAccept { v1, v2 } => vec![("v1", json!(v1)), ("v2", json!(v2))],
            Self::RoomMembers { room } => vec![("wxid", room_id(room))],
            Self::RoomKick { room, wxid } | Self::RoomStranger { room, wxid } => {
                vec![("chatroom", room_id(room)), ("wxid", id(wxid))]
            }
            Self::RoomInvite { room, wxid } => vec![("wxid", id(wxid)), ("chatroom", room_id(room))],
            Self::RoomNick { room, name } | Self::RoomRename { room, name } => {
                vec![("chatroom", room_id(room)), ("name", json!(name))]
            }
            Self::AccountStatus => vec![("info", json!("wehelp"))],
        }
    }
}

/// Refuses a text that says nothing or would be cut off.
fn said(what: &'static str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::Empty(what));
    }
    whole(what, Some(text))
}

/// Refuses a text that a client written in C would cut off.
fn whole(what: &'static str, text: Option<&str>) -> Result<(), Error> {
    if text.is_some_and(|text| text.contains('\0')) { Err(Error::Nul(what)) } else { Ok(()) }
}

fn swapped(v1: &str, v2: &str) -> Result<(), Error> {
    if v1.starts_with("v2_") && v2.starts_with("v1_") { Err(Error::Swapped) } else { Ok(()) }
}

fn ticket(what: &'static str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty(what));
    }
    let fits = text.len() <= TICKET_BYTES_MAX && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if fits { Ok(()) } else { Err(Error::NoTicket(what)) }
}

/// A command as it stands on the wire: an object with a string `api`, as ASCII JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Wire {
    text: String,
    map: Map<String, Value>,
}

/// Why something is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error("this is no JSON: {0}")]
    NotJson(String),
    /// It is JSON of another kind.
    #[error("a command is one JSON object, as {{\"api\":\"sendTextMessage\",…}}")]
    NotAnObject,
    /// It says not what is to be done.
    #[error("a command needs a string `api`; `wehelp api` lists those there are")]
    NoApi,
    /// It says something twice: what the queue goes by and what the client does could differ.
    #[error("the command has the member `{0}` twice; leave one out")]
    Repeated(String),
    /// It is too large.
    #[error("the command has {0} bytes; the longest allowed has {WIRE_BYTES_MAX}")]
    TooLong(usize),
    /// It is nested too deep.
    #[error("the command is nested deeper than {WIRE_DEPTH_MAX} levels")]
    TooDeep,
    /// Something that must be said was not.
    #[error("the {0} is empty; say what to send")]
    Empty(&'static str),
    /// A NUL character ends a text for the client.
    #[error("the {0} has a NUL character; take it out, or the client cuts the rest off")]
    Nul(&'static str),
    /// It is not one word.
    #[error("the {0} is no ticket; give it as `wehelp friend requests` prints it")]
    NoTicket(&'static str),
    /// Each ticket stands in the other's place.
    #[error("v1 and v2 are swapped; give the ticket that begins with v1_ as v1")]
    Swapped,
    /// More ids than one command takes.
    #[error("{0} ids in one command, and the client takes {INFO_IDS_MAX}; split them")]
    TooMany(usize),
    /// The delay was given twice.
    #[error("the command has a `time` already; take it out, or do not give another")]
    Timed,
}

impl Wire {
    /// Takes an object as given (`raw`). Numbers, key order and escapes stay as they were written; white space goes,
    /// and what is not ASCII is escaped.
    ///
    /// # Errors
    /// When it is no JSON object with a non-empty string `api`, has a member twice, or is too long or too deep.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        // White space may take as much again; more is not read at all.
        if text.len() > WIRE_BYTES_MAX * 2 {
            return Err(Error::TooLong(text.len()));
        }
        if json::depth(text) > WIRE_DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        let value = serde_json::from_str(text).map_err(|e| Error::NotJson(e.to_string()))?;
        if let Some(name) = json::repeated_member(text) {
            return Err(Error::Repeated(name.chars().filter(|c| !c.is_control()).take(MEMBER_CHARS_MAX).collect()));
        }
        Self::new(text, value)
    }

    /// As [`Wire::from_json`], from a value.
    ///
    /// # Errors
    /// As there.
    pub fn from_value(value: Value) -> Result<Self, Error> {
        let text = value.to_string();
        if json::depth(&text) > WIRE_DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        Self::new(&text, value)
    }

    /// `text` is `value`, in the spelling that goes out.
    fn new(text: &str, value: Value) -> Result<Self, Error> {
        let Value::Object(map) = value else { return Err(Error::NotAnObject) };
        if map.get("api").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Error::NoApi);
        }
        let text = compact_ascii(text);
        if text.len() > WIRE_BYTES_MAX {
            return Err(Error::TooLong(text.len()));
        }
        Ok(Self { text, map })
    }

    /// Adds the spec's `time`: the client waits so many seconds before it carries the command out.
    ///
    /// # Errors
    /// When it has one, or has no room for it.
    pub fn with_time(mut self, seconds: u64) -> Result<Self, Error> {
        if self.map.contains_key("time") {
            return Err(Error::Timed);
        }
        // It is an object with at least an `api`.
        self.text.pop();
        self.text.push_str(&format!(",\"time\":{seconds}}}"));
        self.map.insert("time".to_owned(), seconds.into());
        if self.text.len() > WIRE_BYTES_MAX { Err(Error::TooLong(self.text.len())) } else { Ok(self) }
    }

    /// The same with another text in a member.
    ///
    /// # Errors
    /// When it is too long then.
    pub fn with_text(mut self, member: &str, text: &str) -> Result<Self, Error> {
        self.map.insert(member.to_owned(), text.into());
        Self::from_value(Value::Object(self.map))
    }

    /// The wire's `api`.
    #[must_use]
    pub fn api(&self) -> &str {
        self.map.get("api").and_then(Value::as_str).unwrap_or_default()
    }

    /// The object, for look-ups.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// ASCII JSON: what goes over the wire.
    #[must_use]
    pub fn to_ascii(&self) -> String {
        self.text.clone()
    }

    /// ASCII JSON, borrowed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The class of its api. One that we do not know may do anything, so it counts as a send.
    #[must_use]
    pub fn class(&self) -> Class {
        Api::find(self.api()).map_or(Class::Send, |row| row.class)
    }
}

/// Pure ASCII JSON of a value: no spaces, keys in order, `\uXXXX` with surrogate pairs, as Python's `json.dumps` does.
#[must_use]
pub fn ascii_json(value: &Value) -> String {
    compact_ascii(&value.to_string())
}

/// Takes the white space between tokens out of valid JSON and escapes what is not ASCII; every other byte stays.
fn compact_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            _ => {}
        }
        // DEL counts as unprintable for Python's `json.dumps`, too.
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ok = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wxid(id: &str) -> Wxid {
        Wxid::parse(id).unwrap()
    }

    fn room(id: &str) -> RoomId {
        RoomId::parse(id).unwrap()
    }

    /// Every example of the spec's second part, as printed there but for the Chinese, which goes escaped.
    #[test]
    fn every_command_of_the_spec_is_put_on_the_wire_as_printed() {
        let user = || wxid("wxid_qg0saisth0r2XXX");
        let some = |text: &str| Some(text.to_owned());
        let cases: Vec<(Command, Option<u64>, &str)> = vec![
            (
                Command::SendText { wxid: user(), text: "测试".into() },
                Some(1),
                r#"{"api":"sendTextMessage","code":1,"wxid":"wxid_qg0saisth0r2XXX","text":"\u6d4b\u8bd5","time":1}"#,
            ),
            (
                Command::SendImage { wxid: wxid("wxid_asdasdXXX"), path: "C:\\a.png".into() },
                Some(1),
                r#"{"api":"sendPicMessage","code":2,"wxid":"wxid_asdasdXXX","imgPath":"C:\\a.png","time":1}"#,
            ),
            (
                Command::SendFile { wxid: wxid("wxid_asdasdXXX"), path: "D:/b".into() },
                Some(1),
                r#"{"api":"sendFileMessage","code":25,"wxid":"wxid_asdasdXXX","filePath":"D:/b","time":1}"#,
            ),
            (
                Command::SendLink {
                    wxid: wxid("wxid_asdasdXXX"),
                    title: "t".into(),
                    url: "http://u".into(),
                    desc: some("d"),
                    pic: some("http://p"),
                },
                Some(1),
                r#"{"api":"sendXmlMessage","code":3,"wxid":"wxid_asdasdXXX","title":"t","url":"http://u","desc":"d","pic":"http://p","time":1}"#,
            ),
            (Command::FriendList, None, r#"{"api":"initContact","code":45}"#),
            (
                Command::FriendAdd { wxid: user(), message: some("您好") },
                None,
                r#"{"api":"addUserEvent","code":5,"wxid":"wxid_qg0saisth0r2XXX","message":"\u60a8\u597d"}"#,
            ),
            (
                Command::FriendAdd { wxid: user(), message: None },
                None,
                r#"{"api":"addUserEvent","code":5,"wxid":"wxid_qg0saisth0r2XXX"}"#,
            ),
            (
                Command::FriendDelete { wxid: user() },
                None,
                r#"{"api":"delUser","code":17,"wxid":"wxid_qg0saisth0r2XXX"}"#,
            ),
            (
                Command::FriendInfo { wxids: vec![user(), wxid("asdad30XXX")] },
                None,
                r#"{"api":"newGetUserLists","code":46,"wxidLists":["wxid_qg0saisth0r2XXX","asdad30XXX"]}"#,
            ),
            (
                Command::FriendGet { wxid: user() },
                None,
                r#"{"api":"getUserInfo","code":19,"wxid":"wxid_qg0saisth0r2XXX"}"#,
            ),
            (
                Command::FriendAccept { v1: "xxx".into(), v2: "xxx".into() },
                None,
                r#"{"api":"acceptFriend","code":10,"v1":"xxx","v2":"xxx"}"#,
            ),
            (Command::RoomList, None, r#"{"api":"getChatRoomLists","code":47}"#),
            (
                Command::RoomKick { room: room("237230488XXX@chatroom"), wxid: wxid("dasfada30XXX") },
                None,
                r#"{"api":"delChatRoomUser","code":12,"chatroom":"237230488XXX@chatroom","wxid":"dasfada30XXX"}"#,
            ),
            (
                Command::RoomMembers { room: room("75101150XXX@chatroom") },
                None,
                r#"{"api":"getChatRoomUserLists","code":6,"wxid":"75101150XXX@chatroom"}"#,
            ),
            (
                Command::RoomNick { room: room("237230488XXX@chatroom"), name: "n".into() },
                None,
                r#"{"api":"updateRoomAsName","code":44,"chatroom":"237230488XXX@chatroom","name":"n"}"#,
            ),
            (
                Command::RoomStranger { room: room("75101150XXX@chatroom"), wxid: wxid("wxid_zxzs0isl4unhXXX") },
                None,
                r#"{"api":"getRoomUserV2","code":34,"chatroom":"75101150XXX@chatroom","wxid":"wxid_zxzs0isl4unhXXX"}"#,
            ),
            (
                Command::RoomInvite { room: room("237230488XXX@chatroom"), wxid: user() },
                None,
                r#"{"api":"sendChatroom","code":4,"wxid":"wxid_qg0saisth0r2XXX","chatroom":"237230488XXX@chatroom"}"#,
            ),
            (
                Command::RoomRename { room: room("1@chatroom"), name: "n".into() },
                None,
                r#"{"api":"updateChatRoomName","chatroom":"1@chatroom","name":"n"}"#,
            ),
            (Command::AccountStatus, None, r#"{"api":"getLoginStatus","code":20,"info":"wehelp"}"#),
            (
                Command::FriendLookup { wxid: wxid("xdasa30XXX") },
                None,
                r#"{"api":"netGetUserInfo","code":30,"wxid":"xdasa30XXX"}"#,
            ),
            (Command::AccountQrcode, None, r#"{"api":"getLoginQrCode","code":36}"#),
            (Command::AccountLogout, None, r#"{"api":"outLogin","code":39}"#),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (command, time, wire) in cases {
            let made = command.to_wire(time).unwrap();
            assert_eq!(made.to_ascii(), wire);
            assert_eq!(Wire::from_json(wire).unwrap(), made);
            seen.insert(made.api().to_owned());
        }
        assert_eq!(seen.len(), APIS.len(), "every row of the table has a case");
    }

    #[test]
    fn every_command_example_of_the_spec_is_taken_as_it_stands() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spec");
        let mut seen = 0;
        for row in APIS {
            let Some(code) = row.code else { continue };
            let name = format!("{code}-{}.json", row.verb.replace(' ', "-"));
            let example = std::fs::read_to_string(folder.join(&name)).expect(&name);
            let wire = Wire::from_json(&example).unwrap();
            assert_eq!((wire.api(), wire.class()), (row.api, row.class), "{name}");
            assert_eq!(wire.as_map()["code"], code, "{name}");
            assert_eq!(wire.as_str(), ascii_json(&serde_json::from_str(&example).unwrap()), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 20);
    }

    #[test]
    fn text_goes_as_ascii_as_pythons_json_writes_it() {
        let text = "你好 😀\n\r\t\u{8}\u{c}\"\\/\u{7f}\u{1}\u{a0}~";
        let wire = Command::SendText { wxid: wxid("filehelper"), text: text.into() }.to_wire(None).unwrap();
        assert_eq!(
            wire.as_str(),
            r#"{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"\u4f60\u597d \ud83d\ude00\n\r\t\b\f\"\\/\u007f\u0001\u00a0~"}"#
        );
        assert_eq!(wire.as_map()["text"], text);
    }

    #[test]
    fn a_delay_comes_last_and_once() {
        let wire = Wire::from_json(r#"{"api":"x","z":1}"#).unwrap().with_time(3).unwrap();
        assert_eq!(wire.as_str(), r#"{"api":"x","z":1,"time":3}"#);
        assert_eq!(Wire::from_json(wire.as_str()).unwrap(), wire);
        assert_eq!(wire.with_time(4).unwrap_err(), Error::Timed);
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        let text = |text: &str| Command::SendText { wxid: wxid("filehelper"), text: text.to_owned() };
        let accept = |v1: &str, v2: &str| Command::FriendAccept { v1: v1.to_owned(), v2: v2.to_owned() };
        for (command, error) in [
            (text(""), Error::Empty("text")),
            (text(" \n"), Error::Empty("text")),
            (text("a\0b"), Error::Nul("text")),
            (Command::FriendAdd { wxid: wxid("a"), message: Some("a\0b".into()) }, Error::Nul("message")),
            (Command::SendFile { wxid: wxid("a"), path: String::new() }, Error::Empty("path")),
            (Command::RoomRename { room: room("1@chatroom"), name: String::new() }, Error::Empty("name")),
            (accept("", "b"), Error::Empty("v1")),
            (accept("a", "b c"), Error::NoTicket("v2")),
            (accept("v2_a@stranger", "v1_a@stranger"), Error::Swapped),
            (Command::FriendInfo { wxids: Vec::new() }, Error::Empty("list of ids")),
            (Command::FriendInfo { wxids: vec![wxid("a"); 51] }, Error::TooMany(51)),
        ] {
            assert_eq!(command.to_wire(None).unwrap_err(), error, "{command:?}");
        }
        assert!(matches!(text(&"字".repeat(20_000)).to_wire(None), Err(Error::TooLong(_))));
    }

    #[test]
    fn a_raw_command_keeps_its_numbers_and_its_order() {
        let wire =
            Wire::from_json("{ \"z\" : 1.10, \"api\":\"x\", \"n\": 12345678901234567890123, \"a\":\"\u{e9} b\" }");
        assert_eq!(wire.unwrap().to_ascii(), r#"{"z":1.10,"api":"x","n":12345678901234567890123,"a":"\u00e9 b"}"#);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for (text, error) in [
            ("[1]", Error::NotAnObject),
            ("{}", Error::NoApi),
            (r#"{"api":1}"#, Error::NoApi),
            (r#"{"api":""}"#, Error::NoApi),
        ] {
            assert_eq!(Wire::from_json(text).unwrap_err(), error, "{text}");
        }
        assert!(matches!(Wire::from_json("{\"api\":").unwrap_err(), Error::NotJson(_)));
        for levels in [WIRE_DEPTH_MAX, 200] {
            let deep = format!(r#"{{"api":"x","a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
            assert_eq!(Wire::from_json(&deep).unwrap_err(), Error::TooDeep);
        }
        assert!(Wire::from_json(r#"{"api":"x","a":"\ud83d"}"#).is_err(), "half a character");
        for (twice, name) in [
            (r#"{"api":"outLogin","api":"x"}"#, "api"),
            (r#"{"api":"x","ap\u0069":"x"}"#, "api"),
            (r#"{"wxid":"a","api":"x","wxid":"b"}"#, "wxid"),
        ] {
            assert_eq!(Wire::from_json(twice).unwrap_err(), Error::Repeated(name.into()), "{twice}");
        }
        assert!(Wire::from_json(r#"{"api":"x","a":{"api":1},"b":{"api":2}}"#).is_ok());
        let long = format!(r#"{{"api":"x","a":"{}"}}"#, "a".repeat(WIRE_BYTES_MAX));
        assert!(matches!(Wire::from_json(&long).unwrap_err(), Error::TooLong(_)));
    }

    #[test]
    fn ids_are_asked_fifty_at_a_time() {
        let ids: Vec<Wxid> = (0..101).map(|n| wxid(&format!("wxid_{n}"))).collect();
        let sizes: Vec<usize> = Command::friend_info(&ids)
            .iter()
            .map(|c| match c {
                Command::FriendInfo { wxids } => wxids.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(sizes, [50, 50, 1]);
    }
}
