//! The physical limit: a bare hyper server that appends each body to a file and answers after a group-commit
//! `fdatasync`. It runs in a process of its own, which is this bench started with [`ARGUMENT`].

use crate::daemon::Child;
use crate::http::Door;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Says to the bench's binary: be the bare server; the file follows.
pub(crate) const ARGUMENT: &str = "--be-the-bare-server";

/// At most so many bodies share a sync, as many as there ever are connections.
const GROUP_MAX: usize = 512;

/// A body, and who waits until it is synced.
type Waiting = (Bytes, oneshot::Sender<()>);

/// A running one.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) child: Child,
    pub(crate) door: Door,
}

impl Bare {
    /// On TCP.
    pub(crate) fn start(dir: &Path) -> Self {
        let (child, said) = Self::run(&[&dir.join("bare.log")]);
        Self { child, door: Door::Tcp(said.parse().unwrap()) }
    }

    /// On a Unix socket.
    pub(crate) fn start_local(dir: &Path) -> Self {
        let socket = dir.join("bare.sock");
        let (child, _) = Self::run(&[&dir.join("bare.log"), &socket]);
        Self { child, door: Door::Unix(socket) }
    }

    fn run(args: &[&Path]) -> (Child, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = Child::start(command.arg(ARGUMENT).args(args).stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout()).read_line(&mut line).unwrap();
        (child, line.trim().to_owned())
    }
}

/// Serves until killed, on that socket or on TCP; says on stdout where.
pub(crate) fn serve(path: &Path, socket: Option<&Path>) {
    let file = std::fs::File::create(path).unwrap();
    let (inbox, requests) = mpsc::channel();
    std::thread::spawn(move || write(file, &requests));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        if let Some(socket) = socket {
            let listener = tokio::net::UnixListener::bind(socket).unwrap();
            println!("{}", socket.display());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(stream, inbox.clone()));
            }
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream, inbox.clone()));
        }
    });
}

async fn connection<S>(stream: S, inbox: mpsc::Sender<Waiting>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let inbox = inbox.clone();
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            let (reply, synced) = oneshot::channel();
            inbox.send((body, reply)).unwrap();
            synced.await.unwrap();
            Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::from_static(b"[]"))))
        }
    });
    // A client that goes away is none of its business.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
            .await,
    );
}

fn write(mut file: std::fs::File, requests: &mpsc::Receiver<Waiting>) {
    let mut bytes = Vec::new();
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX {
            let Ok(next) = requests.try_recv() else { break };
            group.push(next);
        }
        bytes.clear();
        for (body, _) in &group {
            bytes.extend_from_slice(body);
            bytes.push(b'\n');
        }
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        for (_, reply) in group {
            // Whoever asked may have gone.
            reply.send(()).ok();
        }
    }
}
