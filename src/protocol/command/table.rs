//! The table of commands: one row is all there is to declare a command.
//!
//! Promises: [`Command`], its JSON, its reading back, what is refused and the table for people come from the rows of
//! `commands!`.
//! Leaves to others: the rules for members (`field`), the bytes that go out (`wire`).

use super::error::{Error, INFO_IDS_MAX};
use super::field::{
    Chat, Content, Fault, Field, FieldKind, Members, Path, Person, Persons, Room, Rule, Said, Ticket, Whole,
};
use crate::protocol::id::Wxid;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeSet, HashSet};

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
/// chat, and only a text's echo answers it.
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
    /// What stands behind `api` and `code`, in the spec's order.
    pub fields: &'static [Field],
    /// For pacing.
    pub class: Class,
    /// What it says in a chat.
    pub says: Says,
    /// The event types that answer it, the surest first; empty: nothing answers.
    pub answers: &'static [i64],
    /// Where it is specified: the heading and its anchor in `wehelp-api.zh.md`.
    pub spec: &'static str,
}

macro_rules! commands {
    ($(
        $(#[$doc:meta])*
        $variant:ident $({ $($field:ident: $rule:ty = $name:literal),* })? $(with $constant:literal = $value:literal)?
            : $verb:literal $api:literal $code:expr, $class:ident, $says:ident, [$($answer:literal),*], $spec:literal;
    )*) => {
        /// What a user wants a client to do.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the fields are the wire's own names, explained in the spec section of each variant")]
        pub enum Command {
            $($(#[$doc])* $variant $({ $($field: <$rule as Rule>::Value),* })?,)*
        }

        /// Every row, in the order of the contract's table.
        pub const APIS: &[Api] = &[$(Api {
            verb: $verb,
            api: $api,
            code: $code,
            fields: &[
                $($(Field { name: $name, kind: <$rule as Rule>::KIND },)*)?
                $(Field { name: $constant, kind: FieldKind::Constant },)?
            ],
            class: Class::$class,
            says: Says::$says,
            answers: &[$($answer),*],
            spec: $spec,
        }),*];

        impl Command {
            /// Its row in the table.
            #[must_use]
            pub fn api(&self) -> &'static Api {
                enum Place { $($variant),* }
                &APIS[match self { $(Self::$variant { .. } => Place::$variant),* } as usize]
            }

            /// Reads the members of a command with this `api`; `None` for one that we do not know.
            pub(super) fn read(api: &str, members: &Members<'_>) -> Result<Option<Self>, Fault> {
                let command = match api {
                    $($api => Self::$variant $({ $($field: <$rule as Rule>::read(members, $name)?),* })?,)*
                    _ => return Ok(None),
                };
                command.check_pair()?;
                Ok(Some(command))
            }

            /// The members behind `api` and `code`, in the spec's order.
            fn members(&self) -> Vec<(&'static str, Content<'_>)> {
                match self {
                    $(Self::$variant $({ $($field),* })? => vec![
                        $($(($name, <$rule as Rule>::member($field)),)*)?
                        $(($constant, Content::Text($value)),)?
                    ],)*
                }
            }

            /// Refuses what the types let through and no client can carry out.
            pub(super) fn check(&self) -> Result<(), Error> {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        $($(<$rule as Rule>::check($field, stringify!($field))?;)*)?
                    })*
                }
                self.check_pair()
            }
        }
    };
}

// The variant and its fields with their names on the wire : the CLI words, `api` and `code`, the class, what it says in
// a chat, the types of the events that answer it, the place in the spec.
commands! {
    /// 发送消息 1
    SendText { wxid: Chat = "wxid", text: Said = "text" }:
        "send text" "sendTextMessage" Some(1), Send, Text, [], "发送消息 1 #text";
    /// 发送消息 2
    SendImage { wxid: Chat = "wxid", path: Path = "imgPath" }:
        "send image" "sendPicMessage" Some(2), Send, Media, [], "发送消息 2 #img";
    /// 发送消息 3
    SendFile { wxid: Chat = "wxid", path: Path = "filePath" }:
        "send file" "sendFileMessage" Some(25), Send, Media, [], "发送消息 3 #file";
    /// 发送消息 4
    SendLink {
        wxid: Chat = "wxid", title: Said = "title", url: Said = "url",
        description: Option<Whole> = "desc", picture: Option<Whole> = "pic"
    }: "send link" "sendXmlMessage" Some(3), Send, Media, [], "发送消息 4 #xml";
    /// 好友操作 1
    FriendList:
        "friend list" "initContact" Some(45), Question, Nothing, [210, 97], "好友操作 1 #getFriends";
    /// 好友操作 2
    FriendAdd { wxid: Person = "wxid", message: Option<Whole> = "message" }:
        "friend add" "addUserEvent" Some(5), Friend, Nothing, [96], "好友操作 2 #addFriend";
    /// 好友操作 3
    FriendDelete { wxid: Person = "wxid" }:
        "friend delete" "delUser" Some(17), Send, Nothing, [], "好友操作 3 #destroyFriend";
    /// 好友操作 4; at most [`INFO_IDS_MAX`] ids, see [`Command::friend_info`].
    FriendInfo { wxids: Persons = "wxidLists" }:
        "friend info" "newGetUserLists" Some(46), Question, Nothing, [210, 88], "好友操作 4 #queryFriendInfo";
    /// 好友操作 5
    FriendGet { wxid: Option<Person> = "wxid" }:
        "friend get" "getUserInfo" Some(19), Question, Nothing, [71], "好友操作 5 #getFriendInfo";
    /// 其他 2
    FriendLookup { wxid: Option<Person> = "wxid" }:
        "friend lookup" "netGetUserInfo" Some(30), Question, Nothing, [88], "其他 2 #networkGetWxidInfo";
    /// 好友操作 6
    FriendAccept { v1: Ticket = "v1", v2: Ticket = "v2" }:
        "friend accept" "acceptFriend" Some(10), Friend, Nothing, [96], "好友操作 6 #agreeNewFriends";
    /// 群操作 1
    RoomList:
        "room list" "getChatRoomLists" Some(47), Question, Nothing, [211], "群操作 1 #getRooms";
    /// 群操作 4
    RoomMembers { room: Option<Room> = "wxid" }:
        "room members" "getChatRoomUserLists" Some(6), Question, Nothing, [77], "群操作 4 #getRoomMembers";
    /// 群操作 3
    RoomKick { room: Room = "chatroom", wxid: Person = "wxid" }:
        "room kick" "delChatRoomUser" Some(12), Send, Nothing, [], "群操作 3 #destoryRoomMember";
    /// 群操作 7
    RoomInvite { wxid: Person = "wxid", room: Room = "chatroom" }:
        "room invite" "sendChatroom" Some(4), Send, Nothing, [], "群操作 7 #groupInvitation";
    /// 群操作 5
    RoomNick { room: Room = "chatroom", name: Said = "name" }:
        "room nick" "updateRoomAsName" Some(44), Send, Nothing, [], "群操作 5 #editRoomAsName";
    /// 群操作 6
    RoomStranger { room: Option<Room> = "chatroom", wxid: Option<Person> = "wxid" }:
        "room stranger" "getRoomUserV2" Some(34), Question, Nothing, [81, 88], "群操作 6 #getRoomMemberV2";
    /// 群操作 2: announced in the spec, the shape is the newer client's.
    RoomRename { room: Room = "chatroom", name: Said = "name" }:
        "room rename" "updateChatRoomName" None, Send, Nothing, [],
        "群操作 2 #editRoomName (更新中; the newer client's shape)";
    /// 其他 1
    AccountStatus with "info" = "wehelp":
        "account status" "getLoginStatus" Some(20), Question, Nothing, [67, 66], "其他 1 #getLoginState";
    /// 其他 3
    AccountQrcode:
        "account qrcode" "getLoginQrCode" Some(36), Question, Nothing, [401, 82], "其他 3 #loginQrCode";
    /// 其他 4
    AccountLogout:
        "account logout" "outLogin" Some(39), Send, Nothing, [90], "其他 4 #getLogout";
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

impl Command {
    /// As many `FriendInfo` commands as this many ids need.
    #[must_use]
    pub fn friend_info(wxids: &[Wxid]) -> Vec<Self> {
        wxids.chunks(INFO_IDS_MAX).map(|chunk| Self::FriendInfo { wxids: chunk.to_vec() }).collect()
    }

    /// The two tickets of a request, each in its place.
    fn check_pair(&self) -> Result<(), Error> {
        match self {
            Self::FriendAccept { v1, v2 } if v1.starts_with("v2_") && v2.starts_with("v1_") => Err(Error::Swapped),
            _ => Ok(()),
        }
    }

    /// What stands in the member of that name; nothing where it was left out.
    #[must_use]
    pub fn member(&self, name: &str) -> Content<'_> {
        self.members().into_iter().find(|(known, _)| *known == name).map_or(Content::Nothing, |(_, member)| member)
    }

    /// The ids that it asks for, each once; none when it is no question, asks for all, or its answer names nobody.
    #[must_use]
    pub fn ids_asked(&self) -> Vec<&str> {
        match (self.api().class, self.member("wxid"), self.member("wxidLists")) {
            (Class::Question, Content::Id(id), _) => vec![id],
            (Class::Question, _, Content::Ids(ids)) => {
                let mut seen = HashSet::new();
                ids.iter().map(Wxid::as_str).filter(|id| seen.insert(*id)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether two ask the same: then one answer is an answer to both. What is said along with it makes no difference.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        fn whom(command: &Command) -> Vec<(&str, BTreeSet<&str>)> {
            let asked = |member: &Content<'_>| matches!(member, Content::Id(_) | Content::Ids(_) | Content::Ticket(_));
            let members = command.members().into_iter().filter(|(_, member)| asked(member));
            members.map(|(name, member)| (name, member.words())).collect()
        }
        self.api() == other.api() && whom(self) == whom(other)
    }

    /// The chat that it says something in, if it does.
    #[must_use]
    pub fn chat(&self) -> Option<&str> {
        if self.api().says == Says::Nothing { None } else { self.member("wxid").text() }
    }

    /// The member with the path of a file on the PC, and that path.
    #[must_use]
    pub fn path(&self) -> Option<(&'static str, &str)> {
        self.members().into_iter().find_map(|(name, member)| match member {
            Content::Path(path) => Some((name, path)),
            _ => None,
        })
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let row = self.api();
        map.serialize_entry("api", row.api)?;
        if let Some(code) = row.code {
            map.serialize_entry("code", &code)?;
        }
        for (name, member) in self.members() {
            if member != Content::Nothing {
                map.serialize_entry(name, &member)?;
            }
        }
        map.end()
    }
}
