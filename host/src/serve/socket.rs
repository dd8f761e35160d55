//! The listening socket. Only this user can access it, and it is deleted when dropped.

use millstream_base::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often, and how many times, locking a directory is tried while another process creates a socket there.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
const RETRIES_MAX: u32 = 200;

/// The listening socket.
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// The device and inode of the file, so that a replacement is not deleted.
    identity: (u64, u64),
}

impl Socket {
    /// Creates it. A stale socket, on which no process listens, is replaced. Other files are not.
    pub fn take(path: &Path) -> Result<Socket> {
        let failed =
            |what: &str, error: io::Error| Error::environment(format!("socket {}: {what}: {error}", path.display()));
        // While it is held, no other process considers the socket stale while it is being created.
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = File::open(dir).map_err(|error| failed("its directory cannot be opened", error))?;
        locked(&lock).map_err(|error| failed("its directory cannot be locked", error))?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("it cannot be inspected", error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(Error::job(format!(
                    "socket {}: the file there is not a socket; choose another path",
                    path.display()
                )));
            }
            Ok(_) => {
                if UnixStream::connect(path).is_ok() {
                    let message =
                        format!("socket {}: another process listens there; choose another path", path.display());
                    return Err(Error::environment(message));
                }
                fs::remove_file(path).map_err(|error| failed("it is stale and cannot be removed", error))?;
            }
        }
        let listener = with_private_umask(|| UnixListener::bind(path));
        let listener = listener.map_err(|error| failed("cannot create a socket there", error))?;
        let found = fs::symlink_metadata(path).map_err(|error| failed("it cannot be inspected", error))?;
        Ok(Socket { path: path.to_owned(), listener, identity: (found.dev(), found.ino()) })
    }

    /// Returns the listener.
    pub fn listener(&self) -> Result<UnixListener> {
        let listener = self.listener.try_clone().and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listener.map_err(|error| Error::environment(format!("socket {}: {error}", self.path.display())))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Delete it while still listening, so that no other process has replaced it.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a file that is private to this user from the start.
fn with_private_umask<T>(make: impl FnOnce() -> T) -> T {
    // SAFETY: it takes a number and returns the previous one. It affects the complete process, which creates no other
    // files yet.
    let before = unsafe { libc::umask(0o177) };
    let made = make();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    made
}

fn locked(lock: &File) -> io::Result<()> {
    for _ in 0..RETRIES_MAX {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => sleep(RETRY_INTERVAL),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "another process holds it"))
}
