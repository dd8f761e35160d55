//! A blocking connection to a NATS server. It reads from the socket only inside a call, so a slow job holds the server back.

use super::protocol::{self, AuthMethod, Info, ReceivedMessage, ServerOp, publish, to_fault};
use super::{ApiError, FORM, Fault, RESPONSE_TIMEOUT, Server};
use millstream_connect::dial::{BlockingStream, ServerAddress, response_timed_out};
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// If the server sends nothing for this long, it gets a ping.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Maximum messages that arrive before the response to a request. A job never requests that many.
const QUEUED_MAX: usize = 100_000;
/// Maximum bytes of their payloads.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// Status of a response if no one subscribes to the subject.
const NO_RESPONDERS: u16 = 503;

/// A connection that is logged in.
pub struct Connection {
    line: BlockingStream,
    auth: AuthMethod,
    /// Maximum bytes of a message, with its headers.
    pub payload_max: usize,
    /// Prefix of the subjects for responses.
    inbox: String,
    requests: u64,
    /// Messages that arrived before the response to a request.
    queued: VecDeque<ReceivedMessage>,
    queued_bytes: usize,
    /// When the last ping was sent; `None` if the server has sent something since.
    pinged_at: Option<Instant>,
}

impl Connection {
    /// Connects and logs in.
    pub fn open(server: &Server) -> Result<Connection, Fault> {
        let credentials = server.read_credentials()?;
        let auth = match (&credentials, &server.address.user) {
            (Some(_), _) => AuthMethod::Credentials,
            (None, Some(_)) => AuthMethod::Url,
            (None, None) => AuthMethod::Nothing,
        };
        let mut line = BlockingStream::open(&server.address)?;
        let until = Instant::now() + RESPONSE_TIMEOUT;
        // The server sends its information before TLS.
        let info = loop {
            match take_op(&mut line)? {
                Some(ServerOp::Info(info)) => break info,
                Some(ServerOp::Error(text)) => return Err(to_fault(&text, auth)),
                Some(_) => return Err(Fault::Transient("its first line is not NATS".into())),
                None if line.read_more(until.saturating_duration_since(Instant::now()))? => {}
                None => return Err(response_timed_out()),
            }
        };
        check_tls(&server.address, &info)?;
        line.secure(&server.address)?;
        let mut connection = Connection {
            line,
            auth,
            payload_max: if info.max_payload == 0 { usize::MAX } else { info.max_payload },
            // Random, so that no other client can guess it and receive the responses.
            inbox: format!("_INBOX.{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1)),
            requests: 0,
            queued: VecDeque::new(),
            queued_bytes: 0,
            pinged_at: None,
        };
        if !info.headers {
            return Err(Fault::Permanent(
                "it is too old: its messages have no headers; renew it (2.2 or newer)".into(),
            ));
        }
        let mut connect = json!({
            "verbose": false, "pedantic": false, "tls_required": server.address.tls.is_some(), "name": "millstream",
            "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true, "echo": false,
        });
        if let Some(credentials) = credentials {
            let nonce = info.nonce.as_deref().ok_or_else(|| {
                Fault::Permanent(
                    "it does not support authentication by keys (nkeys); enable it, or set user and password in `url`"
                        .into(),
                )
            })?;
            credentials.sign(&mut connect, nonce);
        }
        let password = server.address.password.as_deref().map(String::from_utf8_lossy);
        match (&server.address.user, password) {
            (Some(user), Some(password)) => {
                connect["user"] = user.as_str().into();
                connect["pass"] = password.into();
            }
            (Some(token), None) => connect["auth_token"] = token.as_str().into(),
            (None, _) => {}
        }
        let login = format!("CONNECT {connect}\r\nSUB {}.* 1\r\nPING\r\n", connection.inbox);
        connection.line.send(login.as_bytes())?;
        loop {
            match connection.next_op(until)? {
                Some(ServerOp::Pong) => return Ok(connection),
                Some(_) => {}
                None => return Err(response_timed_out()),
            }
        }
    }

    /// Sends encoded operations.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.line.send(bytes)
    }

    /// Returns an unused subject for responses.
    pub fn new_inbox(&mut self) -> String {
        self.requests += 1;
        format!("{}.{}", self.inbox, self.requests)
    }

    /// Returns the next message, or `None` after `wait`.
    pub fn next_message(&mut self, wait: Duration) -> Result<Option<ReceivedMessage>, Fault> {
        match self.queued.pop_front() {
            Some(message) => {
                self.queued_bytes = self.queued_bytes.saturating_sub(message.payload.len());
                Ok(Some(message))
            }
            None => self.receive(Instant::now() + wait),
        }
    }

    fn receive(&mut self, until: Instant) -> Result<Option<ReceivedMessage>, Fault> {
        loop {
            match self.next_op(until)? {
                Some(ServerOp::Message(message)) => return Ok(Some(message)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Sends a request to the JetStream API and waits for the response, which may be an error.
    pub fn request(&mut self, subject: &str, what: &Json) -> Result<Result<Json, ApiError>, Fault> {
        let inbox = self.new_inbox();
        let mut request = Vec::new();
        publish(&mut request, subject, Some(&inbox), &[], what.to_string().as_bytes());
        self.line.send(&request)?;
        let until = Instant::now() + RESPONSE_TIMEOUT;
        loop {
            match self.receive(until)? {
                Some(message) if message.subject == inbox => return parse_response(&message),
                Some(_) if self.queued.len() >= QUEUED_MAX || self.queued_bytes >= QUEUED_BYTES_MAX => {
                    return Err(Fault::Transient("it sends more than was requested".into()));
                }
                Some(message) => {
                    self.queued_bytes += message.payload.len();
                    self.queued.push_back(message);
                }
                None => return Err(response_timed_out()),
            }
        }
    }

    /// Sends a ping if the server was idle, and fails if the last one got no response.
    pub fn keep_alive(&mut self) -> Result<(), Fault> {
        if self.pinged_at.is_some_and(|pinged_at| pinged_at.elapsed() > RESPONSE_TIMEOUT) {
            return Err(response_timed_out());
        }
        if self.pinged_at.is_none() && self.line.received.elapsed() >= IDLE_MAX {
            self.line.send(b"PING\r\n")?;
            self.pinged_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Returns the next operation, or `None` at `until`. Responds to pings.
    fn next_op(&mut self, until: Instant) -> Result<Option<ServerOp>, Fault> {
        loop {
            match take_op(&mut self.line)? {
                Some(ServerOp::Ping) => self.line.send(b"PONG\r\n")?,
                Some(ServerOp::Error(text)) => return Err(to_fault(&text, self.auth)),
                Some(op) => return Ok(Some(op)),
                None => {
                    if !self.line.read_more(until.saturating_duration_since(Instant::now()))? {
                        return Ok(None);
                    }
                    self.pinged_at = None;
                }
            }
        }
    }
}

fn take_op(line: &mut BlockingStream) -> Result<Option<ServerOp>, Fault> {
    protocol::take(&mut line.buffer).map_err(|why| Fault::Transient(format!("what it sends is not NATS: {}", why.0)))
}

fn check_tls(address: &ServerAddress, info: &Info) -> Result<(), Fault> {
    match (&address.tls, info.tls_required || info.tls_available) {
        (None, _) if info.tls_required => {
            Err(Fault::Permanent(format!("it requires TLS; begin `url` with {}://", FORM.secure.0)))
        }
        (Some(_), false) => Err(Fault::Permanent(format!(
            "it does not support TLS; turn it on there, or begin `url` with {}://",
            FORM.plain.0
        ))),
        _ => Ok(()),
    }
}

/// Parses a response of the JetStream API.
pub fn parse_response(message: &ReceivedMessage) -> Result<Result<Json, ApiError>, Fault> {
    if message.status == Some(NO_RESPONDERS) {
        return Err(Fault::Transient(
            "JetStream does not respond: it is off (nats-server -js turns it on), or no stream has the subject, or the server is just \
             starting"
                .into(),
        ));
    }
    let response: Json = serde_json::from_slice(&message.payload)
        .map_err(|_| Fault::Transient("its JetStream response is not JSON".into()))?;
    match response.get("error") {
        None | Some(Json::Null) => Ok(Ok(response)),
        Some(error) => Ok(Err(serde_json::from_value(error.clone()).unwrap_or_default())),
    }
}
