//! The keys of joins. DataFusion makes `a is not distinct from b` the key of a join with equal nulls. Later it moves `a = b` into the same join,
//! which then also treats nulls as equal. Here only `=` makes keys.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// DataFusion's rule, which skips joins with equal nulls.
#[derive(Debug, Default)]
pub struct EqualKeys(ExtractEquijoinPredicate);

impl OptimizerRule for EqualKeys {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Join(_)) {
            return Ok(Transformed::no(plan));
        }
        let before = plan.clone();
        let made = self.0.rewrite(plan, config)?;
        match &made.data {
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
                Ok(Transformed::no(before))
            }
            _ => Ok(made),
        }
    }
}
