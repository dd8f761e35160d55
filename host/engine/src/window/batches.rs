//! Aggregates over windows of processing time: a pane is a batch, named by its time.

use super::panes::{Accumulate, KeyId, Panes};
use super::sums::SlidingSums;
use crate::error::Result;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// A batch, and the windows that end. Times are batch times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// The beginning of the job's first batch.
    pub origin_us: i64,
    /// The batch's own time.
    pub time_us: i64,
    /// Whether it is in any window.
    pub holds: bool,
    /// The end of the window that comes out with it.
    pub end_us: Option<i64>,
    /// When the next window is to end.
    pub next_us: i64,
}

/// What a window holds, by key in the order of key hashes.
pub struct Window {
    /// The first moment in it, in microseconds; without meaning in processing time.
    pub start: i64,
    /// The first moment behind it.
    pub end: i64,
    /// The keys' numbers.
    pub ids: Vec<KeyId>,
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// Their accumulators.
    pub accumulators: RecordBatch,
}

/// Partial results as they come in: key columns (with the pane behind them in event time), and what
/// [`Accumulate::merge`] takes.
pub struct PartialRows {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// The other columns.
    pub partial: Vec<ArrayRef>,
    /// How many rows.
    pub rows: usize,
}

/// The windows of a stage on one worker.
pub struct BatchWindows {
    size_us: i64,
    accumulators: SchemaRef,
    panes: Panes,
    /// Keys have running totals.
    inverse: bool,
    /// The sums from which windows are made where keys have no running totals; `None` before the first batch.
    sums: Option<SlidingSums>,
    /// Totals and sums hold the panes up to this one. Later ones are there where windows wait.
    done: i64,
}

impl BatchWindows {
    /// Nothing has come yet. `inverse`: keys have running totals, which what leaves a window is taken out of.
    pub fn new(size_us: i64, inverse: bool, keys: &[Arc<Field>], accumulators: &SchemaRef) -> Result<BatchWindows> {
        let panes = Panes::new(keys, accumulators.clone())?;
        Ok(BatchWindows { size_us, accumulators: accumulators.clone(), panes, inverse, sums: None, done: i64::MIN })
    }

    /// The panes, for what checkpoints hold of them.
    pub fn panes(&mut self) -> &mut Panes {
        &mut self.panes
    }

    /// Goes on after the panes were restored. `next_us`: when the next window is to end.
    pub fn restored(&mut self, functions: &mut impl Accumulate, origin_us: i64, next_us: i64) -> Result<()> {
        self.panes.restored()?;
        self.remade(functions, origin_us, next_us)
    }

    /// Makes all that is not in the panes anew, as the functions are others than before.
    pub fn remade(&mut self, functions: &mut impl Accumulate, origin_us: i64, next_us: i64) -> Result<()> {
        self.sums = None;
        self.begin(origin_us)?;
        let start = self.first_pane(next_us);
        self.done = self.panes.last().map_or(start.saturating_sub(1), |last| last.min(next_us));
        if let Some(sums) = &mut self.sums {
            sums.leave_before(&self.panes, self.panes.rows(), start);
            sums.extend(functions, &self.panes, self.panes.rows(), start..self.done.saturating_add(1))?;
        }
        Ok(())
    }

    fn begin(&mut self, origin_us: i64) -> Result<()> {
        if !self.inverse && self.sums.is_none() {
            self.sums = Some(SlidingSums::new(self.size_us, origin_us.saturating_add(1), &self.accumulators)?);
        }
        Ok(())
    }

    /// The first pane in a window that ends then.
    fn first_pane(&self, end_us: i64) -> i64 {
        end_us.saturating_sub(self.size_us).saturating_add(1)
    }

    /// A batch with its rows; returns the window that comes out with it.
    pub fn batch(
        &mut self,
        functions: &mut impl Accumulate,
        batch: BatchEnd,
        rows: Option<PartialRows>,
    ) -> Result<Option<Window>> {
        let BatchEnd { origin_us, time_us, holds, end_us, next_us } = batch;
        self.begin(origin_us)?;
        if let Some(rows) = rows.filter(|rows| rows.rows > 0 && holds) {
            self.add(functions, time_us, rows)?;
        }
        self.complete(functions, end_us.unwrap_or(next_us).min(time_us))?;
        let Some(end) = end_us else { return Ok(None) };
        let start = self.first_pane(end);
        self.leave(functions, start)?;
        let ordered = self.panes.ordered().to_vec();
        let (ids, accumulators) = match &mut self.sums {
            Some(sums) => {
                let window = start..end.saturating_add(1);
                sums.window(functions, &self.panes, self.panes.rows(), window, &ordered)?
            }
            None => {
                let ids = self.panes.with_total(&ordered);
                let slots = self.panes.running_slots(&ids);
                let totals = self.panes.accumulators(&slots)?;
                (ids, totals)
            }
        };
        let keys = self.panes.key_columns(&ids)?;
        self.leave(functions, self.first_pane(next_us))?;
        self.complete(functions, next_us.min(time_us))?;
        Ok(Some(Window { start, end, ids, keys, accumulators }))
    }

    fn add(&mut self, functions: &mut impl Accumulate, time_us: i64, rows: PartialRows) -> Result<()> {
        let mut keys = rows.keys;
        keys.push(Arc::new(Int64Array::from(vec![time_us; rows.rows])));
        self.panes.add(functions, &keys, &rows.partial, rows.rows).map(drop)
    }

    /// SlidingSums and totals hold the panes up to this one now.
    fn complete(&mut self, functions: &mut impl Accumulate, to: i64) -> Result<()> {
        if to <= self.done {
            return Ok(());
        }
        let range = self.done.saturating_add(1)..to.saturating_add(1);
        match &mut self.sums {
            Some(sums) => sums.extend(functions, &self.panes, self.panes.rows(), range)?,
            None => self.panes.run(functions, range)?,
        }
        self.done = to;
        Ok(())
    }

    /// Panes before this one are in no window any more.
    fn leave(&mut self, functions: &mut impl Accumulate, start: i64) -> Result<()> {
        match &mut self.sums {
            Some(sums) => sums.leave_before(&self.panes, self.panes.rows(), start),
            None => self.panes.run_out(functions, start)?,
        }
        self.panes.remove_before(start);
        Ok(())
    }
}
