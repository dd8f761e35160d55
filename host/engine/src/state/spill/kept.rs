//! What a table has beside its rows in memory where rows may lie in files.

use super::budget::BudgetShare;
use super::cold::{ColdFile, ColdRows};
use millstream_base::failure::Failure;

/// What a table that spills has beside its rows in memory.
pub struct Spill {
    pub(in crate::state) share: BudgetShare,
    pub(in crate::state) failure: Failure,
    pub(in crate::state) cold: ColdRows,
    /// How often a slot was used since it was last passed over.
    pub(in crate::state) uses: Vec<u8>,
    /// The slot that is looked at next when rows are to leave.
    pub(in crate::state) hand: usize,
    /// What the table took when rows had left for the last time, and how much it has grown from one such time to the next of late.
    pub(in crate::state) settled: u64,
    pub(in crate::state) growth: u64,
    /// What rows took that have left since memory was last given back.
    pub(in crate::state) freed: u64,
}

impl Spill {
    /// Of a table all of whose rows are in memory.
    pub(in crate::state) fn new(share: BudgetShare, failure: Failure) -> Spill {
        Spill { share, failure, cold: ColdRows::default(), uses: Vec::new(), hand: 0, settled: 0, growth: 0, freed: 0 }
    }

    /// How much the table, which takes so much now, is to be expected to grow until rows may leave again: as the rows of batches do
    /// that are under way then.
    pub(in crate::state) fn expected_growth(&mut self, bytes: u64) -> u64 {
        self.growth = bytes.saturating_sub(self.settled).max(self.growth / 8 * 7);
        self.growth.min(self.share.budget().bytes_max() / 4)
    }

    /// Of a table that takes part in the same budget, without rows.
    pub(in crate::state) fn another(&self) -> Spill {
        let (share, failure) = (self.share.another(), self.failure.clone());
        Spill::new(share, failure)
    }

    /// The same cold rows, all or those that changed, for a copy of some of the table that never grows.
    pub(in crate::state) fn of_copy(&self, changed_only: bool) -> Spill {
        let cold = if changed_only { self.cold.only_changed() } else { self.cold.clone() };
        Spill { cold, ..Spill::new(self.share.uncounted(), self.failure.clone()) }
    }

    /// One file more.
    pub(in crate::state) fn add_file(&mut self, file: ColdFile) {
        self.cold.files.push(file);
    }

    /// The same cold rows, for a copy of the table.
    pub(in crate::state) fn copied(&self) -> Spill {
        Spill {
            cold: self.cold.clone(),
            uses: self.uses.clone(),
            ..Spill::new(self.share.another(), self.failure.clone())
        }
    }
}
