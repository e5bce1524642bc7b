//! One daemon per home: the lock, the sockets, and the pointer by which the CLI finds it.
//!
//! The lock is a file in the data folder that is never deleted by us; when somebody else does, it is put back, and until
//! then the store's own locks keep a second daemon out. With it held, a left-over socket is nobody's and may be replaced.
//! The control socket lies in a folder where nobody else can replace it, and has mode 0600 before anybody can connect. A socket that systemd handed over is not unlinked: it is not ours.

use crate::config::{Http, RequireToken};
use crate::daemon::private;
use crate::home::{self, Home};
use crate::store;
use crate::sync;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpListener, UnixListener};

/// Connections that may wait to be accepted: when there are more, the system drops a newcomer's first packet, who then
/// waits a second before he tries again. It allows no more than `net.core.somaxconn`, which is 4096 by default.
const BACKLOG: i32 = 4096;

/// Why a daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one has the data folder.
    #[error("the data folder `{dir}` is in use by {holder}; stop it first, or choose another --data-dir")]
    Held {
        /// The data folder.
        dir: PathBuf,
        /// `wehelpd (pid N)`
        holder: String,
    },
    /// Something with a file or folder.
    #[error(transparent)]
    Private(#[from] private::Error),
    /// An address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Address {
        /// As it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The client door would be open to the world.
    #[error("{0}")]
    Exposed(String),
    /// Another daemon answers at this socket.
    #[error("another wehelpd answers at `{0}`; stop it first, or choose another --socket")]
    SocketInUse(PathBuf),
}

fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| private::Error::File { act, path, source }.into()
}

/// The lock on a data folder; held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    held: Mutex<Held>,
    /// That somebody else has the file now was told.
    told: AtomicBool,
}

/// What is locked.
#[derive(Debug)]
struct Held {
    file: File,
    /// Our pid stands in it.
    named: bool,
}

/// Makes the data folder (mode 0700) and takes its lock.
///
/// # Errors
/// When another daemon has it, or the folder or the lock file cannot be made.
pub fn lock(data_dir: &Path) -> Result<Lock, Error> {
    private::prepare(data_dir)?;
    let path = data_dir.join("lock");
    Ok(Lock { held: Mutex::new(take(&path)?), path, told: AtomicBool::new(false) })
}

/// Opens the lock's file. What cannot be written can still be locked: a file system may be read-only. Why it is so comes
/// with it.
fn open_lock(path: &Path) -> io::Result<(File, Option<io::Error>)> {
    let options = || {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        options
    };
    match options().write(true).create(true).truncate(false).open(path) {
        Ok(file) => Ok((file, None)),
        Err(why) if takes_nothing(&why) => {
            let file = options().open(path).or_else(|error| match error.kind() {
                // It never had one, and can have none now: its folder serves as well.
                io::ErrorKind::NotFound => File::open(path.parent().unwrap_or(path)),
                _ => Err(error),
            });
            Ok((file?, Some(why)))
        }
        Err(error) => Err(error),
    }
}

/// Whether a file system is read-only or full: what is stored there can be served all the same.
fn takes_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull)
}

/// Why something is not written into the data folder.
fn why_not(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "the data folder is read-only".to_owned(),
        _ => error.to_string(),
    }
}

fn place(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

/// The pid in a lock, if that process has it open: one that could not write its own there has left another's.
fn written_holder(lock: &File) -> Option<u32> {
    /// A number of at most this many digits.
    const PID_BYTES_MAX: u64 = 20;
    let mut text = String::new();
    lock.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse().ok()?;
    let held = lock.metadata().ok()?;
    let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    open.any(|fd| fs::metadata(fd.path()).is_ok_and(|found| place(&found) == place(&held))).then_some(pid)
}

/// Takes the lock.
fn take(path: &Path) -> Result<Held, Error> {
    let (mut lock, unwritable) = open_lock(path).map_err(file("open the lock", path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            // The table does not know the locks of every file system. Without a pid the sentence is less helpful, and
            // still true.
            let pid = store::lock_holder(&lock).or_else(|| written_holder(&lock));
            let holder = pid.map_or_else(|| "another wehelpd".to_owned(), |pid| format!("another wehelpd (pid {pid})"));
            return Err(Error::Held { dir: path.parent().unwrap_or(path).to_owned(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(file("lock", path)(e)),
    }
    let written = unwritable.map_or_else(|| write_pid(&mut lock), Err);
    // A full disk must not keep a daemon from starting: it can still serve what is stored.
    if let Err(error) = &written {
        tracing::warn!("cannot write the pid into `{}`: {}", path.display(), why_not(error));
    }
    Ok(Held { file: lock, named: written.is_ok() })
}

impl Lock {
    /// Sees whether the file that is held still stands where others look for it, and puts it back when somebody deleted
    /// it; what could not be written into it is written as soon as it can. To be called now and then.
    pub fn mind(&self) {
        let mut held = sync::lock(&self.held);
        let Ok(own) = held.file.metadata() else { return };
        if fs::symlink_metadata(&self.path).is_ok_and(|stands| place(&stands) == place(&own)) {
            if !held.named
                && let Ok((mut file, None)) = open_lock(&self.path)
            {
                held.named = write_pid(&mut file).is_ok();
            }
            return;
        }
        if own.is_dir() && !matches!(open_lock(&self.path), Ok((_, None))) {
            return;
        }
        match take(&self.path) {
            Ok(taken) => {
                *held = taken;
                self.told.store(false, Ordering::Relaxed);
                if !own.is_dir() {
                    tracing::warn!("the lock `{}` was deleted, and is there again", self.path.display());
                }
            }
            Err(error) if !self.told.swap(true, Ordering::Relaxed) => {
                tracing::error!("the lock `{}` was deleted, and cannot be had again: {error}", self.path.display());
            }
            Err(_) => {}
        }
    }
}

/// Where the client door shall be: `ip:port` or `host:port`.
///
/// # Errors
/// When one is no address.
pub fn addresses(wanted: &[String]) -> Result<Vec<SocketAddr>, Error> {
    let mut all = Vec::new();
    for address in wanted {
        let found = address.to_socket_addrs().map_err(|source| Error::Address { address: address.clone(), source })?;
        all.extend(found);
    }
    Ok(all)
}

/// Refuses to let everybody in (contract 2): `never` together with an address that others can reach, or with a name.
///
/// To an address that is neither loopback nor HTTPS, a browser sends nothing by which a page's image could be told from
/// a poll; and a name is such an address to it, wherever the name leads.
///
/// # Errors
/// A sentence that says how to be safe, and how not to.
pub fn check_exposure(http: &Http, addresses: &[SocketAddr], insecure: bool) -> Result<(), Error> {
    let address = addresses.iter().find(|a| !a.ip().to_canonical().is_loopback());
    let exposed = match (address, http.hosts.first()) {
        _ if http.require_token != RequireToken::Never => return Ok(()),
        (Some(address), _) => format!(
            "{address} can be reached by others: everybody on the network could send events and fetch commands, and so \
             could every web page that somebody there visits fetch commands"
        ),
        (None, Some(host)) => {
            format!("http.hosts has names: under `{host}`, every web page that the user visits could fetch commands")
        }
        (None, None) => return Ok(()),
    };
    let exposed = format!("http.require_token is \"never\" and {exposed}");
    if insecure {
        tracing::warn!("{exposed}; --insecure allows that");
        return Ok(());
    }
    Err(Error::Exposed(format!("{exposed}; set it to \"remote\", or give --insecure if you mean it")))
}

/// The control socket: ours to remove, or systemd's.
#[derive(Debug)]
pub struct Control {
    /// To be served.
    pub listener: Option<UnixListener>,
    /// Where it is; `None` when there is no such door.
    pub socket: Option<PathBuf>,
    /// It is ours to remove.
    bound: bool,
    /// The folder that was made for it outside of the data folder.
    folder: Option<PathBuf>,
    pointer: Option<PathBuf>,
}

impl Control {
    /// Leaves in the data folder where the socket is, if that could not be written at the start. To be called now and
    /// then.
    pub fn mind(&mut self, home: &Home) {
        if self.pointer.is_none() && self.socket.is_some() {
            self.pointer = point(home).ok();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The lock is still held: nobody else's socket can stand there.
        let socket = self.socket.iter().filter(|_| self.bound);
        for path in socket.chain(&self.pointer) {
            drop(fs::remove_file(path));
        }
        if let Some(folder) = &self.folder {
            // Not while another daemon's socket is in it.
            drop(fs::remove_dir(folder));
        }
    }
}

/// Sockets that systemd handed over.
#[derive(Debug, Default)]
pub struct Activated {
    http: Vec<std::net::TcpListener>,
    control: Option<std::os::unix::net::UnixListener>,
}

impl Activated {
    /// Where the client door is, when systemd opened it: then nobody asks the settings.
    #[must_use]
    pub fn addresses(&self) -> Option<Vec<SocketAddr>> {
        let addresses: Vec<_> = self.http.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    /// Where the control socket is, when systemd opened it.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        self.control.as_ref()?.local_addr().ok()?.as_pathname().map(Path::to_owned)
    }
}

/// Takes over the sockets that systemd handed to this process. Which door is which, their families tell; the names in
/// the units (`http`, `control`) are for people. Call it before any thread is started: it changes the environment.
#[must_use]
#[expect(unsafe_code, reason = "sd-notify marks the removal of environment variables unsafe; no thread runs yet")]
pub fn activated() -> Activated {
    // SAFETY: called first in `main`, before any other thread exists.
    let handed = unsafe { sd_notify::listen_fds_with_names_and_unset_env() };
    let mut activated = Activated::default();
    for (fd, _name) in handed.into_iter().flatten() {
        // SAFETY: systemd passed this descriptor to us, and nobody else in this process knows of it.
        let fd: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
        let family = socket2::SockRef::from(&fd).local_addr().map(|a| a.is_unix());
        match family {
            Ok(true) => activated.control = Some(fd.into()),
            Ok(false) => activated.http.push(fd.into()),
            Err(error) => tracing::warn!("a socket handed over by systemd cannot be used: {error}"),
        }
    }
    activated
}

/// Opens the client door.
///
/// # Errors
/// When an address is taken or not allowed.
pub fn bind_http(activated: &mut Activated, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let handed = std::mem::take(&mut activated.http);
    if !handed.is_empty() {
        return handed.into_iter().map(|listener| tokio_tcp(listener, "a socket from systemd")).collect();
    }
    // `[::]` answers IPv4 as well, unless a second address takes that port.
    let taken = |port: u16| addresses.iter().any(|a| a.is_ipv4() && a.port() == port && port != 0);
    let is_both = |address: &SocketAddr| address.ip().is_unspecified() && !taken(address.port());
    let bind = |address: &SocketAddr| {
        let wrong = |source| Error::Address { address: address.to_string(), source };
        let socket = socket2::Socket::new(socket2::Domain::for_address(*address), socket2::Type::STREAM, None);
        let socket = socket.map_err(wrong)?;
        let bound = socket
            .set_reuse_address(true)
            .and_then(|()| if address.is_ipv6() { socket.set_only_v6(!is_both(address)) } else { Ok(()) })
            .and_then(|()| socket.bind(&(*address).into()))
            .and_then(|()| socket.listen(BACKLOG));
        bound.map_err(wrong)?;
        tokio_tcp(socket.into(), &address.to_string())
    };
    addresses.iter().map(bind).collect()
}

fn tokio_tcp(listener: std::net::TcpListener, address: &str) -> Result<TcpListener, Error> {
    let wrong = |source| Error::Address { address: address.to_owned(), source };
    listener.set_nonblocking(true).map_err(wrong)?;
    TcpListener::from_std(listener).map_err(wrong)
}

/// Opens the control door, with the lock of the home held.
///
/// # Errors
/// When the socket or its folder cannot be made, or another daemon answers there.
pub fn bind_control(activated: &mut Activated, home: &Home, _lock: &Lock) -> Result<Control, Error> {
    let path = &home.socket;
    let (listener, bound) = match activated.control.take() {
        Some(listener) => {
            listener.set_nonblocking(true).map_err(file("use the control socket", path))?;
            let listener = UnixListener::from_std(listener).map_err(file("use the control socket", path))?;
            (listener, false)
        }
        None => match bind_private(path) {
            Err(Error::Private(private::Error::File { source, .. }))
                if takes_nothing(&source) && path.starts_with(&home.data_dir) =>
            {
                return Ok(bind_elsewhere(home, &source));
            }
            bound => (bound?, true),
        },
    };
    let pointer = told_point(home);
    Ok(Control { listener: Some(listener), socket: Some(path.clone()), bound, folder: None, pointer })
}

/// Opens the control door outside of a data folder that takes no socket. Without one, clients are served all the same.
fn bind_elsewhere(home: &Home, source: &io::Error) -> Control {
    let (usual, why) = (home.socket.display(), why_not(source));
    let socket = home::temporary_socket(&home.data_dir, rustix::process::geteuid().as_raw());
    let bound = socket.ok_or_else(|| "its folder cannot be looked at".to_owned()).and_then(|socket| {
        let listener = bind_private(&socket).map_err(|error| error.to_string())?;
        Ok((listener, socket))
    });
    match bound {
        Ok((listener, socket)) => {
            tracing::warn!("cannot make the control socket `{usual}`: {why}; it is `{}`", socket.display());
            let folder = socket.parent().map(Path::to_owned);
            let home = Home { socket: socket.clone(), ..home.clone() };
            let pointer = told_point(&home);
            Control { listener: Some(listener), socket: Some(socket), bound: true, folder, pointer }
        }
        Err(error) => {
            tracing::warn!(
                "cannot make the control socket `{usual}`: {why}, nor another ({error}); until it is started again with \
                 another --socket, the client door alone is open"
            );
            Control { listener: None, socket: None, bound: false, folder: None, pointer: None }
        }
    }
}

fn bind_private(path: &Path) -> Result<UnixListener, Error> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        private::make_dir(dir)?;
    }
    // Its mode is not ours to change; the socket's own keeps others out.
    private::check_socket_dir(dir)?;
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(Error::SocketInUse(path.to_owned()));
            }
            fs::remove_file(path).map_err(file("remove the stale socket", path))?;
        }
        Ok(_) => {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there");
            return Err(file("make the control socket", path)(source));
        }
        Err(_) => {}
    }
    // Bind, close to others, listen, in this order: until it listens nobody can connect.
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let socket = socket.map_err(file("make the control socket", path))?;
    let address = socket2::SockAddr::unix(path).map_err(file("make the control socket", path))?;
    socket.bind(&address).map_err(file("make the control socket", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(file("close the control socket", path))?;
    socket.listen(BACKLOG).map_err(file("listen on the control socket", path))?;
    socket.set_nonblocking(true).map_err(file("listen on the control socket", path))?;
    let listener: std::os::unix::net::UnixListener = OwnedFd::from(socket).into();
    UnixListener::from_std(listener).map_err(file("listen on the control socket", path))
}

/// As [`point`], with a word when it cannot be.
fn told_point(home: &Home) -> Option<PathBuf> {
    let tell = |error: &io::Error| {
        tracing::warn!("cannot write `{}`: {}", home::pointer_path(&home.data_dir).display(), why_not(error));
    };
    point(home).inspect_err(tell).ok()
}

/// Leaves in the data folder where the socket is, for a CLI that cannot know (cron).
fn point(home: &Home) -> io::Result<PathBuf> {
    let path = home::pointer_path(&home.data_dir);
    let socket = std::path::absolute(&home.socket).unwrap_or_else(|_| home.socket.clone());
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(&path).and_then(|mut file| writeln!(file, "{}", socket.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &Path) -> Home {
        Home {
            config: dir.join("config.toml"),
            config_named: false,
            data_dir: dir.join("data"),
            socket: dir.join("run/wehelpd.sock"),
        }
    }

    #[test]
    fn a_second_daemon_learns_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let _first = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    }

    #[test]
    fn what_is_written_in_a_lock_is_believed_of_a_process_that_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let writes = |pid: u32| {
            fs::write(&path, pid.to_string()).unwrap();
            written_holder(&File::open(&path).unwrap())
        };
        assert_eq!(writes(std::process::id()), Some(std::process::id()));
        assert_eq!(writes(1), None, "it is another program's by now");
        // Nor does the sentence name it.
        let _first = lock(dir.path()).unwrap();
        fs::write(&path, "1").unwrap();
        let error = lock(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
    }

    #[tokio::test]
    async fn what_could_not_be_written_at_the_start_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let held = lock(&home.data_dir).unwrap();
        let mut control = bind_control(&mut Activated::default(), &home, &held).unwrap();
        let (pid, pointer) = (home.data_dir.join("lock"), home::pointer_path(&home.data_dir));
        // As a file system leaves it that takes nothing.
        fs::write(&pid, "1").unwrap();
        fs::remove_file(&pointer).unwrap();
        held.held.lock().unwrap().named = false;
        control.pointer = None;
        held.mind();
        control.mind(&home);
        assert_eq!(fs::read_to_string(&pid).unwrap(), std::process::id().to_string());
        assert_eq!(fs::read_to_string(&pointer).unwrap().trim(), home.socket.to_str().unwrap());
        // One that had no lock's file, so that its folder is held.
        fs::remove_file(&pid).unwrap();
        *held.held.lock().unwrap() = Held { file: File::open(&home.data_dir).unwrap(), named: false };
        held.mind();
        assert_eq!(fs::read_to_string(&pid).unwrap(), std::process::id().to_string());
        assert!(matches!(lock(&home.data_dir), Err(Error::Held { .. })));
    }

    #[tokio::test]
    async fn the_control_socket_is_private_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let held = lock(&home.data_dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let mut first = bind_control(&mut Activated::default(), &home, &held).unwrap();
        assert_eq!((mode(&home.socket), mode(home.socket.parent().unwrap())), (0o600, 0o700));
        let again = bind_control(&mut Activated::default(), &home, &held).unwrap_err();
        assert!(matches!(again, Error::SocketInUse(_)), "{again}");
        // A crash leaves the file and no listener.
        first.listener = None;
        let second = bind_control(&mut Activated::default(), &home, &held).unwrap();
        drop(second);
        assert!(!home.socket.exists());
    }

    #[tokio::test]
    async fn sockets_of_systemd_are_served_and_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let held = lock(&home.data_dir).unwrap();
        private::make_dir(home.socket.parent().unwrap()).unwrap();
        let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let control = std::os::unix::net::UnixListener::bind(&home.socket).unwrap();
        let address = http.local_addr().unwrap();
        assert_eq!(Activated::default().addresses(), None);
        let mut activated = Activated { http: vec![http], control: Some(control) };
        assert_eq!(activated.addresses(), Some(vec![address]));
        assert_eq!(activated.socket(), Some(home.socket.clone()));
        let elsewhere = "127.0.0.1:9".parse().unwrap();
        let doors = bind_http(&mut activated, &[elsewhere]).unwrap();
        assert_eq!(doors.iter().map(|door| door.local_addr().unwrap()).collect::<Vec<_>>(), [address]);
        drop(bind_control(&mut activated, &home, &held).unwrap());
        assert!(home.socket.exists(), "it is systemd's, and so is the file");
    }

    #[test]
    fn an_open_door_without_token_needs_a_word() {
        let http = Http { require_token: RequireToken::Never, ..Http::default() };
        let open: Vec<SocketAddr> = vec!["0.0.0.0:1".parse().unwrap()];
        assert!(check_exposure(&http, &open, false).is_err());
        assert!(check_exposure(&http, &open, true).is_ok());
        let near: Vec<SocketAddr> = vec!["[::1]:1".parse().unwrap()];
        assert!(check_exposure(&http, &near, false).is_ok());
        assert!(check_exposure(&Http::default(), &open, false).is_ok());
        // What a browser sends to a name does not tell that it is one.
        let named = |require_token| Http { require_token, hosts: vec!["box.lan".parse().unwrap()], ..Http::default() };
        let refused = check_exposure(&named(RequireToken::Never), &near, false).unwrap_err().to_string();
        assert!(refused.contains("web page") && refused.contains("`box.lan`"), "{refused}");
        assert!(check_exposure(&named(RequireToken::Never), &near, true).is_ok());
        assert!(check_exposure(&named(RequireToken::Remote), &near, false).is_ok());
    }
}
