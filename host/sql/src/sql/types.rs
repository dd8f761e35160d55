//! What SQL computes, as our column types.

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;

/// The type of ours that takes the values of an Arrow type; the type itself where there is none.
pub fn ours(kind: &DataType) -> DataType {
    match kind {
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => DataType::Int64,
        DataType::Float16
        | DataType::Float32
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => DataType::Float64,
        // `null` alone has no type.
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 | DataType::Time32(_) | DataType::Time64(_) => {
            DataType::Utf8
        }
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Dictionary(_, values) => ours(values),
        other => other.clone(),
    }
}

/// The values in another type; an error where one does not fit.
pub fn convert(column: ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == to {
        return Ok(column);
    }
    cast_with_options(&column, to, &CastOptions { safe: false, ..CastOptions::default() })
}
