//! `millstream inspect PLUGIN`: what a component says of itself and what can be read from it.
//!
//! A component that `millstream build` made tells all of it in its bytes, and none of it is run. One that was made
//! otherwise, or by an older Millstream, is loaded and asked.

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

/// What is known of a plugin.
struct Inspected {
    file: PathBuf,
    bytes: usize,
    digest: Digest,
    facts: PackageFacts,
    /// What it answered, in the form of [`PackageFacts::schemas`].
    answers: Vec<Value>,
    /// Why it did not answer when it was asked about no config and no columns; empty where it did, or was not asked now.
    refused: String,
    /// Whether it was compiled before it was asked now; `None`: it was not asked.
    cached: Option<bool>,
}

/// The text of `millstream inspect` for a component file or plugin folder. Errors as [`PluginHost::load`].
pub fn plugin(path: &Path) -> Result<String> {
    Ok(text::of(&Inspected::read(path)?))
}

/// The same for programs.
pub fn as_json(path: &Path) -> Result<Value> {
    Inspected::read(path)?.as_json()
}

/// The same text for the bytes of a component that is not run for it. `shown` names it.
pub fn component(bytes: &[u8], shown: &str) -> Result<String> {
    let mut inspected = Inspected::of(bytes, shown.into())?;
    if !inspected.facts.is_described {
        inspected.refused = "nothing, as it is not run".into();
    }
    Ok(text::of(&inspected))
}

/// The README that a component carries, from its bytes alone.
///
/// # Errors
/// `Job`: there is no plugin, or it carries none. `Environment`: it cannot be read.
pub fn readme(path: &Path) -> Result<String> {
    let file = component_file(path)?;
    let readme = PackageSections::of(&read_component(&file)?).readme;
    if readme.is_empty() {
        return Err(Error::job(format!("{} carries no README", file.display())));
    }
    Ok(readme.trim_end().to_owned() + "\n")
}

impl Inspected {
    fn read(path: &Path) -> Result<Inspected> {
        let file = component_file(path)?;
        let mut inspected = Inspected::of(&read_component(&file)?, file)?;
        if !inspected.facts.is_described {
            // It may import all that a job could grant. It gets none of it.
            let options = LoadOptions { http: true, ..LoadOptions::default() };
            inspected.ask(&PluginHost::new()?.load(&inspected.file, &options)?)?;
        }
        Ok(inspected)
    }

    /// What its bytes tell.
    fn of(component: &[u8], file: PathBuf) -> Result<Inspected> {
        let facts = PackageFacts::of(component, &file.display().to_string())?;
        Ok(Inspected {
            bytes: component.len(),
            digest: Digest::of(component),
            answers: facts.schemas.clone(),
            refused: String::new(),
            cached: None,
            facts,
            file,
        })
    }

    /// Asks the plugin what it does without a config and an input.
    fn ask(&mut self, plugin: &Plugin) -> Result<()> {
        self.cached = Some(plugin.was_cached());
        match plugin.describe("{}", &Schema::empty(), &Schema::empty()) {
            Ok(said) => {
                if !said.config_schema.is_empty() {
                    let words = Value::String(said.config_schema.clone());
                    self.facts.config_schema = serde_json::from_str(&said.config_schema).unwrap_or(words);
                }
                self.answers = vec![described::entry(&DescribeQuestion::default(), &said)];
            }
            Err(refusal) if refusal.kind == Kind::Job => {
                self.refused = refusal.message.rsplit_once("`describe`: ").map_or("", |(_, words)| words).to_owned();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What it answered about no config and no columns.
    fn answer(&self) -> Option<&Value> {
        let is_empty = |value: &Value| match value {
            Value::Array(values) => values.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => true,
        };
        self.answers.iter().find(|answer| is_empty(&answer["config"]) && is_empty(&answer["given"]))
    }

    /// The object; what it does not say without a config or an input is null, and `refused` says why.
    fn as_json(&self) -> Result<Value> {
        let facts = &self.facts;
        let (functions, modules) = facts.functions_and_modules;
        let mut object = json!({
            "world": facts.world.to_string(),
            "interface_version": facts.interface,
            "migrates": facts.migrates,
            "imports": facts.imports,
            "asks": facts.asks,
            "grants": facts.grants,
            "file": self.file.display().to_string(),
            "bytes": self.bytes,
            "functions": functions,
            "modules": modules,
            "digest": self.digest,
            "package": facts.said,
            "schemas": self.answers,
            "config_schema": facts.config_schema,
        });
        let mut set = |key: &str, value: Value| object[key] = value;
        match self.answer() {
            Some(answer) => {
                for key in ["name", "version", "doc", "inputs", "output", "state", "key", "inverse"] {
                    set(key, answer[key].clone());
                }
            }
            None => {
                let or_null = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
                set("name", or_null(&facts.name));
                set("version", or_null(&facts.version));
                set("refused", self.refused.clone().into());
            }
        }
        Ok(object)
    }
}

/// The text for a loaded plugin, which is asked.
#[cfg(test)]
pub fn of_loaded(plugin: &Plugin) -> Result<(String, Value)> {
    let component = read_component(plugin.file())?;
    let facts = PackageFacts::of(&component, "plugin")?;
    let mut inspected = Inspected {
        file: plugin.file().to_owned(),
        bytes: component.len(),
        digest: Digest::of(&component),
        answers: Vec::new(),
        refused: String::new(),
        cached: None,
        facts,
    };
    inspected.ask(plugin)?;
    Ok((text::of(&inspected), inspected.as_json()?))
}

#[cfg(test)]
mod tests;
