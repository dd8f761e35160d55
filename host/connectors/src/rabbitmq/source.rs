//! Reads RabbitMQ queues and streams; each is a partition. A queue delivers a message again until it is acknowledged, which happens when a
//! durable plan has it, so queues have no saved positions. A stream keeps its messages. Its position is the offset after the last message
//! read, and a digest of that message, which reveals another stream of the same name.

use super::settings::RabbitmqReads;
use crate::rabbitmq::{ClosedByServer, Connection, Delivery, Event, Fault, Field, RESPONSE_TIMEOUT, Server};
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_connect::receiver::polled::position_field;
use millstream_connect::receiver::restart_hint;
use millstream_job::spec::{Origin, ServerStart, SourceSpec};
use millstream_rows::batch::envelope::ID;
use millstream_rows::batch::reading::{Message, ReadContent, ReadError, ReadPartition, ReadRows};
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::Xxh3;

/// Approximate bytes of messages per poll.
const POLL_BYTES: usize = 1 << 20;
/// How long a poll that has messages waits for more.
const MORE_WAIT: Duration = Duration::from_millis(1);
/// Maximum unacknowledged messages of a queue.
const QUEUE_PREFETCH: u16 = 10_000;
/// Maximum unacknowledged messages of a stream; the reader acknowledges them immediately.
const STREAM_PREFETCH: u16 = 1_000;
/// If the server receives nothing for two to three times as long, it delivers the messages to others. Long, because the reader sends
/// nothing while a batch waits for space.
const HEARTBEAT_S: u16 = 300;
/// How long to wait for the first message of a stream, which may be empty.
const FIRST_OFFSET_WAIT: Duration = Duration::from_secs(1);
/// How long to wait for the last message read, which the stream should deliver again.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// How long to wait for the first message of a queue or stream that has messages, before it counts as empty.
const FIRST_MESSAGE_WAIT: Duration = Duration::from_secs(30);
/// How long it may take until the server counts a message of a stream. It counts every five seconds, and may be late.
const COUNT_DELAY_MAX: Duration = Duration::from_secs(6);
/// The header with the offset of a message in its stream.
const OFFSET: &str = "x-stream-offset";

/// Reads one queue or stream.
pub struct RabbitmqReader {
    source: String,
    server: Server,
    reads: RabbitmqReads,
    open: Option<OpenQueue>,
    /// When this startup first saw the stream, in seconds since 1970, for `start = "latest"`. No later message is skipped if the connection is
    /// lost before there is a position.
    started_at_s: Option<u64>,
    /// The server has confirmed that this is a queue, although its messages look like those of a stream.
    is_queue: bool,
    /// Number of messages read by this startup, on all connections.
    count: u64,
}

/// An open queue or stream.
struct OpenQueue {
    connection: Connection,
    queue: String,
    /// Unacknowledged messages of a queue, in order: `count` of each, and its number on this connection.
    unacknowledged: VecDeque<(u64, u64)>,
    /// How far a stream has been read; `None` if nothing was read.
    at: Option<RabbitmqPosition>,
    /// Since when a resumed stream waits for the last message read, which the server delivers again. If it does not, this is another
    /// stream.
    awaited_since: Option<Instant>,
    /// Whether the stream has other messages, so that the server should have delivered this one.
    suspected: bool,
    /// The first message on this connection; `None` after it has arrived.
    first_message: Option<FirstMessage>,
}

/// The first message on a connection. A busy server may deliver it seconds later.
#[derive(Clone, Copy)]
struct FirstMessage {
    since: Instant,
    /// Whether there is a message; `None` if unknown, because the server counts the messages of a stream only periodically.
    exists: Option<bool>,
}

impl FirstMessage {
    fn is_awaited(&self) -> bool {
        self.exists != Some(false) && self.since.elapsed() < FIRST_MESSAGE_WAIT
    }
}

/// How far a stream has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RabbitmqPosition {
    /// The offset after the last message read.
    next: u64,
    /// Digest of that message; `None` if an earlier version wrote the position.
    digest: Option<u64>,
}

impl RabbitmqPosition {
    fn parse(position: &[u8]) -> Option<RabbitmqPosition> {
        let text = std::str::from_utf8(position).ok()?;
        Some(match text.split_once(' ') {
            Some((next, digest)) => {
                RabbitmqPosition { next: next.parse().ok()?, digest: Some(u64::from_str_radix(digest, 16).ok()?) }
            }
            None => RabbitmqPosition { next: text.parse().ok()?, digest: None },
        })
    }

    fn to_bytes(self) -> Vec<u8> {
        let digest = self.digest.map(|digest| format!(" {digest:016x}")).unwrap_or_default();
        format!("{}{digest}", self.next).into_bytes()
    }
}

impl RabbitmqReader {
    /// A reader for queues or streams of a source. The error is the wrong key, and why.
    pub fn new(
        source: &SourceSpec,
        reads: &RabbitmqReads,
        origin: &Origin,
    ) -> Result<RabbitmqReader, (&'static str, String)> {
        let server = Server::new(&reads.url, source.tls.as_ref(), &origin.dir)?;
        Ok(RabbitmqReader {
            source: source.name.clone(),
            server,
            reads: reads.clone(),
            open: None,
            started_at_s: None,
            is_queue: false,
            count: 0,
        })
    }

    fn noun(&self) -> &'static str {
        if self.reads.streams { "stream" } else { "queue" }
    }

    fn to_error(&self, queue: &str, closed: ClosedByServer) -> ReadError {
        let url = self.server.address.shown();
        match closed.fault {
            Fault::Transient(why) => {
                let (word, queue) = (self.noun(), shown::harmless(queue, 200));
                ReadError::Transient(format!("{url}: {word} `{queue}`: {why}"))
            }
            Fault::Permanent(why) => self.permanent_error(queue, &format!("{url}: {why}")),
        }
    }

    fn permanent_error(&self, queue: &str, what: &str) -> ReadError {
        let (source, word, queue) = (&self.source, self.noun(), shown::harmless(queue, 200));
        ReadError::Permanent(Error::job(format!("source `{source}`: {word} `{queue}`: {what}")))
    }

    fn connect(&mut self, queue: &str, next: Option<u64>) -> Result<(Connection, FirstMessage), ClosedByServer> {
        let mut connection = Connection::open(&self.server, HEARTBEAT_S)?;
        let before_s = self.started_at_s;
        self.started_at_s = before_s.or_else(|| Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()));
        let exists = match connection.find_queue(queue)? {
            _ if self.reads.streams && next.is_none() && self.reads.start == ServerStart::Latest => Some(false),
            0 if self.reads.streams => None,
            messages => Some(messages > 0),
        };
        let first_message = FirstMessage { since: Instant::now(), exists };
        let (prefetch, offset) = match (self.reads.streams, next, self.reads.start) {
            (false, ..) => (QUEUE_PREFETCH, None),
            (true, Some(next), _) => {
                (STREAM_PREFETCH, Some(Field::Number(i64::try_from(next.saturating_sub(1)).unwrap_or(i64::MAX))))
            }
            (true, None, ServerStart::Earliest) => (STREAM_PREFETCH, Some(Field::Text("first"))),
            (true, None, ServerStart::Latest) => {
                (STREAM_PREFETCH, Some(before_s.map_or(Field::Text("next"), Field::Seconds)))
            }
        };
        let Err(closed) = connection.consume(queue, prefetch, offset) else { return Ok((connection, first_message)) };
        // A starting server gives the same error for a stream that it still recovers.
        let other_kind = closed.code == ClosedByServer::NOT_AS_WANTED
            && (!self.reads.streams || Connection::open(&self.server, HEARTBEAT_S)?.hands_out(queue)?);
        match closed.fault {
            Fault::Transient(why) if other_kind => {
                let hint = "write stream = \"…\" for a stream, and queue = \"…\" for a queue";
                Err(Fault::Permanent(format!("{why}; {hint}")).into())
            }
            _ => Err(closed),
        }
    }

    /// Whether a queue is a stream: only streams accept an offset.
    fn is_stream(&self, queue: &str) -> Result<bool, ClosedByServer> {
        let mut connection = Connection::open(&self.server, HEARTBEAT_S)?;
        match connection.consume(queue, 1, Some(Field::Text("next"))) {
            Ok(()) => Ok(true),
            Err(closed) if closed.code == ClosedByServer::NOT_AS_WANTED => Ok(false),
            Err(closed) => Err(closed),
        }
    }

    /// Returns the offset of the first message of a stream, or `None` after `wait`.
    fn first_offset(&self, stream: &str, wait: Duration) -> Result<Option<u64>, ClosedByServer> {
        let mut connection = Connection::open(&self.server, HEARTBEAT_S)?;
        connection.consume(stream, 1, Some(Field::Text("first")))?;
        let until = Instant::now() + wait;
        loop {
            match connection.next_event(until.saturating_duration_since(Instant::now()))? {
                Some(Event::Delivery(delivery)) => return Ok(offset_of(&delivery)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Converts a delivery; returns `None` if it was read before.
    fn convert(&mut self, open: &mut OpenQueue, delivery: Delivery) -> Result<Option<Message>, ReadError> {
        let mut offset = offset_of(&delivery);
        if !self.reads.streams && offset.is_some() {
            if !self.is_queue {
                let is_stream = self.is_stream(&open.queue);
                self.is_queue = !is_stream.map_err(|closed| self.to_error(&open.queue, closed))?;
            }
            // Publishers can set any header, including this one.
            offset = offset.filter(|_| !self.is_queue);
        }
        match (self.reads.streams, offset) {
            (false, None) => {
                self.count += 1;
                open.unacknowledged.push_back((self.count, delivery.number));
            }
            (true, Some(offset)) => {
                let digest = digest_delivery(&delivery);
                match open.at {
                    Some(RabbitmqPosition { next, digest: before }) if offset.checked_add(1) == Some(next) => {
                        if before.is_some_and(|before| before != digest) {
                            return Err(self.other_stream_error(open));
                        }
                        open.awaited_since = None;
                        return Ok(None);
                    }
                    Some(RabbitmqPosition { next, .. }) if offset < next => return Ok(None),
                    // A gap may also be an offset that the server used itself, so check what it still has.
                    Some(RabbitmqPosition { next, .. }) if offset > next => {
                        let first = self
                            .first_offset(&open.queue, RESPONSE_TIMEOUT)
                            .map_err(|closed| self.to_error(&open.queue, closed))?;
                        // The stream is not empty: it has this message.
                        let first = first.ok_or_else(|| {
                            self.to_error(
                                &open.queue,
                                Fault::Transient("it did not return its first offset".into()).into(),
                            )
                        })?;
                        if first > next {
                            return Err(self.permanent_error(
                                &open.queue,
                                &format!(
                                    "its messages from offset {next} to {} were deleted before the job read them; let the stream keep \
                                     more (max-age, max-length-bytes), and {} to continue with the existing messages",
                                    first - 1,
                                    restart_hint(&self.source)
                                ),
                            ));
                        }
                    }
                    _ => {}
                }
                open.at = Some(RabbitmqPosition { next: offset.saturating_add(1), digest: Some(digest) });
                open.awaited_since = None;
            }
            (false, Some(_)) => {
                return Err(self.permanent_error(
                    &open.queue,
                    "it is a stream, which is read by its offsets; write stream = \"…\"",
                ));
            }
            (true, None) => {
                return Err(self.permanent_error(&open.queue, "it is a queue, not a stream; write queue = \"…\""));
            }
        }
        let properties = delivery.properties;
        let time_ms = properties.timestamp_s.and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1_000));
        let mut headers = properties.headers;
        headers.retain(|(name, _)| name != ID && (name != OFFSET || !self.reads.streams));
        headers.extend(properties.message_id.map(|id| (ID.to_owned(), Some(id.into()))));
        Ok(Some(Message {
            value: Some(delivery.body),
            headers,
            time_ms,
            offset: offset.unwrap_or(self.count),
            topic: Some(delivery.routing_key),
            ..Message::default()
        }))
    }

    /// The last message read was not delivered again. Fails if the stream has other messages.
    fn check_other_stream(&self, open: &mut OpenQueue) -> Result<(), ReadError> {
        if open.suspected {
            return Err(self.other_stream_error(open));
        }
        let first =
            self.first_offset(&open.queue, FIRST_OFFSET_WAIT).map_err(|closed| self.to_error(&open.queue, closed))?;
        (open.suspected, open.awaited_since) = (first.is_some(), Some(Instant::now()));
        Ok(())
    }

    fn other_stream_error(&self, open: &OpenQueue) -> ReadError {
        let last = open.at.map_or(0, |at| at.next).saturating_sub(1);
        self.permanent_error(
            &open.queue,
            &format!(
                "the job has read another stream of this name up to message {last}; {} to read it from its beginning",
                restart_hint(&self.source)
            ),
        )
    }

    fn read(&mut self, open: &mut OpenQueue, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let (mut messages, mut bytes, mut last) = (Vec::new(), 0, None);
        let to_error =
            |this: &RabbitmqReader, open: &OpenQueue, closed: ClosedByServer| this.to_error(&open.queue, closed);
        let queue = open.queue.clone();
        if let Err(fault) = open.connection.keep_alive(Some(&queue)) {
            return Err(to_error(self, open, fault.into()));
        }
        let until = Instant::now() + wait;
        while messages.len() < rows_max as usize && bytes < POLL_BYTES {
            let wait = if messages.is_empty() { until.saturating_duration_since(Instant::now()) } else { MORE_WAIT };
            match open.connection.next_event(wait) {
                Ok(Some(Event::Delivery(delivery))) => {
                    open.first_message = None;
                    bytes += delivery.body.len();
                    last = Some(delivery.number);
                    messages.extend(self.convert(open, delivery)?);
                }
                Ok(Some(Event::Cancelled)) => {
                    return Err(to_error(self, open, Fault::Transient("it no longer exists".into()).into()));
                }
                Ok(Some(_)) if Instant::now() < until => {}
                Ok(_) => break,
                Err(closed) => return Err(to_error(self, open, closed)),
            }
        }
        if messages.is_empty() && open.awaited_since.is_some_and(|since| since.elapsed() > LAST_WAIT) {
            self.check_other_stream(open)?;
        }
        if let Some(first_message) = open.first_message.as_mut().filter(|first| first.exists.is_none())
            && first_message.since.elapsed() >= COUNT_DELAY_MAX
        {
            let counted = open.connection.find_queue(&queue);
            first_message.exists = Some(counted.map_err(|closed| self.to_error(&queue, closed))? > 0);
        }
        let position = match self.reads.streams {
            true => open.at.filter(|_| !messages.is_empty()).map(RabbitmqPosition::to_bytes),
            false => (!messages.is_empty()).then(|| self.count.to_string().into_bytes()),
        };
        if let (true, Some(last)) = (self.reads.streams, last)
            && let Err(fault) = open.connection.acknowledge(last)
        {
            // The messages were read anyway, and the next poll fails.
            tracing::debug!("source `{}`: {fault:?}", self.source);
        }
        let content = ReadContent::Messages(messages);
        Ok(ReadRows { content, rejected: Vec::new(), position, pause: Some(Duration::ZERO) })
    }
}

/// The offset of a message of a stream.
fn offset_of(delivery: &Delivery) -> Option<u64> {
    let header = delivery.properties.headers.iter().find(|(name, _)| name == OFFSET);
    header.and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()?.parse().ok())
}

/// Digest of a message.
fn digest_delivery(delivery: &Delivery) -> u64 {
    let mut digest = Xxh3::new();
    digest.update(&(delivery.routing_key.len() as u64).to_le_bytes());
    digest.update(delivery.routing_key.as_bytes());
    digest.update(&delivery.body);
    digest.digest()
}

impl ReadPartition for RabbitmqReader {
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        Ok(self.reads.queues.clone())
    }

    fn open(&mut self, queue: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        let at = match position.filter(|_| self.reads.streams) {
            None => None,
            Some(position) => Some(
                RabbitmqPosition::parse(position)
                    .ok_or_else(|| self.permanent_error(queue, "its position is not a RabbitMQ position"))?,
            ),
        };
        let (connection, first_message) =
            self.connect(queue, at.map(|at| at.next)).map_err(|closed| match closed.code {
                // The server gives the same error for a queue that it could not recover after a crash, so show its text.
                ClosedByServer::NO_SUCH => {
                    let (url, word, queue) = (self.server.address.shown(), self.noun(), shown::harmless(queue, 200));
                    let why = match closed.fault {
                        Fault::Transient(why) | Fault::Permanent(why) => why,
                    };
                    ReadError::Transient(format!("{url}: {word} `{queue}` does not exist ({why})"))
                }
                _ => self.to_error(queue, closed),
            })?;
        let (queue, unacknowledged, awaited_since) = (queue.to_owned(), VecDeque::new(), at.map(|_| Instant::now()));
        self.open = Some(OpenQueue {
            connection,
            queue,
            unacknowledged,
            at,
            awaited_since,
            suspected: false,
            first_message: Some(first_message),
        });
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        position_field(position, 0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A busy server delivers the first message late.
    fn has_more(&self) -> bool {
        self.open.as_ref().and_then(|open| open.first_message).is_some_and(|first| first.is_awaited())
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let Some(mut open) = self.open.take() else { return Err(ReadError::Transient("it is not connected".into())) };
        let rows = self.read(&mut open, rows_max, wait)?;
        self.open = Some(open);
        Ok(rows)
    }

    fn keeps_positions(&self) -> bool {
        self.reads.streams
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), ReadError> {
        let count: Option<u64> = std::str::from_utf8(position).ok().and_then(|count| count.parse().ok());
        let (Some(count), Some(open), false) = (count, &mut self.open, self.reads.streams) else { return Ok(()) };
        let mut last = None;
        while let Some((_, number)) = open.unacknowledged.pop_front_if(|(at, _)| *at <= count) {
            last = Some(number);
        }
        let Some(last) = last else { return Ok(()) };
        let (sent, queue) = (open.connection.acknowledge(last), open.queue.clone());
        sent.map_err(|fault| {
            self.open = None;
            self.to_error(&queue, fault.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_round_trip() {
        for at in [RabbitmqPosition { next: u64::MAX, digest: Some(1) }, RabbitmqPosition { next: 7, digest: None }] {
            assert_eq!(RabbitmqPosition::parse(&at.to_bytes()), Some(at));
        }
        for other in [&b""[..], b"x", b"1 ", b"1 x", b"1 2 3", b"\xff"] {
            assert_eq!(RabbitmqPosition::parse(other), None, "{other:?}");
        }
    }
}
