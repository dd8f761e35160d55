//! The directory of a `files` sink whose job keeps checkpoints. A marker records which batch was committed last.
//!
//! A batch is committed when the marker names it. By then its part is durable under its hidden name. If the process dies before the rename,
//! the next one to open the directory completes it. So a part gets its name once, and readers may move parts away: none reappears.

use super::destination::{Destination, DirDestination, MarkerTag};
use super::parts::settle;
use super::{Share, already_committed, first_part, is_part, remove_unfinished, unfinished_path, write_durably};
use millstream_base::durable::{dir_of, sync_dir};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::owner::Owner;
use millstream_base::regular;
use millstream_base::retry::{self, io_failed};
use millstream_connect::sink::marker::{self, Marker};
use millstream_connect::sink::open_error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The marker of batches written by one process, which assigns the directory to a job. Workers' markers have their number appended.
pub(super) const MARKER: &str = ".millstream";

/// Returns the name of a share's marker.
pub(super) fn marker_name(share: Share) -> String {
    share.map_or_else(|| MARKER.to_owned(), |worker| format!("{MARKER}-{worker:03}"))
}

/// Returns the workers that have markers in a directory.
pub(super) fn workers(dir: &Path) -> io::Result<Vec<usize>> {
    let mut workers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let worker = name.to_str().and_then(|name| name.strip_prefix(MARKER)?.strip_prefix('-')?.parse().ok());
        workers.extend(worker.filter(|worker| name.to_str() == Some(&*marker_name(Some(*worker)))));
    }
    Ok(workers)
}

/// An open directory of a job with checkpoints.
pub(super) struct CommittedDir {
    dir: PathBuf,
    marker: PathBuf,
    owner: Owner,
    failure: Failure,
    /// The last batch that passed, with or without rows; at first the one that the marker named.
    last_batch: Option<BatchId>,
    /// The batch that the marker names.
    committed: Option<BatchId>,
    /// Held while the directory is open.
    _lock: File,
}

/// Returns the last batch that the directory holds for this job, written by one process or by workers. Changes nothing.
pub(in crate::files) fn committed(dir: &Path, job_id: &str) -> Result<Option<BatchId>, String> {
    if !dir.exists() {
        return Ok(None);
    }
    let mut last = check_sink_marker(dir, Some(job_id))?.and_then(|marker| marker.batch);
    for worker in workers(dir).map_err(|cause| unreadable_error(dir, &cause))? {
        last = last.max(read(dir, Some(worker), Some(job_id))?.and_then(|marker| marker.batch));
    }
    Ok(last)
}

fn unreadable_error(dir: &Path, cause: &io::Error) -> String {
    format!("cannot read the directory {}: {cause}; choose another path", dir.display())
}

const ELSEWHERE: &str = "choose another path (for one run: --set sinks.<name>.path=<dir>)";

/// Reads a marker of the directory. An error if it belongs to another job.
fn read(dir: &Path, share: Share, owner_id: Option<&str>) -> Result<Option<Marker>, String> {
    let marker = match marker::read(&dir.join(marker_name(share))) {
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => return Err(cause.to_string()),
        marker => marker.map_err(|cause| unreadable_error(dir, &cause))?,
    };
    let shown = format!("the directory {}", dir.display());
    let remedy = format!("empty it, including its files {MARKER}*, or {ELSEWHERE}");
    marker::of_job(marker, owner_id, &shown, &remedy)
}

/// Reads the directory's marker. An error if the directory contains rows of another job, or rows without a marker.
pub(super) fn check_sink_marker(dir: &Path, owner_id: Option<&str>) -> Result<Option<Marker>, String> {
    let marker = read(dir, None, owner_id)?;
    if marker.is_none()
        && let Some(part) = first_part(dir).map_err(|cause| unreadable_error(dir, &cause))?
    {
        return Err(format!(
            "the directory {} holds parts of an earlier run ({part}), and nothing is overwritten; empty it or \
            {ELSEWHERE}",
            dir.display()
        ));
    }
    Ok(marker)
}

/// Returns the last batch that the directory holds from one process, for a share that is open. An error if a later run of the job owns
/// the directory: it may have listed the shares before this one had a marker, and so has not taken it over.
pub(super) fn committed_without_share(name: &str, dir: &Path, owner: &Owner) -> Result<Option<BatchId>> {
    let marker = read(dir, None, Some(&owner.job_id));
    let marker = marker.map_err(|message| Error::environment(format!("sink `{name}`: {message}")))?;
    let Some(marker) = marker else { return Ok(None) };
    let own_marker = marker.check_owner(owner).map(|()| marker.batch);
    own_marker.map_err(|cause| open_error(name, "open the directory", dir, &cause))
}

/// Locks a share of a directory for as long as the file is open.
pub(super) fn lock(name: &str, dir: &Path, share: Share) -> Result<File> {
    let path = marker::with_suffix(&dir.join(marker_name(share)), ".lock");
    marker::lock(&path).map_err(|cause| open_error(name, "lock", &path, &cause))
}

impl CommittedDir {
    /// Takes over a share of the directory. Creates the directory, locks the share, completes or removes what a killed process left of it,
    /// and writes this run's generation into its marker.
    pub(super) fn open(name: &str, dir: &Path, share: Share, owner: &Owner, failure: &Failure) -> Result<CommittedDir> {
        let rejection = |message: String| Error::environment(format!("sink `{name}`: {message}"));
        if dir.exists() {
            check_sink_marker(dir, Some(&owner.job_id)).map_err(rejection)?;
        }
        fs::create_dir_all(dir).map_err(|cause| open_error(name, "create the directory", dir, &cause))?;
        let marker = dir.join(marker_name(share));
        let lock = lock(name, dir, share)?;
        // The previous owner may have committed meanwhile.
        let sink_marker = check_sink_marker(dir, Some(&owner.job_id)).map_err(rejection)?;
        let found =
            if share.is_none() { sink_marker } else { read(dir, share, Some(&owner.job_id)).map_err(rejection)? };
        if let Some(marker) = &found {
            marker.check_owner(owner).map_err(|cause| open_error(name, "open the directory", dir, &cause))?;
        }
        let found = match found {
            Some(left) if left.pending.is_some() => {
                let destination: Arc<dyn Destination> = Arc::new(DirDestination::new(dir.into()));
                Some(settle(&destination, share, owner, left, &MarkerTag::default(), failure)?.0)
            }
            found => found,
        };
        let (batch, part) = found.map_or((None, None), |marker| (marker.batch, marker.part));
        let take_over = || {
            finish(dir, share, part.as_deref())?;
            fault::point("start.sink");
            marker::take_over(&marker, &Marker::new(owner, batch, part.clone()))?;
            sync_dir(dir_of(dir))
        };
        retry_transient(failure, "open the directory", dir, take_over)
            .map_err(|e| e.within(format!("sink `{name}`")))?;
        let (dir, owner, failure) = (dir.into(), owner.clone(), failure.clone());
        Ok(CommittedDir { dir, marker, owner, failure, last_batch: batch, committed: batch, _lock: lock })
    }

    /// Commits a part. Every step can be repeated, so a full disk only delays it.
    pub(super) fn commit(&mut self, part: &Path, batch: BatchId, bytes: &[u8]) -> Result<()> {
        if self.last_batch.is_some_and(|last_batch| batch <= last_batch) {
            return Err(already_committed(batch));
        }
        let name = part.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (marker_path, unfinished_path) = (self.marker.clone(), unfinished_path(part));
        let step = |attempt: &dyn Fn() -> io::Result<()>| retry_transient(&self.failure, "write", part, attempt);
        fault::point("commit.before");
        step(&|| {
            self.check_owner(&marker_path)?;
            // If another run has taken over the job since the marker was read, the part belongs to that run.
            check_same(part, bytes).or_else(|other| self.check_owner(&marker_path).and(Err(other)))?;
            write_durably(&unfinished_path, bytes)?;
            // The unfinished part's name must be durable, too, as the marker will depend on it.
            sync_dir(&self.dir)
        })?;
        fault::point("commit.written");
        let mark = || {
            self.check_owner(&marker_path)?;
            marker::replace(&marker_path, &Marker::new(&self.owner, Some(batch), name.clone()))
        };
        let show = || show(&unfinished_path, part).and_then(|()| sync_dir(&self.dir));
        if fault::bug!("marker-late") {
            step(&show)?;
            fault::point("commit.unmarked");
            step(&mark)?;
            fault::point("commit.marked");
        } else {
            step(&mark)?;
            fault::point("commit.marked");
            step(&show)?;
        }
        fault::point("commit.after");
        (self.last_batch, self.committed) = (Some(batch), Some(batch));
        Ok(())
    }

    /// Records that a batch without rows passed. The marker does not mention it.
    pub(super) fn pass_empty(&mut self, batch: BatchId) {
        self.last_batch = self.last_batch.max(Some(batch));
    }

    /// Returns the batch that a later run will find.
    pub(super) fn committed(&self) -> Option<BatchId> {
        self.committed
    }

    fn check_owner(&self, path: &Path) -> io::Result<()> {
        match marker::read(path)? {
            Some(marker) => marker.check_owner(&self.owner),
            None => Err(io::Error::other(format!("the marker {} is missing; what deleted it?", path.display()))),
        }
    }
}

/// Checks that an existing part has the same content: then its batch was committed before its marker was lost.
fn check_same(part: &Path, bytes: &[u8]) -> io::Result<()> {
    match regular::read(part) {
        Ok(before) if before == bytes => Ok(()),
        Ok(_) => Err(io::Error::other("it exists already with other rows, and nothing is overwritten")),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// Gives an unfinished part its name. On a retry, it may already have it.
fn show(unfinished_path: &Path, part: &Path) -> io::Result<()> {
    match fs::rename(unfinished_path, part) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !unfinished_path.exists() => {
            if part.exists() {
                Ok(())
            } else {
                Err(marker::removed_error())
            }
        }
        renamed => renamed,
    }
}

/// Shows the part of a share's last committed batch, if that is still to be done, and removes all other unfinished ones.
pub(super) fn finish(dir: &Path, share: Share, part: Option<&str>) -> io::Result<()> {
    remove_unfinished(dir, |of| of == share, part)?;
    if let Some(part) = part.filter(|part| is_part(part)).map(|part| dir.join(part))
        && unfinished_path(&part).exists()
    {
        fs::rename(unfinished_path(&part), &part)?;
    }
    sync_dir(dir)
}

fn retry_transient(failure: &Failure, what: &str, path: &Path, attempt: impl Fn() -> io::Result<()>) -> Result<()> {
    retry::retry_transient(failure, || {
        attempt().map_err(|cause| io_failed(format!("{what} {}", path.display()), &cause))
    })
}
