//! File formats of sinks. Values look alike in all text formats: timestamps as RFC 3339, binary as hexadecimal, floats in their shortest
//! form.

pub mod avro;
pub mod csv;
mod parquet;
pub mod plain;
pub mod protobuf;
mod text;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_rows::batch::json;
use millstream_rows::formats::{Compression, FileFormat};
use std::io::{self, Write};

/// All extensions that [`extension`] returns.
pub const EXTENSIONS: [&str; 5] = ["txt", "jsonl", "csv", "parquet", "avro"];

/// Returns the file name extension of this format, without the dot.
pub fn extension(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Text => EXTENSIONS[0],
        FileFormat::Json => EXTENSIONS[1],
        FileFormat::Csv => EXTENSIONS[2],
        FileFormat::Parquet(_) => EXTENSIONS[3],
        FileFormat::Avro => EXTENSIONS[4],
    }
}

/// Returns the format's name in a marker: its extension, and after a `+` its compression, if that is not the default.
pub fn marker_name(format: FileFormat) -> String {
    match format {
        FileFormat::Parquet(by) if by != Compression::Snappy => format!("{}+{}", extension(format), by.keyword()),
        _ => extension(format).to_owned(),
    }
}

/// Returns the format of this name in a marker.
pub fn from_marker_name(text: &str) -> Option<FileFormat> {
    let parquet = Compression::ALL.map(|(_, by)| FileFormat::Parquet(by));
    let all = [FileFormat::Text, FileFormat::Json, FileFormat::Csv, FileFormat::Avro];
    all.into_iter().chain(parquet).find(|format| marker_name(*format) == text)
}

/// Checks whether rows of this schema can be written in this format; the error says what to do instead.
pub fn check(format: FileFormat, schema: &SchemaRef) -> Result<(), String> {
    match format {
        FileFormat::Text => text::check(schema),
        FileFormat::Json => json::check(schema),
        FileFormat::Csv => csv::check(schema),
        FileFormat::Parquet(by) => parquet::check(schema, by),
        FileFormat::Avro => avro::check(schema),
    }
}

/// Returns what precedes the first row of a file, for text formats.
pub fn head(format: FileFormat, schema: &SchemaRef) -> io::Result<Vec<u8>> {
    Encoder::begin(format, schema, Vec::new())?.finish()
}

/// Returns these rows as lines of a file, for text formats.
pub fn lines(format: FileFormat, rows: &RecordBatch) -> io::Result<Vec<u8>> {
    let (rows, mut out) = (std::slice::from_ref(rows), Vec::new());
    match format {
        FileFormat::Text => text::write(rows, &mut out)?,
        FileFormat::Csv => csv::write_rows(rows, &mut out)?,
        FileFormat::Json => json::write(rows, &mut out)?,
        FileFormat::Parquet(_) | FileFormat::Avro => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the format has no lines"));
        }
    }
    Ok(out)
}

/// Writes a complete file with these rows.
pub fn write(
    format: FileFormat,
    schema: &SchemaRef,
    rows: &[RecordBatch],
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let mut file = Encoder::begin(format, schema, out)?;
    file.add(rows)?;
    file.finish().map(drop)
}

/// A file that grows. After a write error its content is useless.
pub enum Encoder<W: Write + Send> {
    Text(W),
    Json(W),
    Csv(W),
    Parquet(Box<parquet::ParquetFile<W>>),
    Avro(avro::AvroFile<W>),
}

impl<W: Write + Send> Encoder<W> {
    /// Begins a file.
    pub fn begin(format: FileFormat, schema: &SchemaRef, mut out: W) -> io::Result<Encoder<W>> {
        Ok(match format {
            FileFormat::Text => Encoder::Text(out),
            FileFormat::Json => Encoder::Json(out),
            FileFormat::Csv => {
                csv::write_head(schema, &mut out)?;
                Encoder::Csv(out)
            }
            FileFormat::Parquet(by) => Encoder::Parquet(Box::new(parquet::ParquetFile::begin(schema, by, out)?)),
            FileFormat::Avro => Encoder::Avro(avro::AvroFile::begin(schema, out)?),
        })
    }

    /// Appends rows.
    pub fn add(&mut self, rows: &[RecordBatch]) -> io::Result<()> {
        match self {
            Encoder::Text(out) => text::write(rows, out),
            Encoder::Json(out) => json::write(rows, out),
            Encoder::Csv(out) => csv::write_rows(rows, out),
            Encoder::Parquet(file) => file.add(rows),
            Encoder::Avro(file) => file.add(rows),
        }
    }

    /// Returns the number of buffered bytes.
    pub fn buffered_bytes(&self) -> u64 {
        match self {
            Encoder::Text(_) | Encoder::Json(_) | Encoder::Csv(_) => 0,
            Encoder::Parquet(file) => file.buffered_bytes(),
            Encoder::Avro(file) => file.buffered_bytes(),
        }
    }

    /// Returns the writer.
    pub fn out(&self) -> &W {
        match self {
            Encoder::Text(out) | Encoder::Json(out) | Encoder::Csv(out) => out,
            Encoder::Parquet(file) => file.out(),
            Encoder::Avro(file) => file.out(),
        }
    }

    /// Writes what follows the last row.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Text(out) | Encoder::Json(out) | Encoder::Csv(out) => Ok(out),
            Encoder::Parquet(file) => file.finish(),
            Encoder::Avro(file) => file.finish(),
        }
    }
}
