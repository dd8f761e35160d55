//! Sinks, through which rows leave: a sink commits the rows of a batch together with the batch id.

mod binary;
pub mod commit_retry;
pub mod encode;
pub mod encoder;
pub mod marker;
pub mod plugin;
#[cfg(feature = "brokers")]
pub mod server;
pub mod shares;
pub mod waiting;

pub use encode::{check as check_format, head, lines};
pub use encoder::Encoder;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_base::retry::StartupRetry;
use millstream_base::retry::io_failed;
use millstream_job::spec::{Origin, SinkSpec, SinkStart};
use millstream_rows::batch::cell;
use millstream_rows::batch::sink::Sink;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// Checks what can be checked before the job runs, for example that a directory is writable and that the schema suits the format.
/// `keeps_checkpoints`: whether the job does. `owner_id`: its id, if it resumes from a checkpoint and its rows may already be there.
/// `servers`: whether to wait for unreachable databases and servers named by a URL. Changes nothing outside.
pub fn check(
    spec: &SinkSpec,
    schema: &SchemaRef,
    origin: &Origin,
    keeps_checkpoints: bool,
    owner_id: Option<&str>,
    servers: StartupRetry,
) -> Result<()> {
    let start = SinkStart { job_id: owner_id, ..SinkStart::new(spec, origin, servers) };
    spec.kind.check_start(start, &binary::written_schema(spec, schema), keeps_checkpoints)
}

/// Opens a sink for rows of this schema. This creates the directory, file, table or topic that it writes, so it belongs to the startup of a
/// job, after [`check`]. `owner`: who commits, if the job keeps checkpoints; the sink then takes its medium over from earlier runs of the
/// job. `failure` ends waits for a full disk or an unreachable server. `servers`: whether to wait for an unreachable database, or server
/// named by a URL. For a sink to which each worker commits, the result describes all workers together.
pub fn open(
    spec: &SinkSpec,
    schema: SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    failure: &Failure,
    servers: StartupRetry,
) -> Result<Box<dyn Sink>> {
    let start = SinkStart { owner, ..SinkStart::new(spec, origin, servers) };
    let sink = spec.kind.open(start, &binary::written_schema(spec, &schema), failure)?;
    Ok(binary::encoding(spec, schema, sink))
}

/// Opens one worker's share of a sink to which each worker commits ([`SinkConfig::by_worker`]), after [`open`] on process 0 has taken over
/// the entire sink.
///
/// [`SinkConfig::by_worker`]: millstream_job::spec::SinkConfig::by_worker
pub fn open_share(
    spec: &SinkSpec,
    schema: SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    worker: usize,
    failure: &Failure,
    servers: StartupRetry,
) -> Result<Box<dyn Sink>> {
    let start = SinkStart { owner, share: Some(worker), ..SinkStart::new(spec, origin, servers) };
    let sink = spec.kind.open(start, &binary::written_schema(spec, &schema), failure)?;
    Ok(binary::encoding(spec, schema, sink))
}

/// Returns the last batch that a sink's medium holds for this job, as [`Sink::committed`] will return once it is open. Changes nothing
/// outside. An error if the medium cannot be read or belongs to another job.
pub fn committed(spec: &SinkSpec, origin: &Origin, job_id: &str, servers: StartupRetry) -> Result<Option<BatchId>> {
    spec.kind.committed(SinkStart::new(spec, origin, servers), job_id)
}

/// Returns the bytes that a sink's medium holds of a batch; `None` if this is unknown, or they were moved away.
pub fn written(spec: &SinkSpec, origin: &Origin, batch: BatchId) -> Result<Option<Vec<u8>>> {
    spec.kind.written(SinkStart::new(spec, origin, StartupRetry::No), batch)
}

/// Formats a batch time for users: `2026-11-20 08:30:01.123456`.
pub fn shown_time(time: BatchTime) -> String {
    let mut text = String::new();
    cell::write_batch_time(&mut text, time.0);
    text
}

/// Returns the bytes that a commit of these rows would write. For tables, and for sinks that write nothing, this is one JSON object per
/// row.
pub fn render(
    spec: &SinkSpec,
    schema: &SchemaRef,
    batch: BatchId,
    time: BatchTime,
    rows: &[RecordBatch],
) -> Result<Vec<u8>> {
    let rows = &rows.iter().map(|part| binary::encode_rows(spec, part)).collect::<Result<Vec<_>>>()?;
    let rendered = spec.kind.render(&spec.name, &binary::written_schema(spec, schema), (batch, time), rows);
    rendered.map_err(|cause| Error::bug(format!("sink `{}`: batch {batch}: cannot show rows: {cause}", spec.name)))
}

/// Returns an error of the job file at one key of a sink.
pub fn wrong(spec: &SinkSpec, origin: &Origin, key: &str, message: String) -> Error {
    let location = origin.at(&format!("sinks.{}.{key}", spec.name));
    Error::job(format!("{location}sink `{}`: {message}", spec.name))
}

/// Returns an error of committing a batch.
pub fn commit_error(sink: &str, batch: BatchId, what: impl Display, cause: impl Display) -> Error {
    Error::environment(format!(
        "sink `{sink}`: batch {batch}: cannot write {what}: {cause}; fix the cause and restart the job"
    ))
}

/// Returns the error for rows that a sink permanently rejects: the job fails.
pub fn rows_rejected(sink: &str, batch: BatchId, what: impl Display, cause: impl Display) -> Error {
    Error::plugin(format!("sink `{sink}`: batch {batch}: cannot write {what}: {cause}"))
}

/// Returns an error of opening a sink.
pub fn open_error(sink: &str, what: &str, path: &Path, cause: &io::Error) -> Error {
    Error::from(io_failed(format!("{what} {}", path.display()), cause)).within(format!("sink `{sink}`"))
}

/// Checks that files can be created in a directory, with an unnamed temporary file. Permission bits do not suffice, because of read-only
/// file systems, access lists and the superuser.
pub fn check_writable(dir: &Path) -> Result<(), String> {
    tempfile::tempfile_in(dir).map(drop).map_err(|cause| {
        format!("cannot write to the directory {}: {cause}; choose another path or fix its permissions", dir.display())
    })
}
