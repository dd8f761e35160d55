//! Plugins of stages made by a program.

use crate::job::spec::*;
use crate::limits;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

impl PluginSpec {
    /// The component file or plugin folder at this path, without config, with default limits.
    pub fn new(path: impl Into<PathBuf>) -> PluginSpec {
        PluginSpec {
            path: path.into(),
            config: serde_json::Value::Object(serde_json::Map::new()),
            instance: InstanceSpec::default(),
            limits: PluginLimits::default(),
            files: BTreeMap::new(),
            update: UpdateSpec::default(),
            inverse: None,
        }
    }

    /// Sets what the plugin is told.
    #[must_use]
    pub fn config(mut self, config: serde_json::Value) -> PluginSpec {
        self.config = config;
        self
    }

    /// Sets how long an instance lives.
    #[must_use]
    pub fn instance(mut self, instance: InstanceSpec) -> PluginSpec {
        self.instance = instance;
        self
    }

    /// Sets the limits of a call.
    #[must_use]
    pub fn limits(mut self, limits: PluginLimits) -> PluginSpec {
        self.limits = limits;
        self
    }

    /// Lets the plugin read a file, under this name.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> PluginSpec {
        self.files.insert(name.into(), path.into());
        self
    }

    /// Sets the options of world `update`.
    #[must_use]
    pub fn update(mut self, update: UpdateSpec) -> PluginSpec {
        self.update = update;
        self
    }
}

impl From<&str> for PluginSpec {
    fn from(path: &str) -> PluginSpec {
        PluginSpec::new(path)
    }
}

impl From<PathBuf> for PluginSpec {
    fn from(path: PathBuf) -> PluginSpec {
        PluginSpec::new(path)
    }
}

impl Default for PluginLimits {
    fn default() -> PluginLimits {
        PluginLimits {
            memory_bytes_max: limits::PLUGIN_MEMORY_BYTES_MAX,
            time_max: Duration::from_millis(limits::PLUGIN_TIME_MS_MAX),
            output_bytes_max: limits::PLUGIN_OUTPUT_BYTES_MAX,
        }
    }
}
