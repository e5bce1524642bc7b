//! What kinds of events there are: the table of contract 7.
//!
//! Promises: a kind has one name and one number, which stands in stored outlines and is never given to another.
//! Leaves to others: what a notice tells (`message`), on which its kind depends.

/// The type of a message event (spec `#message`).
pub(super) const MESSAGE: i64 = 78;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal,)*) => {
        /// What an event is about: the table of contract 7.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $variant = $number),* }

        impl Kind {
            /// Every kind, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name: `message.text`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The kind of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// Its number in stored outlines; never given to another kind.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The kind of that number.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    /// 67 所有关于登录事件
    Login = 1 "login",
    /// 66, answer to the question about the login state
    LoginState = 2 "login.state",
    /// 401, 82 登录二维码
    LoginQrcode = 3 "login.qrcode",
    /// 71 登录后获取个人信息或者其他的信息
    Profile = 4 "profile",
    /// 97 初始化联系人列表
    ContactsPacket = 5 "contacts.packet",
    /// 210 好友列表详细信息
    Contacts = 6 "contacts",
    /// 211 获取群列表
    Rooms = 7 "rooms",
    /// 77 获取群成员列表
    RoomMembers = 8 "room.members",
    /// 78, msgType 1
    MessageText = 9 "message.text",
    /// 78, msgType 3
    MessageImage = 10 "message.image",
    /// 78, msgType 34
    MessageVoice = 11 "message.voice",
    /// 78, msgType 37, 65
    MessageFriendRequest = 12 "message.friend_request",
    /// 78, msgType 42, 66
    MessageCard = 13 "message.card",
    /// 78, msgType 43
    MessageVideo = 14 "message.video",
    /// 78, msgType 47
    MessageSticker = 15 "message.sticker",
    /// 78, msgType 48
    MessageLocation = 16 "message.location",
    /// 78, msgType 49
    MessageApp = 17 "message.app",
    /// 78, msgType 50
    MessageCall = 18 "message.call",
    /// 78, msgType 10000 and 10002, unless it is one of the others
    MessageSystem = 19 "message.system",
    /// 78, msgType 10002: `revokemsg`
    MessageRecall = 20 "message.recall",
    /// 78, any other msgType
    MessageOther = 21 "message.other",
    /// 88 网络获取联系人数据
    ContactPacket = 22 "contact.packet",
    /// 69 新建群后返回群id
    RoomCreated = 23 "room.created",
    /// 96 同意好友
    FriendVerified = 24 "friend.verified",
    /// 81 获取v2
    FriendV2 = 25 "friend.v2",
    /// 95 批量获取数据库微信头像
    Avatars = 26 "avatars",
    /// 90 退出微信事件
    Logout = 27 "logout",
    /// 98 手机退出微信触发事件
    LogoutPhone = 28 "logout.phone",
    /// Any other type.
    Other = 29 "other",
    /// Not readable.
    Unparsed = 30 "unparsed",
    /// 78, msgType 10002 or 10000: somebody pats somebody
    MessagePat = 31 "message.pat",
    /// 78, a notice: people came into a room
    RoomJoined = 32 "room.joined",
    /// 78, a notice: people went, or the room was given up
    RoomLeft = 33 "room.left",
    /// 78, a notice: a room has a new name
    RoomRenamed = 34 "room.renamed",
    /// 78, a notice: a room's announcement
    RoomAnnouncement = 35 "room.announcement",
    /// 78, a notice: a room has a new owner
    RoomOwner = 36 "room.owner",
    /// 78, a notice: who may come into a room, and who asks
    RoomAccess = 37 "room.access",
    /// Told by the daemon itself, of no type: an account's client has stopped polling
    ClientOffline = 38 "client.offline",
    /// Told by the daemon itself, of no type: it polls again
    ClientOnline = 39 "client.online",
}

impl Kind {
    /// The kind of events of that type; of messages, without a `msgType`.
    #[must_use]
    pub fn of_type(r#type: i64) -> Self {
        Self::of(Some(r#type), None)
    }

    /// The types of events of this kind; of no type are those that the daemon tells, and those that cannot be read. Of any
    /// other type are the others.
    #[must_use]
    pub fn types(self) -> &'static [i64] {
        match self {
            Self::Login => &[67],
            Self::LoginState => &[66],
            Self::LoginQrcode => &[401, 82],
            Self::Profile => &[71],
            Self::ContactsPacket => &[97],
            Self::Contacts => &[210],
            Self::Rooms => &[211],
            Self::RoomMembers => &[77],
            Self::ContactPacket => &[88],
            Self::RoomCreated => &[69],
            Self::FriendVerified => &[96],
            Self::FriendV2 => &[81],
            Self::Avatars => &[95],
            Self::Logout => &[90],
            Self::LogoutPhone => &[98],
            Self::Other | Self::Unparsed | Self::ClientOffline | Self::ClientOnline => &[],
            _ => &[MESSAGE],
        }
    }

    /// The kind of events of that type, and of messages of that `msgType` as far as it tells.
    pub(super) fn of(r#type: Option<i64>, msg_type: Option<i64>) -> Self {
        match r#type {
            Some(67) => Self::Login,
            Some(66) => Self::LoginState,
            Some(401 | 82) => Self::LoginQrcode,
            Some(71) => Self::Profile,
            Some(97) => Self::ContactsPacket,
            Some(210) => Self::Contacts,
            Some(211) => Self::Rooms,
            Some(77) => Self::RoomMembers,
            Some(88) => Self::ContactPacket,
            Some(69) => Self::RoomCreated,
            Some(96) => Self::FriendVerified,
            Some(81) => Self::FriendV2,
            Some(95) => Self::Avatars,
            Some(90) => Self::Logout,
            Some(98) => Self::LogoutPhone,
            Some(MESSAGE) => msg_type.map_or(Self::MessageOther, Self::of_message),
            _ => Self::Other,
        }
    }

    /// The kind of messages of that `msgType`; what 10000 and 10002 tell is known only when they are read.
    #[must_use]
    pub(super) fn of_message(msg_type: i64) -> Self {
        match msg_type {
            1 => Self::MessageText,
            3 => Self::MessageImage,
            34 => Self::MessageVoice,
            37 | 65 => Self::MessageFriendRequest,
            42 | 66 => Self::MessageCard,
            43 => Self::MessageVideo,
            47 => Self::MessageSticker,
            48 => Self::MessageLocation,
            49 => Self::MessageApp,
            50 => Self::MessageCall,
            10000 => Self::MessageSystem,
            _ => Self::MessageOther,
        }
    }

    /// Whether the daemon itself tells it: no event of a client is of that kind.
    #[must_use]
    pub fn is_of_daemon(self) -> bool {
        matches!(self, Self::ClientOffline | Self::ClientOnline)
    }

    /// Whether it is a kind of message (type 78): only those have text.
    #[must_use]
    pub fn is_message(self) -> bool {
        self.as_str().starts_with("message.") || self.is_of_room()
    }

    /// Whether it is a notice (type 78) that tells of a room.
    #[must_use]
    pub fn is_of_room(self) -> bool {
        matches!(
            self,
            Self::RoomJoined
                | Self::RoomLeft
                | Self::RoomRenamed
                | Self::RoomAnnouncement
                | Self::RoomOwner
                | Self::RoomAccess
        )
    }

    /// Whether it is something that a person says: no notice, no recall, no call, no friend request.
    #[must_use]
    pub fn is_said(self) -> bool {
        matches!(
            self,
            Self::MessageText
                | Self::MessageImage
                | Self::MessageVoice
                | Self::MessageCard
                | Self::MessageVideo
                | Self::MessageSticker
                | Self::MessageLocation
                | Self::MessageApp
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_the_types_that_are_of_it_and_no_other() {
        for number in 0..1000 {
            let of = Kind::ALL.iter().filter(|kind| kind.types().contains(&number)).copied().collect::<Vec<_>>();
            match Kind::of_type(number) {
                Kind::MessageOther => assert!(of.iter().all(|kind| kind.is_message()) && of.len() == 20, "{of:?}"),
                Kind::Other => assert_eq!(of, [], "{number}"),
                kind => assert_eq!(of, [kind], "{number}"),
            }
        }
    }
}
