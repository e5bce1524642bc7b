//! Home: the folders, the socket and the settings file of one installation, and how a CLI finds its daemon.
//!
//! Flags win over the environment, which wins over the settings file, which wins over the platform's folders
//! (contract 1). Nothing here creates anything.

use std::path::{Path, PathBuf};

/// The longest path a Unix socket can have on Linux, bytes: `sun_path` less its closing zero.
pub const SOCKET_PATH_MAX: usize = 107;

/// The file name of the control socket.
const SOCKET_NAME: &str = "wehelpd.sock";

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
            Some(dir) => dir.clone(),
            None => dirs()?.data_dir().to_owned(),
        };
        let socket = match &wishes.socket {
            Some(socket) => socket.clone(),
            None => runtime_socket().unwrap_or_else(|| data_dir_socket(&data_dir)),
        };
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
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

/// Where the CLI looks for a daemon, the likeliest first: the one asked for and nothing else, or else every place
/// in which a daemon of this user (or the system's one) may have put its socket. Under cron `XDG_RUNTIME_DIR` is
/// unset, so the login session's folder is guessed from the user id.
///
/// # Errors
/// When the user has no home folder and no socket was named.
pub fn sockets(wishes: &Wishes, uid: u32) -> Result<Vec<PathBuf>, Error> {
    if let Some(socket) = &wishes.socket {
        return Ok(vec![socket.clone()]);
    }
    if let Some(dir) = &wishes.data_dir {
        // The daemon of a named data folder may still have used the runtime folder, but so may another one: the
        // pointer that a daemon leaves in its data folder decides.
        return Ok(pointer(dir).into_iter().chain([data_dir_socket(dir)]).chain(runtime_sockets(uid)).collect());
    }
    let data_dir = dirs()?.data_dir().to_owned();
    let mut places = runtime_sockets(uid);
    places.extend(pointer(&data_dir));
    places.push(data_dir_socket(&data_dir));
    places.push(PathBuf::from("/run/wehelp").join(SOCKET_NAME));
    places.dedup();
    Ok(places)
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

    #[test]
    fn a_named_socket_is_the_only_place_looked_at() {
        let wishes = Wishes { socket: Some("/x/y.sock".into()), data_dir: Some("/d".into()), ..Wishes::default() };
        assert_eq!(sockets(&wishes, 7).unwrap(), [PathBuf::from("/x/y.sock")]);
    }

    #[test]
    fn without_a_runtime_folder_the_session_of_the_user_is_guessed() {
        let places = sockets(&Wishes::default(), 4242).unwrap();
        assert!(places.contains(&PathBuf::from("/run/user/4242/wehelp/wehelpd.sock")), "{places:?}");
    }

    #[test]
    fn a_pointer_in_the_data_folder_leads_to_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(pointer_path(dir.path()), "/some/where.sock\n").unwrap();
        let wishes = Wishes { data_dir: Some(dir.path().into()), ..Wishes::default() };
        assert_eq!(sockets(&wishes, 1).unwrap()[0], PathBuf::from("/some/where.sock"));
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
