//! `millstream.lock`: which packages the jobs of a directory use, exactly, and the store that holds their bytes.
//!
//! A job that names a package (`plugin = "split-cause@0.1.0"`) runs what the lock file next to it pins, and nothing else.
//!
//! ```text
//! name@version -> lock file -> obtain (store, or registry -> store) -> resolve: the component's file
//! ```

pub mod add;
pub mod edit;
mod file;
pub mod obtain;
pub mod location;
pub mod resolve;
pub mod store;

use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageName;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::path::Path;
use store::PackageStore;

/// The name of the lock file.
pub const FILE: &str = "millstream.lock";

/// The lock file of a directory, as messages show it.
pub fn shown(dir: &Path) -> String {
    let file = dir.join(FILE);
    file.strip_prefix(".").unwrap_or(&file).display().to_string()
}

/// The comment at the top of the file.
const HEAD: &str = "# The exact packages of the jobs in this directory. `millstream add`, `upgrade` and `rollback` \
                    write it; keep it with the jobs.\n";

/// The content of a lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    /// The pinned packages, by name and version.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Pin>,
    /// The plugins of stages before their last upgrade, for `millstream rollback`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<PreviousVersion>,
}

/// A pinned package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The package's name.
    #[serde(with = "as_text")]
    pub name: PackageName,
    /// The package's version.
    #[serde(with = "as_text")]
    pub version: Version,
    /// The registry of the package, in the form that [`crate::registry::Registry::parse`] reads.
    pub registry: String,
    /// The digest of the package's manifest.
    pub manifest: Digest,
    /// The digest of the component.
    pub layer: Digest,
}

/// The plugin of a stage before an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousVersion {
    /// The job's name.
    pub job: String,
    /// The stage, source or sink, see [`millstream_job::plugin_part::PluginPart`].
    pub stage: String,
    /// The value of `plugin` in the job file before the upgrade.
    pub plugin: String,
    /// The batch after which the upgrade took place: its checkpoint has the state at that time. Absent if the job had no checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
}

impl LockFile {
    /// Reads the lock file of a directory; an empty one if it does not exist.
    pub fn read(dir: &Path) -> Result<LockFile> {
        let path = dir.join(FILE);
        file::read(&path)?.map_or_else(|| Ok(LockFile::default()), |text| LockFile::parse(&text, &path))
    }

    /// Parses the text of the lock file at this path.
    fn parse(text: &str, path: &Path) -> Result<LockFile> {
        let wrong = |cause: String| {
            Error::job(format!(
                "{}{cause}. `millstream add` writes this file: restore it from a copy, or remove it and add the \
                 packages again.",
                path.display()
            ))
        };
        let lock: LockFile = toml::from_str(text).map_err(|error| {
            let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.split('\n').count());
            wrong(format!("{}: {}", line.map(|line| format!(":{line}")).unwrap_or_default(), error.message()))
        })?;
        lock.check().map_err(|cause| wrong(format!(": {cause}")))?;
        Ok(lock)
    }

    /// Replaces the lock file of a directory atomically, and notes in the user's store that it needs its packages.
    pub fn write(&self, dir: &Path) -> Result<()> {
        file::replace(&dir.join(FILE), &self.text()?)?;
        PackageStore::of_user()?.note_lock(&location::absolute(dir)?.join(FILE))
    }

    /// The text of the file. The same pins give the same text.
    fn text(&self) -> Result<String> {
        let mut lock = self.clone();
        lock.packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        lock.before.sort_by(|a, b| (&a.job, &a.stage).cmp(&(&b.job, &b.stage)));
        lock.check().map_err(Error::bug)?;
        Ok(format!("{HEAD}\n{}", toml::to_string(&lock).map_err(Error::bug)?))
    }

    /// Changes the lock file of a directory under its lock, so that no other process changes it meanwhile.
    pub fn change<T>(dir: &Path, change: impl FnOnce(&mut LockFile) -> Result<T>) -> Result<T> {
        let _lock = file::lock_exclusively(dir)?;
        let mut lock = LockFile::read(dir)?;
        let before = lock.clone();
        let made = change(&mut lock)?;
        if lock != before {
            lock.write(dir)?;
        }
        Ok(made)
    }

    /// Returns the pin of a package.
    pub fn pin(&self, name: &PackageName, version: &Version) -> Option<&Pin> {
        self.packages.iter().find(|pin| pin.name == *name && pin.version == *version)
    }

    /// Pins a package. If it is already pinned with other bytes, its version was moved, which is an error.
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

    /// Returns the plugin of a stage before its last upgrade.
    pub fn before(&self, job: &str, stage: &str) -> Option<&PreviousVersion> {
        self.before.iter().find(|before| before.job == job && before.stage == stage)
    }

    /// Sets the plugin of a stage before its last upgrade; it replaces an older one.
    pub fn set_before(&mut self, before: PreviousVersion) {
        self.before.retain(|other| (&other.job, &other.stage) != (&before.job, &before.stage));
        self.before.push(before);
    }

    /// Checks what the type does not; the error is the message.
    fn check(&self) -> Result<(), String> {
        let twice = |index: usize, pin: &Pin| {
            self.packages.iter().skip(index + 1).any(|other| (&other.name, &other.version) == (&pin.name, &pin.version))
        };
        for (index, pin) in self.packages.iter().enumerate() {
            if twice(index, pin) {
                return Err(format!("{}@{} is pinned twice", pin.name, pin.version));
            }
            if !pin.version.build.is_empty() {
                return Err(format!("the version {} has build metadata, which no registry can hold", pin.version));
            }
            if pin.registry.is_empty() || pin.registry.chars().any(char::is_control) {
                return Err(format!("the registry of {}@{} must be printable text", pin.name, pin.version));
            }
        }
        let strings = self.before.iter().flat_map(|before| [&before.job, &before.stage, &before.plugin]);
        if strings.into_iter().any(|text| text.chars().any(char::is_control)) {
            return Err("a [[before]] must be printable text".to_owned());
        }
        Ok(())
    }
}

/// Serializes values as their text.
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
