//! The interval join: rows with the same key whose event times lie near each other, in whatever batches they come.
//!
//! Each row meets the rows of the other side that are there when it comes, and waits for those that come later, until the
//! watermark has passed all times at which a partner could be on time. So each pair comes out once, with the batch of its
//! later row, as in Flink's interval join. A key's rows are ordered by time, so a row looks at its partners only; when rows
//! can be given up stands in a queue, so that no batch looks at what just waits.

use super::joined::{Joined, Pair};
use super::kept_rows::KeptRows;
use super::row_keys::{RowKeys, key_index};
use super::saved_rows::{self, UnsavedRows};
use super::waiting_rows::{WaitingRow, WaitingRows};
use super::{RowCount, Side};
use crate::state::files::SliceSink;
use crate::state::{Slot, StateTable};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::job::spec::JoinKind;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_base::limits::SliceMax;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An interval join, as the graph has checked it.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Which rows come out without a partner, too.
    pub kind: JoinKind,
    /// How many columns make the key.
    pub on: usize,
    /// How much later than a row of the first side its partner may be: from and to, in microseconds.
    pub within_us: (i64, i64),
    /// The columns of each side, with the time of the row as the last one.
    pub layouts: [SchemaRef; 2],
    /// What comes out.
    pub joined: Joined,
}

impl Interval {
    /// The times at which partners of a row of this side may be.
    fn partners(&self, side: Side, time: i64) -> (i64, i64) {
        let (from, to) = self.within_us;
        match side {
            Side::First => (time.saturating_add(from), time.saturating_add(to)),
            Side::Second => (time.saturating_sub(to), time.saturating_sub(from)),
        }
    }

    /// Until when a row of this side waits: its partners are late when the watermark is greater.
    pub(super) fn waits_until(&self, side: Side, time: i64) -> i64 {
        self.partners(side, time).1
    }

    /// An empty table for the rows of a side as checkpoints hold them.
    pub fn table(&self, side: Side) -> Result<StateTable> {
        let columns = saved_rows::SavedColumns::of(&self.layouts[side.place()], self.on);
        StateTable::new(columns.key.into_iter().chain(columns.sub).collect(), columns.state, None).map_err(Error::arrow)
    }
}

/// The rows of an interval join on one worker.
pub struct IntervalJoin {
    interval: Interval,
    keys: StateTable,
    /// By key and side.
    waiting: Vec<[WaitingRows; 2]>,
    kept: [KeptRows; 2],
    /// Until when the earliest row of a key waits. Entries that are not as [`WaitingRows::due`] do not count any more.
    queues: [BinaryHeap<Reverse<(i64, Slot)>>; 2],
    /// By key, where it stands among those that come out; what a batch does not set has no meaning.
    ranks: Vec<u32>,
    saved: [UnsavedRows; 2],
    /// See [`IntervalJoin::newest`].
    newest: Option<i64>,
}

/// A row that has arrived with this batch.
#[derive(Clone, Copy)]
struct ArrivedRow {
    slot: Slot,
    row: WaitingRow,
}

/// What comes out: a key, and the numbers of its rows.
#[derive(Clone, Copy)]
struct FoundPair {
    slot: Slot,
    numbers: [Option<u64>; 2],
}

/// What a batch does, until it is done.
#[derive(Default)]
struct BatchOutcome {
    found: Vec<FoundPair>,
    /// Those of `found` that have two rows.
    rows: RowCount,
    /// The newest time of the rows of which these were made.
    newest: Option<i64>,
    /// Numbers of the rows that are given up.
    freed: [Vec<u64>; 2],
    /// Keys that may have no rows any more.
    left: Vec<Slot>,
}

impl IntervalJoin {
    /// Without rows. `saves`: checkpoints ask for what changed.
    pub fn new(interval: Interval, saves: bool) -> Result<IntervalJoin> {
        let kept = Side::BOTH.map(|side| KeptRows::new(saved_rows::kept_schema(&interval.layouts[side.place()])));
        Ok(IntervalJoin {
            keys: key_index().map_err(Error::arrow)?,
            waiting: Vec::new(),
            kept,
            queues: Default::default(),
            ranks: Vec::new(),
            saved: Side::BOTH.map(|_| UnsavedRows::new(saves)),
            newest: None,
            interval,
        })
    }

    /// Works on the rows of a batch, none of which is late; `complete`: event time up to which all others would be late from
    /// now on. Returns what comes out, in the order of key hashes, then as the rows of the first side arrived, then as those of
    /// the second did; rows of the second side without a partner come last.
    pub fn batch(&mut self, id: BatchId, rows: [RecordBatch; 2], complete: Option<i64>) -> Result<Vec<RecordBatch>> {
        let mut batch = BatchOutcome::default();
        let [first, second] = rows;
        let first = self.arrive(Side::First, id, first, &mut batch)?;
        let second = self.arrive(Side::Second, id, second, &mut batch)?;
        // The new rows of both sides meet once: when those of the first look at all of the second.
        self.meet(Side::Second, &second, &mut batch)?;
        self.wait(Side::Second, second);
        self.meet(Side::First, &first, &mut batch)?;
        self.wait(Side::First, first);
        if let Some(complete) = complete {
            Side::BOTH.iter().for_each(|side| self.give_up(*side, complete, &mut batch));
        }
        self.sort(&mut batch.found);
        let rows = batch.found.chunks(PART_ROWS_MAX).map(|found| self.rows(found)).collect::<Result<_>>()?;
        self.newest = batch.newest;
        self.forget(batch)?;
        Ok(rows)
    }

    /// Keeps the rows of a batch; those that have no key are done at once.
    fn arrive(
        &mut self,
        side: Side,
        id: BatchId,
        rows: RecordBatch,
        batch: &mut BatchOutcome,
    ) -> Result<Vec<ArrivedRow>> {
        let first = self.kept[side.place()].next();
        let rows = saved_rows::with_numbers(self.kept[side.place()].schema(), id, &rows).map_err(Error::arrow)?;
        let keys = RowKeys::of(&rows, self.interval.on).map_err(Error::arrow)?;
        let mut arrived = Vec::with_capacity(rows.num_rows());
        for (place, time) in times(&self.interval.layouts[side.place()], &rows)?.iter().enumerate() {
            let slot = keys.slot(place, &mut self.keys);
            let row = WaitingRow { time: *time, number: first + place as u64 };
            if keys.is_null(place) {
                self.alone(side, slot, row, batch);
                batch.left.push(slot);
            } else {
                arrived.push(ArrivedRow { slot, row });
            }
        }
        self.waiting.resize_with(self.keys.slots(), Default::default);
        self.kept[side.place()].add(rows);
        Ok(arrived)
    }

    /// A row will find no partner.
    fn alone(&self, side: Side, slot: Slot, WaitingRow { time, number }: WaitingRow, batch: &mut BatchOutcome) {
        batch.freed[side.place()].push(number);
        if side.is_outer(self.interval.kind) && !self.kept[side.place()].is_matched(number) {
            let mut numbers = [None; 2];
            numbers[side.place()] = Some(number);
            batch.newest = batch.newest.max(Some(time));
            batch.found.push(FoundPair { slot, numbers });
        }
    }

    /// Finds the partners that wait for rows.
    fn meet(&mut self, side: Side, arrived: &[ArrivedRow], batch: &mut BatchOutcome) -> Result<()> {
        let other = side.other();
        let outer = Side::BOTH.map(|side| side.is_outer(self.interval.kind));
        for ArrivedRow { slot, row } in arrived {
            let (from, to) = self.interval.partners(side, row.time);
            let Some(waiting) = self.waiting.get(*slot as usize) else { continue };
            let partners = waiting[other.place()].between(from, to);
            batch.rows.add(partners.len() as u64)?;
            for partner in partners {
                let mut numbers = [Some(row.number); 2];
                numbers[other.place()] = Some(partner.number);
                batch.newest = batch.newest.max(Some(row.time.max(partner.time)));
                batch.found.push(FoundPair { slot: *slot, numbers });
                if outer[other.place()] && self.kept[other.place()].set_matched(partner.number) {
                    self.saved[other.place()].matched(partner.number);
                }
            }
            if outer[side.place()] && !partners.is_empty() {
                self.kept[side.place()].set_matched(row.number);
            }
        }
        Ok(())
    }

    /// Rows wait for partners from now on.
    fn wait(&mut self, side: Side, mut arrived: Vec<ArrivedRow>) {
        arrived.sort_unstable_by_key(|arrived| (arrived.slot, arrived.row));
        let mut rows = Vec::new();
        for of_key in arrived.chunk_by(|a, b| a.slot == b.slot) {
            let Some(ArrivedRow { slot, .. }) = of_key.first() else { continue };
            let Some(waiting) = self.waiting.get_mut(*slot as usize) else { continue };
            rows.clear();
            rows.extend(of_key.iter().map(|arrived| arrived.row));
            waiting[side.place()].add(&rows);
            self.enqueue(side, *slot);
        }
    }

    /// Makes sure that the queue knows of the earliest row of a key.
    fn enqueue(&mut self, side: Side, slot: Slot) {
        let Some(waiting) = self.waiting.get_mut(slot as usize) else { return };
        let waiting = &mut waiting[side.place()];
        let due = waiting.earliest().map(|time| self.interval.waits_until(side, time));
        if let Some(due) = due.filter(|due| waiting.due.is_none_or(|before| *due < before)) {
            waiting.due = Some(due);
            self.queues[side.place()].push(Reverse((due, slot)));
        }
    }

    /// Gives up the rows whose partners would all be late.
    fn give_up(&mut self, side: Side, complete: i64, batch: &mut BatchOutcome) {
        let mut rows = Vec::new();
        while let Some(Reverse((due, slot))) = self.queues[side.place()].peek().copied() {
            if due >= complete {
                return;
            }
            self.queues[side.place()].pop();
            let Some(waiting) = self.waiting.get_mut(slot as usize) else { continue };
            let waiting = &mut waiting[side.place()];
            if waiting.due != Some(due) {
                continue;
            }
            waiting.due = None;
            rows.clear();
            waiting.free(|time| self.interval.waits_until(side, time) < complete, &mut rows);
            rows.iter().for_each(|row| self.alone(side, slot, *row, batch));
            batch.left.push(slot);
            self.enqueue(side, slot);
        }
    }

    fn sort(&mut self, found: &mut [FoundPair]) {
        let mut slots: Vec<Slot> = found.iter().map(|found| found.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        self.keys.sort(&mut slots);
        self.ranks.resize(self.keys.slots(), 0);
        let ranks = &mut self.ranks;
        (0u32..).zip(&slots).for_each(|(rank, slot)| ranks[*slot as usize] = rank);
        let number = |number: Option<u64>| number.unwrap_or(u64::MAX);
        found.sort_unstable_by_key(|found| {
            (ranks[found.slot as usize], number(found.numbers[0]), number(found.numbers[1]))
        });
    }

    fn rows(&self, found: &[FoundPair]) -> Result<RecordBatch> {
        let places = |side: Side| {
            let numbers = found.iter().map(|found| found.numbers[side.place()]);
            self.kept[side.place()].places(numbers).map_err(Error::arrow)
        };
        let ((first, a), (second, b)) = (places(Side::First)?, places(Side::Second)?);
        let pairs: Vec<Pair> = a.into_iter().zip(b).map(|(a, b)| [a, b]).collect();
        self.interval.joined.rows([&first, &second], &pairs).map_err(Error::arrow)
    }

    /// Gives back what the freed rows took.
    fn forget(&mut self, mut batch: BatchOutcome) -> Result<()> {
        for side in Side::BOTH {
            let (kept, freed) = (&mut self.kept[side.place()], &batch.freed[side.place()]);
            self.saved[side.place()].removed(kept, self.interval.on, freed).map_err(Error::arrow)?;
            kept.free(freed);
            kept.tidy().map_err(Error::arrow)?;
        }
        batch.left.sort_unstable();
        batch.left.dedup();
        let waits = |slot: &Slot| {
            self.waiting.get(*slot as usize).is_some_and(|sides| sides.iter().any(|waiting| !waiting.is_empty()))
        };
        batch.left.retain(|slot| !waits(slot));
        for slot in &batch.left {
            self.waiting[*slot as usize] = Default::default();
        }
        self.keys.remove_all(&batch.left);
        Ok(())
    }

    /// The newest time of the rows, of either side, that came out with the last batch; `None`: none came out. A side that is far ahead of
    /// the other waits, and does not count.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// The time of the oldest row that waits.
    pub fn earliest(&mut self) -> Option<i64> {
        let (from, to) = self.interval.within_us;
        for side in Side::BOTH {
            let queue = &mut self.queues[side.place()];
            while let Some(Reverse((due, slot))) = queue.peek()
                && self.waiting.get(*slot as usize).is_none_or(|waiting| waiting[side.place()].due != Some(*due))
            {
                queue.pop();
            }
        }
        let due = |side: Side| self.queues[side.place()].peek().map(|Reverse((due, _))| *due);
        // As they wait until then.
        let first = due(Side::First).map(|due| due.saturating_sub(to));
        let second = due(Side::Second).map(|due| due.saturating_add(from));
        first.into_iter().chain(second).min()
    }

    /// The memory that rows take which wait.
    pub fn bytes(&self) -> u64 {
        self.keys.bytes() + self.kept.iter().map(KeptRows::bytes).sum::<u64>()
    }

    /// How many rows of a side wait.
    pub fn len(&self, side: Side) -> usize {
        self.kept[side.place()].len()
    }

    /// How many keys have rows that wait.
    #[cfg(test)]
    pub fn keys(&self) -> usize {
        self.waiting.iter().filter(|sides| sides.iter().any(|waiting| !waiting.is_empty())).count()
    }

    /// What it does.
    pub fn interval(&self) -> &Interval {
        &self.interval
    }

    /// Whether checkpoints ask for what changed.
    pub fn saves(&self) -> bool {
        self.saved.iter().any(UnsavedRows::is_asked)
    }

    /// Takes over the rows of a side from the table of a checkpoint, before the first batch.
    pub fn restore(&mut self, side: Side, table: &StateTable) -> Result<()> {
        let rows = saved_rows::restored(self.kept[side.place()].schema(), self.interval.on, table)?;
        let mut arrived = Vec::with_capacity(rows.numbered.num_rows());
        let keys = RowKeys::of(&rows.numbered, self.interval.on).map_err(Error::arrow)?;
        let times = times(&self.interval.layouts[side.place()], &rows.numbered)?;
        for (place, time) in times.iter().enumerate() {
            let slot = keys.slot(place, &mut self.keys);
            arrived.push(ArrivedRow { slot, row: WaitingRow { time: *time, number: place as u64 } });
        }
        self.waiting.resize_with(self.keys.slots(), Default::default);
        let kept = &mut self.kept[side.place()];
        for start in (0..rows.numbered.num_rows()).step_by(PART_ROWS_MAX) {
            kept.add(rows.numbered.slice(start, PART_ROWS_MAX.min(rows.numbered.num_rows() - start)));
        }
        for (number, _) in (0u64..).zip(rows.matched.iter()).filter(|(_, matched)| *matched == Some(true)) {
            kept.set_matched(number);
        }
        self.saved[side.place()].written_until(kept.next());
        self.wait(side, arrived);
        Ok(())
    }

    /// How many rows [`IntervalJoin::changes`] would have.
    pub fn changed(&self, side: Side) -> u64 {
        self.saved[side.place()].changed(&self.kept[side.place()])
    }

    /// The rows of the next file of a checkpoint: all of a side for a `base`, or what changed since the last call. They are
    /// made slice by slice, none larger than `most` but for a single row.
    pub fn changes(&mut self, side: Side, base: bool, most: SliceMax, to: &mut SliceSink<'_>) -> Result<()> {
        let saved = &mut self.saved[side.place()];
        saved.changes(&self.kept[side.place()], self.interval.on, base, most, to).map_err(Error::arrow)
    }
}

/// The times of rows: their column behind those of the input.
fn times<'a>(layout: &SchemaRef, rows: &'a RecordBatch) -> Result<&'a [i64]> {
    let place = layout.fields().len().saturating_sub(1);
    let column = rows.columns().get(place).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    column.map(|times| &**times.values()).ok_or_else(|| Error::bug("a row of an interval join without its time"))
}
