//! Column types in Delta's notation, and the check whether rows fit into an existing table.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use millstream_base::shown::harmless;
use millstream_rows::batch::types::ColumnType;
use serde_json::{Value, json};

/// Characters that no column name of a table may contain without column mapping.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];
/// Maximum bytes of a name or a type in an error message.
const SHOWN_BYTES_MAX: usize = 200;
/// Column metadata that a writer would have to enforce.
const UNENFORCED_METADATA: [(&str, &str); 4] = [
    ("delta.invariants", "has an invariant"),
    ("delta.generationExpression", "is generated"),
    ("delta.identity.", "is an identity column"),
    ("delta.columnMapping.", "is renamed in the files"),
];

/// Returns the schema of a new table for these rows. An error says what to write instead of a column.
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

/// Returns the Delta type of a column.
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
        // Instants, not local times.
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => "timestamp",
        DataType::Decimal128(digits, scale) if *scale >= 0 => return Ok(format!("decimal({digits},{scale})").into()),
        DataType::List(element) => {
            return Ok(json!({ "type": "array", "elementType": kind(element)?, "containsNull": true }));
        }
        DataType::Struct(fields) => return structure(fields.iter().map(|field| field.as_ref())),
        other => {
            return Err(format!(
                "column `{}` is {}, which Delta does not support; convert it with `select`",
                harmless(field.name(), SHOWN_BYTES_MAX),
                ColumnType::from_arrow(other)
            ));
        }
    }))
}

/// Checks whether rows can be added to a table with this schema. Each of their columns must exist in the table with the same type, and the
/// table's other columns must be nullable. The error lists all mismatches, column by column.
pub fn check_fits(rows: &Schema, table: &Value) -> Result<(), String> {
    let fields = table["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut wrong = Vec::new();
    for field in rows.fields() {
        let name = harmless(field.name(), SHOWN_BYTES_MAX);
        let Some(existing) = fields.iter().find(|existing| existing["name"] == **field.name()) else {
            wrong.push(format!("the table has no column `{name}`"));
            continue;
        };
        let (own_marker, theirs) = (type_name(&kind(field)?), type_name(&existing["type"]));
        if own_marker != theirs {
            wrong.push(format!(
                "column `{name}` is {} in the table, and {own_marker} in the rows",
                harmless(&theirs, SHOWN_BYTES_MAX)
            ));
        }
        if existing["nullable"] == false {
            wrong.push(format!("column `{name}` of the table is not nullable, but that of the rows is"));
        }
    }
    for existing in fields {
        let name = existing["name"].as_str().unwrap_or_default();
        let shown = harmless(name, SHOWN_BYTES_MAX);
        if existing["nullable"] == false && rows.index_of(name).is_err() {
            wrong.push(format!("column `{shown}` of the table is not nullable, and the rows do not have it"));
        }
        let entries = existing["metadata"].as_object().into_iter().flatten();
        for (key, _) in entries {
            if let Some((_, what)) = UNENFORCED_METADATA.iter().find(|(begin, _)| key.starts_with(begin)) {
                wrong.push(format!("column `{shown}` of the table {what}, which is not available in this version"));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = fields
        .iter()
        .map(|existing| format!("{} {}", existing["name"].as_str().unwrap_or("?"), type_name(&existing["type"])))
        .collect();
    Err(format!(
        "{}; the table has: {}; make the rows fit with `select`, or write another table",
        wrong.join("; "),
        harmless(&names.join(", "), 4 * SHOWN_BYTES_MAX)
    ))
}

/// Formats a type as text, such as `array<long>`. Two types are equal if their strings are.
fn type_name(kind: &Value) -> String {
    match kind["type"].as_str() {
        Some("array") => format!("array<{}>", type_name(&kind["elementType"])),
        Some("map") => format!("map<{},{}>", type_name(&kind["keyType"]), type_name(&kind["valueType"])),
        Some("struct") => {
            let fields = kind["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
            let fields = fields
                .iter()
                .map(|field| format!("{}:{}", field["name"].as_str().unwrap_or_default(), type_name(&field["type"])));
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
        assert_eq!(type_name(&table), "struct<n:long,at:timestamp,price:decimal(12,2),all:array<struct<a:long>>>");
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
        for type_name in [
            "column `n` is string in the table, and long in the rows",
            "column `at` is timestamp_ntz in the table, and timestamp in the rows",
            "column `at` of the table is not nullable",
            "column `price` of the table has an invariant",
            "the table has no column `all`",
            "column `key` of the table is not nullable, and the rows do not have it",
        ] {
            assert!(error.contains(type_name), "{type_name}: {error}");
        }
        let local = Schema::new(vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
        assert!(of_rows(&local).unwrap_err().contains("column `at`"), "a time of no zone is no moment");
        let spaced = Schema::new(vec![Field::new("a b", DataType::Int64, true)]);
        assert!(of_rows(&spaced).unwrap_err().contains("`a b`"));
    }
}
