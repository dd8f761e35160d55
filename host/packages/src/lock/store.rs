//! The bytes of packages, by digest: a directory of the user that all jobs share. Each read is checked against the digest.
//!
//! ```text
//! sha256/<hex>              manifests and components, by their digest
//! signatures/<hex>/<hex>    signatures of a manifest, by its digest and their own
//! versions/<hex>            which manifest a version of a registry has
//! locks/<hex>               the lock files that refer to the store
//! ```

pub mod gc;
mod notes;

use millstream_base::digest::Digest;
use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_base::limits::COMPONENT_BYTES_MAX;
use millstream_base::private::{check_trusted, user};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The directory of bytes by digest.
const BYTES: &str = "sha256";
/// The file that is locked while something is added to the store, and while it is cleaned up.
const GUARD: &str = "lock";

/// The store of packages.
#[derive(Clone, Debug)]
pub struct PackageStore {
    /// The directory of the store.
    pub dir: PathBuf,
}

/// The result of checking all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreCheck {
    /// Number of files checked.
    pub files: u64,
    /// One message per damaged file.
    pub damages: Vec<String>,
}

/// While it lives, nothing is removed from the store.
pub struct StoreLock(#[expect(dead_code, reason = "it is the lock file")] File);

impl PackageStore {
    /// Opens the user's store: `$MILLSTREAM_STORE`, or `store` in the cache directory.
    pub fn of_user() -> Result<PackageStore> {
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
        let dir = of("MILLSTREAM_STORE").or_else(|| cache.map(|cache| cache.join("millstream").join("store")));
        let dir = dir
            .and_then(|dir| std::path::absolute(dir).ok())
            .ok_or_else(|| Error::environment("no directory for packages: set HOME or MILLSTREAM_STORE"))?;
        // Its notes of origins are trusted.
        if dir.is_dir() {
            let others = check_trusted(&dir);
            let others = others.map_err(|e| Error::environment(format!("{}: {e}", dir.display())))?;
            if let Some(who) = others {
                let message = format!("the package store {} cannot be trusted: {who}", dir.display());
                return Err(Error::environment(message));
            }
        }
        Ok(PackageStore { dir })
    }

    /// Stores bytes. A crash leaves no partial file under the digest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::compute(bytes);
        // Damaged bytes are replaced.
        if self.get(&digest).is_ok_and(|found| found.is_some()) {
            return Ok(digest);
        }
        self.write(&[BYTES, &digest.hex()], bytes)?;
        Ok(digest)
    }

    /// Reads the bytes with this digest; `None` if they are not stored. Damaged bytes are an error that says what to do.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.read(&[BYTES, &digest.hex()], COMPONENT_BYTES_MAX)? else { return Ok(None) };
        if Digest::compute(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        Err(Error::environment(format!(
            "{} does not match its digest: it was damaged or changed. Remove the file to fetch it again.",
            self.path(&[BYTES, &digest.hex()]).display()
        )))
    }

    /// Returns the file of these bytes after checking their digest; `None` if they are not stored.
    pub fn file(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        Ok(self.get(digest)?.map(|_| self.path(&[BYTES, &digest.hex()])))
    }

    /// Prevents cleanup until what is being added is in a lock file.
    pub fn hold(&self) -> Result<StoreLock> {
        let file = self.guard()?;
        file.lock_shared().map_err(|error| self.failed("be locked", &self.path(&[GUARD]), &error))?;
        Ok(StoreLock(file))
    }

    /// Waits until no process adds anything.
    fn lock_exclusively(&self) -> Result<StoreLock> {
        let file = self.guard()?;
        file.lock().map_err(|error| self.failed("be locked", &self.path(&[GUARD]), &error))?;
        Ok(StoreLock(file))
    }

    /// Checks all bytes against their digests.
    pub fn check(&self) -> Result<StoreCheck> {
        let mut checked = StoreCheck::default();
        for name in self.names(&[BYTES])? {
            checked.files += 1;
            if let Err(error) = format!("sha256:{name}").parse().and_then(|digest| self.get(&digest)) {
                checked.damages.push(error.message);
            }
        }
        Ok(checked)
    }

    fn guard(&self) -> Result<File> {
        self.make_dir(&self.dir)?;
        let path = self.path(&[GUARD]);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options.open(&path).map_err(|error| self.failed("be opened", &path, &error))
    }

    fn path(&self, names: &[&str]) -> PathBuf {
        names.iter().fold(self.dir.clone(), |path, name| path.join(name))
    }

    /// Reads a complete file of at most `bytes_max` bytes. Links are not followed: nothing in the store is one.
    fn read(&self, names: &[&str], bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path(names);
        match read(&path, bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("be read", &path, &error)),
        }
    }

    /// Writes a file atomically.
    fn write(&self, names: &[&str], bytes: &[u8]) -> Result<()> {
        let path = self.path(names);
        let dir = path.parent().unwrap_or(&self.dir);
        self.make_dir(&self.dir)?;
        self.make_dir(dir)?;
        durable::replace(&path, bytes, None).map_err(|error| self.failed("be written", &path, &error))
    }

    /// Creates a directory if it is missing. It must not be writable for others, because notes of origins in it are trusted.
    fn make_dir(&self, dir: &Path) -> Result<()> {
        let failed = |error| self.failed("be created", dir, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let found = fs::metadata(dir).map_err(failed)?;
        if found.uid() == user() && found.mode() & 0o022 == 0 {
            return Ok(());
        }
        Err(Error::environment(format!(
            "{} must be your own directory that only you can write to: run `chmod go-w` on it, or set \
             MILLSTREAM_STORE to another one",
            dir.display()
        )))
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> Error {
        Error::environment(format!("the package store: {} cannot {what}: {error}", path.display()))
    }
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would otherwise block.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
