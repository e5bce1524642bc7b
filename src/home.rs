//! Home: the folders, the socket and the settings file of one installation, and how a CLI finds its daemon.
//!
//! Flags win over the environment, which wins over the settings file, which wins over the platform's folders
//! (contract 1). Nothing here creates anything.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The longest path a Unix socket can have on Linux, bytes: `sun_path` less its closing zero.
pub const SOCKET_PATH_MAX: usize = 107;

/// The file name of the control socket.
const SOCKET_NAME: &str = "wehelpd.sock";

/// The control socket of the system's daemon. Only root makes a folder there, and gives it to whom that daemon runs as.
pub const SYSTEM_SOCKET: &str = "/run/wehelp/wehelpd.sock";

/// The folders and the socket of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Where the settings are read from.
    pub config: PathBuf,
    /// True when the user named the settings file: then it must exist.
    pub config_named: bool,
    /// sled, journal, token, lock.
    pub data_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
}

/// Why there is no home.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `HOME` nor the user database names a folder.
    #[error("this user has no home folder; name one with --data-dir (or WEHELP_DATA_DIR)")]
    Homeless,
    /// The socket's path is too long for the kernel.
    #[error("the socket path `{0}` is longer than {SOCKET_PATH_MAX} bytes; choose a shorter one with --socket")]
    SocketTooLong(PathBuf),
}

/// Takes variables that are set to nothing out of the environment: they count as not set (contract 1), for this process
/// and for those that it starts. To be called first, while no other thread runs.
#[expect(unsafe_code, reason = "std marks a change of the environment unsafe; no other thread runs yet")]
pub fn forget_empty_variables() {
    let empty = |(name, value): (OsString, OsString)| {
        (value.is_empty() && name.as_encoded_bytes().starts_with(b"WEHELP_")).then_some(name)
    };
    for name in std::env::vars_os().filter_map(empty).collect::<Vec<_>>() {
        // SAFETY: called first in `main`, before any other thread exists.
        unsafe { std::env::remove_var(name) };
    }
}

/// What was asked for by flag, environment or settings; empty means: not asked for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `--config`, `WEHELP_CONFIG`
    pub config: Option<PathBuf>,
    /// `--data-dir`, `WEHELP_DATA_DIR`, `data_dir` in the settings
    pub data_dir: Option<PathBuf>,
    /// `--socket`, `WEHELP_SOCKET`, `socket` in the settings
    pub socket: Option<PathBuf>,
}

impl Wishes {
    /// Fills what was not asked for from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            config: self.config.or(other.config),
            data_dir: self.data_dir.or(other.data_dir),
            socket: self.socket.or(other.socket),
        }
    }
}

fn dirs() -> Result<directories::ProjectDirs, Error> {
    directories::ProjectDirs::from("", "", "wehelp").ok_or(Error::Homeless)
}

/// The settings file: as asked for, else the platform's place.
///
/// # Errors
/// When nothing was asked for and the user has no home folder.
pub fn config_path(wishes: &Wishes) -> Result<PathBuf, Error> {
    match &wishes.config {
        Some(path) => Ok(path.clone()),
        None => Ok(dirs()?.config_dir().join("config.toml")),
    }
}

impl Home {
    /// Where a daemon lives.
    ///
    /// # Errors
    /// When the user has no home folder and none was named, or the socket's path is too long.
    pub fn resolve(wishes: &Wishes) -> Result<Self, Error> {
        let data_dir = match &wishes.data_dir {
            // `status` tells it to programs that run elsewhere.
            Some(dir) => absolute(dir),
            None => dirs()?.data_dir().to_owned(),
        };
        let fits = |socket: &PathBuf| socket.as_os_str().len() <= SOCKET_PATH_MAX;
        let socket = match &wishes.socket {
            Some(socket) => socket.clone(),
            None => runtime_socket().filter(fits).unwrap_or_else(|| data_dir_socket(&data_dir)),
        };
        if !fits(&socket) {
            return Err(Error::SocketTooLong(socket));
        }
        let config = config_path(wishes).unwrap_or_else(|_| data_dir.join("config.toml"));
        Ok(Self { config, config_named: wishes.config.is_some(), data_dir, socket })
    }
}

/// The socket in the login session's runtime folder, when there is one.
fn runtime_socket() -> Option<PathBuf> {
    Some(dirs().ok()?.runtime_dir()?.join(SOCKET_NAME))
}

/// The socket of a daemon that was started without a runtime folder.
fn data_dir_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join(SOCKET_NAME)
}

/// The socket of a daemon of that user whose data folder takes none, being read-only: named by what the folder is, so that
/// it is the same however the folder is reached. `None` where there is no such folder.
pub fn temporary_socket(data_dir: &Path, uid: u32) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(data_dir).ok()?;
    Some(PathBuf::from(format!("/tmp/wehelp-{uid}")).join(format!("{:x}-{:x}.sock", found.dev(), found.ino())))
}

/// Which daemon the CLI is to talk to. What names a daemon is obeyed, or nothing is done (contract 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it may listen, the likeliest first.
    pub sockets: Vec<PathBuf>,
    /// The data folder that it must have; `None`: whichever daemon listens there.
    pub data_dir: Option<PathBuf>,
}

/// Which daemon is meant. `ranks` are what was asked for, the strongest first (flags, environment, settings): the first
/// that names a socket or a data folder decides, and the weaker ones only help to find a named folder's daemon. Without
/// any, every place counts in which a daemon of this user (or the system's one) may have put its socket. Under cron
/// `XDG_RUNTIME_DIR` is unset, so the login session's folder is guessed from the user id.
///
/// # Errors
/// When the user has no home folder and nothing was named.
pub fn target(ranks: &[Wishes], uid: u32) -> Result<Target, Error> {
    let Some(asked) = ranks.iter().find(|w| w.socket.is_some() || w.data_dir.is_some()) else {
        let data_dir = dirs()?.data_dir().to_owned();
        let mut sockets = runtime_sockets(uid);
        sockets.extend(pointer(&data_dir));
        sockets.push(data_dir_socket(&data_dir));
        sockets.extend(temporary_socket(&data_dir, uid));
        sockets.push(SYSTEM_SOCKET.into());
        sockets.dedup();
        return Ok(Target { sockets, data_dir: None });
    };
    let data_dir = asked.data_dir.as_deref().map(absolute);
    let mut sockets: Vec<PathBuf> = match (&asked.socket, &data_dir) {
        (Some(socket), _) => vec![socket.clone()],
        (None, Some(dir)) => {
            let own = pointer(dir).into_iter().chain([data_dir_socket(dir)]).chain(temporary_socket(dir, uid));
            own.chain(ranks.iter().filter_map(|w| w.socket.clone())).chain(runtime_sockets(uid)).collect()
        }
        (None, None) => Vec::new(),
    };
    // A daemon that hangs is waited for once.
    let mut seen = std::collections::HashSet::new();
    sockets.retain(|socket| seen.insert(socket.clone()));
    Ok(Target { sockets, data_dir })
}

/// A path that means the same wherever it is read.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether two paths lead to the same folder, through symbolic links and bind mounts too.
#[must_use]
pub fn is_same_folder(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.is_dir() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn runtime_sockets(uid: u32) -> Vec<PathBuf> {
    let guessed = PathBuf::from(format!("/run/user/{uid}/wehelp")).join(SOCKET_NAME);
    let mut places: Vec<_> = runtime_socket().into_iter().collect();
    if !places.contains(&guessed) {
        places.push(guessed);
    }
    places
}

/// The file in the data folder in which a running daemon writes where its socket is.
#[must_use]
pub fn pointer_path(data_dir: &Path) -> PathBuf {
    data_dir.join("socket")
}

fn pointer(data_dir: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(pointer_path(data_dir)).ok()?;
    let path = PathBuf::from(text.trim_end_matches('\n'));
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(socket: Option<&str>, data_dir: Option<&Path>) -> Wishes {
        Wishes { config: None, data_dir: data_dir.map(Into::into), socket: socket.map(Into::into) }
    }

    #[test]
    fn what_is_asked_for_most_strongly_names_the_daemon() {
        let (none, dir) = (Wishes::default(), Path::new("/d"));
        let (socket, folder) = (asks(Some("/x/y.sock"), None), asks(None, Some(dir)));
        let only = |data_dir: Option<&Path>| Target {
            sockets: vec![PathBuf::from("/x/y.sock")],
            data_dir: data_dir.map(Into::into),
        };
        // A socket is the only place looked at; a folder asked for as strongly is checked, a weaker one is not meant.
        assert_eq!(target(&[asks(Some("/x/y.sock"), Some(dir))], 7).unwrap(), only(Some(dir)));
        assert_eq!(target(&[none.clone(), socket.clone(), folder.clone()], 7).unwrap(), only(None));
        // A folder decides over a weaker socket, which may be where its daemon listens.
        let found = target(&[folder, socket], 7).unwrap();
        assert_eq!(found.data_dir.as_deref(), Some(dir));
        assert!(found.sockets.contains(&PathBuf::from("/x/y.sock")), "{found:?}");
        assert_eq!(target(&[none], 7).unwrap().data_dir, None);
    }

    #[test]
    fn a_read_only_folder_is_served_at_a_place_of_its_own() {
        let (one, two, links) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = links.path().join("link");
        std::os::unix::fs::symlink(one.path(), &link).unwrap();
        let place = |dir: &Path| temporary_socket(dir, 7);
        assert_eq!(place(one.path()), place(&link));
        assert_ne!(place(one.path()), place(two.path()));
        assert_ne!(place(one.path()), temporary_socket(one.path(), 8));
        assert_eq!(place(&links.path().join("no")), None);
        let found = target(&[asks(None, Some(&link))], 7).unwrap().sockets;
        assert!(found.contains(&place(one.path()).unwrap()), "{found:?}");
    }

    #[test]
    fn a_folder_is_the_same_through_a_link_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, link) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("link"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        assert!(is_same_folder(&one, &link) && is_same_folder(&one, &one.join("../one")));
        assert!(!is_same_folder(&one, &two) && !is_same_folder(&dir.path().join("no"), &dir.path().join("no")));
    }

    #[test]
    fn without_a_runtime_folder_the_session_of_the_user_is_guessed() {
        let places = target(&[], 4242).unwrap().sockets;
        assert!(places.contains(&PathBuf::from("/run/user/4242/wehelp/wehelpd.sock")), "{places:?}");
    }

    #[test]
    fn a_pointer_in_the_data_folder_leads_to_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(pointer_path(dir.path()), "/some/where.sock\n").unwrap();
        let found = target(&[asks(None, Some(dir.path())), asks(Some("/some/where.sock"), None)], 1).unwrap();
        assert_eq!(found.sockets[0], PathBuf::from("/some/where.sock"));
        assert!(!found.sockets[1..].contains(&found.sockets[0]), "once is enough: {found:?}");
    }

    #[test]
    fn a_socket_path_beyond_the_kernels_limit_is_refused() {
        let wishes = Wishes {
            socket: Some(PathBuf::from("/").join("x".repeat(120))),
            data_dir: Some("/d".into()),
            ..Wishes::default()
        };
        assert!(matches!(Home::resolve(&wishes), Err(Error::SocketTooLong(_))));
    }
}
