//! Topics of a server of MQTT, in one partition. The server keeps each message until it is acknowledged, which it is when a durable plan
//! holds it; so what is read is named by numbers, and no position is kept.

use super::settings::MqttReads;
use crate::mqtt::packet::{self, Packet, Publish, matches};
use crate::mqtt::{ANSWER_MAX, Connection, FORM, Fault, Server, Session, refusal};
use millstream_base::batch::reading::{Message, ReadContent, ReadPartition, ReadRows, ReadTrouble};
use millstream_base::error::Error;
use millstream_base::job::spec::{Origin, SourceSpec};
use millstream_base::shown;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tracing::warn;

/// About how many bytes of messages are taken together.
const POLL_BYTES: usize = 1 << 20;
/// How long a poll that has some messages waits for more.
const MORE_WAIT: Duration = Duration::from_millis(1);

/// Messages that are taken before the answer to the subscription, which then comes behind them: how many, and about how many bytes.
const EARLY_MAX: usize = 65_535;
const EARLY_BYTES: usize = 16 << 20;
/// What a packet may have beside a record: its topic and properties.
const BESIDE_BYTES: u64 = 1 << 20;

/// Reads the topics of a source.
pub struct Mqtt {
    source: String,
    server: Server,
    reads: MqttReads,
    /// Bytes of a record, and of what is kept of one that has more.
    bytes_max: (u64, u64),
    connection: Option<Connection>,
    /// What came before the answer to the subscription.
    early: VecDeque<Publish>,
    /// How many messages were read, of this start. It goes on when the connection is another one.
    count: u64,
    /// Messages that are not acknowledged, in order: their numbers here, and those that this connection has for them.
    open: VecDeque<(u64, u16)>,
}

impl Mqtt {
    /// One who reads the topics of this source, or the key that is wrong and why.
    pub fn of(source: &SourceSpec, reads: &MqttReads, origin: &Origin) -> Result<Mqtt, (&'static str, String)> {
        Ok(Mqtt {
            source: source.name.clone(),
            server: Server::of(&reads.url, &FORM, source.tls.as_ref(), &origin.folder)?,
            reads: reads.clone(),
            bytes_max: (source.record_bytes_max, source.rejected_bytes_max),
            connection: None,
            early: VecDeque::new(),
            count: 0,
            open: VecDeque::new(),
        })
    }

    fn trouble(&self, fault: Fault) -> ReadTrouble {
        let (source, place) = (&self.source, self.server.shown());
        match fault {
            Fault::Passing(why) => ReadTrouble::Passing(format!("{place}: {why}")),
            Fault::Lasting(why) => ReadTrouble::Lasting(Error::job(format!("source `{source}`: {place}: {why}"))),
        }
    }

    fn connect(&mut self) -> Result<Connection, Fault> {
        let session_s = u32::try_from(self.reads.session.as_secs()).unwrap_or(u32::MAX);
        let kept_s = self.reads.acknowledged.then_some(session_s);
        let session = Session { client_id: self.reads.client_id.clone(), kept_s };
        let packet_bytes_max = usize::try_from(self.bytes_max.0.saturating_add(BESIDE_BYTES)).unwrap_or(usize::MAX);
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
            return Err(refusal(0x9b, None));
        }
        let mut subscribe = Vec::new();
        packet::subscribe(&mut subscribe, 1, &self.reads.topics, self.reads.acknowledged);
        connection.send(&subscribe)?;
        let (until, mut bytes) = (Instant::now() + ANSWER_MAX, 0);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match connection.next(left)? {
                // What the server has kept may come first.
                Some(Packet::Publish(publish)) => {
                    bytes += publish.payload.len();
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
                None => return Err(Fault::Passing("it does not respond to the subscription".into())),
            }
        }
    }

    /// Whether the server sends what was asked for, topic by topic.
    fn granted(&self, codes: &[u8], reason: Option<&str>) -> Result<(), Fault> {
        let wanted = u8::from(self.reads.acknowledged);
        for (topic, code) in self.reads.topics.iter().zip(codes) {
            let topic = shown::harmless(topic, 200);
            let why = match code {
                0x80.. => refusal(*code, reason),
                code if *code < wanted => refusal(0x9b, reason),
                _ => continue,
            };
            return Err(match why {
                Fault::Passing(why) => Fault::Passing(format!("topic `{topic}`: {why}")),
                Fault::Lasting(why) => Fault::Lasting(format!("topic `{topic}`: {why}")),
            });
        }
        match codes.len() >= self.reads.topics.len() {
            true => Ok(()),
            false => Err(Fault::Passing("it replied for fewer topics than requested".into())),
        }
    }

    /// A message to read, or what is kept of one that is too long, and why; `None`: the job does not name its topic any more, and the server
    /// still sends what it has kept.
    fn message(&mut self, publish: Publish) -> Option<Result<Message, (Vec<u8>, String)>> {
        let wanted = self.reads.topics.iter().any(|filter| matches(filter, &publish.topic));
        if let Some(id) = publish.id {
            // One that is passed over is acknowledged with the next that is read.
            self.open.push_back((self.count + u64::from(wanted), id));
        }
        if !wanted {
            return None;
        }
        self.count += 1;
        if let Some(bytes) = publish.whole_bytes {
            let (most, kept) = self.bytes_max;
            let kept = usize::try_from(kept).unwrap_or(usize::MAX).min(publish.payload.len());
            let start = publish.payload.get(..kept).unwrap_or_default().to_vec();
            return Some(Err((start, format!("{bytes} bytes, record_bytes_max is {most}"))));
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
        let (mut messages, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0);
        connection.keep_alive()?;
        while messages.len() + refused.len() < rows_max as usize && bytes < POLL_BYTES {
            let publish = match self.early.pop_front() {
                Some(publish) => publish,
                None => {
                    match connection.next(if messages.is_empty() && refused.is_empty() { wait } else { MORE_WAIT })? {
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
            bytes += publish.payload.len();
            match self.message(publish) {
                Some(Ok(message)) => messages.push(message),
                Some(Err(row)) => refused.push(row),
                None => {}
            }
        }
        let has_some = !messages.is_empty() || !refused.is_empty();
        let position = has_some.then(|| self.count.to_string().into_bytes());
        let content = ReadContent::Messages(messages);
        Ok(ReadRows { content, refused, position, pause: Some(Duration::ZERO) })
    }
}

impl ReadPartition for Mqtt {
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        Ok(vec![String::new()])
    }

    fn open(&mut self, _: &str, _: Option<&[u8]>) -> Result<(), ReadTrouble> {
        // The server sends again what was not acknowledged, under numbers of the new connection.
        self.early.clear();
        self.open.clear();
        self.connection = Some(self.connect().map_err(|fault| self.trouble(fault))?);
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        let Some(mut connection) = self.connection.take() else {
            return Err(ReadTrouble::Passing("it is not connected".into()));
        };
        let rows = self.read(&mut connection, rows_max, wait).map_err(|fault| self.trouble(fault))?;
        self.connection = Some(connection);
        Ok(rows)
    }

    fn keeps_positions(&self) -> bool {
        false
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), ReadTrouble> {
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
            self.trouble(fault)
        })
    }
}
