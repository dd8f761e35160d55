//! Plugin folders and components as they are built, as packages.

use super::failed;
use crate::limits::REGISTRY_ENTRIES_MAX;
use crate::package::facts::PackageFacts;
use crate::package::manifest::PackedPackage;
use millstream_base::error::{Error, Result};
use millstream_base::package_name;
use millstream_base::package_name::PackageName;
use millstream_plugins::plugin::{component_file, is_plugin_folder, read_component};
use semver::Version;
use std::fs;
use std::path::{Path, PathBuf};

/// A component that says which package it is.
pub struct BuiltPackage {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    component: Vec<u8>,
    facts: PackageFacts,
}

impl BuiltPackage {
    /// As it would be pushed.
    pub fn made(&self) -> Result<PackedPackage> {
        PackedPackage::of(self.component.clone(), &self.facts)
    }
}

/// The packages of this name in a folder. Where they lie under their own name, nothing else is looked at.
pub fn named(folder: &Path, name: &PackageName) -> Result<Vec<BuiltPackage>> {
    let places = [folder.join(name.as_str()), folder.join(format!("{name}.wasm"))];
    let mut found = Vec::new();
    for place in &places {
        if place.exists() {
            found.extend(at(place)?.filter(|built| built.name == *name));
        }
    }
    if found.is_empty() {
        // What is broken elsewhere is no reason not to find it.
        let others = entries(folder)?.into_iter().filter(|path| !places.contains(path));
        found.extend(others.filter_map(|path| at(&path).ok().flatten()).filter(|built| built.name == *name));
    }
    Ok(found)
}

/// The package at a path: a component, or a plugin folder that is built; `None` where it is something else, or does not
/// say what it is called.
pub fn at(path: &Path) -> Result<Option<BuiltPackage>> {
    let is_component = path.extension().is_some_and(|ending| ending == "wasm") && path.is_file();
    if !is_component && !is_plugin_folder(path) {
        return Ok(None);
    }
    let file = component_file(path)?;
    let component = read_component(&file)?;
    let facts = PackageFacts::of(&component, &file.display().to_string())?;
    if facts.name.is_empty() || facts.version.is_empty() {
        return Ok(None);
    }
    let within = |error: Error| error.within(file.display());
    let name = facts.name.parse().map_err(within)?;
    let version = package_name::version(&facts.version).map_err(within)?;
    Ok(Some(BuiltPackage { name, version, component, facts }))
}

/// What is in a folder, in the order of names.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
    let mut paths = Vec::new();
    for entry in list {
        paths.push(entry.map_err(|error| failed(folder, &error))?.path());
        if paths.len() > REGISTRY_ENTRIES_MAX {
            let words = format!("the registry {} has more than {REGISTRY_ENTRIES_MAX} entries", folder.display());
            return Err(Error::environment(words));
        }
    }
    paths.sort();
    Ok(paths)
}
