//! What may be used: the user's policy and the operator's, which users and job authors cannot widen.
//!
//! Both files have the same form (`file`; `docs/how-to/share-plugins.md`). What one of them forbids is forbidden. A file defines signers by
//! its own keys, except signers that the operator defines: only the operator's keys count for these. What one file revokes is revoked for
//! all.

mod file;
mod location;

use super::config::config_dir;
use super::key::{PublicKey, Signer};
use super::signature::{self, Signed};
use crate::limits::PACKAGE_SIGNATURES_MAX;
pub use file::Trusted;
use file::{PolicyFile, SignatureRule};
use location::RegistryLocation;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageName;
use semver::Version;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The path of the operator's policy.
pub const OPERATORS_FILE: &str = "/etc/millstream/policy.toml";
/// The name of the user's policy in [`config_dir`].
pub const USERS_FILE: &str = "policy.toml";
/// The variable that names an additional policy. It can only forbid.
pub const FURTHER_FILE: &str = "MILLSTREAM_POLICY";

/// All policies together.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    operators: PolicyFile,
    /// The user's policy, and the one that [`FURTHER_FILE`] names.
    others: Vec<PolicyFile>,
}

impl Policy {
    /// Reads both files. A missing file has no effect; an unreadable file is an error.
    pub fn load() -> Result<Policy> {
        let further = std::env::var_os(FURTHER_FILE).filter(|path| !path.is_empty()).map(PathBuf::from);
        // Without a known user policy, nothing may be allowed by default.
        let config = config_dir().map_err(|_| {
            Error::environment(
                "neither HOME nor MILLSTREAM_CONFIG is set, so your policy and your revoked keys are unknown; set \
                 HOME, or MILLSTREAM_CONFIG to the directory of your settings (it may be empty)",
            )
        })?;
        Policy::read(Path::new(OPERATORS_FILE), further.as_deref(), Some(&config))
    }

    fn read(operators: &Path, further: Option<&Path>, config: Option<&Path>) -> Result<Policy> {
        let operators = PolicyFile::read(operators)?.unwrap_or_default();
        let mut others = Vec::new();
        if let Some(path) = further {
            let missing = || Error::job(format!("{}: file not found, but {FURTHER_FILE} names it", path.display()));
            others.push(PolicyFile::read(path)?.ok_or_else(missing)?);
        }
        if let Some(config) = config {
            let mut users = PolicyFile::read(&config.join(USERS_FILE))?.unwrap_or_default();
            users.add(Trusted::read(config)?);
            users.check_keys()?;
            others.push(users);
        }
        Ok(Policy { operators, others })
    }

    /// Checks whether packages of this registry (in the text form of [`crate::registry::Registry`]) may be used.
    pub fn allows(&self, registry: &str) -> Result<()> {
        let registry_location = RegistryLocation::parse(registry)?;
        for file in self.files() {
            let Some(allowed) = &file.allow else { continue };
            if !allowed.iter().any(|prefix| prefix.covers(&registry_location)) {
                let mut message = format!("the registry {registry} may not be used: {} allows ", file.shown());
                let list = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                message.push_str(if list.is_empty() { "none" } else { &list });
                return Err(Error::job(message));
            }
        }
        Ok(())
    }

    /// Checks whether a job may name a plugin by its path, for which no registry and no signer vouches.
    pub fn allows_path(&self, plugin: &Path) -> Result<()> {
        match self.files().find(|file| file.paths == Some(false)) {
            None => Ok(()),
            Some(file) => Err(Error::job(format!(
                "the plugin {} may not be used: {} allows no plugins by path (`paths = false`); add a package to the job with \
                 `millstream add`",
                plugin.display(),
                file.shown()
            ))),
        }
    }

    /// Checks whether a package of a registry may be used with these signatures. Returns the names of the trusted signers.
    pub fn check(
        &self,
        registry: &str,
        name: &PackageName,
        version: &Version,
        manifest: &Digest,
        signatures: &[Vec<u8>],
    ) -> Result<Vec<String>> {
        self.allows(registry)?;
        let shown = format!("{name}@{version} of {registry}");
        if let Some(file) = self.files().find(|file| file.revoked.manifests.contains(manifest)) {
            let message =
                format!("{shown} may not be used: {} has revoked {manifest}; use another version", file.shown());
            return Err(Error::job(message));
        }
        let read = |bytes: &Vec<u8>| signature::read(bytes, name, version, manifest);
        let signed: Vec<Signed> = signatures.iter().take(PACKAGE_SIGNATURES_MAX).filter_map(read).collect();
        let registry_location = RegistryLocation::parse(registry)?;
        for file in self.files() {
            for rule in file.registry.iter().filter(|rule| rule.at.concerns(&registry_location)) {
                self.meets(rule, file, &signed).map_err(|error| error.within(format!("{shown} may not be used")))?;
            }
        }
        let trusted: BTreeSet<&Signer> =
            self.files().flat_map(|file| self.trusted(file, &signed)).map(|signed| &signed.signer).collect();
        match signed.iter().find(|signed| self.is_revoked(&signed.key)) {
            // A revoked key alone is an error; with a trusted signature as well, the package may be used.
            Some(Signed { signer, key }) if trusted.is_empty() => Err(Error::job(format!(
                "{shown} may not be used: its only signer is {signer}, with a revoked key ({key}); {signer} must \
                 sign it again; then run `millstream pull`"
            ))),
            _ => Ok(trusted.into_iter().map(ToString::to_string).collect()),
        }
    }

    /// Whether any policy revokes this key.
    pub fn is_revoked(&self, key: &PublicKey) -> bool {
        self.files().any(|file| file.revoked.keys.contains(key))
    }

    /// Returns all signers with their keys, and the file that defines them.
    pub fn signers(&self) -> Vec<(&Signer, &PublicKey, String)> {
        let mut all = Vec::new();
        for file in self.files() {
            for (signer, keys) in &file.signers {
                all.extend(keys.iter().map(|key| (signer, key, file.shown())));
            }
        }
        all
    }

    /// Returns the operator's keys for a signer, if any.
    pub fn keys_of_operator(&self, signer: &Signer) -> Option<&[PublicKey]> {
        self.operators.signers.get(signer).map(Vec::as_slice)
    }

    /// Returns everything that is revoked, as text.
    pub fn revoked(&self) -> BTreeSet<String> {
        let keys = self.files().flat_map(|file| file.revoked.keys.iter().map(ToString::to_string));
        keys.chain(self.files().flat_map(|file| file.revoked.manifests.iter().map(ToString::to_string))).collect()
    }

    fn files(&self) -> impl Iterator<Item = &PolicyFile> {
        std::iter::once(&self.operators).chain(&self.others)
    }

    /// Returns the signatures that are valid for a file.
    fn trusted<'a>(&'a self, file: &'a PolicyFile, signed: &'a [Signed]) -> impl Iterator<Item = &'a Signed> {
        signed
            .iter()
            .filter(|signed| self.keys(file, &signed.signer).contains(&signed.key) && !self.is_revoked(&signed.key))
    }

    /// Returns the keys of a signer for a file. Signers that the operator defines have no other keys.
    fn keys<'a>(&'a self, file: &'a PolicyFile, signer: &Signer) -> &'a [PublicKey] {
        let own = || file.signers.get(signer).map(Vec::as_slice);
        self.keys_of_operator(signer).or_else(own).unwrap_or_default()
    }

    fn meets(&self, rule: &SignatureRule, file: &PolicyFile, signed: &[Signed]) -> Result<()> {
        let by: BTreeSet<&Signer> = self.trusted(file, signed).map(|signed| &signed.signer).collect();
        let count = rule.require.iter().filter(|signer| by.contains(signer)).count();
        if count >= rule.at_least() {
            return Ok(());
        }
        let missing: Vec<&Signer> = rule.require.iter().filter(|signer| !by.contains(signer)).collect();
        let mut message = format!("{} requires signatures of {rule}, but ", file.shown());
        let names = missing.iter().map(|signer| signer.as_str()).collect::<Vec<_>>().join(", ");
        let _ = match missing.len() {
            1 => write!(message, "{names} has not signed it"),
            _ => write!(message, "{names} have not signed it"),
        };
        for signer in missing {
            self.explain_missing(signer, file, signed, &mut message);
        }
        Err(Error::job(message))
    }

    /// Adds to the message why a signer's signature is not valid.
    fn explain_missing(&self, signer: &Signer, file: &PolicyFile, signed: &[Signed], message: &mut String) {
        let keys = self.keys(file, signer);
        let _ = match signed.iter().find(|signed| signed.signer == *signer) {
            _ if keys.is_empty() => {
                write!(
                    message,
                    "\n  no trusted key of {signer}; to trust one, run: millstream key trust {signer} \
                    ed25519:…"
                )
            }
            Some(Signed { key, .. }) if self.is_revoked(key) => {
                write!(
                    message,
                    "\n  a signature of {signer} uses a revoked key: {key}. Once {signer} has signed it again, \
                     `millstream pull` fetches that signature"
                )
            }
            Some(Signed { key, .. }) => write!(
                message,
                "\n  a signature claims to be of {signer}, but uses an unknown key: {key}. If {signer} has a new \
                 key, run: millstream key trust {signer} {key}"
            ),
            None => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests;
