//! What SQL computes, as our column types.

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::error::ArrowError;

/// Types that a query keeps as they are because the rows have columns of them. Rows that do not know them get floats for
/// decimals, and timestamps for dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptTypes {
    decimals: bool,
    dates: bool,
}

impl KeptTypes {
    /// Those of these columns.
    pub fn of<'a>(schemas: impl IntoIterator<Item = &'a Schema>) -> KeptTypes {
        let mut kept = KeptTypes::default();
        for field in schemas.into_iter().flat_map(|schema| schema.fields()) {
            kept.see(field.data_type());
        }
        kept
    }

    fn see(&mut self, kind: &DataType) {
        match kind {
            DataType::Decimal128(..) => self.decimals = true,
            DataType::Date32 => self.dates = true,
            DataType::List(item) => self.see(item.data_type()),
            DataType::Struct(members) => members.iter().for_each(|member| self.see(member.data_type())),
            _ => {}
        }
    }
}

/// The type of ours that takes the values of an Arrow type; the type itself where there is none.
pub fn ours(kind: &DataType, kept: KeptTypes) -> DataType {
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
        DataType::Dictionary(_, values) => ours(values, kept),
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
