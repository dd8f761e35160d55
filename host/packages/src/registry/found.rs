//! What registries give and say, whatever their kind.

use millstream_base::error::Error;
use millstream_base::package_name::PackageName;
use semver::Version;

/// A package as it came from a registry: all digests fit, nothing else was checked.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The manifest as it is.
    pub manifest: Vec<u8>,
    /// The component.
    pub component: Vec<u8>,
}

/// A package that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchHit {
    /// Its name.
    pub name: PackageName,
    /// Its versions, the newest first.
    pub versions: Vec<Version>,
    /// What it is for, where the registry tells without a download.
    pub description: String,
}

/// The error of a push: the version is there with other bytes, and what a version means must not change.
pub fn taken(place: &str, version: &Version) -> Error {
    Error::job(format!(
        "{place} has version {version} already, with other bytes; give the plugin a new version, build it and push that"
    ))
}
