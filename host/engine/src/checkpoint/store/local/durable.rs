//! Durable files: after a crash of the machine at any moment, a file is complete under its name, or missing.

pub use millstream_base::durable::{dir_of, sync_dir};
use millstream_base::fault;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file atomically, replacing an existing one.
pub fn write(target: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let temporary = temporary(target);
    let written = fill(&temporary, bytes, sync).and_then(|()| {
        fault::point("store.write");
        fs::rename(&temporary, target)
    });
    if written.is_err() {
        // On a full disk the space is needed.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    if sync { sync_dir(dir_of(target)) } else { Ok(()) }
}

fn fill(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes)?;
    if sync { file.sync_all() } else { Ok(()) }
}

/// Creates a file, and missing parent directories.
pub fn create_new(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dirs(dir_of(path))?;
            create()
        }
        done => done,
    }
}

/// Creates a directory and its parents, each durable in its own parent.
pub fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    make_dirs(dir_of(dir))?;
    match fs::create_dir(dir) {
        // Another thread was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        made => made?,
    }
    sync_dir(dir_of(dir))
}

/// Returns an unused name in the same directory.
fn temporary(target: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

/// Returns whether this is an unfinished file.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(".tmp")
}
