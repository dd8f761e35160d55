//! Sink `files`: a folder with a file a batch, `part-<batch id>.<extension>`. A file appears whole or not at all:
//! it is written under a hidden name, made durable, and then renamed.

use super::{Sink, check_writable, commit_failed, encode, open_failed};
use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::FileFormat;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a part for every batch that has rows.
pub(super) struct FilesSink {
    name: String,
    folder: PathBuf,
    format: FileFormat,
    schema: SchemaRef,
}

impl FilesSink {
    /// Makes the folder, and removes what an earlier run left unfinished in it.
    pub(super) fn open(name: &str, folder: &Path, format: FileFormat, schema: SchemaRef) -> Result<FilesSink> {
        fs::create_dir_all(folder).map_err(|cause| open_failed(name, "make the folder", folder, &cause))?;
        remove_unfinished(folder).map_err(|cause| open_failed(name, "tidy the folder", folder, &cause))?;
        Ok(FilesSink { name: name.into(), folder: folder.into(), format, schema })
    }

    fn write_part(&self, unfinished: &Path, part: &Path, rows: &[RecordBatch]) -> io::Result<()> {
        if part.try_exists()? {
            return Err(io::Error::other(
                "it exists already, and nothing is overwritten: is another job writing here?",
            ));
        }
        let mut out = BufWriter::new(File::create(unfinished)?);
        encode::write(self.format, &self.schema, rows, &mut out)?;
        out.flush()?;
        // The content is durable before its name is, and the name before the batch counts as committed.
        out.get_ref().sync_all()?;
        fs::rename(unfinished, part)?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Sink for FilesSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().all(|part| part.num_rows() == 0) {
            return Ok(());
        }
        let name = part_name(batch, self.format);
        let part = self.folder.join(&name);
        let unfinished = self.folder.join(format!(".{name}.tmp"));
        self.write_part(&unfinished, &part, &rows).map_err(|cause| {
            // Perhaps it was never made; what matters is the first error.
            let _ = fs::remove_file(&unfinished);
            commit_failed(&self.name, batch, part.display(), cause)
        })
    }
}

/// Whether the folder is there, or can be made, is writable, and holds no parts of an earlier run.
pub(super) fn check(folder: &Path) -> Result<(), String> {
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
    check_writable(existing)?;
    if existing == folder
        && let Some(part) = first_part(folder)
            .map_err(|cause| format!("cannot list the folder {}: {cause}; choose another path", folder.display()))?
    {
        return Err(format!(
            "the folder {} holds parts of an earlier run ({part}), and nothing is overwritten; empty it or choose \
             another path (for one run: --set sinks.<name>.path=<folder>)",
            folder.display()
        ));
    }
    Ok(())
}

/// The name of a batch's part; ten digits, so that names sort as batches do.
fn part_name(batch: BatchId, format: FileFormat) -> String {
    format!("part-{:010}.{}", batch.0, encode::extension(format))
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

fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let part = name.to_str().and_then(|name| name.strip_prefix('.')).and_then(|name| name.strip_suffix(".tmp"));
        if part.is_some_and(is_part) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
