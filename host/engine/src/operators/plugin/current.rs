//! The plugin that a stage has now, as one operator knows it.

use super::node::PluginNode;
use super::shadow::Shadow;
use super::versions::{PluginSlot, RunningPlugin, SeenChange, Versions};
use crate::operators::stage::StageNode;
use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// A stage as one operator on this worker knows it. An upgrade may replace the stage's plugin from one batch to the next.
pub struct CurrentPlugin {
    /// `None`: the stage has no plugin of its own.
    slot: Option<Arc<PluginSlot>>,
    seen: SeenChange,
    now: Option<RunningPlugin>,
}

impl CurrentPlugin {
    /// The stage as it runs when the operator is built.
    pub fn of(stage: &StageNode, versions: &Versions) -> CurrentPlugin {
        let slot = versions.slot(&stage.name);
        CurrentPlugin { now: slot.as_ref().map(|slot| slot.now()), slot, seen: SeenChange::default() }
    }

    /// The stage as it is from now on, where that is not what it was when this was last asked. To be asked at the beginning
    /// of a batch.
    pub fn renewed(&mut self) -> Option<Arc<StageNode>> {
        let now = self.slot.as_ref()?.renewed(&mut self.seen)?;
        let before = self.now.replace(now.clone());
        before.is_none_or(|before| !Arc::ptr_eq(&before.node, &now.node)).then_some(now.node)
    }

    /// The shadow that gets the same rows, where there is one; see [`CurrentPlugin::renewed`].
    pub fn shadow(&self) -> Option<&Arc<Shadow>> {
        self.now.as_ref()?.shadow.as_ref()
    }
}

/// The plugin of a stage that was renewed.
pub fn plugin_of(stage: &StageNode) -> Result<&PluginNode> {
    stage.plugin().ok_or_else(|| Error::bug("a stage that lost its plugin"))
}
