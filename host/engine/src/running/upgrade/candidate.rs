//! What may take the place of a plugin that runs: a component that is as it was looked at, and does the same to all around it.

use super::replacement::Replacement;
use super::{Prepare, Upgrade, UpgradeStatus, UpgradeStep};
use crate::running::Running;
use arrow::datatypes::Schema;
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
        return Err(Error::job(format!("{part} already runs this component: {}", to.0)));
    }
    if !differences.is_empty() {
        return Err(Error::job(format!(
            "{part}: {} cannot replace {} in the running job:\n  {}\nTo change that, stop the job, fix what depends on \
             it, and restart it.",
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

/// The component as it was looked at by whoever asks.
fn read(file: &Path, digest: &str) -> Result<Bytes> {
    let bytes = read_component(file)?;
    if Digest::of(&bytes).to_string() != digest {
        return Err(changed(file));
    }
    Ok(Bytes::from(bytes))
}

fn changed(file: &Path) -> Error {
    Error::environment(format!("plugin {} has changed while it was checked; retry", file.display()))
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
