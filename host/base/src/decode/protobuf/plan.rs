//! What becomes of each field of a message: which columns take it, and how. A descriptor is resolved against the columns once.

use super::DEPTH_MAX;
use super::descriptor::{Field, Kind, Message, Messages};
use super::json;
use super::wire::{Raw, Wire, too_deep};
use crate::batch::cell;
use crate::batch::times::micros;
use crate::batch::types::ColumnType;
use crate::decode::columns::{ColumnBuilders, WrittenValue};
use crate::decode::varint::unzigzag;
use crate::job::spec::{ColumnSpec, TimeForm, TimeUnit};
use arrow::datatypes::DataType;
use hashbrown::HashMap;

/// The message that stands for a moment.
pub const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// Messages that stand for a value that may be missing.
const WRAPPERS: [&str; 9] = ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"];

/// What becomes of a message.
#[derive(Debug, Default)]
pub struct MessagePlan {
    /// By numbers of fields; what is not here is passed over.
    fields: HashMap<u32, FieldPlan>,
    /// Columns whose field has its zero where it is not written.
    zeros: Vec<(usize, Kind)>,
    /// Columns of lists and maps, as text; they are there also where nothing is in them.
    lists: Vec<(usize, bool)>,
    wrong: Vec<(usize, String)>,
}

#[derive(Debug)]
struct FieldPlan {
    kind: Kind,
    repeated: bool,
    /// Columns that take the value, and how.
    takes: Vec<(usize, Conversion)>,
    /// Columns that take what is in the message.
    inside: Option<Box<MessagePlan>>,
    /// Elements of a list by their places.
    places: Vec<(usize, FieldPlan)>,
    /// Values of a map by their keys, and the kind of these.
    keys: Vec<(String, FieldPlan)>,
    entry: Option<(Kind, Kind)>,
    /// Lists that the value is one of.
    lists: Vec<usize>,
    /// Columns of other fields, of which only one has a value.
    clears: Vec<usize>,
}

/// How a column takes a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Conversion {
    /// As the column's type has it.
    Value,
    /// A number of this unit.
    Time(TimeUnit),
    /// A message that is a moment.
    Moment,
    /// A message as JSON.
    Json,
    /// A whole number as a decimal.
    Decimal,
}

/// A value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Int(i64),
    Uint(u64),
    Float(f32),
    Double(f64),
    Bool(bool),
    Enum(usize, i32),
    Text(&'a str),
    Bytes(&'a [u8]),
    Message(usize, &'a [u8]),
}

/// A column, and the rest of the path to its value.
type Target<'a> = (usize, &'a ColumnSpec, &'a [String]);

impl MessagePlan {
    /// The plan of a message.
    pub fn of(messages: &Messages, message: usize, columns: &[ColumnSpec]) -> MessagePlan {
        let targets: Vec<Target<'_>> =
            columns.iter().enumerate().map(|(place, column)| (place, column, column.place())).collect();
        plan(messages, message, &targets, 0)
    }

    /// What no message has for a column, or has as something that the column cannot take.
    pub fn mistakes(&self, columns: &[ColumnSpec]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.gather(&mut found);
        found.sort_by_key(|(place, _)| *place);
        let name = |(place, why): (usize, String)| (columns.get(place).map_or("", |c| &c.name).to_owned(), why);
        found.into_iter().map(name).collect()
    }

    fn gather(&self, found: &mut Vec<(usize, String)>) {
        found.extend(self.wrong.iter().cloned());
        self.fields.values().for_each(|field| field.gather(found));
    }

    /// Reads a message into the row at hand.
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
        for (column, kind) in &self.zeros {
            if !columns.has(*column) {
                put(messages, zero(*kind), *column, Conversion::Value, columns)?;
            }
        }
        let mut lists: HashMap<usize, String> = self.lists.iter().map(|(column, _)| (*column, String::new())).collect();
        let mut counts: HashMap<u32, usize> = HashMap::new();
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.field()? {
            let Some(plan) = self.fields.get(&number) else { continue };
            plan.clears.iter().for_each(|column| columns.unset(*column));
            if !plan.repeated {
                if let Some(value) = value(plan.kind, raw)? {
                    plan.take(messages, value, columns, depth)?;
                }
                continue;
            }
            let at = counts.entry(number).or_default();
            each(plan.kind, raw, |value| {
                let place = *at;
                *at += 1;
                plan.element(messages, value, place, &mut lists, columns, depth)
            })?;
        }
        for (column, is_map) in &self.lists {
            let inner = lists.remove(column).unwrap_or_default();
            let text = if *is_map { format!("{{{inner}}}") } else { format!("[{inner}]") };
            columns.set_nested(*column, &text)?;
        }
        Ok(())
    }

    /// All columns that take something of it.
    fn below(&self) -> Vec<usize> {
        let lists = self.lists.iter().map(|(column, _)| *column);
        lists.chain(self.fields.values().flat_map(FieldPlan::below)).collect()
    }
}

impl FieldPlan {
    fn new(field: &Field) -> FieldPlan {
        FieldPlan {
            kind: field.kind,
            repeated: field.repeated,
            takes: Vec::new(),
            inside: None,
            places: Vec::new(),
            keys: Vec::new(),
            entry: None,
            lists: Vec::new(),
            clears: Vec::new(),
        }
    }

    fn below(&self) -> Vec<usize> {
        let own = self.takes.iter().map(|(column, _)| *column).chain(self.lists.iter().copied());
        let inside = self.inside.iter().flat_map(|plan| plan.below());
        let parts = self.places.iter().map(|(_, plan)| plan).chain(self.keys.iter().map(|(_, plan)| plan));
        own.chain(inside).chain(parts.flat_map(FieldPlan::below)).collect()
    }

    fn gather(&self, found: &mut Vec<(usize, String)>) {
        self.inside.iter().for_each(|plan| plan.gather(found));
        self.places.iter().for_each(|(_, plan)| plan.gather(found));
        self.keys.iter().for_each(|(_, plan)| plan.gather(found));
    }

    fn take(
        &self,
        messages: &Messages,
        value: Value<'_>,
        columns: &mut ColumnBuilders,
        depth: usize,
    ) -> Result<(), String> {
        for (column, into) in &self.takes {
            put(messages, value, *column, *into, columns)?;
        }
        if let (Some(plan), Value::Message(_, bytes)) = (&self.inside, value) {
            plan.run(messages, bytes, columns, depth + 1)?;
        }
        Ok(())
    }

    /// One of a list, or a pair of a map.
    fn element(
        &self,
        messages: &Messages,
        value: Value<'_>,
        place: usize,
        lists: &mut HashMap<usize, String>,
        columns: &mut ColumnBuilders,
        depth: usize,
    ) -> Result<(), String> {
        if let (Some((key_kind, value_kind)), Value::Message(_, bytes)) = (self.entry, value) {
            let (key, value) = json::pair(key_kind, value_kind, bytes)?;
            let key = key_text(key);
            for list in &self.lists {
                let Some(text) = lists.get_mut(list) else { continue };
                if !text.is_empty() {
                    text.push(',');
                }
                json::quoted(&key, text);
                text.push(':');
                json::write(messages, value, columns.nested_form(*list), text, depth + 1)?;
            }
            let found = self.keys.iter().find(|(name, _)| *name == key);
            return found.map_or(Ok(()), |(_, plan)| plan.take(messages, value, columns, depth));
        }
        for list in &self.lists {
            let Some(text) = lists.get_mut(list) else { continue };
            if !text.is_empty() {
                text.push(',');
            }
            json::write(messages, value, columns.nested_form(*list), text, depth + 1)?;
        }
        let found = self.places.iter().find(|(at, _)| *at == place);
        found.map_or(Ok(()), |(_, plan)| plan.take(messages, value, columns, depth))
    }
}

fn key_text(key: Value<'_>) -> String {
    match key {
        Value::Text(text) => text.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => String::new(),
    }
}

fn plan(messages: &Messages, message: usize, targets: &[Target<'_>], depth: usize) -> MessagePlan {
    let mut made = MessagePlan::default();
    let none = Message::default();
    let message = messages.message(message).unwrap_or(&none);
    let mut groups: HashMap<u32, Vec<u32>> = HashMap::new();
    for target in targets.iter().filter(|(_, _, rest)| !rest.is_empty() || depth == 0) {
        let name = target.2.first().map_or("", String::as_str);
        if !message.fields.iter().any(|field| field.name == name) {
            made.wrong.push((target.0, format!("message `{}` has no field `{name}`", message.name)));
        }
    }
    for field in &message.fields {
        let below: Vec<Target<'_>> = targets
            .iter()
            .filter(|(_, _, rest)| rest.first().is_some_and(|first| *first == field.name))
            .map(|(place, column, rest)| (*place, *column, rest.get(1..).unwrap_or_default()))
            .collect();
        if let Some(of) = field.oneof {
            groups.entry(of).or_default().push(field.number);
        }
        // The fields of a group need a plan also where no column takes them, as they clear the others.
        if below.is_empty() && field.oneof.is_none() {
            continue;
        }
        let planned = of_field(messages, field, &below, &mut made, depth);
        made.fields.insert(field.number, planned);
    }
    for numbers in groups.values() {
        for number in numbers {
            let others = numbers.iter().filter(|other| *other != number);
            let clears = others.filter_map(|other| made.fields.get(other)).flat_map(FieldPlan::below).collect();
            if let Some(field) = made.fields.get_mut(number) {
                field.clears = clears;
            }
        }
    }
    made
}

fn of_field(
    messages: &Messages,
    field: &Field,
    targets: &[Target<'_>],
    made: &mut MessagePlan,
    depth: usize,
) -> FieldPlan {
    let mut planned = FieldPlan::new(field);
    let (own, deeper): (Vec<Target<'_>>, Vec<Target<'_>>) =
        targets.iter().copied().partition(|(_, _, rest)| rest.is_empty());
    if !field.repeated {
        of_value(messages, field, field.kind, &own, &deeper, &mut planned, made, depth);
        if field.implicit {
            // No text is no number and no time: what is not there is null then.
            let has_zero = |place: &usize| {
                let kind = own.iter().find(|(own, ..)| own == place).map(|(_, column, _)| &column.kind);
                field.kind != Kind::Text || matches!(kind, Some(ColumnType::Text | ColumnType::Binary))
            };
            let zeros = planned.takes.iter().map(|(column, _)| *column).filter(has_zero);
            made.zeros.extend(zeros.map(|column| (column, field.kind)));
        }
        return planned;
    }
    let entry = match field.kind {
        Kind::Message(of) => messages.message(of).filter(|message| message.is_entry),
        _ => None,
    };
    let kind_of = |message: &Message, number| {
        message.fields.iter().find(|field| field.number == number).map_or(Kind::Unknown, |field| field.kind)
    };
    planned.entry = entry.map(|message| (kind_of(message, 1), kind_of(message, 2)));
    for (place, column, _) in own {
        let takes_all = match &column.kind {
            ColumnType::Arrow(DataType::Struct(_)) => entry.is_some(),
            ColumnType::Arrow(DataType::List(_)) => entry.is_none(),
            kind => *kind == ColumnType::Text,
        };
        if takes_all {
            planned.lists.push(place);
            made.lists.push((place, entry.is_some()));
        } else {
            let what = if entry.is_some() { "a map" } else { "a list" };
            let example = if entry.is_some() { "key" } else { "0" };
            made.wrong.push((place, format!(
                "column `{}` is {}, and field `{}` is {what}; write path = \"{}.{example}\" for one of its values, or a column of \
                 text, which takes all as JSON",
                column.name, column.type_word(), field.name, field.name
            )));
        }
    }
    let value_kind = planned.entry.map_or(field.kind, |(_, value)| value);
    for (place, column, rest) in deeper {
        let name = rest.first().cloned().unwrap_or_default();
        let target = [(place, column, rest.get(1..).unwrap_or_default())];
        let (own, deeper): (Vec<Target<'_>>, Vec<Target<'_>>) =
            target.iter().copied().partition(|(_, _, rest)| rest.is_empty());
        let mut inner = FieldPlan { kind: value_kind, repeated: false, ..FieldPlan::new(field) };
        of_value(messages, field, value_kind, &own, &deeper, &mut inner, made, depth);
        match (planned.entry, name.parse::<usize>()) {
            (Some(_), _) => planned.keys.push((name, inner)),
            (None, Ok(at)) => planned.places.push((at, inner)),
            (None, Err(_)) => made.wrong.push((
                place,
                format!(
                    "column `{}`: field `{}` is a list; write the place of an element, as path = \"{}.0.{name}\"",
                    column.name, field.name, field.name
                ),
            )),
        }
    }
    planned
}

/// The plan of a value that is no list.
#[expect(clippy::too_many_arguments, reason = "what is planned, and where it goes")]
fn of_value(
    messages: &Messages,
    field: &Field,
    kind: Kind,
    own: &[Target<'_>],
    deeper: &[Target<'_>],
    planned: &mut FieldPlan,
    made: &mut MessagePlan,
    depth: usize,
) {
    let wrapped = wrapped(messages, kind);
    let value = "value".to_owned();
    let mut inside: Vec<Target<'_>> = deeper.to_vec();
    for (place, column, rest) in own {
        match (into(messages, kind, column), wrapped) {
            (Ok(Conversion::Json), true) | (Err(_), true) => {
                inside.push((*place, *column, std::slice::from_ref(&value)))
            }
            (Ok(into), _) => planned.takes.push((*place, into)),
            (Err(what), _) => made.wrong.push((
                *place,
                format!("column `{}` is {}, and field `{}` is {what}", column.name, column.type_word(), field.name),
            )),
        }
        let _ = rest;
    }
    if inside.is_empty() {
        return;
    }
    match kind {
        // A message may hold itself, but a path ends.
        Kind::Message(of) => planned.inside = Some(Box::new(plan(messages, of, &inside, depth + 1))),
        _ => {
            for (place, column, _) in inside {
                made.wrong.push((
                    place,
                    format!("column `{}`: field `{}` is no message, and its path goes on", column.name, field.name),
                ));
            }
        }
    }
}

/// Whether a message only says whether a value is there.
pub fn wrapped(messages: &Messages, kind: Kind) -> bool {
    let Kind::Message(of) = kind else { return false };
    let name = messages.message(of).and_then(|message| message.name.strip_prefix("google.protobuf."));
    name.and_then(|name| name.strip_suffix("Value")).is_some_and(|name| WRAPPERS.contains(&name))
}

/// How a column takes values of a kind; the error says what they are.
fn into(messages: &Messages, kind: Kind, column: &ColumnSpec) -> Result<Conversion, String> {
    use ColumnType::{Arrow, Binary, Bool, Float64, Int64, Text, Timestamp};
    let is_moment = |of: usize| messages.message(of).is_some_and(|message| message.name == TIMESTAMP);
    Ok(match (&column.kind, kind) {
        (_, Kind::Unknown) => return Err("a group, or of a type that the descriptor does not define".into()),
        (Timestamp | Text, Kind::Message(of)) if is_moment(of) => Conversion::Moment,
        (Text | Arrow(DataType::Struct(_)), Kind::Message(_)) => Conversion::Json,
        (_, Kind::Message(_)) => return Err("a message".into()),
        (Text, _) => Conversion::Value,
        (Bool, Kind::Bool) => Conversion::Value,
        (Float64, Kind::Double | Kind::Float) => Conversion::Value,
        (Int64, Kind::Enum(_)) => Conversion::Value,
        (Binary, Kind::Bytes | Kind::Text) => Conversion::Value,
        (Timestamp | Arrow(DataType::Date32 | DataType::Decimal128(..)), Kind::Text) => Conversion::Value,
        (_, Kind::Bool) => return Err("a bool".into()),
        (_, Kind::Double | Kind::Float) => return Err("a floating-point number".into()),
        (_, Kind::Enum(_)) => return Err("an enum".into()),
        (_, Kind::Bytes) => return Err("bytes".into()),
        (_, Kind::Text) => return Err("text".into()),
        (Int64 | Float64, _) => Conversion::Value,
        (Arrow(DataType::Decimal128(..)), _) => Conversion::Decimal,
        (Timestamp, _) => match &column.form {
            TimeForm::Number(unit) => Conversion::Time(*unit),
            _ => {
                return Err(
                    "a number, of which nothing says the unit; write timestamp(ms), or (s), (us) or (ns)".into()
                );
            }
        },
        _ => return Err("a whole number".into()),
    })
}

/// What a field has where it is not written.
pub fn zero(kind: Kind) -> Value<'static> {
    match kind {
        Kind::Double => Value::Double(0.0),
        Kind::Float => Value::Float(0.0),
        Kind::Bool => Value::Bool(false),
        Kind::Text => Value::Text(""),
        Kind::Bytes => Value::Bytes(&[]),
        Kind::Enum(of) => Value::Enum(of, 0),
        _ => Value::Int(0),
    }
}

/// A value as it stands; `None`: it is written as something else, which is passed over.
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
        (Kind::Message(of), Raw::Bytes(bytes)) => Value::Message(of, bytes),
        _ => return Ok(None),
    }))
}

/// All values of a field of a list: one, or several that stand packed.
pub fn each<'a>(kind: Kind, raw: Raw<'a>, mut take: impl FnMut(Value<'a>) -> Result<(), String>) -> Result<(), String> {
    let packs = !matches!(kind, Kind::Text | Kind::Bytes | Kind::Message(_) | Kind::Unknown);
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

/// Gives a column a value.
fn put(
    messages: &Messages,
    value: Value<'_>,
    column: usize,
    into: Conversion,
    columns: &mut ColumnBuilders,
) -> Result<(), String> {
    let far = |columns: &ColumnBuilders, number: &str| {
        format!("column `{}`: {number} is out of range of {}", columns.name(column), columns.kind_word(column))
    };
    match (value, into) {
        (Value::Int(number), Conversion::Time(unit)) => {
            let us = micros(number, unit).map_err(|_| far(columns, &number.to_string()))?;
            columns.set_int64(column, us);
        }
        (Value::Uint(number), Conversion::Time(unit)) => {
            let us = i64::try_from(number).ok().and_then(|number| micros(number, unit).ok());
            let us = us.ok_or_else(|| far(columns, &number.to_string()))?;
            columns.set_int64(column, us);
        }
        (Value::Message(_, bytes), Conversion::Moment) => {
            let us = json::moment(bytes)?;
            match columns.is_text(column) {
                true => columns.set(column, WrittenValue::Text(&json::moment_text(us)))?,
                false => columns.set_int64(column, us),
            }
        }
        (Value::Message(..), _) => {
            let mut text = String::new();
            json::write(messages, value, columns.nested_form(column), &mut text, 0)?;
            columns.set_nested(column, &text)?;
        }
        (Value::Int(number), Conversion::Decimal) => columns.set(column, WrittenValue::Number(&number.to_string()))?,
        (Value::Uint(number), Conversion::Decimal) => columns.set(column, WrittenValue::Number(&number.to_string()))?,
        (Value::Int(number), _) if columns.is_float64(column) => columns.set_float64(column, number as f64),
        (Value::Uint(number), _) if columns.is_float64(column) => columns.set_float64(column, number as f64),
        (Value::Int(number), _) if !columns.is_text(column) => columns.set_int64(column, number),
        (Value::Uint(number), _) if !columns.is_text(column) => {
            let number = i64::try_from(number).map_err(|_| far(columns, &number.to_string()))?;
            columns.set_int64(column, number);
        }
        (Value::Int(number), _) => columns.set(column, WrittenValue::Text(&number.to_string()))?,
        (Value::Uint(number), _) => columns.set(column, WrittenValue::Text(&number.to_string()))?,
        (Value::Double(number), _) if columns.is_float64(column) => columns.set_float64(column, number),
        (Value::Float(number), _) if columns.is_float64(column) => columns.set_float64(column, f64::from(number)),
        (Value::Double(number), _) => columns.set(column, WrittenValue::Text(&cell::float_text(number)))?,
        (Value::Float(number), _) => columns.set(column, WrittenValue::Text(&cell::float32_text(number)))?,
        (Value::Bool(value), _) => columns.set(column, WrittenValue::Bool(value))?,
        (Value::Enum(of, number), _) if columns.is_text(column) => match messages.symbol(of, number) {
            Some(symbol) => columns.set(column, WrittenValue::Text(symbol))?,
            None => columns.set(column, WrittenValue::Text(&number.to_string()))?,
        },
        (Value::Enum(_, number), _) => columns.set_int64(column, i64::from(number)),
        (Value::Text(text), _) => columns.set(column, WrittenValue::Text(text))?,
        (Value::Bytes(bytes), _) => {
            columns.unset(column);
            columns.set_bytes(column, bytes)?;
        }
    }
    Ok(())
}
