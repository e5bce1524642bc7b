//! One process per store, whatever becomes of other lock files: the journal's folder is locked, and each segment that is
//! written. sled locks its own file. What is in use is never taken for damage.

use super::Error;
use super::journal;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// A lock that is just being let go of is waited for…
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// …and looked at so often.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// A store that no other process opens while this lives.
#[derive(Debug)]
pub(super) struct Claim {
    _folder: Option<File>,
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
                Err(Error::InUse(_)) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                taken => return taken,
            }
        }
    }

    fn try_take(dir: &Path) -> Result<Self, Error> {
        let folder = journal::folder(dir);
        let in_use = || Error::InUse(dir.to_owned());
        let folder = File::open(&folder).map_err(|e| super::files::fault("open", &folder, &e))?;
        let held = lock(&folder).map_err(|_| in_use())?;
        // A file system that locks no folders (NFS) locks files.
        for lsn in journal::list(dir, "log")?.iter().rev().take(1) {
            if let Ok(segment) = File::open(journal::path(dir, *lsn)) {
                lock(&segment).map_err(|_| in_use())?;
            }
        }
        Ok(Self { _folder: held.then_some(folder) })
    }
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
