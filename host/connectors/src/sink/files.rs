//! Sink `files`: a folder with a file a batch, `part-<batch id>.<extension>`. A file appears whole or not at all:
//! it is written under a hidden name, made durable, and then renamed.

mod kept;

pub(super) use kept::committed;

use super::{Sink, check_writable, commit_failed, encode, marker, open_failed};
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::FileFormat;
use crate::owner::Owner;
use crate::private;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use kept::Kept;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a part for every batch that has rows.
pub(super) struct FilesSink {
    name: String,
    folder: PathBuf,
    format: FileFormat,
    schema: SchemaRef,
    /// Where the job keeps checkpoints.
    kept: Option<Kept>,
}

impl FilesSink {
    /// Makes the folder, and removes what an earlier run left unfinished in it, or finishes it.
    pub(super) fn open(
        name: &str,
        folder: &Path,
        format: FileFormat,
        schema: SchemaRef,
        owner: Option<&Owner>,
        failure: &Failure,
    ) -> Result<FilesSink> {
        let kept = match owner {
            Some(owner) => Some(Kept::open(name, folder, owner, failure)?),
            None => {
                fs::create_dir_all(folder).map_err(|cause| open_failed(name, "make the folder", folder, &cause))?;
                remove_unfinished(folder, None)
                    .map_err(|cause| open_failed(name, "tidy the folder", folder, &cause))?;
                None
            }
        };
        Ok(FilesSink { name: name.into(), folder: folder.into(), format, schema, kept })
    }
}

impl Sink for FilesSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().all(|part| part.num_rows() == 0) {
            self.kept.iter_mut().for_each(|kept| kept.passed(batch));
            return Ok(());
        }
        let part = self.folder.join(part_name(batch, self.format));
        let bytes = render(self.format, &self.schema, &rows)
            .map_err(|cause| commit_failed(&self.name, batch, part.display(), cause))?;
        drop(rows);
        if let Some(kept) = &mut self.kept {
            return kept
                .commit(&part, batch, &bytes)
                .map_err(|e| marker::told(e.within(format!("sink `{}`: batch {batch}", self.name))));
        }
        let unfinished = unfinished(&part);
        write_new(&unfinished, &part, &bytes).map_err(|cause| {
            // Perhaps it was never made; what matters is the first error.
            let _ = fs::remove_file(&unfinished);
            commit_failed(&self.name, batch, part.display(), cause)
        })
    }

    fn committed(&self) -> Option<BatchId> {
        self.kept.as_ref().and_then(Kept::committed)
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
    match crate::regular::read(folder.join(part_name(batch, format))) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Whether the folder is there, or can be made, is writable, and holds nothing of an earlier run. `owner_id`: the id of
/// the job that goes on, whose parts may be there.
pub(super) fn check(folder: &Path, owner_id: Option<&str>) -> Result<(), String> {
    let existing = folder.ancestors().map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    let Some(existing) = existing.into_iter().find(|f| f.exists()) else {
        return Err(format!("{} cannot be made; choose another path", folder.display()));
    };
    if !existing.is_dir() {
        return Err(format!(
            "{} is a file, not a folder; a files sink writes into a folder: choose another path",
            existing.display()
        ));
    }
    if existing == folder {
        kept::look(folder, owner_id)?;
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
    marker::sync_folder(part.parent().unwrap_or(part))
}

/// The content is durable before its name is, and the name before the batch counts as committed.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::make_anew(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The name of a batch's part; ten digits, so that names sort as batches do.
fn part_name(batch: BatchId, format: FileFormat) -> String {
    format!("part-{:010}.{}", batch.0, encode::extension(format))
}

/// Where a part is written before it gets its name.
fn unfinished(part: &Path) -> PathBuf {
    let name = part.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    part.with_file_name(format!(".{name}.tmp"))
}

/// Whether a name is one that [`part_name`] gives, in any format.
fn is_part(name: &str) -> bool {
    name.strip_prefix("part-").and_then(|rest| rest.split_once('.')).is_some_and(|(digits, extension)| {
        digits.len() >= 10 && digits.bytes().all(|b| b.is_ascii_digit()) && encode::EXTENSIONS.contains(&extension)
    })
}

/// The part with the smallest name.
fn first_part(folder: &Path) -> io::Result<Option<String>> {
    let mut first: Option<String> = None;
    for entry in fs::read_dir(folder)? {
        if let Some(name) = entry?.file_name().to_str()
            && is_part(name)
            && first.as_deref().is_none_or(|first| name < first)
        {
            first = Some(name.into());
        }
    }
    Ok(first)
}

/// Removes unfinished parts, all but that of the part `except`.
fn remove_unfinished(folder: &Path, except: Option<&str>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let part = name.to_str().and_then(|name| name.strip_prefix('.')).and_then(|name| name.strip_suffix(".tmp"));
        if part.is_some_and(|part| is_part(part) && Some(part) != except) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// An error of a sink that is asked for a batch that it holds already.
fn twice(batch: BatchId) -> Error {
    Error::bug(format!("batch {batch} is committed already, and it came again"))
}
