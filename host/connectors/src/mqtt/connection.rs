//! A connection with a server of MQTT, for a thread that waits: what comes is read when it is asked for.

use super::packet::{self, Connect, Packet, Properties};
use super::{ANSWER_MAX, Fault, Server, refusal};
use crate::dial::{Line, silent};
use bytes::Buf as _;
use std::time::{Duration, Instant};

/// Within how many seconds something is sent. It is long, as nothing is sent while a batch waits for room.
const KEEP_ALIVE_S: u16 = 300;

/// Who connects, and what the server is to keep for it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name.
    pub client_id: String,
    /// For how many seconds the server keeps what it has for it when the connection ends; `None`: it begins with nothing, and leaves
    /// nothing behind.
    pub kept_s: Option<u32>,
}

/// A connection that the server has accepted.
pub struct Connection {
    line: Line,
    /// What the server grants.
    pub granted: Properties,
    keep_alive: Duration,
    /// Bytes of a packet that is taken.
    packet_bytes_max: usize,
    /// What still comes of a message that is too long.
    passed_over: usize,
    /// When it was asked whether it lives; `None`: it has said something since.
    asked: Option<Instant>,
}

impl Connection {
    /// Connects, and waits until the server has accepted it. Of messages with more bytes than `packet_bytes_max` only the beginning comes. The
    /// server is not told of that limit: it would throw such messages away, and say nothing.
    pub fn open(server: &Server, session: &Session, packet_bytes_max: usize) -> Result<Connection, Fault> {
        let mut line = Line::open(server)?;
        line.secure(server)?;
        let mut connection = Connection {
            line,
            granted: Properties::default(),
            keep_alive: Duration::from_secs(KEEP_ALIVE_S.into()),
            packet_bytes_max,
            passed_over: 0,
            asked: None,
        };
        let mut first = Vec::new();
        packet::connect(
            &mut first,
            &Connect {
                client_id: &session.client_id,
                user: server.user.as_deref(),
                password: server.password.as_deref(),
                clean: session.kept_s.is_none(),
                session_s: session.kept_s.unwrap_or(0),
                keep_alive_s: KEEP_ALIVE_S,
            },
        );
        connection.send(&first)?;
        match connection.next(ANSWER_MAX)? {
            Some(Packet::ConnAck { code: 0, properties, .. }) => {
                if let Some(seconds) = properties.keep_alive_s.filter(|seconds| *seconds > 0) {
                    connection.keep_alive = Duration::from_secs(seconds.into());
                }
                connection.granted = properties;
                Ok(connection)
            }
            Some(Packet::ConnAck { code, properties, .. }) => Err(refusal(code, properties.reason.as_deref())),
            Some(_) => Err(Fault::Passing("its first packet is not a reply to the connection".into())),
            None => Err(silent()),
        }
    }

    /// Sends this.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.line.send(bytes)
    }

    /// The next packet; `None`: none has come within this time.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Packet>, Fault> {
        let until = Instant::now() + wait;
        loop {
            let over = self.passed_over.min(self.line.buffer.len());
            self.line.buffer.advance(over);
            self.passed_over -= over;
            let taken = match self.passed_over {
                0 => packet::take(&mut self.line.buffer, self.packet_bytes_max),
                _ => Ok(None),
            };
            if let Some((packet, behind)) =
                taken.map_err(|why| Fault::Passing(format!("what it sends is not MQTT 5: {}", why.0)))?
            {
                self.passed_over = behind;
                match packet {
                    Packet::Disconnect { code, reason } => return Err(refusal(code, reason.as_deref())),
                    Packet::Pong => continue,
                    packet => return Ok(Some(packet)),
                }
            }
            if !self.line.more(until.saturating_duration_since(Instant::now()))? {
                return Ok(None);
            }
            self.asked = None;
        }
    }

    /// Asks the server whether it lives, where nothing was said for a while.
    pub fn keep_alive(&mut self) -> Result<(), Fault> {
        if self.asked.is_some_and(|asked| asked.elapsed() > ANSWER_MAX) {
            return Err(silent());
        }
        let quiet = self.line.sent.elapsed().max(self.line.heard.elapsed());
        if self.asked.is_none() && quiet >= self.keep_alive.min(Duration::from_secs(60)) / 2 {
            let mut ping = Vec::new();
            packet::ping(&mut ping);
            self.send(&ping)?;
            self.asked = Some(Instant::now());
        }
        Ok(())
    }
}
