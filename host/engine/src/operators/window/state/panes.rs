//! The rows of windows on one worker, aggregated: one accumulator per key and pane. A pane is the largest unit that no window splits: a batch in
//! processing time, a slice of time in event time. Windows share panes and store no rows themselves.

mod index;

use self::index::PaneIndex;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::Keys;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The aggregate functions of windows. Accumulators are columns, with one row each; those on the left are of earlier rows.
pub trait Accumulate {
    /// Merges the partial results of groups, in the order of the rows: one row per group.
    fn merge(&mut self, partial: &[ArrayRef], groups: &[usize], count: usize) -> Result<RecordBatch>;
    /// Merges accumulators, row by row.
    fn combine(&mut self, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch>;
    /// Subtracts accumulators from others, row by row.
    fn inverse(&mut self, total: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch>;
}

/// Number of a key while the key exists.
pub type KeyId = u32;

/// No slot, or no key.
pub const NONE: u32 = u32::MAX;

/// The column that distinguishes the panes of a key: the batch time, or the start of the slice.
pub const PANE: &str = "millstream_pane";

/// Returns that column.
pub fn pane_field() -> Field {
    Field::new(PANE, DataType::Int64, false)
}

/// The pane number of a key's running total, for windows that subtract what leaves them; no rows have it.
pub(super) const RUNNING: i64 = i64::MIN;

/// The keys of one pane, and the slots of their accumulators.
#[derive(Clone, Debug, Default)]
pub struct PaneRows {
    /// The distinct keys.
    pub ids: Vec<KeyId>,
    /// Their slots.
    pub slots: Vec<Slot>,
}

/// Panes in order.
pub type RowsByPane = BTreeMap<i64, PaneRows>;

/// All panes.
pub struct Panes {
    /// Key and pane, and the accumulators, as in checkpoints. Its slots are found by `index`.
    table: StateTable,
    /// The keys: slots of this table are [`KeyId`]s.
    keys: StateTable,
    index: PaneIndex,
    /// Scratch buffer: the group of a slot within a batch, otherwise [`NONE`].
    group_of: Vec<u32>,
    /// All keys in the order of their hashes; `None` if they changed.
    ordered: Option<Vec<KeyId>>,
}

impl Panes {
    /// Creates empty panes; `keys` are the stage's key columns.
    pub fn new(keys: &[Arc<Field>], accumulators: SchemaRef) -> Result<Panes> {
        Panes::around(keys, Panes::table_of(keys, accumulators)?)
    }

    /// Creates a table of panes without rows.
    pub fn table_of(keys: &[Arc<Field>], accumulators: SchemaRef) -> Result<StateTable> {
        let with_pane = keys.iter().cloned().chain([Arc::new(pane_field())]).collect();
        StateTable::new(with_pane, accumulators, None).map_err(Error::arrow)
    }

    /// Creates the panes of such a table, with all rows in memory.
    pub fn from_table(keys: &[Arc<Field>], table: StateTable) -> Result<Panes> {
        let mut panes = Panes::around(keys, table)?;
        panes.restored()?;
        Ok(panes)
    }

    fn around(keys: &[Arc<Field>], table: StateTable) -> Result<Panes> {
        let keys = StateTable::new(keys.to_vec(), Arc::new(Schema::empty()), None).map_err(Error::arrow)?;
        Ok(Panes { table, keys, index: PaneIndex::default(), group_of: Vec::new(), ordered: None })
    }

    /// Returns the table alone, searched by key and pane from now on.
    pub fn into_table(self) -> StateTable {
        let mut table = self.table;
        table.rebuild_index();
        table
    }

    /// Returns the approximate memory in use.
    pub fn bytes(&self) -> u64 {
        self.table.bytes()
            + self.keys.bytes()
            + self.index.bytes()
            + (self.group_of.capacity() * size_of::<u32>()) as u64
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Rebuilds the index after the table was restored.
    pub fn restored(&mut self) -> Result<()> {
        let slots: Vec<Slot> = self.table.all().collect();
        let columns = self.table.keys(&slots).map_err(Error::arrow)?;
        let (panes, keys) = panes_of(&columns)?;
        let keys = Keys::encode(keys, slots.len()).map_err(Error::arrow)?;
        let keys = keys.view();
        for (row, slot) in slots.iter().enumerate() {
            let id = self.keys.slot(keys.get(row), keys.short(row).1);
            self.index.grow(self.keys.slots());
            self.index.note(id, panes.value(row), *slot);
        }
        self.ordered = None;
        self.table.drop_index();
        Ok(())
    }

    /// Adds partial results: key columns, pane and the input of [`Accumulate::merge`], row by row. Returns the distinct changed slots, in the order
    /// of their first rows.
    pub fn add(
        &mut self,
        functions: &mut impl Accumulate,
        keys_and_pane: &[ArrayRef],
        partial: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<Slot>> {
        self.table.drop_index();
        let (panes, keys) = panes_of(keys_and_pane)?;
        let (panes, keys) = (panes.values(), Keys::encode(keys, rows).map_err(Error::arrow)?);
        let keys = keys.view();
        let mut groups = PaneGroups::new(&mut self.group_of, rows);
        let (mut new, mut new_rows) = (Vec::new(), Vec::new());
        for (row, pane) in panes.iter().enumerate() {
            let id = self.keys.slot(keys.get(row), keys.short(row).1);
            self.index.grow(self.keys.slots());
            let slot = match self.index.slot(id, *pane) {
                Some(slot) => slot,
                None => {
                    let slot = self.table.vacant();
                    if self.index.note(id, *pane, slot) {
                        self.ordered = None;
                    }
                    new.push(slot);
                    new_rows.push(row as u32);
                    slot
                }
            };
            groups.push(slot, self.table.slots());
        }
        let columns = match new.len() == rows {
            true => keys_and_pane.to_vec(),
            false => take_arrays(keys_and_pane, &UInt32Array::from(new_rows), None).map_err(Error::arrow)?,
        };
        occupy(&mut self.table, &new, &columns)?;
        groups.fold(&mut self.table, functions, partial)
    }

    /// Removes all panes before this one, and the keys that are in no other.
    pub fn remove_before(&mut self, pane: i64) {
        while let Some(rows) = self.index.take_before(pane) {
            self.table.remove_all(&rows.slots);
            let removed: Vec<KeyId> = rows.ids.into_iter().filter(|id| !self.index.has(*id)).collect();
            self.remove_keys(&removed);
        }
    }

    fn remove_keys(&mut self, ids: &[KeyId]) {
        if !ids.is_empty() {
            self.keys.remove_all(ids);
            self.ordered = None;
        }
    }

    /// Returns the columns of accumulators.
    pub fn accumulator_schema(&self) -> SchemaRef {
        self.table.state_schema()
    }

    /// Returns all panes, in order.
    pub fn rows(&self) -> &RowsByPane {
        &self.index.rows
    }

    /// Returns the accumulators of these slots.
    pub fn accumulators(&self, slots: &[Slot]) -> Result<RecordBatch> {
        Ok(self.table.states(slots).map_err(Error::arrow)?.0)
    }

    /// Returns the key of a slot.
    pub fn id_of(&self, slot: Slot) -> KeyId {
        self.index.id_of[slot as usize]
    }

    /// Returns the upper bound of key numbers.
    pub fn ids(&self) -> usize {
        self.keys.slots()
    }

    /// Returns the upper bound of slots.
    pub fn slots(&self) -> usize {
        self.table.slots()
    }

    /// Returns the pane of a slot.
    pub fn pane_of(&self, slot: Slot) -> i64 {
        self.index.pane_of(slot)
    }

    /// Returns the rows of some keys in these panes.
    pub fn rows_of(&mut self, ids: &[KeyId], panes: std::ops::Range<i64>) -> RowsByPane {
        if panes.start >= panes.end {
            return RowsByPane::new();
        }
        let panes: Vec<i64> = self.index.rows.range(panes).map(|(pane, _)| *pane).collect();
        panes.into_iter().map(|pane| (pane, self.index.rows_of(ids, pane))).collect()
    }

    /// Returns the key columns of these keys.
    pub fn key_columns(&self, ids: &[KeyId]) -> Result<Vec<ArrayRef>> {
        self.keys.keys(ids).map_err(Error::arrow)
    }

    /// Returns all keys, in the order of their hashes.
    pub fn ordered(&mut self) -> &[KeyId] {
        let Panes { keys, index, ordered, .. } = self;
        ordered.get_or_insert_with(|| {
            let mut ids: Vec<KeyId> = (0..index.ids() as KeyId).filter(|id| index.has(*id)).collect();
            keys.sort(&mut ids);
            ids
        })
    }

    /// Orders keys by their hashes.
    pub fn sort(&self, ids: &mut [KeyId]) {
        self.keys.sort(ids);
    }

    /// Adds panes to the running totals of their keys.
    pub fn run(&mut self, functions: &mut impl Accumulate, panes: std::ops::Range<i64>) -> Result<()> {
        let entering: Vec<PaneRows> = self.index.rows.range(panes).map(|(_, rows)| rows.clone()).collect();
        entering.into_iter().try_for_each(|rows| self.run_one(functions, rows))
    }

    fn run_one(&mut self, functions: &mut impl Accumulate, rows: PaneRows) -> Result<()> {
        let added = self.accumulators(&rows.slots)?;
        let (old, new): (Vec<u32>, Vec<u32>) =
            (0..rows.ids.len() as u32).partition(|row| self.index.running(rows.ids[*row as usize]) != NONE);
        if !old.is_empty() {
            let slots = self.running_slots(&pick(&rows.ids, &old));
            let sums = functions.combine(&self.accumulators(&slots)?, &take_rows(&added, &old)?)?;
            self.table.store(&slots, &sums, &all(slots.len()));
        }
        if !new.is_empty() {
            let ids = pick(&rows.ids, &new);
            let mut columns = self.key_columns(&ids)?;
            columns.push(Arc::new(Int64Array::from(vec![RUNNING; new.len()])));
            self.table.drop_index();
            let slots: Vec<Slot> = ids.iter().map(|_| self.table.vacant()).collect();
            occupy(&mut self.table, &slots, &columns)?;
            self.table.store(&slots, &take_rows(&added, &new)?, &all(new.len()));
            for (id, slot) in ids.iter().zip(&slots) {
                if self.index.note(*id, RUNNING, *slot) {
                    self.ordered = None;
                }
            }
        }
        Ok(())
    }

    /// Subtracts all panes before this one from the running totals of their keys.
    pub fn subtract_before(&mut self, functions: &mut impl Accumulate, before: i64) -> Result<()> {
        let leaving: Vec<PaneRows> = self.index.rows.range(..before).map(|(_, rows)| rows.clone()).collect();
        for rows in leaving {
            let slots = self.running_slots(&rows.ids);
            let left = functions.inverse(&self.accumulators(&slots)?, &self.accumulators(&rows.slots)?)?;
            self.table.store(&slots, &left, &all(slots.len()));
        }
        Ok(())
    }

    /// Returns the last pane.
    pub fn last(&self) -> Option<i64> {
        self.index.rows.last_key_value().map(|(pane, _)| *pane)
    }

    /// Returns the keys with a running total: others only have later panes.
    pub fn with_total(&self, ids: &[KeyId]) -> Vec<KeyId> {
        ids.iter().copied().filter(|id| self.index.running(*id) != NONE).collect()
    }

    /// Returns the slots of the running totals of keys that have one.
    pub fn running_slots(&self, ids: &[KeyId]) -> Vec<Slot> {
        ids.iter().map(|id| self.index.running(*id)).collect()
    }

    /// Removes keys without panes.
    pub fn remove_empty(&mut self, ids: impl Iterator<Item = KeyId>) {
        let empty: Vec<KeyId> = ids.filter(|id| !self.index.is_in_pane(*id)).collect();
        let slots = self.running_slots(&empty);
        self.table.remove_all(&slots);
        empty.iter().for_each(|id| self.index.remove_running(*id));
        self.remove_keys(&empty);
    }
}

/// Adds partial results to a table of accumulators: its key columns and the input of [`Accumulate::merge`], row by row. Returns the distinct changed
/// slots, in the order of their first rows. `group_of` is scratch space.
pub fn fold_into(
    table: &mut StateTable,
    group_of: &mut Vec<u32>,
    functions: &mut impl Accumulate,
    keys: &[ArrayRef],
    partial: &[ArrayRef],
    rows: usize,
) -> Result<Vec<Slot>> {
    let encoded = Keys::encode(keys, rows).map_err(Error::arrow)?;
    let (view, hashes) = (encoded.view(), table.hashes_of(keys, &encoded).map_err(Error::arrow)?);
    let slots = table.warm_slots(view, |row| hashes[row])?;
    let mut groups = PaneGroups::new(group_of, rows);
    slots.into_iter().for_each(|slot| groups.push(slot, table.slots()));
    groups.fold(table, functions, partial)
}

/// The slots of partial results.
struct PaneGroups<'a> {
    /// The group of each slot, [`NONE`] outside of a batch.
    group_of: &'a mut Vec<u32>,
    /// The distinct slots, in the order of their first rows.
    slots: Vec<Slot>,
    /// The group of each row.
    groups: Vec<usize>,
}

impl<'a> PaneGroups<'a> {
    fn new(group_of: &'a mut Vec<u32>, rows: usize) -> PaneGroups<'a> {
        PaneGroups { group_of, slots: Vec::with_capacity(rows), groups: Vec::with_capacity(rows) }
    }

    /// Appends a row with this slot; `slots` is the upper bound of slots.
    #[inline]
    fn push(&mut self, slot: Slot, slots: usize) {
        if self.group_of.len() < slots {
            self.group_of.resize(slots, NONE);
        }
        let group = &mut self.group_of[slot as usize];
        if *group == NONE {
            *group = self.slots.len() as u32;
            self.slots.push(slot);
        }
        self.groups.push(*group as usize);
    }

    /// Merges the rows with each other, and with the table's values of their slots.
    fn fold(self, table: &mut StateTable, functions: &mut impl Accumulate, partial: &[ArrayRef]) -> Result<Vec<Slot>> {
        let PaneGroups { group_of, slots, groups } = self;
        slots.iter().for_each(|slot| group_of[*slot as usize] = NONE);
        let added = functions.merge(partial, &groups, slots.len())?;
        let (old, new): (Vec<u32>, Vec<u32>) =
            (0..slots.len() as u32).partition(|row| table.is_stored(slots[*row as usize]));
        if !old.is_empty() {
            let old_slots = pick(&slots, &old);
            let before = table.states(&old_slots).map_err(Error::arrow)?.0;
            let sums = functions.combine(&before, &take_rows(&added, &old)?)?;
            table.store(&old_slots, &sums, &all(old.len()));
        }
        if !new.is_empty() {
            table.store(&pick(&slots, &new), &take_rows(&added, &new)?, &all(new.len()));
        }
        Ok(slots)
    }
}

/// Assigns keys to vacant slots of a table.
fn occupy(table: &mut StateTable, slots: &[Slot], columns: &[ArrayRef]) -> Result<()> {
    let keys = Keys::encode(columns, slots.len()).map_err(Error::arrow)?;
    let hashes = table.hashes_of(columns, &keys).map_err(Error::arrow)?;
    for (row, (slot, hash)) in slots.iter().zip(hashes).enumerate() {
        table.occupy(*slot, keys.view().get(row), hash);
    }
    Ok(())
}

/// Splits off the column of panes from the key columns.
fn panes_of(keys_and_pane: &[ArrayRef]) -> Result<(&Int64Array, &[ArrayRef])> {
    let (panes, keys) = keys_and_pane.split_last().ok_or_else(without_pane)?;
    Ok((panes.as_primitive_opt::<Int64Type>().ok_or_else(without_pane)?, keys))
}

fn without_pane() -> Error {
    Error::bug("rows of panes that do not say which")
}

/// Returns a mask that keeps all rows.
pub fn all(rows: usize) -> BooleanArray {
    BooleanArray::new(BooleanBuffer::new_set(rows), None)
}

/// Returns the values at these indexes.
pub fn pick(values: &[u32], indexes: &[u32]) -> Vec<u32> {
    indexes.iter().map(|index| values[*index as usize]).collect()
}

/// Returns the rows at these indexes, which are ascending and distinct.
pub fn take_rows(rows: &RecordBatch, indexes: &[u32]) -> Result<RecordBatch> {
    if indexes.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    take_record_batch(rows, &UInt32Array::from(indexes.to_vec())).map_err(Error::arrow)
}
