//! Where rows leave: a sink commits the rows of a batch together with the batch id.

mod binary;
pub mod commit_retry;
pub(crate) mod encode;
pub(crate) mod encoder;
pub(crate) mod marker;
pub mod plugin;
#[cfg(feature = "brokers")]
pub mod server;
pub mod shares;
pub(crate) mod waiting;

pub use encode::{check as check_format, head, lines};
pub use encoder::Encoder;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::cell;
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::{Origin, SinkSpec, SinkStart};
use millstream_base::owner::Owner;
use millstream_base::patience::ServerWait;
use millstream_base::patience::io_failed;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// Checks what can be checked before anything runs (that a folder can be written, that the schema suits the format).
/// `keeps_checkpoints`: of the job; `owner_id`: its id, where it goes on from a checkpoint and its rows may be there
/// already. `servers`: whether databases and servers that a URL names are waited for where they are away. Changes nothing outside.
pub fn check(
    spec: &SinkSpec,
    schema: &SchemaRef,
    origin: &Origin,
    keeps_checkpoints: bool,
    owner_id: Option<&str>,
    servers: ServerWait,
) -> Result<()> {
    let start = SinkStart { job_id: owner_id, ..SinkStart::new(spec, origin, servers) };
    spec.kind.check_start(start, &binary::written(spec, schema), keeps_checkpoints)
}

/// Opens a sink for rows of this schema. Opening makes the folder, file, table or topic that it writes, so it belongs to the start of a
/// job, after [`check`]. `owner`: who commits, where the job
/// keeps checkpoints; the sink then takes its medium over from earlier starts of the job. `failure` ends the waiting for
/// a full disk or a server that is away, `servers` says whether a database, or a server that a URL names, is waited for where it is away. What it says of a sink that each worker commits to is of all workers together.
pub fn open(
    spec: &SinkSpec,
    schema: SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    failure: &Failure,
    servers: ServerWait,
) -> Result<Box<dyn Sink>> {
    let start = SinkStart { owner, ..SinkStart::new(spec, origin, servers) };
    let sink = spec.kind.open(start, &binary::written(spec, &schema), failure)?;
    Ok(binary::encoding(spec, schema, sink))
}

/// Opens what one worker has of a sink that each worker commits to ([`SinkConfig::by_worker`]), after [`open`] on process 0 has taken
/// over all of it.
///
/// [`SinkConfig::by_worker`]: millstream_base::job::spec::SinkConfig::by_worker
pub fn open_share(
    spec: &SinkSpec,
    schema: SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    worker: usize,
    failure: &Failure,
    servers: ServerWait,
) -> Result<Box<dyn Sink>> {
    let start = SinkStart { owner, share: Some(worker), ..SinkStart::new(spec, origin, servers) };
    let sink = spec.kind.open(start, &binary::written(spec, &schema), failure)?;
    Ok(binary::encoding(spec, schema, sink))
}

/// The last batch that a sink's medium holds for this job, as [`Sink::committed`] will say once it is open. Changes
/// nothing outside. An error where the medium cannot be read or belongs to another job.
pub fn committed(spec: &SinkSpec, origin: &Origin, job_id: &str, servers: ServerWait) -> Result<Option<BatchId>> {
    spec.kind.committed(SinkStart::new(spec, origin, servers), job_id)
}

/// The bytes that a sink's medium holds of a batch; `None`: it cannot be told, or they were moved away.
pub fn written(spec: &SinkSpec, origin: &Origin, batch: BatchId) -> Result<Option<Vec<u8>>> {
    spec.kind.written(SinkStart::new(spec, origin, ServerWait::No), batch)
}

/// A batch time for people: `2026-11-20 08:30:01.123456`.
pub fn shown_time(time: BatchTime) -> String {
    let mut text = String::new();
    cell::write_batch_time(&mut text, time.0);
    text
}

/// The bytes that a commit of these rows would write; of a table, and of what writes nothing: a JSON object a row.
pub fn render(
    spec: &SinkSpec,
    schema: &SchemaRef,
    batch: BatchId,
    time: BatchTime,
    rows: &[RecordBatch],
) -> Result<Vec<u8>> {
    let rows = &rows.iter().map(|part| binary::encoded(spec, part)).collect::<Result<Vec<_>>>()?;
    let rendered = spec.kind.render(&spec.name, &binary::written(spec, schema), (batch, time), rows);
    rendered.map_err(|cause| Error::bug(format!("sink `{}`: batch {batch}: cannot show rows: {cause}", spec.name)))
}

/// A mistake of the job file at one key of a sink.
pub(crate) fn wrong(spec: &SinkSpec, origin: &Origin, key: &str, message: String) -> Error {
    let location = origin.at(&format!("sinks.{}.{key}", spec.name));
    Error::job(format!("{location}sink `{}`: {message}", spec.name))
}

/// A failure while a batch is committed.
pub(crate) fn commit_failed(sink: &str, batch: BatchId, what: impl Display, cause: impl Display) -> Error {
    Error::environment(format!(
        "sink `{sink}`: batch {batch}: cannot write {what}: {cause}; fix the cause and restart the job"
    ))
}

/// Rows that a sink cannot hold, however often that is tried: the job ends.
pub(crate) fn rows_refused(sink: &str, batch: BatchId, what: impl Display, cause: impl Display) -> Error {
    Error::plugin(format!("sink `{sink}`: batch {batch}: cannot write {what}: {cause}"))
}

/// A failure while a sink is opened.
pub(crate) fn open_failed(sink: &str, what: &str, path: &Path, cause: &io::Error) -> Error {
    Error::from(io_failed(format!("{what} {}", path.display()), cause)).within(format!("sink `{sink}`"))
}

/// Whether new files can be made in a folder: tried with a file that has no name and is gone at once, because
/// permission bits do not tell (read-only file systems, access lists, the superuser).
pub(crate) fn check_writable(folder: &Path) -> Result<(), String> {
    tempfile::tempfile_in(folder).map(drop).map_err(|cause| {
        format!(
            "cannot write to the directory {}: {cause}; choose another path or fix its permissions",
            folder.display()
        )
    })
}
