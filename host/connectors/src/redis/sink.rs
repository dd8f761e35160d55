//! The `redis` sink, which writes one stream entry per row. One script adds all rows of a batch.
//!
//! The script also updates a marker: a hash next to the stream with the last committed batch and the run of the job that committed it.
//! The script checks the marker before it adds anything. So a process that was replaced adds nothing, and a script whose response was lost
//! is simply run again. A transaction (MULTI) would continue after a failed command and still update the marker; a script stops.

use super::settings::RedisWrites;
use crate::redis::{Command, Connection, RedisError, Server, Value, error_message, is_transient};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_base::shown;
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::server::values::{Fields, Values};
use millstream_connect::sink::server::{job_id, retry_at_start};
use millstream_connect::sink::{rows_rejected, wrong};
use millstream_job::spec::{Origin, SinkSpec};
use millstream_job::spec::{SinkServer, SinkStart};
use millstream_rows::batch::json;
use millstream_rows::batch::sink::Sink;
use millstream_rows::formats::RecordFormat;
use std::time::Duration;

/// Writes into the marker that only this run commits from now on. Returns the last committed batch, or the owner of the sink.
const CLAIM: &str = "\
local found = redis.call('HGET', KEYS[1], 'generation')
if found and tonumber(found) > tonumber(ARGV[1]) then return {'lost', found} end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'job', ARGV[2])
return {'ours', redis.call('HGET', KEYS[1], 'batch') or '0'}";

/// Adds the rows of a batch. KEYS: stream, marker. ARGV: generation, batch, the last batch known to be committed, how many entries and for
/// how long the marker are kept; then rows.
const COMMIT: &str = "\
local marker = redis.call('HMGET', KEYS[2], 'generation', 'batch')
local batch = tonumber(marker[2] or '0')
if tonumber(marker[1] or ARGV[1]) > tonumber(ARGV[1]) then return {'lost', marker[1]} end
if batch < tonumber(ARGV[3]) then return {'forgotten', tostring(batch)} end
if batch >= tonumber(ARGV[2]) then return {'done', ''} end
for at = 6, #ARGV do
  for _, fields in ipairs(cmsgpack.unpack(ARGV[at])) do
    if ARGV[4] == '' then redis.call('XADD', KEYS[1], '*', unpack(fields))
    else redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', unpack(fields)) end
  end
end
redis.call('HSET', KEYS[2], 'generation', ARGV[1], 'batch', ARGV[2])
if ARGV[5] ~= '' then redis.call('EXPIRE', KEYS[2], ARGV[5]) end
return {'done', ''}";

/// Approximate bytes of rows per argument.
const ARGUMENT_BYTES: usize = 64 << 10;
/// Maximum columns of a row: a script cannot pass more arguments.
const COLUMNS_MAX: usize = 1_000;
/// Time to live of the marker of a job without checkpoints, in seconds: it only shows whether a commit whose response was lost succeeded.
const MARKER_S: &str = "86400";
/// Maximum bytes of a response: short strings and numbers.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Adds every batch that has rows.
struct RedisSink {
    name: String,
    server: Server,
    writes: RedisWrites,
    /// The key of the marker.
    marker: String,
    generation: u64,
    /// Whether the marker outlives the job.
    keeps: bool,
    wait: Duration,
    failure: Failure,
    /// `None`: the connection was lost.
    connection: Option<Connection>,
    committed: Option<BatchId>,
}

/// Checks the columns, and the type of the stream's key on the server.
pub(super) fn check(writes: &RedisWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    let fits = match &writes.field {
        None if schema.fields().len() > COLUMNS_MAX => Err(format!("an entry has at most {COLUMNS_MAX} fields here")),
        None => Fields::check(schema),
        Some(_) => json::check(schema),
    };
    fits.map_err(|message| wrong(spec, origin, "from", message))?;
    let server = server(writes, start)?;
    let found = retry_at_start(start, writes.server.wait, server.server_name(), || {
        let found =
            server.connect(RESPONSE_BYTES_MAX).and_then(|mut connection| type_of(&mut connection, &writes.stream));
        found.map_err(|error| server_fault(spec, origin, server.server_name(), &error))
    })?;
    match found.as_str() {
        "none" | "stream" => Ok(()),
        other => {
            let other = shown::harmless(other, 100);
            Err(wrong(
                spec,
                origin,
                "stream",
                format!("`{}` exists and is a {other}, not a stream; name another key", writes.stream),
            ))
        }
    }
}

/// Takes the sink over from earlier runs of the job.
pub(super) fn open(
    writes: &RedisWrites,
    start: SinkStart<'_>,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    let server = server(writes, start)?;
    let mut sink = RedisSink {
        name: spec.name.clone(),
        marker: marker(&writes.stream, &job_id(owner), &spec.name),
        server,
        writes: writes.clone(),
        generation: owner.map_or(0, |owner| owner.generation.0),
        keeps: owner.is_some(),
        wait: writes.server.wait,
        failure: failure.clone(),
        connection: None,
        committed: None,
    };
    if let Some(owner) = owner {
        let (server, marker, generation) = (&sink.server, &sink.marker, sink.generation);
        let (connection, (state, number)) = retry_at_start(start, writes.server.wait, server.server_name(), || {
            let opened = server.connect(RESPONSE_BYTES_MAX).and_then(|mut connection| {
                fault::point("start.sink");
                let claim = Command::new("EVAL").arg(CLAIM).arg(1).arg(marker).arg(generation).arg(&owner.job);
                let claimed = connection.two_texts(&claim)?;
                Ok((connection, claimed))
            });
            opened.map_err(|error| server_fault(spec, origin, server.server_name(), &error))
        })?;
        if state == "lost" {
            return Err(sink.taken_over_error(&number));
        }
        sink.connection = Some(connection);
        sink.committed = batch(&number);
    }
    Ok(Box::new(sink))
}

/// Reads the marker.
pub(super) fn committed(writes: &RedisWrites, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
    let SinkStart { spec, origin, .. } = start;
    let server = server(writes, start)?;
    let marker = marker(&writes.stream, job_id, &spec.name);
    let read = retry_at_start(start, writes.server.wait, server.server_name(), || {
        let read = server.connect(RESPONSE_BYTES_MAX).and_then(|mut connection| {
            match connection.request_complete(&Command::new("HGET").arg(&marker).arg("batch"))? {
                Value::Nil => Ok(None),
                number => number.text().map(Some).ok_or(RedisError::Unexpected),
            }
        });
        read.map_err(|error| server_fault(spec, origin, server.server_name(), &error))
    })?;
    Ok(read.and_then(|number| batch(&number)))
}

/// Waits until the server responds, whatever it replies.
pub(super) fn await_server(writes: &RedisWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server(writes, start) else { return Ok(()) };
    retry_at_start(start, writes.server.wait, server.server_name(), || {
        match server
            .connect(RESPONSE_BYTES_MAX)
            .and_then(|mut connection| connection.request_complete(&Command::new("PING")))
        {
            Err(error) if is_transient(&error) => Err(ServerFault::Transient(error_message(&error))),
            _ => Ok(()),
        }
    })
}

fn server(writes: &RedisWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::new(url, tls.as_ref(), &start.origin.dir);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

fn type_of(connection: &mut Connection, key: &str) -> std::result::Result<String, RedisError> {
    connection.text(&Command::new("TYPE").arg(key))
}

fn server_fault(spec: &SinkSpec, origin: &Origin, server_name: &str, error: &RedisError) -> ServerFault {
    match is_transient(error) {
        true => ServerFault::Transient(error_message(error)),
        false => {
            let location = origin.at(&format!("sinks.{}.url", spec.name));
            ServerFault::Permanent(Error::environment(format!(
                "{location}sink `{}`: {server_name}: {}",
                spec.name,
                error_message(error)
            )))
        }
    }
}

/// Returns the key of a marker. In a cluster, the part between braces puts it on the same node as its stream.
fn marker(stream: &str, job_id: &str, sink: &str) -> String {
    let tag = stream.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(stream, |(tag, _)| tag);
    let tag = if tag.is_empty() { stream } else { tag };
    format!("millstream:{{{tag}}}:{job_id}:{sink}")
}

/// Converts the batch number of a marker; zero: none yet.
fn batch(number: &str) -> Option<BatchId> {
    number.parse().ok().filter(|number| *number > 0).map(BatchId)
}

impl Sink for RedisSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if !rows.iter().any(|part| part.num_rows() > 0) {
            // A batch without rows leaves no trace, so it does not count as held.
            return Ok(());
        }
        let arguments = self.arguments(&rows).map_err(|cause| rows_rejected(&self.name, batch, "the rows", cause))?;
        fault::point("commit.before");
        let (name, wait, failure) = (self.name.clone(), self.wait, self.failure.clone());
        let server_name = self.server.server_name().to_owned();
        let trying = CommitRetry { sink: &name, server_name: &server_name, wait, failure: &failure };
        trying.commit(batch, || self.attempt(batch, &arguments))?;
        fault::point("commit.after");
        self.committed = Some(batch).filter(|_| self.keeps);
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }
}

impl RedisSink {
    /// Runs the script once; reconnects if the connection was lost.
    fn attempt(&mut self, batch: BatchId, arguments: &[Vec<u8>]) -> std::result::Result<(), ServerFault> {
        let fault_of = |this: &RedisSink, error: RedisError| match is_transient(&error) {
            true => ServerFault::Transient(error_message(&error)),
            false => {
                let (name, server_name, why) = (&this.name, this.server.server_name(), error_message(&error));
                ServerFault::Permanent(Error::environment(format!(
                    "sink `{name}`: batch {batch}: {server_name}: {why}"
                )))
            }
        };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.server.connect(RESPONSE_BYTES_MAX).map_err(|error| fault_of(self, error))?,
        };
        let known = self.committed.map_or(0, |batch| batch.0);
        let script = Command::new("EVAL").arg(COMMIT).arg(2).arg(&self.writes.stream).arg(&self.marker);
        let script = script.arg(self.generation).arg(batch.0).arg(known);
        let script = script.arg(self.writes.entries_max.map_or(String::new(), |max| max.to_string()));
        let script = script.arg(if self.keeps { "" } else { MARKER_S });
        let script = arguments.iter().fold(script, |script, argument| script.bytes(argument));
        let (state, number) = connection.two_texts(&script).map_err(|error| fault_of(self, error))?;
        fault::point("commit.written");
        match state.as_str() {
            "done" => {
                self.connection = Some(connection);
                Ok(())
            }
            "lost" => Err(ServerFault::Permanent(self.taken_over_error(&number))),
            // The job does not restart the sink, as that would continue without these rows.
            "forgotten" => Err(ServerFault::Permanent(Error::job(format!(
                "sink `{}`: batch {batch}: {} holds batch {} of this job, but has confirmed batch {known}: it has \
                 lost confirmed rows. Make it keep each write (appendonly yes, appendfsync always, maxmemory-policy \
                 noeviction) and restore its data; restarting the unchanged job continues without the missing rows, \
                 and --fresh starts from scratch",
                self.name,
                self.server.server_name(),
                shown::harmless(&number, 30)
            )))),
            _ => Err(ServerFault::Permanent(Error::environment(format!(
                "sink `{}`: batch {batch}: {}: its reply is not from the job's script",
                self.name,
                self.server.server_name()
            )))),
        }
    }

    /// Returns the error for a job that was taken over.
    fn taken_over_error(&self, generation: &str) -> Error {
        Error::taken_over(format!(
            "sink `{}`: the job was restarted elsewhere (generation {}), and this process (generation {}) was replaced",
            self.name,
            shown::harmless(generation, 30),
            self.generation
        ))
    }

    /// Packs the rows for the script: arrays of arrays of names and values.
    fn arguments(&self, rows: &[RecordBatch]) -> std::io::Result<Vec<Vec<u8>>> {
        let mut encoded = EntryEncoder::default();
        for part in rows.iter().filter(|part| part.num_rows() > 0) {
            match &self.writes.field {
                Some(field) => {
                    let mut values = Values::new(RecordFormat::Json, part)?;
                    let mut value = Vec::new();
                    for row in 0..part.num_rows() {
                        value.clear();
                        values.write(row, &mut value)?;
                        encoded.entry(&[(field.as_bytes(), &value)]);
                    }
                }
                None => {
                    let mut fields = Fields::new(part);
                    for row in 0..part.num_rows() {
                        let mut entry: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
                        fields.each(row, |name, value| entry.push((name.into(), value.into())))?;
                        let entry: Vec<_> = entry.iter().map(|(name, value)| (&name[..], value)).collect();
                        encoded.entry(&entry);
                    }
                }
            }
        }
        Ok(encoded.done())
    }
}

/// Entries as MessagePack, several per argument.
#[derive(Default)]
struct EntryEncoder {
    arguments: Vec<Vec<u8>>,
    entries: Vec<u8>,
    count: u32,
}

impl EntryEncoder {
    fn entry(&mut self, fields: &[(&[u8], &Vec<u8>)]) {
        array(&mut self.entries, fields.len() * 2);
        for (name, value) in fields {
            text(&mut self.entries, name);
            text(&mut self.entries, value);
        }
        self.count += 1;
        if self.entries.len() >= ARGUMENT_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.count > 0 {
            let mut argument = Vec::with_capacity(self.entries.len() + 5);
            array(&mut argument, self.count as usize);
            argument.append(&mut self.entries);
            self.arguments.push(argument);
            self.count = 0;
        }
    }

    fn done(mut self) -> Vec<Vec<u8>> {
        self.flush();
        self.arguments
    }
}

/// Encodes the beginning of an array of this length. A short one could take fewer bytes, but all readers accept this form.
fn array(to: &mut Vec<u8>, length: usize) {
    to.push(0xdd);
    to.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// Encodes a string of any bytes.
fn text(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(0xdb);
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_stays_beside_its_stream() {
        assert_eq!(marker("a", "j", "s"), "millstream:{a}:j:s");
        assert_eq!(marker("x{a}y", "j", "s"), "millstream:{a}:j:s");
        assert_eq!(marker("x{}y", "j", "s"), "millstream:{x{}y}:j:s");
    }

    #[test]
    fn entries_are_packed_as_messagepack_has_it() {
        let mut encoded = EntryEncoder::default();
        encoded.entry(&[(b"a", &vec![0xff])]);
        let written = [0xdd, 0, 0, 0, 1, 0xdd, 0, 0, 0, 2, 0xdb, 0, 0, 0, 1, b'a', 0xdb, 0, 0, 0, 1, 0xff];
        assert_eq!(encoded.done(), [written.to_vec()]);
        assert_eq!(EntryEncoder::default().done(), Vec::<Vec<u8>>::new());
    }
}
