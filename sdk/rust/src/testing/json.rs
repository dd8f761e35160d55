//! Converts batches from JSON and back.

use crate::bindings::transform::millstream::plugin::types::Column;
use crate::writer::Writer;
use crate::written::is_written;
use crate::{Batch, Cell, Error, Field, Schema, Timestamp, Type};
use serde_json::{Map, Value};

/// Parses a schema, for example `"user text, amount int64, tags list<text>"`.
pub fn schema(columns: &str) -> Schema {
    let field = |column: &str| match column.trim().split_once(char::is_whitespace) {
        Some((name, type_)) => match Type::from_name(type_.trim()) {
            Some(type_) => Field::nullable(name, type_),
            None => panic!(
                "`{type_}` is not a type; types are bool, int64, float64, text, binary, timestamp, date, decimal(…), list<…>, \
                 struct<…>"
            ),
        },
        _ => panic!("`{column}` is not a name and type; write it as `amount int64`"),
    };
    // Types may contain commas.
    let mut depth = 0;
    let columns = columns.split(|c| {
        depth += i32::from(matches!(c, '<' | '(')) - i32::from(matches!(c, '>' | ')'));
        c == ',' && depth == 0
    });
    Schema::new(columns.filter(|column| !column.trim().is_empty()).map(field).collect())
}

/// Returns the columns of the schema from a larger object.
pub fn object(schema: &Schema, row: &Value) -> Value {
    schema.fields.iter().map(|field| (field.name.clone(), row[&field.name].clone())).collect::<Map<_, _>>().into()
}

/// Merges two objects.
pub fn merge(mut left: Value, right: Value) -> Value {
    if let (Value::Object(left), Value::Object(right)) = (&mut left, right) {
        left.extend(right);
    }
    left
}

/// Converts an array of objects to a batch with this schema.
pub fn from_json(schema: &Schema, rows: &Value) -> Result<Batch, Error> {
    let rows = rows.as_array().ok_or_else(|| Error::internal("rows are an array of objects"))?;
    let column = |field: &Field| {
        let values = rows.iter().map(|row| &row[&field.name]);
        match &field.type_ {
            Type::Bool => build::<bool>(field, values, Value::as_bool),
            Type::Int64 => build::<i64>(field, values, Value::as_i64),
            Type::Float64 => build::<f64>(field, values, Value::as_f64),
            Type::Text => build::<String>(field, values, |value| value.as_str().map(str::to_owned)),
            Type::Binary => build::<Vec<u8>>(field, values, |value| value.as_str().and_then(from_hex)),
            Type::Timestamp => build::<Timestamp>(field, values, |value| value.as_i64().map(Timestamp)),
            Type::Arrow(name) if is_written(name) => build::<String>(field, values, |value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                nested => Some(nested.to_string()),
            }),
            Type::Arrow(name) => Err(Error::internal(format!("tests have no columns of type {name}"))),
        }
    };
    Ok(Batch::new(rows.len(), schema.fields.iter().map(column).collect::<Result<_, _>>()?))
}

fn build<'v, C>(
    field: &Field,
    values: impl Iterator<Item = &'v Value>,
    parse: impl Fn(&Value) -> Option<C>,
) -> Result<Column, Error>
where
    C: for<'x> Cell<Of<'x> = C>,
{
    let mut writer = <Option<C> as Cell>::Writer::with_capacity(0, 0, &[]);
    for value in values {
        let parsed = parse(value);
        if parsed.is_none() && !value.is_null() {
            return Err(Error::internal(format!("column `{}` is {}, not {value}", field.name, field.type_)));
        }
        <Option<C> as Cell>::write(&mut writer, parsed);
    }
    let mut columns = Vec::new();
    writer.finish(&mut columns)?;
    columns.pop().ok_or_else(|| Error::internal("no column was built"))
}

/// Converts a batch to an array of objects. Checks the batch like a host: text is UTF-8, buffers are long enough.
pub fn to_json(schema: &Schema, batch: &Batch) -> Result<Value, Error> {
    if schema.fields.len() != batch.width() {
        return Err(Error::internal(format!(
            "{} columns were described, {} returned",
            schema.fields.len(),
            batch.width()
        )));
    }
    let mut rows = vec![Map::new(); batch.rows()];
    for (i, field) in schema.fields.iter().enumerate() {
        let values: Vec<Value> = match &field.type_ {
            Type::Bool => batch.column::<Option<bool>>(i)?.iter().map(Value::from).collect(),
            Type::Int64 => batch.column::<Option<i64>>(i)?.iter().map(Value::from).collect(),
            Type::Float64 => batch.column::<Option<f64>>(i)?.iter().map(Value::from).collect(),
            Type::Text => batch.column::<Option<&str>>(i)?.iter().map(Value::from).collect(),
            Type::Binary => batch.column::<Option<&[u8]>>(i)?.iter().map(|bytes| bytes.map(to_hex).into()).collect(),
            Type::Timestamp => batch.column::<Option<Timestamp>>(i)?.iter().map(|t| t.map(|t| t.0).into()).collect(),
            Type::Arrow(name) if is_written(name) => {
                let is_nested = name.ends_with('>');
                let value = |text: &str| match serde_json::from_str(text) {
                    Ok(nested) if is_nested => Ok(nested),
                    Err(error) if is_nested => {
                        Err(Error::internal(format!("column `{}`: `{text}` is no {name}: {error}", field.name)))
                    }
                    _ => Ok(Value::from(text)),
                };
                let texts = batch.column::<Option<&str>>(i)?;
                texts.iter().map(|text| text.map_or(Ok(Value::Null), value)).collect::<Result<_, _>>()?
            }
            Type::Arrow(name) => return Err(Error::internal(format!("tests have no columns of type {name}"))),
        };
        for (row, value) in rows.iter_mut().zip(values) {
            row.insert(field.name.clone(), value);
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
