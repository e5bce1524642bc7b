//! An event whose list is read piece by piece: a contact in its normalised form takes fifty times the room of the
//! shortest one on the wire, so whoever needs only one at a time must not make them all.
//!
//! Promises: the pieces hold together what [`decode`](super::decode) gives at once, in its order. There is at least one.
//! Leaves to others: what an item means (`contact`).

use super::fields::Fields;
use super::list::{Form, List};
use super::whole::{Event, told};
use crate::protocol::contact::{self, LIST_MEMBERS_MAX};
use serde_json::{Map, Value};
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
    /// All but the items; `decoded` is `null` once it was handed out.
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
        let told = match list.map(|list| list.form) {
            Some(Form::Rooms) => fields.chatrooms.or(fields.users),
            Some(_) => fields.users,
            None => None,
        };
        let mut items = Vec::new();
        if let (Some(told), Some(list)) = (told, list) {
            let each = |item: &str| {
                let start = item.as_ptr() as usize - data.as_ptr() as usize;
                items.push(start..start + item.len());
            };
            if list.form == Form::Rooms { contact::each_room(told, each) } else { contact::each_contact(told, each) }
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
        if let Some(list) = self.list {
            let mut event = self.begin(list);
            self.fill(&mut event, list, usize::MAX, usize::MAX);
            return event;
        }
        self.event
    }

    /// Writes `decoded` as JSON, item by item.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_decoded(mut self, out: &mut impl io::Write) -> io::Result<()> {
        let Some(list) = self.list.filter(|list| list.form != Form::Pictures) else {
            // A picture told twice counts as told last, so they have to be gathered; they are small.
            return put(out, &self.whole().decoded);
        };
        let decoded = mem::take(&mut self.event.decoded);
        let mut before = b"{";
        for (key, value) in decoded.as_object().into_iter().flatten() {
            out.write_all(before)?;
            before = b",";
            put(out, key)?;
            out.write_all(b":")?;
            if key != list.key {
                put(out, value)?;
                continue;
            }
            let mut before = b"[";
            while let Some((item, _)) = self.item(list) {
                if let Some(item) = item {
                    out.write_all(before)?;
                    before = b",";
                    put(out, &item)?;
                }
            }
            out.write_all(if before == b"[" { b"[]" } else { b"]" })?;
        }
        out.write_all(b"}")
    }

    /// An event without items yet. What stands beside the list is told in the first piece only.
    fn begin(&mut self, list: List) -> Event {
        let mut decoded = mem::take(&mut self.event.decoded);
        if mem::replace(&mut self.begun, true) {
            decoded = Value::Object(Map::from_iter([(list.key.to_owned(), list.empty())]));
        }
        Event { decoded, ..self.event.clone() }
    }

    /// Reads items into it: up to so many, and up to so many bytes of them, but one at least.
    fn fill(&mut self, event: &mut Event, list: List, items_max: usize, bytes_max: usize) {
        let Some(told) = event.decoded.get_mut(list.key) else { return };
        let (mut items, mut bytes) = (0_usize, 0_usize);
        while items < items_max
            && self.items.get(self.next).is_some_and(|item| items == 0 || bytes + item.len() <= bytes_max)
        {
            items += 1;
            bytes += self.items[self.next].len();
            let Some((Some(item), emptied)) = self.item(list) else { continue };
            match told {
                Value::Array(told) => {
                    told.push(item);
                    if list.form != Form::Members {
                        event.emptied.push(emptied);
                    }
                }
                Value::Object(told) => {
                    if let (Some(wxid), Some(url @ Value::String(_))) = (item["wxid"].as_str(), item.get("avatar")) {
                        told.insert(wxid.to_owned(), url.clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads the next item, which may be none of what the list holds.
    fn item(&mut self, list: List) -> Option<(Option<Value>, contact::Emptied)> {
        let text = self.text.as_ref().get(self.items.get(self.next)?.clone())?;
        self.next += 1;
        let text = std::str::from_utf8(text).unwrap_or_default();
        let read = match list.form {
            Form::Contacts | Form::Members | Form::Pictures => contact::listed(text),
            Form::Rooms if self.members < LIST_MEMBERS_MAX => {
                let (room, emptied) = contact::listed_room(text);
                self.members += room["members"].as_array().map_or(0, Vec::len);
                Some((room, emptied))
            }
            Form::Rooms => None,
        };
        Some(read.map_or_else(Default::default, |(item, emptied)| (Some(item), emptied)))
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
        let bytes_max = if list.form == Form::Rooms { ROOMS_BYTES_MAX } else { usize::MAX };
        self.fill(&mut event, list, ITEMS_MAX, bytes_max);
        Some(event)
    }
}

fn put(out: &mut impl io::Write, value: &impl serde::Serialize) -> io::Result<()> {
    Ok(serde_json::to_writer(out, value)?)
}
