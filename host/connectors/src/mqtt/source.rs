//! The `mqtt` source, with one partition. The server keeps each message until it is acknowledged, which happens once a durable plan
//! contains it. So messages are identified by numbers, and no position is kept.

use super::settings::MqttReads;
use crate::mqtt::packet::{self, Packet, Publish, matches};
use crate::mqtt::{Connection, FORM, Fault, RESPONSE_TIMEOUT, Server, Session, reason_fault};
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::reading::{Message, ReadContent, ReadError, ReadPartition, ReadRows};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tracing::warn;

/// Approximate bytes of messages per poll.
const POLL_BYTES: usize = 1 << 20;
/// How long a poll that has some messages waits for more.
const MORE_WAIT: Duration = Duration::from_millis(1);

/// Maximum number of messages before the response to the subscription, and their approximate bytes.
const EARLY_MAX: usize = 65_535;
const EARLY_BYTES: usize = 16 << 20;
/// Maximum bytes of a packet in addition to a record: its topic and properties.
const OVERHEAD_BYTES: u64 = 1 << 20;

/// Reads the topics of a source.
pub struct Mqtt {
    source: String,
    server: Server,
    reads: MqttReads,
    /// Maximum bytes of a record, and kept bytes of one that is longer.
    bytes_max: (u64, u64),
    connection: Option<Connection>,
    /// Messages that came before the response to the subscription.
    early: VecDeque<Publish>,
    /// How many messages this run has read. It continues on a new connection.
    count: u64,
    /// Unacknowledged messages in order: their numbers here, and their ids on this connection.
    open: VecDeque<(u64, u16)>,
}

impl Mqtt {
    /// Creates a reader of this source's topics; or returns the invalid key, and why.
    pub fn new(source: &SourceSpec, reads: &MqttReads, origin: &Origin) -> Result<Mqtt, (&'static str, String)> {
        Ok(Mqtt {
            source: source.name.clone(),
            server: Server::parse(&reads.url, &FORM, source.tls.as_ref(), &origin.dir)?,
            reads: reads.clone(),
            bytes_max: (source.record_bytes_max, source.rejected_bytes_max),
            connection: None,
            early: VecDeque::new(),
            count: 0,
            open: VecDeque::new(),
        })
    }

    fn read_error(&self, fault: Fault) -> ReadError {
        let (source, server_name) = (&self.source, self.server.shown());
        match fault {
            Fault::Transient(why) => ReadError::Transient(format!("{server_name}: {why}")),
            Fault::Permanent(why) => {
                ReadError::Permanent(Error::job(format!("source `{source}`: {server_name}: {why}")))
            }
        }
    }

    fn connect(&mut self) -> Result<Connection, Fault> {
        let session_s = u32::try_from(self.reads.session.as_secs()).unwrap_or(u32::MAX);
        let kept_s = self.reads.acknowledged.then_some(session_s);
        let session = Session { client_id: self.reads.client_id.clone(), kept_s };
        let packet_bytes_max = usize::try_from(self.bytes_max.0.saturating_add(OVERHEAD_BYTES)).unwrap_or(usize::MAX);
        let mut connection = Connection::open(&self.server, &session, packet_bytes_max)?;
        if let (Some(kept_s), Some(granted_s)) = (kept_s, connection.granted.session_s)
            && granted_s < kept_s
        {
            warn!(
                "source `{}`: the server keeps messages for only {granted_s} s while the job is disconnected",
                self.source
            );
        }
        if self.reads.acknowledged && connection.granted.no_acknowledgements {
            return Err(reason_fault(0x9b, None));
        }
        let mut subscribe = Vec::new();
        packet::subscribe(&mut subscribe, 1, &self.reads.topics, self.reads.acknowledged);
        connection.send(&subscribe)?;
        let (until, mut bytes) = (Instant::now() + RESPONSE_TIMEOUT, 0);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match connection.next(left)? {
                // Kept messages may come first.
                Some(Packet::Publish(publish)) => {
                    bytes += publish.memory_bytes();
                    self.early.push_back(publish);
                    if bytes >= EARLY_BYTES || self.early.len() >= EARLY_MAX {
                        return Ok(connection);
                    }
                }
                Some(Packet::SubAck { codes, reason }) => {
                    self.granted(&codes, reason.as_deref())?;
                    return Ok(connection);
                }
                Some(_) => {}
                None => return Err(Fault::Transient("it does not respond to the subscription".into())),
            }
        }
    }

    /// Checks for each topic that the server accepted the subscription.
    fn granted(&self, codes: &[u8], reason: Option<&str>) -> Result<(), Fault> {
        let wanted = u8::from(self.reads.acknowledged);
        for (topic, code) in self.reads.topics.iter().zip(codes) {
            let topic = shown::harmless(topic, 200);
            let why = match code {
                0x80.. => reason_fault(*code, reason),
                code if *code < wanted => reason_fault(0x9b, reason),
                _ => continue,
            };
            return Err(match why {
                Fault::Transient(why) => Fault::Transient(format!("topic `{topic}`: {why}")),
                Fault::Permanent(why) => Fault::Permanent(format!("topic `{topic}`: {why}")),
            });
        }
        match codes.len() >= self.reads.topics.len() {
            true => Ok(()),
            false => Err(Fault::Transient("it replied for fewer topics than requested".into())),
        }
    }

    /// Returns a message to read, or the kept bytes of one that is too long, and why. `None`: the job no longer names its topic, but the
    /// server still sends kept messages.
    fn message(&mut self, publish: Publish) -> Option<Result<Message, (Vec<u8>, String)>> {
        let wanted = self.reads.topics.iter().any(|filter| matches(filter, &publish.topic));
        if let Some(id) = publish.id {
            // A skipped message is acknowledged with the next one that is read.
            self.open.push_back((self.count + u64::from(wanted), id));
        }
        if !wanted {
            return None;
        }
        self.count += 1;
        if let Some(bytes) = publish.total_bytes {
            let (max, kept) = self.bytes_max;
            let kept = usize::try_from(kept).unwrap_or(usize::MAX).min(publish.payload.len());
            let start = publish.payload.get(..kept).unwrap_or_default().to_vec();
            return Some(Err((start, format!("{bytes} bytes, record_bytes_max is {max}"))));
        }
        let headers = publish.user.into_iter().map(|(name, value)| (name, Some(value.into()))).collect();
        Some(Ok(Message {
            value: Some(publish.payload),
            headers,
            offset: self.count,
            topic: Some(publish.topic),
            ..Message::default()
        }))
    }

    fn read(&mut self, connection: &mut Connection, rows_max: u32, wait: Duration) -> Result<ReadRows, Fault> {
        let (mut messages, mut rejected, mut bytes) = (Vec::new(), Vec::new(), 0);
        connection.keep_alive()?;
        while messages.len() + rejected.len() < rows_max as usize && bytes < POLL_BYTES {
            let publish = match self.early.pop_front() {
                Some(publish) => publish,
                None => {
                    match connection.next(if messages.is_empty() && rejected.is_empty() { wait } else { MORE_WAIT })? {
                        Some(Packet::Publish(publish)) => publish,
                        Some(Packet::SubAck { codes, reason }) => {
                            self.granted(&codes, reason.as_deref())?;
                            continue;
                        }
                        Some(_) => continue,
                        None => break,
                    }
                }
            };
            bytes += publish.memory_bytes();
            match self.message(publish) {
                Some(Ok(message)) => messages.push(message),
                Some(Err(row)) => rejected.push(row),
                None => {}
            }
        }
        let has_some = !messages.is_empty() || !rejected.is_empty();
        let position = has_some.then(|| self.count.to_string().into_bytes());
        let content = ReadContent::Messages(messages);
        Ok(ReadRows { content, rejected, position, pause: Some(Duration::ZERO) })
    }
}

impl ReadPartition for Mqtt {
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        Ok(vec![String::new()])
    }

    fn open(&mut self, _: &str, _: Option<&[u8]>) -> Result<(), ReadError> {
        // The server sends unacknowledged messages again, with ids of the new connection.
        self.early.clear();
        self.open.clear();
        self.connection = Some(self.connect().map_err(|fault| self.read_error(fault))?);
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let Some(mut connection) = self.connection.take() else {
            return Err(ReadError::Transient("it is not connected".into()));
        };
        let rows = self.read(&mut connection, rows_max, wait).map_err(|fault| self.read_error(fault))?;
        self.connection = Some(connection);
        Ok(rows)
    }

    fn keeps_positions(&self) -> bool {
        false
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), ReadError> {
        let count: Option<u64> = std::str::from_utf8(position).ok().and_then(|count| count.parse().ok());
        let (Some(count), Some(connection)) = (count, &mut self.connection) else { return Ok(()) };
        let mut acknowledged = Vec::new();
        while let Some((_, id)) = self.open.pop_front_if(|(number, _)| *number <= count) {
            packet::acknowledge(&mut acknowledged, id);
        }
        if acknowledged.is_empty() {
            return Ok(());
        }
        let sent = connection.send(&acknowledged);
        sent.map_err(|fault| {
            self.connection = None;
            self.read_error(fault)
        })
    }
}
