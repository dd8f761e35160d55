//! Addresses of registries, and which of them a line of a policy covers: those that begin with its text, by complete path components.
//!
//! An address has several spellings. Policies compare a canonical form: lower-case host names, no default port, no `.` and `..`,
//! directories without links. Several names of one host still differ, so list what is allowed (`allow`) rather than what is not.

use millstream_base::error::{Error, Result};
use serde::Deserialize;
use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The address of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryLocation {
    /// `oci://`: the host, and the components of the path.
    Oci(String, Vec<String>),
    /// A directory, as written and with links resolved.
    Dir { written: PathBuf, real: PathBuf },
}

impl RegistryLocation {
    /// Parses the text form of a registry: `oci://…` or the path of a directory.
    pub fn parse(registry: &str) -> Result<RegistryLocation> {
        if let Some(address) = registry.strip_prefix("oci://") {
            return oci(address).ok_or_else(|| wrong(registry, "an address is oci://HOST[:PORT]/PATH, in ASCII"));
        }
        if registry.contains("://") {
            return Err(wrong(registry, "it must be oci://HOST/PATH or a directory"));
        }
        let written = std::path::absolute(registry).map_err(|e| wrong(registry, &e.to_string()))?;
        let real = real(&written).ok_or_else(|| {
            wrong(
                registry,
                "its path has `..` after a directory that does not \
                                                                 exist",
            )
        })?;
        Ok(RegistryLocation::Dir { written, real })
    }
}

fn wrong(registry: &str, why: &str) -> Error {
    Error::job(format!("`{}` is not a registry: {why}", registry.escape_debug()))
}

fn oci(address: &str) -> Option<RegistryLocation> {
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let host = host.to_ascii_lowercase();
    let (name, port) = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).unwrap_or((&host, "443"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let port: u16 = port.parse().ok()?;
    if name.is_empty() || name.ends_with('.') || !name.chars().all(is_name) {
        return None;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let parts: Vec<String> = path.split('/').filter(|_| !path.is_empty()).map(str::to_owned).collect();
    let is_part = |part: &String| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        !part.is_empty() && part.bytes().all(plain) && !part.bytes().all(|b| b == b'.')
    };
    parts.iter().all(is_part).then(|| RegistryLocation::Oci(format!("{name}:{port}"), parts))
}

/// Resolves links. For a path that does not exist yet, the parent directory is resolved.
fn real(path: &Path) -> Option<PathBuf> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut above = path.to_owned();
    loop {
        if let Ok(found) = above.canonicalize() {
            return Some(missing.iter().rev().fold(found, |path, part| path.join(part)));
        }
        match above.components().next_back() {
            Some(Component::Normal(part)) => missing.push(part.to_owned()),
            _ => return None,
        }
        above.pop();
    }
}

/// A set of registries: all, or those with this prefix.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    text: String,
    /// `None` covers all registries.
    location: Option<RegistryLocation>,
}

impl Prefix {
    /// Whether this registry is certainly covered.
    pub fn covers(&self, location: &RegistryLocation) -> bool {
        match (&self.location, location) {
            (None, _) => true,
            (Some(RegistryLocation::Oci(host, path)), RegistryLocation::Oci(its, parts)) => {
                host == its && parts.starts_with(path)
            }
            (Some(RegistryLocation::Dir { real, .. }), RegistryLocation::Dir { real: its, .. }) => {
                its.starts_with(real)
            }
            _ => false,
        }
    }

    /// Whether this registry may be covered, also through a path that leads elsewhere.
    pub fn concerns(&self, location: &RegistryLocation) -> bool {
        match (&self.location, location) {
            (Some(RegistryLocation::Dir { written, .. }), RegistryLocation::Dir { written: its, .. })
                if its.starts_with(written) =>
            {
                true
            }
            _ => self.covers(location),
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = Error;

    fn try_from(text: String) -> Result<Prefix> {
        let location = match text.as_str() {
            "*" => None,
            path if !path.contains("://") && !Path::new(path).is_absolute() => {
                return Err(wrong(path, "write \"*\", oci://HOST/PATH or the absolute path of a directory"));
            }
            _ => Some(RegistryLocation::parse(&text)?),
        };
        Ok(Prefix { text, location })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
