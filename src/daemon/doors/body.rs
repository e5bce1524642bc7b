//! Reads the body of a request, within its limits.

use crate::daemon::budget::Taken;
use crate::daemon::doors::refusal::Refusal;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::pin::pin;
use std::time::Duration;

pub(super) fn too_large(max: u64) -> Refusal {
    Refusal::new(413, "body-too-large", format!("the body is larger than {max} bytes (http.body_max)"))
}

/// Reads a request's body, chunked or not, up to `max` bytes within `timeout` in all. `declared`: how many bytes the
/// request said there are, as far as it said. `taken` counts them among all bodies under way.
pub(super) async fn read<S, B>(
    body: S,
    declared: Option<u64>,
    max: u64,
    timeout: Duration,
    taken: &mut Taken,
) -> Result<Bytes, Refusal>
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let declared = usize::try_from(declared.unwrap_or(0).min(max)).unwrap_or(0);
    let read = async {
        let mut body = pin!(body);
        // Most bodies come in one piece, and stay where they are.
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        while let Some(chunk) = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let mut chunk = chunk.map_err(|_| Refusal::new(400, "body-broken", "the body ended too early"))?;
            if (first.len() + whole.len()) as u64 + chunk.remaining() as u64 > max {
                return Err(too_large(max));
            }
            if !taken.grow(chunk.remaining()) {
                return Err(Refusal::new(
                    503,
                    "busy",
                    "too many large requests are under way; send it again in a moment",
                ));
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk.copy_to_bytes(chunk.remaining());
                continue;
            }
            if !first.is_empty() {
                whole.reserve(declared.max(first.len() + chunk.remaining()));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.put(chunk);
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    };
    tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| {
        Err(Refusal::new(
            408,
            "body-too-slow",
            format!("the body did not arrive within {timeout:?} (http.body_timeout)"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::budget::Budget;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body as it comes over the wire; without an end when `open`.
    struct Arriving {
        pieces: VecDeque<Bytes>,
        open: bool,
    }

    impl warp::Stream for Arriving {
        type Item = Result<Bytes, warp::Error>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.pieces.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(piece))),
                None if self.open => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn body(pieces: &[&'static [u8]], open: bool) -> Arriving {
        Arriving { pieces: pieces.iter().map(|piece| Bytes::from_static(piece)).collect(), open }
    }

    #[tokio::test]
    async fn a_body_beyond_what_all_may_have_under_way_is_refused_until_there_is_room_again() {
        const TIMEOUT: Duration = Duration::from_secs(20);
        let budget = Budget::new(10);
        let read = |body, mut taken| async move {
            let read = super::read(body, None, 100, TIMEOUT, &mut taken).await;
            (read.map_err(|failure| (failure.status, failure.code)), taken)
        };
        let mut one = Box::pin(read(body(&[b"123", b"456"], true), budget.open()));
        assert!(tokio::time::timeout(Duration::ZERO, &mut one).await.is_err(), "it is under way");
        let (refused, taken) = read(body(&[b"1234", b"5"], false), budget.open()).await;
        assert_eq!(refused, Err((503, "busy")));
        drop(taken);
        let (whole, taken) = read(body(&[b"12", b"34"], false), budget.open()).await;
        assert_eq!(whole.unwrap(), "1234");
        // What was read counts until it is stored; a connection that breaks gives back what had come.
        assert_eq!(read(body(&[b"5"], false), budget.open()).await.0, Err((503, "busy")));
        drop((one, taken));
        assert_eq!(read(body(&[b"12345", b"67890"], false), budget.open()).await.0.unwrap(), "1234567890");
    }
}
