//! Plugin calls of a batch, if traces are enabled: only the longest, up to a maximum per batch.

use super::batch_facts::{BatchFacts, PartIndex};
use millstream_plugins::plugin::calls::keep_longest;

/// Maximum calls of a batch that are kept.
const KEPT_MAX: usize = 32;

/// A plugin call for a batch, in microseconds since the batch was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// The stage.
    pub part: PartIndex,
    /// When it began.
    pub from_us: u32,
    /// How long it took.
    pub took_us: u32,
    /// Input rows.
    pub rows_in: u64,
    /// Output rows.
    pub rows_out: u64,
    /// Why it failed, if it did.
    pub failed: Option<&'static str>,
}

/// The calls for a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchCalls {
    /// The longest.
    pub longest: Vec<CallTimes>,
    /// Number of all calls.
    pub all: u64,
}

impl BatchCalls {
    /// Adds some of the calls that a part has made.
    pub fn add(&mut self, longest: impl Iterator<Item = CallTimes>, all: u64) {
        self.all = self.all.saturating_add(all);
        longest.for_each(|call| keep_longest(&mut self.longest, call, KEPT_MAX, |call| call.took_us));
    }
}

/// A committed batch with all data of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchTrace {
    /// When it was begun, worked on and committed.
    pub facts: BatchFacts,
    /// Plugin calls for it.
    pub calls: BatchCalls,
}
