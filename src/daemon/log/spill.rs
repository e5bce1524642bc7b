//! Large lines on their way to readers: in a file without a name, not in memory, and one for all who read the same.
//!
//! A reader may take as long as it likes for a line of tens of megabytes, and so may two hundred of them.

use crate::daemon::log::entry::Truncate;
use crate::seq::Seq;
use crate::sync::lock;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

/// Bytes handed on at once.
pub(crate) const PIECE_BYTES: usize = 32 * 1024;
/// …and when many read…
const PIECE_BYTES_MIN: usize = 4 * 1024;
/// …whose pieces have this many together, of which a few wait for each that does not read.
const PIECES_BYTES: usize = 2 << 20;

/// How large a piece is when there are so many readers.
pub(crate) fn piece_bytes(readers: usize) -> usize {
    (PIECES_BYTES / readers.max(1)).clamp(PIECE_BYTES_MIN, PIECE_BYTES)
}

/// A line in a file that goes with its last reader.
#[derive(Debug)]
pub(crate) struct Spilled {
    file: File,
    len: u64,
}

impl Spilled {
    fn write(dir: &Path, write: impl FnOnce(&mut Writing) -> io::Result<()>) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, nameless(dir)?);
        write(&mut out)?;
        let mut file = out.into_inner()?;
        let len = file.stream_position()?;
        Ok(Self { file, len })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The piece at an offset, of this many bytes; empty at the end. Blocking, mostly out of the page cache.
    pub(crate) fn piece(&self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(bytes);
        let mut piece = vec![0; left.min(bytes)];
        self.file.read_exact_at(&mut piece, at)?;
        Ok(piece.into())
    }
}

/// A line that is being put into a file.
pub(crate) type Writing = BufWriter<File>;

impl Truncate for Writing {
    fn len(&mut self) -> io::Result<u64> {
        self.stream_position()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.seek(io::SeekFrom::Start(len))?;
        self.get_ref().set_len(len)
    }
}

/// A file of ours that nobody else finds.
fn nameless(dir: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(file.into());
    }
    // Not every file system knows files without names.
    let path = dir.join(format!("line-{:016x}.new", fastrand::u64(..)));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The large lines that are on their way.
#[derive(Debug)]
pub(crate) struct Spills {
    dir: PathBuf,
    lines: Mutex<HashMap<Seq, Weak<Spilled>>>,
    /// Held by who makes one: what it is made of takes memory too.
    making: Mutex<()>,
}

impl Spills {
    /// `dir` is where the files are.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, lines: Mutex::default(), making: Mutex::default() }
    }

    /// The line of an event, if another reader has it just now.
    pub(crate) fn known(&self, seq: Seq) -> Option<Arc<Spilled>> {
        lock(&self.lines).get(&seq).and_then(Weak::upgrade)
    }

    /// The line of an event, which `write` writes if no other reader has it just now. Blocking.
    ///
    /// # Errors
    /// When the line cannot be put into a file.
    pub(crate) fn line(
        &self,
        seq: Seq,
        write: impl FnOnce(&mut Writing) -> io::Result<()>,
    ) -> io::Result<Arc<Spilled>> {
        let _making = lock(&self.making);
        if let Some(known) = self.known(seq) {
            return Ok(known);
        }
        let spilled = Arc::new(Spilled::write(&self.dir, write)?);
        let mut lines = lock(&self.lines);
        lines.retain(|_, line| line.strong_count() > 0);
        lines.insert(seq, Arc::downgrade(&spilled));
        Ok(spilled)
    }

    /// A line that is of use to one reader only. Blocking.
    ///
    /// # Errors
    /// As `line`.
    pub(crate) fn one(&self, write: impl FnOnce(&mut Writing) -> io::Result<()>) -> io::Result<Arc<Spilled>> {
        let _making = lock(&self.making);
        Spilled::write(&self.dir, write).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_large_line_is_written_once_and_read_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let spills = Spills::new(dir.path().to_owned());
        let line: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let one = spills.line(Seq(1), |out| out.write_all(&line)).unwrap();
        let other = spills.line(Seq(1), |_| panic!("it is there")).unwrap();
        let mut read = Vec::new();
        while let piece = other.piece(read.len() as u64, PIECE_BYTES).unwrap()
            && !piece.is_empty()
        {
            assert!(piece.len() <= PIECE_BYTES);
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, line);
        drop((one, other));
        // What was taken back is not there.
        let again = |out: &mut Writing| {
            out.write_all(b"at first ")?;
            let len = Truncate::len(out)?;
            out.write_all(&line)?;
            out.cut(len)?;
            out.write_all(b"and again")
        };
        assert_eq!(spills.line(Seq(1), again).unwrap().piece(0, 100).unwrap(), &b"at first and again"[..]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let gone = Spills::new(dir.path().join("no such folder"));
        assert!(gone.line(Seq(2), |out| out.write_all(b"lost")).is_err());
    }
}
