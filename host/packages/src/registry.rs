//! Where packages are shared: an OCI registry, or a directory.
//!
//! Registries are hostile. All that comes from one is bounded in bytes and time, and checked against digests before use.

pub mod dir;
pub mod found;
mod listing;
#[cfg_attr(not(feature = "packages"), path = "registry/oci/absent.rs")]
pub mod oci;
mod referrer;

use crate::package::manifest::EncodedPackage;
use found::{Fetched, SearchHit};
use millstream_base::digest::Digest;
use millstream_base::error::Result;
use millstream_base::package_name::{PackageName, PackageRequest};
use semver::Version;
use std::fmt;
use std::path::{Path, PathBuf};

/// A registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registry {
    /// `oci://host[:port]/path`: packages are repositories below the path, versions are tags.
    Oci(oci::Address),
    /// A directory: an OCI image layout that `push` writes, or plugin directories and components as `millstream build` leaves them.
    Dir(PathBuf),
}

impl Registry {
    /// Parses `oci://…` or the path of a directory. A relative path starts from `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Registry> {
        match text.strip_prefix("oci://") {
            Some(address) => Ok(Registry::Oci(oci::Address::parse(address)?)),
            None => Ok(Registry::Dir(base.join(text))),
        }
    }

    /// Finds a package: its version, and the digest of its manifest.
    pub fn find(&self, wanted: &PackageRequest) -> Result<(Version, Digest)> {
        match self {
            Registry::Oci(address) => oci::find(address, wanted),
            Registry::Dir(dir) => dir::find(dir, wanted),
        }
    }

    /// Fetches the package with this manifest.
    pub fn fetch(&self, name: &PackageName, manifest: &Digest) -> Result<Fetched> {
        match self {
            Registry::Oci(address) => oci::fetch(address, name, manifest),
            Registry::Dir(dir) => dir::fetch(dir, name, manifest),
        }
    }

    /// Fetches the signatures of a manifest, unchecked: the content of its referrers of type [`crate::trust::signature::MEDIA_TYPE`].
    pub fn signatures(&self, name: &PackageName, manifest: &Digest) -> Result<Vec<Vec<u8>>> {
        match self {
            Registry::Oci(address) => oci::signatures(address, name, manifest),
            Registry::Dir(dir) => dir::signatures(dir, name, manifest),
        }
    }

    /// Pushes a package. If the version exists with other bytes, this is an error.
    pub fn push(&self, name: &PackageName, version: &Version, made: &EncodedPackage) -> Result<()> {
        match self {
            Registry::Oci(address) => oci::push(address, name, version, made),
            Registry::Dir(dir) => dir::push(dir, name, version, made),
        }
    }

    /// Attaches a signature to an existing package.
    pub fn attach(&self, name: &PackageName, made: &EncodedPackage, signature: &[u8]) -> Result<()> {
        match self {
            Registry::Oci(address) => oci::attach(address, name, made, signature),
            Registry::Dir(dir) => dir::attach(dir, name, made, signature),
        }
    }

    /// Lists packages whose name or description has all these words; without words, all packages.
    pub fn search(&self, words: &[String]) -> Result<Vec<SearchHit>> {
        match self {
            Registry::Oci(address) => oci::search(address, words),
            Registry::Dir(dir) => dir::search(dir, words),
        }
    }
}

impl fmt::Display for Registry {
    /// Formats the registry in the form that [`Registry::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Registry::Oci(address) => write!(f, "oci://{address}"),
            Registry::Dir(dir) => dir.display().fmt(f),
        }
    }
}
