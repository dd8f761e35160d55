//! Format `text`: the single text column unchanged, one line per row. A null is an empty line, and line breaks within a string are written as
//! `\n` and `\r`, so that no text makes two lines.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_rows::batch::types::{ColumnType, describe};
use std::io::{self, Write};

pub(super) fn check(schema: &SchemaRef) -> Result<(), String> {
    match schema.fields().as_ref() {
        [field] if ColumnType::from_arrow(field.data_type()) == ColumnType::Text => Ok(()),
        _ => Err(format!(
            "format `text` writes a single text column, and the rows have {}; choose `json`, `csv` or `parquet`, or \
             put a stage before the sink that returns one text column",
            describe(schema)
        )),
    }
}

pub(super) fn write(rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> io::Result<()> {
    for part in rows {
        let column = part.columns().first().and_then(|column| column.as_string_opt::<i32>());
        let column = column.ok_or_else(|| io::Error::other("rows without a column of text"))?;
        for row in 0..column.len() {
            if !column.is_null(row) {
                write_line(column.value(row), out)?;
            }
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// Writes a string without its line breaks.
fn write_line(text: &str, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut rest = text.as_bytes();
    while let Some(line_end) = memchr::memchr2(b'\n', b'\r', rest) {
        let (before, rest_after) = rest.split_at(line_end);
        out.write_all(before)?;
        out.write_all(if rest_after.first() == Some(&b'\n') { b"\\n" } else { b"\\r" })?;
        rest = rest_after.get(1..).unwrap_or_default();
    }
    out.write_all(rest)
}
