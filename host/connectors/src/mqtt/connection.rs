//! A blocking connection to an MQTT server, which reads only on demand.

use super::packet::{self, Connect, Packet, Properties};
use super::{Fault, RESPONSE_TIMEOUT, Server, reason_fault};
use bytes::Buf as _;
use millstream_connect::dial::{BlockingStream, response_timed_out};
use std::time::{Duration, Instant};

/// The keep-alive interval in seconds. It is long, as nothing is sent while a batch waits for room.
const KEEP_ALIVE_S: u16 = 300;

/// The client id, and the session that the server keeps for it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The client id.
    pub client_id: String,
    /// How many seconds the server keeps the session after the connection ends; `None`: a clean session that is not kept.
    pub kept_s: Option<u32>,
}

/// A connection that the server has accepted.
pub struct Connection {
    line: BlockingStream,
    /// The properties that the server granted.
    pub granted: Properties,
    keep_alive: Duration,
    /// Maximum bytes of a packet.
    packet_bytes_max: usize,
    /// Remaining bytes of a message that is too long.
    skip: usize,
    /// When a ping was sent; `None`: the server has sent something since.
    pinged: Option<Instant>,
}

impl Connection {
    /// Connects, and waits until the server accepts. Of messages with more bytes than `packet_bytes_max` only the beginning is returned.
    /// The server does not receive that limit: it would silently discard such messages.
    pub fn open(server: &Server, session: &Session, packet_bytes_max: usize) -> Result<Connection, Fault> {
        let mut line = BlockingStream::open(server)?;
        line.secure(server)?;
        let mut connection = Connection {
            line,
            granted: Properties::default(),
            keep_alive: Duration::from_secs(KEEP_ALIVE_S.into()),
            packet_bytes_max,
            skip: 0,
            pinged: None,
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
        match connection.next(RESPONSE_TIMEOUT)? {
            Some(Packet::ConnAck { code: 0, properties, .. }) => {
                if let Some(seconds) = properties.keep_alive_s.filter(|seconds| *seconds > 0) {
                    connection.keep_alive = Duration::from_secs(seconds.into());
                }
                connection.granted = properties;
                Ok(connection)
            }
            Some(Packet::ConnAck { code, properties, .. }) => Err(reason_fault(code, properties.reason.as_deref())),
            Some(_) => Err(Fault::Transient("its first packet is not a reply to the connection".into())),
            None => Err(response_timed_out()),
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.line.send(bytes)
    }

    /// Returns the next packet; `None`: none was received within this time.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Packet>, Fault> {
        let until = Instant::now() + wait;
        loop {
            let over = self.skip.min(self.line.buffer.len());
            self.line.buffer.advance(over);
            self.skip -= over;
            let taken = match self.skip {
                0 => packet::take(&mut self.line.buffer, self.packet_bytes_max),
                _ => Ok(None),
            };
            if let Some((packet, rest)) =
                taken.map_err(|why| Fault::Transient(format!("what it sends is not MQTT 5: {}", why.0)))?
            {
                self.skip = rest;
                match packet {
                    Packet::Disconnect { code, reason } => return Err(reason_fault(code, reason.as_deref())),
                    Packet::Pong => continue,
                    packet => return Ok(Some(packet)),
                }
            }
            if !self.line.read_more(until.saturating_duration_since(Instant::now()))? {
                return Ok(None);
            }
            self.pinged = None;
        }
    }

    /// Sends a ping if the connection was idle for a while.
    pub fn keep_alive(&mut self) -> Result<(), Fault> {
        if self.pinged.is_some_and(|pinged| pinged.elapsed() > RESPONSE_TIMEOUT) {
            return Err(response_timed_out());
        }
        let quiet = self.line.sent.elapsed().max(self.line.received.elapsed());
        if self.pinged.is_none() && quiet >= self.keep_alive.min(Duration::from_secs(60)) / 2 {
            let mut ping = Vec::new();
            packet::ping(&mut ping);
            self.send(&ping)?;
            self.pinged = Some(Instant::now());
        }
        Ok(())
    }
}
