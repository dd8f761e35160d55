//! Reads a message by its plan.
//!
//! A field may occur several times. A list continues, for a map the last value of each key wins, and messages are merged. For all else the last
//! value wins, also within a oneof. What a later field may still change is kept until the end of the message.

use super::descriptor::Messages;
use super::json;
use super::plan::{FieldPlan, FieldShape, MessagePlan, NestedText, ValuePlan};
use super::value::{Conversion, Value, each, entry, keep, value, zero};
use super::wire::{DEPTH_MAX, Raw, Wire, too_deep};
use crate::batch::cell;
use crate::batch::times::micros;
use crate::decode::columns::ColumnBuilders;
use crate::decode::json_text::{JsonList, JsonMap};
use crate::decode::written_value::WrittenValue;
use std::borrow::Cow;

/// The destination of a message's values.
struct Target<'m> {
    messages: &'m Messages,
    columns: &'m mut ColumnBuilders,
    depth: usize,
}

/// What was read of a message so far.
struct MessageState<'a> {
    /// Values of fields that later ones may change.
    slots: Vec<Option<Value<'a>>>,
    /// Lists and maps as JSON, in the order of the plan.
    strings: Vec<JsonItems<'a>>,
    /// Number of elements of each list so far.
    counts: Vec<usize>,
}

/// A list or a map as JSON.
enum JsonItems<'a> {
    List(JsonList),
    Map(JsonMap<'a>),
}

impl MessagePlan {
    /// Reads a message into the current row.
    pub fn run(
        &self,
        messages: &Messages,
        bytes: &[u8],
        columns: &mut ColumnBuilders,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let mut to = Target { messages, columns, depth };
        let strings = self.strings.iter().map(|text| match text.is_map {
            true => JsonItems::Map(JsonMap::default()),
            false => JsonItems::List(JsonList::default()),
        });
        let mut state =
            MessageState { slots: vec![None; self.slots], strings: strings.collect(), counts: vec![0; self.lists] };
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.field()? {
            if let Some(field) = self.field(number) {
                field.read(raw, &self.strings, &mut state, &mut to)?;
            }
        }
        self.fields.iter().try_for_each(|field| field.end(&mut state, &mut to))?;
        for (NestedText { column, .. }, items) in self.strings.iter().zip(state.strings) {
            let text = match items {
                JsonItems::List(list) => list.finish(),
                JsonItems::Map(map) => map.finish(),
            };
            to.columns.set_nested(*column, &text)?;
        }
        for (column, kind, into) in &self.zeros {
            if !to.columns.has(*column) {
                put(messages, &zero(*kind), *column, *into, to.columns)?;
            }
        }
        Ok(())
    }
}

impl FieldPlan {
    fn read<'a>(
        &self,
        raw: Raw<'a>,
        strings: &[NestedText],
        state: &mut MessageState<'a>,
        to: &mut Target<'_>,
    ) -> Result<(), String> {
        match &self.shape {
            FieldShape::Single { slot, plan } => {
                let Some(value) = value(self.kind, raw)? else { return Ok(()) };
                for other in &self.clears {
                    if let Some(other) = state.slots.get_mut(*other) {
                        *other = None;
                    }
                }
                match slot.and_then(|slot| state.slots.get_mut(slot)) {
                    Some(kept) => keep(kept, value),
                    None => plan.take(&value, to),
                }
            }
            FieldShape::List { list, strings: own, indexes } => each(self.kind, raw, |value| {
                let Some(count) = state.counts.get_mut(*list) else { return Ok(()) };
                let index = *count;
                *count += 1;
                for text in own {
                    let wanted = strings.get(*text).map(|text| to.columns.target_type(text.column).item());
                    if let (Some(wanted), Some(JsonItems::List(items))) = (wanted, state.strings.get_mut(*text)) {
                        items.push(|out| json::write(to.messages, &value, wanted, out, to.depth + 1))?;
                    }
                }
                indexes.get(&index).map_or(Ok(()), |plan| plan.take(&value, to))
            }),
            FieldShape::Map { key, value, strings: own, keys } => {
                let Raw::Bytes(bytes) = raw else { return Ok(()) };
                self.read_entry(entry(*key, *value, bytes)?, (strings, own), keys, state, to)
            }
        }
    }

    fn read_entry<'a>(
        &self,
        (key, value): (Cow<'a, str>, Value<'a>),
        (strings, own): (&[NestedText], &[usize]),
        keys: &[(String, usize, ValuePlan)],
        state: &mut MessageState<'a>,
        to: &mut Target<'_>,
    ) -> Result<(), String> {
        for text in own {
            let wanted = strings.get(*text).and_then(|text| to.columns.target_type(text.column).member(&key));
            if let (Some(wanted), Some(JsonItems::Map(map))) = (wanted, state.strings.get_mut(*text)) {
                map.push(key.clone(), |out| json::write(to.messages, &value, wanted, out, to.depth + 1))?;
            }
        }
        let wanted = keys.iter().find(|(name, ..)| *name == key).map(|(_, slot, _)| *slot);
        if let Some(kept) = wanted.and_then(|slot| state.slots.get_mut(slot)) {
            *kept = Some(value);
        }
        Ok(())
    }

    /// Stores what was kept until the end of the message.
    fn end(&self, state: &mut MessageState<'_>, to: &mut Target<'_>) -> Result<(), String> {
        let mut give = |slot: usize, plan: &ValuePlan| {
            let kept = state.slots.get_mut(slot).and_then(Option::take);
            kept.map_or(Ok(()), |value| plan.take(&value, to))
        };
        match &self.shape {
            FieldShape::Single { slot: Some(slot), plan } => give(*slot, plan),
            FieldShape::Map { keys, .. } => keys.iter().try_for_each(|(_, slot, plan)| give(*slot, plan)),
            FieldShape::Single { slot: None, .. } | FieldShape::List { .. } => Ok(()),
        }
    }
}

impl ValuePlan {
    fn take(&self, value: &Value<'_>, to: &mut Target<'_>) -> Result<(), String> {
        for (column, into) in &self.takes {
            put(to.messages, value, *column, *into, to.columns)?;
        }
        match (&self.inside, value) {
            (Some(plan), Value::Message(_, bytes)) => plan.run(to.messages, bytes, to.columns, to.depth + 1),
            _ => Ok(()),
        }
    }
}

/// Stores a value in a column.
fn put(
    messages: &Messages,
    value: &Value<'_>,
    column: usize,
    into: Conversion,
    columns: &mut ColumnBuilders,
) -> Result<(), String> {
    let far = |columns: &ColumnBuilders, number: &str| {
        format!("column `{}`: {number} is out of range of {}", columns.name(column), columns.type_name(column))
    };
    match (value, into) {
        (Value::Int(number), Conversion::Time(unit)) => {
            let us = micros(*number, unit).map_err(|_| far(columns, &number.to_string()))?;
            columns.set_int64(column, us);
        }
        (Value::Uint(number), Conversion::Time(unit)) => {
            let us = i64::try_from(*number).ok().and_then(|number| micros(number, unit).ok());
            let us = us.ok_or_else(|| far(columns, &number.to_string()))?;
            columns.set_int64(column, us);
        }
        (Value::Message(_, bytes), Conversion::Moment) => {
            let us = json::moment(bytes).map_err(|why| format!("column `{}`: {why}", columns.name(column)))?;
            match columns.is_text(column) {
                true => columns.set(column, WrittenValue::Text(&json::moment_text(us)))?,
                false => columns.set_int64(column, us),
            }
        }
        (Value::Message(..), _) => {
            let mut text = String::new();
            json::write(messages, value, columns.target_type(column), &mut text, 0)?;
            columns.set_nested(column, &text)?;
        }
        (Value::Int(number), Conversion::Decimal) => columns.set(column, WrittenValue::Number(&number.to_string()))?,
        (Value::Uint(number), Conversion::Decimal) => columns.set(column, WrittenValue::Number(&number.to_string()))?,
        (Value::Int(number), _) if columns.is_float64(column) => columns.set_float64(column, *number as f64),
        (Value::Uint(number), _) if columns.is_float64(column) => columns.set_float64(column, *number as f64),
        (Value::Int(number), _) if !columns.is_text(column) => columns.set_int64(column, *number),
        (Value::Uint(number), _) if !columns.is_text(column) => {
            let number = i64::try_from(*number).map_err(|_| far(columns, &number.to_string()))?;
            columns.set_int64(column, number);
        }
        (Value::Int(number), _) => columns.set(column, WrittenValue::Text(&number.to_string()))?,
        (Value::Uint(number), _) => columns.set(column, WrittenValue::Text(&number.to_string()))?,
        (Value::Double(number), _) if columns.is_float64(column) => columns.set_float64(column, *number),
        (Value::Float(number), _) if columns.is_float64(column) => columns.set_float64(column, f64::from(*number)),
        (Value::Double(number), _) => columns.set(column, WrittenValue::Text(&cell::float_text(*number)))?,
        (Value::Float(number), _) => columns.set(column, WrittenValue::Text(&cell::float32_text(*number)))?,
        (Value::Bool(value), _) => columns.set(column, WrittenValue::Bool(*value))?,
        (Value::Enum(of, number), _) if columns.is_text(column) => match messages.symbol(*of, *number) {
            Some(symbol) => columns.set(column, WrittenValue::Text(symbol))?,
            None => columns.set(column, WrittenValue::Text(&number.to_string()))?,
        },
        (Value::Enum(_, number), _) => columns.set_int64(column, i64::from(*number)),
        (Value::Text(""), Conversion::NonEmpty) => columns.unset(column),
        (Value::Text(text), _) => columns.set(column, WrittenValue::Text(text))?,
        (Value::Bytes(bytes), _) => {
            columns.unset(column);
            columns.set_bytes(column, bytes)?;
        }
    }
    Ok(())
}
