//! Over which workers a query can be spread: what follows from its plan.

use super::floats;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan, TableScan, Window};

/// Where a query runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryPlacement {
    /// On every worker, each part of the input by itself.
    Parts,
    /// On the owners of the keys; the key columns stand at these places of its rows.
    ByKey(Vec<usize>),
    /// On one worker, for this reason.
    One(String),
}

/// What can be said of a plan: that what it makes of the rows of one key depends on these rows alone. For each key column,
/// the columns that hold its value.
type PartitionColumns = Vec<Vec<Column>>;

/// Decides. `keys`: the key columns' names, the same in every input.
pub fn placement_of(plan: &LogicalPlan, keys: &[String]) -> QueryPlacement {
    if by_part(plan) && reads(plan) {
        return QueryPlacement::Parts;
    }
    if keys.is_empty() {
        return QueryPlacement::One(reason(plan));
    }
    match held(plan, keys) {
        Err(why) => QueryPlacement::One(why),
        Ok(held) => {
            let place = |columns: &Vec<Column>| columns.iter().find_map(|column| place_of(plan.schema(), column));
            match held.iter().map(place).collect::<Option<Vec<_>>>() {
                Some(places) => QueryPlacement::ByKey(places),
                None => QueryPlacement::One(format!("its rows do not hold the key `{}`", keys.join(", "))),
            }
        }
    }
}

fn place_of(schema: &DFSchema, column: &Column) -> Option<usize> {
    schema.columns().iter().position(|other| other == column)
}

fn reads(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::TableScan(_)) || plan.inputs().into_iter().any(reads)
}

/// Whether each row is worked on by itself.
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
    this && !asks_again(plan) && plan.inputs().into_iter().all(by_part)
}

/// Whether an expression holds a query of its own.
fn asks_again(plan: &LogicalPlan) -> bool {
    let asks = |part: &Expr| {
        matches!(part, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
    };
    plan.expressions().iter().any(|expression| expression.exists(|part| Ok(asks(part))).unwrap_or(true))
}

/// Why a query looks at all rows, by the outermost step that does.
fn reason(plan: &LogicalPlan) -> String {
    let words = match plan {
        LogicalPlan::Sort(_) => "it orders all rows",
        LogicalPlan::Limit(_) => "it takes the first of all rows",
        LogicalPlan::TableScan(scan) if scan.fetch.is_some() => "it takes the first of all rows",
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => "it aggregates all rows",
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => "it groups rows",
        LogicalPlan::Window(_) => "it has window functions",
        LogicalPlan::Join(_) => "it joins rows",
        _ if asks_again(plan) => "it has a subquery",
        _ => match plan.inputs().into_iter().find(|input| !by_part(input)) {
            Some(input) => return reason(input),
            None => "it does not work row by row",
        },
    };
    words.to_owned()
}

fn held(plan: &LogicalPlan, keys: &[String]) -> Result<PartitionColumns, String> {
    if asks_again(plan) {
        return Err("it has a subquery".into());
    }
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(scan, keys),
        LogicalPlan::Filter(filter) => held(&filter.input, keys),
        LogicalPlan::Projection(projection) => {
            Ok(of_expressions(&held(&projection.input, keys)?, &projection.expr, &projection.schema))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            Ok(by_place(&held(&alias.input, keys)?, alias.input.schema(), &alias.schema))
        }
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate, keys),
        LogicalPlan::Window(window) => of_window(window, keys),
        LogicalPlan::Join(join) => of_join(join, keys),
        LogicalPlan::Union(union) => {
            let mut all: Option<PartitionColumns> = None;
            for input in &union.inputs {
                let one = by_place(&held(input, keys)?, input.schema(), &union.schema);
                all = Some(match all {
                    None => one,
                    Some(before) => before.into_iter().zip(&one).map(|(a, b)| both(a, b)).collect(),
                });
            }
            all.ok_or_else(|| "it is a union of nothing".into())
        }
        other => Err(reason(other)),
    }
}

fn both(columns: Vec<Column>, others: &[Column]) -> Vec<Column> {
    columns.into_iter().filter(|column| others.contains(column)).collect()
}

fn of_scan(scan: &TableScan, keys: &[String]) -> Result<PartitionColumns, String> {
    if scan.fetch.is_some() {
        return Err("it takes the first of all rows".into());
    }
    let columns = scan.projected_schema.columns();
    let key = |key: &String| columns.iter().filter(|column| column.name == *key).cloned().collect::<Vec<_>>();
    Ok(keys.iter().map(key).collect())
}

/// Whether the expression is a column that holds the key.
fn is_held(expression: &Expr, columns: &[Column]) -> bool {
    match expression {
        Expr::Column(column) => columns.contains(column),
        Expr::Alias(alias) => is_held(&alias.expr, columns),
        // Keys of stages are compared in the same way.
        other => floats::compared(other).is_some_and(|inner| is_held(inner, columns)),
    }
}

fn of_expressions(held: &PartitionColumns, expressions: &[Expr], schema: &DFSchema) -> PartitionColumns {
    let names = schema.columns();
    let of = |columns: &Vec<Column>| {
        let made = expressions.iter().zip(&names).filter(|(expression, _)| is_held(expression, columns));
        made.map(|(_, name)| name.clone()).collect()
    };
    held.iter().map(of).collect()
}

fn by_place(held: &PartitionColumns, from: &DFSchema, to: &DFSchema) -> PartitionColumns {
    let names = to.columns();
    let there = |column: &Column| place_of(from, column).and_then(|place| names.get(place).cloned());
    held.iter().map(|columns| columns.iter().filter_map(there).collect()).collect()
}

fn of_aggregate(aggregate: &Aggregate, keys: &[String]) -> Result<PartitionColumns, String> {
    let held = held(&aggregate.input, keys)?;
    for (columns, key) in held.iter().zip(keys) {
        if !aggregate.group_expr.iter().any(|group| is_held(group, columns)) {
            return Err(match aggregate.group_expr.is_empty() {
                true => "it aggregates all rows".into(),
                false => format!("it groups rows by something else than the key `{key}`"),
            });
        }
    }
    Ok(of_expressions(&held, &aggregate.group_expr, &aggregate.schema))
}

fn of_window(window: &Window, keys: &[String]) -> Result<PartitionColumns, String> {
    let held = held(&window.input, keys)?;
    for expression in &window.window_expr {
        let function = match expression {
            Expr::Alias(alias) => &alias.expr,
            other => other,
        };
        let Expr::WindowFunction(function) = function else { return Err("it has window functions".into()) };
        let by = &function.params.partition_by;
        let missing = held.iter().zip(keys).find(|(columns, _)| !by.iter().any(|by| is_held(by, columns)));
        if let Some((_, key)) = missing {
            return Err(format!("a window function is not partitioned by the key `{key}`"));
        }
    }
    Ok(held)
}

fn of_join(join: &Join, keys: &[String]) -> Result<PartitionColumns, String> {
    let (left, right) = (held(&join.left, keys)?, held(&join.right, keys)?);
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
