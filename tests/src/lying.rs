//! A registry that lies: a server of plain HTTP whose answers a test writes, byte by byte where it wants to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How often a connection that keeps its client waiting looks whether it is to end, and how slowly it drips.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The server. It ends with this.
pub struct LyingRegistry {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

/// What somebody asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As `GET`.
    pub method: String,
    /// With what stands behind `?`.
    pub path: String,
    /// All of the head.
    pub head: String,
    /// How often the same was asked before.
    pub before: usize,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Everything, the status line first.
    pub bytes: Vec<u8>,
    /// What comes behind it.
    pub then: Then,
}

/// What comes behind an answer.
#[derive(Clone, Debug)]
pub enum Then {
    /// The end of the connection.
    Close,
    /// Nothing, for ever.
    Stall,
    /// These bytes, again and again.
    Endless(Vec<u8>),
    /// These bytes again and again, one at a time and slowly.
    Drip(Vec<u8>),
}

impl Answer {
    /// An answer with a body, of which it tells the length.
    pub fn new(status: u16, kind: &str, body: &[u8]) -> Answer {
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Answer { bytes: [head.as_bytes(), body].concat(), then: Then::Close }
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Answer {
        Answer { bytes: bytes.as_ref().to_vec(), then: Then::Close }
    }

    /// There is nothing.
    pub fn missing() -> Answer {
        Answer::new(404, "application/json", br#"{"errors":[{"code":"NOT_FOUND","message":"not found"}]}"#)
    }

    /// Elsewhere.
    pub fn redirect(to: &str) -> Answer {
        Answer::new(307, "text/plain", b"").with("Location", to)
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        let at = self.bytes.windows(2).position(|two| two == b"\r\n").expect("a status line") + 2;
        self.bytes.splice(at..at, format!("{name}: {value}\r\n").into_bytes());
        self
    }

    /// Only so many of its bytes.
    pub fn cut(mut self, bytes: usize) -> Answer {
        self.bytes.truncate(bytes);
        self
    }

    /// And then this.
    pub fn then(mut self, then: Then) -> Answer {
        self.then = then;
        self
    }
}

impl LyingRegistry {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> LyingRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, over, answer) = (asked.clone(), is_over.clone(), Arc::new(answer));
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (seen, over, answer) = (seen.clone(), over.clone(), answer.clone());
                std::thread::spawn(move || {
                    // Whoever asks may go away at any time.
                    let _ = serve(stream, &seen, &over, &*answer);
                });
            }
        });
        LyingRegistry { port, asked, is_over, listener: Some(listener) }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked so far, as `GET /v2/`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no connection panics").clone()
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
    answer: &dyn Fn(&Asked) -> Answer,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let Some(head) = head(&mut stream, over)? else { return Ok(()) };
    let mut words = head.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let line = format!("{method} {path}");
    let before = {
        let mut seen = seen.lock().expect("no connection panics");
        seen.push(line.clone());
        seen.iter().filter(|other| **other == line).count() - 1
    };
    let Answer { bytes, then } = answer(&Asked { method: method.clone(), path, head, before });
    // What answers HEAD has no body.
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    stream.write_all(if method == "HEAD" { &bytes[..end] } else { &bytes })?;
    let is_over = || over.load(Ordering::Relaxed);
    match then {
        Then::Close => {}
        Then::Stall => while !is_over() && still_there(&mut stream) {},
        Then::Endless(more) => {
            while !is_over() {
                stream.write_all(&more)?;
            }
        }
        Then::Drip(more) => {
            for byte in more.iter().cycle() {
                if is_over() || !still_there(&mut stream) {
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

/// Waits a moment, and says whether whoever asked still waits too.
fn still_there(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 64];
    match stream.read(&mut buffer) {
        Ok(count) => count > 0,
        Err(e) => matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}
