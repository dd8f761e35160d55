//! A policy as it is written, in TOML:
//!
//! ```toml
//! allow = ["oci://registry.example.com/team", "/srv/plugins"]   # registries that begin with these; absent: all
//! paths = false                         # jobs may not name plugins by path; absent: they may
//!
//! [[registry]]                          # all such tables that fit a registry count
//! at = "oci://registry.example.com"     # or "*": all registries
//! require = ["alice", "bob", "carol"]   # who must have signed
//! at_least = 2                          # how many of them; absent: all
//!
//! [signers]                             # several keys: old and new
//! alice = ["ed25519:…"]
//!
//! [revoked]
//! keys = ["ed25519:…"]
//! manifests = ["sha256:…"]
//! ```
//!
//! The tables `signers` and `revoked` are also in the user's `keys/trusted.toml` ([`Trusted`]), which `millstream key` writes.

use super::location::Prefix;
use crate::limits::POLICY_FILE_BYTES_MAX;
use crate::trust::key::{PublicKey, Signer};
use millstream_base::digest::Digest;
use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_base::private;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The file that `millstream key` writes, in the directory of settings.
const TRUSTED_FILE: &str = "keys/trusted.toml";

/// One policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    #[serde(skip)]
    path: PathBuf,
    /// The registries that may be used; `None`: all.
    pub allow: Option<Vec<Prefix>>,
    /// Whether jobs may name plugins by path.
    pub paths: Option<bool>,
    /// Required signatures.
    #[serde(default)]
    pub registry: Vec<SignatureRule>,
    /// The keys of signers.
    #[serde(default)]
    pub signers: BTreeMap<Signer, Vec<PublicKey>>,
    /// Revoked keys and packages.
    #[serde(default)]
    pub revoked: Revoked,
}

/// The signatures that packages of some registries need.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureRule {
    /// The registries.
    pub at: Prefix,
    /// The signers.
    pub require: Vec<Signer>,
    at_least: Option<usize>,
}

/// Revoked keys and packages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revoked {
    /// Revoked keys.
    pub keys: BTreeSet<PublicKey>,
    /// Revoked packages, by the digests of their manifests.
    pub manifests: BTreeSet<Digest>,
}

/// The user's trusted keys, as `millstream key` stores them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trusted {
    /// The keys of signers.
    pub signers: BTreeMap<Signer, Vec<PublicKey>>,
    /// Revoked keys and packages.
    pub revoked: Revoked,
}

impl SignatureRule {
    /// How many of the signers must have signed.
    pub fn at_least(&self) -> usize {
        self.at_least.unwrap_or(self.require.len())
    }

    fn check(&self) -> Result<()> {
        let all = self.require.len();
        let what = match self.at_least {
            _ if all == 0 => "`require` is empty; name signers, or remove the table".into(),
            _ if self.require.iter().collect::<BTreeSet<_>>().len() != all => "`require` names a signer twice".into(),
            Some(count) if count == 0 || count > all => format!("`at_least` is {count}; write a number of 1 to {all}"),
            _ => return Ok(()),
        };
        Err(Error::job(format!("[[registry]] at = \"{}\": {what}", self.at)))
    }
}

impl fmt::Display for SignatureRule {
    /// Formats as `alice and bob`, or `2 of alice, bob, carol`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |between: &str| self.require.iter().map(Signer::as_str).collect::<Vec<_>>().join(between);
        match self.at_least() {
            count if count == self.require.len() => f.write_str(&names(" and ")),
            count => write!(f, "{count} of {}", names(", ")),
        }
    }
}

impl PolicyFile {
    /// Reads a policy; `None` if the file does not exist.
    pub fn read(path: &Path) -> Result<Option<PolicyFile>> {
        let Some(text) = text(path)? else { return Ok(None) };
        let file: PolicyFile = parsed(&text, path)?;
        let file = PolicyFile { path: path.to_owned(), ..file };
        for rule in &file.registry {
            rule.check().map_err(|error| error.within(file.shown()))?;
        }
        file.check_keys()?;
        Ok(Some(file))
    }

    /// Adds the keys that the user's `millstream key` has written.
    pub fn add(&mut self, trusted: Trusted) {
        for (signer, keys) in trusted.signers {
            self.signers.entry(signer).or_default().extend(keys);
        }
        self.revoked.keys.extend(trusted.revoked.keys);
        self.revoked.manifests.extend(trusted.revoked.manifests);
    }

    /// Checks that no two signers share a key: otherwise one person could count twice in "2 of 3".
    pub fn check_keys(&self) -> Result<()> {
        let mut owners: BTreeMap<&PublicKey, &Signer> = BTreeMap::new();
        for (signer, key) in self.signers.iter().flat_map(|(signer, keys)| keys.iter().map(move |key| (signer, key))) {
            if let Some(other) = owners.insert(key, signer).filter(|other| *other != signer) {
                let message = format!("{}: {other} and {signer} have the same key {key}; remove one", self.shown());
                return Err(Error::job(message));
            }
        }
        Ok(())
    }

    /// The path, for messages.
    pub fn shown(&self) -> String {
        if self.path.as_os_str().is_empty() { TRUSTED_FILE.into() } else { self.path.display().to_string() }
    }
}

impl Trusted {
    /// Reads the file in this directory of settings.
    pub fn read(config: &Path) -> Result<Trusted> {
        let path = config.join(TRUSTED_FILE);
        text(&path)?.map_or_else(|| Ok(Trusted::default()), |text| parsed(&text, &path))
    }

    /// Changes the file in this directory of settings, under a lock and atomically.
    pub fn change(config: &Path, change: impl FnOnce(&mut Trusted) -> Result<()>) -> Result<()> {
        let path = config.join(TRUSTED_FILE);
        let dir = path.parent().unwrap_or(config);
        let failed = |e: io::Error| Error::environment(format!("{}: {e}", path.display()));
        private::dir(dir).map_err(failed)?;
        let _alone = durable::lock_dir(dir).map_err(failed)?;
        let mut trusted = Trusted::read(config)?;
        change(&mut trusted)?;
        let text = toml::to_string(&trusted).map_err(Error::bug)?;
        let text = format!("# Written by `millstream key trust` and `millstream key revoke`.\n\n{text}");
        durable::replace(&path, text.as_bytes(), None).map_err(failed)
    }
}

/// Reads a file; `None` if it does not exist. A dangling link is an error, because a deleted policy must not allow everything. A file that
/// others may change, or delete from its directory, is also an error.
fn text(path: &Path) -> Result<Option<String>> {
    let failed = |e: &dyn fmt::Display| Error::environment(format!("the policy {}: {e}", path.display()));
    let safe = |path: &Path| match private::check_trusted(path) {
        Ok(None) => Ok(()),
        Ok(Some(who)) => Err(failed(&format_args!("it is not applied: {who}"))),
        Err(e) => Err(failed(&e)),
    };
    if let Some(dir) = path.parent().filter(|dir| dir.is_dir()) {
        safe(dir)?;
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&e)),
        Ok(_) => {}
    }
    if !fs::metadata(path).map_err(|e| failed(&e))?.is_file() {
        return Err(failed(&"it is not a file"));
    }
    safe(path)?;
    let mut text = String::new();
    let file = millstream_base::regular::open(path).map_err(|e| failed(&e))?;
    file.take(POLICY_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| failed(&e))?;
    if text.len() as u64 > POLICY_FILE_BYTES_MAX {
        return Err(failed(&format_args!("it has more than {POLICY_FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(text))
}

fn parsed<T: for<'de> Deserialize<'de>>(text: &str, path: &Path) -> Result<T> {
    toml::from_str(text).map_err(|e| Error::job(format!("the policy {}: {e}", path.display())))
}
