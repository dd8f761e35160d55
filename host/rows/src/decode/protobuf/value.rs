//! Values of fields, and how columns take them.

use super::descriptor::Kind;
use super::wire::{Raw, Wire};
use crate::batch::column::TimeUnit;
use crate::decode::varint::unzigzag;
use std::borrow::Cow;

/// How a column takes a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conversion {
    /// As the column's type.
    Value,
    /// Text that represents another value. Empty text is the zero of its field, which is null.
    NonEmpty,
    /// A number of this unit, as a time.
    Time(TimeUnit),
    /// A message that is an instant.
    Moment,
    /// A message as JSON.
    Json,
    /// An integer as a decimal.
    Decimal,
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Int(i64),
    Uint(u64),
    Float(f32),
    Double(f64),
    Bool(bool),
    Enum(usize, i32),
    Text(&'a str),
    Bytes(&'a [u8]),
    Message(usize, Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    /// Applies a later occurrence of the same field: messages are merged, for all else the last value wins. The concatenated bytes of two messages
    /// are those of the merged one.
    pub fn merge(&mut self, next: Value<'a>) -> Result<(), String> {
        match (self, next) {
            (Value::Message(_, bytes), Value::Message(_, more)) => {
                // Two incomplete messages must not become a valid one.
                if let Cow::Borrowed(first) = bytes {
                    Wire::new(first).check()?;
                }
                Wire::new(&more).check()?;
                bytes.to_mut().extend_from_slice(&more);
            }
            (value, next) => *value = next,
        }
        Ok(())
    }
}

/// Keeps the value of a field that may occur several times.
pub fn keep<'a>(kept: &mut Option<Value<'a>>, next: Value<'a>) -> Result<(), String> {
    match kept {
        Some(value) => value.merge(next),
        None => {
            *kept = Some(next);
            Ok(())
        }
    }
}

/// Returns the value of an absent field.
pub fn zero(kind: Kind) -> Value<'static> {
    match kind {
        Kind::Double => Value::Double(0.0),
        Kind::Float => Value::Float(0.0),
        Kind::Bool => Value::Bool(false),
        Kind::Text => Value::Text(""),
        Kind::Bytes => Value::Bytes(&[]),
        Kind::Enum(of) => Value::Enum(of, 0),
        Kind::Message(of) | Kind::Group(of) => Value::Message(of, Cow::Borrowed(&[])),
        _ => Value::Int(0),
    }
}

/// Returns the decoded value; `None` if it has another encoding and is skipped.
#[inline]
pub fn value(kind: Kind, raw: Raw<'_>) -> Result<Option<Value<'_>>, String> {
    Ok(Some(match (kind, raw) {
        (Kind::Int64, Raw::Varint(bits)) => Value::Int(bits as i64),
        (Kind::Int32, Raw::Varint(bits)) => Value::Int(i64::from(bits as i32)),
        (Kind::Uint64, Raw::Varint(bits)) => Value::Uint(bits),
        (Kind::Uint32, Raw::Varint(bits)) => Value::Int(i64::from(bits as u32)),
        (Kind::Sint64, Raw::Varint(bits)) => Value::Int(unzigzag(bits)),
        (Kind::Sint32, Raw::Varint(bits)) => Value::Int(i64::from(unzigzag(u64::from(bits as u32)) as i32)),
        (Kind::Bool, Raw::Varint(bits)) => Value::Bool(bits != 0),
        (Kind::Enum(of), Raw::Varint(bits)) => Value::Enum(of, bits as i32),
        (Kind::Double, Raw::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
        (Kind::Fixed64, Raw::Fixed64(bits)) => Value::Uint(bits),
        (Kind::Sfixed64, Raw::Fixed64(bits)) => Value::Int(bits as i64),
        (Kind::Float, Raw::Fixed32(bits)) => Value::Float(f32::from_bits(bits)),
        (Kind::Fixed32, Raw::Fixed32(bits)) => Value::Int(i64::from(bits)),
        (Kind::Sfixed32, Raw::Fixed32(bits)) => Value::Int(i64::from(bits as i32)),
        (Kind::Text, Raw::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes);
            Value::Text(text.map_err(|error| format!("text that is not UTF-8 at byte {}", error.valid_up_to()))?)
        }
        (Kind::Bytes, Raw::Bytes(bytes)) => Value::Bytes(bytes),
        (Kind::Message(of), Raw::Bytes(bytes)) | (Kind::Group(of), Raw::Group(bytes)) => {
            Value::Message(of, Cow::Borrowed(bytes))
        }
        _ => return Ok(None),
    }))
}

/// Calls `take` for all values of a list field: one, or several that are packed.
pub fn each<'a>(kind: Kind, raw: Raw<'a>, mut take: impl FnMut(Value<'a>) -> Result<(), String>) -> Result<(), String> {
    let packs = !matches!(kind, Kind::Text | Kind::Bytes | Kind::Message(_) | Kind::Group(_) | Kind::Unknown);
    let Raw::Bytes(bytes) = raw else { return value(kind, raw)?.map_or(Ok(()), take) };
    if !packs {
        return value(kind, raw)?.map_or(Ok(()), take);
    }
    let mut wire = Wire::new(bytes);
    while !wire.rest().is_empty() {
        let raw = match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Raw::Fixed64(wire.fixed64()?),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Raw::Fixed32(wire.fixed32()?),
            _ => Raw::Varint(wire.varint()?),
        };
        if let Some(value) = value(kind, raw)? {
            take(value)?;
        }
    }
    Ok(())
}

/// Returns key and value of an entry of a map. The key is text whatever its kind.
pub fn entry<'a>(key: Kind, of: Kind, bytes: &'a [u8]) -> Result<(Cow<'a, str>, Value<'a>), String> {
    let (mut found_key, mut found) = (None, None);
    let mut wire = Wire::new(bytes);
    while let Some((number, raw)) = wire.field()? {
        let (kept, kind) = match number {
            1 => (&mut found_key, key),
            2 => (&mut found, of),
            _ => continue,
        };
        if let Some(value) = value(kind, raw)? {
            keep(kept, value)?;
        }
    }
    let key = match found_key.unwrap_or_else(|| zero(key)) {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Uint(number) => Cow::Owned(number.to_string()),
        Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        // Compilers accept no other keys.
        _ => Cow::Borrowed(""),
    };
    Ok((key, found.unwrap_or_else(|| zero(of))))
}
