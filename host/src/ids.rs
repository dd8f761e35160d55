//! Newtypes for ids, so that none is taken for another.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The number of a batch: 1, 2, 3 … since the job's first start, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(pub u64);

/// The end of a batch's interval, in microseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchTime(pub i64);

/// Where a part stands among the parts of its batch at one point of the graph. It does not depend on the number of
/// workers, so sorting by it restores the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartOrder(pub u64);

/// How often a job with checkpoints was started: 1, 2, 3 … Whoever holds a smaller one than the manifest has lost the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl BatchId {
    /// The timely timestamp of the batch. What is odd is the barrier of a checkpoint after it.
    pub fn stamp(self) -> u64 {
        self.0.saturating_mul(2)
    }

    /// The timely timestamp of the barrier after the batch: state is saved as it is then.
    pub fn barrier(self) -> u64 {
        self.stamp().saturating_add(1)
    }

    /// The batch of a timestamp, and whether that is the barrier after it.
    pub fn of_stamp(stamp: u64) -> (BatchId, bool) {
        (BatchId(stamp / 2), stamp % 2 == 1)
    }

    /// The next batch.
    pub fn next(self) -> BatchId {
        BatchId(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
