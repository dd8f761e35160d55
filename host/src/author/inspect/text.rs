//! Formats the text of `millstream inspect` for a plugin.

use super::Inspected;
use millstream_packages::package::difference::list_columns as columns;
use millstream_plugins::sections::list_producers;
use serde_json::Value;
use std::fmt::Write as _;

/// Lines of name and value, with aligned values.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        let value = value.trim_end().replace('\n', "\n               ");
        let _ = writeln!(self.0, "{:<15}{value}", format!("{name}:"));
    }

    /// Adds a line if the value is not empty.
    fn some(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.add(name, value);
        }
    }
}

pub(super) fn render(inspected: &Inspected) -> String {
    let mut lines = Lines(String::new());
    let response = inspected.response();
    let metadata = response.or(inspected.responses.first());
    let name = |name: &str, version: &str| [name, version].join(" ").trim().to_owned();
    let package = &inspected.facts.metadata;
    match metadata {
        Some(metadata) => {
            lines.add("plugin", &name(text(metadata, "name"), text(metadata, "version")));
            lines.some("doc", text(metadata, "doc"));
            let differs = |written: &str, metadata: &str| !written.is_empty() && written != metadata;
            if differs(&package.name, text(metadata, "name")) || differs(&package.version, text(metadata, "version")) {
                let written = name(&package.name, &package.version);
                let text = format!("in its sections it is {written}: it was changed after it was built");
                lines.add("otherwise", &text);
            }
        }
        None => lines.some("plugin", &name(&package.name, &package.version)),
    }
    if metadata.is_none_or(|metadata| text(metadata, "doc").trim() != package.description.trim()) {
        lines.some("description", &package.description);
    }
    add_sections(inspected, &mut lines);
    facts(inspected, &mut lines);
    match response {
        Some(response) => columns_of(response, inspected, &mut lines),
        None => {
            let why = match inspected.unknown_reason.as_str() {
                "" => String::new(),
                text => format!(" (without config: {text})"),
            };
            lines.add("schemas", &format!("they depend on the stage's config or input{why}"));
        }
    }
    let others =
        inspected.responses.iter().filter(|other| response.is_none_or(|response| !same_columns(response, other)));
    for other in others {
        lines.add("for example", &example(other));
    }
    lines.0
}

fn text<'a>(response: &'a Value, part: &str) -> &'a str {
    response.get(part).and_then(Value::as_str).unwrap_or_default()
}

/// Adds what the component's sections contain in addition to its name.
fn add_sections(inspected: &Inspected, lines: &mut Lines) {
    let package = &inspected.facts.metadata;
    lines.some("license", &package.license);
    lines.some("authors", &package.authors);
    lines.some("language", &list_producers(&package.language));
    lines.some("sdk", &list_producers(&package.sdk));
    lines.some("made by", &list_producers(&package.made_by));
    if !package.readme.is_empty() {
        let count = package.readme.lines().count();
        lines.add("readme", &format!("{count} lines, shown by `millstream inspect --readme`"));
    }
}

/// Adds the facts about the component.
fn facts(inspected: &Inspected, lines: &mut Lines) {
    let facts = &inspected.facts;
    let or_nothing = |list: String| if list.is_empty() { "nothing".to_owned() } else { list };
    let (functions, modules) = facts.functions_and_modules;
    let migrates = if facts.migrates { ", takes over states of other versions" } else { "" };
    lines.add("world", &format!("{} of millstream:plugin@{}{migrates}", facts.world, facts.interface));
    lines.add("grants", &or_nothing(facts.permissions.join(", ")));
    lines.add("imports", &or_nothing(facts.imports.join("\n")));
    if facts.grants.as_object().is_some_and(|grants| !grants.is_empty()) {
        lines.add("wants", &format!("grant = {}", facts.grants));
    }
    let size = format!("{} bytes, {functions} functions, {modules} modules", inspected.bytes);
    lines.add("component", &format!("{}, {size}", inspected.file.display()));
    lines.add("digest", &inspected.digest.to_string());
    match inspected.cached {
        Some(true) => lines.add("compiled", "cached"),
        Some(false) => lines.add("compiled", "now"),
        None => {}
    }
}

fn columns_of(response: &Value, inspected: &Inspected, lines: &mut Lines) {
    let inputs = response.get("inputs").and_then(Value::as_array);
    let inputs: Vec<String> = inputs.into_iter().flatten().map(|input| columns(Some(input))).collect();
    // A source has none.
    lines.some("reads", &inputs.join("\n"));
    lines.add("returns", &columns(response.get("output")));
    if has_state(response) {
        lines.add("state", &columns(response.get("state")));
    }
    if !inputs.is_empty() {
        lines.add("key", &columns(response.get("key")));
    }
    if response.get("inverse") == Some(&Value::Bool(true)) {
        lines.add("inverse", "yes");
    }
    match &inspected.facts.config_schema {
        Value::Null => lines.add("config", "any"),
        Value::String(text) => lines.add("config", text),
        schema => lines.add("config", &schema.to_string()),
    }
}

fn has_state(response: &Value) -> bool {
    response.get("state").and_then(Value::as_array).is_some_and(|columns| !columns.is_empty())
}

fn same_columns(one: &Value, other: &Value) -> bool {
    ["inputs", "output", "state", "key"].iter().all(|part| one.get(part) == other.get(part))
}

/// Describes the response for a config and an input.
fn example(response: &Value) -> String {
    let config = response.get("config").map(Value::to_string).unwrap_or_default();
    let state = if has_state(response) { format!(", state {}", columns(response.get("state"))) } else { String::new() };
    if response.get("inputs").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        return format!("config {config}: returns {}", columns(response.get("output")));
    }
    format!(
        "config {config}, input {}: reads {}, returns {}{state}",
        columns(response.get("given")),
        columns(response.get("inputs")),
        columns(response.get("output"))
    )
}
