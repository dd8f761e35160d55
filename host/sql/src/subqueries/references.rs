//! Columns that a subquery takes from outside.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use std::sync::Arc;

/// The query within an expression.
pub fn subquery_of(part: &Expr) -> Option<&Subquery> {
    match part {
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(compared) => Some(&compared.subquery),
        Expr::ScalarSubquery(subquery) => Some(subquery),
        _ => None,
    }
}

/// Whether there is a query within an expression.
pub fn has_subquery(part: &Expr) -> bool {
    part.exists(|part| Ok(subquery_of(part).is_some())).unwrap_or(false)
}

/// The columns of a plan, as expressions.
pub fn columns_of(plan: &LogicalPlan) -> impl Iterator<Item = Expr> {
    plan.schema().columns().into_iter().map(Expr::Column)
}

/// A plan as a query within an expression.
pub fn subquery(plan: LogicalPlan) -> Subquery {
    let mut outer = Vec::new();
    // Nothing in it fails.
    let _ = collect(&plan, &mut Vec::new(), &mut |part| {
        if !outer.contains(part) {
            outer.push(part.clone());
        }
    });
    Subquery { subquery: Arc::new(plan), outer_ref_columns: outer, spans: Default::default() }
}

/// The columns from outside, each once.
pub fn free(plan: &LogicalPlan) -> Vec<Column> {
    let mut found = Vec::new();
    // Nothing in it fails.
    let _ = collect(plan, &mut Vec::new(), &mut |part| match part {
        Expr::OuterReferenceColumn(_, column) if !found.contains(column) => found.push(column.clone()),
        _ => {}
    });
    found
}

/// The columns of the rows at hand that an expression with a query names, also within that query.
pub fn named(part: &Expr) -> Vec<Column> {
    let mut all: Vec<Column> = part.column_refs().into_iter().cloned().collect();
    if let Some(within) = subquery_of(part) {
        all.extend(free(&within.subquery));
    }
    all
}

/// Visits references to columns outside of a plan. `shadows`: what a query within it finds before it looks there.
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

/// Where columns from outside are now.
pub type Places<'a> = [(&'a Column, &'a Column)];

/// The expression with columns of its rows for those from outside. `input`: the rows that it is computed of.
pub fn bound(expr: Expr, input: &DFSchema, places: &Places<'_>) -> Result<Expr> {
    expr.transform_up(|part| match &part {
        Expr::OuterReferenceColumn(_, column) => match place_of(column, places) {
            Some(place) => Ok(Transformed::yes(Expr::Column(place.clone()))),
            None => Ok(Transformed::no(part)),
        },
        _ => below(part, &mut vec![input.clone()], places),
    })
    .data()
}

/// The same of several that columns get their names from.
pub fn all_bound(parts: Vec<Expr>, input: &DFSchema, places: &Places<'_>) -> Result<Vec<Expr>> {
    let names = NamePreserver::new_for_projection();
    let one = |part: Expr| {
        let name = names.save(&part);
        Ok(name.restore(bound(part, input, places)?))
    };
    parts.into_iter().map(one).collect()
}

fn place_of<'a>(column: &Column, places: &Places<'a>) -> Option<&'a Column> {
    places.iter().find(|(from, _)| *from == column).map(|(_, to)| *to)
}

/// A query within an expression names the same columns at their new places.
fn below(part: Expr, shadows: &mut Vec<DFSchema>, places: &Places<'_>) -> Result<Transformed<Expr>> {
    let mut change = |within: &Subquery| -> Result<Subquery> {
        let plan = moved(Arc::unwrap_or_clone(within.subquery.clone()), shadows, places)?;
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

/// A plan with other columns from outside.
pub fn moved(plan: LogicalPlan, shadows: &mut Vec<DFSchema>, places: &Places<'_>) -> Result<LogicalPlan> {
    let names = NamePreserver::new(&plan);
    let input = merge_schema(&plan.inputs());
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let made = expr.transform_up(|part| match &part {
            Expr::OuterReferenceColumn(field, column) if !shadows.iter().any(|schema| schema.has_column(column)) => {
                match place_of(column, places) {
                    Some(place) => Ok(Transformed::yes(Expr::OuterReferenceColumn(field.clone(), place.clone()))),
                    None => Ok(Transformed::no(part)),
                }
            }
            _ => {
                shadows.push(input.clone());
                let made = below(part, shadows, places);
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
        join.left = Arc::new(moved(Arc::unwrap_or_clone(join.left), shadows, places)?);
        shadows.push(join.left.schema().as_ref().clone());
        let right = moved(Arc::unwrap_or_clone(join.right), shadows, places);
        shadows.pop();
        join.right = Arc::new(right?);
        return Ok(LogicalPlan::Join(join));
    }
    plan.data.map_children(|child| Ok(Transformed::yes(moved(child, shadows, places)?))).data()
}

/// Whether the right side of a join is a `lateral` query. DataFusion marks it, unless only a query within it names the columns.
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
