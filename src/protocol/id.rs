//! Ids of people and rooms: parsed once, valid ever after (client-facts.md, "WeChat's own formats").
//!
//! Promises: an id is one word without control characters that fits into a command, and a room is a room. Ids come in
//! many shapes and new ones appear, so nothing else is asked of them.
//! Leaves to others: who somebody is (`directory`), and names (`@NAME`).

use std::fmt;

/// The longest id, bytes: the longest that WeChat makes have about 70, the rest is room for what we do not know.
pub const ID_BYTES_MAX: usize = 128;

/// The longest ticket, bytes: those seen have up to 250.
pub const TICKET_BYTES_MAX: usize = 1024;

/// The ends of rooms' ids; `im.chatroom` is a room of a company with people from outside.
const ROOM_SUFFIXES: [&str; 2] = ["@chatroom", "@im.chatroom"];

/// The id of a person, a public account, a company contact or a room; a ticket stands for a person, too, where the
/// client takes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wxid(String);

/// The id of a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(String);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was given.
    #[error("the id is empty; give one like wxid_abc, filehelper or 123@chatroom")]
    Empty,
    /// It has white space or control characters.
    #[error("the id {0:?} has white space or control characters; give it as one word, as the client reports it")]
    NotAWord(String),
    /// It is too long.
    #[error("the id has {0} bytes, and the longest allowed has {ID_BYTES_MAX}; give it as the client reports it")]
    TooLong(usize),
    /// A room is due here.
    #[error("`{0}` is no room: a room's id ends in @chatroom; `wehelp room list` lists them")]
    NotARoom(String),
}

fn check(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > if is_ticket(text) { TICKET_BYTES_MAX } else { ID_BYTES_MAX } {
        return Err(Error::TooLong(text.len()));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::NotAWord(text.to_owned()));
    }
    Ok(())
}

impl Wxid {
    /// Takes a text for an id.
    ///
    /// # Errors
    /// When it is empty, too long, or not one word.
    pub fn parse(text: &str) -> Result<Self, Error> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names a room.
    #[must_use]
    pub fn is_room(&self) -> bool {
        is_room(&self.0)
    }

    /// Whether it is a ticket, which is no id.
    #[must_use]
    pub fn is_ticket(&self) -> bool {
        is_ticket(&self.0)
    }
}

impl RoomId {
    /// Takes a text for a room's id.
    ///
    /// # Errors
    /// When it is no id, or does not end in `@chatroom`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        check(text)?;
        if !is_room(text) {
            return Err(Error::NotARoom(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether an id names a room.
#[must_use]
pub fn is_room(id: &str) -> bool {
    ROOM_SUFFIXES.iter().any(|suffix| id.strip_suffix(suffix).is_some_and(|front| !front.is_empty()))
}

/// Whether a text is a `v1_…@stranger` or `v2_…@stranger` (later also `v3_`) ticket.
#[must_use]
pub fn is_ticket(text: &str) -> bool {
    (text.starts_with("v1_") || text.starts_with("v2_") || text.starts_with("v3_") || text.starts_with("v4_"))
        && text.ends_with("@stranger")
}

/// Ids that are the same for everybody and belong to no person.
const SYSTEM: &[&str] = &[
    "filehelper",
    "floatbottle",
    "fmessage",
    "lbsapp",
    "masssendapp",
    "medianote",
    "newsapp",
    "notification_messages",
    "qmessage",
    "qqmail",
    "qqsync",
    "shakeapp",
    "tmessage",
    "voiceinputapp",
    "voicevoipapp",
    "voipapp",
    "weibo",
    "weixin",
];

/// Whether an id is one of `WeChat`'s own: `filehelper`, `fmessage`, `weixin` ….
#[must_use]
pub fn is_system(id: &str) -> bool {
    SYSTEM.binary_search(&id).is_ok()
}

impl fmt::Display for Wxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_shape_are_taken() {
        for id in ["wxid_abc", "filehelper", "gh_12", "1@chatroom", "25984983@openim", "老王"] {
            assert_eq!(Wxid::parse(id).unwrap().as_str(), id);
        }
        assert!(Wxid::parse("1@chatroom").unwrap().is_room());
    }

    #[test]
    fn what_is_not_one_word_is_no_id() {
        for id in ["", " ", "a b", "a\n", "a\u{7f}", "a\u{3000}b", &"x".repeat(129)] {
            assert!(Wxid::parse(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn tickets_are_told_from_ids_and_may_be_longer() {
        let ticket = format!("v2_{}@stranger", "8a".repeat(100));
        assert!(Wxid::parse(&ticket).unwrap().is_ticket());
        assert!(Wxid::parse(&format!("v2_{}@stranger", "8a".repeat(600))).is_err());
        for id in ["v1_@chatroom", "wxid_v1_@stranger", "v1_abc"] {
            assert!(!Wxid::parse(id).unwrap().is_ticket(), "{id}");
        }
    }

    #[test]
    fn system_ids_are_known() {
        assert!(SYSTEM.is_sorted());
        assert!(is_system("filehelper") && is_system("weixin") && !is_system("wxid_weixin"));
    }

    #[test]
    fn a_room_ends_in_chatroom() {
        assert!(RoomId::parse("1@chatroom").is_ok());
        for id in ["wxid_a", "@chatroom", "1@chatroom ", "1@chatrooms"] {
            assert!(RoomId::parse(id).is_err(), "{id:?}");
        }
    }
}
