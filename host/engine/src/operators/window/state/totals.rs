//! Running totals: one accumulator per key, of all rows ever received.

use super::panes::{Accumulate, fold_into};
use super::partial::{PartialRows, Window};
use crate::state::{Slot, StateTable};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::Keys;

/// The totals of a stage on one worker.
pub struct Totals {
    table: StateTable,
    /// Scratch buffer of [`fold_into`].
    group_of: Vec<u32>,
}

impl Totals {
    /// Creates the totals of a table: key columns, and accumulators as its state.
    pub fn new(table: StateTable) -> Totals {
        Totals { table, group_of: Vec::new() }
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns the existing totals of these rows' keys, in the order of the keys' hashes.
    pub fn before(&mut self, rows: &PartialRows) -> Result<Window> {
        let keys = Keys::encode(&rows.keys, rows.rows).map_err(Error::arrow)?;
        self.table.warm(keys.view())?;
        let found = (0..rows.rows).filter_map(|row| self.table.find(keys.view().get(row)));
        let mut ids: Vec<Slot> = found.filter(|slot| self.table.is_stored(*slot)).collect();
        ids.sort_unstable();
        ids.dedup();
        self.totals(ids)
    }

    /// Adds the rows of a batch. Returns the totals of their keys, in the order of the keys' hashes.
    pub fn batch(&mut self, functions: &mut impl Accumulate, rows: &PartialRows) -> Result<Window> {
        let ids: Vec<Slot> =
            fold_into(&mut self.table, &mut self.group_of, functions, &rows.keys, &rows.partial, rows.rows)?;
        self.table.used(&ids);
        self.totals(ids)
    }

    /// Returns the totals of these keys.
    fn totals(&self, mut ids: Vec<Slot>) -> Result<Window> {
        self.table.sort(&mut ids);
        let keys = self.table.keys(&ids).map_err(Error::arrow)?;
        let accumulators = self.table.states(&ids).map_err(Error::arrow)?.0;
        Ok(Window { start: i64::MIN, end: i64::MAX, ids, keys, accumulators })
    }
}
