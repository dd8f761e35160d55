//! The host code that reads sources: async tasks and reading threads that put chunks into an inbox.

pub mod arrow_stream;
pub mod bodies;
pub mod budget;
pub mod outage;
pub mod parquet;
pub mod polled;
pub mod framing;
pub mod json_text;
pub mod listening;
pub mod named;
pub mod registry;
pub mod replay;
pub mod table;

pub use framing::Framer;
use framing::Framing;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::{regular, threads};
use millstream_job::spec::{Origin, SourceKind, SourceSpec, SourceStart};
use millstream_job::table_source;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::decode::avro::schema::Schema;
use millstream_rows::decode::binary::row_bytes;
use millstream_rows::decode::csv;
use millstream_rows::decode::protobuf::Messages;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::{Format, WriterSchema};
use millstream_rows::inbox::Inbox;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Checks everything that can be checked before the job runs: files and directories exist and are readable, and numbers are in range. Errors are of
/// kind `Job`.
pub fn check(source: &SourceSpec, origin: &Origin) -> Result<()> {
    match &source.kind {
        SourceKind::Table(enrich) => {
            let to_error = |error: Error| error.within(table_source::error_prefix(source, origin));
            return table::check(enrich).map_err(to_error);
        }
        // The plugin has already checked its own config.
        SourceKind::Plugin(_) => return Ok(()),
        SourceKind::Declared(config) => config.check_start(source, origin)?,
    }
    if source.kind.declared().is_some_and(|config| config.makes_records()) {
        return Ok(());
    }
    check_columns(source, origin)?;
    check_schema(source, origin)?;
    let cut_by_length = match source.kind.bounds() {
        RecordBounds::Prefix | RecordBounds::Envelope | RecordBounds::Ends => false,
        // A body may be one record.
        RecordBounds::Body => row_bytes(&source.schema).is_some(),
        RecordBounds::Format | RecordBounds::File => true,
    };
    match &source.format {
        Format::Binary { record_bytes } if cut_by_length => check_record_bytes(source, *record_bytes, origin),
        _ => Ok(()),
    }
}

/// Starts the receiver of a source at the position that an earlier run has saved. It ends when the source is exhausted or the inbox is closed. Close
/// the inbox before shutting down the runtime, as a blocking task of the runtime reads directories. If a file no longer matches `from`, the inbox is
/// notified that the source failed.
///
/// # Errors Fails if the source cannot listen at its address. A port in use is retried for up to two seconds: a process of the job that has just
/// exited may hold it.
pub fn start(start: SourceStart<'_>) -> Result<()> {
    if let Some(config) = start.source.kind.declared() {
        return config.start(start);
    }
    let SourceStart { source, origin, inbox, runtime, from, job, .. } = start;
    match &source.kind {
        SourceKind::Table(enrich) => table::start(source, enrich, origin, inbox, runtime, from, job.servers),
        SourceKind::Plugin(_) | SourceKind::Declared(_) => {
            inbox.fail(Error::bug(format!("source `{}` is a plugin without a caller", source.name)));
        }
    }
    Ok(())
}

/// Reads a complete file in the format of this source into memory, for tables that a job loads at startup.
pub fn read_file(source: &SourceSpec, path: &Path) -> Result<Vec<Chunk>> {
    let mut framer = framer(source);
    let bytes = regular::read(path).map_err(|error| failed(source, path, &error))?;
    framer.buffer(bytes.len()).extend_from_slice(&bytes);
    framer.end();
    Ok(std::iter::from_fn(|| framer.next(true)).collect())
}

/// Returns the error for a file that cannot be read while the job runs.
pub fn failed(source: &SourceSpec, path: &Path, error: &std::io::Error) -> Error {
    if let Some(reported) = error.get_ref().and_then(|why| why.downcast_ref::<Error>()) {
        return reported.clone();
    }
    let message = format!("source `{}`: cannot read `{}`: {}", source.name, path.display(), plain(error));
    // Restarting does not help if the file is unsupported.
    match error.kind() {
        std::io::ErrorKind::Unsupported => Error::job(message),
        _ => Error::environment(message),
    }
}

/// Returns whether a `directory` source that reads `dir` reads `file`.
pub fn reads(source: &SourceSpec, dir: &Path, file: &Path) -> bool {
    let takes = |name| source.kind.declared().is_some_and(|config| config.accepts_file(name));
    file.strip_prefix(dir).is_ok_and(takes)
}

/// Returns the name of a source's receiver for messages.
pub(crate) fn receiver_name(source: &SourceSpec) -> String {
    format!("the receiver of source `{}`", source.name)
}

/// Runs the async receiver of a source. Closing the inbox drops it at its next await point. A panic in it fails the source.
pub fn receive(start: &SourceStart<'_>, receive: impl Future<Output = ()> + Send + 'static) {
    run_until_closed(start.inbox.clone(), start.runtime, &receiver_name(start.source), receive);
}

/// Runs the blocking receiver of a source on its own thread.
pub fn receive_on_thread(start: &SourceStart<'_>, receive: impl FnOnce(&Arc<Inbox>, &Handle) + Send + 'static) {
    on_thread(start.inbox.clone(), start.runtime, &receiver_name(start.source), receive);
}

/// Runs an async receiver until its inbox is closed; `name` is for messages.
pub fn run_until_closed(
    inbox: Arc<Inbox>,
    runtime: &Handle,
    name: &str,
    receive: impl Future<Output = ()> + Send + 'static,
) {
    let name = name.to_owned();
    let mut receiving = runtime.spawn(async move {
        fault::thread("receiver");
        receive.await;
    });
    runtime.spawn(async move {
        tokio::select! {
            ended = &mut receiving => fail_on_panic(&inbox, &name, ended),
            () = inbox.closed() => receiving.abort(),
        }
    });
}

/// Runs a receiver on its own thread. Reading a file blocks in any runtime, and a runtime that shuts down must not wait for it. A panic in the
/// receiver fails the source.
pub fn on_thread(
    inbox: Arc<Inbox>,
    runtime: &Handle,
    name: &str,
    receive: impl FnOnce(&Arc<Inbox>, &Handle) + Send + 'static,
) {
    let (reading, failing, runtime) = (inbox.clone(), inbox.clone(), runtime.clone());
    let work = move || receive(&reading, &runtime);
    if let Err(error) = threads::start("receiver", name, move |error| failing.fail(error), work) {
        inbox.fail(error);
    }
}

/// Returns a framer for a new file or connection of this source.
pub fn framer(source: &SourceSpec) -> Framer {
    let frames = source.kind.bounds() == RecordBounds::Prefix;
    let (framing, header) = match source.format {
        Format::Csv { header, separator } => (Framing::Csv { separator }, header),
        Format::Binary { record_bytes } => {
            let bytes = record_bytes.or_else(|| row_bytes(&source.schema)).unwrap_or(1);
            (Framing::Fixed(bytes as usize), false)
        }
        Format::Text | Format::Json | Format::Parquet => (Framing::Lines, false),
        Format::Avro(WriterSchema::InFile) => (Framing::Blocks, false),
        Format::Protobuf(_) => (Framing::Varint, false),
        // These are length-prefixed frames in every kind of source.
        Format::Avro(_) => (Framing::Frames, false),
    };
    Framer::new(if frames { Framing::Frames } else { framing }, header, source.record_bytes_max)
        .keep_rejected(source.rejected_bytes_max)
}

/// Rejects a header that lacks a column of the source if no record follows it, as nothing else would report it. Call it after the framer has ended.
pub fn reject_unfit_header(source: &SourceSpec, framer: &mut Framer) {
    if let Format::Csv { header: true, separator } = source.format {
        framer.reject_header_unless(|header| csv::header_fits(&source.schema, separator, header));
    }
}

/// Builds an error about one key of a source in the job file.
pub fn wrong(source: &SourceSpec, origin: &Origin, key: &str, what: impl std::fmt::Display) -> Error {
    let location = origin.at(&format!("sources.{}.{key}", source.name));
    Error::job(format!("{location}source `{}`: {key} {what}", source.name))
}

pub fn check_path(source: &SourceSpec, path: &Path, dir_wanted: bool, origin: &Origin) -> Result<()> {
    let shown = path.display();
    let (wanted, not_wanted) = if dir_wanted { ("directory", "file") } else { ("file", "directory") };
    let metadata = std::fs::metadata(path).map_err(|error| {
        let hint = format!("relative paths start from `{}`", origin.dir.display());
        wrong(source, origin, "path", format!("`{shown}`: {}; {hint}", plain(&error)))
    })?;
    if metadata.is_dir() != dir_wanted {
        let hint = if dir_wanted {
            "use kind = \"file\" for a file"
        } else {
            "use kind = \"directory\" for a \
            directory"
        };
        return Err(wrong(source, origin, "path", format!("`{shown}` is a {not_wanted}, not a {wanted}; {hint}")));
    }
    let opened = if dir_wanted {
        std::fs::read_dir(path).map(drop)
    } else if metadata.is_file()
        || source.kind.is_batch_source()
        // Parquet is read from the end of the file, and a pipe has none.
        || source.format == Format::Parquet
    {
        regular::open(path).map(drop)
    } else {
        Ok(()) // Opening a pipe would wait for its writer.
    };
    opened.map_err(|error| wrong(source, origin, "path", format!("`{shown}` cannot be read: {}", plain(&error))))
}

/// Checks that the format can fill the columns.
fn check_columns(source: &SourceSpec, origin: &Origin) -> Result<()> {
    // Columns that come with a record's value do not depend on its format.
    let columns = source.value_columns().count();
    match source.format {
        Format::Text if columns > 1 => {
            Err(wrong(source, origin, "schema", format!("has {columns} columns; a row of format text has one")))
        }
        Format::Binary { .. } if columns != 1 && row_bytes(&source.schema).is_none() => {
            let what = "must be bool, int64, float64 and timestamp columns only, or one text or binary column, if \
                        the format is binary";
            Err(wrong(source, origin, "schema", what))
        }
        _ => Ok(()),
    }
}

/// Checks that the job's schema of the records is valid and has the columns of the source.
fn check_schema(source: &SourceSpec, origin: &Origin) -> Result<()> {
    match &source.format {
        Format::Avro(WriterSchema::Given(schema)) => Schema::parse(&schema.content).map(drop).map_err(|why| {
            wrong(source, origin, "schema_file", format!("`{}` is not an Avro schema: {why}", schema.path.display()))
        }),
        Format::Protobuf(protobuf) => {
            let messages = Messages::parse(&protobuf.descriptor.content).map_err(|why| {
                let file = protobuf.descriptor.path.display();
                let help = "create it with `protoc --include_imports --descriptor_set_out=FILE`";
                wrong(source, origin, "descriptor", format!("`{file}` is not a Protobuf descriptor: {why}; {help}"))
            })?;
            match messages.errors(&protobuf.message, &source.schema).into_iter().next() {
                None => Ok(()),
                Some((key, why)) => Err(wrong(source, origin, &key, why)),
            }
        }
        _ => Ok(()),
    }
}

fn check_record_bytes(source: &SourceSpec, record_bytes: Option<u32>, origin: &Origin) -> Result<()> {
    match (record_bytes, row_bytes(&source.schema)) {
        (None, None) => Err(wrong(source, origin, "record_bytes", "is missing; it defines the end of a record")),
        (Some(0), _) => Err(wrong(source, origin, "record_bytes", "must be at least 1")),
        (Some(given), Some(needed)) if given != needed => Err(wrong(
            source,
            origin,
            "record_bytes",
            format!("is {given}, but the columns of schema take {needed} bytes"),
        )),
        _ => Ok(()),
    }
}

/// Fails the source if the task `name` panicked.
fn fail_on_panic(inbox: &Inbox, name: &str, ended: std::result::Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => inbox.fail(panicked(name, error)),
        _ => {}
    }
}

/// Returns what to do if a source cannot continue at its position in a checkpoint.
pub fn restart_hint(source: &str) -> String {
    format!("restart the job, with `--drop-state {source}` if it has a checkpoint,")
}

/// Returns the error for a panic in a task that read for a receiver.
pub fn panicked(name: &str, error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => threads::panicked(name, &*panic),
        Err(error) => Error::bug(format!("{name} ended: {error}")),
    }
}

pub const CONNECTION_REFUSED: &str = "connection refused";

/// Describes an I/O error without its OS error number.
pub fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::ConnectionRefused => CONNECTION_REFUSED.into(),
        _ => error.to_string(),
    }
}
