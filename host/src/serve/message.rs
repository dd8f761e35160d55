//! What the headers of frames say.

use super::frame::NoFrame;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::job::spec::PluginSpec;
use millstream_hosting::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The version of the protocol.
pub const VERSION: u32 = 1;
/// Letters of a name that is made of a plugin's.
const NAME_CHARS_MAX: usize = 40;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientMessage {
    /// First, and once: which plugin is meant.
    Hello(Box<Hello>),
    /// Tables for it.
    Call(Call),
}

/// A plugin, and what a stage of a job would say of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    millstream: u32,
    plugin: String,
    name: Option<String>,
    lock: Option<PathBuf>,
    registry: Option<String>,
    digest: Option<String>,
    config: Option<Map<String, Value>>,
    limits: Option<Map<String, Value>>,
    grant: Option<Map<String, Value>>,
    on_error: Option<String>,
    instance: Option<String>,
    /// What will be called, where a client wants to be sure of it.
    pub function: Option<String>,
    /// The key columns.
    #[serde(default)]
    pub key: Vec<String>,
    /// The names of the tables of a `cogroup`.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// How states stand in tables.
    #[serde(default)]
    pub states: States,
}

/// How the states of keys stand in tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum States {
    /// The columns that the plugin keeps, behind those of the key.
    #[default]
    Columns,
    /// One column `state` behind those of the key, of bytes that nobody else reads.
    Bytes,
}

/// What is said of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The batch that the plugin is told.
    pub batch: Option<u64>,
    /// The time that it is told, in microseconds.
    pub time_us: Option<i64>,
    /// Which keys of world `update` are called.
    #[serde(default)]
    pub on: KeysCalled,
}

/// Which keys of world `update` are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysCalled {
    /// Those that have rows, or timers that are due.
    #[default]
    Rows,
    /// All that have a state as well.
    All,
}

impl ClientMessage {
    /// What a header says.
    pub fn of(header: &[u8]) -> Result<ClientMessage, NoFrame> {
        serde_json::from_slice(header).map_err(|error| NoFrame::Wrong(format!("the header of a frame: {error}")))
    }
}

impl Hello {
    /// By what plugins are known to be the same.
    pub fn identity(&self) -> Result<String> {
        serde_json::to_string(self).map_err(Error::bug)
    }

    /// What finds and loads the plugin. Paths are those of this process.
    pub fn settings(&self) -> Result<Settings> {
        if self.millstream != VERSION {
            return Err(Error::job(format!(
                "the protocol has version {VERSION} here, and the client speaks {}; give both the same version of Millstream",
                self.millstream
            )));
        }
        let is_package = PluginSpec::new(self.plugin.clone()).package().is_some();
        let here = |path: &Path| {
            std::path::absolute(path).map_err(|error| Error::job(format!("the path {}: {error}", path.display())))
        };
        let plugin = match is_package {
            true => self.plugin.clone(),
            false => here(Path::new(&self.plugin))?.display().to_string(),
        };
        let mut keys = Map::new();
        for (key, value) in [("config", &self.config), ("limits", &self.limits), ("grant", &self.grant)] {
            if let Some(value) = value {
                keys.insert(key.to_owned(), Value::Object(value.clone()));
            }
        }
        for (key, value) in [("on_error", &self.on_error), ("instance", &self.instance)] {
            if let Some(value) = value {
                keys.insert(key.to_owned(), value.as_str().into());
            }
        }
        if self.grant.as_ref().is_some_and(|grant| grant.contains_key("http")) {
            keys.insert("replayable".into(), false.into());
        }
        Ok(Settings {
            of: "hello",
            name: self.name.clone().unwrap_or_else(|| name_of(&self.plugin)),
            plugin,
            folder: here(&millstream_hosting::folder_of_lock(self.lock.as_deref().unwrap_or(Path::new("."))))?,
            pins: self.lock.is_some(),
            registry: self.registry.clone(),
            digest: self.digest.clone(),
            keys,
        })
    }
}

/// A name for messages, of what stages may be called.
fn name_of(plugin: &str) -> String {
    let last = plugin.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = last.split('@').next().unwrap_or_default().trim_end_matches(".wasm");
    let letter = |letter: char| if letter.is_ascii_alphanumeric() || "_-".contains(letter) { letter } else { '-' };
    let name: String = stem.chars().map(letter).take(NAME_CHARS_MAX).collect();
    match name.as_str() {
        "table" | "nothing" | "rejected" | "late" => format!("{name}-2"),
        _ if name.starts_with(|first: char| first.is_ascii_alphabetic()) => name,
        _ => format!("plugin{name}"),
    }
}

/// The header of a frame that tells an error.
pub fn error(error: &Error) -> Vec<u8> {
    let kind = match error.kind {
        Kind::Job | Kind::TakenOver => "usage",
        Kind::Plugin | Kind::TooLarge => "plugin",
        Kind::Environment | Kind::Peer | Kind::Memory => "environment",
        Kind::Bug => "internal",
    };
    json!({ "error": { "kind": kind, "message": error.to_string() } }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_have_names_for_messages() {
        for (plugin, name) in [
            ("plugins/split-words", "split-words"),
            ("/a/sum.wasm", "sum"),
            ("split-words@0.1.0", "split-words"),
            ("7 dwarfs/", "plugin7-dwarfs"),
            ("table", "table-2"),
            ("", "plugin"),
        ] {
            assert_eq!(name_of(plugin), name);
        }
    }
}
