//! `millstream inspect PLUGIN`: what a component says of itself and what can be read from it.

use crate::batch::types::ColumnType;
use crate::error::{Kind, Result};
use crate::plugin::{Description, LoadOptions, Plugin, PluginHost};
use arrow::datatypes::Schema;
use std::fmt::Write as _;
use std::path::Path;

/// The text of `millstream inspect` for a component file or plugin folder. Errors as [`PluginHost::load`].
pub fn plugin(path: &Path) -> Result<String> {
    about(&PluginHost::new()?.load(path, &LoadOptions::default())?)
}

/// The text for a loaded plugin.
pub fn about(plugin: &Plugin) -> Result<String> {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<15}{}", format!("{name}:"), value.trim_end().replace('\n', "\n               "));
    };
    match plugin.describe("{}", &Schema::empty(), &Schema::empty()) {
        Ok(description) => {
            line("plugin", &format!("{} {}", description.name, description.version));
            line("doc", &description.doc);
            facts(plugin, &mut line);
            schemas(&description, &mut line);
        }
        Err(refusal) if refusal.kind == Kind::Job => {
            facts(plugin, &mut line);
            let words = refusal.message.rsplit_once("`describe`: ").map_or("", |(_, words)| words);
            line("schemas", &format!("they depend on the stage's config or input (without any it says: {words})"));
        }
        Err(error) => return Err(error),
    }
    Ok(text)
}

fn facts(plugin: &Plugin, line: &mut impl FnMut(&str, &str)) {
    line("world", &format!("{} of millstream:plugin@{}", plugin.world(), plugin.interface_version()));
    line("imports", if plugin.imports().is_empty() { "nothing".into() } else { plugin.imports().join("\n") }.as_str());
    line("component", &format!("{}, {} bytes", plugin.file().display(), plugin.component_bytes()));
    line("digest", &plugin.digest());
    line("compiled", if plugin.was_cached() { "before, taken from the cache" } else { "now" });
}

fn schemas(description: &Description, line: &mut impl FnMut(&str, &str)) {
    let inputs: Vec<String> = description.inputs.iter().map(|input| columns(input)).collect();
    line("reads", &inputs.join("\n"));
    line("returns", &columns(&description.output));
    if !description.state.fields().is_empty() {
        line("state", &columns(&description.state));
    }
    line("key", &description.key.as_deref().map_or("any".into(), columns));
    if description.inverse {
        line("inverse", "yes");
    }
    line("config", if description.config_schema.is_empty() { "any" } else { &description.config_schema });
}

fn columns(schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| {
        let null = if field.is_nullable() { "" } else { " not null" };
        format!("{} {}{null}", field.name(), ColumnType::of(field.data_type()))
    });
    let columns: Vec<String> = columns.collect();
    if columns.is_empty() { "no columns".into() } else { columns.join(", ") }
}
