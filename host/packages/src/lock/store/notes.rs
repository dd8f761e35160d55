//! What the store knows beside the bytes: where a package came from, who signed it, and which lock files need it.

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

/// The folder of signatures, a folder for each manifest.
pub(super) const SIGNATURES: &str = "signatures";
/// The folder of versions that were seen.
pub(super) const VERSIONS: &str = "versions";
/// The folder of lock files that refer to the store.
pub(super) const LOCKS: &str = "locks";
/// Bytes of one note.
const NOTE_BYTES_MAX: u64 = 16 << 10;

impl PackageStore {
    /// The manifest that a version had in a registry when it was fetched from there; `None`: it never was. So a tag that was
    /// moved is noticed, and nobody can claim of a package in the store that it came from somewhere else.
    pub fn seen(&self, registry: &str, name: &PackageName, version: &Version) -> Result<Option<Digest>> {
        let what = version_text(registry, name, version);
        let Some(note) = self.read(&[VERSIONS, &Digest::of(what.as_bytes()).hex()], NOTE_BYTES_MAX)? else {
            return Ok(None);
        };
        Ok(manifest_in(&note).filter(|_| note.ends_with(what.as_bytes())))
    }

    /// Notes which manifest a version of a registry has.
    pub fn see(&self, registry: &str, name: &PackageName, version: &Version, manifest: &Digest) -> Result<()> {
        if self.seen(registry, name, version)? == Some(*manifest) {
            return Ok(());
        }
        let what = version_text(registry, name, version);
        let note = format!("{manifest}\n{what}");
        self.write(&[VERSIONS, &Digest::of(what.as_bytes()).hex()], note.as_bytes())
    }

    /// The signatures that are kept of a manifest. A damaged one is as none at all.
    pub fn signatures(&self, manifest: &Digest) -> Result<Vec<Vec<u8>>> {
        let names = self.names(&[SIGNATURES, &manifest.hex()])?;
        let mut signatures = Vec::new();
        for name in names.iter().take(PACKAGE_SIGNATURES_MAX) {
            let found = self.read(&[SIGNATURES, &manifest.hex(), name], signature::BYTES_MAX as u64)?;
            signatures.extend(found.filter(|signature| Digest::of(signature).hex() == *name));
        }
        Ok(signatures)
    }

    /// Keeps signatures of a manifest, beside those that are there; instead of them, where these are too many.
    pub fn keep_signatures(&self, manifest: &Digest, signatures: &[Vec<u8>]) -> Result<()> {
        let name = |signature: &[u8]| Digest::of(signature).hex();
        let mut held = self.signatures(manifest)?;
        let new: Vec<&Vec<u8>> = signatures.iter().filter(|signature| !held.contains(signature)).collect();
        if held.len() + new.len() > PACKAGE_SIGNATURES_MAX {
            let (kept, old) = held.into_iter().partition(|signature| signatures.contains(signature));
            held = kept;
            for signature in old {
                remove(self, &[SIGNATURES, &manifest.hex(), &name(&signature)])?;
            }
        }
        for signature in new.into_iter().take(PACKAGE_SIGNATURES_MAX.saturating_sub(held.len())) {
            self.write(&[SIGNATURES, &manifest.hex(), &name(signature)], signature)?;
        }
        Ok(())
    }

    /// Notes that a lock file refers to the store.
    pub fn note_lock(&self, lock_file: &Path) -> Result<()> {
        let path = lock_file.as_os_str().as_bytes();
        let names = [LOCKS, &Digest::of(path).hex()];
        match self.read(&names, NOTE_BYTES_MAX)? {
            Some(noted) if noted == path => Ok(()),
            _ => self.write(&names, path),
        }
    }

    /// The lock files that refer to the store, with the names of their notes.
    pub fn locks(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut locks = Vec::new();
        for name in self.names(&[LOCKS])? {
            let path = self.read(&[LOCKS, &name], NOTE_BYTES_MAX)?;
            // One that is damaged tells nothing.
            let path = path.filter(|path| Digest::of(path).hex() == name);
            locks.extend(path.map(|path| (name, PathBuf::from(OsString::from_vec(path)))));
        }
        Ok(locks)
    }

    /// The names in a folder of the store, in order; what is just being written is not among them.
    pub(super) fn names(&self, folder: &[&str]) -> Result<Vec<String>> {
        let path = self.path(folder);
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

/// What a version is called in the whole world.
fn version_text(registry: &str, name: &PackageName, version: &Version) -> String {
    format!("{name}@{version}\n{registry}\n")
}

/// The manifest that the note of a version tells.
pub(super) fn manifest_in(note: &[u8]) -> Option<Digest> {
    let line = note.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// Whether a name is that of a digest, as all are that the store gives.
pub(super) fn is_hex(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Removes a file; how many bytes it had.
pub(super) fn remove(store: &PackageStore, names: &[&str]) -> Result<u64> {
    let path = store.path(names);
    let bytes = fs::symlink_metadata(&path).map_or(0, |found| found.len());
    fs::remove_file(&path).or_else(missing).map_err(|error| store.failed("be removed", &path, &error))?;
    Ok(bytes)
}

pub(super) fn missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
