//! The typed job, as a job file describes it, with defaults filled in and before plugins are inspected.
//! Rust programs may build one directly.

mod changes;
mod config;
mod plugin_sink;
mod source_kind;
mod source_start;
mod stage;
mod start;

pub use changes::*;
pub use config::*;
pub use plugin_sink::*;
pub use source_start::*;
pub use stage::*;
pub use start::*;

use super::variables::ExpandedText;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_rows::batch::binary_text::BinaryEncoding;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::partition::Share;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::{Format, RegistrySpec};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A complete job: named sources, stages and sinks, in the order of the file.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The job's name.
    pub name: String,
    /// The batch interval; zero: a batch as soon as data waits.
    pub batch: Duration,
    /// Worker threads of this process; `None`: all cores.
    pub workers: Option<usize>,
    /// The clock of the batch times.
    pub clock: ClockSpec,
    /// Batches that may be begun and not yet committed.
    pub in_flight_max: u64,
    /// Memory of all its processes on one machine, in bytes; `None`: a share of the machine's.
    pub memory_bytes_max: Option<u64>,
    /// Memory limit for state, if state may be spilled to files. `None`: all state is in memory.
    pub state: Option<StateSpec>,
    /// What happens to event time when all sources have ended.
    pub at_end: AtEnd,
    /// Whether a run serves a page about the job.
    pub ui: bool,
    /// Location of checkpoints. `None`: no state survives the process.
    pub checkpoint: Option<CheckpointSpec>,
    /// Origin of the job, and the lines of its parts there.
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
    /// Directory of spilled state, as in the job file.
    pub dir: Option<PathBuf>,
}

/// The table `[checkpoint]` of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// A directory, as in the job file, `s3://bucket/prefix`, or `hdfs://namenode:8020/dir`.
    pub dir: String,
    /// Interval between checkpoints.
    pub every: CheckpointEvery,
}

/// Interval between checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointEvery {
    /// After this time.
    Time(Duration),
    /// After this number of batches.
    Batches(u64),
}

/// The clock of the batch times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockSpec {
    /// The machine's clock.
    #[default]
    Wall,
    /// Virtual: batch i has time i × interval; batches run back to back until the `queue` sources are empty.
    Manual,
}

/// What happens to event time when all sources have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// Event time is completed: open windows, sessions and timers emit their rows.
    #[default]
    Flush,
    /// Event time stops, for a job that continues later. Open windows, sessions and timers stay in the checkpoint.
    Keep,
}

/// Origin of a job, for messages and relative paths.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The job file; `None` for a job that a program built.
    pub file: Option<PathBuf>,
    /// The content of that file when it was read.
    pub text: Arc<str>,
    /// The directory of the job's relative paths.
    pub dir: PathBuf,
    /// Line (from 1) of each key by its dotted path, for example `stages.words.from`.
    pub lines: BTreeMap<String, usize>,
    /// The strings that contain `${NAME}`, and their values.
    pub written: ExpandedTexts,
}

/// The strings of a job file that contain `${NAME}`.
#[derive(Clone, Default)]
pub struct ExpandedTexts(pub(super) Vec<ExpandedText>);

impl std::fmt::Debug for ExpandedTexts {
    /// Shows paths and strings, not values, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|written| (&written.path, &written.text))).finish()
    }
}

impl ExpandedTexts {
    /// Returns whether no text contains a variable.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text of the key of this dotted path as in the job file; `None` if it contains no variable.
    pub fn at(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|written| written.path == path).map(|written| written.text.as_str())
    }

    /// Returns the text that has this value, for a key with several.
    pub fn at_value(&self, path: &str, value: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|written| written.path == path && written.value == value);
        found.next().map(|written| written.text.as_str())
    }

    /// Returns the strings with this value; if no text has it, the value itself.
    pub fn with_value(&self, value: &str) -> Vec<String> {
        let strings = self.0.iter().filter(|written| written.value == value).map(|written| written.text.clone());
        let strings: Vec<String> = strings.collect();
        if strings.is_empty() { vec![value.to_owned()] } else { strings }
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
    /// The source's name.
    pub name: String,
    /// Kind and settings: the origin of the records.
    pub kind: SourceKind,
    /// Format of the records.
    pub format: Format,
    /// The columns: name, type and the position of the value in a record.
    pub schema: Vec<ColumnSpec>,
    /// Maximum rows of this source in one batch.
    pub rows_per_batch_max: u64,
    /// Maximum bytes of this source in one batch, as received.
    pub bytes_per_batch_max: u64,
    /// A longer record is a rejected row.
    pub record_bytes_max: u64,
    /// Maximum bytes of an undecodable record that its rejected row keeps.
    pub rejected_bytes_max: u64,
    /// Maximum rejected records per batch. With more, the job stops before anything of the batch is committed. `None`: no limit.
    pub rejected_max: Option<RejectedMax>,
    /// Time that a source waits for an unreadable file or directory.
    pub away_max: Duration,
    /// TLS towards the server of a socket, or towards clients of an `http` source; `None`: plain TCP.
    pub tls: Option<TlsSpec>,
}

/// TLS. Paths are as in the job file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSpec {
    /// Certificates of trusted CAs, in PEM; `None`: the system trust store.
    pub ca: Option<PathBuf>,
    /// The job's certificate and its key, in PEM.
    pub own: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate is for; `None`: the host of the address.
    pub name: Option<String>,
}

/// Kind of a source, with its settings. Paths are as in the job file, relative to [`Origin::dir`].
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// A source of a connector.
    Declared(Arc<dyn SourceConfig>),
    /// A plugin of world `source`.
    Plugin(Box<PluginSourceSpec>),
    /// The lookup table of a stage with `enrich`, as one record. Not for job files: the graph adds it, with all columns.
    Table(Box<EnrichSpec>),
}

impl<C: SourceConfig> From<C> for SourceKind {
    /// Converts the settings of a connector.
    fn from(config: C) -> SourceKind {
        SourceKind::Declared(Arc::new(config))
    }
}

/// URL schemes of object stores.
pub const OBJECT_SCHEMES: [&str; 4] = ["s3://", "gs://", "az://", "hdfs://"];

/// URL schemes of object stores that can hold checkpoints.
pub const CHECKPOINT_SCHEMES: [&str; 2] = ["s3://", "hdfs://"];

impl SourceKind {
    /// Returns whether the source may have several partitions, each with its own watermark.
    pub fn has_partitions(&self) -> bool {
        match self {
            SourceKind::Plugin(_) => true,
            SourceKind::Declared(config) => config.has_partitions(),
            _ => false,
        }
    }

    /// Returns whether partitions, or senders, are distributed over all processes of a job.
    pub fn is_spread(&self) -> bool {
        match self {
            SourceKind::Plugin(_) => true,
            SourceKind::Declared(config) => config.is_spread(),
            SourceKind::Table(_) => false,
        }
    }

    /// Returns whether the partitions are files of a directory.
    pub fn spreads_files(&self) -> bool {
        self.declared().is_some_and(|config| config.names_files() && config.is_spread())
    }

    /// Returns the connector's settings, if the source has a connector.
    pub fn declared(&self) -> Option<&dyn SourceConfig> {
        match self {
            SourceKind::Declared(config) => Some(&**config),
            _ => None,
        }
    }

    /// Returns whether the source determines which rows form a batch.
    pub fn is_batch_source(&self) -> bool {
        self.declared().is_some_and(SourceConfig::is_batch_source)
    }

    /// Returns how records are delimited in chunks.
    pub fn bounds(&self) -> RecordBounds {
        match self {
            SourceKind::Declared(config) => config.bounds(),
            _ => RecordBounds::Format,
        }
    }

    /// Returns whether positions are those of files of a directory, which may have any name.
    pub fn names_files(&self) -> bool {
        self.declared().is_some_and(SourceConfig::names_files)
    }

    /// See [`SourceConfig::can_report_ends`].
    pub fn can_report_ends(&self) -> bool {
        self.declared().is_some_and(SourceConfig::can_report_ends)
    }

    /// Returns the share of a process in a source with this number; `None`: it reads nothing. A source that is not distributed is
    /// read by one process.
    pub fn share(&self, number: usize, (process, processes): (usize, usize)) -> Option<Share> {
        match self.is_spread() {
            true => Some(Share::new(process, processes)),
            false => (number % processes.max(1) == process).then_some(Share::ALL),
        }
    }
}

/// A source that is a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSourceSpec {
    /// The plugin.
    pub plugin: PluginSpec,
    /// The columns of its rows. The graph queries the plugin for them.
    pub columns: SchemaRef,
}

impl PluginSourceSpec {
    /// Creates the settings for a plugin that was not queried yet.
    pub fn new(plugin: PluginSpec) -> PluginSourceSpec {
        PluginSourceSpec { plugin, columns: Arc::new(Schema::empty()) }
    }
}

/// The schema that a sink's records have in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectSpec {
    /// The registry.
    pub registry: RegistrySpec,
    /// The subject of the schema; `None`: the topic's name followed by `-value`.
    pub subject: Option<String>,
    /// The full name of the record.
    pub record: String,
    /// Whether a missing schema is registered.
    pub register: bool,
}

impl SubjectSpec {
    /// Default name of a record.
    pub const RECORD: &str = "Row";

    /// Registered under the name of the topic.
    pub fn new(registry: RegistrySpec) -> SubjectSpec {
        SubjectSpec { registry, subject: None, record: SubjectSpec::RECORD.into(), register: true }
    }
}

/// A named output.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// The sink's name.
    pub name: String,
    /// The streams that it takes; several are a union.
    pub from: Vec<String>,
    /// Kind and settings: the destination of the rows.
    pub kind: SinkKind,
    /// Whether the sink receives changes of a table as rows, including deletions.
    pub wants_changes: bool,
    /// Encoding of binary columns in text formats; hexadecimal digits by default.
    pub encoding: Option<BinaryEncoding>,
}

/// Kind of a sink, with its settings. Paths are as in the job file.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// A plugin of world `sink`.
    Plugin(Box<PluginSinkSpec>),
    /// A sink of a connector.
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
    /// Converts the settings of a connector. For a plugin, see [`SinkSpec::of_plugin`].
    fn from(config: C) -> SinkKind {
        SinkKind::Declared(Arc::new(config))
    }
}

/// The writer of the files, records or table rows of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartWriter {
    /// Worker 0: one file, or transaction, per batch, with its rows in order.
    #[default]
    Batch,
    /// Each worker: one per batch with the worker's rows, under the worker's marker.
    Worker,
}

/// Returns the URL if the path is that of a prefix in a bucket.
pub fn bucket_url(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| OBJECT_SCHEMES.iter().any(|scheme| text.starts_with(scheme)))
}

/// The effect of a row on a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TableMode {
    /// Each row is added.
    #[default]
    Append,
    /// A row replaces the row with the same key. The first row with a key is added.
    Upsert {
        /// The columns of the key.
        key: Vec<String>,
        /// The column with the operation of a row, if some rows delete others. It is not written.
        op: Option<String>,
    },
}
