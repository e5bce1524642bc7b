//! The control door from the client's side: std and httparse, no runtime, so that the CLI starts fast.
//!
//! A request is one connection: the door is a Unix socket, where connecting costs microseconds, and a reader that
//! goes away in the middle of a stream needs nothing but to close. Bodies are read as they come; nothing is buffered
//! beyond a line, which has a limit.

mod body;
mod error;
mod reply;

use super::{DATA_DIR_HEADER, OTHER_DAEMON, VERSION, VERSION_HEADER};
use crate::home::{self, Target};
pub use body::Ending;
pub use error::{Error, is_timeout};
use error::{is_over, own_uid};
pub use reply::{Batches, LINE_BYTES_MAX, Lines, Reply};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A daemon that says nothing for so long, where it has something to say at once, hangs (contract 3).
const PATIENCE: Duration = Duration::from_secs(10);
/// The same, where a large log or store may have to be read first.
pub const PATIENCE_FOR_READING: Duration = Duration::from_secs(60);

/// A daemon that was found.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    /// The data folder that it must have.
    data_dir: Option<PathBuf>,
    patience: Duration,
    ending: Option<Ending>,
}

impl Client {
    /// Finds the daemon that is meant: the first of the places where it listens.
    ///
    /// # Errors
    /// When none does, or only one of another data folder than the one named.
    pub fn find(target: &Target) -> Result<Self, Error> {
        let (mut silent, mut other) = (None, None);
        for place in &target.sockets {
            match connect(place, PATIENCE) {
                Ok(stream) => {
                    let data_dir = target.data_dir.clone();
                    let client = Self { socket: place.clone(), data_dir, patience: PATIENCE, ending: None };
                    match client.check_owner(&stream).and_then(|()| client.check_data_dir()) {
                        Ok(()) => return Ok(client),
                        Err(error) => drop(other.get_or_insert(error)),
                    }
                }
                Err(error) => {
                    // A socket that may not be opened says more than one that is not there.
                    let telling = error.kind() == io::ErrorKind::PermissionDenied;
                    if silent.is_none() || telling {
                        silent = Some((place.clone(), error));
                    }
                }
            }
        }
        if let Some(other) = other {
            return Err(other);
        }
        let unknown = || (PathBuf::from("wehelpd.sock"), io::ErrorKind::NotFound.into());
        let (place, source) = silent.unwrap_or_else(unknown);
        if is_over(&source) {
            return Err(Error::Unsent(source));
        }
        let mut tried = vec![place];
        tried.extend(target.sockets.iter().filter(|p| **p != tried[0]).cloned().collect::<Vec<_>>());
        Err(Error::NoDaemon { tried, data_dir: target.data_dir.clone(), source })
    }

    /// Asks the daemon which data folder it has, when one was named.
    fn check_data_dir(&self) -> Result<(), Error> {
        #[derive(serde::Deserialize)]
        struct Identity {
            daemon: Daemon,
        }
        #[derive(serde::Deserialize)]
        struct Daemon {
            data_dir: PathBuf,
        }
        let Some(meant) = &self.data_dir else { return Ok(()) };
        let only = super::StatusQuery { only: Some("daemon".to_owned()), ..Default::default() };
        // Without the header, so that another one says which it is.
        let anybody = Self { data_dir: None, ..self.clone() };
        let its = match anybody.get_with::<Identity>("/v1/status", &only) {
            Ok(Identity { daemon }) => daemon.data_dir,
            // No wehelpd, or none that says which it is.
            Err(Error::Strange(_) | Error::Refused { status: 404, .. }) => return Err(self.other(None)),
            Err(error) => return Err(error),
        };
        if home::is_same_folder(meant, &its) { Ok(()) } else { Err(self.other(Some(its))) }
    }

    /// Looks whose socket it is, before a byte is sent to it: its path says nothing about that.
    fn check_owner(&self, stream: &UnixStream) -> Result<(), Error> {
        let uid = rustix::net::sockopt::socket_peercred(stream).map_err(|e| Error::Unsent(e.into()))?.uid.as_raw();
        if is_trusted(uid, own_uid(), &self.socket) {
            return Ok(());
        }
        Err(Error::Stranger { socket: self.socket.clone(), uid })
    }

    fn other(&self, its: Option<PathBuf>) -> Error {
        let data_dir = self.data_dir.clone().unwrap_or_default();
        Error::OtherDaemon { data_dir, socket: self.socket.clone(), its }
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Gives up on a daemon that says nothing for so long, where it has something to say at once.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Does not keep whoever is told to end.
    #[must_use]
    pub fn with_ending(mut self, ending: Option<Ending>) -> Self {
        self.ending = ending;
        self
    }

    /// Sends a request and reads the head of the reply. `body` goes as JSON.
    ///
    /// # Errors
    /// When the connection fails, or the daemon refuses.
    pub fn send(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Reply, Error> {
        let mut stream = connect(&self.socket, self.patience).map_err(|source| match is_over(&source) {
            true => Error::Unsent(source),
            false => Error::NoDaemon { tried: vec![self.socket.clone()], data_dir: self.data_dir.clone(), source },
        })?;
        self.check_owner(&stream)?;
        stream.set_read_timeout(Some(self.patience)).map_err(Error::Unsent)?;
        let body = body.unwrap_or_default();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{VERSION_HEADER}: {VERSION}\r\nConnection: close\r\n"
        );
        if !body.is_empty() || method != "GET" {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        if let Some(data_dir) = &self.data_dir {
            // Another daemon may have taken the socket over since it was asked.
            let path = percent_encoding::percent_encode(data_dir.as_os_str().as_bytes(), PATH);
            request.push_str(&format!("{DATA_DIR_HEADER}: {path}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        // A daemon that refuses a request before it has read it whole still answers: that answer says more than EPIPE.
        let written = stream.write_all(&bytes);
        match (Reply::receive(stream, self.ending.clone()), written) {
            (Err(Error::Broken(_)), Err(error)) => Err(Error::Unsent(error)),
            (Err(Error::Refused { status: OTHER_DAEMON, .. }), _) => Err(self.other(None)),
            (reply, _) => reply,
        }
    }

    /// Asks for one JSON value.
    ///
    /// # Errors
    /// As [`Client::send`], and when the answer is no such value.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.send("GET", path, None)?.json()
    }

    /// As [`Client::get`], with a query.
    ///
    /// # Errors
    /// As there.
    pub fn get_with<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, Error> {
        self.open(path, query)?.json()
    }

    /// Asks for a stream, or for anything that is to be read as it comes.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn open(&self, path: &str, query: &impl Serialize) -> Result<Reply, Error> {
        self.send("GET", &with_query(path, query)?, None)
    }

    /// Asks for a list: a line each.
    ///
    /// # Errors
    /// As [`Client::send`], and when a line is no such value.
    pub fn list<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<Vec<T>, Error> {
        self.open(path, query)?.lines().values()
    }

    /// Sends a JSON value; the reply may be read as one value or as lines.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn put(&self, method: &str, path: &str, value: &impl Serialize) -> Result<Reply, Error> {
        let body = serde_json::to_vec(value).map_err(|e| Error::Strange(e.to_string()))?;
        self.send(method, path, Some(&body))
    }
}

/// Whether a user's socket may be told what is meant for wehelpd.
fn is_trusted(uid: u32, own: u32, socket: &Path) -> bool {
    uid == own || uid == 0 || socket == Path::new(home::SYSTEM_SOCKET)
}

/// What of a path cannot stand in a header.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%').add(b' ');

/// Connects, and waits for a daemon that has no room for one more at most so long, which is also how long it may take to
/// take what is written.
fn connect(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    stream.set_write_timeout(Some(patience))?;
    stream.connect(&socket2::SockAddr::unix(socket)?)?;
    Ok(OwnedFd::from(stream).into())
}

/// A path with its query.
///
/// # Errors
/// [`Error::Strange`] for what no query can hold.
pub fn with_query(path: &str, query: &impl Serialize) -> Result<String, Error> {
    let query = serde_urlencoded::to_string(query).map_err(|e| Error::Strange(e.to_string()))?;
    Ok(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
}

/// One part of a path, so that any text can stand in it.
#[must_use]
pub fn part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn nothing_is_sent_to_the_socket_of_another_user() {
        if own_uid() != 0 {
            return crate::missing::other("no right to play another user");
        }
        let dir = tempfile::tempdir().unwrap();
        let (socket, uid) = (dir.path().join("s"), rustix::process::Uid::from_raw(65534));
        std::os::unix::fs::chown(dir.path(), Some(uid.as_raw()), None).unwrap();
        let at = socket.clone();
        // The kernel notes who began to listen; a thread may be another user than the rest.
        let stranger = std::thread::spawn(move || {
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            std::os::unix::net::UnixListener::bind(at).unwrap()
        });
        let listener = stranger.join().unwrap();
        let target = Target { sockets: vec![socket.clone()], data_dir: Some(dir.path().to_owned()) };
        let found = Client::find(&target).map(drop);
        let client = Client { socket: socket.clone(), data_dir: None, patience: PATIENCE, ending: None };
        // It may come to stand there after a daemon was found.
        let sent = client.put("POST", "/v1/commands", &"a secret").map(drop);
        for refused in [found, sent] {
            assert!(matches!(refused, Err(Error::Stranger { uid: 65534, .. })), "{refused:?}");
            let (mut stream, _) = listener.accept().unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "not a byte came");
        }
    }

    #[test]
    fn a_socket_is_trusted_by_its_user_and_the_systems_one_by_its_place() {
        let here = Path::new("/x/s");
        assert!(is_trusted(7, 7, here) && is_trusted(0, 7, here));
        assert!(!is_trusted(8, 7, here) && !is_trusted(8, 0, here));
        assert!(is_trusted(8, 0, Path::new(home::SYSTEM_SOCKET)), "`sudo wehelp` reaches the system's daemon");
    }
}
