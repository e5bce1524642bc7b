//! A visit to the client door that may end at any byte, in any way.

use crate::client::{Response, Wire};
use crate::record::{Ending, Recorder, Span};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long a visit waits for the daemon; far above what it needs on a busy machine, holds included.
const PATIENCE: Duration = Duration::from_secs(15);
/// A silent client goes away after so long.
const SILENCE: Duration = Duration::from_millis(700);

/// Up to where a client goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    BeforeRequest,
    /// After so many per mille of the request.
    InRequest(u16),
    /// It does not read.
    AfterRequest,
    /// After so many per mille of the response, and before its last byte.
    InResponse(u16),
    AfterResponse,
}

/// How it ends then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// `close`: in order, where everything was read.
    Close,
    /// `SO_LINGER` 0.
    Reset,
    /// It says nothing for a while; then a reset.
    Silence,
}

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) phase: Phase,
    pub(crate) end: End,
    /// It closes its sending side after the request.
    pub(crate) half_close: bool,
    /// It takes in a few kilobytes at a time.
    pub(crate) narrow: bool,
    /// The request comes byte by byte, nearly.
    pub(crate) dribbling: bool,
    /// It asks so often at once.
    pub(crate) pipelined: usize,
    /// Over TLS it says goodbye before it closes.
    pub(crate) polite: bool,
}

impl Manner {
    /// What every client should be.
    pub(crate) const GOOD: Self = Self {
        phase: Phase::AfterResponse,
        end: End::Close,
        half_close: false,
        narrow: false,
        dribbling: false,
        pipelined: 1,
        polite: true,
    };

    /// Any manner, the good one half of the time.
    pub(crate) fn any(rng: &mut fastrand::Rng) -> Self {
        let mut manner = Self {
            half_close: rng.u8(..) < 40,
            narrow: rng.u8(..) < 40,
            dribbling: rng.u8(..) < 20,
            pipelined: if rng.u8(..) < 30 { rng.usize(2..4) } else { 1 },
            polite: rng.bool(),
            ..Self::GOOD
        };
        if rng.bool() {
            manner.phase = match rng.u8(0..8) {
                0 => Phase::BeforeRequest,
                1 | 2 => Phase::InRequest(rng.u16(0..1000)),
                3 | 4 => Phase::AfterRequest,
                5 | 6 => Phase::InResponse(rng.u16(0..1000)),
                _ => Phase::AfterResponse,
            };
            manner.end = match rng.u8(0..5) {
                0 | 1 => End::Close,
                2 | 3 => End::Reset,
                _ => End::Silence,
            };
        }
        manner
    }

    /// Whether it must be answered, if anybody is there to answer.
    pub(crate) fn is_good(&self) -> bool {
        self.phase == Phase::AfterResponse && self.end == End::Close
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// What became of a visit.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Our address, as the daemon writes it down.
    pub(crate) peer: String,
    pub(crate) span: Span,
    /// The responses that were read whole.
    pub(crate) responses: Vec<Response>,
    pub(crate) ending: Ending,
    /// Why not all responses came that were waited for.
    pub(crate) error: Option<String>,
}

/// Connects, asks as `manner` says, and goes away as it says. An error: nobody is there.
pub(crate) fn visit(
    recorder: &Recorder,
    addr: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    request: &[u8],
    manner: Manner,
) -> io::Result<Visit> {
    let mut manner = manner;
    if tls.is_some() && matches!(manner.phase, Phase::InResponse(_)) && manner.end == End::Close {
        // A record is taken from the kernel whole, so the daemon would see an orderly close: nobody can tell.
        manner.end = End::Reset;
    }
    let from = recorder.now();
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if manner.narrow {
        socket.set_recv_buffer_size(2048)?;
    }
    socket.connect_timeout(&addr.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_tcp_nodelay(true)?;
    let tcp: TcpStream = socket.into();
    let peer = tcp.local_addr()?.to_string();
    let stream = match tls {
        None => Stream::Plain(tcp),
        Some(config) => {
            let name = ServerName::try_from("localhost").unwrap();
            let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            Stream::Tls(Box::new(StreamOwned::new(session, tcp)))
        }
    };
    let mut wire = Wire::new(stream);
    let mut responses = Vec::new();
    let asked = ask(&mut wire, request, manner, &mut responses);
    let all = asked.is_ok() && manner.phase == Phase::AfterResponse;
    let ending = leave(wire, manner, all, responses.last().is_some_and(ends_its_connection));
    Ok(Visit { peer, span: recorder.since(from), responses, ending, error: asked.err().map(|error| error.to_string()) })
}

fn ask(wire: &mut Wire<Stream>, request: &[u8], manner: Manner, responses: &mut Vec<Response>) -> io::Result<()> {
    let whole = request.repeat(manner.pipelined);
    let count = match manner.phase {
        Phase::BeforeRequest => 0,
        Phase::InRequest(per_mille) => whole.len() * usize::from(per_mille) / 1000,
        _ => whole.len(),
    };
    for piece in whole[..count].chunks(if manner.dribbling { 16 } else { 1 << 20 }) {
        wire.stream.write_all(piece)?;
        wire.stream.flush()?;
    }
    if manner.half_close && count == whole.len() {
        if let Stream::Tls(stream) = &mut wire.stream {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        wire.stream.tcp().shutdown(Shutdown::Write)?;
    }
    match manner.phase {
        Phase::InResponse(per_mille) => read_part(&mut wire.stream, per_mille),
        Phase::AfterResponse => {
            for _ in 0..manner.pipelined {
                let response = wire.receive()?;
                responses.push(response);
                if responses.last().is_some_and(ends_its_connection) {
                    break;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads some of a response, byte by byte up to its body, so that what is not read stays with the kernel.
fn read_part(stream: &mut Stream, per_mille: u16) -> io::Result<()> {
    /// Up to here it is cut off in the header, beyond in the body.
    const HEADER: u16 = 300;
    let mut header = Vec::new();
    let mut byte = [0];
    while !header.ends_with(b"\r\n\r\n") {
        if per_mille < HEADER && header.len() >= usize::from(per_mille) / 4 {
            return Ok(());
        }
        stream.read_exact(&mut byte)?;
        header.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&header).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let part: usize = length * usize::from(per_mille - HEADER) / usize::from(1000 - HEADER);
    stream.read_exact(&mut vec![0; part.min(length.saturating_sub(1))])
}

/// Whether nothing more comes after it.
fn ends_its_connection(response: &Response) -> bool {
    response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// Goes away; how that looks to the daemon.
fn leave(mut wire: Wire<Stream>, manner: Manner, all: bool, is_last: bool) -> Ending {
    match manner.end {
        End::Close => {
            let mut proves = !manner.half_close;
            if let (true, Stream::Tls(stream)) = (all, &mut wire.stream) {
                // Good clients read the daemon's own goodbye before they close.
                proves &= manner.polite && is_last && stream.read(&mut [0]).is_ok();
            }
            drop(wire);
            match (all, proves) {
                (true, true) => Ending::Orderly,
                (true, false) => Ending::Read,
                (false, _) => Ending::Cut,
            }
        }
        End::Reset | End::Silence => {
            if manner.end == End::Silence {
                std::thread::sleep(SILENCE);
            }
            drop(SockRef::from(wire.stream.tcp()).set_linger(Some(Duration::ZERO)));
            drop(wire);
            if all { Ending::Abrupt } else { Ending::Cut }
        }
    }
}

/// A request whose connection is to end with its answer, or to go on.
pub(crate) fn head(method: &str, path: &str, body: &[u8], keep: bool) -> Vec<u8> {
    let connection = if keep { "keep-alive" } else { "close" };
    crate::client::request(method, path, &[("Connection", connection), ("Content-Type", "application/json")], body)
}
