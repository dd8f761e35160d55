//! Running totals: an accumulator for each key, of all rows that ever came.

use super::batches::{PartialRows, Window};
use super::panes::{Accumulate, fold_into};
use crate::error::{Error, Result};
use crate::state::{Slot, StateTable};
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// The totals of a stage on one worker.
pub struct Totals {
    table: StateTable,
    /// Scratch of [`fold_into`].
    group_of: Vec<u32>,
}

impl Totals {
    /// Nothing has come yet. `keys`: the stage's key columns.
    pub fn new(keys: &[Arc<Field>], accumulators: SchemaRef) -> Result<Totals> {
        let table = StateTable::new(keys.to_vec(), accumulators, None).map_err(Error::arrow)?;
        Ok(Totals { table, group_of: Vec::new() })
    }

    /// The table, for what checkpoints hold of it.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Adds the rows of a batch; returns the totals of their keys, in the order of the keys' hashes.
    pub fn batch(&mut self, functions: &mut impl Accumulate, rows: &PartialRows) -> Result<Window> {
        let mut ids: Vec<Slot> =
            fold_into(&mut self.table, &mut self.group_of, functions, &rows.keys, &rows.partial, rows.rows)?;
        self.table.sort(&mut ids);
        let keys = self.table.keys(&ids).map_err(Error::arrow)?;
        let accumulators = self.table.states(&ids).map_err(Error::arrow)?.0;
        Ok(Window { start: i64::MIN, end: i64::MAX, ids, keys, accumulators })
    }
}
