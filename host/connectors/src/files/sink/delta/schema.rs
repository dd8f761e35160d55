//! Columns as Delta names them, and whether rows fit into a table that is there.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use millstream_base::batch::types::ColumnType;
use millstream_base::shown::harmless;
use serde_json::{Value, json};

/// Letters that no column of a table may have in its name, as long as names are not mapped to others.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];
/// How much of a name or a type a message shows.
const SHOWN_BYTES_MAX: usize = 200;
/// What a column of a table says that whoever writes would have to see to.
const NOT_KEPT: [(&str, &str); 4] = [
    ("delta.invariants", "has an invariant"),
    ("delta.generationExpression", "is generated"),
    ("delta.identity.", "is numbered by the writer"),
    ("delta.columnMapping.", "has another name in the files"),
];

/// The schema of a new table for these rows. An error says what to write in the place of a column.
pub fn of_rows(rows: &Schema) -> Result<Value, String> {
    for field in rows.fields() {
        if field.name().contains(FORBIDDEN) || field.name().is_empty() {
            return Err(format!(
                "column `{}` has a character in its name that Delta does not allow (a space, or one of ,;{{}}()=); rename it with \
                 `select`",
                harmless(field.name(), SHOWN_BYTES_MAX)
            ));
        }
    }
    structure(rows.fields().iter().map(|field| field.as_ref()))
}

fn structure<'a>(fields: impl Iterator<Item = &'a Field>) -> Result<Value, String> {
    let fields =
        fields.map(|field| Ok(json!({ "name": field.name(), "type": kind(field)?, "nullable": true, "metadata": {} })));
    Ok(json!({ "type": "struct", "fields": fields.collect::<Result<Vec<_>, String>>()? }))
}

/// How Delta names the type of a column.
fn kind(field: &Field) -> Result<Value, String> {
    Ok(Value::from(match field.data_type() {
        DataType::Boolean => "boolean",
        DataType::Int8 => "byte",
        DataType::Int16 => "short",
        DataType::Int32 => "integer",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 => "string",
        DataType::Binary => "binary",
        DataType::Date32 => "date",
        // Moments, and no times of clocks.
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => "timestamp",
        DataType::Decimal128(digits, scale) if *scale >= 0 => return Ok(format!("decimal({digits},{scale})").into()),
        DataType::List(element) => {
            return Ok(json!({ "type": "array", "elementType": kind(element)?, "containsNull": true }));
        }
        DataType::Struct(fields) => return structure(fields.iter().map(|field| field.as_ref())),
        other => {
            return Err(format!(
                "column `{}` is {}, which Delta does not have; make another type of it with `select`",
                harmless(field.name(), SHOWN_BYTES_MAX),
                ColumnType::of(other)
            ));
        }
    }))
}

/// Whether rows can be added to a table of this schema: each of their columns is one of the table, of the same type, and the others
/// of the table may be null. All that is wrong, column by column.
pub fn check_fits(rows: &Schema, table: &Value) -> Result<(), String> {
    let fields = table["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut wrong = Vec::new();
    for field in rows.fields() {
        let name = harmless(field.name(), SHOWN_BYTES_MAX);
        let Some(there) = fields.iter().find(|there| there["name"] == **field.name()) else {
            wrong.push(format!("the table has no column `{name}`"));
            continue;
        };
        let (ours, theirs) = (words(&kind(field)?), words(&there["type"]));
        if ours != theirs {
            wrong.push(format!(
                "column `{name}` is {} in the table, and {ours} in the rows",
                harmless(&theirs, SHOWN_BYTES_MAX)
            ));
        }
        if there["nullable"] == false {
            wrong.push(format!("column `{name}` of the table is not nullable, but that of the rows is"));
        }
    }
    for there in fields {
        let name = there["name"].as_str().unwrap_or_default();
        let shown = harmless(name, SHOWN_BYTES_MAX);
        if there["nullable"] == false && rows.index_of(name).is_err() {
            wrong.push(format!("column `{shown}` of the table is not nullable, and the rows do not have it"));
        }
        let said = there["metadata"].as_object().into_iter().flatten();
        for (key, _) in said {
            if let Some((_, what)) = NOT_KEPT.iter().find(|(begin, _)| key.starts_with(begin)) {
                wrong.push(format!("column `{shown}` of the table {what}, which is not available in this version"));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = fields
        .iter()
        .map(|there| format!("{} {}", there["name"].as_str().unwrap_or("?"), words(&there["type"])))
        .collect();
    Err(format!(
        "{}; the table has: {}; make the rows fit with `select`, or write another table",
        wrong.join("; "),
        harmless(&names.join(", "), 4 * SHOWN_BYTES_MAX)
    ))
}

/// A type in words, as `array<long>`; two types are one where their words are.
fn words(kind: &Value) -> String {
    match kind["type"].as_str() {
        Some("array") => format!("array<{}>", words(&kind["elementType"])),
        Some("map") => format!("map<{},{}>", words(&kind["keyType"]), words(&kind["valueType"])),
        Some("struct") => {
            let fields = kind["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
            let fields = fields
                .iter()
                .map(|field| format!("{}:{}", field["name"].as_str().unwrap_or_default(), words(&field["type"])));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(","))
        }
        _ => kind.as_str().unwrap_or("?").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn rows() -> Schema {
        let nested = DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into());
        Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("price", DataType::Decimal128(12, 2), true),
            Field::new("all", DataType::List(Arc::new(Field::new("item", nested, true))), true),
        ])
    }

    #[test]
    fn rows_fit_into_the_table_that_is_made_for_them() {
        let table = of_rows(&rows()).unwrap();
        assert_eq!(words(&table), "struct<n:long,at:timestamp,price:decimal(12,2),all:array<struct<a:long>>>");
        check_fits(&rows(), &table).unwrap();
        let fewer = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        check_fits(&fewer, &table).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let table = json!({ "type": "struct", "fields": [
            { "name": "n", "type": "string", "nullable": true, "metadata": {} },
            { "name": "at", "type": "timestamp_ntz", "nullable": false, "metadata": {} },
            { "name": "price", "type": "decimal(12,2)", "nullable": true, "metadata": { "delta.invariants": "price > 0" } },
            { "name": "key", "type": "long", "nullable": false, "metadata": {} },
        ] });
        let error = check_fits(&rows(), &table).unwrap_err();
        for words in [
            "column `n` is string in the table, and long in the rows",
            "column `at` is timestamp_ntz in the table, and timestamp in the rows",
            "column `at` of the table is not nullable",
            "column `price` of the table has an invariant",
            "the table has no column `all`",
            "column `key` of the table is not nullable, and the rows do not have it",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
        let local = Schema::new(vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
        assert!(of_rows(&local).unwrap_err().contains("column `at`"), "a time of no zone is no moment");
        let spaced = Schema::new(vec![Field::new("a b", DataType::Int64, true)]);
        assert!(of_rows(&spaced).unwrap_err().contains("`a b`"));
    }
}
