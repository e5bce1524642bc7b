//! `wehelp daemon logs`

use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::render;
use crate::control::Status;
use crate::home::Home;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Print the log of the daemon that `daemon start` started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp daemon logs -f")]
pub(super) struct Logs {
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,

    /// How many of the newest lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
}

/// How often is looked for new lines: what a person does not notice.
const LOOK: Duration = Duration::from_millis(200);
/// The log is read backwards in pieces of this size, bytes.
const PIECE: u64 = 64 << 10;

pub(super) fn run(ctx: &Ctx, args: &Logs) -> Result<(), Error> {
    let path = path(ctx)?;
    let failed = |e: io::Error| Error::failed(format!("read the log `{}`: {e}", path.display()));
    let mut file = File::open(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!(
            "there is no log `{}`: no wehelpd was started by `wehelp daemon start`; under systemd see `journalctl \
             --user -u wehelpd`",
            path.display()
        )),
        _ => failed(e),
    })?;
    let start = tail(&mut file, args.lines).map_err(failed)?;
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut log = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        // A line that is still being written stays in `line` until its end has come.
        let read = log.read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() == Some(&b'\n') || (read == 0 && !line.is_empty() && !args.follow) {
            print(ctx, &String::from_utf8_lossy(line.trim_ascii_end()))?;
            line.clear();
        } else if read == 0 {
            ctx.out().flush()?;
            if !args.follow {
                return Ok(());
            }
            std::thread::sleep(LOOK);
            if let Some(next) = replaced(&path, log.get_ref()) {
                log = BufReader::new(next);
                line.clear();
            }
        }
    }
}

/// The running daemon's log, else the one where it would be.
fn path(ctx: &Ctx) -> Result<PathBuf, Error> {
    if let Ok(client) = ctx.client()
        && let Ok(status) = client.get::<Status>("/v1/status")
    {
        return Ok(log_path(&status.daemon.data_dir));
    }
    let home = Home::resolve(&ctx.wishes_with(None)?).map_err(|e| Error::failed(e.to_string()))?;
    Ok(log_path(&home.data_dir))
}

/// Where it is.
pub(super) fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.join("wehelpd.log")
}

/// Where the last `lines` lines begin.
fn tail(file: &mut File, lines: usize) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let whole = end;
    let mut left = lines;
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        file.seek(SeekFrom::Start(start))?;
        piece.clear();
        file.take(end - start).read_to_end(&mut piece)?;
        for (at, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The last line's own end begins no line.
            if after == whole {
                continue;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(after);
            }
        }
        end = start;
    }
    Ok(0)
}

/// The new log, when this one was put aside.
fn replaced(path: &Path, open: &File) -> Option<File> {
    let (new, old) = (std::fs::metadata(path).ok()?, open.metadata().ok()?);
    if (new.dev(), new.ino()) == (old.dev(), old.ino()) { None } else { File::open(path).ok() }
}

fn print(ctx: &Ctx, line: &str) -> Result<(), Error> {
    if ctx.out().is_json() { ctx.out().json_line(&parsed(line)) } else { ctx.out().text(&render::clean(line)) }
}

/// A line as JSON: as it is when it is a JSON object, else taken apart.
fn parsed(line: &str) -> Value {
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(line) {
        return value;
    }
    let mut words = line.splitn(3, char::is_whitespace);
    let time = words.next().filter(|t| t.ends_with('Z') && t.contains('T'));
    let rest = time.map_or(line, |time| line[time.len()..].trim_start());
    let level = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].into_iter().find(|level| rest.starts_with(level));
    let level = level.filter(|_| time.is_some());
    let message = level.map_or(rest, |level| rest[level.len()..].trim_start());
    json!({ "time": time, "level": level, "message": message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "x".repeat(70_000);
        std::fs::write(&path, format!("one\n{long}\nthree\nfour")).unwrap();
        let read = |lines| {
            let mut file = File::open(&path).unwrap();
            let at = tail(&mut file, lines).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read(0), "");
        assert_eq!(read(1), "four");
        assert_eq!(read(2), "three\nfour");
        assert_eq!(read(3), format!("{long}\nthree\nfour"));
        assert!(read(4).starts_with("one\n") && read(99).starts_with("one\n"));
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!((read(1), read(2)), ("two\n".to_owned(), "one\ntwo\n".to_owned()));
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = parsed("2026-11-25T02:23:39.464769Z  INFO listening on 127.0.0.1:1 version=\"0\"");
        assert_eq!((&line["level"], &line["time"]), (&json!("INFO"), &json!("2026-11-25T02:23:39.464769Z")));
        assert_eq!(line["message"], "listening on 127.0.0.1:1 version=\"0\"");
        assert_eq!(parsed("wehelpd: bad")["message"], "wehelpd: bad");
        assert_eq!(parsed(r#"{"level":"WARN"}"#), json!({"level": "WARN"}));
    }
}
