//! What a start does with what it finds: which checkpoint to load, which batches to replay and with which job, what
//! to leave out. Pure decisions, driven by the program and by the model checker alike.

use super::plan::{Head, LogName};
use super::types::{Manifest, Start, Table};
use crate::ids::{BatchId, BatchTime, Generation};
use std::collections::BTreeMap;

/// What a start finds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The manifest; `None`: the store is empty.
    pub manifest: Option<Manifest>,
    /// The batches that are planned whole, see [`planned`].
    pub planned: BTreeMap<BatchId, Planned>,
    /// The last batch that each sink has committed, by name; no entry for a sink that does not remember.
    pub committed: BTreeMap<String, BatchId>,
    /// Objects that cannot be read, with the reason.
    pub damaged: BTreeMap<String, String>,
}

/// A batch with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its time.
    pub time: BatchTime,
    /// The generation whose plan counts.
    pub generation: Generation,
}

/// What is to be started.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Digest of the job's record.
    pub job_digest: String,
    /// Workers of the whole job.
    pub workers: u32,
    /// The tables that the job keeps, without files.
    pub tables: Vec<Table>,
    /// `--fresh`, confirmed.
    pub fresh: bool,
    /// `--resume-from`
    pub resume_from: Option<BatchId>,
    /// `--drop-state`: names of stages and sources.
    pub drop: Vec<String>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The last batch of the checkpoint to load; zero: none, the state is empty.
    pub checkpoint: BatchId,
    /// The batches to replay after it, in order.
    pub replay: Vec<(BatchId, Planned)>,
    /// The last of them that must be replayed with the job and the workers of the last start, because a sink has
    /// committed it already and the job or the workers are others now; `None`: all are replayed as what is started now.
    pub as_before: Option<BatchId>,
    /// The first batch to plan.
    pub first: BatchId,
    /// The last batch of what was before that counts: [`Start::after`] of the new start.
    pub after: BatchId,
    /// Names of tables that are left out, as `--drop-state` says.
    pub dropped: Vec<String>,
    /// Batches that sinks have committed and that cannot be reached: their input is read again, under new ids.
    pub repeated: Option<(BatchId, BatchId)>,
}

/// Which batches are planned whole, and by which generation's plan: the newest start whose `after` lies before the
/// batch; each of its sources must have planned it.
pub fn planned(_starts: &[Start], _logs: &[(LogName, Vec<Head>)]) -> BTreeMap<BatchId, Planned> {
    BTreeMap::new()
}

/// Decides. The error is for a person to read and says what to do; nothing may have been changed by then.
pub fn resolve(_found: &Found, _wanted: &Wanted) -> Result<Resume, String> {
    Err("not yet".into())
}

/// Whether a sink that has committed up to `committed` is to commit this batch.
pub fn commits(batch: BatchId, committed: Option<BatchId>) -> bool {
    committed.is_none_or(|committed| batch > committed)
}
