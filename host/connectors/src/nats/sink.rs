//! Sink `nats`: each row is a message in a JetStream stream.
//!
//! Exactly once: the rows of a batch and a marker are one JetStream batch, which the server stores atomically. The marker is a message with its
//! own subject in the same stream. The server rejects the batch unless the marker is still the one that this startup read, so a replaced
//! process adds nothing, and a batch whose response was lost is not stored twice. A JetStream batch has at most 1,000 messages. If there are
//! more rows, the marker has the number of stored rows and a digest of all, and the rest follows. At least once: rows are published one by one.

use super::settings::{NatsSubject, NatsWrites};
use super::subject;
use crate::nats::stream::{Stream, marker_prefix};
use crate::nats::{Connection, Fault, Server};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use marker::Marker;
use millstream_base::error::{Error, Result};
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
use send::PublishFailure;
use serde_json::json;
use std::time::Duration;

mod marker;
mod send;

/// Messages per JetStream batch, including the marker. Servers may allow fewer.
const BATCH_MAX: usize = 1_000;

/// The sink, after its start.
struct NatsSink {
    name: String,
    server: Server,
    writes: NatsWrites,
    /// Index of the column with the subjects.
    column: Option<usize>,
    /// Subject of the marker; `None` if messages are published at least once.
    marker: Option<String>,
    generation: u64,
    /// Prefix of message IDs.
    sender: String,
    wait: Duration,
    failure: Failure,
    /// `None` if the connection was lost, or was not needed yet.
    connection: Option<Connection>,
    stream: Stream,
    at: Marker,
    batch_max: usize,
    committed: Option<BatchId>,
}

/// Checks the columns, and the stream on the server.
pub(super) fn check(
    writes: &NatsWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    keeps_checkpoints: bool,
) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    message_form(writes).check(spec, schema, origin)?;
    let server = server_of(writes, start)?;
    let found = retry_at_start(start, writes.server.wait, &server.shown(), || {
        let found = Connection::open(&server).and_then(|mut connection| Stream::find(&mut connection, &writes.stream));
        found.map_err(|fault| startup_fault(spec, origin, &server.shown(), fault))
    })?;
    match found {
        Some(stream) => check_stream(writes, &stream, writes.exactly_once && keeps_checkpoints)
            .map_err(|(key, message)| wrong(spec, origin, key, message)),
        None => stream_config(writes).map(drop).map_err(|message| wrong(spec, origin, "stream", message)),
    }
}

/// Opens the sink and fences earlier startups of the job.
pub(super) fn open(
    writes: &NatsWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    let column = message_form(writes).column(spec, schema, origin)?;
    let owner_of_marker = owner.filter(|_| writes.exactly_once);
    if owner.is_some() && owner_of_marker.is_none() {
        tracing::info!("sink `{}` sends at least once: after a crash some messages may be sent again", spec.name);
    }
    let mut sink = NatsSink {
        name: spec.name.clone(),
        server: server_of(writes, start)?,
        marker: owner_of_marker.map(|owner| marker_subject(writes, &owner.job_id, &spec.name)),
        sender: format!("{}.{}", job_id(owner), to_token(&spec.name)),
        writes: writes.clone(),
        column,
        generation: owner.map_or(0, |owner| owner.generation.0),
        wait: writes.server.wait,
        failure: failure.clone(),
        connection: None,
        stream: Stream::default(),
        at: Marker::default(),
        batch_max: BATCH_MAX,
        committed: None,
    };
    let server_name = sink.server.shown();
    retry_at_start(start, writes.server.wait, &server_name, || {
        sink.take_over().map_err(|failed| match failed {
            PublishFailure::Fault(fault) => startup_fault(spec, origin, &server_name, fault),
            PublishFailure::Job(error) => ServerFault::Permanent(error),
            PublishFailure::Key(key, message) => ServerFault::Permanent(wrong(spec, origin, key, message)),
            // Cannot happen: no row is published before the job runs.
            PublishFailure::Row(why) => startup_fault(spec, origin, &server_name, Fault::Permanent(why)),
        })
    })?;
    Ok(Box::new(sink))
}

/// Reads the marker.
pub(super) fn committed(writes: &NatsWrites, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
    let SinkStart { spec, origin, .. } = start;
    let server = server_of(writes, start)?;
    if !writes.exactly_once {
        return Ok(None);
    }
    let subject = marker_subject(writes, job_id, &spec.name);
    let read = retry_at_start(start, writes.server.wait, &server.shown(), || {
        let opened = Connection::open(&server);
        let read = opened.and_then(|mut connection| Marker::read(&mut connection, &writes.stream, &subject));
        read.map_err(|fault| startup_fault(spec, origin, &server.shown(), fault))
    })?;
    Ok(read.committed_batch())
}

/// Waits until the server responds, even if with an error.
pub(super) fn await_server(writes: &NatsWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server_of(writes, start) else { return Ok(()) };
    // JetStream starts after the server itself.
    await_response(start, writes.server.wait, &server.shown(), || {
        let mut connection = Connection::open(&server)?;
        Stream::find(&mut connection, &writes.stream).map(drop)
    })
}

fn server_of(writes: &NatsWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::new(url, writes.credentials.as_deref(), tls.as_ref(), &start.origin.dir);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

fn message_form(writes: &NatsWrites) -> MessageForm<'_> {
    let to = match &writes.subject {
        NatsSubject::Fixed(subject) => MessageTarget::Fixed(subject),
        NatsSubject::Column(name) => MessageTarget::Column(name),
    };
    MessageForm { to, key: "subject_from", destination_term: "subject", format: writes.format }
}

/// Checks that a stream accepts what the sink writes. The error is the wrong key, and why.
fn check_stream(
    writes: &NatsWrites,
    stream: &Stream,
    exactly: bool,
) -> std::result::Result<(), (&'static str, String)> {
    let (name, config) = (&writes.stream, &stream.config);
    if config.sealed || config.mirror.is_some() {
        return Err((
            "stream",
            format!("stream `{name}` accepts no messages: it is sealed, or a mirror; name another one"),
        ));
    }
    if let NatsSubject::Fixed(subject) = &writes.subject
        && !stream.accepts(subject)
    {
        return Err((
            "subject",
            format!("stream `{name}` does not have the subject `{subject}`; add it to the stream"),
        ));
    }
    if !exactly {
        return Ok(());
    }
    if config.retention != "limits" {
        let kind = shown::harmless(&config.retention, 50);
        return Err((
            "stream",
            format!(
                "stream `{name}` deletes what its consumers have acknowledged (retention `{kind}`), and so the job's marker; name one with \
                 retention `limits`, or write exactly_once = false"
            ),
        ));
    }
    if !config.allow_atomic {
        return Err((
            "stream",
            format!(
                "stream `{name}` does not allow atomic batches (allow_atomic), which needs nats-server 2.12 or newer; allow \
                 them (nats stream edit {name} --allow-batch), or write exactly_once = false"
            ),
        ));
    }
    let subjects = format!("{}>", marker_prefix(name));
    if !stream.accepts(&subjects) {
        return Err((
            "stream",
            format!(
                "stream `{name}` does not have the subjects of the job's marker; add `{subjects}` to the subjects of the \
                 stream, or write exactly_once = false"
            ),
        ));
    }
    Ok(())
}

/// Configuration of a stream that the sink creates.
fn stream_config(writes: &NatsWrites) -> std::result::Result<serde_json::Value, String> {
    let name = &writes.stream;
    let NatsSubject::Fixed(subject) = &writes.subject else {
        return Err(format!(
            "stream `{name}` does not exist, and its subjects are unknown; create it before the job starts"
        ));
    };
    Ok(json!({
        "name": name, "subjects": [subject, format!("{}>", marker_prefix(name))], "retention": "limits", "storage": "file", "num_replicas": 1,
        "allow_atomic": true, "allow_rollup_hdrs": true, "allow_msg_ttl": true, "allow_direct": true,
    }))
}

/// Subject of the marker.
fn marker_subject(writes: &NatsWrites, job_id: &str, sink: &str) -> String {
    format!("{}{}.{}", marker_prefix(&writes.stream), to_token(job_id), to_token(sink))
}

/// Escapes a name to one token of a subject.
fn to_token(name: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("={other:02x}"),
    };
    name.bytes().map(encode).collect()
}

impl Sink for NatsSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            // An empty batch leaves no trace on the server, so it does not count as committed.
            return self.idle();
        }
        let fits = |subject: &str| self.check_target(subject);
        let messages = message_form(&self.writes).messages(&self.name, batch, &rows, self.column, fits)?;
        fault::point("commit.before");
        let (name, address, failure) = (self.name.clone(), self.server.shown(), self.failure.clone());
        let retry = CommitRetry { sink: &name, server_name: &address, wait: self.wait, failure: &failure };
        let mut sent = 0;
        retry.commit(batch, || {
            self.publish_batch(batch, &messages, &mut sent).map_err(|failed| match failed {
                PublishFailure::Fault(fault) => retry.server_fault(batch, fault),
                PublishFailure::Row(why) => retry.failed(batch, SendFailure::Row(why)),
                PublishFailure::Key(_, why) => {
                    ServerFault::Permanent(Error::environment(format!("sink `{name}`: batch {batch}: {why}")))
                }
                PublishFailure::Job(error) => ServerFault::Permanent(error),
            })
        })?;
        fault::point("commit.after");
        self.committed = Some(batch).filter(|_| self.marker.is_some());
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }

    /// Drops the connection if it was lost. No message is in flight.
    fn idle(&mut self) -> Result<()> {
        self.connection
            .take_if(|connection| connection.keep_alive().is_err() || connection.next_message(Duration::ZERO).is_err());
        Ok(())
    }
}

impl NatsSink {
    /// Checks the subject of a message. The error is why it is wrong, and what to correct.
    fn check_target(&self, to: &str) -> std::result::Result<(), (String, &'static str)> {
        let why = match subject::check(to) {
            Err(why) => why.to_owned(),
            Ok(()) if !self.stream.accepts(to) || to.starts_with(&marker_prefix(&self.writes.stream)) => {
                format!("stream `{}` does not have", self.writes.stream)
            }
            Ok(()) => return Ok(()),
        };
        Err((why, "the column or the stream"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_token() {
        assert_eq!(to_token("a-b_1"), "a-b_1");
        assert_eq!(to_token("a.b c"), "a=2eb=20c");
    }
}
