//! What a shadow has shown, as a process tells it, and as all processes of a job add up.

use super::compare::{Comparison, EXAMPLES_MAX};
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};

/// What a shadow has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Batches that both have run; only process 0 knows.
    pub batches: u64,
    /// Rows that the old one put out.
    pub rows: u64,
    /// Rows that only one of them put out, or that differ.
    pub rows_differing: u64,
    /// States that were compared: one for each key that either of them called in a batch.
    pub states: u64,
    /// States among them that differ, or that only one of them has.
    pub states_differing: u64,
    /// Rows that the old one rejected.
    pub rejected: u64,
    /// Rows that the new one rejected.
    pub rejected_new: u64,
    /// Rows that only one of them rejected.
    #[serde(default)]
    pub rejected_differing: u64,
    /// Time in the old one, in nanoseconds of the processor.
    pub cost_ns: u64,
    /// Time in the new one, in nanoseconds of the processor.
    pub cost_new_ns: u64,
    /// The first rows and states that differ, in words.
    pub examples: Vec<String>,
    /// How a call of the new one failed: it was not called any more after that.
    pub failed: Option<String>,
}

impl ShadowReport {
    /// Adds what calls for a batch have shown.
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
        let examples = compared.examples.into_iter().map(|words| format!("batch {batch}: {words}"));
        self.show(examples);
    }

    /// Adds what another process of the job has shown.
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

    /// Whether both did the same.
    pub fn is_same(&self) -> bool {
        self.failed.is_none() && self.rows_differing == 0 && self.states_differing == 0 && self.rejected_differing == 0
    }

    fn show(&mut self, examples: impl IntoIterator<Item = String>) {
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(examples.into_iter().take(room));
    }
}
