//! Lock files that no other user can hold.
//!
//! A process that can open a file can lock it, and keeps the lock for as long as it is open. So a lock file belongs to this user alone from its
//! creation. One that others could open (earlier versions created such files) is replaced: the old file, if another process has it open, is no
//! longer used.

use super::{open_or_create, user};
use crate::durable::{LOCK_TRY_EVERY, dir_of};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the system lists the holders of locks.
const LOCKS: &str = "/proc/locks";

/// Why a lock file was not locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process of this user, or of root, holds it.
    Held,
    /// It cannot be opened, created or locked.
    Failed(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held => f.write_str("another running process has it locked; stop that process first"),
            LockError::Failed(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> LockError {
        LockError::Failed(error)
    }
}

/// Locks the file at this path for as long as the result lives; creates it if missing. A process that is just being killed may hold it a moment
/// longer, so the attempt is repeated for `wait`.
pub fn lock(path: &Path, wait: Duration) -> Result<File, LockError> {
    let until = Instant::now().checked_add(wait);
    loop {
        let file = open_or_create(path)?;
        let found = file.metadata()?;
        let is_exposed = found.uid() == user() && found.mode() & 0o077 != 0;
        match file.try_lock() {
            // Another process has replaced it.
            Ok(()) if !is_named(&found, path) => continue,
            Ok(()) if !is_exposed => return Ok(file),
            Ok(()) => {
                if let Some(replaced) = replace(path, &found)? {
                    return Ok(replaced);
                }
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) => {
                if is_exposed
                    && is_held_by_other_users(&found)
                    && let Some(replaced) = replace(path, &found)?
                {
                    return Ok(replaced);
                }
            }
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(LockError::Held);
        }
        std::thread::sleep(LOCK_TRY_EVERY);
    }
}

/// Replaces a file that others may have open by a new, locked one. `None`: another process is doing the same, or has done so.
///
/// The new file is locked under its own name before it gets that of the old one. Only a process that holds the lock may rename it, and only while
/// the old file still has its name, so only one of several processes gets the lock.
fn replace(path: &Path, old: &Metadata) -> io::Result<Option<File>> {
    let next = hidden_path(path);
    let file = open_or_create(&next)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    file.set_permissions(Permissions::from_mode(0o600))?;
    if !is_named(&file.metadata()?, &next) || !is_named(old, path) {
        return Ok(None);
    }
    match fs::rename(&next, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(()) => {
            tracing::info!(
                "{} could be locked by other users; it is replaced by a file that they cannot open",
                path.display()
            );
            Ok(Some(file))
        }
    }
}

/// Returns a hidden name in the same directory, for unfinished files.
fn hidden_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    dir_of(path).join(name)
}

/// Returns whether this is the file that has the name now.
fn is_named(found: &Metadata, path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (found.dev(), found.ino()))
}

/// Returns whether only processes of other users, and none of root, hold a lock on this file. `false` if the system does not report it.
fn is_held_by_other_users(file: &Metadata) -> bool {
    let Ok(locks) = fs::read_to_string(LOCKS) else { return false };
    let holders: Vec<Option<u32>> = holders(&locks, file.ino()).into_iter().map(user_of).collect();
    !holders.is_empty() && holders.iter().all(|holder| holder.is_some_and(|holder| ![0, user()].contains(&holder)))
}

/// Returns the IDs of the processes that hold locks of complete files on an inode, on any file system: some report another device for the file than
/// for the lock.
fn holders(locks: &str, inode: u64) -> Vec<u32> {
    let holder = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let kind = fields.next()?;
        let process = fields.nth(2)?;
        let device_and_inode = fields.next()?;
        let is_held = kind == "FLOCK" && device_and_inode.rsplit(':').next()?.parse() == Ok(inode);
        // A process that is not visible from here has no ID.
        is_held.then(|| process.parse().unwrap_or(0))
    };
    locks.lines().filter_map(holder).collect()
}

/// Returns the user of a process.
fn user_of(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_lock_file_is_this_users_alone_and_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file_lock = lock(&path, Duration::ZERO).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(lock(&path, Duration::from_millis(30)), Err(LockError::Held)));
        drop(file_lock);
        lock(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn one_that_others_could_open_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        File::create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        // Another process has it open, and locks it as soon as it is free.
        let open = File::open(&path).unwrap();
        let file_lock = lock(&path, Duration::ZERO).unwrap();
        assert_eq!(mode(&path), 0o600);
        open.try_lock().expect("it is another file by now");
        drop(file_lock);
        lock(&path, Duration::ZERO).expect("that one does not count");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    /// An earlier version, which does not do this, may be running.
    #[test]
    fn one_that_a_process_of_this_user_holds_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let running = File::create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        running.lock().unwrap();
        assert!(matches!(lock(&path, Duration::from_millis(30)), Err(LockError::Held)));
        assert_eq!(mode(&path), 0o644);
    }

    #[test]
    fn of_many_that_replace_it_one_gets_the_lock() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("lock");
            File::create(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            let got = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(|| lock(&path, Duration::from_millis(50)))).collect();
                // All locks live until all threads have tried.
                let locks: Vec<_> = all.into_iter().map(|thread| thread.join().unwrap()).collect();
                locks.iter().filter(|lock| lock.is_ok()).count()
            });
            assert_eq!(got, 1);
        }
    }

    #[test]
    fn holders_are_found_by_the_file() {
        let locks = "1: FLOCK  ADVISORY  WRITE 2528 fe:00:100 0 EOF\n2: POSIX  ADVISORY  WRITE 7 fe:00:100 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 12 00:2a:100 0 EOF\n4: FLOCK  ADVISORY  WRITE -1 fe:00:100 0 EOF\n\
                     5: -> FLOCK  ADVISORY  WRITE 9 fe:00:100 0 EOF\nnothing\n6: FLOCK  ADVISORY  WRITE 4 fe:00:101 0 EOF\n";
        assert_eq!(holders(locks, 100), [2528, 12, 0]);
        assert_eq!(user_of(std::process::id()), Some(user()));
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("lock")).unwrap();
        file.lock().unwrap();
        assert!(!is_held_by_other_users(&file.metadata().unwrap()), "it is held by this process");
    }
}
