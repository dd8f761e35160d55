//! The JSON Schema of the job file, generated from the tables of keys that reading uses.

use super::connector::Kinds;
use super::file;
use super::keys::{self, COLUMN, KeyShape, TableKey};
use super::names;
use super::stage::{self, expression};
use millstream_base::limits;
use millstream_base::units;
use millstream_rows::batch::types::ColumnType;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// `${NAME}`, `${NAME:-default}` or `${file:path}` anywhere in a string, as a regular expression.
const VARIABLE: &str = r"\$\{[^}]+\}";

/// Returns the schema of a complete job file.
pub(super) fn job(kinds: &Kinds) -> Value {
    let mut schema = table(file::KEYS);
    for (section, keys) in [("sources", kinds.source_keys()), ("sinks", kinds.sink_keys())] {
        let doc = schema["properties"][section]["description"].take();
        schema["properties"][section] = parts(keys);
        schema["properties"][section]["description"] = doc;
    }
    let head = [
        ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
        ("title", json!("Millstream job")),
        ("description", json!("A Millstream job: named sources, stages and sinks.")),
    ];
    schema.extend(head.map(|(key, value)| (key.to_string(), value)));
    Value::Object(schema)
}

/// Returns a table with these keys.
fn table(keys: &[TableKey]) -> Map<String, Value> {
    let mut schema = Map::new();
    let mut properties = Map::new();
    for key in keys {
        if !properties.contains_key(key.name) {
            let same: Vec<&TableKey> = keys.iter().filter(|other| other.name == key.name).collect();
            properties.insert(key.name.into(), property(&same));
        }
    }
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert("additionalProperties".into(), json!(false));
    let required = names_of(keys, |key| key.is_required && key.kind.is_none());
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    let rules = kind_rules(keys);
    if !rules.is_empty() {
        schema.insert("allOf".into(), json!(rules));
    }
    schema
}

/// Returns sources, stages or sinks by name.
fn parts(keys: &[TableKey]) -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": names::PATTERN },
        "additionalProperties": part(keys),
    })
}

/// Returns a source, stage or sink. Sources and sinks have a kind; a stage has one operator, and keys for one operator require it.
fn part(keys: &[TableKey]) -> Map<String, Value> {
    let mut schema = table(keys);
    if keys.iter().all(|key| key.name != "kind") {
        let of_plugins = stage::keys::PLUGIN_KEYS.iter().filter(|key| **key != "limits");
        let mut needs: Map<String, Value> = of_plugins.map(|key| (key.to_string(), json!(["plugin"]))).collect();
        let either = json!({ "anyOf": [{ "required": ["plugin"] }, { "required": ["sql"] }] });
        let described = |(operator, docs): &(&str, &[(&str, &str)])| {
            let docs = docs.iter().map(|(key, doc)| ((*key).to_owned(), json!({ "description": doc })));
            ((*operator).to_owned(), json!({ "properties": docs.collect::<Map<_, _>>() }))
        };
        let mut dependent: Map<String, Value> = stage::keys::OPERATOR_DOCS.iter().map(described).collect();
        dependent.insert("limits".into(), either);
        schema.insert("dependentSchemas".into(), Value::Object(dependent));
        needs.insert("cogroup".into(), json!(["plugin", "key"]));
        needs.insert("deduplicate".into(), json!(["key"]));
        needs.insert("pattern".into(), json!(["time"]));
        needs.insert("functions".into(), json!(["sql"]));
        schema.insert("dependentRequired".into(), Value::Object(needs));
        schema.insert(
            "if".into(),
            json!({ "properties": { "emit": { "enum": stage::keys::PLUGIN_EMITS } }, "required": ["emit"] }),
        );
        schema.insert("then".into(), emitting());
        let two = |(at, one): (usize, &&str)| {
            let other_operators =
                stage::keys::OPERATORS.iter().skip(at + 1).filter(|other| (*one, **other) != ("plugin", "cogroup"));
            other_operators.map(|other| json!({ "required": [one, other] })).collect::<Vec<_>>()
        };
        let pairs: Vec<Value> = stage::keys::OPERATORS.iter().enumerate().flat_map(two).collect();
        schema.insert("not".into(), json!({ "anyOf": pairs }));
    }
    schema
}

/// Returns what a stage needs whose `emit` is one of [`stage::keys::PLUGIN_EMITS`]: a plugin, or for `changes` an aggregate.
fn emitting() -> Value {
    let changes = json!({ "properties": { "emit": { "const": "changes" } }, "required": ["aggregate"] });
    json!({ "anyOf": [{ "required": ["plugin"] }, changes] })
}

/// Returns for each kind the keys that it requires, the keys that it does not have, and the keys that it describes unlike other kinds.
fn kind_rules(keys: &[TableKey]) -> Vec<Value> {
    let kinds = keys::kinds(keys);
    if kinds.is_empty() {
        return Vec::new();
    }
    let all: Vec<(&TableKey, Value)> = keys.iter().map(|key| (key, of_kind(key))).collect();
    let names: BTreeSet<&str> = keys.iter().map(|key| key.name).collect();
    let rule = |kind: &&str| {
        let mut properties = Map::new();
        for name in &names {
            let same = || all.iter().filter(|(key, _)| key.name == *name);
            let own = same().find(|(key, _)| key.fits(kind)).map(|(_, own)| own);
            if own.is_none() || same().any(|(_, other)| Some(other) != own) {
                properties.insert((*name).into(), own.cloned().unwrap_or(json!(false)));
            }
        }
        let required = names_of(keys, |key| key.is_required && key.kind == Some(*kind));
        json!({
            "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
            "then": { "properties": properties, "required": required },
        })
    };
    kinds.iter().map(rule).collect()
}

/// Returns what the schema of a key adds for a kind: its description, its values, and the parts of a record that its columns may hold.
fn of_kind(key: &TableKey) -> Value {
    let mut own = match key.shape {
        KeyShape::Columns(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| format!("\"{part}\"")).collect();
            let from = match &*parts {
                [] => json!(false),
                parts => json!({
                    "description":
                        format!("Part of the record that holds the column, if that is not the value: {}.", parts.join(", ")),
                }),
            };
            json!({ "additionalProperties": { "properties": { "from": from } } })
        }
        shape => self::shape(&shape),
    };
    own["description"] = json!(key.doc);
    own
}

fn names_of(keys: &[TableKey], fits: impl Fn(&TableKey) -> bool) -> Vec<&'static str> {
    keys.iter().filter(|key| fits(key)).map(|key| key.name).collect()
}

/// Returns the schema of a key: its values and descriptions, which may differ between kinds.
fn property(keys: &[&TableKey]) -> Value {
    let mut shapes: Vec<Value> = Vec::new();
    let mut docs: Vec<(&str, Vec<&str>)> = Vec::new();
    for key in keys {
        let shape = shape(&key.shape);
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
        match docs.iter_mut().find(|(doc, _)| *doc == key.doc) {
            Some((_, kinds)) => kinds.extend(key.kind),
            None => docs.push((key.doc, key.kind.into_iter().collect())),
        }
    }
    let describe = |(doc, kinds): &(&str, Vec<&str>)| match kinds.is_empty() {
        true => (*doc).to_owned(),
        false => format!("{doc} For kind {}.", kinds.join(", ")),
    };
    let description: Vec<String> = docs.iter().map(describe).collect();
    let mut schema = match shapes.len() {
        1 => shapes.remove(0),
        _ => json!({ "anyOf": shapes }),
    };
    schema["description"] = json!(description.join(" "));
    schema
}

/// Returns a string with this pattern, or one with a variable: its value is known only where the job runs.
fn pattern(form: &str) -> Value {
    json!({ "type": "string", "pattern": format!("{form}|{VARIABLE}") })
}

/// Returns any string with a variable.
fn with_variable() -> Value {
    json!({ "type": "string", "pattern": VARIABLE })
}

fn shape(shape: &KeyShape) -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    match shape {
        KeyShape::Text => text,
        KeyShape::Name => pattern(names::PATTERN),
        KeyShape::Address => pattern("^(\\[[^\\s/]+\\]|[^\\s/:]+):[0-9]{1,5}$"),
        KeyShape::Addresses => {
            let address = self::shape(&KeyShape::Address);
            let max = limits::SOCKET_ADDRESSES_MAX;
            let list = json!({
                "type": "array", "items": address, "minItems": 1, "maxItems": max, "uniqueItems": true,
            });
            json!({ "anyOf": [address, list] })
        }
        KeyShape::Flag => json!({ "type": "boolean" }),
        KeyShape::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        KeyShape::Time => pattern(units::TIME_PATTERN),
        KeyShape::SignedTime => pattern(units::SIGNED_TIME_PATTERN),
        KeyShape::Every => json!({
            "anyOf": [{ "type": "integer", "minimum": 1 }, pattern(units::TIME_PATTERN)],
        }),
        KeyShape::Size => json!({
            "anyOf": [{ "type": "integer", "minimum": 1 }, pattern(units::SIZE_PATTERN)],
        }),
        KeyShape::Word(choices) => json!({ "anyOf": [{ "type": "string", "enum": choices }, with_variable()] }),
        KeyShape::TextList => json!({
            "anyOf": [text, { "type": "array", "items": text, "minItems": 1 }],
        }),
        KeyShape::Any => json!({}),
        KeyShape::Columns(_) => json!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": { "anyOf": [self::shape(&KeyShape::Type), table(COLUMN)] },
        }),
        KeyShape::Type => json!({ "anyOf": [
            { "type": "string", "enum": ColumnType::NAMES },
            pattern("^(date|decimal\\(.*\\)|list<.*>|struct<.*>)$"),
            pattern("^timestamp\\((s|ms|us|ns|.*%.*)\\)$"),
        ] }),
        KeyShape::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        KeyShape::RowsOrShare => json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "number", "minimum": 0, "maximum": 1 },
                pattern(units::PERCENT_PATTERN),
            ],
        }),
        KeyShape::Within => {
            let bound = pattern(units::SIGNED_TIME_PATTERN);
            json!({ "anyOf": [
                pattern(units::TIME_PATTERN),
                { "type": "array", "items": bound, "minItems": 2, "maxItems": 2 },
            ] })
        }
        KeyShape::ByName(each) => json!({ "type": "object", "additionalProperties": self::shape(each) }),
        KeyShape::Either(shapes) => json!({ "anyOf": shapes.iter().map(self::shape).collect::<Vec<_>>() }),
        KeyShape::Aggregates => json!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": pattern(expression::PATTERN),
        }),
        KeyShape::Table(keys) => Value::Object(table(keys)),
        KeyShape::Parts(keys) => parts(keys),
        // These depend on the available kinds.
        KeyShape::Sources | KeyShape::Sinks => json!({}),
    }
}
