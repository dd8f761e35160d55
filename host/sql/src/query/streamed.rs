//! A query over rows that arrive while it runs, as from a pipe. Its output is emitted as soon as it is known. It stores only what its steps need.

use super::Prepared;
use crate::batch_time::in_batch;
use crate::budget;
use crate::gather::finish;
use crate::input::NextRows;
use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_job::spec::SqlLimits;
use std::future::poll_fn;
use std::time::Duration;

impl Prepared {
    /// Returns whether it reads its input at most once, so that rows can be streamed.
    pub fn reads_once(&self) -> bool {
        let mut scans = 0;
        let counted = self.plan.apply(|step| {
            scans += usize::from(step.name() == "InputScan");
            Ok(TreeNodeRecursion::Continue)
        });
        counted.is_ok() && scans < 2 && self.plan.properties().output_partitioning().partition_count() == 1
    }

    /// Runs it over the rows of `next`, and waits for them; `each` receives the output as it arrives. The time limit does not apply, as it may run
    /// indefinitely. An error of `next` or of `each` ends it, and is returned.
    pub fn follow(
        &self,
        context: BatchContext,
        mut next: impl FnMut() -> Result<Option<RecordBatch>> + Send + 'static,
        mut each: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let own = |error: Error| DataFusionError::External(Box::new(error));
        let Some(input) = self.slots.first() else { return Err(Error::bug("a query without an input")) };
        let next: NextRows = Box::new(move || next().map_err(own));
        input.follow(next);
        let limits = SqlLimits { time_max: Duration::ZERO, ..self.limits };
        let mut run = || -> Result<(), DataFusionError> {
            let plan = reset_plan_states(self.plan.clone())?;
            let mut rows = plan.execute(0, self.task.clone())?;
            while let Some(piece) = finish(poll_fn(|context| rows.as_mut().poll_next(context))) {
                let piece = self.in_our_types(&[piece?])?;
                if piece.num_rows() > 0 {
                    each(piece).map_err(own)?;
                }
            }
            Ok(())
        };
        in_batch(context, || budget::run_within(limits, &mut run)).map_err(|error| self.runtime_error("", &error))
    }
}
