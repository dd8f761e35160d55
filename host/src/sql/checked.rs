//! Arithmetic that fails where a result does not fit, instead of going on with another number.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::ProjectionExec;
use std::sync::Arc;

/// The expression, with sums, differences and products checked.
pub fn checked(expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    expression
        .transform_up(|part| {
            let arithmetic = |op: &Operator| matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
            let Some(binary) = part.downcast_ref::<BinaryExpr>().filter(|binary| arithmetic(binary.op())) else {
                return Ok(Transformed::no(part));
            };
            let again = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
            Ok(Transformed::yes(Arc::new(again.with_fail_on_overflow(true))))
        })
        .data()
}

/// The step of a plan, with its expressions checked.
pub fn checked_step(step: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(projection) = step.downcast_ref::<ProjectionExec>() {
        let each =
            |made: &ProjectionExpr| Ok(ProjectionExpr { expr: checked(made.expr.clone())?, alias: made.alias.clone() });
        let made = projection.expr().iter().map(each).collect::<Result<Vec<_>>>()?;
        return Ok(Arc::new(ProjectionExec::try_new(made, projection.input().clone())?));
    }
    if let Some(filter) = step.downcast_ref::<FilterExec>() {
        let predicate = checked(filter.predicate().clone())?;
        return Ok(Arc::new(FilterExecBuilder::from(filter).with_predicate(predicate).build()?));
    }
    let Some(aggregate) = step.downcast_ref::<AggregateExec>() else { return Ok(step) };
    let mut functions = Vec::new();
    for function in aggregate.aggr_expr() {
        let parts = function.all_expressions();
        let arguments = parts.args.into_iter().map(checked).collect::<Result<Vec<_>>>()?;
        let again = function.with_new_expressions(arguments, parts.order_by_exprs);
        functions.push(again.map_or_else(|| function.clone(), Arc::new));
    }
    Ok(Arc::new(aggregate.with_new_aggr_exprs(functions)))
}
