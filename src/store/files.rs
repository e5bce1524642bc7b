//! Durable handling of files: what is made here is on disk, name and all, when the call returns.

use super::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.filter_map(|e| e.ok()?.metadata().ok()).filter(fs::Metadata::is_file).map(|m| m.blocks() * 512).sum()
}

/// What a file system has left for us, bytes.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
