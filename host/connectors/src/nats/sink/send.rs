//! Publishing the messages of a batch: all of them with a marker, or each by itself.

use super::marker::{Marker, Part};
use super::{NatsSink, Outgoing, fit, made};
use crate::nats::stream::Stream;
use crate::nats::{ANSWER_MAX, ApiError, Connection, Fault, Received, publish};
use millstream_base::error::Error;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::shown;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

/// Messages that are published by themselves and not confirmed, at most.
const IN_FLIGHT_MAX: usize = 1_000;
/// Bytes that are sent together.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of the headers of a message, about.
const HEADER_BYTES: usize = 256;
/// Fewer messages no batch of JetStream has: one row, and the marker.
const BATCH_MIN: usize = 2;

/// Why messages of a batch could not be published.
pub enum PublishFailure {
    Fault(Fault),
    /// The job ends.
    Job(Error),
    /// The stream is not as the sink needs it: the key, and why.
    Key(&'static str, String),
    /// A row makes a message that the server never takes.
    Row(String),
}

impl From<Fault> for PublishFailure {
    fn from(fault: Fault) -> PublishFailure {
        PublishFailure::Fault(fault)
    }
}

impl NatsSink {
    /// Connects, makes the stream where it is not there, and writes into the marker that this start commits from now on.
    pub fn take_over(&mut self) -> Result<(), PublishFailure> {
        let mut connection = Connection::open(&self.server)?;
        let name = self.writes.stream.clone();
        if Stream::find(&mut connection, &name)?.is_none() {
            let config = made(&self.writes).map_err(|message| PublishFailure::Key("stream", message))?;
            let created = connection.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &config)?;
            created.map_err(|error| error.fault())?;
            tracing::info!("sink `{}`: stream `{name}` was created", self.name);
        }
        self.look(&mut connection)?;
        if let Some(subject) = self.marker.clone() {
            fault::point("start.sink");
            loop {
                if self.at.generation > self.generation {
                    return Err(PublishFailure::Job(self.lost()));
                }
                let marker = Marker { generation: self.generation, ..self.at.clone() };
                let before = self.at.sequence;
                match self.publish_whole(&mut connection, &[], &subject, marker)? {
                    Ok(()) => break,
                    Err(error) if error.err_code == ApiError::WRONG_LAST => {
                        self.look(&mut connection)?;
                        if self.at.sequence == before {
                            return Err(error.fault().into());
                        }
                    }
                    Err(error) => return Err(error.fault().into()),
                }
            }
            self.committed = self.at.batch();
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Learns what the stream is, and where the marker stands.
    fn look(&mut self, connection: &mut Connection) -> Result<(), PublishFailure> {
        let name = &self.writes.stream;
        let stream = Stream::find(connection, name)?;
        self.stream = stream.ok_or_else(|| Fault::Passing(format!("stream `{name}` does not exist")))?;
        fit(&self.writes, &self.stream, self.marker.is_some())
            .map_err(|(key, message)| PublishFailure::Key(key, message))?;
        if let Some(subject) = &self.marker {
            self.at = Marker::read(connection, name, subject)?;
        }
        Ok(())
    }

    /// Publishes what is left of a batch; connects where the connection was lost. `sent`: how many rows are known to be there.
    pub fn attempt(&mut self, batch: BatchId, rows: &[Outgoing], sent: &mut usize) -> Result<(), PublishFailure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::open(&self.server)?;
                self.look(&mut connection)?;
                connection
            }
        };
        let most = connection.payload_max.saturating_sub(HEADER_BYTES);
        if let Some((row, long)) = rows.iter().enumerate().find(|(_, row)| row.payload.len() > most) {
            return Err(PublishFailure::Row(format!(
                "row {row} has {} bytes, and a message there has {} with its headers (max_payload); allow larger ones, or make rows smaller",
                long.payload.len(),
                connection.payload_max
            )));
        }
        match self.marker.clone() {
            Some(subject) => self.publish_with_marker(&mut connection, batch, rows, &subject)?,
            None => self.publish_each(&mut connection, batch, rows, sent)?,
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Exactly once.
    fn publish_with_marker(
        &mut self,
        connection: &mut Connection,
        batch: BatchId,
        rows: &[Outgoing],
        subject: &str,
    ) -> Result<(), PublishFailure> {
        let digest = digest(rows);
        loop {
            if self.at.generation > self.generation {
                return Err(PublishFailure::Job(self.lost()));
            }
            let known = self.committed.map_or(0, |batch| batch.0);
            if self.at.batch < known {
                return Err(PublishFailure::Job(self.forgotten(batch, known)));
            }
            if self.at.batch >= batch.0 {
                return Ok(());
            }
            let there = match &self.at.part {
                Some(part) if part.is_of(batch, rows.len(), &digest) => part.rows,
                Some(part) => return Err(PublishFailure::Job(self.other_rows(batch, part))),
                None => 0,
            };
            let now = (self.batch_max - 1).min(rows.len() - there);
            let chunk = rows.get(there..there + now).unwrap_or_default();
            let marker = match there + now == rows.len() {
                true => Marker { sequence: 0, generation: self.generation, batch: batch.0, part: None },
                false => {
                    let part = Part { batch: batch.0, rows: there + now, digest: digest.clone() };
                    Marker { generation: self.generation, part: Some(part), ..self.at.clone() }
                }
            };
            let before = self.at.sequence;
            match self.publish_whole(connection, chunk, subject, marker)? {
                Ok(()) => fault::point("commit.written"),
                Err(error) if error.err_code == ApiError::BATCH_TOO_LARGE && self.batch_max > BATCH_MIN => {
                    self.batch_max = (self.batch_max / 2).max(BATCH_MIN);
                }
                // Another one, or one of this start whose answer was lost.
                Err(error) if error.err_code == ApiError::WRONG_LAST => {
                    self.look(connection)?;
                    if self.at.sequence == before {
                        return Err(error.fault().into());
                    }
                }
                Err(error) => return Err(refused(&error)),
            }
        }
    }

    /// Publishes rows and a marker, whole or not at all, where the marker before them is the one that is known.
    fn publish_whole(
        &mut self,
        connection: &mut Connection,
        rows: &[Outgoing],
        subject: &str,
        marker: Marker,
    ) -> Result<Result<(), ApiError>, PublishFailure> {
        let inbox = connection.new_inbox();
        // No other batch has this name.
        let id = inbox.strip_prefix("_INBOX.").unwrap_or(&inbox).to_owned();
        let expected = self.at.sequence.to_string();
        let mut out = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let number = (at + 1).to_string();
            let headers = [("Nats-Batch-Id", id.as_str()), ("Nats-Batch-Sequence", number.as_str())];
            publish(&mut out, &row.to, None, &headers, &row.payload);
            if out.len() >= WRITE_BYTES {
                connection.send(&out)?;
                out.clear();
                if self.failure.happened() {
                    return Err(Fault::Passing("the job has ended".into()).into());
                }
            }
        }
        let number = (rows.len() + 1).to_string();
        let mut headers = vec![
            ("Nats-Batch-Id", id.as_str()),
            ("Nats-Batch-Sequence", number.as_str()),
            ("Nats-Batch-Commit", "1"),
            ("Nats-Expected-Last-Subject-Sequence", expected.as_str()),
        ];
        if self.stream.config.allow_rollup_hdrs && !self.stream.config.deny_purge {
            // Older ones are of no use.
            headers.push(("Nats-Rollup", "sub"));
        }
        if self.stream.config.allow_msg_ttl {
            headers.push(("Nats-TTL", "never"));
        }
        publish(&mut out, subject, Some(&inbox), &headers, &marker.written());
        connection.send(&out)?;
        let until = Instant::now() + ANSWER_MAX;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match connection.next(left)? {
                Some(message) if message.subject == inbox => match confirmed(&message)? {
                    Ok(sequence) => {
                        self.at = Marker { sequence, ..marker };
                        return Ok(Ok(()));
                    }
                    Err(error) => return Ok(Err(error)),
                },
                Some(_) => {}
                None => return Err(crate::dial::silent().into()),
            }
        }
    }

    /// At least once. Ids let the server pass over what comes again within its window.
    fn publish_each(
        &mut self,
        connection: &mut Connection,
        batch: BatchId,
        rows: &[Outgoing],
        sent: &mut usize,
    ) -> Result<(), PublishFailure> {
        let mut flying: BTreeMap<String, usize> = BTreeMap::new();
        let (mut next, mut out) = (*sent, Vec::new());
        while *sent < rows.len() {
            while flying.len() < IN_FLIGHT_MAX && out.len() < WRITE_BYTES {
                let Some(row) = rows.get(next) else { break };
                let inbox = connection.new_inbox();
                let id = format!("{}.{batch}.{next}.{:016x}", self.sender, row.digest());
                let headers = [("Nats-Msg-Id", id.as_str()), ("Nats-Expected-Stream", self.writes.stream.as_str())];
                publish(&mut out, &row.to, Some(&inbox), &headers, &row.payload);
                flying.insert(inbox, next);
                next += 1;
            }
            if !out.is_empty() {
                connection.send(&out)?;
                out.clear();
                fault::point("commit.written");
            }
            // Waits only where no more can be sent.
            let full = flying.len() >= IN_FLIGHT_MAX || next >= rows.len();
            let mut wait = if full { ANSWER_MAX } else { Duration::ZERO };
            while !flying.is_empty() {
                match connection.next(wait)? {
                    Some(message) => {
                        if flying.contains_key(&message.subject) {
                            confirmed(&message)?.map_err(|error| refused(&error))?;
                            flying.remove(&message.subject);
                        }
                        wait = Duration::ZERO;
                    }
                    None if wait.is_zero() => break,
                    None => return Err(crate::dial::silent().into()),
                }
                // What is before the first that is not confirmed.
                *sent = flying.values().min().copied().unwrap_or(next);
            }
            if self.failure.happened() {
                return Err(Fault::Passing("the job has ended".into()).into());
            }
        }
        Ok(())
    }

    /// The job was taken over.
    fn lost(&self) -> Error {
        Error::taken_over(format!(
            "sink `{}`: the job was restarted elsewhere (generation {}), and this process (generation {}) was replaced",
            self.name, self.at.generation, self.generation
        ))
    }

    fn forgotten(&self, batch: BatchId, known: u64) -> Error {
        Error::job(format!(
            "sink `{}`: batch {batch}: {}: stream `{}` holds batch {} of this job, and has confirmed batch {known}: it has lost what it \
             had confirmed, or its limits have deleted the marker. Let it keep more, and restore its data; a restart of the job as it is \
             continues without the missing rows, and --fresh starts from scratch",
            self.name,
            self.server.shown(),
            self.writes.stream,
            self.at.batch
        ))
    }

    /// The job makes other rows of a batch than when the first of them were published.
    fn other_rows(&self, batch: BatchId, part: &Part) -> Error {
        Error::job(format!(
            "sink `{}`: batch {batch}: stream `{}` has the first {} rows of batch {}, and the job now makes other rows of it; start the \
             job once as it was then and change it after that batch is committed, or start from scratch with --fresh",
            self.name, self.writes.stream, part.rows, part.batch
        ))
    }
}

/// The sequence of what was published; or why it was not.
fn confirmed(message: &Received) -> Result<Result<u64, ApiError>, Fault> {
    match crate::nats::answer(message)? {
        Ok(told) => match told.get("seq").and_then(serde_json::Value::as_u64) {
            Some(sequence) => Ok(Ok(sequence)),
            None => {
                let said = shown::harmless(&String::from_utf8_lossy(&message.payload), 200);
                Err(Fault::Passing(format!("it confirms nothing: {said}")))
            }
        },
        Err(error) => Ok(Err(error)),
    }
}

/// What it means that a message was not taken.
fn refused(error: &ApiError) -> PublishFailure {
    match (error.err_code, error.fault()) {
        (ApiError::MESSAGE_TOO_LARGE, Fault::Passing(why) | Fault::Lasting(why)) => {
            PublishFailure::Row(format!("{why}; raise the stream's max_msg_size, or make rows smaller"))
        }
        (_, fault) => fault.into(),
    }
}

/// Of all rows of a batch.
fn digest(rows: &[Outgoing]) -> String {
    let mut digest = Xxh3::new();
    for row in rows {
        for bytes in [row.to.as_bytes(), &row.payload] {
            digest.update(&(bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
    }
    format!("{:032x}", digest.digest128())
}
