//! Results of a shadow, as reported by one process, and summed over all processes of a job.

use super::compare::{Comparison, EXAMPLES_MAX};
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};

/// Results of a shadow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Batches that both have run; set by process 0 only.
    pub batches: u64,
    /// Rows that the old version emitted.
    pub rows: u64,
    /// Rows that only one version emitted, or that differ.
    pub rows_differing: u64,
    /// Compared states: one for each key that either version called in a batch.
    pub states: u64,
    /// States that differ, or that only one version has.
    pub states_differing: u64,
    /// Rows that the old version rejected.
    pub rejected: u64,
    /// Rows that the new version rejected.
    pub rejected_new: u64,
    /// Rows that only one version rejected.
    #[serde(default)]
    pub rejected_differing: u64,
    /// CPU time in the old version, in nanoseconds.
    pub cost_ns: u64,
    /// CPU time in the new version, in nanoseconds.
    pub cost_new_ns: u64,
    /// The first rows and states that differ, as text.
    pub examples: Vec<String>,
    /// The failure of the new version, after which it was not called.
    pub failed: Option<String>,
}

impl ShadowReport {
    /// Adds the results of calls for a batch.
    pub fn count(&mut self, batch: BatchId, compared: Comparison) {
        let sums = [
            (&mut self.rows, compared.rows),
            (&mut self.rows_differing, compared.rows_differing),
            (&mut self.states, compared.states),
            (&mut self.states_differing, compared.states_differing),
            (&mut self.rejected, compared.rejected),
            (&mut self.rejected_new, compared.rejected_new),
            (&mut self.rejected_differing, compared.rejected_differing),
            (&mut self.cost_ns, compared.cost_ns),
            (&mut self.cost_new_ns, compared.cost_new_ns),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
        let examples = compared.examples.into_iter().map(|example| format!("batch {batch}: {example}"));
        self.show(examples);
    }

    /// Adds the results of another process of the job.
    pub fn add(&mut self, other: ShadowReport) {
        self.batches = self.batches.max(other.batches);
        let sums = [
            (&mut self.rows, other.rows),
            (&mut self.rows_differing, other.rows_differing),
            (&mut self.states, other.states),
            (&mut self.states_differing, other.states_differing),
            (&mut self.rejected, other.rejected),
            (&mut self.rejected_new, other.rejected_new),
            (&mut self.rejected_differing, other.rejected_differing),
            (&mut self.cost_ns, other.cost_ns),
            (&mut self.cost_new_ns, other.cost_new_ns),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
        self.show(other.examples);
        self.failed = self.failed.take().or(other.failed);
    }

    /// Returns whether both behaved identically.
    pub fn is_same(&self) -> bool {
        self.failed.is_none() && self.rows_differing == 0 && self.states_differing == 0 && self.rejected_differing == 0
    }

    fn show(&mut self, examples: impl IntoIterator<Item = String>) {
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(examples.into_iter().take(room));
    }
}
