//! Sink `mqtt`: each row is a message, which the server acknowledges (QoS 1).
//!
//! A server of MQTT keeps no marker for us: after a crash, or when a connection is lost, what was not acknowledged is sent again.

use super::settings::{MqttTopic, MqttWrites};
use crate::mqtt::packet::{self, Packet};
use crate::mqtt::{ANSWER_MAX, Connection, FORM, Fault, Server, Session, refusal};
use crate::sink::commit_retry::CommitRetry;
use crate::sink::server::messages::{MessageForm, MessageTarget, Outgoing};
use crate::sink::server::{SendFailure, ask, not_begun, start::await_answer as await_answer_of};
use crate::sink::wrong;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::sink::Sink;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::{SinkServer, SinkStart};

use millstream_base::owner::Owner;
use millstream_base::shown;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages that are sent and not acknowledged, at most.
const IN_FLIGHT_MAX: u16 = 1_000;
/// Bytes that are sent together.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of a topic.
const TOPIC_BYTES_MAX: usize = 65_535;
/// What a server answers to a message that it never takes: its topic, its size or its form.
const OF_MESSAGE: [u8; 3] = [0x90, 0x95, 0x99];
/// Bytes of an answer, which may say some words of what it acknowledges.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Sends every batch that has rows.
struct MqttSink {
    name: String,
    server: Server,
    writes: MqttWrites,
    /// Of the column with the topics.
    topic: Option<usize>,
    wait: Duration,
    failure: Failure,
    /// `None`: the connection was lost, or none was needed yet.
    connection: Option<Connection>,
    next_id: u16,
}

/// A message of a batch that is not known to be there.
struct UnconfirmedMessage {
    message: Outgoing,
    /// It was sent before, on another connection.
    again: bool,
}

/// Checks what can be checked without asking the server.
pub(super) fn check(writes: &MqttWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    form(writes).check(spec, schema, origin)?;
    // Nobody is asked: under its name a job may run, which would lose its connection.
    server(writes, start).map(drop)
}

/// Connects, by which an earlier start of the job loses its connection.
pub(super) fn open(
    writes: &MqttWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    if owner.is_some() {
        tracing::info!("sink `{}` sends at least once: after a crash some messages come again", spec.name);
    }
    let topic = form(writes).column(spec, schema, origin)?;
    let server = server(writes, start)?;
    let connection = ask(start, writes.server.wait, &server.shown(), || {
        connect(&server, writes).map_err(|fault| not_begun(spec, origin, &server.shown(), fault))
    })?;
    Ok(Box::new(MqttSink {
        name: spec.name.clone(),
        server,
        writes: writes.clone(),
        topic,
        wait: writes.server.wait,
        failure: failure.clone(),
        connection: Some(connection),
        next_id: 0,
    }))
}

/// Waits until somebody listens there.
pub(super) fn await_answer(writes: &MqttWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server(writes, start) else { return Ok(()) };
    await_answer_of(start, writes.server.wait, &server.shown(), || server.reach())
}

fn server(writes: &MqttWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::of(url, &FORM, tls.as_ref(), &start.origin.folder);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// A connection of a client that leaves nothing behind, with a server that does what the sink needs.
fn connect(server: &Server, writes: &MqttWrites) -> std::result::Result<Connection, Fault> {
    let session = Session { client_id: writes.client_id.clone(), kept_s: None };
    let connection = Connection::open(server, &session, ANSWER_BYTES_MAX)?;
    if connection.granted.no_acknowledgements {
        return Err(Fault::Lasting("it acknowledges no messages (QoS 1)".into()));
    }
    if writes.retain && connection.granted.no_retain {
        return Err(refusal(0x9a, None));
    }
    Ok(connection)
}

fn form(writes: &MqttWrites) -> MessageForm<'_> {
    let to = match &writes.topic {
        MqttTopic::Fixed(topic) => MessageTarget::Fixed(topic),
        MqttTopic::Column(name) => MessageTarget::Column(name),
    };
    MessageForm { to, key: "topic_from", word: "topic", format: writes.format }
}

impl Sink for MqttSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            return self.idle();
        }
        let fits = |topic: &str| is_topic(topic).map_err(|why| (why, "the column"));
        let messages = form(&self.writes).messages(&self.name, batch, &rows, self.topic, fits)?;
        let mut left = messages.into_iter().map(|message| UnconfirmedMessage { message, again: false }).collect();
        fault::point("commit.before");
        let (name, place, failure) = (self.name.clone(), self.server.shown(), self.failure.clone());
        let trying = CommitRetry { sink: &name, place: &place, wait: self.wait, failure: &failure };
        trying.commit(batch, || self.attempt(&mut left).map_err(|failure| trying.failed(batch, failure)))?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }

    /// The connection stays, or is given up where it was lost: nothing is under way.
    fn idle(&mut self) -> Result<()> {
        self.connection
            .take_if(|connection| connection.keep_alive().is_err() || connection.next(Duration::ZERO).is_err());
        Ok(())
    }
}

impl MqttSink {
    /// Sends what is left of a batch; what was not acknowledged stays left.
    fn attempt(&mut self, left: &mut VecDeque<UnconfirmedMessage>) -> std::result::Result<(), SendFailure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.server, &self.writes)?,
        };
        let mut flying: BTreeMap<u16, (usize, UnconfirmedMessage)> = BTreeMap::new();
        let sent = self.send_all(&mut connection, left, &mut flying);
        // What is not known to be there is sent again, in the order of the rows.
        let mut back: Vec<_> = flying.into_values().collect();
        back.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        back.into_iter().for_each(|(_, message)| left.push_front(UnconfirmedMessage { again: true, ..message }));
        sent?;
        self.connection = Some(connection);
        Ok(())
    }

    fn send_all(
        &mut self,
        connection: &mut Connection,
        left: &mut VecDeque<UnconfirmedMessage>,
        flying: &mut BTreeMap<u16, (usize, UnconfirmedMessage)>,
    ) -> std::result::Result<(), SendFailure> {
        let most = usize::from(connection.granted.receive_max.unwrap_or(u16::MAX).clamp(1, IN_FLIGHT_MAX));
        let bytes_max = connection.granted.packet_bytes_max.map_or(usize::MAX, |most| most as usize);
        let (mut out, mut number) = (Vec::new(), 0);
        while !left.is_empty() || !flying.is_empty() {
            while flying.len() < most && out.len() < WRITE_BYTES {
                let Some(next) = left.pop_front() else { break };
                let (id, before) = (self.free_id(flying), out.len());
                let Outgoing { to, payload } = &next.message;
                let put = packet::publish(&mut out, id, to, payload, self.writes.retain, next.again);
                let (bytes, shown) = (payload.len(), shown::harmless(to, 200));
                flying.insert(id, (number, next));
                number += 1;
                if put.is_none() || out.len() - before > bytes_max {
                    return Err(SendFailure::Row(format!(
                        "a message of {bytes} bytes to `{shown}` is too large for it; allow larger ones there, or make rows smaller"
                    )));
                }
            }
            if !out.is_empty() {
                connection.send(&out)?;
                out.clear();
                fault::point("commit.written");
            }
            // Waits only where no more can be sent.
            let full = flying.len() >= most || left.is_empty();
            let mut wait = if full { ANSWER_MAX } else { Duration::ZERO };
            let until = Instant::now() + ANSWER_MAX;
            while !flying.is_empty() {
                match connection.next(wait)? {
                    Some(Packet::PubAck { id, code, reason }) => {
                        let acknowledged = flying.remove(&id);
                        if let (0x80.., Some((_, refused))) = (code, acknowledged) {
                            let topic = shown::harmless(&refused.message.to, 200);
                            flying.insert(id, (0, refused));
                            return Err(match refusal(code, reason.as_deref()) {
                                Fault::Passing(why) | Fault::Lasting(why) if OF_MESSAGE.contains(&code) => {
                                    SendFailure::Row(format!("a message to `{topic}`: {why}"))
                                }
                                Fault::Passing(why) => Fault::Passing(format!("a message to `{topic}`: {why}")).into(),
                                Fault::Lasting(why) => Fault::Lasting(format!("a message to `{topic}`: {why}")).into(),
                            });
                        }
                        wait = Duration::ZERO;
                    }
                    Some(_) if Instant::now() < until => {}
                    None if wait.is_zero() => break,
                    _ => {
                        let silent = format!("it acknowledges nothing for {} s", ANSWER_MAX.as_secs());
                        return Err(Fault::Passing(silent).into());
                    }
                }
                if self.failure.happened() {
                    return Err(Fault::Passing("the job has ended".into()).into());
                }
            }
        }
        Ok(())
    }

    fn free_id(&mut self, flying: &BTreeMap<u16, (usize, UnconfirmedMessage)>) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if !flying.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }
}

/// Whether messages can be sent to this topic; or why not.
fn is_topic(topic: &str) -> std::result::Result<(), String> {
    match topic {
        "" => Err("is empty, or null".into()),
        _ if topic.len() > TOPIC_BYTES_MAX => Err(format!("is longer than {TOPIC_BYTES_MAX} bytes")),
        _ if topic.contains(['+', '#', '\0']) => Err("must not contain `+`, `#` or a zero byte".into()),
        _ => Ok(()),
    }
}
