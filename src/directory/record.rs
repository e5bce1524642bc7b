//! The records of the directory: their stored form, which is also what queries return, and how they take in facts.
//!
//! Promises: what is taken in is bounded; `null` teaches nothing; the names of the fields are those of a decoded event
//! (contract 7), so that `--cached` prints what a fresh answer prints, and some more.
//! Leaves to others: where records are kept (`map`), and which event tells what (`learn`).

use super::map::{self, Record};
use super::presence::Seat;
use crate::clock::Time;
use crate::key::{self, Space};
use crate::protocol::contact::{Contact, Emptied, Room, RoomInfo};
use crate::protocol::decoded::FriendRequest;
use crate::protocol::event::Decoded;
use crate::protocol::id;
use crate::seq::Seq;
use serde::{Deserialize, Serialize};

/// The longest name (nick, remark, place …), characters: WeChat allows 32 for a nick.
const NAME_CHARS_MAX: usize = 256;
/// The longest sign or greeting, characters: WeChat allows 30 and 50.
const SAYING_CHARS_MAX: usize = 1024;
/// The longest URL, bytes: avatars have about 150. A cut URL leads nowhere, so a longer one is left out.
const URL_BYTES_MAX: usize = 2048;
/// The longest ticket, bytes: v2 have about 200. Left out when longer, likewise.
const TICKET_BYTES_MAX: usize = 2048;

/// An account that an event came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// `cwxid`
    pub account: String,
    /// From its own profile.
    pub nick: Option<String>,
    /// The WeChat name that it chose; from its own profile.
    pub username: Option<String>,
    /// From its own profile.
    pub avatar: Option<String>,
    /// The process that drives it: the last one that an event named. No two accounts share one.
    pub pid: Option<u64>,
    /// The process that drove it last, kept when another account takes it.
    pub home: Option<u64>,
    /// Whether it is logged in; `None`: no event told.
    pub logged_in: Option<bool>,
    /// When that last changed.
    pub logged: Option<Time>,
    /// The event that last changed something here.
    pub seq: Seq,
    /// When it came.
    pub updated: Time,
}

/// What an event tells of what its account is called. Two keep it, as they do its [`Seat`]; absent teaches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// See [`Account::nick`].
    pub nick: Option<String>,
    /// See [`Account::username`].
    pub username: Option<String>,
}

impl Names {
    /// Those in what an event unpacked: only its own profile tells them.
    #[must_use]
    pub fn of(decoded: &Decoded) -> Self {
        own_profile(decoded)
            .map_or_else(Self::default, |told| Self { nick: name(&told.nick), username: name(&told.username) })
    }
}

/// What an account's own profile tells of it, when that is what the event is.
pub(super) fn own_profile(decoded: &Decoded) -> Option<&Contact> {
    match decoded {
        Decoded::Profile { contact, own: true } => Some(contact),
        _ => None,
    }
}

impl Account {
    /// Where it is.
    #[must_use]
    pub fn seat(&self) -> Seat {
        // Records of the first version have no `home`.
        Seat { pid: self.pid, home: self.home.or(self.pid), logged_in: self.logged_in, logged: self.logged }
    }

    pub(super) fn sit(&mut self, seat: Seat) {
        (self.pid, self.home, self.logged_in, self.logged) = (seat.pid, seat.home, seat.logged_in, seat.logged);
    }
}

/// What an id is, as its shape tells (client-facts.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdKind {
    /// `wxid_…`, and the bare words of long-time users.
    #[default]
    Person,
    /// `…@chatroom`
    Room,
    /// `gh_…`
    Public,
    /// `…@openim`
    Company,
    /// `filehelper`, `fmessage` and their like.
    System,
}

impl IdKind {
    /// What an id is.
    #[must_use]
    pub fn of(wxid: &str) -> Self {
        if id::is_room(wxid) {
            Self::Room
        } else if wxid.starts_with("gh_") {
            Self::Public
        } else if wxid.ends_with("@openim") {
            Self::Company
        } else if id::is_system(wxid) {
            Self::System
        } else {
            Self::Person
        }
    }
}

/// A person (or public account …) as one account knows them. The fields from `nick` to `group_id` are those of a
/// decoded contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContactRow {
    /// Whose contact; stands in the key.
    pub account: String,
    /// The id; stands in the key.
    pub wxid: String,
    /// What the id is; told by it.
    pub kind: IdKind,
    /// The name that they gave themselves.
    pub nick: Option<String>,
    /// The name that the account gave them.
    pub remark: Option<String>,
    /// The WeChat number that they chose.
    pub username: Option<String>,
    /// `male`, `female`, `unknown`
    pub sex: Option<String>,
    /// As the client tells it.
    pub province: Option<String>,
    /// As the client tells it.
    pub city: Option<String>,
    /// Two letters of a country.
    pub region: Option<String>,
    /// What they say of themselves.
    pub sign: Option<String>,
    /// URL of the picture.
    pub avatar: Option<String>,
    /// URL of the small picture.
    pub avatar_small: Option<String>,
    /// WeChat's flags; the lowest bit is set for those in the contact list.
    pub r#type: Option<i64>,
    /// As the client tells it.
    pub group_id: Option<String>,
    /// A contact list had them, or a request was accepted; and nothing has told since that they are none.
    pub friend: bool,
    /// The event that told that they are a friend.
    #[serde(skip_serializing_if = "is_zero")]
    pub friend_seq: Seq,
    /// The newest ticket that an event gave for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v1: Option<String>,
    /// Likewise: what adding a member of a room needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v2: Option<String>,
    /// The event that last changed something here.
    pub seq: Seq,
    /// When it came.
    pub updated: Time,
}

/// A room as one account knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomRow {
    /// Whose room; stands in the key.
    pub account: String,
    /// The id; stands in the key.
    pub wxid: String,
    /// Always [`IdKind::Room`].
    pub kind: IdKind,
    /// The room's name.
    pub nick: Option<String>,
    /// The name that the account gave it.
    pub remark: Option<String>,
    /// URL of the picture.
    pub avatar: Option<String>,
    /// How many members it has, as far as was told.
    pub count: Option<u64>,
    /// That was never told, and this many are known: there may be more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub or_more: bool,
    /// Whether the account owns it.
    pub owner: Option<bool>,
    /// Who owns it.
    pub owner_wxid: Option<String>,
    /// How many members are known by id: what `members` lists.
    pub members_known: u64,
    /// The account is no member any more: it is in no cached list, and no name means it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// The event that last changed something here.
    pub seq: Seq,
    /// When it came.
    pub updated: Time,
}

fn is_zero(seq: &Seq) -> bool {
    *seq == Seq::ZERO
}

/// A person or a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "most entries are contacts; a box would cost each of them an allocation")]
pub enum Entry {
    /// See [`ContactRow`].
    Contact(ContactRow),
    /// See [`RoomRow`].
    Room(RoomRow),
}

impl Entry {
    /// The id.
    #[must_use]
    pub fn wxid(&self) -> &str {
        match self {
            Self::Contact(contact) => &contact.wxid,
            Self::Room(room) => &room.wxid,
        }
    }

    pub(super) fn seq(&self) -> Seq {
        match self {
            Self::Contact(contact) => contact.seq,
            Self::Room(room) => room.seq,
        }
    }
}

/// A member in the list of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct Listed {
    pub(super) id: String,
    /// What they are called in that room.
    pub(super) nick: Option<String>,
}

/// The stored form: as lists of ids alone were stored, where there is no nick.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Id(String),
    Named(String, String),
}

impl From<Stored> for Listed {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Id(id) => Self { id, nick: None },
            Stored::Named(id, nick) => Self { id, nick: Some(nick) },
        }
    }
}

impl From<Listed> for Stored {
    fn from(listed: Listed) -> Self {
        match listed.nick {
            None => Self::Id(listed.id),
            Some(nick) => Self::Named(listed.id, nick),
        }
    }
}

/// A friend request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The event that brought it: what `friend accept` is given.
    pub seq: Seq,
    /// When it came.
    pub time: Time,
    /// Who is asked.
    pub account: String,
    /// Who asks.
    pub wxid: Option<String>,
    /// Their name.
    pub nick: Option<String>,
    /// What they say.
    pub greeting: Option<String>,
    /// URL of their picture.
    pub avatar: Option<String>,
    /// The ticket that accepting needs.
    pub v1: Option<String>,
    /// The other one.
    pub v2: Option<String>,
    /// Earlier events that told of the very same request: `WeChat` does so again when it starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Seq>,
    /// When it was known to be accepted, by whatever hand; absent: it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Time>,
    /// The command that accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<u64>,
}

impl Record for ContactRow {
    const SPACE: Space = key::PEOPLE;

    fn place(&mut self, account: &str, id: &str) {
        account.clone_into(&mut self.account);
        id.clone_into(&mut self.wxid);
        self.kind = IdKind::of(id);
    }

    fn stamp(&mut self, seq: Seq, time: Time) {
        (self.seq, self.updated) = (seq, time);
    }

    fn seq(&self) -> Seq {
        self.seq
    }
}

impl Record for RoomRow {
    const SPACE: Space = key::ROOMS;

    fn place(&mut self, account: &str, id: &str) {
        account.clone_into(&mut self.account);
        id.clone_into(&mut self.wxid);
        self.kind = IdKind::Room;
    }

    fn stamp(&mut self, seq: Seq, time: Time) {
        (self.seq, self.updated) = (seq, time);
    }

    fn seq(&self) -> Seq {
        self.seq
    }
}

impl ContactRow {
    /// A friend, as the event `seq` tells.
    pub(super) fn befriend(&mut self, seq: Seq) {
        if !self.friend {
            (self.friend, self.friend_seq) = (true, seq);
        }
    }

    /// No friend any more. The name that the account gave them goes with that: the next list would not tell it either.
    pub(super) fn unfriend(&mut self) {
        (self.friend, self.friend_seq, self.remark) = (false, Seq::ZERO, None);
    }

    /// Forgets the names that are told to be empty.
    pub(super) fn empty(&mut self, emptied: Emptied) {
        empty(emptied, &mut self.nick, &mut self.remark);
    }

    /// Takes in what an event tells of them.
    pub(super) fn take(&mut self, told: &Contact) {
        take(&mut self.nick, name(&told.nick));
        take(&mut self.remark, name(&told.remark));
        take(&mut self.username, name(&told.username));
        take(&mut self.sex, told.sex.map(str::to_owned));
        take(&mut self.province, name(&told.province));
        take(&mut self.city, name(&told.city));
        take(&mut self.region, name(&told.region));
        take(&mut self.sign, saying(&told.sign));
        let (avatar, small) = (url(&told.avatar), url(&told.avatar_small));
        match avatar {
            // The client told the small one only.
            Some(avatar) if small.as_ref() == Some(&avatar) => self.take_picture(&avatar),
            avatar => take(&mut self.avatar, avatar),
        }
        take(&mut self.avatar_small, small);
        take(&mut self.r#type, told.r#type);
        take(&mut self.group_id, name(&told.group_id));
    }

    /// Takes in somebody who asks to be a friend.
    pub(super) fn take_request(&mut self, told: &FriendRequest) {
        let FriendRequest { nick, person, .. } = told.clone();
        self.take(&Contact {
            nick,
            username: person.alias,
            sex: person.sex,
            province: person.province,
            city: person.city,
            region: person.country,
            sign: person.sign,
            avatar: person.avatar,
            avatar_small: person.avatar_small,
            ..Contact::default()
        });
    }

    /// Takes in a member of a room. Their nick there is not the one that a friend has: anybody may take any in a room.
    pub(super) fn take_member(&mut self, told: &Contact) {
        let nick = self.nick.clone().filter(|_| self.friend);
        self.take(told);
        take(&mut self.nick, nick);
    }

    /// Takes in the URL of a picture of unknown size.
    pub(super) fn take_picture(&mut self, told: &str) {
        /// The end of the URL of a small picture, where a large one has `/0`.
        const SMALL: &str = "/132";
        let small = told.strip_suffix(SMALL);
        if small.is_some() {
            take(&mut self.avatar_small, bounded_url(told));
        }
        // The large form of the same picture is better than the small one.
        let known = self.avatar.as_deref().and_then(|known| known.strip_suffix("/0"));
        if small.is_none() || known != small {
            take(&mut self.avatar, bounded_url(told));
        }
    }

    /// The names that somebody may be called by.
    pub(super) fn names(&self) -> [Option<&str>; 3] {
        [self.remark.as_deref(), self.nick.as_deref(), self.username.as_deref()]
    }
}

fn empty(emptied: Emptied, nick: &mut Option<String>, remark: &mut Option<String>) {
    if emptied.nick {
        *nick = None;
    }
    if emptied.remark {
        *remark = None;
    }
}

impl RoomRow {
    /// Forgets the names that are told to be empty.
    pub(super) fn empty(&mut self, emptied: Emptied) {
        empty(emptied, &mut self.nick, &mut self.remark);
    }

    /// Takes in a contact that is a room.
    pub(super) fn take_contact(&mut self, told: &Contact) {
        take(&mut self.remark, name(&told.remark));
        self.describe(&told.nick, &told.avatar, None);
    }

    /// Takes in a room of a 211 event.
    pub(super) fn take(&mut self, told: &Room) {
        self.describe(&told.nick, &told.avatar, told.count.and_then(|count| count.try_into().ok()));
        let Some(own) = told.owner else { return };
        self.owner = Some(own);
        // Somebody else than was known, if the two contradict each other.
        let was_own = self.owner_wxid.as_deref().map(|owner| owner == self.account);
        if was_own.is_some_and(|was| was != own) {
            self.owner_wxid = None;
        }
        if own {
            self.owner_wxid = Some(self.account.clone());
        }
    }

    /// Takes in the `info` of a 77 event.
    pub(super) fn take_info(&mut self, told: &RoomInfo) {
        self.describe(&told.nick, &told.avatar, None);
        if let Some(owner) = id_of(&told.owner) {
            self.owner = Some(*owner == self.account);
            self.owner_wxid = Some(owner.to_owned());
        }
    }

    fn describe(&mut self, nick: &Option<String>, avatar: &Option<String>, count: Option<u64>) {
        take(&mut self.nick, name(nick));
        take(&mut self.avatar, url(avatar));
        self.or_more &= count.is_none();
        take(&mut self.count, count);
    }

    /// The names that it may be called by.
    pub(super) fn names(&self) -> [Option<&str>; 2] {
        [self.remark.as_deref(), self.nick.as_deref()]
    }
}

impl Request {
    /// Takes over what was known of this very request when an earlier event told of it.
    pub(super) fn told_before(&mut self, known: Self) {
        /// This many events of one request are remembered, the newest.
        const EARLIER_MAX: usize = 16;
        let Self { seq, earlier, accepted, command, .. } = known;
        self.earlier = earlier;
        self.earlier.push(seq);
        self.earlier.drain(..self.earlier.len().saturating_sub(EARLIER_MAX));
        (self.accepted, self.command) = (accepted, command);
    }

    /// The request in a message 37; `None` when it says neither who asks nor how to accept.
    pub(super) fn read(told: &FriendRequest, account: &str, time: Time, seq: Seq) -> Option<Self> {
        let (wxid, v1) = (id_of(&told.wxid).map(str::to_owned), ticket(&told.v1));
        if wxid.is_none() && v1.is_none() {
            return None;
        }
        Some(Self {
            seq,
            time,
            account: account.to_owned(),
            wxid,
            nick: name(&told.nick),
            greeting: saying(&told.greeting),
            avatar: url(&told.person.avatar),
            v1,
            v2: ticket(&told.v2),
            ..Self::default()
        })
    }
}

/// Takes a fact over what is known; no fact changes nothing.
pub(super) fn take<T>(known: &mut Option<T>, told: Option<T>) {
    if told.is_some() {
        *known = told;
    }
}

/// An id that can be one.
pub(super) fn id_of(told: &Option<String>) -> Option<&str> {
    told.as_deref().filter(|id| map::is_id(id))
}

/// A name, cut to its bound.
pub(super) fn name(told: &Option<String>) -> Option<String> {
    cut(told, NAME_CHARS_MAX)
}

fn saying(told: &Option<String>) -> Option<String> {
    cut(told, SAYING_CHARS_MAX)
}

fn cut(told: &Option<String>, chars_max: usize) -> Option<String> {
    let told = told.as_deref().filter(|text| !text.is_empty());
    told.map(|text| text.chars().take(chars_max).collect())
}

/// A URL, unless it is too long.
pub(super) fn url(told: &Option<String>) -> Option<String> {
    told.as_deref().and_then(bounded_url)
}

/// A URL, unless it is too long.
pub(super) fn bounded_url(url: &str) -> Option<String> {
    (!url.is_empty() && url.len() <= URL_BYTES_MAX).then(|| url.to_owned())
}

/// A ticket, unless it is too long.
pub(super) fn ticket(told: &Option<String>) -> Option<String> {
    told.clone().filter(|ticket| !ticket.is_empty() && ticket.len() <= TICKET_BYTES_MAX)
}
