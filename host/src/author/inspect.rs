//! `millstream inspect PLUGIN`: what a component says of itself and what can be read from it.

use super::failed;
use super::package::{Package, in_words};
use crate::batch::types::ColumnType;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Description, LoadOptions, Plugin, PluginHost, component_file};
use arrow::datatypes::Schema;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// What is asked about before anything is granted: a plugin may import all that a job could grant. It gets none of it.
fn options() -> LoadOptions {
    LoadOptions { http: true, ..LoadOptions::default() }
}

/// The text of `millstream inspect` for a component file or plugin folder. Errors as [`PluginHost::load`].
pub fn plugin(path: &Path) -> Result<String> {
    about(&PluginHost::new()?.load(path, &options())?)
}

/// The same for programs.
pub fn as_json(path: &Path) -> Result<Value> {
    about_as_json(&PluginHost::new()?.load(path, &options())?)
}

/// The README that a component carries, from its bytes alone.
///
/// # Errors
/// `Job`: there is no plugin, or it carries none. `Environment`: it cannot be read.
pub fn readme(path: &Path) -> Result<String> {
    let file = component_file(path)?;
    let readme = package(&file)?.readme;
    if readme.is_empty() {
        return Err(Error::job(format!("{} carries no README", file.display())));
    }
    Ok(readme.trim_end().to_owned() + "\n")
}

/// What the custom sections of a component say. Its digest was not compared: it may be another one than was loaded, if
/// someone has just replaced it.
fn package(file: &Path) -> Result<Package> {
    let bytes = std::fs::read(file).map_err(|error| failed("read", file, &error))?;
    Ok(Package::of(&bytes))
}

/// What the plugin says of itself, or why it says nothing without a config or an input.
fn described(plugin: &Plugin) -> Result<Result<Description, String>> {
    match plugin.describe("{}", &Schema::empty(), &Schema::empty()) {
        Ok(description) => Ok(Ok(description)),
        Err(refusal) if refusal.kind == Kind::Job => {
            let words = refusal.message.rsplit_once("`describe`: ").map_or("", |(_, words)| words);
            Ok(Err(words.to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// The text for a loaded plugin.
pub fn about(plugin: &Plugin) -> Result<String> {
    let package = package(plugin.file())?;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<15}{}", format!("{name}:"), value.trim_end().replace('\n', "\n               "));
    };
    match described(plugin)? {
        Ok(description) => {
            line("plugin", &format!("{} {}", description.name, description.version));
            line("doc", &description.doc);
            told(&package, Some(&description), &mut line);
            facts(plugin, &mut line);
            schemas(&description, &mut line);
        }
        Err(words) => {
            if !package.name.is_empty() {
                line("plugin", format!("{} {}", package.name, package.version).trim_end());
            }
            told(&package, None, &mut line);
            facts(plugin, &mut line);
            line("schemas", &format!("they depend on the stage's config or input (without any it says: {words})"));
        }
    }
    Ok(text)
}

/// What the component's sections tell, beside what it says when it is asked.
fn told(package: &Package, said: Option<&Description>, line: &mut impl FnMut(&str, &str)) {
    if let Some(said) = said {
        let differs = |written: &str, said: &str| !written.is_empty() && written != said;
        if differs(&package.name, &said.name) || differs(&package.version, &said.version) {
            let written = [&*package.name, &*package.version].join(" ");
            line("otherwise", &format!("in its sections it is {}: it was changed after it was built", written.trim()));
        }
    }
    if said.is_none_or(|said| said.doc.trim() != package.description.trim()) {
        some(line, "description", &package.description);
    }
    some(line, "license", &package.license);
    some(line, "authors", &package.authors);
    some(line, "language", &in_words(&package.language));
    some(line, "sdk", &in_words(&package.sdk));
    some(line, "made by", &in_words(&package.made_by));
    if !package.readme.is_empty() {
        line("readme", &format!("{} lines, shown by `millstream inspect --readme`", package.readme.lines().count()));
    }
}

/// A line where there is something to say.
fn some(line: &mut impl FnMut(&str, &str), name: &str, value: &str) {
    if !value.is_empty() {
        line(name, value);
    }
}

/// The object for a loaded plugin; what it does not say without a config or an input is null, and `refused` says why.
pub fn about_as_json(plugin: &Plugin) -> Result<Value> {
    let (functions, modules) = plugin.functions_and_modules();
    let facts = json!({
        "world": plugin.world().to_string(),
        "interface_version": plugin.interface_version(),
        "imports": plugin.imports(),
        "asks": plugin.asks(),
        "file": plugin.file().display().to_string(),
        "bytes": plugin.component_bytes(),
        "functions": functions,
        "modules": modules,
        "digest": plugin.digest(),
        "package": package(plugin.file())?,
    });
    let said = match described(plugin)? {
        Ok(said) => json!({
            "name": said.name,
            "version": said.version,
            "doc": said.doc,
            "inputs": said.inputs.iter().map(|input| columns_as_json(input)).collect::<Vec<_>>(),
            "output": columns_as_json(&said.output),
            "state": columns_as_json(&said.state),
            "key": said.key.as_deref().map(columns_as_json),
            "inverse": said.inverse,
            "config_schema": said.config_schema,
        }),
        Err(words) => json!({ "name": null, "version": null, "refused": words }),
    };
    let objects = [facts, said].into_iter().filter_map(|object| match object {
        Value::Object(entries) => Some(entries),
        _ => None,
    });
    Ok(Value::Object(objects.flatten().collect()))
}

fn facts(plugin: &Plugin, line: &mut impl FnMut(&str, &str)) {
    let or_nothing = |list: String| if list.is_empty() { "nothing".to_owned() } else { list };
    let (functions, modules) = plugin.functions_and_modules();
    line("world", &format!("{} of millstream:plugin@{}", plugin.world(), plugin.interface_version()));
    line("asks for", &or_nothing(plugin.asks().join(", ")));
    line("imports", &or_nothing(plugin.imports().join("\n")));
    let size = format!("{} bytes, {functions} functions, {modules} modules", plugin.component_bytes());
    line("component", &format!("{}, {size}", plugin.file().display()));
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

fn columns_as_json(schema: &Schema) -> Value {
    let columns = schema.fields().iter().map(|field| {
        json!({
            "name": field.name(),
            "type": ColumnType::of(field.data_type()).to_string(),
            "nullable": field.is_nullable(),
        })
    });
    columns.collect()
}
