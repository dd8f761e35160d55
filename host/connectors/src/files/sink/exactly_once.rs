//! The folder of a `files` sink whose job keeps checkpoints: a marker says which batch was committed last.
//!
//! A batch is committed when the marker names it. By then its part is durable under its hidden name; whoever opens the
//! folder next gives it its name, if the process died in between. So a part gets its name once, and readers may move
//! parts away: none comes again.

use super::destination::{Destination, FolderDestination, MarkerTag};
use super::parts::settle;
use super::{Share, first_part, is_part, remove_unfinished, twice, unfinished, write_durably};
use crate::sink::marker::{self, Marker};
use crate::sink::open_failed;
use millstream_base::durable::{folder_of, sync_folder};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::owner::Owner;
use millstream_base::patience::{self, io_failed};
use millstream_base::regular;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The marker of whole batches, by which a folder belongs to a job. Those of workers have their numbers behind it.
pub(super) const MARKER: &str = ".millstream";

/// The name of a share's marker.
pub(super) fn marker_name(share: Share) -> String {
    share.map_or_else(|| MARKER.to_owned(), |worker| format!("{MARKER}-{worker:03}"))
}

/// The workers that have markers in a folder.
pub(super) fn workers(folder: &Path) -> io::Result<Vec<usize>> {
    let mut workers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let worker = name.to_str().and_then(|name| name.strip_prefix(MARKER)?.strip_prefix('-')?.parse().ok());
        workers.extend(worker.filter(|worker| name.to_str() == Some(&*marker_name(Some(*worker)))));
    }
    Ok(workers)
}

/// An open folder of a job with checkpoints.
pub(super) struct CommittedFolder {
    folder: PathBuf,
    marker: PathBuf,
    owner: Owner,
    failure: Failure,
    /// The last batch that came, with rows or without; at first the one that the marker named.
    passed: Option<BatchId>,
    /// The batch that the marker names.
    committed: Option<BatchId>,
    /// Held while the folder is open.
    _lock: File,
}

/// The last batch that the folder holds for this job, of whole ones and of those of workers, without changing anything.
pub(in crate::files) fn committed(folder: &Path, job_id: &str) -> Result<Option<BatchId>, String> {
    if !folder.exists() {
        return Ok(None);
    }
    let mut last = look(folder, Some(job_id))?.and_then(|marker| marker.batch);
    for worker in workers(folder).map_err(|cause| unreadable(folder, &cause))? {
        last = last.max(read(folder, Some(worker), Some(job_id))?.and_then(|marker| marker.batch));
    }
    Ok(last)
}

fn unreadable(folder: &Path, cause: &io::Error) -> String {
    format!("cannot read the folder {}: {cause}; choose another path", folder.display())
}

const ELSEWHERE: &str = "choose another path (for one run: --set sinks.<name>.path=<folder>)";

/// Reads a marker of the folder, and refuses that of another job.
fn read(folder: &Path, share: Share, owner_id: Option<&str>) -> Result<Option<Marker>, String> {
    let marker = match marker::read(&folder.join(marker_name(share))) {
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => return Err(cause.to_string()),
        marker => marker.map_err(|cause| unreadable(folder, &cause))?,
    };
    let shown = format!("the folder {}", folder.display());
    let remedy = format!("empty it, its files {MARKER}* as well, or {ELSEWHERE}");
    marker::of_job(marker, owner_id, &shown, &remedy)
}

/// Reads the folder's marker and refuses what this job may not write beside: rows of others, or rows of which nothing
/// tells whose they are.
pub(super) fn look(folder: &Path, owner_id: Option<&str>) -> Result<Option<Marker>, String> {
    let marker = read(folder, None, owner_id)?;
    if marker.is_none()
        && let Some(part) = first_part(folder).map_err(|cause| unreadable(folder, &cause))?
    {
        return Err(format!(
            "the folder {} holds parts of an earlier run ({part}), and nothing is overwritten; empty it or {ELSEWHERE}",
            folder.display()
        ));
    }
    Ok(marker)
}

/// The last batch that the folder holds whole, for a share that is open. An error where a later start of the job has the folder: it
/// may have looked for shares when this one had no marker yet, and so has not taken it over.
pub(super) fn whole(name: &str, folder: &Path, owner: &Owner) -> Result<Option<BatchId>> {
    let whole = read(folder, None, Some(&owner.job_id));
    let whole = whole.map_err(|message| Error::environment(format!("sink `{name}`: {message}")))?;
    let Some(marker) = whole else { return Ok(None) };
    let ours = marker.check_ours(owner).map(|()| marker.batch);
    ours.map_err(|cause| open_failed(name, "open the folder", folder, &cause))
}

/// Locks a share of a folder for as long as the file is open.
pub(super) fn lock(name: &str, folder: &Path, share: Share) -> Result<File> {
    let path = marker::beside(&folder.join(marker_name(share)), ".lock");
    marker::lock(&path).map_err(|cause| open_failed(name, "lock", &path, &cause))
}

impl CommittedFolder {
    /// Takes a share of the folder over: makes the folder, locks the share, finishes or removes what a killed process left of it,
    /// and writes this start's generation into its marker.
    pub(super) fn open(
        name: &str,
        folder: &Path,
        share: Share,
        owner: &Owner,
        failure: &Failure,
    ) -> Result<CommittedFolder> {
        let refused = |message: String| Error::environment(format!("sink `{name}`: {message}"));
        if folder.exists() {
            look(folder, Some(&owner.job_id)).map_err(refused)?;
        }
        fs::create_dir_all(folder).map_err(|cause| open_failed(name, "make the folder", folder, &cause))?;
        let marker = folder.join(marker_name(share));
        let lock = lock(name, folder, share)?;
        // Whoever had it until now may have committed meanwhile.
        let whole = look(folder, Some(&owner.job_id)).map_err(refused)?;
        let found = if share.is_none() { whole } else { read(folder, share, Some(&owner.job_id)).map_err(refused)? };
        if let Some(marker) = &found {
            marker.check_ours(owner).map_err(|cause| open_failed(name, "open the folder", folder, &cause))?;
        }
        let found = match found {
            Some(left) if left.pending.is_some() => {
                let place: Arc<dyn Destination> = Arc::new(FolderDestination::new(folder.into()));
                Some(settle(&place, share, owner, left, &MarkerTag::default(), failure)?.0)
            }
            found => found,
        };
        let (batch, part) = found.map_or((None, None), |marker| (marker.batch, marker.part));
        let take_over = || {
            finish(folder, share, part.as_deref())?;
            fault::point("start.sink");
            marker::take_over(&marker, &Marker::new(owner, batch, part.clone()))?;
            sync_folder(folder_of(folder))
        };
        patiently(failure, "open the folder", folder, take_over).map_err(|e| e.within(format!("sink `{name}`")))?;
        let (folder, owner, failure) = (folder.into(), owner.clone(), failure.clone());
        Ok(CommittedFolder { folder, marker, owner, failure, passed: batch, committed: batch, _lock: lock })
    }

    /// Commits a part. Every step can be done again, so a full disk only makes it wait.
    pub(super) fn commit(&mut self, part: &Path, batch: BatchId, bytes: &[u8]) -> Result<()> {
        if self.passed.is_some_and(|passed| batch <= passed) {
            return Err(twice(batch));
        }
        let name = part.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (marker_path, unfinished) = (self.marker.clone(), unfinished(part));
        let step = |attempt: &dyn Fn() -> io::Result<()>| patiently(&self.failure, "write", part, attempt);
        fault::point("commit.before");
        step(&|| {
            self.check_ours(&marker_path)?;
            // Where another start has taken the job over since the marker was read, the part is its.
            check_same(part, bytes).or_else(|other| self.check_ours(&marker_path).and(Err(other)))?;
            write_durably(&unfinished, bytes)?;
            // The name of the unfinished part, too: the marker is going to count on it.
            sync_folder(&self.folder)
        })?;
        fault::point("commit.written");
        let mark = || {
            self.check_ours(&marker_path)?;
            marker::replace(&marker_path, &Marker::new(&self.owner, Some(batch), name.clone()))
        };
        let show = || show(&unfinished, part).and_then(|()| sync_folder(&self.folder));
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
        (self.passed, self.committed) = (Some(batch), Some(batch));
        Ok(())
    }

    /// A batch without rows came. The marker does not tell of it.
    pub(super) fn passed(&mut self, batch: BatchId) {
        self.passed = self.passed.max(Some(batch));
    }

    /// What a later start will find.
    pub(super) fn committed(&self) -> Option<BatchId> {
        self.committed
    }

    fn check_ours(&self, path: &Path) -> io::Result<()> {
        match marker::read(path)? {
            Some(marker) => marker.check_ours(&self.owner),
            None => Err(io::Error::other(format!("the marker {} is missing; what deleted it?", path.display()))),
        }
    }
}

/// A part that is there already must be the same: then this is a batch that was committed before its marker was lost.
fn check_same(part: &Path, bytes: &[u8]) -> io::Result<()> {
    match regular::read(part) {
        Ok(before) if before == bytes => Ok(()),
        Ok(_) => Err(io::Error::other("it exists already with other rows, and nothing is overwritten")),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// Gives an unfinished part its name. When it is tried again, it may have it already.
fn show(unfinished: &Path, part: &Path) -> io::Result<()> {
    match fs::rename(unfinished, part) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !unfinished.exists() => {
            if part.exists() {
                Ok(())
            } else {
                Err(marker::gone())
            }
        }
        renamed => renamed,
    }
}

/// Shows the part of the last committed batch of a share where that is still to be done, and removes all others.
pub(super) fn finish(folder: &Path, share: Share, part: Option<&str>) -> io::Result<()> {
    remove_unfinished(folder, |of| of == share, part)?;
    if let Some(part) = part.filter(|part| is_part(part)).map(|part| folder.join(part))
        && unfinished(&part).exists()
    {
        fs::rename(unfinished(&part), &part)?;
    }
    sync_folder(folder)
}

fn patiently(failure: &Failure, what: &str, path: &Path, attempt: impl Fn() -> io::Result<()>) -> Result<()> {
    patience::patiently(failure, || attempt().map_err(|cause| io_failed(format!("{what} {}", path.display()), &cause)))
}
