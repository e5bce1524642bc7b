//! One process per store, whatever becomes of other lock files: the journal's folder is locked, and each segment that is
//! written. sled locks its own file. What is in use is never taken for damage.

use super::Error;
use super::journal;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A lock that is just being let go of is waited for…
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// …and looked at so often.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// A store that no other process opens while this lives.
#[derive(Debug)]
pub(super) struct Claim {
    /// Where the file system locks folders.
    folder: Option<File>,
}

impl Claim {
    /// Claims the store in `dir`, before anything in it is touched.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it.
    pub(super) fn take(dir: &Path) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            match Self::try_take(dir) {
                // A process that is just being made has our open files for a moment, and one that ends lets go of them.
                Err(Error::InUse { .. }) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                taken => return taken,
            }
        }
    }

    /// Whether the folder that was claimed still stands in its place.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(super) fn stands(&self, dir: &Path) -> Result<bool, Error> {
        let folder = journal::folder(dir);
        let fault = |error| super::files::fault("look at", &folder, &error);
        let place = |found: std::fs::Metadata| (found.dev(), found.ino());
        let Some(held) = &self.folder else { return Ok(true) };
        Ok(place(held.metadata().map_err(fault)?) == place(std::fs::metadata(&folder).map_err(fault)?))
    }

    /// Claims the folder that stands there now. Its segments may be ours, moved there; each is locked for itself.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(super) fn renew(&mut self, dir: &Path) -> Result<(), Error> {
        *self = Self::claim_folder(dir)?;
        Ok(())
    }

    fn try_take(dir: &Path) -> Result<Self, Error> {
        let claim = Self::claim_folder(dir)?;
        // A file system that locks no folders (NFS) locks files.
        for lsn in journal::list(dir, "log")?.iter().rev().take(1) {
            if let Ok(segment) = File::open(journal::path(dir, *lsn)) {
                lock(&segment).map_err(|_| in_use(dir, &segment))?;
            }
        }
        Ok(claim)
    }

    fn claim_folder(dir: &Path) -> Result<Self, Error> {
        let folder = journal::folder(dir);
        let folder = File::open(&folder).map_err(|e| super::files::fault("open", &folder, &e))?;
        let held = lock(&folder).map_err(|_| in_use(dir, &folder))?;
        Ok(Self { folder: held.then_some(folder) })
    }
}

fn in_use(dir: &Path, held: &File) -> Error {
    Error::InUse { dir: dir.to_owned(), holder: holder(held) }
}

/// Locks a file or folder until it is closed; false where the file system knows no locks.
///
/// # Errors
/// When another process has it.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::WouldBlock, "another process writes it")),
        Err(_) => Ok(false),
    }
}

/// Who has the lock on a file or folder, by the system's table of locks: `1: FLOCK  ADVISORY  WRITE PID MA:MI:INODE 0 EOF`.
pub fn holder(held: &File) -> Option<u32> {
    use rustix::fs::{major, minor};
    let found = rustix::fs::fstat(held).ok()?;
    let place = format!("{:02x}:{:02x}:{}", major(found.st_dev), minor(found.st_dev), found.st_ino);
    let table = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == place)?;
        words.get(at.checked_sub(1)?)?.parse().ok().filter(|pid| *pid > 0)
    };
    table.lines().find_map(pid)
}

/// How a sentence names a process, if it is known.
pub(super) fn shown(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
