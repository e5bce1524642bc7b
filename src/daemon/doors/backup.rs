//! `GET /v1/backup`: the archive, in chunks that the reader pulls.
//!
//! While a backup is written the store drops nothing, so its reader must not stand still: one that takes nothing for
//! [`control::BACKUP_PATIENCE`] is let go, and its connection broken.

use crate::control;
use crate::daemon::doors::{delivery::Conn, token};
use crate::store::Store;
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use warp::Reply;
use warp::http::header;
use warp::reply::Response;

/// Bytes in one chunk of the archive: what a reader must take within the patience.
const CHUNK: usize = 64 * 1024;
/// Chunks on their way to the reader.
const CHUNKS_AHEAD: usize = 8;

/// The answer, and the archive behind it. `conn` is the reader's.
pub(crate) fn answer(store: &Store, data_dir: &Path, conn: Arc<Conn>) -> Response {
    let (out, body) = channel(control::BACKUP_PATIENCE);
    let (store, tokens) = (store.clone(), token::files(data_dir));
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(CHUNK, out);
        let written = store.backup(&tokens, &mut out).map_err(|e| e.to_string());
        match written.and_then(|()| out.into_inner().map_err(|e| e.to_string())) {
            Ok(out) => out.finish(),
            Err(error) => {
                tracing::error!("backup failed: {error}");
                conn.cut();
            }
        }
    });
    let mut response = warp::reply::stream(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    response
}

/// A way for an archive. What comes out ends in an error unless all went in: no reader takes a part for the whole.
fn channel(patience: Duration) -> (Out, Body) {
    let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
    let whole = Arc::new(AtomicBool::new(false));
    (Out { chunks, whole: Arc::clone(&whole), patience }, Body { chunks: received, whole })
}

struct Out {
    chunks: mpsc::Sender<Bytes>,
    whole: Arc<AtomicBool>,
    patience: Duration,
}

impl Out {
    /// The archive is whole.
    fn finish(self) {
        // IMPORTANT: before the sender is dropped, which is the end.
        self.whole.store(true, Ordering::Release);
    }
}

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = &bytes[..bytes.len().min(CHUNK)];
        match within(self.chunks.send(Bytes::copy_from_slice(chunk)), self.patience) {
            Some(Ok(())) => Ok(chunk.len()),
            Some(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "its reader has gone")),
            None => {
                let why = format!("its reader took nothing for {} s, and is let go", self.patience.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, which is none of the runtime's, for something that needs no runtime.
fn within<F: Future>(future: F, patience: Duration) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut future, until) = (pin!(future), Instant::now() + patience);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

struct Body {
    chunks: mpsc::Receiver<Bytes>,
    whole: Arc<AtomicBool>,
}

impl warp::Stream for Body {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_recv(cx).map(|chunk| match chunk {
            Some(chunk) => Some(Ok(chunk)),
            None if self.whole.load(Ordering::Acquire) => None,
            None => Some(Err(io::Error::other("the backup failed"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;
    use warp::Stream;

    /// What a reader gets of it, and how it ends.
    fn read(mut body: Body) -> (usize, bool) {
        let mut bytes = 0;
        loop {
            let next = poll_fn(|cx| Pin::new(&mut body).poll_next(cx));
            match within(next, Duration::from_secs(20)).expect("it ends") {
                Some(Ok(chunk)) => bytes += chunk.len(),
                end => return (bytes, end.is_none()),
            }
        }
    }

    #[test]
    fn a_reader_that_stands_still_is_let_go_and_does_not_take_a_part_for_the_whole() {
        let (mut out, body) = channel(Duration::from_millis(50));
        // On a thread, so that one that waits for ever fails.
        let (told, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || drop(told.send(out.write_all(&[7; CHUNK * (CHUNKS_AHEAD + 1)]))));
        let ended = ended.recv_timeout(Duration::from_secs(20)).expect("the writer still waits for its reader");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read(body), (CHUNK * CHUNKS_AHEAD, false));
    }

    #[test]
    fn a_slow_reader_gets_all_and_one_that_has_gone_is_noticed() {
        let (mut out, body) = channel(Duration::from_secs(20));
        let bytes = CHUNK * CHUNKS_AHEAD * 3 + 1;
        let writer = std::thread::spawn(move || {
            out.write_all(&vec![7; bytes]).unwrap();
            out.finish();
        });
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(read(body), (bytes, true));
        writer.join().unwrap();
        let (mut out, body) = channel(Duration::from_secs(20));
        drop(body);
        assert_eq!(out.write(&[7]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
