//! `millstream.lock`: exactly which packages the jobs of a folder use, and the store that holds their bytes.
//!
//! A job that names a package (`plugin = "split-words@0.1.0"`) runs what the lock file beside it pins, and nothing else.

pub mod obtain;
pub mod resolve;
pub mod store;

use crate::error::{Error, Result};
use crate::package::digest::Digest;
use crate::package::name::PackageName;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name.
pub const FILE: &str = "millstream.lock";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// The pinned packages, by name and version.
    pub packages: Vec<Pin>,
    /// What stages had before their last upgrade, for `millstream rollback`.
    pub before: Vec<Before>,
}

/// A pinned package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its name.
    #[serde(with = "as_text")]
    pub name: PackageName,
    /// Its version.
    #[serde(with = "as_text")]
    pub version: Version,
    /// The registry that it came from, as [`crate::registry::Registry::parse`] reads it.
    pub registry: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The digest of the component.
    pub layer: Digest,
}

/// What a stage had before an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// The job's name.
    pub job: String,
    /// The stage.
    pub stage: String,
    /// Its `plugin` then, as the job file had it.
    pub plugin: String,
    /// The batch after which the upgrade took place: its checkpoint has the state of then. Absent where the job kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
}

impl Lock {
    /// Reads the lock file of a folder; an empty one where there is none.
    pub fn read(folder: &Path) -> Result<Lock> {
        let _ = folder;
        Ok(Lock::default())
    }

    /// Replaces the lock file of a folder, whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<()> {
        Err(Error::bug(format!("{}: lock files are not written yet", folder.display())))
    }

    /// The pin of a package.
    pub fn pin(&self, name: &PackageName, version: &Version) -> Option<&Pin> {
        self.packages.iter().find(|pin| pin.name == *name && pin.version == *version)
    }
}

/// Values that are written as their text.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
