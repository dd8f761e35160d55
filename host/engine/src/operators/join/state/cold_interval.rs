//! An interval join whose rows may be in files: one table per side, with the rows in checkpoint format. A batch is processed in a temporary
//! [`IntervalJoin`]. It has all rows of the batch's keys, and those that no longer wait. The results are stored back. So the output is identical to
//! the byte.

use super::Side;
use super::changing::KeyIndex;
use super::interval::{Interval, IntervalJoin};
use crate::checkpoint::types::REMOVED;
use crate::limits::STATE_SLICE_MAX;
use crate::state::time_counts::TimeCounts;
use crate::state::{Slot, StateTable, TouchSource};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_rows::batch::keys::{KeyHash, Keys};
use std::collections::{BTreeSet, HashSet};

/// Approximate number of rows that are brought into memory at a time when they no longer wait.
const DUE_MAX: usize = 1 << 16;

/// The rows of the join on one worker.
pub struct ColdIntervals {
    interval: Interval,
    /// A row is idle there when it no longer waits.
    tables: [StateTable; 2],
    /// Index of the rows in memory.
    keys: KeyIndex,
    /// Number of waiting rows by time, in memory and in files.
    times: TimeCounts,
    newest: Option<i64>,
}

impl ColdIntervals {
    /// Creates a join with the rows of tables from [`Interval::table_in_files`].
    pub fn new(interval: Interval, tables: [StateTable; 2]) -> Result<ColdIntervals> {
        let mut times = TimeCounts::default();
        for table in &tables {
            table.each_touched(|time| times.add(time))?;
        }
        let mut keys = KeyIndex::new(interval.on);
        keys.enter_all(&tables)?;
        Ok(ColdIntervals { interval, tables, keys, times, newest: None })
    }

    /// Returns the tables of both sides, for checkpoints.
    pub fn tables(&mut self) -> &mut [StateTable; 2] {
        &mut self.tables
    }

    /// Returns the number of waiting rows on both sides.
    pub fn row_count(&self) -> usize {
        self.tables.iter().map(StateTable::len).sum()
    }

    /// Returns the memory of the rows, and that of the indexes.
    pub fn bytes(&self) -> (u64, u64) {
        let in_memory: usize = self.tables.iter().map(StateTable::rows_in_memory).sum();
        let extra = self.keys.bytes() + (in_memory * size_of::<Slot>()) as u64 + self.times.bytes();
        (self.tables.iter().map(StateTable::bytes).sum(), extra)
    }

    /// See [`IntervalJoin::newest`].
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Returns the time of the oldest waiting row.
    pub fn earliest(&self) -> Option<i64> {
        self.times.first()
    }

    /// Spills rows after a batch, if needed.
    pub fn settle(&mut self) -> Result<()> {
        self.keys.shrink(&mut self.tables)
    }

    fn keys_of(&self, columns: &[ArrayRef], rows: usize) -> Result<Keys> {
        Keys::encode(columns.get(..self.interval.on).unwrap_or_default(), rows).map_err(Error::arrow)
    }

    /// See [`IntervalJoin::batch`].
    pub fn batch(&mut self, id: BatchId, rows: [RecordBatch; 2], complete: Option<i64>) -> Result<Vec<RecordBatch>> {
        let [first, second] = &rows;
        let keys =
            [self.keys_of(first.columns(), first.num_rows())?, self.keys_of(second.columns(), second.num_rows())?];
        let hashes: Vec<KeyHash> = keys.iter().flat_map(Keys::hashes).collect();
        for side in Side::BOTH {
            let slots = self.tables[side.index()].warm_hashes(hashes.iter().copied())?;
            self.keys.enter(side, &self.tables[side.index()], &slots)?;
        }
        let mut slots = [Vec::new(), Vec::new()];
        if let Some(complete) = complete {
            for side in Side::BOTH {
                loop {
                    let due = self.tables[side.index()].take_some_idle(BatchTime(complete), DUE_MAX)?;
                    if due.is_empty() {
                        break;
                    }
                    slots[side.index()].extend(due);
                }
            }
        }
        let of_batch: HashSet<&[u8]> =
            keys.iter().flat_map(|keys| (0..keys.view().rows()).map(|row| keys.view().get(row))).collect();
        for of_key in of_batch.iter().filter_map(|key| self.keys.get(key)) {
            Side::BOTH.iter().for_each(|side| slots[side.index()].extend(&of_key.slots[side.index()]));
        }
        let mut join = IntervalJoin::new(self.interval.clone(), true)?;
        for side in Side::BOTH {
            let slots = &mut slots[side.index()];
            slots.sort_unstable();
            slots.dedup();
            let table = self.tables[side.index()].copy_of(slots, self.interval.table(side)?)?;
            join.restore(side, &table)?;
            self.tables[side.index()].used(slots);
        }
        let found = join.batch(id, rows, complete)?;
        self.newest = join.newest();
        for side in Side::BOTH {
            let mut changed = Vec::new();
            join.changes(side, false, STATE_SLICE_MAX, &mut |slice| changed.push(slice.rows))?;
            changed.iter().try_for_each(|rows| self.apply(side, rows))?;
        }
        Ok(found)
    }

    /// Applies changed rows of a side, in the format of a checkpoint file.
    fn apply(&mut self, side: Side, rows: &RecordBatch) -> Result<()> {
        let removed = removed(rows)?;
        let is_kept = arrow::compute::not(removed).map_err(Error::arrow)?;
        let (dropped, kept) = (split(rows, removed)?, split(rows, &is_kept)?);
        self.remove(side, &dropped)?;
        self.store(side, &kept)
    }

    /// Records removed rows: checkpoint files contain them, and the table does not.
    fn record_removed(&mut self, side: Side, rows: &RecordBatch) -> Result<()> {
        let dropped = split(rows, removed(rows)?)?;
        let table = &mut self.tables[side.index()];
        let columns = full_key(table, &dropped)?;
        let full = Keys::encode(columns, dropped.num_rows()).map_err(Error::arrow)?;
        let hashes = table.hashes_of(columns, &full).map_err(Error::arrow)?;
        for (row, hash) in hashes.iter().enumerate() {
            table.record_removed(full.view().get(row), *hash);
        }
        Ok(())
    }

    fn remove(&mut self, side: Side, rows: &RecordBatch) -> Result<()> {
        let table = &mut self.tables[side.index()];
        let columns = full_key(table, rows)?;
        let full = Keys::encode(columns, rows.num_rows()).map_err(Error::arrow)?;
        let slots: BTreeSet<Slot> = (0..rows.num_rows()).filter_map(|row| table.find(full.view().get(row))).collect();
        let slots: Vec<Slot> = slots.into_iter().collect();
        let times = self.interval.times_of(&table.states(&slots).map_err(Error::arrow)?.0)?;
        times.into_iter().for_each(|time| self.times.remove(time));
        table.remove_all(&slots);
        let keys = self.keys_of(rows.columns(), rows.num_rows())?;
        let of_rows: HashSet<&[u8]> = (0..rows.num_rows()).map(|row| keys.view().get(row)).collect();
        for key in of_rows {
            self.keys.retain(key, side, |slot| slots.binary_search(slot).is_err());
        }
        Ok(())
    }

    fn store(&mut self, side: Side, rows: &RecordBatch) -> Result<()> {
        let table = &mut self.tables[side.index()];
        let columns = full_key(table, rows)?;
        let full = Keys::encode(columns, rows.num_rows()).map_err(Error::arrow)?;
        let hashes = table.hashes_of(columns, &full).map_err(Error::arrow)?;
        let slots: Vec<Slot> =
            hashes.iter().enumerate().map(|(row, hash)| table.slot(full.view().get(row), *hash)).collect();
        let states = rows.columns().get(columns.len()..rows.num_columns() - 1).unwrap_or_default().to_vec();
        let states = RecordBatch::try_new(table.state_schema(), states).map_err(Error::arrow)?;
        let is_new: Vec<bool> = slots.iter().map(|slot| !table.is_stored(*slot)).collect();
        table.store(&slots, &states, &BooleanArray::from(vec![true; slots.len()]));
        table.used(&slots);
        let times = self.interval.times_of(&states)?;
        let keys = self.keys_of(rows.columns(), rows.num_rows())?;
        for (row, ((slot, time), _)) in slots.iter().zip(times).zip(is_new).enumerate().filter(|(_, (_, new))| *new) {
            self.times.add(time);
            self.keys.add(keys.view().get(row), side, *slot);
        }
        Ok(())
    }
}

/// Returns the columns of key and numbers.
fn full_key<'a>(table: &StateTable, rows: &'a RecordBatch) -> Result<&'a [ArrayRef]> {
    rows.columns().get(..table.key_columns_count()).ok_or_else(|| Error::bug("rows of a join without their keys"))
}

/// Returns which rows are removed, from a file's columns.
fn removed(rows: &RecordBatch) -> Result<&BooleanArray> {
    let removed = rows.column_by_name(REMOVED).and_then(|removed| removed.as_boolean_opt());
    removed.ok_or_else(|| Error::bug("rows of a join that do not say which are removed"))
}

fn split(rows: &RecordBatch, which: &BooleanArray) -> Result<RecordBatch> {
    match which.true_count() {
        count if count == rows.num_rows() => Ok(rows.clone()),
        0 => Ok(rows.slice(0, 0)),
        _ => filter_record_batch(rows, which).map_err(Error::arrow),
    }
}

impl Interval {
    /// Creates an empty table for a side, whose rows are idle when they no longer wait.
    pub fn table_in_files(&self, side: Side) -> Result<StateTable> {
        let (by, timeout_us) = self.idle(side);
        Ok(self.table(side)?.with_touch_source(by, timeout_us).ordered_by(self.on))
    }

    /// Returns the column with the time of a row in such a table, and how long after it the row stops waiting.
    pub fn idle(&self, side: Side) -> (TouchSource, i64) {
        let column = self.layouts[side.index()].fields().len().saturating_sub(self.on + 1);
        (TouchSource::State(column), self.waits_until(side, 0).saturating_add(1))
    }

    /// Returns the times of rows from the table's states.
    fn times_of(&self, states: &RecordBatch) -> Result<Vec<i64>> {
        let position = states.num_columns().saturating_sub(2);
        let times =
            states.columns().get(position).and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        times.map(|times| times.values().to_vec()).ok_or_else(|| Error::bug("a row of a join without its time"))
    }
}

impl IntervalJoin {
    /// Converts to a join whose rows may spill; `spilling` converts a table.
    pub fn into_files(mut self, spilling: impl Fn(StateTable) -> Result<StateTable>) -> Result<ColdIntervals> {
        let (mut tables, mut changed) = (Vec::new(), Vec::new());
        for side in Side::BOTH {
            let mut table = spilling(self.interval().table_in_files(side)?)?;
            if self.saves() {
                table.track_changes();
            }
            let mut rows = Vec::new();
            self.changes(side, false, STATE_SLICE_MAX, &mut |slice| changed.push((side, slice.rows)))?;
            self.changes(side, true, STATE_SLICE_MAX, &mut |slice| rows.push(slice.rows))?;
            rows.iter().try_for_each(|rows| table.restore(rows, |_| true))?;
            tables.push(table);
        }
        let tables = <[StateTable; 2]>::try_from(tables).map_err(|_| Error::bug("a join of two sides"))?;
        let mut join = ColdIntervals::new(self.interval().clone(), tables)?;
        // The newest time of the batch after which rows spill is still to be reported.
        join.newest = self.newest();
        for (side, rows) in changed {
            join.record_removed(side, &rows)?;
            join.apply(side, &rows)?;
        }
        Ok(join)
    }
}
