//! A loaded and checked plugin of a stage.

use millstream_base::error::Error;
use millstream_plugins::plugin::trial::Fallback;
use millstream_plugins::plugin::{Description, Plugin, StageUse};

/// A plugin in use by a stage.
#[derive(Clone)]
pub struct PluginNode {
    /// The plugin.
    pub plugin: Plugin,
    /// The plugin's description for this stage.
    pub description: Description,
    /// Parameters from the stage: limits, permissions, error handling.
    pub stage: StageUse,
    /// Indexes of the input columns that it reads.
    pub reads: Vec<usize>,
    /// The replaced version, during a trial.
    pub before: Option<Fallback>,
}

impl PluginNode {
    /// Starts a trial, if the previous version has the same input, state and output. `report` receives failed calls.
    pub fn on_trial(&mut self, old: &PluginNode, report: impl Fn(&Error) + Send + Sync + 'static) {
        let columns = |node: &PluginNode| {
            let Description { input, inputs, output, state, key, .. } = node.description.clone();
            (input, inputs, output, state, key, node.reads.clone())
        };
        if columns(old) == columns(self) {
            self.before = Some(Fallback::new(old.plugin.clone(), old.stage.clone(), old.description.clone(), report));
        }
    }
}
