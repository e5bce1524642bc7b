//! The hex packets of 88, 96 and 97: protobuf messages without a schema, walked for what is worth finding.
//!
//! Promises: any text goes in, a [`Packet`] comes out: odd length, white space, junk and a cut-off end are tolerated,
//! text that is no hex is searched as it stands. Time is linear in the input (times the depth), every count is bounded.
//! A string whose field was cut off is shown among the strings, but not passed off as an id or a ticket.
//! Leaves to others: which event the packet came in, and whose it is.

mod scan;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Deepest nesting that is walked; the client's packets stay below 10.
const DEPTH_MAX: usize = 32;
/// Most fields that are looked at, and most ids that are kept: 20,000 contacts in a list have about 60,000 fields.
const FIELDS_MAX: usize = 200_000;
/// Most strings that are kept.
const STRINGS_MAX: usize = 10_000;
/// Longest string that is kept, in bytes; longer ones are no names.
const STRING_BYTES_MAX: usize = 16 * 1024;
/// Fewest characters of a string that is kept: single ones are mostly accidents of binary data.
const STRING_CHARS_MIN: usize = 2;
/// Highest field number that is taken for one; the client's stay in the hundreds, accidents are large.
const FIELD_NUMBER_MAX: u64 = 4096;
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

/// Reads a packet; see the module.
#[must_use]
pub fn read(hex: &str) -> Packet {
    let bytes = to_bytes(hex);
    let mut walk = Walk { leaves: Vec::new(), loose: Vec::new(), fields_left: FIELDS_MAX };
    if matches!(bytes, Cow::Borrowed(_)) {
        walk.loose.push(&bytes);
    } else if let Err(at) = walk.fields(&bytes, 0, 0, Ends::CutOff) {
        walk.loose.push(&bytes[at..]);
    }
    walk.gather()
}

/// Whether the packet, as text, contains a v1: how the spec tells that a friend request was accepted
/// (wehelp-api.zh.md `#acceptingFriend`).
#[must_use]
pub fn contains_v1(hex: &str) -> bool {
    let bytes = to_bytes(hex);
    bytes.windows(2).any(|pair| pair == b"v1") || bytes.windows(3).any(|three| three == b"v3_")
}

/// The bytes that the hex stands for: owned. Text that is no hex: itself, borrowed.
fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let (mut hex, mut other) = (0_usize, 0_usize);
    for byte in digits.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        match byte {
            // These stand in every ticket, URL or markup, and in no hex.
            b'_' | b'@' | b'<' | b'/' => return Cow::Borrowed(text.as_bytes()),
            _ if byte.is_ascii_hexdigit() => hex += 1,
            _ => other += 1,
        }
    }
    if hex <= other {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut nibbles =
        digits.chars().filter_map(|digit| digit.to_digit(16)).filter_map(|nibble| u8::try_from(nibble).ok());
    let mut bytes = Vec::with_capacity(hex / 2);
    while let (Some(high), Some(low)) = (nibbles.next(), nibbles.next()) {
        bytes.push(high << 4 | low);
    }
    Cow::Owned(bytes)
}

/// What the end of a message may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The last field is whole: a message that is only a guess must prove itself.
    Whole,
    /// The last field may be cut off, as the packet was.
    CutOff,
}

/// A string in the packet.
#[derive(Debug, Clone, Copy)]
struct Leaf<'b> {
    text: &'b str,
    /// Stands for the field numbers on the way to it: values of one repeated field share it.
    place: u64,
    /// Not cut off.
    whole: bool,
}

struct Walk<'b> {
    leaves: Vec<Leaf<'b>>,
    /// What could not be walked, to be searched for patterns.
    loose: Vec<&'b [u8]>,
    fields_left: usize,
}

impl<'b> Walk<'b> {
    /// Walks the fields of a message. The error is the offset of the field at which it stops being one.
    fn fields(&mut self, bytes: &'b [u8], depth: usize, place: u64, ends: Ends) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            self.fields_left = self.fields_left.checked_sub(1).ok_or(start)?;
            let (tag, tag_len) = varint(&bytes[at..]).ok_or(start)?;
            at += tag_len;
            let (number, wire) = (tag >> 3, tag & 7);
            if number == 0 || number > FIELD_NUMBER_MAX {
                return Err(start);
            }
            let left = bytes.len() - at;
            let size = match wire {
                0 => varint(&bytes[at..]).map(|(_, size)| size),
                1 => Some(8),
                5 => Some(4),
                2 => {
                    let (size, size_len) = varint(&bytes[at..]).ok_or(start)?;
                    at += size_len;
                    let inner = place_in(place, number);
                    match usize::try_from(size).ok().filter(|&size| size <= bytes.len() - at) {
                        Some(size) => self.payload(&bytes[at..at + size], depth + 1, inner),
                        None if ends == Ends::CutOff => {
                            self.cut_off(&bytes[at..], depth + 1, inner);
                            return Ok(());
                        }
                        None => return Err(start),
                    }
                    at += usize::try_from(size).map_err(|_| start)?;
                    continue;
                }
                _ => None,
            };
            at += size.filter(|&size| size <= left).ok_or(start)?;
        }
        Ok(())
    }

    /// A length-delimited field: a message, a string, or bytes; the wire does not say which.
    fn payload(&mut self, bytes: &'b [u8], depth: usize, place: u64) {
        if bytes.is_empty() {
            return;
        }
        let text = printable(bytes);
        let (leaves, loose, fields_left) = (self.leaves.len(), self.loose.len(), self.fields_left);
        if depth <= DEPTH_MAX && self.fields(bytes, depth, place, Ends::Whole).is_ok() {
            // Readable bytes are a message only when everything in it is readable as well: a string of 32 bytes in
            // field 1 begins with a line feed and a blank.
            if text.is_none() || (self.leaves.len() > leaves && self.loose.len() == loose) {
                return;
            }
        }
        // The guess was wrong: as if it had not been made. Each byte is guessed at once per depth, so this stays linear.
        self.leaves.truncate(leaves);
        self.loose.truncate(loose);
        self.fields_left = fields_left;
        match text {
            Some(text) => self.leaves.push(Leaf { text, place, whole: true }),
            None => self.loose.push(bytes),
        }
    }

    /// The last field of a packet that was cut off.
    fn cut_off(&mut self, bytes: &'b [u8], depth: usize, place: u64) {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
            Err(_) => None,
        };
        match text.filter(|text| is_printable(text) && !text.starts_with('\n')) {
            Some(text) => self.leaves.push(Leaf { text, place, whole: false }),
            None if depth > DEPTH_MAX => self.loose.push(bytes),
            None => {
                if let Err(at) = self.fields(bytes, depth, place, Ends::CutOff) {
                    self.loose.push(&bytes[at..]);
                }
            }
        }
    }

    /// Sorts what was found.
    fn gather(self) -> Packet {
        let id_places = id_places(&self.leaves);
        let mut found = Found::default();
        let mut names_contacts = false;
        for leaf in self.leaves {
            found.string(leaf.text);
            let text = leaf.text.trim();
            names_contacts |= CONTACT_NAMES.contains(&leaf.place);
            // An id, a ticket and an avatar end nowhere in particular; a suffix proves that this one is whole.
            if !(leaf.whole || text.ends_with("@stranger") || text.ends_with("@chatroom")) {
                continue;
            }
            if is_ticket(text) {
                found.ticket(text);
            } else if is_avatar(text) {
                found.avatar(text);
            } else if is_id(text) || (id_places.contains(&leaf.place) && is_bare_id(text)) {
                found.id(text);
                if CONTACT_NAMES.contains(&leaf.place) {
                    found.about(text);
                }
            } else if text.contains([';', ',']) && text.split([';', ',']).all(|part| part.is_empty() || is_id(part)) {
                text.split([';', ',']).filter(|part| !part.is_empty()).for_each(|part| found.id(part));
            }
        }
        for bytes in self.loose {
            scan::scan(bytes, &mut found);
        }
        if !names_contacts && let Some(first) = found.packet.wxids.first().cloned() {
            found.about(&first);
        }
        found.packet
    }
}

/// Collects without repeats and within the bounds.
#[derive(Default)]
struct Found {
    packet: Packet,
    strings: HashSet<String>,
    ids: HashSet<String>,
    avatars: HashSet<String>,
}

impl Found {
    fn string(&mut self, text: &str) {
        let fits = text.len() <= STRING_BYTES_MAX && self.packet.strings.len() < STRINGS_MAX;
        if fits && text.trim().chars().nth(STRING_CHARS_MIN - 1).is_some() && self.strings.insert(text.to_owned()) {
            self.packet.strings.push(text.to_owned());
        }
    }

    fn id(&mut self, id: &str) {
        if id.len() <= ID_BYTES_MAX && self.packet.wxids.len() < FIELDS_MAX && self.ids.insert(id.to_owned()) {
            self.packet.wxids.push(id.to_owned());
        }
    }

    fn about(&mut self, id: &str) {
        let about = &mut self.packet.about;
        if id.len() <= ID_BYTES_MAX && about.len() < ABOUT_MAX && about.iter().all(|known| known != id) {
            about.push(id.to_owned());
        }
    }

    fn ticket(&mut self, ticket: &str) {
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

    fn avatar(&mut self, url: &str) {
        if self.packet.avatars.len() < STRINGS_MAX && self.avatars.insert(url.to_owned()) {
            self.packet.avatars.push(url.to_owned());
        }
    }
}

/// The place of field `number` in the message at `place`.
const fn place_in(place: u64, number: u64) -> u64 {
    place.wrapping_mul(FIELD_NUMBER_MAX + 1).wrapping_add(number)
}

/// Where getcontact's answer (88) names its contacts: the list, the user name (`ModContact`'s field 1), and the string in
/// it, where it is wrapped.
const CONTACT_NAMES: [u64; 2] = {
    let user_name = place_in(place_in(0, 3), 1);
    [user_name, place_in(user_name, 1)]
};

/// The places that hold ids: nearly all that stands there could be one, and something surely is one, or it is the place
/// of getcontact's names. That is how the ids of long-time users, which are bare words, are told from nicks.
fn id_places(leaves: &[Leaf<'_>]) -> HashSet<u64> {
    #[derive(Default)]
    struct Place {
        sure: usize,
        maybe: usize,
        all: usize,
    }
    let mut places: HashMap<u64, Place> = HashMap::new();
    for leaf in leaves.iter().filter(|leaf| leaf.whole) {
        let place = places.entry(leaf.place).or_default();
        place.all += 1;
        place.sure += usize::from(is_id(leaf.text));
        place.maybe += usize::from(is_id(leaf.text) || is_bare_id(leaf.text));
    }
    let holds_ids =
        |key: u64, place: &Place| (place.sure > 0 || CONTACT_NAMES.contains(&key)) && place.maybe * 10 >= place.all * 9;
    places.into_iter().filter(|(key, place)| holds_ids(*key, place)).map(|(key, _)| key).collect()
}

/// Surely an id: `wxid_…`, `gh_…`, `…@chatroom`, `…@openim`.
fn is_id(text: &str) -> bool {
    if text.len() > ID_BYTES_MAX {
        return false;
    }
    let rooms = ["@chatroom", "@im.chatroom", "@openim"];
    let word = rooms.iter().find_map(|suffix| text.strip_suffix(suffix));
    let word = word.or_else(|| text.strip_prefix("wxid_")).or_else(|| text.strip_prefix("gh_"));
    word.is_some_and(|word| !word.is_empty() && word.bytes().all(is_id_byte))
}

/// Could be the id of a long-time user: 3 to 32 of the letters that ids are made of, the first no digit.
fn is_bare_id(text: &str) -> bool {
    (3..=32).contains(&text.len())
        && text.bytes().all(is_id_byte)
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && !is_ticket(text)
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// `v1_…` to `v4_…`, with or without `@stranger`.
fn is_ticket(text: &str) -> bool {
    let word = ["v1_", "v2_", "v3_", "v4_"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let word = word.map(|word| word.strip_suffix("@stranger").unwrap_or(word));
    word.is_some_and(|word| !word.is_empty() && word.bytes().all(is_id_byte))
}

/// A URL at one of the hosts that serve avatars, or with the path that they have there.
fn is_avatar(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else { return false };
    if rest.len() > STRING_BYTES_MAX || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.split(':').next().unwrap_or(host);
    host.ends_with(".qlogo.cn") || host.ends_with(".qpic.cn") || path.contains("mmhead/")
}

/// The text, when it is nothing but readable UTF-8.
fn printable(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| is_printable(text))
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}

/// A varint and its length in bytes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests;
