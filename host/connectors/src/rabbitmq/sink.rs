//! Sink `rabbitmq`: each row is a message, which the server confirms.
//!
//! A server of RabbitMQ keeps no marker for us: after a crash, or when a connection is lost, what was not confirmed is published again, with
//! the id that it had.

use super::settings::{RabbitmqKey, RabbitmqWrites};
use crate::rabbitmq::{ANSWER_MAX, CHANNEL, ClosedByServer, Connection, Event, Fault, Server, publish};
use crate::sink::commit_retry::{CommitRetry, ServerFault};
use crate::sink::server::messages::{MessageForm, MessageTarget, Outgoing};
use crate::sink::server::{SendFailure, ask, job_id, not_begun, start::await_answer as await_answer_of};
use crate::sink::wrong;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::sink::Sink;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::RecordFormat;
use millstream_base::job::spec::{SinkServer, SinkStart};
use millstream_base::owner::Owner;
use millstream_base::shown;
use std::collections::BTreeMap;
use std::time::Duration;

/// Messages that are published and not confirmed, at most.
const IN_FLIGHT_MAX: usize = 1_000;
/// Bytes that are sent together.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of a routing key.
const KEY_BYTES_MAX: usize = 255;

/// Publishes every batch that has rows.
struct RabbitmqSink {
    name: String,
    server: Server,
    writes: RabbitmqWrites,
    /// Of the column with the routing keys.
    column: Option<usize>,
    /// What the ids of messages begin with.
    sender: String,
    wait: Duration,
    failure: Failure,
    /// `None`: the connection was lost, or none was needed yet. With how many messages were published on it.
    connection: Option<(Connection, u64)>,
}

/// Checks the columns, and asks the server whether the exchange is there.
pub(super) fn check(writes: &RabbitmqWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    form(writes).check(spec, schema, origin)?;
    let server = server(writes, start)?;
    ask(start, writes.server.wait, &server.place.shown(), || match connect(&server, writes) {
        Ok(_) => Ok(()),
        Err(ClosedByServer { code: ClosedByServer::NO_SUCH, fault: Fault::Passing(why), .. }) => {
            let key = if writes.exchange.is_empty() { "routing_key" } else { "exchange" };
            let message = format!("the server says: {why}; create it there, or check the name");
            Err(ServerFault::Lasting(wrong(spec, origin, key, message)))
        }
        Err(closed) => Err(not_begun(spec, origin, &server.place.shown(), closed.fault)),
    })
}

/// Connects.
pub(super) fn open(
    writes: &RabbitmqWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    if owner.is_some() {
        tracing::info!("sink `{}` publishes at least once: after a crash some messages come again", spec.name);
    }
    let column = form(writes).column(spec, schema, origin)?;
    let server = server(writes, start)?;
    let connection = ask(start, writes.server.wait, &server.place.shown(), || {
        connect(&server, writes).map_err(|closed| not_begun(spec, origin, &server.place.shown(), closed.fault))
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

/// Waits until somebody answers, whatever they say.
pub(super) fn await_answer(writes: &RabbitmqWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server(writes, start) else { return Ok(()) };
    // It listens before it answers.
    await_answer_of(start, writes.server.wait, &server.place.shown(), || {
        Connection::open(&server, 0).map(drop).map_err(|closed| closed.fault)
    })
}

fn server(writes: &RabbitmqWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::of(url, tls.as_ref(), &start.origin.folder);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// A connection with a server that has what is published to.
fn connect(server: &Server, writes: &RabbitmqWrites) -> std::result::Result<Connection, ClosedByServer> {
    // Nothing waits at the server for a sink that is gone.
    let mut connection = Connection::open(server, 0)?;
    match (&writes.key, writes.exchange.as_str()) {
        // The exchange without a name takes messages to the queue of the name that the key is.
        (RabbitmqKey::Fixed(queue), "") => drop(connection.find_queue(queue)?),
        (RabbitmqKey::Column(_), "") => {}
        (_, exchange) => connection.find_exchange(exchange)?,
    }
    connection.confirm()?;
    Ok(connection)
}

fn form(writes: &RabbitmqWrites) -> MessageForm<'_> {
    let to = match &writes.key {
        RabbitmqKey::Fixed(key) => MessageTarget::Fixed(key),
        RabbitmqKey::Column(name) => MessageTarget::Column(name),
    };
    MessageForm { to, key: "routing_key_from", word: "routing key", format: writes.format }
}

impl Sink for RabbitmqSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            return self.idle();
        }
        let messages = form(&self.writes).messages(&self.name, batch, &rows, self.column, is_key)?;
        fault::point("commit.before");
        let (name, place, failure) = (self.name.clone(), self.server.place.shown(), self.failure.clone());
        let trying = CommitRetry { sink: &name, place: &place, wait: self.wait, failure: &failure };
        let mut sent = 0;
        trying.commit(batch, || {
            let published = self.attempt(batch, &messages, &mut sent);
            published.map_err(|closed| match (closed.code, closed.fault) {
                // It says how large a message may be.
                (ClosedByServer::NOT_AS_WANTED, Fault::Passing(why) | Fault::Lasting(why)) => {
                    trying.failed(batch, SendFailure::Row(format!("{why}; allow it there, or make rows smaller")))
                }
                (_, fault) => trying.trouble(batch, fault),
            })
        })?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }

    /// The connection stays, or is given up where it was lost: nothing is under way.
    fn idle(&mut self) -> Result<()> {
        self.connection.take_if(|(connection, _)| {
            connection.keep_alive(None).is_err() || connection.next(Duration::ZERO).is_err()
        });
        Ok(())
    }
}

impl RabbitmqSink {
    /// Publishes what is left of a batch. `sent`: how many rows are known to be there.
    fn attempt(
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
        // Numbers of this channel, and the rows that they are of.
        let mut flying: BTreeMap<u64, usize> = BTreeMap::new();
        let (mut next, mut out) = (*sent, Vec::new());
        while *sent < rows.len() {
            while flying.len() < IN_FLIGHT_MAX && out.len() < WRITE_BYTES {
                let Some(row) = rows.get(next) else { break };
                let id = format!("{}.{batch}.{next}.{:016x}", self.sender, row.digest());
                let (exchange, routing_key) = (self.writes.exchange.as_str(), row.to.as_str());
                let message =
                    crate::rabbitmq::Outgoing { exchange, routing_key, content_type, id: &id, body: &row.payload };
                publish(&mut out, CHANNEL, connection.frame_max, &message);
                published += 1;
                flying.insert(published, next);
                next += 1;
            }
            if !out.is_empty() {
                connection.send(&out)?;
                out.clear();
                fault::point("commit.written");
            }
            // Waits only where no more can be published.
            let full = flying.len() >= IN_FLIGHT_MAX || next >= rows.len();
            let mut wait = if full { ANSWER_MAX } else { Duration::ZERO };
            while !flying.is_empty() {
                match connection.next(wait)? {
                    Some(Event::Confirmed { number, several, taken: true }) => {
                        match several {
                            true => flying = flying.split_off(&number.saturating_add(1)),
                            false => drop(flying.remove(&number)),
                        }
                        wait = Duration::ZERO;
                    }
                    Some(Event::Confirmed { .. }) => {
                        return Err(
                            Fault::Passing("it rejects a message: a queue is full or cannot store it".into()).into()
                        );
                    }
                    Some(Event::Returned { routing_key, why }) => {
                        let (key, why) = (shown::harmless(&routing_key, 100), shown::harmless(&why, 100));
                        return Err(Fault::Lasting(format!(
                            "no queue is bound for the routing key `{key}` ({why}); bind one, or check `exchange` or the key"
                        ))
                        .into());
                    }
                    Some(_) => {}
                    None if wait.is_zero() => break,
                    None => {
                        return Err(
                            Fault::Passing(format!("it confirms nothing for {} s", ANSWER_MAX.as_secs())).into()
                        );
                    }
                }
                // What is before the first that is not confirmed.
                *sent = flying.values().next().copied().unwrap_or(next);
            }
            if self.failure.happened() {
                return Err(Fault::Passing("the job has ended".into()).into());
            }
        }
        self.connection = Some((connection, published));
        Ok(())
    }
}

/// Whether a message can have this routing key; or why not, and what to mend.
fn is_key(key: &str) -> std::result::Result<(), (String, &'static str)> {
    match key.len() <= KEY_BYTES_MAX {
        true => Ok(()),
        false => Err((format!("is longer than {KEY_BYTES_MAX} bytes"), "the column")),
    }
}
