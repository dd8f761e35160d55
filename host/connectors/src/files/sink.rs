//! Sink `files`: a folder with a file a batch, `part-<batch id>.<extension>`, or with one of each worker,
//! `part-<batch id>-<worker>.<extension>`. A file appears whole or not at all: it is written under a hidden name, made durable,
//! and then renamed.

mod delta;
mod exactly_once;
mod open_part;
mod partitions;
mod parts;
mod destination;
mod reserve;

use super::settings::FilesLayout;
use crate::sink::shares::Share;
use crate::sink::{check_writable, commit_failed, encode, open_failed, rows_refused};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use destination::BucketDestination;
use exactly_once::CommittedFolder;
use millstream_base::batch::sink::Sink;
use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::{FileFormat, bucket_url};
use millstream_base::owner::Owner;
use millstream_base::private;
use partitions::Partitions;
use parts::PartsSink;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The last batch that the place holds for this job, of whole ones and of those of workers, without changing anything.
pub(super) fn committed(path: &Path, layout: &FilesLayout, job_id: &str) -> Result<Option<BatchId>, String> {
    let path = if layout.delta { delta::own_path(path, job_id) } else { path.to_owned() };
    match bucket_url(&path) {
        Some(url) => parts::committed(url, job_id),
        None => exactly_once::committed(&path, job_id),
    }
}

/// Writes a part for every batch that has rows.
pub(super) struct FilesSink {
    name: String,
    folder: PathBuf,
    share: Share,
    format: FileFormat,
    schema: SchemaRef,
    /// Where the job keeps checkpoints.
    kept: Option<CommittedFolder>,
    /// The last batch that others held when the folder was opened: the shares of workers or, of a share, whole batches.
    of_others: Option<BatchId>,
}

impl FilesSink {
    /// Makes the folder, and removes what an earlier run left unfinished in it, or finishes it. Without a share, those of all
    /// workers there ever were, too, which are taken over with the rest.
    pub(super) fn open(
        name: &str,
        folder: &Path,
        share: Share,
        (format, schema): (FileFormat, SchemaRef),
        owner: Option<&Owner>,
        failure: &Failure,
    ) -> Result<FilesSink> {
        let mut of_others = None;
        let kept = match owner {
            Some(owner) => {
                let kept = CommittedFolder::open(name, folder, share, owner, failure)?;
                if share.is_some() {
                    of_others = exactly_once::whole(name, folder, owner)?;
                }
                if share.is_some() && fault::bug!("marker-of-others") {
                    of_others = exactly_once::committed(folder, &owner.job_id).unwrap_or_default();
                }
                let others = if share.is_none() { exactly_once::workers(folder) } else { Ok(Vec::new()) };
                for worker in others.map_err(|cause| open_failed(name, "read the folder", folder, &cause))? {
                    // Who had it until now does not write any more once it is open here.
                    let taken_over = CommittedFolder::open(name, folder, Some(worker), owner, failure)?;
                    of_others = of_others.max(taken_over.committed());
                }
                Some(kept)
            }
            None => {
                fs::create_dir_all(folder).map_err(|cause| open_failed(name, "make the folder", folder, &cause))?;
                let unfinished = |of: Share| share.is_none() || of == share;
                remove_unfinished(folder, unfinished, None)
                    .map_err(|cause| open_failed(name, "tidy the folder", folder, &cause))?;
                None
            }
        };
        Ok(FilesSink { name: name.into(), folder: folder.into(), share, format, schema, kept, of_others })
    }
}

impl Sink for FilesSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().all(|part| part.num_rows() == 0) {
            self.kept.iter_mut().for_each(|kept| kept.passed(batch));
            return Ok(());
        }
        let part = self.folder.join(part_name(batch, self.share, self.format));
        let bytes = render(self.format, &self.schema, &rows)
            .map_err(|cause| rows_refused(&self.name, batch, part.display(), cause))?;
        drop(rows);
        if let Some(kept) = &mut self.kept {
            return kept
                .commit(&part, batch, &bytes)
                .map_err(|e| e.within(format!("sink `{}`: batch {batch}", self.name)));
        }
        let unfinished = unfinished(&part);
        write_new(&unfinished, &part, &bytes).map_err(|cause| {
            // Perhaps it was never made; what matters is the first error.
            let _ = fs::remove_file(&unfinished);
            commit_failed(&self.name, batch, part.display(), cause)
        })
    }

    fn committed(&self) -> Option<BatchId> {
        self.kept.as_ref().and_then(CommittedFolder::committed).max(self.of_others)
    }
}

/// The bytes of the part of a batch with these rows.
pub(super) fn render(format: FileFormat, schema: &SchemaRef, rows: &[RecordBatch]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if rows.iter().any(|part| part.num_rows() > 0) {
        encode::write(format, schema, rows, &mut bytes)?;
    }
    Ok(bytes)
}

/// The part of a batch, whoever wrote it; `None`: it is not there.
pub(super) fn written(folder: &Path, batch: BatchId, format: FileFormat) -> io::Result<Option<Vec<u8>>> {
    match millstream_base::regular::read(folder.join(part_name(batch, None, format))) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// How the rows of a sink are written.
#[derive(Clone)]
pub(super) struct FileSettings {
    pub name: String,
    /// In the folder of the job, or a URL.
    pub path: PathBuf,
    pub format: FileFormat,
    pub schema: SchemaRef,
    pub layout: FilesLayout,
}

/// Whether each batch is a file, or one of each worker, of a folder of this machine.
pub(super) fn is_plain(path: &Path, layout: &FilesLayout) -> bool {
    layout.partition_by.is_empty() && layout.roll.is_none() && !layout.delta && bucket_url(path).is_none()
}

/// Opens a sink, or what a worker has of it.
pub(super) fn open(
    written: FileSettings,
    share: Share,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    if !is_plain(&written.path, &written.layout) {
        return Ok(Box::new(PartsSink::open(written, share, owner, failure)?));
    }
    let FileSettings { name, path, format, schema, .. } = written;
    Ok(Box::new(FilesSink::open(&name, &path, share, (format, schema), owner, failure)?))
}

/// Checks columns and format, and the place as far as no server has to be asked. The error comes with the key that is wrong.
pub(super) fn check(written: &FileSettings, owner_id: Option<&str>) -> Result<(), (&'static str, String)> {
    let partitions = Partitions::new(&written.schema, &written.layout.partition_by);
    let partitions = partitions.map_err(|message| ("partition_by", message))?;
    encode::check(written.format, &partitions.schema).map_err(|message| ("format", message))?;
    if written.layout.delta {
        delta::check(written)?;
    }
    let checked = match bucket_url(&written.path) {
        Some(url) => BucketDestination::open(url).map(drop).map_err(|error| error.message),
        None if written.layout.delta => Ok(()),
        None => check_folder(&written.path, owner_id),
    };
    checked.map_err(|message| ("path", message))
}

/// Whether the folder is there, or can be made, is writable, and holds nothing of an earlier run. `owner_id`: the id of
/// the job that goes on, whose parts may be there.
fn check_folder(folder: &Path, owner_id: Option<&str>) -> Result<(), String> {
    let existing = folder.ancestors().map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    let Some(existing) = existing.into_iter().find(|f| f.exists()) else {
        return Err(format!("{} cannot be created; choose another path", folder.display()));
    };
    if !existing.is_dir() {
        return Err(format!(
            "{} is a file, not a folder; a files sink writes into a folder: choose another path",
            existing.display()
        ));
    }
    if existing == folder {
        exactly_once::look(folder, owner_id)?;
    }
    check_writable(existing)
}

/// Writes a part that nobody may have written before.
fn write_new(unfinished: &Path, part: &Path, bytes: &[u8]) -> io::Result<()> {
    if part.try_exists()? {
        return Err(io::Error::other("it exists already, and nothing is overwritten: is another job writing here?"));
    }
    write_durably(unfinished, bytes)?;
    fs::rename(unfinished, part)?;
    durable::sync_folder(durable::folder_of(part))
}

/// The content is durable before its name is, and the name before the batch counts as committed.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::make_anew(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The name of a batch's part; ten digits, so that names sort as batches do, and in a batch as workers do.
fn part_name(batch: BatchId, share: Share, format: FileFormat) -> String {
    let worker = share.map_or_else(String::new, |worker| format!("-{worker:03}"));
    format!("part-{:010}{worker}.{}", batch.0, encode::extension(format))
}

/// Where a part is written before it gets its name.
fn unfinished(part: &Path) -> PathBuf {
    let name = part.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    part.with_file_name(format!(".{name}.tmp"))
}

/// Whether a name is one that [`part_name`] gives, in any format, and whose part it is then.
fn share_of_part(name: &str) -> Option<Share> {
    let (numbers, extension) = name.strip_prefix("part-")?.split_once('.')?;
    let (batch, worker) = numbers.split_once('-').map_or((numbers, None), |(batch, worker)| (batch, Some(worker)));
    let digits = |text: &str, least: usize| text.len() >= least && text.bytes().all(|byte| byte.is_ascii_digit());
    let named = digits(batch, 10) && worker.is_none_or(|worker| digits(worker, 3));
    let share = worker.map(str::parse).transpose().ok()?;
    (named && encode::EXTENSIONS.contains(&extension)).then_some(share)
}

fn is_part(name: &str) -> bool {
    share_of_part(name).is_some()
}

/// Whether a path is one of a part, within folders of partitions or not: no other may be made of what a marker says.
fn is_part_path(path: &str) -> bool {
    match path.rsplit_once('/') {
        None => is_part(path),
        Some((folders, name)) => is_part(name) && folders.split('/').all(|folder| folder.contains('=')),
    }
}

/// The part with the smallest name, or one in a folder of partitions.
fn first_part(folder: &Path) -> io::Result<Option<String>> {
    let mut first: Option<String> = None;
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if is_part(&name) && first.as_ref().is_none_or(|first| name < *first) {
            first = Some(name);
        } else if name.contains('=') && entry.file_type()?.is_dir() {
            folders.push(name);
        }
    }
    folders.sort();
    for name in folders {
        if first.is_some() {
            break;
        }
        first = first_part(&folder.join(&name))?.map(|part| format!("{name}/{part}"));
    }
    Ok(first)
}

/// Removes unfinished parts of these shares, all but that of the part `except`.
fn remove_unfinished(folder: &Path, of: impl Fn(Share) -> bool, except: Option<&str>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let part = name.to_str().and_then(|name| name.strip_prefix('.')).and_then(|name| name.strip_suffix(".tmp"));
        if part.is_some_and(|part| share_of_part(part).is_some_and(&of) && Some(part) != except) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// An error of a sink that is asked for a batch that it holds already.
fn twice(batch: BatchId) -> Error {
    Error::bug(format!("batch {batch} is committed already, and it came again"))
}
