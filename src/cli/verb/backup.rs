//! `wehelp backup`
//!
//! The file appears whole or not at all: the archive is written to one without a name, or beside it, and synced first. The daemon breaks the
//! connection when it cannot finish, so an archive that ended in order is complete; `wehelpd --restore` checks it again.

use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::render;
use crate::control::client::{PATIENCE_FOR_READING, Reply};
use crate::control::{BACKUP_PATIENCE, Status};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Write a consistent copy of everything while the daemon runs. `wehelpd --restore FILE` makes a data folder of it.
///
/// The copy holds chats and the token of the client door: keep it as private as the data folder. What is restored is
/// another log of events: readers that know positions of the old one are told so, and cursors stand where they stood
/// when the copy was made.
///
/// While it is written the daemon drops no old events. Where what takes the copy (a pipe, a slow disk) stands still for
/// two minutes the daemon lets go of it, and this ends with 1. Events that cannot be read are not in the copy: that is told on
/// standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp backup /backup/wehelp-$(date +%F).backup
  wehelp backup - | ssh elsewhere 'cat > wehelp.backup'")]
pub(in crate::cli) struct Args {
    /// Where to; - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
}

/// Bytes copied at once.
const CHUNK: usize = 256 * 1024;

/// Asks for the archive.
fn ask(ctx: &Ctx) -> Result<Reply, Error> {
    Ok(ctx.client()?.clone().with_patience(PATIENCE_FOR_READING).send("GET", "/v1/backup", None)?)
}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    let Args { file, force } = args;
    if file.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            return Err(Error::usage("a backup is no text for a terminal; name a file, or pipe it into a program"));
        }
        let mut archive = ask(ctx)?;
        copy(ctx, &mut archive, |bytes| ctx.out().bytes(bytes))?;
        tell_damage(ctx);
        return Ok(());
    }
    let path = &file;
    // A device would be gone for everybody, and who reads a pipe would wait for ever.
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let message = format!(
            "`{}` is no file, but a device, a pipe or a folder; name a file, or give - and send the output there",
            path.display()
        );
        return Err(Error::new(Exit::Failed, "file-exists", message));
    }
    if !force && path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    let failed = |act: &str, error: io::Error| Error::failed(format!("{act} `{}`: {error}", path.display()));
    // Asked before the file is made: without a daemon nothing is left behind.
    let mut archive = ask(ctx)?;
    let partial = Partial::create(path).map_err(|e| failed("make a file beside", e))?;
    let written = copy(ctx, &mut archive, |bytes| (&partial.file).write_all(bytes).map_err(|e| failed("write", e)))?;
    partial.finish(path, force).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => failed("write", e),
    })?;
    tell_damage(ctx);
    if ctx.out().is_quiet() {
        return Ok(());
    }
    let told = serde_json::json!({ "file": path.to_string_lossy(), "bytes": written });
    ctx.out().print(&told, |_| {
        let path = path.to_string_lossy();
        format!("{} in {}; `wehelpd --restore` makes a data folder of it", render::bytes(written), render::clean(&path))
    })
}

/// Says what a backup cannot hold: it is as whole as the log is, and nobody must learn that from a restored one. The archive
/// itself cannot tell before it has ended; the daemon knows then what it met.
fn tell_damage(ctx: &Ctx) {
    let Ok(client) = ctx.client() else { return };
    let Ok(Status { store, .. }) = client.get::<Status>("/v1/status") else { return };
    let Some(damaged) = store.damaged else { return };
    let events = if damaged == 1 { "1 event".to_owned() } else { format!("{damaged} events") };
    let message = format!(
        "the backup lacks {events} that cannot be read, because the journal is damaged; wehelpd's log says where, and an \
         older backup may have what is missing"
    );
    ctx.out().loss(&serde_json::json!({ "error": "damaged", "message": message }), &message);
}

fn exists(path: &Path) -> Error {
    let message = format!("`{}` is there already; give another name, or --force to replace it", path.display());
    Error::new(Exit::Failed, "file-exists", message)
}

/// Hands the archive on, with progress for who watches; the number of bytes.
fn copy(ctx: &Ctx, archive: &mut Reply, mut to: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<u64, Error> {
    let bar = ctx.out().is_watched().then(|| {
        let style = indicatif::ProgressStyle::with_template("{spinner} {bytes} copied, {bytes_per_sec}");
        indicatif::ProgressBar::new_spinner()
            .with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()))
    });
    let mut chunk = vec![0; CHUNK];
    let mut copied = 0;
    // The longest that what takes the copy has let us wait.
    let mut stood = Duration::ZERO;
    loop {
        match archive.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => {
                let begun = Instant::now();
                to(&chunk[..n])?;
                stood = stood.max(begun.elapsed());
                copied += n as u64;
                if let Some(bar) = &bar {
                    bar.set_position(copied);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if stood >= BACKUP_PATIENCE => {
                return Err(Error::failed(format!(
                    "the backup is not complete: what takes it stood still for {} s, and wehelpd waits {} s, since it \
                     drops no old events meanwhile; write it to a file first",
                    stood.as_secs(),
                    BACKUP_PATIENCE.as_secs()
                )));
            }
            Err(error) => {
                return Err(Error::failed(format!(
                    "the backup is not complete ({error}); wehelpd's log says why, `wehelp status` whether it still runs"
                )));
            }
        }
    }
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    Ok(copied)
}

/// An unfinished file beside the one to be. It has no name where the file system knows such files, so that nothing is left
/// however we end; else it goes when it is not finished. It holds chats: nobody else may read it.
struct Partial {
    file: File,
    /// Its name, when it has one.
    path: Option<PathBuf>,
}

impl Partial {
    fn create(beside: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        // Whoever gives it a name later finds it there.
        if Path::new("/proc/self/fd").is_dir()
            && let Ok(file) = rustix::fs::open(folder(beside), flags, Mode::RUSR | Mode::WUSR)
        {
            return Ok(Self { file: file.into(), path: None });
        }
        let path = Self::name(beside)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path: Some(path) })
    }

    fn name(beside: &Path) -> io::Result<PathBuf> {
        let name = beside.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        Ok(beside.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id())))
    }

    fn finish(mut self, path: &Path, replace: bool) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with};
        self.file.sync_all()?;
        if self.path.is_none() {
            // What replaces another needs a name of its own first.
            let name = if replace { Self::name(path)? } else { path.to_owned() };
            let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(CWD, nameless, CWD, &name, AtFlags::SYMLINK_FOLLOW)?;
            self.path = replace.then_some(name);
        }
        match &self.path {
            None => {}
            Some(partial) if replace => fs::rename(partial, path)?,
            Some(partial) => match renameat_with(CWD, partial, CWD, path, RenameFlags::NOREPLACE) {
                // Not every file system knows how; the name was free a moment ago.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(partial, path)?,
                renamed => renamed?,
            },
        }
        File::open(folder(path))?.sync_all()
    }
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing of that name.
        if let Some(path) = &self.path {
            drop(fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_not_finished_has_no_name_and_what_is_finished_replaces_only_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.tar");
        let names = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let write = |text: &str, replace| {
            let partial = Partial::create(&path).unwrap();
            (&partial.file).write_all(text.as_bytes()).unwrap();
            if partial.path.is_none() {
                assert!(!names().iter().any(|name| name != "b.tar"), "{:?}", names());
            }
            partial.finish(&path, replace).map_err(|error| error.kind())
        };
        drop(Partial::create(&path).unwrap());
        assert!(names().is_empty());
        assert_eq!(write("first", false), Ok(()));
        assert_eq!(write("second", false), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(write("third", true), Ok(()));
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names().len()), ("third", 1));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
