//! Built plugin directories and components, as packages.

use super::failed;
use crate::limits::REGISTRY_ENTRIES_MAX;
use crate::package::facts::PackageFacts;
use crate::package::manifest::EncodedPackage;
use millstream_base::error::{Error, Result};
use millstream_base::package_name;
use millstream_base::package_name::PackageName;
use millstream_plugins::plugin::{component_file, is_plugin_dir, read_component};
use semver::Version;
use std::fs;
use std::path::{Path, PathBuf};

/// A component that has a name and a version.
pub struct BuiltPackage {
    /// The package's name.
    pub name: PackageName,
    /// The package's version.
    pub version: Version,
    component: Vec<u8>,
    facts: PackageFacts,
}

impl BuiltPackage {
    /// Packs it as for a push.
    pub fn build(&self) -> Result<EncodedPackage> {
        EncodedPackage::pack(self.component.clone(), &self.facts)
    }
}

/// Finds the packages with this name in a directory. If a directory or file has that name, nothing else is read.
pub fn named(dir: &Path, name: &PackageName) -> Result<Vec<BuiltPackage>> {
    let candidates = [dir.join(name.as_str()), dir.join(format!("{name}.wasm"))];
    let mut found = Vec::new();
    for candidate in &candidates {
        if candidate.exists() {
            found.extend(at(candidate)?.filter(|built| built.name == *name));
        }
    }
    if found.is_empty() {
        // Broken files elsewhere must not prevent finding it.
        let others = entries(dir)?.into_iter().filter(|path| !candidates.contains(path));
        found.extend(others.filter_map(|path| at(&path).ok().flatten()).filter(|built| built.name == *name));
    }
    Ok(found)
}

/// Reads the package at a path: a component, or a built plugin directory. `None` if it is something else, or has no name.
pub fn at(path: &Path) -> Result<Option<BuiltPackage>> {
    let is_component = path.extension().is_some_and(|ending| ending == "wasm") && path.is_file();
    if !is_component && !is_plugin_dir(path) {
        return Ok(None);
    }
    let file = component_file(path)?;
    let component = read_component(&file)?;
    let facts = PackageFacts::read(&component, &file.display().to_string())?;
    if facts.name.is_empty() || facts.version.is_empty() {
        return Ok(None);
    }
    let within = |error: Error| error.within(file.display());
    let name = facts.name.parse().map_err(within)?;
    let version = package_name::version(&facts.version).map_err(within)?;
    Ok(Some(BuiltPackage { name, version, component, facts }))
}

/// Lists a directory, sorted by name.
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(dir).map_err(|error| failed(dir, &error))?;
    let mut paths = Vec::new();
    for entry in list {
        paths.push(entry.map_err(|error| failed(dir, &error))?.path());
        if paths.len() > REGISTRY_ENTRIES_MAX {
            let message = format!("the registry {} has more than {REGISTRY_ENTRIES_MAX} entries", dir.display());
            return Err(Error::environment(message));
        }
    }
    paths.sort();
    Ok(paths)
}
