//! The next plugin of a stage is loaded and held against the one that runs: nothing else of the job may notice. Those of sources and
//! sinks: [`super::connectors`].

use super::replacement::Replacement;
use super::{Prepare, Upgrade, UpgradeStatus, UpgradeStep, connectors};
use crate::checkpoint::types::{Column, Table};
use crate::operators::stage::{Operator, StageNode};
use crate::running::Running;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use millstream_base::batch::types::describe;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::job::plugin_part::PluginPart;
use millstream_base::job::spec::PluginSpec;
use millstream_base::secrets;
use millstream_packages::trust::policy::Policy;
use millstream_plugins::plugin::{Description, Outline, Plugin, World, read_component};
use std::path::Path;
use std::sync::Arc;

/// Loads and checks the plugin. The job goes on meanwhile. An error says why it cannot take the other one's place.
pub fn prepare(running: &Running, wanted: &Prepare) -> Result<UpgradeStatus> {
    let part = PluginPart::of(&wanted.stage);
    let key = part.key();
    if running.options.sets.iter().any(|(path, _)| *path == key) {
        return Err(Error::job(format!(
            "{part}: the job was started with --set {key}=…, which every restart would come back to; start it without"
        )));
    }
    match part {
        PluginPart::Stage(stage) => of_stage(running, wanted, stage),
        PluginPart::Source(source) => connectors::of_source(running, wanted, source),
        PluginPart::Sink(sink) => connectors::of_sink(running, wanted, sink),
    }
}

/// The component that is wanted, where it may take the place of one of this world.
pub(super) fn component_of(wanted: &Prepare, old: World) -> Result<Bytes> {
    let plugin = PluginSpec::new(&wanted.plugin);
    if plugin.package().is_none() {
        // Packages were asked about by whoever got them; paths are as they are at a start.
        Policy::load()?.allows_path(&plugin.path)?;
    }
    let component = read(&wanted.file, &wanted.digest)?;
    let new = Outline::of(&wanted.file, &component)?.world;
    if old != new {
        // Asked about its place it would say what it misses there.
        let part = PluginPart::of(&wanted.stage);
        return Err(Error::job(format!(
            "{part}: {} is of world {new}, and the {}'s plugin is of world {old}",
            wanted.plugin,
            part.word()
        )));
    }
    Ok(component)
}

/// How an upgrade stands that has just been prepared, from one plugin to another; an error where that is not another one, or not what was
/// looked at.
pub(super) fn prepared(
    wanted: &Prepare,
    old: (&Plugin, &Description),
    new: (&Plugin, &Description),
    differences: &[String],
) -> Result<UpgradeStatus> {
    let part = PluginPart::of(&wanted.stage);
    if new.0.digest() != wanted.digest {
        return Err(changed(&wanted.file));
    }
    let [from, to] = [old, new]
        .map(|(plugin, description)| (format!("{} {}", description.name, description.version), plugin.digest()));
    if from.1 == to.1 {
        return Err(Error::job(format!("{part} runs this component already: {}", to.0)));
    }
    if !differences.is_empty() {
        return Err(Error::job(format!(
            "{part}: {} cannot take the place of {} in the running job:\n  {}\nTo change that, stop the job, mend what depends on \
             it, and start it again.",
            to.0,
            from.0,
            differences.join("\n  ")
        )));
    }
    Ok(UpgradeStatus { id: wanted.id, stage: part.id(), from, to, step: UpgradeStep::Prepared, shadow: None })
}

/// What hears that a version on trial has failed.
pub(super) fn tells_failure(
    running: &Running,
    status: &UpgradeStatus,
) -> impl Fn(&Error) + Send + Sync + use<> + 'static {
    let (upgrades, id, names) =
        (running.plugins.upgrades.clone(), status.id, (status.to.0.clone(), status.from.0.clone()));
    move |error| {
        tracing::warn!("{} goes on in place of {}, which failed: {}", names.1, names.0, error.message);
        upgrades.fell_back(id, secrets::hide(&error.message).into_owned());
    }
}

/// The upgrade that is prepared.
pub(super) fn upgrade(status: UpgradeStatus, component: Bytes, replacement: Replacement, migrates: bool) -> Upgrade {
    let (shadow_batches, shadow, objection, agreed) = (0, None, None, false);
    Upgrade { status, replacement, shadow_batches, shadow, component, migrates, objection, agreed }
}

fn of_stage(running: &Running, wanted: &Prepare, stage: &str) -> Result<UpgradeStatus> {
    let Some(slot) = running.plugins.versions.slot(stage) else { return Err(no_plugin(running, stage)) };
    let before = slot.now().node;
    let Some(old) = before.plugin() else { return Err(Error::bug("a stage without its plugin")) };
    let component = component_of(wanted, old.plugin.world())?;
    let mut node = running.graph.with_plugin(stage, Path::new(&wanted.plugin), &wanted.file, wanted.signers.clone())?;
    let Some(new) = node.plugin() else { return Err(Error::bug("a stage without its plugin")) };
    let [old_plugin, new_plugin] = [old, new].map(|node| (&node.plugin, &node.description));
    let status = prepared(wanted, old_plugin, new_plugin, &differences(&before, &node)?)?;
    let migrates = before.tables.iter().zip(&node.tables).any(|(old, new)| old.state != new.state);
    if let (true, Some(new)) = (wanted.on_trial && !migrates, node.plugin_mut()) {
        new.on_trial(old, tells_failure(running, &status));
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
            "stage `{stage}` is a query: plugins that it calls as functions cannot be replaced while the job runs. Stop the \
             job, change the plugin, and start it again: it goes on where it was"
        ),
        _ => format!("stage `{stage}` has no plugin that could be replaced"),
    })
}

/// The component as it was looked at by whoever asks.
fn read(file: &Path, digest: &str) -> Result<Bytes> {
    let bytes = read_component(file)?;
    if Digest::of(&bytes).to_string() != digest {
        return Err(changed(file));
    }
    Ok(Bytes::from(bytes))
}

fn changed(file: &Path) -> Error {
    Error::environment(format!("plugin {} has changed while it was looked at; ask again", file.display()))
}

/// What the rest of the job, or a checkpoint, would notice of the change.
fn differences(old: &StageNode, new: &StageNode) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut compare = |what: &str, old: &Schema, new: &Schema| {
        all.extend(columns_differ(what, old, new));
    };
    compare("its rows", &made(old), &made(new));
    compare("rows of the stage", &old.output, &new.output);
    compare("its rejected rows", &old.rejected.schema, &new.rejected.schema);
    if let (Operator::Reduce(old), Operator::Reduce(new)) = (&old.operator, &new.operator) {
        compare("its accumulators", &old.description.state, &new.description.state);
    }
    if old.sides != new.sides || old.key != new.key {
        return Err(Error::bug("a plugin that changes what its stage is"));
    }
    all.extend(old.tables.iter().filter_map(|old_table| table(old_table, &new.tables, new)));
    let is_new = |table: &&Table| !old.tables.iter().any(|old| old.name == table.name);
    all.extend(
        new.tables.iter().filter(is_new).map(|table| format!("it needs a table `{}`: it sets timers", table.name)),
    );
    Ok(all)
}

/// The columns that the operator makes, before `filter` and `select`.
fn made(stage: &StageNode) -> SchemaRef {
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
        Column::in_words(&old.state),
        Column::in_words(&new.state)
    ))
}

/// Whether the plugin takes over states of its other versions.
fn migrates(stage: &StageNode) -> bool {
    stage.plugin().is_some_and(|node| node.plugin.migrates())
}

/// What differs between these columns, in words.
pub(super) fn columns_differ(what: &str, old: &Schema, new: &Schema) -> Option<String> {
    let differ = old.fields() != new.fields();
    differ.then(|| format!("{what} had {} and would have {}", shape(old), shape(new)))
}

/// Columns in words, with those that are never null, where that is all that differs.
fn shape(schema: &Schema) -> String {
    let never = |schema: &Schema| -> Vec<String> {
        schema.fields().iter().filter(|field| !field.is_nullable()).map(|field| field.name().clone()).collect()
    };
    match never(schema).as_slice() {
        [] => describe(schema),
        never => format!("{} (never null: {})", describe(schema), never.join(", ")),
    }
}
