//! State that another version of the stage's plugin made.

use super::UpdateStage;
use crate::error::{Error, Result};
use crate::graph::{Operator, PluginNode, StageNode};
use crate::plugin::OldStates;
use crate::state::StateTable;
use std::time::Instant;

impl UpdateStage {
    /// The table as the stage with its next plugin needs it; `None`: as it is. What there is stays untouched.
    pub fn migrated(&self, next: &StageNode) -> Result<Option<StateTable>> {
        let Operator::Update(plugin, node) = &next.operator else {
            return Err(Error::bug("a stage that updates no more"));
        };
        if node.description.state == self.node.description.state {
            return Ok(None);
        }
        self.taken_over(plugin, &self.node.description.version).map(Some)
    }

    /// The table with the state columns of this version of the plugin, for which it asks the plugin. `from`: the version that
    /// made the states.
    pub(super) fn taken_over(&self, plugin: &PluginNode, from: &str) -> Result<StateTable> {
        let PluginNode { plugin, description, stage, .. } = plugin;
        let (name, version) = (&description.name, &description.version);
        if !plugin.migrates() {
            return Err(Error::job(format!(
                "stage `{}`: its state does not fit plugin {name} {version}, which does not migrate that of version {from}",
                self.node.name
            )));
        }
        let began = Instant::now();
        let table = self.table.migrated(&description.state, |rows| {
            plugin.migrate(stage, description, &OldStates { version: from, time: self.time, rows })
        })?;
        tracing::info!(
            "stage `{}`: plugin {name} {version} took over {} states of version {from} in {:.2} s",
            self.node.name,
            table.len(),
            began.elapsed().as_secs_f64()
        );
        Ok(table)
    }
}
