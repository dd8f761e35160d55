//! Calls of plugins for a batch, where somebody wants traces: the longest, so many of a batch and no more.

use super::batch_facts::{BatchFacts, PartPlace};
use millstream_plugins::plugin::calls::keep_longest;

/// Calls that are kept of a batch.
const KEPT_MAX: usize = 32;

/// A call of a plugin for a batch, in microseconds since the batch was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// The stage.
    pub part: PartPlace,
    /// When it began.
    pub from_us: u32,
    /// How long it took.
    pub took_us: u32,
    /// Rows passed.
    pub rows_in: u64,
    /// Rows taken.
    pub rows_out: u64,
    /// What ended it where it failed.
    pub failed: Option<&'static str>,
}

/// The calls for a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchCalls {
    /// The longest.
    pub longest: Vec<CallTimes>,
    /// How many there were.
    pub all: u64,
}

impl BatchCalls {
    /// Adds some of those that a part has made.
    pub fn add(&mut self, longest: impl Iterator<Item = CallTimes>, all: u64) {
        self.all = self.all.saturating_add(all);
        longest.for_each(|call| keep_longest(&mut self.longest, call, KEPT_MAX, |call| call.took_us));
    }
}

/// A committed batch with all that a trace tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracedBatch {
    /// When it was begun, worked on and committed.
    pub facts: BatchFacts,
    /// Calls of plugins for it.
    pub calls: BatchCalls,
}
