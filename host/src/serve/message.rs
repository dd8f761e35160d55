//! The headers of frames.

use super::frame::FrameError;
use millstream_base::error::{Error, Kind, Result};
use millstream_hosting::Settings;
use millstream_job::spec::PluginSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The version of the protocol.
pub const VERSION: u32 = 1;
/// Maximum characters of a name derived from a plugin's.
const NAME_CHARS_MAX: usize = 40;

/// A message of a client.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientMessage {
    /// The first message, sent once: which plugin to call.
    Hello(Box<Hello>),
    /// Tables for the plugin.
    Call(Call),
}

/// A plugin, and its settings as in a stage of a job.
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
    /// The expected function, if the client wants it to be checked.
    pub function: Option<String>,
    /// The key columns.
    #[serde(default)]
    pub key: Vec<String>,
    /// The names of the tables of a `cogroup`.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// The format of states in tables.
    #[serde(default)]
    pub states: States,
}

/// The format of the states of keys in tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum States {
    /// The columns of the state follow those of the key.
    #[default]
    Columns,
    /// One column `state` of opaque bytes follows those of the key.
    Bytes,
}

/// The parameters of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The batch number for the plugin.
    pub batch: Option<u64>,
    /// The batch time for the plugin, in microseconds.
    pub time_us: Option<i64>,
    /// Which keys of world `update` are called.
    #[serde(default)]
    pub on: KeysCalled,
}

/// Which keys of world `update` are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysCalled {
    /// Those that have rows, or due timers.
    #[default]
    Rows,
    /// Also all that have a state.
    All,
}

impl ClientMessage {
    /// Parses a header.
    pub fn parse(header: &[u8]) -> Result<ClientMessage, FrameError> {
        serde_json::from_slice(header).map_err(|error| FrameError::Invalid(format!("the header of a frame: {error}")))
    }
}

impl Hello {
    /// Returns the identity: equal settings share one plugin.
    pub fn identity(&self) -> Result<String> {
        serde_json::to_string(self).map_err(Error::bug)
    }

    /// Returns what is needed to find and load the plugin. Paths are those of this process.
    pub fn settings(&self) -> Result<Settings> {
        if self.millstream != VERSION {
            return Err(Error::job(format!(
                "the protocol version is {VERSION}, but the client uses {}; install the same version of Millstream \
                on both",
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
            dir: here(&millstream_hosting::dir_of_lock(self.lock.as_deref().unwrap_or(Path::new("."))))?,
            pins: self.lock.is_some(),
            registry: self.registry.clone(),
            digest: self.digest.clone(),
            keys,
        })
    }
}

/// Returns a name for messages, allowed as a stage name.
fn name_of(plugin: &str) -> String {
    let last = plugin.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = last.split('@').next().unwrap_or_default().trim_end_matches(".wasm");
    let c = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(c).take(NAME_CHARS_MAX).collect();
    match name.as_str() {
        "table" | "nothing" | "rejected" | "late" => format!("{name}-2"),
        _ if name.starts_with(|first: char| first.is_ascii_alphabetic()) => name,
        _ => format!("plugin{name}"),
    }
}

/// Returns the header of a frame with an error.
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
