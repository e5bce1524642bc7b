//! One process per store, whatever becomes of other lock files: the journal's folder is locked, and each segment that is
//! written. sled locks its own file. What is in use is never taken for damage.

use super::Error;
use super::files::{self, LOCK_LOOK, LOCK_PATIENCE, fault, holder, lock};
use super::journal;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// A store that no other process opens while this lives.
#[derive(Debug)]
pub(super) struct FolderLock {
    /// Where the file system locks folders.
    folder: Option<File>,
}

impl FolderLock {
    /// Claims the store in `dir`, before anything in it is touched.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it.
    pub(super) fn take(dir: &Path) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            match Self::try_take(dir) {
                // A process that is just being made has our open files for a moment, and one that ends lets go of them.
                Err(Error::InUse { .. }) if begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_LOOK),
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
        let Some(held) = &self.folder else { return Ok(true) };
        files::stands(held, &folder).map_err(|error| fault("look at", &folder, &error))
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
        let folder = File::open(&folder).map_err(|e| fault("open", &folder, &e))?;
        let held = lock(&folder).map_err(|_| in_use(dir, &folder))?;
        Ok(Self { folder: held.then_some(folder) })
    }
}

fn in_use(dir: &Path, held: &File) -> Error {
    Error::InUse { dir: dir.to_owned(), holder: holder(held) }
}
