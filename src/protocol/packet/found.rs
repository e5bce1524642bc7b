//! What is worth finding in a packet: ids, tickets, avatars and words, how they are told, and how many are kept.

use std::collections::HashSet;

/// Most fields that are looked at, and most ids that are kept: 20,000 contacts in a list have about 60,000 fields.
pub(super) const FIELDS_MAX: usize = 200_000;
/// Most strings that are kept.
const STRINGS_MAX: usize = 10_000;
/// Longest string that is kept, in bytes; longer ones are no names.
const STRING_BYTES_MAX: usize = 16 * 1024;
/// Fewest characters of a string that is kept: single ones are mostly accidents of binary data.
const STRING_CHARS_MIN: usize = 2;
/// Longest id that is taken for one, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Most contacts of getcontact's answer that are kept: nobody asks for more than 50 at once.
const ABOUT_MAX: usize = 1000;

/// Most tickets that are kept; the client's packets have one or two.
pub const TICKETS_MAX: usize = 16;

/// What was found in a packet, in the order in which it stands there, without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    /// Ids of people, public accounts and rooms: also a nick that has the form of one.
    pub wxids: Vec<String>,
    /// The ids of those whom it is about: where getcontact's answer (88) names its contacts, and in a packet of another
    /// form the first id that there is.
    pub about: Vec<String>,
    /// The first `v1_…` ticket (`v3_…` in newer versions).
    pub v1: Option<String>,
    /// Every such ticket, at most [`TICKETS_MAX`].
    pub v1s: Vec<String>,
    /// The first `v2_…` ticket (`v4_…` in newer versions).
    pub v2: Option<String>,
    /// Avatar URLs.
    pub avatars: Vec<String>,
    /// Every readable string.
    pub strings: Vec<String>,
}

/// Collects without repeats and within the bounds.
#[derive(Default)]
pub(super) struct Found {
    pub(super) packet: Packet,
    strings: HashSet<String>,
    ids: HashSet<String>,
    avatars: HashSet<String>,
}

impl Found {
    pub(super) fn string(&mut self, text: &str) {
        let fits = text.len() <= STRING_BYTES_MAX && self.packet.strings.len() < STRINGS_MAX;
        if fits && text.trim().chars().nth(STRING_CHARS_MIN - 1).is_some() && self.strings.insert(text.to_owned()) {
            self.packet.strings.push(text.to_owned());
        }
    }

    pub(super) fn id(&mut self, id: &str) {
        if id.len() <= ID_BYTES_MAX && self.packet.wxids.len() < FIELDS_MAX && self.ids.insert(id.to_owned()) {
            self.packet.wxids.push(id.to_owned());
        }
    }

    pub(super) fn about(&mut self, id: &str) {
        let about = &mut self.packet.about;
        if id.len() <= ID_BYTES_MAX && about.len() < ABOUT_MAX && about.iter().all(|known| known != id) {
            about.push(id.to_owned());
        }
    }

    pub(super) fn ticket(&mut self, ticket: &str) {
        let Packet { v1, v1s, v2, .. } = &mut self.packet;
        if ticket.starts_with("v1_") || ticket.starts_with("v3_") {
            v1.get_or_insert_with(|| ticket.to_owned());
            if v1s.len() < TICKETS_MAX && v1s.iter().all(|known| known != ticket) {
                v1s.push(ticket.to_owned());
            }
        } else {
            v2.get_or_insert_with(|| ticket.to_owned());
        }
    }

    pub(super) fn avatar(&mut self, url: &str) {
        if self.packet.avatars.len() < STRINGS_MAX && self.avatars.insert(url.to_owned()) {
            self.packet.avatars.push(url.to_owned());
        }
    }
}

/// Surely an id: `wxid_…`, `gh_…`, `…@chatroom`, `…@openim`.
pub(super) fn is_id(text: &str) -> bool {
    if text.len() > ID_BYTES_MAX {
        return false;
    }
    let rooms = ["@chatroom", "@im.chatroom", "@openim"];
    let word = rooms.iter().find_map(|suffix| text.strip_suffix(suffix));
    let word = word.or_else(|| text.strip_prefix("wxid_")).or_else(|| text.strip_prefix("gh_"));
    word.is_some_and(|word| !word.is_empty() && word.bytes().all(is_id_byte))
}

/// Could be the id of a long-time user: 3 to 32 of the letters that ids are made of, the first no digit.
pub(super) fn is_bare_id(text: &str) -> bool {
    (3..=32).contains(&text.len())
        && text.bytes().all(is_id_byte)
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && !is_ticket(text)
}

pub(super) fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// `v1_…` to `v4_…`, with or without `@stranger`.
pub(super) fn is_ticket(text: &str) -> bool {
    let word = ["v1_", "v2_", "v3_", "v4_"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let word = word.map(|word| word.strip_suffix("@stranger").unwrap_or(word));
    word.is_some_and(|word| !word.is_empty() && word.bytes().all(is_id_byte))
}

/// A URL at one of the hosts that serve avatars, or with the path that they have there.
pub(super) fn is_avatar(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else { return false };
    if rest.len() > STRING_BYTES_MAX || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.split(':').next().unwrap_or(host);
    host.ends_with(".qlogo.cn") || host.ends_with(".qpic.cn") || path.contains("mmhead/")
}

pub(super) fn is_printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}
