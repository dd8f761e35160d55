//! Outer columns of a subquery.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use std::sync::Arc;

/// Returns the query in an expression.
pub fn subquery_of(part: &Expr) -> Option<&Subquery> {
    match part {
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(compared) => Some(&compared.subquery),
        Expr::ScalarSubquery(subquery) => Some(subquery),
        _ => None,
    }
}

/// Returns whether an expression contains a query.
pub fn has_subquery(part: &Expr) -> bool {
    part.exists(|part| Ok(subquery_of(part).is_some())).unwrap_or(false)
}

/// Returns the columns of a plan, as expressions.
pub fn columns_of(plan: &LogicalPlan) -> impl Iterator<Item = Expr> {
    plan.schema().columns().into_iter().map(Expr::Column)
}

/// Wraps a plan as a query in an expression.
pub fn subquery(plan: LogicalPlan) -> Subquery {
    let mut outer = Vec::new();
    // The visitor never fails.
    let _ = collect(&plan, &mut Vec::new(), &mut |part| {
        if !outer.contains(part) {
            outer.push(part.clone());
        }
    });
    Subquery { subquery: Arc::new(plan), outer_ref_columns: outer, spans: Default::default() }
}

/// Returns the distinct outer columns.
pub fn free(plan: &LogicalPlan) -> Vec<Column> {
    let mut found = Vec::new();
    // The visitor never fails.
    let _ = collect(plan, &mut Vec::new(), &mut |part| match part {
        Expr::OuterReferenceColumn(_, column) if !found.contains(column) => found.push(column.clone()),
        _ => {}
    });
    found
}

/// Returns the columns of the current rows that an expression with a query names, also within that query.
pub fn named(part: &Expr) -> Vec<Column> {
    let mut all: Vec<Column> = part.column_refs().into_iter().cloned().collect();
    if let Some(within) = subquery_of(part) {
        all.extend(free(&within.subquery));
    }
    all
}

/// Visits references to outer columns of a plan. `shadows` has the scopes that an inner query searches first.
fn collect(plan: &LogicalPlan, shadows: &mut Vec<DFSchema>, visit: &mut dyn FnMut(&Expr)) -> Result<()> {
    plan.apply_expressions(|expr| {
        expr.apply(|part| {
            if let Expr::OuterReferenceColumn(_, column) = part
                && !shadows.iter().any(|schema| schema.has_column(column))
            {
                visit(part);
            }
            if let Some(within) = subquery_of(part) {
                shadows.push(merge_schema(&plan.inputs()));
                collect(&within.subquery, shadows, visit)?;
                shadows.pop();
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if let LogicalPlan::Join(join) = plan
        && is_lateral(join)
    {
        collect(&join.left, shadows, visit)?;
        shadows.push(join.left.schema().as_ref().clone());
        collect(&join.right, shadows, visit)?;
        shadows.pop();
        return Ok(());
    }
    plan.inputs().into_iter().try_for_each(|input| collect(input, shadows, visit))
}

/// Current columns of outer columns.
pub type ColumnMap<'a> = [(&'a Column, &'a Column)];

/// Replaces outer columns by columns of the expression's rows, which are those of `input`.
pub fn bind(expr: Expr, input: &DFSchema, column_map: &ColumnMap<'_>) -> Result<Expr> {
    expr.transform_up(|part| match &part {
        Expr::OuterReferenceColumn(_, column) => match current_column(column, column_map) {
            Some(index) => Ok(Transformed::yes(Expr::Column(index.clone()))),
            None => Ok(Transformed::no(part)),
        },
        _ => below(part, &mut vec![input.clone()], column_map),
    })
    .data()
}

/// As [`bind`], for several expressions that name columns.
pub fn bind_all(parts: Vec<Expr>, input: &DFSchema, column_map: &ColumnMap<'_>) -> Result<Vec<Expr>> {
    let names = NamePreserver::new_for_projection();
    let one = |part: Expr| {
        let name = names.save(&part);
        Ok(name.restore(bind(part, input, column_map)?))
    };
    parts.into_iter().map(one).collect()
}

fn current_column<'a>(column: &Column, column_map: &ColumnMap<'a>) -> Option<&'a Column> {
    column_map.iter().find(|(from, _)| *from == column).map(|(_, to)| *to)
}

/// Replaces outer columns in a query within an expression.
fn below(part: Expr, shadows: &mut Vec<DFSchema>, column_map: &ColumnMap<'_>) -> Result<Transformed<Expr>> {
    let mut change = |within: &Subquery| -> Result<Subquery> {
        let plan = move_outer(Arc::unwrap_or_clone(within.subquery.clone()), shadows, column_map)?;
        Ok(Subquery { spans: within.spans.clone(), ..subquery(plan) })
    };
    Ok(match part {
        Expr::Exists(mut exists) => {
            exists.subquery = change(&exists.subquery)?;
            Transformed::yes(Expr::Exists(exists))
        }
        Expr::InSubquery(mut within) => {
            within.subquery = change(&within.subquery)?;
            Transformed::yes(Expr::InSubquery(within))
        }
        Expr::SetComparison(mut compared) => {
            compared.subquery = change(&compared.subquery)?;
            Transformed::yes(Expr::SetComparison(compared))
        }
        Expr::ScalarSubquery(within) => Transformed::yes(Expr::ScalarSubquery(change(&within)?)),
        other => Transformed::no(other),
    })
}

/// Replaces outer columns of a plan.
pub fn move_outer(plan: LogicalPlan, shadows: &mut Vec<DFSchema>, column_map: &ColumnMap<'_>) -> Result<LogicalPlan> {
    let names = NamePreserver::new(&plan);
    let input = merge_schema(&plan.inputs());
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let made = expr.transform_up(|part| match &part {
            Expr::OuterReferenceColumn(field, column) if !shadows.iter().any(|schema| schema.has_column(column)) => {
                match current_column(column, column_map) {
                    Some(index) => Ok(Transformed::yes(Expr::OuterReferenceColumn(field.clone(), index.clone()))),
                    None => Ok(Transformed::no(part)),
                }
            }
            _ => {
                shadows.push(input.clone());
                let made = below(part, shadows, column_map);
                shadows.pop();
                made
            }
        })?;
        Ok(made.update_data(|made| name.restore(made)))
    })?;
    if let LogicalPlan::Join(join) = &plan.data
        && is_lateral(join)
    {
        let mut join = join.clone();
        join.left = Arc::new(move_outer(Arc::unwrap_or_clone(join.left), shadows, column_map)?);
        shadows.push(join.left.schema().as_ref().clone());
        let right = move_outer(Arc::unwrap_or_clone(join.right), shadows, column_map);
        shadows.pop();
        join.right = Arc::new(right?);
        return Ok(LogicalPlan::Join(join));
    }
    plan.data.map_children(|child| Ok(Transformed::yes(move_outer(child, shadows, column_map)?))).data()
}

/// Returns whether the right side of a join is a `lateral` query. DataFusion marks it, unless only a query within it names the columns.
pub fn is_lateral(join: &Join) -> bool {
    is_marked(&join.right) || free(&join.right).iter().any(|column| join.left.schema().has_column(column))
}

fn is_marked(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => matches!(&*alias.input, LogicalPlan::Subquery(_)),
        _ => false,
    }
}
