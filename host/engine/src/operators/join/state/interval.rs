//! The interval join: matches rows with the same key and near event times, across batches.
//!
//! Each row is matched with the stored rows of the other side. It waits for later ones until the watermark has passed all possible times of partners.
//! So each pair is emitted once, with the batch of its later row, as in Flink's interval join. A key's rows are ordered by time, so a row visits its
//! partners only. A queue has the times at which rows expire, so no batch visits rows that just wait.

use super::joined::{Joined, Pair};
use super::numbered_rows::NumberedRows;
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
use millstream_base::limits::PART_ROWS_MAX;
use millstream_base::limits::SliceMax;
use millstream_job::spec::JoinKind;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An interval join, checked by the graph.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Which rows are also emitted without a partner.
    pub kind: JoinKind,
    /// Number of key columns.
    pub on: usize,
    /// How much later than a row of the first side its partner may be: from and to, in microseconds.
    pub within_us: (i64, i64),
    /// The columns of each side, with the time of the row as the last one.
    pub layouts: [SchemaRef; 2],
    /// The output columns.
    pub joined: Joined,
}

impl Interval {
    /// Returns the range of times of partners of a row of this side.
    fn partners(&self, side: Side, time: i64) -> (i64, i64) {
        let (from, to) = self.within_us;
        match side {
            Side::First => (time.saturating_add(from), time.saturating_add(to)),
            Side::Second => (time.saturating_sub(to), time.saturating_sub(from)),
        }
    }

    /// Returns the time until which a row of this side waits: partners are late when the watermark is greater.
    pub(super) fn waits_until(&self, side: Side, time: i64) -> i64 {
        self.partners(side, time).1
    }

    /// Creates an empty table for the rows of a side, in checkpoint format.
    pub fn table(&self, side: Side) -> Result<StateTable> {
        let columns = saved_rows::SavedColumns::new(&self.layouts[side.index()], self.on);
        StateTable::new(columns.key.into_iter().chain(columns.sub).collect(), columns.state, None).map_err(Error::arrow)
    }
}

/// The rows of an interval join on one worker.
pub struct IntervalJoin {
    interval: Interval,
    keys: StateTable,
    /// By key and side.
    waiting: Vec<[WaitingRows; 2]>,
    kept: [NumberedRows; 2],
    /// The time until which the earliest row of a key waits. Entries that differ from [`WaitingRows::due`] are obsolete.
    queues: [BinaryHeap<Reverse<(i64, Slot)>>; 2],
    /// By key, its rank in the output; meaningless unless set by the current batch.
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

/// An output row: a key, and the numbers of its rows.
#[derive(Clone, Copy)]
struct FoundPair {
    slot: Slot,
    numbers: [Option<u64>; 2],
}

/// Pending effects of a batch.
#[derive(Default)]
struct BatchOutcome {
    found: Vec<FoundPair>,
    /// The number of `found` pairs with two rows.
    rows: RowCount,
    /// The newest time of their rows.
    newest: Option<i64>,
    /// Numbers of the expired rows.
    freed: [Vec<u64>; 2],
    /// Keys that may have no rows left.
    left: Vec<Slot>,
}

impl IntervalJoin {
    /// Creates a join without rows. `saves` says whether checkpoints need the changes.
    pub fn new(interval: Interval, saves: bool) -> Result<IntervalJoin> {
        let kept = Side::BOTH.map(|side| NumberedRows::new(saved_rows::stored_schema(&interval.layouts[side.index()])));
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

    /// Processes the rows of a batch, none of which is late. `complete` is the event time up to which other rows are late from now on. Returns the
    /// output in the order of key hashes, then of arrival of the first side's rows, then of the second side's. Rows of the second side without a
    /// partner come last.
    pub fn batch(&mut self, id: BatchId, rows: [RecordBatch; 2], complete: Option<i64>) -> Result<Vec<RecordBatch>> {
        let mut batch = BatchOutcome::default();
        let [first, second] = rows;
        let first = self.store_batch(Side::First, id, first, &mut batch)?;
        let second = self.store_batch(Side::Second, id, second, &mut batch)?;
        // New rows of both sides are matched once: when those of the first visit all of the second.
        self.meet(Side::Second, &second, &mut batch)?;
        self.wait(Side::Second, second);
        self.meet(Side::First, &first, &mut batch)?;
        self.wait(Side::First, first);
        if let Some(complete) = complete {
            Side::BOTH.iter().for_each(|side| self.remove_expired(*side, complete, &mut batch));
        }
        self.sort(&mut batch.found);
        let rows = batch.found.chunks(PART_ROWS_MAX).map(|found| self.rows(found)).collect::<Result<_>>()?;
        self.newest = batch.newest;
        self.release(batch)?;
        Ok(rows)
    }

    /// Stores the rows of a batch; those without a key are finished immediately.
    fn store_batch(
        &mut self,
        side: Side,
        id: BatchId,
        rows: RecordBatch,
        batch: &mut BatchOutcome,
    ) -> Result<Vec<ArrivedRow>> {
        let first = self.kept[side.index()].next();
        let rows = saved_rows::with_numbers(self.kept[side.index()].schema(), id, &rows).map_err(Error::arrow)?;
        let keys = RowKeys::new(&rows, self.interval.on).map_err(Error::arrow)?;
        let mut arrived = Vec::with_capacity(rows.num_rows());
        for (position, time) in times(&self.interval.layouts[side.index()], &rows)?.iter().enumerate() {
            let slot = keys.slot(position, &mut self.keys);
            let row = WaitingRow { time: *time, number: first + position as u64 };
            if keys.is_null(position) {
                self.unmatched(side, slot, row, batch);
                batch.left.push(slot);
            } else {
                arrived.push(ArrivedRow { slot, row });
            }
        }
        self.waiting.resize_with(self.keys.slots(), Default::default);
        self.kept[side.index()].add(rows);
        Ok(arrived)
    }

    /// Emits a row that will find no partner, if its side is outer.
    fn unmatched(&self, side: Side, slot: Slot, WaitingRow { time, number }: WaitingRow, batch: &mut BatchOutcome) {
        batch.freed[side.index()].push(number);
        if side.is_outer(self.interval.kind) && !self.kept[side.index()].is_matched(number) {
            let mut numbers = [None; 2];
            numbers[side.index()] = Some(number);
            batch.newest = batch.newest.max(Some(time));
            batch.found.push(FoundPair { slot, numbers });
        }
    }

    /// Finds waiting partners of rows.
    fn meet(&mut self, side: Side, arrived: &[ArrivedRow], batch: &mut BatchOutcome) -> Result<()> {
        let other = side.other();
        let outer = Side::BOTH.map(|side| side.is_outer(self.interval.kind));
        for ArrivedRow { slot, row } in arrived {
            let (from, to) = self.interval.partners(side, row.time);
            let Some(waiting) = self.waiting.get(*slot as usize) else { continue };
            let partners = waiting[other.index()].in_range(from, to);
            batch.rows.add(partners.len() as u64)?;
            for partner in partners {
                let mut numbers = [Some(row.number); 2];
                numbers[other.index()] = Some(partner.number);
                batch.newest = batch.newest.max(Some(row.time.max(partner.time)));
                batch.found.push(FoundPair { slot: *slot, numbers });
                if outer[other.index()] && self.kept[other.index()].set_matched(partner.number) {
                    self.saved[other.index()].matched(partner.number);
                }
            }
            if outer[side.index()] && !partners.is_empty() {
                self.kept[side.index()].set_matched(row.number);
            }
        }
        Ok(())
    }

    /// Adds rows that wait for partners.
    fn wait(&mut self, side: Side, mut arrived: Vec<ArrivedRow>) {
        arrived.sort_unstable_by_key(|arrived| (arrived.slot, arrived.row));
        let mut rows = Vec::new();
        for of_key in arrived.chunk_by(|a, b| a.slot == b.slot) {
            let Some(ArrivedRow { slot, .. }) = of_key.first() else { continue };
            let Some(waiting) = self.waiting.get_mut(*slot as usize) else { continue };
            rows.clear();
            rows.extend(of_key.iter().map(|arrived| arrived.row));
            waiting[side.index()].add(&rows);
            self.enqueue(side, *slot);
        }
    }

    /// Ensures that the queue has the earliest row of a key.
    fn enqueue(&mut self, side: Side, slot: Slot) {
        let Some(waiting) = self.waiting.get_mut(slot as usize) else { return };
        let waiting = &mut waiting[side.index()];
        let due = waiting.earliest().map(|time| self.interval.waits_until(side, time));
        if let Some(due) = due.filter(|due| waiting.due.is_none_or(|before| *due < before)) {
            waiting.due = Some(due);
            self.queues[side.index()].push(Reverse((due, slot)));
        }
    }

    /// Removes the rows whose partners would all be late.
    fn remove_expired(&mut self, side: Side, complete: i64, batch: &mut BatchOutcome) {
        let mut rows = Vec::new();
        while let Some(Reverse((due, slot))) = self.queues[side.index()].peek().copied() {
            if due >= complete {
                return;
            }
            self.queues[side.index()].pop();
            let Some(waiting) = self.waiting.get_mut(slot as usize) else { continue };
            let waiting = &mut waiting[side.index()];
            if waiting.due != Some(due) {
                continue;
            }
            waiting.due = None;
            rows.clear();
            waiting.free(|time| self.interval.waits_until(side, time) < complete, &mut rows);
            rows.iter().for_each(|row| self.unmatched(side, slot, *row, batch));
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
        let positions = |side: Side| {
            let numbers = found.iter().map(|found| found.numbers[side.index()]);
            self.kept[side.index()].positions(numbers).map_err(Error::arrow)
        };
        let ((first, a), (second, b)) = (positions(Side::First)?, positions(Side::Second)?);
        let pairs: Vec<Pair> = a.into_iter().zip(b).map(|(a, b)| [a, b]).collect();
        self.interval.joined.rows([&first, &second], &pairs).map_err(Error::arrow)
    }

    /// Releases what the removed rows used.
    fn release(&mut self, mut batch: BatchOutcome) -> Result<()> {
        for side in Side::BOTH {
            let (kept, freed) = (&mut self.kept[side.index()], &batch.freed[side.index()]);
            self.saved[side.index()].removed(kept, self.interval.on, freed).map_err(Error::arrow)?;
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

    /// Returns the newest time of the rows, of either side, in the last batch's output; `None` if there was no output. A side that is far ahead of
    /// the other waits, and does not count.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Returns the time of the oldest waiting row.
    pub fn earliest(&mut self) -> Option<i64> {
        let (from, to) = self.interval.within_us;
        for side in Side::BOTH {
            let queue = &mut self.queues[side.index()];
            while let Some(Reverse((due, slot))) = queue.peek()
                && self.waiting.get(*slot as usize).is_none_or(|waiting| waiting[side.index()].due != Some(*due))
            {
                queue.pop();
            }
        }
        let due = |side: Side| self.queues[side.index()].peek().map(|Reverse((due, _))| *due);
        // Reverses the computation of the waiting time.
        let first = due(Side::First).map(|due| due.saturating_sub(to));
        let second = due(Side::Second).map(|due| due.saturating_add(from));
        first.into_iter().chain(second).min()
    }

    /// Returns the memory of waiting rows.
    pub fn bytes(&self) -> u64 {
        self.keys.bytes() + self.kept.iter().map(NumberedRows::bytes).sum::<u64>()
    }

    /// Returns the number of waiting rows of a side.
    pub fn len(&self, side: Side) -> usize {
        self.kept[side.index()].len()
    }

    /// Returns the number of keys with waiting rows.
    #[cfg(test)]
    pub fn keys(&self) -> usize {
        self.waiting.iter().filter(|sides| sides.iter().any(|waiting| !waiting.is_empty())).count()
    }

    /// Returns its parameters.
    pub fn interval(&self) -> &Interval {
        &self.interval
    }

    /// Returns whether checkpoints need the changes.
    pub fn saves(&self) -> bool {
        self.saved.iter().any(UnsavedRows::is_tracked)
    }

    /// Restores the rows of a side from the table of a checkpoint, before the first batch.
    pub fn restore(&mut self, side: Side, table: &StateTable) -> Result<()> {
        let rows = saved_rows::restored(self.kept[side.index()].schema(), self.interval.on, table)?;
        let mut arrived = Vec::with_capacity(rows.numbered.num_rows());
        let keys = RowKeys::new(&rows.numbered, self.interval.on).map_err(Error::arrow)?;
        let times = times(&self.interval.layouts[side.index()], &rows.numbered)?;
        for (position, time) in times.iter().enumerate() {
            let slot = keys.slot(position, &mut self.keys);
            arrived.push(ArrivedRow { slot, row: WaitingRow { time: *time, number: position as u64 } });
        }
        self.waiting.resize_with(self.keys.slots(), Default::default);
        let kept = &mut self.kept[side.index()];
        for start in (0..rows.numbered.num_rows()).step_by(PART_ROWS_MAX) {
            kept.add(rows.numbered.slice(start, PART_ROWS_MAX.min(rows.numbered.num_rows() - start)));
        }
        for (number, _) in (0u64..).zip(rows.matched.iter()).filter(|(_, matched)| *matched == Some(true)) {
            kept.set_matched(number);
        }
        self.saved[side.index()].written_until(kept.next());
        self.wait(side, arrived);
        Ok(())
    }

    /// Returns the number of rows that [`IntervalJoin::changes`] would emit.
    pub fn changed(&self, side: Side) -> u64 {
        self.saved[side.index()].changed(&self.kept[side.index()])
    }

    /// Emits the rows of the next checkpoint file: all of a side for a `base`, or the changes since the last call. Slices are at most `slice_max` in
    /// size, except for a single row.
    pub fn changes(&mut self, side: Side, base: bool, slice_max: SliceMax, to: &mut SliceSink<'_>) -> Result<()> {
        let saved = &mut self.saved[side.index()];
        saved.changes(&self.kept[side.index()], self.interval.on, base, slice_max, to).map_err(Error::arrow)
    }
}

/// Returns the times of rows: the column after those of the input.
fn times<'a>(layout: &SchemaRef, rows: &'a RecordBatch) -> Result<&'a [i64]> {
    let position = layout.fields().len().saturating_sub(1);
    let column = rows.columns().get(position).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    column.map(|times| &**times.values()).ok_or_else(|| Error::bug("a row of an interval join without its time"))
}
