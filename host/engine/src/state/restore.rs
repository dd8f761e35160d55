//! Restores a state table from the files of a checkpoint.

use super::file_rows::FileRows;
use super::idle::IdleTracker;
use super::keys::Slot;
use super::row_form::RowForm;
use super::table::StateTable;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::Field;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::KeyHash;
use std::sync::Arc;

impl StateTable {
    /// Applies the rows of a file to the table: stores and removes keys that this worker owns. Files apply in the order in which they were written.
    /// Restored rows do not count as changed. An error names the column that does not fit the table.
    pub fn restore(&mut self, rows: &RecordBatch, owned: impl Fn(KeyHash) -> bool) -> Result<()> {
        self.apply(&FileRows::parse(&self.row_form(), rows)?, owned)
    }

    /// Applies parsed rows.
    pub(super) fn apply(&mut self, file: &FileRows, owned: impl Fn(KeyHash) -> bool) -> Result<()> {
        let (view, hashes) = (file.encoded.view(), &file.hashes);
        self.remove_cold(view, hashes)?;
        // Removals first: if a file contains a key twice, its state wins.
        if let Some(removed) = &file.removed {
            for row in (0..hashes.len()).filter(|row| removed.value(*row) && owned(hashes[*row])) {
                if let Some(slot) = self.find(view.get(row)) {
                    if let Some(changes) = &mut self.changes {
                        changes.removed_in_file(slot);
                    }
                    self.remove(slot);
                }
            }
            self.compact();
        }
        let kept = |row: usize| !file.is_removed(row) && owned(hashes[row]);
        let kept: BooleanArray = (0..hashes.len()).map(|row| Some(kept(row))).collect();
        file.check_states(self.state_schema.fields(), |row| kept.value(row))?;
        let key_bytes = (0..hashes.len()).filter(|row| kept.value(*row)).map(|row| view.get(row).len()).sum();
        self.reserve(kept.true_count(), key_bytes);
        let slots: Vec<Slot> = (0..hashes.len())
            .map(|row| if kept.value(row) { self.slot_of_file(view.get(row), hashes[row]) } else { 0 })
            .collect();
        for (column, values) in self.columns.iter_mut().zip(&file.states) {
            column.scatter(&slots, values, &kept);
        }
        for (row, slot) in slots.iter().enumerate().filter(|(row, _)| kept.value(*row)) {
            self.keep(*slot);
            self.touch_by_row(*slot);
            if let Some(changes) = &mut self.changes {
                changes.written(*slot);
            }
            if let (Some(idle), Some(touched)) = (&mut self.idle, file.touched(row)) {
                idle.touch(*slot, touched);
            }
        }
        Ok(())
    }

    /// Returns all keys with their states, as one batch of key and state columns.
    pub fn rows(&self) -> Result<RecordBatch> {
        let mut slots: Vec<Slot> = self.all().collect();
        self.sort(&mut slots);
        let mut columns = self.keys(&slots).map_err(Error::arrow)?;
        columns.extend(self.states(&slots).map_err(Error::arrow)?.0.columns().iter().cloned());
        let fields: Vec<Arc<Field>> = self.key_fields.iter().chain(self.state_schema.fields()).cloned().collect();
        RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).map_err(Error::arrow)
    }

    /// Returns the form of its rows in files.
    pub(super) fn row_form(&self) -> RowForm {
        RowForm {
            key_fields: self.key_fields.clone(),
            order_columns: self.order_columns,
            state_schema: self.state_schema.clone(),
            touched_by: self.idle.as_ref().map(IdleTracker::source),
        }
    }

    /// Returns how many key columns determine the order of rows in files, if rows may be looked up in them.
    pub fn index_columns(&self) -> Option<usize> {
        let all = self.key_fields.len();
        let hashed = self.order_columns.map_or(all, |columns| columns.min(all));
        Some(hashed).filter(|columns| *columns > 0 && self.spills())
    }
}
