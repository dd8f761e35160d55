//! `millstream.lock`: exactly which packages the jobs of a folder use, and the store that holds their bytes.
//!
//! A job that names a package (`plugin = "split-words@0.1.0"`) runs what the lock file beside it pins, and nothing else.
//!
//! ```text
//! name@version -> lock file -> obtain (store, or registry -> store) -> resolve: the component's file
//! ```

pub mod add;
pub mod edit;
mod file;
pub mod obtain;
pub mod place;
pub mod resolve;
pub mod store;

use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageName;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::path::Path;
use store::PackageStore;

/// The file's name.
pub const FILE: &str = "millstream.lock";

/// The lock file of a folder, as users name it.
pub fn shown(folder: &Path) -> String {
    let file = folder.join(FILE);
    file.strip_prefix(".").unwrap_or(&file).display().to_string()
}

/// The comment at its head.
const HEAD: &str = "# Which packages the jobs of this folder use, exactly. `millstream add`, `upgrade` and `rollback` write it; keep it \
                    with the jobs.\n";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    /// The pinned packages, by name and version.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Pin>,
    /// What stages had before their last upgrade, for `millstream rollback`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<PreviousVersion>,
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
pub struct PreviousVersion {
    /// The job's name.
    pub job: String,
    /// The stage, source or sink, see [`millstream_base::job::plugin_part::PluginPart`].
    pub stage: String,
    /// Its `plugin` then, as the job file had it.
    pub plugin: String,
    /// The batch after which the upgrade took place: its checkpoint has the state of then. Absent where the job kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
}

impl LockFile {
    /// Reads the lock file of a folder; an empty one where there is none.
    pub fn read(folder: &Path) -> Result<LockFile> {
        let path = folder.join(FILE);
        file::read(&path)?.map_or_else(|| Ok(LockFile::default()), |text| LockFile::parse(&text, &path))
    }

    /// Reads the text of the lock file at this path.
    fn parse(text: &str, path: &Path) -> Result<LockFile> {
        let wrong = |words: String| {
            Error::job(format!(
                "{}{words}. `millstream add` writes this file: restore it from a copy, or remove it and add the \
                 packages again.",
                path.display()
            ))
        };
        let lock: LockFile = toml::from_str(text).map_err(|error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.split('\n').count());
            wrong(format!("{}: {}", line.map(|line| format!(":{line}")).unwrap_or_default(), error.message()))
        })?;
        lock.check().map_err(|words| wrong(format!(": {words}")))?;
        Ok(lock)
    }

    /// Replaces the lock file of a folder, whole or not at all, and notes in the user's store that it needs its packages.
    pub fn write(&self, folder: &Path) -> Result<()> {
        file::replace(&folder.join(FILE), &self.text()?)?;
        PackageStore::of_user()?.note_lock(&place::absolute(folder)?.join(FILE))
    }

    /// The same pins make the same text.
    fn text(&self) -> Result<String> {
        let mut lock = self.clone();
        lock.packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        lock.before.sort_by(|a, b| (&a.job, &a.stage).cmp(&(&b.job, &b.stage)));
        lock.check().map_err(Error::bug)?;
        Ok(format!("{HEAD}\n{}", toml::to_string(&lock).map_err(Error::bug)?))
    }

    /// Changes the lock file of a folder, while nobody else does.
    pub fn change<T>(folder: &Path, change: impl FnOnce(&mut LockFile) -> Result<T>) -> Result<T> {
        let _alone = file::alone(folder)?;
        let mut lock = LockFile::read(folder)?;
        let before = lock.clone();
        let made = change(&mut lock)?;
        if lock != before {
            lock.write(folder)?;
        }
        Ok(made)
    }

    /// The pin of a package.
    pub fn pin(&self, name: &PackageName, version: &Version) -> Option<&Pin> {
        self.packages.iter().find(|pin| pin.name == *name && pin.version == *version)
    }

    /// Pins a package. One that is pinned with other bytes is an error: its version was moved.
    pub fn add(&mut self, pin: Pin) -> Result<()> {
        match self.packages.iter_mut().find(|other| (&other.name, &other.version) == (&pin.name, &pin.version)) {
            Some(other) if (other.manifest, other.layer) != (pin.manifest, pin.layer) => Err(Error::job(format!(
                "{FILE} pins {}@{} as {} from {}, and {} has {} under that version: a version must never change. If you \
                 trust the new one, remove its [[package]] from {FILE} and add it again.",
                pin.name, pin.version, other.manifest, other.registry, pin.registry, pin.manifest
            ))),
            Some(other) => {
                *other = pin;
                Ok(())
            }
            None => {
                self.packages.push(pin);
                Ok(())
            }
        }
    }

    /// What a stage had before its last upgrade.
    pub fn before(&self, job: &str, stage: &str) -> Option<&PreviousVersion> {
        self.before.iter().find(|before| before.job == job && before.stage == stage)
    }

    /// Sets what a stage had before its last upgrade; only the last one counts.
    pub fn set_before(&mut self, before: PreviousVersion) {
        self.before.retain(|other| (&other.job, &other.stage) != (&before.job, &before.stage));
        self.before.push(before);
    }

    /// Says in words what cannot be in such a file.
    fn check(&self) -> Result<(), String> {
        let twice = |place: usize, pin: &Pin| {
            self.packages.iter().skip(place + 1).any(|other| (&other.name, &other.version) == (&pin.name, &pin.version))
        };
        for (place, pin) in self.packages.iter().enumerate() {
            if twice(place, pin) {
                return Err(format!("{}@{} is pinned twice", pin.name, pin.version));
            }
            if !pin.version.build.is_empty() {
                return Err(format!("the version {} has build metadata, which no registry can hold", pin.version));
            }
            if pin.registry.is_empty() || pin.registry.chars().any(char::is_control) {
                return Err(format!("the registry of {}@{} must be printable text", pin.name, pin.version));
            }
        }
        let texts = self.before.iter().flat_map(|before| [&before.job, &before.stage, &before.plugin]);
        if texts.into_iter().any(|text| text.chars().any(char::is_control)) {
            return Err("a [[before]] must be printable text".to_owned());
        }
        Ok(())
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

#[cfg(test)]
mod tests;
