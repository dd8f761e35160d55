//! The keys of joins. DataFusion makes `a is not distinct from b` the key of a join for which nulls are equal, and later brings
//! `a = b` into the same join, for which they are equal as well then. Here only `=` makes keys.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// Rules that compute fields of structs where rows are read, and give them names there. Keys of a join that are computed of
/// fields would look for columns by names that these rules have changed, and the query would be refused.
const OF_FIELDS: [&str; 2] = ["extract_leaf_expressions", "push_down_leaf_projections"];

/// DataFusion's rules for plans, with ours in the place of the one that finds keys.
pub fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let found = ExtractEquijoinPredicate::new();
    let rules = Optimizer::new().rules.into_iter().filter(|rule| !OF_FIELDS.contains(&rule.name()));
    rules.map(|rule| if rule.name() == found.name() { Arc::new(EqualKeys::default()) as _ } else { rule }).collect()
}

#[derive(Debug, Default)]
struct EqualKeys(ExtractEquijoinPredicate);

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
