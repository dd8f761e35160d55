//! A plugin of a stage, loaded and checked.

use millstream_base::error::Error;
use millstream_plugins::plugin::trial::Fallback;
use millstream_plugins::plugin::{Description, Plugin, StageUse};

/// A plugin as a stage uses it.
#[derive(Clone)]
pub struct PluginNode {
    /// The plugin.
    pub plugin: Plugin,
    /// What the plugin said of itself when it was asked about this stage.
    pub description: Description,
    /// What the stage says about it: limits, grants, what to do about errors.
    pub stage: StageUse,
    /// Places in the input of the columns that it reads.
    pub reads: Vec<usize>,
    /// The version that it replaced, where it is on trial.
    pub before: Option<Fallback>,
}

impl PluginNode {
    /// Puts it on trial, where the version before it reads, keeps and returns the same. `tell` hears of a call that fails.
    pub fn on_trial(&mut self, old: &PluginNode, tell: impl Fn(&Error) + Send + Sync + 'static) {
        let columns = |node: &PluginNode| {
            let Description { input, inputs, output, state, key, .. } = node.description.clone();
            (input, inputs, output, state, key, node.reads.clone())
        };
        if columns(old) == columns(self) {
            self.before = Some(Fallback::new(old.plugin.clone(), old.stage.clone(), old.description.clone(), tell));
        }
    }
}
