//! Distribution of a query over workers, derived from its plan.

use super::floats;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan, TableScan, Window};

/// Where a query runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryPlacement {
    /// On every worker, each part of the input separately.
    Parts,
    /// On the owners of the keys; these are the indexes of the key columns in its rows.
    ByKey(Vec<usize>),
    /// On one worker, for this reason.
    One(String),
}

/// Property of a plan: its output for one key depends only on the rows of that key. For each key column, the columns with its value.
type PartitionColumns = Vec<Vec<Column>>;

/// Decides where a query runs. `keys` are the names of the key columns, the same in every input.
pub fn placement_of(plan: &LogicalPlan, keys: &[String]) -> QueryPlacement {
    if by_part(plan) && reads(plan) {
        return QueryPlacement::Parts;
    }
    if keys.is_empty() {
        return QueryPlacement::One(reason(plan));
    }
    match kept_columns(plan, keys) {
        Err(why) => QueryPlacement::One(why),
        Ok(columns_by_key) => {
            let index = |columns: &Vec<Column>| columns.iter().find_map(|column| index_of(plan.schema(), column));
            match columns_by_key.iter().map(index).collect::<Option<Vec<_>>>() {
                Some(indexes) => QueryPlacement::ByKey(indexes),
                None => QueryPlacement::One(format!("its rows do not hold the key `{}`", keys.join(", "))),
            }
        }
    }
}

fn index_of(schema: &DFSchema, column: &Column) -> Option<usize> {
    schema.columns().iter().position(|other| other == column)
}

fn reads(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::TableScan(_)) || plan.inputs().into_iter().any(reads)
}

/// Returns whether each row is processed separately.
fn by_part(plan: &LogicalPlan) -> bool {
    let this = match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Unnest(_) => true,
        _ => false,
    };
    this && !has_query(plan) && plan.inputs().into_iter().all(by_part)
}

/// Returns whether an expression contains a query.
fn has_query(plan: &LogicalPlan) -> bool {
    let is_query = |part: &Expr| {
        matches!(part, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
    };
    plan.expressions().iter().any(|expression| expression.exists(|part| Ok(is_query(part))).unwrap_or(true))
}

/// Returns why a query needs all rows, from the outermost step that does.
fn reason(plan: &LogicalPlan) -> String {
    let message = match plan {
        LogicalPlan::Sort(_) => "it orders all rows",
        LogicalPlan::Limit(_) => "it selects the first of all rows",
        LogicalPlan::TableScan(scan) if scan.fetch.is_some() => "it selects the first of all rows",
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => "it aggregates all rows",
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => "it groups rows",
        LogicalPlan::Window(_) => "it has window functions",
        LogicalPlan::Join(_) => "it joins rows",
        _ if has_query(plan) => "it has a subquery",
        _ => match plan.inputs().into_iter().find(|input| !by_part(input)) {
            Some(input) => return reason(input),
            None => "it does not work row by row",
        },
    };
    message.to_owned()
}

fn kept_columns(plan: &LogicalPlan, keys: &[String]) -> Result<PartitionColumns, String> {
    if has_query(plan) {
        return Err("it has a subquery".into());
    }
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(scan, keys),
        LogicalPlan::Filter(filter) => kept_columns(&filter.input, keys),
        LogicalPlan::Projection(projection) => {
            Ok(of_expressions(&kept_columns(&projection.input, keys)?, &projection.expr, &projection.schema))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            Ok(at_index(&kept_columns(&alias.input, keys)?, alias.input.schema(), &alias.schema))
        }
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate, keys),
        LogicalPlan::Window(window) => of_window(window, keys),
        LogicalPlan::Join(join) => of_join(join, keys),
        LogicalPlan::Union(union) => {
            let mut all: Option<PartitionColumns> = None;
            for input in &union.inputs {
                let one = at_index(&kept_columns(input, keys)?, input.schema(), &union.schema);
                all = Some(match all {
                    None => one,
                    Some(before) => before.into_iter().zip(&one).map(|(a, b)| merge_columns(a, b)).collect(),
                });
            }
            all.ok_or_else(|| "it is a union of nothing".into())
        }
        other => Err(reason(other)),
    }
}

fn merge_columns(columns: Vec<Column>, others: &[Column]) -> Vec<Column> {
    columns.into_iter().filter(|column| others.contains(column)).collect()
}

fn of_scan(scan: &TableScan, keys: &[String]) -> Result<PartitionColumns, String> {
    if scan.fetch.is_some() {
        return Err("it selects the first of all rows".into());
    }
    let columns = scan.projected_schema.columns();
    let key = |key: &String| columns.iter().filter(|column| column.name == *key).cloned().collect::<Vec<_>>();
    Ok(keys.iter().map(key).collect())
}

/// Returns whether the expression is a column with the key.
fn is_held(expression: &Expr, columns: &[Column]) -> bool {
    match expression {
        Expr::Column(column) => columns.contains(column),
        Expr::Alias(alias) => is_held(&alias.expr, columns),
        // Keys of stages are compared in the same way.
        other => floats::compared(other).is_some_and(|inner| is_held(inner, columns)),
    }
}

fn of_expressions(columns_by_key: &PartitionColumns, expressions: &[Expr], schema: &DFSchema) -> PartitionColumns {
    let names = schema.columns();
    let of = |columns: &Vec<Column>| {
        let made = expressions.iter().zip(&names).filter(|(expression, _)| is_held(expression, columns));
        made.map(|(_, name)| name.clone()).collect()
    };
    columns_by_key.iter().map(of).collect()
}

fn at_index(columns_by_key: &PartitionColumns, from: &DFSchema, to: &DFSchema) -> PartitionColumns {
    let names = to.columns();
    let existing = |column: &Column| index_of(from, column).and_then(|index| names.get(index).cloned());
    columns_by_key.iter().map(|columns| columns.iter().filter_map(existing).collect()).collect()
}

fn of_aggregate(aggregate: &Aggregate, keys: &[String]) -> Result<PartitionColumns, String> {
    let columns_by_key = kept_columns(&aggregate.input, keys)?;
    for (columns, key) in columns_by_key.iter().zip(keys) {
        if !aggregate.group_expr.iter().any(|group| is_held(group, columns)) {
            return Err(match aggregate.group_expr.is_empty() {
                true => "it aggregates all rows".into(),
                false => format!("it groups rows by something else than the key `{key}`"),
            });
        }
    }
    Ok(of_expressions(&columns_by_key, &aggregate.group_expr, &aggregate.schema))
}

fn of_window(window: &Window, keys: &[String]) -> Result<PartitionColumns, String> {
    let columns_by_key = kept_columns(&window.input, keys)?;
    for expression in &window.window_expr {
        let function = match expression {
            Expr::Alias(alias) => &alias.expr,
            other => other,
        };
        let Expr::WindowFunction(function) = function else { return Err("it has window functions".into()) };
        let by = &function.params.partition_by;
        let missing = columns_by_key.iter().zip(keys).find(|(columns, _)| !by.iter().any(|by| is_held(by, columns)));
        if let Some((_, key)) = missing {
            return Err(format!("a window function is not partitioned by the key `{key}`"));
        }
    }
    Ok(columns_by_key)
}

fn of_join(join: &Join, keys: &[String]) -> Result<PartitionColumns, String> {
    let (left, right) = (kept_columns(&join.left, keys)?, kept_columns(&join.right, keys)?);
    if join.null_aware {
        return Err("`not in` looks at all rows".into());
    }
    for ((left, right), key) in left.iter().zip(&right).zip(keys) {
        if !join.on.iter().any(|(a, b)| is_held(a, left) && is_held(b, right)) {
            return Err(format!("it joins rows without the key `{key}` being equal"));
        }
    }
    Ok(match join.join_type {
        JoinType::Inner => left.into_iter().zip(right).map(|(left, right)| [left, right].concat()).collect(),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
        // Each side may be null.
        JoinType::Full => vec![Vec::new(); keys.len()],
    })
}
