//! Adds a package to a job: finds it, compares it with the current one, and writes lock file and job file.

use super::obtain::{Obtained, not_moved, obtain};
use super::store::PackageStore;
use super::{LockFile, Pin, edit, location};
use crate::package::difference::{self, Difference};
use crate::package::facts::PackageFacts;
use crate::registry::Registry;
use crate::trust::policy::Policy;
use millstream_base::error::Result;
use millstream_base::limits::COMPONENT_BYTES_MAX;
use millstream_base::package_name::{PackageName, PackageRequest};
use millstream_job::spec::PluginSpec;
use millstream_plugins::plugin::component_file;
use std::io::Read;
use std::path::Path;

/// Gets a package for the jobs of a directory. The registry is `registry`, as the user named it; otherwise that of another version of the
/// package in the lock file; otherwise that of the user's settings. Nothing is pinned yet: the result has the new pin.
pub fn get(dir: &Path, wanted: &PackageRequest, registry: Option<&str>, store: &PackageStore) -> Result<Obtained> {
    let (registry, text) = registry_for(&wanted.name, registry, dir)?;
    let policy = Policy::load()?;
    if let Some(version) = &wanted.version
        && let Some(pin) = LockFile::read(dir)?.pin(&wanted.name, version).filter(|pin| pin.registry == text)
    {
        // A moved version is detected before any of it is stored.
        let shown = registry.to_string();
        policy.allows(&shown)?;
        not_moved(&shown, &wanted.name, version, Some(pin.manifest), registry.find(wanted)?.1)?;
    }
    let mut obtained = obtain(&registry, wanted, None, &policy, store)?;
    obtained.pin.registry = text;
    Ok(obtained)
}

/// Returns the registry, and its form in the lock file.
fn registry_for(name: &PackageName, given: Option<&str>, dir: &Path) -> Result<(Registry, String)> {
    if given.is_none() {
        let lock = LockFile::read(dir)?;
        let known = lock.packages.iter().filter(|pin| pin.name == *name);
        if let Some(pin) = known.max_by(|a, b| a.version.cmp(&b.version)) {
            return Ok((location::of_lock(&pin.registry, dir)?, pin.registry.clone()));
        }
    }
    let registry = location::registry(given)?;
    let text = location::for_lock(&registry, given, dir)?;
    Ok((registry, text))
}

/// Compares a package with the plugin that a stage has now. Empty if it has none, or one that cannot be found. `stage` is `None` for a
/// package that is only pinned: then the newest other pinned version is compared.
pub fn changes(job: &Path, stage: Option<&str>, new: &PackageFacts, store: &PackageStore) -> Result<Vec<Difference>> {
    let dir = edit::dir_of(job);
    let component = match stage {
        Some(stage) => edit::plugin_of(job, stage)?.and_then(|plugin| component_of(&plugin, dir, store)),
        None => {
            let lock = LockFile::read(dir)?;
            let others = lock.packages.iter().filter(|pin| pin.name.as_str() == new.name);
            let other = others.filter(|pin| pin.version.to_string() != new.version).max_by_key(|pin| &pin.version);
            other.and_then(|pin| stored_package(pin, store))
        }
    };
    let old = component.and_then(|component| PackageFacts::read(&component, "the previous plugin").ok());
    Ok(old.map_or_else(Vec::new, |old| difference::compare(&old, new)))
}

/// Pins a package in the lock file of a directory.
pub fn pin(dir: &Path, pin: Pin) -> Result<()> {
    LockFile::change(dir, |lock| lock.add(pin))
}

/// Returns the bytes of a job file's `plugin`, if they can be found without a network.
fn component_of(plugin: &str, dir: &Path, store: &PackageStore) -> Option<Vec<u8>> {
    match PluginSpec::new(plugin).package() {
        Some(package) => {
            let (name, version) = package.ok()?;
            stored_package(LockFile::read(dir).ok()?.pin(&name, &version)?, store)
        }
        None => {
            let mut component = Vec::new();
            let file = millstream_base::regular::open(component_file(&dir.join(plugin)).ok()?).ok()?;
            file.metadata().ok().filter(std::fs::Metadata::is_file)?;
            file.take(COMPONENT_BYTES_MAX).read_to_end(&mut component).ok()?;
            Some(component)
        }
    }
}

fn stored_package(pin: &Pin, store: &PackageStore) -> Option<Vec<u8>> {
    store.get(&pin.layer).ok().flatten()
}
