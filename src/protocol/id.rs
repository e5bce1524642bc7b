//! Ids of people and rooms: parsed once, valid ever after (contract 3; client-facts.md, "WeChat's own formats").
//!
//! Promises: an id that a command goes to has only ASCII letters, digits and `_ - . @`, does not begin with `-`, and has
//! at most one `@`, with a suffix that `WeChat` uses behind it; a room is a room. A full-width `＠` means `@`. What the
//! client reports may look otherwise ([`is_reported`]): new shapes appear, and are kept.
//! Leaves to others: who somebody is (`directory`), and names (`@NAME`).

use crate::near;
use serde::Serialize;
use std::fmt;

/// The longest id, bytes: the longest that WeChat makes have about 70, the rest is room for what we do not know.
pub const ID_BYTES_MAX: usize = 128;

/// The longest ticket, bytes: those seen have up to 250.
pub const TICKET_BYTES_MAX: usize = 1024;

/// The ends of rooms' ids; `im.chatroom` is a room of a company with people from outside.
const ROOM_SUFFIXES: [&str; 2] = ["@chatroom", "@im.chatroom"];

/// What may stand behind the `@` of an id.
const SUFFIXES: &[&str] = &[
    "app",
    "bottle",
    "chatroom",
    "fb",
    "finder",
    "groupcard",
    "im.chatroom",
    "kefu.openim",
    "lbsroom",
    "micromsg.qq.com",
    "openim",
    "opencustomerservicemsg",
    "qqim",
    "stranger",
    "t.qq.com",
    "talkroom",
    "weixin",
];

/// The id of a person, a public account, a company contact or a room; a ticket stands for a person, too, where the
/// client takes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
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
    /// It has a character that no id has.
    #[error("`{id}` is no id: ids have no {}; give it as the client reports it{}", called(*.odd), hint(.near))]
    Odd {
        /// What was given.
        id: String,
        /// The first of them.
        odd: char,
        /// What may be meant.
        near: Option<String>,
    },
    /// It looks like an option.
    #[error("`{0}` is no id: no id begins with `-`")]
    Dash(String),
    /// More than one `@`, or nothing in front of it.
    #[error("`{0}` is no id: an id has at most one `@`, and something in front of it")]
    Signs(String),
    /// Behind the `@` stands what `WeChat` does not use.
    #[error("`{id}` is no id: no id ends in `@{suffix}`{}", hint(.near))]
    Suffix {
        /// What was given.
        id: String,
        /// Its end.
        suffix: String,
        /// What may be meant.
        near: Option<String>,
    },
    /// It is too long.
    #[error("the id has {0} bytes, and the longest allowed has {ID_BYTES_MAX}; give it as the client reports it")]
    TooLong(usize),
    /// A room is due here.
    #[error(
        "`{id}` is no room: a room's id ends in @chatroom (or @im.chatroom); `wehelp room list` lists them{}",
        hint(.near)
    )]
    NotARoom {
        /// What was given.
        id: String,
        /// What may be meant.
        near: Option<String>,
    },
    /// A person is due here.
    #[error("`{0}` is a room, and a person is due here; give the person's id, as `wehelp contact list` shows it")]
    NotAPerson(String),
}

fn hint(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// A character for a person to see: what is invisible has only its number.
fn called(odd: char) -> String {
    if super::name::is_unseen(odd) { format!("invisible U+{:04X}", u32::from(odd)) } else { format!("`{odd}`") }
}

impl Error {
    /// What was given, where somebody's name may have been meant.
    #[must_use]
    pub fn as_name(&self) -> Option<&str> {
        match self {
            Self::NotAWord(text) | Self::Signs(text) => Some(text),
            Self::Odd { id, near: None, .. }
            | Self::Suffix { id, near: None, .. }
            | Self::NotARoom { id, near: None } => Some(id),
            _ => None,
        }
    }
}

/// The text with `@` for `＠`, as input methods for Chinese write it.
#[must_use]
pub fn with_ascii_at(text: &str) -> String {
    text.replace('\u{ff20}', "@")
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
    let is_odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'));
    if let Some(odd) = text.chars().find(is_odd) {
        let plain: String = with_ascii_at(text).chars().filter(|c| !super::name::is_unseen(*c)).collect();
        let near = (plain != text && check(&plain).is_ok()).then_some(plain);
        return Err(Error::Odd { id: text.to_owned(), odd, near });
    }
    if text.starts_with('-') {
        return Err(Error::Dash(text.to_owned()));
    }
    match text.split_once('@') {
        None => Ok(()),
        Some((front, suffix)) if front.is_empty() || suffix.contains('@') => Err(Error::Signs(text.to_owned())),
        Some((_, suffix)) if SUFFIXES.contains(&suffix) => Ok(()),
        Some((front, suffix)) => {
            let near = near::nearest(suffix, SUFFIXES.iter().copied()).map(|near| format!("{front}@{near}"));
            Err(Error::Suffix { id: text.to_owned(), suffix: suffix.to_owned(), near })
        }
    }
}

/// Whether a text that the client reports is an id as far as we care: one word, not too long.
#[must_use]
pub fn is_reported(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= if is_ticket(text) { TICKET_BYTES_MAX } else { ID_BYTES_MAX }
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

impl Wxid {
    /// Takes a text for an id.
    ///
    /// # Errors
    /// When it has not the form of one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = with_ascii_at(text);
        check(&text)?;
        Ok(Self(text))
    }

    /// Checks a text that goes over the wire as it stands.
    ///
    /// # Errors
    /// As [`Wxid::parse`], and when it would have to be written otherwise.
    pub fn check(text: &str) -> Result<(), Error> {
        check(text)
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

    /// Checks a text that goes over the wire where only a person can be meant.
    ///
    /// # Errors
    /// As [`Wxid::check`], and when it names a room.
    pub fn check_person(text: &str) -> Result<(), Error> {
        Self::check(text)?;
        if is_room(text) { Err(Error::NotAPerson(text.to_owned())) } else { Ok(()) }
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
    /// When it is no id, or not a room's.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = with_ascii_at(text);
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Checks a text that goes over the wire as it stands.
    ///
    /// # Errors
    /// As [`RoomId::parse`], and when it would have to be written otherwise.
    pub fn check(text: &str) -> Result<(), Error> {
        check(text)?;
        if is_room(text) {
            return Ok(());
        }
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let near = is_number.then(|| format!("{text}{}", ROOM_SUFFIXES[0]));
        Err(Error::NotARoom { id: text.to_owned(), near })
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
        for id in [
            "wxid_abc",
            "filehelper",
            "gh_12",
            "1@chatroom",
            "25984983@openim",
            "1@im.chatroom",
            "a.b-c_d",
            "1@kefu.openim",
            "wx1@app",
            "v2_ab@stranger",
            "1@qqim",
            "1@lbsroom",
        ] {
            assert_eq!(Wxid::parse(id).unwrap().as_str(), id);
            assert_eq!(Wxid::check(id), Ok(()));
        }
        assert!(Wxid::parse("1@chatroom").unwrap().is_room());
        assert_eq!(Wxid::parse("1＠chatroom").unwrap().as_str(), "1@chatroom");
        assert_eq!(RoomId::parse("1＠im.chatroom").unwrap().as_str(), "1@im.chatroom");
    }

    #[test]
    fn what_is_not_one_word_is_no_id() {
        for id in ["", " ", "a b", "a\n", "a\u{7f}", "a\u{3000}b", &"x".repeat(129)] {
            assert!(Wxid::parse(id).is_err() && !is_reported(id), "{id:?}");
        }
        for id in [
            "老王",
            "-wxid_a",
            "a@b@chatroom",
            "@chatroom",
            "a@",
            "a/b",
            "a:b",
            "wxid_a\u{200b}",
            "a@example.org",
            "ａ",
        ] {
            assert!(Wxid::parse(id).is_err() && is_reported(id), "{id:?}");
        }
    }

    #[test]
    fn a_slip_is_told_with_what_was_probably_meant() {
        for (id, near) in [
            ("1@chatrom", Some("1@chatroom")),
            ("1@chatrooms", Some("1@chatroom")),
            ("1@Chatroom", Some("1@chatroom")),
            ("1@room", Some("1@chatroom")),
            ("1@imchatroom", Some("1@im.chatroom")),
            ("1@opneim", Some("1@openim")),
            ("1@xyz", None),
            ("me@example.org", None),
        ] {
            let Err(Error::Suffix { near: found, .. }) = Wxid::parse(id) else { panic!("{id}") };
            assert_eq!(found.as_deref(), near, "{id}");
        }
        let told = |error: Error| error.to_string();
        let unseen = told(Wxid::parse("wxid_a\u{200b}").unwrap_err());
        assert!(unseen.contains("U+200B") && unseen.contains("`wxid_a`?"), "{unseen}");
        assert!(told(RoomId::parse("123").unwrap_err()).contains("`123@chatroom`"));
        assert!(told(Wxid::check("123＠chatroom").unwrap_err()).contains("`123@chatroom`"));
        assert_eq!(Wxid::parse("老王").unwrap_err().as_name(), Some("老王"));
        assert_eq!(Wxid::parse("1@chatrom").unwrap_err().as_name(), None);
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
