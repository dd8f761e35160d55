//! Sink `mqtt`: each row is a message, which the server acknowledges (QoS 1).
//!
//! A server of MQTT keeps no marker for us: after a crash, or when a connection is lost, what was not acknowledged is sent again.

use super::values::{self, Values, without};
use super::{Trouble, Trying, ask, of};
use crate::batch::types::{ColumnType, describe};
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::fault;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{MqttTopic, MqttWrites, Origin, ServerWrites, SinkSpec};
use crate::mqtt::packet::{self, Packet};
use crate::mqtt::{ANSWER_MAX, Connection, FORM, Fault, Server, Session, refusal};
use crate::owner::Owner;
use crate::postgres::ServerWait;
use crate::shown;
use crate::sink::{Sink, commit_failed, wrong};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages that are sent and not acknowledged, at most.
const IN_FLIGHT_MAX: u16 = 1_000;
/// Bytes that are sent together.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of a topic.
const TOPIC_BYTES_MAX: usize = 65_535;
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

/// A message of a batch.
struct Outgoing {
    topic: String,
    payload: Vec<u8>,
    /// It was sent before, on another connection.
    again: bool,
}

/// Checks what can be checked without asking the server.
pub(super) fn check(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<()> {
    let writes = writes(spec)?;
    let topic = topic_column(writes, schema).map_err(|message| wrong(spec, origin, "topic_from", message))?;
    let fits = values::check(writes.format, &without(schema, topic), "topic");
    fits.map_err(|message| wrong(spec, origin, "format", message))?;
    // Nobody is asked: under its name a job may run, which would lose its connection.
    server(spec, origin).map(drop)
}

/// Connects, by which an earlier start of the job loses its connection.
pub(super) fn open(
    spec: &SinkSpec,
    schema: &SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    failure: &Failure,
    servers: ServerWait,
) -> Result<Box<dyn Sink>> {
    let writes = writes(spec)?.clone();
    if owner.is_some() {
        tracing::info!("sink `{}` sends at least once: after a crash some messages come again", spec.name);
    }
    let topic = topic_column(&writes, schema).map_err(|message| wrong(spec, origin, "topic_from", message))?;
    let server = server(spec, origin)?;
    let connection = ask(spec, origin, &server.shown(), servers, || {
        connect(&server, &writes).map_err(|fault| at(spec, origin, &server, fault))
    })?;
    Ok(Box::new(MqttSink {
        name: spec.name.clone(),
        server,
        writes,
        topic,
        wait: of(spec)?.wait,
        failure: failure.clone(),
        connection: Some(connection),
        next_id: 0,
    }))
}

/// Waits until somebody listens there.
pub(super) fn await_answer(spec: &SinkSpec, origin: &Origin, servers: ServerWait) -> Result<()> {
    let Ok(server) = server(spec, origin) else { return Ok(()) };
    ask(spec, origin, &server.shown(), servers, || match server.reach() {
        Err(Fault::Passing(why)) => Err(Trouble::Passing(why)),
        _ => Ok(()),
    })
}

fn writes(spec: &SinkSpec) -> Result<&MqttWrites> {
    match &of(spec)?.writes {
        ServerWrites::Mqtt(writes) => Ok(writes),
        _ => Err(Error::bug(format!("sink `{}` sends no messages", spec.name))),
    }
}

fn server(spec: &SinkSpec, origin: &Origin) -> Result<Server> {
    let server = of(spec)?;
    let usable = Server::of(&server.url, &FORM, server.tls.as_ref(), &origin.folder);
    usable.map_err(|(key, message)| wrong(spec, origin, key, message))
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

/// The place of the column that `topic_from` names.
fn topic_column(writes: &MqttWrites, schema: &SchemaRef) -> std::result::Result<Option<usize>, String> {
    let MqttTopic::Column(name) = &writes.topic else { return Ok(None) };
    let found = schema.index_of(name).ok();
    let text = found.filter(|at| ColumnType::of(schema.field(*at).data_type()) == ColumnType::Text);
    match text {
        Some(at) => Ok(Some(at)),
        None => {
            Err(format!("`topic_from` names `{name}`, and the rows have {}; write one of type text", describe(schema)))
        }
    }
}

fn at(spec: &SinkSpec, origin: &Origin, server: &Server, fault: Fault) -> Trouble {
    match fault {
        Fault::Passing(why) => Trouble::Passing(why),
        Fault::Lasting(why) => {
            let (location, place) = (origin.at(&format!("sinks.{}.url", spec.name)), server.shown());
            Trouble::Lasting(Error::environment(format!("{location}sink `{}`: {place}: {why}", spec.name)))
        }
    }
}

impl Sink for MqttSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            return self.idle();
        }
        let mut left = self.messages(batch, rows)?;
        fault::point("commit.before");
        let (name, place, failure) = (self.name.clone(), self.server.shown(), self.failure.clone());
        let trying = Trying { sink: &name, place: &place, wait: self.wait, failure: &failure };
        trying.commit(batch, || self.attempt(batch, &mut left))?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }

    /// The connection stays, or is given up where it was lost: nothing is under way.
    fn idle(&mut self) -> Result<()> {
        if let Some(mut connection) = self.connection.take()
            && connection.keep_alive().is_ok()
            && connection.next(Duration::ZERO).is_ok()
        {
            self.connection = Some(connection);
        }
        Ok(())
    }
}

impl MqttSink {
    /// The messages of a batch, all before the first is sent.
    fn messages(&self, batch: BatchId, rows: Vec<RecordBatch>) -> Result<VecDeque<Outgoing>> {
        let mut messages = VecDeque::new();
        for part in rows.iter().filter(|part| part.num_rows() > 0) {
            let failed = |cause: std::io::Error| commit_failed(&self.name, batch, "the rows", cause);
            let kept: Vec<usize> = (0..part.num_columns()).filter(|at| Some(*at) != self.topic).collect();
            let value = part.project(&kept).map_err(|cause| failed(std::io::Error::other(cause)))?;
            let mut values = Values::of(self.writes.format, &value).map_err(failed)?;
            let topics = self.topic.and_then(|at| part.column(at).as_string_opt::<i32>());
            for row in 0..part.num_rows() {
                let topic = match (&self.writes.topic, topics) {
                    (MqttTopic::Fixed(topic), _) => topic.clone(),
                    (_, Some(topics)) if topics.is_valid(row) => topics.value(row).to_owned(),
                    _ => String::new(),
                };
                if let Err(why) = is_topic(&topic) {
                    let (name, shown) = (&self.name, shown::harmless(&topic, 200));
                    return Err(Error::plugin(format!(
                        "sink `{name}`: batch {batch}: row {} has the topic `{shown}`, which {why}; mend the column, or take such rows out \
                         with `filter` before the sink",
                        messages.len()
                    )));
                }
                let mut payload = Vec::new();
                values.write(row, &mut payload).map_err(failed)?;
                messages.push_back(Outgoing { topic, payload, again: false });
            }
        }
        Ok(messages)
    }

    /// Sends what is left of a batch; what was not acknowledged stays left.
    fn attempt(&mut self, batch: BatchId, left: &mut VecDeque<Outgoing>) -> std::result::Result<(), Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.server, &self.writes).map_err(|fault| self.told(batch, fault))?,
        };
        let mut flying: BTreeMap<u16, (usize, Outgoing)> = BTreeMap::new();
        let sent = self.send_all(&mut connection, left, &mut flying);
        // What is not known to be there is sent again, in the order of the rows.
        let mut back: Vec<_> = flying.into_values().collect();
        back.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        back.into_iter().for_each(|(_, message)| left.push_front(Outgoing { again: true, ..message }));
        sent.map_err(|fault| self.told(batch, fault))?;
        self.connection = Some(connection);
        Ok(())
    }

    fn told(&self, batch: BatchId, fault: Fault) -> Trouble {
        match fault {
            Fault::Passing(why) => Trouble::Passing(why),
            Fault::Lasting(why) => {
                let (name, place) = (&self.name, self.server.shown());
                Trouble::Lasting(Error::environment(format!("sink `{name}`: batch {batch}: {place}: {why}")))
            }
        }
    }

    fn send_all(
        &mut self,
        connection: &mut Connection,
        left: &mut VecDeque<Outgoing>,
        flying: &mut BTreeMap<u16, (usize, Outgoing)>,
    ) -> std::result::Result<(), Fault> {
        let most = usize::from(connection.granted.receive_max.unwrap_or(u16::MAX).clamp(1, IN_FLIGHT_MAX));
        let bytes_max = connection.granted.packet_bytes_max.map_or(usize::MAX, |most| most as usize);
        let (mut out, mut number) = (Vec::new(), 0);
        while !left.is_empty() || !flying.is_empty() {
            while flying.len() < most && out.len() < WRITE_BYTES {
                let Some(message) = left.pop_front() else { break };
                let (id, before) = (self.free_id(flying), out.len());
                let Outgoing { topic, payload, again } = &message;
                let put = packet::publish(&mut out, id, topic, payload, self.writes.retain, *again);
                let (bytes, shown) = (payload.len(), shown::harmless(topic, 200));
                flying.insert(id, (number, message));
                number += 1;
                if put.is_none() || out.len() - before > bytes_max {
                    return Err(Fault::Lasting(format!(
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
                        if let (0x80.., Some((_, message))) = (code, acknowledged) {
                            let topic = shown::harmless(&message.topic, 200);
                            flying.insert(id, (0, message));
                            return Err(match refusal(code, reason.as_deref()) {
                                Fault::Passing(why) => Fault::Passing(format!("a message to `{topic}`: {why}")),
                                Fault::Lasting(why) => Fault::Lasting(format!("a message to `{topic}`: {why}")),
                            });
                        }
                        wait = Duration::ZERO;
                    }
                    Some(_) if Instant::now() < until => {}
                    None if wait.is_zero() => break,
                    _ => return Err(Fault::Passing(format!("it acknowledges nothing for {} s", ANSWER_MAX.as_secs()))),
                }
                if self.failure.happened() {
                    return Err(Fault::Passing("the job has ended".into()));
                }
            }
        }
        Ok(())
    }

    fn free_id(&mut self, flying: &BTreeMap<u16, (usize, Outgoing)>) -> u16 {
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
        _ if topic.contains(['+', '#', '\0']) => {
            Err("has a letter (`+`, `#` or a zero byte) that none may have".into())
        }
        _ => Ok(()),
    }
}
