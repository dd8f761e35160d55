//! The `queue` sink, which writes one JSON line per batch, for tests: `{"batch":1,"time":"2026-11-20T08:30:01.000000Z","rows":[{…}]}`.
//!
//! Every start of a job without checkpoints truncates the file. With checkpoints it is appended to. Only complete lines count, so the last
//! one contains the last committed batch. A marker next to the file names the job, and all other jobs are rejected.

pub mod declaration;
pub mod settings;

use millstream_base::owner::Owner;
use millstream_connect::sink::marker::{self, Marker, SidecarLock};
use millstream_connect::sink::{check_writable, commit_error, open_error, rows_rejected};
use millstream_rows::batch::cell;
use millstream_rows::batch::json::JsonRows;
use millstream_rows::batch::sink::Sink;

use arrow::array::RecordBatch;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::retry::{io_failed, retry_transient};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are searched at a time for the end of a line.
const SEARCH_BYTES: u64 = 64 << 10;

/// Writes a line for every batch, even for one without rows.
struct QueueSink {
    name: String,
    path: PathBuf,
    file: File,
    /// State of the commits, if the job keeps checkpoints.
    commit_state: Option<CommittedLines>,
    /// Held while the file is open, if it is a regular file.
    _lock: Option<SidecarLock>,
}

/// The committed lines of a job with checkpoints.
struct CommittedLines {
    owner: Owner,
    failure: Failure,
    committed: Option<BatchId>,
    /// Length of the complete lines.
    bytes: u64,
}

impl QueueSink {
    /// Creates or truncates the file, or continues after its last complete line if this job wrote it. Rejects a file to which another job
    /// has committed.
    fn open(name: &str, path: &Path, owner: Option<&Owner>, failure: &Failure) -> Result<QueueSink> {
        let failed = |what: &'static str| move |cause: io::Error| open_error(name, what, path, &cause);
        let rejection = |message: String| Error::environment(format!("sink `{name}`: {message}"));
        // A device or a pipe keeps nothing that could be read again.
        let keeps = !path.exists() || path.is_file();
        let owner = owner.filter(|_| keeps);
        // Opening a pipe blocks until it has a reader, so it must have one.
        let _read = if keeps { None } else { Some(open_with_reader(path).map_err(failed("open the pipe"))?) };
        let mut options = File::options();
        let file = options.read(owner.is_some()).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(failed("create the file"))?;
        let mut lock = None;
        if keeps {
            lock = Some(SidecarLock::lock(path, &file).map_err(failed("lock the file"))?);
            // Checked again, as the previous owner may have written meanwhile.
            check_marker(path, owner.is_some(), owner.map(|owner| owner.job_id.as_str())).map_err(rejection)?;
        }
        let commit_state = match owner {
            None => {
                if keeps {
                    file.set_len(0).map_err(failed("begin the file"))?;
                }
                None
            }
            Some(owner) => {
                let (committed, bytes) = take_over(path, &file, owner).map_err(failed("continue in the file"))?;
                Some(CommittedLines { owner: owner.clone(), failure: failure.clone(), committed, bytes })
            }
        };
        Ok(QueueSink { name: name.into(), path: path.into(), file, commit_state, _lock: lock })
    }
}

/// Opens a pipe or a device without blocking; an error if the pipe has no reader.
fn open_with_reader(path: &Path) -> io::Result<File> {
    File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|cause| match cause.raw_os_error() {
        Some(libc::ENXIO) => {
            io::Error::other("no process reads it; start the reader first, or write the path of a file")
        }
        _ => cause,
    })
}

impl Sink for QueueSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let failed = |cause| commit_error(&self.name, batch, self.path.display(), cause);
        let line = render(batch, time, &rows);
        let line = line.map_err(|cause| rows_rejected(&self.name, batch, self.path.display(), cause))?;
        let Some(commit_state) = &mut self.commit_state else {
            // The file is unbuffered: a single write makes the complete line visible to every reader.
            return self.file.write_all(&line).map_err(failed);
        };
        commit_state
            .commit(&self.path, &self.file, batch, &line)
            .map_err(|e| e.within(format!("sink `{}`: batch {batch}", self.name)))
    }

    fn committed(&self) -> Option<BatchId> {
        self.commit_state.as_ref().and_then(|commit_state| commit_state.committed)
    }
}

impl CommittedLines {
    fn commit(&mut self, path: &Path, file: &File, batch: BatchId, line: &[u8]) -> Result<()> {
        fault::point("commit.before");
        let failed = |cause| io_failed(format!("write {}", path.display()), &cause);
        let append = || {
            file.write_all_at(line, self.bytes)?;
            fault::point("commit.written");
            file.sync_data()
        };
        retry_transient(&self.failure, || {
            check_owner(path, &self.owner).map_err(failed)?;
            append().map_err(|cause| {
                // A partial line does no harm to readers of complete ones, but it need not remain.
                let _ = file.set_len(self.bytes);
                failed(cause)
            })
        })?;
        fault::point("commit.after");
        self.bytes += line.len() as u64;
        self.committed = Some(batch);
        Ok(())
    }
}

/// Returns the path of the marker.
fn marker_path(path: &Path) -> PathBuf {
    marker::with_suffix(path, ".millstream")
}

fn check_owner(path: &Path, owner: &Owner) -> io::Result<()> {
    let path = marker_path(path);
    match marker::read(&path)? {
        Some(marker) => marker.check_owner(owner),
        None => Err(io::Error::other(format!(
            "the file {} next to it is missing; find out what deleted it",
            path.display()
        ))),
    }
}

/// Reads the marker next to a file. Rejects content that this job must not overwrite: rows that another job has committed, or, if this job
/// keeps checkpoints, rows without a marker. `owner_id`: the id of this job, if it has one yet.
fn check_marker(path: &Path, keeps_checkpoints: bool, owner_id: Option<&str>) -> Result<Option<Marker>, String> {
    let marker_path = marker_path(path);
    let instead = "or choose another path (for one run: --set sinks.<name>.path=<file>)";
    let marker = marker::read(&marker_path).map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidData => cause.to_string(),
        _ => format!("cannot read {}: {cause}; choose another path", marker_path.display()),
    })?;
    let file = format!("the file {}", path.display());
    let remedy = format!("remove it together with {}, {instead}", marker_path.display());
    let marker = marker::of_job(marker, owner_id, &file, &remedy)?;
    if marker.is_none() && keeps_checkpoints && has_content(path) {
        return Err(format!(
            "{file} holds rows of an earlier run, and a job with checkpoints overwrites nothing; remove it {instead}"
        ));
    }
    Ok(marker)
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0)
}

/// Truncates a partial line, and writes the marker of this run. Returns the last batch, and the length of the complete lines.
fn take_over(path: &Path, file: &File, owner: &Owner) -> io::Result<(Option<BatchId>, u64)> {
    let found = match &marker::read(&marker_path(path))? {
        None => (None, 0),
        Some(marker) => {
            marker.check_owner(owner)?;
            last_line(file)?
        }
    };
    file.set_len(found.1)?;
    file.sync_all()?;
    fault::point("start.sink");
    marker::take_over(&marker_path(path), &Marker::new(owner, None, None))?;
    Ok(found)
}

/// Returns the last batch that the file holds for this job. Changes nothing. An error if it belongs to another job.
fn committed(path: &Path, job_id: &str) -> Result<Option<BatchId>, String> {
    if path.exists() && !path.is_file() || check_marker(path, true, Some(job_id))?.is_none() || !path.is_file() {
        return Ok(None);
    }
    let failed = |cause: io::Error| format!("cannot read {}: {cause}", path.display());
    Ok(last_line(&File::open(path).map_err(failed)?).map_err(failed)?.0)
}

/// Returns the line of a batch in the file; `None`: it does not exist.
fn written(path: &Path, batch: BatchId) -> io::Result<Option<Vec<u8>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut lines = BufReader::new(File::open(path)?);
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 || line.last() != Some(&b'\n') {
            return Ok(None);
        }
        if batch_of(&line)? == batch {
            return Ok(Some(line));
        }
    }
}

/// The relevant part of a line.
#[derive(Deserialize)]
struct LineHead {
    batch: BatchId,
}

fn batch_of(line: &[u8]) -> io::Result<BatchId> {
    let read = serde_json::from_slice::<LineHead>(line).map(|line| line.batch);
    read.map_err(|_| {
        let message = "it has a line that no queue sink writes; remove the file to start from scratch";
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Returns the batch of the last complete line, and the end of that line.
fn last_line(file: &File) -> io::Result<(Option<BatchId>, u64)> {
    let Some(end) = newline_before(file, file.metadata()?.len())? else { return Ok((None, 0)) };
    let start = newline_before(file, end)?.map_or(0, |before| before + 1);
    let length = usize::try_from(end - start).map_err(io::Error::other)?;
    let mut line = vec![0; length];
    file.read_exact_at(&mut line, start)?;
    Ok((Some(batch_of(&line)?), end + 1))
}

/// Returns the position of the last newline before this one.
fn newline_before(file: &File, mut end: u64) -> io::Result<Option<u64>> {
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(SEARCH_BYTES);
        block.resize((end - start) as usize, 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', &block) {
            return Ok(Some(start + newline as u64));
        }
        end = start;
    }
    Ok(None)
}

/// Encodes the line of a batch.
fn render(batch: BatchId, time: BatchTime, rows: &[RecordBatch]) -> io::Result<Vec<u8>> {
    let mut head = format!("{{\"batch\":{batch},\"time\":\"");
    cell::write_rfc3339(&mut head, time.0);
    head.push_str("\",\"rows\":[");
    let mut line = head.into_bytes();
    let mut first = true;
    for part in rows {
        let mut objects = JsonRows::new(part)?;
        for row in 0..part.num_rows() {
            if !first {
                line.push(b',');
            }
            first = false;
            objects.write(row, &mut line)?;
        }
    }
    line.extend_from_slice(b"]}\n");
    Ok(line)
}

/// Checks that the file can be created or written, and holds nothing that another job has committed. Changes nothing. `owner_id`: the id of
/// the job that resumes.
fn check(path: &Path, keeps_checkpoints: bool, owner_id: Option<&str>) -> Result<(), String> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(format!("{} is not a file name; write the path of a file", path.display())),
    };
    let writable = match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(format!("{} is a directory, but a queue sink writes one file; choose another path", path.display()))
        }
        // Opening anything else, such as a pipe, may block until it has a reader.
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_) => fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map(drop)
            .map_err(|cause| format!("cannot write {}: {cause}; choose another path", path.display())),
        Err(_) if !parent.exists() => {
            Err(format!("the directory {} does not exist; create it or choose another path", parent.display()))
        }
        Err(_) if !parent.is_dir() => {
            Err(format!("{} is a file, not a directory; choose another path", parent.display()))
        }
        Err(_) => check_writable(parent),
    };
    writable?;
    if !path.exists() || path.is_file() {
        check_marker(path, keeps_checkpoints, owner_id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::error::Kind;

    #[test]
    fn a_full_disk_is_an_error_that_names_sink_path_and_batch() {
        let mut sink = QueueSink::open("out", Path::new("/dev/full"), None, &Failure::default()).unwrap();
        let error = sink.commit(BatchId(8), BatchTime(0), vec![]).unwrap_err();
        assert_eq!(error.kind, Kind::Environment);
        assert!(error.message.starts_with("sink `out`: batch 8: cannot write /dev/full: No space left"), "{error}");
    }
}
