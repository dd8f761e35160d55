//! OCI registries in builds without them: addresses can be parsed, requests fail.

mod address;

pub use address::Address;

use super::{Fetched, SearchHit};
use crate::package::manifest::EncodedPackage;
use clap::Args;
use millstream_base::built;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::{PackageName, PackageRequest};
use semver::Version;
use std::process::ExitCode;

/// The arguments of the process that talks to a registry.
#[derive(Args)]
pub struct RegistryArguments {}

/// Fails: this build has no registries.
pub fn obey(_arguments: &RegistryArguments) -> Result<ExitCode> {
    Err(absent())
}

/// See [`super::Registry::find`].
pub fn find(_address: &Address, _wanted: &PackageRequest) -> Result<(Version, Digest)> {
    Err(absent())
}

/// See [`super::Registry::fetch`].
pub fn fetch(_address: &Address, _name: &PackageName, _digest: &Digest) -> Result<Fetched> {
    Err(absent())
}

/// See [`super::Registry::signatures`].
pub fn signatures(_address: &Address, _name: &PackageName, _manifest: &Digest) -> Result<Vec<Vec<u8>>> {
    Err(absent())
}

/// See [`super::Registry::push`].
pub fn push(_address: &Address, _name: &PackageName, _version: &Version, _made: &EncodedPackage) -> Result<()> {
    Err(absent())
}

/// See [`super::Registry::attach`].
pub fn attach(_address: &Address, _name: &PackageName, _made: &EncodedPackage, _signature: &[u8]) -> Result<()> {
    Err(absent())
}

/// See [`super::Registry::search`].
pub fn search(_address: &Address, _words: &[String]) -> Result<Vec<SearchHit>> {
    Err(absent())
}

fn absent() -> Error {
    Error::job(built::absent("`oci://` registries", "packages"))
}
