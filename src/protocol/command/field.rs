//! The rules for the members of a command: how each is read from JSON, checked and shown (contract 3).
//!
//! Promises: whoever made a command (the CLI, or any program at the control door), every member that the spec names is
//! held to the same rule; members that we do not know pass. A question may leave its id out, where a client may have an
//! answer to that.

use super::error::{Error, INFO_IDS_MAX};
use crate::protocol::id::{self, RoomId, TICKET_BYTES_MAX, Wxid};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// One member of a command, by its name on the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The name on the wire.
    pub name: &'static str,
    /// What stands there.
    pub kind: FieldKind,
}

/// What stands in a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// The id of a person or a room.
    Chat,
    /// The id of a person.
    Person,
    /// The ids of people, at most [`INFO_IDS_MAX`].
    People,
    /// The id of a room.
    Room,
    /// A text.
    Text,
    /// The path of a file on the client's PC.
    Path,
    /// What a friend request is accepted with.
    Ticket,
    /// Always the same.
    Constant,
}

/// What stands in a member of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content<'c> {
    /// The id of a person or a room.
    Id(&'c str),
    /// Ids of people.
    Ids(&'c [Wxid]),
    /// What is said.
    Text(&'c str),
    /// The path of a file on the client's PC.
    Path(&'c str),
    /// A ticket.
    Ticket(&'c str),
    /// It was left out.
    Nothing,
}

impl<'c> Content<'c> {
    /// What stands there, where that is one text.
    #[must_use]
    pub fn text(&self) -> Option<&'c str> {
        match self {
            Self::Id(text) | Self::Text(text) | Self::Path(text) | Self::Ticket(text) => Some(text),
            Self::Ids(_) | Self::Nothing => None,
        }
    }

    /// The ids or the text there, in an order of their own.
    pub(super) fn words(&self) -> BTreeSet<&'c str> {
        match self {
            Self::Ids(ids) => ids.iter().map(Wxid::as_str).collect(),
            member => member.text().into_iter().collect(),
        }
    }
}

/// A member that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no id.
    #[error("`{0}`: {1}")]
    Id(&'static str, #[source] id::Error),
    /// It is not there, or no text.
    #[error("`{0}` is missing, or no text")]
    NoText(&'static str),
    /// It is not there, or no list of texts.
    #[error("`{0}` is missing, or no list of ids")]
    NoList(&'static str),
    /// It is an id or a text that nobody can mean.
    #[error(transparent)]
    Other(#[from] Error),
}

/// Whether a path has the form of this machine's, and not of the PC's.
#[must_use]
pub fn is_local_path(path: &str) -> bool {
    ["/", "./", "../", "~"].iter().any(|begin| path.starts_with(begin))
}

/// The sentence that refuses such a path.
#[must_use]
pub fn local_path(path: &str) -> String {
    let shown: String = path.chars().filter(|c| !c.is_control()).take(200).collect();
    format!(
        "`{shown}` is a path of this machine, and the client looks for it on the PC where WeHelp runs; give the PC's \
         path, or --on-client (`on_client`) when it is that, or tell in the settings ([files] map) where the PC finds it"
    )
}

/// The members of a command as they came.
pub struct Members<'w>(pub(super) &'w Map<String, Value>);

impl<'w> Members<'w> {
    fn get(&self, name: &str) -> Option<&'w Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &'static str) -> Result<&'w str, Fault> {
        self.get(name).and_then(Value::as_str).ok_or(Fault::NoText(name))
    }
}

/// A rule that a member is held to. A row of the table names it in the place of the member's type.
pub trait Rule {
    /// What a command has there.
    type Value;
    /// What that is, for the manual.
    const KIND: FieldKind;

    /// Reads it from JSON.
    ///
    /// # Errors
    /// What is wrong with it; `name` is its name on the wire.
    fn read(members: &Members<'_>, name: &'static str) -> Result<Self::Value, Fault>;

    /// Refuses what the type lets through; `what` is what people call it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(value: &Self::Value, what: &'static str) -> Result<(), Error>;

    /// As it goes over the wire.
    fn member(value: &Self::Value) -> Content<'_>;
}

/// May be left out.
impl<R: Rule> Rule for Option<R> {
    type Value = Option<R::Value>;
    const KIND: FieldKind = R::KIND;

    fn read(members: &Members<'_>, name: &'static str) -> Result<Self::Value, Fault> {
        members.get(name).map(|_| R::read(members, name)).transpose()
    }

    fn check(value: &Self::Value, what: &'static str) -> Result<(), Error> {
        value.as_ref().map_or(Ok(()), |value| R::check(value, what))
    }

    fn member(value: &Self::Value) -> Content<'_> {
        value.as_ref().map_or(Content::Nothing, R::member)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $rule:ident $id:ident $check:ident;)*) => {$(
        $(#[$doc])*
        pub struct $rule;

        impl Rule for $rule {
            type Value = $id;
            const KIND: FieldKind = FieldKind::$rule;

            fn read(members: &Members<'_>, name: &'static str) -> Result<$id, Fault> {
                let text = members.text(name)?;
                $id::$check(text).and_then(|()| $id::parse(text)).map_err(|error| Fault::Id(name, error))
            }

            fn check(_: &$id, _: &'static str) -> Result<(), Error> {
                Ok(())
            }

            fn member(id: &$id) -> Content<'_> {
                Content::Id(id.as_str())
            }
        }
    )*};
}

ids! {
    /// The id of a person or a room.
    Chat Wxid check;
    /// The id of a person.
    Person Wxid check_person;
    /// The id of a room.
    Room RoomId check;
}

macro_rules! texts {
    ($($(#[$doc:meta])* $rule:ident $member:ident $check:path;)*) => {$(
        $(#[$doc])*
        pub struct $rule;

        impl Rule for $rule {
            type Value = String;
            const KIND: FieldKind = FieldKind::$member;

            fn read(members: &Members<'_>, name: &'static str) -> Result<String, Fault> {
                let text = members.text(name)?;
                $check(name, text)?;
                Ok(text.to_owned())
            }

            fn check(text: &String, what: &'static str) -> Result<(), Error> {
                $check(what, text)
            }

            fn member(text: &String) -> Content<'_> {
                Content::$member(text)
            }
        }
    )*};
}

texts! {
    /// A text that says something.
    Said Text said;
    /// A text that may be empty.
    Whole Text whole;
    /// The path of a file on the client's PC.
    Path Path said;
    /// What a friend request is accepted with.
    Ticket Ticket ticket;
}

/// Some ids of people.
pub struct Persons;

impl Rule for Persons {
    type Value = Vec<Wxid>;
    const KIND: FieldKind = FieldKind::People;

    fn read(members: &Members<'_>, name: &'static str) -> Result<Vec<Wxid>, Fault> {
        let ids = members.get(name).and_then(Value::as_array).ok_or(Fault::NoList(name))?;
        how_many(ids.len())?;
        let id = |id: &Value| {
            let id = id.as_str().ok_or(Fault::NoList(name))?;
            Wxid::check_person(id).and_then(|()| Wxid::parse(id)).map_err(|error| Fault::Id(name, error))
        };
        ids.iter().map(id).collect()
    }

    fn check(ids: &Vec<Wxid>, _: &'static str) -> Result<(), Error> {
        how_many(ids.len())
    }

    fn member(ids: &Vec<Wxid>) -> Content<'_> {
        Content::Ids(ids)
    }
}

fn how_many(ids: usize) -> Result<(), Error> {
    match ids {
        0 => Err(Error::Empty("list of ids")),
        1..=INFO_IDS_MAX => Ok(()),
        _ => Err(Error::TooMany(ids)),
    }
}

/// Refuses a text that says nothing or would be cut off; `what` is what people call it. For whoever has one before it is
/// known whom it goes to.
///
/// # Errors
/// What is wrong with it.
pub fn said(what: &'static str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() { Err(Error::Empty(what)) } else { whole(what, text) }
}

/// Refuses a text that a client written in C would cut off; it may be empty. As [`said`].
///
/// # Errors
/// What is wrong with it.
pub fn whole(what: &'static str, text: &str) -> Result<(), Error> {
    if text.contains('\0') { Err(Error::Nul(what)) } else { Ok(()) }
}

fn ticket(what: &'static str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty(what));
    }
    let fits = text.len() <= TICKET_BYTES_MAX && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if fits { Ok(()) } else { Err(Error::NoTicket(what)) }
}

#[cfg(test)]
mod tests {
    use super::super::Wire;
    use super::*;
    use serde_json::json;

    fn checked(wire: &Value) -> Result<(), Fault> {
        let wire = Wire::from_json(&wire.to_string()).unwrap();
        wire.check().map(drop).map_err(Clone::clone)
    }

    #[test]
    fn what_the_cli_refuses_is_refused_in_any_command_that_is_known() {
        for wire in [
            json!({"api": "sendTextMessage", "wxid": "a b", "text": "x"}),
            json!({"api": "sendTextMessage", "wxid": "小王", "text": "x"}),
            json!({"api": "sendTextMessage", "wxid": "1@chatrom", "text": "x"}),
            json!({"api": "sendTextMessage", "wxid": "1＠chatroom", "text": "x"}),
            json!({"api": "sendTextMessage", "wxid": "", "text": "x"}),
            json!({"api": "sendTextMessage", "text": "x"}),
            json!({"api": "sendTextMessage", "wxid": 7, "text": "x"}),
            json!({"api": "sendTextMessage", "wxid": "filehelper", "text": " \n"}),
            json!({"api": "sendTextMessage", "wxid": "filehelper"}),
            json!({"api": "sendPicMessage", "wxid": "filehelper", "imgPath": ""}),
            json!({"api": "sendFileMessage", "wxid": "filehelper"}),
            json!({"api": "sendXmlMessage", "wxid": "filehelper", "title": "t", "url": ""}),
            json!({"api": "sendXmlMessage", "wxid": "filehelper", "title": "t", "url": "u", "desc": "a\0b"}),
            json!({"api": "addUserEvent", "wxid": "a@b"}),
            json!({"api": "delUser", "wxid": "-x"}),
            json!({"api": "newGetUserLists", "wxidLists": []}),
            json!({"api": "newGetUserLists", "wxidLists": ["a", "b c"]}),
            json!({"api": "newGetUserLists", "wxidLists": vec!["a"; 51]}),
            json!({"api": "getUserInfo", "wxid": "a\n"}),
            json!({"api": "acceptFriend", "v1": "v1_a@stranger"}),
            json!({"api": "acceptFriend", "v1": "v2_a@stranger", "v2": "v1_a@stranger"}),
            json!({"api": "getChatRoomUserLists", "wxid": "wxid_a"}),
            json!({"api": "delChatRoomUser", "chatroom": "1", "wxid": "wxid_a"}),
            json!({"api": "sendChatroom", "chatroom": "wxid_a", "wxid": "1@chatroom"}),
            json!({"api": "updateRoomAsName", "chatroom": "1@chatroom", "name": ""}),
            json!({"api": "getRoomUserV2", "chatroom": "wxid_a", "wxid": "wxid_b"}),
            // A room where only a person can be meant.
            json!({"api": "addUserEvent", "wxid": "1@chatroom"}),
            json!({"api": "delUser", "wxid": "1@im.chatroom"}),
            json!({"api": "newGetUserLists", "wxidLists": ["a", "1@chatroom"]}),
            json!({"api": "getUserInfo", "wxid": "1@chatroom"}),
            json!({"api": "netGetUserInfo", "wxid": "1@chatroom"}),
            json!({"api": "delChatRoomUser", "chatroom": "1@chatroom", "wxid": "2@chatroom"}),
            json!({"api": "sendChatroom", "chatroom": "1@chatroom", "wxid": "2@chatroom"}),
            json!({"api": "getRoomUserV2", "chatroom": "1@chatroom", "wxid": "1@chatroom"}),
        ] {
            assert!(checked(&wire).is_err(), "{wire}");
        }
    }

    #[test]
    fn what_is_not_known_passes() {
        for wire in [
            json!({"api": "brandNew", "wxid": "小王", "text": ""}),
            json!({"api": "sendTextMessage", "wxid": "1@im.chatroom", "text": "x", "at": ["小王"]}),
            json!({"api": "initContact", "wxid": "小王"}),
            json!({"api": "getUserInfo"}),
            json!({"api": "acceptFriend", "v1": "xxx", "v2": "xxx"}),
        ] {
            assert_eq!(checked(&wire), Ok(()), "{wire}");
        }
    }
}
