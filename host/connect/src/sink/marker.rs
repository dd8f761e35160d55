//! Markers, which a sink keeps next to its files: who writes there, and the last batch that they contain.
//!
//! A marker is a line of JSON and a line with its checksum. It is replaced atomically by renaming, so a reader finds the previous one or
//! the next one. It also fences: a later run of the job writes its generation into it. A process that finds a later generation than its
//! own was replaced.

use millstream_base::digest::checksum;
use millstream_base::durable;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::owner::FORMAT_VERSION;
use millstream_base::owner::Owner;
use millstream_base::private::{self, LockError};
use millstream_base::regular;
use millstream_base::retry::TakenOver;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an opening sink waits for a process that is exiting.
const LOCK_WAIT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 3_000 });

/// The owner of a sink, and its last batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// See [`FORMAT_VERSION`].
    pub version: u32,
    /// The job's name.
    pub job: String,
    /// The job's id.
    pub job_id: String,
    /// The last startup of the job that opened the sink.
    pub generation: Generation,
    /// The last committed batch with rows, if the marker decides about commits.
    pub batch: Option<BatchId>,
    /// The name of its part.
    pub part: Option<String>,
    /// What the next run has to complete, if parts have directories, roll or are objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// What is not yet completed of a sink's parts when its marker is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The run that wrote the hidden files.
    pub by: Generation,
    /// Staged parts that are to get their names.
    pub shows: Vec<String>,
    /// The file name extension of open parts, without a dot.
    pub extension: String,
    /// The columns that name the directories.
    pub partition_by: Vec<String>,
    /// Open parts, whose rows are in the reserves of their batches, from this batch on up to the marker's: directory, batch, number of
    /// rows.
    pub open: Vec<(String, BatchId, u64)>,
    /// How often parts were announced to readers, including these, if readers do not see names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
}

/// The version of a marker with pending parts, which earlier versions of Millstream would not complete.
const WITH_PENDING: u32 = FORMAT_VERSION + 1;
/// The version of a marker whose parts have to be announced to readers.
const WITH_ANNOUNCED: u32 = FORMAT_VERSION + 2;

/// Read first to check the version, as other fields may differ in another version.
#[derive(Deserialize)]
struct VersionField {
    version: u32,
}

impl Marker {
    /// Creates the marker of this owner.
    pub fn new(owner: &Owner, batch: Option<BatchId>, part: Option<String>) -> Marker {
        let (job, job_id) = (owner.job.clone(), owner.job_id.clone());
        Marker { version: FORMAT_VERSION, job, job_id, generation: owner.generation, batch, part, pending: None }
    }

    /// Adds what is pending.
    pub fn with(mut self, pending: Option<Pending>) -> Marker {
        self.version = match &pending {
            None => FORMAT_VERSION,
            Some(pending) if pending.told.is_none() => WITH_PENDING,
            Some(_) => WITH_ANNOUNCED,
        };
        self.pending = pending;
        self
    }

    /// Checks whether this run of the job may commit.
    pub fn check_owner(&self, owner: &Owner) -> io::Result<()> {
        if self.job_id != owner.job_id {
            return Err(io::Error::other(format!("job `{}` writes there now", self.job)));
        }
        if self.generation > owner.generation {
            return Err(TakenOver::error(format!(
                "the job was restarted elsewhere (generation {}), and this process (generation {}) was replaced",
                self.generation, owner.generation
            )));
        }
        Ok(())
    }
}

/// Returns the marker next to an output if it is that of the job with this id, or `None` if it does not exist. `output` is the output's name.
/// `remedy` says what to do if it belongs to another job, or to a run from which this one does not resume.
pub fn of_job(
    marker: Option<Marker>,
    owner_id: Option<&str>,
    output: &str,
    remedy: &str,
) -> Result<Option<Marker>, String> {
    match marker {
        Some(marker) if owner_id != Some(&marker.job_id) => Err(format!(
            "{output} belongs to {} job `{}` with checkpoints, and nothing that is committed is overwritten; {remedy}",
            if owner_id.is_some() { "another" } else { "an earlier" },
            marker.job,
        )),
        marker => Ok(marker),
    }
}

/// Reads a marker; `None` if it does not exist. Damage is an error of kind [`io::ErrorKind::InvalidData`].
pub fn read(path: &Path) -> io::Result<Option<Marker>> {
    let text = match regular::read(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause),
    };
    parse(&text).map(Some).map_err(|why| {
        let message = format!("the marker {} {why}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Decodes a marker. The error text continues "the marker".
pub fn parse(text: &[u8]) -> Result<Marker, String> {
    let damaged = || "is damaged; restore it from a copy, or start from scratch in another directory".to_string();
    let end = memchr::memchr(b'\n', text).ok_or_else(damaged)?;
    let (line, sum) = text.split_at(end + 1);
    if sum != format!("{}\n", checksum(line)).as_bytes() {
        return Err(damaged());
    }
    let VersionField { version } = serde_json::from_slice(line).map_err(|_| damaged())?;
    if version > WITH_ANNOUNCED {
        return Err(format!("is of format {version}, written by a later version of Millstream; use that one"));
    }
    serde_json::from_slice(line).map_err(|_| damaged())
}

/// Encodes a marker.
pub fn text(marker: &Marker) -> io::Result<String> {
    let mut text = serde_json::to_string(marker)?;
    text.push('\n');
    let sum = checksum(text.as_bytes());
    Ok(format!("{text}{sum}\n"))
}

/// Replaces a marker. It is durable when this returns.
pub fn replace(path: &Path, marker: &Marker) -> io::Result<()> {
    let text = text(marker)?;
    // Each run has its own file, so that a delayed earlier process does not write into it.
    let unfinished = with_suffix(path, &format!(".{}.tmp", marker.generation));
    let mut file = private::replace_with_new(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => removed_error(),
        _ => cause,
    })?;
    durable::sync_dir(durable::dir_of(path))
}

/// Like [`replace`], for a run that takes over: unfinished markers of others are removed first.
pub fn take_over(path: &Path, marker: &Marker) -> io::Result<()> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    for entry in fs::read_dir(durable::dir_of(path))? {
        let entry = entry?;
        let other = entry.file_name();
        let between = other.to_str().and_then(|other| other.strip_prefix(name)?.strip_suffix("tmp"));
        if between.is_some_and(|between| between.trim_matches(|c: char| c == '.' || c.is_ascii_digit()).is_empty()) {
            fs::remove_file(entry.path())?;
        }
    }
    replace(path, marker)
}

/// Returns the error of a process that does not find what it has just written: only a run that takes over the job removes it.
pub fn removed_error() -> io::Error {
    let message = "its unfinished file was deleted: the job was restarted elsewhere, and this process was replaced";
    TakenOver::error(message.into())
}

/// Returns the path with a suffix appended to its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Locks an existing file that serves only this purpose, for as long as the result lives. Waits briefly for a process that is being killed.
pub fn lock(path: &Path) -> io::Result<File> {
    private::lock(path, LOCK_WAIT).map_err(|error| match error {
        LockError::Held => io::Error::other(error.to_string()),
        LockError::Failed(cause) => cause,
    })
}

/// The lock of a file that others read, and so could lock: a hidden file next to it, which is removed with this value. In a read-only
/// directory the file itself is locked.
pub struct SidecarLock {
    path: Option<PathBuf>,
    _lock: Option<File>,
}

/// Errors that mean no file can be created next to another one.
const NO_SIDECAR: [i32; 4] = [libc::EACCES, libc::EPERM, libc::EROFS, libc::ENAMETOOLONG];

impl SidecarLock {
    /// Locks the file at this path, which is open.
    pub fn lock(path: &Path, file: &File) -> io::Result<SidecarLock> {
        // All links to the file must use the same lock.
        let path = fs::canonicalize(path)?;
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".lock");
        let path = durable::dir_of(&path).join(name);
        match lock(&path) {
            Ok(lock) => Ok(SidecarLock { path: Some(path), _lock: Some(lock) }),
            Err(cause) if NO_SIDECAR.map(Some).contains(&cause.raw_os_error()) => {
                durable::lock_within(file, LOCK_WAIT).map_err(|error| match error {
                    TryLockError::WouldBlock => io::Error::other(LockError::Held.to_string()),
                    TryLockError::Error(cause) => cause,
                })?;
                Ok(SidecarLock { path: None, _lock: None })
            }
            Err(cause) => Err(cause),
        }
    }
}

impl Drop for SidecarLock {
    fn drop(&mut self) {
        // Waiters check whether the lock file still has its name.
        self.path.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}
