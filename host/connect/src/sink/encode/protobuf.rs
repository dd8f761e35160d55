//! Format `protobuf`: the message that a descriptor names, with a field for each column of its name. Values that a field cannot hold are
//! reported when the job is checked, or for the row that contains them.

mod fit;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_rows::batch::cell::{self, Cells};
use millstream_rows::decode::protobuf::{Kind, Messages};
use millstream_rows::decode::varint;
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// How the columns of rows, or the members of a struct, are written as a message.
#[derive(Debug)]
pub struct MessageWriter {
    /// In the order of field numbers, as other encoders write them.
    fields: Vec<FieldWriter>,
    /// Groups of columns of which only one may have a value.
    choices: Vec<Vec<usize>>,
}

/// How a column is written.
#[derive(Debug)]
struct FieldWriter {
    /// The index and name of the column, or member of a struct.
    column: usize,
    name: String,
    number: u32,
    /// Whether a row without a value is rejected.
    required: bool,
    /// Whether a zero value is omitted.
    implicit: bool,
    form: FieldEncoding,
}

/// How a value is written.
#[derive(Debug)]
enum FieldEncoding {
    Bool,
    /// An integer.
    Integer(Kind),
    Float,
    Double,
    Text,
    Bytes,
    /// The name of an enum value, or its number.
    Symbol {
        of: String,
        numbers: HashMap<String, i32>,
    },
    /// Microseconds as a message of seconds and nanoseconds.
    Moment,
    /// A message that wraps a value.
    Wrapped(Box<FieldEncoding>),
    Message(MessageWriter),
    /// Consecutive numbers.
    Packed(Box<FieldEncoding>),
    /// Values, each as a field.
    Each(Box<FieldEncoding>),
    /// Members of a struct, each as key and value of a map, in the order of the members.
    Map(Vec<(String, FieldEncoding)>),
}

impl MessageWriter {
    /// Plans how rows of this schema become messages of this name. The error names a column that does not fit.
    pub fn new(messages: &Messages, message: &str, schema: &SchemaRef) -> Result<MessageWriter, String> {
        fit::message(messages, messages.look_up(message)?, schema.fields(), "")
    }
}

/// Wire types of fields.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const SIZED: u32 = 2;
const FIXED32: u32 = 5;

/// The rows of a part, each of which becomes a message.
pub struct MessageRows<'a> {
    fields: Vec<Field<'a>>,
    choices: &'a [Vec<usize>],
}

/// A column of the current rows.
struct Field<'a> {
    by: &'a FieldWriter,
    array: &'a ArrayRef,
    values: Values<'a>,
}

enum Values<'a> {
    Plain(Cells<'a>),
    Members(MessageRows<'a>),
    List(&'a ListArray, Box<(&'a ArrayRef, Values<'a>)>),
    Pairs(Vec<(&'a str, &'a FieldEncoding, &'a ArrayRef, Values<'a>)>),
}

impl<'a> MessageRows<'a> {
    /// Prepares the rows of a part.
    pub fn new(part: &'a RecordBatch, by: &'a MessageWriter) -> io::Result<MessageRows<'a>> {
        MessageRows::from_columns(part.columns(), by)
    }

    fn from_columns(columns: &'a [ArrayRef], by: &'a MessageWriter) -> io::Result<MessageRows<'a>> {
        let field = |field: &'a FieldWriter| {
            let array = columns.get(field.column).ok_or_else(unsupported)?;
            Ok(Field { by: field, array, values: Values::new(array, &field.form)? })
        };
        Ok(MessageRows { fields: by.fields.iter().map(field).collect::<io::Result<_>>()?, choices: &by.choices })
    }

    /// Appends the message of a row. An error about this row has the kind `InvalidData`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let rejection = |why| io::Error::new(io::ErrorKind::InvalidData, format!("of a row: {why}"));
        self.row(row, out).map_err(rejection)
    }

    fn row(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        for group in self.choices {
            let mut with_value =
                self.fields.iter().filter(|field| group.contains(&field.by.column) && field.array.is_valid(row));
            if let (Some(first), Some(second)) = (with_value.next(), with_value.next()) {
                return Err(format!(
                    "columns `{}` and `{}` both have a value, but their fields are a `oneof`, in which at most one \
                    has a value",
                    first.by.name, second.by.name
                ));
            }
        }
        self.fields.iter().try_for_each(|field| field.write(row, out))
    }
}

impl<'a> Values<'a> {
    fn new(array: &'a ArrayRef, form: &'a FieldEncoding) -> io::Result<Values<'a>> {
        Ok(match form {
            FieldEncoding::Wrapped(form) => Values::new(array, form)?,
            FieldEncoding::Message(by) => Values::Members(MessageRows::from_columns(
                array.as_struct_opt().ok_or_else(unsupported)?.columns(),
                by,
            )?),
            FieldEncoding::Packed(form) | FieldEncoding::Each(form) => {
                let list = array.as_list_opt::<i32>().ok_or_else(unsupported)?;
                Values::List(list, Box::new((list.values(), Values::new(list.values(), form)?)))
            }
            FieldEncoding::Map(members) => {
                let columns = array.as_struct_opt().ok_or_else(unsupported)?.columns();
                let pair = |((name, form), array): (&'a (String, FieldEncoding), &'a ArrayRef)| {
                    Ok((name.as_str(), form, array, Values::new(array, form)?))
                };
                Values::Pairs(members.iter().zip(columns).map(pair).collect::<io::Result<_>>()?)
            }
            _ => match Cells::new(array) {
                Cells::Other(_) => return Err(unsupported()),
                cells => Values::Plain(cells),
            },
        })
    }
}

impl Field<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let (by, name) = (self.by, self.by.name.as_str());
        if self.array.is_null(row) {
            return match by.required {
                true => Err(format!("column `{name}` is null, but its field is required")),
                false => Ok(()),
            };
        }
        match (&by.form, &self.values) {
            (FieldEncoding::Packed(form), Values::List(list, items)) => {
                let element_range = element_range(list, row);
                if element_range.is_empty() {
                    return Ok(());
                }
                tag(by.number, SIZED, out);
                write_sized(out, |out| {
                    element_range.into_iter().try_for_each(|at| write(form, item(items, at, name)?, at, name, out))
                })
            }
            (FieldEncoding::Each(form), Values::List(list, items)) => element_range(list, row).try_for_each(|at| {
                tag(by.number, kind_of(form), out);
                write(form, item(items, at, name)?, at, name, out)
            }),
            (FieldEncoding::Map(_), Values::Pairs(pairs)) => {
                let mut pairs_of_row = pairs.iter().filter(|(_, _, array, _)| array.is_valid(row));
                pairs_of_row.try_for_each(|(key, form, _, values)| {
                    tag(by.number, SIZED, out);
                    write_sized(out, |out| {
                        tag(1, SIZED, out);
                        bytes(key.as_bytes(), out);
                        tag(2, kind_of(form), out);
                        write(form, values, row, name, out)
                    })
                })
            }
            (form, values) => {
                let start = out.len();
                tag(by.number, kind_of(form), out);
                write(form, values, row, name, out)?;
                if by.implicit {
                    without_zero(start, by.number, form, out);
                }
                Ok(())
            }
        }
    }
}

/// Removes a field again if its value is zero: then all of its bytes are zeros, including the length.
fn without_zero(start: usize, number: u32, form: &FieldEncoding, out: &mut Vec<u8>) {
    let mut field = Vec::new();
    tag(number, kind_of(form), &mut field);
    if out.get(start + field.len()..).is_some_and(|value| value.iter().all(|byte| *byte == 0)) {
        out.truncate(start);
    }
}

/// Returns the element range of a row's list.
fn element_range(list: &ListArray, row: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    let at = |index: usize| offsets.get(index).map_or(0, |offset| usize::try_from(*offset).unwrap_or(0));
    at(row)..at(row + 1)
}

fn item<'a, 'b>(
    (array, values): &'b (&'a ArrayRef, Values<'a>),
    at: usize,
    name: &str,
) -> Result<&'b Values<'a>, String> {
    match array.is_null(at) {
        true => Err(format!("column `{name}`: an element is null, but repeated fields cannot contain null")),
        false => Ok(values),
    }
}

/// Returns the wire type of a value.
fn kind_of(form: &FieldEncoding) -> u32 {
    match form {
        FieldEncoding::Bool | FieldEncoding::Symbol { .. } => VARINT,
        FieldEncoding::Integer(Kind::Fixed64 | Kind::Sfixed64) | FieldEncoding::Double => FIXED64,
        FieldEncoding::Integer(Kind::Fixed32 | Kind::Sfixed32) | FieldEncoding::Float => FIXED32,
        FieldEncoding::Integer(_) => VARINT,
        _ => SIZED,
    }
}

/// Appends a value that is not null, after its tag.
fn write(form: &FieldEncoding, values: &Values<'_>, row: usize, name: &str, out: &mut Vec<u8>) -> Result<(), String> {
    match (form, values) {
        (FieldEncoding::Wrapped(form), _) => write_sized(out, |out| {
            let start = out.len();
            tag(1, kind_of(form), out);
            write(form, values, row, name, out)?;
            without_zero(start, 1, form, out);
            Ok(())
        }),
        (_, Values::Members(rows)) => write_sized(out, |out| rows.row(row, out)),
        (_, Values::Plain(cells)) => plain(form, cells, row, out).map_err(|why| format!("column `{name}`: {why}")),
        _ => Err(OTHER.into()),
    }
}

/// Appends a value of a single column.
fn plain(form: &FieldEncoding, cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    match (form, cells) {
        (FieldEncoding::Bool, Cells::Bool(array)) => out.push(u8::from(array.value(row))),
        (FieldEncoding::Integer(kind), Cells::Int64(array)) => write_integer(*kind, array.value(row).into(), out)?,
        (FieldEncoding::Integer(kind), Cells::Timestamp(array)) => write_integer(*kind, array.value(row).into(), out)?,
        (FieldEncoding::Integer(kind), Cells::Date(array)) => write_integer(*kind, array.value(row).into(), out)?,
        (FieldEncoding::Integer(kind), Cells::Decimal(array)) => write_integer(*kind, array.value(row), out)?,
        (FieldEncoding::Double, Cells::Float64(array)) => out.extend_from_slice(&array.value(row).to_le_bytes()),
        (FieldEncoding::Float, Cells::Float64(array)) => {
            let value = array.value(row);
            let short = value as f32;
            if short.is_infinite() && value.is_finite() {
                return Err(format!("{value:?} is out of range of float"));
            }
            out.extend_from_slice(&short.to_le_bytes());
        }
        (FieldEncoding::Text | FieldEncoding::Bytes, Cells::Text(array)) => bytes(array.value(row).as_bytes(), out),
        (FieldEncoding::Text, Cells::Timestamp(array)) => {
            write_text(out, |text| cell::write_rfc3339(text, array.value(row)))
        }
        (FieldEncoding::Text, Cells::Date(array)) => write_text(out, |text| cell::write_date(text, array.value(row))),
        (FieldEncoding::Text, Cells::Decimal(array)) => {
            write_text(out, |text| text.push_str(&array.value_as_string(row)))
        }
        (FieldEncoding::Bytes, Cells::Binary(array)) => bytes(array.value(row), out),
        (FieldEncoding::Symbol { .. }, Cells::Int64(array)) => {
            write_integer(Kind::Int32, array.value(row).into(), out)?
        }
        (FieldEncoding::Symbol { of, numbers }, Cells::Text(array)) => {
            let name = array.value(row);
            // The source keeps the number as text if its descriptor has no name for it.
            let number = numbers.get(name).copied().or_else(|| name.parse::<i32>().ok());
            let number = number.ok_or_else(|| format!("{name:?} is not a value of enum `{of}`"))?;
            write_integer(Kind::Int32, number.into(), out)?;
        }
        (FieldEncoding::Moment, Cells::Timestamp(array)) => {
            let us = array.value(row);
            write_sized(out, |out| {
                for (number, value) in [(1, us.div_euclid(1_000_000)), (2, us.rem_euclid(1_000_000) * 1_000)] {
                    if value != 0 {
                        tag(number, VARINT, out);
                        varint::write(value as u64, out);
                    }
                }
                Ok::<_, String>(())
            })?;
        }
        _ => return Err(OTHER.into()),
    }
    Ok(())
}

/// Appends an integer in the encoding of its kind.
fn write_integer(kind: Kind, value: i128, out: &mut Vec<u8>) -> Result<(), String> {
    let out_of_range = || format!("{value} is out of range of {}", fit::kind_word(kind));
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            let value = i32::try_from(value).map_err(|_| out_of_range())?;
            match kind {
                Kind::Int32 => varint::write(i64::from(value) as u64, out),
                Kind::Sint32 => varint::write(varint::zigzag(value.into()), out),
                _ => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            let value = i64::try_from(value).map_err(|_| out_of_range())?;
            match kind {
                Kind::Int64 => varint::write(value as u64, out),
                Kind::Sint64 => varint::write(varint::zigzag(value), out),
                _ => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        Kind::Uint32 | Kind::Fixed32 => {
            let value = u32::try_from(value).map_err(|_| out_of_range())?;
            match kind {
                Kind::Uint32 => varint::write(value.into(), out),
                _ => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        _ => {
            let value = u64::try_from(value).map_err(|_| out_of_range())?;
            match kind {
                Kind::Fixed64 => out.extend_from_slice(&value.to_le_bytes()),
                _ => varint::write(value, out),
            }
        }
    }
    Ok(())
}

fn tag(number: u32, kind: u32, out: &mut Vec<u8>) {
    varint::write(u64::from(number << 3 | kind), out);
}

fn bytes(value: &[u8], out: &mut Vec<u8>) {
    varint::write(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn write_text(out: &mut Vec<u8>, write: impl FnOnce(&mut String)) {
    let mut text = String::new();
    write(&mut text);
    bytes(text.as_bytes(), out);
}

/// Appends what `write` writes, after its length.
fn write_sized<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    write(out)?;
    let end = out.len();
    varint::write((end - start) as u64, out);
    // The length is known last, so it is inserted afterwards.
    let length = out.len() - end;
    if let Some(write_text) = out.get_mut(start..) {
        write_text.rotate_right(length);
    }
    Ok(())
}

const OTHER: &str = "a column of another type than the sink was checked with";

fn unsupported() -> io::Error {
    io::Error::other(OTHER)
}
