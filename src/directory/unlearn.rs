//! What the end of a command teaches that no event says by itself (contract 5, "The directory unlearns").
//!
//! | command | when it has ended |
//! |---|---|
//! | 45 | who is missing from the contact list is no friend |
//! | 46 | who was only asked about is no friend for that |
//! | 47 | a room that is missing is none of ours |
//! | 6 | who is missing is no member of that room |
//! | 17 | who was deleted is no friend |
//!
//! Promises: only what was known when the question was handed out is unlearned: what came later is newer than the
//! answer. Done twice, it changes nothing more.
//! Leaves to others: which events answered which command, and whether more pieces may come (`daemon::react`).

use super::draft::Draft;
use super::learn::{self, LIST_MAX, MEMBERS_MAX, roster};
use super::map::{self, Map, Record};
use super::record::{self, ContactRow, Listed, RoomRow};
use crate::clock::Time;
use crate::protocol::contact::{Contact, Room};
use crate::protocol::event::{Decoded, Event};
use crate::protocol::id;
use crate::seq::Seq;
use crate::store;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::ops::ControlFlow;

/// Which command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// 45 was answered.
    Friends,
    /// 46 was answered.
    People,
    /// 47 was answered.
    Rooms,
    /// 6 was answered.
    Members,
    /// 17 was fetched.
    Deleted,
}

impl Lesson {
    /// What the end of a command with this `api` teaches, if anything.
    #[must_use]
    pub fn of(api: &str) -> Option<Self> {
        Some(match api {
            "initContact" => Self::Friends,
            "newGetUserLists" => Self::People,
            "getChatRoomLists" => Self::Rooms,
            "getChatRoomUserLists" => Self::Members,
            "delUser" => Self::Deleted,
            _ => return None,
        })
    }

    /// Whether its answer may come in pieces.
    #[must_use]
    pub fn comes_in_pieces(self) -> bool {
        matches!(self, Self::Friends | Self::Rooms | Self::Members)
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended<'e> {
    /// What it was.
    pub lesson: Lesson,
    /// Whose it was.
    pub account: &'e str,
    /// The newest event when it was handed out.
    pub asked: Seq,
    /// What the events told that answered it, all pieces.
    pub told: &'e Told,
    /// Whom it was about: the id in `wxid`.
    pub whom: Option<&'e str>,
    /// When it ended.
    pub time: Time,
}

/// The most that is kept of what answers told, bytes of ids: fifty full lists. Who is told more knows not who is
/// missing.
const TOLD_BYTES_MAX: usize = 32 << 20;

/// What the answers of a command told, as far as its end teaches it: the events themselves may be many megabytes.
#[derive(Debug, Default)]
pub struct Told {
    /// The account that the answers came from, if they said so.
    account: Option<String>,
    /// The conversation that they are about.
    chat: Option<String>,
    /// The answers, and how many items the list of each has.
    items: HashMap<Seq, usize>,
    /// Something was cut to its bound: it may have told of anybody.
    cut: bool,
    bytes: usize,
    /// Who is in a list of contacts, and in a packet.
    contacts: HashSet<String>,
    packets: HashSet<String>,
    /// Of those the ones that are not marked as friends.
    unmarked: HashSet<String>,
    /// Rooms, and the ids of all their members with a line break behind each, where all were told.
    rooms: HashMap<String, Option<String>>,
    /// The members of one room, in their order.
    members: Vec<String>,
}

impl Told {
    /// Takes in an event that answered a `lesson`, or a piece of its list.
    pub fn hear(&mut self, lesson: Lesson, seq: Seq, event: &Event) {
        self.items.entry(seq).or_default();
        if self.account.is_none() {
            self.account.clone_from(&event.account);
        }
        if self.chat.is_none() {
            self.chat.clone_from(&event.chat);
        }
        match (lesson, &event.decoded) {
            (Lesson::Friends | Lesson::People, Decoded::Contacts(told)) => {
                self.take_in(seq, &told.contacts, |this, contact| this.contact(lesson, contact));
            }
            (Lesson::Members, Decoded::RoomMembers(told)) => {
                self.take_in(seq, &told.members, |this, member| this.contact(lesson, member));
            }
            (Lesson::Rooms, Decoded::Rooms(told)) => self.take_in(seq, &told.rooms, Self::room),
            (Lesson::Friends, Decoded::ContactsPacket { wxids }) => {
                for id in learn::ids(wxids) {
                    self.bytes += id.len();
                    self.packets.insert(id.to_owned());
                }
            }
            _ => {}
        }
        if self.bytes > TOLD_BYTES_MAX {
            self.cut = true;
        }
        if self.cut {
            *self =
                Self { cut: true, account: self.account.take(), items: mem::take(&mut self.items), ..Self::default() };
        }
    }

    /// Takes in the items of a list, or of a piece of it.
    fn take_in<I>(&mut self, seq: Seq, items: &[I], item: impl Fn(&mut Self, &I)) {
        let count = self.items.entry(seq).or_default();
        *count += items.len();
        self.cut |= *count >= LIST_MAX;
        if !self.cut {
            items.iter().for_each(|told| item(self, told));
        }
    }

    fn contact(&mut self, lesson: Lesson, told: &Contact) {
        let Some(id) = record::id_of(&told.wxid) else { return };
        self.bytes += id.len();
        match lesson {
            Lesson::Members => self.members.push(id.to_owned()),
            Lesson::People if id::is_room(id) || told.r#type.is_some_and(|flags| flags & 1 == 1) => {}
            Lesson::People => drop(self.unmarked.insert(id.to_owned())),
            _ => drop(self.contacts.insert(id.to_owned())),
        }
    }

    fn room(&mut self, told: &Room) {
        let Some(id) = record::id_of(&told.wxid) else { return };
        let count = learn::ids(&told.members).count();
        let all = (count > 0 && told.count == i64::try_from(count).ok())
            .then(|| learn::ids(&told.members).flat_map(|id| [id, "\n"]).collect::<String>());
        self.bytes += id.len() + all.as_ref().map_or(0, String::len);
        self.rooms.insert(id.to_owned(), all);
    }

    /// The account that they came from, if they said so.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }
}

/// Takes in what its end teaches.
///
/// # Errors
/// When the store cannot be read.
pub fn unlearn(draft: &mut Draft<'_>, ended: &Ended<'_>) -> Result<(), store::Error> {
    ended.teach(draft)
}

impl Ended<'_> {
    pub(super) fn teach<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        if self.told.cut {
            return Ok(());
        }
        match self.lesson {
            Lesson::Friends => self.friends(map),
            Lesson::People => self.people(map),
            Lesson::Rooms => self.rooms(map),
            Lesson::Members => self.members(map),
            Lesson::Deleted => match self.whom.filter(|id| map::is_id(id)) {
                Some(id) => self.change(map, id, |known: &mut ContactRow| {
                    if known.friend_seq <= self.asked {
                        known.unfriend();
                    }
                }),
                None => Ok(()),
            },
        }
    }

    fn friends<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        let Told { contacts, packets, .. } = self.told;
        // Everybody has `filehelper`: a list without anybody comes of a client that is not ready yet.
        if contacts.is_empty() {
            return Ok(());
        }
        self.each(map, |known: &mut ContactRow| {
            let is_told = contacts.contains(&known.wxid) || packets.contains(&known.wxid);
            if known.friend && known.friend_seq <= self.asked && !is_told {
                known.unfriend();
            }
        })
    }

    /// The answer has the form of a contact list, and made friends of all that are in it.
    fn people<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        for id in &self.told.unmarked {
            self.change(map, id, |known: &mut ContactRow| {
                if known.friend && self.told.items.contains_key(&known.friend_seq) {
                    (known.friend, known.friend_seq) = (false, Seq::ZERO);
                }
            })?;
        }
        Ok(())
    }

    fn rooms<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        let told = &self.told.rooms;
        self.each(map, |known: &mut RoomRow| {
            // What an event changed after the question lives.
            if known.seq <= self.asked && !told.contains_key(&known.wxid) {
                known.left = true;
            }
        })?;
        for (room, members) in told {
            if let Some(members) = members {
                self.roster(map, room, &members.lines().collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }

    fn members<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        let told: Vec<&str> = self.told.members.iter().map(String::as_str).collect();
        let room = self.told.chat.as_deref().or(self.whom);
        match room.filter(|id| map::is_id(id) && id::is_room(id)) {
            Some(room) if !told.is_empty() => self.roster(map, room, &told),
            _ => Ok(()),
        }
    }

    /// These are the members of a room, and nobody else is.
    fn roster<M: Map>(&self, map: &mut M, room: &str, told: &[&str]) -> Result<(), M::Error> {
        let mut seen = HashSet::new();
        let key = map::key(self.account, room);
        let mut known = roster(map, &key)?;
        let nick = |id: &str| known.iter().find(|member| member.id == id).and_then(|member| member.nick.clone());
        // The nicks were learned from the events themselves; the lists of 211 and 77 are in different orders.
        let told = told.iter().filter(|id| seen.insert(**id)).take(MEMBERS_MAX);
        let new: Vec<Listed> = told.map(|id| Listed { id: (*id).to_owned(), nick: nick(id) }).collect();
        let count = u64::try_from(new.len()).unwrap_or(u64::MAX);
        if known.len() != new.len() || known.iter().any(|member| !seen.contains(member.id.as_str())) {
            known = new;
            map.put(map::ROSTERS, &key, map::encode(&known));
        }
        self.change(map, room, |known: &mut RoomRow| {
            (known.count, known.or_more, known.members_known) = (Some(count), false, count);
        })
    }

    /// Changes every record of a kind that the account has.
    fn each<R: Record, M: Map>(&self, map: &mut M, mut apply: impl FnMut(&mut R)) -> Result<(), M::Error> {
        let mut changed: Vec<(String, R)> = Vec::new();
        map::each(map, R::SPACE, map::range(Some(self.account)), |key, value| {
            if let Some((known, (_, id))) = map::found::<R>(key, value).zip(map::split(key)) {
                let mut record = known.clone();
                apply(&mut record);
                if record != known {
                    changed.push((id.to_owned(), record));
                }
            }
            ControlFlow::Continue(())
        })?;
        for (id, record) in changed {
            self.put(map, &id, record);
        }
        Ok(())
    }

    /// Changes what is known of an id, if anything is.
    fn change<R: Record, M: Map>(&self, map: &mut M, id: &str, apply: impl FnOnce(&mut R)) -> Result<(), M::Error> {
        let Some(known) = map::get::<R, _>(map, self.account, id)? else { return Ok(()) };
        let mut record = known.clone();
        apply(&mut record);
        if record != known {
            self.put(map, id, record);
        }
        Ok(())
    }

    fn put<R: Record>(&self, map: &mut impl Map, id: &str, mut record: R) {
        let last = self.told.items.keys().max().copied().unwrap_or(self.asked);
        record.stamp(record.seq().max(last), self.time);
        map::put(map, self.account, id, &record);
    }
}
