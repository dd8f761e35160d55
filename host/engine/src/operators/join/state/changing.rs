//! A join of two tables that change: each side keeps its rows, how often each is there, and every batch tells which rows of the
//! result go and which come. What a batch does and takes back again is not told.

mod key_rows;

pub use self::key_rows::KeyIndex;
use super::joined::{Joined, Pair, RowPlace};
use super::{RowCount, Side};
use crate::state::{IdleBy, Slot, StateTable};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::batch::keys::{KeyHash, Keys};
use millstream_base::batch::op::Op;
use millstream_base::batch::types::{ColumnType, timestamps};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchTime;
use millstream_base::job::spec::JoinKind;
use millstream_base::limits::PART_ROWS_MAX;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How often a row is there.
const COUNT: &str = "millstream_count";
/// When it came last.
const AT: &str = "millstream_at";
/// The place of that among the state columns.
const AT_COLUMN: usize = 1;
/// Rows of forgotten keys that are brought into memory at a time, about.
const FORGOTTEN_MAX: usize = 1 << 16;

/// What a join does, as the graph has checked it.
#[derive(Clone)]
pub struct ChangingJoinPlan {
    /// Which rows come out without a partner, too.
    pub kind: JoinKind,
    /// How many columns make the key: the first ones of a layout.
    pub on: usize,
    /// The columns of each side's rows that are kept, in the order of its layout; the column that says what a row does stands behind
    /// them.
    pub rows: [SchemaRef; 2],
    /// The columns that come out, without the one that says what a row does.
    pub joined: Joined,
    /// A key without new rows for so long, on either side, is forgotten.
    pub ttl_us: Option<i64>,
}

impl ChangingJoinPlan {
    /// When a row is idle in a table that may have rows in files, where there is a `ttl`.
    pub fn idle(&self) -> Option<(IdleBy, i64)> {
        self.ttl_us.map(|ttl_us| (IdleBy::State(AT_COLUMN), ttl_us))
    }
}

/// The state columns of a side's table, whose key is the row.
pub fn kept_schema() -> SchemaRef {
    let field = |name, kind: ColumnType| Field::new(name, kind.arrow(), false);
    Arc::new(Schema::new(vec![field(COUNT, ColumnType::Int64), field(AT, ColumnType::Timestamp)]))
}

/// The join on one worker.
pub struct ChangingJoin {
    what: ChangingJoinPlan,
    tables: [StateTable; 2],
    keys: KeyIndex,
    /// When rows came, with a `ttl`: each time at which a key got some. Where rows may lie in files their tables know that.
    came: BTreeSet<(i64, Box<[u8]>)>,
}

/// A row that a batch changes.
struct TouchedRow {
    slot: Slot,
    before: i64,
    after: i64,
    /// When it came last.
    at: i64,
}

/// A row of a key: where it is kept, and how often before and behind the batch.
#[derive(Clone, Copy)]
struct Row {
    slot: Slot,
    before: i64,
    after: i64,
}

/// The rows of a key that a batch changes, and the others, by side.
#[derive(Default)]
struct OfKey {
    touched: [Vec<Row>; 2],
    others: [Vec<Row>; 2],
}

/// What the rows of one side do to it.
struct SideChanges {
    touched: Vec<TouchedRow>,
    /// The key of each of them, by its place among the keys of the batch.
    of: Vec<usize>,
    refused: Vec<(u32, String)>,
}

/// The keys that a batch has rows of.
#[derive(Default)]
struct BatchKeys {
    places: HashMap<Box<[u8]>, usize>,
    all: Vec<BatchKey>,
}

struct BatchKey {
    bytes: Box<[u8]>,
    hash: KeyHash,
    /// A key with a null has no partners.
    null: bool,
    /// Places among the touched rows of each side.
    touched: [Vec<usize>; 2],
}

/// Pairs that go or come, as slots of both sides, in order.
type Slots = Vec<[Option<Slot>; 2]>;

/// What a batch changed in the rows of a join: those that go, and those that come.
pub struct JoinedChanges {
    /// The rows that go.
    pub deleted: Vec<RecordBatch>,
    /// The rows that come.
    pub inserted: Vec<RecordBatch>,
    /// Of each side, the rows that cannot be understood, and why.
    pub refused: [Vec<(u32, String)>; 2],
}

impl ChangingJoin {
    /// Nothing has come yet.
    pub fn new(what: ChangingJoinPlan) -> Result<ChangingJoin> {
        let table = |side: Side| {
            let fields = what.rows[side.place()].fields().iter().cloned().collect();
            StateTable::new(fields, kept_schema(), None).map_err(Error::arrow)
        };
        let tables = [table(Side::First)?, table(Side::Second)?];
        let keys = KeyIndex::new(what.on);
        Ok(ChangingJoin { what, tables, keys, came: BTreeSet::new() })
    }

    /// The rows of both sides, for what checkpoints hold of them.
    pub fn tables(&mut self) -> &mut [StateTable; 2] {
        &mut self.tables
    }

    /// From now on rows may lie in files, as `spilling` lets a table have them.
    pub fn spilling(mut self, spilling: impl Fn(StateTable) -> Result<StateTable>) -> Result<ChangingJoin> {
        let (on, idle) = (self.what.on, self.what.idle());
        let [first, second] = self.tables.map(|table| {
            let table = table.ordered_by(on);
            match idle {
                Some((by, timeout_us)) => table.idle_by(by, timeout_us),
                None => table,
            }
        });
        self.tables = [spilling(first)?, spilling(second)?];
        Ok(self)
    }

    /// Behind a batch: gives up rows where that is needed.
    pub fn settle(&mut self) -> Result<()> {
        self.keys.shrink(&mut self.tables)
    }

    /// What of it never lies in files.
    pub fn kept_bytes(&self) -> u64 {
        if self.spills() { self.keys.bytes() } else { self.bytes() }
    }

    /// How many different rows are kept.
    pub fn row_count(&self) -> usize {
        self.tables.iter().map(StateTable::len).sum()
    }

    /// The memory that they take, about.
    pub fn bytes(&self) -> u64 {
        let rows: u64 = self.tables.iter().map(StateTable::bytes).sum();
        let in_memory: u64 = self.tables.iter().map(|table| table.len() as u64 - table.cold().0).sum();
        rows + self.keys.bytes() + in_memory * size_of::<Slot>() as u64
    }

    fn spills(&self) -> bool {
        self.tables.iter().any(StateTable::spills)
    }

    /// Finds the keys of all rows that are in memory.
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

    /// Brings all rows of the keys that these have into memory.
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
            let table = &mut self.tables[side.place()];
            let slots = table.warm_hashes(hashes.iter().copied())?;
            table.used(&slots);
            self.keys.enter(side, table, &slots)?;
        }
        Ok(())
    }

    /// Brings both sides to where they are behind these rows, which stand in the order in which they came, with what each does
    /// as their last column where `ops` says so.
    pub fn batch(&mut self, now: BatchTime, rows: [&RecordBatch; 2], ops: [bool; 2]) -> Result<JoinedChanges> {
        self.forget(now)?;
        self.warm(rows)?;
        let mut keys = BatchKeys::default();
        let first = self.side(Side::First, now, rows[0], ops[0], &mut keys)?;
        let second = self.side(Side::Second, now, rows[1], ops[1], &mut keys)?;
        let changes = [first, second];
        for side in Side::BOTH {
            for (touched, key) in changes[side.place()].of.iter().enumerate() {
                if let Some(key) = keys.all.get_mut(*key) {
                    key.touched[side.place()].push(touched);
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
        Ok(JoinedChanges { deleted, inserted, refused: [first.refused, second.refused] })
    }

    /// What the rows of a side do to what is kept of it, row by row.
    fn side(
        &mut self,
        side: Side,
        now: BatchTime,
        rows: &RecordBatch,
        has_op: bool,
        keys: &mut BatchKeys,
    ) -> Result<SideChanges> {
        let kept = self.what.rows[side.place()].fields().len();
        let count = rows.num_rows();
        let columns = rows.columns().get(..kept).ok_or_else(|| Error::bug("a row of a join without its columns"))?;
        let on = columns.get(..self.what.on).ok_or_else(|| Error::bug("a row of a join without its key"))?;
        let words = rows.columns().get(kept).filter(|_| has_op).and_then(|column| column.as_string_opt::<i32>());
        let (same, key) =
            (Keys::encode(columns, count).map_err(Error::arrow)?, Keys::encode(on, count).map_err(Error::arrow)?);
        let table = &mut self.tables[side.place()];
        let (same_hashes, key_hashes) = (table.hashes_of(columns, &same).map_err(Error::arrow)?, key.hashes());
        let mut refused = Vec::new();
        // Each row that does something, as a place among those that are touched.
        let mut does: Vec<(u32, usize, Op)> = Vec::with_capacity(count);
        let (mut place_of, mut slots, mut of) = (HashMap::new(), Vec::new(), Vec::new());
        for (row, (same_hash, key_hash)) in same_hashes.iter().zip(&key_hashes).enumerate() {
            let number = row as u32;
            let slot = match Op::of_row(words, row) {
                Ok(Op::Write) => Some((Op::Write, table.slot(same.view().get(row), *same_hash))),
                Ok(Op::Delete) => table.find(same.view().get(row)).map(|slot| (Op::Delete, slot)),
                Ok(Op::Truncate) => {
                    refused.push((number, "its `op` is `truncate`, which a join cannot follow".to_owned()));
                    continue;
                }
                Err(why) => {
                    refused.push((number, why));
                    continue;
                }
            };
            let Some((op, slot)) = slot else {
                refused.push((number, NOT_THERE.to_owned()));
                continue;
            };
            let place = *place_of.entry(slot).or_insert_with(|| {
                slots.push(slot);
                of.push(keys.place(key.view().get(row), *key_hash, || on.iter().any(|column| column.is_null(row))));
                slots.len() - 1
            });
            does.push((number, place, op));
        }
        let (counts, times) = counts(table, &slots)?;
        let touched = slots.iter().zip(counts.iter().zip(&times));
        let mut touched: Vec<TouchedRow> = touched
            .map(|(slot, (count, at))| TouchedRow { slot: *slot, before: *count, after: *count, at: *at })
            .collect();
        for (number, place, op) in does {
            let Some(touched) = touched.get_mut(place) else { continue };
            match op {
                Op::Delete if touched.after == 0 => refused.push((number, NOT_THERE.to_owned())),
                Op::Delete => touched.after -= 1,
                _ => (touched.after, touched.at) = (touched.after.saturating_add(1), now.0),
            }
        }
        // In an order that does not depend on which worker has them.
        refused.sort_by_key(|(row, _)| (key_hashes.get(*row as usize).map(|hash| hash.group()), *row));
        Ok(SideChanges { touched, of, refused })
    }

    /// The rows of a key.
    fn of_key(&self, key: &BatchKey, changes: &[SideChanges; 2]) -> Result<OfKey> {
        let mut all = OfKey::default();
        for side in Side::BOTH {
            let touched =
                key.touched[side.place()].iter().filter_map(|place| changes[side.place()].touched.get(*place));
            let mut rows: Vec<Row> =
                touched.map(|row| Row { slot: row.slot, before: row.before, after: row.after }).collect();
            self.sort(side, &mut rows);
            all.touched[side.place()] = rows;
        }
        let Some(kept) = self.keys.get(&key.bytes) else { return Ok(all) };
        for side in Side::BOTH {
            // The rows that stay only matter where the other side changes.
            if all.touched[side.other().place()].is_empty() {
                continue;
            }
            let touched: BTreeSet<Slot> = all.touched[side.place()].iter().map(|row| row.slot).collect();
            let slots: Vec<Slot> =
                kept.slots[side.place()].iter().copied().filter(|slot| !touched.contains(slot)).collect();
            let (counts, _) = counts(&self.tables[side.place()], &slots)?;
            let row = |(slot, count): (&Slot, &i64)| Row { slot: *slot, before: *count, after: *count };
            let mut rows: Vec<Row> = slots.iter().zip(&counts).map(row).collect();
            self.sort(side, &mut rows);
            all.others[side.place()] = rows;
        }
        Ok(all)
    }

    /// Orders rows of a key by what they hold.
    fn sort(&self, side: Side, rows: &mut [Row]) {
        let table = &self.tables[side.place()];
        rows.sort_unstable_by(|one, other| table.key(one.slot).cmp(table.key(other.slot)));
    }

    /// Says how much more often each pair of a key is there behind the batch than before.
    fn changes(
        &self,
        key: &BatchKey,
        rows: OfKey,
        tell: &mut impl FnMut(Option<Slot>, Option<Slot>, i64) -> Result<()>,
    ) -> Result<()> {
        let OfKey { touched, others } = rows;
        let mut tell = |first, second, times| if times == 0 { Ok(()) } else { tell(first, second, times) };
        if !key.null {
            let times = |a: &Row, b: &Row| {
                let (after, before) = (a.after.saturating_mul(b.after), a.before.saturating_mul(b.before));
                after.saturating_sub(before)
            };
            for a in &touched[0] {
                for b in touched[1].iter().chain(&others[1]) {
                    tell(Some(a.slot), Some(b.slot), times(a, b))?;
                }
            }
            for a in &others[0] {
                for b in &touched[1] {
                    tell(Some(a.slot), Some(b.slot), times(a, b))?;
                }
            }
        }
        for side in Side::BOTH.into_iter().filter(|side| side.is_outer(self.what.kind)) {
            let [was_alone, is_alone] = self.alone(key, side, &touched);
            let stay = if was_alone == is_alone { [].as_slice() } else { &others[side.place()] };
            for row in touched[side.place()].iter().chain(stay) {
                let times = if is_alone { row.after } else { 0 } - if was_alone { row.before } else { 0 };
                match side {
                    Side::First => tell(Some(row.slot), None, times)?,
                    Side::Second => tell(None, Some(row.slot), times)?,
                }
            }
        }
        Ok(())
    }

    /// Whether the rows of a side have no partners, before and behind the batch.
    fn alone(&self, key: &BatchKey, side: Side, touched: &[Vec<Row>; 2]) -> [bool; 2] {
        if key.null {
            return [true, true];
        }
        let other = side.other().place();
        let kept = self.keys.get(&key.bytes).map_or(0, |kept| kept.slots[other].len());
        let some = |is: fn(&Row) -> bool| touched[other].iter().filter(|row| is(row)).count();
        let after = (kept + some(|row| row.before == 0 && row.after > 0))
            .saturating_sub(some(|row| row.before > 0 && row.after == 0));
        [kept == 0, after == 0]
    }

    /// The rows of these pairs, while all that they are made of is still kept.
    fn rows(&self, pairs: &Slots) -> Result<Vec<RecordBatch>> {
        let some = |pairs: &[[Option<Slot>; 2]]| {
            let mut picked: Vec<Pair> = vec![[None, None]; pairs.len()];
            let mut sides: Vec<RecordBatch> = Vec::with_capacity(2);
            for side in Side::BOTH {
                let (mut row_of, mut slots) = (HashMap::new(), Vec::new());
                for (pair, picked) in pairs.iter().zip(&mut picked) {
                    let Some(slot) = pair[side.place()] else { continue };
                    let row = *row_of.entry(slot).or_insert_with(|| {
                        slots.push(slot);
                        slots.len() as u32 - 1
                    });
                    picked[side.place()] = Some(RowPlace { chunk: 0, row });
                }
                let columns = self.tables[side.place()].keys(&slots).map_err(Error::arrow)?;
                sides.push(RecordBatch::try_new(self.what.rows[side.place()].clone(), columns).map_err(Error::arrow)?);
            }
            let [first, second] = sides.as_slice() else { return Err(Error::bug("a join of other than two sides")) };
            self.what.joined.rows([&[first], &[second]], &picked).map_err(Error::arrow)
        };
        pairs.chunks(PART_ROWS_MAX).map(some).collect()
    }

    /// Keeps what is there behind the batch.
    fn store(&mut self, now: BatchTime, keys: &BatchKeys, changes: &[SideChanges; 2]) -> Result<()> {
        for side in Side::BOTH {
            let touched = &changes[side.place()].touched;
            let slots: Vec<Slot> = touched.iter().map(|row| row.slot).collect();
            let kept: BooleanArray = touched.iter().map(|row| Some(row.after > 0)).collect();
            let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(touched.iter().map(|row| row.after)));
            let times = timestamps(touched.iter().map(|row| row.at));
            let states = RecordBatch::try_new(kept_schema(), vec![counts, times]).map_err(Error::arrow)?;
            self.tables[side.place()].store(&slots, &states, &kept);
            self.tables[side.place()].used(&slots);
        }
        let (mut shrunk, notes_times) = (Vec::new(), self.what.ttl_us.is_some() && !self.spills());
        for key in &keys.all {
            let rows = self.keys.rows_of(&key.bytes);
            for side in Side::BOTH {
                let touched = key.touched[side.place()].iter();
                let touched = || touched.clone().filter_map(|place| changes[side.place()].touched.get(*place));
                if touched().any(|row| row.before > 0 && row.after == 0) {
                    let gone: BTreeSet<Slot> = touched().filter(|row| row.after == 0).map(|row| row.slot).collect();
                    rows.slots[side.place()].retain(|slot| !gone.contains(slot));
                    shrunk.push(&key.bytes);
                }
                rows.slots[side.place()]
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
            // Where the newest rows of a key were deleted, what is left may be older than that.
            for key in shrunk {
                self.forget_key(key, limit)?;
            }
        }
        Ok(())
    }

    /// Keys whose newest row came then, or before, are forgotten.
    fn limit(&self, now: BatchTime) -> Option<i64> {
        self.what.ttl_us.map(|ttl_us| now.0.saturating_sub(ttl_us))
    }

    /// Forgets the keys that have had no new rows for too long.
    fn forget(&mut self, now: BatchTime) -> Result<()> {
        let Some(limit) = self.limit(now) else { return Ok(()) };
        if self.spills() {
            return self.forget_in_files(now, limit);
        }
        while self.came.first().is_some_and(|(at, _)| *at <= limit) {
            if let Some((_, key)) = self.came.pop_first() {
                self.forget_key(&key, limit)?;
            }
        }
        Ok(())
    }

    /// The same where rows may lie in files.
    fn forget_in_files(&mut self, now: BatchTime, limit: i64) -> Result<()> {
        loop {
            let mut keys: BTreeSet<(KeyHash, Box<[u8]>)> = BTreeSet::new();
            for side in Side::BOTH {
                let table = &mut self.tables[side.place()];
                let mut slots = table.warm_some_idle(now, FORGOTTEN_MAX)?;
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
            // A key's newest row says whether the others stay, wherever it is.
            self.warm_hashes(&keys.iter().map(|(hash, _)| *hash).collect::<Vec<_>>())?;
            keys.iter().try_for_each(|(_, key)| self.forget_key(key, limit))?;
        }
    }

    /// Forgets a key whose rows are all as old as this.
    fn forget_key(&mut self, key: &[u8], limit: i64) -> Result<()> {
        let Some(rows) = self.keys.get(key) else { return Ok(()) };
        let mut newest = i64::MIN;
        for side in Side::BOTH {
            let (_, times) = counts(&self.tables[side.place()], &rows.slots[side.place()])?;
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

/// Why a deletion is refused.
const NOT_THERE: &str = "it deletes a row that does not exist";

impl BatchKeys {
    /// The place of a key.
    fn place(&mut self, bytes: &[u8], hash: KeyHash, null: impl FnOnce() -> bool) -> usize {
        if let Some(place) = self.places.get(bytes) {
            return *place;
        }
        let place = self.all.len();
        self.places.insert(bytes.into(), place);
        self.all.push(BatchKey { bytes: bytes.into(), hash, null: null(), touched: Default::default() });
        place
    }
}

/// How often the rows in these slots are there, and when they came last; never where none is.
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
