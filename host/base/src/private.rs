//! Files and folders that are this user's alone: keys, and what is signed with them; those that this user obeys, which
//! nobody else may write; and files of fixed names in folders that others may write, who may have put a link there.

mod key;
mod lock;

pub use key::{Key, random};
pub use lock::{LockRefused, lock};

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Makes a folder where it is missing, and checks that it is one that only this user may use.
pub fn folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || !is_private(&found) {
        let user = user();
        let wanted = format!(
            "{} must be a folder of user {user} that only this user may use (mode 0700), and no link",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, wanted));
    }
    Ok(())
}

/// Opens a file of this user that nobody else may use. Links are not followed.
pub fn open(path: &Path) -> io::Result<File> {
    // A pipe would otherwise wait for its other end.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || !is_private(&found) {
        let words = format!("it must be a file of user {} that only this user may use (mode 0600)", user());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
    }
    Ok(file)
}

/// Reads a file with a secret, of which no more than a byte over this number. Links are followed, as secrets are mounted as links; what counts is
/// who may read and change the file itself.
pub fn read_secret(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // A pipe would otherwise wait for its other end.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    let user = user();
    // What root lets a group read is meant for the services in it: so secrets are mounted for users without rights.
    let others = if found.uid() == 0 && user != 0 { 0o037 } else { 0o077 };
    if !found.is_file() || ![0, user].contains(&found.uid()) || found.mode() & others != 0 {
        let words = format!(
            "it must be a file of user {user} that only this user may use (mode 0600), or of root, which a group may read \
             (mode 0640): any process that has the key can take part in the job"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is wrong with a file or folder that decides what this user may do: nobody else may write it, nor a folder on the
/// way to it, where it could be replaced. `None`: nothing.
pub fn who_else_writes(path: &Path) -> io::Result<Option<String>> {
    let real = fs::canonicalize(path)?;
    for (above, place) in real.ancestors().enumerate() {
        let found = fs::symlink_metadata(place)?;
        let (owner, user) = (found.uid(), user());
        if ![0, user].contains(&owner) {
            return Ok(Some(format!("{} belongs to user {owner}, not to user {user} or root", place.display())));
        }
        // In a folder with this bit nobody replaces what is another's.
        let is_sticky = above > 0 && found.mode() & libc::S_ISVTX != 0;
        if found.mode() & 0o022 != 0 && !is_sticky && !is_read_only(place) {
            return Ok(Some(format!(
                "others may write {} (mode {:04o}); take that from them: chmod go-w {}",
                place.display(),
                found.mode() & 0o7777,
                place.display()
            )));
        }
    }
    Ok(None)
}

/// Whether a path lies on a file system that nobody can write, as settings that are mounted into a container.
fn is_read_only(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends with a zero byte, all bytes zero are a valid `statvfs`, and the call writes to it alone.
    unsafe {
        let mut found = std::mem::zeroed::<libc::statvfs>();
        libc::statvfs(path.as_ptr(), &raw mut found) == 0 && found.f_flag & libc::ST_RDONLY != 0
    }
}

/// Opens a file for reading and writing that nothing else goes by: made where it is missing, for this user alone, not emptied, and
/// an error where the name is that of a link, of one of several names of a file, or of something else.
pub fn open_or_make(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let refused =
        || io::Error::other("it is a link or not a regular file, and what it leads to is left alone; remove it");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path);
    let file = file.map_err(|error| if error.raw_os_error() == Some(libc::ELOOP) { refused() } else { error })?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() <= 1 { Ok(file) } else { Err(refused()) }
}

/// Makes a new file in the place of what has this name, be it a link.
pub fn make_anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).open(path),
    }
}

fn is_private(found: &fs::Metadata) -> bool {
    found.uid() == user() && found.mode() & 0o077 == 0
}

/// The user that this process acts as.
pub fn user() -> u32 {
    // SAFETY: the call takes and changes nothing.
    unsafe { libc::geteuid() }
}
