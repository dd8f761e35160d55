//! The facts of recovery, as they are stored and as decisions are made over them. No I/O, no clock.

use crate::checkpoint::meaning::MeaningDigests;
use arrow::datatypes::Field;
use millstream_base::batch::chunk::PlannedChunk;
use millstream_base::batch::position::Position;
use millstream_base::batch::types::ColumnType;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The column of a state file that tells when the key last had rows: a timestamp, in microseconds.
pub const TOUCHED: &str = "millstream_touched";
/// The column of a state file that tells whether the key's state was removed: a boolean. Such a row has no state.
pub const REMOVED: &str = "millstream_removed";

/// The one object that says what counts. It is replaced atomically: a checkpoint exists when the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manifest {
    /// The job's name.
    pub job: String,
    /// 32 hexadecimal digits, made at the job's first start. Sinks keep it beside their marker.
    pub job_id: String,
    /// Of the start that wrote this manifest.
    pub generation: Generation,
    /// The starts whose plans may still be needed, oldest first; the last is the current one.
    pub starts: Vec<JobStart>,
    /// The kept checkpoints, oldest first.
    pub checkpoints: Vec<Checkpoint>,
}

impl Manifest {
    /// The newest checkpoint.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }
}

/// One start of the job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobStart {
    /// Its generation.
    pub generation: Generation,
    /// The last batch of older generations that counts: this one replays up to there. Their plans of later batches are void.
    pub after: BatchId,
    /// The first batch that this generation plans: the next one, or a later one where the ids between were used up by
    /// batches that were given up (`--resume-from`). Ids are never reused.
    pub first: BatchId,
    /// The checkpoint that it loads; zero: none.
    pub checkpoint: BatchId,
    /// Workers of the whole job.
    pub workers: u32,
    /// The sources: a batch is planned when each of them has a plan for it.
    pub sources: Vec<String>,
    /// Digest of the [`JobRecord`], see [`JobStart::record_path`].
    pub job_digest: String,
    /// The job was not started anew: a plugin was replaced after the batch `after`, by the process that ran.
    #[serde(default)]
    pub upgrade: bool,
    /// When that was, by the machine's clock in microseconds; zero: an earlier version did not tell.
    #[serde(default)]
    pub started_us: i64,
}

impl JobStart {
    /// Where the [`JobRecord`] of this start is kept. Each start keeps its own, under its generation: it is deleted by
    /// name, perhaps late, and a name that a later start uses again would not be safe.
    pub fn record_path(&self) -> String {
        format!("jobs/{:06}-{}.json", self.generation.0, self.job_digest)
    }
}

/// Where bytes with this digest are kept by the start of a generation, see [`JobRecord::blobs`].
pub fn blob_path(generation: Generation, digest: &str) -> String {
    format!("blobs/{:06}-{digest}", generation.0)
}

/// What is needed to run a batch again as it was run: kept as bytes beside the checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The text of the job file, with the names of variables and not with their values.
    pub text: String,
    /// Values set on the command line.
    pub sets: Vec<(String, String)>,
    /// The folder that relative paths start from.
    pub folder: String,
    /// Components and granted files by path as the job writes it: where the bytes are kept, see [`blob_path`]. A start may
    /// name a blob of the last start in place of writing it again; no older one, which may be about to be deleted.
    pub blobs: BTreeMap<String, String>,
    /// Numbers in columns of `timestamp` are no times. Records of earlier versions do not say it: there they were
    /// microseconds, as `timestamp(us)` is now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub units_are_said: bool,
    /// `${NAME}` stands for an environment variable. Records of earlier versions do not say it: there it was text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_variables: bool,
}

/// State and positions after a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last batch that it holds. All sinks have committed it.
    pub batch: BatchId,
    /// That batch's time.
    pub time: BatchTime,
    /// Who wrote it.
    pub generation: Generation,
    /// When, by the machine's clock, in microseconds since 1970.
    pub written: i64,
    /// State of stages and positions of sources.
    pub tables: Vec<Table>,
    /// The markers of the sinks that remember what they have committed, by name: a sink that is found behind its marker
    /// is not the one that it was.
    #[serde(default)]
    pub sinks: BTreeMap<String, BatchId>,
    /// Rows that starts before the one which wrote it had received were in no batch yet. It was made while batches were run
    /// again, and logs of starts before the owner of its batch may hold such rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leftover: bool,
}

/// Whose rows a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableOf {
    /// State by key of a stage.
    Stage,
    /// How far a source was read.
    Source,
}

/// A table of a checkpoint: rows by key, in files that are applied one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Table {
    /// Whose.
    pub of: TableOf,
    /// Name of the stage or source.
    pub name: String,
    /// What it belongs to, in words that change when it must not be used any more: of a source, kind and path or address.
    pub identity: String,
    /// What its rows were made of, where their columns do not tell: streams and columns, by place. Empty in checkpoints of earlier
    /// versions, and where nothing has to be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reads: String,
    /// The key columns: their hash decides which worker has a row.
    pub key: Vec<Column>,
    /// Columns that tell the rows of one key apart, as the start of a window; none: a key has one row.
    #[serde(default)]
    pub sub: Vec<Column>,
    /// The state columns.
    pub state: Vec<Column>,
    /// The version of the plugin that made the states; empty where none did, or where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// How its rows came about, and what is made of the changes that its stage puts out.
    #[serde(default, skip_serializing_if = "MeaningDigests::is_empty")]
    pub meaning: MeaningDigests,
    /// Its files, in the order in which they apply.
    pub files: Vec<StateFile>,
}

impl Table {
    /// A table of a stage, without files. `columns`: key, what tells the rows of a key apart, and state.
    pub fn of_stage(name: impl Into<String>, identity: impl Into<String>, columns: [Vec<Column>; 3]) -> Table {
        let [key, sub, state] = columns;
        let (name, identity, reads, version) = (name.into(), identity.into(), String::new(), String::new());
        let (meaning, files) = (MeaningDigests::default(), Vec::new());
        Table { of: TableOf::Stage, name, identity, reads, key, sub, state, version, meaning, files }
    }

    /// Sets what its rows are made of.
    #[must_use]
    pub fn reading(mut self, reads: impl Into<String>) -> Table {
        self.reads = reads.into();
        self
    }
}

/// A column as the manifest tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as in job files.
    pub kind: String,
    /// Whether it may be null.
    pub nullable: bool,
}

impl Column {
    /// A column that is never null.
    pub fn new(name: &str, kind: ColumnType) -> Column {
        Column { name: name.into(), kind: kind.to_string(), nullable: false }
    }

    /// Columns for people, as `(word text, n int64 or null)`.
    pub fn in_words(columns: &[Column]) -> String {
        let words = columns.iter().map(|column| {
            let null = if column.nullable { " or null" } else { "" };
            format!("{} {}{null}", column.name, column.kind)
        });
        format!("({})", words.collect::<Vec<_>>().join(", "))
    }

    /// Columns of Arrow's.
    pub fn of<'a>(fields: impl IntoIterator<Item = &'a Arc<Field>>) -> Vec<Column> {
        let column = |field: &Arc<Field>| Column {
            name: field.name().clone(),
            kind: ColumnType::of(field.data_type()).to_string(),
            nullable: field.is_nullable(),
        };
        fields.into_iter().map(column).collect()
    }
}

/// A file of rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateFile {
    /// Where it is in the store: `state/<generation>-<batch>-<worker>-<stage>.arrow`.
    pub path: String,
    /// The batch of the checkpoint that it was written for.
    pub batch: BatchId,
    /// The first key group of the worker that wrote it.
    pub group_first: u32,
    /// One behind the last.
    pub group_end: u32,
    /// It holds all rows of its key groups, so that older files do not count there; otherwise only what changed.
    pub base: bool,
    /// Rows, removals included.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// XXH3-64 of the file, 16 hexadecimal digits.
    pub checksum: String,
    /// The same of its footer and what follows, where that has an index, so that rows can be read one by one; empty otherwise.
    // Always written: workers tell each other of files in a form that cannot leave anything out.
    #[serde(default)]
    pub footer: String,
}

/// What one batch holds of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// The batch.
    pub batch: BatchId,
    /// Its time, as worker 0 decided it.
    pub time: BatchTime,
    /// The source.
    pub source: String,
    /// The batch was made up for windows of processing time, see [`crate::operators::window::state::empty_batches`].
    pub made_up: bool,
    /// The chunks, in order. Replay makes the same ones.
    pub chunks: Vec<PlannedChunk>,
    /// The positions that this batch moved, after it.
    pub moved: Vec<(String, Position)>,
}
