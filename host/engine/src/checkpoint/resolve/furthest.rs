//! How far a startup can get, from which checkpoint, and the errors if that is not far enough.

use super::{PlannedBatch, StartFacts, history};
use crate::checkpoint::gc;
use crate::checkpoint::plan::LogName;
use crate::checkpoint::types::{Checkpoint, Manifest};
use millstream_base::ids::BatchId;

/// Maximum damaged objects named in one message.
const DAMAGED_SHOWN: usize = 5;

/// A starting point: a checkpoint, or none if all batches since the first are planned.
pub struct StartingPoint<'a> {
    /// The last batch that it holds.
    pub batch: BatchId,
    /// The checkpoint; `None`: the state is empty.
    pub checkpoint: Option<&'a Checkpoint>,
    /// The batches planned after it without a gap.
    pub run: Vec<(BatchId, PlannedBatch)>,
}

impl StartingPoint<'_> {
    /// Returns the last batch that can be reached from here.
    pub fn reach(&self) -> BatchId {
        self.run.last().map_or(self.batch, |(batch, _)| *batch)
    }

    fn reaches(&self, batch: BatchId) -> bool {
        self.batch == batch || self.run.iter().any(|(planned, _)| *planned == batch)
    }
}

fn base<'a>(found: &StartFacts, manifest: &Manifest, checkpoint: Option<&'a Checkpoint>) -> StartingPoint<'a> {
    let batch = checkpoint.map_or(BatchId(0), |checkpoint| checkpoint.batch);
    StartingPoint { batch, checkpoint, run: history::run(&manifest.starts, &found.planned, batch) }
}

/// Returns the starting points, oldest first.
fn bases<'a>(found: &StartFacts, manifest: &'a Manifest) -> Vec<StartingPoint<'a>> {
    let empty = base(found, manifest, None);
    let reachable = manifest.checkpoints.first().is_none_or(|oldest| empty.reaches(oldest.batch));
    let intact = manifest.checkpoints.iter().filter(|checkpoint| damaged_files(found, checkpoint).is_empty());
    let intact = intact.map(|checkpoint| base(found, manifest, Some(checkpoint)));
    reachable.then_some(empty).into_iter().chain(intact).collect()
}

/// Returns the newest checkpoint and everything planned after it. Fails if some of it is damaged or missing.
pub fn newest<'a>(found: &StartFacts, manifest: &'a Manifest) -> Result<StartingPoint<'a>, String> {
    let newest = base(found, manifest, manifest.newest());
    let mut damaged = newest.checkpoint.map_or_else(Vec::new, |checkpoint| damaged_files(found, checkpoint));
    damaged.extend(damaged_logs(found, manifest, newest.checkpoint));
    if !damaged.is_empty() {
        let shown = damaged.iter().take(DAMAGED_SHOWN);
        let mut lines: Vec<_> = shown.map(|(path, reason)| format!("`{path}` cannot be read: {reason}")).collect();
        if damaged.len() > DAMAGED_SHOWN {
            lines.push(format!("and {} more", damaged.len() - DAMAGED_SHOWN));
        }
        let location =
            if newest.batch.0 == 0 { "at the first batch".into() } else { format!("after batch {}", newest.batch) };
        let summary = format!("the job cannot resume from its newest checkpoint ({location}):\n{}", lines.join("\n"));
        return Err(resolve_error(&summary, found, manifest));
    }
    let (reach, last) = (newest.reach(), manifest.starts.last());
    if let Some(last) = last.filter(|last| last.after > reach) {
        let summary = format!(
            "plans are missing: batches up to {} were planned when the job was last started, but those after batch {reach} \
             are missing.",
            last.after
        );
        return Err(resolve_error(&summary, found, manifest));
    }
    // Batches committed by sinks that were abandoned since do not matter.
    let last_abandoned = last.map_or(reach, |last| reach.max(BatchId(last.first.0.saturating_sub(1))));
    let beyond = found.committed.iter().filter(|(_, committed)| **committed > last_abandoned);
    let beyond: Vec<_> = beyond.map(|(sink, batch)| format!("sink `{sink}` has committed batch {batch}")).collect();
    if !beyond.is_empty() {
        let summary = format!(
            "plans are missing: {}, but the existing plans end with batch {reach}, so the content of that batch is \
             unknown.",
            beyond.join(", ")
        );
        return Err(resolve_error(&summary, found, manifest));
    }
    Ok(newest)
}

/// Returns the newest intact checkpoint from which this batch can be reached.
pub fn newest_base<'a>(
    found: &StartFacts,
    manifest: &'a Manifest,
    batch: BatchId,
) -> Result<StartingPoint<'a>, String> {
    let mut bases = bases(found, manifest);
    if let Some(index) = bases.iter().rposition(|base| base.reaches(batch)) {
        return Ok(bases.swap_remove(index));
    }
    let ranges = ranges(&bases);
    let ranges = if ranges.is_empty() { "none; `--fresh` starts from scratch".to_owned() } else { ranges.join(", ") };
    Err(format!("`--resume-from {batch}`: that batch cannot be reached exactly. Batches that can: {ranges}."))
}

/// Returns the checkpoint after this batch, and everything planned after it. Fails if it does not reach as far as the newest one, so that nothing is
/// abandoned.
pub fn from_checkpoint<'a>(
    found: &StartFacts,
    manifest: &'a Manifest,
    batch: BatchId,
) -> Result<StartingPoint<'a>, String> {
    let reach = newest(found, manifest)?.reach();
    let mut intact: Vec<_> = bases(found, manifest).into_iter().filter(|base| base.reach() == reach).collect();
    if let Some(index) = intact.iter().position(|base| base.batch == batch) {
        return Ok(intact.swap_remove(index));
    }
    let others: Vec<_> = intact.iter().map(|base| base.batch.to_string()).collect();
    Err(format!(
        "`--replay-from {batch}`: no complete checkpoint after that batch allows a replay of all later batches. \
         Batches with such a checkpoint: {}.",
        others.join(", ")
    ))
}

/// Describes which batches can be reached.
fn ranges(bases: &[StartingPoint]) -> Vec<String> {
    let mut ranges: Vec<(BatchId, BatchId)> = Vec::new();
    for base in bases {
        match ranges.last_mut() {
            Some((_, end)) if base.batch <= *end => *end = base.reach().max(*end),
            _ => ranges.push((base.batch, base.reach())),
        }
    }
    ranges.into_iter().map(|(first, last)| batches(first, last)).collect()
}

fn batches(first: BatchId, last: BatchId) -> String {
    if first == last { format!("{first}") } else { format!("{first} to {last}") }
}

/// Describes what went wrong, and what can still be done.
fn resolve_error(summary: &str, found: &StartFacts, manifest: &Manifest) -> String {
    // The newest of those that reach equally far: it has the least to replay.
    let Some(best) = bases(found, manifest).into_iter().max_by_key(StartingPoint::reach) else {
        return format!(
            "{summary}\nNo other checkpoint can be read either: restore the missing files from a copy, or start from \
             scratch with `--fresh`."
        );
    };
    let reach = best.reach();
    let from = match best.checkpoint {
        Some(checkpoint) => format!("the checkpoint after batch {}", checkpoint.batch),
        None => "the beginning".to_owned(),
    };
    let plans = match best.run.first() {
        Some((first, _)) => format!(" and the plans of batches {}", batches(*first, reach)),
        None => String::new(),
    };
    let ahead = found.committed.iter().filter(|(_, committed)| **committed > reach);
    let ahead: Vec<_> = ahead.map(|(sink, last)| format!("sink `{sink}` (up to batch {last})")).collect();
    let repeats = if ahead.is_empty() {
        "no sink has committed a later batch, so nothing is repeated".to_owned()
    } else {
        format!(
            "their input after batch {reach} is read again with new IDs, which repeats rows in {}",
            ahead.join(", ")
        )
    };
    format!(
        "{summary}\nRestore it from a copy, or continue without it: the last batch that can still be reached exactly is {reach}, \
         from {from}{plans}: `--resume-from {reach}`; {repeats}."
    )
}

/// Returns the files of a checkpoint that cannot be read, with the reason.
fn damaged_files<'a>(found: &'a StartFacts, checkpoint: &Checkpoint) -> Vec<(&'a str, &'a str)> {
    let files = checkpoint.tables.iter().flat_map(|table| &table.files);
    let damaged = files.filter_map(|file| found.damaged.get_key_value(&file.path));
    damaged.map(|(path, reason)| (path.as_str(), reason.as_str())).collect()
}

/// Returns the unreadable logs that are needed after this checkpoint, with the reason.
fn damaged_logs<'a>(
    found: &'a StartFacts,
    manifest: &Manifest,
    checkpoint: Option<&Checkpoint>,
) -> Vec<(&'a str, &'a str)> {
    let logs = gc::logs(found.objects.iter().chain(found.damaged.keys()));
    let damaged = found.damaged.iter().filter(|(path, _)| {
        LogName::parse(path)
            .is_some_and(|log| history::log_needed(&manifest.starts, &log, gc::successor(&logs, &log), checkpoint))
    });
    damaged.map(|(path, reason)| (path.as_str(), reason.as_str())).collect()
}
