//! Where rows leave: a sink commits the rows of a batch together with the batch id.

mod encode;
mod files;
mod marker;
pub mod postgres;
mod print;
mod queue;
#[cfg(test)]
mod tests;

pub use print::show_table;

use crate::batch::{cell, json};
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{FileFormat, Origin, SinkKind, SinkSpec};
use crate::owner::Owner;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// An open sink. One worker of the job owns it.
pub trait Sink: Send {
    /// Makes the rows of a batch visible, whole or not at all. Called once for every batch that comes after the
    /// [committed](Sink::committed) one, in order, also where it has no rows; `rows` are its parts in order.
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()>;

    /// The last batch that the sink's medium is known to hold, as found when the sink was opened and moved by every
    /// commit; `None`: it holds none, or remembers nothing. Batches without rows may leave no trace, so it may be less
    /// after a crash than it was before.
    fn committed(&self) -> Option<BatchId>;
}

/// Checks what can be checked before anything runs (that a folder can be written, that the schema suits the format).
/// `keeps_checkpoints`: of the job; `owner_id`: its id, where it goes on from a checkpoint and its rows may be there
/// already. Changes nothing outside.
pub fn check(
    spec: &SinkSpec,
    schema: &SchemaRef,
    origin: &Origin,
    keeps_checkpoints: bool,
    owner_id: Option<&str>,
) -> Result<()> {
    match &spec.kind {
        SinkKind::Print { .. } | SinkKind::Sample { .. } => Ok(()),
        SinkKind::Files { path, format } => {
            encode::check(*format, schema).map_err(|message| wrong(spec, origin, "format", message))?;
            files::check(&origin.folder.join(path), owner_id).map_err(|message| wrong(spec, origin, "path", message))
        }
        SinkKind::Queue { path } => {
            json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
            queue::check(&origin.folder.join(path), keeps_checkpoints, owner_id)
                .map_err(|message| wrong(spec, origin, "path", message))
        }
        SinkKind::Postgres { .. } => postgres::check(spec, schema, origin),
    }
}

/// Opens a sink for rows of this schema. Opening makes the folder of a `files` sink, the file of a `queue` sink and the
/// table of a `postgres` sink, so it belongs to the start of a job, after [`check`]. `owner`: who commits, where the job
/// keeps checkpoints; the sink then takes its medium over from earlier starts of the job. `failure` ends the waiting for
/// a full disk or a server that is away.
pub fn open(
    spec: &SinkSpec,
    schema: SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let name = &spec.name;
    Ok(match &spec.kind {
        SinkKind::Print { rows } => {
            if owner.is_some() {
                tracing::info!("sink `{name}` prints at least once: after a crash it may show some batches again");
            }
            Box::new(print::PrintSink::new(name, *rows, schema, Box::new(io::stdout())))
        }
        SinkKind::Sample { rows } => {
            Box::new(print::PrintSink::new(name, *rows, schema, Box::new(io::stdout())).once())
        }
        SinkKind::Files { path, format } => {
            Box::new(files::FilesSink::open(name, &origin.folder.join(path), *format, schema, owner, failure)?)
        }
        SinkKind::Queue { path } => Box::new(queue::QueueSink::open(name, &origin.folder.join(path), owner, failure)?),
        SinkKind::Postgres { .. } => postgres::open(spec, schema, origin, owner, failure)?,
    })
}

/// The last batch that a sink's medium holds for this job, as [`Sink::committed`] will say once it is open. Changes
/// nothing outside. An error where the medium cannot be read or belongs to another job.
pub fn committed(spec: &SinkSpec, origin: &Origin, job_id: &str) -> Result<Option<BatchId>> {
    match &spec.kind {
        SinkKind::Print { .. } | SinkKind::Sample { .. } => Ok(None),
        SinkKind::Files { path, .. } => {
            files::committed(&origin.folder.join(path), job_id).map_err(|message| wrong(spec, origin, "path", message))
        }
        SinkKind::Queue { path } => {
            queue::committed(&origin.folder.join(path), job_id).map_err(|message| wrong(spec, origin, "path", message))
        }
        SinkKind::Postgres { .. } => postgres::committed(spec, origin, job_id),
    }
}

/// The bytes that a sink's medium holds of a batch; `None`: it cannot be told, or they were moved away.
pub fn written(spec: &SinkSpec, origin: &Origin, batch: BatchId) -> Result<Option<Vec<u8>>> {
    let (path, found) = match &spec.kind {
        SinkKind::Print { .. } | SinkKind::Sample { .. } | SinkKind::Postgres { .. } => return Ok(None),
        SinkKind::Files { path, format } => (path, files::written(&origin.folder.join(path), batch, *format)),
        SinkKind::Queue { path } => (path, queue::written(&origin.folder.join(path), batch)),
    };
    found.map_err(|cause| open_failed(&spec.name, "read", &origin.folder.join(path), &cause))
}

/// A batch time for people: `2026-11-20 08:30:01.123456`.
pub fn shown_time(time: BatchTime) -> String {
    let mut text = String::new();
    cell::write_batch_time(&mut text, time.0);
    text
}

/// The bytes that a commit of these rows would write; of a table: a JSON object a row.
pub fn render(
    spec: &SinkSpec,
    schema: &SchemaRef,
    batch: BatchId,
    time: BatchTime,
    rows: &[RecordBatch],
) -> Result<Vec<u8>> {
    let rendered = match &spec.kind {
        SinkKind::Print { rows: shown } | SinkKind::Sample { rows: shown } => {
            let sink = print::PrintSink::new(&spec.name, *shown, schema.clone(), Box::new(io::sink()));
            return sink.text(batch, time, rows).map(String::into_bytes);
        }
        SinkKind::Files { format, .. } => files::render(*format, schema, rows),
        SinkKind::Queue { .. } => queue::render(batch, time, rows),
        SinkKind::Postgres { .. } => files::render(FileFormat::Json, schema, rows),
    };
    rendered.map_err(|cause| Error::bug(format!("sink `{}`: batch {batch}: cannot show rows: {cause}", spec.name)))
}

/// A mistake of the job file at one key of a sink.
fn wrong(spec: &SinkSpec, origin: &Origin, key: &str, message: String) -> Error {
    let at = origin.at(&format!("sinks.{}.{key}", spec.name));
    Error::job(format!("{at}sink `{}`: {message}", spec.name))
}

/// A failure while a batch is committed.
fn commit_failed(sink: &str, batch: BatchId, what: impl Display, cause: impl Display) -> Error {
    Error::environment(format!(
        "sink `{sink}`: batch {batch}: cannot write {what}: {cause}; mend the cause and start the job again"
    ))
}

/// A failure while a sink is opened.
fn open_failed(sink: &str, what: &str, path: &Path, cause: &io::Error) -> Error {
    Error::environment(format!("sink `{sink}`: cannot {what} {}: {cause}", path.display()))
}

/// Whether new files can be made in a folder: tried with a file that has no name and is gone at once, because
/// permission bits do not tell (read-only file systems, access lists, the superuser).
fn check_writable(folder: &Path) -> Result<(), String> {
    tempfile::tempfile_in(folder).map(drop).map_err(|cause| {
        format!("cannot write in the folder {}: {cause}; choose another path or mend its permissions", folder.display())
    })
}
