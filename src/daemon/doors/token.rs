//! The token of the client door: made at first start, kept in a file of mode 0600, compared in constant time, never
//! logged.

use crate::clock::Time;
use crate::daemon::private::what_to_do;
use crate::sync::lock;
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// Random bytes in a token: 160 bits.
const TOKEN_BYTES: usize = 20;
/// A token written by hand must have at least this many characters.
const TOKEN_CHARS_MIN: usize = 16;
/// … and at most this many: it stands in URLs.
const TOKEN_CHARS_MAX: usize = 128;
/// This many characters in a row of those that tokens are made of look like one: no id of WeChat's is as long.
const LOOKS_CHARS_MIN: usize = 32;
/// This many characters of it are shown.
const SHOWN_CHARS: usize = 4;
/// After a rotation the old token is valid for so long, so that clients can be changed one by one.
pub(crate) const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What lies in the data folder and belongs to a backup: without it every client would have to be set up again.
pub const FILES: [&str; 2] = ["token", "token.previous"];
/// A file of a token has a line.
const FILE_BYTES_MAX: u64 = 4096;

/// The files of the tokens, as they are; those that are not there are left out.
pub(crate) fn files(data_dir: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let read = |name: &'static str| {
        let mut contents = Vec::new();
        std::fs::File::open(data_dir.join(name)).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut contents).ok()?;
        Some((name, contents))
    };
    FILES.into_iter().filter_map(read).collect()
}

#[derive(Clone)]
struct Pair {
    current: String,
    previous: Option<(String, Time)>,
}

/// The tokens in force.
pub(crate) struct Tokens {
    path: PathBuf,
    pair: Mutex<Pair>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(..)")
    }
}

impl Tokens {
    /// Reads the token in the data folder, or makes one.
    ///
    /// # Errors
    /// When the file can neither be read nor made, or holds no usable token: words that follow its name.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Fault> {
        let path = data_dir.join("token");
        let current = match read(&path) {
            Ok(token) => token,
            Err(Fault::Unreadable(e)) if e.kind() == io::ErrorKind::NotFound => {
                let token = make().map_err(Fault::Unmade)?;
                write(&path, &token).map_err(Fault::Unmade)?;
                token
            }
            Err(e) => return Err(e),
        };
        let previous = read_previous(&previous_path(&path));
        Ok(Self { path, pair: Mutex::new(Pair { current, previous }) })
    }

    /// The token to type in, and until when the one before is valid too.
    #[must_use]
    pub(crate) fn current(&self) -> (String, Option<Time>) {
        let pair = lock(&self.pair).clone();
        (pair.current, pair.previous.map(|(_, until)| until).filter(|until| *until > Time::now()))
    }

    /// Whether a text is a token in force; takes the same time whatever it is.
    #[must_use]
    pub(crate) fn matches(&self, given: &str, now: Time) -> bool {
        let pair = lock(&self.pair);
        let current = given.as_bytes().ct_eq(pair.current.as_bytes());
        let previous = pair
            .previous
            .as_ref()
            .is_some_and(|(old, until)| bool::from(given.as_bytes().ct_eq(old.as_bytes())) && now < *until);
        bool::from(current) | previous
    }

    /// A text of others as it may be logged: without the tokens, be they valid any more or not, and without all that
    /// looks like one.
    #[must_use]
    pub(crate) fn hide(&self, text: &str) -> String {
        let pair = lock(&self.pair).clone();
        let own = [Some(pair.current), pair.previous.map(|(token, _)| token)];
        let text = own.into_iter().flatten().fold(text.to_owned(), |text, token| text.replace(&token, &cut(&token)));
        let is_tokens = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut out = String::with_capacity(text.len());
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (run, after) = rest.split_at(rest.find(|c| !is_tokens(c)).unwrap_or(rest.len()));
            out.push_str(&if run.len() < LOOKS_CHARS_MIN { run.into() } else { Cow::from(cut(run)) });
            let end = after.find(is_tokens).unwrap_or(after.len());
            out.push_str(&after[..end]);
            rest = &after[end..];
        }
        out
    }

    /// Makes a new token. The old one stays valid until a day from now, or with `at_once` is none any more, nor is the
    /// one before it.
    ///
    /// # Errors
    /// When the files cannot be written; then the old token is still valid.
    pub(crate) fn rotate(&self, now: Time, at_once: bool) -> io::Result<()> {
        let mut pair = lock(&self.pair);
        let token = make()?;
        let until = now.after(GRACE);
        let previous = previous_path(&self.path);
        if at_once {
            // Before the new one is written: a token that was ended must not come back with a restart.
            match std::fs::remove_file(&previous) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => pair.previous = None,
            }
            write(&self.path, &token)?;
            *pair = Pair { previous: None, current: token };
            return Ok(());
        }
        write(&previous, &format!("{} {}", pair.current, until.millis()))?;
        write(&self.path, &token)?;
        *pair = Pair { previous: Some((pair.current.clone(), until)), current: token };
        Ok(())
    }

    /// Reads the files again (SIGHUP).
    ///
    /// # Errors
    /// As for `open`; then nothing has changed.
    pub(crate) fn reload(&self) -> Result<(), Fault> {
        let current = read(&self.path)?;
        let previous = read_previous(&previous_path(&self.path));
        *lock(&self.pair) = Pair { current, previous };
        Ok(())
    }
}

/// What is shown of a token, so that its owner knows which it is.
fn cut(token: &str) -> String {
    token.chars().take(SHOWN_CHARS).chain(['…']).collect()
}

fn previous_path(path: &Path) -> PathBuf {
    path.with_extension("previous")
}

fn read_previous(path: &Path) -> Option<(String, Time)> {
    let text = std::fs::read_to_string(path).ok()?;
    let (token, until) = text.trim().split_once(' ')?;
    Some((token.to_owned(), Time::from_millis(until.parse().ok()?)))
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The file is there and cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// There is none, and none can be made.
    #[error("is to be made at the first start, and cannot be: {0}{hint}", hint = what_to_do(.0))]
    Unmade(io::Error),
    /// The file holds something else.
    #[error(
        "{0}: a token has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} letters, digits and -_.~; put back the one that the \
         clients have (it stands in their addresses, and in backups), or move the file away to get a new one, which \
         every client must then be given"
    )]
    NoToken(&'static str),
}

fn read(path: &Path) -> Result<String, Fault> {
    let mut contents = Vec::new();
    let file = std::fs::File::open(path).map_err(Fault::Unreadable)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut contents).map_err(Fault::Unreadable)?;
    let token = String::from_utf8_lossy(&contents);
    let token = token.trim();
    if token.is_empty() {
        return Err(Fault::NoToken("is empty"));
    }
    let sound = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len())
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
    if sound { Ok(token.to_owned()) } else { Err(Fault::NoToken("holds no token")) }
}

fn make() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

/// Writes a file of mode 0600 whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_kept_secret_and_rotated_with_grace() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let (first, _) = tokens.current();
        assert!(first.len() * 5 >= 128);
        let mode = std::fs::metadata(dir.path().join("token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Tokens::open(dir.path()).unwrap().current().0, first);
        let now = Time::now();
        tokens.rotate(now, false).unwrap();
        let (second, until) = tokens.current();
        assert_ne!(first, second);
        assert!(until.is_some());
        for tokens in [&tokens, &Tokens::open(dir.path()).unwrap()] {
            assert!(tokens.matches(&second, now) && tokens.matches(&first, now));
            assert!(!tokens.matches(&first, now.after(GRACE)) && !tokens.matches("", now));
        }
        tokens.rotate(now, true).unwrap();
        let (third, until) = tokens.current();
        assert_eq!(until, None);
        for tokens in [&tokens, &Tokens::open(dir.path()).unwrap()] {
            assert!(tokens.matches(&third, now) && !tokens.matches(&second, now) && !tokens.matches(&first, now));
        }
    }

    #[test]
    fn a_token_in_a_text_of_others_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let by_hand = "swordfishSwordfish";
        std::fs::write(dir.path().join("token"), by_hand).unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        tokens.rotate(Time::now(), false).unwrap();
        let (current, _) = tokens.current();
        let hidden = format!("{}…", &current[..4]);
        for (text, shown) in [
            (format!("the Host `{current}:4567`"), format!("the Host `{hidden}:4567`")),
            (format!("你{current}你{by_hand}"), format!("你{hidden}你swor…")),
            (current.to_ascii_lowercase(), hidden.to_ascii_lowercase()),
            // What was one once, or is one elsewhere.
            (format!("/t/{}/x", "0123456789abcdef".repeat(2)), "/t/0123…/x".to_owned()),
            ("a_-Z".repeat(8) + ".lan", "a_-Z….lan".to_owned()),
        ] {
            assert_eq!(tokens.hide(&text), shown);
        }
        for text in ["", "wxid_yfng437lnlyg22", "12345678901@chatroom", "gh_e456599aa7bc", "box.lan", &"x".repeat(31)] {
            assert_eq!(tokens.hide(text), text);
        }
    }

    #[test]
    fn what_is_no_token_is_refused_with_words_that_say_what_to_do_and_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let long = "x".repeat(100_000);
        for contents in [&b"secret\n"[..], b"", b"\n", &[0; 40], &[0xff; 40], long.as_bytes()] {
            std::fs::write(&path, contents).unwrap();
            let fault = Tokens::open(dir.path()).unwrap_err();
            assert!(matches!(fault, Fault::NoToken(_)), "{fault:?}");
            let words = fault.to_string();
            assert!(words.contains("put back") && words.contains("move the file away"), "{words}");
            assert_eq!(std::fs::read(&path).unwrap(), contents);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Tokens::open(dir.path()).unwrap_err().to_string().contains("directory"));
        let nowhere = Tokens::open(&dir.path().join("no such folder")).unwrap_err();
        assert!(nowhere.to_string().contains("first start"), "{nowhere}");
    }
}
