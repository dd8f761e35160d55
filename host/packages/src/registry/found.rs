//! Results of registries of any kind.

use millstream_base::error::Error;
use millstream_base::package_name::PackageName;
use semver::Version;

/// A package from a registry: its digests match, nothing else was checked.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The bytes of the manifest.
    pub manifest: Vec<u8>,
    /// The component.
    pub component: Vec<u8>,
}

/// A search result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchHit {
    /// The package's name.
    pub name: PackageName,
    /// The versions, newest first.
    pub versions: Vec<Version>,
    /// The description, if the registry gives it without a download.
    pub description: String,
}

/// The error of a push if the version exists with other bytes: a version must never change.
pub fn taken(place: &str, version: &Version) -> Error {
    Error::job(format!(
        "{place} has version {version} already, with other bytes; give the plugin a new version, build it and push that"
    ))
}
