//! What lies in the data folder is for this user alone (contract 1).
//!
//! Everything that the daemon makes is closed to others by the process's umask, whichever library makes it. What stands
//! there already, from an older version, a package or a volume, is looked at before anything is opened: a folder that
//! others own or may write to is refused, an open file of ours is closed, and a symbolic link in the place of one of our
//! files is refused, since what is written through it lands elsewhere; so is a pipe or a device, which is never read to
//! its end. The mode of a folder is changed only where it is
//! one that we made inside the data folder.

use crate::store;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files in the data folder, and what their names may begin with. Others are not ours to judge: a volume has a
/// `lost+found`, an admin leaves a note.
const FILES: [&str; 7] = ["lock", "token", "version", "checkpoint", "socket", "wehelpd.log", "wehelpd.options"];
/// A folder in it, beside the store's: all that is in them is ours.
const RUN: &str = "run";
/// Folders in folders: the store keeps some. Deeper is nothing of ours.
const DEPTH_MAX: usize = 3;

/// Why something of ours cannot be had, or is not ours alone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something with a file or folder.
    #[error("{act} `{path}`: {source}{hint}", hint = what_to_do(source))]
    File {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others own or may change what would be ours.
    #[error("{0}")]
    Unsafe(String),
}

/// What helps against a file system that takes nothing.
pub(crate) fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; wehelpd begins only where it has room: make some, or choose another --data-dir"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; wehelpd begins only where it may write: make that possible, or choose another --data-dir"
        }
        _ => "",
    }
}

/// Lets nobody else read or write what this process makes from now on, whatever the umask was.
pub fn close_to_others() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Makes a folder, and those above it, closed to others.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| Error::File { act: "make the folder", path: dir.to_owned(), source })
}

/// Makes the data folder where there is none, refuses one that others may change, and closes what is in it.
///
/// # Errors
/// A sentence that names the folder or file and what to do.
pub(crate) fn prepare(data_dir: &Path) -> Result<(), Error> {
    make_dir(data_dir)?;
    let found = fs::metadata(data_dir).map_err(|source| error("look at", data_dir, source))?;
    let me = rustix::process::geteuid().as_raw();
    refuse_shared("data folder", data_dir, &found, me)?;
    let entries = fs::read_dir(data_dir).map_err(|source| error("list", data_dir, source))?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = |names: &[&str]| names.iter().any(|n| name.strip_prefix(n).is_some_and(is_variant));
        if ours(&FILES) || ours(&store::FOLDERS) || ours(&[RUN]) {
            close(&entry.path(), me, DEPTH_MAX)?;
        }
    }
    Ok(())
}

/// `token` and `token.previous`, and not `tokens`.
fn is_variant(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

fn error(act: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { act, path: path.to_owned(), source }
}

fn refuse_shared(what: &str, path: &Path, found: &Metadata, me: u32) -> Result<(), Error> {
    let path = path.display();
    if found.uid() != me {
        return Err(Error::Unsafe(format!(
            "the {what} `{path}` belongs to uid {}, not to uid {me} who runs wehelpd; give it to the right user with \
             `chown`, or choose another --data-dir",
            found.uid()
        )));
    }
    if found.mode() & 0o002 != 0 {
        return Err(Error::Unsafe(format!(
            "the {what} `{path}` can be written to by every user of this machine; close it with `chmod o-w {path}`"
        )));
    }
    Ok(())
}

/// Closes one of our files, or all that is in one of our folders.
fn close(path: &Path, me: u32, depth: usize) -> Result<(), Error> {
    let found = match fs::symlink_metadata(path) {
        // Gone in between: a left-over that somebody removed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| error("look at", path, source))?,
    };
    if found.is_symlink() {
        return Err(Error::Unsafe(format!(
            "`{}` is a symbolic link, and wehelpd would write through it; put the file itself there, or remove the link",
            path.display()
        )));
    }
    let kind = found.file_type();
    if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
        return Err(Error::Unsafe(format!(
            "`{}` is a pipe or a device where a file of wehelpd's should be; remove it",
            path.display()
        )));
    }
    if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("token")) {
        refuse_shared("token file", path, &found, me)?;
    }
    let open = found.mode() & 0o077 != 0;
    let closed = if found.is_dir() { 0o700 } else { 0o600 };
    // Whoever owns a folder can put other files into it, however closed it is.
    if found.uid() != me && (found.is_dir() || open && found.is_file()) {
        refuse_shared(if found.is_dir() { "folder" } else { "file" }, path, &found, me)?;
    }
    if open && (found.is_dir() || found.is_file()) {
        let changed = fs::set_permissions(path, fs::Permissions::from_mode(closed));
        match changed {
            // It cannot be opened for writing either; the store tells of that in its own words, and reads.
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            other => other.map_err(|source| error("close to others", path, source))?,
        }
    }
    if found.is_dir() && depth > 0 {
        let entries = fs::read_dir(path).map_err(|source| error("list", path, source))?;
        for entry in entries.filter_map(Result::ok) {
            close(&entry.path(), me, depth - 1)?;
        }
    }
    Ok(())
}

/// Refuses a socket's folder in which others could put another socket in its place, or which they could replace.
pub(crate) fn check_socket_dir(dir: &Path) -> Result<(), Error> {
    let look = |path: &Path| fs::metadata(path).map_err(|source| error("look at", path, source));
    let me = rustix::process::geteuid().as_raw();
    let owner = look(dir)?.uid();
    if owner != me && owner != 0 {
        return Err(Error::Unsafe(format!(
            "the control socket's folder `{}` belongs to uid {owner}, who could put a socket of their own there; give it \
             to uid {me} with `chown`, or choose another --socket",
            dir.display()
        )));
    }
    // As it is named, and where links lead to: either way can be bent.
    let ways = [std::path::absolute(dir), fs::canonicalize(dir)].into_iter();
    let ways = ways.collect::<Result<Vec<_>, _>>().map_err(|source| error("look at", dir, source))?;
    for above in ways.iter().flat_map(|way| way.ancestors()) {
        let mode = look(above)?.mode();
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(Error::Unsafe(format!(
                "every user of this machine can write to `{}`, and could put a socket of their own in place of the \
                 control socket; close it with `chmod o-w`, or choose another --socket",
                above.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_lies_in_an_open_folder_is_closed_and_the_folder_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        set(dir.path(), 0o755);
        fs::create_dir_all(dir.path().join("sled/blobs")).unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        set(&dir.path().join("lost+found"), 0o755);
        for name in ["token", "token.previous", "version", "sled/db", "sled/blobs/1", "notes"] {
            fs::write(dir.path().join(name), "x").unwrap();
            set(&dir.path().join(name), 0o644);
        }
        prepare(dir.path()).unwrap();
        for (name, expected) in [
            ("", 0o755),
            ("sled", 0o700),
            ("sled/blobs", 0o700),
            ("sled/db", 0o600),
            ("sled/blobs/1", 0o600),
            ("token", 0o600),
            ("token.previous", 0o600),
            ("version", 0o600),
            ("notes", 0o644),
            ("lost+found", 0o755),
        ] {
            assert_eq!(mode(&dir.path().join(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_and_not_read() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        for name in ["token", "version", "checkpoint", "journal/1.log"] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("journal")).unwrap();
            mknodat(CWD, dir.path().join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            let refused = prepare(dir.path()).unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains("pipe"), "{refused}");
        }
    }

    #[test]
    fn a_folder_or_token_that_all_can_write_to_is_refused() {
        for open in [0o777, 0o1777, 0o702] {
            let dir = tempfile::tempdir().unwrap();
            set(dir.path(), open);
            let refused = prepare(dir.path()).unwrap_err().to_string();
            assert!(refused.contains("every user") && refused.contains("chmod o-w"), "{refused}");
            assert_eq!(mode(dir.path()), open, "it was not ours to change");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "x").unwrap();
        set(&dir.path().join("token"), 0o666);
        assert!(prepare(dir.path()).unwrap_err().to_string().contains("token"));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_of_ours_is_refused() {
        for name in ["lock", "token", "sled", "journal", "wehelpd.log", "socket"] {
            let dir = tempfile::tempdir().unwrap();
            symlink("/nowhere", dir.path().join(name)).unwrap();
            assert!(prepare(dir.path()).unwrap_err().to_string().contains("symbolic link"), "{name}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sled")).unwrap();
        symlink("/nowhere", dir.path().join("sled/db")).unwrap();
        assert!(prepare(dir.path()).is_err());
        // The folder itself may be reached by one: that is how people move it to a larger disk.
        let (real, link) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = link.path().join("data");
        symlink(real.path(), &link).unwrap();
        prepare(&link).unwrap();
    }

    #[test]
    fn a_socket_stands_in_no_folder_where_others_may_replace_it() {
        let dir = tempfile::tempdir().unwrap();
        for (open, fine) in [(0o700, true), (0o755, true), (0o777, false), (0o1777, true), (0o703, false)] {
            set(dir.path(), open);
            assert_eq!(check_socket_dir(dir.path()).is_ok(), fine, "{open:o}");
            // Nor in one below, by whatever way.
            let (below, link) = (dir.path().join("below"), tempfile::tempdir().unwrap());
            fs::create_dir_all(&below).unwrap();
            symlink(&below, link.path().join("to")).unwrap();
            for way in [below, link.path().join("to")] {
                assert_eq!(check_socket_dir(&way).is_ok(), fine, "{open:o} {}", way.display());
            }
        }
    }

    #[test]
    fn no_folder_of_ours_belongs_to_another() {
        if !rustix::process::geteuid().is_root() {
            return crate::missing::other("no right to make a folder of another user");
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["run", "sled", "journal"] {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            set(&path, 0o700);
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let refused =
                [prepare(dir.path()), check_socket_dir(&path)].map(|refused| refused.unwrap_err().to_string());
            assert!(refused.iter().all(|why| why.contains("uid 65534") && why.contains(name)), "{refused:?}");
            fs::remove_dir(&path).unwrap();
        }
    }
}
