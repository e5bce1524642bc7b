//! Who asks for commands: what stands in the query of a poll, however a client wrote it there (contract 2).
//!
//! Promises: names come in UTF-8 or GB18030, percent-encoded or raw; a second `?`, which clients glue on when the
//! address that was typed into them has one already, begins more of the query; what the client adds itself comes later
//! than what was typed, and counts. A name that could be no id, and the process 0, are nothing.
//! Leaves to others: which account that is (`accounts`).

use crate::daemon::accounts::poller::{Name, Poller};
use crate::protocol::contact;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest name that a poller may give itself, bytes: ids have at most 128.
const NAME_BYTES_MAX: usize = 128;

/// Who polls with that query, from there.
pub(crate) fn read(raw: &str, peer: SocketAddr) -> Poller {
    // What says nothing is as if it were not there.
    let last = |wanted: &str| {
        let pairs = raw.split(['&', '?']).filter_map(|pair| pair.split_once('='));
        pairs
            .rev()
            .filter(|(name, _)| *name == wanted)
            .map(|(_, value)| decoded(value))
            .find(|name| !contact::nothing(&name.text))
    };
    let sound = |text: &String| text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    let name = |wanted: &str| {
        let Name { text, or } = last(wanted)?;
        Some(Name { text: text.trim().to_owned(), or: or.filter(sound) }).filter(|name| sound(&name.text))
    };
    let pid = last("pid").and_then(|pid| pid.text.trim().parse().ok()).filter(|pid| *pid != 0);
    Poller { wxid: name("wxid"), account: name("account"), pid, peer }
}

/// Percent-decoded, as UTF-8 where it is that, else, or otherwise, as GB18030: the code page of most PCs that WeHelp runs
/// on. There are names that are both: 小强 in GB18030 is two letters in UTF-8.
fn decoded(text: &str) -> Name {
    if text.is_ascii() && !text.contains(['%', '+']) {
        return text.to_owned().into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let escaped = match more {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(match (first, escaped) {
            (_, Some(byte)) => byte,
            (b'+', None) => b' ',
            (first, None) => *first,
        });
        rest = &more[if escaped.is_some() { 2 } else { 0 }..];
    }
    let (chinese, _, is_wrong) = encoding_rs::GB18030.decode(&bytes);
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let or = (!text.is_ascii() && !is_wrong).then(|| chinese.into_owned());
            Name { text: text.to_owned(), or }
        }
        Err(_) => chinese.into_owned().into(),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// A connection whose first line reaches the HTTP parser as one that it takes: there are clients that put a name into
/// their address as it was typed, in GB18030, with blanks and quotes in it. In the target, which ends at the last
/// ` HTTP/1.x` of the line, those are percent-encoded, and so is everywhere what is no ASCII. Such clients ask on a
/// connection of its own: the answer to a line that was [`mended`](Self::mended) is to end it. What comes after the first
/// line is not touched.
#[derive(Debug)]
pub(crate) struct FirstLine<S> {
    inner: S,
    is_over: bool,
    is_in_target: bool,
    mended: Arc<AtomicBool>,
    /// Encoded, and not yet read.
    ahead: Vec<u8>,
    /// A blank in the target and what followed it, while that may be the line's end: less than [`END`].
    held: Vec<u8>,
}

/// How a request line ends; the digit may be another.
const END: &[u8] = b" HTTP/1.1\r\n";

impl<S> FirstLine<S> {
    pub(crate) fn new(inner: S) -> Self {
        let mended = Arc::default();
        Self { inner, is_over: false, is_in_target: false, mended, ahead: Vec::new(), held: Vec::new() }
    }

    /// Whether something in the line was encoded; it is known when the line has been read.
    pub(crate) fn mended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.mended)
    }

    /// Encodes what was read, as far as it is the first line.
    fn encode(&mut self, read: &[u8]) {
        for &byte in read {
            if !self.held.is_empty() {
                if self.may_end(byte) {
                    self.held.push(byte);
                    if byte == b'\n' {
                        self.is_over = true;
                        self.ahead.append(&mut self.held);
                    }
                    continue;
                }
                // What was held does not end the line: its blank is the target's.
                let held = std::mem::take(&mut self.held);
                self.escape(held[0]);
                self.ahead.extend(&held[1..]);
            }
            match byte {
                _ if self.is_over => self.ahead.push(byte),
                b' ' if self.is_in_target => self.held.push(byte),
                b'\t' | b'"' | b'<' | b'>' if self.is_in_target => self.escape(byte),
                _ if byte.is_ascii() => self.ahead.push(byte),
                _ => self.escape(byte),
            }
            self.is_in_target |= byte == b' ';
            self.is_over |= byte == b'\n';
        }
    }

    /// Whether the line may end with what is held and this byte.
    fn may_end(&self, byte: u8) -> bool {
        match self.held.len() {
            8 => byte.is_ascii_digit(),
            // Before the line feed there may be no carriage return.
            9 => byte == b'\r' || byte == b'\n',
            at => END.get(at) == Some(&byte),
        }
    }

    fn escape(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.ahead.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        self.mended.store(true, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstLine<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        /// Of the first line, bytes read at once.
        const PIECE: usize = 1024;
        if self.is_over && self.ahead.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        // What is all held back is not the end of the connection.
        while self.ahead.is_empty() && buf.remaining() > 0 {
            let mut piece = [0; PIECE];
            let room = PIECE.min(buf.remaining());
            let mut piece = ReadBuf::new(&mut piece[..room]);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                let FirstLine { ahead, held, .. } = &mut *self;
                ahead.append(held);
                break;
            }
            self.encode(piece.filled());
        }
        let fits = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..fits]);
        self.ahead.drain(..fits);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstLine<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn of(raw: &str) -> (Option<String>, Option<String>, Option<u64>) {
        let poller = read(raw, "127.0.0.1:9".parse().unwrap());
        let text = |name: Option<Name>| name.map(|name| name.text);
        (text(poller.wxid), text(poller.account), poller.pid)
    }

    #[test]
    fn a_poller_says_who_it_is_or_nothing() {
        let some = |text: &str| Some(text.to_owned());
        for (raw, poller) in [
            ("wxid=wxid_a&pid=7", (some("wxid_a"), None, Some(7))),
            ("account=%E5%AE%B6&pid=x", (None, some("家"), None)),
            ("account=家", (None, some("家"), None)),
            // GB18030.
            ("account=%BC%D2&pid=0", (None, some("家"), None)),
            ("account=a+b%20c", (None, some("a b c"), None)),
            ("wxid=null&pid=(null)", (None, None, None)),
            ("wxid=NULL&account=undefined&pid=", (None, None, None)),
            ("wxid=&account=work", (None, some("work"), None)),
            // Typed, and then added by the client.
            ("account=work?wxid=wxid_a&pid=7", (some("wxid_a"), some("work"), Some(7))),
            ("account=work&wxid=null&pid=8", (None, some("work"), Some(8))),
            ("wxid=wxid_typed?wxid=wxid_own", (some("wxid_own"), None, None)),
            ("wxid=wxid_typed?wxid=null", (some("wxid_typed"), None, None)),
            ("wxid=a%00b", (None, None, None)),
            ("wxid=%zz%", (some("%zz%"), None, None)),
            ("", (None, None, None)),
        ] {
            assert_eq!(of(raw), poller, "{raw}");
        }
        for nothing in
            ["", "null", "NULL", "Null", "undefined", "Undefined", "(null)", "(NULL)", "None", "+null+", "%20"]
        {
            let encoded: String = nothing.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let encoded = if nothing.contains(['+', '%']) { nothing } else { &encoded };
            for word in [nothing, encoded] {
                for raw in
                    [format!("wxid={word}&account={word}&pid={word}"), format!("account={word}?wxid={word}&pid={word}")]
                {
                    assert_eq!(of(&raw), (None, None, None), "{raw}");
                }
                // What says nothing hides nothing that was typed before it.
                let raw = format!("wxid=wxid_a&account=work&pid=7?wxid={word}&account={word}&pid={word}");
                assert_eq!(of(&raw), (some("wxid_a"), some("work"), Some(7)), "{raw}");
            }
        }
        // Right in both.
        let both = read("account=%D0%A1%C7%BF", "127.0.0.1:9".parse().unwrap());
        assert_eq!(both.account, Some(Name { text: "Сǿ".into(), or: Some("小强".into()) }));
        assert_eq!(of(&format!("wxid={}", "x".repeat(NAME_BYTES_MAX + 1))).0, None);
    }

    /// What comes of what was sent, read in pieces of that size, and whether it was mended.
    async fn through(sent: &[u8], size: usize) -> (Vec<u8>, bool) {
        let mut line = FirstLine::new(sent);
        let (mut got, mut piece) = (Vec::new(), vec![0; size]);
        loop {
            match line.read(&mut piece).await.unwrap() {
                0 => return (got, line.mended().load(Ordering::Relaxed)),
                n => got.extend_from_slice(&piece[..n]),
            }
        }
    }

    #[tokio::test]
    async fn only_the_first_line_is_mended() {
        let rest = b"X: \xbc\xd2 \"a HTTP/1.1\r\n\r\n\xff".repeat(700);
        for (line, mended) in [
            (&b"GET /send_msg?account=\xbc\xd2 HTTP/1.1\r\n"[..], &b"GET /send_msg?account=%BC%D2 HTTP/1.1\r\n"[..]),
            (b"GET /?account=Li Si HTTP/1.1\r\n", b"GET /?account=Li%20Si HTTP/1.1\r\n"),
            (b"GET /?a=Li HTTP/1.1  HTTP/1.0\n", b"GET /?a=Li%20HTTP/1.1%20 HTTP/1.0\n"),
            (b"GET /?a=\"a\t<b>' HTTP/1.1\r\n", b"GET /?a=%22a%09%3Cb%3E' HTTP/1.1\r\n"),
            (b"POST /recieve_msg?a=%20{|}#x HTTP/1.1\r\n", b"POST /recieve_msg?a=%20{|}#x HTTP/1.1\r\n"),
            // No request line at all: the parser says so.
            (b"GET /a b\r\n", b"GET /a%20b\r\n"),
            (b"\r\n", b"\r\n"),
        ] {
            for size in [1, 2, 7, 4096] {
                let got = through(&[line, &rest].concat(), size).await;
                assert_eq!(got, ([mended, &rest].concat(), mended != line), "{} {size}", line.escape_ascii());
            }
        }
        // The connection ends where nobody knows yet what it was.
        for cut in [&b"GET /a HTTP/1."[..], b"GET ", b""] {
            assert_eq!(through(cut, 4096).await, (cut.to_vec(), false));
        }
    }
}
