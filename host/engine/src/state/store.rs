//! A store of values whose keys end with a number, their *sub-key*: a time, a pane. Values stay as the operator made them while memory allows. They
//! become rows of a [`StateTable`] when a checkpoint needs them, or when memory is short; then rows may also be spilled. Results do not depend on
//! where a value is.

use super::StateTable;
use super::keys::Slot;
use super::spill::stage_budget::StageBudget;
use super::table_checkpoint::TableCheckpoint;
use crate::checkpoint::changes::TableChanges;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_metrics::StateSize;
use millstream_rows::batch::keys::{Keys, last_number};
use std::collections::BTreeMap;

/// Approximate bytes of values that become rows of the table together.
const BYTES_AT_ONCE: u64 = 1 << 20;

/// A value of a store.
pub trait Value: Clone {
    /// Its key. Values are returned in the order of keys.
    type Key: Clone + Ord;

    /// Returns the sub-key.
    fn sub(key: &Self::Key) -> i64;

    /// Returns the approximate memory of the value.
    fn bytes(&self) -> u64;

    /// Returns the key columns and the state columns of a table with these values. The last key column is the sub-key.
    fn encode(values: &[(Self::Key, Self)]) -> Result<[Vec<ArrayRef>; 2]>;

    /// Returns the values of such columns.
    fn decode(keys: &[ArrayRef], states: &RecordBatch) -> Result<Vec<(Self::Key, Self)>>;
}

/// The values with one sub-key.
struct Values<V: Value> {
    /// The number of rows of the table.
    rows: usize,
    /// Those of the table, all or none, then new ones.
    ready: Vec<(V::Key, V)>,
    /// The number of those of the table.
    decoded: usize,
}

impl<V: Value> Values<V> {
    /// Returns whether some values are only in the table.
    fn are_missing(&self) -> bool {
        self.decoded < self.rows
    }
}

impl<V: Value> Default for Values<V> {
    fn default() -> Self {
        Values { rows: 0, ready: Vec::new(), decoded: 0 }
    }
}

/// The values of a stage on one worker.
pub struct Store<V: Value> {
    /// By sub-key.
    values: BTreeMap<i64, Values<V>>,
    /// Number of values that are not in the table.
    new_count: u64,
    /// Memory of values outside the table.
    ready_bytes: u64,
    table: StateTable,
    /// The budget of values outside the table, if the job limits the memory of its state.
    budget: Option<StageBudget>,
}

impl<V: Value> Store<V> {
    /// Creates the store of a table, which may have rows. `budget` is that of values outside the table; it is present if rows of the table may be
    /// spilled.
    pub fn new(table: StateTable, budget: Option<StageBudget>) -> Result<Store<V>> {
        let mut values: BTreeMap<i64, Values<V>> = BTreeMap::new();
        table.each_key(|key| values.entry(last_number(key)).or_default().rows += 1)?;
        Ok(Store { values, new_count: 0, ready_bytes: 0, table, budget })
    }

    /// Adds a value with a new key.
    pub fn insert(&mut self, key: V::Key, value: V) {
        self.new_count += 1;
        self.ready_bytes += value.bytes();
        self.values.entry(V::sub(&key)).or_default().ready.push((key, value));
    }

    /// Returns the sub-keys of all values, in order.
    pub fn subs(&self) -> impl Iterator<Item = i64> {
        self.values.keys().copied()
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.new_count + self.table.len() as u64
    }

    /// Returns the values with these sub-keys, in the order of keys. Those whose sub-keys leave are removed.
    pub fn take(&mut self, wanted: impl Fn(i64) -> bool, leaves: impl Fn(i64) -> bool) -> Result<Vec<(V::Key, V)>> {
        let (mut found, mut reads_table): (Vec<(V::Key, V)>, bool) = (Vec::new(), false);
        for (sub, values) in &self.values {
            let is_wanted = wanted(*sub);
            if is_wanted {
                found.extend_from_slice(&values.ready);
            }
            reads_table |= (is_wanted && values.are_missing()) || (values.rows > 0 && leaves(*sub));
        }
        if reads_table {
            let ready = found.len();
            let values = &self.values;
            self.table.each_range(
                |key| {
                    let sub = last_number(key);
                    wanted(sub) && values.get(&sub).is_some_and(Values::are_missing)
                },
                |key| leaves(last_number(key)),
                |table, slots| {
                    let keys = table.keys(slots).map_err(Error::arrow)?;
                    found.extend(V::decode(&keys, &table.states(slots).map_err(Error::arrow)?.0)?);
                    Ok(())
                },
            )?;
            self.keep_decoded(&found[ready..], &leaves);
        }
        for (_, values) in self.values.extract_if(.., |sub, _| leaves(*sub)) {
            self.new_count -= (values.ready.len() - values.decoded) as u64;
            self.ready_bytes -= bytes_of(&values.ready);
        }
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// Keeps values of the table for the next time, except those that leave, if memory allows.
    fn keep_decoded(&mut self, found: &[(V::Key, V)], leaves: impl Fn(i64) -> bool) {
        let staying = || found.iter().filter(|(key, _)| !leaves(V::sub(key)));
        let bytes = staying().map(|(_, value)| value.bytes()).sum();
        if !self.has_room_for(bytes) {
            return;
        }
        self.ready_bytes += bytes;
        for (key, value) in staying() {
            let Values { ready, decoded, .. } = self.values.entry(V::sub(key)).or_default();
            ready.push((key.clone(), value.clone()));
            let last = ready.len() - 1;
            ready.swap(*decoded, last);
            *decoded += 1;
        }
    }

    /// Moves new values to the table. If memory allows, they also stay as they are.
    fn move_to_table(&mut self) -> Result<()> {
        let new_bytes = self.values.values().map(|values| bytes_of(&values.ready[values.decoded..]));
        // As rows they take about as much again.
        let may_stay = self.has_room_for(new_bytes.sum());
        self.new_count = 0;
        if !may_stay {
            self.ready_bytes = 0;
            // The table counts them from now on.
            self.take_budget();
        }
        for values in self.values.values_mut() {
            let stay = may_stay && !values.are_missing();
            let new = &values.ready[values.decoded..];
            values.rows += new.len();
            let mut rest = new;
            while !rest.is_empty() {
                let mut bytes = 0;
                let has_room = |(_, value): &&(V::Key, V)| {
                    let has_room = bytes < BYTES_AT_ONCE;
                    bytes += value.bytes();
                    has_room
                };
                let (some, others) = rest.split_at(rest.iter().take_while(has_room).count());
                store(&mut self.table, some)?;
                if !may_stay {
                    self.table.shrink()?;
                }
                rest = others;
            }
            if stay {
                values.decoded = values.rows;
            } else {
                if may_stay {
                    self.ready_bytes -= bytes_of(new);
                }
                values.ready = Vec::new();
                values.decoded = 0;
            }
        }
        Ok(())
    }

    /// Reports the memory of values outside the table to the budget. Returns whether it is too much.
    fn take_budget(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.is_exceeded(self.ready_bytes))
    }

    /// Returns whether this many bytes more fit into memory.
    fn has_room_for(&self, bytes: u64) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.has_room_for(self.ready_bytes + bytes))
    }

    /// Spills values, if necessary.
    fn shrink(&mut self) -> Result<()> {
        if self.take_budget() {
            self.move_to_table()?;
        }
        self.table.shrink()
    }

    /// Spills values after a batch, if necessary, and updates the size of the state.
    pub fn settle(&mut self, state_size: &mut StateSize) -> Result<()> {
        self.shrink()?;
        let bytes = self.ready_bytes + self.table.bytes();
        state_size.set_partly_kept(self.count(), bytes, self.table.kept_of(bytes));
        Ok(())
    }

    /// Returns the table, which holds all values after a barrier.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns what the checkpoint after this batch has to hold.
    pub fn barrier(&mut self, after: BatchId, checkpoint: &mut TableCheckpoint) -> Result<Option<TableChanges>> {
        self.move_to_table()?;
        checkpoint.changes(after, &mut self.table)
    }
}

/// Adds values to a table.
fn store<V: Value>(table: &mut StateTable, values: &[(V::Key, V)]) -> Result<()> {
    let [columns, states] = V::encode(values)?;
    let keys = Keys::encode(&columns, values.len()).map_err(Error::arrow)?;
    let hashes = table.hashes_of(&columns, &keys).map_err(Error::arrow)?;
    let slots: Vec<Slot> =
        hashes.iter().enumerate().map(|(row, hash)| table.slot(keys.view().get(row), *hash)).collect();
    let states = RecordBatch::try_new(table.state_schema(), states).map_err(Error::arrow)?;
    table.store(&slots, &states, &BooleanArray::new(BooleanBuffer::new_set(slots.len()), None));
    Ok(())
}

/// Returns the approximate memory of values.
fn bytes_of<V: Value>(values: &[(V::Key, V)]) -> u64 {
    values.iter().map(|(_, value)| value.bytes()).sum()
}

#[cfg(test)]
mod tests;
