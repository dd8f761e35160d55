//! Floats that are compared, grouped and joined: all NaNs are one, and -0 is 0, as for the keys of stages.

use crate::batch::keys::canonical_column;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};

/// Whether a type has several values that stand for one.
pub fn has_twins(kind: &DataType) -> bool {
    match kind {
        DataType::Float64 => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_twins(field.data_type())),
        DataType::List(item) => has_twins(item.data_type()),
        _ => false,
    }
}

/// The values by which a column is compared: floats, or lists and structs of them.
fn canonical_values(column: &ArrayRef) -> Result<ArrayRef> {
    if let Some(parts) = column.as_struct_opt() {
        let made = parts.columns().iter().map(canonical_values).collect::<Result<Vec<_>>>()?;
        let whole =
            StructArray::try_new_with_length(parts.fields().clone(), made, parts.nulls().cloned(), parts.len())?;
        return Ok(Arc::new(whole));
    }
    let (DataType::List(item), Some(lists)) = (column.data_type(), column.as_list_opt::<i32>()) else {
        return Ok(canonical_column(column));
    };
    let items = canonical_values(lists.values())?;
    Ok(Arc::new(ListArray::try_new(item.clone(), lists.offsets().clone(), items, lists.nulls().cloned())?))
}

/// The value by which an expression is compared.
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

/// The expression whose values are compared by this one.
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
            Some(ColumnarValue::Array(values)) => ColumnarValue::Array(canonical_values(&values)?),
            Some(ColumnarValue::Scalar(value)) => {
                let values = canonical_values(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
            }
            None => ColumnarValue::Scalar(ScalarValue::Float64(None)),
        })
    }
}
