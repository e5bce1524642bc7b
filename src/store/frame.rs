//! The journal's frames: one transaction each, checksummed, found again after damage.
//!
//! ```text
//! magic 4 | crc 4 | len 4 | events 4 | lsn 8 | seq 8 | back 4 | payload (len)
//! ```
//!
//! Numbers are little-endian. The crc covers everything after itself. `lsn` counts frames from 1 without gaps; `seq`
//! is the first event's position (or the next event's when the frame has none), `events` how many it has. `back` says
//! how many of the frames just before were not yet durable when this one was written: it tells a tail torn by a power
//! cut (nobody was answered) from damage to what had been durable.
//!
//! The payload is a row of records: an event, a put or a delete.

use super::Append;
use crate::clock::Time;
use crate::codec::{LeReader, LeWriter};
use bytes::Bytes;

/// First bytes of each frame; not text, and not zeros.
pub(super) const MAGIC: [u8; 4] = [0xf7, b'W', b'J', 0x1d];
/// Bytes before the payload.
pub(super) const HEAD: usize = 36;
/// The largest payload: an event of 8 MB and commands of 16 MiB fit well; a length beyond is damage.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// A body of at least this many bytes is written from where it lies instead of being copied together.
const APART_BYTES: usize = 64 << 10;

const EVENT: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) events: u32,
    pub(super) lsn: u64,
    pub(super) seq: u64,
    pub(super) back: u32,
}

impl Head {
    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> usize {
        HEAD + self.len
    }

    /// Everything up to this was durable before the frame was written.
    pub(super) fn durable_before(&self) -> u64 {
        self.lsn.saturating_sub(u64::from(self.back)).saturating_sub(1)
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// More bytes are needed: this many in all.
    Short(usize),
    Magic,
    Length,
    Checksum,
}

impl Bad {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Short(_) => "the file ends within a frame",
            Self::Magic => "no frame begins here",
            Self::Length => "a frame's length is impossible",
            Self::Checksum => "a frame's checksum does not match",
        }
    }
}

/// Reads a head, and the checksum that it says; that is not verified.
fn head_and_crc(bytes: &[u8]) -> Option<(Head, u32)> {
    let mut from = LeReader(bytes.get(MAGIC.len()..HEAD)?);
    let crc = from.u32()?;
    let head = Head { len: from.len32()?, events: from.u32()?, lsn: from.u64()?, seq: from.u64()?, back: from.u32()? };
    Some((head, crc))
}

fn checked(bytes: &[u8]) -> Result<(Head, u32), Bad> {
    let (head, crc) = head_and_crc(bytes).ok_or(Bad::Short(HEAD))?;
    if !bytes.starts_with(&MAGIC) {
        return Err(Bad::Magic);
    }
    if head.len > PAYLOAD_BYTES_MAX {
        return Err(Bad::Length);
    }
    Ok((head, crc))
}

/// Reads a head; its checksum is not verified.
pub(super) fn head(bytes: &[u8]) -> Result<Head, Bad> {
    checked(bytes).map(|(head, _)| head)
}

/// Reads a whole frame at the start of `bytes`, verified.
pub(super) fn parse(bytes: &[u8]) -> Result<(Head, &[u8]), Bad> {
    let (head, crc) = checked(bytes)?;
    let end = head.frame_bytes();
    if bytes.len() < end {
        return Err(Bad::Short(end));
    }
    if crc32fast::hash(&bytes[8..end]) != crc {
        return Err(Bad::Checksum);
    }
    Ok((head, &bytes[HEAD..end]))
}

/// Where the next frame may begin at or after `from`.
pub(super) fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let hay = bytes.get(from..)?;
    hay.windows(MAGIC.len()).position(|w| w == MAGIC).map(|at| from + at)
}

/// A record of a payload, borrowed from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Event { time: Time, tags: Tags<'a>, outline: &'a [u8], body: &'a [u8] },
    Put { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
}

/// An event's tags, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tags<'a>(&'a [u8]);

impl Tags<'_> {
    pub(super) fn iter(self) -> impl Iterator<Item = u64> {
        self.0.as_chunks().0.iter().map(|tag| u64::from_le_bytes(*tag))
    }
}

/// The records of a payload. It ends early at a record that makes no sense (only a frame of a newer version has one:
/// the checksum was right).
#[derive(Debug)]
pub(super) struct Records<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let mut from = LeReader(self.0);
        let record = match from.u8()? {
            EVENT => {
                let time = Time::from_millis(from.i64()?);
                let tags = usize::from(from.u16()?);
                let (outline, body) = (from.len32()?, from.len32()?);
                let tags = Tags(from.bytes(tags * 8)?);
                Record::Event { time, tags, outline: from.bytes(outline)?, body: from.bytes(body)? }
            }
            PUT => {
                let (key, value) = (from.len32()?, from.len32()?);
                Record::Put { key: from.bytes(key)?, value: from.bytes(value)? }
            }
            DELETE => {
                let key = from.len32()?;
                Record::Delete { key: from.bytes(key)? }
            }
            _ => return None,
        };
        self.0 = from.0;
        Some(record)
    }
}

/// What the index needs to know of a frame with events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Info {
    pub(super) lsn: u64,
    pub(super) seq: u64,
    pub(super) events: u32,
    /// Where it begins, in the run (later: in the segment).
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) times: (Time, Time),
    /// Its tags, as a range of the run's.
    pub(super) tags: (usize, usize),
}

/// A row of frames being put together for one write. Large bodies are kept beside it instead of being copied.
#[derive(Debug, Default)]
pub(super) struct Run {
    buf: Vec<u8>,
    /// Bodies to be written in between: after how many bytes of `buf`.
    apart: Vec<(usize, Bytes)>,
    apart_bytes: usize,
    /// Finished frames.
    pub(super) frames: Vec<Info>,
    pub(super) tags: Vec<u64>,
    open: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    buf: usize,
    apart: usize,
    apart_bytes: usize,
    tags: usize,
    info: Info,
}

/// Adds the record of a put.
pub(super) fn put(buf: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    buf.push(PUT);
    // What is too long for it is refused by `Txn::end`, which sees the payload's true length.
    buf.len32(key.len());
    buf.len32(value.len());
    buf.bytes(key);
    buf.bytes(value);
}

/// Adds the record of a delete.
pub(super) fn delete(buf: &mut Vec<u8>, key: &[u8]) {
    buf.push(DELETE);
    buf.len32(key.len());
    buf.bytes(key);
}

impl Run {
    pub(super) fn bytes(&self) -> usize {
        self.buf.len() + self.apart_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn clear(&mut self) {
        // One oversized group must not keep its buffer for ever.
        const KEEP_BYTES: usize = 4 << 20;
        self.buf.clear();
        self.buf.shrink_to(KEEP_BYTES);
        self.apart.clear();
        self.apart_bytes = 0;
        self.frames.clear();
        self.tags.clear();
        self.open = None;
    }

    /// Begins a frame; `seq` is the next event's position.
    pub(super) fn begin(&mut self, lsn: u64, seq: u64) {
        let info = Info {
            lsn,
            seq,
            events: 0,
            at: self.bytes() as u64,
            bytes: 0,
            times: (Time::from_millis(i64::MAX), Time::from_millis(i64::MIN)),
            tags: (self.tags.len(), self.tags.len()),
        };
        let (buf, apart) = (self.buf.len(), self.apart.len());
        self.open = Some(Opened { buf, apart, apart_bytes: self.apart_bytes, tags: self.tags.len(), info });
        self.buf.extend_from_slice(&[0; HEAD]);
    }

    pub(super) fn event(&mut self, event: Append) {
        let Append { time, outline, mut tags, body } = event;
        tags.truncate(usize::from(u16::MAX));
        self.buf.push(EVENT);
        self.buf.i64(time.millis());
        self.buf.u16(u16::try_from(tags.len()).unwrap_or(u16::MAX));
        self.buf.len32(outline.len());
        self.buf.len32(body.len());
        tags.iter().for_each(|tag| self.buf.u64(*tag));
        self.tags.extend_from_slice(&tags);
        self.buf.bytes(&outline);
        if body.len() >= APART_BYTES {
            self.apart_bytes += body.len();
            self.apart.push((self.buf.len(), body));
        } else {
            self.buf.bytes(&body);
        }
        if let Some(open) = &mut self.open {
            open.info.events += 1;
            open.info.times = (open.info.times.0.min(time), open.info.times.1.max(time));
        }
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        put(&mut self.buf, key, value);
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        delete(&mut self.buf, key);
    }

    /// Takes the open frame back.
    pub(super) fn abandon(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.buf.truncate(open.buf);
        self.apart.truncate(open.apart);
        self.apart_bytes = open.apart_bytes;
        self.tags.truncate(open.tags);
    }

    /// Whether the open frame holds records, and whether they fit into one.
    pub(super) fn pending(&self) -> (bool, bool) {
        let Some(open) = &self.open else { return (false, true) };
        let payload = self.bytes() - open.buf - open.apart_bytes - HEAD;
        (payload > 0, payload <= PAYLOAD_BYTES_MAX)
    }

    /// Ends the open frame; it holds records, and they fit. `back` as in the head.
    pub(super) fn finish(&mut self, back: u32) -> Option<Info> {
        let Opened { buf, apart, tags, mut info, .. } = self.open.take()?;
        info.bytes = self.bytes() as u64 - info.at;
        info.tags = (tags, self.tags.len());
        let mut head = Vec::with_capacity(HEAD);
        head.bytes(&MAGIC);
        head.u32(0);
        head.len32(usize::try_from(info.bytes).unwrap_or(usize::MAX).saturating_sub(HEAD));
        head.u32(info.events);
        head.u64(info.lsn);
        head.u64(info.seq);
        head.u32(back);
        self.buf[buf..buf + HEAD].copy_from_slice(&head);
        let mut crc = crc32fast::Hasher::new();
        let mut at = buf + 8;
        for (after, body) in &self.apart[apart..] {
            crc.update(&self.buf[at..*after]);
            crc.update(body);
            at = *after;
        }
        crc.update(&self.buf[at..]);
        self.buf[buf + 4..buf + 8].copy_from_slice(&crc.finalize().to_le_bytes());
        self.frames.push(info);
        Some(info)
    }

    /// The pieces to be written one after the other.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        let between = self.apart.iter().flat_map(move |(after, body)| {
            let piece = &self.buf[at..*after];
            at = *after;
            [piece, &body[..]]
        });
        between.chain(std::iter::once(&self.buf[self.apart.last().map_or(0, |(after, _)| *after)..]))
    }

    /// Adds finished frames that were written elsewhere (what a lazy transaction left to be synced).
    pub(super) fn extend(&mut self, other: &Self) {
        let (base, tags) = (self.bytes() as u64, self.tags.len());
        for piece in other.pieces() {
            self.buf.extend_from_slice(piece);
        }
        self.tags.extend_from_slice(&other.tags);
        self.frames.extend(other.frames.iter().map(|f| Info {
            at: f.at + base,
            tags: (f.tags.0 + tags, f.tags.1 + tags),
            ..*f
        }));
    }
}
