//! Where rows leave: a sink commits the rows of a batch together with the batch id.

mod binary;
pub mod commit_retry;
pub(crate) mod encode;
pub(crate) mod encoder;
mod files;
mod marker;
pub mod plugin;
mod queue;
#[cfg(feature = "brokers")]
pub mod server;
pub mod shares;
pub(crate) mod waiting;
#[cfg(test)]
mod tests;

pub use encode::{check as check_format, head, lines};
pub use encoder::Encoder;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::sink::Sink;
use millstream_base::batch::{cell, json};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::SinkStart;
use millstream_base::job::spec::{FileFormat, Origin, PartsBy, SinkKind, SinkSpec, bucket_url};
use millstream_base::owner::Owner;
use millstream_base::patience::ServerWait;
use millstream_base::patience::io_failed;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

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
    let schema = &binary::written(spec, schema);
    match &spec.kind {
        // What a plugin says of its config was heard when the job was loaded.
        SinkKind::Plugin(_) => Ok(()),
        SinkKind::Files { .. } => {
            let checked = files::check(&written_by(spec, schema.clone(), origin)?, owner_id);
            checked.map_err(|(key, message)| wrong(spec, origin, key, message))
        }
        SinkKind::Queue { path } => {
            json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
            queue::check(&origin.folder.join(path), keeps_checkpoints, owner_id)
                .map_err(|message| wrong(spec, origin, "path", message))
        }
        SinkKind::Declared(config) => {
            config.check_start(SinkStart { spec, origin, servers, job_id: owner_id }, schema, keeps_checkpoints)
        }
    }
}

/// Opens a sink for rows of this schema. Opening makes the folder of a `files` sink, the file of a `queue` sink, the
/// table of a `postgres` sink and the topic of a `kafka` sink, so it belongs to the start of a job, after [`check`]. `owner`: who commits, where the job
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
    let name = &spec.name;
    let start = SinkStart { spec, origin, servers, job_id: None };
    let (given, schema) = (schema.clone(), binary::written(spec, &schema));
    Ok(binary::encoding(
        spec,
        given,
        match &spec.kind {
            SinkKind::Files { .. } => files::open(written_by(spec, schema, origin)?, None, owner, failure)?,
            SinkKind::Queue { path } => {
                Box::new(queue::QueueSink::open(name, &origin.folder.join(path), owner, failure)?)
            }
            SinkKind::Plugin(_) => return Err(no_writer(spec)),
            SinkKind::Declared(config) => config.open(start, &schema, owner, failure)?,
        },
    ))
}

/// Opens what one worker has of a sink that each worker commits to ([`SinkKind::by_worker`]), after [`open`] on process 0 has taken
/// over all of it.
pub fn open_share(
    spec: &SinkSpec,
    schema: SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    worker: usize,
    failure: &Failure,
    servers: ServerWait,
) -> Result<Box<dyn Sink>> {
    let (given, schema) = (schema.clone(), binary::written(spec, &schema));
    let sink = match &spec.kind {
        SinkKind::Declared(config) => {
            let start = SinkStart { spec, origin, servers, job_id: None };
            config.open_share(start, worker, &schema, owner, failure)?
        }
        _ => files::open(written_by(spec, schema, origin)?, Some(worker), owner, failure)?,
    };
    Ok(binary::encoding(spec, given, sink))
}

/// Who opens a sink that is a plugin, or asks it, knows who writes, and does it by [`plugin`].
fn no_writer(spec: &SinkSpec) -> Error {
    Error::bug(format!("sink `{}` is a plugin, and nobody has said who writes", spec.name))
}

/// How a `files` sink writes.
fn written_by(spec: &SinkSpec, schema: SchemaRef, origin: &Origin) -> Result<files::FileSettings> {
    let SinkKind::Files { path, format, layout, .. } = &spec.kind else {
        return Err(Error::bug(format!("sink `{}` writes no files", spec.name)));
    };
    let (name, path) = (spec.name.clone(), place_of(path, origin));
    Ok(files::FileSettings { name, path, format: *format, schema, layout: layout.clone() })
}

/// A path of the job file from its folder on; the URL of a bucket is as it is.
fn place_of(path: &Path, origin: &Origin) -> PathBuf {
    if bucket_url(path).is_some() { path.to_owned() } else { origin.folder.join(path) }
}

/// The last batch that a sink's medium holds for this job, as [`Sink::committed`] will say once it is open. Changes
/// nothing outside. An error where the medium cannot be read or belongs to another job.
pub fn committed(spec: &SinkSpec, origin: &Origin, job_id: &str, servers: ServerWait) -> Result<Option<BatchId>> {
    match &spec.kind {
        SinkKind::Files { path, layout, .. } => files::committed(&place_of(path, origin), layout, job_id)
            .map_err(|message| wrong(spec, origin, "path", message)),
        SinkKind::Queue { path } => {
            queue::committed(&origin.folder.join(path), job_id).map_err(|message| wrong(spec, origin, "path", message))
        }
        SinkKind::Plugin(_) => Err(no_writer(spec)),
        SinkKind::Declared(config) => {
            config.committed(SinkStart { spec, origin, servers, job_id: Some(job_id) }, job_id)
        }
    }
}

/// The bytes that a sink's medium holds of a batch; `None`: it cannot be told, or they were moved away.
pub fn written(spec: &SinkSpec, origin: &Origin, batch: BatchId) -> Result<Option<Vec<u8>>> {
    let (path, found) = match &spec.kind {
        SinkKind::Declared(config) => {
            let start = SinkStart { spec, origin, servers: ServerWait::No, job_id: None };
            return config.written(start, batch);
        }
        SinkKind::Plugin(_) => return Ok(None),
        // Of several parts it is not known which are there.
        SinkKind::Files { parts: PartsBy::Worker, .. } => return Ok(None),
        SinkKind::Files { path, format, layout, .. } => {
            let own_file_a_batch = layout.partition_by.is_empty() && layout.roll.is_none() && !layout.delta;
            if bucket_url(path).is_some() || !own_file_a_batch {
                return Ok(None);
            }
            (path, files::written(&origin.folder.join(path), batch, *format))
        }
        SinkKind::Queue { path } => (path, queue::written(&origin.folder.join(path), batch)),
    };
    found.map_err(|cause| open_failed(&spec.name, "read", &origin.folder.join(path), &cause))
}

/// The name of a file as a `files` sink writes them.
pub fn name_of_part(format: FileFormat) -> String {
    format!("part-0000000001.{}", encode::extension(format))
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
    let schema = &binary::written(spec, schema);
    let rendered = match &spec.kind {
        SinkKind::Declared(config) => config.render(&spec.name, schema, (batch, time), rows),
        SinkKind::Files { format, .. } => files::render(*format, schema, rows),
        SinkKind::Queue { .. } => queue::render(batch, time, rows),
        SinkKind::Plugin(_) => files::render(FileFormat::Json, schema, rows),
    };
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
        "sink `{sink}`: batch {batch}: cannot write {what}: {cause}; mend the cause and start the job again"
    ))
}

/// Rows that a sink cannot hold, however often that is tried: the job ends.
pub(crate) fn rows_refused(sink: &str, batch: BatchId, what: impl Display, cause: impl Display) -> Error {
    Error::plugin(format!("sink `{sink}`: batch {batch}: cannot write {what}: {cause}"))
}

/// A failure while a sink is opened.
fn open_failed(sink: &str, what: &str, path: &Path, cause: &io::Error) -> Error {
    Error::from(io_failed(format!("{what} {}", path.display()), cause)).within(format!("sink `{sink}`"))
}

/// Whether new files can be made in a folder: tried with a file that has no name and is gone at once, because
/// permission bits do not tell (read-only file systems, access lists, the superuser).
fn check_writable(folder: &Path) -> Result<(), String> {
    tempfile::tempfile_in(folder).map(drop).map_err(|cause| {
        format!("cannot write in the folder {}: {cause}; choose another path or mend its permissions", folder.display())
    })
}
