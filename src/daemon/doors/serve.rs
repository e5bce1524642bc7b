//! The accept loop and the connections of both doors.
//!
//! The caller owns the listeners and the reason to stop. Connections are counted, bounded, given time-outs for slow
//! headers, idleness and slow reading, and ended within `doors::limits::STOP_PATIENCE` of a stop. A
//! handler that panics costs its own connection only. warp's own server has none of this, so its service runs here
//! under hyper's HTTP/1 connection.

use crate::daemon::doors::delivery::{Conn, Patience, Polite, Wire};
use crate::daemon::doors::limits::{
    ACCEPT_REST, HANDSHAKE_TIMEOUT, HEADER_BYTES_MAX, HEADER_LINES_MAX, Limits, STOP_PATIENCE,
};
use crate::daemon::doors::places::{Place, Turn};
use crate::daemon::doors::{admission::Caller, owner::Owners, poller::FirstLine, tls::Tls};
use crate::daemon::queue::handover::Handover;
use crate::daemon::shutdown::Shutdown;
use crate::sync::lock;
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use warp::Filter;
use warp::http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use warp::reply::Response;

/// Who is at the other end; in every request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A client.
    Tcp(Caller),
    /// A process of this machine.
    Unix {
        /// Its user.
        uid: u32,
        /// Its process, when the kernel says so.
        pid: Option<i32>,
    },
}

/// A request's head, in its extensions: taken out of it once, where warp's filters would each make a copy.
#[derive(Debug, Clone)]
pub(crate) struct Head(pub(crate) Arc<Ask>);

/// What is asked, by whom.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
    pub(crate) conn: Arc<Conn>,
    pub(crate) turn: Arc<Turn>,
}

impl Ask {
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The query as it stands, empty when there is none.
    pub(crate) fn raw_query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }
}

/// In a response's extensions: the commands that this very answer hands over.
#[derive(Debug, Clone)]
pub(crate) struct Hands(Arc<Mutex<Option<Handover>>>);

impl Hands {
    pub(crate) fn new(handover: Handover) -> Self {
        Self(Arc::new(Mutex::new(Some(handover))))
    }
}

/// Serves the client door until shutdown; returns when every connection has ended.
pub(crate) async fn tcp<F>(
    listeners: Vec<TcpListener>,
    tls: Option<Arc<Tls>>,
    routes: F,
    limits: Arc<Limits>,
    shutdown: Shutdown,
) where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let mut loops = JoinSet::new();
    let door = Arc::new(ClientDoor { tls, routes, limits, shutdown, owners: Owners::new() });
    for listener in listeners {
        let door = Arc::clone(&door);
        loops.spawn(async move {
            let (limits, mut connections) = (&door.limits, JoinSet::new());
            while let Some((stream, peer)) =
                accept(&door.shutdown, limits, &mut connections, || listener.accept()).await
            {
                let Some(place) = place(limits, Some(peer.ip())).await else { continue };
                connections.spawn(Arc::clone(&door).serve(stream, peer, place));
            }
            drop(listener);
            join(connections).await;
        });
    }
    while loops.join_next().await.is_some() {}
}

/// What every connection of the client door is served with.
struct ClientDoor<F> {
    tls: Option<Arc<Tls>>,
    routes: F,
    limits: Arc<Limits>,
    shutdown: Shutdown,
    owners: Owners,
}

impl<F> ClientDoor<F>
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    /// Serves one connection to its end.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        let Self { tls, routes, limits, shutdown, owners } = &*self;
        prepare(&stream, limits.write_timeout);
        let Ok(caller) = caller(&stream, peer, tls.is_some(), owners).await else { return };
        let peer = Peer::Tcp(caller);
        let conn = Conn::tcp(&stream);
        let patience = Patience { write_timeout: limits.write_timeout, shutdown: shutdown.clone() };
        let wire = Wire::new(stream, Arc::clone(&conn), patience);
        let turn = place.turn();
        let served = async {
            match tls {
                None => connection(wire, &conn, turn, peer, routes.clone(), limits, shutdown).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(wire)).await {
                    Ok(Ok(secure)) => {
                        let secure = Polite::new(secure, Arc::clone(&conn));
                        connection(secure, &conn, turn, peer, routes.clone(), limits, shutdown).await;
                    }
                    _ => limits.reject("tls-handshake"),
                },
            }
        };
        unless_it_makes_room(turn, limits, served).await;
        conn.over();
    }
}

/// Serves the control door until shutdown; returns when every connection has ended. Other users than our own and root
/// are turned away.
pub(crate) async fn unix<F>(listener: UnixListener, routes: F, limits: Arc<Limits>, shutdown: Shutdown)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let own = rustix::process::geteuid().as_raw();
    let mut connections = JoinSet::new();
    while let Some((stream, _)) = accept(&shutdown, &limits, &mut connections, || listener.accept()).await {
        let Some(place) = place(&limits, None).await else { continue };
        let Ok(peer) = stream.peer_cred() else { continue };
        let (routes, limits, shutdown) = (routes.clone(), Arc::clone(&limits), shutdown.clone());
        connections.spawn(async move {
            if peer.uid() != own && peer.uid() != 0 {
                limits.reject("other-user");
                return turn_away(stream).await;
            }
            let conn = Conn::local();
            let patience = Patience { write_timeout: limits.write_timeout, shutdown: shutdown.clone() };
            let wire = Wire::new(stream, Arc::clone(&conn), patience);
            let peer = Peer::Unix { uid: peer.uid(), pid: peer.pid() };
            let turn = place.turn();
            let served = connection(wire, &conn, turn, peer, routes, &limits, &shutdown);
            unless_it_makes_room(turn, &limits, served).await;
        });
    }
    drop(listener);
    join(connections).await;
}

/// A place for a new connection, if there is one or one can be made.
async fn place(limits: &Limits, ip: Option<IpAddr>) -> Option<Place> {
    limits.places.enter(ip).await.map_err(|full| limits.reject(full.code())).ok()
}

/// Serves a connection to its end, or until it has to make room for another.
async fn unless_it_makes_room(turn: &Turn, limits: &Limits, served: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = turn.over() => limits.reject("made-room"),
        () = served => {}
    }
}

/// The next connection; `None` at shutdown. Reaps what has ended meanwhile.
async fn accept<T, Fut>(
    shutdown: &Shutdown,
    limits: &Limits,
    ended: &mut JoinSet<()>,
    mut next: impl FnMut() -> Fut,
) -> Option<T>
where
    Fut: Future<Output = io::Result<T>>,
{
    loop {
        while let Some(end) = ended.try_join_next() {
            if end.is_err_and(|e| e.is_panic()) {
                tracing::error!("a request handler panicked; its connection was closed");
            }
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => return None,
            accepted = next() => match accepted {
                Ok(accepted) => return Some(accepted),
                // The peer went away before we looked; all else is a lack of something that may come back.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    limits.reject("not-accepted");
                    if limits.not_accepted.may_speak() {
                        tracing::warn!("cannot accept a connection, trying again: {e}");
                    }
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
}

/// Lets the connections finish, but not for ever.
async fn join(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// What is known of a connection before its first byte; an error when it is gone already.
async fn caller(stream: &TcpStream, from: SocketAddr, tls: bool, owners: &Owners) -> io::Result<Caller> {
    let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
    let (from, at) = (canonical(from), canonical(stream.local_addr()?));
    Ok(Caller { from, at, owner: owners.of(from, at).await, tls })
}

/// Small answers go at once, and a peer that vanished is noticed.
fn prepare(stream: &TcpStream, write_timeout: Option<Duration>) {
    let socket = socket2::SockRef::from(stream);
    // Without these the connection works too, only less well.
    drop(stream.set_nodelay(true));
    // The kernel counts from the first full window, however much a slow reader takes in after that: not less than is
    // allowed in all.
    drop(socket.set_tcp_user_timeout(write_timeout));
    drop(socket.set_keepalive(true));
}

/// Windows' own HTTP stacks keep the answer to a GET, and caches in between do: one batch of commands would come twice.
fn keep_nowhere(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

async fn turn_away(mut stream: UnixStream) {
    use tokio::io::AsyncWriteExt;
    const ANSWER: &str = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncache-control: no-store\r\n\
        pragma: no-cache\r\ncontent-type: application/json\r\n\r\n\
        {\"error\":\"other-user\",\"message\":\"this wehelpd belongs to another user\"}\n";
    // Whether the stranger hears it is of no matter.
    drop(stream.write_all(ANSWER.as_bytes()).await);
}

async fn connection<S, F>(
    stream: S,
    conn: &Arc<Conn>,
    turn: &Arc<Turn>,
    peer: Peer,
    routes: F,
    limits: &Limits,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let routes = hyper_util::service::TowerToHyperService::new(warp::service(routes));
    let stream = FirstLine::new(stream);
    let mended = stream.mended();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let (method, uri, version) = (request.method().clone(), request.uri().clone(), request.version());
        let headers = std::mem::take(request.headers_mut());
        let (conn, turn) = (Arc::clone(conn), Arc::clone(turn));
        conn.asked();
        let ask = Ask { method, uri, version, headers, peer, conn: Arc::clone(&conn), turn: Arc::clone(&turn) };
        request.extensions_mut().insert(Head(Arc::new(ask)));
        let goes_on = !request.body().is_end_stream() || turn.request_is_whole();
        let request = request.map(|body| Arriving { body, turn: Arc::clone(&turn) });
        let answer = hyper::service::Service::call(&routes, request);
        let is_last = mended.load(Ordering::Relaxed);
        async move {
            if !goes_on {
                // It was told to go: this is dropped in a moment.
                return std::future::pending().await;
            }
            let mut response = answer.await?;
            keep_nowhere(response.headers_mut());
            if is_last {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some(Hands(handover)) = response.extensions_mut().remove::<Hands>()
                && let Some(handover) = lock(&handover).take()
            {
                conn.watch(handover);
            }
            Ok::<_, Infallible>(response.map(|body| Watched { bytes: body.size_hint().lower(), body, conn, turn }))
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(HeadTimer { conn: Arc::clone(conn), head_timeout: limits.header_timeout })
        .header_read_timeout(limits.header_timeout)
        .max_header_size(HEADER_BYTES_MAX)
        .max_headers(HEADER_LINES_MAX)
        // Who has closed its sending side waits for its answer; whether it is still there is seen by `Wire`.
        .half_close(true)
        // As the maker's own servers do: nobody knows how the client looks for them.
        .title_case_headers(true)
        // Two hundred readers that do not read hold so much each, no more.
        .max_buf_size(limits.buffer_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = conn.is_cut() => return,
        () = shutdown.wait() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
        if error.is_timeout() && conn.head_due(limits.header_timeout).1 {
            limits.reject("slow-header");
        } else if error.is_parse() {
            limits.reject("no-http");
        }
    }
}

/// Gives a request's head its time, and a connection between two requests more of it: hyper knows one limit for both,
/// and asks for the time again whenever it has read something.
#[derive(Debug, Clone)]
struct HeadTimer {
    conn: Arc<Conn>,
    head_timeout: Duration,
}

struct HeadSleep {
    timer: HeadTimer,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let (due, _) = self.conn.head_due(self.head_timeout);
        Box::pin(HeadSleep { timer: self.clone(), sleep: Box::pin(tokio::time::sleep_until(due)) })
    }

    fn sleep_until(&self, _: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(Duration::ZERO)
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, _: std::time::Instant) {
        *sleep = self.sleep(Duration::ZERO);
    }
}

impl hyper::rt::Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (due, _) = self.timer.conn.head_due(self.timer.head_timeout);
        if self.sleep.deadline() != due {
            self.sleep.as_mut().reset(due);
        }
        self.sleep.as_mut().poll(cx)
    }
}

/// A request's body that tells when it is whole.
struct Arriving {
    body: hyper::body::Incoming,
    turn: Arc<Turn>,
}

impl Body for Arriving {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_whole = frame.is_none() || self.body.is_end_stream();
        if is_whole && !self.turn.request_is_whole() {
            // It was told to go, and is dropped in a moment: nobody may begin to work at it.
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body that tells when hyper has taken all of it.
struct Watched<B> {
    body: B,
    /// Of the whole body, as far as it is known.
    bytes: u64,
    conn: Arc<Conn>,
    turn: Arc<Turn>,
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.conn.body_taken();
        self.turn.is_answered(self.bytes);
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
