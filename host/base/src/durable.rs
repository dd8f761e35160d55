//! Files that are there whole, under their name, after the machine stopped at any moment, or not there at all; and locks that
//! other processes respect.

use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// How often a lock that another process holds is tried again.
pub(crate) const LOCK_TRY_EVERY: Duration = Duration::from_millis(20);

/// How long a folder that another process has locked is waited for.
const LOCK_FOLDER_WAIT: Duration = Duration::from_secs(60);

/// Puts a file with these bytes under this name, in the place of the one that has it. Without permissions only this user may
/// read it.
pub fn replace(path: &Path, bytes: &[u8], permissions: Option<Permissions>) -> io::Result<()> {
    let file = unnamed(path, bytes, permissions)?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder_of(path))
}

/// As [`replace`] for a name that no file has yet: another one that has it stays, and is an error of kind
/// [`io::ErrorKind::AlreadyExists`].
pub fn make(path: &Path, bytes: &[u8]) -> io::Result<()> {
    unnamed(path, bytes, None)?.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(folder_of(path))
}

/// A file in the folder of this path whose bytes are durable, and which is to get its name.
fn unnamed(path: &Path, bytes: &[u8], permissions: Option<Permissions>) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder_of(path))?;
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(named(folder))?.sync_all()
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().map_or(Path::new("/"), named)
}

/// A folder by a name that can be opened: that of the present one is empty in `Path`.
fn named(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Locks a folder for as long as the result lives, and waits for whoever has it locked; not without end, as whoever may read a folder
/// can lock it.
pub fn lock_folder(folder: &Path) -> io::Result<File> {
    let file = File::open(named(folder))?;
    match lock_within(&file, LOCK_FOLDER_WAIT) {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => {
            let (folder, wait) = (named(folder).display(), LOCK_FOLDER_WAIT.as_secs());
            Err(io::Error::other(format!(
                "another process has locked the folder {folder} for {wait} s; stop that process"
            )))
        }
    }
}

/// Locks a file for as long as it is open. A process that is just going away may hold the lock a moment longer, so it is tried
/// again for a while.
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        make(&path, b"first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(make(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace(&path, b"second", Some(Permissions::from_mode(0o644))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_lock_is_waited_for_and_then_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _held = lock_folder(folder.path()).unwrap();
        let other = File::open(folder.path()).unwrap();
        let refused = lock_within(&other, Duration::from_millis(30));
        assert!(matches!(refused, Err(TryLockError::WouldBlock)));
    }

    #[test]
    fn the_folder_of_a_bare_name_can_be_opened() {
        assert_eq!(folder_of(Path::new("a")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/b")), Path::new("a"));
        assert_eq!(folder_of(Path::new("/")), Path::new("/"));
    }
}
