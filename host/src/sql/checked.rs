//! Arithmetic that fails where a result does not fit, instead of going on with another number.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
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
