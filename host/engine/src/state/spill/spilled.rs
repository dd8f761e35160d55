//! The data of a spilling table outside its rows in memory.

use super::budget::BudgetShare;
use super::cold::{ColdFile, ColdRows};
use millstream_base::failure::Failure;

/// The data of a spilling table outside its rows in memory.
pub struct Spill {
    pub(in crate::state) share: BudgetShare,
    pub(in crate::state) failure: Failure,
    pub(in crate::state) cold: ColdRows,
    /// How often a slot was used since it was last skipped.
    pub(in crate::state) uses: Vec<u8>,
    /// The slot that is examined next for eviction.
    pub(in crate::state) hand: usize,
    /// The size of the table after the last eviction, and its recent growth between evictions.
    pub(in crate::state) settled: u64,
    pub(in crate::state) growth: u64,
    /// The memory of rows evicted since memory was last returned to the system.
    pub(in crate::state) freed: u64,
}

impl Spill {
    /// Creates it for a table with all rows in memory.
    pub(in crate::state) fn new(share: BudgetShare, failure: Failure) -> Spill {
        Spill { share, failure, cold: ColdRows::default(), uses: Vec::new(), hand: 0, settled: 0, growth: 0, freed: 0 }
    }

    /// Returns the expected growth of the table, of this size now, until the next eviction: like the recent growth through the rows of batches in
    /// progress.
    pub(in crate::state) fn expected_growth(&mut self, bytes: u64) -> u64 {
        self.growth = bytes.saturating_sub(self.settled).max(self.growth / 8 * 7);
        self.growth.min(self.share.budget().bytes_max() / 4)
    }

    /// Creates it for another table with the same budget, without rows.
    pub(in crate::state) fn another(&self) -> Spill {
        let (share, failure) = (self.share.another(), self.failure.clone());
        Spill::new(share, failure)
    }

    /// Returns the same cold rows, all or the changed ones, for a partial copy of the table that never grows.
    pub(in crate::state) fn of_copy(&self, changed_only: bool) -> Spill {
        let cold = if changed_only { self.cold.only_changed() } else { self.cold.clone() };
        Spill { cold, ..Spill::new(self.share.uncounted(), self.failure.clone()) }
    }

    /// Adds a file.
    pub(in crate::state) fn add_file(&mut self, file: ColdFile) {
        self.cold.files.push(file);
    }

    /// Returns the same cold rows, for a copy of the table.
    pub(in crate::state) fn copied(&self) -> Spill {
        Spill {
            cold: self.cold.clone(),
            uses: self.uses.clone(),
            ..Spill::new(self.share.another(), self.failure.clone())
        }
    }
}
