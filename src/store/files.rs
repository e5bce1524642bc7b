//! Durable handling of files: what is made here is on disk, name and all, when the call returns.

use super::Error;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A lock that is just being let go of is waited for…
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// …and looked at so often.
pub(super) const LOCK_LOOK: Duration = Duration::from_millis(10);

/// Ends the name of a file that is not finished.
const UNFINISHED: &str = ".new";

/// An error that names the act and the path.
pub(super) fn fault(act: &str, path: &Path, error: &io::Error) -> Error {
    Error::Other(format!("{act} `{}`: {error}", path.display()))
}

/// How a file of ours is opened for writing: closed to others, and never through a symbolic link (contract 1).
pub(super) fn ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Whether an open file or folder still has this name.
pub(super) fn stands(held: &File, path: &Path) -> io::Result<bool> {
    let place = |found: &fs::Metadata| (found.dev(), found.ino());
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(place(&found) == place(&held.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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

/// Makes a folder's entries durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a folder (its parents too), durable in its parent.
pub(super) fn make_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            _ => Ok(()),
        }
    };
    made().map_err(|e| fault("make the folder", dir, &e))
}

/// Writes a file so that after a power cut either the old or the new one is there, whole: a new name, a sync, a
/// rename, a sync of the folder.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let new = unfinished(path);
    let file = ours().write(true).create(true).truncate(true).open(&new)?;
    let mut out = io::BufWriter::with_capacity(1 << 18, file);
    let written = write(&mut out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all());
    drop(out);
    if let Err(error) = written {
        // A half file of a name that nobody reads; best effort.
        drop(fs::remove_file(&new));
        return Err(error);
    }
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The name that a file has while it is written: no other file's. Who writes a file is its only writer, since two would
/// meet here.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(UNFINISHED);
    path.with_file_name(name)
}

/// Removes what a kill left unfinished in a folder. Best effort: it takes room and does no harm.
pub(super) fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(UNFINISHED.as_bytes())) {
            drop(fs::remove_file(path));
        }
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Reads a whole file, `None` when there is none; more than `bytes_max` is an error.
pub(super) fn read_small(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other("the file is larger than it can be"));
    }
    Ok(Some(bytes))
}

/// Bytes that the files of a folder take on disk (not those of folders in it).
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.filter_map(|e| e.ok()?.metadata().ok()).filter(fs::Metadata::is_file).map(|m| m.blocks() * 512).sum()
}

/// What a file system has left for us, bytes.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
