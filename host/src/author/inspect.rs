//! `millstream inspect PLUGIN`: describes a component from its own metadata and from its code.
//!
//! A component built by `millstream build` contains all metadata in its bytes, so it is not run. Others, also those
//! built by an older Millstream, are loaded and queried.

mod text;

use super::build::described;
use super::cases::DescribeQuestion;
use arrow::datatypes::Schema;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Kind, Result};
use millstream_packages::package::facts::PackageFacts;
use millstream_plugins::plugin::{LoadOptions, Plugin, PluginHost, component_file, read_component};
use millstream_plugins::sections::PackageSections;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is known about a plugin.
struct Inspected {
    file: PathBuf,
    bytes: usize,
    digest: Digest,
    facts: PackageFacts,
    /// Its responses, in the form of [`PackageFacts::schemas`].
    responses: Vec<Value>,
    /// Why it did not respond to a query without config and columns. Empty if it did, or was not queried now.
    unknown_reason: String,
    /// Whether it was compiled before this query. `None` if it was not queried.
    cached: Option<bool>,
}

/// Returns the text of `millstream inspect` for a component file or plugin directory. Errors as [`PluginHost::load`].
pub fn plugin(path: &Path) -> Result<String> {
    Ok(text::render(&Inspected::read(path)?))
}

/// Returns the same as JSON.
pub fn as_json(path: &Path) -> Result<Value> {
    Inspected::read(path)?.as_json()
}

/// Returns the text for the bytes of a component, without running it. `shown` names it.
pub fn component(bytes: &[u8], shown: &str) -> Result<String> {
    let mut inspected = Inspected::from_component(bytes, shown.into())?;
    if !inspected.facts.is_described {
        inspected.unknown_reason = "nothing, because it is not run".into();
    }
    Ok(text::render(&inspected))
}

/// Returns the README in a component, from its bytes alone.
///
/// # Errors
/// `Job`: there is no plugin, or it has no README. `Environment`: it cannot be read.
pub fn readme(path: &Path) -> Result<String> {
    let file = component_file(path)?;
    let readme = PackageSections::parse(&read_component(&file)?).readme;
    if readme.is_empty() {
        return Err(Error::job(format!("{} has no README", file.display())));
    }
    Ok(readme.trim_end().to_owned() + "\n")
}

impl Inspected {
    fn read(path: &Path) -> Result<Inspected> {
        let file = component_file(path)?;
        let mut inspected = Inspected::from_component(&read_component(&file)?, file)?;
        if !inspected.facts.is_described {
            // Everything that a job could grant may be imported. Nothing of it is provided.
            let options = LoadOptions { http: true, ..LoadOptions::default() };
            inspected.add_description(&PluginHost::new()?.load(&inspected.file, &options)?)?;
        }
        Ok(inspected)
    }

    /// Reads what its bytes contain.
    fn from_component(component: &[u8], file: PathBuf) -> Result<Inspected> {
        let facts = PackageFacts::read(component, &file.display().to_string())?;
        Ok(Inspected {
            bytes: component.len(),
            digest: Digest::compute(component),
            responses: facts.schemas.clone(),
            unknown_reason: String::new(),
            cached: None,
            facts,
            file,
        })
    }

    /// Queries the plugin without a config and an input.
    fn add_description(&mut self, plugin: &Plugin) -> Result<()> {
        self.cached = Some(plugin.was_cached());
        match plugin.describe("{}", &Schema::empty(), &Schema::empty()) {
            Ok(metadata) => {
                if !metadata.config_schema.is_empty() {
                    let message = Value::String(metadata.config_schema.clone());
                    self.facts.config_schema = serde_json::from_str(&metadata.config_schema).unwrap_or(message);
                }
                self.responses = vec![described::entry(&DescribeQuestion::default(), &metadata)];
            }
            Err(unknown_reason) if unknown_reason.kind == Kind::Job => {
                self.unknown_reason =
                    unknown_reason.message.rsplit_once("`describe`: ").map_or("", |(_, message)| message).to_owned();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns its response to the query without config and columns.
    fn response(&self) -> Option<&Value> {
        let is_empty = |value: &Value| match value {
            Value::Array(values) => values.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => true,
        };
        self.responses.iter().find(|response| is_empty(&response["config"]) && is_empty(&response["given"]))
    }

    /// Returns the JSON object. Values that need a config or an input are null, and `unknown_reason` says why.
    fn as_json(&self) -> Result<Value> {
        let facts = &self.facts;
        let (functions, modules) = facts.functions_and_modules;
        let mut object = json!({
            "world": facts.world.to_string(),
            "interface_version": facts.interface,
            "migrates": facts.migrates,
            "imports": facts.imports,
            "asks": facts.permissions,
            "grants": facts.grants,
            "file": self.file.display().to_string(),
            "bytes": self.bytes,
            "functions": functions,
            "modules": modules,
            "digest": self.digest,
            "package": facts.metadata,
            "schemas": self.responses,
            "config_schema": facts.config_schema,
        });
        let mut set = |key: &str, value: Value| object[key] = value;
        match self.response() {
            Some(response) => {
                for key in ["name", "version", "doc", "inputs", "output", "state", "key", "inverse"] {
                    set(key, response[key].clone());
                }
            }
            None => {
                let or_null = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
                set("name", or_null(&facts.name));
                set("version", or_null(&facts.version));
                set("refused", self.unknown_reason.clone().into());
            }
        }
        Ok(object)
    }
}

/// Returns the text for a loaded plugin, which is queried.
#[cfg(test)]
pub fn of_loaded(plugin: &Plugin) -> Result<(String, Value)> {
    let component = read_component(plugin.file())?;
    let facts = PackageFacts::read(&component, "plugin")?;
    let mut inspected = Inspected {
        file: plugin.file().to_owned(),
        bytes: component.len(),
        digest: Digest::compute(&component),
        responses: Vec::new(),
        unknown_reason: String::new(),
        cached: None,
        facts,
    };
    inspected.add_description(plugin)?;
    Ok((text::render(&inspected), inspected.as_json()?))
}

#[cfg(test)]
mod tests;
