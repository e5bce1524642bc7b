//! The journal's segments: `DIR/journal/<first lsn, 20 digits>.log`, each a header and a row of frames.
//!
//! A segment is written at its end only. It grows in steps (from [`RESERVE_BYTES`]), filled with zeros that are durable
//! before anything is written over them; zeros after the last frame are the end and no damage. So most syncs have no
//! size and no new place on the disk to record, only data. That is faster for single writers, and safer: with
//! reserved but unwritten space (`fallocate`), or a growing file, a file system shut down during a sync was seen to
//! report it as done and to have lost it, twice in about ten cuts; with zeros written first, never.

use super::Error;
use super::files::{self, fault};
use super::frame::{self, Bad, HEAD, Head, Run};
use super::types::VERSION;
use crate::codec::{LeReader, LeWriter, sealed};
use rustix::fs::Advice;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes before the first frame.
pub(super) const HEADER: u64 = HEADER_BYTES as u64;
const HEADER_BYTES: usize = 64;
/// A segment grows by this much at first: little is lost when it stays small…
const RESERVE_BYTES: u64 = 1 << 20;
/// …by twice as much each time, up to a quarter of itself and this: few syncs of zeros under load, each short enough for
/// those who wait…
const RESERVE_BYTES_MAX: u64 = 4 << 20;
/// …and by this after one that it was not prepared for, when the next may be like it.
const RESERVE_BYTES_MIN: u64 = 64 << 10;
/// A run of this size is not prepared for: writing it twice would cost more than recording a size.
const RESERVE_RUN_BYTES: usize = 4 << 20;
/// Bytes written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes read at a time when a segment is scanned.
const SCAN_BYTES: usize = 1 << 20;
const MAGIC: [u8; 8] = *b"WEHELPJ\n";

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) lsn: u64,
    /// The next event's position when it was made: the newest one survives here when all events are dropped.
    pub(super) seq: u64,
    /// Bytes of all events ever stored before it.
    pub(super) cum: u64,
}

/// Where segments live.
pub(super) fn folder(dir: &Path) -> PathBuf {
    dir.join("journal")
}

/// A segment's file.
pub(super) fn path(dir: &Path, lsn: u64) -> PathBuf {
    folder(dir).join(format!("{lsn:020}.log"))
}

/// The first LSNs of the files with this extension, ascending.
pub(super) fn list(dir: &Path, extension: &str) -> Result<Vec<u64>, Error> {
    let folder = folder(dir);
    let read = || -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|s| s.to_str()).filter(|s| s.len() == 20);
            if path.extension().is_some_and(|e| e == extension)
                && let Some(lsn) = number.and_then(|s| s.parse().ok())
            {
                found.push(lsn);
            }
        }
        found.sort_unstable();
        Ok(found)
    };
    match read() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|e| fault("list the folder", &folder, &e)),
    }
}

fn encode(begin: &Begin) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.bytes(&MAGIC);
    bytes.u32(VERSION);
    bytes.u32(0);
    [begin.lsn, begin.seq, begin.cum].into_iter().for_each(|n| bytes.u64(n));
    bytes.resize(HEADER_BYTES - 4, 0);
    sealed(bytes)
}

/// Reads a segment's header; `None` when it is not whole.
pub(super) fn begin(file: &File) -> io::Result<Option<Begin>> {
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut from = LeReader(&bytes[16..]);
    let (Some(lsn), Some(seq), Some(cum)) = (from.u64(), from.u64(), from.u64()) else { return Ok(None) };
    let begin = Begin { lsn, seq, cum };
    Ok((encode(&begin) == bytes).then_some(begin))
}

/// The version in a segment's header, when it has one.
pub(super) fn version(file: &File) -> Option<u32> {
    let mut bytes = [0; 12];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let mut from = LeReader(&bytes);
    (from.array()? == MAGIC).then(|| from.u32())?
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    file: File,
    pub(super) path: PathBuf,
    pub(super) lsn: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// The file's size: zeros from `end` on.
    reserved: u64,
    /// What is reserved the next time; nothing directly after a large run.
    step: u64,
    /// Something was written beyond what was reserved, and not synced yet.
    grew: bool,
}

impl Active {
    /// Makes a segment; it and its name are durable then. It has its name only once it has its header: one without has
    /// lost what it held.
    pub(super) fn create(dir: &Path, begin: &Begin) -> io::Result<Self> {
        let path = path(dir, begin.lsn);
        // One that is there already held nothing durable; but it may be somebody else's.
        match File::open(&path) {
            Ok(there) => drop(files::lock(&there)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        files::replace(&path, |out| out.write_all(&encode(begin)))?;
        let file = files::ours().read(true).write(true).open(&path)?;
        files::lock(&file)?;
        Ok(Self { file, path, lsn: begin.lsn, end: HEADER, reserved: HEADER, step: RESERVE_BYTES, grew: false })
    }

    /// Opens a segment to go on at `end`; what lies after it is cut off, durably.
    pub(super) fn resume(dir: &Path, lsn: u64, end: u64) -> io::Result<Self> {
        let path = path(dir, lsn);
        let file = files::ours().read(true).write(true).open(&path)?;
        files::lock(&file)?;
        file.set_len(end)?;
        file.sync_all()?;
        Ok(Self { file, path, lsn, end, reserved: end, step: RESERVE_BYTES, grew: false })
    }

    /// Whether its file still stands where it was made.
    pub(super) fn stands(&self) -> io::Result<bool> {
        files::stands(&self.file, &self.path)
    }

    /// Puts its file back, which somebody deleted or moved: what was answered lies in it, and we still have it open. What
    /// stands in its place is somebody else's, and stays.
    pub(super) fn put_back(&mut self, dir: &Path) -> io::Result<()> {
        if std::fs::symlink_metadata(&self.path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "another file stands in its place"));
        }
        files::replace(&self.path, |out| {
            let (mut at, mut piece) = (0, vec![0; WRITE_BYTES]);
            while at < self.end {
                let left = usize::try_from(self.end - at).map_or(WRITE_BYTES, |left| left.min(WRITE_BYTES));
                self.file.read_exact_at(&mut piece[..left], at)?;
                out.write_all(&piece[..left])?;
                at += left as u64;
            }
            Ok(())
        })?;
        *self = Self::resume(dir, self.lsn, self.end)?;
        Ok(())
    }

    /// Writes a run; returns where it begins. Nothing is durable yet, and after an error `end` is unchanged.
    pub(super) fn write(&mut self, run: &Run) -> io::Result<u64> {
        let (base, after) = (self.end, self.end + run.bytes() as u64);
        if run.bytes() >= RESERVE_RUN_BYTES {
            self.step = 0;
        } else if after > self.reserved {
            if self.step > 0 {
                self.reserve((after + self.step).next_multiple_of(RESERVE_BYTES_MIN))?;
            }
            let most = (self.end / 4).clamp(RESERVE_BYTES, RESERVE_BYTES_MAX);
            self.step = (self.step * 2).clamp(RESERVE_BYTES_MIN, most);
        }
        let mut at = base;
        for piece in run.pieces() {
            for piece in piece.chunks(WRITE_BYTES) {
                self.file.write_all_at(piece, at)?;
                if piece.len() == WRITE_BYTES {
                    // The kernel begins to write it out while we go on; the sync has less to wait for.
                    let _ = rustix::fs::fadvise(&self.file, at, NonZeroU64::new(WRITE_BYTES as u64), Advice::DontNeed);
                }
                at += piece.len() as u64;
            }
        }
        self.end = after;
        self.grew |= after > self.reserved;
        self.reserved = self.reserved.max(after);
        Ok(base)
    }

    /// Really takes the room that a new segment begins with. A file system may have enough for a header and no more, or say
    /// that it has room and have none.
    pub(super) fn prove(&mut self) -> io::Result<()> {
        self.reserve(self.reserved.max(self.end + RESERVE_BYTES).next_multiple_of(RESERVE_BYTES_MIN))
    }

    /// Fills the file with zeros up to `until`, durably.
    fn reserve(&mut self, until: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = self.reserved;
        while at < until {
            let piece = usize::try_from(until - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.file.write_all_at(&ZEROS[..piece], at)?;
            at += piece as u64;
        }
        self.reserved = until;
        self.grew = true;
        self.sync()
    }

    /// Makes durable what was written. When the file has grown, twice: ext4 puts a grown file's data into its place
    /// in a second step, whose failure (its journal has just been aborted) the first sync does not report.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.grew {
            self.file.sync_data()?;
            self.grew = false;
        }
        Ok(())
    }

    /// Gives back what was reserved and not used. Best effort: zeros at the end do no harm.
    pub(super) fn shrink(&self) {
        if let Err(error) = self.file.set_len(self.end) {
            tracing::debug!("cannot shorten `{}`: {error}", self.path.display());
        }
    }
}

/// What a scan finds.
#[derive(Debug)]
pub(super) enum Item<'a> {
    /// A whole frame: its head, where it begins, its payload.
    Frame(Head, u64, &'a [u8]),
    /// Bytes that are no frame, up to the next one or to the end.
    Damage { at: u64, bytes: u64, reason: &'static str },
}

/// Reads a segment from front to back.
#[derive(Debug)]
pub(super) struct Scanner {
    file: File,
    /// Offset of `buf[0]`.
    base: u64,
    buf: Vec<u8>,
    pos: usize,
    len: u64,
    /// Where the zeros or the file's end begin, once found.
    pub(super) end: u64,
}

impl Scanner {
    /// A scan from `at` (at least the header's end).
    pub(super) fn open(path: &Path, at: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let at = at.max(HEADER);
        Ok(Self { file, base: at, buf: Vec::new(), pos: 0, len, end: at })
    }

    /// Where the scan is.
    pub(super) fn at(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Makes at least `bytes` available after `pos`; false when the file has not so many.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        if self.buf.len() - self.pos >= bytes {
            return Ok(true);
        }
        self.buf.drain(..self.pos);
        self.base += self.pos as u64;
        self.pos = 0;
        let have = self.buf.len();
        let left = self.len.saturating_sub(self.base + have as u64);
        let want = left.min((bytes.max(SCAN_BYTES) - have) as u64);
        let want = usize::try_from(want).unwrap_or(SCAN_BYTES);
        self.buf.resize(have + want, 0);
        let mut end = have;
        while end < self.buf.len() {
            match self.file.read_at(&mut self.buf[end..], self.base + end as u64) {
                // The writer has closed the segment meanwhile, and given back what it had reserved.
                Ok(0) => self.len = self.base + end as u64,
                Ok(n) => {
                    end += n;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.buf.truncate(end);
                    return Err(error);
                }
            }
            break;
        }
        self.buf.truncate(end);
        Ok(self.buf.len() >= bytes)
    }

    /// Checks a frame at `pos`: its length.
    fn check(&mut self) -> io::Result<Result<(Head, usize), Bad>> {
        let mut need = HEAD;
        loop {
            if !self.fill(need)? {
                return Ok(Err(Bad::Short(need)));
            }
            match frame::parse(&self.buf[self.pos..]) {
                Ok((head, payload)) => return Ok(Ok((head, payload.len()))),
                Err(Bad::Short(n)) => need = n,
                Err(bad) => return Ok(Err(bad)),
            }
        }
    }

    /// Moves on while there are zeros; false when nothing else follows.
    fn skip_zeros(&mut self) -> io::Result<bool> {
        loop {
            if let Some(n) = self.buf[self.pos..].iter().position(|b| *b != 0) {
                self.pos += n;
                return Ok(true);
            }
            self.pos = self.buf.len();
            self.fill(1)?;
            if self.pos == self.buf.len() {
                return Ok(false);
            }
        }
    }

    /// The next thing, `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        let at = self.at();
        if !self.fill(1)? {
            self.end = at;
            return Ok(None);
        }
        let reason = match self.check()? {
            Ok((head, len)) => {
                let from = self.pos + HEAD;
                self.pos = from + len;
                self.end = self.at();
                return Ok(Some(Item::Frame(head, at, &self.buf[from..from + len])));
            }
            Err(bad) => bad.reason(),
        };
        if self.buf[self.pos] == 0 && !self.skip_zeros()? {
            self.end = at;
            return Ok(None);
        }
        // Search for the next whole frame, byte by byte: lengths cannot be trusted here.
        let found = loop {
            match frame::find_magic(&self.buf, self.pos) {
                Some(next) => {
                    self.pos = next;
                    if self.at() > at && self.check()?.is_ok() {
                        break true;
                    }
                    self.pos += 1;
                }
                None => {
                    // A magic may straddle the buffer's end.
                    self.pos = self.pos.max(self.buf.len().saturating_sub(frame::MAGIC.len() - 1));
                    if !self.fill(frame::MAGIC.len())? {
                        break false;
                    }
                }
            }
        };
        if !found {
            self.pos = self.buf.len();
        }
        Ok(Some(Item::Damage { at, bytes: self.at() - at, reason }))
    }
}
