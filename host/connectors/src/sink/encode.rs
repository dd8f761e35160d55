//! The file formats of sinks. Values look alike in all text formats: timestamps as RFC 3339, binary as hexadecimal,
//! floats in their shortest form.

pub(crate) mod avro;
pub(crate) mod csv;
mod parquet;
pub(crate) mod plain;
pub(crate) mod protobuf;
mod text;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::json;
use millstream_base::job::spec::{Compression, FileFormat};
use std::io::{self, Write};

/// Every extension that [`extension`] gives.
pub(crate) const EXTENSIONS: [&str; 5] = ["txt", "jsonl", "csv", "parquet", "avro"];

/// How the names of files of this format end, without the dot.
pub(crate) fn extension(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Text => EXTENSIONS[0],
        FileFormat::Json => EXTENSIONS[1],
        FileFormat::Csv => EXTENSIONS[2],
        FileFormat::Parquet(_) => EXTENSIONS[3],
        FileFormat::Avro => EXTENSIONS[4],
    }
}

/// How a marker names the format: by its extension, and behind a `+` by how it is compressed where that is not usual.
pub(crate) fn word(format: FileFormat) -> String {
    match format {
        FileFormat::Parquet(by) if by != Compression::Snappy => format!("{}+{}", extension(format), by.word()),
        _ => extension(format).to_owned(),
    }
}

/// The format that a marker names so.
pub(crate) fn of_word(text: &str) -> Option<FileFormat> {
    let parquet = Compression::ALL.map(|(_, by)| FileFormat::Parquet(by));
    let all = [FileFormat::Text, FileFormat::Json, FileFormat::Csv, FileFormat::Avro];
    all.into_iter().chain(parquet).find(|format| word(*format) == text)
}

/// Whether rows of this schema can be written in this format; the error says what to do instead.
pub fn check(format: FileFormat, schema: &SchemaRef) -> Result<(), String> {
    match format {
        FileFormat::Text => text::check(schema),
        FileFormat::Json => json::check(schema),
        FileFormat::Csv => csv::check(schema),
        FileFormat::Parquet(by) => parquet::check(schema, by),
        FileFormat::Avro => avro::check(schema),
    }
}

/// What stands before the first row of a file of this format, of those that are text.
pub fn head(format: FileFormat, schema: &SchemaRef) -> io::Result<Vec<u8>> {
    Encoder::begin(format, schema, Vec::new())?.finish()
}

/// These rows as lines of a file of this format, of those that are text.
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

/// Writes a whole file with these rows.
pub(crate) fn write(
    format: FileFormat,
    schema: &SchemaRef,
    rows: &[RecordBatch],
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let mut file = Encoder::begin(format, schema, out)?;
    file.add(rows)?;
    file.finish().map(drop)
}

/// A file that grows. Where writing fails, what is written of it is of no use.
pub(crate) enum Encoder<W: Write + Send> {
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

    /// Adds rows behind those that are there.
    pub fn add(&mut self, rows: &[RecordBatch]) -> io::Result<()> {
        match self {
            Encoder::Text(out) => text::write(rows, out),
            Encoder::Json(out) => json::write(rows, out),
            Encoder::Csv(out) => csv::write_rows(rows, out),
            Encoder::Parquet(file) => file.add(rows),
            Encoder::Avro(file) => file.add(rows),
        }
    }

    /// Bytes that are held back and not written yet.
    pub fn held(&self) -> u64 {
        match self {
            Encoder::Text(_) | Encoder::Json(_) | Encoder::Csv(_) => 0,
            Encoder::Parquet(file) => file.held(),
            Encoder::Avro(file) => file.held(),
        }
    }

    /// Where it is written.
    pub fn out(&self) -> &W {
        match self {
            Encoder::Text(out) | Encoder::Json(out) | Encoder::Csv(out) => out,
            Encoder::Parquet(file) => file.out(),
            Encoder::Avro(file) => file.out(),
        }
    }

    /// Writes what belongs behind the last row.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Text(out) | Encoder::Json(out) | Encoder::Csv(out) => Ok(out),
            Encoder::Parquet(file) => file.finish(),
            Encoder::Avro(file) => file.finish(),
        }
    }
}
