//! Rows of checkpoints that do not fit into memory: they go from its files to spill files, and are in no slot on their way.

use super::cold::ColdFile;
use super::file::SpillWriter;
use crate::batch::keys::KeyHash;
use crate::error::{Error, Result};
use crate::state::StateTable;
use crate::state::restore::FileRows;
use crate::state::table::Slot;
use arrow::array::RecordBatch;

/// A spill file has so many rows that its filter takes one of so many bytes of the budget, but some at least.
const FILTER_SHARE: u64 = 256;
const ROWS_MIN: u64 = 4096;

/// What takes rows of a file, and whether the file is a base.
pub type RestoreRows<'a> = &'a mut dyn FnMut(&RecordBatch, bool) -> Result<()>;

impl StateTable {
    /// Does with all that `read` gives what [`StateTable::restore`] does, in the order in which it comes, and gives up rows where the
    /// tables take more than they may. No key of a base came before it. What was given is there, also where `read` fails.
    pub fn restore_each(&mut self, read: impl FnOnce(RestoreRows<'_>) -> Result<()>) -> Result<()> {
        let mut direct = DirectRestore { file: None };
        let read = read(&mut |rows, is_base| {
            let rows = FileRows::of(self, rows)?;
            // Rows of a base are as likely to be of use as any that are in memory. What changed behind it is more likely to be.
            if is_base && !self.is_warm() && rows.are_in_order() && !rows.has_removed() {
                direct.write(self, &rows)?;
            } else {
                direct.end_file(self)?;
                self.apply(&rows, |_| true)?;
            }
            self.shrink()
        });
        direct.end_file(self).and(read)
    }
}

struct DirectRestore {
    file: Option<DirectFile>,
}

/// A file that is being written.
struct DirectFile {
    writer: SpillWriter,
    /// How many rows may still come into it.
    left: usize,
    /// The hash of its last row.
    last: KeyHash,
}

impl DirectRestore {
    /// Writes rows into files.
    fn write(&mut self, table: &mut StateTable, rows: &FileRows) -> Result<()> {
        let (Some(first), Some(last)) = (rows.hashes().first(), rows.hashes().last()) else { return Ok(()) };
        if self.file.as_ref().is_some_and(|file| file.last >= *first) {
            self.end_file(table)?;
        }
        let mut part = table.empty_with(&table.state_schema())?;
        part.forget_index();
        part.apply(rows, |_| true)?;
        let slots: Vec<Slot> = part.all().collect();
        let mut rest = slots.as_slice();
        while !rest.is_empty() {
            let mut file = match self.file.take() {
                Some(file) => file,
                None => DirectFile::start(table)?,
            };
            let (now, later) = rest.split_at(rest.len().min(file.left));
            part.put_rows(now, &mut file.writer)?;
            (file.left, file.last) = (file.left - now.len(), *last);
            rest = later;
            let is_full = file.left == 0;
            self.file = Some(file);
            if is_full {
                self.end_file(table)?;
            }
        }
        Ok(())
    }

    /// The file that is being written is complete.
    fn end_file(&mut self, table: &mut StateTable) -> Result<()> {
        let Some(DirectFile { writer, .. }) = self.file.take() else { return Ok(()) };
        let timed = table.idle.is_some();
        let spill = table.spill.as_mut().ok_or_else(|| Error::bug("rows for files of a table that has none"))?;
        spill.cold.files.push(ColdFile::new(writer.finish()?, false, timed));
        Ok(())
    }
}

impl DirectFile {
    /// One for rows of the table.
    fn start(table: &StateTable) -> Result<DirectFile> {
        let spill = table.spill.as_ref().ok_or_else(|| Error::bug("rows for files of a table that has none"))?;
        let budget = spill.share.budget();
        let rows = (budget.bytes_max() / FILTER_SHARE * 8 / 10).max(ROWS_MIN);
        let writer = SpillWriter::new(budget, rows, spill.failure.clone())?;
        Ok(DirectFile { writer, left: usize::try_from(rows).unwrap_or(usize::MAX), last: KeyHash(0) })
    }
}
