//! DataFusion's rules for plans, with ours in the place of those that make another query of some.

use super::dependencies::forgotten;
use super::join_keys::EqualKeys;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// A rule for whole plans.
pub type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// Rules that compute fields of structs where rows are read, and give them names there. Keys of a join that are computed of
/// fields would look for columns by names that these rules have changed, and the query would be refused.
const OF_FIELDS: [&str; 2] = ["extract_leaf_expressions", "push_down_leaf_projections"];

/// The rules.
pub fn optimizer_rules() -> Vec<Rule> {
    let rules = Optimizer::new().rules.into_iter().filter(|rule| !OF_FIELDS.contains(&rule.name()));
    rules.map(sound).collect()
}

fn sound(rule: Rule) -> Rule {
    match rule.name() {
        "extract_equijoin_predicate" => Arc::new(EqualKeys::default()),
        "push_down_filter" => Arc::new(NotBelowTotals(rule)),
        "single_distinct_aggregation_to_group_by" => Arc::new(SameTypes(rule)),
        "eliminate_duplicated_expr" | "eliminate_join" | "optimize_projections" | "replace_distinct_aggregate" => {
            Arc::new(Unaware(rule))
        }
        _ => rule,
    }
}

/// A rule for plans that forgets before it looks.
#[derive(Debug)]
struct Unaware(Rule);

impl OptimizerRule for Unaware {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        // Rules that are given each step by itself look at what is below these two only.
        let looks = self.0.apply_order().is_none() || matches!(plan, LogicalPlan::Distinct(_) | LogicalPlan::Sort(_));
        let plan = if looks { forgotten(plan)? } else { plan };
        self.0.rewrite(plan, config)
    }
}

/// Brings conditions down, but none below an aggregate that has a row where it is given none: a condition that names no
/// column, as one on the time, would take away the rows below and leave that row.
#[derive(Debug)]
struct NotBelowTotals(Rule);

impl OptimizerRule for NotBelowTotals {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Filter(filter) if has_total(&filter.input) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// Whether these are conditions on such an aggregate. Of the columns of sets of groups, none is a column below.
fn has_total(plan: &LogicalPlan) -> bool {
    match plan {
        // The rule takes conditions on conditions together, and looks below both.
        LogicalPlan::Filter(filter) => has_total(&filter.input),
        LogicalPlan::Aggregate(aggregate) => {
            let groups = &aggregate.group_expr;
            groups.is_empty() || groups.iter().any(|group| matches!(group, Expr::GroupingSet(_)))
        }
        _ => false,
    }
}

/// Leaves a plan as it is where the rule would change the types of columns, which the plan above knows: the sum of sums of
/// decimals has more digits than the sum.
#[derive(Debug)]
struct SameTypes(Rule);

impl OptimizerRule for SameTypes {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Aggregate(_)) {
            return self.0.rewrite(plan, config);
        }
        let before = plan.clone();
        let made = self.0.rewrite(plan, config)?;
        let kinds = |plan: &LogicalPlan| -> Vec<_> {
            plan.schema().fields().iter().map(|field| field.data_type().clone()).collect()
        };
        Ok(if kinds(&made.data) == kinds(&before) { made } else { Transformed::no(before) })
    }
}
