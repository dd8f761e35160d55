//! A value of a record as the text of JSON, for columns of text, structs and lists.

use super::cursor::Cursor;
use super::plan::{decimal_text, each};
use super::schema::{DEPTH_MAX, Schema, Time, Type, TypeId, UUID_BYTES, branch, too_deep};
use crate::batch::cell;
use crate::batch::times::micros;
use crate::decode::columns::NestedForm;
use crate::decode::json_text::{JsonMap, quoted};
use std::fmt::Write as _;

/// Bytes of one value: records without a value in them take none, and their text does.
const JSON_BYTES_MAX: usize = 64 << 20;

/// Writes a value. Bytes are hexadecimal digits, as sinks write them; a value of a union is the value itself.
pub fn json(
    schema: &Schema,
    id: TypeId,
    cursor: &mut Cursor<'_>,
    form: NestedForm,
    out: &mut String,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    if out.len() > JSON_BYTES_MAX {
        return Err(format!("more than {JSON_BYTES_MAX} bytes as JSON"));
    }
    match schema.of(id) {
        Type::Null => out.push_str("null"),
        Type::Bool => out.push_str(if cursor.bool()? { "true" } else { "false" }),
        Type::Long(time) => {
            let value = cursor.long()?;
            match time.filter(|_| form == NestedForm::Typed) {
                Some(time) => moment(value, time, out)?,
                None => {
                    let _ = write!(out, "{value}");
                }
            }
        }
        Type::Float => {
            let value = cursor.float()?;
            let wide = f64::from(value);
            // A number is the one that it is as a column of its own; a text has the digits that somebody wrote.
            let digits = if form == NestedForm::Typed { cell::float_text(wide) } else { cell::float32_text(value) };
            float(wide, &digits, out);
        }
        Type::Double => {
            let value = cursor.double()?;
            float(value, &cell::float_text(value), out);
        }
        Type::Text => quoted(cursor.text()?, out),
        Type::Enum(symbols) => {
            let number = cursor.long()?;
            let symbol = usize::try_from(number).ok().and_then(|number| symbols.get(number));
            quoted(symbol.ok_or_else(|| format!("symbol {number} of an enum of {}", symbols.len()))?, out);
        }
        Type::Bytes(decimal) => bytes(cursor.sized()?, decimal.map(|decimal| decimal.scale), out)?,
        Type::Fixed(length, decimal) => bytes(cursor.take(*length)?, decimal.map(|decimal| decimal.scale), out)?,
        Type::Uuid => quoted(&cell::uuid(cursor.take(UUID_BYTES)?), out),
        Type::Union(branches) => {
            let id = branch(branches, cursor)?;
            json(schema, id, cursor, form, out, depth + 1)?;
        }
        Type::Array(item) => {
            out.push('[');
            let begin = out.len();
            each(cursor, |cursor| {
                if out.len() > begin {
                    out.push(',');
                }
                json(schema, *item, cursor, form, out, depth + 1)
            })?;
            out.push(']');
        }
        Type::Map(value) => {
            let mut map = JsonMap::default();
            each(cursor, |cursor| {
                let key = cursor.text()?.into();
                map.push(key, |out| json(schema, *value, cursor, form, out, depth + 1))
            })?;
            out.push_str(&map.finish());
        }
        Type::Record(fields) => {
            out.push('{');
            for (place, (name, field)) in fields.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                quoted(name, out);
                out.push(':');
                json(schema, *field, cursor, form, out, depth + 1)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// A time as columns of times read it.
fn moment(value: i64, time: Time, out: &mut String) -> Result<(), String> {
    let far = || format!("{value} is out of range of times");
    out.push('"');
    match time {
        Time::Days => cell::write_date(out, i32::try_from(value).map_err(|_| far())?),
        Time::Of(unit) | Time::Local(unit) => cell::write_rfc3339(out, micros(value, unit).map_err(|_| far())?),
    }
    out.push('"');
    Ok(())
}

/// JSON has no numbers for infinities and NaN: they are texts.
fn float(value: f64, text: &str, out: &mut String) {
    match value.is_finite() {
        true => out.push_str(text),
        false => quoted(text, out),
    }
}

fn bytes(value: &[u8], scale: Option<u32>, out: &mut String) -> Result<(), String> {
    match scale {
        Some(scale) => out.push_str(&decimal_text(value, scale)?),
        None => quoted(&crate::hex::encode(value), out),
    }
    Ok(())
}
