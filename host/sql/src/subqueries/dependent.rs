//! A subquery for all values of its outer columns at once: its rows, with these values as columns.

use super::references::{ColumnMap, bind, bind_all, columns_of, free, is_lateral, move_outer};
use super::{Unnester, project_to};
use crate::budget;
use datafusion::common::{Column, DFSchema, ExprSchema as _, JoinConstraint, Result, ScalarValue, plan_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Filter, Join, JoinType, Limit, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, SkipType, Sort as SortRows, SubqueryAlias, Union, Unnest, Window, WindowFunctionDefinition,
    binary_expr, lit, when,
};
use std::sync::Arc;

/// A column that is true in matching rows.
pub const EXISTS_COLUMN: &str = "__there";

/// Returns the name of the key column for an outer column; columns of the query have other names.
pub fn key_name(index: usize) -> String {
    format!("__key_{index}")
}

fn total_name(index: usize) -> String {
    format!("__total_{index}")
}

/// The values of outer columns.
pub struct Domain {
    /// Outer columns of a query.
    outer: Vec<Column>,
    /// The plan that has these columns.
    base: LogicalPlan,
}

/// Rows for all outer values: the query's own columns, followed by these values.
pub struct DependentRows {
    pub plan: LogicalPlan,
    pub keys: Vec<Column>,
}

impl Domain {
    pub fn new(base: LogicalPlan, outer: &[Column]) -> Domain {
        Domain { outer: outer.to_vec(), base }
    }

    /// Returns the distinct values, under names of their own.
    fn values(&self, name: &str) -> Result<DependentRows> {
        let columns = self.outer.iter().enumerate();
        let columns = columns.map(|(index, column)| Expr::Column(column.clone()).alias(key_name(index)));
        let columns: Vec<Expr> = columns.collect();
        let plan = LogicalPlanBuilder::from(self.base.clone()).project(columns)?.distinct()?.alias(name)?.build()?;
        let keys = plan.schema().columns();
        Ok(DependentRows { plan, keys })
    }

    fn column_map<'a>(&'a self, keys: &'a [Column]) -> Vec<(&'a Column, &'a Column)> {
        self.outer.iter().zip(keys).collect()
    }
}

/// Returns the conditions that columns are equal, with equal nulls, as keys of a join.
pub fn equal(left: &[Column], of_left: &DFSchema, right: &[Column], of_right: &DFSchema) -> Result<Vec<Expr>> {
    let mut conditions = Vec::new();
    for (left, right) in left.iter().zip(right) {
        let (a, b) = (Expr::Column(left.clone()), Expr::Column(right.clone()));
        let (field, other) = (of_left.field_from_column(left)?, of_right.field_from_column(right)?);
        let zero = ScalarValue::new_default(field.data_type()).ok().filter(|zero| !zero.is_null());
        match zero {
            _ if !field.is_nullable() && !other.is_nullable() => conditions.push(a.eq(b)),
            Some(zero) => {
                let zero = Expr::Literal(zero, None);
                conditions.push(a.clone().is_null().eq(b.clone().is_null()));
                conditions.push(coalesce(vec![a, zero.clone()]).eq(coalesce(vec![b, zero])));
            }
            None => conditions.push(binary_expr(a, Operator::IsNotDistinctFrom, b)),
        }
    }
    Ok(conditions)
}

impl Unnester {
    /// Returns the rows of a query for all values.
    pub(super) fn dependent(&mut self, plan: LogicalPlan, of: &Domain) -> Result<DependentRows> {
        budget::check()?;
        if free(&plan).is_empty() {
            let values = of.values(&self.name())?;
            let plan = LogicalPlanBuilder::from(plan).cross_join(values.plan)?.build()?;
            return Ok(DependentRows { plan, keys: values.keys });
        }
        match plan {
            LogicalPlan::Filter(filter) => {
                let input = filter.input.schema().clone();
                let rows = self.below(filter.input, of)?;
                let predicate = bind(filter.predicate, &input, &of.column_map(&rows.keys))?;
                rows.map(|plan| Ok(LogicalPlan::Filter(Filter::try_new(predicate, plan)?)))
            }
            LogicalPlan::Projection(projection) => self.projected(projection, of),
            LogicalPlan::SubqueryAlias(alias) => self.aliased(alias, of),
            LogicalPlan::Aggregate(aggregate) => self.aggregated(aggregate, of),
            LogicalPlan::Window(window) => self.windowed(window, of),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                self.below(input, of)?.map(|plan| Ok(LogicalPlan::Distinct(Distinct::All(plan))))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let input = sort.input.schema().clone();
                let rows = self.below(sort.input, of)?;
                let expr = sorts(sort.expr, &input, &of.column_map(&rows.keys))?;
                rows.map(|input| Ok(LogicalPlan::Sort(SortRows { expr, input, fetch: None })))
            }
            LogicalPlan::Limit(limit) => self.limited(limit, of),
            LogicalPlan::Join(join) if is_lateral(&join) => self.lateral_rows(join, of),
            LogicalPlan::Join(join) => self.join_rows(join, of),
            LogicalPlan::Union(union) => self.union(union, of),
            LogicalPlan::Unnest(unnest) => self.unnested(unnest, of),
            _ => plan_err!("a subquery cannot name columns of the outer query here; write it as a join"),
        }
    }

    fn below(&mut self, input: Arc<LogicalPlan>, of: &Domain) -> Result<DependentRows> {
        self.dependent(Arc::unwrap_or_clone(input), of)
    }

    fn projected(&mut self, projection: Projection, of: &Domain) -> Result<DependentRows> {
        let input = projection.input.schema().clone();
        let rows = self.below(projection.input, of)?;
        let made = bind_all(projection.expr, &input, &of.column_map(&rows.keys))?;
        rows.project(made)
    }

    fn aliased(&mut self, alias: SubqueryAlias, of: &Domain) -> Result<DependentRows> {
        let (from, to) = (alias.input.schema().columns(), alias.schema.columns());
        renamed(self.below(alias.input, of)?, from, to)
    }

    fn aggregated(&mut self, aggregate: Aggregate, of: &Domain) -> Result<DependentRows> {
        if aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) {
            return plan_err!("sets of groups cannot be in a subquery that names columns of the outer query");
        }
        let input = aggregate.input.schema().clone();
        let rows = self.below(aggregate.input, of)?;
        let column_map = of.column_map(&rows.keys);
        let groups = bind_all(aggregate.group_expr, &input, &column_map)?;
        let calls = bind_all(aggregate.aggr_expr, &input, &column_map)?;
        let keys = rows.keys.iter().cloned().map(Expr::Column);
        let (own, complete) = (groups.len(), groups.is_empty());
        let groups: Vec<Expr> = groups.into_iter().chain(keys).collect();
        let made = Aggregate::try_new(Arc::new(rows.plan), groups, calls.clone())?;
        // The keys are between groups and totals.
        let mut from = made.schema.columns();
        from.drain(own..own + of.outer.len());
        let made = DependentRows { plan: LogicalPlan::Aggregate(made), keys: rows.keys };
        let to = aggregate.schema.columns();
        if complete { self.with_empty(made, &calls, from, to, of) } else { renamed(made, from, to) }
    }

    /// Adds the rows of an aggregate over no rows.
    fn with_empty(
        &mut self,
        made: DependentRows,
        calls: &[Expr],
        from: Vec<Column>,
        to: Vec<Column>,
        of: &Domain,
    ) -> Result<DependentRows> {
        let name = self.name();
        let keys = made.keys.iter().enumerate().map(|(index, key)| Expr::Column(key.clone()).alias(key_name(index)));
        let totals = from.iter().enumerate();
        let totals = totals.map(|(index, total)| Expr::Column(total.clone()).alias(total_name(index)));
        let columns: Vec<Expr> = keys.chain(totals).chain([lit(true).alias(EXISTS_COLUMN)]).collect();
        let made = LogicalPlanBuilder::from(made.plan).project(columns)?.alias(name.as_str())?.build()?;
        let of_name = |column: String| Column::new(Some(name.as_str()), column);
        let keys: Vec<Column> = (0..of.outer.len()).map(|index| of_name(key_name(index))).collect();
        let values = of.values(&self.name())?;
        let conditions = equal(&values.keys, values.plan.schema(), &keys, made.schema())?;
        let exists_column = of_name(EXISTS_COLUMN.into());
        let mut totals = Vec::new();
        for (index, (call, to)) in calls.iter().zip(to).enumerate() {
            let column = of_name(total_name(index));
            let kind = made.schema().field_from_column(&column)?.data_type().clone();
            let total = Expr::Column(column);
            let empty = match call.clone().unalias() {
                Expr::AggregateFunction(call) => call.func.default_value(&kind)?,
                _ => ScalarValue::Null,
            };
            let total = match empty.is_null() {
                true => total,
                false => {
                    when(Expr::Column(exists_column.clone()).is_null(), Expr::Literal(empty, None)).otherwise(total)?
                }
            };
            totals.push(total.alias_qualified(to.relation, to.name));
        }
        let plan = LogicalPlanBuilder::from(values.plan).join_on(made, JoinType::Left, conditions)?.build()?;
        DependentRows { plan, keys: values.keys }.project(totals)
    }

    fn windowed(&mut self, window: Window, of: &Domain) -> Result<DependentRows> {
        let (input, columns) = (window.input.schema().clone(), window.schema.columns());
        let rows = self.below(window.input, of)?;
        let mut calls = bind_all(window.window_expr, &input, &of.column_map(&rows.keys))?;
        for call in &mut calls {
            let (relation, name) = call.qualified_name();
            let mut inner = call.clone().unalias();
            if let Expr::WindowFunction(function) = &mut inner {
                function.params.partition_by.extend(rows.keys.iter().cloned().map(Expr::Column));
            }
            *call = inner.alias_qualified(relation, name);
        }
        let rows = rows.map(|plan| Ok(LogicalPlan::Window(Window::try_new(calls, plan)?)))?;
        rows.project(columns.into_iter().map(Expr::Column).collect())
    }

    fn limited(&mut self, limit: Limit, of: &Domain) -> Result<DependentRows> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return plan_err!("`limit` in a subquery that names columns of the outer query must be a number");
        };
        let input = Arc::unwrap_or_clone(limit.input);
        let (rows, order) = match input {
            // Each of its rows comes from one input row.
            LogicalPlan::Projection(mut projection) => {
                let below = Limit { input: projection.input, skip: limit.skip, fetch: limit.fetch };
                projection.input = Arc::new(LogicalPlan::Limit(below));
                return self.projected(projection, of);
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let schema = sort.input.schema().clone();
                let rows = self.below(sort.input, of)?;
                let order = sorts(sort.expr, &schema, &of.column_map(&rows.keys))?;
                (rows, order)
            }
            input => (self.dependent(input, of)?, Vec::new()),
        };
        let columns: Vec<Column> = rows.plan.schema().columns();
        let name = self.name();
        let mut number = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
        number.params.partition_by = rows.keys.iter().cloned().map(Expr::Column).collect();
        number.params.order_by = order;
        let number = Expr::WindowFunction(Box::new(number)).alias(&name);
        let plan = LogicalPlan::Window(Window::try_new(vec![number], Arc::new(rows.plan))?);
        let number = || Expr::Column(Column::new_unqualified(&name));
        let literal = |rows: usize| lit(i64::try_from(rows).unwrap_or(i64::MAX));
        let mut conditions = vec![number().gt(literal(skip))];
        conditions.extend(fetch.map(|fetch| number().lt_eq(literal(skip.saturating_add(fetch)))));
        let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
        let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
        Ok(DependentRows { plan: project_to(columns, plan)?, keys: rows.keys })
    }

    fn join_rows(&mut self, join: Join, of: &Domain) -> Result<DependentRows> {
        use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
        let columns: Vec<Column> = join.schema.columns();
        let schema = join.schema.clone();
        let (in_left, in_right) = (!free(&join.left).is_empty(), !free(&join.right).is_empty());
        let (left_always, right_always) = match join.join_type {
            Inner => (!in_right, false),
            Left | LeftSemi | LeftAnti | LeftMark => (true, false),
            Right | RightSemi | RightAnti | RightMark => (false, true),
            Full => (true, true),
        };
        let mut side = |plan: Arc<LogicalPlan>, dependent: bool| match dependent {
            true => self.below(plan, of),
            false => Ok(DependentRows { plan: Arc::unwrap_or_clone(plan), keys: Vec::new() }),
        };
        let left = side(join.left, in_left || left_always)?;
        let right = side(join.right, in_right || right_always)?;
        let keys = match join.join_type {
            Right | RightSemi | RightAnti | RightMark => right.keys.clone(),
            Inner if left.keys.is_empty() => right.keys.clone(),
            _ => left.keys.clone(),
        };
        let mut merged = schema.as_ref().clone();
        merged.merge(left.plan.schema());
        merged.merge(right.plan.schema());
        let column_map = of.column_map(&keys);
        let one = |part: Expr| bind(part, &merged, &column_map);
        let on = join.on.into_iter().map(|(a, b)| Ok((one(a)?, one(b)?))).collect::<Result<Vec<_>>>()?;
        let mut conditions = Vec::new();
        if !left.keys.is_empty() && !right.keys.is_empty() {
            conditions = equal(&left.keys, left.plan.schema(), &right.keys, right.plan.schema())?;
        }
        conditions.extend(join.filter.map(one).transpose()?);
        let full = join.join_type == Full;
        let made = Join::try_new(
            Arc::new(left.plan),
            Arc::new(right.plan),
            on,
            conjunction(conditions),
            join.join_type,
            JoinConstraint::On,
            join.null_equality,
            join.null_aware,
        )?;
        let plan = LogicalPlan::Join(made);
        if !full {
            let own = columns.into_iter().chain(keys.iter().cloned()).collect();
            return Ok(DependentRows { plan: project_to(own, plan)?, keys });
        }
        let name = self.name();
        let merge = |(index, (a, b)): (usize, (&Column, &Column))| {
            let either = coalesce(vec![Expr::Column(a.clone()), Expr::Column(b.clone())]);
            either.alias_qualified(Some(name.as_str()), key_name(index))
        };
        let merged = left.keys.iter().zip(&right.keys).enumerate().map(merge);
        let made: Vec<Expr> = columns.into_iter().map(Expr::Column).chain(merged).collect();
        let keys = (0..of.outer.len()).map(|index| Column::new(Some(name.as_str()), key_name(index))).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(made, Arc::new(plan))?);
        Ok(DependentRows { plan, keys })
    }

    /// Rewrites a `lateral` join: its query takes its outer columns from the rows before it, which include everything now.
    fn lateral_rows(&mut self, join: Join, of: &Domain) -> Result<DependentRows> {
        let columns = join.schema.columns();
        let input = join.schema.clone();
        let before = join.left.schema().as_ref().clone();
        let left = self.below(join.left, of)?;
        let column_map = of.column_map(&left.keys);
        let right = move_outer(Arc::unwrap_or_clone(join.right), &mut vec![before], &column_map)?;
        let filter = join.filter.map(|part| bind(part, &input, &column_map)).transpose()?;
        let (left_plan, right) = (Arc::new(left.plan), Arc::new(right));
        let Join { on, join_type, null_equality, .. } = join;
        let made = Join::try_new(left_plan, right, on, filter, join_type, JoinConstraint::On, null_equality, false)?;
        let own = columns.into_iter().chain(left.keys.iter().cloned()).collect();
        Ok(DependentRows { plan: project_to(own, LogicalPlan::Join(made))?, keys: left.keys })
    }

    fn union(&mut self, union: Union, of: &Domain) -> Result<DependentRows> {
        let mut inputs = Vec::new();
        for input in union.inputs {
            let width = input.schema().fields().len();
            let rows = self.below(input, of)?;
            let own = columns_of(&rows.plan).take(width).enumerate();
            let own = own.map(|(index, column)| column.alias(format!("__column_{index}")));
            let keys = rows.keys.iter().cloned().map(Expr::Column).enumerate();
            let keys = keys.map(|(index, key)| key.alias(key_name(index)));
            let all = own.chain(keys).collect();
            inputs.push(Arc::new(LogicalPlan::Projection(Projection::try_new(all, Arc::new(rows.plan))?)));
        }
        let made = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        let name = self.name();
        let mut from = made.schema().columns();
        let to = union.schema.columns();
        let keys = from.split_off(to.len());
        let own = from.into_iter().zip(to).map(|(from, to)| Expr::Column(from).alias_qualified(to.relation, to.name));
        let own: Vec<Expr> = own.collect();
        let keys = keys.into_iter().map(|key| Expr::Column(key.clone()).alias_qualified(Some(name.as_str()), key.name));
        let all = own.into_iter().chain(keys).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(all, Arc::new(made))?);
        let keys = (0..of.outer.len()).map(|index| Column::new(Some(name.as_str()), key_name(index))).collect();
        Ok(DependentRows { plan, keys })
    }

    fn unnested(&mut self, unnest: Unnest, of: &Domain) -> Result<DependentRows> {
        let columns = unnest.schema.columns();
        let rows = self.below(unnest.input, of)?;
        let plan = LogicalPlanBuilder::from(rows.plan);
        let plan = plan.unnest_columns_with_options(unnest.exec_columns, unnest.options)?.build()?;
        let own = columns.into_iter().chain(rows.keys.iter().cloned()).collect();
        Ok(DependentRows { plan: project_to(own, plan)?, keys: rows.keys })
    }
}

impl DependentRows {
    fn map(self, step: impl FnOnce(Arc<LogicalPlan>) -> Result<LogicalPlan>) -> Result<DependentRows> {
        Ok(DependentRows { plan: step(Arc::new(self.plan))?, keys: self.keys })
    }

    /// Projects to these columns, and the keys.
    fn project(self, mut columns: Vec<Expr>) -> Result<DependentRows> {
        columns.extend(self.keys.iter().cloned().map(Expr::Column));
        self.map(|plan| Ok(LogicalPlan::Projection(Projection::try_new(columns, plan)?)))
    }
}

fn renamed(rows: DependentRows, from: Vec<Column>, to: Vec<Column>) -> Result<DependentRows> {
    let rename = |(from, to): (Column, Column)| match from == to {
        true => Expr::Column(from),
        false => Expr::Column(from).alias_qualified(to.relation, to.name),
    };
    rows.project(from.into_iter().zip(to).map(rename).collect())
}

fn sorts(sorts: Vec<Sort>, input: &DFSchema, column_map: &ColumnMap<'_>) -> Result<Vec<Sort>> {
    sorts.into_iter().map(|sort| Ok(Sort { expr: bind(sort.expr, input, column_map)?, ..sort })).collect()
}
