//! Creates every aggregate once when a query is planned, so that unsupported arguments are found then, and not by the first batch.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use std::sync::Arc;

/// Fails if an aggregate of the plan cannot be computed.
pub fn check(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    plan.apply(|step| {
        if let Some(groups) = step.downcast_ref::<AggregateExec>() {
            for call in groups.aggr_expr() {
                if groups.group_expr().expr().is_empty() || !call.groups_accumulator_supported() {
                    call.create_accumulator()?;
                } else {
                    call.create_groups_accumulator()?;
                }
            }
        }
        let over = step.downcast_ref::<WindowAggExec>().map(WindowAggExec::window_expr);
        let over = over.or_else(|| step.downcast_ref::<BoundedWindowAggExec>().map(BoundedWindowAggExec::window_expr));
        for call in over.unwrap_or_default() {
            call.create_window_fn()?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
