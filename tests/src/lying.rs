//! A registry that lies: a plain HTTP server whose responses a test writes, byte by byte if needed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How often a connection that stalls checks whether it should stop, and the interval of its slow bytes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The server. It stops when this is dropped.
pub struct LyingRegistry {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct LyingRequest {
    /// For example `GET`.
    pub method: String,
    /// Includes the query string.
    pub path: String,
    /// The complete head.
    pub head: String,
    /// How often the same request was received before.
    pub before: usize,
}

/// A response.
#[derive(Clone, Debug)]
pub struct LyingResponse {
    /// All bytes, from the status line on.
    pub bytes: Vec<u8>,
    /// What follows the bytes.
    pub then: Then,
}

/// What follows a response.
#[derive(Clone, Debug)]
pub enum Then {
    /// The end of the connection.
    Close,
    /// Nothing, indefinitely.
    Stall,
    /// These bytes, repeatedly.
    Endless(Vec<u8>),
    /// These bytes, repeatedly and slowly, one at a time.
    Drip(Vec<u8>),
}

impl LyingResponse {
    /// A response with a body and its length.
    pub fn new(status: u16, kind: &str, body: &[u8]) -> LyingResponse {
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        LyingResponse { bytes: [head.as_bytes(), body].concat(), then: Then::Close }
    }

    /// Only these bytes.
    pub fn raw(bytes: impl AsRef<[u8]>) -> LyingResponse {
        LyingResponse { bytes: bytes.as_ref().to_vec(), then: Then::Close }
    }

    /// A 404 response.
    pub fn missing() -> LyingResponse {
        LyingResponse::new(404, "application/json", br#"{"errors":[{"code":"NOT_FOUND","message":"not found"}]}"#)
    }

    /// Elsewhere.
    pub fn redirect(to: &str) -> LyingResponse {
        LyingResponse::new(307, "text/plain", b"").with("Location", to)
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: &str) -> LyingResponse {
        let at = self.bytes.windows(2).position(|two| two == b"\r\n").expect("a status line") + 2;
        self.bytes.splice(at..at, format!("{name}: {value}\r\n").into_bytes());
        self
    }

    /// Keeps only the first `bytes` bytes.
    pub fn cut(mut self, bytes: usize) -> LyingResponse {
        self.bytes.truncate(bytes);
        self
    }

    /// Sets what follows.
    pub fn then(mut self, then: Then) -> LyingResponse {
        self.then = then;
        self
    }
}

impl LyingRegistry {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start(respond: impl Fn(&LyingRequest) -> LyingResponse + Send + Sync + 'static) -> LyingRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (requests, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, over, respond) = (requests.clone(), is_over.clone(), Arc::new(respond));
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (seen, over, respond) = (seen.clone(), over.clone(), respond.clone());
                std::thread::spawn(move || {
                    // The client may disconnect at any time.
                    let _ = serve(stream, &seen, &over, &*respond);
                });
            }
        });
        LyingRegistry { port, requests, is_over, listener: Some(listener) }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the requests so far, for example `GET /v2/`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no connection panics").clone()
    }
}

impl Drop for LyingRegistry {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    over: &AtomicBool,
    respond: &dyn Fn(&LyingRequest) -> LyingResponse,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let Some(head) = head(&mut stream, over)? else { return Ok(()) };
    let mut text = head.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (text.next(), text.next()) else { return Ok(()) };
    let line = format!("{method} {path}");
    let before = {
        let mut seen = seen.lock().expect("no connection panics");
        seen.push(line.clone());
        seen.iter().filter(|other| **other == line).count() - 1
    };
    let LyingResponse { bytes, then } = respond(&LyingRequest { method: method.clone(), path, head, before });
    // A response to HEAD has no body.
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    stream.write_all(if method == "HEAD" { &bytes[..end] } else { &bytes })?;
    let is_over = || over.load(Ordering::Relaxed);
    match then {
        Then::Close => {}
        Then::Stall => while !is_over() && is_connected(&mut stream) {},
        Then::Endless(more) => {
            while !is_over() {
                stream.write_all(&more)?;
            }
        }
        Then::Drip(more) => {
            for byte in more.iter().cycle() {
                if is_over() || !is_connected(&mut stream) {
                    break;
                }
                stream.write_all(&[*byte])?;
            }
        }
    }
    Ok(())
}

fn head(stream: &mut TcpStream, over: &AtomicBool) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
        if head.len() > HEAD_BYTES_MAX || over.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// Waits a moment and returns whether the client is still connected.
fn is_connected(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 64];
    match stream.read(&mut buffer) {
        Ok(count) => count > 0,
        Err(e) => matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}
