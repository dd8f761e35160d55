//! A server of HTTP that answers byte by byte as a test says: it stalls, breaks off, says things twice, and speaks WebSocket.

use crate::http::{Heard, HttpRequest, HttpServer};
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Such a server. It ends with its handle, and so do its connections.
pub struct StreamServer(HttpServer);

/// A connection with a request that a test answers.
pub struct Asking {
    stream: BufReader<TcpStream>,
    heard: Arc<Heard>,
    /// What is asked.
    pub request: HttpRequest,
    /// How many requests came before.
    pub before: usize,
}

impl StreamServer {
    /// Listens on this port of 127.0.0.1; `answer` is called for each connection, on a thread of its own, and closes it when it
    /// returns.
    pub fn start(port: u16, answer: impl Fn(&mut Asking) -> io::Result<()> + Send + Sync + 'static) -> StreamServer {
        StreamServer(HttpServer::listen(port, move |mut stream, heard| {
            let Some((request, before)) = heard.next(&mut stream) else { return };
            // Who has gone hears no more.
            let _ = answer(&mut Asking { stream, heard: heard.clone(), request, before });
        }))
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<HttpRequest> {
        self.0.asked()
    }
}

impl Asking {
    /// Writes these bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Answers with 200 and a body without an end, of this type.
    pub fn begin(&mut self, kind: &str) -> io::Result<()> {
        self.say(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"))
    }

    /// A piece of such a body.
    pub fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        let head = format!("{:x}\r\n", bytes.len());
        self.say([head.as_bytes(), bytes, b"\r\n"].concat())
    }

    /// All of an answer.
    pub fn reply(&mut self, status: u16, head: &str, body: impl AsRef<[u8]>) -> io::Result<()> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{head}\r\n", body.len());
        self.say([head.as_bytes(), body].concat())
    }

    /// Says nothing until the other side closes the connection, or the test is over.
    pub fn silence(&mut self) -> io::Result<()> {
        self.heard(usize::MAX).map(drop)
    }

    /// The next bytes of the other side, so many or up to its end.
    pub fn heard(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut heard = Vec::new();
        let mut next = [0];
        while heard.len() < count && !self.heard.over() {
            match self.stream.read(&mut next) {
                Ok(0) => break,
                Ok(_) => heard.push(next[0]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }

    /// Whether the test is over.
    pub fn over(&self) -> bool {
        self.heard.over()
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
    pub fn heard_frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let head = self.heard(2)?;
        let [first, length] = head[..] else { return Ok(None) };
        assert!(length & 0x80 != 0, "clients mask what they say");
        let length = match length & 0x7f {
            126 => self.heard(2)?.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
            127 => self.heard(8)?.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
            short => usize::from(short),
        };
        let mask = self.heard(4)?;
        let mut body = self.heard(length)?;
        body.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok(Some((first & 0x0f, body)))
    }
}
