//! A folder as a registry, which needs no network.

use super::{Fetched, Hit};
use crate::error::{Error, Result};
use crate::package::digest::Digest;
use crate::package::manifest::Made;
use crate::package::name::{PackageName, Wanted};
use semver::Version;
use std::path::Path;

fn not_yet<T>() -> Result<T> {
    Err(Error::bug("registries are not there yet"))
}

/// See [`super::Registry::find`].
pub fn find(_folder: &Path, _wanted: &Wanted) -> Result<(Version, Digest)> {
    not_yet()
}

/// See [`super::Registry::fetch`].
pub fn fetch(_folder: &Path, _name: &PackageName, _manifest: &Digest) -> Result<Fetched> {
    not_yet()
}

/// See [`super::Registry::signatures`].
pub fn signatures(_folder: &Path, _name: &PackageName, _manifest: &Digest) -> Result<Vec<Vec<u8>>> {
    not_yet()
}

/// See [`super::Registry::push`].
pub fn push(_folder: &Path, _name: &PackageName, _version: &Version, _made: &Made) -> Result<()> {
    not_yet()
}

/// See [`super::Registry::attach`].
pub fn attach(_folder: &Path, _name: &PackageName, _made: &Made, _signature: &[u8]) -> Result<()> {
    not_yet()
}

/// See [`super::Registry::search`].
pub fn search(_folder: &Path, _words: &[String]) -> Result<Vec<Hit>> {
    not_yet()
}
