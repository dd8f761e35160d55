//! A store in a local folder. What it says is durable survives the end of the machine: files are synced before they get
//! their name, and folders after.

mod durable;
mod log;

use super::{Guard, Log, Object, Store, Version, inside, outside};
use bytes::Bytes;
use millstream_base::digest::checksum;
use millstream_base::fault;
use millstream_base::patience::{StoreError, StoreErrorKind, io_failed};
use millstream_base::private::{self, LockRefused};
use millstream_base::regular;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Name of the file that the process which owns the folder keeps locked. Its text is that process's id.
const LOCK: &str = "lock";
/// How long a start waits for a process that is just going away: who was killed may hold the lock a moment longer.
const LOCK_WAIT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2_000 });

/// A folder.
pub struct Local {
    root: PathBuf,
    disk: Disk,
    /// One replacement at a time; other processes are kept out by the lock.
    replacing: Mutex<()>,
    /// What a disk that loses what is not synced would lose: only there while a test plants that bug.
    unsynced: Mutex<BTreeMap<String, Bytes>>,
}

/// How the disk behaves; other than as it does when tests plant faults.
#[derive(Clone, Copy, Default)]
pub struct Disk {
    /// It holds only what was synced, even when no more than the process dies.
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
    /// Makes nothing.
    pub fn open(root: PathBuf) -> Local {
        Local { root, disk: Disk::of_environment(), replacing: Mutex::default(), unsynced: Mutex::default() }
    }

    fn at(&self, what: &str, path: &str) -> Result<PathBuf, StoreError> {
        if inside(path) && path != LOCK { Ok(self.root.join(path)) } else { Err(outside(what, path)) }
    }

    fn unsynced(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock file; the error says who has it.
    fn take(&self) -> Result<File, StoreError> {
        let what = format!("keep checkpoints in {}", self.root.display());
        let failed = |error: io::Error| {
            let failed = io_failed(what.clone(), &error);
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let remedy = if full { "make room there" } else { "make that directory writable" };
            StoreError {
                reason: format!("{}; {remedy}, or name another `dir` in [checkpoint]", failed.reason),
                ..failed
            }
        };
        durable::make_folders(&self.root).map_err(failed)?;
        let path = self.root.join(LOCK);
        let mut file = match private::lock(&path, LOCK_WAIT) {
            Ok(file) => file,
            Err(LockRefused::Failed(error)) => {
                return Err(failed(io::Error::new(error.kind(), format!("{}: {error}", path.display()))));
            }
            Err(LockRefused::Held) => {
                let mut owner = String::new();
                let _ = File::open(&path).and_then(|file| file.take(20).read_to_string(&mut owner));
                let owner = owner.trim().parse::<u32>().map_or(String::new(), |id| format!(" (process {id})"));
                let reason =
                    format!("a running job uses it{owner}; stop that first, or name another `dir` in [checkpoint]");
                return Err(StoreError { what, reason, kind: StoreErrorKind::Lasting });
            }
        };
        // Writing it is also how a folder that cannot be written is noticed; permissions tell root nothing.
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(file)
    }

    /// All files below a folder, by path in the store.
    fn walk(&self, folder: &Path, found: &mut Vec<(PathBuf, Object)>) -> io::Result<()> {
        for entry in missing_ok(fs::read_dir(folder))?.into_iter().flatten() {
            let entry = entry?;
            // Others may delete meanwhile.
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

/// `None` where there is nothing of this name. That a file stands in the place of a folder is told where the lock is taken.
fn missing_ok<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Store for Local {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.root.clone())
    }

    fn lock(&self) -> Result<Option<Guard>, StoreError> {
        let lock = self.take()?;
        let tidy = || {
            // A process that died between making a folder and syncing the one above may have left this undone.
            durable::sync_folder(durable::folder_of(&self.root))?;
            durable::sync_folder(&self.root)?;
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
        // Also where it is there already: syncing the folder may be what failed the last time.
        self.write(path, bytes)?;
        Ok(Some(new))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let start = if folder.is_empty() { self.root.clone() } else { self.at("list", folder)? };
        let mut found = Vec::new();
        self.walk(&start, &mut found).map_err(|error| io_failed(format!("list {}", start.display()), &error))?;
        let shown = found.into_iter().filter(|(file, object)| !durable::is_temporary(file) && object.path != LOCK);
        let mut objects: BTreeMap<String, u64> = shown.map(|(_, object)| (object.path, object.bytes)).collect();
        let below = |path: &str| folder.is_empty() || Path::new(path).starts_with(folder);
        let unsynced = self.unsynced();
        let unsynced = unsynced.iter().filter(|(path, _)| below(path));
        objects.extend(unsynced.map(|(path, bytes)| (path.clone(), bytes.len() as u64)));
        Ok(objects.into_iter().map(|(path, bytes)| Object { path, bytes }).collect())
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        let file = self.at("delete", path)?;
        self.unsynced().remove(path);
        // A file that comes back because the folder was not synced is deleted again by whoever finds it.
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
