//! The host code that reads sources: async tasks and reading threads that put chunks into an inbox.

pub mod arrow_stream;
pub(crate) mod bodies;
pub(crate) mod budget;
mod compressed;
mod content;
pub mod outage;
pub(crate) mod parquet;
pub mod polled;
mod directory;
mod file_facts;
pub(crate) mod file;
pub mod follow;
pub(crate) mod framing;
pub mod infer;
pub(crate) mod json_text;
pub(crate) mod listening;
pub(crate) mod named;
#[cfg_attr(not(feature = "objects"), path = "receiver/object/absent.rs")]
mod object;
pub mod registry;
pub mod replay;
pub mod table;

pub use framing::Framer;
use framing::Framing;
use millstream_base::batch::chunk::Chunk;
use millstream_base::decode::avro::schema::Schema;
use millstream_base::decode::binary::row_bytes;
use millstream_base::decode::csv;
use millstream_base::decode::protobuf::Messages;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{Format, Origin, RecordBounds, SourceKind, SourceSpec, SourceStart, WriterSchema};
use millstream_base::job::{retry_source, table_source};
use millstream_base::{regular, threads};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Checks what can be checked before anything runs: that files and folders exist and can be read, and that numbers
/// make sense. Errors are of kind `Job`.
pub fn check(source: &SourceSpec, origin: &Origin) -> Result<()> {
    match &source.kind {
        SourceKind::Directory { path, .. } => check_path(source, &origin.folder.join(path), true, origin)?,
        // Whether it is there is asked by who reads it, and waits for its server.
        SourceKind::Objects { .. } => drop(
            object::bucket_of(source)
                .map_err(|error| wrong(source, origin, "path", format!("cannot be used: {error}")))?,
        ),
        SourceKind::File { path } => {
            check_path(source, &origin.folder.join(path), false, origin)?;
        }
        SourceKind::Follow { path, .. } if compressed::is_named_so(path) => {
            let what = format!(
                "`{}` is the name of a compressed file, and a growing log is not compressed; remove `follow`, or follow the log itself",
                path.display()
            );
            return Err(wrong(source, origin, "path", what));
        }
        SourceKind::Follow { path, .. } => check_followed(source, &origin.folder.join(path), origin)?,
        SourceKind::Table(enrich) => {
            let told = |error: Error| error.within(table_source::place(source, origin));
            return table::check(enrich).map_err(told);
        }
        // What is given back later is looked at then.
        SourceKind::Retry { .. } => return Ok(()),
        // Its plugin has said what is wrong with its config.
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
        RecordBounds::Body => row_bytes(source).is_some(),
        RecordBounds::Format | RecordBounds::File => true,
    };
    match &source.format {
        Format::Binary { record_bytes } if cut_by_length => check_record_bytes(source, *record_bytes, origin),
        _ => Ok(()),
    }
}

/// Starts the receiver of a source, where an earlier start has left off. It ends when the source is
/// exhausted or the inbox is closed, which should come before the runtime is shut down: a folder is read by a blocking
/// task of it. Where a file is no longer what `from` tells of, the inbox is told that the source failed.
///
/// # Errors
/// The source cannot listen at its address. It waits up to two seconds for a port that is in use, as a process of the job that has just
/// ended may hold it.
pub fn start(start: SourceStart<'_>) -> Result<()> {
    if let Some(config) = start.source.kind.declared() {
        return config.start(start);
    }
    let SourceStart { source, origin, runtime, from, share, job, .. } = start;
    let (source, from, inbox, name) = (source.clone(), from.clone(), start.inbox.clone(), receiver_name(source));
    match source.kind.clone() {
        SourceKind::Directory { path, poll, settle, spread: true } => {
            let folder = (source, origin.folder.join(path), WatchTimes { poll, settle });
            directory::spread::start(folder, &from, inbox, runtime, (share, job.processes));
        }
        SourceKind::Objects { url, poll, spread: true } => {
            let folder = (source, url.into(), WatchTimes { poll, settle: Duration::ZERO });
            directory::spread::start(folder, &from, inbox, runtime, (share, job.processes));
        }
        SourceKind::Directory { path, poll, settle, .. } => {
            let (folder, times, reading) = (origin.folder.join(path), WatchTimes { poll, settle }, inbox.clone());
            let receiving = async move { directory::receive(source, folder, times, from, reading).await };
            receive(&start, receiving);
        }
        SourceKind::Objects { url, poll, .. } => {
            let (times, reading) = (WatchTimes { poll, settle: Duration::ZERO }, inbox.clone());
            let receiving = async move { directory::receive(source, url.into(), times, from, reading).await };
            receive(&start, receiving);
        }
        SourceKind::Retry { path, .. } => {
            // What is given back is moved into the folder when it is whole.
            let times = WatchTimes { poll: retry_source::POLL, settle: Duration::ZERO };
            let (folder, reading) = (origin.folder.join(path), inbox.clone());
            let receiving = async move { directory::receive(source, folder, times, from, reading).await };
            receive(&start, receiving);
        }
        SourceKind::File { path } => {
            let path = origin.folder.join(path);
            on_thread(inbox, runtime, &name, move |inbox, runtime| {
                file::receive(&source, &path, &from, inbox, runtime);
            });
        }
        SourceKind::Follow { path, poll, settle } => {
            let (path, times) = (origin.folder.join(path), WatchTimes { poll, settle });
            on_thread(inbox, runtime, &name, move |inbox, runtime| {
                follow::receive(&source, &path, times, &from, inbox, runtime);
            });
        }
        SourceKind::Table(enrich) => table::start(&source, &enrich, origin, inbox, runtime, &from, job.servers),
        SourceKind::Plugin(_) | SourceKind::Declared(_) => {
            inbox.fail(Error::bug(format!("source `{}` is a plugin without a caller", source.name)));
        }
    }
    Ok(())
}

/// Reads a whole file by the format of this source, for tables that a job is given at its start.
pub fn read_file(source: &SourceSpec, path: &Path) -> Result<Vec<Chunk>> {
    file::read_whole(source, path)
}

/// Whether a `directory` source that reads this folder would read a file there.
pub fn reads(source: &SourceSpec, folder: &Path, file: &Path) -> bool {
    file.strip_prefix(folder).is_ok_and(|name| directory::takes(&source.files, name))
}

/// How a file or folder is watched.
#[derive(Clone, Copy)]
pub struct WatchTimes {
    /// How often to look; less often where a folder is so large that this would take much of the time.
    pub poll: Duration,
    /// For how long a file must have stood still.
    pub settle: Duration,
}

/// What the receiver of a source is called.
pub(crate) fn receiver_name(source: &SourceSpec) -> String {
    format!("the receiver of source `{}`", source.name)
}

/// Runs the async receiver of a source and drops it wherever it waits when the inbox is closed. A panic in it fails the source.
pub(crate) fn receive(start: &SourceStart<'_>, receive: impl Future<Output = ()> + Send + 'static) {
    until_closed(start.inbox.clone(), start.runtime, &receiver_name(start.source), receive);
}

/// Runs the receiver of a source that blocks on a thread of its own.
pub(crate) fn receive_on_thread(start: &SourceStart<'_>, receive: impl FnOnce(&Arc<Inbox>, &Handle) + Send + 'static) {
    on_thread(start.inbox.clone(), start.runtime, &receiver_name(start.source), receive);
}

/// Runs an async receiver of this name.
fn until_closed(inbox: Arc<Inbox>, runtime: &Handle, name: &str, receive: impl Future<Output = ()> + Send + 'static) {
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

/// Runs a receiver that reads files to their end on a thread of its own: reading a file blocks, whatever the runtime,
/// and a runtime that shuts down must not wait for it. A panic in it fails the source.
fn on_thread(
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

/// A framer for a new file or connection of this source.
pub fn framer(source: &SourceSpec) -> Framer {
    let frames = source.kind.bounds() == RecordBounds::Prefix;
    let (framing, header) = match source.format {
        Format::Csv { header, separator } => (Framing::Csv { separator }, header),
        Format::Binary { record_bytes } => {
            let bytes = record_bytes.map(|bytes| bytes as usize).or_else(|| row_bytes(source)).unwrap_or(1);
            (Framing::Fixed(bytes), false)
        }
        Format::Text | Format::Json | Format::Parquet => (Framing::Lines, false),
        Format::Avro(WriterSchema::InFile) => (Framing::Blocks, false),
        Format::Protobuf(_) => (Framing::Varint, false),
        // These are frames wherever they come from.
        Format::Avro(_) => (Framing::Frames, false),
    };
    Framer::new(if frames { Framing::Frames } else { framing }, header, source.record_bytes_max)
        .keeping(source.rejected_bytes_max)
}

/// A header that lacks a column of the source, with no record after it, becomes a rejected row: nothing else would report it. The
/// framer has ended.
pub(crate) fn reject_unfit_header(source: &SourceSpec, framer: &mut Framer) {
    if let Format::Csv { header: true, separator } = source.format {
        framer.reject_header_unless(|header| csv::header_fits(source, separator, header));
    }
}

/// A mistake in the job file about one key of a source.
pub(crate) fn wrong(source: &SourceSpec, origin: &Origin, key: &str, what: impl std::fmt::Display) -> Error {
    let location = origin.at(&format!("sources.{}.{key}", source.name));
    Error::job(format!("{location}source `{}`: {key} {what}", source.name))
}

pub(crate) fn check_path(source: &SourceSpec, path: &Path, folder_wanted: bool, origin: &Origin) -> Result<()> {
    let shown = path.display();
    let (wanted, not_wanted) = if folder_wanted { ("folder", "file") } else { ("file", "folder") };
    let metadata = std::fs::metadata(path).map_err(|error| {
        let hint = format!("relative paths start from `{}`", origin.folder.display());
        wrong(source, origin, "path", format!("`{shown}`: {}; {hint}", plain(&error)))
    })?;
    if metadata.is_dir() != folder_wanted {
        let hint =
            if folder_wanted { "use kind = \"file\" for a file" } else { "use kind = \"directory\" for a folder" };
        return Err(wrong(source, origin, "path", format!("`{shown}` is a {not_wanted}, not a {wanted}; {hint}")));
    }
    let opened = if folder_wanted {
        std::fs::read_dir(path).map(drop)
    } else if metadata.is_file()
        || source.kind.gives_batches()
        // Read from its end, which a pipe does not have.
        || source.format == Format::Parquet
    {
        regular::open(path).map(drop)
    } else {
        Ok(()) // Opening a pipe would wait for its writer.
    };
    opened.map_err(|error| wrong(source, origin, "path", format!("`{shown}` cannot be read: {}", plain(&error))))
}

/// The log need not be there yet, but its folder must.
fn check_followed(source: &SourceSpec, path: &Path, origin: &Origin) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => Ok(()),
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            let what =
                format!("`{}` is not a regular file, which alone can be followed; remove `follow`", path.display());
            Err(wrong(source, origin, "path", what))
        }
        _ => check_path(source, path, false, origin),
    }
}

/// Whether the format can fill columns like these.
fn check_columns(source: &SourceSpec, origin: &Origin) -> Result<()> {
    // What comes with the value of a record is no matter of its format.
    let columns = source.value_columns().count();
    match source.format {
        Format::Text if columns > 1 => {
            Err(wrong(source, origin, "schema", format!("has {columns} columns; a row of format text has one")))
        }
        Format::Binary { .. } if columns != 1 && row_bytes(source).is_none() => {
            let what = "must be bool, int64, float64 and timestamp columns only, or one text or binary column, \
                        where the format is binary";
            Err(wrong(source, origin, "schema", what))
        }
        _ => Ok(()),
    }
}

/// Whether the schema that the job has of its records is one, and has what the columns want.
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
            match messages.mistakes(&protobuf.message, &source.schema).into_iter().next() {
                None => Ok(()),
                Some((key, why)) => Err(wrong(source, origin, &key, why)),
            }
        }
        _ => Ok(()),
    }
}

fn check_record_bytes(source: &SourceSpec, record_bytes: Option<u32>, origin: &Origin) -> Result<()> {
    match (record_bytes, row_bytes(source)) {
        (None, None) => Err(wrong(source, origin, "record_bytes", "is missing: nothing else says where a record ends")),
        (Some(0), _) => Err(wrong(source, origin, "record_bytes", "must be at least 1")),
        (Some(given), Some(needed)) if given as usize != needed => Err(wrong(
            source,
            origin,
            "record_bytes",
            format!("is {given}, but the columns of schema take {needed} bytes"),
        )),
        _ => Ok(()),
    }
}

/// What a task of this name has ended with. A panic in it fails the source.
fn fail_on_panic(inbox: &Inbox, name: &str, ended: std::result::Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => inbox.fail(panicked(name, error)),
        _ => {}
    }
}

/// The error of a task that read for a receiver.
pub(crate) fn panicked(name: &str, error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => threads::panicked(name, &*panic),
        Err(error) => Error::bug(format!("{name} ended: {error}")),
    }
}

pub(crate) const REFUSED: &str = "connection refused";

/// What an I/O error means, without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::ConnectionRefused => REFUSED.into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod position_tests;
#[cfg(test)]
mod tests;
