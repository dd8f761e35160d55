//! The rows that a pattern keeps, by key and time: a row of the table each. Those that have been looked at and with which no attempt
//! that is still open begins, or has begun before them, are forgotten.

use super::layout::Layout;
use super::matcher::Matcher;
use super::sleeping::SleepingKeys;
use super::taken::MatchedRow;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::batch::keys::{KeyHash, Keys};
use millstream_base::batch::types::{ColumnType, timestamps, with_fields};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The columns that tell the rows of a key apart, and which came first: the batch that brought a row, and its number in it.
pub fn saved_fields() -> [Arc<Field>; 2] {
    ["millstream_batch", "millstream_number"].map(|name| Arc::new(Field::new(name, ColumnType::Int64.arrow(), false)))
}

/// The columns that are kept of a row: its time, those that expressions look at, and whether a match may begin with it.
pub fn saved_schema(layout: &Layout) -> SchemaRef {
    let time = Field::new("millstream_time", ColumnType::Timestamp.arrow(), false);
    let others: Vec<Arc<Field>> = layout.schema.fields().iter().skip(layout.key).cloned().collect();
    let open = Arc::new(Field::new("millstream_open", DataType::Boolean, false));
    with_fields(&Schema::new(vec![time]), others.into_iter().chain([open]))
}

/// A row that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptRow {
    /// Its time.
    pub time: i64,
    /// The batch that brought it.
    batch: i64,
    /// Its number in that batch.
    number: i64,
    /// Where it is in the table.
    pub slot: Slot,
    /// Which conditions it fulfils by itself, a bit each.
    pub own: u64,
    /// A match may begin with it.
    pub open: bool,
}

/// The rows of a key, and the matches that they may become.
pub struct KeyRows {
    /// The bytes of the key.
    pub key: Box<[u8]>,
    /// Their hash.
    pub hash: KeyHash,
    /// In their order, without those that are forgotten.
    rows: VecDeque<KeptRow>,
    /// The place of the first of them: how many have been forgotten.
    first: u64,
    /// How many of them have been looked at.
    looked_at: usize,
    /// The attempts.
    pub matcher: Matcher,
    /// When it is to be looked at next, which stands in the queue; and what it holds back.
    pub due: Option<i64>,
    /// The time of the first row that was looked at and is kept.
    pub held: Option<i64>,
}

impl KeyRows {
    /// Of a key without rows.
    pub fn new(key: Box<[u8]>, hash: KeyHash) -> KeyRows {
        let (rows, matcher) = (VecDeque::new(), Matcher::default());
        KeyRows { key, hash, rows, first: 0, looked_at: 0, matcher, due: None, held: None }
    }

    /// The next row that has not been looked at, with its place.
    pub fn next(&self) -> Option<(u64, KeptRow)> {
        self.rows.get(self.looked_at).map(|row| (self.first + self.looked_at as u64, *row))
    }

    /// The next row has been looked at.
    pub fn step(&mut self) {
        self.looked_at += 1;
    }

    /// How many rows are kept.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row by its place.
    pub fn at(&self, place: u64) -> Option<&KeptRow> {
        self.rows.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    /// The time of the first row that is kept.
    pub fn first(&self) -> Option<i64> {
        self.rows.front().map(|row| row.time)
    }

    /// The slots of all rows.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.rows.iter().map(|row| row.slot)
    }

    /// The first row that has been looked at and is kept.
    pub fn first_looked_at(&self) -> Option<i64> {
        self.rows.front().filter(|_| self.looked_at > 0).map(|row| row.time)
    }

    fn add(&mut self, rows: impl Iterator<Item = KeptRow>) {
        let before = self.rows.len();
        self.rows.extend(rows);
        let waiting = self.rows.make_contiguous().get_mut(self.looked_at..).unwrap_or_default();
        if !waiting.get(before.saturating_sub(self.looked_at + 1)..).unwrap_or_default().is_sorted() {
            // Two runs: this sort finds them and merges.
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
    /// The keys all of whose rows are in memory.
    pub(super) index: HashMap<Box<[u8]>, u32>,
    pub(super) asleep: SleepingKeys,
}

impl PatternRows {
    /// Keeps nothing yet. `key` are the fields of the key.
    pub fn new(layout: &Layout) -> Result<PatternRows> {
        let key = layout.schema.fields().iter().take(layout.key).cloned();
        let fields = key.chain(saved_fields()).collect();
        let table = StateTable::new(fields, saved_schema(layout), None).map_err(Error::arrow)?;
        let (index, asleep) = (HashMap::new(), SleepingKeys::default());
        Ok(PatternRows { table, layout: layout.clone(), keys: Vec::new(), free: Vec::new(), index, asleep })
    }

    /// The table, to restore it and to save its changes.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// How many rows are kept, the memory that they take, and what of it never lies in files.
    pub fn size(&self) -> (u64, u64, u64) {
        let queues: usize = self.keys.iter().map(|key| key.rows.capacity()).sum();
        let (rows, beside) = (self.table.bytes(), (queues * size_of::<KeptRow>()) as u64 + self.asleep.bytes());
        (self.table.len() as u64, rows + beside, self.table.kept_of(rows) + beside)
    }

    /// The rows of a key.
    pub fn of(&mut self, key: u32) -> Option<&mut KeyRows> {
        self.keys.get_mut(key as usize)
    }

    /// The same, to be looked at.
    pub fn get(&self, key: u32) -> Option<&KeyRows> {
        self.keys.get(key as usize)
    }

    /// Keeps rows, in the columns of the layout. Returns the numbers of their keys, each once.
    pub fn add(&mut self, batch: BatchId, rows: &RecordBatch, times: &[i64], own: &[u64]) -> Result<Vec<u32>> {
        let count = rows.num_rows();
        let (key, others) = rows.columns().split_at(self.layout.key.min(rows.num_columns()));
        let encoded = Keys::encode(key, count).map_err(Error::arrow)?;
        let batch = i64::try_from(batch.0).unwrap_or(i64::MAX);
        let batches: ArrayRef = Arc::new(Int64Array::from_value(batch, count));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count as i64));
        let columns: Vec<ArrayRef> = key.iter().cloned().chain([batches, numbers]).collect();
        let whole = Keys::encode(&columns, count).map_err(Error::arrow)?;
        let hashes = self.table.hashes_of(&columns, &whole).map_err(Error::arrow)?;
        let slots: Vec<Slot> =
            hashes.iter().enumerate().map(|(row, hash)| self.table.slot(whole.view().get(row), *hash)).collect();
        let open: ArrayRef = Arc::new(BooleanArray::from(vec![true; count]));
        let time = timestamps(times.iter().copied());
        let states: Vec<ArrayRef> = [time].into_iter().chain(others.iter().cloned()).chain([open]).collect();
        let states = RecordBatch::try_new(self.table.state_schema(), states).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true; count]));
        let row = |row: usize| KeptRow {
            time: times[row],
            batch,
            number: row as i64,
            slot: slots[row],
            own: own[row],
            open: true,
        };
        let touched = self.insert(&encoded, (0..count).map(row).collect());
        if self.table.spills() {
            // A key is of use with all of its rows only.
            let slots: Vec<Slot> = touched.iter().filter_map(|key| self.get(*key)).flat_map(KeyRows::slots).collect();
            self.table.used(&slots);
        }
        Ok(touched)
    }

    /// These rows of the table are in memory again, and none of their keys has others elsewhere: finds them. `own` computes what they
    /// fulfil by themselves, from the columns of the layout. Returns the numbers of their keys, each once.
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
        let row = |row: usize| KeptRow {
            time: times.value(row),
            batch: batches.value(row),
            number: numbers.value(row),
            slot: slots[row],
            own: own[row],
            open: open.value(row),
        };
        Ok(self.insert(&encoded, (0..slots.len()).map(row).collect()))
    }

    fn insert(&mut self, keys: &Keys, rows: Vec<KeptRow>) -> Vec<u32> {
        let hashes = if self.layout.key == 0 { vec![KeyHash(0); rows.len()] } else { keys.hashes() };
        let mut of_keys: Vec<(u32, KeptRow)> = Vec::with_capacity(rows.len());
        for (place, row) in rows.into_iter().enumerate() {
            let key = keys.view().get(place);
            let number = match self.index.get(key) {
                Some(number) => *number,
                None => self.new_key(key, hashes[place]),
            };
            of_keys.push((number, row));
        }
        // Stable: rows of a key stay in the order in which they came.
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

    /// The slots of the rows of a match, with their steps, the first one first.
    pub fn slots(&self, key: u32, taken: Option<&MatchedRow>) -> Vec<(Slot, usize)> {
        let Some(rows) = self.get(key) else { return Vec::new() };
        let all = taken.into_iter().flat_map(MatchedRow::rows);
        let mut slots: Vec<(Slot, usize)> =
            all.filter_map(|(place, step)| Some((rows.at(place)?.slot, step))).collect();
        slots.reverse();
        slots
    }

    /// A column of the layout, of these rows; null where there is none.
    pub fn column(&self, place: usize, slots: &[Option<Slot>]) -> Result<ArrayRef> {
        let Some(place) = place.checked_sub(self.layout.key) else { return self.key_column(place, slots) };
        // Behind the time.
        self.table.state_column(place + 1, slots).map_err(Error::arrow)
    }

    fn key_column(&self, place: usize, slots: &[Option<Slot>]) -> Result<ArrayRef> {
        let there: Vec<Slot> = slots.iter().flatten().copied().collect();
        let keys = self.table.keys(&there).map_err(Error::arrow)?;
        let column = keys.get(place).ok_or_else(damaged)?;
        let mut next = 0..there.len() as u32;
        let places: UInt32Array = slots.iter().map(|slot| slot.and_then(|_| next.next())).collect();
        take(column, &places, None).map_err(Error::arrow)
    }

    /// The key columns of these rows.
    pub fn keys(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let mut keys = self.table.keys(slots).map_err(Error::arrow)?;
        keys.truncate(self.layout.key);
        Ok(keys)
    }

    /// No match begins at these rows of a key any more: notes it, and forgets the rows that nothing needs. Adds those that are to be
    /// stored as closed, and those that are to be removed.
    pub fn close(&mut self, key: u32, places: &[u64], closed: &mut Vec<Slot>, gone: &mut Vec<Slot>) {
        let Some(of) = self.keys.get_mut(key as usize) else { return };
        for place in places {
            let row = place.checked_sub(of.first).and_then(|at| of.rows.get_mut(at as usize));
            if let Some(row) = row.filter(|row| row.open) {
                row.open = false;
                closed.push(row.slot);
            }
        }
        let needed = of.matcher.first().map_or(u64::MAX, |(start, _)| start);
        while of.looked_at > 0 && of.first < needed {
            gone.extend(of.rows.pop_front().map(|row| row.slot));
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

    /// Brings the table up to what [`PatternRows::close`] has noted.
    pub fn store(&mut self, mut closed: Vec<Slot>, mut gone: Vec<Slot>) -> Result<()> {
        gone.sort_unstable();
        closed.retain(|slot| gone.binary_search(slot).is_err());
        if !closed.is_empty() {
            let (states, known) = self.table.states(&closed).map_err(Error::arrow)?;
            let mut columns = states.columns().to_vec();
            columns.pop();
            columns.push(Arc::new(BooleanArray::from(vec![false; closed.len()])));
            let states = RecordBatch::try_new(states.schema(), columns).map_err(Error::arrow)?;
            self.table.store(&closed, &states, &known);
        }
        self.table.remove_all(&gone);
        Ok(())
    }
}

fn damaged() -> Error {
    Error::bug("the table of a pattern without its columns")
}
