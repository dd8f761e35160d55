//! Format `parquet`, with the columns' own types. Pages are compressed, with Snappy unless the job sets otherwise.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_rows::formats::Compression;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use std::io::{self, Write};

/// Encoded bytes of a row group that are held in memory before it is written.
const ROW_GROUP_BYTES: usize = 32 << 20;

pub(super) fn check(schema: &SchemaRef, by: Compression) -> std::result::Result<(), String> {
    if schema.fields().is_empty() {
        return Err("format `parquet` needs columns, and the rows have none; choose `json`".into());
    }
    writer(schema, by, io::sink())
        .and_then(|file| file.close().map(drop))
        .map_err(|cause| format!("these columns cannot be written as `parquet`: {cause}; choose `json`"))
}

/// A file that grows by row groups.
pub struct ParquetFile<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> ParquetFile<W> {
    pub fn begin(schema: &SchemaRef, by: Compression, out: W) -> io::Result<ParquetFile<W>> {
        writer(schema, by, out).map(ParquetFile).map_err(io::Error::other)
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

    pub fn buffered_bytes(&self) -> u64 {
        self.0.in_progress_size() as u64
    }

    pub fn out(&self) -> &W {
        self.0.inner()
    }

    pub fn finish(self) -> io::Result<W> {
        self.0.into_inner().map_err(io::Error::other)
    }
}

fn writer<W: Write + Send>(schema: &SchemaRef, by: Compression, out: W) -> Result<ArrowWriter<W>> {
    let codec = match by {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    };
    let properties = WriterProperties::builder().set_compression(codec).build();
    ArrowWriter::try_new(out, schema.clone(), Some(properties))
}
