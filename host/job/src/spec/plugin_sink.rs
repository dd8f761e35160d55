//! A sink that is a plugin.

use super::{PluginSpec, SinkKind, SinkSpec};
use millstream_base::limits;
use std::time::Duration;

/// The settings of a sink of kind `plugin`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSinkSpec {
    /// The plugin, of world `sink`.
    pub plugin: PluginSpec,
    /// How long the job waits while the plugin cannot write, at startup and later.
    pub wait: Duration,
    /// Whether rows that the plugin rejects are dropped; otherwise they fail the job.
    pub reject: bool,
}

impl PluginSinkSpec {
    /// Uses this plugin with default limits.
    pub fn new(plugin: impl Into<PluginSpec>) -> PluginSinkSpec {
        PluginSinkSpec { plugin: plugin.into(), wait: Duration::from_millis(limits::SERVER_WAIT_MS), reject: false }
    }
}

impl SinkSpec {
    /// Creates a sink with a plugin of world `sink`.
    pub fn of_plugin<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        plugin: impl Into<PluginSpec>,
    ) -> SinkSpec {
        SinkSpec::new(name, from, SinkKind::Plugin(Box::new(PluginSinkSpec::new(plugin))))
    }

    /// Returns its plugin, if it is one.
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

    /// Returns whether two jobs configure a sink in the same way.
    pub fn is_same(&self, other: &SinkSpec) -> bool {
        self.name == other.name && self.as_written() == other.as_written()
    }

    /// Returns its kind as in the job file, without what was resolved since.
    fn as_written(&self) -> SinkKind {
        let mut written = self.clone();
        if let Some(plugin) = written.plugin_mut() {
            (plugin.file, plugin.pinned, plugin.signers) = (None, None, None);
        }
        written.kind
    }
}
