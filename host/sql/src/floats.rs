//! Comparison, grouping and joining of floats: all NaNs are equal, and -0 is 0, as for the keys of stages.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millstream_rows::batch::keys::canonical_column;
use std::sync::{Arc, LazyLock};

/// Returns the value by which an expression is compared.
pub fn canonical(expression: Expr) -> Expr {
    static CANONICAL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Canonical { signature }))
    });
    if is_canonical(&expression) { expression } else { CANONICAL.call(vec![expression]) }
}

fn is_canonical(expression: &Expr) -> bool {
    compared(expression).is_some()
}

/// Returns the expression whose values this one compares.
pub fn compared(expression: &Expr) -> Option<&Expr> {
    match expression {
        Expr::ScalarFunction(call) if call.func.inner().is::<Canonical>() => call.args.first(),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Canonical {
    signature: Signature,
}

impl ScalarUDFImpl for Canonical {
    fn name(&self) -> &str {
        "canonical"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Float64))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        let kind = arguments.arg_fields.first().map_or(DataType::Float64, |field| field.data_type().clone());
        Ok(Arc::new(Field::new(self.name(), kind, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match arguments.args.pop() {
            Some(ColumnarValue::Array(values)) => ColumnarValue::Array(canonical_column(&values)),
            Some(ColumnarValue::Scalar(value)) => {
                let values = canonical_column(&value.to_array()?);
                ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
            }
            None => ColumnarValue::Scalar(ScalarValue::Float64(None)),
        })
    }
}
