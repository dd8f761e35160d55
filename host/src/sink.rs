//! Where rows leave: a sink commits the rows of a batch together with the batch id.

mod cell;
mod encode;
mod files;
mod print;
mod queue;
#[cfg(test)]
mod tests;

pub use print::show_table;

use crate::error::{Error, Result};
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{Origin, SinkKind, SinkSpec};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// An open sink. One worker of the job owns it.
pub trait Sink: Send {
    /// Makes the rows of a batch visible, whole or not at all. Called once for every batch, in order, also where it
    /// has no rows; `rows` are its parts in order.
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()>;
}

/// Checks what can be checked before anything runs (that a folder can be written, that the schema suits the format).
/// Changes nothing outside.
pub fn check(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<()> {
    match &spec.kind {
        SinkKind::Print { .. } => Ok(()),
        SinkKind::Files { path, format } => {
            encode::check(*format, schema).map_err(|message| wrong(spec, origin, "format", message))?;
            files::check(&origin.folder.join(path)).map_err(|message| wrong(spec, origin, "path", message))
        }
        SinkKind::Queue { path } => {
            encode::json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
            queue::check(&origin.folder.join(path)).map_err(|message| wrong(spec, origin, "path", message))
        }
    }
}

/// Opens a sink for rows of this schema. Opening makes the folder of a `files` sink and empties the file of a `queue`
/// sink, so it belongs to the start of a job, after [`check`].
pub fn open(spec: &SinkSpec, schema: SchemaRef, origin: &Origin) -> Result<Box<dyn Sink>> {
    Ok(match &spec.kind {
        SinkKind::Print { rows } => Box::new(print::PrintSink::new(&spec.name, *rows, schema, Box::new(io::stdout()))),
        SinkKind::Files { path, format } => {
            Box::new(files::FilesSink::open(&spec.name, &origin.folder.join(path), *format, schema)?)
        }
        SinkKind::Queue { path } => Box::new(queue::QueueSink::open(&spec.name, &origin.folder.join(path))?),
    })
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
