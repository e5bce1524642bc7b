//! An event whose list is read piece by piece: a contact in its normalised form takes fifty times the room of the
//! shortest one on the wire, so whoever needs only one at a time must not make them all.
//!
//! Promises: the pieces hold together what [`decode`](super::decode) gives at once, in its order. There is at least one.
//! Leaves to others: what an item means (`contact`).

use super::fields::Fields;
use super::list::List;
use super::whole::{Event, told};
use crate::protocol::contact::{self, Contact, LIST_MEMBERS_MAX, Room};
use crate::protocol::decoded::{Contacts, Decoded, RoomMembers, Rooms};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use std::cell::RefCell;
use std::io;
use std::mem;
use std::ops::Range;

/// Most items of one piece: as many as a room can have members, so that of these one piece is enough.
const ITEMS_MAX: usize = 2000;
/// Most bytes of the rooms of one piece: as values, the ids of their members take twenty times the room.
const ROOMS_BYTES_MAX: usize = 256 * 1024;

/// An event, and the items of its list, unread.
#[derive(Debug)]
pub struct Pieces<T> {
    /// The inner object.
    text: T,
    /// All but the items; nothing is decoded in it once that was handed out.
    event: Event,
    list: Option<List>,
    items: Vec<Range<usize>>,
    next: usize,
    begun: bool,
    /// Members of rooms that were handed out.
    members: usize,
}

impl<T: AsRef<[u8]>> Pieces<T> {
    /// Finds the items in the inner object's text.
    #[must_use]
    pub fn of(text: T) -> Self {
        Self::of_account(text, None)
    }

    /// As [`of`](Self::of); `owner` is the account whose process it came from, for an event that names none.
    #[must_use]
    pub fn of_account(text: T, owner: Option<&str>) -> Self {
        let data = std::str::from_utf8(text.as_ref()).unwrap_or_default();
        let fields = Fields::read(data).unwrap_or_default();
        let event = told(&fields, data, owner);
        let list = List::of(event.kind);
        let told = match list {
            Some(List::Rooms) => fields.chatrooms.or(fields.users),
            Some(_) => fields.users,
            None => None,
        };
        let mut items = Vec::new();
        if let (Some(told), Some(list)) = (told, list) {
            let each = |item: &str| {
                let start = item.as_ptr() as usize - data.as_ptr() as usize;
                items.push(start..start + item.len());
            };
            if list == List::Rooms { contact::each_room(told, each) } else { contact::each_contact(told, each) }
        }
        Self { text, event, list, items, next: 0, begun: false, members: 0 }
    }

    /// What it is, but for the items: the list is empty.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// All at once.
    #[must_use]
    pub fn whole(mut self) -> Event {
        let Some(list) = self.list else { return self.event };
        let mut event = self.begin(list);
        self.fill(&mut event, usize::MAX, usize::MAX);
        event
    }

    /// Writes `decoded` as JSON, item by item.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_decoded(mut self, out: &mut impl io::Write) -> io::Result<()> {
        let written = match mem::take(&mut self.event.decoded) {
            Decoded::Contacts(_) => serde_json::to_writer(out, &Contacts { contacts: Unread::of(&mut self, contact) }),
            Decoded::Rooms(_) => serde_json::to_writer(out, &Rooms { rooms: Unread::of(&mut self, room) }),
            Decoded::RoomMembers(RoomMembers { room, info, .. }) => {
                serde_json::to_writer(out, &RoomMembers { room, members: Unread::of(&mut self, contact), info })
            }
            // A picture told twice counts as told last, so they have to be gathered; they are small.
            decoded => {
                self.event.decoded = decoded;
                serde_json::to_writer(out, &self.whole().decoded)
            }
        };
        Ok(written?)
    }

    /// An event without items yet. What stands beside the list is told in the first piece only.
    fn begin(&mut self, list: List) -> Event {
        let first = mem::take(&mut self.event.decoded);
        let decoded = if mem::replace(&mut self.begun, true) { list.empty() } else { first };
        Event { decoded, ..self.event.clone() }
    }

    /// Reads items into it: up to this many, and up to this many bytes of them, but one at least.
    fn fill(&mut self, event: &mut Event, items_max: usize, bytes_max: usize) {
        let (mut items, mut bytes) = (0_usize, 0_usize);
        while items < items_max
            && self.items.get(self.next).is_some_and(|item| items == 0 || bytes + item.len() <= bytes_max)
        {
            items += 1;
            bytes += self.items[self.next].len();
            match &mut event.decoded {
                Decoded::Contacts(told) => told.contacts.extend(self.item(contact).flatten()),
                Decoded::RoomMembers(told) => told.members.extend(self.item(contact).flatten()),
                Decoded::Rooms(told) => told.rooms.extend(self.item(room).flatten()),
                Decoded::Avatars { avatars } => {
                    if let Some(Some(Contact { wxid: Some(wxid), avatar: Some(url), .. })) = self.item(contact) {
                        avatars.insert(wxid, url.into());
                    }
                }
                _ => return,
            }
        }
    }

    /// Reads the next item, which may be none of what the list holds.
    fn item<I>(&mut self, read: Reads<I>) -> Option<Option<I>> {
        let text = self.text.as_ref().get(self.items.get(self.next)?.clone())?;
        self.next += 1;
        Some(read(std::str::from_utf8(text).unwrap_or_default(), &mut self.members))
    }
}

/// How an item is read; beside it the members of rooms that were handed out so far.
type Reads<I> = fn(&str, &mut usize) -> Option<I>;

fn contact(item: &str, _members: &mut usize) -> Option<Contact> {
    contact::listed(item)
}

fn room(item: &str, members: &mut usize) -> Option<Room> {
    if *members >= LIST_MEMBERS_MAX {
        return None;
    }
    let room = contact::listed_room(item);
    *members += room.members.len();
    Some(room)
}

/// A list whose items are read when they are written, one by one.
struct Unread<'p, T, I>(RefCell<&'p mut Pieces<T>>, Reads<I>);

impl<'p, T, I> Unread<'p, T, I> {
    fn of(pieces: &'p mut Pieces<T>, read: Reads<I>) -> Self {
        Self(RefCell::new(pieces), read)
    }
}

impl<T: AsRef<[u8]>, I: Serialize> Serialize for Unread<'_, T, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut pieces = self.0.borrow_mut();
        while let Some(item) = pieces.item(self.1) {
            item.map_or(Ok(()), |item| list.serialize_element(&item))?;
        }
        list.end()
    }
}

impl<T: AsRef<[u8]>> Iterator for Pieces<T> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.begun && self.next >= self.items.len() {
            return None;
        }
        let Some(list) = self.list else {
            self.begun = true;
            let decoded = mem::take(&mut self.event.decoded);
            return Some(Event { decoded, ..self.event.clone() });
        };
        let mut event = self.begin(list);
        let bytes_max = if list == List::Rooms { ROOMS_BYTES_MAX } else { usize::MAX };
        self.fill(&mut event, ITEMS_MAX, bytes_max);
        Some(event)
    }
}
