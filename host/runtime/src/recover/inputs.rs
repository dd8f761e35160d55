//! Checks that the files that a startup is going to replay or to continue still exist and are long enough. This is done
//! before the job is claimed, so a startup without them is rejected before anything changes.

use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_connect::receiver::{outage::Outage, replay};
use millstream_engine::checkpoint::plan::{self, LogHeads};
use millstream_engine::checkpoint::positions::PositionTable;
use millstream_engine::checkpoint::resolve::ResumePlan;
use millstream_engine::checkpoint::store::Store;
use millstream_engine::checkpoint::types::{Manifest, TableOf};
use millstream_engine::graph::Graph;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::partition::{Share, source_of};
use millstream_rows::batch::position::{Position, Positions, move_all};
use std::collections::BTreeMap;
use std::path::Path;

/// What is needed of a file.
#[derive(Default)]
struct NeededInput {
    /// The number of bytes needed from its start.
    bytes: u64,
    /// The first batch to replay that needs some of them, and the batch before it.
    planned: Option<(BatchId, BatchId)>,
}

/// Fails if a file of a source that process 0 receives, or lists, is missing or has shrunk. The error names the file
/// and what to do.
pub fn check(
    graph: &Graph,
    store: &dyn Store,
    manifest: &Manifest,
    logs: &[LogHeads],
    resume: &ResumePlan,
    processes: usize,
) -> Result<()> {
    let sources = graph.spec.sources.iter().enumerate();
    let mine = sources.filter(|(number, source)| source.kind.share(*number, (0, processes)).is_some());
    for (_, source) in mine.filter(|(_, source)| reads_files(source)) {
        let needed = needed_inputs(source, store, manifest, logs, resume)?;
        for (name, needed) in needed.iter().filter(|(_, needed)| needed.bytes > 0) {
            check_file(source, &graph.spec.origin, name, needed)?;
        }
    }
    Ok(())
}

fn reads_files(source: &SourceSpec) -> bool {
    let kind = &source.kind;
    kind.file().or(kind.dir()).or(kind.retry_dir()).is_some()
}

/// Returns what a startup reads of the files of a source, by name.
fn needed_inputs(
    source: &SourceSpec,
    store: &dyn Store,
    manifest: &Manifest,
    logs: &[LogHeads],
    resume: &ResumePlan,
) -> Result<BTreeMap<String, NeededInput>> {
    let mut positions = held_positions(source, store, manifest, resume)?;
    let mut needed: BTreeMap<String, NeededInput> = BTreeMap::new();
    let mut before = BTreeMap::new();
    let mut last = resume.checkpoint;
    for (batch, planned) in &resume.replay {
        before.insert(*batch, (planned.generation, last));
        last = *batch;
    }
    let mut moved = BTreeMap::new();
    plan::read_entries(
        store,
        logs,
        |name, head| {
            let counts = before.get(&head.batch).is_some_and(|(generation, _)| *generation == name.generation);
            counts && source_of(&head.source) == source.name
        },
        |_, entry| {
            let Some((_, before)) = before.get(&entry.batch) else { return };
            for chunk in entry.chunks {
                let end = chunk.extent.start.saturating_add(chunk.extent.length());
                let needed = needed.entry(chunk.extent.file).or_default();
                needed.bytes = needed.bytes.max(end);
                needed.planned = needed.planned.into_iter().chain([(entry.batch, *before)]).min();
            }
            moved.entry(entry.batch).or_insert_with(Vec::new).extend(entry.moved);
        },
    )?;
    move_all(&mut positions, moved.into_values().flatten());
    // A missing file that is followed is reported by its receiver, and the job continues without it.
    positions.retain(|_, _| source.kind.log().is_none());
    // If each line is a batch, the mark of a position is a row of one.
    let ends = !source.kind.is_batch_source();
    for (name, position) in positions.into_iter().filter(|(_, position)| !ends || !position.ended()) {
        let needed = needed.entry(name).or_default();
        needed.bytes = needed.bytes.max(position.offset);
    }
    Ok(needed)
}

/// Returns the positions of a source in the checkpoint that is going to be loaded.
fn held_positions(
    source: &SourceSpec,
    store: &dyn Store,
    manifest: &Manifest,
    resume: &ResumePlan,
) -> Result<Positions> {
    let loaded = manifest.checkpoints.iter().find(|checkpoint| checkpoint.batch == resume.checkpoint);
    let tables = loaded.into_iter().flat_map(|checkpoint| &checkpoint.tables);
    let mut tables = tables.filter(|table| table.of == TableOf::Source && !resume.dropped.contains(&table.name));
    let Some(table) = tables.find(|table| table.name == source.name) else { return Ok(Positions::new()) };
    Ok(PositionTable::load(table, Share::ALL, store)?.positions().clone())
}

fn check_file(source: &SourceSpec, origin: &Origin, file: &str, needed: &NeededInput) -> Result<()> {
    let at = Position { offset: needed.bytes, mark: 0 };
    let (path, what) = match (replay::file_of(source, origin, file, at), source.kind.log()) {
        (Some(path), _) => match read_failure(source, &path, needed)? {
            Some(what) => (path, what),
            None => return Ok(()),
        },
        (None, Some(path)) => {
            (origin.dir.join(path), "is now another file, and neither the original nor a copy is next to it".into())
        }
        (None, None) => return Ok(()),
    };
    let (name, bytes, path) = (&source.name, needed.bytes, path.display());
    let choice = match needed.planned {
        // Its input would be lost silently, or be read again from another position.
        Some((batch, BatchId(0))) => format!(
            "batch {batch}, which must be replayed, needs it. Restore it unchanged, or start from scratch with \
             `--fresh`"
        ),
        Some((batch, before)) => format!(
            "batch {batch}, which must be replayed, needs it. Restore it unchanged, or go back to the previous \
             batch with `--resume-from {before}`"
        ),
        None => format!(
            "restore it unchanged, or discard its position with `--drop-state {name}`: everything is then read from \
             the beginning"
        ),
    };
    Err(Error::job(format!("source `{name}`: `{path}`, whose first {bytes} bytes are in batches, {what}; {choice}")))
}

/// Returns whether a file still has this many bytes.
fn has_bytes(source: &SourceSpec, path: &Path, bytes: u64) -> std::io::Result<bool> {
    source.kind.declared().map_or(Ok(true), |config| config.has_bytes(source, path, bytes))
}

/// Returns why a file cannot be read again, if so. A missing file is waited for.
fn read_failure(source: &SourceSpec, path: &Path, needed: &NeededInput) -> Result<Option<String>> {
    let pause = |time| {
        std::thread::sleep(time);
        true
    };
    let _ = Outage::new(source, path).wait_out(|| std::fs::metadata(path), pause);
    Ok(match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("no longer exists".to_owned()),
        Err(error) => return Err(Error::environment(format!("cannot inspect {}: {error}", path.display()))),
        Ok(metadata) if !metadata.is_file() => Some(format!("cannot be read again: {}", replay::NOT_A_FILE)),
        Ok(metadata) => {
            let cannot = |error| Error::environment(format!("cannot read {}: {error}", path.display()));
            match has_bytes(source, path, needed.bytes).map_err(cannot)? {
                true => None,
                false => Some(format!("has shrunk to {} bytes", metadata.len())),
            }
        }
    })
}
