//! Candidates for an upgrade: components that match the digest that was reviewed and fit the running plugin.

use super::replacement::Replacement;
use super::{PrepareRequest, Upgrade, UpgradeStatus, UpgradeStep};
use crate::running::Running;
use arrow::datatypes::Schema;
use bytes::Bytes;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::secrets;
use millstream_job::plugin_part::PluginPart;
use millstream_job::spec::PluginSpec;
use millstream_packages::trust::policy::Policy;
use millstream_plugins::plugin::{Description, Outline, Plugin, World, read_component};
use millstream_rows::batch::types::describe;
use std::path::Path;

/// Returns the requested component if it is of the same world as the running one.
pub(super) fn component_of(request: &PrepareRequest, old: World) -> Result<Bytes> {
    let plugin = PluginSpec::new(&request.plugin);
    if plugin.package().is_none() {
        // The permissions of packages were checked when they were fetched; those of paths are checked as at startup.
        Policy::load()?.allows_path(&plugin.path)?;
    }
    let component = read(&request.file, &request.digest)?;
    let new = Outline::read(&request.file, &component)?.world;
    if old != new {
        // Checked in this order, as a description in the wrong world would only name missing functions.
        let part = PluginPart::parse(&request.stage);
        return Err(Error::job(format!(
            "{part}: {} is of world {new}, but the {}'s plugin is of world {old}",
            request.plugin,
            part.keyword()
        )));
    }
    Ok(component)
}

/// Returns the status of an upgrade that has just been prepared. Fails if the component already runs, or is not the one that was reviewed.
pub(super) fn prepared_status(
    request: &PrepareRequest,
    old: (&Plugin, &Description),
    new: (&Plugin, &Description),
    differences: &[String],
) -> Result<UpgradeStatus> {
    let part = PluginPart::parse(&request.stage);
    if new.0.digest() != request.digest {
        return Err(changed_error(&request.file));
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
    Ok(UpgradeStatus { id: request.id, stage: part.id(), from, to, step: UpgradeStep::Prepared, shadow: None })
}

/// Returns the callback for a failure of a version on trial.
pub(super) fn failure_callback(
    running: &Running,
    status: &UpgradeStatus,
) -> impl Fn(&Error) + Send + Sync + use<> + 'static {
    let (upgrades, id, names) =
        (running.plugins.upgrades.clone(), status.id, (status.to.0.clone(), status.from.0.clone()));
    move |error| {
        tracing::warn!("{} replaces {}, which failed: {}", names.1, names.0, error.message);
        upgrades.fallback(id, secrets::hide(&error.message).into_owned());
    }
}

/// Creates the prepared upgrade.
pub(super) fn upgrade(status: UpgradeStatus, component: Bytes, replacement: Replacement, migrates: bool) -> Upgrade {
    let (shadow_batches, shadow, objection, agreed) = (0, None, None, false);
    Upgrade { status, replacement, shadow_batches, shadow, component, migrates, objection, agreed }
}

/// Reads the component and checks that it is the one that was reviewed.
fn read(file: &Path, digest: &str) -> Result<Bytes> {
    let bytes = read_component(file)?;
    if Digest::compute(&bytes).to_string() != digest {
        return Err(changed_error(file));
    }
    Ok(Bytes::from(bytes))
}

fn changed_error(file: &Path) -> Error {
    Error::environment(format!("plugin {} has changed while it was checked; retry", file.display()))
}

/// Describes how these columns differ.
pub(super) fn columns_differ(what: &str, old: &Schema, new: &Schema) -> Option<String> {
    let differ = old.fields() != new.fields();
    differ.then(|| format!("{what} had {} and would have {}", shape(old), shape(new)))
}

/// Describes columns, with those that are never null if that is the only difference.
fn shape(schema: &Schema) -> String {
    let never = |schema: &Schema| -> Vec<String> {
        schema.fields().iter().filter(|field| !field.is_nullable()).map(|field| field.name().clone()).collect()
    };
    match never(schema).as_slice() {
        [] => describe(schema),
        never => format!("{} (never null: {})", describe(schema), never.join(", ")),
    }
}
