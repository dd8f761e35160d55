//! Files that are there whole, under their name, after the machine stopped at any moment, or not there at all.

pub use millstream_base::durable::{folder_of, sync_folder};
use millstream_base::fault;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file whole or not at all. It takes another's place.
pub fn write(target: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let temporary = temporary(target);
    let written = fill(&temporary, bytes, sync).and_then(|()| {
        fault::point("store.write");
        fs::rename(&temporary, target)
    });
    if written.is_err() {
        // On a full disk the room is needed.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    if sync { sync_folder(folder_of(target)) } else { Ok(()) }
}

fn fill(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes)?;
    if sync { file.sync_all() } else { Ok(()) }
}

/// Makes a new file, and the folders above it where they are missing.
pub fn create_new(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folders(folder_of(path))?;
            create()
        }
        done => done,
    }
}

/// Makes a folder and those above it, each durable in the one above.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    make_folders(folder_of(folder))?;
    match fs::create_dir(folder) {
        // Another thread was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made?,
    }
    sync_folder(folder_of(folder))
}

/// A name in the same folder that no other write uses.
fn temporary(target: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

/// Whether this is a file that was being written.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(".tmp")
}
