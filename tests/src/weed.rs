//! A real S3 server in a folder of its own, which keeps what it holds when it is killed.

use crate::{Process, free_port, root, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Ports between the parts of the server.
const PORTS: usize = 8;

/// A server on a port of 127.0.0.1 with one bucket named `bucket`. It ends when this is dropped.
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

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same ports, and waits until it has its bucket.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/weed.sh"));
        command.arg(self.dir.path()).args(self.ports.iter().map(u16::to_string)).env("WEED_SECRET", &self.secret);
        let mut process = Process::start(&mut command);
        // Making a bucket that is there already is no error.
        process.until("the S3 server makes a bucket", |_| matches!(self.ask("PUT", "", b""), Some((200 | 409, _))));
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
        until(&format!("object {name} is there"), || {
            matches!(self.ask("PUT", &escaped(name), content.as_ref()), Some((200, _)))
        });
    }

    /// Removes an object of the bucket.
    pub fn delete(&self, name: &str) {
        until(&format!("object {name} does not exist"), || {
            matches!(self.ask("DELETE", &escaped(name), b""), Some((200 | 204, _)))
        });
    }

    /// What an object of the bucket holds; `None`: there is none.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let (status, answer) = self.ask_bytes("GET", &escaped(name), b"")?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        (status == 200).then(|| answer[body..].to_vec())
    }

    /// The names of all objects that begin so, in order; `None`: the server does not answer.
    pub fn names(&self, prefix: &str) -> Option<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().map_or(String::new(), |last| format!("&start-after={}", escaped(last)));
            let asked = format!("?list-type=2&prefix={}{after}", escaped(prefix));
            let (200, text) = self.ask("GET", &asked, b"")? else { return None };
            let before = names.len();
            names.extend(text.split("<Key>").skip(1).filter_map(|key| Some(key.split_once("</Key>")?.0.to_owned())));
            if names.len() == before || !text.contains("<IsTruncated>true") {
                return Some(names);
            }
        }
    }

    /// The status of an answer, and its text; `None`: there was none.
    fn ask(&self, method: &str, name: &str, body: &[u8]) -> Option<(u16, String)> {
        let (status, answer) = self.ask_bytes(method, name, body)?;
        Some((status, String::from_utf8_lossy(&answer).into_owned()))
    }

    fn ask_bytes(&self, method: &str, name: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
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
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).ok()?;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        Some((status, answer))
    }
}

/// A name as a URL has it.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
