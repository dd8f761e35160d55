//! Format `protobuf`: the message that a descriptor names, a field for each column of its name. What a field cannot hold is
//! either told with the job, or of the row that has it.

mod fit;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_base::batch::cell::{self, Cells};
use millstream_base::decode::protobuf::{Kind, Messages};
use millstream_base::decode::varint;
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// What becomes of the columns of rows, or of the members of a struct.
#[derive(Debug)]
pub(crate) struct MessageWriter {
    /// In the order of the numbers of fields, as others write them.
    fields: Vec<FieldWriter>,
    /// Groups of columns of which only one may have a value.
    choices: Vec<Vec<usize>>,
}

/// What becomes of a column.
#[derive(Debug)]
struct FieldWriter {
    /// The column, or member of a struct, by its place and name.
    column: usize,
    name: String,
    number: u32,
    /// A row without a value makes no message.
    required: bool,
    /// What is zero is not written.
    implicit: bool,
    form: FieldEncoding,
}

/// How a value is written.
#[derive(Debug)]
enum FieldEncoding {
    Bool,
    /// A whole number.
    Whole(Kind),
    Float,
    Double,
    Text,
    Bytes,
    /// The name of a value of an enum, or its number.
    Symbol {
        of: String,
        numbers: HashMap<String, i32>,
    },
    /// Microseconds as a message of seconds and nanoseconds.
    Moment,
    /// A message around a value.
    Wrapped(Box<FieldEncoding>),
    Message(MessageWriter),
    /// Numbers behind each other.
    Packed(Box<FieldEncoding>),
    /// Values, each as a field.
    Each(Box<FieldEncoding>),
    /// Members of a struct, each as key and value of a map, in the order of the members.
    Map(Vec<(String, FieldEncoding)>),
}

impl MessageWriter {
    /// For rows of this schema as messages of this name. The error says which column does not fit.
    pub fn new(messages: &Messages, message: &str, schema: &SchemaRef) -> Result<MessageWriter, String> {
        fit::message(messages, messages.look_up(message)?, schema.fields(), "")
    }
}

/// Kinds of a field on the wire.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const SIZED: u32 = 2;
const FIXED32: u32 = 5;

/// The rows of a part, of which each becomes a message.
pub(crate) struct MessageRows<'a> {
    fields: Vec<Field<'a>>,
    choices: &'a [Vec<usize>],
}

/// A column of the rows at hand.
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
    /// The rows of a part.
    pub fn new(part: &'a RecordBatch, by: &'a MessageWriter) -> io::Result<MessageRows<'a>> {
        MessageRows::of(part.columns(), by)
    }

    fn of(columns: &'a [ArrayRef], by: &'a MessageWriter) -> io::Result<MessageRows<'a>> {
        let field = |field: &'a FieldWriter| {
            let array = columns.get(field.column).ok_or_else(other)?;
            Ok(Field { by: field, array, values: Values::of(array, &field.form)? })
        };
        Ok(MessageRows { fields: by.fields.iter().map(field).collect::<io::Result<_>>()?, choices: &by.choices })
    }

    /// Adds the message of a row. The error is one about this row, of kind `InvalidData`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let refused = |why| io::Error::new(io::ErrorKind::InvalidData, format!("of a row: {why}"));
        self.row(row, out).map_err(refused)
    }

    fn row(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        for group in self.choices {
            let mut with_value =
                self.fields.iter().filter(|field| group.contains(&field.by.column) && field.array.is_valid(row));
            if let (Some(first), Some(second)) = (with_value.next(), with_value.next()) {
                return Err(format!(
                    "columns `{}` and `{}` both have a value, and their fields are a `oneof`, of which one at most has one",
                    first.by.name, second.by.name
                ));
            }
        }
        self.fields.iter().try_for_each(|field| field.write(row, out))
    }
}

impl<'a> Values<'a> {
    fn of(array: &'a ArrayRef, form: &'a FieldEncoding) -> io::Result<Values<'a>> {
        Ok(match form {
            FieldEncoding::Wrapped(form) => Values::of(array, form)?,
            FieldEncoding::Message(by) => {
                Values::Members(MessageRows::of(array.as_struct_opt().ok_or_else(other)?.columns(), by)?)
            }
            FieldEncoding::Packed(form) | FieldEncoding::Each(form) => {
                let list = array.as_list_opt::<i32>().ok_or_else(other)?;
                Values::List(list, Box::new((list.values(), Values::of(list.values(), form)?)))
            }
            FieldEncoding::Map(members) => {
                let columns = array.as_struct_opt().ok_or_else(other)?.columns();
                let pair = |((name, form), array): (&'a (String, FieldEncoding), &'a ArrayRef)| {
                    Ok((name.as_str(), form, array, Values::of(array, form)?))
                };
                Values::Pairs(members.iter().zip(columns).map(pair).collect::<io::Result<_>>()?)
            }
            _ => match Cells::of(array) {
                Cells::Other(_) => return Err(other()),
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
                true => Err(format!("column `{name}` is null, and no message is without its field")),
                false => Ok(()),
            };
        }
        match (&by.form, &self.values) {
            (FieldEncoding::Packed(form), Values::List(list, items)) => {
                let places = places(list, row);
                if places.is_empty() {
                    return Ok(());
                }
                tag(by.number, SIZED, out);
                sized(out, |out| {
                    places.into_iter().try_for_each(|at| write(form, item(items, at, name)?, at, name, out))
                })
            }
            (FieldEncoding::Each(form), Values::List(list, items)) => places(list, row).try_for_each(|at| {
                tag(by.number, kind_of(form), out);
                write(form, item(items, at, name)?, at, name, out)
            }),
            (FieldEncoding::Map(_), Values::Pairs(pairs)) => {
                let mut there = pairs.iter().filter(|(_, _, array, _)| array.is_valid(row));
                there.try_for_each(|(key, form, _, values)| {
                    tag(by.number, SIZED, out);
                    sized(out, |out| {
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

/// Takes a field off again whose value is its zero: that alone is written as zeros, the length included.
fn without_zero(start: usize, number: u32, form: &FieldEncoding, out: &mut Vec<u8>) {
    let mut field = Vec::new();
    tag(number, kind_of(form), &mut field);
    if out.get(start + field.len()..).is_some_and(|value| value.iter().all(|byte| *byte == 0)) {
        out.truncate(start);
    }
}

/// Where the elements of a row's list are.
fn places(list: &ListArray, row: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    let at = |place: usize| offsets.get(place).map_or(0, |offset| usize::try_from(*offset).unwrap_or(0));
    at(row)..at(row + 1)
}

fn item<'a, 'b>(
    (array, values): &'b (&'a ArrayRef, Values<'a>),
    at: usize,
    name: &str,
) -> Result<&'b Values<'a>, String> {
    match array.is_null(at) {
        true => Err(format!("column `{name}`: an element is null, and a repeated field has no such")),
        false => Ok(values),
    }
}

/// How a value of a form stands on the wire.
fn kind_of(form: &FieldEncoding) -> u32 {
    match form {
        FieldEncoding::Bool | FieldEncoding::Symbol { .. } => VARINT,
        FieldEncoding::Whole(Kind::Fixed64 | Kind::Sfixed64) | FieldEncoding::Double => FIXED64,
        FieldEncoding::Whole(Kind::Fixed32 | Kind::Sfixed32) | FieldEncoding::Float => FIXED32,
        FieldEncoding::Whole(_) => VARINT,
        _ => SIZED,
    }
}

/// Adds a value that is not null, behind its tag.
fn write(form: &FieldEncoding, values: &Values<'_>, row: usize, name: &str, out: &mut Vec<u8>) -> Result<(), String> {
    match (form, values) {
        (FieldEncoding::Wrapped(form), _) => sized(out, |out| {
            let start = out.len();
            tag(1, kind_of(form), out);
            write(form, values, row, name, out)?;
            without_zero(start, 1, form, out);
            Ok(())
        }),
        (_, Values::Members(rows)) => sized(out, |out| rows.row(row, out)),
        (_, Values::Plain(cells)) => plain(form, cells, row, out).map_err(|why| format!("column `{name}`: {why}")),
        _ => Err(OTHER.into()),
    }
}

/// Adds a value of a single column.
fn plain(form: &FieldEncoding, cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    match (form, cells) {
        (FieldEncoding::Bool, Cells::Bool(array)) => out.push(u8::from(array.value(row))),
        (FieldEncoding::Whole(kind), Cells::Int64(array)) => whole(*kind, array.value(row).into(), out)?,
        (FieldEncoding::Whole(kind), Cells::Timestamp(array)) => whole(*kind, array.value(row).into(), out)?,
        (FieldEncoding::Whole(kind), Cells::Date(array)) => whole(*kind, array.value(row).into(), out)?,
        (FieldEncoding::Whole(kind), Cells::Decimal(array)) => whole(*kind, array.value(row), out)?,
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
            written(out, |text| cell::write_rfc3339(text, array.value(row)))
        }
        (FieldEncoding::Text, Cells::Date(array)) => written(out, |text| cell::write_date(text, array.value(row))),
        (FieldEncoding::Text, Cells::Decimal(array)) => written(out, |text| text.push_str(&array.value_as_string(row))),
        (FieldEncoding::Bytes, Cells::Binary(array)) => bytes(array.value(row), out),
        (FieldEncoding::Symbol { .. }, Cells::Int64(array)) => whole(Kind::Int32, array.value(row).into(), out)?,
        (FieldEncoding::Symbol { of, numbers }, Cells::Text(array)) => {
            let name = array.value(row);
            // The source has the number as text where its descriptor knows no name.
            let number = numbers.get(name).copied().or_else(|| name.parse::<i32>().ok());
            let number = number.ok_or_else(|| format!("{name:?} is not a value of enum `{of}`"))?;
            whole(Kind::Int32, number.into(), out)?;
        }
        (FieldEncoding::Moment, Cells::Timestamp(array)) => {
            let us = array.value(row);
            sized(out, |out| {
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

/// Adds a whole number as its kind has it.
fn whole(kind: Kind, value: i128, out: &mut Vec<u8>) -> Result<(), String> {
    let far = || format!("{value} is out of range of {}", fit::kind_word(kind));
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            let value = i32::try_from(value).map_err(|_| far())?;
            match kind {
                Kind::Int32 => varint::write(i64::from(value) as u64, out),
                Kind::Sint32 => varint::write(varint::zigzag(value.into()), out),
                _ => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            let value = i64::try_from(value).map_err(|_| far())?;
            match kind {
                Kind::Int64 => varint::write(value as u64, out),
                Kind::Sint64 => varint::write(varint::zigzag(value), out),
                _ => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        Kind::Uint32 | Kind::Fixed32 => {
            let value = u32::try_from(value).map_err(|_| far())?;
            match kind {
                Kind::Uint32 => varint::write(value.into(), out),
                _ => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        _ => {
            let value = u64::try_from(value).map_err(|_| far())?;
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

fn written(out: &mut Vec<u8>, write: impl FnOnce(&mut String)) {
    let mut text = String::new();
    write(&mut text);
    bytes(text.as_bytes(), out);
}

/// Adds what is written, behind its length.
fn sized<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    write(out)?;
    let end = out.len();
    varint::write((end - start) as u64, out);
    // The length comes last, as it is known then.
    let length = out.len() - end;
    if let Some(written) = out.get_mut(start..) {
        written.rotate_right(length);
    }
    Ok(())
}

const OTHER: &str = "a column of another type than the sink was checked with";

fn other() -> io::Error {
    io::Error::other(OTHER)
}
