//! JSON lines: an object a row, its members in schema order. `int64` is exact; a float that JSON cannot write is one
//! of the texts `"NaN"`, `"Infinity"` and `"-Infinity"`; timestamps are RFC 3339, binary is hexadecimal, nulls are
//! `null`. Other Arrow types look as the crate `arrow-json` writes them.

use super::cell::{self, Cells};
use crate::batch::types::ColumnType;
use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use std::io::{self, Write};
use std::sync::LazyLock;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 64 << 10;
static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));

/// Whether every column can be written.
pub fn check(schema: &SchemaRef) -> Result<(), String> {
    for field in schema.fields() {
        Column::of(field, &new_empty_array(field.data_type())).map_err(|cause| {
            let kind = ColumnType::of(field.data_type());
            format!("column `{}` is {kind}, which JSON cannot hold: {cause}; leave it out", field.name())
        })?;
    }
    Ok(())
}

/// Rows as JSON objects, one each, in the form of all sinks.
pub fn objects(rows: &RecordBatch) -> io::Result<Vec<String>> {
    let mut encoder = Rows::new(rows)?;
    let object = |row| {
        let mut object = Vec::new();
        encoder.write(row, &mut object)?;
        String::from_utf8(object).map_err(io::Error::other)
    };
    (0..rows.num_rows()).map(object).collect()
}

/// A line for each row.
pub fn write(rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut bytes = Vec::new();
    for part in rows {
        let mut encoder = Rows::new(part)?;
        for row in 0..part.num_rows() {
            encoder.write(row, &mut bytes)?;
            bytes.push(b'\n');
            if bytes.len() >= WRITE_BYTES {
                out.write_all(&bytes)?;
                bytes.clear();
            }
        }
    }
    out.write_all(&bytes)
}

/// The rows of a batch as JSON objects.
pub struct Rows<'a> {
    columns: Vec<Column<'a>>,
    scratch: String,
}

impl<'a> Rows<'a> {
    /// Prepares the columns.
    pub fn new(rows: &'a RecordBatch) -> io::Result<Rows<'a>> {
        let fields = rows.schema_ref().fields();
        let columns = fields.iter().zip(rows.columns()).map(|(field, array)| Column::of(field, array));
        Ok(Rows { columns: columns.collect::<io::Result<_>>()?, scratch: String::new() })
    }

    /// Adds the object of one row.
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
        out.push(b'{');
        for (index, column) in self.columns.iter_mut().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&column.name);
            if column.array.is_null(row) {
                out.extend_from_slice(b"null");
            } else {
                column.write(row, &mut self.scratch, out)?;
            }
        }
        out.push(b'}');
        Ok(())
    }
}

struct Column<'a> {
    /// The name as a JSON text, and the colon.
    name: Vec<u8>,
    array: &'a ArrayRef,
    cells: Cells<'a>,
    /// For types that are not ours.
    other: Option<NullableEncoder<'a>>,
}

impl<'a> Column<'a> {
    fn of(field: &'a FieldRef, array: &'a ArrayRef) -> io::Result<Column<'a>> {
        let mut name = serde_json::to_vec(field.name())?;
        name.push(b':');
        let cells = Cells::of(array);
        let other = match cells {
            Cells::Other(array) => Some(make_encoder(field, array.as_ref(), &OPTIONS).map_err(io::Error::other)?),
            _ => None,
        };
        Ok(Column { name, array, cells, other })
    }

    fn write(&mut self, row: usize, scratch: &mut String, out: &mut Vec<u8>) -> io::Result<()> {
        match &self.cells {
            Cells::Bool(a) => serde_json::to_writer(out, &a.value(row))?,
            Cells::Int64(a) => serde_json::to_writer(out, &a.value(row))?,
            Cells::Float64(a) if a.value(row).is_finite() => serde_json::to_writer(out, &a.value(row))?,
            Cells::Text(a) => serde_json::to_writer(out, a.value(row))?,
            Cells::Float64(a) => quoted(scratch, out, |text| cell::write_float(text, a.value(row))),
            Cells::Binary(a) => quoted(scratch, out, |text| cell::write_hex(text, a.value(row))),
            Cells::Timestamp(a) => quoted(scratch, out, |text| cell::write_rfc3339(text, a.value(row))),
            Cells::Other(_) => match &mut self.other {
                Some(encoder) if !encoder.is_null(row) => encoder.encode(row, out),
                _ => out.extend_from_slice(b"null"),
            },
        }
        Ok(())
    }
}

/// Adds a text that needs no escapes.
fn quoted(scratch: &mut String, out: &mut Vec<u8>, write: impl FnOnce(&mut String)) {
    scratch.clear();
    write(scratch);
    out.push(b'"');
    out.extend_from_slice(scratch.as_bytes());
    out.push(b'"');
}
