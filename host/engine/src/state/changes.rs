//! The changes in a state table since the last call: the rows of the next file of a checkpoint. Tracking costs one byte per slot and one push for
//! each first change; unchanged rows are not read.

use super::files::{SliceSink, TableSlice};
use super::idle::IdleTracker;
use super::keys::Slot;
use super::table::StateTable;
use super::table::copy::TableCopy;
use super::tracked::{FROZEN, LISTED, TrackedChanges, WRITTEN};
use crate::checkpoint::types::{REMOVED, TOUCHED};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::limits::SliceMax;
use millstream_rows::batch::keys;
use millstream_rows::batch::keys::{GROUP_SHIFT, KEY_GROUPS};
use millstream_rows::batch::types::ColumnType;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// Approximate number of rows sorted at a time. A table that may be larger than memory is divided into parts of at least this size.
const SORTED_ROWS_MAX: usize = 4 << 20;
const SORTED_PARTS: usize = 16;
const SORTED_PART_ROWS: usize = 1 << 16;

/// A row of a file: a key with its state, or a removed one by its index in `removed`.
#[derive(Clone, Copy)]
enum ChangedRow {
    Known(Slot),
    Removed(u32),
}

impl StateTable {
    /// Returns whether changes are tracked.
    pub fn tracks_changes(&self) -> bool {
        self.changes.is_some()
    }

    /// Starts tracking changes. Keys already in the table count as written.
    pub fn track_changes(&mut self) {
        let mut changes = TrackedChanges::default();
        changes.grow(self.slots());
        self.all().for_each(|slot| changes.written(slot));
        (self.changes, self.frozen) = (Some(changes), None);
        self.mark_cold_written();
    }

    /// Invalidates the files that hold the table: everything has to be written again.
    pub(super) fn drop_peer_files(&mut self) {
        if self.changes.is_none() {
            return;
        }
        let mut changes = TrackedChanges::default();
        changes.grow(self.slots());
        self.all().for_each(|slot| changes.changed(slot));
        (self.changes, self.frozen) = (Some(changes), None);
    }

    /// Returns the maximum number of rows of `changes`, without and with `base`.
    pub fn changed(&self) -> u64 {
        self.changes.as_ref().map_or(0, |_| self.changed_in_memory() + self.cold_changed())
    }

    /// Returns how many of these rows are in memory.
    pub fn changed_in_memory(&self) -> u64 {
        self.changes.as_ref().map_or(0, |changes| (changes.listed + changes.removed.len()) as u64)
    }

    /// Writes the rows of the next files, in the order of the hashes of their keys (and so of key groups), each key once. For a `base` these are all
    /// keys with their states. Otherwise they are the changes since the last call, with a row for each removed key. For the columns see
    /// [`crate::checkpoint::state_file`]. The tracked changes are cleared. Rows are built slice by slice. A slice is no larger than `max` unless it
    /// is a single row, and contains complete key groups if they fit.
    pub fn changes(&mut self, base: bool, max: SliceMax, to: &mut SliceSink<'_>) -> Result<()> {
        let mut changes = self.changes.take().ok_or_else(unmarked)?;
        let rows = if base { self.len() } else { changes.listed + changes.removed.len() };
        // Even the indices of all rows do not have to fit in memory.
        let sorted_max = if self.spills() {
            (rows / SORTED_PARTS).clamp(SORTED_PART_ROWS, SORTED_ROWS_MAX)
        } else {
            SORTED_ROWS_MAX
        };
        let step = (KEY_GROUPS as usize / (rows / sorted_max + 1)).max(1);
        let mut some = false;
        for first in (0..KEY_GROUPS).step_by(step) {
            let groups = first..(first + step as u64).min(KEY_GROUPS);
            let rows = self.rows_to_write(&changes, base, groups.clone());
            some |= self.write_with_cold(&changes, base, &rows, groups, max, to)?;
            changes.grow(self.slots());
            for (_, row) in &rows {
                if let ChangedRow::Known(slot) = row {
                    changes.marks[*slot as usize] |= WRITTEN;
                }
            }
        }
        self.mark_cold_written();
        if !some {
            to(TableSlice { rows: RecordBatch::new_empty(self.file_schema()), groups: None });
        }
        let TrackedChanges { mut marks, slots, are_many, .. } = changes;
        if are_many {
            marks.iter_mut().for_each(|mark| *mark &= !LISTED);
        }
        slots.iter().for_each(|slot| marks[*slot as usize] &= !LISTED);
        self.changes = Some(TrackedChanges { marks, ..TrackedChanges::default() });
        Ok(())
    }

    /// Writes all rows of some key groups, in slices as in [`StateTable::changes`]. The tracked changes are kept.
    pub fn all_of(&mut self, groups: Range<u64>, max: SliceMax, to: &mut SliceSink<'_>) -> Result<()> {
        let nothing = TrackedChanges::default();
        let changes = self.changes.take();
        let rows = self.rows_to_write(&nothing, true, groups.clone());
        let some = self.write_with_cold(&nothing, true, &rows, groups, max, to);
        self.changes = changes;
        let slots = self.slots();
        self.changes.iter_mut().for_each(|changes| changes.grow(slots));
        if !some? {
            to(TableSlice { rows: RecordBatch::new_empty(self.file_schema()), groups: None });
        }
        Ok(())
    }

    /// Copies what [`StateTable::changes`] would write now without `base`, for a writer that runs while the table is used. The tracked changes are
    /// cleared. Returns `None`, and changes nothing, if the rows in memory exceed `bytes_max`.
    pub fn copy_changes(&mut self, bytes_max: u64) -> Result<Option<TableCopy>> {
        let changes = self.changes.as_ref().ok_or_else(unmarked)?;
        let stored: Vec<Slot> = changes.listed().filter(|slot| self.is_stored(*slot)).collect();
        let Some(mut copy) = TableCopy::new(self, true)?.with(self, &stored, bytes_max) else { return Ok(None) };
        let TrackedChanges { removed, removed_bytes, .. } = self.clear_changes()?;
        let mut removed = TrackedChanges { removed, removed_bytes, ..TrackedChanges::default() };
        // Keys cannot be looked up in the copy.
        let is_back = |index| self.is_back(&removed, ChangedRow::Removed(index));
        let is_back: Vec<bool> = (0..removed.removed.len() as u32).map(is_back).collect();
        let mut is_back = is_back.into_iter();
        removed.removed.retain(|_| is_back.next() == Some(false));
        copy.set_removed(removed);
        Ok(Some(copy))
    }

    /// Writes the changed rows in memory, as [`StateTable::changes`] does. Returns the other changes, for later files. These may contain a key again
    /// that was removed here.
    pub fn changes_in_memory(&mut self, max: SliceMax, to: &mut SliceSink<'_>) -> Result<TableCopy> {
        let cold = TableCopy::new(self, true)?;
        let spill = self.spill.take();
        let written = self.changes(false, max, to);
        self.spill = spill;
        self.mark_cold_written();
        written.map(|()| cold)
    }

    /// Clears and returns the tracked changes, except the marks of slots, because files hold the current table or are being written.
    pub fn clear_changes(&mut self) -> Result<TrackedChanges> {
        self.changes_as(WRITTEN, false)
    }

    /// Clears the changes, and marks the slots of changed rows, or of all rows, as frozen. Returns the removed keys.
    pub(super) fn freeze_changes(&mut self, all: bool) -> Result<TrackedChanges> {
        let TrackedChanges { removed, removed_bytes, .. } = self.changes_as(WRITTEN | FROZEN, all)?;
        Ok(TrackedChanges { removed, removed_bytes, ..TrackedChanges::default() })
    }

    /// Adds this mark to the slots of changed rows, or of all rows, and clears the changes.
    fn changes_as(&mut self, mark: u8, all: bool) -> Result<TrackedChanges> {
        let mut changes = self.changes.take().ok_or_else(unmarked)?;
        let mut marks = std::mem::take(&mut changes.marks);
        let marked = |known: bool, before: u8| if known { mark } else { before & !LISTED };
        if all || changes.are_many {
            let own = marks.iter_mut().zip(&self.known).filter(|(own, _)| all || **own & LISTED != 0);
            own.for_each(|(own, known)| *own = marked(*known, *own));
        } else {
            for slot in &changes.slots {
                marks[*slot as usize] = marked(self.is_stored(*slot), marks[*slot as usize]);
            }
        }
        self.changes = Some(TrackedChanges { marks, ..TrackedChanges::default() });
        self.mark_cold_written();
        Ok(changes)
    }

    /// Copies all rows of some key groups, for a writer that runs while the table is used. Returns `None` if those in memory exceed `bytes_max`.
    pub fn copy_of_groups(&self, groups: &Range<u64>, bytes_max: u64) -> Result<Option<TableCopy>> {
        let within = |slot: &Slot| groups.contains(&(self.hashes[*slot as usize] >> GROUP_SHIFT));
        let slots: Vec<Slot> = self.all().filter(within).collect();
        Ok(TableCopy::new(self, false)?.with(self, &slots, bytes_max))
    }

    /// Writes these in-memory rows of some key groups, together with the cold rows. Returns whether there were any.
    fn write_with_cold(
        &mut self,
        changes: &TrackedChanges,
        base: bool,
        rows: &[(u64, ChangedRow)],
        groups: Range<u64>,
        max: SliceMax,
        to: &mut SliceSink<'_>,
    ) -> Result<bool> {
        let (mut rest, mut some) = (rows, false);
        let step = self.cold_step(!base).min((groups.end - groups.start).max(1) as usize);
        for first in groups.clone().step_by(step) {
            let groups = first..(first + step as u64).min(groups.end);
            let (now, later) = rest.split_at(rest.partition_point(|(hash, _)| hash >> GROUP_SHIFT < groups.end));
            rest = later;
            let cold = self.borrow_cold(&groups, !base)?;
            let rows = self.with_cold_rows(changes, now, &cold);
            some |= !rows.is_empty();
            self.write(changes, &rows, max, to)?;
            self.give_back(&cold);
        }
        Ok(some)
    }

    fn write(
        &self,
        changes: &TrackedChanges,
        rows: &[ChangedRow],
        max: SliceMax,
        to: &mut SliceSink<'_>,
    ) -> Result<()> {
        let group = |row: &ChangedRow| (self.row_hash(changes, *row) >> GROUP_SHIFT) as u32;
        let mut rest = rows;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.changed_slice(changes, rest, max));
            let groups = now.first().map(group).zip(now.last().map(group));
            to(TableSlice { rows: self.file_rows(changes, now).map_err(Error::arrow)?, groups });
            rest = later;
        }
        Ok(())
    }

    /// Returns how many of the rows form the next slice: as many as fit, excluding the incomplete key group at the end.
    fn changed_slice(&self, changes: &TrackedChanges, rows: &[ChangedRow], max: SliceMax) -> usize {
        let mut bytes = 0_usize;
        let fits = |row: &&ChangedRow| {
            bytes = bytes.saturating_add(match row {
                ChangedRow::Known(slot) => self.bytes_of(*slot),
                ChangedRow::Removed(_) => self.row_key(changes, **row).len(),
            });
            bytes <= max.bytes
        };
        let count = rows.iter().take(max.rows).take_while(fits).count().max(1);
        let group = |row: &ChangedRow| self.row_hash(changes, *row) >> GROUP_SHIFT;
        let (Some(now), Some(next)) = (rows.get(..count), rows.get(count)) else { return rows.len() };
        let begun = now.iter().rev().take_while(|row| group(row) == group(next)).count();
        if begun < count { count - begun } else { count }
    }

    fn row_hash(&self, changes: &TrackedChanges, row: ChangedRow) -> u64 {
        match row {
            ChangedRow::Known(slot) => self.hashes[slot as usize],
            ChangedRow::Removed(index) => changes.removed[index as usize].hash,
        }
    }

    /// Returns the rows of some key groups, in the order of the hashes of their keys.
    fn rows_to_write(&self, changes: &TrackedChanges, base: bool, groups: Range<u64>) -> Vec<(u64, ChangedRow)> {
        let within = |hash: &u64| groups.contains(&(hash >> GROUP_SHIFT));
        let known = |slot: Slot| (self.hashes[slot as usize], ChangedRow::Known(slot));
        let mut rows: Vec<(u64, ChangedRow)> = if base {
            self.all().map(known).filter(|(hash, _)| within(hash)).collect()
        } else {
            let stored = changes.listed().filter(|slot| self.is_stored(*slot)).map(known);
            let stored = stored.filter(|(hash, _)| within(hash));
            // A removed key that has a state again is among the stored ones.
            let lost = if fault::bug!("removed-lost") { 0 } else { usize::MAX };
            let removed = changes
                .removed
                .iter()
                .take(lost)
                .enumerate()
                .map(|(index, key)| (key.hash, ChangedRow::Removed(index as u32)))
                .filter(|(hash, _)| within(hash));
            stored.chain(removed.filter(|(_, row)| !self.is_back(changes, *row))).collect()
        };
        self.sort_changed(changes, &mut rows);
        rows
    }

    fn sort_changed(&self, changes: &TrackedChanges, rows: &mut [(u64, ChangedRow)]) {
        rows.sort_unstable_by(|(first, a), (second, b)| match first.cmp(second) {
            Ordering::Equal => self.row_key(changes, *a).cmp(self.row_key(changes, *b)),
            other => other,
        });
    }

    /// Merges these rows with those in borrowed slots, in order.
    fn with_cold_rows(&self, changes: &TrackedChanges, rows: &[(u64, ChangedRow)], cold: &[Slot]) -> Vec<ChangedRow> {
        if cold.is_empty() {
            return rows.iter().map(|(_, row)| *row).collect();
        }
        let cold = cold.iter().map(|slot| (self.hashes[*slot as usize], ChangedRow::Known(*slot)));
        let mut rows: Vec<_> = rows.iter().copied().chain(cold).collect();
        self.sort_changed(changes, &mut rows);
        // A removed key that has a state again may be a cold row.
        rows.dedup_by(|(second, b), (first, a)| {
            let same = second == first && self.row_key(changes, *a) == self.row_key(changes, *b);
            if same && matches!(b, ChangedRow::Known(_)) {
                *a = *b;
            }
            same
        });
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn is_back(&self, changes: &TrackedChanges, row: ChangedRow) -> bool {
        self.find(self.row_key(changes, row)).is_some_and(|slot| self.is_stored(slot))
    }

    fn row_key<'a>(&'a self, changes: &'a TrackedChanges, row: ChangedRow) -> &'a [u8] {
        match row {
            ChangedRow::Known(slot) => self.key(slot),
            ChangedRow::Removed(index) => changes.removed_key(index),
        }
    }

    fn file_rows(&self, changes: &TrackedChanges, rows: &[ChangedRow]) -> Result<RecordBatch, ArrowError> {
        let slots: Vec<Slot> =
            rows.iter().map(|row| if let ChangedRow::Known(slot) = row { *slot } else { 0 }).collect();
        let known: BooleanArray = rows.iter().map(|row| Some(matches!(row, ChangedRow::Known(_)))).collect();
        let mut columns = keys::decode(&self.key_fields, rows.iter().map(|row| self.row_key(changes, *row)))?;
        for column in &self.columns {
            columns.push(column.gather_or_null(&slots, &known)?);
        }
        if let Some(idle) = self.idle.as_ref().filter(|idle| idle.is_in_files()) {
            let lost = fault::bug!("touched-lost");
            let touched = |row: &ChangedRow| match row {
                ChangedRow::Known(slot) => {
                    Some(idle.touched[*slot as usize]).filter(|touched| *touched != IdleTracker::NEVER && !lost)
                }
                ChangedRow::Removed(_) => None,
            };
            let touched: TimestampMicrosecondArray = rows.iter().map(touched).collect();
            columns.push(Arc::new(touched.with_timezone("UTC")));
        }
        let removed: ArrayRef = Arc::new(BooleanArray::new(!known.values(), None));
        columns.push(removed);
        RecordBatch::try_new(self.file_schema(), columns)
    }

    /// Returns the columns of the table's files. States are nullable in them, as removed keys have none.
    pub fn file_schema(&self) -> SchemaRef {
        let keys = self.key_fields.iter().cloned();
        let states =
            self.state_schema.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
        let mut fields: Vec<Arc<Field>> = keys.chain(states).collect();
        if self.idle.as_ref().is_some_and(IdleTracker::is_in_files) {
            fields.push(Arc::new(Field::new(TOUCHED, ColumnType::Timestamp.arrow(), true)));
        }
        fields.push(Arc::new(Field::new(REMOVED, DataType::Boolean, false)));
        Arc::new(Schema::new(fields))
    }
}

fn unmarked() -> Error {
    Error::bug("the changes of a table that does not note them")
}

#[cfg(test)]
impl StateTable {
    /// Returns the rows of all slices as one batch.
    pub fn all_changes(&mut self, base: bool) -> Result<RecordBatch> {
        let mut slices = Vec::new();
        self.changes(base, crate::limits::STATE_SLICE_MAX, &mut |slice| {
            slices.push(slice.rows);
        })?;
        arrow::compute::concat_batches(&self.file_schema(), &slices).map_err(Error::arrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, StringArray};
    use millstream_rows::batch::keys::Keys;

    fn table() -> StateTable {
        let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8, false));
        let state = Arc::new(Schema::new(vec![field("state")]));
        let mut table = StateTable::new(vec![field("key")], state, None).unwrap();
        table.track_changes();
        table
    }

    /// Stores a string of this length for each of `keys` keys; `kept` selects those that stay.
    fn store(table: &mut StateTable, keys: usize, length: usize, kept: impl Fn(usize) -> bool) {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..keys).map(|key| format!("key {key}"))));
        let encoded = Keys::encode(&[names], keys).unwrap();
        let (view, hashes) = (encoded.view(), encoded.hashes());
        let slots: Vec<Slot> = (0..keys).map(|row| table.slot(view.get(row), hashes[row])).collect();
        let strings: ArrayRef = Arc::new(StringArray::from_iter_values((0..keys).map(|_| "x".repeat(length))));
        let states = RecordBatch::try_new(table.state_schema(), vec![strings]).unwrap();
        table.store(&slots, &states, &(0..keys).map(|key| Some(kept(key))).collect());
    }

    fn slices(table: &mut StateTable, base: bool, max: SliceMax) -> Vec<TableSlice> {
        let mut slices = Vec::new();
        table.changes(base, max, &mut |slice| slices.push(slice)).unwrap();
        slices
    }

    fn restored(slices: &[TableSlice]) -> RecordBatch {
        let mut after = table();
        slices.iter().for_each(|slice| after.restore(&slice.rows, |_| true).unwrap());
        after.rows().unwrap()
    }

    #[test]
    fn a_table_is_written_in_slices_of_rows_and_of_bytes() {
        for (max, length) in [
            (SliceMax { rows: 100, bytes: usize::MAX }, 3),
            (SliceMax { rows: usize::MAX, bytes: 10_000 }, 90),
            (SliceMax { rows: 1, bytes: 1 }, 1),
        ] {
            let mut table = table();
            store(&mut table, 5_000, length, |_| true);
            let written = slices(&mut table, true, max);
            assert!(written.len() > 45, "{} slices", written.len());
            for slice in &written {
                let states = slice.rows.column(1).as_string::<i32>();
                let bytes: usize = states.iter().flatten().map(str::len).sum();
                assert!(slice.rows.num_rows() <= max.rows && (bytes <= max.bytes || slice.rows.num_rows() == 1));
            }
            let groups: Vec<(u32, u32)> = written.iter().filter_map(|slice| slice.groups).collect();
            assert!(groups.windows(2).all(|pair| pair[0].1 <= pair[1].0), "in the order of key groups");
            let split = groups.windows(2).filter(|pair| pair[0].1 == pair[1].0).count();
            assert!(max.rows == 1 || split == 0, "{split} key groups are in two slices, though they fit into one");
            assert_eq!(restored(&written), table.rows().unwrap());

            // Only changes and removals, also in slices.
            assert_eq!(table.changed(), 0);
            store(&mut table, 400, length + 1, |key| key % 4 != 0);
            let more = slices(&mut table, false, max);
            assert_eq!(more.iter().map(|slice| slice.rows.num_rows()).sum::<usize>(), 400);
            let all: Vec<TableSlice> = written.into_iter().chain(more).collect();
            assert_eq!(restored(&all), table.rows().unwrap());
        }
    }

    #[test]
    fn nothing_is_one_slice_without_rows() {
        let mut table = table();
        store(&mut table, 3, 1, |_| false);
        for base in [true, false] {
            let rows: Vec<usize> =
                slices(&mut table, base, SliceMax { rows: 9, bytes: 9 }).iter().map(|s| s.rows.num_rows()).collect();
            assert_eq!(rows, [0]);
        }
    }
}
