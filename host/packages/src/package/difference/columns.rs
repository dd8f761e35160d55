//! Columns that packages read, emit and keep, as recorded when they were built.

use super::{Difference, shown};
use crate::package::facts::PackageFacts;
use serde_json::Value;

/// The parts of a record, and the phrase for each.
const PARTS: [(&str, &str); 4] =
    [("inputs", "it reads"), ("output", "it returns"), ("state", "its state is"), ("key", "its key must be")];

/// Compares the records for equal configs and inputs.
pub(super) fn compare(old: &PackageFacts, new: &PackageFacts, all: &mut Vec<Difference>) {
    match (old.is_described, new.is_described) {
        (false, false) => return,
        (true, true) => {}
        (true, false) => return all.push(Difference::grave("it no longer describes its columns")),
        (false, true) => return all.push(Difference::grave("its previous columns are unknown")),
    }
    let mut described: Vec<(String, String)> = Vec::new();
    // If there are two records for one input, the first is used.
    let find_schema = |facts: &'_ PackageFacts, wanted: &Value| {
        facts.schemas.iter().find(|entry| question(entry) == question(wanted)).cloned()
    };
    for before in &old.schemas {
        let about = about(before);
        let Some(before) = find_schema(old, before) else { continue };
        let Some(now) = find_schema(new, &before) else {
            described.push(("it no longer describes its columns".into(), about));
            continue;
        };
        for (part, message) in PARTS.into_iter().filter(|(part, _)| before.get(part) != now.get(part)) {
            let (then, now) = (list_columns(before.get(part)), list_columns(now.get(part)));
            described.push((format!("{message} {now}; previously {then}"), about.clone()));
        }
    }
    // Most plugins give the same result for all inputs, which is listed once.
    let mut differences: Vec<(String, String)> = Vec::new();
    for (message, about) in described {
        if !differences.iter().any(|(known, _)| *known == message) {
            differences.push((message, about));
        }
    }
    all.extend(differences.into_iter().map(|(message, about)| Difference::grave(message + &about)));
}

/// The config and input of a record.
fn question(entry: &Value) -> [Option<&Value>; 3] {
    ["config", "given", "by"].map(|part| entry.get(part))
}

/// Describes the config and input of a record.
fn about(entry: &Value) -> String {
    let config = entry.get("config").filter(|config| config.as_object().is_none_or(|config| !config.is_empty()));
    let given = entry.get("given").and_then(Value::as_array).filter(|given| !given.is_empty());
    let parts = [
        config.map(|config| format!("config {}", shown(&config.to_string()))),
        given.map(|given| format!("input {}", list_columns(Some(&Value::Array(given.clone()))))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" (with {})", parts.join(" and ")) }
}

/// Formats columns as `inspect` does; several lists of columns are joined with `and`.
pub fn list_columns(value: Option<&Value>) -> String {
    let Some(Value::Array(values)) = value else {
        return match value {
            None | Some(Value::Null) => "any".into(),
            Some(other) => shown(&other.to_string()),
        };
    };
    if values.iter().any(Value::is_array) {
        return values.iter().map(|columns| list_columns(Some(columns))).collect::<Vec<_>>().join(" and ");
    }
    let columns: Vec<String> = values.iter().map(column).collect();
    if columns.is_empty() { "no columns".into() } else { shown(&columns.join(", ")) }
}

fn column(value: &Value) -> String {
    let text = |part: &str| value.get(part).and_then(Value::as_str).unwrap_or("?");
    let null = if value.get("nullable") == Some(&Value::Bool(false)) { " not null" } else { "" };
    format!("{} {}{null}", text("name"), text("type"))
}
