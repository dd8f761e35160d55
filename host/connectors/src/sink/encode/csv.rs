//! Format `csv`: a header, then a line a row, quoted as RFC 4180 says. A null is an empty cell and an empty text is
//! `""`, which our sources read as they were; so in a file of one column a null is an empty line.
//!
//! The encoders of the crates `csv` and `arrow-csv` do not tell nulls from empty text, hence our own.

use crate::batch::cell;
use crate::batch::cell::Cells;
use crate::batch::types::ColumnType;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 64 << 10;

pub(super) fn check(schema: &SchemaRef) -> Result<(), String> {
    if schema.fields().is_empty() {
        return Err("format `csv` needs columns, and the rows have none; choose `json`".into());
    }
    match schema.fields().iter().find(|field| field.data_type().is_nested()) {
        None => Ok(()),
        Some(field) => Err(format!(
            "format `csv` holds plain values, and column `{}` is {}; choose `json` or `parquet`",
            field.name(),
            ColumnType::of(field.data_type())
        )),
    }
}

pub(super) fn write(schema: &SchemaRef, rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut text = String::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_text(&mut text, field.name());
    }
    text.push('\n');
    for part in rows {
        let columns = part.columns().iter().map(Column::of).collect::<io::Result<Vec<Column>>>()?;
        for row in 0..part.num_rows() {
            write_row(&mut text, &columns, row);
            if text.len() >= WRITE_BYTES {
                out.write_all(text.as_bytes())?;
                text.clear();
            }
        }
    }
    out.write_all(text.as_bytes())
}

fn write_row(text: &mut String, columns: &[Column], row: usize) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        if !column.array.is_null(row) {
            column.write(text, row);
        }
    }
    text.push('\n');
}

struct Column<'a> {
    array: &'a ArrayRef,
    cells: Cells<'a>,
    /// For types that are not ours.
    formatter: ArrayFormatter<'a>,
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> io::Result<Column<'a>> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);
        let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS).map_err(io::Error::other)?;
        Ok(Column { array, cells: Cells::of(array), formatter })
    }

    fn write(&self, text: &mut String, row: usize) {
        // Writing to a String cannot fail.
        let _ = match &self.cells {
            Cells::Bool(a) => write!(text, "{}", a.value(row)),
            Cells::Int64(a) => write!(text, "{}", a.value(row)),
            Cells::Float64(a) => {
                cell::write_float(text, a.value(row));
                Ok(())
            }
            Cells::Text(a) => {
                write_text(text, a.value(row));
                Ok(())
            }
            Cells::Binary(a) => {
                // Zero bytes are no null.
                if a.value(row).is_empty() {
                    text.push_str("\"\"");
                }
                cell::write_hex(text, a.value(row));
                Ok(())
            }
            Cells::Timestamp(a) => {
                cell::write_rfc3339(text, a.value(row));
                Ok(())
            }
            Cells::Other(_) => {
                write_text(text, &self.formatter.value(row).to_string());
                Ok(())
            }
        };
    }
}

fn write_text(text: &mut String, value: &str) {
    if !value.is_empty() && !value.contains([',', '"', '\n', '\r']) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for (index, between_quotes) in value.split('"').enumerate() {
        if index > 0 {
            text.push_str("\"\"");
        }
        text.push_str(between_quotes);
    }
    text.push('"');
}
