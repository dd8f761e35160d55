//! The bytes of packages, by digest: a folder of the user that all jobs share. What is read is compared with its digest.
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
use millstream_base::private::{user, who_else_writes};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The folder of bytes by digest.
const BYTES: &str = "sha256";
/// The file that is locked by whoever adds to the store, and by whoever tidies it up.
const GUARD: &str = "lock";

/// The store.
#[derive(Clone, Debug)]
pub struct PackageStore {
    /// Its folder.
    pub folder: PathBuf,
}

/// What comparing everything has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreCheck {
    /// Files that were compared.
    pub files: u64,
    /// What is wrong, in words.
    pub damages: Vec<String>,
}

/// As long as it lives, nothing is removed from the store.
pub struct StoreLock(#[expect(dead_code, reason = "it is the lock")] File);

impl PackageStore {
    /// Of the user: `$MILLSTREAM_STORE`, or `store` in the cache folder.
    pub fn of_user() -> Result<PackageStore> {
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
        let folder = of("MILLSTREAM_STORE").or_else(|| cache.map(|cache| cache.join("millstream").join("store")));
        let folder = folder
            .and_then(|folder| std::path::absolute(folder).ok())
            .ok_or_else(|| Error::environment("no directory for packages: set HOME or MILLSTREAM_STORE"))?;
        // What came from where is noted in it, and believed.
        if folder.is_dir() {
            let others = who_else_writes(&folder);
            let others = others.map_err(|e| Error::environment(format!("{}: {e}", folder.display())))?;
            if let Some(who) = others {
                let words = format!("the package store {} cannot be trusted: {who}", folder.display());
                return Err(Error::environment(words));
            }
        }
        Ok(PackageStore { folder })
    }

    /// Keeps bytes. Whoever dies meanwhile leaves nothing half written under the digest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        // Damaged bytes are replaced.
        if self.get(&digest).is_ok_and(|found| found.is_some()) {
            return Ok(digest);
        }
        self.write(&[BYTES, &digest.hex()], bytes)?;
        Ok(digest)
    }

    /// The bytes with this digest; `None`: they are not there. Damaged ones are an error that says what to do.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.read(&[BYTES, &digest.hex()], COMPONENT_BYTES_MAX)? else { return Ok(None) };
        if Digest::of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        Err(Error::environment(format!(
            "{} does not match its digest: it was damaged or changed. Remove the file to fetch it again.",
            self.path(&[BYTES, &digest.hex()]).display()
        )))
    }

    /// The file of these bytes, just compared with their digest; `None`: they are not there.
    pub fn file(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        Ok(self.get(digest)?.map(|_| self.path(&[BYTES, &digest.hex()])))
    }

    /// Keeps whoever tidies up away, until what is being added is in a lock file.
    pub fn hold(&self) -> Result<StoreLock> {
        let file = self.guard()?;
        file.lock_shared().map_err(|error| self.failed("be locked", &self.path(&[GUARD]), &error))?;
        Ok(StoreLock(file))
    }

    /// Waits until nobody adds anything.
    fn hold_alone(&self) -> Result<StoreLock> {
        let file = self.guard()?;
        file.lock().map_err(|error| self.failed("be locked", &self.path(&[GUARD]), &error))?;
        Ok(StoreLock(file))
    }

    /// Compares all bytes with their digests.
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
        self.make_folder(&self.folder)?;
        let path = self.path(&[GUARD]);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options.open(&path).map_err(|error| self.failed("be opened", &path, &error))
    }

    fn path(&self, names: &[&str]) -> PathBuf {
        names.iter().fold(self.folder.clone(), |path, name| path.join(name))
    }

    /// Reads a whole file, of at most so many bytes. Links are not followed: nothing of the store is one.
    fn read(&self, names: &[&str], bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path(names);
        match read(&path, bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("be read", &path, &error)),
        }
    }

    /// Writes a whole file: it is there with all its bytes, or as it was.
    fn write(&self, names: &[&str], bytes: &[u8]) -> Result<()> {
        let path = self.path(names);
        let folder = path.parent().unwrap_or(&self.folder);
        self.make_folder(&self.folder)?;
        self.make_folder(folder)?;
        durable::replace(&path, bytes, None).map_err(|error| self.failed("be written", &path, &error))
    }

    /// Makes a folder where it is missing. Others must not be able to write there: what came from where is noted in it.
    fn make_folder(&self, folder: &Path) -> Result<()> {
        let failed = |error| self.failed("be created", folder, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let found = fs::metadata(folder).map_err(failed)?;
        if found.uid() == user() && found.mode() & 0o022 == 0 {
            return Ok(());
        }
        Err(Error::environment(format!(
            "{} must be your own directory that only you can write to: run `chmod go-w` on it, or set \
             MILLSTREAM_STORE to another one",
            folder.display()
        )))
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> Error {
        Error::environment(format!("the package store: {} cannot {what}: {error}", path.display()))
    }
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // A pipe would otherwise wait for its other end.
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
