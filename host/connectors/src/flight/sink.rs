//! The `flight` sink: a batch is one stream of record batches (DoPut), which is committed when the server confirms it.
//!
//! A Flight server keeps no marker: after a crash, or when a connection is lost, batches are sent again. Each message contains its batch
//! id, so that a server can recognize repeated batches.

use super::settings::FlightWrites;
use crate::flight::grpc::{Connection, framed, outgoing};
use crate::flight::messages::Data;
use crate::flight::{self, CallRefusal, Fault, RESPONSE_BYTES_MAX, Server};
use arrow::array::{Array, RecordBatch};
use arrow::ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteOptions};
use bytes::Bytes;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::server::{job_id, retry_at_start, start::await_response, startup_fault};
use millstream_connect::sink::waiting::{await_or_end, named_runtime};
use millstream_connect::sink::{rows_rejected, wrong};
use millstream_job::spec::{SinkServer, SinkStart};
use millstream_rows::batch::sink::Sink;

use millstream_base::owner::Owner;
use serde_json::json;
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Approximate bytes of rows per message: many servers accept at most 4 MiB.
const MESSAGE_BYTES: usize = 2 << 20;

/// Sends every batch that has rows.
struct FlightSink {
    name: String,
    server: Server,
    writes: FlightWrites,
    /// The job in the metadata of messages.
    job: String,
    wait: Duration,
    failure: Failure,
    runtime: Runtime,
    /// `None`: the connection was lost, or none was needed yet.
    connection: Option<Connection>,
}

/// Checks what can be checked without a request to the server.
pub(super) fn check(writes: &FlightWrites, start: SinkStart<'_>) -> Result<()> {
    server(writes, start).map(drop)
}

/// Connects.
pub(super) fn open(
    writes: &FlightWrites,
    start: SinkStart<'_>,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    if owner.is_some() {
        tracing::info!(
            "sink `{}` writes at least once: after a crash some batches are sent again, with the same number",
            spec.name
        );
    }
    let server = server(writes, start)?;
    let (runtime, connection) = retry_at_start(start, writes.server.wait, &server.address.shown(), || {
        let runtime = named_runtime("flight-sink").map_err(ServerFault::Permanent)?;
        match runtime.block_on(server.connect()) {
            Ok(connection) => Ok((runtime, connection)),
            Err(fault) => {
                runtime.shutdown_background();
                Err(startup_fault(spec, origin, &server.address.shown(), fault))
            }
        }
    })?;
    let job = job_id(owner);
    Ok(Box::new(FlightSink {
        name: spec.name.clone(),
        server,
        writes: writes.clone(),
        job,
        wait: writes.server.wait,
        failure: failure.clone(),
        runtime,
        connection: Some(connection),
    }))
}

/// Waits until the server accepts connections.
pub(super) fn await_server(writes: &FlightWrites, start: SinkStart<'_>) -> Result<()> {
    let Ok(server) = server(writes, start) else { return Ok(()) };
    await_response(start, writes.server.wait, &server.address.shown(), || server.address.reach())
}

fn server(writes: &FlightWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkServer { url, tls, .. } = &writes.server;
    let usable = Server::new(url, writes.token.as_deref(), tls.as_ref(), &start.origin.dir);
    usable.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

impl Sink for FlightSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count == 0 {
            return Ok(());
        }
        let metadata = json!({ "job": self.job, "sink": self.name, "batch": batch.0, "rows": count }).to_string();
        let messages = messages(&rows, &self.writes, &Bytes::from(metadata));
        let messages = messages.map_err(|cause| rows_rejected(&self.name, batch, "the rows", cause))?;
        fault::point("commit.before");
        let (name, server_name, failure) = (self.name.clone(), self.server.address.shown(), self.failure.clone());
        let trying = CommitRetry { sink: &name, server_name: &server_name, wait: self.wait, failure: &failure };
        trying.commit(batch, || {
            self.attempt(&messages).map_err(|fault| match fault {
                Fault::Permanent(why) => {
                    let stream = flight::shown(&self.writes.to);
                    trying.server_fault(batch, Fault::Permanent(format!("stream {stream}: {why}")))
                }
                transient => trying.server_fault(batch, transient),
            })
        })?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}

impl FlightSink {
    /// Sends a batch once. Reconnects if the connection was lost while it was idle.
    fn attempt(&mut self, messages: &[Bytes]) -> std::result::Result<(), Fault> {
        let (server, within) = (&self.server, self.writes.timeout);
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let sending = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => server.connect().await?,
            };
            put(&mut connection, messages).await?;
            Ok(connection)
        };
        let sending = async { timeout(within, sending).await.unwrap_or_else(|_| Err(flight::stalled(within))) };
        let ended = || Fault::Transient("the job has ended".into());
        self.connection = Some(await_or_end(&self.runtime, &self.failure, sending).ok_or_else(ended)??);
        Ok(())
    }
}

/// Sends messages as one stream, and waits until the server confirms it.
async fn put(connection: &mut Connection, messages: &[Bytes]) -> std::result::Result<(), Fault> {
    let (queue, outgoing) = outgoing();
    let mut responses = connection.call("DoPut", outgoing, RESPONSE_BYTES_MAX);
    let feeding = async {
        for message in messages {
            if queue.send(Some(message.clone())).await.is_err() {
                return false;
            }
        }
        queue.send(None).await.is_ok()
    };
    let responses_done = async {
        // Confirmations of single messages add nothing to the final one.
        while responses.next().await?.is_some() {}
        Ok::<_, CallRefusal>(())
    };
    tokio::pin!(feeding, responses_done);
    let mut all_sent = false;
    loop {
        tokio::select! {
            sent = &mut feeding, if !all_sent => match sent {
                true => all_sent = true,
                // The server's response says why it stopped reading.
                false => break,
            },
            outcome = &mut responses_done => {
                outcome.map_err(|failure| failure.fault)?;
                return match all_sent {
                    true => Ok(()),
                    false => Err(Fault::Permanent("it reported success before it had read all rows".into())),
                };
            }
        }
    }
    responses_done.await.map_err(|failure| failure.fault)?;
    Err(Fault::Transient("it does not read all rows".into()))
}

/// Returns the messages of a batch; all are created before the first is sent.
fn messages(rows: &[RecordBatch], writes: &FlightWrites, metadata: &Bytes) -> io::Result<Vec<Bytes>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let (generator, options) = (IpcDataGenerator::default(), IpcWriteOptions::default());
    let (mut tracker, mut context) = (DictionaryTracker::new(false), Default::default());
    let message = |data: EncodedData, app_metadata: &Bytes| Data {
        header: data.ipc_message.into(),
        body: data.arrow_data.into(),
        app_metadata: app_metadata.clone(),
        descriptor: None,
    };
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&first.schema(), &mut tracker, &options);
    let descriptor = Some(flight::descriptor(&writes.to));
    let mut messages = vec![framed(&Data { descriptor, ..message(schema, &Bytes::new()) })];
    for part in rows.iter().filter(|part| part.num_rows() > 0) {
        let bytes: usize =
            part.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        let at_once = (part.num_rows() / (bytes / MESSAGE_BYTES + 1)).max(1);
        let mut begin = 0;
        while begin < part.num_rows() {
            let slice = part.slice(begin, at_once.min(part.num_rows() - begin));
            begin += slice.num_rows();
            let encoded = generator.encode(&slice, &mut tracker, &options, &mut context);
            let (dictionaries, data) = encoded.map_err(io::Error::other)?;
            messages.extend(dictionaries.into_iter().map(|dictionary| framed(&message(dictionary, &Bytes::new()))));
            messages.push(framed(&message(data, metadata)));
        }
    }
    Ok(messages)
}
