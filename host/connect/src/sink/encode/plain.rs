//! Single values as bytes: keys of records, and fields of entries.

use arrow::array::Array;
use millstream_rows::batch::cell::{self, Cells};
use std::io;

/// Appends the bytes of a value that is not null. Text and bytes are unchanged, so that every client computes the same, such as the
/// partition of a key; other values are text. `scratch` is a buffer whose content is overwritten.
pub fn write(cells: &Cells<'_>, row: usize, scratch: &mut String, out: &mut Vec<u8>) -> io::Result<()> {
    scratch.clear();
    match cells {
        Cells::Text(array) => scratch.push_str(array.value(row)),
        Cells::Binary(array) => out.extend_from_slice(array.value(row)),
        Cells::Bool(array) => scratch.push_str(if array.value(row) { "true" } else { "false" }),
        Cells::Int64(array) => scratch.push_str(&array.value(row).to_string()),
        Cells::Float64(array) => cell::write_float(scratch, array.value(row)),
        Cells::Timestamp(array) => cell::write_rfc3339(scratch, array.value(row)),
        Cells::Date(array) => cell::write_date(scratch, array.value(row)),
        Cells::Decimal(array) => scratch.push_str(&array.value_as_string(row)),
        Cells::Other(array) => return Err(io::Error::other(format!("a single value of type {}", array.data_type()))),
    }
    out.extend_from_slice(scratch.as_bytes());
    Ok(())
}
