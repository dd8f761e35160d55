//! Conversion of SQL results to our column types.

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::error::ArrowError;

/// Types that a query keeps because its input has columns of them. Otherwise decimals become floats, and dates become timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreservedTypes {
    decimals: bool,
    dates: bool,
}

impl PreservedTypes {
    /// Collects those of these columns.
    pub fn new<'a>(schemas: impl IntoIterator<Item = &'a Schema>) -> PreservedTypes {
        let mut kept = PreservedTypes::default();
        for field in schemas.into_iter().flat_map(|schema| schema.fields()) {
            kept.add_type(field.data_type());
        }
        kept
    }

    fn add_type(&mut self, kind: &DataType) {
        match kind {
            DataType::Decimal128(..) => self.decimals = true,
            DataType::Date32 => self.dates = true,
            DataType::List(item) => self.add_type(item.data_type()),
            DataType::Struct(members) => members.iter().for_each(|member| self.add_type(member.data_type())),
            _ => {}
        }
    }
}

/// Returns our type for the values of an Arrow type; the type itself if there is none.
pub fn to_job_type(kind: &DataType, kept: PreservedTypes) -> DataType {
    match kind {
        DataType::Decimal128(..) if kept.decimals => kind.clone(),
        DataType::Date32 if kept.dates => kind.clone(),
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
        DataType::Dictionary(_, values) => to_job_type(values, kept),
        other => other.clone(),
    }
}

/// Converts the values to another type; fails if one does not fit.
pub fn convert(column: ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == to {
        return Ok(column);
    }
    cast_with_options(&column, to, &CastOptions { safe: false, ..CastOptions::default() })
}
