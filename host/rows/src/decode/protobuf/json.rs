//! Writes values as JSON text: names as in the descriptor, content in the needed form. JSON text omits absent fields; structs get their default
//! values.

use super::descriptor::{Field, Kind, Message, Messages};
use super::plan::{TIMESTAMP, wrapped};
use super::value::{Value, each, entry, value, zero};
use super::wire::{DEPTH_MAX, Raw, Wire, too_deep};
use crate::batch::cell;
use crate::decode::json_text::{JsonList, JsonMap, quoted};
use crate::decode::wanted::TargetType;
use arrow::datatypes::DataType;
use chrono::{DateTime, Datelike, SecondsFormat};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Maximum size of one value and those around it: messages without a value in them take no bytes, but their text does. Each enclosing message has
/// its own text, so deeper ones have less.
const JSON_BYTES_MAX: usize = 128 << 20;

/// Writes a value.
pub fn write(
    messages: &Messages,
    value: &Value<'_>,
    wanted: TargetType<'_>,
    out: &mut String,
    depth: usize,
) -> Result<(), String> {
    let bytes_max = JSON_BYTES_MAX / (depth + 1);
    if out.len() > bytes_max {
        return Err(format!("more than {bytes_max} bytes as JSON"));
    }
    match value {
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Uint(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => wanted.float32(*number, out),
        Value::Double(number) => wanted.float64(*number, out),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Enum(of, number) => {
            let symbol = messages.symbol(*of, *number).filter(|_| !wanted.is(&DataType::Int64));
            match symbol {
                Some(symbol) => wanted.symbol(symbol, out)?,
                None => {
                    let _ = write!(out, "{number}");
                }
            }
        }
        Value::Text(text) => wanted.text(text, out),
        Value::Bytes(bytes) => wanted.bytes(bytes, out)?,
        Value::Message(of, bytes) => message(messages, *of, bytes, wanted, out, depth)?,
    }
    Ok(())
}

/// What was read of a field so far.
enum FieldText<'a> {
    /// Its value, which later ones replace or are merged with.
    One(Value<'a>),
    List(JsonList),
    Map(JsonMap<'a>),
}

fn message(
    messages: &Messages,
    of: usize,
    bytes: &[u8],
    wanted: TargetType<'_>,
    out: &mut String,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let Some(message) = messages.message(of) else {
        out.push_str("null");
        return Ok(());
    };
    if message.name == TIMESTAMP {
        quoted(&moment_text(moment(bytes)?), out);
        return Ok(());
    }
    if !wanted.is_in_text() && wrapped(messages, Kind::Message(of)) {
        let kind = message.fields.iter().find(|field| field.number == 1).map_or(Kind::Unknown, |field| field.kind);
        let (mut found, mut wire) = (zero(kind), Wire::new(bytes));
        while let Some((number, raw)) = wire.field()? {
            found = value(kind, raw)?.filter(|_| number == 1).unwrap_or(found);
        }
        if is_nothing(&found, wanted) {
            out.push_str("null");
            return Ok(());
        }
        return write(messages, &found, wanted, out, depth + 1);
    }
    // Fields in the order of their descriptor, whatever their order in the message.
    let mut found: BTreeMap<usize, FieldText<'_>> = BTreeMap::new();
    let mut wire = Wire::new(bytes);
    while let Some((number, raw)) = wire.field()? {
        let field = message.fields.iter().enumerate().find(|(_, field)| field.number == number);
        let Some((index, field)) = field else { continue };
        read(messages, message, (index, field), raw, &mut found, (wanted, depth))?;
    }
    if wanted.is_struct() {
        add_zeros(messages, message, &mut found);
    }
    out.push('{');
    let begin = out.len();
    for (index, text) in found {
        let Some(field) = message.fields.get(index) else { continue };
        let Some(wanted) = wanted.member(&field.name) else { continue };
        if out.len() > begin {
            out.push(',');
        }
        quoted(&field.name, out);
        out.push(':');
        match text {
            FieldText::One(value) if field.implicit && is_nothing(&value, wanted) => out.push_str("null"),
            FieldText::One(value) => write(messages, &value, wanted, out, depth + 1)?,
            FieldText::List(list) => out.push_str(&list.finish()),
            FieldText::Map(map) => out.push_str(&map.finish()),
        }
    }
    out.push('}');
    Ok(())
}

/// Returns whether a value is the zero of its field and therefore null in the needed form.
fn is_nothing(value: &Value<'_>, wanted: TargetType<'_>) -> bool {
    *value == Value::Text("") && !wanted.accepts_empty_text()
}

/// Adds a field of a message to what was read of it before.
fn read<'a>(
    messages: &Messages,
    message: &Message,
    (index, field): (usize, &Field),
    raw: Raw<'a>,
    found: &mut BTreeMap<usize, FieldText<'a>>,
    (wanted, depth): (TargetType<'_>, usize),
) -> Result<(), String> {
    let wanted = wanted.member(&field.name);
    // The fields of a oneof clear the others even if no column needs them.
    if wanted.is_none() && field.oneof.is_none() {
        return Ok(());
    }
    if !field.repeated {
        let Some(value) = value(field.kind, raw)? else { return Ok(()) };
        if field.oneof.is_some() {
            let is_other = |at: usize, other: &Field| at != index && other.oneof == field.oneof;
            found.retain(|at, _| !message.fields.get(*at).is_some_and(|other| is_other(*at, other)));
        }
        return match found.get_mut(&index) {
            Some(FieldText::One(before)) => before.merge(value),
            _ => {
                found.insert(index, FieldText::One(value));
                Ok(())
            }
        };
    }
    let Some(wanted) = wanted else { return Ok(()) };
    if let Some((key, of)) = entry_of(messages, field) {
        let Raw::Bytes(bytes) = raw else { return Ok(()) };
        let (key, value) = entry(key, of, bytes)?;
        let map = found.entry(index).or_insert_with(|| FieldText::Map(JsonMap::default()));
        let (FieldText::Map(map), Some(wanted)) = (map, wanted.member(&key)) else { return Ok(()) };
        return map.push(key, |out| write(messages, &value, wanted, out, depth + 1));
    }
    let list = found.entry(index).or_insert_with(|| FieldText::List(JsonList::default()));
    let FieldText::List(list) = list else { return Ok(()) };
    each(field.kind, raw, |value| list.push(|out| write(messages, &value, wanted.item(), out, depth + 1)))
}

/// Adds the default values of absent fields.
fn add_zeros(messages: &Messages, message: &Message, found: &mut BTreeMap<usize, FieldText<'_>>) {
    for (index, field) in message.fields.iter().enumerate() {
        let is_message = matches!(field.kind, Kind::Message(_) | Kind::Group(_) | Kind::Unknown);
        let nothing = match field.repeated {
            true if entry_of(messages, field).is_some() => FieldText::Map(JsonMap::default()),
            true => FieldText::List(JsonList::default()),
            false if field.implicit && !is_message => FieldText::One(zero(field.kind)),
            false => continue,
        };
        found.entry(index).or_insert(nothing);
    }
}

/// Returns the kinds of key and value if a field is a map.
fn entry_of(messages: &Messages, field: &Field) -> Option<(Kind, Kind)> {
    let Kind::Message(of) = field.kind else { return None };
    messages.message(of)?.entry()
}

/// Returns a `google.protobuf.Timestamp` as microseconds since 1970.
pub fn moment(bytes: &[u8]) -> Result<i64, String> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    let mut wire = Wire::new(bytes);
    while let Some((number, raw)) = wire.field()? {
        match (number, raw) {
            (1, Raw::Varint(bits)) => seconds = bits as i64,
            (2, Raw::Varint(bits)) => nanos = bits as i32,
            _ => {}
        }
    }
    let us = i128::from(seconds) * 1_000_000 + i128::from(nanos.div_euclid(1_000));
    i64::try_from(us).map_err(|_| format!("{seconds} seconds is out of range of timestamp"))
}

/// Returns a time in RFC 3339; years outside of it as sinks write them.
pub fn moment_text(us: i64) -> String {
    match DateTime::from_timestamp_micros(us) {
        Some(time) if (0..=9999).contains(&time.year()) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        _ => {
            let mut text = String::new();
            cell::write_rfc3339(&mut text, us);
            text
        }
    }
}
