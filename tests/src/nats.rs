//! A real NATS server with JetStream in its own directory. It keeps what it has confirmed when it is killed.

use crate::{DEADLINE, Process, free_port, root, wait_until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Error, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(600);

/// A Kinesis server on a port of 127.0.0.1. It exits when this is dropped.
pub struct Nats {
    dir: TempDir,
    port: u16,
    /// Options of the server.
    options: Vec<String>,
    /// The credentials of the tests, as a client sends them.
    login: Value,
    process: Option<Process>,
}

/// A message in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its sequence number.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its payload.
    pub data: Vec<u8>,
}

impl Nats {
    /// Starts a server without access control and waits until JetStream responds.
    pub fn start() -> Nats {
        Nats::with(&[], &json!({}))
    }

    /// Starts a server with these command-line options, and with clients that use this login.
    pub fn with(options: &[&str], login: &Value) -> Nats {
        let mut nats = Nats::not_started(options, login);
        nats.start_again();
        nats
    }

    /// Returns a server that does not run yet.
    pub fn not_started(options: &[&str], login: &Value) -> Nats {
        let fetched = Process::start(&mut Command::new(root().join("scripts/nats.sh"))).wait_within(FETCHED_WITHIN);
        assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
        let dir = TempDir::new().expect("a temporary folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Nats { dir, port: free_port(), options, login: login.clone(), process: None }
    }

    /// Starts a server with a configuration file.
    pub fn configured(settings: &str, login: &Value) -> Nats {
        let mut nats = Nats::not_started(&[], login);
        let file = nats.dir.path().join("nats.conf");
        std::fs::write(&file, settings).expect("a file can be written");
        nats.options = vec!["--config".into(), file.display().to_string()];
        nats.start_again();
        nats
    }

    /// Kills it immediately, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same port, and waits until it listens.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/nats.sh"));
        command.arg(self.port.to_string()).arg(self.dir.path().join("data")).args(&self.options);
        let mut process = Process::start(&mut command);
        let port = self.port;
        process.wait_until("it says that it is ready", |process| {
            process.stderr().contains("Server is ready") && TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        self.process = Some(process);
    }

    /// Suspends it: it does nothing, but its connections stay open, until [`resume`](Self::resume).
    pub fn suspend(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// The server as a job names it.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns JetStream's response to a request.
    ///
    /// # Panics
    /// If it does not respond or reports an error.
    #[track_caller]
    pub fn send_request(&self, action: &str, what: &Value) -> Value {
        let mut response = None;
        wait_until("JetStream answers", || {
            response = self.request(&format!("$JS.API.{action}"), &[], what.to_string().as_bytes());
            response.is_some()
        });
        let response: Value = serde_json::from_slice(&response.expect("an answer")).expect("JSON");
        assert!(response["error"].is_null(), "{action}: {response}");
        response
    }

    /// Makes a stream that takes these subjects.
    #[track_caller]
    pub fn stream(&self, name: &str, subjects: &[&str], more: &Value) {
        let mut config =
            json!({ "name": name, "subjects": subjects, "retention": "limits", "storage": "file", "num_replicas": 1 });
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        self.send_request(&format!("STREAM.CREATE.{name}"), &config);
    }

    /// Publishes a message; false: it is not known whether a stream has it.
    pub fn try_publish(&self, subject: &str, headers: &[(&str, &str)], data: &[u8]) -> bool {
        Nats::try_publish_at(self.port, &self.login, subject, headers, data)
    }

    /// The same for the server on a port, which may be killed at any time.
    pub fn try_publish_at(port: u16, login: &Value, subject: &str, headers: &[(&str, &str)], data: &[u8]) -> bool {
        let Ok(Some(response)) = request(port, login, subject, headers, data) else { return false };
        let response: Value = serde_json::from_slice(&response).unwrap_or_default();
        assert!(response["error"].is_null(), "{response}");
        response["seq"].is_u64()
    }

    /// Publishes a message that a stream takes.
    #[track_caller]
    pub fn publish(&self, subject: &str, data: &str) {
        wait_until("it takes the message", || self.try_publish(subject, &[], data.as_bytes()));
    }

    /// Returns the messages of a stream, in order.
    #[track_caller]
    pub fn messages(&self, stream: &str) -> Vec<StoredMessage> {
        let state = self.send_request(&format!("STREAM.INFO.{stream}"), &json!({}))["state"].clone();
        let mut kept = Vec::new();
        let mut client = Client::connect(self.port, &self.login).expect("it answers");
        for sequence in state["first_seq"].as_u64().expect("a number")..=state["last_seq"].as_u64().expect("a number") {
            let what = json!({ "seq": sequence }).to_string();
            let response = client.request(&format!("$JS.API.STREAM.MSG.GET.{stream}"), &[], what.as_bytes());
            let response: Value =
                serde_json::from_slice(&response.expect("it answers").expect("it is there")).expect("JSON");
            let message = &response["message"];
            if let Some(subject) = message["subject"].as_str() {
                let data = STANDARD.decode(message["data"].as_str().unwrap_or_default()).expect("base64");
                kept.push(StoredMessage { sequence, subject: subject.to_owned(), data });
            }
        }
        kept
    }

    fn request(&self, subject: &str, headers: &[(&str, &str)], data: &[u8]) -> Option<Vec<u8>> {
        request(self.port, &self.login, subject, headers, data).ok().flatten()
    }
}

/// Sends a request; `None` if the subject has no subscriber.
fn request(
    port: u16,
    login: &Value,
    subject: &str,
    headers: &[(&str, &str)],
    data: &[u8],
) -> std::io::Result<Option<Vec<u8>>> {
    Client::connect(port, login)?.request(subject, headers, data)
}

/// A client of its own connection.
struct Client {
    reader: BufReader<TcpStream>,
    /// Where answers go. Clients of other threads have others: the server would send each of them all answers.
    inbox: String,
    requests: u64,
}

/// The number of the next client of this process.
static NEXT_CLIENT: AtomicU64 = AtomicU64::new(0);

impl Client {
    fn connect(port: u16, login: &Value) -> std::io::Result<Client> {
        let server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_read_timeout(Some(DEADLINE))?;
        server.set_nodelay(true)?;
        let number = NEXT_CLIENT.fetch_add(1, Ordering::Relaxed);
        let inbox = format!("test.answers.{}.{number}", std::process::id());
        let mut client = Client { reader: BufReader::new(server), inbox, requests: 0 };
        let mut hello = json!({ "verbose": false, "headers": true, "no_responders": true, "protocol": 1 });
        for (key, value) in login.as_object().expect("an object") {
            hello[key] = value.clone();
        }
        client.write(format!("CONNECT {hello}\r\nSUB {}.* 1\r\nPING\r\n", client.inbox).as_bytes())?;
        while !client.line()?.starts_with("PONG") {}
        Ok(client)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 || line.starts_with("-ERR") {
            return Err(Error::other(line));
        }
        Ok(line)
    }

    fn request(&mut self, subject: &str, headers: &[(&str, &str)], data: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        self.requests += 1;
        let inbox = format!("{}.{}", self.inbox, self.requests);
        let mut head = String::from("NATS/1.0\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += "\r\n";
        let mut bytes =
            format!("HPUB {subject} {inbox} {} {}\r\n{head}", head.len(), head.len() + data.len()).into_bytes();
        bytes.extend(data);
        bytes.extend(b"\r\n");
        self.write(&bytes)?;
        loop {
            let line = self.line()?;
            let strings: Vec<&str> = line.split_ascii_whitespace().collect();
            match strings[..] {
                ["PING"] => self.write(b"PONG\r\n")?,
                ["MSG" | "HMSG", to, .., length] => {
                    let mut payload = vec![0; length.parse::<usize>().map_err(Error::other)? + 2];
                    self.reader.read_exact(&mut payload)?;
                    payload.truncate(payload.len() - 2);
                    if to == inbox {
                        return Ok(Some(payload).filter(|payload| !payload.starts_with(b"NATS/1.0 503")));
                    }
                }
                _ => {}
            }
        }
    }
}
