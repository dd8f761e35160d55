//! The settings of one source or sink that a connector reads: what they say of its rows, how they are checked, and how it is opened. The
//! language of jobs knows no more of a connector.

use super::{
    ChangesKey, ColumnSource, ColumnSpec, Format, Origin, RecordBounds, Replay, RereadClient, SinkChanges, SinkSpec,
    SourceSpec, SourceStart, TableMode, TlsSpec,
};
use crate::batch::chunk::{Chunk, PlannedChunk};
use crate::batch::json;
use crate::batch::sink::{EncodeRows, Sink};
use crate::error::Result;
use crate::failure::Failure;
use crate::ids::{BatchId, BatchTime};
use crate::job::part_mistakes::PartMistakes;
use crate::limits;
use crate::owner::Owner;
use crate::patience::ServerWait;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the settings of all connectors can do.
pub trait Config: Any + fmt::Debug + Send + Sync {
    /// Whether these are equal to others.
    fn same(&self, other: &dyn Any) -> bool;
}

impl<T: Any + fmt::Debug + Send + Sync + PartialEq> Config for T {
    fn same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>() == Some(self)
    }
}

/// The settings of one source. Debug output must not hold passwords: see [`Url`].
pub trait SourceConfig: Config {
    /// The word for its kind in a job file.
    fn kind(&self) -> &'static str;

    /// Notes what is wrong with the settings, each of which could be read.
    fn check(&self, source: &SourceSpec, part: &PartMistakes<'_>) {
        let _ = (source, part);
    }

    /// Which rows come how often, for `millstream validate`, where that depends on the other side.
    fn promise(&self) -> Option<&'static str> {
        None
    }

    /// What tells its records from each other.
    fn bounds(&self) -> RecordBounds {
        RecordBounds::Format
    }

    /// The format of its records where the job file names none.
    fn format(&self) -> Format {
        if self.are_fields() { Format::Json } else { Format::Text }
    }

    /// Whether a record of JSON may be an array of the values of a row, or the only one of them.
    fn takes_values(&self) -> bool {
        false
    }

    /// Whether it says which rows are a batch, so that virtual time can go by them.
    fn gives_batches(&self) -> bool {
        false
    }

    /// The file that it reads to its end, which must be there.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Whether it makes its records by itself, so that their format and columns are not the author's to choose.
    fn makes_records(&self) -> bool {
        false
    }

    /// The columns of a source whose job names none, where the format does not say them.
    fn columns(&self) -> Option<Vec<ColumnSpec>> {
        None
    }

    /// Notes what is wrong with format and columns. `false`: that was to be noted alone.
    fn check_format(&self, source: &SourceSpec, part: &PartMistakes<'_>) -> bool {
        let _ = (source, part);
        true
    }

    /// Why no records of formats that are no lines, Avro and Protobuf, can come from there, and what to do.
    fn no_frames(&self) -> Option<&'static str> {
        None
    }

    /// Whether its settings have the TLS with its server, and not [`SourceSpec::tls`].
    fn reads_tls(&self) -> bool {
        false
    }

    /// The longest record, where the job file does not say.
    fn record_bytes_max(&self) -> u64 {
        limits::RECORD_BYTES_MAX
    }

    /// What makes rows of the records of a chunk, where no format does.
    fn rows(&self) -> Option<MakeRows> {
        None
    }

    /// Whether there may be several partitions, each with a position and a clock of its own.
    fn has_partitions(&self) -> bool {
        false
    }

    /// Whether its server says how far its partitions go, so that plans tell which are at their ends. To such a source more may always
    /// be added, so it does not end.
    fn knows_ends(&self) -> bool {
        false
    }

    /// Whether each of these, or those who send to it, can be read by another process of a job.
    fn is_spread(&self) -> bool {
        self.has_partitions()
    }

    /// Whether this comes with each message.
    fn gives(&self, part: &ColumnSource) -> bool {
        let _ = part;
        false
    }

    /// Whether a message is made of fields with names, and no bytes of any format.
    fn are_fields(&self) -> bool {
        false
    }

    /// Whether binary values in its records are hexadecimal digits.
    fn writes_hex(&self) -> bool {
        false
    }

    /// Whether its rows are changes of a table: insertions, updates and deletions.
    fn are_changes(&self) -> bool {
        false
    }

    /// The same for rows that are kept by this key, of a source whose rows are changes; `None`: that is known already.
    fn keeping(&self, key: &ChangesKey) -> Option<Arc<dyn SourceConfig>> {
        let _ = key;
        None
    }

    /// The same under this name, where a server keeps something for the job by its name and the job file says none.
    fn named(&self, name: &str) -> Option<Arc<dyn SourceConfig>> {
        let _ = name;
        None
    }

    /// The same for somebody who only looks at the first rows, where a server keeps something for the job.
    fn sampled(&self) -> Option<Arc<dyn SourceConfig>> {
        None
    }

    /// Whose positions they are, in a checkpoint: another source of this name goes on where this one was. By default positions name
    /// their partitions, and servers move. `written`: what the job file says for a key, where variables stand in it, which are kept
    /// nowhere.
    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        let _ = written;
        self.kind().to_owned()
    }

    /// Whether plans keep its rows, as nobody gives them a second time.
    fn keeps_rows(&self) -> bool {
        true
    }

    /// Makes the planned chunks of a batch again that the plan does not hold, all of them at once. `None`: [`SourceConfig::replay`] makes
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

    /// What makes planned chunks again, where plans do not keep them.
    fn replay<'a>(&'a self, source: &'a SourceSpec, origin: &'a Origin) -> Option<Box<dyn Replay + 'a>> {
        let _ = (source, origin);
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
    /// It cannot begin, as where it cannot listen.
    fn start(&self, start: SourceStart<'_>) -> Result<()>;
}

/// Makes rows of the bytes of a chunk.
pub type MakeRows = Box<dyn Fn(&[u8]) -> Option<RecordBatch> + Send>;

/// The settings of one sink. Debug output must not hold passwords: see [`Url`].
pub trait SinkConfig: Config {
    /// The word for its kind in a job file.
    fn kind(&self) -> &'static str;

    /// Notes what is wrong with the settings, each of which could be read.
    fn check(&self, part: &PartMistakes<'_>) {
        let _ = part;
    }

    /// Which rows are written how often, for `millstream validate`: a line each.
    fn promises(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether rows are written as text, in which bytes stand by an `encoding`.
    fn is_text(&self) -> bool {
        true
    }

    /// Whether a column of bytes is written as it is, whatever the `encoding`.
    fn keeps_bytes(&self, column: &str) -> bool {
        let _ = column;
        false
    }

    /// What a row does to the table that is written, where it is one whose rows may be replaced by key.
    fn table_mode(&self) -> Option<&TableMode> {
        None
    }

    /// The columns by which a row takes the place of an older one; `None`: rows are added.
    fn row_key(&self) -> Option<&[String]> {
        match self.table_mode()? {
            TableMode::Append => None,
            TableMode::Upsert { key, .. } => Some(key),
        }
    }

    /// How it takes changes of a table.
    fn changes(&self) -> SinkChanges<'_> {
        self.table_mode().map_or(SinkChanges::Rows, TableMode::changes)
    }

    /// Whether what it is given stays somewhere.
    fn keeps_rows(&self) -> bool {
        true
    }

    /// Whether it only shows the first rows of a stream, and is no sink of the job.
    fn is_sample(&self) -> bool {
        false
    }

    /// Whether each worker commits the rows that it has by itself.
    fn by_worker(&self) -> bool {
        false
    }

    /// Whether its server passes over rows by their place in what was sent, and cannot say which it has: then all that was planned may be
    /// there, be it in part, and other rows in these places would be passed over.
    fn passes_over_repeated_rows(&self) -> bool {
        false
    }

    /// The file or folder that it writes, where nothing else of the job may read or write it.
    fn path(&self) -> Option<WrittenPath<'_>> {
        None
    }

    /// The file or folder of this machine in which the rows stand so that `millstream retry` can read them.
    fn readable(&self) -> Option<&Path> {
        None
    }

    /// The same under this name, where a server keeps something for the job by its name and the job file says none.
    fn named(&self, name: &str) -> Option<Arc<dyn SinkConfig>> {
        let _ = name;
        None
    }

    /// The same for batches that run again as they were, sent as `now` says: which rows there are does not depend on it.
    fn sent_as(&self, now: &dyn SinkConfig) -> Option<Arc<dyn SinkConfig>> {
        let _ = now;
        None
    }

    /// Checks the columns, and asks the server what can be asked before anything runs. `keeps_checkpoints`: of the job. Changes nothing
    /// outside.
    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
        let _ = (start, schema, keeps_checkpoints);
        Ok(())
    }

    /// Waits until the server answers, where it is away, so that a job and its server may start in any order, and nothing is begun before
    /// all are there. What does not pass is left to those who connect next: they say where it stands in the job file.
    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        let _ = start;
        Ok(())
    }

    /// Opens the sink for rows of this schema, and takes it over from earlier starts of the job, where it remembers them; or opens a
    /// share of it, once all of it is taken over. `failure` ends the waiting for a server.
    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>>;

    /// The last batch that the server holds of the job with this id; `None`: none, or it keeps no marker.
    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        let _ = (start, job_id);
        Ok(None)
    }

    /// The bytes that it holds of a batch; `None`: it cannot be told, or they were moved away.
    fn written(&self, start: SinkStart<'_>, batch: BatchId) -> Result<Option<Vec<u8>>> {
        let _ = (start, batch);
        Ok(None)
    }

    /// The bytes that a commit of these rows would write; of what writes none: a JSON object a row.
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

    /// What makes bytes of rows on the worker that has them, so that whoever commits for all only copies these. `None`: it needs the rows
    /// themselves, as for a format that is not made row by row, or where the medium tells how they are written.
    fn encoder(&self, start: SinkStart<'_>, schema: &SchemaRef) -> Result<Option<EncodeRows>> {
        let _ = (start, schema);
        Ok(None)
    }
}

/// Where a sink writes.
#[derive(Clone, Debug)]
pub struct WrittenPath<'a> {
    /// The file or folder as the job file has it, or the URL of a bucket.
    pub path: &'a Path,
    /// Of a folder: a file as they are written there, from the folder on.
    pub part: Option<PathBuf>,
}

/// A sink of a job that starts.
#[derive(Clone, Copy)]
pub struct SinkStart<'a> {
    /// The sink.
    pub spec: &'a SinkSpec,
    /// Where the job comes from.
    pub origin: &'a Origin,
    /// Whether its server is waited for where it is away.
    pub servers: ServerWait,
    /// The id of the job, where it goes on from a checkpoint and its rows may be there already.
    pub job_id: Option<&'a str>,
    /// Who commits, where the job keeps checkpoints; of a sink that is opened.
    pub owner: Option<&'a Owner>,
    /// The worker whose share of a sink is opened that each worker commits to; `None`: all of it.
    pub share: Option<usize>,
}

impl<'a> SinkStart<'a> {
    /// All of a sink of a job that begins.
    pub fn new(spec: &'a SinkSpec, origin: &'a Origin, servers: ServerWait) -> SinkStart<'a> {
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

/// The URL of a server, which may hold a password.
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

/// The server that a sink writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkServer {
    /// Where it is, and the credentials.
    pub url: Url,
    /// How it is spoken to with TLS; `None`: its certificate is checked by what the system trusts.
    pub tls: Option<TlsSpec>,
    /// How long the job waits for it where it is away, at its start and later.
    pub wait: Duration,
}

impl SinkServer {
    /// With the default wait.
    pub fn new(url: impl Into<String>) -> SinkServer {
        SinkServer { url: Url(url.into()), tls: None, wait: Duration::from_millis(limits::SERVER_WAIT_MS) }
    }
}

/// A kind of database whose queries are tables of stages with `enrich`.
pub struct TableDeclaration {
    /// What its URLs begin with.
    pub schemes: &'static [&'static str],
    /// What is wrong with a URL, whatever the environment gives for its placeholders.
    pub check: fn(&str) -> std::result::Result<(), String>,
    /// What is wrong with a URL with what the environment gives.
    pub check_start: fn(&str) -> std::result::Result<(), String>,
    /// All rows of a query, as a stream of Arrow IPC. Rows without an order must come in the same one each time.
    pub fetch: fn(TableQuery<'_>) -> Result<Bytes>,
}

/// A query for a table.
#[derive(Clone, Copy)]
pub struct TableQuery<'a> {
    /// The database.
    pub url: &'a str,
    /// The query.
    pub query: &'a str,
    /// Where the job comes from.
    pub origin: &'a Origin,
    /// Who asks, for messages.
    pub who: &'a str,
    /// How long a database that is away is waited for.
    pub wait: Duration,
    /// Whether it is waited for.
    pub servers: ServerWait,
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
