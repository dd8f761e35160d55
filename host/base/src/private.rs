//! Files and directories with restricted access: keys, and what is signed with them, which only this user may use; settings, which no other user may
//! write; and files of fixed names in directories that others may write, where they may have put a link.

mod key;
mod lock;

pub use key::{Key, random};
pub use lock::{LockError, lock};

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Creates a directory if it is missing, and checks that only this user may use it.
pub fn dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || !is_private(&found) {
        let user = user();
        let wanted = format!(
            "{} must be a directory of user {user} that only this user can access (mode 0700), and not a link",
            dir.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, wanted));
    }
    Ok(())
}

/// Opens a file of this user that no other user may use. Links are not followed.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe would otherwise wait for its other end.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || !is_private(&found) {
        let message = format!("it must be a file of user {} that only this user can access (mode 0600)", user());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(file)
}

/// Reads a file with a secret, at most one byte more than `bytes_max`. Links are followed, as secrets are mounted as links; only the permissions of
/// the file itself matter.
pub fn read_secret(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would otherwise wait for its other end.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    let user = user();
    // What root lets a group read is meant for the services in it: secrets are mounted like this for unprivileged users.
    let forbidden = if found.uid() == 0 && user != 0 { 0o037 } else { 0o077 };
    if !found.is_file() || ![0, user].contains(&found.uid()) || found.mode() & forbidden != 0 {
        let message = format!(
            "it must be a file of user {user} that only this user can access (mode 0600), or a file of root that at \
             most a group can read (mode 0640): any process that has the key can join the job"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks a file or directory that decides what this user may do: no other user may write it, or a parent directory, where it could be replaced.
/// `None` if it is secure.
pub fn check_trusted(path: &Path) -> io::Result<Option<String>> {
    let real = fs::canonicalize(path)?;
    for (above, ancestor) in real.ancestors().enumerate() {
        let found = fs::symlink_metadata(ancestor)?;
        let (owner, user) = (found.uid(), user());
        if ![0, user].contains(&owner) {
            return Ok(Some(format!("{} belongs to user {owner}, not to user {user} or root", ancestor.display())));
        }
        // In a directory with this bit users cannot replace files of others.
        let is_sticky = above > 0 && found.mode() & libc::S_ISVTX != 0;
        if found.mode() & 0o022 != 0 && !is_sticky && !is_read_only(ancestor) {
            return Ok(Some(format!(
                "other users can write to {} (mode {:04o}); run chmod go-w {}",
                ancestor.display(),
                found.mode() & 0o7777,
                ancestor.display()
            )));
        }
    }
    Ok(None)
}

/// Returns whether a path is on a read-only file system, for example settings mounted into a container.
fn is_read_only(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends with a zero byte, all bytes zero are a valid `statvfs`, and the call writes only to it.
    unsafe {
        let mut found = std::mem::zeroed::<libc::statvfs>();
        libc::statvfs(path.as_ptr(), &raw mut found) == 0 && found.f_flag & libc::ST_RDONLY != 0
    }
}

/// Opens a file for reading and writing that has no other name. It is created if missing, for this user alone, and not truncated. Fails if the name
/// is a link, one of several names of a file, or not a file.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let not_plain = || io::Error::other("it is a link or not a regular file, and its target is not touched; remove it");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path);
    let file = file.map_err(|error| if error.raw_os_error() == Some(libc::ELOOP) { not_plain() } else { error })?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() <= 1 { Ok(file) } else { Err(not_plain()) }
}

/// Creates a new file that replaces what has this name, even a link.
pub fn replace_with_new(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).open(path),
    }
}

fn is_private(found: &fs::Metadata) -> bool {
    found.uid() == user() && found.mode() & 0o077 == 0
}

/// Returns the effective user ID of this process.
pub fn user() -> u32 {
    // SAFETY: the call takes and changes nothing.
    unsafe { libc::geteuid() }
}
