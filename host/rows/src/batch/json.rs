//! JSON lines: one object per row, its members in schema order. `int64` is exact. A float that JSON cannot represent is one of the strings `"NaN"`,
//! `"Infinity"` and `"-Infinity"`. Timestamps are RFC 3339, binary is hexadecimal, nulls are `null`. Other Arrow types are written as the crate
//! `arrow-json` does.

use super::cell::{self, Cells};
use super::encoded::{self, EncodedForm};
use super::nested;
use crate::batch::types::ColumnType;
use arrow::array::{
    Array, ArrayRef, AsArray, LargeBinaryArray, ListArray, MapArray, RecordBatch, StringArray, StringBuilder,
    new_empty_array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use millstream_base::hex;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

/// Size of the buffer before writing.
const WRITE_BYTES: usize = 64 << 10;
static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));

/// Checks that every column can be written.
pub fn check(schema: &SchemaRef) -> Result<(), String> {
    for field in schema.fields() {
        JsonColumn::new(field, &new_empty_array(field.data_type())).map_err(|cause| {
            let kind = ColumnType::from_arrow(field.data_type());
            format!("column `{}` is {kind}, which JSON cannot hold: {cause}; omit it", field.name())
        })?;
    }
    Ok(())
}

/// Returns rows as JSON objects, one each, in the form of all sinks.
pub fn objects(rows: &RecordBatch) -> io::Result<Vec<String>> {
    let mut encoder = JsonRows::new(rows)?;
    let object = |row| {
        let mut object = Vec::new();
        encoder.write(row, &mut object)?;
        String::from_utf8(object).map_err(io::Error::other)
    };
    (0..rows.num_rows()).map(object).collect()
}

/// Writes one line per row.
pub fn write(rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut bytes = Vec::new();
    for part in rows {
        let mut encoder = JsonRows::new(part)?;
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

/// The rows of a batch as JSON objects; they may be encoded already.
pub struct JsonRows<'a> {
    columns: Vec<JsonColumn<'a>>,
    scratch: String,
    encoded: Option<&'a LargeBinaryArray>,
}

impl<'a> JsonRows<'a> {
    /// Prepares the columns.
    pub fn new(rows: &'a RecordBatch) -> io::Result<JsonRows<'a>> {
        let encoded = encoded::column(rows, EncodedForm::Json);
        let fields = rows.schema_ref().fields().iter().filter(|_| encoded.is_none());
        let columns = fields.zip(rows.columns()).map(|(field, array)| JsonColumn::new(field, array));
        Ok(JsonRows { columns: columns.collect::<io::Result<_>>()?, scratch: String::new(), encoded })
    }

    /// Appends the object of one row.
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
        if let Some(encoded) = self.encoded {
            out.extend_from_slice(encoded.value(row));
            return Ok(());
        }
        write_object(&mut self.columns, row, &mut self.scratch, out)
    }
}

/// Encodes each row as an object, for sinks.
pub fn encode(rows: &RecordBatch) -> io::Result<RecordBatch> {
    let mut objects = JsonRows::new(rows)?;
    encoded::each_row(EncodedForm::Json, rows.num_rows(), |row, object| objects.write(row, object))
}

/// Converts structs, lists and decimals to text: JSON, or the number as written.
pub fn as_text(rows: RecordBatch) -> io::Result<RecordBatch> {
    let schema = rows.schema();
    let is_named =
        |field: &FieldRef| nested::name_of(field.data_type()).is_some() && *field.data_type() != DataType::Date32;
    if !schema.fields().iter().any(is_named) {
        return Ok(rows);
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (field, array) in schema.fields().iter().zip(rows.columns()) {
        if is_named(field) {
            fields.push(Field::new(field.name(), DataType::Utf8, true));
            columns.push(Arc::new(written_out(field, array)?));
        } else {
            fields.push(field.as_ref().clone());
            columns.push(array.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(io::Error::other)
}

/// Returns a column as text: structs and lists as JSON, decimals and dates as written elsewhere; nulls stay null.
pub fn written_out(field: &FieldRef, array: &ArrayRef) -> io::Result<StringArray> {
    let mut column = JsonColumn::new(field, array)?;
    let (mut strings, mut scratch, mut text) = (StringBuilder::new(), String::new(), Vec::new());
    for row in 0..array.len() {
        if array.is_null(row) {
            strings.append_null();
            continue;
        }
        text.clear();
        if let Cells::Date(dates) = &column.cells {
            scratch.clear();
            cell::write_date(&mut scratch, dates.value(row));
            strings.append_value(&scratch);
            continue;
        }
        column.write(row, &mut scratch, &mut text)?;
        strings.append_value(std::str::from_utf8(&text).map_err(io::Error::other)?);
    }
    Ok(strings.finish())
}

struct JsonColumn<'a> {
    /// The name as a JSON string, and the colon.
    name: Vec<u8>,
    array: &'a ArrayRef,
    cells: Cells<'a>,
    /// For types that [`Cells`] does not support.
    other: Option<OtherCells<'a>>,
}

/// Values of types that [`Cells`] does not support.
enum OtherCells<'a> {
    List(&'a ListArray, Box<JsonColumn<'a>>),
    Struct(Vec<JsonColumn<'a>>),
    /// A map whose keys are text.
    Map(&'a MapArray, &'a StringArray, Box<JsonColumn<'a>>),
    Encoded(NullableEncoder<'a>),
}

impl<'a> JsonColumn<'a> {
    fn new(field: &'a FieldRef, array: &'a ArrayRef) -> io::Result<JsonColumn<'a>> {
        let mut name = serde_json::to_vec(field.name())?;
        name.push(b':');
        let cells = Cells::new(array);
        let other = if let Cells::Other(array) = cells { Some(OtherCells::new(field, array)?) } else { None };
        Ok(JsonColumn { name, array, cells, other })
    }

    /// Appends the value of a row, or `null`.
    fn write_nullable(&mut self, row: usize, scratch: &mut String, out: &mut Vec<u8>) -> io::Result<()> {
        if self.array.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        self.write(row, scratch, out)
    }

    fn write(&mut self, row: usize, scratch: &mut String, out: &mut Vec<u8>) -> io::Result<()> {
        match &self.cells {
            Cells::Bool(a) => serde_json::to_writer(out, &a.value(row))?,
            Cells::Int64(a) => serde_json::to_writer(out, &a.value(row))?,
            Cells::Float64(a) => cell::write_json_float(out, a.value(row)),
            Cells::Text(a) => serde_json::to_writer(out, a.value(row))?,
            Cells::Binary(a) => quoted(scratch, out, |text| hex::write(text, a.value(row))),
            Cells::Timestamp(a) => quoted(scratch, out, |text| cell::write_rfc3339(text, a.value(row))),
            Cells::Date(a) => quoted(scratch, out, |text| cell::write_date(text, a.value(row))),
            Cells::Decimal(a) => write!(out, "{}", a.value_as_string(row))?,
            Cells::Other(_) => match &mut self.other {
                Some(other) => other.write(row, scratch, out)?,
                None => out.extend_from_slice(b"null"),
            },
        }
        Ok(())
    }
}

impl<'a> OtherCells<'a> {
    fn new(field: &'a FieldRef, array: &'a ArrayRef) -> io::Result<OtherCells<'a>> {
        Ok(match array.data_type() {
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                // The array's type and the field have the item's type for as long as the array lives.
                OtherCells::List(list, Box::new(JsonColumn::new(item, list.values())?))
            }
            DataType::Struct(fields) => {
                let members = fields.iter().zip(array.as_struct().columns());
                OtherCells::Struct(
                    members.map(|(field, array)| JsonColumn::new(field, array)).collect::<io::Result<_>>()?,
                )
            }
            DataType::Map(entries, _) => {
                let map = array.as_map();
                let value = match entries.data_type() {
                    DataType::Struct(members) => members.get(1),
                    _ => None,
                };
                match (map.keys().as_string_opt::<i32>(), value) {
                    (Some(keys), Some(value)) => {
                        OtherCells::Map(map, keys, Box::new(JsonColumn::new(value, map.values())?))
                    }
                    _ => OtherCells::encoded(field, array)?,
                }
            }
            _ => OtherCells::encoded(field, array)?,
        })
    }

    fn encoded(field: &'a FieldRef, array: &'a ArrayRef) -> io::Result<OtherCells<'a>> {
        Ok(OtherCells::Encoded(make_encoder(field, array.as_ref(), &OPTIONS).map_err(io::Error::other)?))
    }

    fn write(&mut self, row: usize, scratch: &mut String, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            OtherCells::List(list, items) => {
                let offsets = list.value_offsets();
                let offset_of = |row: usize| offsets.get(row).map_or(0, |offset| *offset as usize);
                out.push(b'[');
                for item in offset_of(row)..offset_of(row + 1) {
                    if item > offset_of(row) {
                        out.push(b',');
                    }
                    items.write_nullable(item, scratch, out)?;
                }
                out.push(b']');
            }
            OtherCells::Struct(members) => write_object(members, row, scratch, out)?,
            OtherCells::Map(map, keys, values) => {
                let offsets = map.value_offsets();
                let offset_of = |row: usize| offsets.get(row).map_or(0, |offset| *offset as usize);
                out.push(b'{');
                for entry in offset_of(row)..offset_of(row + 1) {
                    if entry > offset_of(row) {
                        out.push(b',');
                    }
                    serde_json::to_writer(&mut *out, keys.value(entry))?;
                    out.push(b':');
                    values.write_nullable(entry, scratch, out)?;
                }
                out.push(b'}');
            }
            OtherCells::Encoded(encoder) if !encoder.is_null(row) => encoder.encode(row, out),
            OtherCells::Encoded(_) => out.extend_from_slice(b"null"),
        }
        Ok(())
    }
}

fn write_object(columns: &mut [JsonColumn<'_>], row: usize, scratch: &mut String, out: &mut Vec<u8>) -> io::Result<()> {
    out.push(b'{');
    for (index, column) in columns.iter_mut().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&column.name);
        column.write_nullable(row, scratch, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends text that needs no escapes.
fn quoted(scratch: &mut String, out: &mut Vec<u8>, write: impl FnOnce(&mut String)) {
    scratch.clear();
    write(scratch);
    out.push(b'"');
    out.extend_from_slice(scratch.as_bytes());
    out.push(b'"');
}
