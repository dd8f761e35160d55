//! Which start a batch belongs to, and which batch follows which.
//!
//! A startup is valid from the batch after its `after` on, until a later startup begins there or earlier. The ids between its `after` and its `first`
//! were used by batches that were abandoned.

use super::PlannedBatch;
use crate::checkpoint::plan::{Head, LogName};
use crate::checkpoint::types::{Checkpoint, JobStart};
use millstream_base::ids::{BatchId, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the start whose plan of this batch is valid.
pub fn owner(starts: &[JobStart], batch: BatchId) -> Option<&JobStart> {
    starts.iter().rev().find(|start| start.after < batch)
}

/// Returns the batch after this one; `None` if it cannot have been planned.
pub fn next(starts: &[JobStart], batch: BatchId) -> Option<BatchId> {
    let mut next = BatchId(batch.0.checked_add(1)?);
    loop {
        let owner = owner(starts, next)?;
        if owner.first <= next {
            return Some(next);
        }
        next = owner.first;
    }
}

/// Returns the batches planned after this one without a gap, in order.
pub fn run(
    starts: &[JobStart],
    planned: &BTreeMap<BatchId, PlannedBatch>,
    after: BatchId,
) -> Vec<(BatchId, PlannedBatch)> {
    let mut run = Vec::new();
    let mut last = after;
    while let Some((batch, plan)) = next(starts, last).and_then(|batch| Some((batch, *planned.get(&batch)?))) {
        run.push((batch, plan));
        last = batch;
    }
    run
}

/// Returns the batches that are planned completely, and the generation of the plan: that of the newest start whose `after` is before the batch. Each
/// of its sources must have planned it.
pub fn planned(starts: &[JobStart], logs: &[(LogName, Vec<Head>)]) -> BTreeMap<BatchId, PlannedBatch> {
    let mut found: BTreeMap<BatchId, (&Head, BTreeSet<&str>)> = BTreeMap::new();
    for (log, heads) in logs {
        for head in heads {
            if owns(starts, log.generation, head.batch) {
                found.entry(head.batch).or_insert((head, BTreeSet::new())).1.insert(&head.source);
            }
        }
    }
    let complete = found.into_iter().filter_map(|(batch, (head, sources))| {
        let owner = owner(starts, batch)?;
        let complete = owner.sources.iter().all(|source| sources.contains(source.as_str()));
        complete
            .then_some((batch, PlannedBatch { time: head.time, generation: owner.generation, made_up: head.made_up }))
    });
    complete.collect()
}

/// Returns whether a log may hold anything that a job which has loaded this checkpoint (`None`: none) still reads: the plan of a later batch, or
/// received rows that no planned batch holds. `successor` is the `after` of the next log of the same generation and process.
///
/// A generation takes such rows into the first batches that it plans, and makes no checkpoint of its own batches before it has taken all of them. So
/// a checkpoint after a batch of a later generation holds everything in older logs. There is one exception: that generation ended before it had taken
/// all rows, and a later one made the checkpoint while it replayed the batches. Such a checkpoint records it ([`Checkpoint::leftover`]).
pub fn log_needed(
    starts: &[JobStart],
    log: &LogName,
    successor: Option<BatchId>,
    checkpoint: Option<&Checkpoint>,
) -> bool {
    let (batch, leftover) =
        checkpoint.map_or((BatchId(0), false), |checkpoint| (checkpoint.batch, checkpoint.leftover));
    let known = starts.iter().any(|start| start.generation == log.generation);
    let is_included =
        successor.is_some_and(|successor| successor <= batch && (!leftover || owns(starts, log.generation, successor)));
    let taken_over = owner(starts, batch).is_some_and(|owner| owner.generation > log.generation);
    known && !is_included && (leftover || !taken_over)
}

/// Returns whether an entry of a log is of an abandoned batch although the loaded checkpoint is after a later batch. Its rows may be in no batch yet.
/// Only true if the checkpoint records that there are such rows.
pub fn is_void_before(starts: &[JobStart], log: &LogName, batch: BatchId, checkpoint: &Checkpoint) -> bool {
    checkpoint.leftover
        && batch <= checkpoint.batch
        && starts.iter().any(|start| start.generation == log.generation)
        && !owns(starts, log.generation, batch)
}

/// Returns whether the valid plan of this batch is that of this generation.
fn owns(starts: &[JobStart], generation: Generation, batch: BatchId) -> bool {
    owner(starts, batch).is_some_and(|owner| owner.generation == generation && owner.first <= batch)
}
