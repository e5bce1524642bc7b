//! The lines of the streams: of events ([`Line`]), and of a wait ([`Progress`]). They are written and read here.
//!
//! Both sides handle hundreds of thousands of events a second: an event's JSON passes through unread. What kind of line it
//! is, its first bytes say.

use super::{Dropped, DroppedRange, Receipt, Refusal, Rev};
use crate::seq::Seq;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::io::{self, Write};
use std::ops::Range;

/// A line of an event stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'b> {
    /// An event: its JSON, see [`Entry`](super::Entry).
    Event(Seq, &'b [u8]),
    /// Nothing up to here matched.
    Passed(Seq),
    /// Nothing of what was asked for is left.
    End(Seq),
    /// An event that the store cannot read any more, and why.
    Damaged(Seq, String),
    /// Events that can no longer be read; the stream goes on after them.
    Dropped(DroppedRange),
    /// The daemon cannot go on; nothing follows.
    Refused(Refusal),
    /// Only a sign of life, so that a dead daemon and a dead reader are noticed.
    KeepAlive,
}

impl Line<'_> {
    /// A sign of life, with its end.
    pub const KEEP_ALIVE: &'static [u8] = b"\n";

    /// Writes it, with its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let written = match self {
            Self::Event(_, json) => out.write_all(json),
            Self::Passed(seq) => write!(out, r#"{{"seq":{seq},"skipped":true}}"#),
            Self::End(seq) => write!(out, r#"{{"seq":{seq},"end":true}}"#),
            Self::Damaged(seq, reason) => write!(out, r#"{{"seq":{seq},"damaged":{}}}"#, Value::from(reason.as_str())),
            Self::Dropped(range) => {
                serde_json::to_writer(&mut *out, &Dropped { dropped: *range }).map_err(io::Error::from)
            }
            Self::Refused(refusal) => serde_json::to_writer(&mut *out, refusal).map_err(io::Error::from),
            Self::KeepAlive => Ok(()),
        };
        written.expect("plain data becomes JSON, and a vector takes it");
        out.extend(Self::KEEP_ALIVE);
    }

    /// It, with its end.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

impl<'b> Line<'b> {
    /// Up to where a reader has got with it.
    #[must_use]
    pub fn position(&self) -> Option<Seq> {
        match *self {
            Self::Event(seq, _) | Self::Passed(seq) | Self::End(seq) | Self::Damaged(seq, _) => Some(seq),
            Self::Dropped(DroppedRange { to, .. }) => Some(to),
            Self::Refused(_) | Self::KeepAlive => None,
        }
    }

    /// Reads one, without its end; `None` when it is none that this version knows.
    #[must_use]
    pub fn read(line: &'b [u8]) -> Option<Self> {
        if line.is_empty() {
            return Some(Self::KeepAlive);
        }
        let Some(rest) = line.strip_prefix(b"{\"seq\":") else {
            let dropped = serde_json::from_slice(line).map(|Dropped { dropped }| Self::Dropped(dropped));
            return dropped.ok().or_else(|| refusal(line).map(Self::Refused));
        };
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at(digits);
        let seq = Seq(std::str::from_utf8(digits).ok()?.parse().ok()?);
        // What follows in an event is its time.
        Some(match rest {
            b",\"skipped\":true}" => Self::Passed(seq),
            b",\"end\":true}" => Self::End(seq),
            _ if rest.starts_with(b",\"damaged\":") => {
                #[derive(Deserialize)]
                struct Damaged {
                    damaged: String,
                }
                let why =
                    serde_json::from_slice(line).map_or("it is damaged".to_owned(), |Damaged { damaged }| damaged);
                Self::Damaged(seq, why)
            }
            _ => Self::Event(seq, line),
        })
    }

    /// The lines of a batch of whole ones, each with where it begins and where the next one does.
    pub fn all(batch: &'b [u8]) -> impl Iterator<Item = (Option<Self>, Range<usize>)> {
        let mut at = 0;
        batch.split_inclusive(|byte| *byte == b'\n').map(move |line| {
            let range = at..at + line.len();
            at = range.end;
            (Self::read(line.strip_suffix(b"\n").unwrap_or(line)), range)
        })
    }
}

/// A line of the stream of changes that commands go through.
#[derive(Debug, PartialEq, Eq)]
pub enum FeedLine<'b> {
    /// How a command stands after a change: the JSON of its [`Receipt`]. One that has not changed since changes are
    /// numbered has no number.
    Command(Option<Rev>, &'b [u8]),
    /// Nothing up to here matched.
    Passed(Rev),
    /// Nothing of what was asked for is left.
    End(Rev),
    /// Changes that are kept no longer, the first and the last; the stream goes on after them.
    Dropped(Rev, Rev),
    /// The daemon cannot go on; nothing follows.
    Refused(Refusal),
    /// Only a sign of life.
    KeepAlive,
}

impl FeedLine<'_> {
    /// Writes it, with its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let written = match self {
            Self::Command(_, json) => out.write_all(json),
            Self::Passed(rev) => write!(out, r#"{{"rev":{rev},"skipped":true}}"#),
            Self::End(rev) => write!(out, r#"{{"rev":{rev},"end":true}}"#),
            Self::Dropped(from, to) => write!(out, r#"{{"dropped":{{"from":{from},"to":{to}}}}}"#),
            Self::Refused(refusal) => serde_json::to_writer(&mut *out, refusal).map_err(io::Error::from),
            Self::KeepAlive => Ok(()),
        };
        written.expect("plain data becomes JSON, and a vector takes it");
        out.push(b'\n');
    }

    /// It, with its end.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

impl<'b> FeedLine<'b> {
    /// Up to where a reader has got with it.
    #[must_use]
    pub fn position(&self) -> Option<Rev> {
        match *self {
            Self::Command(rev, _) => rev,
            Self::Passed(rev) | Self::End(rev) | Self::Dropped(_, rev) => Some(rev),
            Self::Refused(_) | Self::KeepAlive => None,
        }
    }

    /// Reads one, without its end; `None` when it is none that this version knows.
    #[must_use]
    pub fn read(line: &'b [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct FeedMembers {
            rev: Option<Rev>,
            #[serde(default)]
            skipped: bool,
            #[serde(default)]
            end: bool,
        }
        if line.is_empty() {
            return Some(Self::KeepAlive);
        }
        if let Some(refusal) = refusal(line) {
            return Some(Self::Refused(refusal));
        }
        if line.starts_with(b"{\"dropped\":") {
            let Dropped { dropped } = serde_json::from_slice(line).ok()?;
            return Some(Self::Dropped(Rev(dropped.from.0), Rev(dropped.to.0)));
        }
        let FeedMembers { rev, skipped, end } = serde_json::from_slice(line).ok()?;
        match (rev, skipped, end) {
            (rev, ..) if line.starts_with(b"{\"id\":") => Some(Self::Command(rev, line)),
            (Some(rev), true, _) => Some(Self::Passed(rev)),
            (Some(rev), _, true) => Some(Self::End(rev)),
            _ => None,
        }
    }

    /// The lines of a batch of whole ones.
    pub fn all(batch: &'b [u8]) -> impl Iterator<Item = Option<Self>> {
        let lines = batch.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| Self::read(line.strip_suffix(b"\n").unwrap_or(line)))
    }
}

/// The refusal that a line is: what any stream ends with that fails midway.
pub(super) fn refusal(line: &[u8]) -> Option<Refusal> {
    line.starts_with(b"{\"error\":").then(|| serde_json::from_slice(line).ok())?
}

/// A line of a wait: exactly one of the members is there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time, on its way to or from a line")]
pub enum Progress {
    /// The command, at once and at each change.
    Receipt(Receipt),
    /// An event that answers it, with what it holds for this command.
    Answer {
        /// The event, as `events` prints it.
        event: Box<RawValue>,
        /// One value per line to print.
        items: Vec<Value>,
    },
    /// The wait is over; nothing follows.
    End {
        /// Whether what was waited for came.
        reached: bool,
    },
}

impl Progress {
    /// It, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("plain data becomes JSON") + "\n"
    }

    /// Writes an answer, with its end, without making it whole; `event` writes the event.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_answer<W: io::Write>(
        out: &mut W,
        event: impl FnOnce(&mut W) -> io::Result<()>,
        items: impl IntoIterator<Item = impl Serialize>,
    ) -> io::Result<()> {
        out.write_all(br#"{"answer":{"event":"#)?;
        event(out)?;
        out.write_all(br#","items":["#)?;
        let mut before: &[u8] = b"";
        for item in items {
            out.write_all(before)?;
            before = b",";
            serde_json::to_writer(&mut *out, &item)?;
        }
        out.write_all(b"]}}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_told_apart_by_their_first_bytes() {
        let event = br#"{"seq":1,"time":"x","text":"\"skipped\":true"}"#;
        let refusal = Refusal { error: "e".into(), message: "m".into() };
        let lines = [
            (Line::Event(Seq(1), event), &event[..]),
            (Line::KeepAlive, b""),
            (Line::Passed(Seq(20)), br#"{"seq":20,"skipped":true}"#),
            (Line::Damaged(Seq(3), "w\"y".to_owned()), br#"{"seq":3,"damaged":"w\"y"}"#),
            (Line::End(Seq(4)), br#"{"seq":4,"end":true}"#),
            (Line::Refused(refusal), br#"{"error":"e","message":"m"}"#),
            (Line::Dropped(DroppedRange { from: Seq(5), to: Seq(7) }), br#"{"dropped":{"from":5,"to":7}}"#),
        ];
        let mut batch = Vec::new();
        for (line, text) in &lines {
            line.write(&mut batch);
            assert_eq!(line.bytes(), [text, &b"\n"[..]].concat());
            assert_eq!(Line::read(text).as_ref(), Some(line));
        }
        let found: Vec<_> = Line::all(&batch).map(|(line, range)| (line.unwrap(), &batch[range])).collect();
        assert_eq!(found.len(), lines.len());
        for ((line, whole), (expected, _)) in found.iter().zip(&lines) {
            assert_eq!((line, whole.last()), (expected, Some(&b'\n')));
        }
        for strange in [&b"rubbish"[..], b"{\"seq\":x}", b"{\"new\":1}"] {
            assert_eq!(Line::read(strange), None);
        }
    }

    #[test]
    fn lines_of_changes_are_read_as_they_are_written() {
        let refusal = Refusal { error: "e".into(), message: "m".into() };
        for (line, text) in [
            (
                FeedLine::Command(Some(Rev(3)), br#"{"id":1,"end":true,"rev":3}"#),
                &br#"{"id":1,"end":true,"rev":3}"#[..],
            ),
            (FeedLine::Command(None, br#"{"id":1,"rev":null}"#), br#"{"id":1,"rev":null}"#),
            (FeedLine::KeepAlive, b""),
            (FeedLine::Passed(Rev(20)), br#"{"rev":20,"skipped":true}"#),
            (FeedLine::End(Rev(4)), br#"{"rev":4,"end":true}"#),
            (FeedLine::Dropped(Rev(5), Rev(7)), br#"{"dropped":{"from":5,"to":7}}"#),
            (FeedLine::Refused(refusal), br#"{"error":"e","message":"m"}"#),
        ] {
            assert_eq!(line.bytes(), [text, &b"\n"[..]].concat());
            assert_eq!(FeedLine::read(text), Some(line));
        }
        for strange in [&b"rubbish"[..], b"{\"rev\":1}", b"{\"new\":1}", b"{\"skipped\":true}"] {
            assert_eq!(FeedLine::read(strange), None);
        }
    }

    #[test]
    fn an_answer_that_is_written_piece_by_piece_is_read_as_one() {
        for items in [vec![], vec![json!({"a": 1})], vec![json!(1), json!("x")]] {
            let mut line = Vec::new();
            Progress::write_answer(&mut line, |out| out.write_all(br#"{"seq":1}"#), items.clone()).unwrap();
            let read: Progress = serde_json::from_slice(&line).unwrap();
            assert_eq!(read.line().as_bytes(), line);
            assert!(matches!(read, Progress::Answer { items: read, .. } if read == items));
        }
    }
}
