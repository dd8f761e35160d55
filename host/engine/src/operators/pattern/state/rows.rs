//! The rows that a pattern stores, by key and time: one table row each. Processed rows without an open attempt that begins at or before them are
//! dropped.

use super::layout::Layout;
use super::matched_row::MatchedRow;
use super::matcher::Matcher;
use super::spilled_keys::SpilledKeys;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_rows::batch::keys::{KeyHash, Keys};
use millstream_rows::batch::types::{ColumnType, timestamps, with_fields};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Returns the columns that distinguish and order the rows of a key: the batch of a row, and its number in it.
pub fn saved_fields() -> [Arc<Field>; 2] {
    ["millstream_batch", "millstream_number"].map(|name| Arc::new(Field::new(name, ColumnType::Int64.arrow(), false)))
}

/// Returns the stored columns of a row: its time, those that expressions read, and whether a match may begin with it.
pub fn saved_schema(layout: &Layout) -> SchemaRef {
    let time = Field::new("millstream_time", ColumnType::Timestamp.arrow(), false);
    let others: Vec<Arc<Field>> = layout.schema.fields().iter().skip(layout.key).cloned().collect();
    let open = Arc::new(Field::new("millstream_open", DataType::Boolean, false));
    with_fields(&Schema::new(vec![time]), others.into_iter().chain([open]))
}

/// A stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredRow {
    /// Its time.
    pub time: i64,
    /// The batch in which it arrived.
    batch: i64,
    /// Its number in that batch.
    number: i64,
    /// Its slot in the table.
    pub slot: Slot,
    /// The row conditions that it satisfies, one bit each.
    pub own: u64,
    /// Whether a match may begin with it.
    pub open: bool,
}

/// The rows of a key, and their possible matches.
pub struct KeyRows {
    /// The bytes of the key.
    pub key: Box<[u8]>,
    /// Their hash.
    pub hash: KeyHash,
    /// In order, without the dropped ones.
    rows: VecDeque<StoredRow>,
    /// Number of the first of them: how many have been dropped.
    first: u64,
    /// How many of them have been processed.
    looked_at: usize,
    /// The attempts.
    pub matcher: Matcher,
    /// When it is due for processing, as in the queue; and the time that it holds back.
    pub due: Option<i64>,
    /// The time of the first processed row that is still stored.
    pub looked_at_us: Option<i64>,
}

impl KeyRows {
    /// Creates a key without rows.
    pub fn new(key: Box<[u8]>, hash: KeyHash) -> KeyRows {
        let (rows, matcher) = (VecDeque::new(), Matcher::default());
        KeyRows { key, hash, rows, first: 0, looked_at: 0, matcher, due: None, looked_at_us: None }
    }

    /// Returns the next unprocessed row, with its number.
    pub fn next(&self) -> Option<(u64, StoredRow)> {
        self.rows.get(self.looked_at).map(|row| (self.first + self.looked_at as u64, *row))
    }

    /// Marks the next row as processed.
    pub fn step(&mut self) {
        self.looked_at += 1;
    }

    /// Returns the number of stored rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns a row by its number.
    pub fn at(&self, position: u64) -> Option<&StoredRow> {
        self.rows.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    /// Returns the time of the first stored row.
    pub fn first(&self) -> Option<i64> {
        self.rows.front().map(|row| row.time)
    }

    /// Returns the slots of all rows.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.rows.iter().map(|row| row.slot)
    }

    /// Returns the time of the first processed row that is still stored.
    pub fn first_looked_at(&self) -> Option<i64> {
        self.rows.front().filter(|_| self.looked_at > 0).map(|row| row.time)
    }

    fn add(&mut self, rows: impl Iterator<Item = StoredRow>) {
        let before = self.rows.len();
        self.rows.extend(rows);
        let waiting = self.rows.make_contiguous().get_mut(self.looked_at..).unwrap_or_default();
        if !waiting.get(before.saturating_sub(self.looked_at + 1)..).unwrap_or_default().is_sorted() {
            // Two ordered runs: this sort finds them and merges.
            waiting.sort();
        }
    }
}

/// The rows of all keys on one worker.
pub struct PatternRows {
    pub(super) table: StateTable,
    pub(super) layout: Layout,
    pub(super) keys: Vec<KeyRows>,
    pub(super) free: Vec<u32>,
    /// The loaded keys, with all rows in memory.
    pub(super) index: HashMap<Box<[u8]>, u32>,
    pub(super) spilled: SpilledKeys,
}

impl PatternRows {
    /// Creates an empty table; `key` are the fields of the key.
    pub fn new(layout: &Layout) -> Result<PatternRows> {
        let key = layout.schema.fields().iter().take(layout.key).cloned();
        let fields = key.chain(saved_fields()).collect();
        let table = StateTable::new(fields, saved_schema(layout), None).map_err(Error::arrow)?;
        let (index, spilled) = (HashMap::new(), SpilledKeys::default());
        Ok(PatternRows { table, layout: layout.clone(), keys: Vec::new(), free: Vec::new(), index, spilled })
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns the number of stored rows, their memory, and the part of it that is never spilled.
    pub fn size(&self) -> (u64, u64, u64) {
        let queues: usize = self.keys.iter().map(|key| key.rows.capacity()).sum();
        let (rows, extra) = (self.table.bytes(), (queues * size_of::<StoredRow>()) as u64 + self.spilled.bytes());
        (self.table.len() as u64, rows + extra, self.table.kept_of(rows) + extra)
    }

    /// Returns the rows of a key, mutable.
    pub fn key_mut(&mut self, key: u32) -> Option<&mut KeyRows> {
        self.keys.get_mut(key as usize)
    }

    /// Returns the rows of a key.
    pub fn get(&self, key: u32) -> Option<&KeyRows> {
        self.keys.get(key as usize)
    }

    /// Stores rows, in the columns of the layout. Returns the distinct numbers of their keys.
    pub fn add(&mut self, batch: BatchId, rows: &RecordBatch, times: &[i64], own: &[u64]) -> Result<Vec<u32>> {
        let count = rows.num_rows();
        let (key, others) = rows.columns().split_at(self.layout.key.min(rows.num_columns()));
        let encoded = Keys::encode(key, count).map_err(Error::arrow)?;
        let batch = i64::try_from(batch.0).unwrap_or(i64::MAX);
        let batches: ArrayRef = Arc::new(Int64Array::from_value(batch, count));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count as i64));
        let columns: Vec<ArrayRef> = key.iter().cloned().chain([batches, numbers]).collect();
        let complete = Keys::encode(&columns, count).map_err(Error::arrow)?;
        let hashes = self.table.hashes_of(&columns, &complete).map_err(Error::arrow)?;
        let slots: Vec<Slot> =
            hashes.iter().enumerate().map(|(row, hash)| self.table.slot(complete.view().get(row), *hash)).collect();
        let open: ArrayRef = Arc::new(BooleanArray::from(vec![true; count]));
        let time = timestamps(times.iter().copied());
        let states: Vec<ArrayRef> = [time].into_iter().chain(others.iter().cloned()).chain([open]).collect();
        let states = RecordBatch::try_new(self.table.state_schema(), states).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true; count]));
        let row = |row: usize| StoredRow {
            time: times[row],
            batch,
            number: row as i64,
            slot: slots[row],
            own: own[row],
            open: true,
        };
        let touched = self.insert(&encoded, (0..count).map(row).collect());
        if self.table.spills() {
            // A key needs all of its rows.
            let slots: Vec<Slot> = touched.iter().filter_map(|key| self.get(*key)).flat_map(KeyRows::slots).collect();
            self.table.used(&slots);
        }
        Ok(touched)
    }

    /// Adds table rows that are back in memory, with all rows of their keys. `own` computes the row conditions that they satisfy, from the columns of
    /// the layout. Returns the distinct numbers of their keys.
    pub fn enter(&mut self, slots: &[Slot], own: impl Fn(&RecordBatch) -> Result<Vec<u64>>) -> Result<Vec<u32>> {
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let mut keys = self.table.keys(slots).map_err(Error::arrow)?;
        let numbers = keys.split_off(self.layout.key.min(keys.len()));
        let (states, _) = self.table.states(slots).map_err(Error::arrow)?;
        let others = states.columns().get(1..states.num_columns().saturating_sub(1)).unwrap_or_default();
        let layout = keys.iter().chain(others).cloned().collect();
        let own = own(&self.layout.rows(layout, slots.len())?)?;
        let [batches, numbers] = numbers.as_slice() else { return Err(damaged()) };
        let of = |column: &ArrayRef| column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(damaged);
        let (batches, numbers) = (of(batches)?, of(numbers)?);
        let times = states.column(0).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(damaged)?;
        let open = states.columns().last().and_then(|open| open.as_boolean_opt()).ok_or_else(damaged)?;
        let encoded = Keys::encode(&keys, slots.len()).map_err(Error::arrow)?;
        let row = |row: usize| StoredRow {
            time: times.value(row),
            batch: batches.value(row),
            number: numbers.value(row),
            slot: slots[row],
            own: own[row],
            open: open.value(row),
        };
        Ok(self.insert(&encoded, (0..slots.len()).map(row).collect()))
    }

    fn insert(&mut self, keys: &Keys, rows: Vec<StoredRow>) -> Vec<u32> {
        let hashes = if self.layout.key == 0 { vec![KeyHash(0); rows.len()] } else { keys.hashes() };
        let mut of_keys: Vec<(u32, StoredRow)> = Vec::with_capacity(rows.len());
        for (position, row) in rows.into_iter().enumerate() {
            let key = keys.view().get(position);
            let number = match self.index.get(key) {
                Some(number) => *number,
                None => self.new_key(key, hashes[position]),
            };
            of_keys.push((number, row));
        }
        // Stable: rows of a key keep the order of arrival.
        of_keys.sort_by_key(|(number, _)| *number);
        let mut touched = Vec::new();
        for of_key in of_keys.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((number, _)) = of_key.first() else { continue };
            if let Some(key) = self.keys.get_mut(*number as usize) {
                key.add(of_key.iter().map(|(_, row)| *row));
                touched.push(*number);
            }
        }
        touched
    }

    fn new_key(&mut self, key: &[u8], hash: KeyHash) -> u32 {
        let rows = KeyRows::new(key.into(), hash);
        let number = match self.free.pop() {
            Some(number) => {
                self.keys[number as usize] = rows;
                number
            }
            None => {
                self.keys.push(rows);
                (self.keys.len() - 1) as u32
            }
        };
        self.index.insert(key.into(), number);
        number
    }

    /// Returns the slots of the rows of a match, with their steps, from the first row on.
    pub fn slots(&self, key: u32, matched: Option<&MatchedRow>) -> Vec<(Slot, usize)> {
        let Some(rows) = self.get(key) else { return Vec::new() };
        let all = matched.into_iter().flat_map(MatchedRow::rows);
        let mut slots: Vec<(Slot, usize)> =
            all.filter_map(|(position, step)| Some((rows.at(position)?.slot, step))).collect();
        slots.reverse();
        slots
    }

    /// Returns a column of the layout for these rows; null for a missing row.
    pub fn column(&self, position: usize, slots: &[Option<Slot>]) -> Result<ArrayRef> {
        let Some(position) = position.checked_sub(self.layout.key) else { return self.key_column(position, slots) };
        // After the time.
        self.table.state_column(position + 1, slots).map_err(Error::arrow)
    }

    fn key_column(&self, position: usize, slots: &[Option<Slot>]) -> Result<ArrayRef> {
        let existing: Vec<Slot> = slots.iter().flatten().copied().collect();
        let keys = self.table.keys(&existing).map_err(Error::arrow)?;
        let column = keys.get(position).ok_or_else(damaged)?;
        let mut next = 0..existing.len() as u32;
        let indexes: UInt32Array = slots.iter().map(|slot| slot.and_then(|_| next.next())).collect();
        take(column, &indexes, None).map_err(Error::arrow)
    }

    /// Returns the key columns of these rows.
    pub fn keys(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let mut keys = self.table.keys(slots).map_err(Error::arrow)?;
        keys.truncate(self.layout.key);
        Ok(keys)
    }

    /// Marks rows of a key at which no match can begin any longer, and drops the rows that are no longer needed. Adds slots to `closed`, to be stored
    /// as such, and to `removed`, to be removed.
    pub fn close(&mut self, key: u32, indexes: &[u64], closed: &mut Vec<Slot>, removed: &mut Vec<Slot>) {
        let Some(of) = self.keys.get_mut(key as usize) else { return };
        for position in indexes {
            let row = position.checked_sub(of.first).and_then(|at| of.rows.get_mut(at as usize));
            if let Some(row) = row.filter(|row| row.open) {
                row.open = false;
                closed.push(row.slot);
            }
        }
        let needed = of.matcher.first().map_or(u64::MAX, |(start, _)| start);
        while of.looked_at > 0 && of.first < needed {
            removed.extend(of.rows.pop_front().map(|row| row.slot));
            of.first += 1;
            of.looked_at -= 1;
        }
        of.rows.shrink_to(of.rows.len() * 2 + 8);
        if of.rows.is_empty() {
            self.index.remove(&of.key);
            of.key = Box::default();
            self.free.push(key);
        }
    }

    /// Applies the results of [`PatternRows::close`] to the table.
    pub fn store(&mut self, mut closed: Vec<Slot>, mut removed: Vec<Slot>) -> Result<()> {
        removed.sort_unstable();
        closed.retain(|slot| removed.binary_search(slot).is_err());
        if !closed.is_empty() {
            let (states, known) = self.table.states(&closed).map_err(Error::arrow)?;
            let mut columns = states.columns().to_vec();
            columns.pop();
            columns.push(Arc::new(BooleanArray::from(vec![false; closed.len()])));
            let states = RecordBatch::try_new(states.schema(), columns).map_err(Error::arrow)?;
            self.table.store(&closed, &states, &known);
        }
        self.table.remove_all(&removed);
        Ok(())
    }
}

fn damaged() -> Error {
    Error::bug("the table of a pattern without its columns")
}
