//! What survives a crash: plans of batches, checkpoints of state, and the manifest that says which of them count.
//!
//! The rule: every sink remembers the last batch that it committed, and a batch replays bit for bit. What to load,
//! replay, skip and delete is decided by pure functions ([`resolve`], [`gc`]) over facts ([`types`]); reading and
//! writing stay behind the [`store`].

pub mod block_index;
pub mod cached_read;
pub mod changes;
pub mod counters;
pub mod filter;
pub mod fold;
pub mod gc;
pub mod indexed_file;
pub mod loaded;
pub mod manifest;
pub mod meaning;
pub mod plan;
pub mod positions;
pub mod read;
pub mod recent;
pub mod record;
pub mod resolve;
pub mod rollback;
pub mod source_start;
pub mod state_file;
pub mod store;
pub mod types;
pub mod writer;

use loaded::LoadedCheckpoint;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::CheckpointEvery;
use millstream_base::owner::Owner;
use plan::PlanWriter;
use resolve::Planned;
use source_start::SourceStarts;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use writer::CheckpointWriter;

/// The folders of a store.
pub const FOLDERS: [&str; 4] = ["state", "plans", "jobs", "blobs"];

/// The checkpoints of a running job, as all workers of a process share them.
pub struct JobCheckpoints {
    /// Who this start is, for sinks.
    pub owner: Owner,
    /// How often a checkpoint is written.
    pub every: CheckpointEvery,
    /// The checkpoint that the job goes on from.
    pub loaded: Arc<LoadedCheckpoint>,
    /// The batches that come first.
    pub replay: ReplaySchedule,
    /// Where the sources go on.
    pub sources: SourceStarts,
    /// What makes plans and checkpoints durable.
    pub writers: Writers,
    /// Nobody else may use the folder meanwhile.
    pub lock: Option<FolderLock>,
}

/// Holds the folder of a job for its process.
pub type FolderLock = Arc<store::Guard>;

/// The batches that a start runs again, and where its own begin.
pub struct ReplaySchedule {
    /// The batches to run again, in order.
    pub batches: Vec<(BatchId, Planned)>,
    /// The first batch after those that are run again.
    pub first_new: BatchId,
    /// The first new batch of each start whose batches may be run again, this one's included, and when that start was, by the
    /// machine's clock in microseconds.
    pub starts: BTreeMap<BatchId, i64>,
    /// When the loaded checkpoint was written, by the machine's clock; where there is none, when the job was started first.
    pub since: BatchTime,
}

impl ReplaySchedule {
    /// The last batch that is run again; batch 0 where there is none.
    pub fn last(&self) -> BatchId {
        self.batches.last().map_or(BatchId(0), |(batch, _)| *batch)
    }
}

/// What makes plans and checkpoints durable while the job runs.
pub struct Writers {
    /// Writes plans.
    pub plans: PlanWriter,
    /// Writes state files, and publishes checkpoints.
    pub checkpoints: CheckpointWriter,
    /// What the sinks have committed, for the next checkpoint.
    pub markers: Markers,
}

impl JobCheckpoints {
    /// A worker of this process has built its graph; the last of them tells what the job goes on from.
    pub fn loaded_by_worker(&self, workers: usize) {
        let Some((rows, stay, took)) = self.loaded.progress.worker_done(workers) else { return };
        fault::point("start.loaded");
        let Owner { job, generation, .. } = &self.owner;
        let (batch, again) = (self.loaded.last_batch.0, self.replay.batches.len());
        if batch == BatchId(0) && again == 0 {
            let (first, place) = (self.replay.first_new, self.loaded.store.place());
            tracing::info!("`{job}` begins at batch {first}; checkpoints in {place}");
            return;
        }
        tracing::info!(
            "`{job}` goes on after the checkpoint of batch {batch} (start {generation}): {rows} state rows{}, {again} batch{} to \
             run again, loaded in {:.2} s",
            if stay > 0 { format!(" ({stay} of them stay in its files)") } else { String::new() },
            if again == 1 { "" } else { "es" },
            took.as_secs_f64(),
        );
    }
}

/// The last batch that each sink has committed, by name, where it remembers that. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Markers(Arc<Mutex<BTreeMap<String, BatchId>>>);

impl Markers {
    /// A sink, or a worker's share of it, stands here now: the furthest counts.
    pub fn set(&self, sink: &str, committed: Option<BatchId>) {
        let mut markers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (markers.get_mut(sink), committed) {
            (Some(marker), Some(committed)) => *marker = committed.max(*marker),
            (None, Some(committed)) => drop(markers.insert(sink.to_owned(), committed)),
            (_, None) => {}
        }
    }

    /// The markers of all sinks.
    pub fn all(&self) -> BTreeMap<String, BatchId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
