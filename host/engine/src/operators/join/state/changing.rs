//! A join of two changing tables. Each side stores its rows with their counts. Every batch emits deleted and inserted rows of the result. Changes
//! that a batch reverts itself are not emitted.

mod key_rows;

pub use self::key_rows::KeyIndex;
use super::joined::{Joined, Pair, RowPosition};
use super::{RowCount, Side};
use crate::state::{Slot, StateTable, TouchSource};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchTime;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_job::spec::JoinKind;
use millstream_rows::batch::keys::{KeyHash, Keys};
use millstream_rows::batch::op::Op;
use millstream_rows::batch::types::{ColumnType, timestamps};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Count of a row.
const COUNT: &str = "millstream_count";
/// Time of its last arrival.
const AT: &str = "millstream_at";
/// Index of that among the state columns.
const AT_COLUMN: usize = 1;
/// Approximate number of rows of expired keys that are brought into memory at a time.
const DROPPED_MAX: usize = 1 << 16;

/// The plan of a join, checked by the graph.
#[derive(Clone)]
pub struct ChangingJoinPlan {
    /// Which rows are also emitted without a partner.
    pub kind: JoinKind,
    /// Number of key columns: the first ones of a layout.
    pub on: usize,
    /// The stored columns of each side's rows, in the order of its layout. The column with the row's operation follows.
    pub rows: [SchemaRef; 2],
    /// The output columns, without the operation.
    pub joined: Joined,
    /// Keys without new rows for this long, on either side, are dropped.
    pub ttl_us: Option<i64>,
}

impl ChangingJoinPlan {
    /// Returns when a row is idle in a table that may spill, if there is a `ttl`.
    pub fn idle(&self) -> Option<(TouchSource, i64)> {
        self.ttl_us.map(|ttl_us| (TouchSource::State(AT_COLUMN), ttl_us))
    }
}

/// Returns the state columns of a side's table; the row is the key.
pub fn stored_schema() -> SchemaRef {
    let field = |name, kind: ColumnType| Field::new(name, kind.arrow(), false);
    Arc::new(Schema::new(vec![field(COUNT, ColumnType::Int64), field(AT, ColumnType::Timestamp)]))
}

/// The join on one worker.
pub struct ChangingJoin {
    what: ChangingJoinPlan,
    tables: [StateTable; 2],
    keys: KeyIndex,
    /// With a `ttl`, each time at which a key received rows. Tables that spill track that themselves.
    came: BTreeSet<(i64, Box<[u8]>)>,
}

/// A row that a batch changes.
struct TouchedRow {
    slot: Slot,
    before: i64,
    after: i64,
    /// Time of its last arrival.
    at: i64,
}

/// A row of a key: its slot, and its count before and after the batch.
#[derive(Clone, Copy)]
struct Row {
    slot: Slot,
    before: i64,
    after: i64,
}

/// The rows of a key that a batch changes, and the others, by side.
#[derive(Default)]
struct ChangedKeyRows {
    touched: [Vec<Row>; 2],
    others: [Vec<Row>; 2],
}

/// Effects of the rows of one side.
struct SideChanges {
    touched: Vec<TouchedRow>,
    /// The key of each of them, by its index among the keys of the batch.
    of: Vec<usize>,
    rejected: Vec<(u32, String)>,
}

/// The keys with rows in a batch.
#[derive(Default)]
struct BatchKeys {
    indexes: HashMap<Box<[u8]>, usize>,
    all: Vec<BatchKey>,
}

struct BatchKey {
    bytes: Box<[u8]>,
    hash: KeyHash,
    /// A key with a null has no partners.
    null: bool,
    /// Indexes among the touched rows of each side.
    touched: [Vec<usize>; 2],
}

/// Deleted or inserted pairs, as slots of both sides, in order.
type Slots = Vec<[Option<Slot>; 2]>;

/// The changes of a join's result by a batch.
pub struct JoinedChanges {
    /// Deleted rows.
    pub deleted: Vec<RecordBatch>,
    /// Inserted rows.
    pub inserted: Vec<RecordBatch>,
    /// For each side, rejected rows, and why.
    pub rejected: [Vec<(u32, String)>; 2],
}

impl ChangingJoin {
    /// Creates a join without rows.
    pub fn new(what: ChangingJoinPlan) -> Result<ChangingJoin> {
        let table = |side: Side| {
            let fields = what.rows[side.index()].fields().iter().cloned().collect();
            StateTable::new(fields, stored_schema(), None).map_err(Error::arrow)
        };
        let tables = [table(Side::First)?, table(Side::Second)?];
        let keys = KeyIndex::new(what.on);
        Ok(ChangingJoin { what, tables, keys, came: BTreeSet::new() })
    }

    /// Returns the tables of both sides, for checkpoints.
    pub fn tables(&mut self) -> &mut [StateTable; 2] {
        &mut self.tables
    }

    /// Lets rows spill to files from now on; `spilling` converts a table.
    pub fn spilling(mut self, spilling: impl Fn(StateTable) -> Result<StateTable>) -> Result<ChangingJoin> {
        let (on, idle) = (self.what.on, self.what.idle());
        let [first, second] = self.tables.map(|table| {
            let table = table.ordered_by(on);
            match idle {
                Some((by, timeout_us)) => table.with_touch_source(by, timeout_us),
                None => table,
            }
        });
        self.tables = [spilling(first)?, spilling(second)?];
        Ok(self)
    }

    /// Spills rows after a batch, if needed.
    pub fn settle(&mut self) -> Result<()> {
        self.keys.shrink(&mut self.tables)
    }

    /// Returns the part of the memory that is never spilled.
    pub fn kept_bytes(&self) -> u64 {
        if self.spills() { self.keys.bytes() } else { self.bytes() }
    }

    /// Returns the number of different stored rows.
    pub fn row_count(&self) -> usize {
        self.tables.iter().map(StateTable::len).sum()
    }

    /// Returns the approximate memory of the rows.
    pub fn bytes(&self) -> u64 {
        let rows: u64 = self.tables.iter().map(StateTable::bytes).sum();
        let in_memory: u64 = self.tables.iter().map(|table| table.len() as u64 - table.cold().0).sum();
        rows + self.keys.bytes() + in_memory * size_of::<Slot>() as u64
    }

    fn spills(&self) -> bool {
        self.tables.iter().any(StateTable::spills)
    }

    /// Indexes the keys of all rows in memory.
    pub fn restored(&mut self) -> Result<()> {
        self.keys.enter_all(&self.tables)?;
        if self.what.ttl_us.is_none() || self.spills() {
            return Ok(());
        }
        for table in &self.tables {
            let slots: Vec<Slot> = table.all().collect();
            let (keys, (_, times)) = (self.keys.keys_of(table, &slots)?, counts(table, &slots)?);
            self.came.extend((0..).zip(times).map(|(row, at)| (at, keys.view().get(row).into())));
        }
        Ok(())
    }

    /// Brings all rows of these rows' keys into memory.
    fn warm(&mut self, rows: [&RecordBatch; 2]) -> Result<()> {
        if self.tables.iter().all(|table| table.cold().0 == 0) {
            return Ok(());
        }
        let mut hashes: Vec<KeyHash> = Vec::new();
        for rows in rows {
            let on = rows.columns().get(..self.what.on).unwrap_or_default();
            hashes.extend(Keys::encode(on, rows.num_rows()).map_err(Error::arrow)?.hashes());
        }
        self.warm_hashes(&hashes)
    }

    fn warm_hashes(&mut self, hashes: &[KeyHash]) -> Result<()> {
        for side in Side::BOTH {
            let table = &mut self.tables[side.index()];
            let slots = table.warm_hashes(hashes.iter().copied())?;
            table.used(&slots);
            self.keys.enter(side, table, &slots)?;
        }
        Ok(())
    }

    /// Applies rows to both sides, in the order of arrival. If `ops` says so, the last column has each row's operation.
    pub fn batch(&mut self, now: BatchTime, rows: [&RecordBatch; 2], ops: [bool; 2]) -> Result<JoinedChanges> {
        self.drop_expired(now)?;
        self.warm(rows)?;
        let mut keys = BatchKeys::default();
        let first = self.side(Side::First, now, rows[0], ops[0], &mut keys)?;
        let second = self.side(Side::Second, now, rows[1], ops[1], &mut keys)?;
        let changes = [first, second];
        for side in Side::BOTH {
            for (touched, key) in changes[side.index()].of.iter().enumerate() {
                if let Some(key) = keys.all.get_mut(*key) {
                    key.touched[side.index()].push(touched);
                }
            }
        }
        keys.all.sort_unstable_by(|one, other| (one.hash, &one.bytes).cmp(&(other.hash, &other.bytes)));
        let (mut deleted, mut inserted, mut count) = (Slots::new(), Slots::new(), RowCount::default());
        for key in &keys.all {
            let of_key = self.of_key(key, &changes)?;
            self.changes(key, of_key, &mut |first, second, times| {
                let to = if times < 0 { &mut deleted } else { &mut inserted };
                count.add(times.unsigned_abs())?;
                to.extend((0..times.unsigned_abs()).map(|_| [first, second]));
                Ok(())
            })?;
        }
        let (deleted, inserted) = (self.rows(&deleted)?, self.rows(&inserted)?);
        self.store(now, &keys, &changes)?;
        let [first, second] = changes;
        Ok(JoinedChanges { deleted, inserted, rejected: [first.rejected, second.rejected] })
    }

    /// Computes the effects of a side's rows on its stored rows, row by row.
    fn side(
        &mut self,
        side: Side,
        now: BatchTime,
        rows: &RecordBatch,
        has_op: bool,
        keys: &mut BatchKeys,
    ) -> Result<SideChanges> {
        let kept = self.what.rows[side.index()].fields().len();
        let count = rows.num_rows();
        let columns = rows.columns().get(..kept).ok_or_else(|| Error::bug("a row of a join without its columns"))?;
        let on = columns.get(..self.what.on).ok_or_else(|| Error::bug("a row of a join without its key"))?;
        let op_names = rows.columns().get(kept).filter(|_| has_op).and_then(|column| column.as_string_opt::<i32>());
        let (same, key) =
            (Keys::encode(columns, count).map_err(Error::arrow)?, Keys::encode(on, count).map_err(Error::arrow)?);
        let table = &mut self.tables[side.index()];
        let (same_hashes, key_hashes) = (table.hashes_of(columns, &same).map_err(Error::arrow)?, key.hashes());
        let mut rejected = Vec::new();
        // Each row with an effect, as an index among the touched rows.
        let mut does: Vec<(u32, usize, Op)> = Vec::with_capacity(count);
        let (mut index_of_slot, mut slots, mut of) = (HashMap::new(), Vec::new(), Vec::new());
        for (row, (same_hash, key_hash)) in same_hashes.iter().zip(&key_hashes).enumerate() {
            let number = row as u32;
            let slot = match Op::of_row(op_names, row) {
                Ok(Op::Write) => Some((Op::Write, table.slot(same.view().get(row), *same_hash))),
                Ok(Op::Delete) => table.find(same.view().get(row)).map(|slot| (Op::Delete, slot)),
                Ok(Op::Truncate) => {
                    rejected.push((number, "its `op` is `truncate`, which a join cannot process".to_owned()));
                    continue;
                }
                Err(why) => {
                    rejected.push((number, why));
                    continue;
                }
            };
            let Some((op, slot)) = slot else {
                rejected.push((number, ROW_MISSING.to_owned()));
                continue;
            };
            let position = *index_of_slot.entry(slot).or_insert_with(|| {
                slots.push(slot);
                of.push(keys.index_of(key.view().get(row), *key_hash, || on.iter().any(|column| column.is_null(row))));
                slots.len() - 1
            });
            does.push((number, position, op));
        }
        let (counts, times) = counts(table, &slots)?;
        let touched = slots.iter().zip(counts.iter().zip(&times));
        let mut touched: Vec<TouchedRow> = touched
            .map(|(slot, (count, at))| TouchedRow { slot: *slot, before: *count, after: *count, at: *at })
            .collect();
        for (number, position, op) in does {
            let Some(touched) = touched.get_mut(position) else { continue };
            match op {
                Op::Delete if touched.after == 0 => rejected.push((number, ROW_MISSING.to_owned())),
                Op::Delete => touched.after -= 1,
                _ => (touched.after, touched.at) = (touched.after.saturating_add(1), now.0),
            }
        }
        // An order that does not depend on the worker.
        rejected.sort_by_key(|(row, _)| (key_hashes.get(*row as usize).map(|hash| hash.group()), *row));
        Ok(SideChanges { touched, of, rejected })
    }

    /// Collects the rows of a key.
    fn of_key(&self, key: &BatchKey, changes: &[SideChanges; 2]) -> Result<ChangedKeyRows> {
        let mut all = ChangedKeyRows::default();
        for side in Side::BOTH {
            let touched =
                key.touched[side.index()].iter().filter_map(|position| changes[side.index()].touched.get(*position));
            let mut rows: Vec<Row> =
                touched.map(|row| Row { slot: row.slot, before: row.before, after: row.after }).collect();
            self.sort(side, &mut rows);
            all.touched[side.index()] = rows;
        }
        let Some(kept) = self.keys.get(&key.bytes) else { return Ok(all) };
        for side in Side::BOTH {
            // Unchanged rows only matter if the other side changes.
            if all.touched[side.other().index()].is_empty() {
                continue;
            }
            let touched: BTreeSet<Slot> = all.touched[side.index()].iter().map(|row| row.slot).collect();
            let slots: Vec<Slot> =
                kept.slots[side.index()].iter().copied().filter(|slot| !touched.contains(slot)).collect();
            let (counts, _) = counts(&self.tables[side.index()], &slots)?;
            let row = |(slot, count): (&Slot, &i64)| Row { slot: *slot, before: *count, after: *count };
            let mut rows: Vec<Row> = slots.iter().zip(&counts).map(row).collect();
            self.sort(side, &mut rows);
            all.others[side.index()] = rows;
        }
        Ok(all)
    }

    /// Orders rows of a key by their values.
    fn sort(&self, side: Side, rows: &mut [Row]) {
        let table = &self.tables[side.index()];
        rows.sort_unstable_by(|one, other| table.key(one.slot).cmp(table.key(other.slot)));
    }

    /// Computes by how much the count of each pair of a key changes with the batch.
    fn changes(
        &self,
        key: &BatchKey,
        rows: ChangedKeyRows,
        report: &mut impl FnMut(Option<Slot>, Option<Slot>, i64) -> Result<()>,
    ) -> Result<()> {
        let ChangedKeyRows { touched, others } = rows;
        let mut report = |first, second, times| if times == 0 { Ok(()) } else { report(first, second, times) };
        if !key.null {
            let times = |a: &Row, b: &Row| {
                let (after, before) = (a.after.saturating_mul(b.after), a.before.saturating_mul(b.before));
                after.saturating_sub(before)
            };
            for a in &touched[0] {
                for b in touched[1].iter().chain(&others[1]) {
                    report(Some(a.slot), Some(b.slot), times(a, b))?;
                }
            }
            for a in &others[0] {
                for b in &touched[1] {
                    report(Some(a.slot), Some(b.slot), times(a, b))?;
                }
            }
        }
        for side in Side::BOTH.into_iter().filter(|side| side.is_outer(self.what.kind)) {
            let [was_alone, is_alone] = self.unmatched(key, side, &touched);
            let stay = if was_alone == is_alone { [].as_slice() } else { &others[side.index()] };
            for row in touched[side.index()].iter().chain(stay) {
                let times = if is_alone { row.after } else { 0 } - if was_alone { row.before } else { 0 };
                match side {
                    Side::First => report(Some(row.slot), None, times)?,
                    Side::Second => report(None, Some(row.slot), times)?,
                }
            }
        }
        Ok(())
    }

    /// Returns whether the rows of a side have no partners, before and after the batch.
    fn unmatched(&self, key: &BatchKey, side: Side, touched: &[Vec<Row>; 2]) -> [bool; 2] {
        if key.null {
            return [true, true];
        }
        let other = side.other().index();
        let kept = self.keys.get(&key.bytes).map_or(0, |kept| kept.slots[other].len());
        let some = |is: fn(&Row) -> bool| touched[other].iter().filter(|row| is(row)).count();
        let after = (kept + some(|row| row.before == 0 && row.after > 0))
            .saturating_sub(some(|row| row.before > 0 && row.after == 0));
        [kept == 0, after == 0]
    }

    /// Returns the rows of these pairs, while all their parts are still stored.
    fn rows(&self, pairs: &Slots) -> Result<Vec<RecordBatch>> {
        let some = |pairs: &[[Option<Slot>; 2]]| {
            let mut picked: Vec<Pair> = vec![[None, None]; pairs.len()];
            let mut sides: Vec<RecordBatch> = Vec::with_capacity(2);
            for side in Side::BOTH {
                let (mut row_of, mut slots) = (HashMap::new(), Vec::new());
                for (pair, picked) in pairs.iter().zip(&mut picked) {
                    let Some(slot) = pair[side.index()] else { continue };
                    let row = *row_of.entry(slot).or_insert_with(|| {
                        slots.push(slot);
                        slots.len() as u32 - 1
                    });
                    picked[side.index()] = Some(RowPosition { chunk: 0, row });
                }
                let columns = self.tables[side.index()].keys(&slots).map_err(Error::arrow)?;
                sides.push(RecordBatch::try_new(self.what.rows[side.index()].clone(), columns).map_err(Error::arrow)?);
            }
            let [first, second] = sides.as_slice() else { return Err(Error::bug("a join of other than two sides")) };
            self.what.joined.rows([&[first], &[second]], &picked).map_err(Error::arrow)
        };
        pairs.chunks(PART_ROWS_MAX).map(some).collect()
    }

    /// Stores the state after the batch.
    fn store(&mut self, now: BatchTime, keys: &BatchKeys, changes: &[SideChanges; 2]) -> Result<()> {
        for side in Side::BOTH {
            let touched = &changes[side.index()].touched;
            let slots: Vec<Slot> = touched.iter().map(|row| row.slot).collect();
            let kept: BooleanArray = touched.iter().map(|row| Some(row.after > 0)).collect();
            let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(touched.iter().map(|row| row.after)));
            let times = timestamps(touched.iter().map(|row| row.at));
            let states = RecordBatch::try_new(stored_schema(), vec![counts, times]).map_err(Error::arrow)?;
            self.tables[side.index()].store(&slots, &states, &kept);
            self.tables[side.index()].used(&slots);
        }
        let (mut shrunk, notes_times) = (Vec::new(), self.what.ttl_us.is_some() && !self.spills());
        for key in &keys.all {
            let rows = self.keys.rows_of(&key.bytes);
            for side in Side::BOTH {
                let touched = key.touched[side.index()].iter();
                let touched = || touched.clone().filter_map(|position| changes[side.index()].touched.get(*position));
                if touched().any(|row| row.before > 0 && row.after == 0) {
                    let removed: BTreeSet<Slot> = touched().filter(|row| row.after == 0).map(|row| row.slot).collect();
                    rows.slots[side.index()].retain(|slot| !removed.contains(slot));
                    shrunk.push(&key.bytes);
                }
                rows.slots[side.index()]
                    .extend(touched().filter(|row| row.before == 0 && row.after > 0).map(|row| row.slot));
                if let Some(at) = touched().filter(|row| row.after > 0).map(|row| row.at).max().filter(|_| notes_times)
                {
                    self.came.insert((at, key.bytes.clone()));
                }
            }
            if rows.slots.iter().all(Vec::is_empty) {
                self.keys.remove(&key.bytes);
            }
        }
        if let Some(limit) = self.limit(now) {
            // If the newest rows of a key were deleted, the remaining ones may be older.
            for key in shrunk {
                self.drop_key(key, limit)?;
            }
        }
        Ok(())
    }

    /// Returns the time such that keys whose newest row arrived then or before are dropped.
    fn limit(&self, now: BatchTime) -> Option<i64> {
        self.what.ttl_us.map(|ttl_us| now.0.saturating_sub(ttl_us))
    }

    /// Drops the keys without new rows for too long.
    fn drop_expired(&mut self, now: BatchTime) -> Result<()> {
        let Some(limit) = self.limit(now) else { return Ok(()) };
        if self.spills() {
            return self.drop_expired_spilled(now, limit);
        }
        while self.came.first().is_some_and(|(at, _)| *at <= limit) {
            if let Some((_, key)) = self.came.pop_first() {
                self.drop_key(&key, limit)?;
            }
        }
        Ok(())
    }

    /// As [`Self::drop_expired`], for tables that spill.
    fn drop_expired_spilled(&mut self, now: BatchTime, limit: i64) -> Result<()> {
        loop {
            let mut keys: BTreeSet<(KeyHash, Box<[u8]>)> = BTreeSet::new();
            for side in Side::BOTH {
                let table = &mut self.tables[side.index()];
                let mut slots = table.warm_some_idle(now, DROPPED_MAX)?;
                self.keys.enter(side, table, &slots)?;
                slots.extend(table.take_idle_in_memory(now));
                let of_rows = self.keys.keys_of(table, &slots)?;
                keys.extend(
                    (0..slots.len()).zip(of_rows.hashes()).map(|(row, hash)| (hash, of_rows.view().get(row).into())),
                );
            }
            if keys.is_empty() {
                return Ok(());
            }
            // A key's newest row determines whether the others stay, on whichever side it is.
            self.warm_hashes(&keys.iter().map(|(hash, _)| *hash).collect::<Vec<_>>())?;
            keys.iter().try_for_each(|(_, key)| self.drop_key(key, limit))?;
        }
    }

    /// Drops a key if all its rows are at least this old.
    fn drop_key(&mut self, key: &[u8], limit: i64) -> Result<()> {
        let Some(rows) = self.keys.get(key) else { return Ok(()) };
        let mut newest = i64::MIN;
        for side in Side::BOTH {
            let (_, times) = counts(&self.tables[side.index()], &rows.slots[side.index()])?;
            newest = times.into_iter().fold(newest, i64::max);
        }
        if newest > limit {
            return Ok(());
        }
        let Some(rows) = self.keys.remove(key) else { return Ok(()) };
        for (table, slots) in self.tables.iter_mut().zip(rows.slots) {
            let (states, _) = table.states(&slots).map_err(Error::arrow)?;
            table.store(&slots, &states, &BooleanArray::from(vec![false; slots.len()]));
        }
        Ok(())
    }
}

/// Why a deletion is rejected.
const ROW_MISSING: &str = "it deletes a row that does not exist";

impl BatchKeys {
    /// Returns the index of a key.
    fn index_of(&mut self, bytes: &[u8], hash: KeyHash, null: impl FnOnce() -> bool) -> usize {
        if let Some(position) = self.indexes.get(bytes) {
            return *position;
        }
        let position = self.all.len();
        self.indexes.insert(bytes.into(), position);
        self.all.push(BatchKey { bytes: bytes.into(), hash, null: null(), touched: Default::default() });
        position
    }
}

/// Returns the counts of the rows in these slots, and their last arrivals; never if there is no row.
fn counts(table: &StateTable, slots: &[Slot]) -> Result<(Vec<i64>, Vec<i64>)> {
    let (states, known) = table.states(slots).map_err(Error::arrow)?;
    let counts = states.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>());
    let times = states.columns().last().and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let (Some(counts), Some(times)) = (counts, times) else {
        return Err(Error::bug("rows of a join without their counts"));
    };
    let is = |row: usize| known.value(row);
    let of = |values: &[i64], none: i64| {
        values.iter().enumerate().map(|(row, value)| if is(row) { *value } else { none }).collect()
    };
    Ok((of(counts.values(), 0), of(times.values(), i64::MIN)))
}
