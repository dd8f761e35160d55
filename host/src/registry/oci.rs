//! A registry as the OCI distribution specification has it.

use super::{Fetched, Hit};
use crate::error::{Error, Result};
use crate::package::digest::Digest;
use crate::package::manifest::Made;
use crate::package::name::{PackageName, Wanted};
use semver::Version;
use std::fmt;

/// `host[:port]/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host and port.
    pub host: String,
    /// The path below which repositories are; may be empty.
    pub path: String,
}

impl Address {
    /// Reads the text behind `oci://`.
    pub fn parse(text: &str) -> Result<Address> {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        Ok(Address { host: host.to_owned(), path: path.trim_matches('/').to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.host) } else { write!(f, "{}/{}", self.host, self.path) }
    }
}
fn not_yet<T>() -> Result<T> {
    Err(Error::bug("registries are not there yet"))
}

/// See [`super::Registry::find`].
pub fn find(_address: &Address, _wanted: &Wanted) -> Result<(Version, Digest)> {
    not_yet()
}

/// See [`super::Registry::fetch`].
pub fn fetch(_address: &Address, _name: &PackageName, _manifest: &Digest) -> Result<Fetched> {
    not_yet()
}

/// See [`super::Registry::signatures`].
pub fn signatures(_address: &Address, _name: &PackageName, _manifest: &Digest) -> Result<Vec<Vec<u8>>> {
    not_yet()
}

/// See [`super::Registry::push`].
pub fn push(_address: &Address, _name: &PackageName, _version: &Version, _made: &Made) -> Result<()> {
    not_yet()
}

/// See [`super::Registry::attach`].
pub fn attach(_address: &Address, _name: &PackageName, _made: &Made, _signature: &[u8]) -> Result<()> {
    not_yet()
}

/// See [`super::Registry::search`].
pub fn search(_address: &Address, _words: &[String]) -> Result<Vec<Hit>> {
    not_yet()
}
