//! Files and folders that are this user's alone: keys, and what is signed with them. And files of fixed names in folders
//! that others may write, who may have put a link there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
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

/// Opens a file for reading and writing that nothing else goes by: made where it is missing, not emptied, and an error where
/// the name is that of a link, of one of several names of a file, or of something else.
pub fn open_or_make(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let refused = || io::Error::other("it is a link or no plain file, and what it leads to is left alone; remove it");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path);
    let file = file.map_err(|error| if error.raw_os_error() == Some(libc::ELOOP) { refused() } else { error })?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() <= 1 { Ok(file) } else { Err(refused()) }
}

/// Makes a new file in the place of what has this name, be it a link.
pub fn make_anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
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
