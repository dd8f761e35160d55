//! The `kinesis` sink, which writes one record per row to a stream. A stream keeps no marker, so after a crash the batches since the last
//! checkpoint are sent again.

mod requests;

use super::settings::KinesisWrites;
use crate::kinesis::{KinesisClient, KinesisFault, Stream};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_base::shown;
use millstream_connect::objects::environment;
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::waiting::{await_or_end, new_runtime};
use millstream_connect::sink::wrong;
use millstream_job::spec::SinkStart;
use millstream_job::spec::{Origin, SinkSpec};
use millstream_rows::batch::json;
use millstream_rows::batch::sink::Sink;
use millstream_rows::batch::types::{ColumnType, describe};
use requests::Records;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Writes every row.
struct KinesisSink {
    name: String,
    spec: KinesisWrites,
    /// The index of the column with partition keys.
    key: Option<usize>,
    client: KinesisClient,
    failure: Failure,
    runtime: Runtime,
}

/// Checks what can be checked without a request to the server.
pub(super) fn check(kinesis: &KinesisWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
    key(kinesis, schema).map_err(|message| wrong(spec, origin, "key", message))?;
    stream(spec, kinesis, origin).map(drop)
}

/// Prepares to write; the first batch connects.
pub(super) fn open(
    kinesis: &KinesisWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    let name = &spec.name;
    if owner.is_some() {
        tracing::info!("sink `{name}` writes at least once: after a crash some records are written again");
    }
    Ok(Box::new(KinesisSink {
        name: name.clone(),
        spec: kinesis.clone(),
        key: key(kinesis, schema).map_err(|message| wrong(spec, origin, "key", message))?,
        client: KinesisClient::new(&Arc::new(stream(spec, kinesis, origin)?)),
        failure: failure.clone(),
        runtime: new_runtime()?,
    }))
}

fn stream(spec: &SinkSpec, kinesis: &KinesisWrites, origin: &Origin) -> Result<Stream> {
    let stream = Stream::new(&kinesis.stream, kinesis.region.as_deref(), &environment());
    stream.map_err(|(key, message)| wrong(spec, origin, key, message))
}

/// Returns the index of the column with partition keys.
fn key(kinesis: &KinesisWrites, schema: &SchemaRef) -> std::result::Result<Option<usize>, String> {
    let Some(name) = &kinesis.key else { return Ok(None) };
    let there = || format!("`key` names `{name}`, and the rows have {}; write one of these", describe(schema));
    let at = schema.index_of(name).map_err(|_| there())?;
    match ColumnType::from_arrow(schema.field(at).data_type()) {
        ColumnType::Binary => {
            Err("`key` names a column of bytes, and a partition key is text; write another column".into())
        }
        kind if kind.is_scalar() => Ok(Some(at)),
        kind => Err(format!("`key` names a column of type {kind}, and a partition key is text or a plain value")),
    }
}

impl Sink for KinesisSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        fault::point("commit.before");
        // All are created before the first is sent: a row that no record can hold leaves nothing.
        let records = Records::new(&rows, self.key, batch).map_err(|(row, why)| {
            let (name, row) = (&self.name, row.map_or(String::new(), |row| format!("row {row} of the batch: ")));
            Error::plugin(format!("sink `{name}`: batch {batch}: {row}{why}"))
        })?;
        for request in records.requests() {
            self.send(batch, &records, request)?;
            fault::point("commit.part");
        }
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}

impl KinesisSink {
    /// Sends these records until the stream has all of them, in their order: rejected records are repeated before others.
    fn send(&mut self, batch: BatchId, records: &Records, request: Range<usize>) -> Result<()> {
        let mut left: Vec<usize> = request.collect();
        let (name, display_name) = (self.name.clone(), self.client.stream().display_name().to_owned());
        let (wait, failure) = (self.spec.wait, self.failure.clone());
        let permanent =
            |why: String| ServerFault::Permanent(Error::environment(format!("sink `{name}`: batch {batch}: {why}")));
        CommitRetry { sink: &name, server_name: "", wait, failure: &failure }.commit(batch, || {
            let request_body = records.request_body(self.client.stream().name(), &left);
            let response = await_or_end(&self.runtime, &self.failure, self.client.request("PutRecords", request_body));
            match response.ok_or_else(|| permanent("the job has ended".to_owned()))? {
                Ok(response) => {
                    let of = left.len();
                    let outcome = requests::outcome(response, &left)
                        .map_err(|why| permanent(format!("{display_name}: {why}")))?;
                    left = outcome.rejected;
                    if left.is_empty() {
                        return Ok(());
                    }
                    let why = shown::harmless(&outcome.why, 300);
                    Err(ServerFault::Transient(format!(
                        "{display_name}: {} of {of} records were not accepted: {why}",
                        left.len()
                    )))
                }
                Err(KinesisFault::Transient(why) | KinesisFault::Throttled(why)) => Err(ServerFault::Transient(why)),
                Err(KinesisFault::Expired) => Err(ServerFault::Transient("it expects an iterator".to_owned())),
                Err(KinesisFault::Invalid(why) | KinesisFault::Permanent(why)) => Err(permanent(why)),
            }
        })
    }
}
