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
pub fn version_exists(at: &str, version: &Version) -> Error {
    Error::job(format!(
        "{at} already has version {version}, with other bytes; set a new version in the plugin, build it and \
        push it"
    ))
}
