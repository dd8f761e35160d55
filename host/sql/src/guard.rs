//! Guards around each call of DataFusion's functions. The size of the output is known in advance, a panic becomes an error that names the function,
//! and time is checked.

use super::budget::{self, bytes_of};
use super::function::is_plugin;
use super::output_size::OutputSize;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{concat, is_null, nullif};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{ExprSchema, Result, ScalarValue};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, StructFieldMapping, Volatility,
};
use millstream_base::panics::caught;
use millstream_rows::batch::keys::canonical_column;
use millstream_rows::batch::keys::has_floats;
use std::sync::Arc;

/// Returns the function with a guard. Plugins have limits of their own.
pub fn guarded(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let own = function.inner().is::<GuardedFunction>() || is_plugin(function);
    (!own).then(|| Arc::new(ScalarUDF::new_from_impl(GuardedFunction { plain: function.clone() })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct GuardedFunction {
    plain: Arc<ScalarUDF>,
}

impl GuardedFunction {
    fn call(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        budget::check()?;
        let made = caught(|| self.plain.invoke_with_args(arguments));
        made.unwrap_or_else(|message| Err(budget::panicked(Some(self.plain.name()), &message)))
    }

    /// Evaluates some rows at a time, if the total size of the output is not known in advance.
    fn in_pieces(&self, arguments: &ScalarFunctionArgs, appetite: &OutputSize) -> Result<ColumnarValue> {
        let mut pieces: Vec<ArrayRef> = Vec::new();
        let mut bytes = 0;
        for rows in appetite.pieces() {
            let slice = |value: &ColumnarValue| match value {
                ColumnarValue::Array(values) => ColumnarValue::Array(values.slice(rows.start, rows.len())),
                scalar => scalar.clone(),
            };
            let args = arguments.args.iter().map(slice).collect();
            let piece = self.call(ScalarFunctionArgs { args, number_rows: rows.len(), ..arguments.clone() })?;
            let piece = piece.into_array(rows.len())?;
            bytes += bytes_of(&piece);
            budget::allow(&self.description(), bytes)?;
            pieces.push(piece);
        }
        let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece.as_ref()).collect();
        Ok(ColumnarValue::Array(concat(&pieces)?))
    }

    /// Corrects a negative length of `lpad` and `rpad` to 0, which the library does for constants only.
    fn corrected(&self, mut arguments: ScalarFunctionArgs) -> Result<ScalarFunctionArgs> {
        if ["lpad", "rpad"].contains(&self.plain.name())
            && let Some(ColumnarValue::Array(lengths)) = arguments.args.get_mut(1)
            && let Some(numbers) = lengths.as_primitive_opt::<Int64Type>()
        {
            *lengths = Arc::new(numbers.unary::<_, Int64Type>(|length| length.max(0)));
        }
        Ok(arguments)
    }

    /// Evaluates `date_trunc` of a constant as a column: the library rounds a constant before 1970 the other way.
    fn as_column(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut args = arguments.args.clone();
        if let Some(value @ ColumnarValue::Scalar(_)) = args.get_mut(1) {
            *value = ColumnarValue::Array(value.to_array(1)?);
        }
        match self.call(ScalarFunctionArgs { args, number_rows: 1, ..arguments })? {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)),
            scalar => Ok(scalar),
        }
    }

    /// Evaluates `nullif` of floats with the comparison of `=`, returning the first value unchanged.
    fn nullif(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let Some(first) = arguments.args.first().cloned() else { return self.call(arguments) };
        let of = |value: &ColumnarValue| Ok(canonical_column(&value.to_array(rows)?));
        let args = arguments.args.iter().map(|value| of(value).map(ColumnarValue::Array)).collect::<Result<_>>()?;
        let made = self.call(ScalarFunctionArgs { args, ..arguments })?.into_array(rows)?;
        Ok(ColumnarValue::Array(nullif(&first.into_array(rows)?, &is_null(&made)?)?))
    }

    fn description(&self) -> String {
        format!("`{}`", self.plain.name())
    }
}

/// Returns whether values of the type have unlimited size.
fn is_open(kind: &DataType) -> bool {
    !kind.is_primitive() && !matches!(kind, DataType::Boolean | DataType::Null)
}

impl ScalarUDFImpl for GuardedFunction {
    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = self.corrected(arguments)?;
        let open = is_open(arguments.return_field.data_type());
        let name = self.plain.name();
        if name == "date_trunc" && arguments.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_))) {
            return self.as_column(arguments);
        }
        if name == "nullif" && has_floats(arguments.return_field.data_type()) {
            return self.nullif(arguments);
        }
        if let Some(appetite) = OutputSize::new(name, &arguments.args, arguments.number_rows, open)? {
            appetite.single(&self.description())?;
            return self.in_pieces(&arguments, &appetite);
        }
        let rows = arguments.number_rows;
        let made = self.call(arguments)?;
        if open {
            let bytes = match &made {
                ColumnarValue::Array(values) => bytes_of(values),
                // It becomes a column.
                ColumnarValue::Scalar(value) => (value.size() as u64).saturating_mul(rows as u64),
            };
            budget::allow(&self.description(), bytes)?;
        }
        Ok(made)
    }

    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        self.plain.schema_name(arguments)
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.plain.return_type(types)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let plain = Arc::new(self.plain.inner().with_updated_config(config)?);
        Some(ScalarUDF::new_from_impl(GuardedFunction { plain }))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.plain.return_field_from_args(arguments)
    }

    #[expect(deprecated, reason = "it is called while DataFusion has it")]
    fn is_nullable(&self, arguments: &[Expr], schema: &dyn ExprSchema) -> bool {
        self.plain.is_nullable(arguments, schema)
    }

    fn is_strict(&self) -> bool {
        self.plain.inner().is_strict()
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.plain.simplify(arguments, info)
    }

    fn preimage(&self, arguments: &[Expr], literal: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        self.plain.inner().preimage(arguments, literal, info)
    }

    fn short_circuits(&self) -> bool {
        self.plain.short_circuits()
    }

    fn conditional_arguments<'a>(&self, arguments: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.plain.conditional_arguments(arguments)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.plain.evaluate_bounds(inputs)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.plain.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.plain.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.plain.preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.plain.inner().strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.coerce_types(types)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.plain.struct_field_mapping(literals)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }

    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.plain.placement(arguments)
    }
}

/// Guards concatenation of strings by `||`, which is not a function: fails if they become too large.
pub fn size_guarded(expression: Expr) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let name = expression.schema_name().to_string();
    ScalarUDF::new_from_impl(SizeGuard { name, signature }).call(vec![expression])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SizeGuard {
    /// Name of the guarded expression, from which columns get their names.
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for SizeGuard {
    fn name(&self) -> &str {
        "bounded"
    }

    fn schema_name(&self, _arguments: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = arguments.arg_fields.first().cloned();
        Ok(field.unwrap_or_else(|| Arc::new(arrow::datatypes::Field::new("bounded", DataType::Null, true))))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        budget::check()?;
        let Some(value) = arguments.args.pop() else { return Ok(ColumnarValue::Scalar(ScalarValue::Null)) };
        let bytes = match &value {
            ColumnarValue::Array(values) => bytes_of(values),
            ColumnarValue::Scalar(value) => (value.size() as u64).saturating_mul(arguments.number_rows as u64),
        };
        budget::allow("`||`", bytes)?;
        Ok(value)
    }
}
