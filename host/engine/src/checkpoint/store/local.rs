//! A store in a local directory. Durable data survives a crash of the machine: files are synced before they get their name, and directories
//! afterwards.

mod durable;
mod log;

use super::{Guard, Log, Object, Store, Version, is_inside, outside_error};
use bytes::Bytes;
use millstream_base::digest::checksum;
use millstream_base::fault;
use millstream_base::private::{self, LockError};
use millstream_base::regular;
use millstream_base::retry::{StoreError, StoreErrorKind, io_failed};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Name of the file that the process owning the directory keeps locked. It contains the process ID.
const LOCK: &str = "lock";
/// How long startup waits for a process that is just exiting: a killed one may hold the lock a moment longer.
const LOCK_WAIT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2_000 });

/// A local directory.
pub struct Local {
    root: PathBuf,
    disk: Disk,
    /// Serializes replacements; other processes are kept out by the lock.
    replacing: Mutex<()>,
    /// What a disk that loses unsynced data would lose: only used by a test that plants that bug.
    unsynced: Mutex<BTreeMap<String, Bytes>>,
}

/// The behavior of the disk; tests plant faults.
#[derive(Clone, Copy, Default)]
pub struct Disk {
    /// It only keeps synced data, even if only the process dies.
    lose_unsynced: bool,
    /// A planted bug: nothing is synced.
    skip_sync: bool,
}

impl Disk {
    fn of_environment() -> Disk {
        Disk { lose_unsynced: fault::lose_unsynced(), skip_sync: fault::bug!("skip-fsync") }
    }
}

impl Local {
    /// Opens a directory. Creates nothing.
    pub fn open(root: PathBuf) -> Local {
        Local { root, disk: Disk::of_environment(), replacing: Mutex::default(), unsynced: Mutex::default() }
    }

    fn at(&self, what: &str, path: &str) -> Result<PathBuf, StoreError> {
        if is_inside(path) && path != LOCK { Ok(self.root.join(path)) } else { Err(outside_error(what, path)) }
    }

    fn unsynced(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock file; the error says which process has it.
    fn take(&self) -> Result<File, StoreError> {
        let what = format!("keep checkpoints in {}", self.root.display());
        let failed = |error: io::Error| {
            let failed = io_failed(what.clone(), &error);
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let remedy = if full { "free space there" } else { "make that directory writable" };
            StoreError {
                reason: format!("{}; {remedy}, or name another `dir` in [checkpoint]", failed.reason),
                ..failed
            }
        };
        durable::make_dirs(&self.root).map_err(failed)?;
        let path = self.root.join(LOCK);
        let mut file = match private::lock(&path, LOCK_WAIT) {
            Ok(file) => file,
            Err(LockError::Failed(error)) => {
                return Err(failed(io::Error::new(error.kind(), format!("{}: {error}", path.display()))));
            }
            Err(LockError::Held) => {
                let mut owner = String::new();
                let _ = File::open(&path).and_then(|file| file.take(20).read_to_string(&mut owner));
                let owner = owner.trim().parse::<u32>().map_or(String::new(), |id| format!(" (process {id})"));
                let reason =
                    format!("a running job uses it{owner}; stop that job first, or name another `dir` in [checkpoint]");
                return Err(StoreError { what, reason, kind: StoreErrorKind::Permanent });
            }
        };
        // Writing it also detects a read-only directory; permissions do not show that to root.
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(file)
    }

    /// Lists all files below a directory, by path in the store.
    fn walk(&self, dir: &Path, found: &mut Vec<(PathBuf, Object)>) -> io::Result<()> {
        for entry in missing_ok(fs::read_dir(dir))?.into_iter().flatten() {
            let entry = entry?;
            // Other processes may delete files meanwhile.
            let Some(metadata) = missing_ok(entry.metadata())? else { continue };
            let file = entry.path();
            if metadata.is_dir() {
                self.walk(&file, found)?;
            } else if let Some(path) = file.strip_prefix(&self.root).ok().and_then(Path::to_str) {
                let object = Object { path: path.to_owned(), bytes: metadata.len() };
                found.push((file, object));
            }
        }
        Ok(())
    }
}

/// Returns `None` if the name does not exist. If a file has the name of a directory, taking the lock reports it.
fn missing_ok<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Store for Local {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn dir(&self) -> Option<PathBuf> {
        Some(self.root.clone())
    }

    fn lock(&self) -> Result<Option<Guard>, StoreError> {
        let lock = self.take()?;
        let tidy = || {
            // A process that died between creating a directory and syncing its parent may have left this undone.
            durable::sync_dir(durable::dir_of(&self.root))?;
            durable::sync_dir(&self.root)?;
            let mut found = Vec::new();
            self.walk(&self.root, &mut found)?;
            for (file, _) in found {
                if durable::is_temporary(&file) {
                    fs::remove_file(file)?;
                }
            }
            Ok(())
        };
        tidy().map_err(|error| io_failed(format!("tidy {}", self.root.display()), &error))?;
        Ok(Some(Box::new(lock)))
    }

    fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let file = self.at("read", path)?;
        if let Some(bytes) = self.unsynced().get(path) {
            return Ok(Some(bytes.clone()));
        }
        let bytes = missing_ok(regular::read(&file));
        Ok(bytes.map_err(|error| io_failed(format!("read {}", file.display()), &error))?.map(Bytes::from))
    }

    fn open(&self, path: &str) -> Result<Option<File>, StoreError> {
        let file = self.at("read", path)?;
        if self.unsynced().contains_key(path) {
            return Ok(None);
        }
        missing_ok(regular::open(&file)).map_err(|error| io_failed(format!("read {}", file.display()), &error))
    }

    fn write(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let file = self.at("write", path)?;
        if self.disk.lose_unsynced && self.disk.skip_sync {
            self.unsynced().insert(path.to_owned(), bytes);
            fault::point("store.write");
            return Ok(());
        }
        durable::write(&file, &bytes, !self.disk.skip_sync)
            .map_err(|error| io_failed(format!("write {}", file.display()), &error))
    }

    fn read_version(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError> {
        Ok(self.read(path)?.map(|bytes| {
            let version = Version(checksum(&bytes));
            (bytes, version)
        }))
    }

    fn replace(&self, path: &str, bytes: Bytes, expected: Option<&Version>) -> Result<Option<Version>, StoreError> {
        let _alone = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Version(checksum(&bytes));
        let is = self.read_version(path)?;
        let already = is.as_ref().is_some_and(|(there, _)| *there == bytes);
        if !already && is.as_ref().map(|(_, version)| version) != expected {
            return Ok(None);
        }
        // Even if it exists already: the last attempt may have failed in syncing the directory.
        self.write(path, bytes)?;
        Ok(Some(new))
    }

    fn list(&self, dir: &str) -> Result<Vec<Object>, StoreError> {
        let start = if dir.is_empty() { self.root.clone() } else { self.at("list", dir)? };
        let mut found = Vec::new();
        self.walk(&start, &mut found).map_err(|error| io_failed(format!("list {}", start.display()), &error))?;
        let visible = found.into_iter().filter(|(file, object)| !durable::is_temporary(file) && object.path != LOCK);
        let mut objects: BTreeMap<String, u64> = visible.map(|(_, object)| (object.path, object.bytes)).collect();
        let below = |path: &str| dir.is_empty() || Path::new(path).starts_with(dir);
        let unsynced = self.unsynced();
        let unsynced = unsynced.iter().filter(|(path, _)| below(path));
        objects.extend(unsynced.map(|(path, bytes)| (path.clone(), bytes.len() as u64)));
        Ok(objects.into_iter().map(|(path, bytes)| Object { path, bytes }).collect())
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        let file = self.at("delete", path)?;
        self.unsynced().remove(path);
        // A file that reappears because the directory was not synced is deleted again later.
        missing_ok(fs::remove_file(&file))
            .map_err(|error| io_failed(format!("delete {}", file.display()), &error))
            .map(|_| ())
    }

    fn log(&self, path: &str) -> Result<Box<dyn Log>, StoreError> {
        Ok(Box::new(log::FileLog::create(self.at("write", path)?, self.disk)?))
    }

    fn read_log(&self, path: &str) -> Result<Bytes, StoreError> {
        Ok(self.read(path)?.unwrap_or_default())
    }

    fn delete_log(&self, path: &str) -> Result<(), StoreError> {
        self.delete(path)
    }
}

#[cfg(test)]
mod tests;
