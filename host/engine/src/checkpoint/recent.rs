//! The last published checkpoints, for the job status.

use millstream_base::ids::BatchId;
use millstream_base::time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Number of checkpoints that are kept.
const KEPT_MAX: usize = 100;

/// A published checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFacts {
    /// The last batch that it holds.
    pub batch: BatchId,
    /// When it was published.
    pub published_us: i64,
    /// The time from the first worker's part to its publication.
    pub took_us: u64,
    /// Number of files written for it.
    pub files: u64,
    /// Total bytes of these files.
    pub bytes: u64,
}

/// The last checkpoints. Cheap to clone.
#[derive(Clone, Default)]
pub struct RecentCheckpoints(Arc<Mutex<RecentCheckpointsState>>);

#[derive(Default)]
struct RecentCheckpointsState {
    begun: BTreeMap<BatchId, Instant>,
    published: VecDeque<CheckpointFacts>,
}

impl RecentCheckpoints {
    /// Records that a worker hands over its part of the checkpoint after this batch.
    pub fn begun(&self, batch: BatchId) {
        let mut state = self.lock();
        state.begun.entry(batch).or_insert_with(Instant::now);
        while state.begun.len() > KEPT_MAX {
            state.begun.pop_first();
        }
    }

    /// Records that the checkpoint after this batch was published.
    pub fn published(&self, batch: BatchId, files: u64, bytes: u64) {
        let mut state = self.lock();
        let begun = state.begun.remove(&batch);
        let took_us = begun.map_or(0, |begun| u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        state.published.push_back(CheckpointFacts { batch, published_us: time::now().0, took_us, files, bytes });
        if state.published.len() > KEPT_MAX {
            state.published.pop_front();
        }
    }

    /// Returns them, oldest first.
    pub fn all(&self) -> Vec<CheckpointFacts> {
        self.lock().published.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, RecentCheckpointsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
