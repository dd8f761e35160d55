//! Loads the next plugin of a stage and compares it with the running one: the rest of the job must not notice the change. For sources and sinks see
//! [`super::connectors`].

use super::candidate::{columns_differ, component_of, failure_callback, prepared_status, upgrade};
use super::replacement::Replacement;
use super::{PrepareRequest, UpgradeStatus, connectors};
use crate::checkpoint::types::{Column, Table};
use crate::operators::stage::{Operator, StageNode};
use crate::running::Running;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::plugin_part::PluginPart;
use std::path::Path;
use std::sync::Arc;

/// Loads and checks the plugin while the job continues. An error says why it cannot replace the running one.
pub fn prepare(running: &Running, request: &PrepareRequest) -> Result<UpgradeStatus> {
    let part = PluginPart::parse(&request.stage);
    let key = part.key();
    if running.options.sets.iter().any(|(path, _)| *path == key) {
        return Err(Error::job(format!(
            "{part}: the job was started with --set {key}=…, which every restart would use again; start it without"
        )));
    }
    match part {
        PluginPart::Stage(stage) => of_stage(running, request, stage),
        PluginPart::Source(source) => connectors::of_source(running, request, source),
        PluginPart::Sink(sink) => connectors::of_sink(running, request, sink),
    }
}

fn of_stage(running: &Running, request: &PrepareRequest, stage: &str) -> Result<UpgradeStatus> {
    let Some(slot) = running.plugins.versions.slot(stage) else { return Err(no_plugin(running, stage)) };
    let before = slot.now().node;
    let Some(old) = before.plugin() else { return Err(Error::bug("a stage without its plugin")) };
    let component = component_of(request, old.plugin.world())?;
    let mut node =
        running.graph.with_plugin(stage, Path::new(&request.plugin), &request.file, request.signers.clone())?;
    let Some(new) = node.plugin() else { return Err(Error::bug("a stage without its plugin")) };
    let [old_plugin, new_plugin] = [old, new].map(|node| (&node.plugin, &node.description));
    let status = prepared_status(request, old_plugin, new_plugin, &differences(&before, &node)?)?;
    let migrates = before.tables.iter().zip(&node.tables).any(|(old, new)| old.state != new.state);
    if let (true, Some(new)) = (request.on_trial && !migrates, node.plugin_mut()) {
        new.on_trial(old, failure_callback(running, &status));
    }
    let replacement = Replacement::Stage { slot, node: Arc::new(node) };
    running.plugins.upgrades.begin(upgrade(status, component, replacement, migrates))
}

fn no_plugin(running: &Running, stage: &str) -> Error {
    let spec = &running.graph.spec;
    let Some(found) = running.graph.stages.iter().find(|found| found.name == stage) else {
        let names: Vec<String> = spec.stages.iter().map(|stage| format!("`{}`", stage.name)).collect();
        let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Error::job(format!("the job `{}` has no stage `{stage}`; it has: {has}", spec.name));
    };
    Error::job(match found.operator {
        Operator::Sql(_) => format!(
            "stage `{stage}` is a query, whose function plugins cannot be replaced while the job runs. Stop the \
             job, change the plugin, and restart it; the job resumes from its last checkpoint"
        ),
        _ => format!("stage `{stage}` has no plugin to replace"),
    })
}

/// Returns the differences that the rest of the job, or a checkpoint, would notice.
fn differences(old: &StageNode, new: &StageNode) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut compare = |what: &str, old: &Schema, new: &Schema| {
        all.extend(columns_differ(what, old, new));
    };
    compare("its rows", &operator_schema(old), &operator_schema(new));
    compare("rows of the stage", &old.output, &new.output);
    compare("its rejected rows", &old.rejected.schema, &new.rejected.schema);
    if let (Operator::Reduce(old), Operator::Reduce(new)) = (&old.operator, &new.operator) {
        compare("its accumulators", &old.description.state, &new.description.state);
    }
    if old.sides != new.sides || old.key != new.key {
        return Err(Error::bug("a plugin that changes the kind of its stage"));
    }
    all.extend(old.tables.iter().filter_map(|old_table| table(old_table, &new.tables, new)));
    let is_new = |table: &&Table| !old.tables.iter().any(|old| old.name == table.name);
    all.extend(
        new.tables.iter().filter(is_new).map(|table| format!("it needs a table `{}`: it sets timers", table.name)),
    );
    Ok(all)
}

/// Returns the columns of the operator's output, before `filter` and `select`.
fn operator_schema(stage: &StageNode) -> SchemaRef {
    match &stage.operator {
        Operator::Update(_, update) => update.output.clone(),
        _ => stage.plugin().map_or_else(|| stage.output.clone(), |node| node.description.output.clone()),
    }
}

fn table(old: &Table, new: &[Table], stage: &StageNode) -> Option<String> {
    let Some(new) = new.iter().find(|new| new.name == old.name) else {
        return Some(format!("it has no table `{}`, which the checkpoint holds", old.name));
    };
    if (&old.identity, &old.key, &old.sub) != (&new.identity, &new.key, &new.sub) {
        return Some(format!("its state is of another kind: it was {} and would be {}", old.identity, new.identity));
    }
    if old.state == new.state || (new.name == stage.name && migrates(stage)) {
        return None;
    }
    Some(format!(
        "its state has other columns, and it does not migrate: it had {} and would have {}",
        Column::list_columns(&old.state),
        Column::list_columns(&new.state)
    ))
}

/// Returns whether the plugin migrates the state of its other versions.
fn migrates(stage: &StageNode) -> bool {
    stage.plugin().is_some_and(|node| node.plugin.migrates())
}
