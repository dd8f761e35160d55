//! The JSON Schema of a config: whether configs in existing jobs stay valid.

use super::{Difference, shown};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Keys of a JSON Schema that do not restrict values.
const FOR_PEOPLE: [&str; 8] =
    ["title", "description", "examples", "$comment", "$id", "$schema", "deprecated", "default"];

/// Compares two schemas. A new optional key needs no acceptance.
pub(super) fn compare(old: &Value, new: &Value, all: &mut Vec<Difference>) {
    let (old, new) = (meaning(old), meaning(new));
    if old == new {
        return;
    }
    let text = |schema: &Value| if schema.is_null() { "any".to_owned() } else { shown(&schema.to_string()) };
    let undefined =
        || Difference::grave(format!("the schema of its config is {}; previously {}", text(&new), text(&old)));
    if !(old.is_object() && new.is_object()) {
        return all.push(undefined());
    }
    let (then, now) = (properties(&old), properties(&new));
    let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let (had_to, must) = (required(&old), required(&new));
    for key in keys {
        let name = shown(key);
        all.push(match (then.get(key), now.get(key)) {
            (Some(_), None) => Difference::grave(format!("its config no longer has `{name}`")),
            (None, Some(_)) if must.contains(key.as_str()) => {
                Difference::grave(format!("its config must now have `{name}`"))
            }
            (None, Some(_)) => Difference::slight(format!("its config may now have `{name}`")),
            (Some(then), Some(now)) if then != now => {
                let (now, then) = (shown(&now.to_string()), shown(&then.to_string()));
                Difference::grave(format!("its config's `{name}` is {now}; previously {then}"))
            }
            (Some(_), Some(_)) if must.contains(key.as_str()) && !had_to.contains(key.as_str()) => {
                Difference::grave(format!("its config must now have `{name}`"))
            }
            _ => continue,
        });
    }
    if rest(&old) != rest(&new) {
        all.push(undefined());
    }
}

/// Removes from a schema what is for people only. The recursion is bounded by the depth that the JSON parser accepts.
fn meaning(schema: &Value) -> Value {
    match schema {
        Value::Object(entries) => {
            let counts = |key: &str, value: &Value| !FOR_PEOPLE.contains(&key) || value.is_object();
            let entries = entries.iter().filter(|(key, value)| counts(key, value));
            entries.map(|(key, value)| (key.clone(), meaning(value))).collect()
        }
        other => other.clone(),
    }
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn required(schema: &Value) -> BTreeSet<&str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A schema without its properties, which are compared one by one.
fn rest(schema: &Value) -> Value {
    match schema {
        Value::Object(entries) => {
            let others = entries.iter().filter(|(key, _)| !matches!(key.as_str(), "properties" | "required"));
            others.map(|(key, value)| (key.clone(), value.clone())).collect()
        }
        other => other.clone(),
    }
}
