//! Which columns go into which fields of a message.

use super::{FieldEncoding, FieldWriter, MessageWriter};
use arrow::datatypes::{DataType, Fields};
use millstream_base::suggest;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode::protobuf::{Field, Kind, Message, Messages, TIMESTAMP, wrapped};
use std::collections::HashMap;

/// Plans a message of these columns. `within`: the names of the enclosing columns, each followed by a dot.
pub(super) fn message(messages: &Messages, of: usize, columns: &Fields, within: &str) -> Result<MessageWriter, String> {
    let message = messages.message(of).ok_or("the descriptor does not define all messages")?;
    let mut fields = Vec::new();
    let mut choices: HashMap<u32, Vec<usize>> = HashMap::new();
    for (column, by) in columns.iter().enumerate() {
        let name = format!("{within}{}", by.name());
        let field = message.fields.iter().find(|field| field.name == *by.name()).ok_or_else(|| {
            let field_names = message.fields.iter().map(|field| field.name.as_str()).take(20);
            format!(
                "column `{name}` is not a field of message `{}`{}; omit it with `select`, or rename it to a field",
                message.name,
                suggest::hint(by.name(), field_names, "it has")
            )
        })?;
        let form = form_of(messages, message, field, by.data_type(), &name)?;
        if let Some(group) = field.oneof {
            choices.entry(group).or_default().push(column);
        }
        // Key and value of a pair are always written.
        fields.push(FieldWriter {
            column,
            name,
            number: field.number,
            required: field.required || message.is_entry,
            implicit: field.implicit && !message.is_entry,
            form,
        });
    }
    let missing = message.fields.iter().filter(|field| field.required || message.is_entry);
    for field in missing {
        if !columns.iter().any(|column| column.name() == &field.name) {
            let location = if within.is_empty() {
                "the rows have".to_owned()
            } else {
                format!("`{}` has", within.trim_end_matches('.'))
            };
            return Err(format!(
                "message `{}` requires its field `{}`, but {location} no `{}`; add it with `select`",
                message.name, field.name, field.name
            ));
        }
    }
    fields.sort_by_key(|field| field.number);
    let choices = choices.into_values().filter(|group| group.len() > 1).collect();
    Ok(MessageWriter { fields, choices })
}

fn form_of(
    messages: &Messages,
    message: &Message,
    field: &Field,
    column: &DataType,
    name: &str,
) -> Result<FieldEncoding, String> {
    let unfit = |takes: &str| {
        format!(
            "column `{name}` is {}, and field `{}` of message `{}` is {}{takes}",
            ColumnType::from_arrow(column),
            field.name,
            message.name,
            type_name(messages, field)
        )
    };
    if !field.repeated {
        return value(messages, field.kind, column, name)?.map_err(|takes| unfit(&takes));
    }
    let entry = match field.kind {
        Kind::Message(of) => messages.message(of).filter(|message| message.is_entry),
        _ => None,
    };
    let part = |number| entry.and_then(|entry| entry.fields.iter().find(|field| field.number == number));
    match (column, part(1), part(2)) {
        (DataType::List(item), ..) => {
            let form = value(messages, field.kind, item.data_type(), name)?.map_err(|takes| unfit(&takes))?;
            Ok(match form {
                FieldEncoding::Bool
                | FieldEncoding::Integer(_)
                | FieldEncoding::Float
                | FieldEncoding::Double
                | FieldEncoding::Symbol { .. } => FieldEncoding::Packed(Box::new(form)),
                form => FieldEncoding::Each(Box::new(form)),
            })
        }
        (DataType::Struct(members), Some(key), Some(of)) if key.kind == Kind::Text => {
            let member = |member: &arrow::datatypes::FieldRef| {
                let name = format!("{name}.{}", member.name());
                let form = value(messages, of.kind, member.data_type(), &name)?;
                let form = form.map_err(|takes| {
                    let kind = ColumnType::from_arrow(member.data_type());
                    let what = kind_name(messages, of.kind);
                    format!(
                        "column `{name}` is {kind}, and values of map `{}` of message `{}` are {what}{takes}",
                        field.name, message.name
                    )
                });
                Ok((member.name().clone(), form?))
            };
            members.iter().map(member).collect::<Result<_, String>>().map(FieldEncoding::Map)
        }
        (_, Some(_), _) => {
            Err(unfit(", which takes list<struct<key: …, value: …>>, and struct<…> where its keys are strings"))
        }
        _ => Err(unfit(", which takes list<…>")),
    }
}

/// Plans how a column goes into a field of one value. The inner error lists which columns would; the outer one concerns something nested.
fn value(
    messages: &Messages,
    kind: Kind,
    column: &DataType,
    name: &str,
) -> Result<Result<FieldEncoding, String>, String> {
    use ColumnType::{Arrow, Binary, Bool, Float64, Int64, Text, Timestamp};
    if wrapped(messages, kind) {
        let Kind::Message(of) = kind else { return Ok(Err(String::new())) };
        let inner = messages.message(of).and_then(|message| message.fields.iter().find(|field| field.number == 1));
        let inner = value(messages, inner.map_or(Kind::Unknown, |field| field.kind), column, name)?;
        return Ok(inner.map(|form| FieldEncoding::Wrapped(Box::new(form))));
    }
    let is_moment = |of: usize| messages.message(of).is_some_and(|message| message.name == TIMESTAMP);
    let kind_of = ColumnType::from_arrow(column);
    Ok(Ok(match (kind, &kind_of) {
        (Kind::Message(of), Timestamp) if is_moment(of) => FieldEncoding::Moment,
        (Kind::Message(of), _) if is_moment(of) => return Ok(Err(", which takes timestamp".into())),
        (Kind::Message(of), Arrow(DataType::Struct(members))) => {
            FieldEncoding::Message(message(messages, of, members, &format!("{name}."))?)
        }
        (Kind::Message(_), _) => return Ok(Err(", which takes struct<…>".into())),
        (Kind::Group(_) | Kind::Unknown, _) => return Ok(Err(", which is not written".into())),
        (Kind::Bool, Bool) => FieldEncoding::Bool,
        (Kind::Bool, _) => return Ok(Err(", which takes bool".into())),
        (Kind::Double, Float64) => FieldEncoding::Double,
        (Kind::Float, Float64) => FieldEncoding::Float,
        (Kind::Double | Kind::Float, _) => return Ok(Err(", which takes float64".into())),
        (Kind::Text, Text | Timestamp | Arrow(DataType::Date32 | DataType::Decimal128(..))) => FieldEncoding::Text,
        (Kind::Text, _) => return Ok(Err(", which takes text, timestamp, date and decimals".into())),
        (Kind::Bytes, Binary | Text) => FieldEncoding::Bytes,
        (Kind::Bytes, _) => return Ok(Err(", which takes binary and text".into())),
        (Kind::Enum(of), Text | Int64) => {
            let (name, numbers) = messages.numbers(of).ok_or("the descriptor does not define all enums")?;
            FieldEncoding::Symbol { of: name.to_owned(), numbers: numbers.clone() }
        }
        (Kind::Enum(_), _) => return Ok(Err(", which takes text (its names) and int64".into())),
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, Timestamp) => FieldEncoding::Integer(kind),
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, Arrow(DataType::Date32)) => FieldEncoding::Integer(kind),
        (_, Int64 | Arrow(DataType::Decimal128(_, 0))) => FieldEncoding::Integer(kind),
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, _) => {
            return Ok(Err(", which takes int64, decimals with scale 0, and timestamp (as microseconds)".into()));
        }
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, _) => {
            return Ok(Err(", which takes int64, decimals with scale 0, and date (as days)".into()));
        }
        _ => return Ok(Err(", which takes int64 and decimals with scale 0".into())),
    }))
}

/// Returns a field's type in protobuf notation.
fn type_name(messages: &Messages, field: &Field) -> String {
    let entry = match field.kind {
        Kind::Message(of) => messages.message(of).filter(|message| message.is_entry),
        _ => None,
    };
    match entry {
        Some(_) if field.repeated => "a map".into(),
        _ if field.repeated => format!("repeated {}", kind_name(messages, field.kind)),
        _ => kind_name(messages, field.kind),
    }
}

fn kind_name(messages: &Messages, kind: Kind) -> String {
    match kind {
        Kind::Message(of) => {
            messages.message(of).map_or_else(String::new, |message| format!("message `{}`", message.name))
        }
        Kind::Enum(of) => messages.numbers(of).map_or_else(String::new, |(name, _)| format!("enum `{name}`")),
        kind => kind_word(kind).to_owned(),
    }
}

/// Returns the name of a scalar kind.
pub(super) fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Double => "double",
        Kind::Float => "float",
        Kind::Int64 => "int64",
        Kind::Uint64 => "uint64",
        Kind::Int32 => "int32",
        Kind::Fixed64 => "fixed64",
        Kind::Fixed32 => "fixed32",
        Kind::Bool => "bool",
        Kind::Text => "string",
        Kind::Bytes => "bytes",
        Kind::Uint32 => "uint32",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::Enum(_) => "an enum",
        Kind::Message(_) => "a message",
        Kind::Group(_) => "a group",
        Kind::Unknown => "of a type that the descriptor does not define",
    }
}
