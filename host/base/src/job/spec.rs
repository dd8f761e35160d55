//! A job as its author means it: what a job file says, with defaults filled in, before plugins are looked at.
//! Rust programs may build one directly.

mod stage;

pub use crate::batch::column::{ColumnSpec, TimeForm, TimeUnit};
pub use stage::*;

use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    /// What becomes of event time when no source will send anything more.
    pub at_end: AtEnd,
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

/// The table `[checkpoint]` of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// A folder, as in the job file, or `s3://bucket/prefix`.
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
    /// The folder that relative paths of the job start from.
    pub folder: PathBuf,
    /// Line (from 1) of each key by its dotted path, as `stages.words.from`.
    pub lines: BTreeMap<String, usize>,
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
    /// How long a source waits for a file or folder that cannot be read.
    pub away_max: Duration,
}

/// Where the records of a source come from. Paths are as in the job file, relative to [`Origin::folder`].
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// Lines from a TCP server at this address.
    Socket {
        /// `host:port`
        address: String,
    },
    /// Length-prefixed frames from a TCP server: four bytes, big-endian, then as many bytes of one record.
    RawSocket {
        /// `host:port`
        address: String,
    },
    /// The files of a folder, and every new one.
    Directory {
        /// The folder.
        path: PathBuf,
        /// How often the folder is looked at.
        poll: Duration,
        /// A file is read when its length and time have stood still for so long.
        settle: Duration,
    },
    /// A log that grows, with its rotated files beside it, for ever.
    Follow {
        /// The log.
        path: PathBuf,
        /// How often it is looked at.
        poll: Duration,
        /// A rotated file is at its end when nobody has written to it for so long.
        settle: Duration,
    },
    /// One file, once.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Rows made here: `timestamp` and `value` = 0, 1, 2 … Their format is `Binary` with both columns.
    Rate {
        /// Rows a second.
        rows_per_second: u64,
        /// How many rows in all; `None`: for ever.
        rows_max: Option<u64>,
    },
    /// A file with one JSON array of rows a line, a line a batch: for tests.
    Queue {
        /// The file.
        path: PathBuf,
    },
    /// The table of a stage with `enrich`, all of it a record. Not for job files: the graph adds it, with all columns.
    Table(Box<EnrichSpec>),
    /// Rows that `millstream retry` gives back to a stage: JSON lines in the files of a folder, which need not be there.
    /// Not for job files: the graph adds it.
    Retry {
        /// The folder.
        path: PathBuf,
        /// The columns of the stage's input, as they are there.
        columns: SchemaRef,
    },
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
}

/// Where the rows of a sink go. Paths are as in the job file.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// Standard output, as a table.
    Print {
        /// How many rows of a batch are shown.
        rows: usize,
    },
    /// Standard output: the first rows of the stream, once. Not for job files: `run --sample` puts one behind each stream.
    Sample {
        /// How many rows are shown.
        rows: usize,
    },
    /// A folder, with a file a batch.
    Files {
        /// The folder.
        path: PathBuf,
        /// What is in the files.
        format: FileFormat,
    },
    /// A file with one JSON line a batch: for tests.
    Queue {
        /// The file.
        path: PathBuf,
    },
    /// A table of a PostgreSQL database.
    Postgres {
        /// `postgres://user:password@host/database`; `${NAME}` stands for an environment variable.
        url: String,
        /// `table` or `schema.table`
        table: String,
        /// What a row does to the table.
        mode: TableMode,
        /// How long the job waits for the server where it is away, at its start and later.
        wait: Duration,
    },
}

/// What a row does to the table of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TableMode {
    /// It is added.
    #[default]
    Append,
    /// It replaces the row of the same key, or is added where there is none.
    Upsert {
        /// The columns of the key.
        key: Vec<String>,
    },
}

/// What is in the files of a `files` sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// The single text column, a line a row.
    Text,
    /// JSON lines.
    Json,
    /// CSV with a header.
    Csv,
    /// Parquet.
    Parquet,
}
