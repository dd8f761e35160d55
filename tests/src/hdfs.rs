//! A real cluster of HDFS in a folder of its own, which keeps what it holds when it is killed.

use crate::{Process, free_port, root, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A name node and a data node on ports of 127.0.0.1. They end when this is dropped.
pub struct Hdfs {
    dir: TempDir,
    port: u16,
    /// Where Hadoop's own client puts and gets files for us.
    asked: u16,
    process: Option<Process>,
}

impl Hdfs {
    /// Starts one and waits until it takes files.
    pub fn start() -> Hdfs {
        let dir = TempDir::new().expect("a temporary folder");
        let mut hdfs = Hdfs { dir, port: free_port(), asked: free_port(), process: None };
        hdfs.start_again();
        hdfs
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same port, and waits until it takes files.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/hdfs.sh"));
        command.args([self.port, self.asked].map(|port| port.to_string())).arg(self.dir.path().join("data"));
        let mut process = Process::start(&mut command);
        process.until("the cluster takes files", |_| {
            matches!(self.ask("PUT", "/started", b"x"), Some((200, _))) && self.get("/started").is_some()
        });
        self.process = Some(process);
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("hdfs://127.0.0.1:{}{path}", self.port)
    }

    /// Makes a file, or replaces it.
    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        until(&format!("{path} is there"), || matches!(self.ask("PUT", path, content.as_ref()), Some((200, _))));
    }

    /// Removes a file or folder.
    pub fn delete(&self, path: &str) {
        until(&format!("{path} is gone"), || matches!(self.ask("DELETE", path, b""), Some((200, _))));
    }

    /// What a file holds; `None`: there is none, or nobody answers.
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.ask("GET", path, b"").and_then(|(status, bytes)| (status == 200).then_some(bytes))
    }

    /// The paths of all files below a folder, in order; `None`: nobody answers.
    pub fn paths(&self, dir: &str) -> Option<Vec<String>> {
        let (200, bytes) = self.ask("GET", &format!("{dir}?list"), b"")? else { return None };
        let text = String::from_utf8(bytes).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    /// The status of an answer, and what it holds; `None`: there was none.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut server = TcpStream::connect(("127.0.0.1", self.asked)).ok()?;
        server.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            path.replace('%', "%25"),
            body.len()
        );
        server.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).ok()?;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        Some((status, answer.split_off(end)))
    }
}
