//! Integers where floats are expected. Up to 2^53 they are equal; beyond, integers that no float represents are rejected.

use crate::batch::types::ColumnType;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::borrow::Cow;

/// Returns whether values of a type are accepted in place of another.
pub fn fits(has: &ColumnType, needs: &ColumnType) -> bool {
    has == needs || (*has == ColumnType::Int64 && *needs == ColumnType::Float64)
}

/// Returns whether a column holds integers and floats are expected.
fn widens(has: &DataType, needs: &DataType) -> bool {
    (has, needs) == (&DataType::Int64, &DataType::Float64)
}

/// Returns the rows with the expected types.
pub fn widened<'a>(rows: &'a RecordBatch, needs: &SchemaRef) -> Result<Cow<'a, RecordBatch>, ArrowError> {
    let schema = rows.schema_ref();
    let mut pairs = schema.fields().iter().zip(needs.fields());
    if !pairs.any(|(has, needs)| widens(has.data_type(), needs.data_type())) {
        return Ok(Cow::Borrowed(rows));
    }
    let one = |(column, needs): (&ArrayRef, &DataType)| {
        if widens(column.data_type(), needs) { cast(column, needs) } else { Ok(column.clone()) }
    };
    let types = needs.fields().iter().map(|field| field.data_type());
    let columns = rows.columns().iter().zip(types).map(one).collect::<Result<Vec<_>, _>>()?;
    let fields = schema.fields().iter().zip(needs.fields());
    let fields = fields.map(|(has, needs)| {
        has.as_ref().clone().with_data_type(match widens(has.data_type(), needs.data_type()) {
            true => DataType::Float64,
            false => has.data_type().clone(),
        })
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Schema::new(fields.collect::<Vec<_>>()).into();
    RecordBatch::try_new_with_options(schema, columns, &options).map(Cow::Owned)
}

/// Returns the first row of a column, from `from` on, whose integer no float represents, and that integer.
pub fn first_inexact(column: &ArrayRef, needs: &DataType, from: usize) -> Option<(usize, i64)> {
    if !widens(column.data_type(), needs) {
        return None;
    }
    let numbers = column.as_primitive_opt::<Int64Type>()?;
    let rows = from..numbers.len();
    rows.map(|row| (row, numbers.value(row))).find(|(row, number)| numbers.is_valid(*row) && !is_exact(*number))
}

/// Returns whether a float represents this number exactly.
fn is_exact(number: i64) -> bool {
    let digits = number.unsigned_abs();
    digits == 0 || digits >> digits.trailing_zeros() < 1 << 53
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};
    use arrow::datatypes::{Field, Float64Type};
    use std::sync::Arc;

    #[test]
    fn numbers_that_are_floats_become_these() {
        for (number, exact) in [
            (0, true),
            (-1, true),
            (1 << 53, true),
            ((1 << 53) + 1, false),
            (-(1 << 53) - 1, false),
            ((1 << 53) + 2, true),
            (i64::MIN, true),
            (i64::MAX, false),
        ] {
            assert_eq!(is_exact(number), exact, "{number}");
            assert_eq!(number as f64 as i128 == i128::from(number), exact, "{number}");
        }
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX), Some(i64::MAX - 1)]));
        assert_eq!(first_inexact(&column, &DataType::Float64, 0), Some((2, i64::MAX)));
        assert_eq!(first_inexact(&column, &DataType::Float64, 3), Some((3, i64::MAX - 1)));
        assert_eq!(first_inexact(&column, &DataType::Int64, 0), None);
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let schema = |kind| SchemaRef::from(Schema::new(vec![Field::new("n", kind, true)]));
        assert!(matches!(widened(&rows, &schema(DataType::Int64)), Ok(Cow::Borrowed(_))));
        let wide = widened(&rows, &schema(DataType::Float64)).unwrap();
        let floats: &Float64Array = wide.column(0).as_primitive::<Float64Type>();
        assert_eq!((floats.value(0), floats.is_null(1)), (1.0, true));
    }
}
