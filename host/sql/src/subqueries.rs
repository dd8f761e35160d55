//! Subqueries in expressions (`exists`, `in`, `any`, `all`, scalar), as joins.
//!
//! DataFusion joins rows with the results of a subquery by pulling up its conditions. That is correct for conditions directly over rows (`simple`),
//! which are left to it. It loses rows or nulls if an aggregate, a limit or an outer join is in between. Here such a subquery is computed for all
//! values of its outer columns (`dependent`), and its rows are joined by these values. `values` has the result of each form.

mod dependent;
mod lateral;
mod nullable;
mod references;
mod simple;
mod values;

use super::budget;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::expr::{Exists, InSubquery, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, JoinType, LogicalPlan, Projection, Sort as SortRows, Window,
};
use datafusion::optimizer::AnalyzerRule;
use references::{columns_of, has_subquery, is_lateral};
use std::sync::Arc;

/// The rule for plans. It runs before type coercion.
#[derive(Debug)]
pub struct Subqueries;

impl AnalyzerRule for Subqueries {
    fn name(&self) -> &str {
        "subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Unnester::default().plan(plan)
    }
}

/// Rewrites plans, and names added columns.
#[derive(Default)]
struct Unnester {
    names: usize,
}

/// Rows with the results of subqueries as added columns.
struct Attached {
    /// The plan before any additions.
    base: LogicalPlan,
    plan: LogicalPlan,
    /// Whether even an uncorrelated subquery must become a column.
    all_as_columns: bool,
}

impl Attached {
    fn new(base: LogicalPlan, all_as_columns: bool) -> Attached {
        Attached { plan: base.clone(), base, all_as_columns }
    }
}

impl Unnester {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("__outer_{}", self.names)
    }

    /// Rewrites an uncorrelated plan, removing correlated subqueries.
    fn plan(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        budget::check()?;
        if let LogicalPlan::Join(join) = &plan
            && is_lateral(join)
        {
            return self.lateral(join.clone());
        }
        let plan = plan.map_children(|child| Ok(Transformed::yes(self.plan(child)?)))?.data;
        let mut found = false;
        plan.apply_expressions(|expr| {
            found |= has_subquery(expr);
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        if !found {
            return Ok(plan);
        }
        match plan {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Join(join) => self.join(join),
            _ => plan_err!("a subquery cannot be used here; compute it in a query in `from`"),
        }
    }

    fn filter(&mut self, filter: Filter) -> Result<LogicalPlan> {
        let input = Arc::unwrap_or_clone(filter.input);
        let columns = input.schema().columns();
        let mut at = Attached::new(input, false);
        let mut conditions = Vec::new();
        for condition in split_conjunction_owned(filter.predicate) {
            if !has_subquery(&condition) {
                conditions.push(condition);
            } else if let Some(condition) = self.condition(condition, &mut at)? {
                conditions.push(condition);
            }
        }
        let mut plan = at.plan;
        if let Some(predicate) = conjunction(conditions) {
            plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
        }
        project_to(columns, plan)
    }

    /// Rewrites a separate condition, of which only the truth matters; `None` if the rows have been joined instead.
    fn condition(&mut self, condition: Expr, at: &mut Attached) -> Result<Option<Expr>> {
        let (inner, mut negated) = match condition {
            Expr::Not(inner) if matches!(*inner, Expr::Exists(_) | Expr::InSubquery(_)) => (*inner, true),
            other => (other, false),
        };
        match inner {
            Expr::Exists(Exists { subquery, negated: not }) => {
                negated ^= not;
                self.rows_with(Arc::unwrap_or_clone(subquery.subquery), negated, at)
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated: not }) => {
                negated ^= not;
                let value = self.prepared(*expr, at)?;
                self.rows_in(value, Arc::unwrap_or_clone(subquery.subquery), negated, at)
            }
            other => self.replaced(other, at).map(Some),
        }
    }

    fn projection(&mut self, projection: Projection) -> Result<LogicalPlan> {
        let mut at = Attached::new(Arc::unwrap_or_clone(projection.input), false);
        let made = self.all_replaced(projection.expr, &mut at)?;
        Ok(LogicalPlan::Projection(Projection::try_new(made, Arc::new(at.plan))?))
    }

    fn aggregate(&mut self, aggregate: Aggregate) -> Result<LogicalPlan> {
        if aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)) && has_subquery(group)) {
            return plan_err!("a subquery cannot be in a set of groups; compute it in a query in `from`");
        }
        let mut at = Attached::new(Arc::unwrap_or_clone(aggregate.input), true);
        let groups = self.all_replaced(aggregate.group_expr, &mut at)?;
        let calls = self.all_replaced(aggregate.aggr_expr, &mut at)?;
        Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(at.plan), groups, calls)?))
    }

    fn window(&mut self, window: Window) -> Result<LogicalPlan> {
        let columns = window.schema.columns();
        let mut at = Attached::new(Arc::unwrap_or_clone(window.input), true);
        let calls = self.all_replaced(window.window_expr, &mut at)?;
        project_to(columns, LogicalPlan::Window(Window::try_new(calls, Arc::new(at.plan))?))
    }

    fn sort(&mut self, sort: SortRows) -> Result<LogicalPlan> {
        let columns = sort.input.schema().columns();
        let mut at = Attached::new(Arc::unwrap_or_clone(sort.input), true);
        let by = |one: Sort| Ok(Sort { expr: self.replaced(one.expr, &mut at)?, ..one });
        let expr = sort.expr.into_iter().map(by).collect::<Result<_>>()?;
        project_to(columns, LogicalPlan::Sort(SortRows { expr, input: Arc::new(at.plan), fetch: sort.fetch }))
    }

    fn join(&mut self, mut join: Join) -> Result<LogicalPlan> {
        let columns = join.schema.columns();
        let conditions: Vec<Expr> = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
        let (within, mut rest): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(has_subquery);
        if within.is_empty() {
            return plan_err!("a subquery cannot be a key of a join; compute it in a query in `from`");
        }
        if join.join_type == JoinType::Inner {
            join.filter = conjunction(rest);
            let predicate = conjunction(within).unwrap_or_else(|| datafusion::logical_expr::lit(true));
            return self.filter(Filter::try_new(predicate, Arc::new(LogicalPlan::Join(join)))?);
        }
        let mut left = Attached::new(Arc::unwrap_or_clone(join.left), true);
        let mut right = Attached::new(Arc::unwrap_or_clone(join.right), true);
        for condition in within {
            let condition = condition.transform_up(|part| {
                if !values::is_subquery(&part) {
                    return Ok(Transformed::no(part));
                }
                let named = references::named(&part);
                let side = [&mut left, &mut right].into_iter().find(|at| {
                    named.iter().all(|column| at.plan.schema().has_column(column))
                });
                match side {
                    Some(at) => Ok(Transformed::yes(self.replaced(part, at)?)),
                    None => plan_err!(
                        "a query in the `on` of an outer join names columns of both sides; compute it in a query in `from`"
                    ),
                }
            })?;
            rest.push(condition.data);
        }
        let (left, right) = (Arc::new(left.plan), Arc::new(right.plan));
        let Join { on, join_type, join_constraint, null_equality, null_aware, .. } = join;
        let filter = conjunction(rest);
        let join = Join::try_new(left, right, on, filter, join_type, join_constraint, null_equality, null_aware)?;
        project_to(columns, LogicalPlan::Join(join))
    }

    fn all_replaced(&mut self, parts: Vec<Expr>, at: &mut Attached) -> Result<Vec<Expr>> {
        let names = NamePreserver::new_for_projection();
        let one = |part: Expr| {
            if !has_subquery(&part) {
                return Ok(part);
            }
            let name = names.save(&part);
            Ok(name.restore(self.replaced(part, at)?))
        };
        parts.into_iter().map(one).collect()
    }
}

/// Projects the plan to these columns.
fn project_to(columns: Vec<Column>, plan: LogicalPlan) -> Result<LogicalPlan> {
    if plan.schema().columns() == columns {
        return Ok(plan);
    }
    let columns = columns.into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// Adds a column to the plan.
fn with_column(value: Expr, plan: LogicalPlan) -> Result<LogicalPlan> {
    let all = columns_of(&plan).chain([value]).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(all, Arc::new(plan))?))
}
