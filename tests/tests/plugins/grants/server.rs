//! An HTTP server whose behavior, good or bad, is selected by the path of a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running server. Its threads end with their connections, and with the test.
pub struct Server {
    /// Address and port.
    pub authority: String,
    seen: Arc<Mutex<Vec<String>>>,
    elsewhere: Arc<Mutex<String>>,
    left: Arc<AtomicUsize>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let server = Server { authority, seen: Arc::default(), elsewhere: Arc::default(), left: Arc::default() };
        let (seen, elsewhere, left) = (server.seen.clone(), server.elsewhere.clone(), server.left.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, elsewhere, left) = (seen.clone(), elsewhere.clone(), left.clone());
                // Some tests are about clients that disconnect.
                std::thread::spawn(move || drop(serve(stream, &seen, &elsewhere, &left)));
            }
        });
        server
    }

    /// `GET http://127.0.0.1:12345/hello`
    pub fn url(&self, method: &str, path: &str) -> String {
        format!("{method} http://{}{path}", self.authority)
    }

    pub fn port(&self) -> &str {
        self.authority.rsplit_once(':').unwrap().1
    }

    /// Methods and paths of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Sets the target of `/redirect`.
    pub fn redirect_to(&self, authority: &str) {
        *self.elsewhere.lock().unwrap() = format!("http://{authority}/hello");
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    elsewhere: &Mutex<String>,
    left: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut text = first.split_whitespace();
    let (method, path) = (text.next().unwrap_or_default(), text.next().unwrap_or_default());
    seen.lock().unwrap().push(format!("{method} {path}"));
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    match path {
        "/hello" if method == "HEAD" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        "/hello" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
        "/slow" => {
            // Concurrent requests wait at the same time, however late some of them arrive.
            std::thread::sleep(Duration::from_secs(3));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow")
        }
        "/length" => length(reader, stream),
        "/redirect" => {
            let location = elsewhere.lock().unwrap().clone();
            write!(stream, "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
        }
        "/stall" => {
            // Sends nothing until the client disconnects.
            let read = std::io::copy(&mut reader, &mut std::io::sink());
            left.fetch_add(1, Ordering::SeqCst);
            read.map(drop)
        }
        "/left" => {
            // Responds when a client has disconnected from `/stall`.
            millstream_tests::wait_until("a client goes away", || left.load(Ordering::SeqCst) > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nleft")
        }
        "/drip" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
            loop {
                stream.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 65536])?;
            }
        }
        "/headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for number in 0u64.. {
                write!(stream, "x-{number}: {}\r\n", "x".repeat(1000))?;
            }
            Ok(())
        }
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
    }
}

/// Responds with the length of the request's chunked body.
fn length(mut reader: BufReader<TcpStream>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut bytes = 0;
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        reader.read_exact(&mut vec![0; size + 2])?;
        if size == 0 {
            break;
        }
        bytes += size;
    }
    let output = bytes.to_string();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{output}", output.len())
}
