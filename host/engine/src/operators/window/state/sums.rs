//! Sliding windows without an inverse, at a constant number of combines for each pane and window.
//!
//! Panes are in blocks as long as a window. A window is then the end of one block and the beginning of the next. For the first, sums from each pane
//! to its block's end are computed once, backwards. For the other, one sum grows pane by pane. (van Herk 1992; Gil and Werman 1993. It is the two
//! stacks of streaming, with flips at fixed times.) Blocks are at fixed times. So the order of combines depends on the panes alone, not on when a job
//! was stopped and resumed.

use super::panes::{Accumulate, KeyId, NONE, PaneRows, Panes, RowsByPane, all, pick, take_rows};
use crate::state::{Slot, StateColumn};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use std::ops::Range;

/// The sums of a stage's windows on one worker. Checkpoints do not include them, as they follow from the panes.
pub struct SlidingSums {
    /// Length of a block, and of a window.
    size: i64,
    /// Blocks begin at its multiples of `size`.
    offset: i64,
    /// The block in which windows currently end.
    block: i64,
    /// The panes of the block so far, by key.
    head: Accumulators,
    in_head: Vec<bool>,
    /// The keys in `head`.
    head_ids: Vec<KeyId>,
    /// Sums from each pane to the end of the previous block, by slot.
    tail: Accumulators,
    /// The next slot of the same key in the previous block.
    next: Vec<Slot>,
    /// The first slot of a key in the previous block that is in the window.
    first: Vec<Slot>,
    /// The pane from which `first` is; `None` if the tail is not computed yet.
    tail_from: Option<i64>,
}

impl SlidingSums {
    /// Creates empty sums for windows of this size; blocks begin at multiples of it from `offset`.
    pub fn new(size: i64, offset: i64, accumulators: &SchemaRef) -> Result<SlidingSums> {
        Ok(SlidingSums {
            size: size.max(1),
            offset,
            block: i64::MIN,
            head: Accumulators::new(accumulators)?,
            in_head: Vec::new(),
            head_ids: Vec::new(),
            tail: Accumulators::new(accumulators)?,
            next: Vec::new(),
            first: Vec::new(),
            tail_from: None,
        })
    }

    /// Returns the approximate memory in use.
    pub fn bytes(&self) -> u64 {
        let positions = self.in_head.capacity() + (self.next.capacity() + self.first.capacity()) * size_of::<Slot>();
        self.head.bytes() + self.tail.bytes() + (positions + self.head_ids.capacity() * size_of::<KeyId>()) as u64
    }

    fn block_of(&self, pane: i64) -> i64 {
        pane.saturating_sub(self.offset).div_euclid(self.size)
    }

    fn block_start(&self) -> i64 {
        self.block.saturating_mul(self.size).saturating_add(self.offset)
    }

    /// Moves on: windows now end in the block of this pane, or in a later one.
    fn enter(&mut self, pane: i64) {
        let block = self.block_of(pane);
        if block > self.block {
            self.block = block;
            self.head_ids.drain(..).for_each(|id| self.in_head[id as usize] = false);
            self.first.fill(NONE);
            self.tail_from = None;
        }
    }

    fn grow(&mut self, panes: &Panes) {
        self.in_head.resize(panes.ids(), false);
        self.first.resize(panes.ids(), NONE);
        self.head.grow(panes.ids());
        self.next.resize(panes.slots(), NONE);
        self.tail.grow(panes.slots());
    }

    /// Adds the complete panes of `rows` in this range. Ranges must be consecutive.
    pub fn extend(
        &mut self,
        functions: &mut impl Accumulate,
        panes: &Panes,
        rows: &RowsByPane,
        range: Range<i64>,
    ) -> Result<()> {
        if range.start >= range.end {
            return Ok(());
        }
        self.grow(panes);
        for (pane, rows) in rows.range(range) {
            self.enter(*pane);
            // Panes of the previous block count when its tail is computed.
            if self.block_of(*pane) == self.block {
                self.add_to_head(functions, panes, rows)?;
            }
        }
        Ok(())
    }

    fn add_to_head(&mut self, functions: &mut impl Accumulate, panes: &Panes, rows: &PaneRows) -> Result<()> {
        let added = panes.accumulators(&rows.slots)?;
        let (old, new): (Vec<u32>, Vec<u32>) =
            (0..rows.ids.len() as u32).partition(|row| self.in_head[rows.ids[*row as usize] as usize]);
        if !old.is_empty() {
            let ids = pick(&rows.ids, &old);
            let sums = functions.combine(&self.head.gather(&ids)?, &take_rows(&added, &old)?)?;
            self.head.scatter(&ids, &sums);
        }
        if !new.is_empty() {
            let ids = pick(&rows.ids, &new);
            self.head.scatter(&ids, &take_rows(&added, &new)?);
            ids.iter().for_each(|id| self.in_head[*id as usize] = true);
            self.head_ids.extend(ids);
        }
        Ok(())
    }

    /// Computes the sums of these panes to the end of their block, from the last pane to the first.
    fn make_tail(
        &mut self,
        functions: &mut impl Accumulate,
        panes: &Panes,
        rows: &RowsByPane,
        range: Range<i64>,
    ) -> Result<()> {
        for (_, rows) in rows.range(range).rev() {
            let added = panes.accumulators(&rows.slots)?;
            let (more, last): (Vec<u32>, Vec<u32>) =
                (0..rows.ids.len() as u32).partition(|row| self.first[rows.ids[*row as usize] as usize] != NONE);
            if !more.is_empty() {
                let following: Vec<Slot> = pick(&rows.ids, &more).iter().map(|id| self.first[*id as usize]).collect();
                let sums = functions.combine(&take_rows(&added, &more)?, &self.tail.gather(&following)?)?;
                self.tail.scatter(&pick(&rows.slots, &more), &sums);
            }
            if !last.is_empty() {
                self.tail.scatter(&pick(&rows.slots, &last), &take_rows(&added, &last)?);
            }
            for (id, slot) in rows.ids.iter().zip(&rows.slots) {
                self.next[*slot as usize] = std::mem::replace(&mut self.first[*id as usize], *slot);
            }
        }
        Ok(())
    }

    /// Removes the panes before this one, which no window includes any longer; `rows` are still unchanged.
    pub fn leave_before(&mut self, panes: &Panes, rows: &RowsByPane, pane: i64) {
        self.grow(panes);
        if pane > self.block_start() {
            self.enter(pane.saturating_add(self.size - 1));
        }
        let Some(from) = self.tail_from.filter(|from| *from < pane) else { return };
        for rows in rows.range(from..pane.min(self.block_start()).max(from)).map(|(_, rows)| rows) {
            for (id, slot) in rows.ids.iter().zip(&rows.slots) {
                if self.first[*id as usize] == *slot {
                    self.first[*id as usize] = self.next[*slot as usize];
                }
            }
        }
        self.tail_from = Some(pane);
    }

    /// Returns the window of these panes: its keys in the order of `ordered`, and their accumulators. [`SlidingSums::extend`] must have added all its
    /// panes. Windows are requested in the order of their ends.
    pub fn window(
        &mut self,
        functions: &mut impl Accumulate,
        panes: &Panes,
        rows: &RowsByPane,
        window: Range<i64>,
        ordered: &[KeyId],
    ) -> Result<(Vec<KeyId>, RecordBatch)> {
        self.grow(panes);
        self.enter(window.end.saturating_sub(1));
        self.leave_before(panes, rows, window.start);
        let start = self.block_start();
        if window.start < start && self.tail_from.is_none() {
            self.make_tail(functions, panes, rows, window.start..start)?;
            self.tail_from = Some(window.start);
        }
        let (mut ids, mut heads, mut tails, mut both) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut positions = Vec::new();
        for id in ordered {
            let in_tail = self.first[*id as usize] != NONE;
            let of = match (in_tail, self.in_head[*id as usize]) {
                (false, false) => continue,
                (true, true) => (0, &mut both),
                (true, false) => (1, &mut tails),
                (false, true) => (2, &mut heads),
            };
            positions.push((of.0, of.1.len()));
            of.1.push(*id);
            ids.push(*id);
        }
        let firsts = |ids: &[KeyId]| ids.iter().map(|id| self.first[*id as usize]).collect::<Vec<Slot>>();
        let mut sums = self.tail.gather(&firsts(&both))?;
        if !both.is_empty() {
            sums = functions.combine(&sums, &self.head.gather(&both)?)?;
        }
        let sums = match (both.len(), tails.len(), heads.len()) {
            (_, 0, 0) => sums,
            (0, _, 0) => self.tail.gather(&firsts(&tails))?,
            (0, 0, _) => self.head.gather(&heads)?,
            _ => {
                let (tails, heads) = (self.tail.gather(&firsts(&tails))?, self.head.gather(&heads)?);
                interleave_record_batch(&[&sums, &tails, &heads], &positions).map_err(Error::arrow)?
            }
        };
        Ok((ids, sums))
    }

    /// Recomputes the sums of keys whose complete panes have changed. `rows` has the current panes of these keys, up to the end of
    /// [`SlidingSums::extend`].
    pub fn remake(
        &mut self,
        functions: &mut impl Accumulate,
        panes: &Panes,
        ids: &[KeyId],
        rows: &RowsByPane,
    ) -> Result<()> {
        self.grow(panes);
        let start = self.block_start();
        if let Some(from) = self.tail_from.filter(|from| *from < start) {
            ids.iter().for_each(|id| self.first[*id as usize] = NONE);
            self.make_tail(functions, panes, rows, from..start)?;
        }
        ids.iter().for_each(|id| self.in_head[*id as usize] = false);
        self.head_ids.retain(|id| self.in_head[*id as usize]);
        for (_, rows) in rows.range(start..) {
            self.add_to_head(functions, panes, rows)?;
        }
        Ok(())
    }
}

/// Accumulators by number.
struct Accumulators {
    schema: SchemaRef,
    columns: Vec<StateColumn>,
    len: usize,
}

impl Accumulators {
    fn new(schema: &SchemaRef) -> Result<Accumulators> {
        let columns = schema.fields().iter().map(|field| StateColumn::new(field));
        let columns = columns.collect::<std::result::Result<_, _>>().map_err(Error::arrow)?;
        Ok(Accumulators { schema: schema.clone(), columns, len: 0 })
    }

    fn bytes(&self) -> u64 {
        self.columns.iter().map(StateColumn::bytes).sum::<usize>() as u64
    }

    fn grow(&mut self, len: usize) {
        if len > self.len {
            self.columns.iter_mut().for_each(|column| column.grow(len));
            self.len = len;
        }
    }

    fn gather(&self, positions: &[u32]) -> Result<RecordBatch> {
        let known = all(positions.len());
        let columns = self.columns.iter().map(|column| column.gather(positions, &known));
        let columns = columns.collect::<std::result::Result<_, _>>().map_err(Error::arrow)?;
        let options = RecordBatchOptions::new().with_row_count(Some(positions.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(Error::arrow)
    }

    fn scatter(&mut self, positions: &[u32], rows: &RecordBatch) {
        let kept = all(positions.len());
        for (column, values) in self.columns.iter_mut().zip(rows.columns()) {
            column.scatter(positions, values, &kept);
        }
    }
}
