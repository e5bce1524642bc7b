//! Whose a connection over loopback is: the user that owns the socket at its other end (contract 2).
//!
//! The kernel is asked once a connection, by one netlink message (`sock_diag(7)`), which costs some microseconds however
//! many sockets there are; where that is not to be had, `/proc/net/tcp` and `tcp6` are read, which costs more with every
//! socket of the machine.
//!
//! A socket that its owner has closed is nobody's, although the kernel then shows user 0 for it: it has no inode any
//! more, by which it is told from root's. One whose sending side alone is closed still has its owner.

use crate::sync::lock;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The daemon's own user, or root.
    Ours,
    /// Another user of this machine.
    Another(u32),
    /// A program of this machine, and nobody can tell whose.
    Unknown,
    /// Somebody on the network.
    Remote,
}

/// A user by number, of the socket with an inode; what the kernel says of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    uid: u32,
    inode: u64,
}

/// Asks the kernel for the owners of connections.
#[derive(Debug)]
pub(crate) struct Owners {
    own: u32,
    /// Kept open: opening one takes longer than asking.
    netlink: Mutex<Option<OwnedFd>>,
    /// Whether it was said that nobody can be told.
    complained: std::sync::Once,
}

impl Owners {
    pub(crate) fn new() -> Self {
        Self { own: rustix::process::geteuid().as_raw(), netlink: Mutex::default(), complained: std::sync::Once::new() }
    }

    /// Who is at the other end of the connection that was accepted at `at` from `from`.
    pub(crate) async fn of(&self, from: SocketAddr, at: SocketAddr) -> Owner {
        let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        let (from, at) = (canonical(from), canonical(at));
        if !from.ip().is_loopback() {
            return Owner::Remote;
        }
        let entry = match self.ask(from, at) {
            Ok(entry) => Ok(entry),
            // Some milliseconds where there are thousands of sockets.
            Err(_) => tokio::task::spawn_blocking(move || listed(from, at)).await.unwrap_or(Ok(None)),
        };
        match entry {
            Ok(Some(entry)) => owner(entry, self.own),
            Ok(None) => Owner::Unknown,
            Err(error) => {
                self.complained.call_once(|| {
                    tracing::warn!(
                        "cannot tell whose connections over loopback are ({error}); all of them need the token now"
                    );
                });
                Owner::Unknown
            }
        }
    }

    /// Asks by netlink; `None` when there is no such socket.
    fn ask(&self, from: SocketAddr, at: SocketAddr) -> io::Result<Option<Entry>> {
        let mut open = lock(&self.netlink);
        let socket = match open.take() {
            Some(socket) => socket,
            None => rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC,
                Some(netlink::SOCK_DIAG),
            )?,
        };
        rustix::net::send(&socket, &question(from, at), SendFlags::empty())?;
        // The kernel has answered before `send` returns.
        let mut answer = [0; 512];
        let (_, bytes) = rustix::net::recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
        let entry = answer_of(answer.get(..bytes).unwrap_or_default(), from, at)?;
        // After an error it is closed instead: an answer that came late must not be taken for the next one's.
        *open = Some(socket);
        Ok(entry)
    }
}

fn owner(entry: Entry, own: u32) -> Owner {
    match entry {
        Entry { inode: 0, .. } => Owner::Unknown,
        Entry { uid, .. } if uid == own || uid == 0 => Owner::Ours,
        Entry { uid, .. } => Owner::Another(uid),
    }
}

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR` (linux/netlink.h).
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST`
const NLM_F_REQUEST: u16 = 1;
/// Where `struct inet_diag_sockid` begins in an `inet_diag_msg` after its `nlmsghdr`, bytes.
const ANSWER_ID: usize = 16 + 4;
/// Where `idiag_uid` lies there, and after it `idiag_inode`.
const ANSWER_UID: usize = ANSWER_ID + 48 + 12;

/// `struct inet_diag_sockid` up to its interface: what names a connection as the socket at `from` sees it.
fn socket_id(from: SocketAddr, at: SocketAddr) -> [u8; 36] {
    let mut id = [0; 36];
    id[..2].copy_from_slice(&from.port().to_be_bytes());
    id[2..4].copy_from_slice(&at.port().to_be_bytes());
    for (ip, place) in [(from.ip(), 4), (at.ip(), 20)] {
        match ip {
            IpAddr::V4(ip) => id[place..place + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => id[place..place + 16].copy_from_slice(&ip.octets()),
        }
    }
    id
}

/// An `nlmsghdr` and an `inet_diag_req_v2` (linux/inet_diag.h) for one socket.
fn question(from: SocketAddr, at: SocketAddr) -> [u8; 72] {
    let mut out = [0; 72];
    out[..4].copy_from_slice(&72_u32.to_ne_bytes());
    out[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    out[16] = u8::try_from(family.as_raw()).unwrap_or_default();
    out[17] = 6; // IPPROTO_TCP
    out[20..24].copy_from_slice(&u32::MAX.to_ne_bytes()); // In whatever state.
    out[24..60].copy_from_slice(&socket_id(from, at));
    out[64..72].fill(0xff); // INET_DIAG_NOCOOKIE: whatever its cookie.
    out
}

fn answer_of(answer: &[u8], from: SocketAddr, at: SocketAddr) -> io::Result<Option<Entry>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not understood");
    let word = |place: usize| {
        let bytes = answer.get(place..place + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(malformed)
    };
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind.ok_or_else(malformed)? {
        NLMSG_ERROR => {
            let error = io::Error::from_raw_os_error(word(16)?.cast_signed().wrapping_neg());
            if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
        }
        SOCK_DIAG_BY_FAMILY => {
            // Without that connection the kernel answers with whoever listens at `from`.
            let id = answer.get(ANSWER_ID..ANSWER_ID + 36).ok_or_else(malformed)?;
            let ours = id == socket_id(from, at);
            Ok(Some(Entry { uid: word(ANSWER_UID)?, inode: word(ANSWER_UID + 4)?.into() }).filter(|_| ours))
        }
        _ => Err(malformed()),
    }
}

/// Looks into the kernel's lists; `None` when the connection is not in them.
fn listed(from: SocketAddr, at: SocketAddr) -> io::Result<Option<Entry>> {
    let of = |path: &str, mapped: bool| std::fs::read_to_string(path).map(|list| find(&list, from, at, mapped));
    if from.is_ipv6() {
        return of("/proc/net/tcp6", false);
    }
    match of("/proc/net/tcp", false)? {
        Some(entry) => Ok(Some(entry)),
        // A program that speaks IPv4 through an IPv6 socket; a kernel without IPv6 has no such list.
        None => Ok(of("/proc/net/tcp6", true).unwrap_or_default()),
    }
}

/// The entry of a connection in the text of `/proc/net/tcp` or `tcp6`.
fn find(list: &str, from: SocketAddr, at: SocketAddr, mapped: bool) -> Option<Entry> {
    let (from, at) = (spelled(from, mapped), spelled(at, mapped));
    list.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next()? != from || words.next()? != at {
            return None;
        }
        // state, queues, timer, retransmissions, user, time-out, inode
        let uid = words.nth(4)?.parse().ok()?;
        Some(Entry { uid, inode: words.nth(1)?.parse().ok()? })
    })
}

/// An address as these lists spell it: words of the machine's byte order in hexadecimal, and the port.
fn spelled(address: SocketAddr, mapped: bool) -> String {
    let bytes = match address.ip() {
        IpAddr::V4(ip) if mapped => ip.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let word = |word: &[u8]| format!("{:08X}", word.try_into().map_or(0, u32::from_ne_bytes));
    let words: String = bytes.chunks(4).map(word).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    /// A listener and a connection to it over an address, accepted.
    fn connected(listen: &str, to: &str) -> Option<(TcpStream, TcpStream, SocketAddr, SocketAddr)> {
        // This machine may have no IPv6.
        let listener = TcpListener::bind((listen, 0)).ok()?;
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((to, port)).unwrap();
        let (served, from) = listener.accept().unwrap();
        let at = served.local_addr().unwrap();
        Some((client, served, from, at))
    }

    #[tokio::test]
    async fn the_kernel_tells_our_own_connections_both_ways_until_they_are_closed() {
        let owners = Owners::new();
        for (listen, to) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")] {
            let Some((mut client, served, from, at)) = connected(listen, to) else { continue };
            let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
            let (pure_from, pure_at) = (canonical(from), canonical(at));
            assert_eq!(owners.of(from, at).await, Owner::Ours, "{listen} {to}");
            let both = || (owners.ask(pure_from, pure_at).unwrap(), listed(pure_from, pure_at).unwrap());
            let (asked, read) = both();
            assert_eq!((asked.is_some(), asked), (true, read), "{listen} {to}");
            // A client that has said everything is still a client.
            client.write_all(b"x").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(owners.of(from, at).await, Owner::Ours, "{listen} {to}");
            drop(client);
            assert_eq!(owners.of(from, at).await, Owner::Unknown, "{listen} {to}: closed, and the kernel says uid 0");
            let (asked, read) = both();
            assert!(asked.is_none_or(|e| e.inode == 0) && read.is_none_or(|e| e.inode == 0), "{asked:?} {read:?}");
            drop(served);
        }
    }

    #[tokio::test]
    async fn whoever_listens_at_the_clients_port_is_not_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let from = listener.local_addr().unwrap();
        assert_eq!(Owners::new().of(from, "127.0.0.1:9".parse().unwrap()).await, Owner::Unknown);
    }

    #[tokio::test]
    async fn root_and_our_own_user_are_us_and_the_network_is_not() {
        let whose = |uid, inode| owner(Entry { uid, inode }, 1000);
        assert_eq!((whose(1000, 5), whose(0, 5), whose(0, 0)), (Owner::Ours, Owner::Ours, Owner::Unknown));
        assert_eq!((whose(1001, 5), whose(1001, 0)), (Owner::Another(1001), Owner::Unknown));
        let far: SocketAddr = "192.0.2.1:9".parse().unwrap();
        assert_eq!(Owners::new().of(far, far).await, Owner::Remote);
    }

    #[test]
    fn a_list_of_the_kernel_is_read_by_both_ends() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:11D7 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     7        0 71 1 0 20 4 30 10 -1\n   \
            1: 0100007F:9C40 0100007F:11D7 01 00000000:00000000 00:00000000 00000000  1001        0 72 1 0 20 4 30 10 -1\n";
        let (from, at) = ("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:4567".parse().unwrap());
        if cfg!(target_endian = "little") {
            assert_eq!(find(list, from, at, false), Some(Entry { uid: 1001, inode: 72 }));
            assert_eq!(find(list, "127.0.0.1:40001".parse().unwrap(), at, false), None);
        }
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        let (from, at) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let mut answer = question(from, at).to_vec();
        answer.resize(88, 0);
        let id = socket_id(from, at);
        answer[ANSWER_ID..ANSWER_ID + 36].copy_from_slice(&id);
        assert_eq!(answer_of(&answer, from, at).unwrap(), Some(Entry { uid: 0, inode: 0 }));
        assert_eq!(answer_of(&answer, at, from).unwrap(), None);
        for cut in 0..answer.len() {
            assert!(answer_of(&answer[..cut], from, at).is_err(), "{cut}");
        }
    }
}
