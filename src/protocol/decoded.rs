//! What is unpacked from an event: the `decoded` of its line (the tables of contract 7).
//!
//! Promises: the JSON is made of these types and nowhere else, each member in the place and under the name that it has
//! here. What a client may leave out is `null`; what belongs to some events only is absent from the others.
//! Leaves to others: reading all this from an event (`event`, `message`, `contact`, `packet`).

use super::contact::{Contact, Room, RoomInfo};
use serde::Serialize;
use serde_json::{Map, Value};

/// What was packed in an event, by kind or family of kinds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Decoded {
    /// Nothing, or it could not be read.
    Nothing {},
    /// 67
    Login {
        /// 200: logged in.
        code: Option<i64>,
    },
    /// 66
    LoginState {
        /// `None`: it does not say.
        logged_in: Option<bool>,
    },
    /// 401, 82: a code to scan, as a picture.
    LoginImage {
        /// The picture.
        image: Image,
    },
    /// 401, 82: the link or text of a code to scan.
    LoginContent {
        /// As it was given.
        content: String,
    },
    /// 71
    Profile {
        /// Whose it is.
        contact: Box<Contact>,
        /// It is the account's own.
        #[serde(rename = "self")]
        own: bool,
    },
    /// 97
    ContactsPacket {
        /// Ids of contacts.
        wxids: Vec<String>,
    },
    /// 210
    Contacts(Contacts),
    /// 211
    Rooms(Rooms),
    /// 77
    RoomMembers(RoomMembers),
    /// Of an event whose list was read piece by piece whom the list names. Never printed: see `answer::gather`.
    Gathered {
        /// See [`RoomMembers::room`].
        room: Option<String>,
        /// The ids in the list.
        ids: Vec<String>,
        /// How many members the room has, as it says itself.
        counted: usize,
    },
    /// 95
    Avatars {
        /// URLs, by id.
        avatars: Map<String, Value>,
    },
    /// 88
    ContactPacket(ContactPacket),
    /// 69
    RoomCreated {
        /// Its id.
        room: Option<String>,
    },
    /// 96
    FriendVerified {
        /// It came to a friendship.
        ok: bool,
        /// The tickets in it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        v1s: Vec<String>,
    },
    /// 81
    FriendV2 {
        /// Whose ticket it is.
        contact: Box<Contact>,
        /// The ticket.
        v2: Option<String>,
    },
    /// A text that is a push of an official account.
    Articles {
        /// At least one.
        articles: Vec<Article>,
    },
    /// A picture, voice, video, sticker or place: its XML's attributes as they stand, and the useful ones normalised.
    Media(Map<String, Value>),
    /// Somebody asks to be a friend.
    FriendRequest(Box<FriendRequest>),
    /// Somebody recommends somebody.
    Card(Box<Card>),
    /// See [`App`].
    App(Box<App>),
    /// The invitation to a call.
    Call {
        /// As it stands in the XML.
        status: Option<String>,
        /// As it stands in the XML.
        invitetype: Option<String>,
        /// As it stands in the XML.
        roomid: Option<String>,
    },
    /// See [`Notice`].
    Notice(Box<Notice>),
}

impl Default for Decoded {
    fn default() -> Self {
        Self::Nothing {}
    }
}

impl Decoded {
    /// The text of a pat, or of a notice, with ids in the place of names, see `message::with_names`.
    #[must_use]
    pub fn template(&self) -> Option<&str> {
        let pat = match self {
            Self::App(app) => app.pat(),
            Self::Notice(notice) if notice.template.is_some() => return notice.template.as_deref(),
            Self::Notice(notice) => notice.pat(),
            _ => None,
        };
        pat?.template.as_ref()?.as_deref()
    }

    /// That of an app message.
    #[must_use]
    pub fn app(&self) -> Option<&App> {
        match self {
            Self::App(app) => Some(app),
            _ => None,
        }
    }
}

/// 210; the list may be another than of all contacts, for whoever writes them one by one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Contacts<L = Vec<Contact>> {
    /// In the client's order.
    pub contacts: L,
}

/// 211; likewise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Rooms<L = Vec<Room>> {
    /// In the client's order.
    pub rooms: L,
}

/// 77; likewise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RoomMembers<L = Vec<Contact>> {
    /// Whose members they are.
    pub room: Option<String>,
    /// In the client's order.
    pub members: L,
    /// What the room's XML tells of it.
    pub info: Option<RoomInfo>,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// `image/png`
    pub media_type: String,
    /// Its bytes.
    pub base64: String,
}

/// What was found in a packet about a person or a room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ContactPacket {
    pub(crate) wxids: Vec<String>,
    pub(crate) v1: Option<String>,
    pub(crate) v2: Option<String>,
    pub(crate) avatars: Vec<String>,
    pub(crate) strings: Vec<String>,
    /// The ids of those whom it is about. There are more ids in it, and nicks that look like ids.
    #[serde(skip)]
    pub(crate) about: Vec<String>,
}

/// One article of an official account's push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Article {
    pub(crate) title: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) digest: Option<String>,
    pub(crate) cover: Option<String>,
}

/// What `friend accept` needs, who asks, and what they say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FriendRequest {
    pub(crate) v1: Option<String>,
    pub(crate) v2: Option<String>,
    pub(crate) wxid: Option<String>,
    pub(crate) nick: Option<String>,
    pub(crate) greeting: Option<String>,
    pub(crate) scene: Option<String>,
    /// The room where they met.
    pub(crate) room: Option<String>,
    #[serde(flatten)]
    pub(crate) person: Described,
}

/// Somebody who is recommended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// `None` of a stranger, whose id newer versions hide behind a ticket.
    pub(crate) wxid: Option<String>,
    pub(crate) nick: Option<String>,
    pub(crate) v1: Option<String>,
    pub(crate) v2: Option<String>,
    #[serde(flatten)]
    pub(crate) person: Described,
}

/// What friend requests and cards both tell of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Described {
    pub(crate) alias: Option<String>,
    pub(crate) sex: Option<&'static str>,
    pub(crate) avatar: Option<String>,
    pub(crate) avatar_small: Option<String>,
    pub(crate) country: Option<String>,
    pub(crate) province: Option<String>,
    pub(crate) city: Option<String>,
    pub(crate) sign: Option<String>,
}

/// An app message: a link, a file, a mini program, a quote, a transfer or what else stands in `<appmsg>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct App {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) app_type: Option<i64>,
    pub(crate) app: Option<AppWord>,
    pub(crate) source: Option<String>,
    pub(crate) thumb_url: Option<String>,
    #[serde(flatten)]
    pub(crate) more: MoreOfApp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) articles: Option<Vec<Article>>,
}

impl App {
    /// The word for what it is.
    pub(crate) fn word(&self) -> Option<&'static str> {
        match self.app {
            Some(AppWord::Known(word)) => Some(word),
            _ => None,
        }
    }

    /// Who said what it quotes.
    pub(crate) fn quoted(&self) -> Option<&str> {
        match &self.more {
            MoreOfApp::Quote { quote } => quote.from.as_deref(),
            _ => None,
        }
    }

    fn pat(&self) -> Option<&Pat> {
        match &self.more {
            MoreOfApp::Pat(pat) => Some(pat),
            _ => None,
        }
    }
}

/// What an app message is: a word, or the number that nobody has a word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum AppWord {
    Known(&'static str),
    Unknown(i64),
}

/// What only one kind of app message has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum MoreOfApp {
    Nothing {},
    Music {
        data_url: Option<String>,
    },
    File {
        file_name: Option<String>,
        file_size: Option<i64>,
        file_ext: Option<String>,
        md5: Option<String>,
        attachid: Option<String>,
    },
    MiniProgram {
        mini_program: MiniProgram,
    },
    Channel {
        nick: Option<String>,
        channel: Channel,
    },
    Quote {
        quote: Quote,
    },
    History {
        items: Vec<HistoryItem>,
    },
    Pat(Pat),
    Announcement {
        announcement: Option<String>,
    },
    Transfer {
        amount: Option<String>,
        memo: Option<String>,
        step: Option<&'static str>,
        pay_subtype: Option<String>,
        transfer_id: Option<String>,
        transaction_id: Option<String>,
        payer: Option<String>,
        receiver: Option<String>,
    },
    RedPacket {
        greeting: Option<String>,
        id: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MiniProgram {
    pub(crate) username: Option<String>,
    pub(crate) appid: Option<String>,
    pub(crate) page: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Channel {
    pub(crate) nick: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) avatar: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Quote {
    /// Who said it.
    pub(crate) from: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<&'static str>,
    pub(crate) text: Option<String>,
    pub(crate) id: Option<String>,
}

/// One message of a merged history, or one part of a note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct HistoryItem {
    pub(crate) name: Option<String>,
    pub(crate) kind: &'static str,
    pub(crate) text: Option<String>,
    pub(crate) time: Option<String>,
}

/// Somebody pats somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pat {
    pub(crate) from: Option<String>,
    pub(crate) patted: Option<String>,
    /// With ids in the place of names; absent where a plain sentence told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<Option<String>>,
}

/// A notice of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The type of its XML; absent where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sysmsg: Option<Option<String>>,
    #[serde(flatten)]
    pub(crate) told: NoticeTold,
    /// Its sentence with ids in it, where it has one; that of a pat is told with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<String>,
}

impl Notice {
    fn pat(&self) -> Option<&Pat> {
        match &self.told {
            NoticeTold::Pat(pat) => Some(pat),
            _ => None,
        }
    }
}

/// What a notice tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum NoticeTold {
    Nothing {},
    /// A message is taken back.
    Recall {
        session: Option<String>,
        msgid: Option<String>,
        newmsgid: Option<String>,
        replacemsg: Option<String>,
    },
    Pat(Pat),
    OfRoom(Happened),
    Other {
        /// What it is about, where its words tell.
        notice: Option<&'static str>,
    },
}

/// What a notice tells of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Happened {
    pub(crate) who: Vec<Somebody>,
    pub(crate) by: Option<Somebody>,
    pub(crate) how: Option<&'static str>,
    pub(crate) name: Option<String>,
}

/// Somebody, by id and by name, as far as either is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Somebody {
    pub(crate) wxid: Option<String>,
    pub(crate) nick: Option<String>,
}

#[cfg(test)]
impl Decoded {
    /// As it stands in a line.
    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap()
    }
}
