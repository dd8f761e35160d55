//! An unchanged value of a nullable type.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};

/// Returns the nullable value of an expression.
pub fn nullable(value: Expr) -> Expr {
    static NULLABLE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        // Volatile, so that it is not folded for a constant when the query is planned.
        let signature = Signature::any(1, Volatility::Volatile);
        Arc::new(ScalarUDF::new_from_impl(Nullable { signature }))
    });
    NULLABLE.call(vec![value])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullable {
    signature: Signature,
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        "nullable"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kind = arguments.arg_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        Ok(Arc::new(Field::new(self.name(), kind, true)))
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        arguments.args.pop().map_or_else(|| exec_err!("`nullable` without a value"), Ok)
    }
}
