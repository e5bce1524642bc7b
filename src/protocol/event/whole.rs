//! An event, decoded: what it says of itself, and what was packed in it.
//!
//! Promises: kind first, then the fields of that kind; a field that is not what it should be is `None`.
//! Leaves to others: the items of its list (`pieces`), and what is packed in XML, hex and lists of people.

use super::fields::{self, Fields, number, word};
use super::list::List;
use super::outline::{Outline, outlined};
use crate::protocol::decoded::{ContactPacket, Decoded, Image, RoomMembers};
use crate::protocol::kind::{Kind, MESSAGE};
use crate::protocol::message::{self, Message};
use crate::protocol::{contact, json, name, packet};

/// An event, decoded whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// See [`Kind`].
    pub kind: Kind,
    /// The number in `type`, or in `code` for 401.
    pub r#type: Option<i64>,
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
    /// The chat's name in a message, the person's in a profile.
    pub nick: Option<String>,
    /// Readable text.
    pub text: Option<String>,
    /// What was packed.
    pub decoded: Decoded,
}

/// An event without the items of its list.
pub(super) fn told(fields: &Fields<'_>, data: &str, owner: Option<&str>) -> Event {
    let (outline, message) = outlined(fields, owner);
    let kind = outline.kind.unwrap_or(Kind::Other);
    let (text, decoded) = if outline.r#type == Some(MESSAGE) {
        said(fields, &outline, message)
    } else {
        (None, unpacked(kind, fields, &outline, data))
    };
    Event {
        kind,
        r#type: outline.r#type,
        account: outline.account,
        pid: outline.pid,
        chat: outline.chat,
        from: outline.from,
        is_self: outline.is_self,
        nick: fields.nick.and_then(word).map(|nick| name::plain(&nick).into_owned()),
        text,
        decoded,
    }
}

/// `text` and `decoded` of a message; `read` is it, where it was read already.
fn said(fields: &Fields<'_>, outline: &Outline, read: Option<Message>) -> (Option<String>, Decoded) {
    let read = read.or_else(|| {
        let message = fields.message.and_then(json::text)?;
        let (account, chat) = (outline.account.as_deref(), outline.chat.as_deref());
        let around = message::Around { account, chat, speaker: outline.from.as_deref() };
        Some(message::read(fields.msg_type.and_then(number).unwrap_or(0), &message, &around))
    });
    read.map_or_else(|| (None, Decoded::Nothing {}), |message| (message.text, message.decoded))
}

/// What was packed in what is no message: the table of contract 7. A list is left empty.
fn unpacked(kind: Kind, fields: &Fields<'_>, outline: &Outline, data: &str) -> Decoded {
    let hex = || fields.hex.and_then(json::text).unwrap_or_default();
    let code = || fields.code.and_then(number::<i64>);
    // `type` is the event's, not the person's.
    let person = || Box::new(contact::person(data, &["type"]));
    match kind {
        Kind::Login => Decoded::Login { code: code() },
        Kind::LoginState => Decoded::LoginState { logged_in: code().map(|code| code == LOGGED_IN) },
        Kind::LoginQrcode => qrcode(fields),
        Kind::Profile => {
            let wxid = fields.wxid.and_then(fields::id);
            Decoded::Profile { contact: person(), own: wxid.is_some() && wxid == outline.account }
        }
        Kind::ContactsPacket => Decoded::ContactsPacket { wxids: packet::read(&hex()).wxids },
        Kind::RoomMembers => Decoded::RoomMembers(RoomMembers {
            room: outline.chat.clone(),
            members: Vec::new(),
            info: fields.info.and_then(word).map(|info| contact::room_info(&info)),
        }),
        Kind::ContactPacket => {
            let packet = packet::read(&hex());
            // The later client names them beside the packet.
            let wxid = fields.wxid.and_then(fields::id);
            let with_that = |ids: Vec<String>| -> Vec<String> {
                let others = ids.into_iter().filter(|other| Some(other) != wxid.as_ref());
                wxid.iter().cloned().chain(others).collect()
            };
            Decoded::ContactPacket(ContactPacket {
                wxids: with_that(packet.wxids),
                v1: fields.v1.and_then(word).or(packet.v1),
                v2: fields.v2.and_then(word).or(packet.v2),
                avatars: packet.avatars,
                strings: packet.strings,
                about: with_that(packet.about),
            })
        }
        Kind::RoomCreated => Decoded::RoomCreated { room: outline.chat.clone() },
        Kind::FriendVerified => {
            let hex = hex();
            Decoded::FriendVerified { ok: packet::contains_v1(&hex), v1s: packet::read(&hex).v1s }
        }
        Kind::FriendV2 => Decoded::FriendV2 { contact: person(), v2: fields.v2.and_then(word) },
        _ => List::of(kind).map(List::empty).unwrap_or_default(),
    }
}

/// The `code` of 66 and 67 that means logged in.
const LOGGED_IN: i64 = 200;

/// The longest login picture that is looked for in hex, bytes of hex: a QR code has a few thousand.
const QRCODE_HEX_BYTES_MAX: usize = 4 << 20;

/// A login code: a picture as data URI (plain, or as hex), as raw bytes in hex, or as bare base64, else a link or text.
/// Spec `#qrCode`, and 82 of client-facts.md.
fn qrcode(fields: &Fields<'_>) -> Decoded {
    let plain = fields.message.and_then(word);
    let hex = fields.hex.and_then(word);
    // Only what is called hex is taken for it: a text may look like it.
    let bytes = hex
        .as_deref()
        .filter(|hex| hex.len() <= QRCODE_HEX_BYTES_MAX)
        .and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex.trim().as_bytes()).ok());
    if let Some(media_type) = bytes.as_deref().and_then(picture) {
        let base64 = data_encoding::BASE64.encode(bytes.as_deref().unwrap_or_default());
        return Decoded::LoginImage { image: Image { media_type: media_type.to_owned(), base64 } };
    }
    let unpacked =
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains(char::is_control));
    let Some(content) = plain.or(unpacked).or(hex) else { return Decoded::Nothing {} };
    let content = content.trim();
    let bare = || {
        let head = content.get(..16)?;
        Some((picture(&data_encoding::BASE64.decode(head.as_bytes()).ok()?)?, content))
    };
    match content.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")).or_else(bare) {
        Some((media_type, base64)) => {
            let base64: String = base64.split_ascii_whitespace().collect();
            Decoded::LoginImage { image: Image { media_type: media_type.to_owned(), base64 } }
        }
        None => Decoded::LoginContent { content: content.to_owned() },
    }
}

/// The media type of a picture, by its first bytes.
fn picture(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some("image/bmp"),
        _ => None,
    }
}
