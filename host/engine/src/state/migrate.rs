//! Migration of state from another version of a plugin to the columns of the running version.

use super::column::StateColumn;
use super::idle::IdleTracker;
use super::keys::Slot;
use super::table::StateTable;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_rows::batch::keys::{GROUP_SHIFT, KeyHash};

impl StateTable {
    /// Replaces the state columns of the table. `new_states` computes the new states from old ones, row by row. It is called with some of the keys at
    /// a time, in an order that does not depend on the table. Keys and their last touches stay. Existing files of the table become useless: all of it
    /// counts as changed. After an error the table is unchanged.
    pub fn migrate(
        &mut self,
        to: &SchemaRef,
        mut new_states: impl FnMut(&RecordBatch) -> Result<RecordBatch>,
    ) -> Result<()> {
        if self.cold().0 > 0 {
            *self = self.migrate_in_parts(to, &mut new_states)?;
            return Ok(());
        }
        let columns =
            to.fields().iter().map(|field| StateColumn::new(field)).collect::<std::result::Result<Vec<_>, _>>();
        let mut columns = columns.map_err(|error| Error::job(error.to_string()))?;
        columns.iter_mut().for_each(|column| column.grow(self.slots()));
        let mut slots: Vec<Slot> = self.all().collect();
        self.sort(&mut slots);
        let mut rest = slots.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.slice_of(rest, PLUGIN_CALL_MAX));
            let new = self.new_states(now, to, &mut new_states)?;
            let all = BooleanArray::from(vec![true; now.len()]);
            columns.iter_mut().zip(new.columns()).for_each(|(column, values)| column.scatter(now, values, &all));
            rest = later;
        }
        (self.columns, self.state_schema) = (columns, to.clone());
        self.drop_peer_files();
        Ok(())
    }

    fn new_states(
        &self,
        slots: &[Slot],
        to: &SchemaRef,
        new_states: &mut impl FnMut(&RecordBatch) -> Result<RecordBatch>,
    ) -> Result<RecordBatch> {
        let (old, _) = self.states(slots).map_err(Error::arrow)?;
        let new = new_states(&old)?;
        if new.num_rows() != slots.len() || new.schema_ref() != to {
            return Err(Error::bug("a migration that returned other rows than requested"));
        }
        Ok(new)
    }

    /// Migrates a table with cold rows: builds another table, which evicts rows meanwhile.
    fn migrate_in_parts(
        &mut self,
        to: &SchemaRef,
        new_states: &mut impl FnMut(&RecordBatch) -> Result<RecordBatch>,
    ) -> Result<StateTable> {
        let mut next = self.empty_with(to)?;
        let mut warm: Vec<Slot> = self.all().collect();
        self.sort(&mut warm);
        let mut rest = warm.as_slice();
        for groups in self.cold_ranges() {
            let within = |slot: &Slot| self.hashes[*slot as usize] >> GROUP_SHIFT < groups.end;
            let (now, later) = rest.split_at(rest.partition_point(within));
            rest = later;
            let cold = self.borrow_cold(&groups, false)?;
            let mut slots = [now, &cold].concat();
            self.sort(&mut slots);
            let mut rest = slots.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(self.slice_of(rest, PLUGIN_CALL_MAX));
                let new = self.new_states(now, to, new_states)?;
                next.add_rows(self, now, &new);
                rest = later;
            }
            self.give_back(&cold);
            next.shrink()?;
        }
        Ok(next)
    }

    /// Returns a table with the same keys, options and budget, without rows.
    pub(super) fn empty_with(&self, state: &SchemaRef) -> Result<StateTable> {
        let mut table = StateTable::new(self.key_fields.clone(), state.clone(), None)
            .map_err(|error| Error::job(error.to_string()))?;
        table.idle = self.idle.as_ref().map(IdleTracker::without_keys);
        table.spill = self.spill.as_ref().map(|spill| Box::new(spill.another()));
        if self.changes.is_some() {
            table.track_changes();
        }
        Ok(table)
    }

    /// Adds rows with the keys of these slots of another table. They count as changed.
    fn add_rows(&mut self, of: &StateTable, slots: &[Slot], states: &RecordBatch) {
        let own: Vec<Slot> =
            slots.iter().map(|slot| self.slot(of.key(*slot), KeyHash(of.hashes[*slot as usize]))).collect();
        self.store(&own, states, &BooleanArray::from(vec![true; own.len()]));
        if let (Some(idle), Some(of)) = (&mut self.idle, &of.idle) {
            for (own, slot) in own.iter().zip(slots) {
                match of.touched[*slot as usize] {
                    IdleTracker::NEVER => {}
                    touched => idle.touch(*own, touched),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use millstream_base::ids::BatchTime;
    use millstream_base::limits::{PLUGIN_CALL_BYTES_MAX, PLUGIN_CALL_ROWS_MAX};
    use millstream_rows::batch::keys::Keys;
    use std::sync::Arc;

    fn schema(name: &str, kind: DataType) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new(name, kind, false)]))
    }

    fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values))
    }

    /// Returns a table of `keys` keys, each with a string of its length in bytes; odd keys are removed again.
    fn table(keys: i64, length: usize) -> StateTable {
        let state = schema("text", DataType::Utf8);
        let mut table =
            StateTable::new(schema("key", DataType::Int64).fields().to_vec(), state.clone(), Some(10)).unwrap();
        table.track_changes();
        let encoded = Keys::encode(&[ints(0..keys)], keys as usize).unwrap();
        let (view, hashes) = (encoded.view(), encoded.hashes());
        let slots: Vec<Slot> = (0..keys as usize).map(|row| table.slot(view.get(row), hashes[row])).collect();
        let strings = (0..keys).map(|key| format!("{}{key}", "0".repeat(length.saturating_sub(key.to_string().len()))));
        let strings: ArrayRef = Arc::new(StringArray::from_iter_values(strings));
        let all = BooleanArray::from(vec![true; slots.len()]);
        table.store(&slots, &RecordBatch::try_new(state.clone(), vec![strings.clone()]).unwrap(), &all);
        table.touch(&slots, BatchTime(7));
        let even: BooleanArray = (0..keys).map(|key| Some(key % 2 == 0)).collect();
        table.store(&slots, &RecordBatch::try_new(state, vec![strings]).unwrap(), &even);
        table.all_changes(false).unwrap();
        table
    }

    /// Migrates to the numbers in the old states, and returns the number of rows of each call.
    fn to_numbers(table: &mut StateTable) -> Vec<usize> {
        let (to, mut calls) = (schema("number", DataType::Int64), Vec::new());
        let migrated = table.migrate(&to, |rows| {
            calls.push(rows.num_rows());
            let numbers = rows.column(0).as_string::<i32>().iter().flatten().map(|text| text.parse::<i64>().unwrap());
            Ok(RecordBatch::try_new(to.clone(), vec![ints(numbers)]).unwrap())
        });
        migrated.unwrap();
        calls
    }

    #[test]
    fn each_key_has_the_state_that_was_made_of_its_own() {
        let mut table = table(1000, 3);
        assert_eq!(table.changed(), 0, "a file holds all of it");
        assert_eq!((to_numbers(&mut table), table.len()), (vec![500], 500));
        let rows = table.rows().unwrap();
        assert_eq!(rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<Int64Type>());
        assert_eq!(table.changed(), 500, "no file holds it");
        assert_eq!(table.all_changes(true).unwrap().num_rows(), 500);
        // Keys that were touched keep waiting, and time out together.
        assert_eq!(table.take_idle(BatchTime(16)).unwrap().len(), 0);
        assert_eq!(table.take_idle(BatchTime(17)).unwrap().len(), 500);
    }

    #[test]
    fn a_call_gets_as_much_as_it_may_and_at_least_one_state() {
        let calls = to_numbers(&mut table(2 * PLUGIN_CALL_ROWS_MAX as i64 + 2, 6));
        assert_eq!(calls, [PLUGIN_CALL_ROWS_MAX, 1]);
        let calls = to_numbers(&mut table(8, PLUGIN_CALL_BYTES_MAX / 2 - 4 - 9));
        assert_eq!(calls, [2, 2]);
        let calls = to_numbers(&mut table(4, PLUGIN_CALL_BYTES_MAX + 1));
        assert_eq!(calls, [1, 1]);
        assert_eq!(to_numbers(&mut table(0, 1)), Vec::<usize>::new());
    }

    #[test]
    fn a_call_that_fails_leaves_the_table_as_it_was() {
        let mut table = table(2, 1);
        let failed = table.migrate(&schema("n", DataType::Int64), |_| Err(Error::plugin("no")));
        assert_eq!(failed.err().map(|error| error.message), Some("no".into()));
        assert_eq!((table.state_schema().field(0).name().as_str(), table.changed()), ("text", 0));
        assert_eq!(table.rows().unwrap().column(1).as_string::<i32>(), &StringArray::from(vec!["0"]));
    }
}
