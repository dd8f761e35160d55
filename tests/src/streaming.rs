//! An HTTP server that responds byte by byte as a test says: it stalls, disconnects, repeats itself, and speaks WebSocket.

use crate::http::{HttpRequest, HttpServer, ReceivedRequests};
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// The server. It stops when this is dropped, and so do its connections.
pub struct StreamServer(HttpServer);

/// A connection with a request that a test responds to.
pub struct Exchange {
    stream: BufReader<TcpStream>,
    received: Arc<ReceivedRequests>,
    /// The request.
    pub request: HttpRequest,
    /// How many requests were received before.
    pub before: usize,
}

impl StreamServer {
    /// Listens on this port of 127.0.0.1. `response` is called for each connection, on its own thread; when it returns, the
    /// connection is closed.
    pub fn start(
        port: u16,
        response: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
    ) -> StreamServer {
        StreamServer(HttpServer::listen(port, move |mut stream, received| {
            let Some((request, before)) = received.next(&mut stream) else { return };
            // The client may have disconnected.
            let _ = response(&mut Exchange { stream, received: received.clone(), request, before });
        }))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Returns the requests received so far.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.0.requests()
    }
}

impl Exchange {
    /// Writes these bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Responds with 200 and a body without an end, of this type.
    pub fn begin_body(&mut self, kind: &str) -> io::Result<()> {
        self.say(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"))
    }

    /// A piece of such a body.
    pub fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        let head = format!("{:x}\r\n", bytes.len());
        self.say([head.as_bytes(), bytes, b"\r\n"].concat())
    }

    /// Sends a complete response.
    pub fn reply(&mut self, status: u16, head: &str, body: impl AsRef<[u8]>) -> io::Result<()> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{head}\r\n", body.len());
        self.say([head.as_bytes(), body].concat())
    }

    /// Sends nothing until the other side closes the connection or the test ends.
    pub fn silence(&mut self) -> io::Result<()> {
        self.read_bytes(usize::MAX).map(drop)
    }

    /// Returns the next `count` bytes of the other side, or fewer at its end.
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let mut next = [0];
        while received.len() < count && !self.received.is_over() {
            match self.stream.read(&mut next) {
                Ok(0) => break,
                Ok(_) => received.push(next[0]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }

    /// Whether the test is over.
    pub fn is_over(&self) -> bool {
        self.received.is_over()
    }

    /// A frame of a WebSocket, unmasked as servers send them.
    pub fn frame(&mut self, opcode: u8, body: &[u8]) -> io::Result<()> {
        let mut head = vec![0x80 | opcode];
        match body.len() {
            short @ 0..=125 => head.push(short as u8),
            middle @ 126..=0xffff => head.extend([&[126][..], &(middle as u16).to_be_bytes()].concat()),
            long => head.extend([&[127][..], &(long as u64).to_be_bytes()].concat()),
        }
        self.say([&head, body].concat())
    }

    /// The next frame of the other side: its opcode and its content. `None`: it has closed the connection.
    pub fn read_frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let head = self.read_bytes(2)?;
        let [first, length] = head[..] else { return Ok(None) };
        assert!(length & 0x80 != 0, "clients mask what they say");
        let length = match length & 0x7f {
            126 => self.read_bytes(2)?.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
            127 => self.read_bytes(8)?.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
            short => usize::from(short),
        };
        let mask = self.read_bytes(4)?;
        let mut body = self.read_bytes(length)?;
        body.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok(Some((first & 0x0f, body)))
    }
}
