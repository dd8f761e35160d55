//! The folder of a `files` sink whose job keeps checkpoints: a marker says which batch was committed last.
//!
//! A batch is committed when the marker names it. By then its part is durable under its hidden name; whoever opens the
//! folder next gives it its name, if the process died in between. So a part gets its name once, and readers may move
//! parts away: none comes again.

use super::{first_part, is_part, remove_unfinished, twice, unfinished, write_durably};
use crate::owner::Owner;

use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::fault;
use crate::ids::BatchId;
use crate::patience::{self, io_failed};
use crate::private;
use crate::regular;
use crate::sink::marker::{self, Marker, sync_folder};
use crate::sink::open_failed;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const MARKER: &str = ".millstream";
const LOCK: &str = ".millstream.lock";

/// An open folder of a job with checkpoints.
pub(super) struct Kept {
    folder: PathBuf,
    owner: Owner,
    failure: Failure,
    /// The last batch that came, with rows or without; at first the one that the marker named.
    passed: Option<BatchId>,
    /// The batch that the marker names.
    committed: Option<BatchId>,
    /// Held while the folder is open.
    _lock: File,
}

/// The last batch that the folder holds for this job, without changing anything.
pub(in crate::sink) fn committed(folder: &Path, job_id: &str) -> Result<Option<BatchId>, String> {
    if !folder.exists() {
        return Ok(None);
    }
    Ok(look(folder, Some(job_id))?.and_then(|marker| marker.batch))
}

/// Reads the folder's marker and refuses what this job may not write beside: rows of others, or rows of which nothing
/// tells whose they are.
pub(super) fn look(folder: &Path, owner_id: Option<&str>) -> Result<Option<Marker>, String> {
    let failed =
        |cause: io::Error| format!("cannot read the folder {}: {cause}; choose another path", folder.display());
    let elsewhere = "choose another path (for one run: --set sinks.<name>.path=<folder>)";
    let marker = match marker::read(&folder.join(MARKER)) {
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => return Err(cause.to_string()),
        marker => marker.map_err(failed)?,
    };
    match (marker, owner_id) {
        (Some(marker), Some(id)) if marker.job_id == id => Ok(Some(marker)),
        (Some(marker), _) => Err(format!(
            "the folder {} belongs to {} job `{}` with checkpoints, and nothing is overwritten; empty it, its file \
             {MARKER} as well, or {elsewhere}",
            folder.display(),
            if owner_id.is_some() { "another" } else { "an earlier" },
            marker.job,
        )),
        (None, _) => match first_part(folder).map_err(failed)? {
            None => Ok(None),
            Some(part) => Err(format!(
                "the folder {} holds parts of an earlier run ({part}), and nothing is overwritten; empty it or \
                 {elsewhere}",
                folder.display()
            )),
        },
    }
}

impl Kept {
    /// Takes the folder over: makes it, locks it, finishes or removes what a killed process left, and writes this start's
    /// generation into the marker.
    pub(super) fn open(name: &str, folder: &Path, owner: &Owner, failure: &Failure) -> Result<Kept> {
        let refused = |message: String| Error::environment(format!("sink `{name}`: {message}"));
        if folder.exists() {
            look(folder, Some(&owner.job_id)).map_err(refused)?;
        }
        fs::create_dir_all(folder).map_err(|cause| open_failed(name, "make the folder", folder, &cause))?;
        let path = folder.join(LOCK);
        let lock = private::open_or_make(&path).and_then(|file| marker::lock(&file).map(|()| file));
        let lock = lock.map_err(|cause| open_failed(name, "lock", &path, &cause))?;
        // Whoever had it until now may have committed meanwhile.
        let found = look(folder, Some(&owner.job_id)).map_err(refused)?;
        if let Some(marker) = &found {
            marker.check_ours(owner).map_err(|cause| open_failed(name, "open the folder", folder, &cause))?;
        }
        let (batch, part) = found.map_or((None, None), |marker| (marker.batch, marker.part));
        let take_over = || {
            finish(folder, part.as_deref())?;
            fault::point("start.sink");
            marker::take_over(&folder.join(MARKER), &Marker::new(owner, batch, part.clone()))?;
            sync_folder(folder.parent().unwrap_or(folder))
        };
        patiently(failure, "open the folder", folder, take_over).map_err(|e| e.within(format!("sink `{name}`")))?;
        let (folder, owner, failure) = (folder.into(), owner.clone(), failure.clone());
        Ok(Kept { folder, owner, failure, passed: batch, committed: batch, _lock: lock })
    }

    /// Commits a part. Every step can be done again, so a full disk only makes it wait.
    pub(super) fn commit(&mut self, part: &Path, batch: BatchId, bytes: &[u8]) -> Result<()> {
        if self.passed.is_some_and(|passed| batch <= passed) {
            return Err(twice(batch));
        }
        let name = part.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (marker_path, unfinished) = (self.folder.join(MARKER), unfinished(part));
        let step = |attempt: &dyn Fn() -> io::Result<()>| patiently(&self.failure, "write", part, attempt);
        fault::point("commit.before");
        step(&|| {
            self.check_ours(&marker_path)?;
            check_same(part, bytes)?;
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
            None => Err(io::Error::other(format!("the marker {} is gone; what removed it?", path.display()))),
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

/// Shows the part of the last committed batch where that is still to be done, and removes all others.
fn finish(folder: &Path, part: Option<&str>) -> io::Result<()> {
    remove_unfinished(folder, part)?;
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
