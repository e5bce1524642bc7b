//! Backup and restore: one stream that holds a consistent copy of everything.
//!
//! ```text
//! "WEHELPA\n" | version 4 | { kind 1 | length 4 | payload | crc 4 }*
//! ```
//!
//! Kinds: a file that lies beside the store (length of its name, name, contents), changes of the map (puts first, then
//! what happened while they were written), the head (first and last position), an event frame (first position, records),
//! and the end (how many changes and events), without which an archive counts as cut off. While a backup runs writers go on, and nothing is dropped.

use super::files::{self, fault};
use super::frame::{self, Record, Records, Run};
use super::index::{self, Block, Builder};
use super::journal::{self, Active, Begin, HEADER, Item, Scanner};
use super::shared::Shared;
use super::{Append, Error, VERSION, open};
use crate::codec::Reader;
use crate::key::OWN;
use bytes::Bytes;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
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
/// Behind every key of the map.
const KEYS_END: &[u8] = &[0xff; 8];
/// A piece longer than this is damage: a frame and its position.
const PIECE_BYTES_MAX: usize = frame::PAYLOAD_BYTES_MAX + 64;
/// A backup waits so long until what it has seen of the map is durable.
const DURABLE_PATIENCE: Duration = Duration::from_secs(10);
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
    changes: u64,
    events: u64,
}

impl Pieces<'_> {
    fn put(&mut self, kind: u8, parts: [&[u8]; 2]) -> Result<(), Error> {
        let len = u32::try_from(parts[0].len() + parts[1].len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut crc = crc32fast::Hasher::new();
        let head = [&[kind][..], &len].concat();
        let mut put = |bytes: &[u8]| {
            crc.update(bytes);
            self.out.write_all(bytes)
        };
        let put = put(&head).and_then(|()| put(parts[0])).and_then(|()| put(parts[1]));
        let put = put.and_then(|()| self.out.write_all(&crc.finalize().to_le_bytes()));
        put.map_err(|e| Error::Other(format!("write the backup: {e}")))
    }

    /// Adds changes to those not yet written; all of them go when `last`.
    fn changes(&mut self, run: &mut Vec<u8>, last: bool) -> Result<(), Error> {
        if run.len() >= PIECE_BYTES || (last && !run.is_empty()) {
            self.put(CHANGES, [run, &[]])?;
            run.clear();
        }
        Ok(())
    }
}

/// Writes a backup.
pub(super) fn backup(shared: &Shared, files: &[(&str, Vec<u8>)], out: &mut dyn Write) -> Result<(), Error> {
    let _pin = Pin::new(&shared.pins);
    let view = shared.view().clone();
    let mut pieces = Pieces { out, changes: 0, events: 0 };
    let magic = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    pieces.out.write_all(&magic).map_err(|e| Error::Other(format!("write the backup: {e}")))?;
    for (name, contents) in files {
        let len = u8::try_from(name.len()).map_err(|_| Error::Other(format!("`{name}` is too long a name")))?;
        pieces.put(FILE, [&[&[len][..], name.as_bytes()].concat(), contents])?;
    }
    // The map, while it changes; then its changes since: what comes of both is the map at `upto`.
    // It is read as readers see it: what was deleted before (a forward's secret, contract 7) must not be there as a change
    // and its undoing.
    let live = shared.live();
    let from = shared.committed.load(Ordering::SeqCst);
    let mut run = Vec::new();
    let mut next = Vec::new();
    loop {
        let pairs = live.scan(None, &next, KEYS_END, PAIRS, false)?;
        let Some((last, _)) = pairs.last() else { break };
        next = [last, &[0][..]].concat();
        for (key, value) in &pairs {
            frame::put(&mut run, key, value);
            pieces.changes += 1;
            pieces.changes(&mut run, false)?;
        }
    }
    pieces.changes(&mut run, true)?;
    let upto = shared.committed.load(Ordering::SeqCst);
    let begun = Instant::now();
    while shared.durable.load(Ordering::Acquire) < upto {
        if begun.elapsed() > DURABLE_PATIENCE {
            return Err(Error::Other("what the backup has seen does not become durable".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let segments = shared.view().segments.clone();
    let start = segments.range(..=from + 1).next_back().map_or(0, |(lsn, _)| *lsn);
    let mut last = 0;
    for begin in segments.range(start..).map(|(_, begin)| begin).filter(|b| b.lsn <= upto + 1) {
        last = last.max(begin.seq - 1);
        frames(shared, begin, upto, &mut |head, payload| {
            last = last.max(head.seq + u64::from(head.events) - 1);
            if head.lsn > from {
                for record in Records(payload) {
                    match record {
                        Record::Put { key, value } => frame::put(&mut run, key, value),
                        Record::Delete { key } => frame::delete(&mut run, key),
                        Record::Event { .. } => continue,
                    }
                    pieces.changes += 1;
                }
                pieces.changes(&mut run, false)?;
            }
            Ok(())
        })?;
    }
    pieces.changes(&mut run, true)?;
    pieces.put(HEAD, [&view.first.to_le_bytes(), &last.to_le_bytes()])?;
    let first = segments.values().rev().find(|b| b.seq <= view.first).map_or(0, |b| b.lsn);
    for begin in segments.range(first..).map(|(_, begin)| begin).filter(|b| b.lsn <= upto) {
        frames(shared, begin, upto, &mut |head, payload| {
            let end = head.seq + u64::from(head.events);
            if head.events == 0 || end <= view.first {
                return Ok(());
            }
            pieces.events += u64::from(head.events);
            pieces.put(EVENTS, [&head.seq.to_le_bytes(), payload])
        })?;
    }
    let counts = (pieces.changes.to_le_bytes(), pieces.events.to_le_bytes());
    pieces.put(END, [&counts.0, &counts.1])?;
    pieces.out.flush().map_err(|e| Error::Other(format!("write the backup: {e}")))
}

/// Takes a frame: its head and its payload.
type EachFrame<'a> = dyn FnMut(frame::Head, &[u8]) -> Result<(), Error> + 'a;

/// The readable frames of a segment up to an LSN. Damage is passed over: a backup of a damaged store holds what can
/// be read, and the positions that cannot stay missing.
fn frames(shared: &Shared, begin: &Begin, upto: u64, each: &mut EachFrame<'_>) -> Result<(), Error> {
    let path = journal::path(&shared.dir, begin.lsn);
    let failed = |e| fault("read", &path, &e);
    let next = shared.view().segments.range(begin.lsn + 1..).next().map_or(u64::MAX, |(lsn, _)| *lsn);
    let mut scanner = Scanner::open(&path, HEADER).map_err(failed)?;
    while let Some(item) = scanner.next().map_err(failed)? {
        match item {
            Item::Frame(head, _, _) if head.lsn > upto || head.lsn >= next => break,
            Item::Frame(head, _, payload) => each(head, payload)?,
            Item::Damage { at, reason, .. } => {
                tracing::error!("`{}` is damaged at byte {at}: {reason}; the backup goes on without", path.display());
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

    /// The next piece: its kind; its payload is in `buf`.
    fn next(&mut self) -> Result<u8, Error> {
        let damaged = || Error::Other("the archive is damaged".to_owned());
        let mut head = [0; 5];
        self.exact(&mut head)?;
        let len = Reader(&head[1..]).len32().unwrap_or(usize::MAX);
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
        let number = self.buf.get(at..).and_then(|bytes| Reader(bytes).u64());
        number.ok_or_else(|| Error::Other("the archive is damaged".to_owned()))
    }
}

/// A journal being made.
struct Making {
    dir: PathBuf,
    active: Active,
    builder: Builder,
    blocks: Vec<Block>,
    lsn: u64,
    run: Run,
}

impl Making {
    fn new(dir: &Path, seq: u64) -> Result<Self, Error> {
        files::make_dir(&journal::folder(dir))?;
        let begin = Begin { lsn: 1, seq, cum: 0 };
        let active = Active::create(dir, &begin).map_err(|e| fault("make", &journal::path(dir, 1), &e))?;
        let builder = Builder::new(0);
        Ok(Self { dir: dir.to_owned(), active, builder, blocks: Vec::new(), lsn: 1, run: Run::default() })
    }

    /// Writes what is in the run; goes on in a new segment when this one is full.
    fn write(&mut self, seq: u64) -> Result<(), Error> {
        if self.run.is_empty() {
            return Ok(());
        }
        let base = self.active.write(&self.run).map_err(|e| fault("write", &self.active.path, &e))?;
        for at in 0..self.run.frames.len() {
            let mut info = self.run.frames[at];
            info.at += base;
            let tags = &self.run.tags[info.tags.0..info.tags.1];
            self.blocks.extend(self.builder.push(self.active.lsn, &info, tags.iter().copied()));
        }
        self.run.clear();
        if self.active.end >= SEGMENT_BYTES {
            self.roll(seq)?;
        }
        Ok(())
    }

    /// Ends a segment, durable, and begins the next.
    fn roll(&mut self, seq: u64) -> Result<(), Error> {
        self.active.shrink();
        self.active.sync().map_err(|e| fault("sync", &self.active.path, &e))?;
        self.blocks.extend(self.builder.finish());
        index::write_sidecar(&self.dir, self.active.lsn, &self.blocks)?;
        self.blocks.clear();
        let begin = Begin { lsn: self.lsn, seq, cum: self.builder.cum };
        let path = journal::path(&self.dir, self.lsn);
        self.active = Active::create(&self.dir, &begin).map_err(|e| fault("make", &path, &e))?;
        Ok(())
    }

    fn end_frame(&mut self) {
        self.run.finish(0);
        self.lsn += 1;
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
    let mut magic = [0; 12];
    source.exact(&mut magic)?;
    if magic[..8] != MAGIC {
        return Err(Error::Other("this is no backup of wehelp".to_owned()));
    }
    let version = Reader(&magic[8..]).u32().unwrap_or(u32::MAX);
    if version > VERSION {
        let why = format!("the backup was written by a newer wehelpd (format {version}): restore it with that version");
        return Err(Error::Other(why));
    }
    // Its header is written again once the first position is known; it comes after the map.
    let mut making = Making::new(dir, 1)?;
    let (mut first, mut last, mut next) = (1, 0, 1);
    let (mut changes, mut events) = (0, 0);
    loop {
        match source.next()? {
            CHANGES => {
                making.run.begin(making.lsn, next);
                for record in Records(&source.buf) {
                    match record {
                        Record::Put { key, value } => making.run.put(key, value),
                        Record::Delete { key } => making.run.delete(key),
                        Record::Event { .. } => continue,
                    }
                    changes += 1;
                }
                making.end_frame();
            }
            HEAD => {
                (first, last) = (source.number(0)?, source.number(8)?);
                next = first;
                making.run.begin(making.lsn, next);
                let key = OWN.full(open::FIRST);
                making.run.put(&key, &open::first_bytes(first, 0));
                // What comes next to this log is not what came next to the one that was copied.
                let key = OWN.full(open::IDENTITY);
                making.run.put(&key, open::new_identity()?.as_bytes());
                making.end_frame();
                making.write(next)?;
                making.roll(next)?;
            }
            FILE => put_file(dir, &source.buf, files)?,
            EVENTS => {
                let mut seq = source.number(0)?;
                let payload = Bytes::copy_from_slice(source.buf.get(8..).unwrap_or_default());
                let begins = seq.max(first);
                making.run.begin(making.lsn, begins);
                for record in Records(&payload) {
                    let Record::Event { time, tags, outline, body } = record else { continue };
                    if seq >= first {
                        let (outline, body) = (payload.slice_ref(outline), payload.slice_ref(body));
                        making.run.event(Append { time, outline, tags: tags.iter().collect(), body });
                    }
                    (seq, events) = (seq + 1, events + 1);
                }
                next = seq;
                making.end_frame();
            }
            END => {
                if source.number(0)? != changes || source.number(8)? != events {
                    return Err(Error::Other("the archive is damaged: parts of it are missing".to_owned()));
                }
                break;
            }
            _ => return Err(Error::Other("the archive is damaged: a part of an unknown kind".to_owned())),
        }
        if making.run.bytes() >= PIECE_BYTES_MAX.min(4 << 20) {
            making.write(next)?;
        }
    }
    making.write(next)?;
    // The next position survives even when the newest event could not be read.
    making.roll(next.max(last + 1))?;
    open::write_version(dir)?;
    files::sync_dir(dir).map_err(|e| fault("sync", dir, &e))
}
