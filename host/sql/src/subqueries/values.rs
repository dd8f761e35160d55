//! Results of `exists`, `in`, `any`, `all` and scalar subqueries, as joins and conditions.

use super::dependent::{Domain, EXISTS_COLUMN, equal, key_name};
use super::references::{columns_of, free, has_subquery, subquery, subquery_of};
use super::{Attached, Unnester, nullable, simple, with_column};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema as _, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Projection, lit, not, when,
};
use datafusion_functions_aggregate::count::count_udaf;
use std::sync::Arc;

const VALUE: &str = "__value";

/// Returns whether an expression is a query.
pub fn is_subquery(part: &Expr) -> bool {
    subquery_of(part).is_some()
}

/// Whether a query has rows.
enum Existence {
    Known(bool),
    /// True if this query has rows.
    Rows(Box<LogicalPlan>),
}

impl Unnester {
    /// Replaces the queries in an expression by columns.
    pub(super) fn replaced(&mut self, expr: Expr, at: &mut Attached) -> Result<Expr> {
        expr.transform_up(|part| {
            Ok(Transformed::yes(match part {
                Expr::Exists(Exists { subquery, negated }) => {
                    let exists_column = self.exists(Arc::unwrap_or_clone(subquery.subquery), at)?;
                    if negated { not(exists_column) } else { exists_column }
                }
                Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                    let value = self.prepared(*expr, at)?;
                    let plan = Arc::unwrap_or_clone(subquery.subquery);
                    let found = self.any(value, Operator::Eq, plan, at)?;
                    if negated { not(found) } else { found }
                }
                Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                    let value = self.prepared(*expr, at)?;
                    let plan = Arc::unwrap_or_clone(subquery.subquery);
                    match (quantifier, op.negate()) {
                        (SetQuantifier::Any, _) => self.any(value, op, plan, at)?,
                        (SetQuantifier::All, Some(opposite)) => not(self.any(value, opposite, plan, at)?),
                        (SetQuantifier::All, None) => return plan_err!("`{op} all (…)` is not available"),
                    }
                }
                Expr::ScalarSubquery(within) => self.scalar(Arc::unwrap_or_clone(within.subquery), at)?,
                other => return Ok(Transformed::no(other)),
            }))
        })
        .data()
    }

    /// Prepares a value for comparison; one that contains queries becomes a column.
    pub(super) fn prepared(&mut self, value: Expr, at: &mut Attached) -> Result<Expr> {
        let value = if has_subquery(&value) { self.replaced(value, at)? } else { value };
        if has_subquery(&value) { self.column(value, at) } else { Ok(value) }
    }

    fn column(&mut self, value: Expr, at: &mut Attached) -> Result<Expr> {
        let name = self.name();
        at.plan = with_column(value.alias(&name), std::mem::replace(&mut at.plan, empty_plan()))?;
        Ok(Expr::Column(Column::new_unqualified(name)))
    }

    /// Returns the condition that a query has rows, or none; `None` if the rows have been joined instead.
    pub(super) fn rows_with(&mut self, plan: LogicalPlan, negated: bool, at: &mut Attached) -> Result<Option<Expr>> {
        let plan = match existence(plan)? {
            Existence::Known(exists_column) => return Ok(Some(lit(exists_column != negated))),
            Existence::Rows(plan) => *plan,
        };
        let outer = free(&plan);
        if outer.is_empty() {
            let exists_column = self.exists(plan, at)?;
            return Ok(Some(if negated { not(exists_column) } else { exists_column }));
        }
        if simple::exists(&plan) {
            let plan = self.simple(plan)?;
            return Ok(Some(Expr::Exists(Exists { subquery: subquery(plan), negated })));
        }
        let (found, keys) = self.found(plan, &outer, at)?;
        let kind = if negated { JoinType::LeftAnti } else { JoinType::LeftSemi };
        self.joined(found, kind, &outer, &keys, at)?;
        Ok(None)
    }

    /// Returns the condition that a value is in the result of a query, or is not; `None` if the rows have been joined instead.
    pub(super) fn rows_in(
        &mut self,
        value: Expr,
        plan: LogicalPlan,
        negated: bool,
        at: &mut Attached,
    ) -> Result<Option<Expr>> {
        let outer = free(&plan);
        if !outer.is_empty() && !negated {
            let plan = matching(plan, Operator::Eq, &value, at)?;
            return self.rows_with(plan, false, at);
        }
        if !outer.is_empty() || (negated && !value.any_column_refs()) {
            let found = self.any(value, Operator::Eq, plan, at)?;
            return Ok(Some(if negated { not(found) } else { found }));
        }
        // The null handling requires a join with one key.
        let value = match value {
            value if negated && !matches!(value, Expr::Column(_)) => self.column(value, at)?,
            value => value,
        };
        let plan = self.plan(plan)?;
        let name = self.name();
        let plan = LogicalPlanBuilder::from(plan).alias(name.as_str())?.build()?;
        let values: Vec<Expr> = columns_of(&plan).map(|column| column.alias(VALUE)).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(values, Arc::new(plan))?);
        Ok(Some(Expr::InSubquery(InSubquery { expr: Box::new(value), subquery: subquery(plan), negated })))
    }

    /// Returns whether a query has rows, as an expression.
    fn exists(&mut self, plan: LogicalPlan, at: &mut Attached) -> Result<Expr> {
        let plan = match existence(plan)? {
            Existence::Known(exists_column) => return Ok(lit(exists_column)),
            Existence::Rows(plan) => *plan,
        };
        let outer = free(&plan);
        if outer.is_empty() {
            let count = count_udaf().call(vec![lit(1_i64)]).alias(VALUE);
            let counted = LogicalPlanBuilder::from(plan).limit(0, Some(1))?.aggregate(Vec::<Expr>::new(), [count])?;
            let exists_column = Expr::Column(Column::new_unqualified(VALUE)).gt(lit(0_i64)).alias(EXISTS_COLUMN);
            return self.scalar(counted.project([exists_column])?.build()?, at);
        }
        let (found, keys) = self.found(plan, &outer, at)?;
        let exists_column = Column::new(keys[0].relation.clone(), EXISTS_COLUMN);
        self.joined(found, JoinType::Left, &outer, &keys, at)?;
        Ok(Expr::Column(exists_column).is_not_null())
    }

    /// Rewrites `value op any (plan)`, with null if unknown.
    fn any(&mut self, value: Expr, op: Operator, plan: LogicalPlan, at: &mut Attached) -> Result<Expr> {
        let found = self.exists(matching(plan.clone(), op, &value, at)?, at)?;
        if matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) {
            return Ok(found);
        }
        let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
        let column = Expr::Column(single(&plan)?);
        let nulls = Filter::try_new(column.is_null(), Arc::new(plan.clone()))?;
        let nulls = self.exists(LogicalPlan::Filter(nulls), at)?;
        let mut cases = when(found, lit(true)).when(nulls, unknown.clone());
        if !matches!(&value, Expr::Literal(value, _) if !value.is_null()) {
            let any = self.exists(plan, at)?;
            cases = cases.when(value.is_null().and(any), unknown);
        }
        cases.otherwise(lit(false))
    }

    /// Returns the value of a query of at most one row.
    fn scalar(&mut self, plan: LogicalPlan, at: &mut Attached) -> Result<Expr> {
        let outer = free(&plan);
        if outer.is_empty() {
            let value = Expr::ScalarSubquery(subquery(maybe_null(self.plan(plan)?)?));
            return if at.all_as_columns { self.column(value, at) } else { Ok(value) };
        }
        if !simple::has_one_row(&plan) {
            return plan_err!(
                "a subquery that names columns of the outer query must return at most one row; use an aggregate, or \
                 `limit 1`"
            );
        }
        if !at.all_as_columns && simple::scalar(&plan) {
            let plan = called(self.simple(plan)?, &self.name())?;
            return Ok(Expr::ScalarSubquery(subquery(plan)));
        }
        let value = single(&plan)?;
        let domain = self.domain(&outer, at)?;
        let rows = self.dependent(plan, &domain)?;
        let name = self.name();
        let keys = rows.keys.iter().enumerate().map(|(index, key)| Expr::Column(key.clone()).alias(key_name(index)));
        let made: Vec<Expr> = keys.chain([Expr::Column(value).alias(VALUE)]).collect();
        let made = LogicalPlanBuilder::from(self.plan(rows.plan)?).project(made)?.alias(name.as_str())?.build()?;
        let keys: Vec<Column> = (0..outer.len()).map(|index| Column::new(Some(&name), key_name(index))).collect();
        self.joined(made, JoinType::Left, &outer, &keys, at)?;
        Ok(Expr::Column(Column::new(Some(name), VALUE)))
    }

    /// Returns the distinct outer values for which a query has rows, with a column that is true.
    fn found(&mut self, plan: LogicalPlan, outer: &[Column], at: &Attached) -> Result<(LogicalPlan, Vec<Column>)> {
        let domain = self.domain(outer, at)?;
        let rows = self.dependent(plan, &domain)?;
        let name = self.name();
        let keys = rows.keys.iter().enumerate().map(|(index, key)| Expr::Column(key.clone()).alias(key_name(index)));
        let keys: Vec<Expr> = keys.collect();
        let made = LogicalPlanBuilder::from(self.plan(rows.plan)?).project(keys)?.distinct()?.build()?;
        let made = with_column(lit(true).alias(EXISTS_COLUMN), made)?;
        let made = LogicalPlanBuilder::from(made).alias(name.as_str())?.build()?;
        let keys = (0..outer.len()).map(|index| Column::new(Some(&name), key_name(index))).collect();
        Ok((made, keys))
    }

    fn domain(&mut self, outer: &[Column], at: &Attached) -> Result<Domain> {
        let has = |plan: &LogicalPlan| outer.iter().find(|column| !plan.schema().has_column(column)).cloned();
        let Some(missing) = has(&at.base) else { return Ok(Domain::new(at.base.clone(), outer)) };
        match has(&at.plan) {
            None => Ok(Domain::new(at.plan.clone(), outer)),
            Some(_) => plan_err!("`{}` in a subquery is neither in its `group by` nor in an aggregate", missing.name),
        }
    }

    fn joined(
        &mut self,
        with: LogicalPlan,
        kind: JoinType,
        outer: &[Column],
        keys: &[Column],
        at: &mut Attached,
    ) -> Result<()> {
        let conditions = equal(outer, at.plan.schema(), keys, with.schema())?;
        let plan = std::mem::replace(&mut at.plan, empty_plan());
        at.plan = LogicalPlanBuilder::from(plan).join_on(with, kind, conditions)?.build()?;
        Ok(())
    }

    /// Leaves a query to DataFusion, and rewrites its inputs.
    fn simple(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        match free(&plan).is_empty() {
            true => self.plan(plan),
            false => plan.map_children(|child| Ok(Transformed::yes(self.simple(child)?))).data(),
        }
    }
}

fn empty_plan() -> LogicalPlan {
    LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(DFSchema::empty()),
    })
}

/// Makes the value of a query nullable, as it is null without rows. DataFusion considers the type of the column alone.
fn maybe_null(plan: LogicalPlan) -> Result<LogicalPlan> {
    let column = single(&plan)?;
    if plan.schema().field(0).is_nullable() {
        return Ok(plan);
    }
    let value = nullable::nullable(Expr::Column(column.clone())).alias_qualified(column.relation, column.name);
    LogicalPlanBuilder::from(plan).project([value])?.build()
}

/// Renames the value of a query. DataFusion adds the join columns, which may have the same name.
fn called(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(Projection { expr, input, .. }) = plan else { return Ok(plan) };
    let expr = expr.into_iter().map(|value| value.unalias().alias(name)).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(expr, input)?))
}

/// Returns the single column of a query.
fn single(plan: &LogicalPlan) -> Result<Column> {
    match <[Column; 1]>::try_from(plan.schema().columns()) {
        Ok([column]) => Ok(column),
        Err(columns) => plan_err!("a subquery has {} columns here; select one", columns.len()),
    }
}

/// Filters the rows of a query by a comparison of its value. The condition is pushed down as far as possible.
fn matching(plan: LogicalPlan, op: Operator, value: &Expr, at: &Attached) -> Result<LogicalPlan> {
    let column = single(&plan)?;
    let value = value.clone().transform_up(|part| match part {
        Expr::Column(column) => {
            let field = at.plan.schema().field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    });
    let value = Box::new(value.data()?);
    let compare = |right: Expr| Expr::BinaryExpr(BinaryExpr { left: value.clone(), op, right: Box::new(right) });
    match plan {
        LogicalPlan::Projection(Projection { mut expr, input, .. }) => {
            let made = expr.pop().map(Expr::unalias).unwrap_or_else(|| Expr::Column(column));
            let condition = compare(made);
            match Arc::unwrap_or_clone(input) {
                LogicalPlan::Filter(filter) => {
                    Filter::try_new(filter.predicate.and(condition), filter.input).map(LogicalPlan::Filter)
                }
                input => Filter::try_new(condition, Arc::new(input)).map(LogicalPlan::Filter),
            }
        }
        plan => Filter::try_new(compare(Expr::Column(column)), Arc::new(plan)).map(LogicalPlan::Filter),
    }
}

/// Simplifies a query of which only the existence of rows matters.
fn existence(plan: LogicalPlan) -> Result<Existence> {
    use datafusion::logical_expr::{FetchType, SkipType};
    let below = |input: Arc<LogicalPlan>| existence(Arc::unwrap_or_clone(input));
    Ok(match plan {
        LogicalPlan::Projection(projection) => return below(projection.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => return below(sort.input),
        LogicalPlan::SubqueryAlias(alias) => return below(alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => return below(input),
        LogicalPlan::Distinct(Distinct::On(on)) => return below(on.input),
        LogicalPlan::Window(window) => return below(window.input),
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => Existence::Known(true),
        LogicalPlan::Aggregate(aggregate)
            if !aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) =>
        {
            return below(aggregate.input);
        }
        LogicalPlan::EmptyRelation(one) => Existence::Known(one.produce_one_row),
        LogicalPlan::Limit(limit) => match (limit.get_skip_type()?, limit.get_fetch_type()?) {
            (_, FetchType::Literal(Some(0))) => Existence::Known(false),
            (SkipType::Literal(0), FetchType::Literal(_)) => return below(limit.input),
            _ => Existence::Rows(Box::new(LogicalPlan::Limit(limit))),
        },
        plan => Existence::Rows(Box::new(plan)),
    })
}
