//! Publishes the messages of a batch: atomically with a marker, or one by one.

use super::marker::{Marker, Part};
use super::{NatsSink, Outgoing, check_stream, stream_config};
use crate::nats::stream::Stream;
use crate::nats::{ApiError, Connection, Fault, RESPONSE_TIMEOUT, ReceivedMessage, publish};
use millstream_base::error::Error;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::shown;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

/// Maximum messages without an acknowledgment, if they are published one by one.
const IN_FLIGHT_MAX: usize = 1_000;
/// Bytes per write.
const WRITE_BYTES: usize = 64 << 10;
/// Approximate bytes of the headers of a message.
const HEADER_BYTES: usize = 256;
/// The smallest JetStream batch: one row and the marker.
const BATCH_MIN: usize = 2;

/// Why a batch could not be published.
pub enum PublishFailure {
    Fault(Fault),
    /// The job fails.
    Job(Error),
    /// The stream does not suit the sink: the key, and why.
    Key(&'static str, String),
    /// A row whose message the server never accepts.
    Row(String),
}

impl From<Fault> for PublishFailure {
    fn from(fault: Fault) -> PublishFailure {
        PublishFailure::Fault(fault)
    }
}

impl NatsSink {
    /// Connects, creates the stream if it does not exist, and writes a marker with this startup's generation. It fences earlier startups.
    pub fn take_over(&mut self) -> Result<(), PublishFailure> {
        let mut connection = Connection::open(&self.server)?;
        let name = self.writes.stream.clone();
        if Stream::find(&mut connection, &name)?.is_none() {
            let config = stream_config(&self.writes).map_err(|message| PublishFailure::Key("stream", message))?;
            let created = connection.request(&format!("$JS.API.STREAM.CREATE.{name}"), &config)?;
            created.map_err(|error| error.to_fault())?;
            tracing::info!("sink `{}`: stream `{name}` was created", self.name);
        }
        self.refresh(&mut connection)?;
        if let Some(subject) = self.marker.clone() {
            fault::point("start.sink");
            loop {
                if self.at.generation > self.generation {
                    return Err(PublishFailure::Job(self.replaced_error()));
                }
                let marker = Marker { generation: self.generation, ..self.at.clone() };
                let before = self.at.sequence;
                match self.publish_atomic(&mut connection, &[], &subject, marker)? {
                    Ok(()) => break,
                    Err(error) if error.err_code == ApiError::WRONG_LAST => {
                        self.refresh(&mut connection)?;
                        if self.at.sequence == before {
                            return Err(error.to_fault().into());
                        }
                    }
                    Err(error) => return Err(error.to_fault().into()),
                }
            }
            self.committed = self.at.committed_batch();
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Reads the stream's configuration and the marker.
    fn refresh(&mut self, connection: &mut Connection) -> Result<(), PublishFailure> {
        let name = &self.writes.stream;
        let stream = Stream::find(connection, name)?;
        self.stream = stream.ok_or_else(|| Fault::Transient(format!("stream `{name}` does not exist")))?;
        check_stream(&self.writes, &self.stream, self.marker.is_some())
            .map_err(|(key, message)| PublishFailure::Key(key, message))?;
        if let Some(subject) = &self.marker {
            self.at = Marker::read(connection, name, subject)?;
        }
        Ok(())
    }

    /// Publishes the rest of a batch, and connects first if the connection was lost. `sent`: how many rows the server has confirmed.
    pub fn publish_batch(&mut self, batch: BatchId, rows: &[Outgoing], sent: &mut usize) -> Result<(), PublishFailure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::open(&self.server)?;
                self.refresh(&mut connection)?;
                connection
            }
        };
        let most = connection.payload_max.saturating_sub(HEADER_BYTES);
        if let Some((row, long)) = rows.iter().enumerate().find(|(_, row)| row.payload.len() > most) {
            return Err(PublishFailure::Row(format!(
                "row {row} has {} bytes, but a message has at most {} with its headers (max_payload); allow larger \
                ones, or make rows smaller",
                long.payload.len(),
                connection.payload_max
            )));
        }
        match self.marker.clone() {
            Some(subject) => self.publish_exactly_once(&mut connection, batch, rows, &subject)?,
            None => self.publish_at_least_once(&mut connection, batch, rows, sent)?,
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Publishes a batch in one or more atomic batches, each with a marker.
    fn publish_exactly_once(
        &mut self,
        connection: &mut Connection,
        batch: BatchId,
        rows: &[Outgoing],
        subject: &str,
    ) -> Result<(), PublishFailure> {
        let digest = digest_rows(rows);
        loop {
            if self.at.generation > self.generation {
                return Err(PublishFailure::Job(self.replaced_error()));
            }
            let known = self.committed.map_or(0, |batch| batch.0);
            if self.at.batch < known {
                return Err(PublishFailure::Job(self.lost_marker_error(batch, known)));
            }
            if self.at.batch >= batch.0 {
                return Ok(());
            }
            let stored = match &self.at.part {
                Some(part) if part.is_start_of(batch, rows.len(), &digest) => part.rows,
                Some(part) => return Err(PublishFailure::Job(self.changed_rows_error(batch, part))),
                None => 0,
            };
            let now = (self.batch_max - 1).min(rows.len() - stored);
            let chunk = rows.get(stored..stored + now).unwrap_or_default();
            let marker = match stored + now == rows.len() {
                true => Marker { sequence: 0, generation: self.generation, batch: batch.0, part: None },
                false => {
                    let part = Part { batch: batch.0, rows: stored + now, digest: digest.clone() };
                    Marker { generation: self.generation, part: Some(part), ..self.at.clone() }
                }
            };
            let before = self.at.sequence;
            match self.publish_atomic(connection, chunk, subject, marker)? {
                Ok(()) => fault::point("commit.written"),
                Err(error) if error.err_code == ApiError::BATCH_TOO_LARGE && self.batch_max > BATCH_MIN => {
                    self.batch_max = (self.batch_max / 2).max(BATCH_MIN);
                }
                // Another start wrote the marker, or this one did and the response was lost.
                Err(error) if error.err_code == ApiError::WRONG_LAST => {
                    self.refresh(connection)?;
                    if self.at.sequence == before {
                        return Err(error.to_fault().into());
                    }
                }
                Err(error) => return Err(to_failure(&error)),
            }
        }
    }

    /// Publishes rows and a marker atomically, if the stream's marker is still the one that was read last.
    fn publish_atomic(
        &mut self,
        connection: &mut Connection,
        rows: &[Outgoing],
        subject: &str,
        marker: Marker,
    ) -> Result<Result<(), ApiError>, PublishFailure> {
        let inbox = connection.new_inbox();
        // Unique, because inboxes are.
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
                    return Err(Fault::Transient("the job has ended".into()).into());
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
            // Older markers are useless.
            headers.push(("Nats-Rollup", "sub"));
        }
        if self.stream.config.allow_msg_ttl {
            headers.push(("Nats-TTL", "never"));
        }
        publish(&mut out, subject, Some(&inbox), &headers, &marker.to_json());
        connection.send(&out)?;
        let until = Instant::now() + RESPONSE_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match connection.next_message(left)? {
                Some(message) if message.subject == inbox => match parse_ack(&message)? {
                    Ok(sequence) => {
                        self.at = Marker { sequence, ..marker };
                        return Ok(Ok(()));
                    }
                    Err(error) => return Ok(Err(error)),
                },
                Some(_) => {}
                None => return Err(millstream_connect::dial::response_timed_out().into()),
            }
        }
    }

    /// Publishes messages one by one. Their IDs let the server drop duplicates within its window.
    fn publish_at_least_once(
        &mut self,
        connection: &mut Connection,
        batch: BatchId,
        rows: &[Outgoing],
        sent: &mut usize,
    ) -> Result<(), PublishFailure> {
        let mut in_flight: BTreeMap<String, usize> = BTreeMap::new();
        let (mut next, mut out) = (*sent, Vec::new());
        while *sent < rows.len() {
            while in_flight.len() < IN_FLIGHT_MAX && out.len() < WRITE_BYTES {
                let Some(row) = rows.get(next) else { break };
                let inbox = connection.new_inbox();
                let id = format!("{}.{batch}.{next}.{:016x}", self.sender, row.digest());
                let headers = [("Nats-Msg-Id", id.as_str()), ("Nats-Expected-Stream", self.writes.stream.as_str())];
                publish(&mut out, &row.to, Some(&inbox), &headers, &row.payload);
                in_flight.insert(inbox, next);
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
                match connection.next_message(wait)? {
                    Some(message) => {
                        if in_flight.contains_key(&message.subject) {
                            parse_ack(&message)?.map_err(|error| to_failure(&error))?;
                            in_flight.remove(&message.subject);
                        }
                        wait = Duration::ZERO;
                    }
                    None if wait.is_zero() => break,
                    None => return Err(millstream_connect::dial::response_timed_out().into()),
                }
                // All rows before the first unconfirmed one.
                *sent = in_flight.values().min().copied().unwrap_or(next);
            }
            if self.failure.happened() {
                return Err(Fault::Transient("the job has ended".into()).into());
            }
        }
        Ok(())
    }

    /// Another start of the job has replaced this one.
    fn replaced_error(&self) -> Error {
        Error::taken_over(format!(
            "sink `{}`: the job was restarted elsewhere (generation {}), and this process (generation {}) was replaced",
            self.name, self.at.generation, self.generation
        ))
    }

    /// The marker is older than the last confirmed batch.
    fn lost_marker_error(&self, batch: BatchId, known: u64) -> Error {
        Error::job(format!(
            "sink `{}`: batch {batch}: {}: stream `{}` holds batch {} of this job, but has confirmed batch {known}: \
             it has lost confirmed messages, or its limits have deleted the marker. Raise its limits and restore \
             its data; restarting the unchanged job continues without the missing rows, and --fresh starts from \
             scratch",
            self.name,
            self.server.shown(),
            self.writes.stream,
            self.at.batch
        ))
    }

    /// The job's rows of a batch have changed since the first of them were published.
    fn changed_rows_error(&self, batch: BatchId, part: &Part) -> Error {
        Error::job(format!(
            "sink `{}`: batch {batch}: stream `{}` has the first {} rows of batch {}, but the job now produces \
             other rows; start the previous job once, and change it after that batch is committed, or start from \
             scratch with --fresh",
            self.name, self.writes.stream, part.rows, part.batch
        ))
    }
}

/// Parses the acknowledgment of a message: its sequence, or an error.
fn parse_ack(message: &ReceivedMessage) -> Result<Result<u64, ApiError>, Fault> {
    match crate::nats::parse_response(message)? {
        Ok(ack) => match ack.get("seq").and_then(serde_json::Value::as_u64) {
            Some(sequence) => Ok(Ok(sequence)),
            None => {
                let text = shown::harmless(&String::from_utf8_lossy(&message.payload), 200);
                Err(Fault::Transient(format!("it confirms nothing: {text}")))
            }
        },
        Err(error) => Ok(Err(error)),
    }
}

/// Converts an error response to a publish.
fn to_failure(error: &ApiError) -> PublishFailure {
    match (error.err_code, error.to_fault()) {
        (ApiError::MESSAGE_TOO_LARGE, Fault::Transient(why) | Fault::Permanent(why)) => {
            PublishFailure::Row(format!("{why}; raise the stream's max_msg_size, or make rows smaller"))
        }
        (_, fault) => fault.into(),
    }
}

/// Digest of all rows of a batch.
fn digest_rows(rows: &[Outgoing]) -> String {
    let mut digest = Xxh3::new();
    for row in rows {
        for bytes in [row.to.as_bytes(), &row.payload] {
            digest.update(&(bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
    }
    format!("{:032x}", digest.digest128())
}
