//! The current plugin of a stage, from the view of one operator.

use super::node::PluginNode;
use super::shadow::Shadow;
use super::versions::{PluginSlot, RunningPlugin, SeenChange, Versions};
use crate::operators::stage::StageNode;
use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// A stage from the view of one operator on this worker. An upgrade may replace the stage's plugin between two batches.
pub struct CurrentPlugin {
    /// `None` if the stage has no plugin of its own.
    slot: Option<Arc<PluginSlot>>,
    seen: SeenChange,
    now: Option<RunningPlugin>,
}

impl CurrentPlugin {
    /// Returns the stage at the time when the operator is built.
    pub fn new(stage: &StageNode, versions: &Versions) -> CurrentPlugin {
        let slot = versions.slot(&stage.name);
        CurrentPlugin { now: slot.as_ref().map(|slot| slot.now()), slot, seen: SeenChange::default() }
    }

    /// Returns the stage if it changed since the last call. Call it at the beginning of a batch.
    pub fn renewed(&mut self) -> Option<Arc<StageNode>> {
        let now = self.slot.as_ref()?.renewed(&mut self.seen)?;
        let before = self.now.replace(now.clone());
        before.is_none_or(|before| !Arc::ptr_eq(&before.node, &now.node)).then_some(now.node)
    }

    /// Returns the shadow that receives the same rows, if any; see [`CurrentPlugin::renewed`].
    pub fn shadow(&self) -> Option<&Arc<Shadow>> {
        self.now.as_ref()?.shadow.as_ref()
    }
}

/// Returns the plugin of a renewed stage.
pub fn plugin_of(stage: &StageNode) -> Result<&PluginNode> {
    stage.plugin().ok_or_else(|| Error::bug("a stage that lost its plugin"))
}
