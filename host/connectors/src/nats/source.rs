//! Reads JetStream streams; each is a partition. A position is the sequence of the last message read, and the stream's creation time, which
//! reveals another stream of the same name. Messages are pulled by a temporary consumer without acknowledgments: only the position says how
//! far the job has read.

use super::settings::NatsReads;
use crate::nats::stream::{Stream, marker_prefix};
use crate::nats::{ApiError, Connection, Fault, RESPONSE_TIMEOUT, ReceivedMessage, Server, publish};
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_connect::receiver::polled::backlog::Backlog;
use millstream_connect::receiver::polled::position_field;
use millstream_connect::receiver::restart_hint;
use millstream_job::spec::{Origin, ServerStart, SourceSpec};
use millstream_rows::batch::reading::{Message, ReadContent, ReadError, ReadPartition, ReadRows};
use serde_json::json;
use std::time::{Duration, Instant};

/// Approximate bytes of messages per pull request.
const FETCH_BYTES: u64 = 1 << 20;
/// Expected bytes of a message before the first one arrives.
const INITIAL_MESSAGE_BYTES: u64 = 16 << 10;
/// How long a poll that has messages waits for more.
const MORE_WAIT: Duration = Duration::from_millis(1);
/// How often a stream without new messages is checked, because it may have been deleted.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the server keeps an idle consumer. A poll may be late if a batch waits for space.
const CONSUMER_IDLE_MAX: Duration = Duration::from_secs(300);
/// Status: the consumer no longer exists.
const NO_RESPONDERS: u16 = 503;
/// Status: the consumer was deleted, or its server shuts down.
const CONFLICT: u16 = 409;

/// Reads one stream.
pub struct NatsReader {
    source: String,
    server: Server,
    reads: NatsReads,
    open: Option<OpenStream>,
    /// The end of the stream when this startup first saw it, for `start = "latest"`. No message after it is skipped if the connection is lost
    /// before there is a position.
    started_at: Option<NatsPosition>,
    /// Bytes of the largest recent message.
    message_bytes: u64,
}

/// An open stream.
struct OpenStream {
    connection: Connection,
    stream: String,
    at: NatsPosition,
    consumer: Consumer,
    checked: Instant,
    backlog: Backlog,
}

/// A consumer on the server.
struct Consumer {
    name: String,
    /// Number of the last message that it delivered. Numbers have no gaps.
    delivered: u64,
    /// The pull request that is not fulfilled yet.
    fetch: Option<Fetch>,
}

/// A pull request.
struct Fetch {
    inbox: String,
    pending: u64,
    until: Instant,
}

/// How far a stream has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NatsPosition {
    sequence: u64,
    created: String,
}

impl NatsPosition {
    fn parse(position: &[u8]) -> Option<NatsPosition> {
        let (sequence, created) = std::str::from_utf8(position).ok()?.split_once(' ')?;
        Some(NatsPosition { sequence: sequence.parse().ok()?, created: created.to_owned() })
    }

    fn to_bytes(&self) -> Vec<u8> {
        format!("{} {}", self.sequence, self.created).into_bytes()
    }
}

impl NatsReader {
    /// A reader for streams of a source. The error is the wrong key, and why.
    pub fn new(source: &SourceSpec, reads: &NatsReads, origin: &Origin) -> Result<NatsReader, (&'static str, String)> {
        Ok(NatsReader {
            source: source.name.clone(),
            server: Server::new(&reads.url, reads.credentials.as_deref(), source.tls.as_ref(), &origin.dir)?,
            reads: reads.clone(),
            open: None,
            started_at: None,
            message_bytes: INITIAL_MESSAGE_BYTES,
        })
    }

    fn to_error(&self, stream: &str, fault: Fault) -> ReadError {
        match fault {
            Fault::Transient(why) => ReadError::Transient(format!("{}: {why}", self.server.shown())),
            Fault::Permanent(why) => self.permanent_error(stream, &format!("{}: {why}", self.server.shown())),
        }
    }

    fn permanent_error(&self, stream: &str, what: &str) -> ReadError {
        let (source, stream) = (&self.source, shown::harmless(stream, 200));
        ReadError::Permanent(Error::job(format!("source `{source}`: stream `{stream}`: {what}")))
    }

    /// Checks that the stream still has all messages after the position.
    fn check_position(&self, name: &str, at: &NatsPosition, stream: &Stream) -> Result<(), ReadError> {
        if stream.config.retention != "limits" {
            let kind = shown::harmless(&stream.config.retention, 50);
            return Err(self.permanent_error(
                name,
                &format!(
                    "it deletes each message when its consumers have acknowledged it (retention `{kind}`), so it could not be read again \
                     after a crash; read a stream with retention `limits`, which may take its messages from this one (`sources`)"
                ),
            ));
        }
        if stream.created != at.created || stream.state.last_seq < at.sequence {
            return Err(self.permanent_error(
                name,
                &format!(
                    "the job has read another stream of this name up to message {}; {} to read it from its beginning",
                    at.sequence,
                    restart_hint(&self.source)
                ),
            ));
        }
        // Such a stream is meant to replace messages by newer ones with the same subject.
        let replaces = stream.config.max_msgs_per_subject > 0;
        let missing = stream.state.first_seq.saturating_sub(at.sequence + 1);
        if missing > 0 && !replaces {
            let some = if self.reads.subjects.is_empty() { "" } else { "up to " };
            return Err(self.permanent_error(
                name,
                &format!(
                    "{some}{missing} messages after {} were deleted before the job read them; let the stream keep more (max_age, \
                     max_msgs, max_bytes), and {} to continue with the existing messages",
                    at.sequence,
                    restart_hint(&self.source)
                ),
            ));
        }
        Ok(())
    }

    /// Creates a consumer that starts after the position.
    fn create_consumer(
        &self,
        connection: &mut Connection,
        stream: &str,
        at: &NatsPosition,
    ) -> Result<Consumer, ReadError> {
        let mut config = json!({
            "deliver_policy": "by_start_sequence", "opt_start_seq": at.sequence + 1, "ack_policy": "none", "replay_policy": "instant",
            "inactive_threshold": CONSUMER_IDLE_MAX.as_nanos() as u64, "mem_storage": true, "num_replicas": 1,
        });
        match &self.reads.subjects[..] {
            [] => {}
            [one] => config["filter_subject"] = one.as_str().into(),
            several => config["filter_subjects"] = several.into(),
        }
        let what = json!({ "stream_name": stream, "config": config });
        let response = connection.request(&format!("$JS.API.CONSUMER.CREATE.{stream}"), &what);
        let response = response.map_err(|fault| self.to_error(stream, fault))?;
        let response = response.map_err(|error| match error.err_code {
            ApiError::NO_STREAM => self.missing_stream(stream),
            _ => self.to_error(stream, error.to_fault()),
        })?;
        let name = response.get("name").and_then(|name| name.as_str());
        let name = name.ok_or_else(|| ReadError::Transient("the server names no consumer".into()))?;
        Ok(Consumer { name: name.to_owned(), delivered: 0, fetch: None })
    }

    /// Checks that a stream without new messages is still the same. If only some subjects are read, returns the position after skipped
    /// messages.
    fn check_stream(&self, open: &mut OpenStream) -> Result<Option<Vec<u8>>, ReadError> {
        if open.checked.elapsed() < CHECK_INTERVAL {
            return Ok(None);
        }
        let found = Stream::find(&mut open.connection, &open.stream);
        let found = found.map_err(|fault| self.to_error(&open.stream, fault))?;
        let stream = found.ok_or_else(|| self.missing_stream(&open.stream))?;
        let is_at_end = open.is_at_end(&stream);
        if !is_at_end || self.reads.subjects.is_empty() {
            self.check_position(&open.stream, &open.at, &stream)?;
        }
        open.checked = Instant::now();
        if is_at_end && stream.created == open.at.created && open.at.sequence < stream.state.last_seq {
            open.at.sequence = stream.state.last_seq;
            return Ok(Some(open.at.to_bytes()));
        }
        Ok(None)
    }

    fn missing_stream(&self, stream: &str) -> ReadError {
        ReadError::Transient(format!("stream `{}` no longer exists", shown::harmless(stream, 200)))
    }

    fn read(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let Some(mut open) = self.open.take() else { return Err(ReadError::Transient("it is not connected".into())) };
        let until = Instant::now() + wait;
        let before = open.at.sequence;
        let count = (FETCH_BYTES / self.message_bytes.max(1)).clamp(1, rows_max.into());
        let (mut messages, mut bytes, mut largest, mut first) = (Vec::new(), 0_u64, 0, None);
        let own_markers = marker_prefix(&open.stream);
        while (messages.len() as u64) < count && bytes < FETCH_BYTES {
            let wait = if messages.is_empty() { until.saturating_duration_since(Instant::now()) } else { MORE_WAIT };
            if wait.is_zero() {
                break;
            }
            let fetched = self.fetch(&mut open, count, wait)?;
            let Some((received, ack)) = fetched else {
                if messages.is_empty() && Instant::now() < until {
                    continue;
                }
                break;
            };
            first.get_or_insert(ack.sequence);
            open.at.sequence = ack.sequence;
            open.backlog.touch();
            let size = received.payload.len() as u64;
            (bytes, largest) = (bytes + size, size.max(largest));
            // Markers of sinks that write to this stream are not rows.
            if !received.subject.starts_with(&own_markers) {
                messages.push(to_message(received, &ack));
            }
        }
        if first.is_some() {
            self.message_bytes = estimate_bytes(self.message_bytes, largest);
        }
        // A gap is an error if the stream's limits have deleted the messages.
        if self.reads.subjects.is_empty() && first.is_some_and(|first| first > before + 1) {
            let found = Stream::find(&mut open.connection, &open.stream);
            let found = found.map_err(|fault| self.to_error(&open.stream, fault))?;
            let stream = found.ok_or_else(|| self.missing_stream(&open.stream))?;
            let deleted = stream.state.first_seq >= first.unwrap_or_default();
            if deleted {
                self.check_position(
                    &open.stream,
                    &NatsPosition { sequence: before, created: open.at.created.clone() },
                    &stream,
                )?;
            }
        }
        let position = match first {
            Some(_) => Some(open.at.to_bytes()),
            None => self.check_stream(&mut open)?,
        };
        self.open = Some(open);
        Ok(ReadRows {
            content: ReadContent::Messages(messages),
            rejected: Vec::new(),
            position,
            pause: Some(Duration::ZERO),
        })
    }

    /// Returns the next message, or `None` after `wait`. Sends a pull request if there is none.
    fn fetch(
        &self,
        open: &mut OpenStream,
        count: u64,
        wait: Duration,
    ) -> Result<Option<(ReceivedMessage, AckSubject)>, ReadError> {
        let to_error = |fault: Fault| self.to_error(&open.stream, fault);
        let now = Instant::now();
        match &open.consumer.fetch {
            Some(fetch) if now > fetch.until + RESPONSE_TIMEOUT => {
                return Err(to_error(millstream_connect::dial::response_timed_out()));
            }
            Some(_) => {}
            None => {
                let inbox = open.connection.new_inbox();
                let expires = wait.max(Duration::from_millis(100));
                let what = json!({ "batch": count, "expires": expires.as_nanos() as u64 }).to_string();
                let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", open.stream, open.consumer.name);
                let mut request = Vec::new();
                publish(&mut request, &subject, Some(&inbox), &[], what.as_bytes());
                open.connection.send(&request).map_err(to_error)?;
                open.consumer.fetch = Some(Fetch { inbox, pending: count, until: now + expires });
            }
        }
        let Some(received) = open.connection.next_message(wait).map_err(to_error)? else { return Ok(None) };
        let fetch = open.consumer.fetch.as_mut();
        let ack = received.reply.as_deref().and_then(AckSubject::parse);
        // A stored message may look like a status, but its reply subject does not.
        if let (Some(status), None) = (received.status, &ack) {
            if fetch.is_some_and(|fetch| fetch.inbox == received.subject) && status >= 400 {
                open.consumer.fetch = None;
                if status == NO_RESPONDERS || status == CONFLICT {
                    open.consumer = self.create_consumer(&mut open.connection, &open.stream, &open.at)?;
                }
            }
            return Ok(None);
        }
        let Some(ack) = ack.filter(|ack| ack.consumer == open.consumer.name) else { return Ok(None) };
        if ack.number != open.consumer.delivered + 1 || ack.sequence <= open.at.sequence {
            // Messages were lost on the way. Another consumer delivers them again.
            open.consumer = self.create_consumer(&mut open.connection, &open.stream, &open.at)?;
            return Ok(None);
        }
        open.consumer.delivered = ack.number;
        if let Some(fetch) = fetch {
            fetch.pending -= 1;
            if fetch.pending == 0 {
                open.consumer.fetch = None;
            }
        }
        Ok(Some((received, ack)))
    }
}

impl OpenStream {
    /// Whether the consumer, which may select subjects, has delivered everything that `stream` had.
    fn is_at_end(&mut self, stream: &Stream) -> bool {
        let subject = format!("$JS.API.CONSUMER.INFO.{}.{}", self.stream, self.consumer.name);
        let Ok(Ok(response)) = self.connection.request(&subject, &json!({})) else { return false };
        let number = |what: &serde_json::Value| what.as_u64();
        let pending = response.get("num_pending").and_then(number);
        let delivered = response.pointer("/delivered/consumer_seq").and_then(number);
        // Messages that it has delivered meanwhile have not been read here.
        pending == Some(0) && delivered == Some(self.consumer.delivered) && stream.state.last_seq >= self.at.sequence
    }
}

/// The reply subject of a message, for an acknowledgment. It says where the message is:
/// `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<number>.<time>.<pending>`, or with domain and account before the stream, and one more
/// token at the end.
struct AckSubject {
    consumer: String,
    sequence: u64,
    number: u64,
    time_ns: i64,
}

impl AckSubject {
    fn parse(reply: &str) -> Option<AckSubject> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let tokens: Vec<&str> = rest.split('.').collect();
        let tokens = match tokens.len() {
            7 => &tokens[..],
            9.. => tokens.get(2..9)?,
            _ => return None,
        };
        let [_, consumer, _, sequence, number, time, _] = tokens else { return None };
        Some(AckSubject {
            consumer: (*consumer).to_owned(),
            sequence: sequence.parse().ok()?,
            number: number.parse().ok()?,
            time_ns: time.parse().ok()?,
        })
    }
}

/// Bytes to expect per message: those of the largest one, then gradually less.
fn estimate_bytes(before: u64, largest: u64) -> u64 {
    largest.max(before / 2).max(1)
}

fn to_message(received: ReceivedMessage, ack: &AckSubject) -> Message {
    let headers = received.headers.into_iter().map(|(name, value)| (name, Some(value.into()))).collect();
    Message {
        value: Some(received.payload),
        headers,
        time_ms: Some(ack.time_ns.div_euclid(1_000_000)),
        offset: ack.sequence,
        topic: Some(received.subject),
        ..Message::default()
    }
}

impl ReadPartition for NatsReader {
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        Ok(self.reads.streams.clone())
    }

    fn open(&mut self, name: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        let mut connection = Connection::open(&self.server).map_err(|fault| self.to_error(name, fault))?;
        let stream = Stream::find(&mut connection, name).map_err(|fault| self.to_error(name, fault))?;
        let stream = match (stream, position) {
            (Some(stream), _) => stream,
            (None, Some(_)) => return Err(self.missing_stream(name)),
            (None, None) => {
                // All messages of a stream that is created later are new.
                self.started_at.get_or_insert_default();
                let name = shown::harmless(name, 200);
                return Err(ReadError::Transient(format!("{}: stream `{name}` does not exist", self.server.shown())));
            }
        };
        let at = match position {
            Some(position) => NatsPosition::parse(position)
                .ok_or_else(|| self.permanent_error(name, "its position is not a NATS position"))?,
            None => {
                let of = |sequence| NatsPosition { sequence, created: stream.created.clone() };
                let first = of(stream.state.first_seq.saturating_sub(1));
                match (self.reads.start, &self.started_at) {
                    (ServerStart::Earliest, _) => first,
                    (ServerStart::Latest, Some(started_at)) if started_at.created == stream.created => {
                        started_at.clone()
                    }
                    // It was created after this startup.
                    (ServerStart::Latest, Some(_)) => first,
                    (ServerStart::Latest, None) => of(stream.state.last_seq),
                }
            }
        };
        if position.is_none() {
            self.started_at = Some(at.clone());
        }
        self.check_position(name, &at, &stream)?;
        let consumer = self.create_consumer(&mut connection, name, &at)?;
        let backlog = Backlog::up_to(stream.state.last_seq);
        self.open =
            Some(OpenStream { connection, stream: name.to_owned(), at, consumer, checked: Instant::now(), backlog });
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        position_field(position, 0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn has_more(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.backlog.is_left(open.at.sequence))
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        self.read(rows_max, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_round_trip() {
        let at = NatsPosition { sequence: u64::MAX, created: "2026-11-22T10:00:00.5Z".into() };
        assert_eq!(NatsPosition::parse(&at.to_bytes()), Some(at));
        for other in [&b""[..], b"1", b"x 2026", b"\xff 1"] {
            assert_eq!(NatsPosition::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn after_a_large_message_few_are_requested() {
        let mut bytes = estimate_bytes(INITIAL_MESSAGE_BYTES, FETCH_BYTES);
        assert_eq!(FETCH_BYTES / bytes, 1);
        for _ in 0..20 {
            let before = bytes;
            bytes = estimate_bytes(before, 10);
            assert!(bytes >= before / 2 && bytes >= 10, "{bytes}");
        }
        assert_eq!(bytes, 10);
        assert_eq!(estimate_bytes(1, 0), 1);
    }

    #[test]
    fn both_forms_of_reply_subjects_are_parsed() {
        for reply in ["$JS.ACK.S.c1.1.7.3.1700000000123456789.2", "$JS.ACK._.hash.S.c1.1.7.3.1700000000123456789.2.x"] {
            let ack = AckSubject::parse(reply).unwrap();
            assert_eq!((ack.consumer.as_str(), ack.sequence, ack.number), ("c1", 7, 3), "{reply}");
        }
        assert!(AckSubject::parse("$JS.ACK.S.c1.1.7.3").is_none());
    }
}
