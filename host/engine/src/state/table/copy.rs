//! A copy of rows at a barrier, for a thread that writes files of them: no barrier waits for the sorting and encoding of many rows.

use super::StateTable;
use crate::state::keys::Slot;
use crate::state::spill::cold::ColdFile;
use crate::state::spill::page;
use crate::state::spill::spilled::Spill;
use crate::state::tracked::TrackedChanges;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::KeyHash;

/// A copy of rows. Those that are not in memory stay in their files.
pub struct TableCopy {
    /// A table of the same columns, with the rows that are not in memory.
    table: StateTable,
    /// The rows in memory, concatenated.
    rows: Vec<u8>,
    removed: TrackedChanges,
}

impl TableCopy {
    /// Creates a copy without the rows in memory, and with all others, or the changed ones.
    pub(in crate::state) fn new(of: &StateTable, changed_only: bool) -> Result<TableCopy> {
        let mut table = of.empty_with(&of.state_schema())?;
        table.drop_index();
        table.spill = of.spill.as_ref().map(|spill| Box::new(spill.of_copy(changed_only)));
        Ok(TableCopy { table, rows: Vec::new(), removed: TrackedChanges::default() })
    }

    /// Adds the rows of these slots; `None` if they exceed `bytes_max`.
    pub(in crate::state) fn with(mut self, of: &StateTable, slots: &[Slot], bytes_max: u64) -> Option<TableCopy> {
        let rows = &mut self.rows;
        let added = of.each_row(slots, |of, slot, touched| {
            let fits = (rows.len() + of.bytes_of(slot)) as u64 <= bytes_max;
            if fits {
                of.put_row(slot, touched, rows);
            }
            fits
        });
        added.then_some(self)
    }

    /// Allows adding rows in spill files.
    pub(in crate::state) fn may_have_files(&mut self, spill: impl FnOnce() -> Spill) {
        self.table.spill.get_or_insert_with(|| Box::new(spill()));
    }

    /// Adds rows in a spill file.
    pub(in crate::state) fn add_file(&mut self, file: ColdFile) {
        if let Some(spill) = &mut self.table.spill {
            spill.add_file(file);
        }
    }

    /// Sets the removed keys that are in files.
    pub(in crate::state) fn set_removed(&mut self, removed: TrackedChanges) {
        self.removed = removed;
    }

    /// Returns whether it has no rows and no removed keys.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.table.is_empty() && self.removed.is_empty()
    }

    /// Returns the memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.rows.len() as u64 + self.removed.removed_bytes()
    }

    /// Returns the rows as a table in which all of them count as changed. Keys cannot be found in it.
    pub fn table(self) -> Result<StateTable> {
        let TableCopy { mut table, rows, removed: mut changes } = self;
        table.changes = None;
        for row in page::rows(&rows) {
            let put = row.and_then(|row| {
                let slot = table.vacant();
                table.occupy(slot, row.key, KeyHash(row.hash));
                table.keep(slot);
                if let Some(idle) = &mut table.idle {
                    idle.touched[slot as usize] = row.touched;
                }
                table.put_columns(slot, row.columns)
            });
            put.ok_or_else(|| Error::bug("a row of a table that its copy cannot have"))?;
        }
        changes.all_changed(table.slots());
        table.changes = Some(changes);
        Ok(table)
    }
}
