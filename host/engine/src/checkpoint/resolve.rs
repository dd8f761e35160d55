//! Decides what startup does with the state that it finds: which checkpoint to load, which batches to replay and with which job, what to drop. Pure
//! functions, used by the program and by the model checker alike.
//!
//! # The order of steps at startup
//!
//! An older process of the job may still run when startup decides, for example one that only seems dead. Everything must therefore be read in this
//! order, or batches are lost or duplicated:
//!
//! 1. read the manifest, and its version;
//! 2. fence every sink with the next generation (that of the manifest, plus one), which returns its marker in the same
//!    step: from then on no older process commits, so the plans of everything committed are durable;
//! 3. read the plans and the state;
//! 4. [`resolve`]. If it fails, or if something cannot be read, and the manifest no longer has the version of step 1,
//!    then an older process has made a checkpoint and deleted what that superseded: restart at step 1;
//! 5. write the job record of the new generation, then replace the manifest by the result of [`claim`], provided it still
//!    has the version of step 1. If another process was faster, restart at step 1.

mod claim;
mod dropped;
mod followers;
mod furthest;
mod history;
mod leftovers;
mod meanings;
mod tables;
#[cfg(test)]
mod tests;

use super::meaning::{Followers, Meanings};
use super::types::{Manifest, Table, TableOf};
pub use claim::{claim, pinned, publish, publish_keeping, publish_upgrade};
pub use history::{is_void_before, log_needed, owner, planned, run};
pub use leftovers::leftovers;
pub use meanings::{PreviousMeanings, needs_record};
use millstream_base::ids::{BatchId, BatchTime, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// What startup finds in the store and in the sinks.
#[derive(Clone, Debug, Default)]
pub struct StartFacts {
    /// The manifest; `None`: it does not exist.
    pub manifest: Option<Manifest>,
    /// The batches that are planned completely, see [`planned`].
    pub planned: BTreeMap<BatchId, PlannedBatch>,
    /// The last batch that each sink has committed, by name. Sinks that do not keep a marker, or have nothing of this job, have no entry.
    pub committed: BTreeMap<String, BatchId>,
    /// The same for all sinks of the last startup that this one does not have, combined.
    pub committed_before: Option<BatchId>,
    /// Missing or unreadable objects that the manifest names or that hold plans, by path, with the reason. Of `jobs/` and `blobs/`: only those of the
    /// last startup.
    pub damaged: BTreeMap<String, String>,
    /// The paths of all objects, as the store lists them.
    pub objects: Vec<String>,
    /// The meanings of the tables of the last startup, if they were needed and could be read.
    pub before: Option<PreviousMeanings>,
}

/// A batch with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedBatch {
    /// Its time.
    pub time: BatchTime,
    /// The generation whose plan is valid.
    pub generation: Generation,
    /// It was created for windows of processing time, see [`crate::operators::window::state::empty_batches`].
    pub made_up: bool,
}

/// What is to be started. `fresh`, `resume_from`, `replay_from` and `drop` take effect with the first [`claim`]: later restarts do not have them.
#[derive(Clone, Debug, Default)]
pub struct StartRequest {
    /// Digest of the job's record.
    pub job_digest: String,
    /// Workers of the complete job.
    pub workers: u32,
    /// The number of processes of the job.
    pub processes: usize,
    /// The sources whose partitions are distributed over all processes, so that each has a plan for them.
    pub spread: BTreeSet<String>,
    /// The tables that the job keeps, without files.
    pub tables: Vec<Table>,
    /// The meanings of the tables.
    pub meanings: Meanings,
    /// Which stages and sinks follow the changes of which stages.
    pub followers: Followers,
    /// Names of queries over all rows, by the name of the stage that keeps their totals.
    pub queries: BTreeMap<String, String>,
    /// Names of the sinks to which each worker commits its share of a batch under its own marker.
    pub by_worker: BTreeSet<String>,
    /// Names of the sinks to which each worker sends its share, and which cannot report what they have.
    pub sent_by_worker: BTreeSet<String>,
    /// Names of the tables that may have other state columns in the checkpoint, as plugins migrate them.
    pub migrates: BTreeSet<String>,
    /// `--fresh`, confirmed.
    pub fresh: bool,
    /// `--resume-from`
    pub resume_from: Option<BatchId>,
    /// `--replay-from`: the batch of a kept checkpoint. All batches planned after it are replayed with the current job, whatever sinks have committed
    /// of them.
    pub replay_from: Option<BatchId>,
    /// `--drop-state`: names of stages and sources.
    pub drop: Vec<String>,
}

/// How startup continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResumePlan {
    /// The last batch of the checkpoint to load; zero: none, the state is empty.
    pub checkpoint: BatchId,
    /// The batches to replay after it, in order.
    pub replay: Vec<(BatchId, PlannedBatch)>,
    /// The last of them that must be replayed with the job and the workers of the last startup; `None`: all are replayed with the current job. The
    /// reason is that a sink has committed it already and the job or the workers have changed. Or a source is dropped, whose positions are in these
    /// plans.
    ///
    /// Such a replay is a startup in itself: [`claim`] gives it the previous job. It replays up to this batch, makes a checkpoint there, and ends.
    /// Then the request is resolved again. So everything committed after the newest checkpoint was always made by the job of the last startup.
    pub as_before: Option<BatchId>,
    /// The first batch to plan.
    pub first: BatchId,
    /// The last valid batch of earlier startups: [`super::types::JobStart::after`] of the new start.
    pub after: BatchId,
    /// Names of tables that are dropped because of `--drop-state` (not yet by the replay of `as_before`).
    pub dropped: Vec<String>,
    /// Batches that sinks have committed and that cannot be reached: their input is read again, under new ids.
    pub repeated: Option<(BatchId, BatchId)>,
}

/// Decides. The error is for a person to read and says what to do; nothing has been changed by then.
pub fn resolve(found: &StartFacts, request: &StartRequest) -> Result<ResumePlan, String> {
    if request.fresh && (request.resume_from.is_some() || !request.drop.is_empty()) {
        return Err(
            "`--fresh` starts from scratch and discards all state: use it without `--resume-from` and `--drop-state`."
                .into(),
        );
    }
    let Some(manifest) = &found.manifest else { return without_manifest(found, request) };
    if request.fresh {
        return Ok(ResumePlan { first: BatchId(1), ..ResumePlan::default() });
    }
    let base = match (request.resume_from, request.replay_from) {
        (Some(batch), _) => furthest::newest_base(found, manifest, batch)?,
        (None, Some(batch)) => {
            let start = furthest::from_checkpoint(found, manifest, batch)?;
            same_shares(found, manifest, request, (batch, &start.run))?;
            start
        }
        (None, None) => furthest::newest(found, manifest)?,
    };
    let after = request.resume_from.unwrap_or(base.reach());
    let replay: Vec<_> = base.run.iter().copied().filter(|(batch, _)| *batch <= after).collect();
    let as_before = as_before(found, manifest, request, &replay)?;
    // Nothing can be dropped before the previous job has made the first checkpoint.
    if base.checkpoint.is_some() || as_before.is_none() {
        let tables = base.checkpoint.map_or(&[][..], |checkpoint| &checkpoint.tables);
        tables::check(base.batch, tables, found, request)?;
    }
    let committed = found.committed.values().copied().max().unwrap_or_default();
    let first = BatchId(used(found, manifest, after).0.checked_add(1).ok_or("no batch ids are left")?);
    let repeated = (request.resume_from.is_some() && committed > after).then(|| (BatchId(after.0 + 1), committed));
    Ok(ResumePlan { checkpoint: base.batch, replay, as_before, first, after, dropped: request.drop.clone(), repeated })
}

/// Resolves the very first start: nothing exists, so options that refer to earlier batches are invalid.
fn without_manifest(found: &StartFacts, request: &StartRequest) -> Result<ResumePlan, String> {
    let lost = found.objects.iter().find(|path| path.starts_with("plans/") || path.starts_with("state/"));
    if let Some(lost) = lost {
        return Err(format!(
            "`manifest.json`, the index of the checkpoint, is missing, but `{lost}` exists: restore the manifest \
             from a copy, or delete the complete directory (or choose another `dir`) to start from scratch."
        ));
    }
    if let Some(batch) = request.resume_from {
        return Err(format!(
            "`--resume-from {batch}`: this job has no checkpoint and no plan; start it without this option."
        ));
    }
    if let Some(batch) = request.replay_from {
        return Err(format!("`--replay-from {batch}`: this job has no checkpoint; start it without this option."));
    }
    if let Some(drop) = request.drop.first() {
        return Err(format!(
            "`--drop-state {drop}`: this job has no checkpoint, so it has no state; start it without this option."
        ));
    }
    Ok(ResumePlan { first: BatchId(1), ..ResumePlan::default() })
}

/// Returns [`ResumePlan::as_before`]. Fails if it is needed and the previous job is no longer available.
fn as_before(
    found: &StartFacts,
    manifest: &Manifest,
    request: &StartRequest,
    replay: &[(BatchId, PlannedBatch)],
) -> Result<Option<BatchId>, String> {
    let Some(last) = manifest.starts.last().filter(|_| request.replay_from.is_none()) else { return Ok(None) };
    let is_damaged = |path: &String| path.starts_with("jobs/") || path.starts_with("blobs/");
    if last.job_digest == request.job_digest && last.workers == request.workers {
        // The positions of the source, which are to be dropped, are in the plans of these batches.
        let is_dropped = |table: &Table| table.of == TableOf::Source && dropped::dropped(&request.drop, table);
        let drops = request.tables.iter().any(is_dropped) && !found.damaged.keys().any(is_damaged);
        return Ok(replay.iter().map(|(batch, _)| *batch).max().filter(|_| drops));
    }
    let committed = found.committed.values().copied().chain(found.committed_before).max().unwrap_or_default();
    let Some(batch) = replay.iter().map(|(batch, _)| *batch).filter(|batch| *batch <= committed).max() else {
        return Ok(None);
    };
    let mut damaged = found.damaged.iter().filter(|(path, _)| is_damaged(path));
    match damaged.next() {
        Some((path, reason)) => Err(format!(
            "the job or its number of workers has changed, and batches up to {batch}, which sinks have committed, must first \
             be replayed with the previous job, but `{path}` cannot be read: {reason}. Start the unchanged job ({} workers) \
             until it has written a checkpoint, then change it.",
            last.workers
        )),
        None => Ok(Some(batch)),
    }
}

/// Rejects another number of workers if batches are replayed with the current job, and workers have committed their own shares of them. Each skips
/// what it has committed, so it must get the same rows.
fn same_shares(
    found: &StartFacts,
    manifest: &Manifest,
    request: &StartRequest,
    (batch, run): (BatchId, &[(BatchId, PlannedBatch)]),
) -> Result<(), String> {
    let Some((first, planned)) = run.first() else { return Ok(()) };
    let is_by_worker =
        |(name, committed): &(&String, &BatchId)| request.by_worker.contains(*name) && *committed >= first;
    let reported = found.committed.iter().find(is_by_worker).map(|(sink, committed)| (sink, *committed));
    let unreported = request.sent_by_worker.first().zip(run.last().map(|(batch, _)| *batch));
    let Some((sink, committed)) = reported.or(unreported) else { return Ok(()) };
    let mut starts = manifest.starts.iter().filter(|start| start.generation >= planned.generation);
    match starts.find(|start| start.workers != request.workers) {
        None => Ok(()),
        Some(other) => Err(format!(
            "`--replay-from {batch}`: the workers of the sink `{sink}` have written their own shares of batches up \
             to {committed}, which differ for another number of workers: start the job with {} workers in total.",
            other.workers
        )),
    }
}

/// Returns the greatest id that may have been used, so that none is used twice.
fn used(found: &StartFacts, manifest: &Manifest, after: BatchId) -> BatchId {
    let given_up = manifest.starts.iter().map(|start| BatchId(start.first.0.saturating_sub(1)));
    let checkpoints = manifest.checkpoints.iter().map(|checkpoint| checkpoint.batch);
    let committed = found.committed.values().copied();
    let planned = found.planned.keys().copied();
    given_up.chain(checkpoints).chain(committed).chain(planned).fold(after, BatchId::max)
}

/// Returns whether a sink that has committed up to `committed` is to commit this batch.
pub fn commits(batch: BatchId, committed: Option<BatchId>) -> bool {
    committed.is_none_or(|committed| batch > committed)
}
