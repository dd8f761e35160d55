//! The socket that is listened on: this user's alone, in nobody's way, and gone when this is.

use millstream_base::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often, and how many times, a folder is tried to be locked while another process makes a socket there.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 200;

/// It.
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// What the file is known by, so that another one in its place is left alone.
    is: (u64, u64),
}

impl Socket {
    /// Makes it. One that is left over, on which nobody listens, is replaced; what is no socket is not.
    pub fn take(path: &Path) -> Result<Socket> {
        let failed =
            |what: &str, error: io::Error| Error::environment(format!("socket {}: {what}: {error}", path.display()));
        // As long as it is held, nobody else takes a socket for left over that is just being made.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = File::open(folder).map_err(|error| failed("its folder cannot be opened", error))?;
        locked(&lock).map_err(|error| failed("its folder cannot be locked", error))?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("it cannot be looked at", error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(Error::job(format!(
                    "socket {}: the file there is not a socket; choose another path",
                    path.display()
                )));
            }
            Ok(_) => {
                if UnixStream::connect(path).is_ok() {
                    let words =
                        format!("socket {}: another process listens there; choose another path", path.display());
                    return Err(Error::environment(words));
                }
                fs::remove_file(path).map_err(|error| failed("it is left over, and cannot be removed", error))?;
            }
        }
        let listener = for_this_user_alone(|| UnixListener::bind(path));
        let listener = listener.map_err(|error| failed("no socket can be made there", error))?;
        let found = fs::symlink_metadata(path).map_err(|error| failed("it cannot be looked at", error))?;
        Ok(Socket { path: path.to_owned(), listener, is: (found.dev(), found.ino()) })
    }

    /// What listens on it.
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
        // While it is still listened on, so that nobody else has put another in its place.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.is) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a file that only this user may use, from its first moment on.
fn for_this_user_alone<T>(make: impl FnOnce() -> T) -> T {
    // SAFETY: it takes a number and gives the one before. It holds for the whole process, in which nothing else makes files yet.
    let before = unsafe { libc::umask(0o177) };
    let made = make();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    made
}

fn locked(lock: &File) -> io::Result<()> {
    for _ in 0..LOOKS_MAX {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => sleep(LOOK_EVERY),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "another process holds it"))
}
