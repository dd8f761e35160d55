//! Sink `nats`: each row is a message in a stream of JetStream.
//!
//! Exactly once: the rows of a batch and a marker, which is a message of its own subject in the same stream, are published as one batch of
//! JetStream, whole or not at all, on condition that the marker is still the one that this start knows. A batch of JetStream holds 1,000
//! messages; where there are more rows the marker says how many of them are there, with a digest of all, and the others follow. So a process
//! that lost the job adds nothing, and a batch whose answer was lost is not there twice. At least once: each row is published by itself.

use super::settings::{NatsSubject, NatsWrites};
use super::subject;
use crate::nats::stream::{Stream, markers};
use crate::nats::{Connection, Fault, Server};
use crate::sink::commit_retry::{CommitRetry, ServerFault};
use crate::sink::server::messages::{MessageForm, MessageTarget, Outgoing};
use crate::sink::server::{SendFailure, ask, job_id, not_begun, start::await_answer as await_answer_of};
use crate::sink::wrong;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use marker::Marker;
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::{SinkServer, SinkStart};

use millstream_base::owner::Owner;
use millstream_base::shown;
use send::PublishFailure;
use serde_json::json;
use std::time::Duration;

mod marker;
mod send;

/// Messages of a batch of JetStream, with the marker, unless a server allows fewer.
const BATCH_MAX: usize = 1_000;

/// Publishes every batch that has rows.
struct NatsSink {
    name: String,
    server: Server,
    writes: NatsWrites,
    /// Of the column with the subjects.
    column: Option<usize>,
    /// The subject of the marker; `None`: at least once.
    marker: Option<String>,
    generation: u64,
    /// What the ids of messages begin with.
    sender: String,
    wait: Duration,
    failure: Failure,
    /// `None`: the connection was lost, or none was needed yet.
    connection: Option<Connection>,
    stream: Stream,
    at: Marker,
    batch_max: usize,
    committed: Option<BatchId>,
}

/// Checks the columns, and asks the server what the stream is.
pub(super) fn check(
    writes: &NatsWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    keeps_checkpoints: bool,
) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    form(writes).check(spec, schema, origin)?;
    let server = server(writes, start)?;
    let found = ask(start, writes.server.wait, &server.shown(), || {
        let found = Connection::open(&server).and_then(|mut connection| Stream::find(&mut connection, &writes.stream));
        found.map_err(|fault| not_begun(spec, origin, &server.shown(), fault))
    })?;
    match found {
        Some(stream) => fit(writes, &stream, writes.exactly_once && keeps_checkpoints)
            .map_err(|(key, message)| wrong(spec, origin, key, message)),
        None => made(writes).map(drop).map_err(|message| wrong(spec, origin, "stream", message)),
    }
}

/// Takes the sink over from earlier starts of the job.
pub(super) fn open(
    writes: &NatsWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    let column = form(writes).column(spec, schema, origin)?;
    let owner_of_marker = owner.filter(|_| writes.exactly_once);
    if owner.is_some() && owner_of_marker.is_none() {
        tracing::info!("sink `{}` sends at least once: after a crash some messages may come again", spec.name);
    }
    let mut sink = NatsSink {
        name: spec.name.clone(),
        server: server(writes, start)?,
        marker: owner_of_marker.map(|owner| marker(writes, &owner.job_id, &spec.name)),
        sender: format!("{}.{}", job_id(owner), token(&spec.name)),
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
    let place = sink.server.shown();
    ask(start, writes.server.wait, &place, || {
        sink.take_over().map_err(|stopped| match stopped {
            PublishFailure::Fault(fault) => not_begun(spec, origin, &place, fault),
            PublishFailure::Job(error) => ServerFault::Lasting(error),
            PublishFailure::Key(key, message) => ServerFault::Lasting(wrong(spec, origin, key, message)),
            // No row is published before the job runs.
            PublishFailure::Row(why) => not_begun(spec, origin, &place, Fault::Lasting(why)),
        })
    })?;
    Ok(Box::new(sink))
}

/// Reads the marker.
pub(super) fn committed(writes: &NatsWrites, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
    let SinkStart { spec, origin, .. } = start;
    let server = server(writes, start)?;
    if !writes.exactly_once {
        return Ok(None);
    }
    let subject = marker(writes, job_id, &spec.name);
    let read = ask(start, writes.server.wait, &server.shown(), || {
        let opened = Connection::open(&server);
        let read = opened.and_then(|mut connection| Marker::read(&mut connection, &writes.stream, &subject));
        read.map_err(|fault| not_begun(spec, origin, &server.shown(), fault))
    })?;
    Ok(read.batch())
}

/// Waits until somebody answers, whatever they say.
pub(super) fn await_answer(writes: &NatsWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server(writes, start) else { return Ok(()) };
    // JetStream answers later than the server itself.
    await_answer_of(start, writes.server.wait, &server.shown(), || {
        let mut connection = Connection::open(&server)?;
        Stream::find(&mut connection, &writes.stream).map(drop)
    })
}

fn server(writes: &NatsWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::of(url, writes.credentials.as_deref(), tls.as_ref(), &start.origin.folder);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

fn form(writes: &NatsWrites) -> MessageForm<'_> {
    let to = match &writes.subject {
        NatsSubject::Fixed(subject) => MessageTarget::Fixed(subject),
        NatsSubject::Column(name) => MessageTarget::Column(name),
    };
    MessageForm { to, key: "subject_from", word: "subject", format: writes.format }
}

/// Whether a stream takes what the sink writes; or the key that is wrong and why.
fn fit(writes: &NatsWrites, stream: &Stream, exactly: bool) -> std::result::Result<(), (&'static str, String)> {
    let (name, config) = (&writes.stream, &stream.config);
    if config.sealed || config.mirror.is_some() {
        return Err((
            "stream",
            format!("stream `{name}` accepts no messages: it is sealed, or a mirror; name another one"),
        ));
    }
    if let NatsSubject::Fixed(subject) = &writes.subject
        && !stream.takes(subject)
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
    let subjects = format!("{}>", markers(name));
    if !stream.takes(&subjects) {
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

/// How a stream is made that is not there.
fn made(writes: &NatsWrites) -> std::result::Result<serde_json::Value, String> {
    let name = &writes.stream;
    let NatsSubject::Fixed(subject) = &writes.subject else {
        return Err(format!(
            "stream `{name}` does not exist, and its subjects are unknown; create it before the job starts"
        ));
    };
    Ok(json!({
        "name": name, "subjects": [subject, format!("{}>", markers(name))], "retention": "limits", "storage": "file", "num_replicas": 1,
        "allow_atomic": true, "allow_rollup_hdrs": true, "allow_msg_ttl": true, "allow_direct": true,
    }))
}

/// The subject of a marker.
fn marker(writes: &NatsWrites, job_id: &str, sink: &str) -> String {
    format!("{}{}.{}", markers(&writes.stream), token(job_id), token(sink))
}

/// A name as one token of a subject.
fn token(name: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("={other:02x}"),
    };
    name.bytes().map(letter).collect()
}

impl Sink for NatsSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            // Of a batch without rows there is no trace, so it does not count as held.
            return self.idle();
        }
        let fits = |subject: &str| self.takes(subject);
        let messages = form(&self.writes).messages(&self.name, batch, &rows, self.column, fits)?;
        fault::point("commit.before");
        let (name, place, failure) = (self.name.clone(), self.server.shown(), self.failure.clone());
        let trying = CommitRetry { sink: &name, place: &place, wait: self.wait, failure: &failure };
        let mut sent = 0;
        trying.commit(batch, || {
            self.attempt(batch, &messages, &mut sent).map_err(|stopped| match stopped {
                PublishFailure::Fault(fault) => trying.trouble(batch, fault),
                PublishFailure::Row(why) => trying.failed(batch, SendFailure::Row(why)),
                PublishFailure::Key(_, why) => {
                    ServerFault::Lasting(Error::environment(format!("sink `{name}`: batch {batch}: {why}")))
                }
                PublishFailure::Job(error) => ServerFault::Lasting(error),
            })
        })?;
        fault::point("commit.after");
        self.committed = Some(batch).filter(|_| self.marker.is_some());
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }

    /// The connection stays, or is given up where it was lost: nothing is under way.
    fn idle(&mut self) -> Result<()> {
        self.connection
            .take_if(|connection| connection.keep_alive().is_err() || connection.next(Duration::ZERO).is_err());
        Ok(())
    }
}

impl NatsSink {
    /// Whether a message can go to this subject; or why not, and what to mend.
    fn takes(&self, to: &str) -> std::result::Result<(), (String, &'static str)> {
        let why = match subject::check(to) {
            Err(why) => why.to_owned(),
            Ok(()) if !self.stream.takes(to) || to.starts_with(&markers(&self.writes.stream)) => {
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
        assert_eq!(token("a-b_1"), "a-b_1");
        assert_eq!(token("a.b c"), "a=2eb=20c");
    }
}
