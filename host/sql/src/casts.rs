//! Casts that may lose information or fail, protected from simplification.
//!
//! DataFusion moves comparisons below such a cast where it can. It turns `try_cast(w as int) > 5` into `w > 5`, which keeps rows whose cast is null.
//! It turns `cast(price as int) = 1` into `price = 1`, though 1.5 cast to int is 1. These functions replace the casts to prevent that. For floats as
//! text they write infinities as sinks do.

use arrow::array::{AsArray, StringArray};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::format::DEFAULT_CAST_OPTIONS;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TryCast,
    Volatility,
};
use std::sync::Arc;

/// Returns the replacement of `cast(… as …)` or `try_cast(… as …)`; `None` for another expression, or a lossless cast.
pub fn replacement(part: &Expr, from: impl FnOnce(&Expr) -> Result<DataType>) -> Result<Option<Expr>> {
    let (value, field, fails) = match part {
        Expr::Cast(Cast { expr, field }) => (expr, field, true),
        Expr::TryCast(TryCast { expr, field }) => (expr, field, false),
        _ => return Ok(None),
    };
    // A constant is cast when the query is planned, which reports a failing cast.
    if matches!(**value, Expr::Literal(..)) || !may_lose(&from(value)?, field.data_type()) {
        return Ok(None);
    }
    let (function, to) = (if fails { "cast" } else { "try_cast" }, field.data_type().clone());
    let name = format!("{function}({} as {to})", value.schema_name());
    let cast = ExactCast { to, fails, name, signature: Signature::any(1, Volatility::Immutable) };
    Ok(Some(ScalarUDF::new_from_impl(cast).call(vec![(**value).clone()])))
}

/// Returns the type of the replacement.
pub fn type_of(call: &ScalarFunction) -> Option<DataType> {
    call.func.inner().downcast_ref::<ExactCast>().map(|cast| cast.to.clone())
}

fn may_lose(from: &DataType, to: &DataType) -> bool {
    if from == to {
        return false;
    }
    if from.is_string() {
        return !to.is_string();
    }
    if from.is_floating() && to.is_string() {
        return true;
    }
    if from.is_decimal() {
        return !to.is_string();
    }
    if from.is_integer() && to.is_integer() {
        let (old, new) = (from.primitive_width(), to.primitive_width());
        let wider = match (from.is_signed_integer(), to.is_signed_integer()) {
            (true, false) => false,
            (false, true) => new > old,
            _ => new >= old,
        };
        return !wider;
    }
    false
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactCast {
    to: DataType,
    /// Whether a failing cast is an error, and not null.
    fails: bool,
    /// Not the name of the inner column, unlike DataFusion's casts: a join has the compared values in addition to their columns. Stored, since
    /// building it takes long for deep nesting.
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for ExactCast {
    fn name(&self) -> &str {
        if self.fails { "cast" } else { "try_cast" }
    }

    fn schema_name(&self, _arguments: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = !self.fails || arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = arguments.args.as_slice() else { return exec_err!("a cast without its value") };
        let cast = value.cast_to(&self.to, Some(&CastOptions { safe: !self.fails, ..DEFAULT_CAST_OPTIONS }))?;
        match value.data_type().is_floating() && self.to.is_string() {
            true => with_infinities(cast, &self.to),
            false => Ok(cast),
        }
    }
}

/// Replaces Arrow's `inf` in floats as text by the names of infinities that sinks write.
fn with_infinities(strings: ColumnarValue, to: &DataType) -> Result<ColumnarValue> {
    let array = arrow::compute::cast(&strings.to_array(1)?, &DataType::Utf8)?;
    let plain = array.as_string::<i32>();
    if !plain.iter().flatten().any(|text| text.ends_with("inf")) {
        return Ok(strings);
    }
    let named = plain.iter().map(|text| match text {
        Some("inf") => Some("Infinity"),
        Some("-inf") => Some("-Infinity"),
        text => text,
    });
    let named = arrow::compute::cast(&StringArray::from_iter(named), to)?;
    Ok(match strings {
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&named, 0)?),
        ColumnarValue::Array(_) => ColumnarValue::Array(named),
    })
}
