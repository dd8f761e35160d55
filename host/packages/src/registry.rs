//! Where packages are shared: an OCI registry, or a folder.
//!
//! Whatever a registry says may be a lie: all that comes from it is bounded in bytes and time and checked against digests
//! before anybody uses it.

pub mod folder;
pub mod found;
mod listing;
#[cfg_attr(not(feature = "packages"), path = "registry/oci/absent.rs")]
pub mod oci;
mod referrer;

use crate::package::manifest::PackedPackage;
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
    /// A folder: an OCI image layout that `push` writes, or plugin folders and components as they are built.
    Folder(PathBuf),
}

impl Registry {
    /// Reads `oci://…` or the path of a folder, which starts from `base` where it is relative.
    pub fn parse(text: &str, base: &Path) -> Result<Registry> {
        match text.strip_prefix("oci://") {
            Some(address) => Ok(Registry::Oci(oci::Address::parse(address)?)),
            None => Ok(Registry::Folder(base.join(text))),
        }
    }

    /// The digest of the manifest of this package, and its version.
    pub fn find(&self, wanted: &PackageRequest) -> Result<(Version, Digest)> {
        match self {
            Registry::Oci(address) => oci::find(address, wanted),
            Registry::Folder(folder) => folder::find(folder, wanted),
        }
    }

    /// The package with this manifest.
    pub fn fetch(&self, name: &PackageName, manifest: &Digest) -> Result<Fetched> {
        match self {
            Registry::Oci(address) => oci::fetch(address, name, manifest),
            Registry::Folder(folder) => folder::fetch(folder, name, manifest),
        }
    }

    /// What referrers of type [`crate::trust::signature::MEDIA_TYPE`] hold beside this manifest, unchecked.
    pub fn signatures(&self, name: &PackageName, manifest: &Digest) -> Result<Vec<Vec<u8>>> {
        match self {
            Registry::Oci(address) => oci::signatures(address, name, manifest),
            Registry::Folder(folder) => folder::signatures(folder, name, manifest),
        }
    }

    /// Shares a package. A version that is there with other bytes is an error.
    pub fn push(&self, name: &PackageName, version: &Version, made: &PackedPackage) -> Result<()> {
        match self {
            Registry::Oci(address) => oci::push(address, name, version, made),
            Registry::Folder(folder) => folder::push(folder, name, version, made),
        }
    }

    /// Puts a signature beside a package that is there.
    pub fn attach(&self, name: &PackageName, made: &PackedPackage, signature: &[u8]) -> Result<()> {
        match self {
            Registry::Oci(address) => oci::attach(address, name, made, signature),
            Registry::Folder(folder) => folder::attach(folder, name, made, signature),
        }
    }

    /// Packages whose name or description has these words; all without words.
    pub fn search(&self, words: &[String]) -> Result<Vec<SearchHit>> {
        match self {
            Registry::Oci(address) => oci::search(address, words),
            Registry::Folder(folder) => folder::search(folder, words),
        }
    }
}

impl fmt::Display for Registry {
    /// As [`Registry::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Registry::Oci(address) => write!(f, "oci://{address}"),
            Registry::Folder(folder) => folder.display().fmt(f),
        }
    }
}
