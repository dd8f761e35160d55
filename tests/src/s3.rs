//! A real S3 server, and a network between it and its clients that fails periodically.

use crate::{Process, free_port, root};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A server on a port of 127.0.0.1, in memory, with one bucket named `bucket`. It exits when this is dropped.
pub struct S3Server {
    _process: Process,
    port: u16,
}

impl S3Server {
    /// Starts a server and waits until it responds.
    pub fn start() -> S3Server {
        let port = free_port();
        let mut process = Process::start(Command::new(root().join("scripts/s3.sh")).arg(port.to_string()));
        process.wait_until("the S3 server makes a bucket", |_| made_bucket(port));
        S3Server { _process: process, port }
    }

    /// Environment variables for its clients.
    pub fn settings(&self) -> Vec<(String, String)> {
        settings(self.port)
    }
}

/// Environment variables for clients of an S3 server on this port.
fn settings(port: u16) -> Vec<(String, String)> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let settings = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn made_bucket(port: u16) -> bool {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let credential = "Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let request = format!(
        "PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: AWS4-HMAC-SHA256 {credential}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let mut response = Vec::new();
    let requested = server.write_all(request.as_bytes()).and_then(|()| server.read_to_end(&mut response));
    requested.is_ok() && String::from_utf8_lossy(&response).starts_with("HTTP/1.1 200")
}

/// A proxy before a server that fails every third request. In turn it responds with 500 without forwarding, forwards and responds
/// with 500, and forwards without a response. It ends with the test.
pub struct FailingProxy {
    port: u16,
    requests: Arc<AtomicU64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Served,
    Refused,
    DoneButRefused,
    DoneButSilent,
}

impl FailingProxy {
    /// Before this server.
    pub fn before(server: &S3Server) -> FailingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let requests = Arc::new(AtomicU64::new(0));
        let (count, server) = (requests.clone(), server.port);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let fate = match (number % 3, number / 3 % 3) {
                    (0, 0) => Fate::Refused,
                    (0, 1) => Fate::DoneButRefused,
                    (0, _) => Fate::DoneButSilent,
                    _ => Fate::Served,
                };
                // A client that disconnects is not an error of the proxy.
                std::thread::spawn(move || serve(client, server, fate).ok());
            }
        });
        FailingProxy { port, requests }
    }

    /// Environment variables for clients.
    pub fn settings(&self) -> Vec<(String, String)> {
        settings(self.port)
    }

    /// Requests so far; a third of them failed.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// One request per connection, so that each has its own fate.
fn serve(mut client: TcpStream, server: u16, fate: Fate) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(request) = read_request(&mut client)? else { return Ok(()) };
    let mut response = Vec::new();
    if fate != Fate::Refused {
        let mut server = TcpStream::connect(("127.0.0.1", server))?;
        server.write_all(&request)?;
        server.read_to_end(&mut response)?;
    }
    match fate {
        Fate::Served => client.write_all(&response)?,
        Fate::DoneButSilent => {}
        Fate::Refused | Fate::DoneButRefused => {
            client.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?
        }
    }
    client.shutdown(Shutdown::Both)
}

/// Reads a complete request, and changes it so that the server closes the connection after its response.
fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let header = |line: &str, name: &str| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned);
            let length = head.lines().find_map(|line| header(line, "content-length:"));
            let length = length.map_or(0, |length| length.trim().parse::<usize>().expect("a length"));
            if bytes.len() >= end + 4 + length {
                let lines = head.lines().filter(|line| header(line, "connection:").is_none());
                let head: String = lines.map(|line| format!("{line}\r\n")).collect();
                let mut request = format!("{head}Connection: close\r\n\r\n").into_bytes();
                request.extend_from_slice(&bytes[end + 4..]);
                return Ok(Some(request));
            }
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
