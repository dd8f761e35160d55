//! Where the sockets of running jobs are: in a folder that is its user's alone, under a name made of the job file's path
//! and the number of the process.

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

/// Whose socket it is that no process which runs the job listens on.
pub const SUPERVISOR: &str = "supervisor";

/// How often, and how many times, a place is tried to be taken while another process takes one.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 200;
/// How the names of marks of running jobs end, behind the number of the process that holds one.
const MARK: &str = ".runs";
/// How many sockets are looked at, whether they were left over.
const TIDIED_MAX: usize = 100;

/// A socket that this process listens on; it is gone when this is dropped.
pub struct ListeningSocket {
    /// The socket.
    pub listener: UnixListener,
    path: PathBuf,
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        // While it is still listened on, so that nobody else has taken it for dead and put another in its place.
        let _ = fs::remove_file(&self.path);
    }
}

impl ListeningSocket {
    /// Takes the socket of a process of the job, by its number, or that of its [`SUPERVISOR`]. One that nobody listens on any more is
    /// replaced. Needs a tokio runtime.
    pub async fn bind(file: &Path, whose: &str) -> Result<ListeningSocket> {
        let name = format!("{}{whose}.sock", prefix(file)?);
        let folder = folders().into_iter().next().ok_or_else(|| Error::bug("no folder for sockets"))?;
        make(&folder)?;
        let path = folder.join(name);
        let failed = |what: &str, error| Error::environment(format!("{}: {what}: {error}", path.display()));
        // As long as it is held, nobody else replaces a socket.
        let lock = File::open(&folder).map_err(|error| failed("the directory cannot be opened", error))?;
        locked(&lock).await.map_err(|error| failed("the directory cannot be locked", error))?;
        if answers(&path).await {
            return Err(Error::environment("another run of the job answers for it"));
        }
        tidy(&folder).await;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("it is left over and cannot be removed", error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(|error| failed("cannot create a socket there", error))?;
        let taken = ListeningSocket { listener, path };
        // The folder lets nobody in; the rights of the socket itself are a second lock.
        let closed = fs::set_permissions(&taken.path, Permissions::from_mode(0o600));
        closed.map_err(|error| Error::environment(format!("{}: {error}", taken.path.display())))?;
        Ok(taken)
    }
}

/// Tells, as long as it is held, that the job of a file runs: also while none of its processes answers, as they are started again.
pub struct RunningMark {
    path: PathBuf,
    _lock: File,
}

impl RunningMark {
    /// Of this process, which is a supervisor. Several may have one.
    pub fn hold(file: &Path) -> Result<RunningMark> {
        let folder = folders().into_iter().next().ok_or_else(|| Error::bug("no folder for sockets"))?;
        make(&folder)?;
        let path = folder.join(format!("{}{}{MARK}", prefix(file)?, std::process::id()));
        let failed = |error| Error::environment(format!("{}: {error}", path.display()));
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = open.map_err(failed)?;
        // Who only looks has it for a moment.
        lock.lock().map_err(failed)?;
        Ok(RunningMark { path, _lock: lock })
    }

    /// Whether somebody holds one.
    pub fn is_held(file: &Path) -> Result<bool> {
        Ok(!RunningMark::holders(file)?.is_empty())
    }

    /// The processes that hold one.
    pub fn holders(file: &Path) -> Result<Vec<u32>> {
        let prefix = prefix(file)?;
        let entries = folders().into_iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path());
        let holder = |path: PathBuf| {
            let process = path.file_name()?.to_str()?.strip_prefix(&prefix)?.strip_suffix(MARK)?.parse().ok()?;
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

/// Removes sockets that processes of any job left when they were killed, so that they do not pile up. What cannot be
/// removed is for another time.
async fn tidy(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| path.extension().is_some_and(|kind| kind == "sock")).take(TIDIED_MAX) {
        if !answers(&path).await {
            let _ = fs::remove_file(&path);
        }
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| path.to_string_lossy().ends_with(MARK)).take(TIDIED_MAX) {
        if !is_locked(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

async fn locked(lock: &File) -> std::io::Result<()> {
    for _ in 0..LOOKS_MAX {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK_EVERY).await,
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// Whether a process listens on this socket: connecting is refused, or there is nothing, where none does.
async fn answers(path: &Path) -> bool {
    match UnixStream::connect(path).await {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
    }
}

/// The sockets of the job's processes on this machine, by process; some may be of processes that are dead.
pub fn sockets(file: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let prefix = prefix(file)?;
    let mut sockets: Vec<(usize, PathBuf)> = Vec::new();
    for folder in folders() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::environment(format!("{}: {error}", folder.display()))),
            Ok(entries) => entries,
        };
        check(&folder)?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".sock")?.parse().ok());
            sockets.extend(number.map(|number| (number, entry.path())));
        }
    }
    sockets.sort();
    Ok(sockets)
}

/// Whose socket that of a supervisor is, by the number of its process where it runs one of several.
pub fn supervisor_of(number: usize) -> String {
    if number == 0 { SUPERVISOR.to_owned() } else { format!("{SUPERVISOR}-{number}") }
}

/// Where the supervisors of the job may listen, that of process 0 before those of others.
pub fn of_supervisor(file: &Path) -> Result<Vec<PathBuf>> {
    let begins = format!("{}{SUPERVISOR}", prefix(file)?);
    let there = folders().into_iter().filter(|folder| folder.is_dir() && check(folder).is_ok());
    let there: Vec<PathBuf> = there.collect();
    let others =
        there.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()).map(|entry| entry.path());
    let is_other =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{begins}-")));
    let first = there.iter().map(|folder| folder.join(format!("{begins}.sock")));
    Ok(first.chain(others.filter(is_other).take(TIDIED_MAX)).collect())
}

/// What a job is known by among those of its user: of 16 digits, made of its file's path.
pub fn job_id(file: &Path) -> Result<String> {
    prefix(file).map(|prefix| prefix.trim_end_matches('.').to_owned())
}

/// The sockets of one process of each job of this user, the first that is on this machine; some may be of processes that are dead.
pub fn listed() -> Vec<PathBuf> {
    let folders = folders().into_iter().filter(|folder| folder.is_dir() && check(folder).is_ok());
    let entries = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
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

/// What the names of a job's sockets begin with. Paths of sockets hold a hundred bytes or so, so that the job file's own
/// is no part of them. The same file has the same name, by whatever path it is given.
fn prefix(file: &Path) -> Result<String> {
    let whole = fs::canonicalize(file);
    let whole = whole.map_err(|error| Error::job(format!("job file {}: {error}", file.display())))?;
    let digest: [u8; 32] = Sha256::digest(whole.as_os_str().as_bytes()).into();
    Ok(format!("{}.", hex::encode(&digest[..8])))
}

/// Where sockets may be; they are made in the first of them. The variable is not the same wherever a user logs in.
fn folders() -> Vec<PathBuf> {
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| is_ours(folder));
    let temporary = std::env::temp_dir().join(format!("millstream-{}", user()));
    of_user.map(|folder| folder.join("millstream")).into_iter().chain([temporary]).collect()
}

fn is_ours(folder: &Path) -> bool {
    folder.is_absolute() && fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == user())
}

fn make(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Error::environment(format!("cannot create the directory {}: {error}", folder.display())))
        }
        _ => check(folder),
    }
}

/// Nobody else may put anything there, or look into it.
fn check(folder: &Path) -> Result<()> {
    let shown = folder.display();
    // Of the link itself, where it is one.
    let found = fs::symlink_metadata(folder).map_err(|error| Error::environment(format!("{shown}: {error}")))?;
    if !found.is_dir() || found.uid() != user() {
        return Err(Error::environment(format!("{shown} is not a directory of this user; remove it")));
    }
    if found.mode() & 0o077 != 0 {
        return Err(Error::environment(format!(
            "the directory {shown} is open to others; close it: chmod 700 {shown}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_is_made_closed_and_only_a_closed_folder_of_ours_will_do() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("sockets");
        make(&folder).unwrap();
        make(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let link = around.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(make(&link).unwrap_err().message.ends_with("is not a directory of this user; remove it"));
        fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
        let open = make(&folder).unwrap_err().message;
        assert!(open.contains("is open to others; close it: chmod 700 "), "{open}");
    }

    #[test]
    fn a_job_has_one_name_by_whatever_path() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("job.toml");
        fs::write(&job, "").unwrap();
        fs::write(folder.path().join("other.toml"), "").unwrap();
        let link = folder.path().join("link.toml");
        symlink(&job, &link).unwrap();
        let name = prefix(&job).unwrap();
        assert_eq!(name.len(), 17, "{name}");
        assert_eq!(prefix(&link).unwrap(), name);
        assert_eq!(prefix(&folder.path().join("./job.toml")).unwrap(), name);
        assert_ne!(prefix(&folder.path().join("other.toml")).unwrap(), name);
        assert!(prefix(&folder.path().join("none.toml")).is_err());
    }

    #[tokio::test]
    async fn a_socket_answers_as_long_as_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        assert!(!answers(&path).await);
        let listener = UnixListener::bind(&path).unwrap();
        assert!(answers(&path).await);
        drop(listener);
        assert!(path.exists() && !answers(&path).await);
        let _listener = UnixListener::bind(folder.path().join("b.sock")).unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        tidy(folder.path()).await;
        let left = ["a.sock", "b.sock", "other"].map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, true, true]);
    }
}
