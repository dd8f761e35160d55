//! Partial results of the built-in functions as columns of types that state tables support.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Decimal128Array, Int64Array, ListArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, Int64Type, UInt64Type};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::{self, Keys};
use millstream_rows::batch::types::ColumnType;
use std::sync::Arc;

/// Storage of one column of a function's partial result.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredColumn {
    /// The column is stored unchanged.
    Same(DataType),
    /// An unsigned number is stored as the int64 with the same bits.
    Unsigned,
    /// 128 bits are stored as two int64: the upper half, then the lower. The 256-bit sums of decimal means have no more significant bits.
    Wide(DataType),
    /// A list is stored as one binary: each value after its length, as in encoded keys.
    List(Arc<Field>),
}

impl StoredColumn {
    /// Returns the storage of a column of this type.
    pub fn for_type(kind: &DataType) -> Result<StoredColumn> {
        match kind {
            DataType::UInt64 => Ok(StoredColumn::Unsigned),
            DataType::Decimal128(..) | DataType::Decimal256(..) => Ok(StoredColumn::Wide(kind.clone())),
            DataType::List(field) => Ok(StoredColumn::List(field.clone())),
            other if ColumnType::from_arrow(other).is_scalar() => Ok(StoredColumn::Same(other.clone())),
            other => Err(Error::bug(format!("a partial result of type {other}"))),
        }
    }

    /// Returns the stored columns.
    pub fn fields(&self, name: &str) -> Vec<Field> {
        let field = |name: String, kind| Field::new(name, kind, true);
        match self {
            StoredColumn::Same(kind) => vec![field(name.into(), kind.clone())],
            StoredColumn::Unsigned => vec![field(name.into(), DataType::Int64)],
            StoredColumn::Wide(..) => {
                vec![field(format!("{name}_upper"), DataType::Int64), field(format!("{name}_lower"), DataType::Int64)]
            }
            StoredColumn::List(_) => vec![field(name.into(), DataType::Binary)],
        }
    }

    /// Returns the number of stored columns.
    pub fn columns(&self) -> usize {
        if matches!(self, StoredColumn::Wide(..)) { 2 } else { 1 }
    }

    /// Appends the stored form of the column to `kept`.
    pub fn keep(&self, column: &ArrayRef, kept: &mut Vec<ArrayRef>) -> Result<()> {
        match self {
            StoredColumn::Same(_) => kept.push(column.clone()),
            StoredColumn::Unsigned => {
                kept.push(Arc::new(column.as_primitive::<UInt64Type>().unary::<_, Int64Type>(|value| value as i64)));
            }
            StoredColumn::Wide(DataType::Decimal256(_, scale)) => {
                let narrow = exactly(column, &DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale))?;
                kept.extend(halves(narrow.as_primitive::<Decimal128Type>()));
            }
            StoredColumn::Wide(_) => kept.extend(halves(column.as_primitive::<Decimal128Type>())),
            StoredColumn::List(_) => kept.push(Arc::new(pack(column.as_list())?)),
        }
        Ok(())
    }

    /// Restores the column from its stored form.
    pub fn restore(&self, kept: &[ArrayRef]) -> Result<ArrayRef> {
        match (self, kept) {
            (StoredColumn::Same(_), [column]) => Ok(column.clone()),
            (StoredColumn::Unsigned, [column]) => {
                let values: UInt64Array = column.as_primitive::<Int64Type>().unary(|value| value as u64);
                Ok(Arc::new(values))
            }
            (StoredColumn::Wide(kind), [upper, lower]) => {
                let values: Decimal128Array = wide(upper, lower).collect();
                match kind {
                    DataType::Decimal256(_, scale) => {
                        let narrow = DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale);
                        let values: ArrayRef = Arc::new(values.with_data_type(narrow));
                        exactly(&values, kind)
                    }
                    kind => Ok(Arc::new(values.with_data_type(kind.clone()))),
                }
            }
            (StoredColumn::List(field), [column]) => Ok(Arc::new(decode_cells(column.as_binary(), field)?)),
            _ => Err(Error::bug("a partial result is kept in other columns")),
        }
    }
}

/// Casts numbers to another type; an error if one does not fit.
fn exactly(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, kind, &exact).map_err(Error::arrow)
}

/// Reads 128-bit numbers from two columns.
pub fn wide<'a>(upper: &'a ArrayRef, lower: &'a ArrayRef) -> impl Iterator<Item = Option<i128>> + 'a {
    let (upper, lower) = (upper.as_primitive::<Int64Type>(), lower.as_primitive::<Int64Type>());
    let complete = |(upper, lower): (i64, i64)| (i128::from(upper) << 64) | i128::from(lower as u64);
    upper.iter().zip(lower.iter()).map(move |(upper, lower)| upper.zip(lower).map(complete))
}

/// Splits 128-bit numbers into two columns.
pub fn to_halves(values: impl Iterator<Item = Option<i128>>) -> [ArrayRef; 2] {
    let (upper, lower): (Vec<Option<i64>>, Vec<Option<i64>>) =
        values.map(|value| (value.map(|value| (value >> 64) as i64), value.map(|value| value as i64))).unzip();
    [Arc::new(Int64Array::from(upper)), Arc::new(Int64Array::from(lower))]
}

fn halves(values: &Decimal128Array) -> [ArrayRef; 2] {
    to_halves(values.iter())
}

fn pack(lists: &ListArray) -> Result<BinaryArray> {
    let values = lists.values();
    let encoded = Keys::encode(std::slice::from_ref(values), values.len()).map_err(Error::arrow)?;
    let encoded = encoded.view();
    let mut encoded_cells = BinaryBuilder::new();
    let mut bytes = Vec::new();
    for (row, ends) in lists.offsets().windows(2).enumerate() {
        if lists.is_null(row) {
            encoded_cells.append_null();
            continue;
        }
        bytes.clear();
        for value in ends[0] as usize..ends[1] as usize {
            let value = encoded.get(value);
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
        encoded_cells.append_value(&bytes);
    }
    Ok(encoded_cells.finish())
}

fn decode_cells(encoded_cells: &BinaryArray, field: &Arc<Field>) -> Result<ListArray> {
    let damaged = || Error::environment("the values of a `count(distinct …)` in the checkpoint are damaged");
    let (mut values, mut lengths): (Vec<&[u8]>, Vec<usize>) = (Vec::new(), Vec::new());
    for row in 0..encoded_cells.len() {
        let before = values.len();
        let mut rest = if encoded_cells.is_null(row) { &[] } else { encoded_cells.value(row) };
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
            values.push(value);
            rest = after;
        }
        lengths.push(values.len() - before);
    }
    let columns = keys::decode(std::slice::from_ref(field), values.iter().copied()).map_err(Error::arrow)?;
    let column = columns.into_iter().next().ok_or_else(damaged)?;
    let nulls: Option<NullBuffer> = encoded_cells.nulls().cloned();
    ListArray::try_new(field.clone(), OffsetBuffer::from_lengths(lengths), column, nulls).map_err(Error::arrow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};

    fn check_roundtrip(column: ArrayRef) {
        let kept = StoredColumn::for_type(column.data_type()).unwrap();
        let mut columns = Vec::new();
        kept.keep(&column, &mut columns).unwrap();
        let kinds: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let fields: Vec<DataType> = kept.fields("x").iter().map(|field| field.data_type().clone()).collect();
        assert_eq!((kinds.len(), kinds), (kept.columns(), fields));
        assert_eq!(kept.restore(&columns).unwrap().to_data(), column.to_data());
    }

    #[test]
    fn what_is_kept_comes_back() {
        check_roundtrip(Arc::new(UInt64Array::from(vec![Some(0), None, Some(u64::MAX)])));
        let wide = [Some(0), Some(-1), None, Some(i128::from(i64::MAX) + 1), Some(-(1 << 90)), Some(1 << 64)];
        check_roundtrip(Arc::new(Decimal128Array::from(wide.to_vec()).with_precision_and_scale(38, 0).unwrap()));
        let lists = |values: ArrayRef, lengths: [usize; 3]| -> ArrayRef {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, None))
        };
        check_roundtrip(lists(Arc::new(StringArray::from(vec!["", "Ä", "bc", "d"])), [3, 0, 1]));
        check_roundtrip(lists(Arc::new(Float64Array::from(vec![-0.5, f64::INFINITY])), [0, 2, 0]));
    }
}
