//! What the store notes about bytes: the origin of a package, its signatures, and the lock files that need it.

use super::PackageStore;
use crate::limits::PACKAGE_SIGNATURES_MAX;
use crate::trust::signature;
use millstream_base::digest::Digest;
use millstream_base::error::Result;
use millstream_base::package_name::PackageName;
use semver::Version;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The directory of signatures, with one directory per manifest.
pub(super) const SIGNATURES: &str = "signatures";
/// The directory of known versions.
pub(super) const VERSIONS: &str = "versions";
/// The directory of lock files that refer to the store.
pub(super) const LOCKS: &str = "locks";
/// Maximum bytes of one note.
const NOTE_BYTES_MAX: u64 = 16 << 10;

impl PackageStore {
    /// Returns the manifest that a version had in a registry when it was fetched; `None` if it never was. This detects moved tags, and
    /// prevents false claims about the origin of a package in the store.
    pub fn seen_digest(&self, registry: &str, name: &PackageName, version: &Version) -> Result<Option<Digest>> {
        let what = version_text(registry, name, version);
        let Some(note) = self.read(&[VERSIONS, &Digest::compute(what.as_bytes()).hex()], NOTE_BYTES_MAX)? else {
            return Ok(None);
        };
        Ok(manifest_in(&note).filter(|_| note.ends_with(what.as_bytes())))
    }

    /// Notes which manifest a version of a registry has.
    pub fn see(&self, registry: &str, name: &PackageName, version: &Version, manifest: &Digest) -> Result<()> {
        if self.seen_digest(registry, name, version)? == Some(*manifest) {
            return Ok(());
        }
        let what = version_text(registry, name, version);
        let note = format!("{manifest}\n{what}");
        self.write(&[VERSIONS, &Digest::compute(what.as_bytes()).hex()], note.as_bytes())
    }

    /// Returns the stored signatures of a manifest. Damaged ones are ignored.
    pub fn signatures(&self, manifest: &Digest) -> Result<Vec<Vec<u8>>> {
        let names = self.names(&[SIGNATURES, &manifest.hex()])?;
        let mut signatures = Vec::new();
        for name in names.iter().take(PACKAGE_SIGNATURES_MAX) {
            let found = self.read(&[SIGNATURES, &manifest.hex(), name], signature::BYTES_MAX as u64)?;
            signatures.extend(found.filter(|signature| Digest::compute(signature).hex() == *name));
        }
        Ok(signatures)
    }

    /// Stores signatures of a manifest, in addition to existing ones, or instead of them if there would be too many.
    pub fn keep_signatures(&self, manifest: &Digest, signatures: &[Vec<u8>]) -> Result<()> {
        let name = |signature: &[u8]| Digest::compute(signature).hex();
        let mut stored = self.signatures(manifest)?;
        let new: Vec<&Vec<u8>> = signatures.iter().filter(|signature| !stored.contains(signature)).collect();
        if stored.len() + new.len() > PACKAGE_SIGNATURES_MAX {
            let (kept, old) = stored.into_iter().partition(|signature| signatures.contains(signature));
            stored = kept;
            for signature in old {
                remove(self, &[SIGNATURES, &manifest.hex(), &name(&signature)])?;
            }
        }
        for signature in new.into_iter().take(PACKAGE_SIGNATURES_MAX.saturating_sub(stored.len())) {
            self.write(&[SIGNATURES, &manifest.hex(), &name(signature)], signature)?;
        }
        Ok(())
    }

    /// Notes that a lock file refers to the store.
    pub fn note_lock(&self, lock_file: &Path) -> Result<()> {
        let path = lock_file.as_os_str().as_bytes();
        let names = [LOCKS, &Digest::compute(path).hex()];
        match self.read(&names, NOTE_BYTES_MAX)? {
            Some(noted) if noted == path => Ok(()),
            _ => self.write(&names, path),
        }
    }

    /// Returns the lock files that refer to the store, with the names of their notes.
    pub fn locks(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut locks = Vec::new();
        for name in self.names(&[LOCKS])? {
            let path = self.read(&[LOCKS, &name], NOTE_BYTES_MAX)?;
            // Damaged notes are ignored.
            let path = path.filter(|path| Digest::compute(path).hex() == name);
            locks.extend(path.map(|path| (name, PathBuf::from(OsString::from_vec(path)))));
        }
        Ok(locks)
    }

    /// Returns the names in a directory of the store, sorted, without partial files.
    pub(super) fn names(&self, dir: &[&str]) -> Result<Vec<String>> {
        let path = self.path(dir);
        let failed = |error: io::Error| self.failed("be read", &path, &error);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok().filter(|name| is_hex(name)));
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// The globally unique name of a version.
fn version_text(registry: &str, name: &PackageName, version: &Version) -> String {
    format!("{name}@{version}\n{registry}\n")
}

/// Parses the manifest in the note of a version.
pub(super) fn manifest_in(note: &[u8]) -> Option<Digest> {
    let line = note.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// Whether a name is a digest, as all names of the store are.
pub(super) fn is_hex(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Removes a file, and returns its length in bytes.
pub(super) fn remove(store: &PackageStore, names: &[&str]) -> Result<u64> {
    let path = store.path(names);
    let bytes = fs::symlink_metadata(&path).map_or(0, |found| found.len());
    fs::remove_file(&path).or_else(missing).map_err(|error| store.failed("be removed", &path, &error))?;
    Ok(bytes)
}

pub(super) fn missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
