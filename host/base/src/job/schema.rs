//! The JSON Schema of the job file, generated from the tables of keys that reading uses.

use super::connector::Kinds;
use super::keys::{self, COLUMN, KeyShape, TableKey};
use super::{expression, names};
use crate::batch::types::ColumnType;
use crate::limits;
use crate::units;
use serde_json::{Map, Value, json};

/// `${NAME}`, `${NAME:-default}` or `${file:path}` anywhere in a string, as a regular expression.
const VARIABLE: &str = r"\$\{[^}]+\}";

/// Returns the schema of a complete job file.
pub(super) fn job(kinds: &Kinds) -> Value {
    let mut schema = table(keys::JOB);
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
        let property = match properties.remove(key.name) {
            Some(other) => either(other, property(key)),
            None => property(key),
        };
        properties.insert(key.name.into(), property);
    }
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert("additionalProperties".into(), json!(false));
    let needed = names_of(keys, |key| key.needed.contains(&""));
    if !needed.is_empty() {
        schema.insert("required".into(), json!(needed));
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
        let of_plugins = keys::PLUGIN_KEYS.iter().filter(|key| **key != "limits");
        let mut needs: Map<String, Value> = of_plugins.map(|key| (key.to_string(), json!(["plugin"]))).collect();
        let either = json!({ "anyOf": [{ "required": ["plugin"] }, { "required": ["sql"] }] });
        schema.insert("dependentSchemas".into(), json!({ "limits": either }));
        needs.insert("cogroup".into(), json!(["plugin", "key"]));
        needs.insert("deduplicate".into(), json!(["key"]));
        needs.insert("pattern".into(), json!(["time"]));
        needs.insert("functions".into(), json!(["sql"]));
        schema.insert("dependentRequired".into(), Value::Object(needs));
        schema.insert(
            "if".into(),
            json!({ "properties": { "emit": { "enum": keys::PLUGIN_EMITS } }, "required": ["emit"] }),
        );
        schema.insert("then".into(), emitting());
        let two = |(at, one): (usize, &&str)| {
            let other_operators =
                keys::OPERATORS.iter().skip(at + 1).filter(|other| (*one, **other) != ("plugin", "cogroup"));
            other_operators.map(|other| json!({ "required": [one, other] })).collect::<Vec<_>>()
        };
        let pairs: Vec<Value> = keys::OPERATORS.iter().enumerate().flat_map(two).collect();
        schema.insert("not".into(), json!({ "anyOf": pairs }));
    }
    schema
}

/// Returns what a stage needs whose `emit` is one of [`keys::PLUGIN_EMITS`]: a plugin, or for `changes` an aggregate.
fn emitting() -> Value {
    let changes = json!({ "properties": { "emit": { "const": "changes" } }, "required": ["aggregate"] });
    json!({ "anyOf": [{ "required": ["plugin"] }, changes] })
}

/// Returns for each kind the keys that it requires, and the keys that it does not have.
fn kind_rules(keys: &[TableKey]) -> Vec<Value> {
    let kinds = match keys.iter().find(|key| key.name == "kind").map(|key| &key.shape) {
        Some(KeyShape::Word(kinds)) => *kinds,
        _ => &[],
    };
    let rule = |kind: &&str| {
        let own = names_of(keys, |key| key.fits(kind));
        let foreign = keys.iter().map(|key| key.name).filter(|name| !own.contains(name));
        let foreign: Map<String, Value> = foreign.map(|name| (name.to_string(), json!(false))).collect();
        let needed = names_of(keys, |key| key.needed.contains(kind));
        json!({
            "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
            "then": { "properties": foreign, "required": needed },
        })
    };
    kinds.iter().map(rule).collect()
}

/// Returns the schema of a key that has different meanings for kinds of sources, or of sinks.
fn either(one: Value, other: Value) -> Value {
    let doc = |key: &Value| key["description"].as_str().unwrap_or_default().to_owned();
    let description = format!("{} {}", doc(&one), doc(&other));
    let bare = |mut key: Value| {
        key.as_object_mut().map(|key| key.remove("description"));
        key
    };
    let (mut one, other) = (bare(one), bare(other));
    if one != other {
        one = json!({ "anyOf": [one, other] });
    }
    one["description"] = json!(description);
    one
}

fn names_of(keys: &[TableKey], kinds_having: impl Fn(&TableKey) -> bool) -> Vec<&'static str> {
    keys.iter().filter(|key| kinds_having(key)).map(|key| key.name).collect()
}

/// Returns the schema of a key's values, with its description.
fn property(key: &TableKey) -> Value {
    let mut schema = match shape(&key.shape) {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    let kinds = match key.kinds {
        [] => String::new(),
        kinds => format!(" For kind {}.", kinds.join(", ")),
    };
    schema.insert("description".into(), json!(format!("{}{kinds}", key.doc)));
    Value::Object(schema)
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
        KeyShape::Texts => json!({
            "anyOf": [text, { "type": "array", "items": text, "minItems": 1 }],
        }),
        KeyShape::Any => json!({}),
        KeyShape::Columns => json!({
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
