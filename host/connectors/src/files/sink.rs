//! The `files` sink. It writes one file per batch, `part-<batch id>.<extension>`, or one per batch and worker,
//! `part-<batch id>-<worker>.<extension>`. A file appears atomically: it is written under a hidden name, made durable, and then renamed.

mod delta;
mod exactly_once;
mod open_part;
mod partitions;
mod parts;
mod destination;
mod reserve;

use super::settings::FilesLayout;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use destination::BucketDestination;
use exactly_once::CommittedDir;
use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_base::private;
use millstream_connect::sink::shares::Share;
use millstream_connect::sink::{check_writable, commit_error, encode, open_error, rows_rejected};
use millstream_job::spec::bucket_url;
use millstream_rows::batch::sink::Sink;
use millstream_rows::formats::FileFormat;
use partitions::Partitions;
use parts::PartsSink;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Returns the last batch that the destination holds for this job, written by one process or by workers. Changes nothing.
pub(super) fn committed(path: &Path, layout: &FilesLayout, job_id: &str) -> Result<Option<BatchId>, String> {
    let path = if layout.delta { delta::own_path(path, job_id) } else { path.to_owned() };
    match bucket_url(&path) {
        Some(url) => parts::committed(url, job_id),
        None => exactly_once::committed(&path, job_id),
    }
}

/// A sink that writes one part for every batch that has rows.
pub(super) struct FilesSink {
    name: String,
    dir: PathBuf,
    share: Share,
    format: FileFormat,
    schema: SchemaRef,
    /// State of the commits, if the job keeps checkpoints.
    commit_state: Option<CommittedDir>,
    /// The last batch that other shares held when the directory was opened. Without a share these are the workers' shares, with one the
    /// batches of the sink as a whole.
    others_committed: Option<BatchId>,
}

impl FilesSink {
    /// Creates the directory, and removes or completes the unfinished parts of an earlier run. Without a share, also takes over the shares
    /// of all workers that ever wrote here.
    pub(super) fn open(
        name: &str,
        dir: &Path,
        share: Share,
        (format, schema): (FileFormat, SchemaRef),
        owner: Option<&Owner>,
        failure: &Failure,
    ) -> Result<FilesSink> {
        let mut others_committed = None;
        let commit_state = match owner {
            Some(owner) => {
                let commit_state = CommittedDir::open(name, dir, share, owner, failure)?;
                if share.is_some() {
                    others_committed = exactly_once::committed_without_share(name, dir, owner)?;
                }
                if share.is_some() && fault::bug!("marker-of-others") {
                    others_committed = exactly_once::committed(dir, &owner.job_id).unwrap_or_default();
                }
                let others = if share.is_none() { exactly_once::workers(dir) } else { Ok(Vec::new()) };
                for worker in others.map_err(|cause| open_error(name, "read the directory", dir, &cause))? {
                    // The previous owner cannot write any longer once the share is open here.
                    let taken_over = CommittedDir::open(name, dir, Some(worker), owner, failure)?;
                    others_committed = others_committed.max(taken_over.committed());
                }
                Some(commit_state)
            }
            None => {
                fs::create_dir_all(dir).map_err(|cause| open_error(name, "create the directory", dir, &cause))?;
                let in_scope = |of: Share| share.is_none() || of == share;
                remove_unfinished(dir, in_scope, None)
                    .map_err(|cause| open_error(name, "tidy the directory", dir, &cause))?;
                None
            }
        };
        Ok(FilesSink { name: name.into(), dir: dir.into(), share, format, schema, commit_state, others_committed })
    }
}

impl Sink for FilesSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().all(|part| part.num_rows() == 0) {
            self.commit_state.iter_mut().for_each(|commit_state| commit_state.pass_empty(batch));
            return Ok(());
        }
        let part = self.dir.join(part_name(batch, self.share, self.format));
        let bytes = render(self.format, &self.schema, &rows)
            .map_err(|cause| rows_rejected(&self.name, batch, part.display(), cause))?;
        drop(rows);
        if let Some(commit_state) = &mut self.commit_state {
            return commit_state
                .commit(&part, batch, &bytes)
                .map_err(|e| e.within(format!("sink `{}`: batch {batch}", self.name)));
        }
        let unfinished_path = unfinished_path(&part);
        write_new(&unfinished_path, &part, &bytes).map_err(|cause| {
            // The file may never have been created; the first error is the one to report.
            let _ = fs::remove_file(&unfinished_path);
            commit_error(&self.name, batch, part.display(), cause)
        })
    }

    fn committed(&self) -> Option<BatchId> {
        self.commit_state.as_ref().and_then(CommittedDir::committed).max(self.others_committed)
    }
}

/// Encodes these rows as the part of a batch.
pub(super) fn render(format: FileFormat, schema: &SchemaRef, rows: &[RecordBatch]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if rows.iter().any(|part| part.num_rows() > 0) {
        encode::write(format, schema, rows, &mut bytes)?;
    }
    Ok(bytes)
}

/// Reads the part of a batch, whichever process wrote it; `None` if it does not exist.
pub(super) fn read_part(dir: &Path, batch: BatchId, format: FileFormat) -> io::Result<Option<Vec<u8>>> {
    match millstream_base::regular::read(dir.join(part_name(batch, None, format))) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Settings of a sink, with what it knows of its rows.
#[derive(Clone)]
pub(super) struct FileSettings {
    pub name: String,
    /// Resolved against the job's directory, or a URL.
    pub path: PathBuf,
    pub format: FileFormat,
    pub schema: SchemaRef,
    pub layout: FilesLayout,
}

/// Whether a local sink writes one file per batch, or per batch and worker.
pub(super) fn is_plain(path: &Path, layout: &FilesLayout) -> bool {
    layout.partition_by.is_empty() && layout.roll.is_none() && !layout.delta && bucket_url(path).is_none()
}

/// Opens a sink, or a worker's share of it.
pub(super) fn open(
    settings: FileSettings,
    share: Share,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    if !is_plain(&settings.path, &settings.layout) {
        return Ok(Box::new(PartsSink::open(settings, share, owner, failure)?));
    }
    let FileSettings { name, path, format, schema, .. } = settings;
    Ok(Box::new(FilesSink::open(&name, &path, share, (format, schema), owner, failure)?))
}

/// Checks columns, format and path, as far as possible without a request to a server. The error names the invalid key.
pub(super) fn check(settings: &FileSettings, owner_id: Option<&str>) -> Result<(), (&'static str, String)> {
    let partitions = Partitions::new(&settings.schema, &settings.layout.partition_by);
    let partitions = partitions.map_err(|message| ("partition_by", message))?;
    encode::check(settings.format, &partitions.schema).map_err(|message| ("format", message))?;
    if settings.layout.delta {
        delta::check(settings)?;
    }
    let checked = match bucket_url(&settings.path) {
        Some(url) => BucketDestination::open(url).map(drop).map_err(|error| error.message),
        None if settings.layout.delta => Ok(()),
        None => check_dir(&settings.path, owner_id),
    };
    checked.map_err(|message| ("path", message))
}

/// Checks that the directory exists or can be created, is writable, and holds no parts of another job. `owner_id` is the id of a job that
/// resumes, whose parts may exist.
fn check_dir(dir: &Path, owner_id: Option<&str>) -> Result<(), String> {
    let existing = dir.ancestors().map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    let Some(existing) = existing.into_iter().find(|f| f.exists()) else {
        return Err(format!("{} cannot be created; choose another path", dir.display()));
    };
    if !existing.is_dir() {
        return Err(format!(
            "{} is a file, but a files sink writes into a directory; choose another path",
            existing.display()
        ));
    }
    if existing == dir {
        exactly_once::check_sink_marker(dir, owner_id)?;
    }
    check_writable(existing)
}

/// Writes a part that must not exist yet.
fn write_new(unfinished_path: &Path, part: &Path, bytes: &[u8]) -> io::Result<()> {
    if part.try_exists()? {
        return Err(io::Error::other("it exists already, and nothing is overwritten: is another job writing here?"));
    }
    write_durably(unfinished_path, bytes)?;
    fs::rename(unfinished_path, part)?;
    durable::sync_dir(durable::dir_of(part))
}

/// Writes a file durably. The content is durable before the name is, and the name before the batch counts as committed.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::replace_with_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Returns the name of a batch's part. Ten digits make names sort as batches do, and within a batch as workers do.
fn part_name(batch: BatchId, share: Share, format: FileFormat) -> String {
    let worker = share.map_or_else(String::new, |worker| format!("-{worker:03}"));
    format!("part-{:010}{worker}.{}", batch.0, encode::extension(format))
}

/// Returns the hidden path at which a part is written.
fn unfinished_path(part: &Path) -> PathBuf {
    let name = part.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    part.with_file_name(format!(".{name}.tmp"))
}

/// Returns the share that wrote the part of this name; `None` if [`part_name`] gives no such name in any format.
fn share_of_part(name: &str) -> Option<Share> {
    let (numbers, extension) = name.strip_prefix("part-")?.split_once('.')?;
    let (batch, worker) = numbers.split_once('-').map_or((numbers, None), |(batch, worker)| (batch, Some(worker)));
    let digits = |text: &str, min: usize| text.len() >= min && text.bytes().all(|byte| byte.is_ascii_digit());
    let named = digits(batch, 10) && worker.is_none_or(|worker| digits(worker, 3));
    let share = worker.map(str::parse).transpose().ok()?;
    (named && encode::EXTENSIONS.contains(&extension)).then_some(share)
}

fn is_part(name: &str) -> bool {
    share_of_part(name).is_some()
}

/// Whether a path is that of a part, with or without partition directories. Other paths from a marker must not be created.
fn is_part_path(path: &str) -> bool {
    match path.rsplit_once('/') {
        None => is_part(path),
        Some((dirs, name)) => is_part(name) && dirs.split('/').all(|dir| dir.contains('=')),
    }
}

/// Returns the first part by name, or one in a partition directory.
fn first_part(dir: &Path) -> io::Result<Option<String>> {
    let mut first: Option<String> = None;
    let mut dirs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if is_part(&name) && first.as_ref().is_none_or(|first| name < *first) {
            first = Some(name);
        } else if name.contains('=') && entry.file_type()?.is_dir() {
            dirs.push(name);
        }
    }
    dirs.sort();
    for name in dirs {
        if first.is_some() {
            break;
        }
        first = first_part(&dir.join(&name))?.map(|part| format!("{name}/{part}"));
    }
    Ok(first)
}

/// Removes the unfinished parts of these shares, except that of the part `except`.
fn remove_unfinished(dir: &Path, of: impl Fn(Share) -> bool, except: Option<&str>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let part = name.to_str().and_then(|name| name.strip_prefix('.')).and_then(|name| name.strip_suffix(".tmp"));
        if part.is_some_and(|part| share_of_part(part).is_some_and(&of) && Some(part) != except) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Returns the error for a batch that the sink already holds.
fn already_committed(batch: BatchId) -> Error {
    Error::bug(format!("batch {batch} is already committed, but came again"))
}
