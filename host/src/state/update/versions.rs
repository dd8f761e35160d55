//! Other versions of a stage's plugin: one that takes its place, and one that made the state which is loaded.

use super::UpdateStage;
use crate::batch::rejected::RejectedRows;
use crate::error::{Error, Result};
use crate::graph::{PluginNode, UpdateNode};
use crate::ids::BatchTime;
use crate::plugin::{Caller, OldStates};
use std::time::Instant;

impl UpdateStage {
    /// Another version of its plugin from the next batch on; `time` is that of the last batch. Says whether the state was
    /// migrated, as its columns are others: files that hold it so far are of no use then. An error leaves the stage as it
    /// was.
    pub fn renew(
        &mut self,
        node: UpdateNode,
        rejected: RejectedRows,
        plugin: &PluginNode,
        caller: Caller,
        time: BatchTime,
    ) -> Result<bool> {
        let migrates = node.description.state != self.node.description.state;
        if migrates {
            let version = self.node.description.version.clone();
            self.migrate(plugin, &version, time)?;
        }
        // Initial states that are still to be stored have the columns of the new version; those that are stored do not come
        // again.
        let initial = self.node.initial.as_ref().and(node.initial.clone());
        self.node = UpdateNode { initial, ..node };
        (self.rejected, self.caller) = (rejected, caller);
        Ok(migrates)
    }

    /// Brings the table to the state columns of this version of the plugin.
    pub(super) fn migrate(&mut self, plugin: &PluginNode, from: &str, time: BatchTime) -> Result<()> {
        let PluginNode { plugin, description, stage, .. } = plugin;
        let (name, version) = (&description.name, &description.version);
        if !plugin.migrates() {
            return Err(Error::job(format!(
                "stage `{}`: the state of plugin {name} {from} does not fit version {version}, which does not migrate it",
                self.node.name
            )));
        }
        let began = Instant::now();
        self.table.migrate(&description.state, |rows| {
            plugin.migrate(stage, description, &OldStates { version: from, time, rows })
        })?;
        tracing::info!(
            "stage `{}`: plugin {name} {version} took over {} states of version {from} in {:.2} s",
            self.node.name,
            self.table.len(),
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }
}
