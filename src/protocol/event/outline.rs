//! What an event says of itself, without unpacking more of it than that takes.
//!
//! Promises: cheap, for it is made of every event that arrives; what [`decode`](super::decode) says of the same event is
//! the same.
//! Leaves to others: everything else that an event holds (`whole`).

use super::fields::{self, Fields, number, word};
use crate::protocol::kind::{Kind, MESSAGE};
use crate::protocol::message::{self, Message, Speaker};
use crate::protocol::{id, json};

/// What is known of an event without unpacking what is packed in it. Cheap: it is made for every event that arrives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The number in `type`, or in `code` for 401.
    pub r#type: Option<i64>,
    /// Always there in what [`outline`] returns.
    pub kind: Option<Kind>,
    /// `cwxid`
    pub account: Option<String>,
    /// `processid`
    pub pid: Option<u64>,
    /// The conversation: the room, else the other person.
    pub chat: Option<String>,
    /// Who spoke.
    pub from: Option<String>,
    /// Whether the account itself spoke; `None` for what is no message.
    pub is_self: Option<bool>,
}

/// What an event says of itself; see [`Outline`]. `data` is the inner object's text.
#[must_use]
pub fn outline(data: &str) -> Outline {
    outline_of(data, None)
}

/// As [`outline`]; `owner` is the account whose process it came from, for an event that names none.
#[must_use]
pub fn outline_of(data: &str, owner: Option<&str>) -> Outline {
    outlined(&Fields::read(data).unwrap_or_default(), owner).0
}

/// The type that stands in `code`, in events that have no `type` (spec `#qrCode`); elsewhere `code` is a result.
pub(super) const TYPE_IN_CODE: i64 = 401;

/// What an event says of itself, and its message, where that had to be read to tell.
pub(super) fn outlined(fields: &Fields<'_>, owner: Option<&str>) -> (Outline, Option<Message>) {
    let in_code = || fields.code.and_then(number).filter(|code| *code == TYPE_IN_CODE);
    let r#type = fields.kind.and_then(number).or_else(in_code);
    let msg_type = fields.msg_type.and_then(number);
    let kind = Kind::of(r#type, msg_type);
    let account = fields.account.and_then(fields::id).or_else(|| owner.map(str::to_owned));
    let mut outline =
        Outline { r#type, kind: Some(kind), account, pid: fields.pid.and_then(number), ..Outline::default() };
    let mut message = None;
    if r#type == Some(MESSAGE) {
        outline.chat = fields.wxid.and_then(fields::id);
        message = spoken(fields, msg_type.unwrap_or(0), &mut outline);
    } else if kind == Kind::RoomMembers {
        outline.chat = fields.wxid.and_then(fields::id);
    } else if kind == Kind::RoomCreated {
        outline.chat = fields.chatroom.and_then(fields::id);
    }
    (outline, message)
}

/// Who spoke in a message, and what kind it is, where only the message tells.
fn spoken(fields: &Fields<'_>, msg_type: i64, outline: &mut Outline) -> Option<Message> {
    let in_room = outline.chat.as_deref().is_some_and(id::is_room);
    // Only messages of rooms have it (spec `#message`); a notice in a room has no speaker.
    let speaker = fields.speaker.and_then(fields::id);
    let my_msg = fields.my_msg.and_then(word).map(|said| matches!(said.as_str(), "1" | "true" | "True"));
    let mut own = my_msg;
    let mut from = speaker.clone();
    let mut read = None;
    if message::is_read_first(msg_type) {
        let around = message::Around {
            account: outline.account.as_deref(),
            chat: outline.chat.as_deref(),
            speaker: speaker.as_deref(),
        };
        let text = fields.message.and_then(json::text).unwrap_or_default();
        let message = message::read(msg_type, &text, &around);
        outline.kind = Some(message.kind);
        match &message.from {
            Speaker::Unsaid if from.is_none() && !in_room => from.clone_from(&outline.chat),
            Speaker::Unsaid => {}
            Speaker::Account => {
                from.clone_from(&outline.account);
                own = Some(true);
            }
            Speaker::Id(id) => {
                // Of a recall or a pat the id says who it was, whoever reported it.
                own = own.filter(|_| message.kind == Kind::MessageFriendRequest);
                from = Some(id.clone());
            }
            Speaker::Nobody => from = None,
        }
        read = Some(message);
    } else if from.is_none() && in_room {
        // As some versions tell it.
        let text = fields.message.and_then(json::text);
        from = text.as_deref().and_then(message::speaker_before).filter(|id| !id::is_room(id)).map(str::to_owned);
    } else if from.is_none() {
        from.clone_from(&outline.chat);
    }
    // Versions that do not report `myMsg` still say who spoke.
    let own = own.unwrap_or_default() || (from.is_some() && from == outline.account);
    if own {
        from = outline.account.clone().or(speaker);
    }
    (outline.from, outline.is_self) = (from, Some(own));
    read
}
