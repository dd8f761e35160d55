//! States that another version of a plugin made, brought to the columns of the one that runs now.

use super::column::StateColumn;
use super::table::{Slot, StateTable};
use crate::error::{Error, Result};
use crate::limits::{MIGRATE_BYTES_PER_CALL_MAX, MIGRATE_ROWS_PER_CALL_MAX};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

impl StateTable {
    /// Gives the table other state columns: `new_states` makes the new states of old ones, row by row, and is called with
    /// some of the keys at a time, in an order that does not depend on the table. Keys and when they were touched stay. The
    /// files that hold the table so far are of no use any more: all of it counts as changed. An error leaves the table as
    /// it was.
    pub fn migrate(
        &mut self,
        to: &SchemaRef,
        mut new_states: impl FnMut(&RecordBatch) -> Result<RecordBatch>,
    ) -> Result<()> {
        let columns = to.fields().iter().map(|field| StateColumn::new(field)).collect::<std::result::Result<Vec<_>, _>>();
        let mut columns = columns.map_err(|error| Error::job(error.to_string()))?;
        columns.iter_mut().for_each(|column| column.grow(self.slots()));
        let mut slots: Vec<Slot> = self.all().collect();
        self.sort(&mut slots);
        let mut rest = slots.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.migrated_at_once(rest));
            let (old, _) = self.states(now).map_err(Error::arrow)?;
            let new = new_states(&old)?;
            if new.num_rows() != now.len() || new.schema_ref() != to {
                return Err(Error::bug("a migration that made other rows than it was asked for"));
            }
            let all = BooleanArray::from(vec![true; now.len()]);
            columns.iter_mut().zip(new.columns()).for_each(|(column, values)| column.scatter(now, values, &all));
            rest = later;
        }
        (self.columns, self.state_schema) = (columns, to.clone());
        self.forget_files();
        Ok(())
    }

    /// How many of the slots go into one call: at least one.
    fn migrated_at_once(&self, slots: &[Slot]) -> usize {
        let mut bytes = 0_usize;
        let fits = |slot: &&Slot| {
            bytes = self.columns.iter().fold(bytes, |sum, column| sum.saturating_add(column.bytes_of(**slot as usize)));
            bytes <= MIGRATE_BYTES_PER_CALL_MAX
        };
        slots.iter().take(MIGRATE_ROWS_PER_CALL_MAX).take_while(fits).count().max(1)
    }
}
