//! Backup and restore: one stream that holds a consistent copy of everything.
//!
//! ```text
//! "WEHELPA\n" | version 4 | { kind 1 | length 4 | payload | crc 4 }*
//! ```
//!
//! Kinds: a file that lies beside the store (length of its name, name, contents), changes of the map (puts first, then
//! what happened while they were written), the head (first and last position), an event frame (first position, records),
//! and the end (how many changes and events), without which an archive counts as cut off. While a backup runs writers go
//! on, and nothing is dropped.

use super::files::{self, fault};
use super::frame::{self, Record, Records, Run};
use super::index::{self, Block, Builder};
use super::journal::{self, Active, Begin, HEADER, Item, Scanner};
use super::own;
use super::shared::Shared;
use super::types::VERSION;
use super::version;
use super::{Append, Error};
use crate::codec::{LeReader, LeWriter as _};
use crate::key::{self, OWN};
use bytes::Bytes;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MAGIC: [u8; 8] = *b"WEHELPA\n";
const HEAD: u8 = 1;
const CHANGES: u8 = 2;
const EVENTS: u8 = 3;
const FILE: u8 = 4;
const END: u8 = 9;
/// Changes are put together to pieces of this size.
const PIECE_BYTES: usize = 64 << 10;
/// Pairs of the map read at once: the writer waits meanwhile.
const PAIRS: usize = 200;
/// A piece longer than this is damage: a frame and its position.
const PIECE_BYTES_MAX: usize = frame::PAYLOAD_BYTES_MAX + 64;
/// A backup waits so long until what it has seen of the map is durable.
const DURABLE_PATIENCE: Duration = Duration::from_secs(10);
/// Frames written at once by a restore.
const RUN_BYTES: usize = 4 << 20;
/// Segments of a restored store.
const SEGMENT_BYTES: u64 = 64 << 20;

/// While it lives no segment is removed and no event dropped.
struct Pin<'a>(&'a AtomicUsize);

impl<'a> Pin<'a> {
    fn new(pins: &'a AtomicUsize) -> Self {
        pins.fetch_add(1, Ordering::SeqCst);
        Self(pins)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Pieces<'a> {
    out: &'a mut dyn Write,
    /// Changes that are not written yet.
    pending: Vec<u8>,
    changes: u64,
    events: u64,
    /// The last position that a frame tells of.
    last: u64,
}

impl Pieces<'_> {
    fn put(&mut self, kind: u8, parts: [&[u8]; 2]) -> Result<(), Error> {
        let mut head = vec![kind];
        head.len32(parts[0].len() + parts[1].len());
        let mut crc = crc32fast::Hasher::new();
        for bytes in [&head, parts[0], parts[1]] {
            crc.update(bytes);
            self.out.write_all(bytes).map_err(not_written)?;
        }
        self.out.write_all(&crc.finalize().to_le_bytes()).map_err(not_written)
    }

    fn put_numbers(&mut self, kind: u8, numbers: [u64; 2]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(16);
        numbers.into_iter().for_each(|n| bytes.u64(n));
        self.put(kind, [&bytes, &[]])
    }

    /// Adds a change to those not yet written.
    fn change(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        match value {
            Some(value) => frame::put(&mut self.pending, key, value),
            None => frame::delete(&mut self.pending, key),
        }
        self.changes += 1;
        if self.pending.len() < PIECE_BYTES { Ok(()) } else { self.end_changes() }
    }

    fn end_changes(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() { Ok(()) } else { self.put(CHANGES, [&pending, &[]]) }
    }

    /// The map, while it changes; then its changes since: what comes of both is the map at the LSN that is returned. It is
    /// read as readers see it: what was deleted before (a forward's secret, contract 7) must not be there as a change and its
    /// undoing.
    fn map(&mut self, shared: &Shared) -> Result<u64, Error> {
        let map = shared.map();
        let from = shared.committed.load(Ordering::SeqCst);
        let mut keys = Vec::new()..vec![255];
        loop {
            let pairs = map.scan(None, &keys, PAIRS, false)?;
            let Some((last, _)) = pairs.last() else { break };
            keys.start = key::next(last);
            pairs.iter().try_for_each(|(key, value)| self.change(key, Some(value)))?;
        }
        self.end_changes()?;
        let upto = shared.committed.load(Ordering::SeqCst);
        let begun = Instant::now();
        while shared.durable.load(Ordering::Acquire) < upto {
            if begun.elapsed() > DURABLE_PATIENCE {
                return Err(Error::Other("what the backup has seen does not become durable".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let start = shared.view().segments.range(..=from + 1).next_back().map_or(0, |(lsn, _)| *lsn);
        frames(shared, start, upto, &mut |head, payload| {
            self.last = self.last.max(head.seq + u64::from(head.events) - 1);
            for record in Records(payload).filter(|_| head.lsn > from) {
                match record {
                    Record::Put { key, value } => self.change(key, Some(value))?,
                    Record::Delete { key } => self.change(key, None)?,
                    Record::Event { .. } => {}
                }
            }
            Ok(())
        })?;
        self.end_changes()?;
        Ok(upto)
    }

    /// Where the log begins and ends, and its events up to an LSN.
    fn events(&mut self, shared: &Shared, first: u64, upto: u64) -> Result<(), Error> {
        let segments = shared.view().segments.clone();
        let start = segments.values().rev().find(|b| b.seq <= first).map_or(0, |b| b.lsn);
        let begun = segments.values().filter(|b| b.lsn <= upto + 1).map(|b| b.seq - 1).max().unwrap_or(0);
        let last = self.last.max(begun);
        self.put_numbers(HEAD, [first, last])?;
        let mut next = first;
        frames(shared, start, upto, &mut |head, payload| {
            if head.events == 0 || head.seq + u64::from(head.events) <= first {
                return Ok(());
            }
            shared.note_damaged(next..=head.seq - 1);
            next = next.max(head.seq + u64::from(head.events));
            self.events += u64::from(head.events);
            self.put(EVENTS, [&head.seq.to_le_bytes(), payload])
        })?;
        shared.note_damaged(next..=last);
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn not_written(error: io::Error) -> Error {
    Error::Other(format!("write the backup: {error}"))
}

/// Writes a backup.
pub(super) fn backup(shared: &Shared, files: &[(&str, Vec<u8>)], out: &mut dyn Write) -> Result<(), Error> {
    let _pin = Pin::new(&shared.pins);
    let first = shared.view().first;
    let mut magic = MAGIC.to_vec();
    magic.u32(VERSION);
    out.write_all(&magic).map_err(not_written)?;
    let mut pieces = Pieces { out, pending: Vec::new(), changes: 0, events: 0, last: 0 };
    for (name, contents) in files {
        let len = u8::try_from(name.len()).map_err(|_| Error::Other(format!("`{name}` is too long a name")))?;
        pieces.put(FILE, [&[&[len][..], name.as_bytes()].concat(), contents])?;
    }
    let upto = pieces.map(shared)?;
    pieces.events(shared, first, upto)?;
    pieces.put_numbers(END, [pieces.changes, pieces.events])?;
    pieces.out.flush().map_err(not_written)
}

/// Takes a frame: its head and its payload.
type EachFrame<'a> = dyn FnMut(frame::Head, &[u8]) -> Result<(), Error> + 'a;

/// The readable frames up to an LSN, of the segments from one on. Damage is passed over: a backup of a damaged store holds
/// what can be read, and the positions that cannot stay missing.
fn frames(shared: &Shared, start: u64, upto: u64, each: &mut EachFrame<'_>) -> Result<(), Error> {
    let segments: Vec<u64> = shared.view().segments.range(start..).map(|(lsn, _)| *lsn).collect();
    let nexts = segments.iter().skip(1).copied().chain(std::iter::once(u64::MAX));
    for (lsn, next) in segments.iter().zip(nexts).filter(|(lsn, _)| **lsn <= upto) {
        let path = journal::path(&shared.dir, *lsn);
        let failed = |e| fault("read", &path, &e);
        let mut scanner = Scanner::open(&path, HEADER).map_err(failed)?;
        while let Some(item) = scanner.next().map_err(failed)? {
            match item {
                Item::Frame(head, _, _) if head.lsn > upto || head.lsn >= next => break,
                Item::Frame(head, _, payload) => each(head, payload)?,
                Item::Damage { at, reason, .. } => {
                    let path = path.display();
                    tracing::error!("`{path}` is damaged at byte {at}: {reason}; the backup goes on without");
                }
            }
        }
    }
    Ok(())
}

/// Reads an archive's pieces.
struct Source<'a> {
    archive: &'a mut dyn Read,
    buf: Vec<u8>,
}

impl Source<'_> {
    fn exact(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.archive.read_exact(into).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Other("the archive is cut off".to_owned()),
            _ => Error::Other(format!("read the archive: {e}")),
        })
    }

    /// Refuses what is no archive, or a newer one's.
    fn check_head(&mut self) -> Result<(), Error> {
        let mut head = [0; 12];
        self.exact(&mut head)?;
        let mut from = LeReader(&head);
        if from.array() != Some(MAGIC) {
            return Err(Error::Other("this is no backup of wehelp".to_owned()));
        }
        match from.u32() {
            Some(version) if version > VERSION => Err(Error::Other(format!(
                "the backup was written by a newer wehelpd (format {version}): restore it with that version"
            ))),
            _ => Ok(()),
        }
    }

    /// The next piece: its kind; its payload is in `buf`.
    fn next(&mut self) -> Result<u8, Error> {
        let damaged = || Error::Other("the archive is damaged".to_owned());
        let mut head = [0; 5];
        self.exact(&mut head)?;
        let len = LeReader(&head[1..]).len32().unwrap_or(usize::MAX);
        if len > PIECE_BYTES_MAX {
            return Err(damaged());
        }
        let mut buf = std::mem::take(&mut self.buf);
        buf.resize(len, 0);
        self.exact(&mut buf)?;
        let mut crc = [0; 4];
        self.exact(&mut crc)?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&head);
        sum.update(&buf);
        self.buf = buf;
        if sum.finalize().to_le_bytes() != crc {
            return Err(damaged());
        }
        Ok(head[0])
    }

    fn number(&self, at: usize) -> Result<u64, Error> {
        let number = self.buf.get(at..).and_then(|bytes| LeReader(bytes).u64());
        number.ok_or_else(|| Error::Other("the archive is damaged".to_owned()))
    }
}

/// A journal being made.
struct Making {
    dir: PathBuf,
    active: Active,
    builder: Builder,
    blocks: Vec<Arc<Block>>,
    lsn: u64,
    run: Run,
    /// The first position, the last one and the next one, as far as they are known.
    first: u64,
    last: u64,
    next: u64,
    /// How many changes and events came.
    changes: u64,
    events: u64,
}

impl Making {
    fn new(dir: &Path) -> Result<Self, Error> {
        files::make_dir(&journal::folder(dir))?;
        let begin = Begin { lsn: 1, seq: 1, cum: 0 };
        let active = Active::create(dir, &begin).map_err(|e| fault("make", &journal::path(dir, 1), &e))?;
        Ok(Self {
            dir: dir.to_owned(),
            active,
            builder: Builder::new(0),
            blocks: Vec::new(),
            lsn: 1,
            run: Run::default(),
            first: 1,
            last: 0,
            next: 1,
            changes: 0,
            events: 0,
        })
    }

    /// Changes of the map, as one frame.
    fn changes(&mut self, payload: &[u8]) {
        self.run.begin(self.lsn, self.next);
        for record in Records(payload) {
            match record {
                Record::Put { key, value } => self.run.put(key, value),
                Record::Delete { key } => self.run.delete(key),
                Record::Event { .. } => continue,
            }
            self.changes += 1;
        }
        self.end_frame();
    }

    /// Where the log begins and ends; it comes between the map and the events, which get a segment of their own.
    fn head(&mut self, first: u64, last: u64) -> Result<(), Error> {
        (self.first, self.last, self.next) = (first, last, first);
        self.run.begin(self.lsn, first);
        self.run.put(&OWN.full(own::FIRST), &own::first_bytes(first, 0));
        // What comes next to this log is not what came next to the one that was copied.
        self.run.put(&OWN.full(own::IDENTITY), own::new_identity()?.as_bytes());
        self.end_frame();
        self.write()?;
        self.roll()
    }

    /// Events from `seq` on, as one frame; those before the first are left out.
    fn events(&mut self, mut seq: u64, payload: &Bytes) {
        self.run.begin(self.lsn, seq.max(self.first));
        for record in Records(payload) {
            let Record::Event { time, tags, outline, body } = record else { continue };
            if seq >= self.first {
                let (outline, body) = (payload.slice_ref(outline), payload.slice_ref(body));
                self.run.event(Append { time, outline, tags: tags.iter().collect(), body });
            }
            seq += 1;
            self.events += 1;
        }
        self.next = seq;
        self.end_frame();
    }

    fn end_frame(&mut self) {
        self.run.finish(0);
        self.lsn += 1;
    }

    /// Writes what is in the run; goes on in a new segment when this one is full.
    fn write(&mut self) -> Result<(), Error> {
        if self.run.is_empty() {
            return Ok(());
        }
        let base = self.active.write(&self.run).map_err(|e| fault("write", &self.active.path, &e))?;
        for at in 0..self.run.frames.len() {
            let mut info = self.run.frames[at];
            info.at += base;
            let tags = &self.run.tags[info.tags.0..info.tags.1];
            self.blocks.extend(self.builder.push(self.active.lsn, &info, tags.iter().copied()).map(Arc::new));
        }
        self.run.clear();
        if self.active.end >= SEGMENT_BYTES { self.roll() } else { Ok(()) }
    }

    /// Ends a segment, durable, and begins the next.
    fn roll(&mut self) -> Result<(), Error> {
        self.active.shrink();
        self.active.sync().map_err(|e| fault("sync", &self.active.path, &e))?;
        self.blocks.extend(self.builder.finish().map(Arc::new));
        index::write_sidecar(&self.dir, self.active.lsn, &std::mem::take(&mut self.blocks))?;
        let begin = Begin { lsn: self.lsn, seq: self.next, cum: self.builder.cum };
        let path = journal::path(&self.dir, self.lsn);
        self.active = Active::create(&self.dir, &begin).map_err(|e| fault("make", &path, &e))?;
        Ok(())
    }
}

/// Makes a store of an archive.
pub(super) fn restore(archive: &mut dyn Read, dir: &Path, files: &[&str]) -> Result<(), Error> {
    let has_something = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if has_something {
        return Err(Error::Other(format!("`{}` is not empty; restore into a new folder", dir.display())));
    }
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let making = dir.with_file_name(name);
    let cleared = || drop(std::fs::remove_dir_all(&making));
    cleared();
    let made = make(archive, &making, files).and_then(|()| {
        let placed = || -> io::Result<()> {
            if dir.exists() {
                std::fs::remove_dir(dir)?;
            }
            std::fs::rename(&making, dir)?;
            match dir.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => files::sync_dir(parent),
                _ => files::sync_dir(Path::new(".")),
            }
        };
        placed().map_err(|e| fault("put the restored store in place at", dir, &e))
    });
    if made.is_err() {
        cleared();
    }
    made
}

/// Puts a file of the archive beside the store, if it is one of those that are wanted.
fn put_file(dir: &Path, piece: &[u8], wanted: &[&str]) -> Result<(), Error> {
    let split = piece.split_first().and_then(|(len, rest)| rest.split_at_checked(usize::from(*len)));
    let Some((name, contents)) = split else {
        return Err(Error::Other("the archive is damaged: a file in it has no name".to_owned()));
    };
    let Some(name) = wanted.iter().find(|wanted| wanted.as_bytes() == name) else { return Ok(()) };
    let path = dir.join(name);
    files::replace(&path, |out| out.write_all(contents)).map_err(|e| fault("write", &path, &e))
}

fn make(archive: &mut dyn Read, dir: &Path, files: &[&str]) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = || {
        std::fs::create_dir_all(parent)?;
        // What chats say is nobody else's to read.
        std::fs::DirBuilder::new().mode(0o700).create(dir)
    };
    folder().map_err(|e| fault("make the folder", dir, &e))?;
    let mut source = Source { archive, buf: Vec::new() };
    source.check_head()?;
    let mut making = Making::new(dir)?;
    loop {
        match source.next()? {
            CHANGES => making.changes(&source.buf),
            HEAD => making.head(source.number(0)?, source.number(8)?)?,
            FILE => put_file(dir, &source.buf, files)?,
            EVENTS => {
                let payload = Bytes::copy_from_slice(source.buf.get(8..).unwrap_or_default());
                making.events(source.number(0)?, &payload);
            }
            END if (source.number(0)?, source.number(8)?) == (making.changes, making.events) => break,
            END => return Err(Error::Other("the archive is damaged: parts of it are missing".to_owned())),
            _ => return Err(Error::Other("the archive is damaged: a part of an unknown kind".to_owned())),
        }
        if making.run.bytes() >= RUN_BYTES {
            making.write()?;
        }
    }
    making.write()?;
    // The next position survives even when the newest event could not be read.
    making.next = making.next.max(making.last + 1);
    making.roll()?;
    version::write(dir)?;
    files::sync_dir(dir).map_err(|e| fault("sync", dir, &e))
}
