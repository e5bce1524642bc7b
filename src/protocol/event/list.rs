//! Which events have a list, and of what.

use crate::protocol::kind::Kind;
use serde_json::{Map, Value};

/// The list in `decoded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    /// Its key.
    pub(super) key: &'static str,
    pub(super) form: Form,
}

/// What a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Contacts, whose empty names are told.
    Contacts,
    /// Members of one room.
    Members,
    Rooms,
    /// Contacts, of which the pictures are wanted, by id.
    Pictures,
}

impl List {
    /// That of a kind, if it has one.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        let (key, form) = match kind {
            Kind::Contacts => ("contacts", Form::Contacts),
            Kind::RoomMembers => ("members", Form::Members),
            Kind::Rooms => ("rooms", Form::Rooms),
            Kind::Avatars => ("avatars", Form::Pictures),
            _ => return None,
        };
        Some(Self { key, form })
    }

    /// Without items.
    pub(super) fn empty(self) -> Value {
        match self.form {
            Form::Pictures => Value::Object(Map::new()),
            Form::Contacts | Form::Members | Form::Rooms => Value::Array(Vec::new()),
        }
    }
}
