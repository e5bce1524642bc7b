//! The number of the format (`DIR/version`, as text): a newer one is refused, in every file.

use super::Error;
use super::files::{self, fault};
use super::types::VERSION;
use std::path::Path;

/// Refuses a store of a newer version; true when the file that says it is to be written.
pub(super) fn check(dir: &Path) -> Result<bool, Error> {
    /// It holds a number.
    const BYTES_MAX: u64 = 64;
    let path = dir.join("version");
    let text = match files::read_small(&path, BYTES_MAX) {
        Ok(None) => return Ok(true),
        Ok(Some(text)) => text,
        Err(e) if e.kind() == std::io::ErrorKind::Other => Vec::new(),
        Err(e) => return Err(fault("read", &path, &e)),
    };
    match String::from_utf8_lossy(&text).trim().parse::<u32>() {
        Ok(version) if version > VERSION => Err(newer(&path, version)),
        Ok(_) => Ok(false),
        Err(_) => {
            tracing::warn!(
                "`{}` does not hold the number of the store's format; it is written again, and nothing is lost: the \
                 journal says the number too",
                path.display()
            );
            Ok(true)
        }
    }
}

pub(super) fn newer(path: &Path, version: u32) -> Error {
    Error::Other(format!(
        "`{}` says that the store was written by a newer wehelpd (format {version}; this one knows up to {VERSION}): \
         start that version again, or restore a backup into another folder",
        path.display()
    ))
}

pub(super) fn write(dir: &Path) -> Result<(), Error> {
    let path = dir.join("version");
    files::replace(&path, |out| writeln!(out, "{VERSION}")).map_err(|e| fault("write", &path, &e))
}
