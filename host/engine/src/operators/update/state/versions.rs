//! Other versions of a stage's plugin: a replacement, a shadow, and the one that created the loaded state.

use super::UpdateStage;
use crate::operators::plugin::node::PluginNode;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::update::node::UpdateNode;
use crate::state::timers::Timers;
use crate::state::{OwnedKey, StateTable};
use arrow::array::{BooleanArray, RecordBatch};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchTime;
use millstream_plugins::plugin::{Account, Caller, OldStates};
use millstream_rows::batch::rejected::RejectedRows;
use std::time::Instant;

impl UpdateStage {
    /// Returns the table for the stage with its next plugin; `None` if it is unchanged. The current table stays untouched. `time` is that of the last
    /// batch.
    pub fn migrated(&self, next: &StageNode, time: BatchTime) -> Result<Option<StateTable>> {
        let Operator::Update(plugin, node) = &next.operator else {
            return Err(Error::bug("a stage that no longer updates"));
        };
        if node.description.state == self.node.description.state {
            return Ok(None);
        }
        let mut table = self.table.copied();
        if self.table.tracks_changes() {
            table.track_changes();
        }
        migrate(&self.node.name, &mut table, plugin, &self.node.description.version, time)?;
        Ok(Some(table))
    }

    /// Replaces the stage between two batches. `migrated` is its table, if that has other columns.
    pub fn renew(&mut self, node: UpdateNode, rejected: RejectedRows, caller: Caller, migrated: Option<StateTable>) {
        // Initial states are for a job's first batch only.
        self.node = UpdateNode { initial: None, ..node };
        (self.rejected, self.caller) = (rejected, caller);
        if let Some(table) = migrated {
            self.table = table;
        }
    }

    /// Returns an independent copy that runs another version of the plugin. `migrated` is its table, if that has other columns.
    pub fn copied(
        &self,
        node: UpdateNode,
        rejected: RejectedRows,
        caller: Caller,
        migrated: Option<StateTable>,
    ) -> UpdateStage {
        let group_index = if migrated.is_some() { Vec::new() } else { self.group_index.clone() };
        UpdateStage {
            node: UpdateNode { initial: self.node.initial.clone(), ..node },
            rejected,
            caller,
            table: migrated.unwrap_or_else(|| self.table.copied()),
            timers: self.timers.as_ref().map(Timers::copied),
            worker: self.worker,
            peers: self.peers,
            group_index,
            key_schema: self.key_schema.clone(),
            began: self.began,
            holder: self.holder.another(),
            noted: None,
            round: 0,
            failure: self.failure.clone(),
        }
    }

    /// Starts recording which keys are called.
    pub fn record_calls(&mut self) {
        self.noted.get_or_insert_default();
    }

    /// Returns the keys that were called since [`UpdateStage::record_calls`].
    pub fn take_called(&mut self) -> Vec<OwnedKey> {
        self.noted.take().unwrap_or_default()
    }

    /// Returns the cost of its plugin's calls.
    pub fn account(&self) -> &Account {
        self.caller.account()
    }

    /// Returns the states of these keys, and which of them have one.
    pub fn states_of(&mut self, keys: &[OwnedKey]) -> Result<(RecordBatch, BooleanArray)> {
        self.table.warm_owned(keys)?;
        self.table.states_of(keys).map_err(Error::arrow)
    }

    /// Returns the columns of these keys.
    pub fn key_rows(&self, keys: &[OwnedKey]) -> Result<RecordBatch> {
        let columns = self.table.key_columns(keys).map_err(Error::arrow)?;
        RecordBatch::try_new(self.key_schema.clone(), columns).map_err(Error::arrow)
    }

    /// Converts the table from a checkpoint to the state columns of this version of the plugin.
    pub(super) fn migrate(&mut self, plugin: &PluginNode, from: &str, time: BatchTime) -> Result<()> {
        migrate(&self.node.name, &mut self.table, plugin, from, time)
    }
}

fn migrate(name: &str, table: &mut StateTable, plugin: &PluginNode, from: &str, time: BatchTime) -> Result<()> {
    let stage_name = name;
    let PluginNode { plugin, description, stage, .. } = plugin;
    let (name, version) = (&description.name, &description.version);
    if !plugin.migrates() {
        return Err(Error::job(format!(
            "stage `{stage_name}`: the state of plugin {name} {from} does not fit version {version}, which does not migrate it"
        )));
    }
    let began = Instant::now();
    table.migrate(&description.state, |rows| {
        plugin.migrate(stage, description, &OldStates { version: from, time, rows })
    })?;
    tracing::info!(
        "stage `{stage_name}`: plugin {name} {version} took over {} states of version {from} in {:.2} s",
        table.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
