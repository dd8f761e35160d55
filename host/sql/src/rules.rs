//! DataFusion's optimizer rules, with replacements for incorrect ones.

use super::dependencies::without_dependencies;
use super::join_keys::EqualKeys;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// A rule for plans.
pub type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// Rules that compute fields of structs where rows are read, and name them there. Join keys computed from fields would look for columns by names that
/// these rules have changed, and the query would fail.
const OF_FIELDS: [&str; 2] = ["extract_leaf_expressions", "push_down_leaf_projections"];

/// Returns the rules.
pub fn optimizer_rules() -> Vec<Rule> {
    let rules = Optimizer::new().rules.into_iter().filter(|rule| !OF_FIELDS.contains(&rule.name()));
    rules.map(corrected_rule).collect()
}

fn corrected_rule(rule: Rule) -> Rule {
    match rule.name() {
        "extract_equijoin_predicate" => Arc::new(EqualKeys::default()),
        "push_down_filter" => Arc::new(PushDownFilterAboveTotals(rule)),
        "single_distinct_aggregation_to_group_by" => Arc::new(TypePreserving(rule)),
        "eliminate_duplicated_expr" | "eliminate_join" | "optimize_projections" | "replace_distinct_aggregate" => {
            Arc::new(WithoutDependencies(rule))
        }
        _ => rule,
    }
}

/// A rule that removes functional dependencies first.
#[derive(Debug)]
struct WithoutDependencies(Rule);

impl OptimizerRule for WithoutDependencies {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        // Rules that receive single steps only read dependencies below these two.
        let looks = self.0.apply_order().is_none() || matches!(plan, LogicalPlan::Distinct(_) | LogicalPlan::Sort(_));
        let plan = if looks { without_dependencies(plan)? } else { plan };
        self.0.rewrite(plan, config)
    }
}

/// Pushes conditions down, but not below an aggregate that returns a row for no input. A condition without columns, such as one on the time, would
/// remove the input rows and keep that row.
#[derive(Debug)]
struct PushDownFilterAboveTotals(Rule);

impl OptimizerRule for PushDownFilterAboveTotals {
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

/// Returns whether these are conditions on such an aggregate. Columns of grouping sets are no columns of the input.
fn has_total(plan: &LogicalPlan) -> bool {
    match plan {
        // The rule merges nested conditions, and looks below both.
        LogicalPlan::Filter(filter) => has_total(&filter.input),
        LogicalPlan::Aggregate(aggregate) => {
            let groups = &aggregate.group_expr;
            groups.is_empty() || groups.iter().any(|group| matches!(group, Expr::GroupingSet(_)))
        }
        _ => false,
    }
}

/// Keeps a plan if the rule would change the types of columns, on which the plan above relies. The sum of sums of decimals has more digits than the
/// sum.
#[derive(Debug)]
struct TypePreserving(Rule);

impl OptimizerRule for TypePreserving {
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
