//! A sink that is a plugin.

use super::{PluginSpec, SinkKind, SinkSpec};
use crate::limits;
use std::time::Duration;

/// What a sink of kind `plugin` writes with.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSinkSpec {
    /// The plugin, of world `sink`.
    pub plugin: PluginSpec,
    /// How long the job waits where the plugin cannot write for now, at its start and later.
    pub wait: Duration,
    /// Whether rows that the plugin refuses are left out; otherwise they end the job.
    pub reject: bool,
}

impl PluginSinkSpec {
    /// With this plugin, and default limits.
    pub fn new(plugin: impl Into<PluginSpec>) -> PluginSinkSpec {
        PluginSinkSpec { plugin: plugin.into(), wait: Duration::from_millis(limits::SERVER_WAIT_MS), reject: false }
    }
}

impl SinkSpec {
    /// A plugin of world `sink`.
    pub fn of_plugin<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        plugin: impl Into<PluginSpec>,
    ) -> SinkSpec {
        SinkSpec::new(name, from, SinkKind::Plugin(Box::new(PluginSinkSpec::new(plugin))))
    }

    /// The plugin that it is, if it is one.
    pub fn plugin(&self) -> Option<&PluginSpec> {
        match &self.kind {
            SinkKind::Plugin(sink) => Some(&sink.plugin),
            _ => None,
        }
    }

    /// See [`SinkSpec::plugin`].
    pub fn plugin_mut(&mut self) -> Option<&mut PluginSpec> {
        match &mut self.kind {
            SinkKind::Plugin(sink) => Some(&mut sink.plugin),
            _ => None,
        }
    }

    /// Whether two jobs say the same of a sink.
    pub fn is_same(&self, other: &SinkSpec) -> bool {
        self.name == other.name && self.as_written() == other.as_written()
    }

    /// Its kind without what was found out since the job file was read.
    fn as_written(&self) -> SinkKind {
        let mut written = self.clone();
        if let Some(plugin) = written.plugin_mut() {
            (plugin.file, plugin.pinned, plugin.signers) = (None, None, None);
        }
        written.kind
    }
}
