//! The memory budget of a stage's rows while all of them are in memory, and their transition to files.

use super::StateTable;
use super::budget::{BudgetShare, StateBudget};
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use std::sync::Arc;

/// The memory budget of a stage's rows, see the module. They count until this is dropped.
pub struct StageBudget {
    share: BudgetShare,
    failure: Failure,
    stage: String,
}

impl StageBudget {
    /// Creates the budget of a stage.
    pub fn new(budget: &Arc<StateBudget>, failure: &Failure, stage: &str) -> StageBudget {
        StageBudget { share: budget.share(), failure: failure.clone(), stage: stage.to_owned() }
    }

    /// Creates a budget for more rows of the stage, which take nothing yet.
    pub fn another(&self) -> StageBudget {
        StageBudget::new(self.share.budget(), &self.failure, &self.stage)
    }

    /// Sets the memory of the rows. Returns whether that is too much.
    pub fn is_exceeded(&self, bytes: u64) -> bool {
        self.share.take(bytes).is_some()
    }

    /// Returns whether the rows may take this much memory.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.share.has_room_for(bytes)
    }

    /// Lets the rows of a table move to files. Fails if files cannot be created.
    pub fn spilling(&self, table: StateTable) -> Result<StateTable> {
        table.spilling_within(Some(self.share.budget()), &self.failure, &self.stage)
    }
}
