//! Data that survives a crash: plans of batches, checkpoints of state, and the manifest that determines which of them are valid.
//!
//! The rule: every sink keeps the last batch that it committed, and a batch replays bit for bit. Pure functions ([`resolve`], [`gc`]) over facts
//! ([`types`]) decide what to load, replay, skip and delete. Reading and writing is done by the [`store`].

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
use millstream_base::owner::Owner;
use millstream_job::spec::CheckpointEvery;
use plan::PlanWriter;
use resolve::PlannedBatch;
use source_start::SourceStarts;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use writer::CheckpointWriter;

/// The directories of a store.
pub const DIRS: [&str; 4] = ["state", "plans", "jobs", "blobs"];

/// The checkpoints of a running job, shared by all workers of a process.
pub struct JobCheckpoints {
    /// Identifies this startup to sinks.
    pub owner: Owner,
    /// How often a checkpoint is written.
    pub every: CheckpointEvery,
    /// The checkpoint from which the job continues.
    pub loaded: Arc<LoadedCheckpoint>,
    /// The batches that come first.
    pub replay: ReplaySchedule,
    /// Where the sources resume.
    pub sources: SourceStarts,
    /// The writers of plans and checkpoints.
    pub writers: Writers,
    /// Keeps other processes out of the directory.
    pub lock: Option<DirLock>,
}

/// Holds the lock of a job's directory for its process.
pub type DirLock = Arc<store::Guard>;

/// The batches that a startup replays, and where its own begin.
pub struct ReplaySchedule {
    /// The batches to replay, in order.
    pub batches: Vec<(BatchId, PlannedBatch)>,
    /// The first batch after those that are replayed.
    pub first_new: BatchId,
    /// The first new batch of each startup whose batches may be replayed, including this one, with the time of that startup by the machine's clock in
    /// microseconds.
    pub starts: BTreeMap<BatchId, i64>,
    /// When the loaded checkpoint was written, by the machine's clock; without one, when the job was first started.
    pub since: BatchTime,
}

impl ReplaySchedule {
    /// Returns the last batch to replay; batch 0 if there is none.
    pub fn last(&self) -> BatchId {
        self.batches.last().map_or(BatchId(0), |(batch, _)| *batch)
    }
}

/// The writers that make plans and checkpoints durable while the job runs.
pub struct Writers {
    /// Writes plans.
    pub plans: PlanWriter,
    /// Writes state files, and publishes checkpoints.
    pub checkpoints: CheckpointWriter,
    /// What the sinks have committed, for the next checkpoint.
    pub markers: Markers,
}

impl JobCheckpoints {
    /// Records that a worker of this process has built its graph; the last of them reports what the job continues from.
    pub fn record_worker_loaded(&self, workers: usize) {
        let Some((rows, stay, took)) = self.loaded.progress.worker_done(workers) else { return };
        fault::point("start.loaded");
        let Owner { job, generation, .. } = &self.owner;
        let (batch, again) = (self.loaded.last_batch.0, self.replay.batches.len());
        if batch == BatchId(0) && again == 0 {
            let (first, store_location) = (self.replay.first_new, self.loaded.store.location());
            tracing::info!("`{job}` begins at batch {first}; checkpoints in {store_location}");
            return;
        }
        tracing::info!(
            "`{job}` resumes after the checkpoint of batch {batch} (start {generation}): {rows} state rows{}, \
             {again} batch{} to replay, loaded in {:.2} s",
            if stay > 0 { format!(" ({stay} of them stay in its files)") } else { String::new() },
            if again == 1 { "" } else { "es" },
            took.as_secs_f64(),
        );
    }
}

/// The last batch that each sink has committed, by name, if it keeps a marker. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Markers(Arc<Mutex<BTreeMap<String, BatchId>>>);

impl Markers {
    /// Sets the marker of a sink, or of a worker's share of it: the furthest wins.
    pub fn set(&self, sink: &str, committed: Option<BatchId>) {
        let mut markers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (markers.get_mut(sink), committed) {
            (Some(marker), Some(committed)) => *marker = committed.max(*marker),
            (None, Some(committed)) => drop(markers.insert(sink.to_owned(), committed)),
            (_, None) => {}
        }
    }

    /// Returns the markers of all sinks.
    pub fn all(&self) -> BTreeMap<String, BatchId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
