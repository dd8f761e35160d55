//! The `mqtt` sink, which sends one message per row; the server acknowledges it (QoS 1).
//!
//! An MQTT server keeps no marker: after a crash, or when a connection is lost, unacknowledged messages are sent again.

use super::settings::{MqttTopic, MqttWrites};
use crate::mqtt::packet::{self, Packet};
use crate::mqtt::{Connection, FORM, Fault, RESPONSE_TIMEOUT, Server, Session, reason_fault};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_connect::sink::commit_retry::CommitRetry;
use millstream_connect::sink::server::messages::{MessageForm, MessageTarget, Outgoing};
use millstream_connect::sink::server::{SendFailure, retry_at_start, start::await_response, startup_fault};
use millstream_connect::sink::wrong;
use millstream_job::spec::{SinkServer, SinkStart};
use millstream_rows::batch::sink::Sink;

use millstream_base::owner::Owner;
use millstream_base::shown;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Maximum number of unacknowledged messages.
const IN_FLIGHT_MAX: u16 = 1_000;
/// Bytes that are sent together.
const WRITE_BYTES: usize = 64 << 10;
/// Maximum bytes of a topic.
const TOPIC_BYTES_MAX: usize = 65_535;
/// Error codes for a message that the server never accepts: because of its topic, its size or its form.
const MESSAGE_ERROR_CODES: [u8; 3] = [0x90, 0x95, 0x99];
/// Maximum bytes of a response, which may contain a reason string.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Sends every batch that has rows.
struct MqttSink {
    name: String,
    server: Server,
    writes: MqttWrites,
    /// The index of the column with the topics.
    topic: Option<usize>,
    wait: Duration,
    failure: Failure,
    /// `None`: the connection was lost, or none was needed yet.
    connection: Option<Connection>,
    next_id: u16,
}

/// A message of a batch that is not acknowledged yet.
struct UnconfirmedMessage {
    message: Outgoing,
    /// Whether it was sent before, on another connection.
    is_resend: bool,
}

/// Checks what can be checked without a request to the server.
pub(super) fn check(writes: &MqttWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    form(writes).check(spec, schema, origin)?;
    // Does not connect: a running job with the same client id would lose its connection.
    server(writes, start).map(drop)
}

/// Connects, so that an earlier run of the job loses its connection.
pub(super) fn open(
    writes: &MqttWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    if owner.is_some() {
        tracing::info!("sink `{}` sends at least once: after a crash some messages are sent again", spec.name);
    }
    let topic = form(writes).column(spec, schema, origin)?;
    let server = server(writes, start)?;
    let connection = retry_at_start(start, writes.server.wait, &server.shown(), || {
        connect(&server, writes).map_err(|fault| startup_fault(spec, origin, &server.shown(), fault))
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

/// Waits until the server accepts connections.
pub(super) fn await_server(writes: &MqttWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server(writes, start) else { return Ok(()) };
    await_response(start, writes.server.wait, &server.shown(), || server.reach())
}

fn server(writes: &MqttWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::parse(url, &FORM, tls.as_ref(), &start.origin.dir);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// Connects with a session that is not kept, and checks that the server supports what the sink needs.
fn connect(server: &Server, writes: &MqttWrites) -> std::result::Result<Connection, Fault> {
    let session = Session { client_id: writes.client_id.clone(), kept_s: None };
    let connection = Connection::open(server, &session, RESPONSE_BYTES_MAX)?;
    if connection.granted.no_acknowledgements {
        return Err(Fault::Permanent("it acknowledges no messages (QoS 1)".into()));
    }
    if writes.retain && connection.granted.no_retain {
        return Err(reason_fault(0x9a, None));
    }
    Ok(connection)
}

fn form(writes: &MqttWrites) -> MessageForm<'_> {
    let to = match &writes.topic {
        MqttTopic::Fixed(topic) => MessageTarget::Fixed(topic),
        MqttTopic::Column(name) => MessageTarget::Column(name),
    };
    MessageForm { to, key: "topic_from", destination_term: "topic", format: writes.format }
}

impl Sink for MqttSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            return self.idle();
        }
        let fits = |topic: &str| is_topic(topic).map_err(|why| (why, "the column"));
        let messages = form(&self.writes).messages(&self.name, batch, &rows, self.topic, fits)?;
        let mut left = messages.into_iter().map(|message| UnconfirmedMessage { message, is_resend: false }).collect();
        fault::point("commit.before");
        let (name, server_name, failure) = (self.name.clone(), self.server.shown(), self.failure.clone());
        let trying = CommitRetry { sink: &name, server_name: &server_name, wait: self.wait, failure: &failure };
        trying.commit(batch, || self.attempt(&mut left).map_err(|failure| trying.failed(batch, failure)))?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }

    /// Keeps an idle connection alive, or drops it if it was lost: nothing is in flight.
    fn idle(&mut self) -> Result<()> {
        self.connection
            .take_if(|connection| connection.keep_alive().is_err() || connection.next(Duration::ZERO).is_err());
        Ok(())
    }
}

impl MqttSink {
    /// Sends the remaining messages of a batch; unacknowledged ones remain.
    fn attempt(&mut self, left: &mut VecDeque<UnconfirmedMessage>) -> std::result::Result<(), SendFailure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.server, &self.writes)?,
        };
        let mut in_flight: BTreeMap<u16, (usize, UnconfirmedMessage)> = BTreeMap::new();
        let sent = self.send_all(&mut connection, left, &mut in_flight);
        // Unacknowledged messages are sent again, in the order of the rows.
        let mut back: Vec<_> = in_flight.into_values().collect();
        back.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        back.into_iter().for_each(|(_, message)| left.push_front(UnconfirmedMessage { is_resend: true, ..message }));
        sent?;
        self.connection = Some(connection);
        Ok(())
    }

    fn send_all(
        &mut self,
        connection: &mut Connection,
        left: &mut VecDeque<UnconfirmedMessage>,
        in_flight: &mut BTreeMap<u16, (usize, UnconfirmedMessage)>,
    ) -> std::result::Result<(), SendFailure> {
        let max = usize::from(connection.granted.receive_max.unwrap_or(u16::MAX).clamp(1, IN_FLIGHT_MAX));
        let bytes_max = connection.granted.packet_bytes_max.map_or(usize::MAX, |max| max as usize);
        let (mut out, mut number) = (Vec::new(), 0);
        while !left.is_empty() || !in_flight.is_empty() {
            while in_flight.len() < max && out.len() < WRITE_BYTES {
                let Some(next) = left.pop_front() else { break };
                let (id, before) = (self.free_id(in_flight), out.len());
                let Outgoing { to, payload } = &next.message;
                let put = packet::publish(&mut out, id, to, payload, self.writes.retain, next.is_resend);
                let (bytes, shown) = (payload.len(), shown::harmless(to, 200));
                in_flight.insert(id, (number, next));
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
            // Waits only if no more can be sent.
            let full = in_flight.len() >= max || left.is_empty();
            let mut wait = if full { RESPONSE_TIMEOUT } else { Duration::ZERO };
            let until = Instant::now() + RESPONSE_TIMEOUT;
            while !in_flight.is_empty() {
                match connection.next(wait)? {
                    Some(Packet::PubAck { id, code, reason }) => {
                        let acknowledged = in_flight.remove(&id);
                        if let (0x80.., Some((_, rejection))) = (code, acknowledged) {
                            let topic = shown::harmless(&rejection.message.to, 200);
                            in_flight.insert(id, (0, rejection));
                            return Err(match reason_fault(code, reason.as_deref()) {
                                Fault::Transient(why) | Fault::Permanent(why)
                                    if MESSAGE_ERROR_CODES.contains(&code) =>
                                {
                                    SendFailure::Row(format!("a message to `{topic}`: {why}"))
                                }
                                Fault::Transient(why) => {
                                    Fault::Transient(format!("a message to `{topic}`: {why}")).into()
                                }
                                Fault::Permanent(why) => {
                                    Fault::Permanent(format!("a message to `{topic}`: {why}")).into()
                                }
                            });
                        }
                        wait = Duration::ZERO;
                    }
                    Some(_) if Instant::now() < until => {}
                    None if wait.is_zero() => break,
                    _ => {
                        let unacknowledged = format!("it acknowledges nothing for {} s", RESPONSE_TIMEOUT.as_secs());
                        return Err(Fault::Transient(unacknowledged).into());
                    }
                }
                if self.failure.happened() {
                    return Err(Fault::Transient("the job has ended".into()).into());
                }
            }
        }
        Ok(())
    }

    fn free_id(&mut self, in_flight: &BTreeMap<u16, (usize, UnconfirmedMessage)>) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if !in_flight.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }
}

/// Checks that messages can be sent to this topic; or returns why not.
fn is_topic(topic: &str) -> std::result::Result<(), String> {
    match topic {
        "" => Err("is empty, or null".into()),
        _ if topic.len() > TOPIC_BYTES_MAX => Err(format!("is longer than {TOPIC_BYTES_MAX} bytes")),
        _ if topic.contains(['+', '#', '\0']) => Err("must not contain `+`, `#` or NUL".into()),
        _ => Ok(()),
    }
}
