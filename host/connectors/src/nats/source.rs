//! Streams of JetStream, each a partition. A position is the sequence of the last message that was read, and when the stream was made, so
//! that another one of its name is noticed. Messages are fetched by a consumer that the server forgets again and that acknowledges
//! nothing: only the position says how far the job came.

use super::settings::NatsReads;
use crate::nats::stream::{Stream, markers};
use crate::nats::{ANSWER_MAX, ApiError, Connection, Fault, Received, Server, publish};
use crate::receiver::polled::backlog::Backlog;
use crate::receiver::polled::word;
use millstream_base::batch::reading::{Message, ReadContent, ReadPartition, ReadRows, ReadTrouble};
use millstream_base::error::Error;
use millstream_base::job::spec::{Origin, ServerStart, SourceSpec};
use millstream_base::shown;
use serde_json::json;
use std::time::{Duration, Instant};

/// About how many bytes of messages are asked for at a time.
const FETCH_BYTES: u64 = 1 << 20;
/// Bytes of a message until some were seen.
const MESSAGE_BYTES: u64 = 16 << 10;
/// How long a poll that has some messages waits for more.
const MORE_WAIT: Duration = Duration::from_millis(1);
/// How often a stream without new messages is looked at, which may be gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long the server keeps a consumer that nobody asks for messages: while a batch waits for room.
const CONSUMER_KEPT: Duration = Duration::from_secs(300);
/// Nobody answers: the server has forgotten the consumer.
const NOBODY: u16 = 503;
/// The consumer was deleted, or its server ends.
const CONFLICT: u16 = 409;

/// Reads one stream.
pub struct Nats {
    source: String,
    server: Server,
    reads: NatsReads,
    open: Option<OpenStream>,
    /// Where the end of the stream was when this start first looked, for `start = "latest"`: nothing behind it is passed over where the
    /// connection is lost before there is a position.
    began: Option<NatsPosition>,
    /// Bytes that the largest of the last messages had.
    message_bytes: u64,
}

/// A stream that is read.
struct OpenStream {
    connection: Connection,
    stream: String,
    at: NatsPosition,
    consumer: Consumer,
    looked: Instant,
    backlog: Backlog,
}

/// Who fetches, as the server knows it.
struct Consumer {
    name: String,
    /// The number of the last message that it gave; they are without gaps.
    given: u64,
    /// What was asked for and has not come, and until when it may.
    fetch: Option<Fetch>,
}

struct Fetch {
    inbox: String,
    left: u64,
    until: Instant,
}

/// How far a stream of NATS was read.
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

    fn written(&self) -> Vec<u8> {
        format!("{} {}", self.sequence, self.created).into_bytes()
    }
}

impl Nats {
    /// One who reads streams of this source, or the key that is wrong and why.
    pub fn of(source: &SourceSpec, reads: &NatsReads, origin: &Origin) -> Result<Nats, (&'static str, String)> {
        Ok(Nats {
            source: source.name.clone(),
            server: Server::of(&reads.url, reads.credentials.as_deref(), source.tls.as_ref(), &origin.folder)?,
            reads: reads.clone(),
            open: None,
            began: None,
            message_bytes: MESSAGE_BYTES,
        })
    }

    fn trouble(&self, stream: &str, fault: Fault) -> ReadTrouble {
        match fault {
            Fault::Passing(why) => ReadTrouble::Passing(format!("{}: {why}", self.server.shown())),
            Fault::Lasting(why) => self.lasting(stream, &format!("{}: {why}", self.server.shown())),
        }
    }

    fn lasting(&self, stream: &str, what: &str) -> ReadTrouble {
        let (source, stream) = (&self.source, shown::harmless(stream, 200));
        ReadTrouble::Lasting(Error::job(format!("source `{source}`: stream `{stream}`: {what}")))
    }

    /// Whether the job can read a stream from here on, and all of it.
    fn check(&self, name: &str, at: &NatsPosition, stream: &Stream) -> Result<(), ReadTrouble> {
        if stream.config.retention != "limits" {
            let kind = shown::harmless(&stream.config.retention, 50);
            return Err(self.lasting(
                name,
                &format!(
                    "it deletes each message when its consumers have acknowledged it (retention `{kind}`), so it could not be read again \
                     after a crash; read a stream with retention `limits`, which may take its messages from this one (`sources`)"
                ),
            ));
        }
        if stream.created != at.created || stream.state.last_seq < at.sequence {
            return Err(self.lasting(
                name,
                &format!(
                    "it is another stream than the one that the job has read up to message {}; give the source another name to read it \
                     from its beginning",
                    at.sequence
                ),
            ));
        }
        // What a newer message of the same subject replaces is gone as somebody wanted it.
        let replaces = stream.config.max_msgs_per_subject > 0;
        let missing = stream.state.first_seq.saturating_sub(at.sequence + 1);
        if missing > 0 && !replaces {
            let some = if self.reads.subjects.is_empty() { "" } else { "up to " };
            return Err(self.lasting(
                name,
                &format!(
                    "{some}{missing} messages after {} were deleted before the job read them; let the stream keep more (max_age, \
                     max_msgs, max_bytes), and give the source another name to continue with the existing messages",
                    at.sequence
                ),
            ));
        }
        Ok(())
    }

    /// Has the server fetch from behind here.
    fn consumer(&self, connection: &mut Connection, stream: &str, at: &NatsPosition) -> Result<Consumer, ReadTrouble> {
        let mut config = json!({
            "deliver_policy": "by_start_sequence", "opt_start_seq": at.sequence + 1, "ack_policy": "none", "replay_policy": "instant",
            "inactive_threshold": CONSUMER_KEPT.as_nanos() as u64, "mem_storage": true, "num_replicas": 1,
        });
        match &self.reads.subjects[..] {
            [] => {}
            [one] => config["filter_subject"] = one.as_str().into(),
            several => config["filter_subjects"] = several.into(),
        }
        let what = json!({ "stream_name": stream, "config": config });
        let told = connection.ask(&format!("$JS.API.CONSUMER.CREATE.{stream}"), &what);
        let told = told.map_err(|fault| self.trouble(stream, fault))?;
        let told = told.map_err(|error| match error.err_code {
            ApiError::NO_STREAM => self.gone(stream),
            _ => self.trouble(stream, error.fault()),
        })?;
        let name = told.get("name").and_then(|name| name.as_str());
        let name = name.ok_or_else(|| ReadTrouble::Passing("the server names no consumer".into()))?;
        Ok(Consumer { name: name.to_owned(), given: 0, fetch: None })
    }

    /// Looks whether a stream that has nothing new is still the one that was read. Where some subjects are read only, the position
    /// moves behind what was passed over.
    fn look(&self, open: &mut OpenStream) -> Result<Option<Vec<u8>>, ReadTrouble> {
        if open.looked.elapsed() < LOOK_EVERY {
            return Ok(None);
        }
        let found = Stream::find(&mut open.connection, &open.stream);
        let found = found.map_err(|fault| self.trouble(&open.stream, fault))?;
        let stream = found.ok_or_else(|| self.gone(&open.stream))?;
        let at_end = open.looked_at_end(&stream);
        if !at_end || self.reads.subjects.is_empty() {
            self.check(&open.stream, &open.at, &stream)?;
        }
        open.looked = Instant::now();
        if at_end && stream.created == open.at.created && open.at.sequence < stream.state.last_seq {
            open.at.sequence = stream.state.last_seq;
            return Ok(Some(open.at.written()));
        }
        Ok(None)
    }

    fn gone(&self, stream: &str) -> ReadTrouble {
        ReadTrouble::Passing(format!("stream `{}` no longer exists", shown::harmless(stream, 200)))
    }

    fn read(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        let Some(mut open) = self.open.take() else { return Err(ReadTrouble::Passing("it is not connected".into())) };
        let until = Instant::now() + wait;
        let before = open.at.sequence;
        let count = (FETCH_BYTES / self.message_bytes.max(1)).clamp(1, rows_max.into());
        let (mut messages, mut bytes, mut largest, mut first) = (Vec::new(), 0_u64, 0, None);
        let own = markers(&open.stream);
        while (messages.len() as u64) < count && bytes < FETCH_BYTES {
            let wait = if messages.is_empty() { until.saturating_duration_since(Instant::now()) } else { MORE_WAIT };
            if wait.is_zero() {
                break;
            }
            let got = self.fetch(&mut open, count, wait)?;
            let Some((received, given)) = got else {
                if messages.is_empty() && Instant::now() < until {
                    continue;
                }
                break;
            };
            first.get_or_insert(given.sequence);
            open.at.sequence = given.sequence;
            open.backlog.hear();
            let size = received.payload.len() as u64;
            (bytes, largest) = (bytes + size, size.max(largest));
            // Markers of sinks that write to this stream are no rows.
            if !received.subject.starts_with(&own) {
                messages.push(message(received, &given));
            }
        }
        if first.is_some() {
            self.message_bytes = expected(self.message_bytes, largest);
        }
        // Where some are missing between what was read before and this, it matters whether the stream has deleted them by its limits.
        if self.reads.subjects.is_empty() && first.is_some_and(|first| first > before + 1) {
            let found = Stream::find(&mut open.connection, &open.stream);
            let found = found.map_err(|fault| self.trouble(&open.stream, fault))?;
            let stream = found.ok_or_else(|| self.gone(&open.stream))?;
            let deleted = stream.state.first_seq >= first.unwrap_or_default();
            if deleted {
                self.check(
                    &open.stream,
                    &NatsPosition { sequence: before, created: open.at.created.clone() },
                    &stream,
                )?;
            }
        }
        let position = match first {
            Some(_) => Some(open.at.written()),
            None => self.look(&mut open)?,
        };
        self.open = Some(open);
        Ok(ReadRows {
            content: ReadContent::Messages(messages),
            refused: Vec::new(),
            position,
            pause: Some(Duration::ZERO),
        })
    }

    /// The next message; `None`: none has come in this time.
    fn fetch(
        &self,
        open: &mut OpenStream,
        count: u64,
        wait: Duration,
    ) -> Result<Option<(Received, AckSubject)>, ReadTrouble> {
        let told = |fault: Fault| self.trouble(&open.stream, fault);
        let now = Instant::now();
        match &open.consumer.fetch {
            Some(fetch) if now > fetch.until + ANSWER_MAX => return Err(told(crate::dial::silent())),
            Some(_) => {}
            None => {
                let inbox = open.connection.new_inbox();
                let expires = wait.max(Duration::from_millis(100));
                let what = json!({ "batch": count, "expires": expires.as_nanos() as u64 }).to_string();
                let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", open.stream, open.consumer.name);
                let mut request = Vec::new();
                publish(&mut request, &subject, Some(&inbox), &[], what.as_bytes());
                open.connection.send(&request).map_err(told)?;
                open.consumer.fetch = Some(Fetch { inbox, left: count, until: now + expires });
            }
        }
        let Some(received) = open.connection.next(wait).map_err(told)? else { return Ok(None) };
        let fetch = open.consumer.fetch.as_mut();
        let given = received.reply.as_deref().and_then(AckSubject::parse);
        // What a stream keeps may begin as a status does.
        if let (Some(status), None) = (received.status, &given) {
            if fetch.is_some_and(|fetch| fetch.inbox == received.subject) && status >= 400 {
                open.consumer.fetch = None;
                if status == NOBODY || status == CONFLICT {
                    open.consumer = self.consumer(&mut open.connection, &open.stream, &open.at)?;
                }
            }
            return Ok(None);
        }
        let Some(given) = given.filter(|given| given.consumer == open.consumer.name) else { return Ok(None) };
        if given.number != open.consumer.given + 1 || given.sequence <= open.at.sequence {
            // Some were lost on their way: they are asked for again.
            open.consumer = self.consumer(&mut open.connection, &open.stream, &open.at)?;
            return Ok(None);
        }
        open.consumer.given = given.number;
        if let Some(fetch) = fetch {
            fetch.left -= 1;
            if fetch.left == 0 {
                open.consumer.fetch = None;
            }
        }
        Ok(Some((received, given)))
    }
}

impl OpenStream {
    /// Whether all that a stream held when it was looked at has been passed: the consumer is asked, which may read some subjects only.
    fn looked_at_end(&mut self, stream: &Stream) -> bool {
        let subject = format!("$JS.API.CONSUMER.INFO.{}.{}", self.stream, self.consumer.name);
        let Ok(Ok(told)) = self.connection.ask(&subject, &json!({})) else { return false };
        let number = |what: &serde_json::Value| what.as_u64();
        let pending = told.get("num_pending").and_then(number);
        let given = told.pointer("/delivered/consumer_seq").and_then(number);
        // What it gave in between has not been read here.
        pending == Some(0) && given == Some(self.consumer.given) && stream.state.last_seq >= self.at.sequence
    }
}

/// Where a message stands, as the subject says that an acknowledgement would go to:
/// `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<number>.<time>.<pending>`, or with domain and account before the stream, and a token behind.
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

/// For how many bytes room is left for the next message: for as many as the largest has had, and for less again bit by bit.
fn expected(before: u64, largest: u64) -> u64 {
    largest.max(before / 2).max(1)
}

fn message(received: Received, given: &AckSubject) -> Message {
    let headers = received.headers.into_iter().map(|(name, value)| (name, Some(value.into()))).collect();
    Message {
        value: Some(received.payload),
        headers,
        time_ms: Some(given.time_ns.div_euclid(1_000_000)),
        offset: given.sequence,
        topic: Some(received.subject),
        ..Message::default()
    }
}

impl ReadPartition for Nats {
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        Ok(self.reads.streams.clone())
    }

    fn open(&mut self, name: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        let mut connection = Connection::open(&self.server).map_err(|fault| self.trouble(name, fault))?;
        let stream = Stream::find(&mut connection, name).map_err(|fault| self.trouble(name, fault))?;
        let stream = match (stream, position) {
            (Some(stream), _) => stream,
            (None, Some(_)) => return Err(self.gone(name)),
            (None, None) => {
                // All of one that is made from now on is new.
                self.began.get_or_insert_default();
                let name = shown::harmless(name, 200);
                return Err(ReadTrouble::Passing(format!("{}: stream `{name}` does not exist", self.server.shown())));
            }
        };
        let at = match position {
            Some(position) => NatsPosition::parse(position)
                .ok_or_else(|| self.lasting(name, "its position is not a NATS position"))?,
            None => {
                let of = |sequence| NatsPosition { sequence, created: stream.created.clone() };
                let first = of(stream.state.first_seq.saturating_sub(1));
                match (self.reads.start, &self.began) {
                    (ServerStart::Earliest, _) => first,
                    (ServerStart::Latest, Some(began)) if began.created == stream.created => began.clone(),
                    // It was made since then.
                    (ServerStart::Latest, Some(_)) => first,
                    (ServerStart::Latest, None) => of(stream.state.last_seq),
                }
            }
        };
        if position.is_none() {
            self.began = Some(at.clone());
        }
        self.check(name, &at, &stream)?;
        let consumer = self.consumer(&mut connection, name, &at)?;
        let backlog = Backlog::up_to(stream.state.last_seq);
        self.open =
            Some(OpenStream { connection, stream: name.to_owned(), at, consumer, looked: Instant::now(), backlog });
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        word(position, 0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn has_more(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.backlog.is_left(open.at.sequence))
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        self.read(rows_max, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_were_written() {
        let at = NatsPosition { sequence: u64::MAX, created: "2026-11-22T10:00:00.5Z".into() };
        assert_eq!(NatsPosition::parse(&at.written()), Some(at));
        for other in [&b""[..], b"1", b"x 2026", b"\xff 1"] {
            assert_eq!(NatsPosition::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn after_a_large_message_few_are_asked_for() {
        let mut bytes = expected(MESSAGE_BYTES, FETCH_BYTES);
        assert_eq!(FETCH_BYTES / bytes, 1);
        for _ in 0..20 {
            let before = bytes;
            bytes = expected(before, 10);
            assert!(bytes >= before / 2 && bytes >= 10, "{bytes}");
        }
        assert_eq!(bytes, 10);
        assert_eq!(expected(1, 0), 1);
    }

    #[test]
    fn where_a_message_stands_is_read_in_both_forms() {
        for reply in ["$JS.ACK.S.c1.1.7.3.1700000000123456789.2", "$JS.ACK._.hash.S.c1.1.7.3.1700000000123456789.2.x"] {
            let given = AckSubject::parse(reply).unwrap();
            assert_eq!((given.consumer.as_str(), given.sequence, given.number), ("c1", 7, 3), "{reply}");
        }
        assert!(AckSubject::parse("$JS.ACK.S.c1.1.7.3").is_none());
    }
}
