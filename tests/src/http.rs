//! A small HTTP/1.1 client and server over plain TCP. Tests control every byte, also invalid ones, and see all bytes received.

use crate::DEADLINE;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A connection that stays open from request to request.
pub struct HttpClient {
    stream: BufReader<TcpStream>,
}

/// A server's response.
#[derive(Debug)]
pub struct Reply {
    /// For example 200.
    pub status: u16,
    /// Names are lower case.
    pub headers: Vec<(String, String)>,
    /// The complete body.
    pub body: String,
}

impl Reply {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl HttpClient {
    /// Connects with this port of 127.0.0.1.
    pub fn connect(port: u16) -> io::Result<HttpClient> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(HttpClient { stream: BufReader::new(stream) })
    }

    /// Connects from this address of this machine.
    pub fn connect_from(from: &str, port: u16) -> io::Result<HttpClient> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let address = |ip: &str, port: u16| SocketAddr::new(ip.parse().expect("an address"), port).into();
        socket.bind(&address(from, 0))?;
        socket.connect(&address("127.0.0.1", port))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(HttpClient { stream: BufReader::new(stream) })
    }

    /// Writes these bytes, whatever they are.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Returns the next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends a request without waiting for the response. `headers` are complete lines without their line ends.
    pub fn send(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|line| head.extend([line, "\r\n"]));
        head.push_str("\r\n");
        self.say(&[head.as_bytes(), body].concat())
    }

    /// Closes the sending side.
    pub fn close_own_side(&self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }

    /// Waits for a response.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        let mut next = |stream: &mut BufReader<TcpStream>| {
            line.clear();
            match stream.read_line(&mut line)? {
                0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                _ => Ok(line.trim_end().to_owned()),
            }
        };
        let first = next(&mut self.stream)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = next(&mut self.stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Posts a body and waits for the response.
    pub fn post(&mut self, headers: &[&str], body: impl AsRef<[u8]>) -> io::Result<Reply> {
        self.send("POST", "/", headers, body.as_ref())?;
        self.reply()
    }
}

/// A server that responds as a test says, and records its requests. It stops when this is dropped.
pub struct HttpServer {
    port: u16,
    received: Arc<ReceivedRequests>,
}

/// The state shared by all connections of a server.
#[derive(Default)]
pub(crate) struct ReceivedRequests {
    requests: Mutex<Vec<HttpRequest>>,
    over: AtomicBool,
}

/// A request that a server got.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// For example `POST /path HTTP/1.1`.
    pub line: String,
    /// Names are lower case.
    pub headers: Vec<(String, String)>,
    /// The complete body.
    pub body: String,
}

impl HttpRequest {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

impl HttpServer {
    /// Listens on this port of 127.0.0.1. `respond` gets a request and the number of requests before it. It returns the status,
    /// more header lines and the body, or `None` for no response.
    pub fn start(
        port: u16,
        respond: impl Fn(&HttpRequest, usize) -> Option<(u16, String, String)> + Send + Sync + 'static,
    ) -> HttpServer {
        HttpServer::listen(port, move |stream, received| serve(stream, received, &respond))
    }

    /// Listens on this port of 127.0.0.1; each connection has a thread of its own.
    pub(crate) fn listen(
        port: u16,
        serve: impl Fn(BufReader<TcpStream>, &Arc<ReceivedRequests>) + Send + Sync + 'static,
    ) -> HttpServer {
        // Another test may have tried this port for itself just now.
        let mut listener = None;
        crate::holds_within(DEADLINE, || {
            listener = TcpListener::bind(("127.0.0.1", port)).ok();
            listener.is_some()
        });
        let listener = listener.expect("nobody listens there");
        listener.set_nonblocking(true).expect("a listener");
        let received = Arc::new(ReceivedRequests::default());
        let server = HttpServer { port, received: received.clone() };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            while !received.is_over() {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let (received, serve) = (received.clone(), serve.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_nonblocking(false);
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
                    serve(BufReader::new(stream), &received);
                });
            }
        });
        server
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the requests received so far.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.received.requests.lock().expect("no server panics").clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.received.over.store(true, Ordering::Release);
    }
}

impl ReceivedRequests {
    /// Whether the test is over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The next request of a connection, and how many came before it on all of them; `None` at its end.
    pub fn next(&self, stream: &mut BufReader<TcpStream>) -> Option<(HttpRequest, usize)> {
        let request = read_request(stream, &self.over)?;
        let mut requests = self.requests.lock().expect("no server panics");
        requests.push(request.clone());
        Some((request, requests.len() - 1))
    }
}

type Responder = dyn Fn(&HttpRequest, usize) -> Option<(u16, String, String)>;

/// Serves one connection until it or the server ends.
fn serve(mut stream: BufReader<TcpStream>, received: &ReceivedRequests, respond: &Responder) {
    while let Some((request, before)) = received.next(&mut stream) {
        let Some((status, more, body)) = respond(&request, before) else { return };
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{more}\r\n", body.len());
        if stream.get_mut().write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

/// The next request; `None` at the end of the connection.
fn read_request(stream: &mut BufReader<TcpStream>, end: &AtomicBool) -> Option<HttpRequest> {
    let mut bytes = Vec::new();
    let read_until = |stream: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>, complete: &dyn Fn(&[u8]) -> bool| {
        while !complete(bytes) {
            let mut next = [0];
            match stream.read(&mut next) {
                Ok(0) => return None,
                Ok(_) => bytes.push(next[0]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if end.load(Ordering::Acquire) {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
        Some(())
    };
    read_until(stream, &mut bytes, &|bytes| bytes.ends_with(b"\r\n\r\n"))?;
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    read_until(stream, &mut body, &|bytes| bytes.len() == length)?;
    Some(HttpRequest { line, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
