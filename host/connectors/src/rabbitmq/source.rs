//! Queues of RabbitMQ, each a partition, and streams of it. A queue hands out each message until it is acknowledged, which it is when a durable
//! plan holds it, so no position of it is kept. A stream keeps its messages: there the position is the offset behind the last one that was read, and a digest
//! of that one, so that another stream of the name is noticed.

use super::settings::RabbitmqReads;
use crate::rabbitmq::{ANSWER_MAX, ClosedByServer, Connection, Delivery, Event, Fault, Field, Server};
use crate::receiver::polled::word;
use millstream_base::batch::envelope::ID;
use millstream_base::batch::reading::{Message, ReadContent, ReadPartition, ReadRows, ReadTrouble};
use millstream_base::error::Error;
use millstream_base::job::spec::{Origin, ServerStart, SourceSpec};
use millstream_base::shown;
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::Xxh3;

/// About how many bytes of messages are taken together.
const POLL_BYTES: usize = 1 << 20;
/// How long a poll that has some messages waits for more.
const MORE_WAIT: Duration = Duration::from_millis(1);
/// Messages that are sent and not acknowledged.
const QUEUE_OPEN_MAX: u16 = 10_000;
/// Those of a stream are acknowledged when they were read.
const STREAM_OPEN_MAX: u16 = 1_000;
/// After some times as long without a word the server takes back what it has sent: the machine of the job may be gone. Long, as nothing is
/// said while a batch waits for room.
const HEARTBEAT_S: u16 = 300;
/// How long the first message of a stream is waited for, which may be empty.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long the last message that was read is waited for, which a stream still has.
const AWAITED_MAX: Duration = Duration::from_secs(3);
/// How long the first message of a queue or stream that has some is waited for, before there is taken to be nothing to read.
const COMING_MAX: Duration = Duration::from_secs(30);
/// How long after a message was written the server counts it among those of its stream: every five seconds, and it may be late.
const COUNTED_WITHIN: Duration = Duration::from_secs(6);
/// The header with the offset of a message in its stream.
const OFFSET: &str = "x-stream-offset";

/// Reads one queue or stream.
pub struct Rabbitmq {
    source: String,
    server: Server,
    reads: RabbitmqReads,
    open: Option<OpenQueue>,
    /// When this start first came to the stream, in seconds since 1970, for `start = "latest"`: nothing later is passed over where the
    /// connection is lost before there is a position.
    began_s: Option<u64>,
    /// Whether the server was asked and the queue is no stream, though its messages look so.
    no_stream: bool,
    /// How many messages were read, of this start. It goes on when the connection is another one.
    count: u64,
}

struct OpenQueue {
    connection: Connection,
    queue: String,
    /// Of a queue, messages that are not acknowledged, in order: their numbers here, and those of this connection.
    waiting: VecDeque<(u64, u64)>,
    /// Of a stream, how far it was read; `None`: nothing was.
    at: Option<RabbitmqPosition>,
    /// Of a stream that goes on, since when the last message that was read is waited for: the server sends it once more, and where it
    /// does not, the stream is another one.
    awaited: Option<Instant>,
    /// Whether the server sends other messages meanwhile, so that it should have sent this one.
    suspected: bool,
    /// What is to come before there can be nothing to read; `None`: a message came.
    coming: Option<FirstMessage>,
}

/// The first message over a connection, which a busy server may send seconds later.
#[derive(Clone, Copy)]
struct FirstMessage {
    since: Instant,
    /// Whether the server has a message to send; `None`: it has counted none, but counts those of a stream only now and then.
    is_there: Option<bool>,
}

impl FirstMessage {
    fn is_waited_for(&self) -> bool {
        self.is_there != Some(false) && self.since.elapsed() < COMING_MAX
    }
}

/// How far a stream of RabbitMQ was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RabbitmqPosition {
    /// The offset behind the last message.
    next: u64,
    /// Of that message; `None`: an earlier version of this program has not kept it.
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

    fn written(self) -> Vec<u8> {
        let digest = self.digest.map(|digest| format!(" {digest:016x}")).unwrap_or_default();
        format!("{}{digest}", self.next).into_bytes()
    }
}

impl Rabbitmq {
    /// One who reads queues or streams of this source, or the key that is wrong and why.
    pub fn of(source: &SourceSpec, reads: &RabbitmqReads, origin: &Origin) -> Result<Rabbitmq, (&'static str, String)> {
        let server = Server::of(&reads.url, source.tls.as_ref(), &origin.folder)?;
        Ok(Rabbitmq {
            source: source.name.clone(),
            server,
            reads: reads.clone(),
            open: None,
            began_s: None,
            no_stream: false,
            count: 0,
        })
    }

    fn word(&self) -> &'static str {
        if self.reads.streams { "stream" } else { "queue" }
    }

    fn trouble(&self, queue: &str, closed: ClosedByServer) -> ReadTrouble {
        let place = self.server.place.shown();
        match closed.fault {
            Fault::Passing(why) => {
                let (word, queue) = (self.word(), shown::harmless(queue, 200));
                ReadTrouble::Passing(format!("{place}: {word} `{queue}`: {why}"))
            }
            Fault::Lasting(why) => self.lasting(queue, &format!("{place}: {why}")),
        }
    }

    fn lasting(&self, queue: &str, what: &str) -> ReadTrouble {
        let (source, word, queue) = (&self.source, self.word(), shown::harmless(queue, 200));
        ReadTrouble::Lasting(Error::job(format!("source `{source}`: {word} `{queue}`: {what}")))
    }

    fn connect(&mut self, queue: &str, next: Option<u64>) -> Result<(Connection, FirstMessage), ClosedByServer> {
        let mut connection = Connection::open(&self.server, HEARTBEAT_S)?;
        let before_s = self.began_s;
        self.began_s = before_s.or_else(|| Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()));
        let is_there = match connection.find_queue(queue)? {
            _ if self.reads.streams && next.is_none() && self.reads.start == ServerStart::Latest => Some(false),
            0 if self.reads.streams => None,
            messages => Some(messages > 0),
        };
        let coming = FirstMessage { since: Instant::now(), is_there };
        let (most, offset) = match (self.reads.streams, next, self.reads.start) {
            (false, ..) => (QUEUE_OPEN_MAX, None),
            (true, Some(next), _) => {
                (STREAM_OPEN_MAX, Some(Field::Number(i64::try_from(next.saturating_sub(1)).unwrap_or(i64::MAX))))
            }
            (true, None, ServerStart::Earliest) => (STREAM_OPEN_MAX, Some(Field::Text("first"))),
            (true, None, ServerStart::Latest) => {
                (STREAM_OPEN_MAX, Some(before_s.map_or(Field::Text("next"), Field::Seconds)))
            }
        };
        let Err(closed) = connection.consume(queue, most, offset) else { return Ok((connection, coming)) };
        // A server that has just started says the same of a stream that it is still bringing back.
        let other_kind = closed.code == ClosedByServer::NOT_AS_WANTED
            && (!self.reads.streams || Connection::open(&self.server, HEARTBEAT_S)?.hands_out(queue)?);
        match closed.fault {
            Fault::Passing(why) if other_kind => {
                let hint = "write stream = \"…\" for a stream, and queue = \"…\" for a queue";
                Err(Fault::Lasting(format!("{why}; {hint}")).into())
            }
            _ => Err(closed),
        }
    }

    /// Whether a queue is a stream: only there the server takes an offset to begin at.
    fn is_stream(&self, queue: &str) -> Result<bool, ClosedByServer> {
        let mut connection = Connection::open(&self.server, HEARTBEAT_S)?;
        match connection.consume(queue, 1, Some(Field::Text("next"))) {
            Ok(()) => Ok(true),
            Err(closed) if closed.code == ClosedByServer::NOT_AS_WANTED => Ok(false),
            Err(closed) => Err(closed),
        }
    }

    /// The offset of the first message that a stream has; `None`: none has come within this time.
    fn first(&self, stream: &str, wait: Duration) -> Result<Option<u64>, ClosedByServer> {
        let mut connection = Connection::open(&self.server, HEARTBEAT_S)?;
        connection.consume(stream, 1, Some(Field::Text("first")))?;
        let until = Instant::now() + wait;
        loop {
            match connection.next(until.saturating_duration_since(Instant::now()))? {
                Some(Event::Delivery(delivery)) => return Ok(offset_of(&delivery)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// A message to read; `None`: it was read before.
    fn message(&mut self, open: &mut OpenQueue, delivery: Delivery) -> Result<Option<Message>, ReadTrouble> {
        let mut offset = offset_of(&delivery);
        if !self.reads.streams && offset.is_some() {
            if !self.no_stream {
                let is_stream = self.is_stream(&open.queue);
                self.no_stream = !is_stream.map_err(|closed| self.trouble(&open.queue, closed))?;
            }
            // Who published the message may write any header.
            offset = offset.filter(|_| !self.no_stream);
        }
        match (self.reads.streams, offset) {
            (false, None) => {
                self.count += 1;
                open.waiting.push_back((self.count, delivery.number));
            }
            (true, Some(offset)) => {
                let digest = digest(&delivery);
                match open.at {
                    Some(RabbitmqPosition { next, digest: before }) if offset.checked_add(1) == Some(next) => {
                        if before.is_some_and(|before| before != digest) {
                            return Err(self.other_stream(open));
                        }
                        open.awaited = None;
                        return Ok(None);
                    }
                    Some(RabbitmqPosition { next, .. }) if offset < next => return Ok(None),
                    // The server itself may use an offset, so it is asked.
                    Some(RabbitmqPosition { next, .. }) if offset > next => {
                        let first =
                            self.first(&open.queue, ANSWER_MAX).map_err(|closed| self.trouble(&open.queue, closed))?;
                        // It has at least this message.
                        let first = first.ok_or_else(|| {
                            self.trouble(
                                &open.queue,
                                Fault::Passing("it does not say where it begins now".into()).into(),
                            )
                        })?;
                        if first > next {
                            return Err(self.lasting(
                                &open.queue,
                                &format!(
                                    "its messages from offset {next} to {} were deleted before the job read them; let the stream keep \
                                     more (max-age, max-length-bytes), and give the source another name to continue with the \
                                     existing messages",
                                    first - 1
                                ),
                            ));
                        }
                    }
                    _ => {}
                }
                open.at = Some(RabbitmqPosition { next: offset.saturating_add(1), digest: Some(digest) });
                open.awaited = None;
            }
            (false, Some(_)) => {
                return Err(
                    self.lasting(&open.queue, "it is a stream, which is read by its offsets; write stream = \"…\"")
                );
            }
            (true, None) => return Err(self.lasting(&open.queue, "it is a queue, and no stream; write queue = \"…\"")),
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

    /// The last message that was read does not come again: where the server sends others, the stream is another one.
    fn suspect(&self, open: &mut OpenQueue) -> Result<(), ReadTrouble> {
        if open.suspected {
            return Err(self.other_stream(open));
        }
        let first = self.first(&open.queue, FIRST_WAIT).map_err(|closed| self.trouble(&open.queue, closed))?;
        (open.suspected, open.awaited) = (first.is_some(), Some(Instant::now()));
        Ok(())
    }

    fn other_stream(&self, open: &OpenQueue) -> ReadTrouble {
        let last = open.at.map_or(0, |at| at.next).saturating_sub(1);
        self.lasting(
            &open.queue,
            &format!(
                "it is another stream than the one that the job has read up to message {last}; give the source another name to read it \
                 from its beginning"
            ),
        )
    }

    fn read(&mut self, open: &mut OpenQueue, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        let (mut messages, mut bytes, mut last) = (Vec::new(), 0, None);
        let told = |this: &Rabbitmq, open: &OpenQueue, closed: ClosedByServer| this.trouble(&open.queue, closed);
        let queue = open.queue.clone();
        if let Err(fault) = open.connection.keep_alive(Some(&queue)) {
            return Err(told(self, open, fault.into()));
        }
        let until = Instant::now() + wait;
        while messages.len() < rows_max as usize && bytes < POLL_BYTES {
            let wait = if messages.is_empty() { until.saturating_duration_since(Instant::now()) } else { MORE_WAIT };
            match open.connection.next(wait) {
                Ok(Some(Event::Delivery(delivery))) => {
                    open.coming = None;
                    bytes += delivery.body.len();
                    last = Some(delivery.number);
                    messages.extend(self.message(open, delivery)?);
                }
                Ok(Some(Event::Cancelled)) => {
                    return Err(told(self, open, Fault::Passing("it no longer exists".into()).into()));
                }
                Ok(Some(_)) if Instant::now() < until => {}
                Ok(_) => break,
                Err(closed) => return Err(told(self, open, closed)),
            }
        }
        if messages.is_empty() && open.awaited.is_some_and(|since| since.elapsed() > AWAITED_MAX) {
            self.suspect(open)?;
        }
        if let Some(coming) = open.coming.as_mut().filter(|coming| coming.is_there.is_none())
            && coming.since.elapsed() >= COUNTED_WITHIN
        {
            let counted = open.connection.find_queue(&queue);
            coming.is_there = Some(counted.map_err(|closed| self.trouble(&queue, closed))? > 0);
        }
        let position = match self.reads.streams {
            true => open.at.filter(|_| !messages.is_empty()).map(RabbitmqPosition::written),
            false => (!messages.is_empty()).then(|| self.count.to_string().into_bytes()),
        };
        if let (true, Some(last)) = (self.reads.streams, last)
            && let Err(fault) = open.connection.acknowledge(last)
        {
            // These were read all the same; the next poll meets the trouble.
            tracing::debug!("source `{}`: {fault:?}", self.source);
        }
        let content = ReadContent::Messages(messages);
        Ok(ReadRows { content, refused: Vec::new(), position, pause: Some(Duration::ZERO) })
    }
}

/// The offset of a message, where it comes from a stream.
fn offset_of(delivery: &Delivery) -> Option<u64> {
    let header = delivery.properties.headers.iter().find(|(name, _)| name == OFFSET);
    header.and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()?.parse().ok())
}

/// Of what is in a message.
fn digest(delivery: &Delivery) -> u64 {
    let mut digest = Xxh3::new();
    digest.update(&(delivery.routing_key.len() as u64).to_le_bytes());
    digest.update(delivery.routing_key.as_bytes());
    digest.update(&delivery.body);
    digest.digest()
}

impl ReadPartition for Rabbitmq {
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        Ok(self.reads.queues.clone())
    }

    fn open(&mut self, queue: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        let at = match position.filter(|_| self.reads.streams) {
            None => None,
            Some(position) => Some(
                RabbitmqPosition::parse(position)
                    .ok_or_else(|| self.lasting(queue, "its position is not a RabbitMQ position"))?,
            ),
        };
        let (connection, coming) = self.connect(queue, at.map(|at| at.next)).map_err(|closed| match closed.code {
            // It says the same of one that it cannot bring back after a crash, so its words are told as well.
            ClosedByServer::NO_SUCH => {
                let (place, word, queue) = (self.server.place.shown(), self.word(), shown::harmless(queue, 200));
                let why = match closed.fault {
                    Fault::Passing(why) | Fault::Lasting(why) => why,
                };
                ReadTrouble::Passing(format!("{place}: {word} `{queue}` does not exist ({why})"))
            }
            _ => self.trouble(queue, closed),
        })?;
        let (queue, waiting, awaited) = (queue.to_owned(), VecDeque::new(), at.map(|_| Instant::now()));
        self.open = Some(OpenQueue { connection, queue, waiting, at, awaited, suspected: false, coming: Some(coming) });
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        word(position, 0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The server sends the first message when it comes to it.
    fn has_more(&self) -> bool {
        self.open.as_ref().and_then(|open| open.coming).is_some_and(|coming| coming.is_waited_for())
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        let Some(mut open) = self.open.take() else { return Err(ReadTrouble::Passing("it is not connected".into())) };
        let rows = self.read(&mut open, rows_max, wait)?;
        self.open = Some(open);
        Ok(rows)
    }

    fn keeps_positions(&self) -> bool {
        self.reads.streams
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), ReadTrouble> {
        let count: Option<u64> = std::str::from_utf8(position).ok().and_then(|count| count.parse().ok());
        let (Some(count), Some(open), false) = (count, &mut self.open, self.reads.streams) else { return Ok(()) };
        let mut last = None;
        while let Some((_, number)) = open.waiting.pop_front_if(|(at, _)| *at <= count) {
            last = Some(number);
        }
        let Some(last) = last else { return Ok(()) };
        let (sent, queue) = (open.connection.acknowledge(last), open.queue.clone());
        sent.map_err(|fault| {
            self.open = None;
            self.trouble(&queue, fault.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_were_written() {
        for at in [RabbitmqPosition { next: u64::MAX, digest: Some(1) }, RabbitmqPosition { next: 7, digest: None }] {
            assert_eq!(RabbitmqPosition::parse(&at.written()), Some(at));
        }
        for other in [&b""[..], b"x", b"1 ", b"1 x", b"1 2 3", b"\xff"] {
            assert_eq!(RabbitmqPosition::parse(other), None, "{other:?}");
        }
    }
}
