//! Removes from the store what no lock file needs.

use super::notes::{LOCKS, SIGNATURES, VERSIONS, is_hex, manifest_in, missing, remove};
use super::{BYTES, PackageStore};
use crate::lock::LockFile;
use millstream_base::digest::Digest;
use millstream_base::error::Result;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The result of a cleanup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedFiles {
    /// Number of removed files of packages.
    pub files: u64,
    /// Number of removed bytes.
    pub bytes: u64,
    /// The lock files that refer to the store.
    pub locks: Vec<PathBuf>,
    /// Lock files that no longer exist.
    pub deleted: Vec<PathBuf>,
}

/// Removes what no lock file of any job that used the store pins. If a lock file cannot be read, nothing is removed and this is an error.
pub fn gc(store: &PackageStore) -> Result<RemovedFiles> {
    let _lock = store.lock_exclusively()?;
    let mut swept = RemovedFiles::default();
    let mut needed: BTreeSet<String> = BTreeSet::new();
    let mut unused_notes = Vec::new();
    for (note, file) in store.locks()? {
        if !file.exists() {
            unused_notes.push(note);
            swept.deleted.push(file);
            continue;
        }
        let lock = LockFile::read(file.parent().unwrap_or(Path::new("/")))?;
        let digests = lock.packages.iter().flat_map(|pin| [pin.manifest, pin.layer]);
        needed.extend(digests.map(|digest: Digest| digest.hex()));
        swept.locks.push(file);
    }
    for note in unused_notes {
        remove(store, &[LOCKS, &note])?;
    }
    for name in store.names(&[VERSIONS])? {
        let note = store.read(&[VERSIONS, &name], u64::from(u16::MAX))?.unwrap_or_default();
        if !manifest_in(&note).is_some_and(|manifest| needed.contains(&manifest.hex())) {
            remove(store, &[VERSIONS, &name])?;
        }
    }
    for name in store.names(&[SIGNATURES])?.iter().filter(|name| !needed.contains(*name)) {
        let path = store.path(&[SIGNATURES, name]);
        fs::remove_dir_all(&path).or_else(missing).map_err(|error| store.failed("be removed", &path, &error))?;
    }
    for name in store.names(&[BYTES])?.iter().filter(|name| !needed.contains(*name)) {
        swept.bytes += remove(store, &[BYTES, name])?;
        swept.files += 1;
    }
    for dir in [BYTES, VERSIONS, LOCKS] {
        remove_leftovers(store, dir)?;
    }
    Ok(swept)
}

/// Removes partial files of killed processes. The caller holds the lock, so nothing is being written.
fn remove_leftovers(store: &PackageStore, dir: &str) -> Result<()> {
    let path = store.path(&[dir]);
    let failed = |error: io::Error| store.failed("be tidied up", &path, &error);
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_hex) && entry.file_type().map_err(failed)?.is_file() {
            fs::remove_file(entry.path()).or_else(missing).map_err(failed)?;
        }
    }
    Ok(())
}
