//! `floor` and `ceil` of decimals. DataFusion's keep the type of their argument, which may have no room for the rounded value: 999.9 is a `decimal(4,
//! 1)`, and 1000.0 is not. Here the result has no digits after the decimal point, and one more before it.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

/// Names of the functions.
pub const NAMES: [&str; 2] = ["floor", "ceil"];

/// Returns one of the functions, with its own handling of decimals.
pub fn rounding(plain: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::new_from_impl(Rounding { plain })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounding {
    plain: Arc<ScalarUDF>,
}

impl Rounding {
    fn round(&self, values: &dyn Array, scale: i8, to: &DataType) -> Result<ArrayRef> {
        let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
        let is_floor = self.plain.name() == "floor";
        let round = |value: i128| {
            let below = value.div_euclid(unit);
            if is_floor || value.rem_euclid(unit) == 0 { below } else { below + 1 }
        };
        let made = values.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(round);
        Ok(Arc::new(made.with_data_type(to.clone())))
    }
}

/// Returns the type of a rounded decimal, and the number of removed digits.
fn rounded(kind: &DataType) -> Option<(DataType, i8)> {
    match kind {
        DataType::Decimal128(digits, scale) if *scale > 0 => {
            let before = digits.saturating_sub(scale.unsigned_abs()) + 1;
            Some((DataType::Decimal128(before.min(DECIMAL128_MAX_PRECISION), 0), *scale))
        }
        _ => None,
    }
}

impl ScalarUDFImpl for Rounding {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().and_then(rounded) {
            Some((kind, _)) => Ok(kind),
            None => self.plain.return_type(types),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match arguments.arg_fields.first().and_then(|field| Some((field, rounded(field.data_type())?))) {
            Some((field, (kind, _))) => Ok(Arc::new(Field::new(self.name(), kind, field.is_nullable()))),
            None => self.plain.return_field_from_args(arguments),
        }
    }

    fn is_strict(&self) -> bool {
        self.plain.inner().is_strict()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kind = arguments.args.first().and_then(|value| rounded(&value.data_type()));
        let Some((kind, scale)) = kind else { return self.plain.invoke_with_args(arguments) };
        match arguments.args.first() {
            Some(ColumnarValue::Array(values)) => Ok(ColumnarValue::Array(self.round(values, scale, &kind)?)),
            Some(ColumnarValue::Scalar(value)) => {
                let made = self.round(&value.to_array()?, scale, &kind)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?))
            }
            None => exec_err!("`{}` without a value", self.name()),
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.plain.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }
}
