//! The lines of an event stream, told apart by their first bytes: events are passed on, not read.

use crate::control::{Dropped, DroppedRange, Refusal};
use crate::seq::Seq;

/// A line of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'b> {
    /// An event: its JSON, without the line's end.
    Event(Seq, &'b [u8]),
    /// Nothing up to here matched.
    Passed(Seq),
    /// Nothing of what was asked for is left.
    End(Seq),
    /// An event that the store cannot read any more; its line says why.
    Damaged(Seq, &'b [u8]),
    /// Retention took these events before they could be read.
    Dropped(DroppedRange),
    /// The daemon gives up.
    Refused(Refusal),
    /// Only a sign of life.
    Beat,
    /// None that this version knows.
    Strange,
}

/// The lines of a batch of whole lines, each with where it begins and where the next one does.
pub(super) fn lines(batch: &[u8]) -> impl Iterator<Item = (Line<'_>, std::ops::Range<usize>)> {
    let mut at = 0;
    batch.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let range = at..at + line.len();
        at = range.end;
        (read(line.strip_suffix(b"\n").unwrap_or(line)), range)
    })
}

fn read(line: &[u8]) -> Line<'_> {
    if line.is_empty() {
        return Line::Beat;
    }
    let Some(rest) = line.strip_prefix(b"{\"seq\":") else {
        if let Ok(Dropped { dropped }) = serde_json::from_slice(line) {
            return Line::Dropped(dropped);
        }
        return serde_json::from_slice(line).map_or(Line::Strange, Line::Refused);
    };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digits);
    let Some(seq) = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).map(Seq) else {
        return Line::Strange;
    };
    // What follows in an event is its time.
    match rest {
        b",\"skipped\":true}" => Line::Passed(seq),
        b",\"end\":true}" => Line::End(seq),
        _ if rest.starts_with(b",\"damaged\":") => Line::Damaged(seq, line),
        _ => Line::Event(seq, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_their_first_bytes() {
        let batch = b"{\"seq\":1,\"time\":\"x\",\"text\":\"\\\"skipped\\\":true\"}\n\n{\"seq\":20,\"skipped\":true}\n\
            {\"seq\":3,\"damaged\":\"why\"}\n{\"seq\":4,\"end\":true}\n{\"error\":\"e\",\"message\":\"m\"}\n\
            {\"dropped\":{\"from\":5,\"to\":7}}\nrubbish\n";
        let found: Vec<_> = lines(batch).map(|(line, range)| (line, batch[range].last() == Some(&b'\n'))).collect();
        let event = &batch[..batch.iter().position(|b| *b == b'\n').unwrap()];
        let expected = [
            Line::Event(Seq(1), event),
            Line::Beat,
            Line::Passed(Seq(20)),
            Line::Damaged(Seq(3), b"{\"seq\":3,\"damaged\":\"why\"}"),
            Line::End(Seq(4)),
            Line::Refused(Refusal { error: "e".into(), message: "m".into() }),
            Line::Dropped(DroppedRange { from: Seq(5), to: Seq(7) }),
            Line::Strange,
        ];
        assert_eq!(found.len(), expected.len());
        for ((line, whole), expected) in found.into_iter().zip(expected) {
            assert_eq!((line, whole), (expected, true));
        }
    }
}
