//! Removal of DataFusion's functional dependencies before they are used. For `group by a, b` over a join with a query grouped by `a`, it assumes that
//! `a` determines `b` and that there is one row per `a`. It would then drop `distinct`, groups and sort keys, and treat rows of one `a` as different
//! ones in frames.

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{FunctionalDependencies, Result};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Distinct, LogicalPlan};
use datafusion::sql::sqlparser::ast::TableFactor;
use std::cell::Cell;
use std::sync::Arc;

/// Returns the plan without functional dependencies.
pub fn without_dependencies(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_down_with_subqueries(|mut plan| {
        let schema = match &mut plan {
            LogicalPlan::Aggregate(aggregate) => &mut aggregate.schema,
            LogicalPlan::Distinct(Distinct::On(distinct)) => &mut distinct.schema,
            LogicalPlan::Join(join) => &mut join.schema,
            LogicalPlan::Projection(projection) => &mut projection.schema,
            LogicalPlan::SubqueryAlias(alias) => &mut alias.schema,
            LogicalPlan::Union(union) => &mut union.schema,
            LogicalPlan::Unnest(unnest) => &mut unnest.schema,
            LogicalPlan::Window(window) => &mut window.schema,
            // The others have the columns of their inputs.
            _ => return Ok(Transformed::no(plan)),
        };
        if schema.functional_dependencies().is_empty() {
            return Ok(Transformed::no(plan));
        }
        let known = schema.as_ref().clone();
        *schema = Arc::new(known.with_functional_dependencies(FunctionalDependencies::empty())?);
        Ok(Transformed::yes(plan))
    })
    .data()
}

/// Removes them during planning, after each table of a `from`.
#[derive(Debug)]
pub struct TablesWithoutDependencies;

thread_local! {
    /// Whether the next table is the one that is being planned here.
    static PLANNED: Cell<bool> = const { Cell::new(false) };
}

impl RelationPlanner for TablesWithoutDependencies {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let is_table = matches!(relation, TableFactor::Table { .. } | TableFactor::Derived { .. });
        if !is_table || PLANNED.replace(false) {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        // The planner calls this again, immediately and for this table.
        PLANNED.set(true);
        let plan = without_dependencies(context.plan(relation)?)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}
