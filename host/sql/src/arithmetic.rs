//! Integer arithmetic that fails on overflow, instead of returning a wrong number.
//!
//! These functions replace DataFusion's operators before it folds constants, so that constants behave as values of columns.

use super::casts;
use arrow::array::{Array, ArrayRef, AsArray, Datum};
use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use std::sync::Arc;

/// An operation on integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
    /// The distance of a shift.
    ShiftBy,
}

/// Returns whether a checked operation exists here for two values of the type.
fn is_integer(kind: &DataType) -> bool {
    kind.is_integer()
}

/// Returns `left operator right`, checked; `None` if it cannot overflow, or DataFusion checks it.
pub fn checked_binary(binary: &BinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    let operation = match binary.op {
        Operator::Plus => Operation::Add,
        Operator::Minus => Operation::Subtract,
        Operator::Multiply => Operation::Multiply,
        Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight if is_integer(right) => {
            let by = call(Operation::ShiftBy, right, vec![(*binary.right).clone()]);
            return Some(Expr::BinaryExpr(BinaryExpr { right: Box::new(by), ..binary.clone() }));
        }
        _ => return None,
    };
    let integer = left == right && is_integer(left);
    integer.then(|| call(operation, left, vec![(*binary.left).clone(), (*binary.right).clone()]))
}

/// Returns `-value`, checked; `None` if it cannot overflow.
pub fn checked_negative(value: &Expr, kind: &DataType) -> Option<Expr> {
    is_integer(kind).then(|| call(Operation::Negate, kind, vec![value.clone()]))
}

/// Returns the type of a replacement without computing those of its parts. For a deeply nested expression that would take long.
pub fn type_of(expression: &Expr) -> Option<DataType> {
    let Expr::ScalarFunction(call) = expression else { return None };
    let checked = call.func.inner().downcast_ref::<CheckedArithmetic>().map(|checked| checked.kind.clone());
    checked.or_else(|| casts::type_of(call))
}

fn call(operation: Operation, kind: &DataType, arguments: Vec<Expr>) -> Expr {
    let signature = Signature::any(arguments.len(), Volatility::Immutable);
    let part = |index: usize| arguments.get(index).map_or(String::new(), |one| one.schema_name().to_string());
    let name = match operation {
        Operation::Add => format!("{} + {}", part(0), part(1)),
        Operation::Subtract => format!("{} - {}", part(0), part(1)),
        Operation::Multiply => format!("{} * {}", part(0), part(1)),
        Operation::Negate => format!("(- {})", part(0)),
        Operation::ShiftBy => part(0),
    };
    ScalarUDF::new_from_impl(CheckedArithmetic { operation, kind: kind.clone(), name, signature }).call(arguments)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedArithmetic {
    operation: Operation,
    /// Type of its values.
    kind: DataType,
    /// DataFusion's name of the replaced expression. Stored, since building it takes long for deep nesting.
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedArithmetic {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "+",
            Operation::Subtract | Operation::Negate => "-",
            Operation::Multiply => "*",
            Operation::ShiftBy => "shift",
        }
    }

    /// Returns DataFusion's name of the replaced expression, from which columns get their names.
    fn schema_name(&self, _arguments: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.kind.clone(), nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (self.operation, arguments.args.as_slice()) {
            (Operation::Add, [left, right]) => apply(add, left, right),
            (Operation::Subtract, [left, right]) => apply(sub, left, right),
            (Operation::Multiply, [left, right]) => apply(mul, left, right),
            (Operation::Negate, [ColumnarValue::Array(values)]) => Ok(ColumnarValue::Array(neg(values)?)),
            (Operation::Negate, [ColumnarValue::Scalar(value)]) => scalar(&neg(&value.to_array()?)?),
            (Operation::ShiftBy, [by]) => {
                let bits = by.data_type().primitive_width().unwrap_or(8) as i64 * 8;
                let numbers = by.cast_to(&DataType::Int64, None)?.into_array(1)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                match numbers.iter().flatten().find(|by| !(0..bits).contains(by)) {
                    Some(by) => exec_err!("a shift by {by} bits; the range is 0 to {}", bits - 1),
                    None => Ok(by.clone()),
                }
            }
            _ => exec_err!("an operator without its values"),
        }
    }
}

type Kernel = fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError>;

fn apply(kernel: Kernel, left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Array(match (left, right) {
        (ColumnarValue::Array(left), ColumnarValue::Array(right)) => kernel(left, right)?,
        (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => kernel(left, &right.to_scalar()?)?,
        (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => kernel(&left.to_scalar()?, right)?,
        (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
            return scalar(&kernel(&left.to_scalar()?, &right.to_scalar()?)?);
        }
    }))
}

fn scalar(values: &dyn Array) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(values, 0)?))
}
