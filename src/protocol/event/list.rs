//! Which events have a list, and of what.

use crate::protocol::decoded::{Contacts, Decoded, RoomMembers, Rooms};
use crate::protocol::kind::Kind;
use serde_json::Map;

/// What the list in `decoded` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
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
        match kind {
            Kind::Contacts => Some(Self::Contacts),
            Kind::RoomMembers => Some(Self::Members),
            Kind::Rooms => Some(Self::Rooms),
            Kind::Avatars => Some(Self::Pictures),
            _ => None,
        }
    }

    /// Without items.
    pub(super) fn empty(self) -> Decoded {
        match self {
            Self::Contacts => Decoded::Contacts(Contacts::default()),
            Self::Members => Decoded::RoomMembers(RoomMembers::default()),
            Self::Rooms => Decoded::Rooms(Rooms::default()),
            Self::Pictures => Decoded::Avatars { avatars: Map::new() },
        }
    }
}
