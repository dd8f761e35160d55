//! Values as the text of JSON: names as in the descriptor, enums by name, bytes as hexadecimal digits. For columns of text,
//! fields that are not written are left out; structs and lists get what these mean.

use super::DEPTH_MAX;
use super::descriptor::{Kind, Messages};
use super::plan::{Value, each, value, wrapped, zero};
use super::wire::{Raw, Wire, too_deep};
use crate::batch::cell;
use crate::decode::columns::NestedForm;
use chrono::{DateTime, SecondsFormat};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Writes a value.
pub fn write(
    messages: &Messages,
    value: Value<'_>,
    form: NestedForm,
    out: &mut String,
    depth: usize,
) -> Result<(), String> {
    match value {
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Uint(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) if number.is_finite() && form == NestedForm::Typed => {
            // The number that it is as a column of its own.
            cell::write_float(out, f64::from(number));
        }
        Value::Float(number) if number.is_finite() => out.push_str(&cell::float32_text(number)),
        Value::Double(number) if number.is_finite() => cell::write_float(out, number),
        // JSON has no numbers for these.
        Value::Float(number) => quoted(&cell::float32_text(number), out),
        Value::Double(number) => quoted(&cell::float_text(number), out),
        Value::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Value::Enum(of, number) => match messages.symbol(of, number) {
            Some(symbol) => quoted(symbol, out),
            None => {
                let _ = write!(out, "{number}");
            }
        },
        Value::Text(text) => quoted(text, out),
        Value::Bytes(bytes) => quoted(&crate::hex::encode(bytes), out),
        Value::Message(of, bytes) => message(messages, of, bytes, form, out, depth)?,
    }
    Ok(())
}

fn message(
    messages: &Messages,
    of: usize,
    bytes: &[u8],
    form: NestedForm,
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
    if message.name == "google.protobuf.Timestamp" {
        quoted(&moment_text(moment(bytes)?), out);
        return Ok(());
    }
    if form == NestedForm::Typed && wrapped(messages, Kind::Message(of)) {
        let kind = message.fields.iter().find(|field| field.number == 1).map_or(Kind::Unknown, |field| field.kind);
        let (mut found, mut wire) = (zero(kind), Wire::new(bytes));
        while let Some((number, raw)) = wire.field()? {
            found = value(kind, raw)?.filter(|_| number == 1).unwrap_or(found);
        }
        return write(messages, found, form, out, depth + 1);
    }
    // Fields in the order of their descriptor, whatever order they are written in.
    let mut texts: BTreeMap<usize, String> = BTreeMap::new();
    if form == NestedForm::Typed {
        for (place, field) in message.fields.iter().enumerate() {
            let mut text = String::new();
            let is_message = matches!(field.kind, Kind::Message(_) | Kind::Unknown);
            if field.implicit && !field.repeated && !is_message {
                write(messages, zero(field.kind), form, &mut text, depth + 1)?;
            } else if !field.repeated {
                continue;
            }
            texts.insert(place, text);
        }
    }
    let mut wire = Wire::new(bytes);
    while let Some((number, raw)) = wire.field()? {
        let found = message.fields.iter().enumerate().find(|(_, field)| field.number == number);
        let Some((place, field)) = found else { continue };
        if !field.repeated {
            let Some(value) = value(field.kind, raw)? else { continue };
            let mut text = String::new();
            write(messages, value, form, &mut text, depth + 1)?;
            if field.oneof.is_some() {
                texts.retain(|place, _| message.fields.get(*place).is_none_or(|other| other.oneof != field.oneof));
            }
            texts.insert(place, text);
            continue;
        }
        let entry = match field.kind {
            Kind::Message(of) => messages.message(of).filter(|message| message.is_entry),
            _ => None,
        };
        let kind_of = |number| {
            let fields = entry.map_or(&[][..], |message| &message.fields);
            fields.iter().find(|field| field.number == number).map_or(Kind::Unknown, |field| field.kind)
        };
        let text = texts.entry(place).or_default();
        each(field.kind, raw, |value| {
            if !text.is_empty() {
                text.push(',');
            }
            if let (Some(_), Value::Message(_, bytes)) = (entry, value) {
                let (key, value) = pair(kind_of(1), kind_of(2), bytes)?;
                match key {
                    Value::Text(key) => quoted(key, text),
                    key => {
                        text.push('"');
                        write(messages, key, form, text, depth + 1)?;
                        text.push('"');
                    }
                }
                text.push(':');
                return write(messages, value, form, text, depth + 1);
            }
            write(messages, value, form, text, depth + 1)
        })?;
    }
    out.push('{');
    for (count, (place, text)) in texts.into_iter().enumerate() {
        let Some(field) = message.fields.get(place) else { continue };
        if count > 0 {
            out.push(',');
        }
        quoted(&field.name, out);
        out.push(':');
        let is_map =
            matches!(field.kind, Kind::Message(of) if messages.message(of).is_some_and(|message| message.is_entry));
        match (field.repeated, is_map) {
            (false, _) => out.push_str(&text),
            (true, false) => {
                let _ = write!(out, "[{text}]");
            }
            (true, true) => {
                let _ = write!(out, "{{{text}}}");
            }
        }
    }
    out.push('}');
    Ok(())
}

/// Key and value of a pair of a map.
pub fn pair<'a>(key: Kind, of: Kind, bytes: &'a [u8]) -> Result<(Value<'a>, Value<'a>), String> {
    let nothing = |kind| match kind {
        Kind::Message(of) => Value::Message(of, &[]),
        kind => zero(kind),
    };
    let (mut found_key, mut found) = (nothing(key), nothing(of));
    let mut wire = Wire::new(bytes);
    while let Some((number, raw)) = wire.field()? {
        match number {
            1 => found_key = value(key, raw)?.unwrap_or(found_key),
            2 => found = value(of, raw)?.unwrap_or(found),
            _ => {}
        }
    }
    Ok((found_key, found))
}

/// Microseconds since 1970 of a `google.protobuf.Timestamp`.
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
    let us = seconds.checked_mul(1_000_000).and_then(|us| us.checked_add(i64::from(nanos.div_euclid(1_000))));
    us.ok_or_else(|| format!("{seconds} seconds is out of range of timestamp"))
}

/// A time as RFC 3339 has it.
pub fn moment_text(us: i64) -> String {
    let time = DateTime::from_timestamp_micros(us);
    time.map_or_else(|| us.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// Text as JSON has it.
pub fn quoted(text: &str, out: &mut String) {
    // Writing text into a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
