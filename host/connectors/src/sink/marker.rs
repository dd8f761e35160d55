//! What a sink keeps beside the rows in files: who writes there, and the last batch that it holds.
//!
//! A marker is a line of JSON and a line with its checksum. It is replaced as a whole by renaming, so a reader finds
//! the one before or the one after. It also fences: a later start of the job writes its generation into it, and whoever
//! finds a later generation than its own has lost the job.

use crate::digest::checksum;
use crate::error::{Error, Kind};
use crate::ids::{BatchId, Generation};
use crate::owner::FORMAT_VERSION;
use crate::owner::Owner;
use crate::private;
use crate::regular;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an opening sink waits for a process that is just going away.
const LOCK_WAIT_MS: u64 = if cfg!(test) { 100 } else { 3_000 };
const LOCK_LOOK_MS: u64 = 20;

/// How the reason ends why a process may not commit any more.
pub(super) const LOST: &str = "has lost it";

/// An error of a commit as the job tells it. A process that has lost the job is not started again, as it would only take
/// the job back.
pub(super) fn told(error: Error) -> Error {
    if error.message.ends_with(LOST) { Error { kind: Kind::Job, ..error } } else { error }
}

/// Who writes, and how far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// See [`FORMAT_VERSION`].
    pub version: u32,
    /// The job's name.
    pub job: String,
    /// Its id.
    pub job_id: String,
    /// The last start of the job that opened the sink.
    pub generation: Generation,
    /// The last batch with rows that is committed, where the marker is what commits.
    pub batch: Option<BatchId>,
    /// The name of its part.
    pub part: Option<String>,
}

/// Read to see the version before anything else, which another version may have otherwise.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Marker {
    /// The marker of this owner.
    pub fn new(owner: &Owner, batch: Option<BatchId>, part: Option<String>) -> Marker {
        let (job, job_id) = (owner.job.clone(), owner.job_id.clone());
        Marker { version: FORMAT_VERSION, job, job_id, generation: owner.generation, batch, part }
    }

    /// Whether this start of the job may commit.
    pub fn check_ours(&self, owner: &Owner) -> io::Result<()> {
        if self.job_id != owner.job_id {
            return Err(io::Error::other(format!("job `{}` writes there now", self.job)));
        }
        if self.generation > owner.generation {
            return Err(io::Error::other(format!(
                "the job was started again elsewhere (generation {}), and this process (generation {}) {LOST}",
                self.generation, owner.generation
            )));
        }
        Ok(())
    }
}

/// Reads a marker; `None`: there is none. Damage is an error of kind [`io::ErrorKind::InvalidData`].
pub(super) fn read(path: &Path) -> io::Result<Option<Marker>> {
    let text = match regular::read(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause),
    };
    parse(&text).map(Some).map_err(|why| {
        let told = format!("the marker {} {why}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, told)
    })
}

fn parse(text: &[u8]) -> Result<Marker, String> {
    let damaged = || "is damaged; restore it from a copy, or begin anew in another place".to_string();
    let end = memchr::memchr(b'\n', text).ok_or_else(damaged)?;
    let (line, sum) = text.split_at(end + 1);
    if sum != format!("{}\n", checksum(line)).as_bytes() {
        return Err(damaged());
    }
    let Versioned { version } = serde_json::from_slice(line).map_err(|_| damaged())?;
    if version > FORMAT_VERSION {
        return Err(format!("is of format {version}, written by a later version of Millstream; use that one"));
    }
    serde_json::from_slice(line).map_err(|_| damaged())
}

/// Puts a marker in the place of the one before. It is durable when this returns.
pub(super) fn replace(path: &Path, marker: &Marker) -> io::Result<()> {
    let mut text = serde_json::to_string(marker)?;
    text.push('\n');
    let sum = checksum(text.as_bytes());
    // Each start has its own, so that one that comes back late does not write into that of another.
    let unfinished = beside(path, &format!(".{}.tmp", marker.generation));
    let mut file = private::make_anew(&unfinished)?;
    file.write_all(format!("{text}{sum}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => gone(),
        _ => cause,
    })?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// As [`replace`], for a start that takes over: markers that others have not finished are removed first.
pub(super) fn take_over(path: &Path, marker: &Marker) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let other = entry.file_name();
        let between = other.to_str().and_then(|other| other.strip_prefix(name)?.strip_suffix("tmp"));
        if between.is_some_and(|between| between.trim_matches(|c: char| c == '.' || c.is_ascii_digit()).is_empty()) {
            fs::remove_file(entry.path())?;
        }
    }
    replace(path, marker)
}

/// The error of a process that does not find what it has just written: only who takes the job over removes it.
pub(super) fn gone() -> io::Error {
    io::Error::other(format!(
        "its unfinished file is gone: the job was started again elsewhere, and this process {LOST}"
    ))
}

/// The path with this behind its last name.
pub(super) fn beside(path: &Path, behind: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(behind);
    name.into()
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Locks a file for as long as it is open; waits a moment for a process that is just being killed.
pub(super) fn lock(file: &File) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < Duration::from_millis(LOCK_WAIT_MS) => {
                std::thread::sleep(Duration::from_millis(LOCK_LOOK_MS));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another running process has it open; stop that one first"));
            }
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
    }
}
