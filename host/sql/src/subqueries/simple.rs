//! Subqueries that DataFusion plans correctly.

use super::references::{free, has_subquery};
use datafusion::common::{DFSchema, ExprSchema as _};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, Filter, LogicalPlan, Operator, Projection};
use datafusion::logical_expr::{Distinct, FetchType};
use millstream_rows::batch::keys::has_floats;

/// Returns whether it is an `exists` with conditions directly over rows.
pub fn exists(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else { return false };
    free(&filter.input).is_empty()
        && !has_subquery(&filter.predicate)
        && conditions(filter).all(|condition| has_own_names(condition, filter.input.schema()))
}

/// Returns whether it is an aggregate of all rows that equal the outer ones in some columns.
pub fn scalar(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            !expr.iter().any(|part| part.contains_outer() || has_subquery(part)) && scalar(input)
        }
        LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, .. }) => {
            let plain = !aggr_expr.iter().any(|part| part.contains_outer() || has_subquery(part));
            let LogicalPlan::Filter(filter) = &**input else { return false };
            let schema = filter.input.schema();
            plain
                && group_expr.is_empty()
                && free(&filter.input).is_empty()
                && !has_subquery(&filter.predicate)
                && conditions(filter)
                    .all(|condition| is_equality(condition, schema) && has_own_names(condition, schema))
        }
        _ => false,
    }
}

/// Returns the conditions on outer columns.
fn conditions(filter: &Filter) -> impl Iterator<Item = &Expr> {
    split_conjunction(&filter.predicate).into_iter().filter(|condition| condition.contains_outer())
}

/// Returns whether the named columns have unique names.
fn has_own_names(condition: &Expr, schema: &DFSchema) -> bool {
    condition.column_refs().iter().all(|column| schema.fields_with_unqualified_name(&column.name).len() == 1)
}

fn is_equality(condition: &Expr, schema: &DFSchema) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    match (&**left, &**right) {
        (Expr::Column(column), Expr::OuterReferenceColumn(field, _))
        | (Expr::OuterReferenceColumn(field, _), Expr::Column(column)) => {
            let kind = field.data_type();
            schema.field_from_column(column).is_ok_and(|own| own.data_type() == kind) && !has_floats(kind)
        }
        _ => false,
    }
}

/// Returns whether a query returns at most one row, for any outer values.
pub fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::Filter(filter) => has_one_row(&filter.input),
        LogicalPlan::Sort(sort) => has_one_row(&sort.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Window(window) => has_one_row(&window.input),
        LogicalPlan::Distinct(Distinct::All(input)) => has_one_row(input),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1)))) || has_one_row(&limit.input)
        }
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().all(|group| is_fixed(group, &aggregate.input)),
        LogicalPlan::Join(join) => has_one_row(&join.left) && has_one_row(&join.right),
        _ => false,
    }
}

/// Returns whether a group has one value for any outer values.
fn is_fixed(group: &Expr, input: &LogicalPlan) -> bool {
    if matches!(group, Expr::Literal(..) | Expr::OuterReferenceColumn(..)) {
        return true;
    }
    let LogicalPlan::Filter(filter) = input else { return false };
    conditions(filter).any(|condition| match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let outside = |part: &Expr| matches!(part, Expr::OuterReferenceColumn(..));
            (**left == *group && outside(right)) || (**right == *group && outside(left))
        }
        _ => false,
    })
}
