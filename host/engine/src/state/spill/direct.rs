//! Restores checkpoints that do not fit into memory. Files with an index are left in place. Rows of other files are written to spill files directly,
//! without slots.

use super::checkpoint_pages::FileGroups;
use super::cold::ColdFile;
use super::file::{SpillFile, SpillWriter};
use crate::state::StateTable;
use crate::state::file_rows::FileRows;
use crate::state::row_form::RowForm;
use arrow::array::RecordBatch;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::KeyHash;
use std::ops::ControlFlow;

/// The minimum ratio of the size of rows in memory to their size in files of a checkpoint.
const GROWTH: u64 = 2;

/// Receives rows of a file, and whether the file is a base.
pub type RestoreRows<'a> = &'a mut dyn FnMut(&RecordBatch, bool) -> Result<()>;

impl StateTable {
    /// Returns whether rows of this size in files of checkpoints certainly exceed the memory of the table. `workers`: how many workers of the process
    /// have such a table.
    pub fn is_less_than(&self, bytes: u64, workers: usize) -> bool {
        self.spills() && bytes.saturating_mul(GROWTH) > self.budget() / (workers as u64).max(1)
    }

    /// Uses the rows of these files, which have no duplicate key groups, and leaves them in place. They apply on top of the files of earlier calls.
    /// They are indexed by [`StateTable::index_columns`].
    pub fn adopt(&mut self, files: Vec<FileGroups>) -> Result<()> {
        let (form, timed) = (self.row_form(), self.idle.is_some());
        let spill = self.spill.as_mut().ok_or_else(|| Error::bug("rows in files of a table that has none"))?;
        let file = SpillFile::of_checkpoint(files, form, spill.share.budget().dir())?;
        spill.cold.files.push(ColdFile::of_checkpoint(file, timed)?);
        Ok(())
    }

    /// Restores everything that `read` provides, as [`StateTable::restore`] does, in that order, and evicts rows when the tables exceed the budget.
    /// Keys of a base must not have come before. What was provided is kept even if `read` fails.
    pub fn restore_each(&mut self, read: impl FnOnce(RestoreRows<'_>) -> Result<()>) -> Result<()> {
        let mut direct = DirectRestore { file: None };
        self.set_loading(true)?;
        let form = self.row_form();
        let read = read(&mut |rows, is_base| {
            let rows = FileRows::parse(&form, rows)?;
            // Rows of a base are as likely to be used as any in memory. Later changes are more likely to be.
            if is_base && !self.is_warm() && rows.are_in_order() && !rows.has_removed() {
                direct.write(self, &form, &rows)?;
            } else {
                direct.end_file(self)?;
                self.apply(&rows, |_| true)?;
            }
            self.shrink()
        });
        let loaded = self.set_loading(false);
        direct.end_file(self).and(loaded).and(read)
    }

    fn set_loading(&mut self, is_loading: bool) -> Result<()> {
        let Some(spill) = &mut self.spill else { return Ok(()) };
        spill.cold.is_loading = is_loading;
        spill.cold.remove_outdated()
    }
}

struct DirectRestore {
    file: Option<DirectFile>,
}

/// A file that is being written.
struct DirectFile {
    writer: SpillWriter,
    /// How many more rows it may take.
    left: u64,
    /// The hash of its last row.
    last: KeyHash,
}

impl DirectRestore {
    /// Writes rows into files.
    fn write(&mut self, table: &mut StateTable, form: &RowForm, rows: &FileRows) -> Result<()> {
        let first = rows.hashes().first();
        if self.file.as_ref().zip(first).is_some_and(|(file, first)| file.last >= *first) {
            self.end_file(table)?;
        }
        rows.check_states(form.state_schema.fields(), |_| true)?;
        let written = form.each_row::<()>(rows, 0..rows.hashes().len(), |_, row| {
            if self.file.as_ref().is_some_and(|file| file.left == 0) {
                self.end_file(table)?;
            }
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(DirectFile::start(table)?),
            };
            file.writer.add(row.bytes, row.hash, row.touched)?;
            (file.left, file.last) = (file.left - 1, KeyHash(row.hash));
            Ok(ControlFlow::Continue(()))
        });
        written.map(drop)
    }

    /// Completes the file that is being written.
    fn end_file(&mut self, table: &mut StateTable) -> Result<()> {
        let Some(DirectFile { writer, .. }) = self.file.take() else { return Ok(()) };
        let timed = table.idle.is_some();
        let spill = table.spill.as_mut().ok_or_else(|| Error::bug("rows for files of a table that has none"))?;
        spill.cold.files.push(ColdFile::new(writer.finish()?, false, timed));
        Ok(())
    }
}

impl DirectFile {
    /// Starts a file for rows of the table.
    fn start(table: &StateTable) -> Result<DirectFile> {
        let spill = table.spill.as_ref().ok_or_else(|| Error::bug("rows for files of a table that has none"))?;
        let budget = spill.share.budget();
        let rows = budget.rows_per_file();
        let writer = SpillWriter::new(budget, rows, spill.failure.clone())?;
        Ok(DirectFile { writer, left: rows, last: KeyHash(0) })
    }
}
