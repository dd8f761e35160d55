//! Files that exist completely under their name, or not at all, if the machine stops at any moment; and locks that other processes respect.

use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// Interval of attempts to get a lock that another process holds.
pub(crate) const LOCK_TRY_EVERY: Duration = Duration::from_millis(20);

/// Maximum wait for a directory that another process has locked.
const LOCK_DIR_WAIT: Duration = Duration::from_secs(60);

/// Replaces the file of this name with one of these bytes. Without permissions only this user may read it.
pub fn replace(path: &Path, bytes: &[u8], permissions: Option<Permissions>) -> io::Result<()> {
    let file = unnamed(path, bytes, permissions)?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(dir_of(path))
}

/// Like [`replace`] for a new name: an existing file is kept, and is an error of kind [`io::ErrorKind::AlreadyExists`].
pub fn make(path: &Path, bytes: &[u8]) -> io::Result<()> {
    unnamed(path, bytes, None)?.persist_noclobber(path).map_err(|error| error.error)?;
    sync_dir(dir_of(path))
}

/// Creates a temporary file in the directory of this path whose bytes are durable and which can be renamed.
fn unnamed(path: &Path, bytes: &[u8], permissions: Option<Permissions>) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(dir_of(path))?;
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(named(dir))?.sync_all()
}

/// Returns the directory of a path.
pub fn dir_of(path: &Path) -> &Path {
    path.parent().map_or(Path::new("/"), named)
}

/// Returns a directory by a name that can be opened: `Path` represents the current one as an empty name.
fn named(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// Locks a directory for as long as the result lives, and waits for another lock holder. The wait is limited, as anyone who may read a directory can
/// lock it.
pub fn lock_dir(dir: &Path) -> io::Result<File> {
    let file = File::open(named(dir))?;
    match lock_within(&file, LOCK_DIR_WAIT) {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => {
            let (dir, wait) = (named(dir).display(), LOCK_DIR_WAIT.as_secs());
            Err(io::Error::other(format!(
                "another process has locked the directory {dir} for {wait} s; stop that process"
            )))
        }
    }
}

/// Locks a file for as long as it is open. A process that is exiting may hold the lock a moment longer, so the attempt is repeated for `wait`.
pub fn lock_within(file: &File, wait: Duration) -> Result<(), TryLockError> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < wait => std::thread::sleep(LOCK_TRY_EVERY),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_a_new_one_takes_no_others_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        make(&path, b"first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(make(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace(&path, b"second", Some(Permissions::from_mode(0o644))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_lock_is_waited_for_and_then_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _held = lock_dir(dir.path()).unwrap();
        let other = File::open(dir.path()).unwrap();
        let result = lock_within(&other, Duration::from_millis(30));
        assert!(matches!(result, Err(TryLockError::WouldBlock)));
    }

    #[test]
    fn the_dir_of_a_bare_name_can_be_opened() {
        assert_eq!(dir_of(Path::new("a")), Path::new("."));
        assert_eq!(dir_of(Path::new("a/b")), Path::new("a"));
        assert_eq!(dir_of(Path::new("/")), Path::new("/"));
    }
}
