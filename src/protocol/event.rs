//! Every event that the client reports, and what it means (spec part 一, contract 7).
//!
//! Promises: reading goes in three steps that never fail as a whole: [`read_body`] finds the inner object in a
//! callback's bytes, [`outline()`] tells what a filter needs to know, [`decode`] unpacks the rest. Kind first, then the
//! fields of that kind; a field that is not what it should be is `null`, never an error, and a kind that is not known is
//! kept whole. No panic on any input.
//! Leaves to others: what is packed in XML (`message`), hex (`packet`) and lists of people (`contact`), and which command
//! an event answers (`answer`).

mod body;
mod fields;
mod list;
mod mention;
mod outline;
mod pieces;
mod whole;

pub use super::decoded::Decoded;
use super::json;
pub use super::kind::Kind;
pub use body::{Body, read_body};
use list::List;
pub use mention::mentions;
pub use outline::{Outline, outline, outline_of};
pub use pieces::Pieces;
use std::io;
pub use whole::Event;

/// Decodes an event from the inner object's text.
#[must_use]
pub fn decode(data: &str) -> Event {
    Pieces::of(data).whole()
}

/// Whether events of that kind have a list, which [`Pieces`] reads piece by piece.
#[must_use]
pub fn has_list(kind: Kind) -> bool {
    List::of(kind).is_some()
}

/// Writes the inner object as it stands in a line: byte for byte, but for line breaks between its tokens and halves of
/// surrogate pairs.
///
/// # Errors
/// Those of `out`.
pub fn write_data(out: &mut impl io::Write, data: &str) -> io::Result<()> {
    json::write_clean(out, data.as_bytes())
}

#[cfg(test)]
mod tests;
