//! Files that people and programs share: read within bounds, replaced atomically.

use crate::limits::LOCK_FILE_BYTES_MAX;
use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_base::regular;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Reads a lock file; `None` if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let shown = path.display();
    let failed = |error: io::Error| Error::environment(format!("{shown} cannot be read: {error}"));
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    if !found.is_file() {
        return Err(Error::job(format!(
            "{shown} is not a file; it must be the lock file that `millstream add` writes"
        )));
    }
    let mut bytes = Vec::new();
    regular::open(path).map_err(failed)?.take(LOCK_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LOCK_FILE_BYTES_MAX {
        return Err(Error::job(format!("{shown} has more than {LOCK_FILE_BYTES_MAX} bytes, so it is not a lock file")));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| Error::job(format!("{shown} is not UTF-8, so it is not a lock file")))
}

/// Creates or replaces a file in one step. Its permissions stay unchanged. If it is a link, the target is replaced.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let written = || {
        let permissions = match fs::metadata(&target) {
            Ok(found) => found.permissions(),
            Err(_) => Permissions::from_mode(0o666 & !umask()),
        };
        durable::replace(&target, text.as_bytes(), Some(permissions))
    };
    written().map_err(|error| Error::environment(format!("{} cannot be written: {error}", path.display())))
}

/// Locks the lock file of this directory for changes, as long as the returned file lives.
pub(super) fn lock_exclusively(dir: &Path) -> Result<File> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let failed = |error| Error::environment(format!("{} cannot be locked: {error}", dir.display()));
    durable::lock_dir(dir).map_err(failed)
}

/// The umask of this process: permissions that new files do not get.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}
