//! The settings of one source or sink, defined by its connector: what they say about its rows, how they are checked, and how it is opened. The job
//! language knows nothing else about a connector.

use super::{
    ChangesKey, Origin, Replay, RereadClient, SinkChanges, SinkSpec, SourceSpec, SourceStart, TableMode, TlsSpec,
};
use crate::part_errors::PartErrors;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::limits;
use millstream_base::owner::Owner;
use millstream_base::regular;
use millstream_base::retry::StartupRetry;
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::column::{ColumnSource, ColumnSpec};
use millstream_rows::batch::json;
use millstream_rows::batch::position::Position;
use millstream_rows::batch::sink::{EncodeRows, Sink};
use millstream_rows::decode::spec::{MakeRows, RecordBounds};
use millstream_rows::formats::Format;
use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the settings of all connectors can do.
pub trait Config: Any + fmt::Debug + Send + Sync {
    /// Returns whether both are equal.
    fn same(&self, other: &dyn Any) -> bool;
}

impl<T: Any + fmt::Debug + Send + Sync + PartialEq> Config for T {
    fn same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>() == Some(self)
    }
}

/// The settings of one source. Debug output must not contain passwords: see [`Url`].
pub trait SourceConfig: Config {
    /// Returns the name of its kind in a job file.
    fn kind(&self) -> &'static str;

    /// Adds errors of the settings, each of which could be read.
    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        let _ = (source, part);
    }

    /// Returns the delivery guarantee for `millstream validate`, if that depends on the server.
    fn promise(&self) -> Option<&'static str> {
        None
    }

    /// Returns how its records are delimited.
    fn bounds(&self) -> RecordBounds {
        RecordBounds::Format
    }

    /// Returns the default format of its records.
    fn format(&self) -> Format {
        if self.are_fields() { Format::Json } else { Format::Text }
    }

    /// Returns whether a record of JSON may be an array of the values of a row, or a row's only value.
    fn accepts_values(&self) -> bool {
        false
    }

    /// Returns whether it defines the batches, so that virtual time can follow them.
    fn is_batch_source(&self) -> bool {
        false
    }

    /// Returns the local files or the bucket that it reads.
    fn input(&self) -> Option<InputPath<'_>> {
        None
    }

    /// Returns whether it reads a file with this path within the directory or bucket of [`SourceConfig::input`].
    fn accepts_file(&self, name: &Path) -> bool {
        let _ = name;
        false
    }

    /// Returns the path of a local file by its name in positions and extents, at a position in it; `None`: there is no such file. Paths are relative
    /// to `dir`.
    fn local_file(&self, dir: &Path, name: &str, position: Position) -> Option<PathBuf> {
        let _ = (name, position);
        match self.input()? {
            InputPath::File(path) => Some(dir.join(path)),
            _ => None,
        }
    }

    /// Returns whether a local file still has this many bytes, decompressed if it is compressed.
    fn has_bytes(&self, source: &SourceSpec, path: &Path, bytes: u64) -> io::Result<bool> {
        let _ = source;
        Ok(regular::open(path)?.metadata()?.len() >= bytes)
    }

    /// Returns the position at the end of a file whose batches are replayed, if the file was restored for that: it is not new then.
    fn restored(&self, dir: &Path, name: &str, end: Position) -> Position {
        let _ = (dir, name);
        end
    }

    /// Returns whether its positions are those of files of a directory, which may have any name.
    fn names_files(&self) -> bool {
        false
    }

    /// Returns whether the first record of CSV names the columns by default.
    fn has_header(&self) -> bool {
        false
    }

    /// Returns the directory of retried rows, if it reads those of a stage. The graph adds such a source: it is not in the job file.
    fn retry_dir(&self) -> Option<&Path> {
        None
    }

    /// Returns the exact columns of its rows, if the graph sets them instead of the job file. Its records are JSON of our own.
    fn row_schema(&self) -> Option<&SchemaRef> {
        None
    }

    /// Returns the settings with these columns, see [`SourceConfig::row_schema`].
    fn with_row_schema(&self, schema: &SchemaRef) -> Option<Arc<dyn SourceConfig>> {
        let _ = schema;
        None
    }

    /// Returns whether it generates its records, so that their format and columns are fixed.
    fn makes_records(&self) -> bool {
        false
    }

    /// Returns the columns of a source if the job names none and the format does not define them.
    fn columns(&self) -> Option<Vec<ColumnSpec>> {
        None
    }

    /// Adds errors of format and columns. `false`: no other checks of these are useful.
    fn check_format(&self, source: &SourceSpec, part: &PartErrors<'_>) -> bool {
        let _ = (source, part);
        true
    }

    /// Returns why it does not support formats that are not lines (Avro and Protobuf), and what to do.
    fn no_frames(&self, format: &Format) -> Option<&'static str> {
        let _ = format;
        None
    }

    /// Returns whether its settings include the TLS of its server, instead of [`SourceSpec::tls`].
    fn reads_tls(&self) -> bool {
        false
    }

    /// Returns the default maximum size of a record.
    fn record_bytes_max(&self) -> u64 {
        limits::RECORD_BYTES_MAX
    }

    /// Returns the decoder of a chunk's records, if they have no format.
    fn rows(&self) -> Option<MakeRows> {
        None
    }

    /// Returns whether there may be several partitions, each with its own position and clock.
    fn has_partitions(&self) -> bool {
        false
    }

    /// Returns whether its server reports the ends of its partitions, so that plans say which are read to their ends. More may always be
    /// added to such a source, so it does not end.
    fn can_report_ends(&self) -> bool {
        false
    }

    /// Returns whether other processes of a job can read a part of these, or receive a part of the senders.
    fn is_spread(&self) -> bool {
        self.has_partitions()
    }

    /// Returns whether this metadata comes with each message.
    fn provides(&self, part: &ColumnSource) -> bool {
        let _ = part;
        false
    }

    /// Returns whether a message consists of named fields instead of bytes in a format.
    fn are_fields(&self) -> bool {
        false
    }

    /// Returns whether binary values in its records are hexadecimal digits.
    fn writes_hex(&self) -> bool {
        false
    }

    /// Returns whether its rows are changes of a table: insertions, updates and deletions.
    fn are_changes(&self) -> bool {
        false
    }

    /// Returns the settings for rows that are kept by this key, for a source whose rows are changes; `None` if they do not change.
    fn keeping(&self, key: &ChangesKey) -> Option<Arc<dyn SourceConfig>> {
        let _ = key;
        None
    }

    /// Returns the settings with this client name, if a server keeps something by that name and the job file sets none.
    fn named(&self, name: &str) -> Option<Arc<dyn SourceConfig>> {
        let _ = name;
        None
    }

    /// Returns the settings for a reader of only the first rows, if a server keeps something for the job.
    fn sampled(&self) -> Option<Arc<dyn SourceConfig>> {
        None
    }

    /// Returns the identity of its positions in a checkpoint: another source of this name with the same identity resumes from them. By default
    /// positions name their partitions, and servers may move. `written` returns a key's text in the job file with unexpanded variables, as their
    /// values are not stored.
    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        let _ = written;
        self.kind().to_owned()
    }

    /// Returns whether plans keep its rows, as they cannot be read again.
    fn keeps_rows(&self) -> bool {
        true
    }

    /// Recreates the planned chunks of a batch that the plan does not hold, all of them together. `None`: [`SourceConfig::replay`] recreates
    /// them one by one.
    fn reread(
        &self,
        source: &SourceSpec,
        origin: &Origin,
        planned: &[PlannedChunk],
        again: &mut RereadClient,
    ) -> Option<Result<Vec<Chunk>>> {
        let _ = (source, origin, planned, again);
        None
    }

    /// Returns what recreates planned chunks of a batch, if plans do not keep them. `moved`: the positions that the batch moved.
    fn replay<'a>(
        &'a self,
        source: &'a SourceSpec,
        origin: &'a Origin,
        moved: &'a [(String, Position)],
    ) -> Option<Box<dyn Replay + 'a>> {
        let _ = (source, origin, moved);
        None
    }

    /// Checks what can be checked before anything runs.
    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        let _ = (source, origin);
        Ok(())
    }

    /// Starts the receiver. It ends when the source is exhausted or the inbox is closed.
    ///
    /// # Errors
    /// It cannot start, for example if it cannot listen.
    fn start(&self, start: SourceStart<'_>) -> Result<()>;
}

/// The settings of one sink. Debug output must not contain passwords: see [`Url`].
pub trait SinkConfig: Config {
    /// Returns the name of its kind in a job file.
    fn kind(&self) -> &'static str;

    /// Adds errors of the settings, each of which could be read.
    fn check(&self, part: &PartErrors<'_>) {
        let _ = part;
    }

    /// Returns the delivery guarantees for `millstream validate`, one per line.
    fn promises(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns whether rows are written as text, with bytes in an `encoding`.
    fn is_text(&self) -> bool {
        true
    }

    /// Returns whether a column of bytes is written unchanged, whatever the `encoding`.
    fn keeps_bytes(&self, column: &str) -> bool {
        let _ = column;
        false
    }

    /// Returns how rows change the written table, if its rows may be replaced by key.
    fn table_mode(&self) -> Option<&TableMode> {
        None
    }

    /// Returns the columns by which a row replaces an older one; `None`: rows are appended.
    fn row_key(&self) -> Option<&[String]> {
        match self.table_mode()? {
            TableMode::Append => None,
            TableMode::Upsert { key, .. } => Some(key),
        }
    }

    /// Returns how it handles changes of a table.
    fn changes(&self) -> SinkChanges<'_> {
        self.table_mode().map_or(SinkChanges::Rows, TableMode::changes)
    }

    /// Returns whether the rows are stored somewhere.
    fn keeps_rows(&self) -> bool {
        true
    }

    /// Returns whether it only shows the first rows of a stream, and is not a sink of the job.
    fn is_sample(&self) -> bool {
        false
    }

    /// Returns whether each worker commits its own rows.
    fn by_worker(&self) -> bool {
        false
    }

    /// Returns whether its server skips rows by their index in what was sent, and cannot say which it has. Then all planned rows may exist, even in
    /// part, and other rows at these indexes would be skipped.
    fn passes_over_repeated_rows(&self) -> bool {
        false
    }

    /// Returns the file or directory that it writes, if nothing else in the job may read or write it.
    fn path(&self) -> Option<WrittenPath<'_>> {
        None
    }

    /// Returns the local file or directory with rows in a form that `millstream retry` can read.
    fn readable(&self) -> Option<&Path> {
        None
    }

    /// Returns the settings with this client name, if a server keeps something by that name and the job file sets none.
    fn named(&self, name: &str) -> Option<Arc<dyn SinkConfig>> {
        let _ = name;
        None
    }

    /// Returns the settings for replayed batches, sent like `now`: the rows do not depend on it.
    fn sent_as(&self, now: &dyn SinkConfig) -> Option<Arc<dyn SinkConfig>> {
        let _ = now;
        None
    }

    /// Checks the columns, and requests from the server what is needed for checks before anything runs. `keeps_checkpoints`: of the job. Changes
    /// nothing outside.
    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
        let _ = (start, schema, keeps_checkpoints);
        Ok(())
    }

    /// Waits until the server is reachable, so that a job and its server may start in any order, and nothing begins before all are available.
    /// Permanent errors are left to the next connection, which knows the position in the job file.
    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        let _ = start;
        Ok(())
    }

    /// Opens the sink for rows of this schema, and takes it over from earlier startups of the job, if it keeps track of them. Or opens a share of it,
    /// once it has been taken over. `failure` ends the wait for a server.
    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>>;

    /// Returns the last batch of the job with this ID that the server has; `None` if there is none, or it keeps no marker.
    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        let _ = (start, job_id);
        Ok(None)
    }

    /// Returns the bytes that it holds of a batch; `None` if that is unknown, or they were moved.
    fn written(&self, start: SinkStart<'_>, batch: BatchId) -> Result<Option<Vec<u8>>> {
        let _ = (start, batch);
        Ok(None)
    }

    /// Returns the bytes that a commit of these rows would write; if it writes none, one JSON object per row.
    fn render(
        &self,
        name: &str,
        schema: &SchemaRef,
        (batch, time): (BatchId, BatchTime),
        rows: &[RecordBatch],
    ) -> io::Result<Vec<u8>> {
        let _ = (name, schema, batch, time);
        let mut bytes = Vec::new();
        json::write(rows, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns the encoder of rows for the workers that have them, so that the committing worker only copies bytes. `None` if the sink needs the
    /// rows themselves, for example for a format that is not written row by row, or if the server decides the format.
    fn encoder(&self, start: SinkStart<'_>, schema: &SchemaRef) -> Result<Option<EncodeRows>> {
        let _ = (start, schema);
        Ok(None)
    }
}

/// What a source reads. Paths are as in the job file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputPath<'a> {
    /// A local file, to its end. It must exist.
    File(&'a Path),
    /// A local log that grows, with the rotated files next to it. Its directory must exist.
    Log(&'a Path),
    /// The files of a local directory, which must exist.
    Dir {
        /// The directory.
        path: &'a Path,
        /// Whether all of its files are read.
        all: bool,
    },
    /// The objects below a prefix of a bucket, by their URL.
    Bucket(&'a str),
}

/// Where a sink writes.
#[derive(Clone, Debug)]
pub struct WrittenPath<'a> {
    /// The file or directory as in the job file, or the URL of a bucket.
    pub path: &'a Path,
    /// For a directory: an example of a file in it, relative to the directory.
    pub part: Option<PathBuf>,
}

/// A sink of a job that starts.
#[derive(Clone, Copy)]
pub struct SinkStart<'a> {
    /// The sink.
    pub spec: &'a SinkSpec,
    /// The origin of the job.
    pub origin: &'a Origin,
    /// Whether to wait for its server if it is unreachable.
    pub servers: StartupRetry,
    /// The ID of the job, if it resumes from a checkpoint and its rows may exist already.
    pub job_id: Option<&'a str>,
    /// The owner that commits, if the job keeps checkpoints and the sink is opened.
    pub owner: Option<&'a Owner>,
    /// The worker whose share to open, if each worker commits; `None`: the complete sink.
    pub share: Option<usize>,
}

impl<'a> SinkStart<'a> {
    /// Opens all of a sink for a new job.
    pub fn new(spec: &'a SinkSpec, origin: &'a Origin, servers: StartupRetry) -> SinkStart<'a> {
        SinkStart { spec, origin, servers, job_id: None, owner: None, share: None }
    }
}

impl PartialEq for dyn SourceConfig {
    fn eq(&self, other: &dyn SourceConfig) -> bool {
        self.same(other)
    }
}

impl PartialEq for dyn SinkConfig {
    fn eq(&self, other: &dyn SinkConfig) -> bool {
        self.same(other)
    }
}

/// The URL of a server, which may contain a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Url(pub String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl std::ops::Deref for Url {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The server of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkServer {
    /// Its address, and the credentials.
    pub url: Url,
    /// Its TLS settings; `None`: its certificate is verified with the system trust store.
    pub tls: Option<TlsSpec>,
    /// How long the job waits while it is unreachable, at startup and later.
    pub wait: Duration,
}

impl SinkServer {
    /// Creates it with the default wait.
    pub fn new(url: impl Into<String>) -> SinkServer {
        SinkServer { url: Url(url.into()), tls: None, wait: Duration::from_millis(limits::SERVER_WAIT_MS) }
    }
}

/// A kind of database whose queries are tables of stages with `enrich`.
pub struct TableDeclaration {
    /// The schemes of its URLs.
    pub schemes: &'static [&'static str],
    /// Checks a URL, whatever the environment sets for its placeholders.
    pub check: fn(&str) -> std::result::Result<(), String>,
    /// Checks a URL with the environment's values.
    pub check_start: fn(&str) -> std::result::Result<(), String>,
    /// Fetches all rows of a query as an Arrow IPC stream. Rows without an order must always come in the same one.
    pub fetch: fn(TableQuery<'_>) -> Result<Bytes>,
}

/// A query for a table.
#[derive(Clone, Copy)]
pub struct TableQuery<'a> {
    /// The database.
    pub url: &'a str,
    /// The query.
    pub query: &'a str,
    /// The origin of the job.
    pub origin: &'a Origin,
    /// The name of the caller, for messages.
    pub who: &'a str,
    /// How long to wait for an unreachable database.
    pub wait: Duration,
    /// Whether to wait.
    pub servers: StartupRetry,
}

/// The kind of database of one table.
#[derive(Clone, Copy)]
pub struct TableKind(pub &'static TableDeclaration);

impl fmt::Debug for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.schemes)
    }
}

impl PartialEq for TableKind {
    fn eq(&self, other: &TableKind) -> bool {
        self.0.schemes == other.0.schemes
    }
}
