//! The hex packets of 88, 96 and 97: protobuf messages without a schema, walked for what is worth finding.
//!
//! Promises: any text goes in, a [`Packet`] comes out: odd length, white space, junk and a cut-off end are tolerated,
//! text that is no hex is searched as it stands. Time is linear in the input (times the depth), every count is bounded.
//! A string whose field was cut off is shown among the strings, but not passed off as an id or a ticket.
//! Leaves to others: which event the packet came in, and whose it is.

mod found;
mod scan;

use found::{FIELDS_MAX, Found, is_avatar, is_bare_id, is_id, is_printable, is_ticket};
pub use found::{Packet, TICKETS_MAX};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Deepest nesting that is walked; the client's packets stay below 10.
const DEPTH_MAX: usize = 32;
/// Highest field number that is taken for one; the client's stay in the hundreds, accidents are large.
const FIELD_NUMBER_MAX: u64 = 4096;

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

/// The text, when it is nothing but readable UTF-8.
fn printable(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| is_printable(text))
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
