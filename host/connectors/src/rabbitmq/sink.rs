//! Sink `rabbitmq`: each row is a message, which the server confirms.
//!
//! RabbitMQ cannot store a commit marker. After a crash or a lost connection, unconfirmed messages are published again with the same ID.

use super::settings::{RabbitmqKey, RabbitmqWrites};
use crate::rabbitmq::{CHANNEL, ClosedByServer, Connection, Event, Fault, RESPONSE_TIMEOUT, Server, publish};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_base::shown;
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::server::messages::{MessageForm, MessageTarget, Outgoing};
use millstream_connect::sink::server::{SendFailure, job_id, retry_at_start, start::await_response, startup_fault};
use millstream_connect::sink::wrong;
use millstream_job::spec::{SinkServer, SinkStart};
use millstream_rows::batch::sink::Sink;
use millstream_rows::formats::RecordFormat;
use std::collections::BTreeMap;
use std::time::Duration;

/// Maximum unconfirmed messages.
const IN_FLIGHT_MAX: usize = 1_000;
/// Bytes per write.
const WRITE_BYTES: usize = 64 << 10;
/// Maximum bytes of a routing key.
const KEY_BYTES_MAX: usize = 255;

/// The sink, after its start.
struct RabbitmqSink {
    name: String,
    server: Server,
    writes: RabbitmqWrites,
    /// Index of the column with the routing keys.
    column: Option<usize>,
    /// Prefix of message IDs.
    sender: String,
    wait: Duration,
    failure: Failure,
    /// The connection, and the number of messages published on it; `None` if it was lost.
    connection: Option<(Connection, u64)>,
}

/// Checks the columns, and that the exchange or queue exists.
pub(super) fn check(writes: &RabbitmqWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    message_form(writes).check(spec, schema, origin)?;
    let server = server_of(writes, start)?;
    retry_at_start(start, writes.server.wait, &server.address.shown(), || match connect(&server, writes) {
        Ok(_) => Ok(()),
        Err(ClosedByServer { code: ClosedByServer::NO_SUCH, fault: Fault::Transient(why), .. }) => {
            let key = if writes.exchange.is_empty() { "routing_key" } else { "exchange" };
            let message = format!("the server says: {why}; create it there, or check the name");
            Err(ServerFault::Permanent(wrong(spec, origin, key, message)))
        }
        Err(closed) => Err(startup_fault(spec, origin, &server.address.shown(), closed.fault)),
    })
}

/// Opens the sink.
pub(super) fn open(
    writes: &RabbitmqWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    if owner.is_some() {
        tracing::info!("sink `{}` publishes at least once: after a crash some messages are sent again", spec.name);
    }
    let column = message_form(writes).column(spec, schema, origin)?;
    let server = server_of(writes, start)?;
    let connection = retry_at_start(start, writes.server.wait, &server.address.shown(), || {
        connect(&server, writes).map_err(|closed| startup_fault(spec, origin, &server.address.shown(), closed.fault))
    })?;
    Ok(Box::new(RabbitmqSink {
        name: spec.name.clone(),
        server,
        writes: writes.clone(),
        column,
        sender: format!("{}.{}", job_id(owner), spec.name),
        wait: writes.server.wait,
        failure: failure.clone(),
        connection: Some((connection, 0)),
    }))
}

/// Waits until the server responds, even if with an error.
pub(super) fn await_server(writes: &RabbitmqWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server_of(writes, start) else { return Ok(()) };
    // A starting server accepts connections before it responds.
    await_response(start, writes.server.wait, &server.address.shown(), || {
        Connection::open(&server, 0).map(drop).map_err(|closed| closed.fault)
    })
}

fn server_of(writes: &RabbitmqWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::new(url, tls.as_ref(), &start.origin.dir);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// Connects, and checks that the exchange or queue exists.
fn connect(server: &Server, writes: &RabbitmqWrites) -> std::result::Result<Connection, ClosedByServer> {
    // No heartbeats: the server holds nothing for a sink that has exited.
    let mut connection = Connection::open(server, 0)?;
    match (&writes.key, writes.exchange.as_str()) {
        // The default exchange routes to the queue named by the routing key.
        (RabbitmqKey::Fixed(queue), "") => drop(connection.find_queue(queue)?),
        (RabbitmqKey::Column(_), "") => {}
        (_, exchange) => connection.find_exchange(exchange)?,
    }
    connection.confirm()?;
    Ok(connection)
}

fn message_form(writes: &RabbitmqWrites) -> MessageForm<'_> {
    let to = match &writes.key {
        RabbitmqKey::Fixed(key) => MessageTarget::Fixed(key),
        RabbitmqKey::Column(name) => MessageTarget::Column(name),
    };
    MessageForm { to, key: "routing_key_from", destination_term: "routing key", format: writes.format }
}

impl Sink for RabbitmqSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            return self.idle();
        }
        let messages = message_form(&self.writes).messages(&self.name, batch, &rows, self.column, check_key)?;
        fault::point("commit.before");
        let (name, address, failure) = (self.name.clone(), self.server.address.shown(), self.failure.clone());
        let retry = CommitRetry { sink: &name, server_name: &address, wait: self.wait, failure: &failure };
        let mut sent = 0;
        retry.commit(batch, || {
            let published = self.publish_batch(batch, &messages, &mut sent);
            published.map_err(|closed| match (closed.code, closed.fault) {
                // The message is too large; the server's text has its limit.
                (ClosedByServer::NOT_AS_WANTED, Fault::Transient(why) | Fault::Permanent(why)) => {
                    retry.failed(batch, SendFailure::Row(format!("{why}; allow it there, or make rows smaller")))
                }
                (_, fault) => retry.server_fault(batch, fault),
            })
        })?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }

    /// Drops the connection if it was lost. No message is in flight.
    fn idle(&mut self) -> Result<()> {
        self.connection.take_if(|(connection, _)| {
            connection.keep_alive(None).is_err() || connection.next_event(Duration::ZERO).is_err()
        });
        Ok(())
    }
}

impl RabbitmqSink {
    /// Publishes the rest of a batch. `sent`: how many rows the server has confirmed.
    fn publish_batch(
        &mut self,
        batch: BatchId,
        rows: &[Outgoing],
        sent: &mut usize,
    ) -> std::result::Result<(), ClosedByServer> {
        let (mut connection, mut published) = match self.connection.take() {
            Some(open) => open,
            None => (connect(&self.server, &self.writes)?, 0),
        };
        let content_type = match self.writes.format {
            RecordFormat::Json => "application/json",
            RecordFormat::Text => "text/plain",
            _ => "application/octet-stream",
        };
        // Rows by the numbers of their messages on this channel.
        let mut in_flight: BTreeMap<u64, usize> = BTreeMap::new();
        let (mut next, mut out) = (*sent, Vec::new());
        while *sent < rows.len() {
            while in_flight.len() < IN_FLIGHT_MAX && out.len() < WRITE_BYTES {
                let Some(row) = rows.get(next) else { break };
                let id = format!("{}.{batch}.{next}.{:016x}", self.sender, row.digest());
                let (exchange, routing_key) = (self.writes.exchange.as_str(), row.to.as_str());
                let message =
                    crate::rabbitmq::Outgoing { exchange, routing_key, content_type, id: &id, body: &row.payload };
                publish(&mut out, CHANNEL, connection.frame_max, &message);
                published += 1;
                in_flight.insert(published, next);
                next += 1;
            }
            if !out.is_empty() {
                connection.send(&out)?;
                out.clear();
                fault::point("commit.written");
            }
            // Wait only if no more messages can be sent.
            let full = in_flight.len() >= IN_FLIGHT_MAX || next >= rows.len();
            let mut wait = if full { RESPONSE_TIMEOUT } else { Duration::ZERO };
            while !in_flight.is_empty() {
                match connection.next_event(wait)? {
                    Some(Event::Confirmed { number, several, accepted: true }) => {
                        match several {
                            true => in_flight = in_flight.split_off(&number.saturating_add(1)),
                            false => drop(in_flight.remove(&number)),
                        }
                        wait = Duration::ZERO;
                    }
                    Some(Event::Confirmed { .. }) => {
                        return Err(Fault::Transient(
                            "it rejects a message: a queue is full or cannot store it".into(),
                        )
                        .into());
                    }
                    Some(Event::Returned { routing_key, why }) => {
                        let (key, why) = (shown::harmless(&routing_key, 100), shown::harmless(&why, 100));
                        return Err(Fault::Permanent(format!(
                            "no queue is bound for the routing key `{key}` ({why}); bind one, or check `exchange` or the key"
                        ))
                        .into());
                    }
                    Some(_) => {}
                    None if wait.is_zero() => break,
                    None => {
                        return Err(Fault::Transient(format!(
                            "it confirms nothing for {} s",
                            RESPONSE_TIMEOUT.as_secs()
                        ))
                        .into());
                    }
                }
                // All rows before the first unconfirmed one.
                *sent = in_flight.values().next().copied().unwrap_or(next);
            }
            if self.failure.happened() {
                return Err(Fault::Transient("the job has ended".into()).into());
            }
        }
        self.connection = Some((connection, published));
        Ok(())
    }
}

/// Checks a routing key. The error is why it is wrong, and what to correct.
fn check_key(key: &str) -> std::result::Result<(), (String, &'static str)> {
    match key.len() <= KEY_BYTES_MAX {
        true => Ok(()),
        false => Err((format!("is longer than {KEY_BYTES_MAX} bytes"), "the column")),
    }
}
