//! A connection with a server of NATS, for a thread that waits: what comes is read when it is asked for.

use super::protocol::{self, Incoming, Info, KnownBy, Received, publish, refusal};
use super::{ANSWER_MAX, ApiError, FORM, Fault, Server};
use crate::dial::{Line, ServerAddress, silent};
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// After so long without a word the server is asked whether it lives.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// Messages that wait while an answer is waited for: more than are ever asked for.
const WAITING_MAX: usize = 100_000;
/// Bytes of their payloads.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Status of an answer that nobody else gives: nobody listens to the subject.
const NOBODY: u16 = 503;

/// A connection that the server has accepted.
pub struct Connection {
    line: Line,
    known_by: KnownBy,
    /// Most bytes of a message.
    pub payload_max: usize,
    /// What answers begin with.
    inbox: String,
    requests: u64,
    /// Messages that came while an answer was waited for.
    waiting: VecDeque<Received>,
    waiting_bytes: usize,
    /// When it was asked whether it lives; `None`: it has said something since.
    asked: Option<Instant>,
}

impl Connection {
    /// Connects, and waits until the server has accepted it.
    pub fn open(server: &Server) -> Result<Connection, Fault> {
        let credentials = server.credentials()?;
        let known_by = match (&credentials, &server.place.user) {
            (Some(_), _) => KnownBy::Credentials,
            (None, Some(_)) => KnownBy::Url,
            (None, None) => KnownBy::Nothing,
        };
        let mut line = Line::open(&server.place)?;
        let until = Instant::now() + ANSWER_MAX;
        // The server speaks first, before TLS.
        let info = loop {
            match taken(&mut line)? {
                Some(Incoming::Info(info)) => break info,
                Some(Incoming::Error(said)) => return Err(refusal(&said, known_by)),
                Some(_) => return Err(Fault::Passing("its first word is not NATS".into())),
                None if line.more(until.saturating_duration_since(Instant::now()))? => {}
                None => return Err(silent()),
            }
        };
        check_tls(&server.place, &info)?;
        line.secure(&server.place)?;
        let mut connection = Connection {
            line,
            known_by,
            payload_max: if info.max_payload == 0 { usize::MAX } else { info.max_payload },
            // Nobody can listen to answers who does not know it.
            inbox: format!("_INBOX.{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1)),
            requests: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            asked: None,
        };
        if !info.headers {
            return Err(Fault::Lasting("it is too old: its messages have no headers; renew it (2.2 or newer)".into()));
        }
        let mut hello = json!({
            "verbose": false, "pedantic": false, "tls_required": server.place.tls.is_some(), "name": "millstream",
            "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true, "echo": false,
        });
        if let Some(credentials) = credentials {
            let nonce = info.nonce.as_deref().ok_or_else(|| {
                Fault::Lasting(
                    "it does not support authentication by keys (nkeys); enable it, or set user and password in `url`"
                        .into(),
                )
            })?;
            credentials.tell(&mut hello, nonce);
        }
        let password = server.place.password.as_deref().map(String::from_utf8_lossy);
        match (&server.place.user, password) {
            (Some(user), Some(password)) => {
                hello["user"] = user.as_str().into();
                hello["pass"] = password.into();
            }
            (Some(token), None) => hello["auth_token"] = token.as_str().into(),
            (None, _) => {}
        }
        let first = format!("CONNECT {hello}\r\nSUB {}.* 1\r\nPING\r\n", connection.inbox);
        connection.line.send(first.as_bytes())?;
        loop {
            match connection.take_or_wait(until)? {
                Some(Incoming::Pong) => return Ok(connection),
                Some(_) => {}
                None => return Err(silent()),
            }
        }
    }

    /// Sends this.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.line.send(bytes)
    }

    /// A subject that answers may come to, and that was never used.
    pub fn new_inbox(&mut self) -> String {
        self.requests += 1;
        format!("{}.{}", self.inbox, self.requests)
    }

    /// The next message; `None`: none has come within this time.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Received>, Fault> {
        match self.waiting.pop_front() {
            Some(message) => {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(message.payload.len());
                Ok(Some(message))
            }
            None => self.next_new(Instant::now() + wait),
        }
    }

    fn next_new(&mut self, until: Instant) -> Result<Option<Received>, Fault> {
        loop {
            match self.take_or_wait(until)? {
                Some(Incoming::Message(message)) => return Ok(Some(message)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// What JetStream answers to a request, or what it says where it does not do that.
    pub fn ask(&mut self, subject: &str, what: &Json) -> Result<Result<Json, ApiError>, Fault> {
        let inbox = self.new_inbox();
        let mut request = Vec::new();
        publish(&mut request, subject, Some(&inbox), &[], what.to_string().as_bytes());
        self.line.send(&request)?;
        let until = Instant::now() + ANSWER_MAX;
        loop {
            match self.next_new(until)? {
                Some(message) if message.subject == inbox => return answer(&message),
                Some(_) if self.waiting.len() >= WAITING_MAX || self.waiting_bytes >= WAITING_BYTES_MAX => {
                    return Err(Fault::Passing("it sends more than was requested".into()));
                }
                Some(message) => {
                    self.waiting_bytes += message.payload.len();
                    self.waiting.push_back(message);
                }
                None => return Err(silent()),
            }
        }
    }

    /// Asks the server whether it lives, where nothing was said for a while.
    pub fn keep_alive(&mut self) -> Result<(), Fault> {
        if self.asked.is_some_and(|asked| asked.elapsed() > ANSWER_MAX) {
            return Err(silent());
        }
        if self.asked.is_none() && self.line.heard.elapsed() >= QUIET_MAX {
            self.line.send(b"PING\r\n")?;
            self.asked = Some(Instant::now());
        }
        Ok(())
    }

    /// The next of what it sends, with pings answered; `None`: nothing came until then.
    fn take_or_wait(&mut self, until: Instant) -> Result<Option<Incoming>, Fault> {
        loop {
            match taken(&mut self.line)? {
                Some(Incoming::Ping) => self.line.send(b"PONG\r\n")?,
                Some(Incoming::Error(said)) => return Err(refusal(&said, self.known_by)),
                Some(incoming) => return Ok(Some(incoming)),
                None => {
                    if !self.line.more(until.saturating_duration_since(Instant::now()))? {
                        return Ok(None);
                    }
                    self.asked = None;
                }
            }
        }
    }
}

fn taken(line: &mut Line) -> Result<Option<Incoming>, Fault> {
    protocol::take(&mut line.buffer).map_err(|why| Fault::Passing(format!("what it sends is not NATS: {}", why.0)))
}

fn check_tls(place: &ServerAddress, info: &Info) -> Result<(), Fault> {
    match (&place.tls, info.tls_required || info.tls_available) {
        (None, _) if info.tls_required => {
            Err(Fault::Lasting(format!("it requires TLS; begin `url` with {}://", FORM.safe.0)))
        }
        (Some(_), false) => Err(Fault::Lasting(format!(
            "it does not support TLS; turn it on there, or begin `url` with {}://",
            FORM.plain.0
        ))),
        _ => Ok(()),
    }
}

/// What an answer of JetStream holds.
pub fn answer(message: &Received) -> Result<Result<Json, ApiError>, Fault> {
    if message.status == Some(NOBODY) {
        return Err(Fault::Passing(
            "JetStream does not respond: it is off (nats-server -js turns it on), or no stream has the subject, or the server is just \
             starting"
                .into(),
        ));
    }
    let answer: Json = serde_json::from_slice(&message.payload)
        .map_err(|_| Fault::Passing("its JetStream response is not JSON".into()))?;
    match answer.get("error") {
        None | Some(Json::Null) => Ok(Ok(answer)),
        Some(error) => Ok(Err(serde_json::from_value(error.clone()).unwrap_or_default())),
    }
}
