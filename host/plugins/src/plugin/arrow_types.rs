//! Arrow types that plugins may use in addition to the types of jobs. A few bytes must not expand to many: a plugin's result is limited by
//! its bytes, but writing rows, or creating rows of nulls, materializes every value.

use crate::limits::PLUGIN_FIXED_BYTES_MAX;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

/// Rows of a dictionary that are looked at together.
const ROWS_AT_A_TIME: usize = 1 << 16;

/// Fails if a plugin may not use this type; the error is the message.
pub fn check(kind: &DataType) -> Result<(), String> {
    match kind {
        DataType::Dictionary(_, values) if !is_plain(values) => {
            Err(format!("a dictionary must hold strings, bytes or numbers, not {values}"))
        }
        DataType::Dictionary(..) | DataType::Utf8View | DataType::BinaryView => Ok(()),
        other => bits(other).and_then(|bits| match bits / 8 {
            bytes if bytes > PLUGIN_FIXED_BYTES_MAX => {
                Err(format!("each row of it takes {bytes} bytes; at most {PLUGIN_FIXED_BYTES_MAX} are allowed"))
            }
            _ => Ok(()),
        }),
    }
}

fn is_plain(values: &DataType) -> bool {
    use DataType::{Binary, LargeBinary, LargeUtf8, Utf8};
    values.is_primitive() || matches!(values, Utf8 | LargeUtf8 | Binary | LargeBinary)
}

/// Returns the minimum bits per row, whatever its value. Fails if rows may share values, or if list elements take no space.
fn bits(kind: &DataType) -> Result<u64, String> {
    use DataType::{
        Binary, Boolean, FixedSizeBinary, FixedSizeList, LargeBinary, LargeList, LargeUtf8, List, Map, Null, Struct,
        Utf8,
    };
    let times = |count: i32, bits: u64| u64::try_from(count).unwrap_or_default().saturating_mul(bits);
    let list = |element: &DataType, offset: u64| match bits(element)? {
        0 => Err(format!("elements of a list must not be of type {element}, which takes no memory")),
        _ => Ok(offset),
    };
    Ok(match kind {
        Null => 0,
        Boolean => 1,
        Utf8 | Binary => 32,
        LargeUtf8 | LargeBinary => 64,
        FixedSizeBinary(bytes) => times(*bytes, 8),
        List(element) | Map(element, _) => list(element.data_type(), 32)?,
        LargeList(element) => list(element.data_type(), 64)?,
        FixedSizeList(element, count) => {
            list(element.data_type(), 0)?;
            times(*count, bits(element.data_type())?)
        }
        Struct(fields) => {
            let fields = fields.iter().map(|field| bits(field.data_type()));
            fields.sum::<Result<u64, String>>()?
        }
        other => match other.primitive_width() {
            Some(bytes) => (bytes as u64).saturating_mul(8),
            None => return Err(format!("plugins cannot return type {other}, whose rows may share memory")),
        },
    })
}

/// The bytes that the values of a column take when each row has its own, where rows share them.
pub fn shared_bytes(column: &ArrayRef) -> u64 {
    // The lowest quarter of each view is its length.
    let lengths = |views: &[u128]| views.iter().fold(0, |sum: u64, view| sum.saturating_add(u64::from(*view as u32)));
    if let Some(strings) = column.as_string_view_opt() {
        return lengths(strings.views());
    }
    if let Some(bytes) = column.as_binary_view_opt() {
        return lengths(bytes.views());
    }
    let Some(values) = column.as_any_dictionary_opt().map(|dictionary| dictionary.values()) else { return 0 };
    let length: Box<dyn Fn(usize) -> u64> = match values.data_type() {
        DataType::Utf8 => Box::new(|value| values.as_string::<i32>().value_length(value) as u64),
        DataType::LargeUtf8 => Box::new(|value| values.as_string::<i64>().value_length(value) as u64),
        DataType::Binary => Box::new(|value| values.as_binary::<i32>().value_length(value) as u64),
        DataType::LargeBinary => Box::new(|value| values.as_binary::<i64>().value_length(value) as u64),
        other => {
            let bytes = other.primitive_width().unwrap_or_default() as u64;
            Box::new(move |_| bytes)
        }
    };
    if values.is_empty() {
        return 0;
    }
    let starts = (0..column.len()).step_by(ROWS_AT_A_TIME);
    let part = |start: usize| {
        let rows = column.slice(start, ROWS_AT_A_TIME.min(column.len() - start));
        let keys = rows.as_any_dictionary().normalized_keys();
        keys.into_iter().fold(0, |sum: u64, value| sum.saturating_add(length(value)))
    };
    starts.fold(0, |sum: u64, start| sum.saturating_add(part(start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int8Array, StringArray, StringViewBuilder};
    use std::sync::Arc;

    #[test]
    fn a_few_bytes_stand_for_no_more() {
        for good in [
            "Int32",
            "Dictionary(Int8, Utf8)",
            "Utf8View",
            "List(Int32)",
            "LargeUtf8",
            "FixedSizeBinary(16)",
            "Decimal128(10, 2)",
            "Date32",
            "FixedSizeList(3 x Float32)",
        ] {
            assert_eq!(check(&good.parse().unwrap_or_else(|e| panic!("{good}: {e}"))), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("List(Utf8View)", "whose rows may share memory"),
            ("List(Dictionary(Int8, Utf8))", "whose rows may share memory"),
            ("Dictionary(Int8, Dictionary(Int8, Utf8))", "a dictionary must hold"),
            ("Dictionary(Int8, Null)", "a dictionary must hold"),
            ("List(Null)", "which takes no memory"),
            ("List(FixedSizeBinary(0))", "which takes no memory"),
            ("FixedSizeBinary(2147483647)", "each row of it takes 2147483647 bytes"),
            ("FixedSizeList(2147483647 x Int32)", "each row of it takes 8589934588 bytes"),
        ] {
            let message = check(&bad.parse().unwrap_or_else(|e| panic!("{bad}: {e}"))).unwrap_err();
            assert!(message.contains(expected), "{bad}: {message}");
        }
    }

    #[test]
    fn each_row_of_a_dictionary_counts() {
        let message: ArrayRef = Arc::new(StringArray::from(vec!["seven..", "two"]));
        let keys = |rows: usize| Int8Array::from_iter((0..rows).map(|row| Some(i8::from(row % 2 == 1))));
        let column: ArrayRef = Arc::new(DictionaryArray::new(keys(200_000), message.clone()));
        assert_eq!((shared_bytes(&column), shared_bytes(&message)), (1_000_000, 0));
        let none: ArrayRef = Arc::new(DictionaryArray::new(keys(0), message.slice(0, 0)));
        assert_eq!(shared_bytes(&none), 0);

        let mut views = StringViewBuilder::new();
        let block = views.append_block(b"a text that is longer than a view".into());
        (0..1000).for_each(|_| views.try_append_view(block, 2, 20).unwrap());
        let views: ArrayRef = Arc::new(views.finish());
        assert_eq!((views.len(), shared_bytes(&views)), (1000, 20_000));
    }
}
