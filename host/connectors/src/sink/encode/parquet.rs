//! Format `parquet`, compressed with Snappy, with the columns' own types.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use std::io::{self, Write};

/// Encoded bytes of a row group that are held in memory before it is written.
const ROW_GROUP_BYTES: usize = 32 << 20;

pub(super) fn check(schema: &SchemaRef) -> std::result::Result<(), String> {
    if schema.fields().is_empty() {
        return Err("format `parquet` needs columns, and the rows have none; choose `json`".into());
    }
    write_file(schema, &[], &mut io::sink())
        .map_err(|cause| format!("these columns cannot be written as `parquet`: {cause}; choose `json`"))
}

/// A file that grows by row groups.
pub(in crate::sink) struct ParquetFile<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> ParquetFile<W> {
    pub fn begin(schema: &SchemaRef, out: W) -> io::Result<ParquetFile<W>> {
        writer(schema, out).map(ParquetFile).map_err(io::Error::other)
    }

    pub fn add(&mut self, rows: &[RecordBatch]) -> io::Result<()> {
        for part in rows {
            self.0.write(part).map_err(io::Error::other)?;
        }
        if self.0.in_progress_size() >= ROW_GROUP_BYTES {
            self.0.flush().map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub fn held(&self) -> u64 {
        self.0.in_progress_size() as u64
    }

    pub fn out(&self) -> &W {
        self.0.inner()
    }

    pub fn finish(self) -> io::Result<W> {
        self.0.into_inner().map_err(io::Error::other)
    }
}

fn write_file(schema: &SchemaRef, rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> Result<()> {
    let mut writer = writer(schema, out)?;
    for part in rows {
        writer.write(part)?;
    }
    writer.close().map(drop)
}

fn writer<W: Write + Send>(schema: &SchemaRef, out: W) -> Result<ArrowWriter<W>> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    ArrowWriter::try_new(out, schema.clone(), Some(properties))
}
