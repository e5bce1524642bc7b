//! An event becomes the line that its readers get: `protocol` decodes, `control` writes. Nothing is made whole that is
//! only written.

use crate::clock::Time;
use crate::control::{Entry, entry};
use crate::daemon::log::about::{Extras, Known};
use crate::daemon::log::own::OwnEvent;
use crate::protocol::event::{self, Event, Kind, Pieces};
use crate::seq::Seq;
use serde_json::json;
use std::io::{self, Write};

/// What is stored beside an event.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside<'e> {
    /// See [`event::outline_of`].
    pub(crate) owner: Option<&'e str>,
    /// The event that told the very same a moment before.
    pub(crate) repeat_of: Option<Seq>,
}

/// Writes an event, without the line's end. `data` is the inner object. Without `known` nobody's name is told.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(
    out: &mut impl Write,
    (seq, time): (Seq, Time),
    data: &str,
    beside: Beside<'_>,
    known: Option<&mut Known<'_>>,
) -> io::Result<()> {
    let pieces = Pieces::of_account(data, beside.owner);
    let about = known.map(|known| known.about(seq, pieces.event())).unwrap_or_default();
    Entry { repeat_of: beside.repeat_of, ..of(seq, time, pieces.event(), &about) }.begin(out)?;
    pieces.write_decoded(out)?;
    entry::end(out, |out| event::write_data(out, data))
}

fn of<'e>(seq: Seq, time: Time, event: &'e Event, about: &'e Extras) -> Entry<&'e str> {
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
        text: about.text.as_deref().or(event.text.as_deref()),
        from_name: about.from_name.as_deref(),
        mentioned: about.mentioned,
        command: about.command,
        repeat_of: None,
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

/// Writes what the daemon itself tells, without the line's end.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_own(out: &mut impl Write, (seq, time): (Seq, Time), own: &OwnEvent) -> io::Result<()> {
    let (kind, account) = (own.kind.as_str(), Some(own.account.as_str()));
    Entry { seq, time, kind, account, pid: own.pid, is_self: Some(false), ..Entry::default() }.begin(out)?;
    serde_json::to_writer(&mut *out, &own.facts)?;
    entry::end(out, |out| out.write_all(own.to_json().as_bytes()))
}

/// An event as text, without the line's end: the manual's examples are made of these.
#[must_use]
pub fn text(seq: Seq, time: Time, data: &str) -> String {
    as_text(|out| write(out, (seq, time), data, Beside::default(), None))
}

/// As [`text`], of one whose body could not be read.
#[must_use]
pub fn unparsed_text(seq: Seq, time: Time, reason: &str, bytes: &[u8]) -> String {
    as_text(|out| write_unparsed(out, seq, time, reason, bytes))
}

/// As [`text`], of what the daemon itself tells, as it is stored; none when that is nothing it tells.
#[must_use]
pub fn own_text(seq: Seq, time: Time, body: &[u8]) -> Option<String> {
    let own = OwnEvent::read(body)?;
    Some(as_text(|out| write_own(out, (seq, time), &own)))
}

fn as_text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("plain data becomes JSON, and a vector takes it");
    String::from_utf8(out).expect("only texts were put together")
}
