//! The facts of recovery, as they are stored and as decisions are made over them. No I/O, no clock.

use crate::checkpoint::meaning::MeaningDigests;
use arrow::datatypes::Field;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_rows::batch::chunk::PlannedChunk;
use millstream_rows::batch::position::Position;
use millstream_rows::batch::types::ColumnType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The column of a state file with the last time at which the key had rows: a timestamp, in microseconds.
pub const TOUCHED: &str = "millstream_touched";
/// The column of a state file that marks a key's state as removed: a boolean. Such a row has no state.
pub const REMOVED: &str = "millstream_removed";

/// The object that determines what is valid. It is replaced atomically: a checkpoint exists once the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manifest {
    /// The job's name.
    pub job: String,
    /// 32 hexadecimal digits, generated at the job's first start. Sinks store it with their marker.
    pub job_id: String,
    /// The generation of the startup that wrote this manifest.
    pub generation: Generation,
    /// The starts whose plans may still be needed, oldest first; the last is the current one.
    pub starts: Vec<JobStart>,
    /// The kept checkpoints, oldest first.
    pub checkpoints: Vec<Checkpoint>,
}

impl Manifest {
    /// Returns the newest checkpoint.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }
}

/// One start of the job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobStart {
    /// Its generation.
    pub generation: Generation,
    /// The last valid batch of older generations: this one replays up to there. Their plans of later batches are void.
    pub after: BatchId,
    /// The first batch that this generation plans: the next one, or a later one if the ids between were used by batches that were abandoned
    /// (`--resume-from`). Ids are never reused.
    pub first: BatchId,
    /// The checkpoint that it loads; zero: none.
    pub checkpoint: BatchId,
    /// Workers of the complete job.
    pub workers: u32,
    /// The sources: a batch is planned when each of them has a plan for it.
    pub sources: Vec<String>,
    /// Digest of the [`JobRecord`], see [`JobStart::record_path`].
    pub job_digest: String,
    /// The job was not restarted: the running process replaced a plugin after the batch `after`.
    #[serde(default)]
    pub upgrade: bool,
    /// When that was, by the machine's clock in microseconds; zero: an earlier version did not record it.
    #[serde(default)]
    pub started_us: i64,
}

impl JobStart {
    /// Returns the path of the [`JobRecord`] of this startup. Each startup has its own, under its generation: records are deleted by name, perhaps
    /// late, so names must not be reused by later startups.
    pub fn record_path(&self) -> String {
        format!("jobs/{:06}-{}.json", self.generation.0, self.job_digest)
    }
}

/// Returns the path of bytes with this digest stored by the start of a generation, see [`JobRecord::blobs`].
pub fn blob_path(generation: Generation, digest: &str) -> String {
    format!("blobs/{:06}-{digest}", generation.0)
}

/// Everything needed to replay a batch exactly: stored as bytes next to the checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The text of the job file, with the names of variables and not with their values.
    pub text: String,
    /// Values set on the command line.
    pub sets: Vec<(String, String)>,
    /// The directory for relative paths.
    #[serde(rename = "folder")]
    pub dir: String,
    /// The paths of the stored bytes of components and granted files, by path as in the job, see [`blob_path`]. A startup may refer to a blob of the
    /// last startup instead of writing it again, but not to older ones, which may be about to be deleted.
    pub blobs: BTreeMap<String, String>,
    /// Columns of type `timestamp` have a unit, so that plain numbers are not times. Records of earlier versions do not have this flag: there they
    /// were microseconds, as `timestamp(us)` is now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub units_are_said: bool,
    /// `${NAME}` stands for an environment variable. Records of earlier versions do not have this flag: there it was plain text.
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
    /// The generation that wrote it.
    pub generation: Generation,
    /// When it was written, by the machine's clock, in microseconds since 1970.
    pub written: i64,
    /// State of stages and positions of sources.
    pub tables: Vec<Table>,
    /// The markers of the sinks that keep one, by name. A sink whose marker is older than this is not the same one.
    #[serde(default)]
    pub sinks: BTreeMap<String, BatchId>,
    /// Rows received by starts before the one that wrote it were in no batch yet. It was made during a replay, and logs of startups before the owner
    /// of its batch may hold such rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leftover: bool,
}

/// What a table belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableOf {
    /// State by key of a stage.
    Stage,
    /// Positions of a source.
    Source,
}

/// A table of a checkpoint: rows by key, in files that are applied one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Table {
    /// What it belongs to.
    pub of: TableOf,
    /// Name of the stage or source.
    pub name: String,
    /// Identifies its origin, and changes when the table must no longer be used: of a source, kind and path or address.
    pub identity: String,
    /// What its rows were computed from, if their columns do not show it: streams and columns, by index. Empty in checkpoints of earlier versions,
    /// and if it is not needed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reads: String,
    /// The key columns: their hash determines which worker has a row.
    pub key: Vec<Column>,
    /// Columns that distinguish the rows of one key, for example the start of a window; none: a key has one row.
    #[serde(default)]
    pub sub: Vec<Column>,
    /// The state columns.
    pub state: Vec<Column>,
    /// The version of the plugin that made the states; empty if there is none, or if it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// How its rows were computed, and what is made of the changes that its stage emits.
    #[serde(default, skip_serializing_if = "MeaningDigests::is_empty")]
    pub meaning: MeaningDigests,
    /// Its files, in the order in which they apply.
    pub files: Vec<StateFile>,
}

impl Table {
    /// Creates a table of a stage, without files. `columns`: key, sub key, and state.
    pub fn of_stage(name: impl Into<String>, identity: impl Into<String>, columns: [Vec<Column>; 3]) -> Table {
        let [key, sub, state] = columns;
        let (name, identity, reads, version) = (name.into(), identity.into(), String::new(), String::new());
        let (meaning, files) = (MeaningDigests::default(), Vec::new());
        Table { of: TableOf::Stage, name, identity, reads, key, sub, state, version, meaning, files }
    }

    /// Sets what its rows are computed from.
    #[must_use]
    pub fn reading(mut self, reads: impl Into<String>) -> Table {
        self.reads = reads.into();
        self
    }
}

/// A column in the manifest.
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
    /// Creates a column that is never null.
    pub fn new(name: &str, kind: ColumnType) -> Column {
        Column { name: name.into(), kind: kind.to_string(), nullable: false }
    }

    /// Describes columns for people, for example `(word text, n int64 or null)`.
    pub fn list_columns(columns: &[Column]) -> String {
        let described = columns.iter().map(|column| {
            let null = if column.nullable { " or null" } else { "" };
            format!("{} {}{null}", column.name, column.kind)
        });
        format!("({})", described.collect::<Vec<_>>().join(", "))
    }

    /// Converts Arrow fields.
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = &'a Arc<Field>>) -> Vec<Column> {
        let column = |field: &Arc<Field>| Column {
            name: field.name().clone(),
            kind: ColumnType::from_arrow(field.data_type()).to_string(),
            nullable: field.is_nullable(),
        };
        fields.into_iter().map(column).collect()
    }
}

/// A file of rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateFile {
    /// Its path in the store: `state/<generation>-<batch>-<worker>-<stage>.arrow`.
    pub path: String,
    /// The batch of the checkpoint for which it was written.
    pub batch: BatchId,
    /// The first key group of the worker that wrote it.
    pub group_first: u32,
    /// The key group after the last.
    pub group_end: u32,
    /// It holds all rows of its key groups, so that older files are superseded there; otherwise it holds only changes.
    pub base: bool,
    /// Number of rows, including removals.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// XXH3-64 of the file, 16 hexadecimal digits.
    pub checksum: String,
    /// The same of its footer and what follows, if that has an index, so that rows can be read one by one; empty otherwise.
    // Always serialized: workers exchange files in a format that cannot omit anything.
    #[serde(default)]
    pub footer: String,
}

/// The part of one batch that comes from one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// The batch.
    pub batch: BatchId,
    /// Its time, as worker 0 decided it.
    pub time: BatchTime,
    /// The source.
    pub source: String,
    /// The batch was created for windows of processing time, see [`crate::operators::window::state::empty_batches`].
    pub made_up: bool,
    /// The chunks, in order. Replay makes the same ones.
    pub chunks: Vec<PlannedChunk>,
    /// The positions that this batch changed, after it.
    pub moved: Vec<(String, Position)>,
}
