//! `lateral`: a query in `from` that names columns of the preceding tables.

use super::dependent::{Domain, equal};
use super::references::free;
use super::{Unnester, project_to};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Join, JoinType, LogicalPlan, LogicalPlanBuilder};
use std::sync::Arc;

/// Returns the query without its lateral marker.
fn without_marker(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Subquery(within) => Arc::unwrap_or_clone(within.subquery),
        LogicalPlan::SubqueryAlias(alias) => {
            let name = alias.alias.clone();
            LogicalPlanBuilder::from(without_marker(Arc::unwrap_or_clone(alias.input))?).alias(name)?.build()?
        }
        other => other,
    })
}

impl Unnester {
    pub(super) fn lateral(&mut self, join: Join) -> Result<LogicalPlan> {
        let columns = join.schema.columns();
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return plan_err!("`lateral` works with an inner join or a left join only");
        }
        let left = self.plan(Arc::unwrap_or_clone(join.left))?;
        let right = without_marker(Arc::unwrap_or_clone(join.right))?;
        let outer = free(&right);
        if let Some(missing) = outer.iter().find(|column| !left.schema().has_column(column)) {
            return plan_err!("a `lateral` query names `{}`, which does not come before it", missing.name);
        }
        let domain = Domain::new(left.clone(), &outer);
        let rows = self.dependent(right, &domain)?;
        let right = self.plan(rows.plan)?;
        let mut conditions = equal(&outer, left.schema(), &rows.keys, right.schema())?;
        conditions.extend(join.filter.map(split_conjunction_owned).unwrap_or_default());
        let joined = Join::try_new(
            Arc::new(left),
            Arc::new(right),
            join.on,
            conjunction(conditions),
            join.join_type,
            datafusion::common::JoinConstraint::On,
            join.null_equality,
            false,
        )?;
        project_to(columns, self.plan(LogicalPlan::Join(joined))?)
    }
}
