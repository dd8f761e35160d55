//! A version of a plugin that runs beside the one that counts, on the same rows: what it makes is compared and dropped.

use serde::{Deserialize, Serialize};

/// A shadow of one stage, on all workers of this process.
pub struct Shadow {}

/// What a shadow has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Batches that both have run.
    pub batches: u64,
    /// Rows that the old one put out.
    pub rows: u64,
    /// Rows that only one of them put out, or that differ.
    pub rows_differing: u64,
    /// Keys whose states were compared.
    pub states: u64,
    /// Keys whose states differ, or that only one of them has.
    pub states_differing: u64,
    /// Rows that the old one rejected.
    pub rejected: u64,
    /// Rows that the new one rejected.
    pub rejected_new: u64,
    /// Time in the old one, in nanoseconds.
    pub cost_ns: u64,
    /// Time in the new one, in nanoseconds.
    pub cost_new_ns: u64,
    /// The first rows and states that differ, in words.
    pub examples: Vec<String>,
    /// How a call of the new one failed: it was not called any more after that.
    pub failed: Option<String>,
}
