//! Names of packages, and references to them as users write them.

use crate::error::{Error, Result};
use semver::Version;
use std::fmt;
use std::str::FromStr;

/// Maximum bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// The name of a package: lower-case letters, digits and single `-` within. Safe in paths and in addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

impl PackageName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PackageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<PackageName> {
        let parts = || text.split('-');
        let good = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if text.len() <= NAME_BYTES_MAX && parts().all(good) {
            return Ok(PackageName(text.to_owned()));
        }
        Err(Error::job(format!(
            "`{}` is not a valid package name: use a-z and 0-9, with single `-` between them, at most \
            {NAME_BYTES_MAX} characters",
            text.escape_debug()
        )))
    }
}

/// A package as users write it: `split-words`, `split-words@0.2.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageRequest {
    /// Its name.
    pub name: PackageName,
    /// Its version; `None`: the newest that is not a pre-release.
    pub version: Option<Version>,
}

impl fmt::Display for PackageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl FromStr for PackageRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<PackageRequest> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => (name, Some(self::version(version)?)),
        };
        Ok(PackageRequest { name: name.parse()?, version })
    }
}

/// Parses a semver version. Build metadata (`+…`) is rejected: registries cannot hold it in a tag.
pub fn version(text: &str) -> Result<Version> {
    let wrong = |why: &dyn fmt::Display| {
        Error::job(format!("`{}` is not a valid version: {why}; write one as 1.2.3", text.escape_debug()))
    };
    let version = Version::parse(text).map_err(|error| wrong(&error))?;
    if version.build.is_empty() { Ok(version) } else { Err(wrong(&"it has build metadata")) }
}
