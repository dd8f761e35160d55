//! A real S3 server in its own directory. It keeps its data when it is killed.

use crate::{Process, free_port, root, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Ports between the parts of the server.
const PORTS: usize = 8;

/// A server on a port of 127.0.0.1 with one bucket named `bucket`. It exits when this is dropped.
pub struct WeedServer {
    dir: TempDir,
    ports: Vec<u16>,
    secret: String,
    process: Option<Process>,
}

impl WeedServer {
    /// Starts one and waits until it takes objects.
    pub fn start() -> WeedServer {
        WeedServer::with_secret("secret")
    }

    /// The same, whose client `test` has this secret.
    pub fn with_secret(secret: &str) -> WeedServer {
        let dir = TempDir::new().expect("a temporary folder");
        let ports = (0..PORTS).map(|_| free_port()).collect();
        let mut server = WeedServer { dir, ports, secret: secret.to_owned(), process: None };
        server.start_again();
        server.put("started", "x");
        server.delete("started");
        server
    }

    /// Kills it immediately, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same ports, and waits until it has its bucket.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/weed.sh"));
        command.arg(self.dir.path()).args(self.ports.iter().map(u16::to_string)).env("WEED_SECRET", &self.secret);
        let mut process = Process::start(&mut command);
        // Creating an existing bucket is not an error.
        process.wait_until("the S3 server makes a bucket", |_| {
            matches!(self.send_request("PUT", "", b""), Some((200 | 409, _)))
        });
        self.process = Some(process);
    }

    /// Environment variables for its clients.
    pub fn settings(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.port());
        let settings = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", self.secret.as_str()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// The port that speaks S3.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Makes an object of the bucket, or replaces it.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        wait_until(&format!("object {name} is there"), || {
            matches!(self.send_request("PUT", &escaped(name), content.as_ref()), Some((200, _)))
        });
    }

    /// Removes an object of the bucket.
    pub fn delete(&self, name: &str) {
        wait_until(&format!("object {name} does not exist"), || {
            matches!(self.send_request("DELETE", &escaped(name), b""), Some((200 | 204, _)))
        });
    }

    /// Returns an object of the bucket, or `None` if it does not exist.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let (status, response) = self.request_bytes("GET", &escaped(name), b"")?;
        let body = response.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        (status == 200).then(|| response[body..].to_vec())
    }

    /// Returns the names of all objects with this prefix, in order, or `None` if the server does not respond.
    pub fn names(&self, prefix: &str) -> Option<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().map_or(String::new(), |last| format!("&start-after={}", escaped(last)));
            let requests = format!("?list-type=2&prefix={}{after}", escaped(prefix));
            let (200, text) = self.send_request("GET", &requests, b"")? else { return None };
            let before = names.len();
            names.extend(text.split("<Key>").skip(1).filter_map(|key| Some(key.split_once("</Key>")?.0.to_owned())));
            if names.len() == before || !text.contains("<IsTruncated>true") {
                return Some(names);
            }
        }
    }

    /// Returns the status and the text of the response, or `None` without a response.
    fn send_request(&self, method: &str, name: &str, body: &[u8]) -> Option<(u16, String)> {
        let (status, response) = self.request_bytes(method, name, body)?;
        Some((status, String::from_utf8_lossy(&response).into_owned()))
    }

    fn request_bytes(&self, method: &str, name: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut server = TcpStream::connect(("127.0.0.1", self.port())).ok()?;
        server.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let place = format!("/bucket/{name}");
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            place.trim_end_matches('/'),
            self.port(),
            body.len()
        );
        server.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let mut response = Vec::new();
        server.read_to_end(&mut response).ok()?;
        let status = std::str::from_utf8(response.get(9..12)?).ok()?.parse().ok()?;
        Some((status, response))
    }
}

/// A name as a URL has it.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
