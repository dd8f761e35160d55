//! Format `parquet`, compressed with Snappy, with the columns' own types.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use std::io::{self, Write};

pub(super) fn check(schema: &SchemaRef) -> std::result::Result<(), String> {
    if schema.fields().is_empty() {
        return Err("format `parquet` needs columns, and the rows have none; choose `json`".into());
    }
    write_file(schema, &[], &mut io::sink())
        .map_err(|cause| format!("these columns cannot be written as `parquet`: {cause}; choose `json`"))
}

pub(super) fn write(schema: &SchemaRef, rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> io::Result<()> {
    write_file(schema, rows, out).map_err(io::Error::other)
}

fn write_file(schema: &SchemaRef, rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
    for part in rows {
        writer.write(part)?;
    }
    writer.close().map(drop)
}
