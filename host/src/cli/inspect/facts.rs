//! Collects the facts about a checkpoint directory.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_engine::checkpoint::store::Store;
use millstream_engine::checkpoint::types::{Checkpoint, Column, JobStart, Manifest, Table, TableOf};
use millstream_engine::checkpoint::{fold, plan, resolve};
use millstream_engine::state::merged;
use millstream_rows::batch::keys::KEY_GROUPS;
use millstream_rows::batch::partition::{counted, counts_rows, source_of};
use millstream_rows::batch::position::{Position, Positions};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::Path;

/// Prefixes of the identity of a source whose rows are kept in plans.
const RECEIVED: [&str; 3] = ["socket ", "raw-socket ", "http server"];

/// The same if each of several servers has its own count.
const SERVERS: &str = "several ";

/// A checkpoint directory as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct DirFacts {
    /// The directory or URL.
    pub place: String,
    pub job: String,
    pub job_id: String,
    pub generation: Generation,
    /// Whether a process runs the job now. `None` if the store cannot tell.
    pub running: Option<bool>,
    pub starts: Vec<JobStart>,
    /// Oldest first.
    pub checkpoints: Vec<CheckpointFacts>,
    /// How far each source was read, by name, at the newest checkpoint.
    pub positions: BTreeMap<String, SourceFacts>,
    /// Rows that each source received durably, if they cannot be read a second time: rows of planned batches, and rows
    /// of future ones. A sender can continue after them. Each of several servers has its own count, after the name of
    /// the source.
    pub received: BTreeMap<String, u64>,
    /// Batches after the newest checkpoint that the next startup replays.
    pub planned: Option<PlannedFacts>,
    /// The content of the directory, by kind.
    pub stored: BTreeMap<String, StoredObjects>,
    /// What is missing or cannot be read.
    pub problems: Vec<String>,
}

/// A kept checkpoint.
#[derive(Debug, Serialize)]
pub struct CheckpointFacts {
    pub batch: BatchId,
    pub time: BatchTime,
    pub written: i64,
    pub generation: Generation,
    pub files: usize,
    /// The size of all its files. Checkpoints share files.
    pub bytes: u64,
    pub tables: Vec<TableFacts>,
    /// The last batch that each sink had committed, if the sink tracks that.
    pub sinks: BTreeMap<String, BatchId>,
}

/// A table of a checkpoint.
#[derive(Debug, Serialize)]
pub struct TableFacts {
    pub of: TableOf,
    pub name: String,
    pub identity: String,
    pub key: Vec<Column>,
    pub state: Vec<Column>,
    pub base: FilesFacts,
    pub changes: FilesFacts,
}

/// Files of one kind.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilesFacts {
    pub files: usize,
    pub rows: u64,
    pub bytes: u64,
}

/// How far a source was read.
#[derive(Debug, Serialize)]
pub struct SourceFacts {
    pub source: String,
    pub files: Positions,
}

/// Planned batches.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct PlannedFacts {
    pub first: BatchId,
    pub last: BatchId,
    pub batches: usize,
}

/// Objects of one directory.
#[derive(Debug, Default, Serialize)]
pub struct StoredObjects {
    pub objects: usize,
    pub bytes: u64,
}

impl DirFacts {
    /// Reads a checkpoint directory. What cannot be read is listed in the problems. `dir`: its path if it is local.
    pub fn read(store: &dyn Store, manifest: &Manifest, dir: Option<&Path>) -> Result<DirFacts> {
        let mut problems = Vec::new();
        let (mut stored, mut lengths) = (BTreeMap::new(), BTreeMap::new());
        for dir in ["plans", "state", "jobs", "blobs"] {
            let objects = store.list(dir).map_err(Error::environment)?;
            let bytes = objects.iter().map(|object| object.bytes).sum();
            stored.insert(dir.to_owned(), StoredObjects { objects: objects.len(), bytes });
            lengths.extend(objects.into_iter().map(|object| (object.path, object.bytes)));
        }
        missing(manifest, &lengths, &mut problems);
        let newest = manifest.checkpoints.last();
        let mut note = |error: Error| problems.push(error.message);
        let positions = newest.map(|checkpoint| positions(store, checkpoint, &mut note)).unwrap_or_default();
        let received = received(store, manifest, &positions).map_err(&mut note).unwrap_or_default();
        let planned = planned(store, manifest).map_err(&mut note).ok().flatten();
        Ok(DirFacts {
            place: store.location(),
            job: manifest.job.clone(),
            job_id: manifest.job_id.clone(),
            generation: manifest.generation,
            running: dir.and_then(running),
            starts: manifest.starts.clone(),
            checkpoints: manifest.checkpoints.iter().map(CheckpointFacts::new).collect(),
            positions,
            received,
            planned,
            stored,
            problems,
        })
    }
}

impl CheckpointFacts {
    fn new(checkpoint: &Checkpoint) -> CheckpointFacts {
        let Checkpoint { batch, time, generation, written, tables, sinks, leftover: _ } = checkpoint;
        let files = tables.iter().flat_map(|table| &table.files);
        CheckpointFacts {
            batch: *batch,
            time: *time,
            written: *written,
            generation: *generation,
            files: files.clone().count(),
            bytes: files.map(|file| file.bytes).fold(0, u64::saturating_add),
            tables: tables.iter().map(TableFacts::new).collect(),
            sinks: sinks.clone(),
        }
    }
}

impl TableFacts {
    fn new(table: &Table) -> TableFacts {
        let Table { of, name, identity, key, sub, state, version: _, files, reads: _, meaning: _ } = table;
        let (mut base, mut changes) = (FilesFacts::default(), FilesFacts::default());
        for file in fold::applicable(files, 0, KEY_GROUPS as u32) {
            let sort = if file.base { &mut base } else { &mut changes };
            sort.files += 1;
            sort.rows = sort.rows.saturating_add(file.rows);
            sort.bytes = sort.bytes.saturating_add(file.bytes);
        }
        let (name, identity) = (name.clone(), identity.clone());
        TableFacts {
            of: *of,
            name,
            identity,
            key: key.iter().chain(sub).cloned().collect(),
            state: state.clone(),
            base,
            changes,
        }
    }
}

/// Reports the files of checkpoints that are missing or have another length.
fn missing(manifest: &Manifest, lengths: &BTreeMap<String, u64>, problems: &mut Vec<String>) {
    let mut reported = std::collections::BTreeSet::new();
    for checkpoint in &manifest.checkpoints {
        for file in checkpoint.tables.iter().flat_map(|table| &table.files) {
            if lengths.get(&file.path) == Some(&file.bytes) || !reported.insert(&file.path) {
                continue;
            }
            problems.push(match lengths.get(&file.path) {
                None => format!("{} is missing; the checkpoint of batch {} needs it", file.path, checkpoint.batch),
                Some(bytes) => format!("{} has {bytes} bytes, but was written with {}", file.path, file.bytes),
            });
        }
    }
}

fn positions(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    note: &mut impl FnMut(Error),
) -> BTreeMap<String, SourceFacts> {
    let mut sources = BTreeMap::new();
    for table in checkpoint.tables.iter().filter(|table| table.of == TableOf::Source) {
        match merged::merged(store, table).and_then(|rows| files_of(&rows)) {
            Ok(files) => {
                sources.insert(table.name.clone(), SourceFacts { source: table.identity.clone(), files });
            }
            Err(error) => note(error),
        }
    }
    sources
}

/// Returns the rows of a source's table: file, offset and mark.
fn files_of(rows: &arrow::array::RecordBatch) -> Result<Positions> {
    let text = rows.columns().first().and_then(|column| column.as_string_opt::<i32>());
    let number = |index: usize| rows.columns().get(index).and_then(|c| c.as_primitive_opt::<Int64Type>());
    let (Some(file), Some(offset), Some(mark)) = (text, number(1), number(2)) else {
        let has = millstream_rows::batch::types::describe(rows.schema_ref());
        return Err(Error::environment(format!(
            "positions of a source have the columns {has}, and need file, offset, mark"
        )));
    };
    let position = |row| Position { offset: u64::try_from(offset.value(row)).unwrap_or(0), mark: mark.value(row) };
    Ok((0..file.len()).map(|row| (file.value(row).to_owned(), position(row))).collect())
}

/// Rows of a plan's log: the generation that wrote them, the first row and the number of rows.
type Rows = (Generation, u64, u64);

/// Returns the received rows by source. Rows are counted since the job's first start, so entries are consecutive over
/// all startups.
fn received(
    store: &dyn Store,
    manifest: &Manifest,
    positions: &BTreeMap<String, SourceFacts>,
) -> Result<BTreeMap<String, u64>> {
    let newest = manifest.checkpoints.last().map_or(BatchId(0), |checkpoint| checkpoint.batch);
    // By source and the name of the position that counts them.
    let mut entries: BTreeMap<(String, String), Vec<Rows>> = BTreeMap::new();
    for (name, facts) in positions {
        if RECEIVED.iter().any(|kind| facts.source.starts_with(kind)) {
            entries.insert((name.clone(), String::new()), Vec::new());
        }
        if facts.source.starts_with(SERVERS) {
            let servers = facts.files.keys().filter(|position| counts_rows(position));
            entries.extend(servers.map(|position| ((name.clone(), position.clone()), Vec::new())));
        }
    }
    let are_servers = |source: &str| positions.get(source).is_some_and(|facts| facts.source.starts_with(SERVERS));
    let logs = plan::read_heads(store)?;
    let later = |_: &plan::LogName, head: &plan::Head| head.batch > newest;
    plan::read_entries(store, &logs, later, |name, entry| {
        let source = source_of(&entry.source);
        // Other partitions have their own counts.
        let counts = |file: &str| file.is_empty() || (counts_rows(file) && are_servers(source));
        for chunk in entry.chunks.iter().filter(|chunk| chunk.kept.is_some() && counts(&chunk.extent.file)) {
            let rows = (name.generation, chunk.extent.row, u64::from(chunk.rows));
            entries.entry((source.to_owned(), chunk.extent.file.clone())).or_default().push(rows);
        }
    })?;
    let end = |source: &str, position: &str| {
        positions.get(source).and_then(|facts| facts.files.get(position)).map_or(0, |at| at.offset)
    };
    let received = entries.into_iter().map(|((source, position), entries)| {
        let begin = end(&source, &position);
        let last = resolve::leftovers(begin, &entries).last().and_then(|(last, _)| entries.get(*last));
        let end = last.map_or(begin, |(_, row, rows)| row.saturating_add(*rows));
        (counted(&position).map_or_else(|| source.clone(), |server| format!("{source} {server}")), end)
    });
    Ok(received.collect())
}

fn planned(store: &dyn Store, manifest: &Manifest) -> Result<Option<PlannedFacts>> {
    let logs = plan::read_heads(store)?;
    let heads: Vec<_> = logs.into_iter().map(|log| (log.name, log.heads)).collect();
    let planned = resolve::planned(&manifest.starts, &heads);
    let newest = manifest.checkpoints.last().map_or(BatchId(0), |checkpoint| checkpoint.batch);
    let after: Vec<BatchId> = planned.into_keys().filter(|batch| *batch > newest).collect();
    let (Some(first), Some(last)) = (after.first(), after.last()) else { return Ok(None) };
    Ok(Some(PlannedFacts { first: *first, last: *last, batches: after.len() }))
}

/// Returns whether a process holds the lock of a local directory.
pub fn running(dir: &Path) -> Option<bool> {
    match millstream_base::regular::open(dir.join("lock")) {
        // A shared lock, released immediately.
        Ok(lock) => match lock.try_lock_shared() {
            Ok(()) => Some(false),
            Err(TryLockError::WouldBlock) => Some(true),
            Err(TryLockError::Error(_)) => None,
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}
