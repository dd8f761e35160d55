//! Aggregates over windows of processing time: a pane is a batch, named by its time.

use super::panes::{Accumulate, KeyId, Panes};
use super::sums::Sums;
use crate::error::Result;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// When the windows of a stage end. Times are batch times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowClock {
    /// The beginning of the first batch: windows end at multiples of the slide after it.
    pub origin_us: i64,
    /// The next window ends with the first batch of this time or later.
    pub due_us: i64,
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
    slide_us: i64,
    accumulators: SchemaRef,
    panes: Panes,
    /// None where keys have running totals.
    sums: Option<Sums>,
    inverse: bool,
    clock: Option<WindowClock>,
}

impl BatchWindows {
    /// Nothing has come yet. `inverse`: keys have running totals, which what leaves a window is taken out of.
    pub fn new(
        size_us: i64,
        slide_us: i64,
        inverse: bool,
        keys: &[Arc<Field>],
        accumulators: &SchemaRef,
    ) -> Result<BatchWindows> {
        Ok(BatchWindows {
            size_us,
            slide_us: slide_us.max(1),
            accumulators: accumulators.clone(),
            panes: Panes::new(keys, accumulators.clone())?,
            sums: None,
            inverse,
            clock: None,
        })
    }

    /// The panes, for what checkpoints hold of them.
    pub fn panes(&mut self) -> &mut Panes {
        &mut self.panes
    }

    /// When windows end, once the first batch has come.
    pub fn clock(&self) -> Option<WindowClock> {
        self.clock
    }

    /// Goes on after the panes were restored, and this clock.
    pub fn restored(&mut self, functions: &mut impl Accumulate, clock: WindowClock) -> Result<()> {
        self.panes.restored()?;
        self.begin(clock)?;
        let start = self.next_start(clock);
        if let Some(sums) = &mut self.sums {
            sums.leave_before(&self.panes, self.panes.rows(), start);
            sums.extend(functions, &self.panes, self.panes.rows(), start..i64::MAX)?;
        }
        Ok(())
    }

    fn begin(&mut self, clock: WindowClock) -> Result<()> {
        self.clock = Some(clock);
        if !self.inverse {
            self.sums = Some(Sums::new(self.size_us, clock.origin_us.saturating_add(1), &self.accumulators)?);
        }
        Ok(())
    }

    /// The first pane that may still be in a window.
    fn next_start(&self, clock: WindowClock) -> i64 {
        clock.due_us.saturating_sub(self.size_us).saturating_add(1)
    }

    /// A batch of this time, with its rows; returns the window that ends with it. `interval_us`: that of batches.
    pub fn batch(
        &mut self,
        functions: &mut impl Accumulate,
        time_us: i64,
        interval_us: i64,
        rows: Option<PartialRows>,
    ) -> Result<Option<Window>> {
        let clock = match self.clock {
            Some(clock) => clock,
            None => {
                let origin_us = time_us.saturating_sub(interval_us);
                let clock = WindowClock { origin_us, due_us: origin_us.saturating_add(self.slide_us) };
                self.begin(clock)?;
                clock
            }
        };
        // Batches between windows, where the slide is longer, count for nothing.
        if let Some(rows) = rows.filter(|rows| rows.rows > 0 && time_us >= self.next_start(clock)) {
            self.add(functions, time_us, rows)?;
        }
        if time_us < clock.due_us {
            return Ok(None);
        }
        let start = time_us.saturating_sub(self.size_us).saturating_add(1);
        self.leave(functions, start)?;
        let ordered = self.panes.ordered().to_vec();
        let (ids, accumulators) = match &mut self.sums {
            Some(sums) => sums.window(functions, &self.panes, self.panes.rows(), start..time_us + 1, &ordered)?,
            None => {
                let slots = self.panes.running_slots(&ordered);
                let totals = self.panes.accumulators(&slots)?;
                (ordered, totals)
            }
        };
        let keys = self.panes.key_columns(&ids)?;
        let slides = time_us.saturating_sub(clock.origin_us).div_euclid(self.slide_us).saturating_add(1);
        let due_us = clock.origin_us.saturating_add(slides.saturating_mul(self.slide_us));
        let clock = WindowClock { due_us, ..clock };
        self.clock = Some(clock);
        self.leave(functions, self.next_start(clock))?;
        Ok(Some(Window { start, end: time_us, ids, keys, accumulators }))
    }

    fn add(&mut self, functions: &mut impl Accumulate, time_us: i64, rows: PartialRows) -> Result<()> {
        let mut keys = rows.keys;
        keys.push(Arc::new(Int64Array::from(vec![time_us; rows.rows])));
        self.panes.add(functions, &keys, &rows.partial, rows.rows)?;
        match &mut self.sums {
            Some(sums) => sums.extend(functions, &self.panes, self.panes.rows(), time_us..time_us.saturating_add(1)),
            None => self.panes.run(functions, time_us),
        }
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
