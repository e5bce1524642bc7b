//! What is demanded of a command's JSON, whoever made it (contract 3): the CLI, or any program at the control door.
//!
//! Promises: of an `api` that we know, every member that the spec names is checked as the CLI checks its arguments;
//! members that we do not know pass, and so does an `api` that we do not know. A question may leave its id out, where a
//! client may have an answer to that.

use super::{Error, INFO_IDS_MAX, Wire, said, swapped, ticket, whole};
use crate::protocol::id::{self, RoomId, Wxid};
use serde_json::Value;

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

/// Checks a command.
///
/// # Errors
/// What is wrong with it, as a sentence that names the member.
pub fn check(wire: &Wire) -> Result<(), Fault> {
    let members = Members(wire);
    match wire.api() {
        "sendTextMessage" => {
            members.id("wxid")?;
            members.said("text")
        }
        "sendPicMessage" => {
            members.id("wxid")?;
            members.said("imgPath")
        }
        "sendFileMessage" => {
            members.id("wxid")?;
            members.said("filePath")
        }
        "sendXmlMessage" => {
            members.id("wxid")?;
            members.said("title")?;
            members.said("url")?;
            members.whole("desc")?;
            members.whole("pic")
        }
        "addUserEvent" => {
            members.person("wxid")?;
            members.whole("message")
        }
        "delUser" => members.person("wxid"),
        "newGetUserLists" => members.people("wxidLists"),
        "getUserInfo" | "netGetUserInfo" => members.person_if_given("wxid"),
        "acceptFriend" => {
            let (v1, v2) = (members.text("v1")?, members.text("v2")?);
            ticket("v1", v1)?;
            ticket("v2", v2)?;
            Ok(swapped(v1, v2)?)
        }
        "getChatRoomUserLists" => members.room_if_given("wxid"),
        "delChatRoomUser" | "sendChatroom" => {
            members.room("chatroom")?;
            members.person("wxid")
        }
        "updateRoomAsName" | "updateChatRoomName" => {
            members.room("chatroom")?;
            members.said("name")
        }
        "getRoomUserV2" => {
            members.room_if_given("chatroom")?;
            members.person_if_given("wxid")
        }
        _ => Ok(()),
    }
}

/// The member that holds the path of a file on the PC, in the commands that have one.
#[must_use]
pub fn path_member(api: &str) -> Option<&'static str> {
    match api {
        "sendPicMessage" => Some("imgPath"),
        "sendFileMessage" => Some("filePath"),
        _ => None,
    }
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

struct Members<'w>(&'w Wire);

impl<'w> Members<'w> {
    fn get(&self, name: &str) -> Option<&'w Value> {
        self.0.as_map().get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &'static str) -> Result<&'w str, Fault> {
        self.get(name).and_then(Value::as_str).ok_or(Fault::NoText(name))
    }

    fn id(&self, name: &'static str) -> Result<(), Fault> {
        Wxid::check(self.text(name)?).map_err(|error| Fault::Id(name, error))
    }

    fn person(&self, name: &'static str) -> Result<(), Fault> {
        person(name, self.text(name)?)
    }

    fn person_if_given(&self, name: &'static str) -> Result<(), Fault> {
        self.get(name).map_or(Ok(()), |_| self.person(name))
    }

    fn room(&self, name: &'static str) -> Result<(), Fault> {
        RoomId::check(self.text(name)?).map_err(|error| Fault::Id(name, error))
    }

    fn room_if_given(&self, name: &'static str) -> Result<(), Fault> {
        self.get(name).map_or(Ok(()), |_| self.room(name))
    }

    fn people(&self, name: &'static str) -> Result<(), Fault> {
        let ids = self.get(name).and_then(Value::as_array).ok_or(Fault::NoList(name))?;
        if ids.is_empty() {
            return Err(Error::Empty("list of ids").into());
        }
        if ids.len() > INFO_IDS_MAX {
            return Err(Error::TooMany(ids.len()).into());
        }
        ids.iter().try_for_each(|id| {
            let id = id.as_str().ok_or(Fault::NoList(name))?;
            person(name, id)
        })
    }

    fn said(&self, name: &'static str) -> Result<(), Fault> {
        Ok(said(name, self.text(name)?)?)
    }

    fn whole(&self, name: &'static str) -> Result<(), Fault> {
        match self.get(name) {
            Some(_) => Ok(whole(name, Some(self.text(name)?))?),
            None => Ok(()),
        }
    }
}

fn person(name: &'static str, text: &str) -> Result<(), Fault> {
    Wxid::check_person(text).map_err(|error| Fault::Id(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(wire: Value) -> Result<(), Fault> {
        check(&Wire::from_value(wire).unwrap())
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
            assert!(checked(wire.clone()).is_err(), "{wire}");
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
            assert_eq!(checked(wire.clone()), Ok(()), "{wire}");
        }
    }
}
