//! A job as its author means it: what a job file says, with defaults filled in, before plugins are looked at.
//! Rust programs may build one directly.

mod changes;
mod config;
mod formats;
mod plugin_sink;
mod source_kind;
mod source_start;
mod stage;
mod start;

pub use crate::batch::binary_text::BinaryEncoding;
pub use crate::batch::column::{ColumnSource, ColumnSpec, TimeForm, TimeUnit};
pub use changes::*;
pub use config::*;
pub use formats::*;
pub use plugin_sink::*;
pub use source_start::*;
pub use stage::*;
pub use start::*;

use super::variables::ExpandedText;
use crate::batch::partition::Share;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A whole job: named sources, stages and sinks, in the order of the file.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The job's name.
    pub name: String,
    /// The batch interval; zero: a batch as soon as data waits.
    pub batch: Duration,
    /// Worker threads of this process; `None`: all cores.
    pub workers: Option<usize>,
    /// What gives batches their times.
    pub clock: ClockSpec,
    /// Batches that may be begun and not yet committed.
    pub in_flight_max: u64,
    /// Memory of all its processes on one machine, in bytes; `None`: a share of the machine's.
    pub memory_bytes_max: Option<u64>,
    /// How much of it state may take, where rows of state may lie in files; `None`: all of it is in memory.
    pub state: Option<StateSpec>,
    /// What becomes of event time when no source will send anything more.
    pub at_end: AtEnd,
    /// Whether a run serves a page about the job.
    pub ui: bool,
    /// Where checkpoints are kept; `None`: nothing survives the end of the process.
    pub checkpoint: Option<CheckpointSpec>,
    /// Where the job comes from, and where its parts stand in it.
    pub origin: Origin,
    /// Sources by name, in order.
    pub sources: Vec<SourceSpec>,
    /// Stages by name, in order of the file; `from` may name any of them, a cycle is an error.
    pub stages: Vec<StageSpec>,
    /// Sinks by name, in order.
    pub sinks: Vec<SinkSpec>,
}

/// The table `state` of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// Memory for the state of all stages in each process, in bytes.
    pub memory_bytes_max: u64,
    /// The folder of the files with what does not fit, as in the job file.
    pub dir: Option<PathBuf>,
}

/// The table `[checkpoint]` of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// A folder, as in the job file, `s3://bucket/prefix`, or `hdfs://namenode:8020/folder`.
    pub dir: String,
    /// How often a checkpoint is written.
    pub every: CheckpointEvery,
}

/// How often a checkpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointEvery {
    /// After this time.
    Time(Duration),
    /// After so many batches.
    Batches(u64),
}

/// What gives batches their times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockSpec {
    /// The machine's clock.
    #[default]
    Wall,
    /// Virtual: batch i has time i × interval; batches run back to back until the `queue` sources are empty.
    Manual,
}

/// What becomes of event time when no source will send anything more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// It ends, too: what waits for it comes out.
    #[default]
    Flush,
    /// No source counts as ended, for a job that is to go on later: what waits stays in the checkpoint.
    Keep,
}

/// Where a job comes from, for messages and relative paths.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The job file; `None` for a job that a program built.
    pub file: Option<PathBuf>,
    /// What that file held when it was read.
    pub text: Arc<str>,
    /// The folder that relative paths of the job start from.
    pub dir: PathBuf,
    /// Line (from 1) of each key by its dotted path, as `stages.words.from`.
    pub lines: BTreeMap<String, usize>,
    /// The texts in which `${NAME}` stands, and what they are with the values.
    pub written: Texts,
}

/// The texts of a job file in which `${NAME}` stands.
#[derive(Clone, Default)]
pub struct Texts(pub(super) Vec<ExpandedText>);

impl std::fmt::Debug for Texts {
    /// Without the values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|written| (&written.path, &written.text))).finish()
    }
}

impl Texts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of the key of this dotted path as its author wrote it; `None`: as it is.
    pub fn at(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|written| written.path == path).map(|written| written.text.as_str())
    }

    /// The same of the text with this value, where the key has several.
    pub fn at_value(&self, path: &str, value: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|written| written.path == path && written.value == value);
        found.next().map(|written| written.text.as_str())
    }

    /// How this value was written: by the names that stand for it, or as it is.
    pub fn of(&self, value: &str) -> Vec<String> {
        let texts = self.0.iter().filter(|written| written.value == value).map(|written| written.text.clone());
        let texts: Vec<String> = texts.collect();
        if texts.is_empty() { vec![value.to_owned()] } else { texts }
    }
}

impl Origin {
    /// `job.toml:12: ` for the key of this dotted path, or of the nearest table around it; empty for a job that a
    /// program built.
    pub fn at(&self, path: &str) -> String {
        let Some(file) = &self.file else { return String::new() };
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return format!("{}:{line}: ", file.display());
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return format!("{}: ", file.display()),
            }
        }
    }
}

/// A named input.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Its name in the job.
    pub name: String,
    /// Where the records come from.
    pub kind: SourceKind,
    /// How records become rows.
    pub format: Format,
    /// The columns: name, type and where the value is found.
    pub schema: Vec<ColumnSpec>,
    /// Most rows that one batch takes from this source.
    pub rows_per_batch_max: u64,
    /// Most bytes, as received, that one batch takes from this source.
    pub bytes_per_batch_max: u64,
    /// A longer record is a rejected row.
    pub record_bytes_max: u64,
    /// How much of a record that does not decode is kept in its rejected row.
    pub rejected_bytes_max: u64,
    /// How many records of a batch may be rejected; with more the job stops before anything of the batch is committed. `None`: any.
    pub rejected_max: Option<RejectedMax>,
    /// How long a source waits for a file or folder that cannot be read.
    pub away_max: Duration,
    /// TLS towards the server of a socket, or with those who send to an `http` source; `None`: as plain TCP.
    pub tls: Option<TlsSpec>,
}

/// TLS. Paths are as in the job file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSpec {
    /// Certificates of the issuers that are trusted, in PEM; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The job's own certificate and its key, in PEM.
    pub own: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate is for; `None`: the host of the address.
    pub name: Option<String>,
}

/// Where the records of a source come from. Paths are as in the job file, relative to [`Origin::dir`].
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// What the connector of a kind reads.
    Declared(Arc<dyn SourceConfig>),
    /// A plugin of world `source`.
    Plugin(Box<PluginSourceSpec>),
    /// The table of a stage with `enrich`, all of it a record. Not for job files: the graph adds it, with all columns.
    Table(Box<EnrichSpec>),
}

/// How the paths of what is in a bucket begin.
pub const OBJECT_SCHEMES: [&str; 4] = ["s3://", "gs://", "az://", "hdfs://"];

/// How those begin where checkpoints can be kept.
pub const CHECKPOINT_SCHEMES: [&str; 2] = ["s3://", "hdfs://"];

impl SourceKind {
    /// Whether the source may have several partitions, each with a clock of its own.
    pub fn has_partitions(&self) -> bool {
        match self {
            SourceKind::Plugin(_) => true,
            SourceKind::Declared(config) => config.has_partitions(),
            _ => false,
        }
    }

    /// Whether its partitions, or those who send to it, are spread over all processes of a job.
    pub fn is_spread(&self) -> bool {
        match self {
            SourceKind::Plugin(_) => true,
            SourceKind::Declared(config) => config.is_spread(),
            SourceKind::Table(_) => false,
        }
    }

    /// Whether its partitions are files of a folder.
    pub fn spreads_files(&self) -> bool {
        self.declared().is_some_and(SourceConfig::spreads_files)
    }

    /// The settings, where a connector has them.
    pub fn declared(&self) -> Option<&dyn SourceConfig> {
        match self {
            SourceKind::Declared(config) => Some(&**config),
            _ => None,
        }
    }

    /// Whether it says which rows are a batch.
    pub fn gives_batches(&self) -> bool {
        self.declared().is_some_and(SourceConfig::gives_batches)
    }

    /// What tells its records from each other, once they lie in chunks.
    pub fn bounds(&self) -> RecordBounds {
        match self {
            SourceKind::Declared(config) => config.bounds(),
            _ => RecordBounds::Format,
        }
    }

    /// Whether its positions are those of files of a folder, which may have any name.
    pub fn names_files(&self) -> bool {
        self.declared().is_some_and(SourceConfig::names_files)
    }

    /// See [`SourceConfig::knows_ends`].
    pub fn knows_ends(&self) -> bool {
        self.declared().is_some_and(SourceConfig::knows_ends)
    }

    /// What a process receives of a source with this number; `None`: nothing. A source that is not spread lives in one process.
    pub fn share(&self, number: usize, (process, processes): (usize, usize)) -> Option<Share> {
        match self.is_spread() {
            true => Some(Share::of(process, processes)),
            false => (number % processes.max(1) == process).then_some(Share::ALL),
        }
    }
}

/// A source that is a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSourceSpec {
    /// The plugin.
    pub plugin: PluginSpec,
    /// The columns of its rows. The graph asks the plugin for them.
    pub columns: SchemaRef,
}

impl PluginSourceSpec {
    /// Of a plugin that was not asked yet.
    pub fn new(plugin: PluginSpec) -> PluginSourceSpec {
        PluginSourceSpec { plugin, columns: Arc::new(Schema::empty()) }
    }
}

/// How records become rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// A line is a row of one text column (`value` unless the schema names it).
    Text,
    /// A line or frame is a JSON object.
    Json,
    /// A line is a row; quoted as RFC 4180 says.
    Csv {
        /// Whether the first record (of each file or connection) names the columns.
        header: bool,
        /// The byte between cells.
        separator: u8,
    },
    /// Fixed-length records or frames: columns one behind the other, little-endian, without nulls (bool 1 byte;
    /// int64, float64 and timestamp 8). A single text or binary column takes the whole record.
    Binary {
        /// Bytes of a record; `None` where the receiver's frames say.
        record_bytes: Option<u32>,
    },
    /// Rows of files of Parquet.
    Parquet,
    /// Avro: the records of files, or single ones.
    Avro(WriterSchema),
    /// Protobuf: a frame is a message; in files each has its length in front, as protobuf's own functions write it.
    Protobuf(ProtobufSpec),
}

/// Where the schemas are that Avro records were written with.
#[derive(Clone, Debug, PartialEq)]
pub enum WriterSchema {
    /// In the files that the records are in.
    InFile,
    /// All records have this one.
    Given(FileContent),
    /// Each record says by an id which one of a registry it has.
    Registry(Box<RegistrySpec>),
}

/// A file that is part of the job, as it was when the job was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent {
    /// The file, as in the job file.
    pub path: PathBuf,
    /// What was in it.
    pub content: Bytes,
}

impl std::fmt::Debug for FileContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.content.len())
    }
}

/// A registry of schemas, as Confluent's is.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrySpec {
    /// Its address: `https://registry.example.org:8081`.
    pub url: String,
    /// Name and password; or a token, with an empty name.
    pub login: Option<(String, String)>,
    /// Certificates of the issuers that are trusted, in PEM; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// How long to wait for it where it is away.
    pub wait: Duration,
}

impl std::fmt::Debug for RegistrySpec {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySpec").field("url", &self.url).field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// The schema that a sink's records have in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectSpec {
    /// The registry.
    pub registry: RegistrySpec,
    /// The name under which it has the schema; `None`: that of the topic with `-value` behind it.
    pub subject: Option<String>,
    /// The full name of the record.
    pub record: String,
    /// Whether the schema is registered where it is not there.
    pub register: bool,
}

impl SubjectSpec {
    /// The name of a record where the job says none.
    pub const RECORD: &str = "Row";

    /// Registered under the name of the topic.
    pub fn new(registry: RegistrySpec) -> SubjectSpec {
        SubjectSpec { registry, subject: None, record: SubjectSpec::RECORD.into(), register: true }
    }
}

/// Which messages of Protobuf records are.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtobufSpec {
    /// What `protoc --descriptor_set_out` wrote.
    pub descriptor: FileContent,
    /// The full name of the message: `shop.Order`.
    pub message: String,
    /// Records begin as those of a schema registry do; the descriptor is used all the same.
    pub confluent: bool,
}

/// A named output.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Its name in the job.
    pub name: String,
    /// The streams that it takes; several are a union.
    pub from: Vec<String>,
    /// Where the rows go.
    pub kind: SinkKind,
    /// Whether changes of a table are wanted as rows here, those that delete a row included.
    pub wants_changes: bool,
    /// How columns of bytes are written in formats of text; as hexadecimal digits by default.
    pub encoding: Option<BinaryEncoding>,
}

/// Where the rows of a sink go. Paths are as in the job file.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// Wherever a plugin of world `sink` takes them.
    Plugin(Box<PluginSinkSpec>),
    /// Wherever the connector of a kind writes.
    Declared(Arc<dyn SinkConfig>),
}

impl Deref for SinkKind {
    type Target = dyn SinkConfig;

    fn deref(&self) -> &Self::Target {
        match self {
            SinkKind::Plugin(plugin) => &**plugin,
            SinkKind::Declared(config) => &**config,
        }
    }
}

impl<C: SinkConfig> From<C> for SinkKind {
    /// One that writes by itself: of a plugin, see [`SinkSpec::of_plugin`].
    fn from(config: C) -> SinkKind {
        SinkKind::Declared(Arc::new(config))
    }
}

/// Who writes the files, the records, or the rows of a table, of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartsBy {
    /// Worker 0: one file, or transaction, a batch, with its rows in order.
    #[default]
    Batch,
    /// Each worker: one a batch with the rows that it has, under a marker of its own.
    Worker,
}

/// Whether a path is that of a prefix in a bucket: then its URL.
pub fn bucket_url(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| OBJECT_SCHEMES.iter().any(|scheme| text.starts_with(scheme)))
}

/// What a row does to a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TableMode {
    /// It is added.
    #[default]
    Append,
    /// It replaces the row of the same key, or is added where there is none.
    Upsert {
        /// The columns of the key.
        key: Vec<String>,
        /// The column that says what a row does, where some of them delete others; it is not written.
        op: Option<String>,
    },
}
