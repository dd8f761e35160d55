//! What a start does with what it finds: which checkpoint to load, which batches to replay and with which job, what
//! to leave out. Pure decisions, driven by the program and by the model checker alike.
//!
//! # The order of a start
//!
//! An older process of the job may still run when a start decides, as one that only seems dead does. What is read must
//! therefore be read in this order, or batches are lost or doubled:
//!
//! 1. read the manifest, and its version;
//! 2. fence every sink with the next generation (that of the manifest, plus one), which returns its marker in the same
//!    step: from then on nobody older commits, so the plans of all that is committed are durable;
//! 3. read the plans and the state;
//! 4. [`resolve`]. If it refuses, or if something cannot be read, and the manifest is of another version than in step 1
//!    by now, then an older process has made a checkpoint and deleted what it made needless: begin at step 1;
//! 5. write the job record of the new generation, then replace the manifest by what [`claim`] says, on condition of the
//!    version of step 1. If another was faster, begin at step 1.

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
pub use meanings::{MeaningsBefore, needs_record};
use millstream_base::ids::{BatchId, BatchTime, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// What a start finds in the store and in the sinks.
#[derive(Clone, Debug, Default)]
pub struct StartFacts {
    /// The manifest; `None`: there is none.
    pub manifest: Option<Manifest>,
    /// The batches that are planned whole, see [`planned`].
    pub planned: BTreeMap<BatchId, Planned>,
    /// The last batch that each sink has committed, by name; no entry for a sink that does not remember, or that has
    /// nothing of this job.
    pub committed: BTreeMap<String, BatchId>,
    /// The same of the sinks of the last start that are not those of this one, all together.
    pub committed_before: Option<BatchId>,
    /// Objects that the manifest names or that hold plans, and that cannot be read or are not there, by path, with the
    /// reason. Of `jobs/` and `blobs/`: only those of the last start.
    pub damaged: BTreeMap<String, String>,
    /// The paths of all objects, as the store lists them.
    pub objects: Vec<String>,
    /// What the tables of the last start meant, where that had to be looked at and could be.
    pub before: Option<MeaningsBefore>,
}

/// A batch with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its time.
    pub time: BatchTime,
    /// The generation whose plan counts.
    pub generation: Generation,
    /// It was made up for windows of processing time, see [`crate::operators::window::state::empty_batches`].
    pub made_up: bool,
}

/// What is to be started. `fresh`, `resume_from`, `replay_from` and `drop` take effect with the first [`claim`]: restarts after it are
/// made without them.
#[derive(Clone, Debug, Default)]
pub struct StartRequest {
    /// Digest of the job's record.
    pub job_digest: String,
    /// Workers of the whole job.
    pub workers: u32,
    /// Processes of the job, and the sources whose partitions are spread over all of them, so that each has a plan for them.
    pub processes: usize,
    /// See `processes`.
    pub spread: BTreeSet<String>,
    /// The tables that the job keeps, without files.
    pub tables: Vec<Table>,
    /// What they mean.
    pub meanings: Meanings,
    /// Who follows the changes of which stages.
    pub followers: Followers,
    /// Names of queries over all rows, by the name of the stage that keeps their totals.
    pub queries: BTreeMap<String, String>,
    /// Names of the sinks to which each worker commits its share of a batch under a marker of its own.
    pub by_worker: BTreeSet<String>,
    /// Names of those to which each worker sends its share, and which cannot say what they have.
    pub sent_by_worker: BTreeSet<String>,
    /// Names of the tables that may have other state columns in the checkpoint: plugins migrate them.
    pub migrates: BTreeSet<String>,
    /// `--fresh`, confirmed.
    pub fresh: bool,
    /// `--resume-from`
    pub resume_from: Option<BatchId>,
    /// `--replay-from`: the batch of a kept checkpoint. All that is planned behind it runs again as what is started now,
    /// whatever sinks hold of it.
    pub replay_from: Option<BatchId>,
    /// `--drop-state`: names of stages and sources.
    pub drop: Vec<String>,
}

/// How a start goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The last batch of the checkpoint to load; zero: none, the state is empty.
    pub checkpoint: BatchId,
    /// The batches to replay after it, in order.
    pub replay: Vec<(BatchId, Planned)>,
    /// The last of them that must be replayed with the job and the workers of the last start, because a sink has
    /// committed it already and the job or the workers are others now, or because a source is dropped, whose positions are in their plans;
    /// `None`: all are replayed as what is started now.
    ///
    /// Such a replay is a start of its own: [`claim`] gives it the job of before, it replays up to this batch, makes a
    /// checkpoint there, and ends. Then what is wanted is resolved again. So whatever is committed behind the newest
    /// checkpoint was always made by the job of the last start.
    pub as_before: Option<BatchId>,
    /// The first batch to plan.
    pub first: BatchId,
    /// The last batch of what was before that counts: [`super::types::JobStart::after`] of the new start.
    pub after: BatchId,
    /// Names of tables that are left out, as `--drop-state` says (not yet by the replay of `as_before`).
    pub dropped: Vec<String>,
    /// Batches that sinks have committed and that cannot be reached: their input is read again, under new ids.
    pub repeated: Option<(BatchId, BatchId)>,
}

/// Decides. The error is for a person to read and says what to do; nothing may have been changed by then.
pub fn resolve(found: &StartFacts, wanted: &StartRequest) -> Result<Resume, String> {
    if wanted.fresh && (wanted.resume_from.is_some() || !wanted.drop.is_empty()) {
        return Err(
            "`--fresh` starts from scratch and discards all state: use it without `--resume-from` and `--drop-state`."
                .into(),
        );
    }
    let Some(manifest) = &found.manifest else { return without_manifest(found, wanted) };
    if wanted.fresh {
        return Ok(Resume { first: BatchId(1), ..Resume::default() });
    }
    let base = match (wanted.resume_from, wanted.replay_from) {
        (Some(batch), _) => furthest::reaching(found, manifest, batch)?,
        (None, Some(batch)) => {
            let behind = furthest::behind(found, manifest, batch)?;
            same_shares(found, manifest, wanted, (batch, &behind.run))?;
            behind
        }
        (None, None) => furthest::newest(found, manifest)?,
    };
    let after = wanted.resume_from.unwrap_or(base.reach());
    let replay: Vec<_> = base.run.iter().copied().filter(|(batch, _)| *batch <= after).collect();
    let as_before = as_before(found, manifest, wanted, &replay)?;
    // Nothing can be dropped before the job of before has made the first checkpoint.
    if base.checkpoint.is_some() || as_before.is_none() {
        let tables = base.checkpoint.map_or(&[][..], |checkpoint| &checkpoint.tables);
        tables::check(base.batch, tables, found, wanted)?;
    }
    let committed = found.committed.values().copied().max().unwrap_or_default();
    let first = BatchId(used(found, manifest, after).0.checked_add(1).ok_or("no batch ids are left")?);
    let repeated = (wanted.resume_from.is_some() && committed > after).then(|| (BatchId(after.0 + 1), committed));
    Ok(Resume { checkpoint: base.batch, replay, as_before, first, after, dropped: wanted.drop.clone(), repeated })
}

/// The very first start: nothing is there, and nothing may be asked of it.
fn without_manifest(found: &StartFacts, wanted: &StartRequest) -> Result<Resume, String> {
    let lost = found.objects.iter().find(|path| path.starts_with("plans/") || path.starts_with("state/"));
    if let Some(lost) = lost {
        return Err(format!(
            "`manifest.json`, which says what counts, is missing, but `{lost}` exists: restore the manifest from a copy, \
             or delete the whole directory (or choose another `dir`) to start from scratch."
        ));
    }
    if let Some(batch) = wanted.resume_from {
        return Err(format!(
            "`--resume-from {batch}`: this job has no checkpoint and no plan; start it without this option."
        ));
    }
    if let Some(batch) = wanted.replay_from {
        return Err(format!("`--replay-from {batch}`: this job has no checkpoint; start it without this option."));
    }
    if let Some(drop) = wanted.drop.first() {
        return Err(format!(
            "`--drop-state {drop}`: this job has no checkpoint, so it has no state; start it without this option."
        ));
    }
    Ok(Resume { first: BatchId(1), ..Resume::default() })
}

/// See [`Resume::as_before`]. An error where it is needed and the job of before is not there any more.
fn as_before(
    found: &StartFacts,
    manifest: &Manifest,
    wanted: &StartRequest,
    replay: &[(BatchId, Planned)],
) -> Result<Option<BatchId>, String> {
    let Some(last) = manifest.starts.last().filter(|_| wanted.replay_from.is_none()) else { return Ok(None) };
    let is_damaged = |path: &String| path.starts_with("jobs/") || path.starts_with("blobs/");
    if last.job_digest == wanted.job_digest && last.workers == wanted.workers {
        // The plans of these batches say how far the source was read, which is not to come back.
        let is_dropped = |table: &Table| table.of == TableOf::Source && dropped::dropped(&wanted.drop, table);
        let drops = wanted.tables.iter().any(is_dropped) && !found.damaged.keys().any(is_damaged);
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

/// Refuses other workers where batches run again as what is started now, and some workers hold their shares of them: each skips what
/// it holds, so it must have the same rows.
fn same_shares(
    found: &StartFacts,
    manifest: &Manifest,
    wanted: &StartRequest,
    (batch, run): (BatchId, &[(BatchId, Planned)]),
) -> Result<(), String> {
    let Some((first, planned)) = run.first() else { return Ok(()) };
    let held = |(name, committed): &(&String, &BatchId)| wanted.by_worker.contains(*name) && *committed >= first;
    let told = found.committed.iter().find(held).map(|(sink, committed)| (sink, *committed));
    let untold = wanted.sent_by_worker.first().zip(run.last().map(|(batch, _)| *batch));
    let Some((sink, committed)) = told.or(untold) else { return Ok(()) };
    let mut starts = manifest.starts.iter().filter(|start| start.generation >= planned.generation);
    match starts.find(|start| start.workers != wanted.workers) {
        None => Ok(()),
        Some(other) => Err(format!(
            "`--replay-from {batch}`: the workers of the sink `{sink}` hold their own shares of batches up to {committed}, \
             and with another number of workers they would have other rows: start the job with {} workers in total.",
            other.workers
        )),
    }
}

/// The greatest id that may have been used, so that none is used twice.
fn used(found: &StartFacts, manifest: &Manifest, after: BatchId) -> BatchId {
    let given_up = manifest.starts.iter().map(|start| BatchId(start.first.0.saturating_sub(1)));
    let checkpoints = manifest.checkpoints.iter().map(|checkpoint| checkpoint.batch);
    let committed = found.committed.values().copied();
    let planned = found.planned.keys().copied();
    given_up.chain(checkpoints).chain(committed).chain(planned).fold(after, BatchId::max)
}

/// Whether a sink that has committed up to `committed` is to commit this batch.
pub fn commits(batch: BatchId, committed: Option<BatchId>) -> bool {
    committed.is_none_or(|committed| batch > committed)
}
