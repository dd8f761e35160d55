//! The file formats of sinks. Values look alike in all text formats: timestamps as RFC 3339, binary as hexadecimal,
//! floats in their shortest form.

mod csv;
mod parquet;
mod text;

use crate::batch::json;
use crate::job::spec::FileFormat;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::io::{self, Write};

/// Every extension that [`extension`] gives.
pub(super) const EXTENSIONS: [&str; 4] = ["txt", "jsonl", "csv", "parquet"];

/// How the names of files of this format end, without the dot.
pub(super) fn extension(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Text => EXTENSIONS[0],
        FileFormat::Json => EXTENSIONS[1],
        FileFormat::Csv => EXTENSIONS[2],
        FileFormat::Parquet => EXTENSIONS[3],
    }
}

/// Whether rows of this schema can be written in this format; the error says what to do instead.
pub(super) fn check(format: FileFormat, schema: &SchemaRef) -> Result<(), String> {
    match format {
        FileFormat::Text => text::check(schema),
        FileFormat::Json => json::check(schema),
        FileFormat::Csv => csv::check(schema),
        FileFormat::Parquet => parquet::check(schema),
    }
}

/// Writes a whole file with these rows.
pub(super) fn write(
    format: FileFormat,
    schema: &SchemaRef,
    rows: &[RecordBatch],
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    match format {
        FileFormat::Text => text::write(rows, out),
        FileFormat::Json => json::write(rows, out),
        FileFormat::Csv => csv::write(schema, rows, out),
        FileFormat::Parquet => parquet::write(schema, rows, out),
    }
}
