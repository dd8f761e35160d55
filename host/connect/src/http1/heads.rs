//! Rejects requests whose end is ambiguous: with both `Content-Length` and `Transfer-Encoding`, or with one of them twice. Any `Transfer-Encoding`
//! other than `chunked` is rejected too, as its bytes would be taken for the body. A proxy in front may see another end (request smuggling). hyper
//! accepts them, so this makes their heads unreadable, and hyper responds with 400.

use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const LENGTH: &[u8] = b"content-length";
const ENCODING: &[u8] = b"transfer-encoding";
/// The only transfer coding that is decoded.
const CHUNKED: &[u8] = b"chunked";
/// Longer names are irrelevant, and longer codings are invalid.
const NAME_BYTES_MAX: usize = 32;

/// Headers that a request may have only once, as it is unclear which value applies.
const ONCE: [HeaderName; 8] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    HOST,
    ORIGIN,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("millstream-producer"),
    HeaderName::from_static("millstream-sequence"),
];

/// Returns why a request with a repeated header is rejected.
pub fn repeated(headers: &HeaderMap) -> Option<String> {
    let twice = ONCE.into_iter().find(|name| headers.get_all(name).iter().nth(1).is_some())?;
    Some(format!("the header `{twice}` appears more than once; send it once"))
}

/// A connection that checks the heads of requests as they are read.
pub struct CheckedHeads<S> {
    stream: S,
    scan: Scan,
}

/// Position within the requests.
enum Scan {
    Head(Head),
    /// Remaining bytes of a body.
    Body(u64),
    /// The size of a chunk so far; `true` after its last digit.
    Size(u64, bool),
    /// Remaining bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// A line after the last chunk; bytes of it so far.
    Trailer(u64),
}

/// A head, up to some position in one of its lines.
#[derive(Default)]
struct Head {
    /// Whether the first line has ended.
    has_begun: bool,
    /// Bytes of the line so far, without its line end.
    line: usize,
    /// The beginning of the line, in lower case.
    name: Vec<u8>,
    /// Whether the name has ended.
    name_ended: bool,
    length: Option<u64>,
    chunked: bool,
    /// The value of `Transfer-Encoding`, while it is read.
    coding: Option<Vec<u8>>,
}

impl<S> CheckedHeads<S> {
    /// Creates a connection before its first request.
    pub fn new(stream: S) -> CheckedHeads<S> {
        CheckedHeads { stream, scan: Scan::Head(Head::default()) }
    }
}

impl Scan {
    fn scan_bytes(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let skipped = match self {
                Scan::Body(left) | Scan::Chunk(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skipped as u64;
                    skipped
                }
                _ => 0,
            };
            let (_, rest) = std::mem::take(&mut bytes).split_at_mut(skipped);
            bytes = rest;
            match self {
                Scan::Body(0) => *self = Scan::Head(Head::default()),
                Scan::Chunk(0) => *self = Scan::ChunkEnd,
                Scan::Body(_) | Scan::Chunk(_) => {}
                _ => {
                    let Some((byte, rest)) = std::mem::take(&mut bytes).split_first_mut() else { return };
                    self.next(byte);
                    bytes = rest;
                }
            }
        }
    }

    fn next(&mut self, byte: &mut u8) {
        let next = match self {
            Scan::Head(head) => head.next(byte),
            Scan::Size(size, after_digits) => match *byte {
                b'\n' if *size == 0 => Some(Scan::Trailer(0)),
                b'\n' => Some(Scan::Chunk(*size)),
                digit => {
                    match char::from(digit).to_digit(16) {
                        Some(digit) if !*after_digits => *size = size.saturating_mul(16).saturating_add(digit.into()),
                        _ => *after_digits = true,
                    }
                    None
                }
            },
            Scan::ChunkEnd => (*byte == b'\n').then_some(Scan::Size(0, false)),
            Scan::Trailer(0) if *byte == b'\n' => Some(Scan::Head(Head::default())),
            Scan::Trailer(length) => {
                match *byte {
                    b'\n' => *length = 0,
                    b'\r' => {}
                    _ => *length += 1,
                }
                None
            }
            Scan::Body(_) | Scan::Chunk(_) => None,
        };
        if let Some(next) = next {
            *self = next;
        }
    }
}

impl Head {
    /// Processes the next byte. If it was the last of the head, returns what follows the head.
    fn next(&mut self, byte: &mut u8) -> Option<Scan> {
        match *byte {
            b'\n' => {
                if let Some(coding) = self.coding.take()
                    && (coding.len() > NAME_BYTES_MAX || !coding.trim_ascii().eq_ignore_ascii_case(CHUNKED))
                {
                    // Not allowed in a value, so the head cannot be parsed.
                    *byte = 0;
                    return None;
                }
                let ends = self.has_begun && self.line == 0;
                // Empty lines before a request do not belong to it.
                self.has_begun |= self.line > 0;
                (self.line, self.name_ended) = (0, false);
                self.name.clear();
                return ends.then(|| self.body());
            }
            b'\r' => return None,
            b':' if self.has_begun && !self.name_ended => {
                self.name_ended = true;
                let (length, encoding) = (self.name == LENGTH, self.name == ENCODING);
                if (length || encoding) && (self.length.is_some() || self.chunked) {
                    // Not allowed in a name, so the head cannot be parsed.
                    *byte = 0;
                } else if length {
                    self.length = Some(0);
                } else if encoding {
                    (self.chunked, self.coding) = (true, Some(Vec::new()));
                }
            }
            digit if self.name_ended && self.name == LENGTH && digit.is_ascii_digit() => {
                let length = self.length.unwrap_or_default();
                self.length = Some(length.saturating_mul(10).saturating_add((digit - b'0').into()));
            }
            other if self.coding.is_some() => {
                let coding = self.coding.as_mut().filter(|coding| coding.len() <= NAME_BYTES_MAX);
                coding.into_iter().for_each(|coding| coding.push(other));
            }
            other if !self.name_ended && self.name.len() < NAME_BYTES_MAX => self.name.push(other.to_ascii_lowercase()),
            _ => {}
        }
        self.line += 1;
        None
    }

    fn body(&self) -> Scan {
        match self.length.unwrap_or_default() {
            _ if self.chunked => Scan::Size(0, false),
            0 => Scan::Head(Head::default()),
            length => Scan::Body(length),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedHeads<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, to))?;
        self.scan.scan_bytes(to.filled_mut().get_mut(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CheckedHeads<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests of these were made unreadable, however they are cut.
    fn rejected_count(text: &str) -> usize {
        let mut counts = (1..=text.len()).map(|cut| {
            let (mut scan, mut bytes) = (Scan::Head(Head::default()), text.as_bytes().to_vec());
            bytes.chunks_mut(cut).for_each(|piece| scan.scan_bytes(piece));
            bytes.iter().filter(|byte| **byte == 0).count()
        });
        let first = counts.next().unwrap();
        assert!(counts.all(|count| count == first), "{text}");
        first
    }

    #[test]
    fn two_ends_of_a_request_are_refused() {
        for twice in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "content-LENGTH: 5\nHost: h\ntransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ] {
            let request = format!("POST / HTTP/1.1\r\n{twice}\r\n\r\n");
            assert_eq!(rejected_count(&request), 1, "{twice}");
            for before in [
                "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
                "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na;x=1\r\n0123456789\r\n0\r\nT: x\r\n\r\n",
            ] {
                assert_eq!(rejected_count(&format!("{before}{request}")), 1, "{before}{twice}");
            }
        }
    }

    #[test]
    fn other_codings_than_chunks_are_refused() {
        let request =
            |coding: &str| format!("POST / HTTP/1.1\r\nTransfer-Encoding:{coding}\r\nHost: h\r\n\r\n0\r\n\r\n");
        let long = format!(" chunked{}, gzip", " ".repeat(NAME_BYTES_MAX));
        for wrong in [
            " gzip, chunked",
            " chunked, chunked",
            " chunked, gzip",
            " gzip",
            " identity",
            " chunked;x=1",
            " chunked,",
            "",
            " ",
            &long,
        ] {
            let request = request(wrong);
            assert_eq!(rejected_count(&request), 1, "{wrong}");
            assert_eq!(rejected_count(&format!("GET / HTTP/1.1\r\nHost: h\r\n\r\n{request}")), 1, "{wrong}");
        }
        for right in ["chunked", " chunked", "\tChunked ", " CHUNKED\t"] {
            assert_eq!(rejected_count(&request(right)), 0, "{right}");
        }
    }

    #[test]
    fn what_is_in_a_body_is_none_of_a_head() {
        let like = "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let length = like.len();
        for request in [
            format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{like}GET / HTTP/1.1\r\n\r\n"),
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{like}\r\n0\r\n\r\n"),
            "POST /content-length:transfer-encoding: HTTP/1.1\r\nX: content-length: 5\r\nContent-Length: 1\r\n\r\na"
                .to_owned(),
        ] {
            assert_eq!(rejected_count(&request), 0, "{request}");
        }
    }
}
