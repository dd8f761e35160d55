//! Which objects of a store are no longer needed. Pure decisions.
//!
//! Deletions may come late, from a process that has lost its job meanwhile. So names that a later startup could reuse are never deleted: every
//! deleted name begins with the generation that wrote it.

#[cfg(test)]
mod tests;

use super::plan::LogName;
use super::resolve::{log_needed, owner};
use super::types::Manifest;
use millstream_base::ids::{BatchId, Generation};
use std::collections::BTreeSet;

/// Returns the paths among `objects` that may be deleted after this manifest was written by its generation. Objects of later generations, objects
/// that the manifest names, and unknown objects are kept.
///
/// `blobs` are the paths in the job records of all of the manifest's starts; `None`: some record could not be read, so that no blob is deleted.
pub fn garbage(manifest: &Manifest, objects: &[String], blobs: Option<&BTreeSet<String>>) -> Vec<String> {
    let tables = manifest.checkpoints.iter().flat_map(|checkpoint| &checkpoint.tables);
    let files: BTreeSet<&str> = tables.flat_map(|table| &table.files).map(|file| file.path.as_str()).collect();
    let records: BTreeSet<String> = manifest.starts.iter().map(super::types::JobStart::record_path).collect();
    let logs = logs(objects);
    let needless = |path: &&String| match kind(path) {
        Some(ObjectKind::State { generation, batch }) => {
            !files.contains(path.as_str()) && state_is_over(manifest, generation, batch)
        }
        Some(ObjectKind::Log(log)) => log_is_over(manifest, &log, successor(&logs, &log)),
        Some(ObjectKind::Record(generation)) => generation <= manifest.generation && !records.contains(path.as_str()),
        Some(ObjectKind::Blob(generation)) => {
            generation <= manifest.generation && blobs.is_some_and(|blobs| !blobs.contains(path.as_str()))
        }
        None => false,
    };
    objects.iter().filter(needless).cloned().collect()
}

/// Returns whether a file of state that no kept checkpoint names will not be named by a later one either. Those of an older generation never will;
/// this one may be writing files of future checkpoints.
fn state_is_over(manifest: &Manifest, generation: Generation, batch: BatchId) -> bool {
    let is_included = manifest.newest().is_some_and(|newest| batch <= newest.batch);
    generation < manifest.generation || (generation == manifest.generation && is_included)
}

/// Returns whether no start can need a log any longer, whichever of the kept checkpoints it loads.
fn log_is_over(manifest: &Manifest, log: &LogName, successor: Option<BatchId>) -> bool {
    let last = manifest.starts.last().is_some_and(|last| last.generation == log.generation) && successor.is_none();
    let oldest = manifest.checkpoints.first();
    log.generation <= manifest.generation && !last && !log_needed(&manifest.starts, log, successor, oldest)
}

/// Removes unneeded starts from the manifest: those before the one that planned the batch of the oldest kept checkpoint. They own no later batch, and
/// rows that they left unplanned are in that checkpoint. If the checkpoint records that some are not, nothing is removed.
pub fn trim_starts(manifest: &mut Manifest) {
    let oldest = manifest.checkpoints.first().filter(|oldest| !oldest.leftover);
    let Some(oldest) = oldest.map(|oldest| oldest.batch) else { return };
    // Upgrades are starts of the same generation, so indices are compared.
    let starts = &mut manifest.starts;
    if let Some(index) = owner(starts, oldest).and_then(|of| starts.iter().rposition(|start| start == of)) {
        starts.drain(..index);
    }
}

/// The kind of an object, by its path.
enum ObjectKind {
    /// `state/<generation>-<batch>-<worker>-<table>.arrow`, and with `<worker>.<number>` the further files of a large table.
    State { generation: Generation, batch: BatchId },
    /// `plans/<generation>-<process>-<after>.log`
    Log(LogName),
    /// `jobs/<generation>-<digest>.json`
    Record(Generation),
    /// `blobs/<generation>-<digest>`
    Blob(Generation),
}

fn kind(path: &str) -> Option<ObjectKind> {
    let (dir, name) = path.split_once('/')?;
    if name.contains('/') {
        return None;
    }
    match dir {
        "state" => {
            let mut parts = name.strip_suffix(".arrow")?.splitn(4, '-');
            let generation = Generation(number(parts.next()?, 6)?);
            let batch = BatchId(number(parts.next()?, 12)?);
            let worker = parts.next()?;
            let (worker, further) = worker.split_once('.').map_or((worker, "1"), |(worker, further)| (worker, further));
            number(worker, 3)?;
            number(further, 1)?;
            parts.next().filter(|table| !table.is_empty())?;
            Some(ObjectKind::State { generation, batch })
        }
        "plans" => LogName::parse(path).map(ObjectKind::Log),
        "jobs" => generation_of(name.strip_suffix(".json")?).map(ObjectKind::Record),
        "blobs" => generation_of(name).map(ObjectKind::Blob),
        _ => None,
    }
}

/// Returns the logs among paths.
pub(super) fn logs<'a>(paths: impl IntoIterator<Item = &'a String>) -> Vec<LogName> {
    paths.into_iter().filter_map(|path| LogName::parse(path)).collect()
}

/// Returns the `after` of the next log of the same generation and process.
pub(super) fn successor(logs: &[LogName], log: &LogName) -> Option<BatchId> {
    let same = logs.iter().filter(|other| other.generation == log.generation && other.process == log.process);
    same.map(|other| other.after).filter(|after| *after > log.after).min()
}

/// Returns the generation before a digest.
fn generation_of(name: &str) -> Option<Generation> {
    let (generation, digest) = name.split_once('-')?;
    let hex = !digest.is_empty() && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    number(generation, 6).filter(|_| hex).map(Generation)
}

/// Parses a number written with at least `digits` digits; other forms are rejected.
fn number(text: &str, digits: usize) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (format!("{number:0digits$}") == text).then_some(number)
}
