//! An event as its reader gets it (contract 7): one type for who writes it and who reads it.
//!
//! The line holds the members of [`Entry`] in their order, then `data`: what the client sent. Neither side needs it whole.
//! Whoever writes puts `decoded` and `data` out piece by piece, between [`Entry::begin`] and [`end`]; whoever reads takes
//! [`Entry`], which passes `data` over, or [`Sent`], which passes over all that is derived.

use crate::clock::Time;
use crate::seq::Seq;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::io;

/// An event with its position and time, without what the client sent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Entry<Text = String> {
    /// Its position.
    pub seq: Seq,
    /// When it came.
    pub time: Time,
    /// `message.text` …
    pub kind: Text,
    /// The client's number for it.
    pub r#type: Option<i64>,
    /// Whose client told of it.
    pub account: Option<Text>,
    /// The client's process.
    pub pid: Option<u64>,
    /// The conversation.
    pub chat: Option<Text>,
    /// Who spoke.
    pub from: Option<Text>,
    /// Whether the account itself spoke.
    #[serde(rename = "self")]
    pub is_self: Option<bool>,
    /// The chat's name in a message, the person's in a profile.
    pub nick: Option<Text>,
    /// Readable text.
    pub text: Option<Text>,
    /// What the directory calls who spoke.
    pub from_name: Option<Text>,
    /// Whether a message means the account.
    pub mentioned: Option<bool>,
    /// The command whose echo an own message is.
    pub command: Option<u64>,
    /// The event that told the very same a moment before.
    pub repeat_of: Option<Seq>,
    /// What was packed. Whoever writes it piece by piece leaves it null.
    pub decoded: Value,
}

impl Entry {
    /// Reads an event's JSON; `None` when it is none.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

impl<Text: Serialize> Entry<Text> {
    /// Writes the line up to the value of `decoded`, which is to follow, and then [`end`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin(&self, out: &mut impl io::Write) -> io::Result<()> {
        fn put(out: &mut impl io::Write, key: &str, value: &impl Serialize) -> io::Result<()> {
            out.write_all(key.as_bytes())?;
            Ok(serde_json::to_writer(out, value)?)
        }
        put(out, r#"{"seq":"#, &self.seq)?;
        put(out, r#","time":"#, &self.time)?;
        put(out, r#","kind":"#, &self.kind)?;
        put(out, r#","type":"#, &self.r#type)?;
        put(out, r#","account":"#, &self.account)?;
        put(out, r#","pid":"#, &self.pid)?;
        put(out, r#","chat":"#, &self.chat)?;
        put(out, r#","from":"#, &self.from)?;
        put(out, r#","self":"#, &self.is_self)?;
        put(out, r#","nick":"#, &self.nick)?;
        put(out, r#","text":"#, &self.text)?;
        put(out, r#","from_name":"#, &self.from_name)?;
        put(out, r#","mentioned":"#, &self.mentioned)?;
        put(out, r#","command":"#, &self.command)?;
        put(out, r#","repeat_of":"#, &self.repeat_of)?;
        out.write_all(br#","decoded":"#)
    }
}

/// Writes the rest of the line, without its end; `data` writes what the client sent.
///
/// # Errors
/// Those of `out`.
pub fn end<W: io::Write>(out: &mut W, data: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
    out.write_all(br#","data":"#)?;
    data(out)?;
    out.write_all(b"}")
}

/// What the client sent, out of an event's JSON.
#[derive(Debug, Deserialize)]
pub struct Sent<'a> {
    /// The event's position.
    pub seq: Seq,
    /// `unparsed`: it could not be read, and its bytes stand in `data` as base64.
    pub kind: String,
    /// The inner object.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

impl<'a> Sent<'a> {
    /// Reads an event's JSON; `None` when it is none.
    #[must_use]
    pub fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_written_is_read() {
        let mut line = Vec::new();
        let entry =
            Entry { seq: Seq(7), kind: "message.text", chat: Some("a\"b"), is_self: Some(false), ..Entry::default() };
        entry.begin(&mut line).unwrap();
        line.write_all(br#"{"x":1}"#).unwrap();
        end(&mut line, |out| out.write_all(br#"{ "n": 1.10 }"#)).unwrap();
        let read = Entry::read(&line).unwrap();
        assert_eq!((read.seq, read.kind.as_str(), read.chat.as_deref()), (Seq(7), "message.text", Some("a\"b")));
        assert_eq!((read.is_self, read.text, &read.decoded["x"]), (Some(false), None, &1.into()));
        let sent = Sent::read(&line).unwrap();
        assert_eq!((sent.seq, sent.kind.as_str(), sent.data.get()), (Seq(7), "message.text", r#"{ "n": 1.10 }"#));
    }
}
