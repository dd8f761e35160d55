//! The manifests that startup and checkpoints write.

use super::dropped::dropped as is_dropped;
use super::{ResumePlan, StartRequest};
use crate::checkpoint::gc::trim_starts;
use crate::checkpoint::types::{Checkpoint, JobStart, Manifest, TableOf};
use crate::limits::{CHECKPOINTS_KEPT, ROLLBACK_BATCHES_MAX};
use millstream_base::ids::{BatchId, Generation};
use millstream_rows::batch::partition::plan_name;

/// Returns the manifest of a new start, which takes the job over from all earlier ones. `job_id` is used if the job starts from scratch.
///
/// With [`ResumePlan::as_before`], it is a startup of the previous job, see there. Abandoned batches and dropped state leave the manifest here. So a
/// restart without `--resume-from`, `--drop-state` and `--fresh` has the same result.
pub fn claim(
    manifest: Option<&Manifest>,
    resume: &ResumePlan,
    request: &StartRequest,
    job: &str,
    job_id: &str,
) -> Manifest {
    let generation = Generation(manifest.map_or(0, |manifest| manifest.generation.0).saturating_add(1));
    let mut start = JobStart {
        generation,
        after: resume.after,
        first: resume.first,
        checkpoint: resume.checkpoint,
        workers: request.workers,
        sources: sources(request),
        job_digest: request.job_digest.clone(),
        upgrade: false,
        started_us: 0,
    };
    let Some(manifest) = manifest.filter(|_| !request.fresh) else {
        let (job, job_id) = (job.to_owned(), job_id.to_owned());
        return Manifest { job, job_id, generation, starts: vec![start], checkpoints: Vec::new() };
    };
    let mut claimed = manifest.clone();
    claimed.generation = generation;
    claimed.checkpoints.retain(|checkpoint| checkpoint.batch <= resume.checkpoint);
    match (resume.as_before, manifest.starts.last()) {
        (Some(_), Some(last)) => {
            start.workers = last.workers;
            start.sources.clone_from(&last.sources);
            start.job_digest.clone_from(&last.job_digest);
        }
        _ => drop_tables(claimed.checkpoints.last_mut(), &resume.dropped),
    }
    claimed.starts.push(start);
    trim_starts(&mut claimed);
    claimed
}

/// Returns the sources of a job: each has a table of positions. Of a distributed source, each process plans its share.
fn sources(request: &StartRequest) -> Vec<String> {
    let names = request.tables.iter().filter(|table| table.of == TableOf::Source).map(|table| &table.name);
    let planned = |name: &String| match request.spread.contains(name) {
        true => (0..request.processes).map(|process| plan_name(name, true, (process, request.processes))).collect(),
        false => vec![name.clone()],
    };
    names.flat_map(planned).collect()
}

fn drop_tables(checkpoint: Option<&mut Checkpoint>, dropped: &[String]) {
    if let Some(checkpoint) = checkpoint {
        checkpoint.tables.retain(|table| !is_dropped(dropped, table));
    }
}

/// Returns the manifest with a checkpoint after which the running process replaced a plugin: from the next batch on, the job of another record is
/// valid. Both take effect together, so that everything committed after the newest checkpoint was always made by the job of the last startup.
pub fn publish_upgrade(manifest: &Manifest, checkpoint: Checkpoint, job_digest: String) -> Manifest {
    let after = checkpoint.batch;
    let mut published = publish(manifest, checkpoint);
    if let Some(last) = manifest.starts.last() {
        let start =
            JobStart { after, first: after.next(), checkpoint: after, job_digest, upgrade: true, ..last.clone() };
        published.starts.push(start);
    }
    published
}

/// Returns the manifest with another checkpoint, without what that supersedes. A checkpoint older than the newest changes nothing.
pub fn publish(manifest: &Manifest, checkpoint: Checkpoint) -> Manifest {
    publish_keeping(manifest, checkpoint, CHECKPOINTS_KEPT)
}

/// Does the same as [`publish`] with another number of checkpoints to keep, at least one.
pub fn publish_keeping(manifest: &Manifest, checkpoint: Checkpoint, kept: usize) -> Manifest {
    let mut published = manifest.clone();
    if published.newest().is_some_and(|newest| newest.batch > checkpoint.batch) {
        return published;
    }
    published.checkpoints.retain(|older| older.batch < checkpoint.batch);
    published.checkpoints.push(checkpoint);
    let surplus = published.checkpoints.len().saturating_sub(kept.max(1));
    let pinned = pinned(&published);
    let mut indices = 0..;
    published.checkpoints.retain(|older| indices.next() >= Some(surplus) || Some(older.batch) == pinned);
    trim_starts(&mut published);
    published
}

/// Returns the batch whose checkpoint is kept because a plugin was replaced after it: `millstream rollback` returns to it.
pub fn pinned(manifest: &Manifest) -> Option<BatchId> {
    let upgrade = manifest.starts.iter().rev().find(|start| start.upgrade)?;
    let newest = manifest.newest()?.batch;
    let since = newest.0.saturating_sub(upgrade.after.0);
    (since <= ROLLBACK_BATCHES_MAX).then_some(upgrade.after)
}
