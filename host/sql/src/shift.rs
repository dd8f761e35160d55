//! `lead` and `lag` with `ignore nulls`. DataFusion's streaming evaluation is wrong beyond the next row; evaluation over a complete partition is
//! correct.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Names of the functions.
pub const NAMES: [&str; 2] = ["lead", "lag"];

/// Returns one of the functions.
pub fn shift(plain: Arc<WindowUDF>) -> WindowUDF {
    WindowUDF::new_from_impl(Shift { plain })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift {
    plain: Arc<WindowUDF>,
}

impl WindowUDFImpl for Shift {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn expressions(&self, arguments: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.plain.expressions(arguments)
    }

    fn partition_evaluator(&self, arguments: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let complete = arguments.ignore_nulls();
        let plain = self.plain.partition_evaluator_factory(arguments)?;
        Ok(if complete { Box::new(FullPartition { plain }) } else { plain })
    }

    fn field(&self, arguments: WindowUDFFieldArgs) -> Result<FieldRef> {
        self.plain.field(arguments)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.coerce_types(types)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.plain.reverse_expr() {
            ReversedUDWF::Reversed(other) => ReversedUDWF::Reversed(Arc::new(shift(other))),
            other => other,
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }

    fn limit_effect(&self, arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        match self.plain.inner().limit_effect(arguments) {
            // The counted rows may be far apart.
            LimitEffect::Relative(_) => LimitEffect::Unknown,
            other => other,
        }
    }
}

/// Evaluates a complete partition.
#[derive(Debug)]
struct FullPartition {
    plain: Box<dyn PartitionEvaluator>,
}

impl PartitionEvaluator for FullPartition {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        self.plain.evaluate_all(values, rows)
    }

    fn is_causal(&self) -> bool {
        self.plain.is_causal()
    }

    fn supports_bounded_execution(&self) -> bool {
        false
    }
}
