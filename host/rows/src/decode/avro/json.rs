//! Values of a record as JSON, for columns of text, structs and lists.

use super::cursor::{Cursor, each};
use super::schema::{DEPTH_MAX, Schema, Time, Type, TypeId, UUID_BYTES, branch, too_deep};
use crate::batch::cell;
use crate::batch::times::micros;
use crate::decode::json_text::{JsonMap, quoted};
use crate::decode::wanted::TargetType;
use arrow::datatypes::DataType;
use std::fmt::Write as _;

/// Maximum size of one value: records without a value in them take no bytes, but their text does.
const JSON_BYTES_MAX: usize = 64 << 20;

/// Writes a value as the column needs it; a value of a union is the value itself.
pub fn json(
    schema: &Schema,
    id: TypeId,
    cursor: &mut Cursor<'_>,
    wanted: TargetType<'_>,
    out: &mut String,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    if out.len() > JSON_BYTES_MAX {
        return Err(format!("more than {JSON_BYTES_MAX} bytes as JSON"));
    }
    match schema.get(id) {
        Type::Null => out.push_str("null"),
        Type::Bool => out.push_str(if cursor.bool()? { "true" } else { "false" }),
        Type::Long(time) => {
            let value = cursor.long()?;
            match time.filter(|_| wanted.is_time()) {
                Some(time) => moment(value, time, out)?,
                None => {
                    let _ = write!(out, "{value}");
                }
            }
        }
        Type::Float => wanted.float32(cursor.float()?, out),
        Type::Double => wanted.float64(cursor.double()?, out),
        Type::Text => wanted.text(cursor.text()?, out),
        Type::Enum(symbols) => {
            let number = cursor.long()?;
            let symbol = usize::try_from(number).ok().and_then(|number| symbols.get(number));
            let symbol = symbol.ok_or_else(|| format!("symbol {number} of an enum of {}", symbols.len()))?;
            wanted.symbol(symbol, out)?;
        }
        Type::Bytes(decimal) => bytes(cursor.sized()?, decimal.map(|decimal| decimal.scale), wanted, out)?,
        Type::Fixed(length, decimal) => {
            bytes(cursor.take(*length)?, decimal.map(|decimal| decimal.scale), wanted, out)?;
        }
        Type::Uuid => {
            let value = cursor.take(UUID_BYTES)?;
            match wanted.is(&DataType::Binary) {
                true => wanted.bytes(value, out)?,
                false => quoted(&cell::uuid(value), out),
            }
        }
        Type::Union(branches) => {
            let id = branch(branches, cursor)?;
            json(schema, id, cursor, wanted, out, depth + 1)?;
        }
        Type::Array(item) => {
            out.push('[');
            let begin = out.len();
            each(cursor, |cursor| {
                if out.len() > begin {
                    out.push(',');
                }
                json(schema, *item, cursor, wanted.item(), out, depth + 1)
            })?;
            out.push(']');
        }
        Type::Map(value) => {
            let mut map = JsonMap::default();
            each(cursor, |cursor| {
                let key = cursor.text()?;
                match wanted.member(key) {
                    Some(wanted) => map.push(key.into(), |out| json(schema, *value, cursor, wanted, out, depth + 1)),
                    None => schema.skip(*value, cursor, depth + 1),
                }
            })?;
            out.push_str(&map.finish());
        }
        Type::Record(fields) => {
            out.push('{');
            let begin = out.len();
            for (name, field) in fields {
                let Some(wanted) = wanted.member(name) else {
                    schema.skip(*field, cursor, depth + 1)?;
                    continue;
                };
                if out.len() > begin {
                    out.push(',');
                }
                quoted(name, out);
                out.push(':');
                json(schema, *field, cursor, wanted, out, depth + 1)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// Writes a time in the form that time columns read.
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

/// Writes bytes, which may be those of a decimal.
fn bytes(value: &[u8], scale: Option<u32>, wanted: TargetType<'_>, out: &mut String) -> Result<(), String> {
    match scale.filter(|_| !wanted.is(&DataType::Binary)) {
        Some(scale) => {
            out.push_str(&decimal_text(value, scale)?);
            Ok(())
        }
        None => wanted.bytes(value, out),
    }
}

/// Returns the text of a decimal: an integer in big-endian two's complement, with a decimal point.
pub fn decimal_text(bytes: &[u8], scale: u32) -> Result<String, String> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    // Leading bytes that only repeat the sign have no meaning.
    let (mut bytes, sign) = (bytes, if negative { 0xff } else { 0 });
    while let [first, rest @ ..] = bytes
        && *first == sign
        && rest.first().is_some_and(|second| (second & 0x80 != 0) == negative)
    {
        bytes = rest;
    }
    if bytes.len() > 16 || scale > 1_000 {
        return Err(format!("a decimal of {} bytes with scale {scale}; at most 16 bytes are read", bytes.len()));
    }
    let value = bytes.iter().fold(if negative { -1_i128 } else { 0 }, |value, byte| (value << 8) | i128::from(*byte));
    let digits = value.unsigned_abs().to_string();
    let scale = scale as usize;
    let digits =
        if digits.len() <= scale { format!("{}{digits}", "0".repeat(scale + 1 - digits.len())) } else { digits };
    let (integer, fraction) = digits.split_at(digits.len() - scale);
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{}{integer}{point}{fraction}", if negative { "-" } else { "" }))
}
