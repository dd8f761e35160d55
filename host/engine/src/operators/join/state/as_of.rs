//! The as-of join: each row of the first side with the latest row of the second side that has the same key and is not newer. A row of the first side
//! waits until the watermark has passed its time. Until then, a row of the second may be on time. Of the second side, the rows of a key are kept from
//! the last one that is not newer than the watermark.

use super::RowCount;
use super::joined::{Joined, Pair, RowPosition};
use crate::event_time::TIME;
use crate::state::time_counts::TimeCounts;
use crate::state::{OwnedKey, Slot, StateTable, TouchSource};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::context::Watermark;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchTime;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_rows::batch::keys::{KeyHash, Keys, last_number, number_before};
use millstream_rows::batch::types::ColumnType;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Distinguishes rows of the first side with the same key and time, in the order of arrival.
const NUMBER: &str = "millstream_number";
/// Slots whose columns are read at a time.
const SLOTS_AT_ONCE: usize = 16_384;
/// Approximate number of expired rows that are brought into memory at a time for removal.
const OLD_MAX: usize = 1 << 16;

/// An as-of join, checked by the graph.
#[derive(Clone, Debug)]
pub struct AsOf {
    /// Whether rows without a match are emitted as well.
    pub outer: bool,
    /// Number of key columns.
    pub on: usize,
    /// Maximum age of a partner relative to its row of the first side, in microseconds; `None` is unlimited.
    pub within_us: Option<i64>,
    /// The columns of each side, with the time of the row as the last one.
    pub layouts: [SchemaRef; 2],
    /// The output columns.
    pub joined: Joined,
}

impl AsOf {
    /// Returns when a row of a side's table that may spill stops waiting, or is too old for any partner.
    pub fn idle(&self, side: usize) -> Option<(TouchSource, i64)> {
        match side {
            0 => Some((TouchSource::Key(1), 1)),
            _ => self.within_us.map(|within_us| (TouchSource::Key(0), within_us.saturating_add(1))),
        }
    }

    /// Returns the columns of a side's table: those of `on`, those that distinguish the rows of a key, and the others.
    pub fn table(&self, side: usize) -> [Vec<Arc<Field>>; 3] {
        let fields = self.layouts[side].fields();
        let (on, rest) = fields.split_at(self.on);
        let others = rest.split_last().map_or([].as_slice(), |(_, others)| others);
        let time = Arc::new(Field::new(TIME, ColumnType::Timestamp.arrow(), false));
        let number = (side == 0).then(|| Arc::new(Field::new(NUMBER, DataType::Int64, false)));
        let nullable = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_nullable(true));
        [on.to_vec(), [time].into_iter().chain(number).collect(), others.iter().map(nullable).collect()]
    }
}

/// A row that no longer waits, in output order, and its partner.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SettledRow {
    hash: KeyHash,
    key: Box<[u8]>,
    time: i64,
    number: i64,
    slot: Slot,
    partner: Option<Slot>,
}

/// Rows of the first side, by time.
enum FirstSideRows {
    /// All rows are in memory.
    Slots(BTreeMap<i64, Vec<Slot>>),
    /// Some may be in files; the table finds those that no longer wait.
    Times(TimeCounts),
}

/// The join on one worker.
pub struct AsOfJoin {
    what: AsOf,
    /// Rows of the first side, and of the second.
    tables: [StateTable; 2],
    waiting: FirstSideRows,
    /// Rows of the second side in memory, by key and time.
    of_key: HashMap<Box<[u8]>, BTreeMap<i64, Slot>>,
    /// Times at which keys of the second side may have expired rows.
    due: BTreeSet<(i64, Box<[u8]>)>,
    /// Whether `due` includes restored rows that may be in files.
    due_is_complete: bool,
    /// Number of the next row of the first side.
    next: i64,
    /// See [`AsOfJoin::newest`].
    newest: Option<i64>,
}

impl AsOfJoin {
    /// Creates a join without rows.
    pub fn new(what: AsOf) -> Result<AsOfJoin> {
        let table = |side: usize| {
            let [on, sub, others] = what.table(side);
            let fields = on.into_iter().chain(sub).collect();
            StateTable::new(fields, Arc::new(Schema::new(others)), None).map_err(Error::arrow)
        };
        Ok(AsOfJoin {
            tables: [table(0)?, table(1)?],
            what,
            waiting: FirstSideRows::Slots(BTreeMap::new()),
            of_key: HashMap::new(),
            due: BTreeSet::new(),
            due_is_complete: true,
            next: 0,
            newest: None,
        })
    }

    /// Lets rows spill to files; `spilling` converts a table.
    pub fn spilling(self, spilling: impl Fn(StateTable) -> Result<StateTable>) -> Result<AsOfJoin> {
        let AsOfJoin { what, tables: [first, second], .. } = self;
        let table = |side: usize, table: StateTable| {
            let table = table.ordered_by(what.on);
            spilling(match what.idle(side) {
                Some((by, timeout_us)) => table.with_touch_source(by, timeout_us),
                None => table,
            })
        };
        let tables = [table(0, first)?, table(1, second)?];
        let (waiting, of_key, due) = (FirstSideRows::Times(TimeCounts::default()), HashMap::new(), BTreeSet::new());
        Ok(AsOfJoin { tables, what, waiting, of_key, due, due_is_complete: false, next: 0, newest: None })
    }

    fn spills(&self) -> bool {
        matches!(self.waiting, FirstSideRows::Times(_))
    }

    /// Returns the tables of both sides, for checkpoints.
    pub fn tables(&mut self) -> &mut [StateTable; 2] {
        &mut self.tables
    }

    /// Returns the number of stored rows.
    pub fn row_count(&self) -> usize {
        self.tables.iter().map(StateTable::len).sum()
    }

    /// Returns the approximate memory of the rows.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(StateTable::bytes).sum::<u64>() + self.bytes_outside_table()
    }

    /// Returns the part of that memory that is never spilled.
    pub fn kept_bytes(&self) -> u64 {
        if self.spills() { self.bytes_outside_table() } else { self.bytes() }
    }

    fn bytes_outside_table(&self) -> u64 {
        let entry = 2 * size_of::<(i64, Slot)>() as u64;
        match &self.waiting {
            FirstSideRows::Slots(_) => self.row_count() as u64 * entry,
            FirstSideRows::Times(times) => {
                let rows = self.tables[1].rows_in_memory() as u64 * entry;
                rows + times.bytes() + (self.due.len() * size_of::<(i64, Box<[u8]>, KeyHash)>()) as u64
            }
        }
    }

    /// Spills rows after a batch, if needed.
    pub fn settle(&mut self) -> Result<()> {
        let AsOfJoin { what, tables: [first, second], of_key, .. } = self;
        first.shrink()?;
        let moved = second.shrink_notifying(|table, slots| {
            for slots in slots.chunks(SLOTS_AT_ONCE) {
                leave(of_key, what.on, &table.keys(slots).map_err(Error::arrow)?)?;
            }
            Ok(())
        })?;
        if moved {
            self.of_key.clear();
            let slots: Vec<Slot> = self.tables[1].all().collect();
            self.enter(&slots)?;
        }
        Ok(())
    }

    /// Indexes rows of the second side that came into memory.
    fn enter(&mut self, slots: &[Slot]) -> Result<()> {
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            let (keys, times) = keys_and_times(self.what.on, &self.tables[1].keys(slots).map_err(Error::arrow)?)?;
            for (row, (slot, time)) in slots.iter().zip(times).enumerate() {
                self.of_key.entry(keys.view().get(row).into()).or_default().insert(time, *slot);
            }
        }
        Ok(())
    }

    /// Brings all rows of the second side whose keys have these hashes into memory.
    fn warm(&mut self, hashes: impl Iterator<Item = KeyHash>) -> Result<()> {
        let slots = self.tables[1].warm_hashes(hashes)?;
        self.tables[1].used(&slots);
        self.enter(&slots)
    }

    /// Rebuilds the indexes after the tables were restored.
    pub fn restored(&mut self) -> Result<()> {
        let AsOfJoin { tables: [first, _], waiting, next, .. } = self;
        first.each_key(|key| *next = last_number(key).saturating_add(1).max(*next))?;
        match waiting {
            FirstSideRows::Slots(waiting) => {
                for slot in first.all() {
                    waiting.entry(number_before(first.key(slot), 1)).or_default().push(slot);
                }
            }
            FirstSideRows::Times(times) => first.each_touched(|time| times.add(time))?,
        }
        let slots: Vec<Slot> = self.tables[1].all().collect();
        self.enter(&slots)?;
        if !self.spills() {
            let rows = self.of_key.iter().flat_map(|(key, rows)| rows.keys().map(move |time| (*time, key.clone())));
            let rows: Vec<_> = rows.collect();
            rows.into_iter().for_each(|(time, key)| self.note_due(time, &key));
        }
        Ok(())
    }

    /// Records keys with rows of the second side newer than `before`. They may have older rows that expire when the watermark passes the newer ones.
    /// Of other keys there is at most one row, as the watermark has passed it.
    fn record_due(&mut self, before: Option<i64>) -> Result<()> {
        if std::mem::replace(&mut self.due_is_complete, true) {
            return Ok(());
        }
        let mut newer: Vec<OwnedKey> = Vec::new();
        self.tables[1].each_key(|key| {
            if before.is_none_or(|before| last_number(key) > before) {
                newer.push((KeyHash(0), key.into()));
            }
        })?;
        for newer in newer.chunks(SLOTS_AT_ONCE) {
            let columns = self.tables[1].key_columns(newer).map_err(Error::arrow)?;
            let (keys, times) = keys_and_times(self.what.on, &columns)?;
            self.due.extend((0..).zip(times).map(|(row, time)| (time, keys.view().get(row).into())));
        }
        Ok(())
    }

    fn note_due(&mut self, time: i64, key: &[u8]) {
        self.due.insert((time, key.into()));
        // In files a row is idle then.
        if let Some(within_us) = self.what.within_us.filter(|_| !self.spills()) {
            self.due.insert((time.saturating_add(within_us).saturating_add(1), key.into()));
        }
    }

    /// Processes the rows of a batch, none of which is late. `watermark` is the event time up to which other rows were late before, and are from now
    /// on. Returns the output in the order of key hashes, then of times, then of arrival.
    pub fn batch(&mut self, rows: [RecordBatch; 2], watermark: Watermark) -> Result<Vec<RecordBatch>> {
        let [first, second] = rows;
        self.record_due(watermark.before)?;
        self.keep(second)?;
        self.wait(first)?;
        self.newest = None;
        let Some(complete) = watermark.now else { return Ok(Vec::new()) };
        let slots: Vec<Slot> = match &mut self.waiting {
            FirstSideRows::Slots(waiting) => {
                let later = waiting.split_off(&complete);
                std::mem::replace(waiting, later).into_values().flatten().collect()
            }
            FirstSideRows::Times(times) => {
                let slots = self.tables[0].take_idle(BatchTime(complete))?;
                slots.iter().for_each(|slot| times.remove(number_before(self.tables[0].key(*slot), 1)));
                slots
            }
        };
        self.newest = slots.iter().map(|slot| number_before(self.tables[0].key(*slot), 1)).max();
        RowCount::default().add(slots.len() as u64)?;
        let rows = self.find(slots)?;
        self.drop_expired(complete)?;
        Ok(rows)
    }

    /// Stores rows of the second side; those without a key never match.
    fn keep(&mut self, rows: RecordBatch) -> Result<()> {
        let on = rows.columns().get(..self.what.on).unwrap_or_default();
        let good: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(on.iter().all(|column| column.is_valid(row)))).collect();
        let rows =
            if good.false_count() == 0 { rows } else { filter_record_batch(&rows, &good).map_err(Error::arrow)? };
        let times = times(rows.columns().last())?;
        let slots = self.store(1, &rows, None)?;
        let on = rows.columns().get(..self.what.on).unwrap_or_default();
        let keys = Keys::encode(on, rows.num_rows()).map_err(Error::arrow)?;
        for (row, (slot, time)) in slots.into_iter().zip(times).enumerate() {
            let key = keys.view().get(row);
            self.of_key.entry(key.into()).or_default().insert(time, slot);
            self.note_due(time, key);
        }
        Ok(())
    }

    /// Stores rows of the first side until they can be matched.
    fn wait(&mut self, rows: RecordBatch) -> Result<()> {
        let count = rows.num_rows() as i64;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(self.next..self.next + count));
        self.next += count;
        let slots = self.store(0, &rows, Some(numbers))?;
        for (slot, time) in slots.into_iter().zip(times(rows.columns().last())?) {
            match &mut self.waiting {
                FirstSideRows::Slots(waiting) => waiting.entry(time).or_default().push(slot),
                FirstSideRows::Times(times) => times.add(time),
            }
        }
        Ok(())
    }

    /// Stores rows in the table of a side. On the second side, the last row of a key and time wins.
    fn store(&mut self, side: usize, rows: &RecordBatch, numbers: Option<ArrayRef>) -> Result<Vec<Slot>> {
        let columns = rows.columns();
        let last = columns.len().saturating_sub(1);
        let key = columns.iter().take(self.what.on).chain(columns.last()).cloned().chain(numbers);
        let key: Vec<ArrayRef> = key.collect();
        let keys = Keys::encode(&key, rows.num_rows()).map_err(Error::arrow)?;
        let table = &mut self.tables[side];
        let hashes = table.hashes_of(&key, &keys).map_err(Error::arrow)?;
        let slots = table.warm_slots(keys.view(), |row| hashes[row])?;
        let others = columns.get(self.what.on..last).unwrap_or_default().to_vec();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let states = RecordBatch::try_new_with_options(table.state_schema(), others, &options).map_err(Error::arrow)?;
        table.store(&slots, &states, &BooleanArray::from(vec![true; slots.len()]));
        table.used(&slots);
        Ok(slots)
    }

    /// Returns the rows in these slots of a side, with their input columns.
    fn rows(&self, side: usize, slots: &[Slot]) -> Result<RecordBatch> {
        let keys = self.tables[side].keys(slots).map_err(Error::arrow)?;
        let (states, _) = self.tables[side].states(slots).map_err(Error::arrow)?;
        let (on, sub) = keys.split_at(self.what.on);
        let columns = on.iter().chain(states.columns()).chain(sub.first()).cloned().collect();
        RecordBatch::try_new(self.what.layouts[side].clone(), columns).map_err(Error::arrow)
    }

    /// Returns rows of the first side that no longer wait, with their partners.
    fn find(&mut self, slots: Vec<Slot>) -> Result<Vec<RecordBatch>> {
        if self.spills() {
            let hashes: Vec<KeyHash> = slots.iter().map(|slot| self.tables[0].hash_of(*slot)).collect();
            self.warm(hashes.into_iter())?;
        }
        let mut found: Vec<SettledRow> = Vec::with_capacity(slots.len());
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            let columns = self.tables[0].keys(slots).map_err(Error::arrow)?;
            let (on, sub) = columns.split_at(self.what.on);
            let numbers = sub.last().and_then(|numbers| numbers.as_primitive_opt::<Int64Type>());
            let numbers = numbers.ok_or_else(|| Error::bug("a row of a join without its number"))?;
            let keys = Keys::encode(on, slots.len()).map_err(Error::arrow)?;
            let hashes = keys.hashes();
            for (row, ((slot, time), hash)) in slots.iter().zip(times(sub.first())?).zip(hashes).enumerate() {
                let key = keys.view().get(row);
                let none = on.iter().any(|column| column.is_null(row));
                let partner = self.of_key.get(key).filter(|_| !none).and_then(|rows| rows.range(..=time).next_back());
                let oldest = self.what.within_us.map_or(i64::MIN, |within_us| time.saturating_sub(within_us));
                let partner = partner.filter(|(at, _)| **at >= oldest).map(|(_, slot)| *slot);
                let number = numbers.value(row);
                found.push(SettledRow { hash, key: key.into(), time, number, slot: *slot, partner });
            }
        }
        found.sort_unstable();
        found.retain(|found| self.what.outer || found.partner.is_some());
        let made = found.chunks(PART_ROWS_MAX).map(|some| {
            let first: Vec<Slot> = some.iter().map(|found| found.slot).collect();
            let second: Vec<Slot> = some.iter().filter_map(|found| found.partner).collect();
            let sides = [self.rows(0, &first)?, self.rows(1, &second)?];
            let mut next = 0..second.len() as u32;
            let pair = |(row, found): (u32, &SettledRow)| -> Pair {
                let second = found.partner.and_then(|_| next.next()).map(|row| RowPosition { chunk: 0, row });
                [Some(RowPosition { chunk: 0, row }), second]
            };
            let pairs: Vec<Pair> = (0u32..).zip(some).map(pair).collect();
            self.what.joined.rows([&[&sides[0]], &[&sides[1]]], &pairs).map_err(Error::arrow)
        });
        let made = made.collect::<Result<Vec<_>>>()?;
        self.remove(0, &slots)?;
        Ok(made)
    }

    fn remove(&mut self, side: usize, slots: &[Slot]) -> Result<()> {
        let (states, _) = self.tables[side].states(slots).map_err(Error::arrow)?;
        self.tables[side].store(slots, &states, &BooleanArray::from(vec![false; slots.len()]));
        Ok(())
    }

    /// Drops rows of the second side that no row can match any longer.
    fn drop_expired(&mut self, complete: i64) -> Result<()> {
        if self.spills() {
            let due = self.due.iter().take_while(|(due, _)| *due <= complete);
            let hashes: Vec<KeyHash> = due.map(|(_, key)| KeyHash::new(key)).collect();
            self.warm(hashes.into_iter())?;
        }
        let mut removed: Vec<Slot> = Vec::new();
        while self.due.first().is_some_and(|(due, _)| *due <= complete) {
            let Some((_, key)) = self.due.pop_first() else { break };
            let Some(rows) = self.of_key.get_mut(&key) else { continue };
            let last = rows.range(..=complete).next_back().map(|(time, _)| *time);
            let oldest = self.what.within_us.map(|within_us| complete.saturating_sub(within_us));
            let Some(from) = last.max(oldest) else { continue };
            let kept = rows.split_off(&from);
            removed.extend(std::mem::replace(rows, kept).into_values());
            if rows.is_empty() {
                self.of_key.remove(&key);
            }
        }
        self.remove(1, &removed)?;
        while self.spills() {
            let old = self.tables[1].take_some_idle(BatchTime(complete), OLD_MAX)?;
            if old.is_empty() {
                break;
            }
            let columns = self.tables[1].keys(&old).map_err(Error::arrow)?;
            leave(&mut self.of_key, self.what.on, &columns)?;
            self.remove(1, &old)?;
        }
        Ok(())
    }

    /// Returns the time of the newest row in the last batch's output.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Returns the time of the oldest waiting row.
    pub fn earliest(&self) -> Option<i64> {
        match &self.waiting {
            FirstSideRows::Slots(waiting) => waiting.first_key_value().map(|(time, _)| *time),
            FirstSideRows::Times(times) => times.first(),
        }
    }
}

/// Removes rows of the second side, with these key columns, from the index of rows in memory.
fn leave(of_key: &mut HashMap<Box<[u8]>, BTreeMap<i64, Slot>>, on: usize, columns: &[ArrayRef]) -> Result<()> {
    let (keys, times) = keys_and_times(on, columns)?;
    for (row, time) in times.iter().enumerate() {
        let key = keys.view().get(row);
        let Some(rows) = of_key.get_mut(key) else { continue };
        rows.remove(time);
        if rows.is_empty() {
            of_key.remove(key);
        }
    }
    Ok(())
}

/// Returns the keys of rows of the second side, and their times, from the key columns of their table.
fn keys_and_times(on: usize, columns: &[ArrayRef]) -> Result<(Keys, Vec<i64>)> {
    let times = times(columns.last())?;
    let keys = Keys::encode(columns.get(..on).unwrap_or_default(), times.len()).map_err(Error::arrow)?;
    Ok((keys, times))
}

/// Reads a column of times.
fn times(column: Option<&ArrayRef>) -> Result<Vec<i64>> {
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    Ok(times.ok_or_else(|| Error::bug("a row of an as-of join without its time"))?.values().to_vec())
}
