//! Structs and lists as bytes, in keys and in state tables: members concatenated, and elements after their number, each written as a key column is.
//! A null inside is an ordinary value, so keys are equal if all their content is.

use super::{KeyWriter, canonical, decode_column, nullable, nulls_of, offsets_of};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::{DataType, Field, Float64Type};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Returns a function that appends the values of a column of structs or lists.
pub(super) fn writer(column: &ArrayRef, float: fn(f64) -> f64) -> Result<KeyWriter<'_>, ArrowError> {
    match column.data_type() {
        DataType::Struct(_) => {
            let members = column.as_struct().columns();
            let members = members.iter().map(|member| super::writer(member, float)).collect::<Result<Vec<_>, _>>()?;
            Ok(nullable(column, move |row, out| members.iter().for_each(|write| write(row, out))))
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let (offsets, item) = (list.value_offsets(), super::writer(list.values(), float)?);
            Ok(nullable(column, move |row, out| {
                let end = offsets[row + 1];
                out.extend_from_slice(&((end - offsets[row]) as u32).to_le_bytes());
                (offsets[row]..end).for_each(|index| item(index as usize, out));
            }))
        }
        other => Err(ArrowError::NotYetImplemented(format!("a key column of type {other}"))),
    }
}

/// Takes a column of structs or lists from the front of each key.
pub(super) fn decode(field: &Field, rest: &mut [&[u8]]) -> Result<ArrayRef, ArrowError> {
    let damaged =
        || ArrowError::InvalidArgumentError(format!("the stored value of column `{}` is damaged", field.name()));
    let mut valid = Vec::with_capacity(rest.len());
    let mut lengths: Vec<usize> = Vec::new();
    // The rows that have members, or each element of each list.
    let mut inside: Vec<&[u8]> = Vec::new();
    let members = match field.data_type() {
        DataType::Struct(members) => members,
        DataType::List(item) => {
            // Elements are contiguous, so each begins where the previous one ends.
            let mut columns = Vec::new();
            for key in rest.iter_mut() {
                let (is_there, after) = key.split_first().ok_or_else(damaged)?;
                *key = after;
                valid.push(*is_there != 0);
                if *is_there == 0 {
                    lengths.push(0);
                    continue;
                }
                let (count, after) = key.split_first_chunk::<4>().ok_or_else(damaged)?;
                *key = after;
                let count = u32::from_le_bytes(*count) as usize;
                // Each element takes at least one byte.
                if count > key.len() {
                    return Err(damaged());
                }
                lengths.push(count);
                for _ in 0..count {
                    let length = length_of(item.data_type(), key).ok_or_else(damaged)?;
                    let (element, after) = key.split_at_checked(length).ok_or_else(damaged)?;
                    columns.push(element);
                    *key = after;
                }
            }
            let values = decode_column(item, &mut columns)?;
            let offsets = offsets_of(lengths.iter().copied())?;
            return Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls_of(valid))?));
        }
        _ => return Err(damaged()),
    };
    for key in rest.iter_mut() {
        let (is_there, after) = key.split_first().ok_or_else(damaged)?;
        *key = after;
        valid.push(*is_there != 0);
        if *is_there != 0 {
            inside.push(after);
        }
    }
    let of_rows = |column: ArrayRef| -> Result<ArrayRef, ArrowError> {
        if column.len() == valid.len() {
            return Ok(column);
        }
        let mut next = 0_u32;
        let indexes: arrow::array::UInt32Array = valid
            .iter()
            .map(|is_there| {
                let index = next;
                next += u32::from(*is_there);
                is_there.then_some(index)
            })
            .collect();
        arrow::compute::take(&column, &indexes, None)
    };
    let columns = members.iter().map(|member| of_rows(decode_column(member, &mut inside)?));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let mut left = inside.into_iter();
    for (key, _) in rest.iter_mut().zip(&valid).filter(|(_, is_there)| **is_there) {
        *key = left.next().ok_or_else(damaged)?;
    }
    let rows = valid.len();
    Ok(Arc::new(StructArray::try_new_with_length(members.clone(), columns, nulls_of(valid), rows)?))
}

/// Returns the length of the value of this type at the front; `None` if it is incomplete.
fn length_of(kind: &DataType, bytes: &[u8]) -> Option<usize> {
    let (is_there, inside) = bytes.split_first()?;
    if *is_there == 0 {
        return Some(1);
    }
    let count = || inside.first_chunk::<4>().map(|count| u32::from_le_bytes(*count) as usize);
    let length = match kind {
        DataType::Boolean => 1,
        DataType::Date32 => 4,
        DataType::Decimal128(..) => 16,
        DataType::Utf8 | DataType::Binary => 4_usize.checked_add(count()?)?,
        DataType::Struct(members) => {
            members.iter().try_fold(0, |at, member| Some(at + length_of(member.data_type(), inside.get(at..)?)?))?
        }
        DataType::List(item) => {
            let mut at = 4;
            for _ in 0..count()? {
                at += length_of(item.data_type(), inside.get(at..)?)?;
            }
            at
        }
        _ => 8,
    };
    (length <= inside.len()).then_some(1 + length)
}

/// Returns a function that appends the bytes of each value of a column of structs or lists. [`of_bytes`] restores the values unchanged.
pub fn bytes_of(column: &ArrayRef) -> Result<impl Fn(usize, &mut Vec<u8>), ArrowError> {
    super::writer(column, |value| value)
}

/// Returns the column of these values. Empty bytes are a null.
pub fn of_bytes<'a>(field: &Field, values: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef, ArrowError> {
    let mut rest: Vec<&[u8]> = values.map(|bytes| if bytes.is_empty() { &[0] } else { bytes }).collect();
    decode_column(field, &mut rest)
}

/// Returns a key column for display: one representative of all values that are the same key.
pub fn canonical_column(column: &ArrayRef) -> ArrayRef {
    if !has_floats(column.data_type()) {
        return column.clone();
    }
    if let Some(values) = column.as_primitive_opt::<Float64Type>() {
        return Arc::new(values.unary::<_, Float64Type>(canonical));
    }
    if let Some(parts) = column.as_struct_opt() {
        let children = parts.columns().iter().map(canonical_column).collect();
        let rebuilt =
            StructArray::try_new_with_length(parts.fields().clone(), children, parts.nulls().cloned(), parts.len());
        return rebuilt.map_or_else(|_| column.clone(), |rebuilt| Arc::new(rebuilt));
    }
    if let (DataType::List(item), Some(lists)) = (column.data_type(), column.as_list_opt::<i32>()) {
        let items = canonical_column(lists.values());
        let rebuilt = ListArray::try_new(item.clone(), lists.offsets().clone(), items, lists.nulls().cloned());
        return rebuilt.map_or_else(|_| column.clone(), |rebuilt| Arc::new(rebuilt));
    }
    column.clone()
}

/// Returns whether values of this type contain floats: then several values may be one key.
pub fn has_floats(kind: &DataType) -> bool {
    match kind {
        DataType::Float64 => true,
        DataType::Struct(members) => members.iter().any(|member| has_floats(member.data_type())),
        DataType::List(item) => has_floats(item.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Keys, decode};
    use super::*;
    use crate::batch::types::ColumnType;
    use arrow::datatypes::Schema;
    use arrow::json::ReaderBuilder;

    const KIND: &str =
        "struct<a: int64, of: list<struct<t: text, x: float64, d: decimal(9,2), days: list<date>>>, b: bool>";

    fn column(rows: &str) -> (Arc<Field>, ArrayRef) {
        let field = Arc::new(Field::new("k", ColumnType::from_name(KIND).unwrap().arrow(), true));
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let mut reader = ReaderBuilder::new(schema).build(rows.as_bytes()).unwrap();
        let rows = reader.next().unwrap().unwrap();
        (field, rows.column(0).clone())
    }

    const ROWS: &str = r#"
{"k": {"a": 1, "of": [{"t": "x", "x": 0.5, "d": 1.25, "days": ["2026-01-02", null]}, null, {"t": "", "days": []}], "b": true}}
{"k": null}
{"k": {"a": null, "of": null, "b": null}}
{"k": {"a": 1, "of": [], "b": null}}
{"k": {"a": 1, "of": [{"t": "x", "x": 0.5, "d": 1.25, "days": ["2026-01-02", null]}, null, {"t": "", "days": []}], "b": true}}
"#;

    #[test]
    fn values_come_back_as_they_were_and_equal_ones_have_equal_bytes() {
        let (field, values) = column(ROWS);
        let number: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![7, 8, 9, 10, 7]));
        let keys = Keys::encode(&[values.clone(), number.clone()], 5).unwrap();
        let view = keys.view();
        let bytes: Vec<&[u8]> = (0..5).map(|row| view.get(row)).collect();
        assert_eq!(bytes[0], bytes[4]);
        assert_eq!(bytes.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        let fields = [field.clone(), Arc::new(Field::new("n", DataType::Int64, true))];
        let back = decode(&fields, bytes.iter().copied()).unwrap();
        assert_eq!((&back[0], &back[1]), (&values, &number));
        // In another order, and a part of them, as arrays with an offset.
        let part = values.slice(2, 3);
        let write = bytes_of(&part).unwrap();
        let kept: Vec<Vec<u8>> = [2, 0, 1]
            .map(|row| {
                let mut out = Vec::new();
                write(row, &mut out);
                out
            })
            .into();
        let back = of_bytes(&field, kept.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(back.slice(1, 2).as_ref(), part.slice(0, 2).as_ref());
        assert_eq!(back.slice(0, 1).as_ref(), part.slice(2, 1).as_ref());
        assert!(of_bytes(&field, [&[][..]].into_iter()).unwrap().is_null(0));
    }

    #[test]
    fn bytes_that_are_damaged_are_an_error_and_no_panic() {
        let (field, values) = column(ROWS);
        let write = bytes_of(&values).unwrap();
        let mut bytes = Vec::new();
        write(0, &mut bytes);
        for end in 1..bytes.len() {
            assert!(of_bytes(&field, [&bytes[..end]].into_iter()).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = byte;
                let _ = of_bytes(&field, [&broken[..]].into_iter());
            }
        }
    }

    #[test]
    fn floats_within_are_keys_as_they_are_by_themselves() {
        let (_, values) = column("{\"k\": {\"of\": [{\"x\": 0.0}]}}\n{\"k\": {\"of\": [{\"x\": -0.0}]}}\n");
        let keys = Keys::encode(std::slice::from_ref(&values), 2).unwrap();
        assert_eq!(keys.view().get(0), keys.view().get(1));
        let shown = canonical_column(&values);
        assert_eq!(shown.slice(0, 1).as_ref(), shown.slice(1, 1).as_ref());
        // A state keeps them unchanged.
        let write = bytes_of(&values).unwrap();
        let [first, second] = [0, 1].map(|row| {
            let mut out = Vec::new();
            write(row, &mut out);
            out
        });
        assert_ne!(first, second);
    }
}
