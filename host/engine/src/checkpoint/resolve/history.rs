//! Which start a batch belongs to, and which batch follows which.
//!
//! A start counts from the batch behind its `after` on, until a later start begins there or before. The ids between its
//! `after` and its `first` were used up by batches that were given up.

use super::Planned;
use crate::checkpoint::plan::{Head, LogName};
use crate::checkpoint::types::{Checkpoint, JobStart};
use millstream_base::ids::{BatchId, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// The start whose plan of this batch counts.
pub fn owner(starts: &[JobStart], batch: BatchId) -> Option<&JobStart> {
    starts.iter().rev().find(|start| start.after < batch)
}

/// The batch that comes after this one. `None`: nobody was to plan it.
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

/// The batches planned after this one without a gap, in order.
pub fn run(starts: &[JobStart], planned: &BTreeMap<BatchId, Planned>, after: BatchId) -> Vec<(BatchId, Planned)> {
    let mut run = Vec::new();
    let mut last = after;
    while let Some((batch, plan)) = next(starts, last).and_then(|batch| Some((batch, *planned.get(&batch)?))) {
        run.push((batch, plan));
        last = batch;
    }
    run
}

/// Which batches are planned whole, and by which generation's plan: the newest start whose `after` lies before the
/// batch; each of its sources must have planned it.
pub fn planned(starts: &[JobStart], logs: &[(LogName, Vec<Head>)]) -> BTreeMap<BatchId, Planned> {
    let mut found: BTreeMap<BatchId, (&Head, BTreeSet<&str>)> = BTreeMap::new();
    for (log, heads) in logs {
        for head in heads {
            if owns(starts, log.generation, head.batch) {
                found.entry(head.batch).or_insert((head, BTreeSet::new())).1.insert(&head.source);
            }
        }
    }
    let whole = found.into_iter().filter_map(|(batch, (head, sources))| {
        let owner = owner(starts, batch)?;
        let whole = owner.sources.iter().all(|source| sources.contains(source.as_str()));
        whole.then_some((batch, Planned { time: head.time, generation: owner.generation, made_up: head.made_up }))
    });
    whole.collect()
}

/// Whether a log may hold anything that a job which has loaded this checkpoint (`None`: none) still reads: the plan of
/// a later batch, or received rows that no planned batch holds. `successor` is the `after` of the next log of the same
/// generation and process.
///
/// A generation takes such rows over into the first batches that it plans, and makes no checkpoint of batches of its own
/// before it has taken all. So a checkpoint after a batch of a later generation holds all that older logs tell. Except
/// where that generation ended before it had taken all, and a later one made the checkpoint while it replayed the batches:
/// such a checkpoint says so ([`Checkpoint::leftover`]).
pub fn log_needed(
    starts: &[JobStart],
    log: &LogName,
    successor: Option<BatchId>,
    checkpoint: Option<&Checkpoint>,
) -> bool {
    let (batch, leftover) =
        checkpoint.map_or((BatchId(0), false), |checkpoint| (checkpoint.batch, checkpoint.leftover));
    let known = starts.iter().any(|start| start.generation == log.generation);
    let held =
        successor.is_some_and(|successor| successor <= batch && (!leftover || owns(starts, log.generation, successor)));
    let taken_over = owner(starts, batch).is_some_and(|owner| owner.generation > log.generation);
    known && !held && (leftover || !taken_over)
}

/// Whether an entry of a log is of a batch that counts no longer, although the loaded checkpoint is after a later batch: its
/// rows may be in no batch yet. Only where the checkpoint says that there are such rows.
pub fn is_void_before(starts: &[JobStart], log: &LogName, batch: BatchId, checkpoint: &Checkpoint) -> bool {
    checkpoint.leftover
        && batch <= checkpoint.batch
        && starts.iter().any(|start| start.generation == log.generation)
        && !owns(starts, log.generation, batch)
}

/// Whether the plan of this batch that counts is that of this generation.
fn owns(starts: &[JobStart], generation: Generation, batch: BatchId) -> bool {
    owner(starts, batch).is_some_and(|owner| owner.generation == generation && owner.first <= batch)
}
