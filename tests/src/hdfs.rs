//! A real HDFS cluster in its own directory. It keeps its data when it is killed.

use crate::{Process, free_port, root, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A name node and a data node on ports of 127.0.0.1. They end when this is dropped.
pub struct Hdfs {
    dir: TempDir,
    port: u16,
    /// The port at which Hadoop's own client puts and gets files for the test.
    http_port: u16,
    process: Option<Process>,
}

impl Hdfs {
    /// Starts one and waits until it takes files.
    pub fn start() -> Hdfs {
        let dir = TempDir::new().expect("a temporary folder");
        let mut hdfs = Hdfs { dir, port: free_port(), http_port: free_port(), process: None };
        hdfs.start_again();
        hdfs
    }

    /// Kills it immediately, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same port, and waits until it takes files.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/hdfs.sh"));
        command.args([self.port, self.http_port].map(|port| port.to_string())).arg(self.dir.path().join("data"));
        let mut process = Process::start(&mut command);
        process.wait_until("the cluster takes files", |_| {
            matches!(self.send_request("PUT", "/started", b"x"), Some((200, _))) && self.get("/started").is_some()
        });
        self.process = Some(process);
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("hdfs://127.0.0.1:{}{path}", self.port)
    }

    /// Makes a file, or replaces it.
    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        wait_until(&format!("{path} is there"), || {
            matches!(self.send_request("PUT", path, content.as_ref()), Some((200, _)))
        });
    }

    /// Removes a file or directory.
    pub fn delete(&self, path: &str) {
        wait_until(&format!("{path} is gone"), || matches!(self.send_request("DELETE", path, b""), Some((200, _))));
    }

    /// Returns the content of a file, or `None` if it does not exist or HDFS does not respond.
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.send_request("GET", path, b"").and_then(|(status, bytes)| (status == 200).then_some(bytes))
    }

    /// Returns the paths of all files below a directory, in order, or `None` if HDFS does not respond.
    pub fn paths(&self, dir: &str) -> Option<Vec<String>> {
        let (200, bytes) = self.send_request("GET", &format!("{dir}?list"), b"")? else { return None };
        let text = String::from_utf8(bytes).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Returns the status and the body of the response, or `None` without a response.
    fn send_request(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut server = TcpStream::connect(("127.0.0.1", self.http_port)).ok()?;
        server.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            path.replace('%', "%25"),
            body.len()
        );
        server.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let mut response = Vec::new();
        server.read_to_end(&mut response).ok()?;
        let status = std::str::from_utf8(response.get(9..12)?).ok()?.parse().ok()?;
        let end = response.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        Some((status, response.split_off(end)))
    }
}
