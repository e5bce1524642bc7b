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
use super::map::{self, Map};
use super::record::{self, Contact, Listed, Record, Room};
use crate::clock::Time;
use crate::protocol::event::{Event, Kind};
use crate::protocol::id;
use crate::seq::Seq;
use crate::store;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
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
        matches!(self, Self::Friends | Self::Rooms)
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
    /// The events that answered it, all pieces.
    pub answers: &'e [(Seq, Event)],
    /// Whom it was about: the id in `wxid`.
    pub whom: Option<&'e str>,
    /// When it ended.
    pub time: Time,
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
        match self.lesson {
            Lesson::Friends => self.friends(map),
            Lesson::People => self.people(map),
            Lesson::Rooms => self.rooms(map),
            Lesson::Members => self.members(map),
            Lesson::Deleted => match self.whom.filter(|id| map::is_id(id)) {
                Some(id) => self.change(map, id, |known: &mut Contact| {
                    if known.friend_seq <= self.asked {
                        known.unfriend();
                    }
                }),
                None => Ok(()),
            },
        }
    }

    /// The items of a list in all pieces; `None` when a piece was cut to its bound.
    fn items(&self, kind: Kind, key: &str) -> Option<Vec<&Value>> {
        let mut all = Vec::new();
        for (_, event) in self.answers.iter().filter(|(_, event)| event.kind == kind) {
            let items = event.decoded.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if items.len() >= LIST_MAX {
                return None;
            }
            all.extend(items);
        }
        Some(all)
    }

    fn friends<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        let Some(items) = self.items(Kind::Contacts, "contacts") else { return Ok(()) };
        let mut told: HashSet<&str> = items.into_iter().filter_map(|item| record::id_of(item, "wxid")).collect();
        // Everybody has `filehelper`: a list without anybody comes of a client that is not ready yet.
        if told.is_empty() {
            return Ok(());
        }
        let packets = self.answers.iter().filter(|(_, event)| event.kind == Kind::ContactsPacket);
        told.extend(packets.flat_map(|(_, event)| learn::ids(&event.decoded, "wxids")));
        self.each(map, |known: &mut Contact| {
            let is_older = if known.friend { known.friend_seq } else { known.seq } <= self.asked;
            if (known.friend || known.wrote) && is_older && !told.contains(known.wxid.as_str()) {
                known.unfriend();
            }
        })
    }

    /// The answer has the form of a contact list, and made friends of all that are in it.
    fn people<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        let Some(items) = self.items(Kind::Contacts, "contacts") else { return Ok(()) };
        let seqs: HashSet<Seq> = self.answers.iter().map(|(seq, _)| *seq).collect();
        for item in items {
            let Some(id) = record::id_of(item, "wxid").filter(|id| !id::is_room(id)) else { continue };
            let flags = item.get("type").and_then(Value::as_i64);
            self.change(map, id, |known: &mut Contact| {
                if known.friend && seqs.contains(&known.friend_seq) && flags.is_none_or(|flags| flags & 1 == 0) {
                    (known.friend, known.friend_seq) = (false, Seq::ZERO);
                }
            })?;
        }
        Ok(())
    }

    fn rooms<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        let Some(items) = self.items(Kind::Rooms, "rooms") else { return Ok(()) };
        let told: HashMap<&str, &Value> =
            items.into_iter().filter_map(|item| Some((record::id_of(item, "wxid")?, item))).collect();
        self.each(map, |known: &mut Room| {
            // What an event changed after the question lives.
            if known.seq <= self.asked && !told.contains_key(known.wxid.as_str()) {
                known.left = true;
            }
        })?;
        for (room, item) in told {
            let members: Vec<&str> = learn::ids(item, "members").collect();
            let count = item.get("count").and_then(Value::as_u64);
            if !members.is_empty() && count == u64::try_from(members.len()).ok() {
                self.roster(map, room, &members)?;
            }
        }
        Ok(())
    }

    fn members<M: Map>(&self, map: &mut M) -> Result<(), M::Error> {
        let Some(items) = self.items(Kind::RoomMembers, "members") else { return Ok(()) };
        let told: Vec<&str> = items.into_iter().filter_map(|item| record::id_of(item, "wxid")).collect();
        let room = self.answers.iter().find_map(|(_, event)| event.chat.as_deref()).or(self.whom);
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
        self.change(map, room, |known: &mut Room| (known.count, known.members_known) = (Some(count), count))
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
        let last = self.answers.iter().map(|(seq, _)| *seq).max().unwrap_or(self.asked);
        record.stamp(record.seq().max(last), self.time);
        map::put(map, self.account, id, &record);
    }
}
