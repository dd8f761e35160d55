//! A real server of NATS with JetStream in a folder of its own, which keeps what it has confirmed when it is killed.

use crate::{DEADLINE, Process, free_port, root, until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Error, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// It may have to be fetched first.
const FETCHED_WITHIN: Duration = Duration::from_secs(600);

/// A server on a port of 127.0.0.1. It ends when this is dropped.
pub struct Nats {
    dir: TempDir,
    port: u16,
    /// Options of the server.
    options: Vec<String>,
    /// Who tests are to it, as a client says it.
    login: Value,
    process: Option<Process>,
}

/// A message in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its sequence.
    pub sequence: u64,
    /// Where it went.
    pub subject: String,
    /// What is in it.
    pub data: Vec<u8>,
}

impl Nats {
    /// Starts one that takes everybody, and waits until JetStream answers.
    pub fn start() -> Nats {
        Nats::with(&[], &json!({}))
    }

    /// The same with these options, as of its command line, where clients log in so.
    pub fn with(options: &[&str], login: &Value) -> Nats {
        let mut nats = Nats::not_started(options, login);
        nats.start_again();
        nats
    }

    /// One that does not run yet.
    pub fn not_started(options: &[&str], login: &Value) -> Nats {
        let fetched = Process::start(&mut Command::new(root().join("scripts/nats.sh"))).wait_within(FETCHED_WITHIN);
        assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
        let dir = TempDir::new().expect("a temporary folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Nats { dir, port: free_port(), options, login: login.clone(), process: None }
    }

    /// One with a file of settings.
    pub fn configured(settings: &str, login: &Value) -> Nats {
        let mut nats = Nats::not_started(&[], login);
        let file = nats.dir.path().join("nats.conf");
        std::fs::write(&file, settings).expect("a file can be written");
        nats.options = vec!["--config".into(), file.display().to_string()];
        nats.start_again();
        nats
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same port, and waits until it listens.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/nats.sh"));
        command.arg(self.port.to_string()).arg(self.dir.path().join("data")).args(&self.options);
        let mut process = Process::start(&mut command);
        let port = self.port;
        process.until("it says that it is ready", |process| {
            process.stderr().contains("Server is ready") && TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        self.process = Some(process);
    }

    /// Lets it do nothing, though it runs and its connections stand; until it [goes on](Self::go_on).
    pub fn hang(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// The server as a job names it.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What JetStream answers to a request.
    ///
    /// # Panics
    /// Where it does not answer, or says that it does not do that.
    #[track_caller]
    pub fn ask(&self, action: &str, what: &Value) -> Value {
        let mut answer = None;
        until("JetStream answers", || {
            answer = self.request(&format!("$JS.API.{action}"), &[], what.to_string().as_bytes());
            answer.is_some()
        });
        let answer: Value = serde_json::from_slice(&answer.expect("an answer")).expect("JSON");
        assert!(answer["error"].is_null(), "{action}: {answer}");
        answer
    }

    /// Makes a stream that takes these subjects.
    #[track_caller]
    pub fn stream(&self, name: &str, subjects: &[&str], more: &Value) {
        let mut config =
            json!({ "name": name, "subjects": subjects, "retention": "limits", "storage": "file", "num_replicas": 1 });
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        self.ask(&format!("STREAM.CREATE.{name}"), &config);
    }

    /// Publishes a message; false: it is not known whether a stream has it.
    pub fn try_publish(&self, subject: &str, headers: &[(&str, &str)], data: &[u8]) -> bool {
        Nats::try_publish_at(self.port, &self.login, subject, headers, data)
    }

    /// The same of the server on a port, which somebody may be killing.
    pub fn try_publish_at(port: u16, login: &Value, subject: &str, headers: &[(&str, &str)], data: &[u8]) -> bool {
        let Ok(Some(answer)) = request(port, login, subject, headers, data) else { return false };
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        assert!(answer["error"].is_null(), "{answer}");
        answer["seq"].is_u64()
    }

    /// Publishes a message that a stream takes.
    #[track_caller]
    pub fn publish(&self, subject: &str, data: &str) {
        until("it takes the message", || self.try_publish(subject, &[], data.as_bytes()));
    }

    /// What a stream holds, in order.
    #[track_caller]
    pub fn messages(&self, stream: &str) -> Vec<Kept> {
        let state = self.ask(&format!("STREAM.INFO.{stream}"), &json!({}))["state"].clone();
        let mut kept = Vec::new();
        let mut client = Client::connect(self.port, &self.login).expect("it answers");
        for sequence in state["first_seq"].as_u64().expect("a number")..=state["last_seq"].as_u64().expect("a number") {
            let what = json!({ "seq": sequence }).to_string();
            let answer = client.request(&format!("$JS.API.STREAM.MSG.GET.{stream}"), &[], what.as_bytes());
            let answer: Value =
                serde_json::from_slice(&answer.expect("it answers").expect("it is there")).expect("JSON");
            let message = &answer["message"];
            if let Some(subject) = message["subject"].as_str() {
                let data = STANDARD.decode(message["data"].as_str().unwrap_or_default()).expect("base64");
                kept.push(Kept { sequence, subject: subject.to_owned(), data });
            }
        }
        kept
    }

    fn request(&self, subject: &str, headers: &[(&str, &str)], data: &[u8]) -> Option<Vec<u8>> {
        request(self.port, &self.login, subject, headers, data).ok().flatten()
    }
}

/// `None`: nobody listens to the subject.
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
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
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
