//! Creates accumulators of one call of an aggregate, repeatedly.

use super::plain_accumulator;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use std::sync::Arc;

/// See the module.
pub struct AccumulatorFactory {
    function: Arc<AggregateUDF>,
    name: String,
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl AccumulatorFactory {
    /// Creates the factory of this call.
    pub fn new(function: &Arc<AggregateUDF>, arguments: &AccumulatorArgs<'_>) -> AccumulatorFactory {
        AccumulatorFactory {
            function: function.clone(),
            name: arguments.name.to_owned(),
            return_field: arguments.return_field.clone(),
            schema: arguments.schema.clone(),
            ignore_nulls: arguments.ignore_nulls,
            order_bys: arguments.order_bys.to_vec(),
            is_reversed: arguments.is_reversed,
            is_distinct: arguments.is_distinct,
            exprs: arguments.exprs.to_vec(),
            expr_fields: arguments.expr_fields.to_vec(),
        }
    }

    /// Returns an accumulator without rows.
    pub fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        let arguments = AccumulatorArgs {
            return_field: self.return_field.clone(),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        };
        plain_accumulator(&self.function, arguments)
    }
}

impl std::fmt::Debug for AccumulatorFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccumulatorFactory").field("name", &self.name).finish_non_exhaustive()
    }
}
