//! ZeroMQ sockets that receive, for sources: a connection to a socket that sends. The protocol is implemented here (`zmtp`, pure), without
//! encryption: the job authenticates by user and password (PLAIN), or not at all (NULL).

pub mod declaration;
pub mod settings;
mod source;
mod zmtp;

pub use zmtp::Incoming;

use bytes::BytesMut;
use millstream_base::shown;
use millstream_connect::dial::{Fault, UrlForm};
use socket2::{SockRef, TcpKeepalive};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zmtp::{Decoder, GREETING_BYTES};

/// Maximum time of the handshake.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// How long the rest of our greeting waits for that of the other side.
const GREETING_REST_AFTER: Duration = Duration::from_millis(500);
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// Maximum time without data: nothing else shows that the other side's machine has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The form of its URLs.
pub const FORM: UrlForm = UrlForm {
    name: "ZeroMQ",
    plain: ("tcp", 0),
    secure: ("", 0),
    help: "write it as \"tcp://host:5556\", with user and password as \"tcp://user:${ZEROMQ_PASSWORD}@host:5556\"",
    closed: "it closed the connection",
};

/// The settings of a socket.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// Whether it is a PULL socket; otherwise a SUB socket.
    pub pull: bool,
    /// Topic prefixes of a SUB socket.
    pub topics: Vec<String>,
    /// User and password.
    pub login: Option<(String, Vec<u8>)>,
    /// Maximum bytes of a message, and kept bytes of a longer one.
    pub bytes_max: u64,
    pub kept_max: u64,
}

impl SocketSettings {
    fn kind(&self) -> &'static str {
        if self.pull { "PULL" } else { "SUB" }
    }
}

/// A connection to a socket that sends.
pub struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
    decoder: Decoder,
}

impl Peer {
    /// Performs the handshake, and subscribes.
    pub async fn handshake(stream: TcpStream, wants: &SocketSettings) -> Result<Peer, Fault> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TIMEOUT).with_interval(TIMEOUT))?;
        let decoder = Decoder::new(wants.bytes_max, wants.kept_max);
        let mut peer = Peer { stream, buffer: BytesMut::new(), decoder };
        match timeout(GREETING_MAX, peer.greet(wants)).await {
            Ok(greeted) => greeted.map(|()| peer),
            Err(_) => {
                Err(Fault::Transient(format!("it does not send its greeting within {} s", GREETING_MAX.as_secs())))
            }
        }
    }

    async fn greet(&mut self, wants: &SocketSettings) -> Result<(), Fault> {
        let own = if wants.login.is_some() { "PLAIN" } else { "NULL" };
        let all = zmtp::greeting(own, false);
        // A peer that does not accept our mechanism closes immediately, without naming its own.
        let (first, mut rest) = all.split_at(zmtp::VERSION_BYTES);
        self.send(first).await?;
        while self.buffer.len() < GREETING_BYTES {
            // The first byte shows whether the peer uses ZeroMQ.
            if self.buffer.first().is_some_and(|byte| *byte != 0xff) {
                return Err(Fault::Transient("its first bytes are not ZeroMQ".into()));
            }
            match timeout(GREETING_REST_AFTER, self.read_more()).await {
                Ok(more) => more?,
                Err(_) => self.send(std::mem::take(&mut rest)).await?,
            }
        }
        let mut greeting = [0; GREETING_BYTES];
        greeting.copy_from_slice(&self.buffer.split_to(GREETING_BYTES));
        let theirs = zmtp::mechanism(&greeting).map_err(|wrong| Fault::Permanent(wrong.0.into()))?;
        match (own, theirs.as_str()) {
            (own, theirs) if own == theirs => {}
            (_, "PLAIN") => {
                return Err(Fault::Permanent("authentication required (PLAIN); add user and password to `url`".into()));
            }
            (_, "NULL") => {
                return Err(Fault::Permanent("it requires no user and password; remove them from `url`".into()));
            }
            (_, other) => {
                let other = shown::harmless(other, 20);
                return Err(Fault::Permanent(format!(
                    "it requires `{other}`, which is not supported; configure NULL or PLAIN"
                )));
            }
        }
        self.send(rest).await?;
        let mut own = Vec::new();
        zmtp::property(&mut own, "Socket-Type", wants.kind().as_bytes());
        zmtp::property(&mut own, "Identity", b"");
        let mut out = Vec::new();
        if let Some((user, password)) = &wants.login {
            let mut hello = Vec::new();
            for text in [user.as_bytes(), password] {
                hello.push(
                    u8::try_from(text.len())
                        .map_err(|_| Fault::Permanent("user or password is too long for it".into()))?,
                );
                hello.extend_from_slice(text);
            }
            zmtp::command(&mut out, "HELLO", &hello);
            self.send(&out).await?;
            out.clear();
            self.command("WELCOME").await?;
            zmtp::command(&mut out, "INITIATE", &own);
            self.send(&out).await?;
        } else {
            zmtp::command(&mut out, "READY", &own);
        }
        // An incompatible socket closes when it receives our command, and its own may then be lost: so it sends first.
        let ready = self.command("READY").await?;
        if wants.login.is_none() {
            self.send(&out).await?;
        }
        let theirs = zmtp::property_of(&ready, "Socket-Type").unwrap_or_default();
        let fits = if wants.pull { &["PUSH"][..] } else { &["PUB", "XPUB"] };
        if !fits.contains(&theirs.as_str()) {
            let (theirs, kind, expected) = (shown::harmless(&theirs, 20), wants.kind(), fits.join(" or "));
            return Err(Fault::Permanent(format!(
                "it is a {theirs} socket, but a {kind} socket receives from {expected} sockets; check `socket` or the address"
            )));
        }
        if !wants.pull {
            out.clear();
            for topic in &wants.topics {
                zmtp::message(&mut out, &[&[1], topic.as_bytes()].concat());
            }
            self.send(&out).await?;
        }
        Ok(())
    }

    /// Receives the body of a command that must come now.
    async fn command(&mut self, expected: &str) -> Result<bytes::Bytes, Fault> {
        loop {
            match self.take()? {
                Some(Incoming::Command { name, body }) if name == expected => return Ok(body),
                Some(Incoming::Command { name, body }) if name == "ERROR" => {
                    let why = shown::harmless(&String::from_utf8_lossy(body.get(1..).unwrap_or_default()), 100);
                    // As HTTP statuses: 300 is transient.
                    return Err(match why.starts_with('3') {
                        true => Fault::Transient(format!("it rejected the connection ({why})")),
                        false => {
                            Fault::Permanent(format!("authentication failed ({why}); check user and password in `url`"))
                        }
                    });
                }
                Some(_) => return Err(Fault::Transient(format!("it sent something else instead of {expected}"))),
                None => self.read_more().await?,
            }
        }
    }

    /// Returns what comes next, at least one message.
    pub async fn next(&mut self) -> Result<Vec<Incoming>, Fault> {
        let mut messages = Vec::new();
        loop {
            while let Some(incoming) = self.take()? {
                match incoming {
                    Incoming::Command { name, body } if name == "PING" => {
                        let mut pong = Vec::new();
                        // The data after the timeout is echoed.
                        zmtp::command(&mut pong, "PONG", body.get(2..).unwrap_or_default());
                        self.send(&pong).await?;
                    }
                    Incoming::Command { .. } => {}
                    message => messages.push(message),
                }
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.read_more().await?;
        }
    }

    fn take(&mut self) -> Result<Option<Incoming>, Fault> {
        let taken = self.decoder.take(&mut self.buffer);
        taken.map_err(|wrong| Fault::Transient(format!("what it sends is not ZeroMQ: {}", wrong.0)))
    }

    async fn read_more(&mut self) -> Result<(), Fault> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Fault::Transient(FORM.closed.into())),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match timeout(GREETING_MAX, self.stream.write_all(bytes)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Fault::Transient(format!("it accepts nothing for {} s", GREETING_MAX.as_secs()))),
        }
    }
}
