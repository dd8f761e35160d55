//! A package for a job: where it is looked for, what changes with it, and how it gets into the lock file and the job file.

use super::obtain::{Obtained, not_moved, obtain};
use super::store::PackageStore;
use super::{LockFile, Pin, edit, place};
use crate::package::difference::{self, Difference};
use crate::package::facts::PackageFacts;
use crate::registry::Registry;
use crate::trust::policy::Policy;
use millstream_base::error::Result;
use millstream_base::job::spec::PluginSpec;
use millstream_base::limits::COMPONENT_BYTES_MAX;
use millstream_base::package_name::{PackageName, PackageRequest};
use millstream_plugins::plugin::component_file;
use std::io::Read;
use std::path::Path;

/// Gets a package for the jobs of a folder. `registry`: as the user named it; else that of another version of the package
/// in the lock file, else that of the user's settings. Nothing is pinned yet; the pin says what the lock file is to say.
pub fn get(folder: &Path, wanted: &PackageRequest, registry: Option<&str>, store: &PackageStore) -> Result<Obtained> {
    let (registry, text) = registry_for(&wanted.name, registry, folder)?;
    let policy = Policy::load()?;
    if let Some(version) = &wanted.version
        && let Some(pin) = LockFile::read(folder)?.pin(&wanted.name, version).filter(|pin| pin.registry == text)
    {
        // A version that was moved is noticed before anything of it is kept.
        let shown = registry.to_string();
        policy.allows(&shown)?;
        not_moved(&shown, &wanted.name, version, Some(pin.manifest), registry.find(wanted)?.1)?;
    }
    let mut obtained = obtain(&registry, wanted, None, &policy, store)?;
    obtained.pin.registry = text;
    Ok(obtained)
}

/// A registry, and what the lock file says of it.
fn registry_for(name: &PackageName, given: Option<&str>, folder: &Path) -> Result<(Registry, String)> {
    if given.is_none() {
        let lock = LockFile::read(folder)?;
        let known = lock.packages.iter().filter(|pin| pin.name == *name);
        if let Some(pin) = known.max_by(|a, b| a.version.cmp(&b.version)) {
            return Ok((place::of_lock(&pin.registry, folder)?, pin.registry.clone()));
        }
    }
    let registry = place::registry(given)?;
    let text = place::for_lock(&registry, given, folder)?;
    Ok((registry, text))
}

/// What changes for a stage when a package takes the place of what it has; nothing where it has no plugin, or one that is
/// not to be found. `stage` is `None` for a package that is pinned only: it is compared with the newest other version that is
/// pinned.
pub fn changes(job: &Path, stage: Option<&str>, new: &PackageFacts, store: &PackageStore) -> Result<Vec<Difference>> {
    let folder = edit::folder_of(job);
    let component = match stage {
        Some(stage) => edit::plugin_of(job, stage)?.and_then(|plugin| component_of(&plugin, folder, store)),
        None => {
            let lock = LockFile::read(folder)?;
            let others = lock.packages.iter().filter(|pin| pin.name.as_str() == new.name);
            let other = others.filter(|pin| pin.version.to_string() != new.version).max_by_key(|pin| &pin.version);
            other.and_then(|pin| held(pin, store))
        }
    };
    let old = component.and_then(|component| PackageFacts::of(&component, "the plugin of before").ok());
    Ok(old.map_or_else(Vec::new, |old| difference::between(&old, new)))
}

/// Pins a package in the lock file of a folder.
pub fn pin(folder: &Path, pin: Pin) -> Result<()> {
    LockFile::change(folder, |lock| lock.add(pin))
}

/// The bytes of what a job file names as a plugin, where they are to be found without a network.
fn component_of(plugin: &str, folder: &Path, store: &PackageStore) -> Option<Vec<u8>> {
    match PluginSpec::new(plugin).package() {
        Some(package) => {
            let (name, version) = package.ok()?;
            held(LockFile::read(folder).ok()?.pin(&name, &version)?, store)
        }
        None => {
            let mut component = Vec::new();
            let file = millstream_base::regular::open(component_file(&folder.join(plugin)).ok()?).ok()?;
            file.metadata().ok().filter(std::fs::Metadata::is_file)?;
            file.take(COMPONENT_BYTES_MAX).read_to_end(&mut component).ok()?;
            Some(component)
        }
    }
}

fn held(pin: &Pin, store: &PackageStore) -> Option<Vec<u8>> {
    store.get(&pin.layer).ok().flatten()
}
