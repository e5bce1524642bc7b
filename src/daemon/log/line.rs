//! An event becomes the line that its readers get: `protocol` decodes, `control` writes. Nothing is made whole that is
//! only written.

use crate::clock::Time;
use crate::control::{Entry, entry};
use crate::protocol::event::{self, Event, Kind, Pieces};
use crate::seq::Seq;
use serde_json::json;
use std::io::{self, Write};

/// Writes an event, without the line's end. `data` is the inner object; for `owner` see [`event::outline_of`].
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut impl Write, seq: Seq, time: Time, data: &str, owner: Option<&str>) -> io::Result<()> {
    let pieces = Pieces::of_account(data, owner);
    of(seq, time, pieces.event()).begin(out)?;
    pieces.write_decoded(out)?;
    entry::end(out, |out| event::write_data(out, data))
}

fn of(seq: Seq, time: Time, event: &Event) -> Entry<&str> {
    Entry {
        seq,
        time,
        kind: event.kind.as_str(),
        r#type: event.r#type,
        account: event.account.as_deref(),
        pid: event.pid,
        chat: event.chat.as_deref(),
        from: event.from.as_deref(),
        is_self: event.is_self,
        nick: event.nick.as_deref(),
        text: event.text.as_deref(),
        decoded: serde_json::Value::Null,
    }
}

/// Writes an event whose body could not be read, without the line's end.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_unparsed(out: &mut impl Write, seq: Seq, time: Time, reason: &str, bytes: &[u8]) -> io::Result<()> {
    /// Becomes base64 in one go; three bytes are four letters.
    const BYTES: usize = 3 << 12;
    Entry { seq, time, kind: Kind::Unparsed.as_str(), ..Entry::default() }.begin(out)?;
    serde_json::to_writer(&mut *out, &json!({ "reason": reason }))?;
    entry::end(out, |out| {
        out.write_all(br#"{"base64":""#)?;
        for part in bytes.chunks(BYTES) {
            out.write_all(data_encoding::BASE64.encode(part).as_bytes())?;
        }
        out.write_all(br#""}"#)
    })
}

/// An event as text, without the line's end: the manual's examples are made of these.
#[must_use]
pub fn text(seq: Seq, time: Time, data: &str) -> String {
    as_text(|out| write(out, seq, time, data, None))
}

/// As [`text`], of one whose body could not be read.
#[must_use]
pub fn unparsed_text(seq: Seq, time: Time, reason: &str, bytes: &[u8]) -> String {
    as_text(|out| write_unparsed(out, seq, time, reason, bytes))
}

fn as_text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("plain data becomes JSON, and a vector takes it");
    String::from_utf8(out).expect("only texts were put together")
}
