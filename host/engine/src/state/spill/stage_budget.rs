//! How much memory the rows of a stage may take while all of them are in memory, and how they leave it.

use super::StateTable;
use super::budget::{BudgetShare, StateBudget};
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use std::sync::Arc;

/// See the module. What the rows take counts until this is dropped.
pub struct StageBudget {
    share: BudgetShare,
    failure: Failure,
    stage: String,
}

impl StageBudget {
    /// Of a stage of this name.
    pub fn new(budget: &Arc<StateBudget>, failure: &Failure, stage: &str) -> StageBudget {
        StageBudget { share: budget.share(), failure: failure.clone(), stage: stage.to_owned() }
    }

    /// Of more rows of the stage, which take nothing yet.
    pub fn another(&self) -> StageBudget {
        StageBudget::new(self.share.budget(), &self.failure, &self.stage)
    }

    /// The rows take so many bytes now: whether that is too much.
    pub fn is_exceeded(&self, bytes: u64) -> bool {
        self.share.take(bytes).is_some()
    }

    /// From now on the rows of a table may lie in files. An error where no files can be made.
    pub fn spilling(&self, table: StateTable) -> Result<StateTable> {
        table.spilling_within(Some(self.share.budget()), &self.failure, &self.stage)
    }
}
