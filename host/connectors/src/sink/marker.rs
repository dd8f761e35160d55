//! What a sink keeps beside the rows in files: who writes there, and the last batch that it holds.
//!
//! A marker is a line of JSON and a line with its checksum. It is replaced as a whole by renaming, so a reader finds
//! the one before or the one after. It also fences: a later start of the job writes its generation into it, and whoever
//! finds a later generation than its own has lost the job.

use millstream_base::digest::checksum;
use millstream_base::durable;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::owner::FORMAT_VERSION;
use millstream_base::owner::Owner;
use millstream_base::patience::TakenOver;
use millstream_base::private::{self, LockRefused};
use millstream_base::regular;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an opening sink waits for a process that is just going away.
const LOCK_WAIT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 3_000 });

/// Who writes, and how far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
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
    /// What whoever opens the sink next has to bring to its end, where parts have folders, roll or are objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// What of the parts of a sink is not done when its marker is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The start that wrote the hidden files.
    pub by: Generation,
    /// Parts that are staged and are to get their names.
    pub shows: Vec<String>,
    /// How the names of parts that are open end, without a dot.
    pub extension: String,
    /// Of which columns their folders are made.
    pub partition_by: Vec<String>,
    /// Parts whose rows are in the reserves of their batches, from this batch on up to the marker's: folder, batch, rows.
    pub open: Vec<(String, BatchId, u64)>,
    /// How often readers were told of parts with these, where names do not tell them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
}

/// The version of a marker with something pending, which earlier versions of Millstream would not bring to its end.
const WITH_PENDING: u32 = FORMAT_VERSION + 1;
/// The same where readers have to be told of parts.
const WITH_TOLD: u32 = FORMAT_VERSION + 2;

/// Read to see the version before anything else, which another version may have otherwise.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Marker {
    /// The marker of this owner.
    pub fn new(owner: &Owner, batch: Option<BatchId>, part: Option<String>) -> Marker {
        let (job, job_id) = (owner.job.clone(), owner.job_id.clone());
        Marker { version: FORMAT_VERSION, job, job_id, generation: owner.generation, batch, part, pending: None }
    }

    /// With what is not done yet.
    pub fn with(mut self, pending: Option<Pending>) -> Marker {
        self.version = match &pending {
            None => FORMAT_VERSION,
            Some(pending) if pending.told.is_none() => WITH_PENDING,
            Some(_) => WITH_TOLD,
        };
        self.pending = pending;
        self
    }

    /// Whether this start of the job may commit.
    pub fn check_ours(&self, owner: &Owner) -> io::Result<()> {
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

/// The marker beside an output where it is that of the job with this id, or there is none. `output` names what the marker
/// stands beside, and `remedy` says what to do where it belongs to another job, or to a start that this one does not go on from.
pub(crate) fn of_job(
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

/// Reads a marker; `None`: there is none. Damage is an error of kind [`io::ErrorKind::InvalidData`].
pub(crate) fn read(path: &Path) -> io::Result<Option<Marker>> {
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

/// What a marker says, from its text. An error goes on behind "the marker".
pub(crate) fn parse(text: &[u8]) -> Result<Marker, String> {
    let damaged = || "is damaged; restore it from a copy, or start from scratch in another place".to_string();
    let end = memchr::memchr(b'\n', text).ok_or_else(damaged)?;
    let (line, sum) = text.split_at(end + 1);
    if sum != format!("{}\n", checksum(line)).as_bytes() {
        return Err(damaged());
    }
    let Versioned { version } = serde_json::from_slice(line).map_err(|_| damaged())?;
    if version > WITH_TOLD {
        return Err(format!("is of format {version}, written by a later version of Millstream; use that one"));
    }
    serde_json::from_slice(line).map_err(|_| damaged())
}

/// The text of a marker.
pub(crate) fn text(marker: &Marker) -> io::Result<String> {
    let mut text = serde_json::to_string(marker)?;
    text.push('\n');
    let sum = checksum(text.as_bytes());
    Ok(format!("{text}{sum}\n"))
}

/// Puts a marker in the place of the one before. It is durable when this returns.
pub(crate) fn replace(path: &Path, marker: &Marker) -> io::Result<()> {
    let text = text(marker)?;
    // Each start has its own, so that one that comes back late does not write into that of another.
    let unfinished = beside(path, &format!(".{}.tmp", marker.generation));
    let mut file = private::make_anew(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => gone(),
        _ => cause,
    })?;
    durable::sync_folder(durable::folder_of(path))
}

/// As [`replace`], for a start that takes over: markers that others have not finished are removed first.
pub(crate) fn take_over(path: &Path, marker: &Marker) -> io::Result<()> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    for entry in fs::read_dir(durable::folder_of(path))? {
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
pub(crate) fn gone() -> io::Error {
    let message = "its unfinished file was deleted: the job was restarted elsewhere, and this process was replaced";
    TakenOver::error(message.into())
}

/// The path with this behind its last name.
pub(crate) fn beside(path: &Path, behind: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(behind);
    name.into()
}

/// Locks a file that is there for that alone, for as long as the result lives; waits a moment for a process that is just being killed.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    private::lock(path, LOCK_WAIT).map_err(|refused| match refused {
        LockRefused::Held => io::Error::other(refused.to_string()),
        LockRefused::Failed(cause) => cause,
    })
}

/// The lock of a file that others read, and so could lock: a hidden file beside it, which goes with this. In a folder that cannot be
/// written the file itself is locked.
pub(crate) struct LockBeside {
    path: Option<PathBuf>,
    _lock: Option<File>,
}

/// Why there can be no file beside another one.
const NOT_BESIDE: [i32; 4] = [libc::EACCES, libc::EPERM, libc::EROFS, libc::ENAMETOOLONG];

impl LockBeside {
    /// Locks the file of this path, which is open.
    pub(crate) fn of(path: &Path, file: &File) -> io::Result<LockBeside> {
        // Whatever leads to it, it is one file.
        let path = fs::canonicalize(path)?;
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".lock");
        let path = durable::folder_of(&path).join(name);
        match lock(&path) {
            Ok(lock) => Ok(LockBeside { path: Some(path), _lock: Some(lock) }),
            Err(cause) if NOT_BESIDE.map(Some).contains(&cause.raw_os_error()) => {
                durable::lock_within(file, LOCK_WAIT).map_err(|refused| match refused {
                    TryLockError::WouldBlock => io::Error::other(LockRefused::Held.to_string()),
                    TryLockError::Error(cause) => cause,
                })?;
                Ok(LockBeside { path: None, _lock: None })
            }
            Err(cause) => Err(cause),
        }
    }
}

impl Drop for LockBeside {
    fn drop(&mut self) {
        // Whoever waits for it looks whether it has its name still.
        self.path.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}
