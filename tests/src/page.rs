//! The page of a running job as a program sees it: over plain HTTP, byte by byte.

use crate::{DEADLINE, Process, Reply, Trial, holds_within};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A page that a process serves.
pub struct PageAddress {
    /// The port it listens on.
    pub port: u16,
    /// The token that it requires.
    pub token: String,
}

impl PageAddress {
    /// The page of a job that is started with these arguments.
    pub fn start(trial: &Trial, arguments: &[&str]) -> (Process, PageAddress) {
        let mut job = Process::start(&mut trial.isolated_command(&[&["run", "job.toml"], arguments].concat()));
        let seen = PageAddress::of(&mut job);
        (job, seen)
    }

    /// The page of a process.
    pub fn of(process: &mut Process) -> PageAddress {
        process.wait_until("it says where its page is", |process| address(process).is_some());
        address(process).unwrap()
    }

    /// Sends a request with these lines after the `Host` header.
    pub fn send_request(&self, method: &str, path: &str, host: &str, headers: &[&str]) -> Reply {
        let mut stream = self.send(method, path, host, headers);
        let (status, headers) = head(&mut stream);
        let mut body = String::new();
        stream.read_to_string(&mut body).unwrap();
        Reply { status, headers, body }
    }

    /// Sends the same request without reading the response.
    pub fn send(&self, method: &str, path: &str, host: &str, headers: &[&str]) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n").unwrap();
        BufReader::new(stream)
    }

    /// The name of the server.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The line of a header with the token.
    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    /// Gets a path with the token.
    pub fn get(&self, path: &str) -> Reply {
        self.send_request("GET", path, &self.host(), &[&self.bearer()])
    }

    /// Returns the API's response for this path of the only job.
    pub fn get_json(&self, path: &str) -> Value {
        let reply = self.get(&format!("/api/v1/jobs/{}{path}", self.id()));
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        serde_json::from_str(unchunked(&reply).as_str()).unwrap()
    }

    /// The id of the only job.
    pub fn id(&self) -> String {
        let list: Value = serde_json::from_str(&unchunked(&self.get("/api/v1/jobs"))).unwrap();
        list["jobs"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Posts an action for the only job, as the page itself does.
    pub fn post(&self, path: &str) -> Reply {
        let own = format!("Origin: http://{}", self.host());
        self.send_request("POST", &format!("/api/v1/jobs/{}{path}", self.id()), &self.host(), &[&self.bearer(), &own])
    }

    /// Waits until the API's response for this path meets the condition.
    pub fn wait_for_json(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let came = holds_within(DEADLINE, || {
            last = self.get_json(path);
            so(&last)
        });
        assert!(came, "{path}: {last}");
        last
    }
}

fn unchunked(reply: &Reply) -> String {
    assert!(reply.header("transfer-encoding").is_none(), "{reply:?}");
    reply.body.clone()
}

/// Reads the status and the headers of a response.
pub fn head(stream: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => return (status, headers),
        }
    }
}

/// The address that a process has printed.
fn address(process: &Process) -> Option<PageAddress> {
    let text = process.stderr() + &process.stdout();
    let (_, printed) = text.split_once("http://127.0.0.1:")?;
    let (port, rest) = printed.split_once("/?token=")?;
    let (token, _) = rest.split_once('\n')?;
    Some(PageAddress { port: port.parse().ok()?, token: token.to_owned() })
}

/// The next event of a stream.
pub fn news(stream: &mut impl BufRead) -> Value {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream has ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}
