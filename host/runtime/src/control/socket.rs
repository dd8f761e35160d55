//! The paths of the sockets of running jobs. They are in a directory that only the user can access. The name consists
//! of a digest of the job file's path and the number of the process.

use millstream_base::error::{Error, Result};
use millstream_base::hex;
use millstream_base::private::user;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// The name part of a supervisor's socket. Processes that run the job do not listen on it.
pub const SUPERVISOR: &str = "supervisor";

/// How often, and how many times, a socket is tried to be bound while another process binds one.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
const RETRIES_MAX: u32 = 200;
/// The suffix of the names of marks of running jobs, after the process ID of the holder.
const MARK_SUFFIX: &str = ".runs";
/// Maximum number of sockets that are checked for being stale.
const TIDIED_MAX: usize = 100;

/// A socket that this process listens on. Dropping it deletes the socket.
pub struct ListeningSocket {
    /// The socket.
    pub listener: UnixListener,
    path: PathBuf,
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        // Delete it while still listening, so that no other process has considered it dead and replaced it.
        let _ = fs::remove_file(&self.path);
    }
}

impl ListeningSocket {
    /// Binds the socket of a process of the job, by its number, or that of its [`SUPERVISOR`]. A stale socket is
    /// replaced. Needs a tokio runtime.
    pub async fn bind(file: &Path, whose: &str) -> Result<ListeningSocket> {
        let name = format!("{}{whose}.sock", prefix(file)?);
        let dir = dirs().into_iter().next().ok_or_else(|| Error::bug("no directory for sockets"))?;
        create_dir(&dir)?;
        let path = dir.join(name);
        let failed = |what: &str, error| Error::environment(format!("{}: {what}: {error}", path.display()));
        // While it is held, no other process replaces a socket.
        let lock = File::open(&dir).map_err(|error| failed("the directory cannot be opened", error))?;
        lock_dir(&lock).await.map_err(|error| failed("the directory cannot be locked", error))?;
        if is_listening(&path).await {
            return Err(Error::environment("another run of the job uses it"));
        }
        tidy(&dir).await;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("it is stale and cannot be removed", error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(|error| failed("cannot create a socket there", error))?;
        let taken = ListeningSocket { listener, path };
        // The directory is already private. The permissions of the socket itself are a second barrier.
        let closed = fs::set_permissions(&taken.path, Permissions::from_mode(0o600));
        closed.map_err(|error| Error::environment(format!("{}: {error}", taken.path.display())))?;
        Ok(taken)
    }
}

/// Marks the job of a file as running, as long as it is held: also while no process responds because the job restarts.
pub struct RunningMark {
    path: PathBuf,
    _lock: File,
}

impl RunningMark {
    /// Holds a mark of this process, which is a supervisor. Several processes may hold one.
    pub fn hold(file: &Path) -> Result<RunningMark> {
        let dir = dirs().into_iter().next().ok_or_else(|| Error::bug("no directory for sockets"))?;
        create_dir(&dir)?;
        let path = dir.join(format!("{}{}{MARK_SUFFIX}", prefix(file)?, std::process::id()));
        let failed = |error| Error::environment(format!("{}: {error}", path.display()));
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = open.map_err(failed)?;
        // A process that only checks holds the lock for a moment.
        lock.lock().map_err(failed)?;
        Ok(RunningMark { path, _lock: lock })
    }

    /// Returns whether any process holds a mark.
    pub fn is_held(file: &Path) -> Result<bool> {
        Ok(!RunningMark::holders(file)?.is_empty())
    }

    /// Returns the IDs of the processes that hold a mark.
    pub fn holders(file: &Path) -> Result<Vec<u32>> {
        let prefix = prefix(file)?;
        let entries = dirs().into_iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path());
        let holder = |path: PathBuf| {
            let process = path.file_name()?.to_str()?.strip_prefix(&prefix)?.strip_suffix(MARK_SUFFIX)?.parse().ok()?;
            is_locked(&path).then_some(process)
        };
        Ok(entries.filter_map(holder).collect())
    }
}

impl Drop for RunningMark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Removes stale sockets of killed processes of any job, so that they do not accumulate. Failures are ignored until the
/// next time.
async fn tidy(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| path.extension().is_some_and(|kind| kind == "sock")).take(TIDIED_MAX) {
        if !is_listening(&path).await {
            let _ = fs::remove_file(&path);
        }
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| path.to_string_lossy().ends_with(MARK_SUFFIX)).take(TIDIED_MAX) {
        if !is_locked(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

async fn lock_dir(lock: &File) -> std::io::Result<()> {
    for _ in 0..RETRIES_MAX {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => tokio::time::sleep(RETRY_INTERVAL).await,
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// Returns whether a process listens on this socket. If none does, the connection is refused or the file does not
/// exist.
async fn is_listening(path: &Path) -> bool {
    match UnixStream::connect(path).await {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
    }
}

/// Returns the sockets of the job's processes on this machine, by process. Some may belong to dead processes.
pub fn sockets(file: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let prefix = prefix(file)?;
    let mut sockets: Vec<(usize, PathBuf)> = Vec::new();
    for dir in dirs() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::environment(format!("{}: {error}", dir.display()))),
            Ok(entries) => entries,
        };
        check(&dir)?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".sock")?.parse().ok());
            sockets.extend(number.map(|number| (number, entry.path())));
        }
    }
    sockets.sort();
    Ok(sockets)
}

/// Returns the name part of a supervisor's socket. `number` is that of its process, if it runs one of several.
pub fn supervisor_of(number: usize) -> String {
    if number == 0 { SUPERVISOR.to_owned() } else { format!("{SUPERVISOR}-{number}") }
}

/// Returns the paths where the supervisors of the job may listen, that of process 0 first.
pub fn supervisor_sockets(file: &Path) -> Result<Vec<PathBuf>> {
    let begins = format!("{}{SUPERVISOR}", prefix(file)?);
    let existing = dirs().into_iter().filter(|dir| dir.is_dir() && check(dir).is_ok());
    let existing: Vec<PathBuf> = existing.collect();
    let others =
        existing.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten()).map(|entry| entry.path());
    let is_other =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{begins}-")));
    let first = existing.iter().map(|dir| dir.join(format!("{begins}.sock")));
    Ok(first.chain(others.filter(is_other).take(TIDIED_MAX)).collect())
}

/// Returns the ID of a job among those of its user: 16 hexadecimal digits derived from its file's path.
pub fn job_id(file: &Path) -> Result<String> {
    prefix(file).map(|prefix| prefix.trim_end_matches('.').to_owned())
}

/// Returns one socket per job of this user: that of the first process on this machine. Some may belong to dead
/// processes.
pub fn first_sockets() -> Vec<PathBuf> {
    let dirs = dirs().into_iter().filter(|dir| dir.is_dir() && check(dir).is_ok());
    let entries = dirs.flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    let mut first: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for path in entries.map(|entry| entry.path()) {
        let name = path.to_string_lossy().into_owned();
        let Some((job, process)) = name.strip_suffix(".sock").and_then(|name| name.rsplit_once('.')) else { continue };
        let Ok(process) = process.parse() else { continue };
        let known = first.entry(job.into()).or_insert(process);
        *known = (*known).min(process);
    }
    first.into_iter().map(|(job, process)| PathBuf::from(format!("{}.{process}.sock", job.display()))).collect()
}

/// Returns the prefix of the names of a job's sockets. Socket paths are limited to about a hundred bytes, so a digest
/// replaces the path. The same file has the same name, whatever path is used for it.
fn prefix(file: &Path) -> Result<String> {
    let canonical = fs::canonicalize(file);
    let canonical = canonical.map_err(|error| Error::job(format!("job file {}: {error}", file.display())))?;
    let digest: [u8; 32] = Sha256::digest(canonical.as_os_str().as_bytes()).into();
    Ok(format!("{}.", hex::encode(&digest[..8])))
}

/// Returns the directories of sockets. New ones are created in the first. `XDG_RUNTIME_DIR` differs between logins.
fn dirs() -> Vec<PathBuf> {
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| is_private(dir));
    let temporary = std::env::temp_dir().join(format!("millstream-{}", user()));
    of_user.map(|dir| dir.join("millstream")).into_iter().chain([temporary]).collect()
}

fn is_private(dir: &Path) -> bool {
    dir.is_absolute() && fs::metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == user())
}

fn create_dir(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Error::environment(format!("cannot create the directory {}: {error}", dir.display())))
        }
        _ => check(dir),
    }
}

/// Checks that other users can neither read nor change the directory.
fn check(dir: &Path) -> Result<()> {
    let shown = dir.display();
    // This checks a link itself, not its target.
    let found = fs::symlink_metadata(dir).map_err(|error| Error::environment(format!("{shown}: {error}")))?;
    if !found.is_dir() || found.uid() != user() {
        return Err(Error::environment(format!("{shown} is not a directory of this user; remove it")));
    }
    if found.mode() & 0o077 != 0 {
        return Err(Error::environment(format!("the directory {shown} is open to other users; run chmod 700 {shown}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_dir_is_made_closed_and_only_a_closed_dir_of_ours_will_do() {
        let around = tempfile::tempdir().unwrap();
        let dir = around.path().join("sockets");
        create_dir(&dir).unwrap();
        create_dir(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        let link = around.path().join("link");
        symlink(&dir, &link).unwrap();
        assert!(create_dir(&link).unwrap_err().message.ends_with("is not a directory of this user; remove it"));
        fs::set_permissions(&dir, Permissions::from_mode(0o750)).unwrap();
        let open = create_dir(&dir).unwrap_err().message;
        assert!(open.contains("is open to other users; run chmod 700 "), "{open}");
    }

    #[test]
    fn a_job_has_one_name_by_whatever_path() {
        let dir = tempfile::tempdir().unwrap();
        let job = dir.path().join("job.toml");
        fs::write(&job, "").unwrap();
        fs::write(dir.path().join("other.toml"), "").unwrap();
        let link = dir.path().join("link.toml");
        symlink(&job, &link).unwrap();
        let name = prefix(&job).unwrap();
        assert_eq!(name.len(), 17, "{name}");
        assert_eq!(prefix(&link).unwrap(), name);
        assert_eq!(prefix(&dir.path().join("./job.toml")).unwrap(), name);
        assert_ne!(prefix(&dir.path().join("other.toml")).unwrap(), name);
        assert!(prefix(&dir.path().join("none.toml")).is_err());
    }

    #[tokio::test]
    async fn a_socket_answers_as_long_as_somebody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        assert!(!is_listening(&path).await);
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_listening(&path).await);
        drop(listener);
        assert!(path.exists() && !is_listening(&path).await);
        let _listener = UnixListener::bind(dir.path().join("b.sock")).unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        tidy(dir.path()).await;
        let left = ["a.sock", "b.sock", "other"].map(|name| dir.path().join(name).exists());
        assert_eq!(left, [false, true, true]);
    }
}
