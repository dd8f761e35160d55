//! Aggregates over windows of processing time: a pane is a batch, named by its time.

use super::cold_panes::ColdPanes;
use super::cold_totals::ColdTotals;
use super::panes::{Accumulate, Panes};
use super::partial::{BatchEnd, PartialRows, Window};
use super::sums::SlidingSums;
use crate::state::StateTable;
use arrow::array::Int64Array;
use arrow::datatypes::{Field, SchemaRef};
use millstream_base::error::Result;
use std::ops::Range;
use std::sync::Arc;

/// The windows of a stage on one worker.
pub struct BatchWindows {
    size_us: i64,
    keys: Vec<Arc<Field>>,
    accumulators: SchemaRef,
    kept: KeptPanes,
}

/// The panes, and what is made of them.
enum KeptPanes {
    /// In memory, with what windows are made from.
    Memory(Box<WarmPanes>),
    /// Some may lie in files.
    Files(Box<ColdPanes>),
    /// The same of keys with running totals.
    FilesOfTotals(Box<ColdTotals>),
}

impl KeptPanes {
    /// Those that may lie in files. Running totals hold the panes up to `done`.
    fn in_files(panes: ColdPanes, inverse: bool, done: i64) -> KeptPanes {
        match inverse {
            true => KeptPanes::FilesOfTotals(Box::new(ColdTotals::new(panes, done))),
            false => KeptPanes::Files(Box::new(panes)),
        }
    }
}

struct WarmPanes {
    panes: Panes,
    /// Keys have running totals.
    inverse: bool,
    /// The sums from which windows are made where keys have no running totals; `None` before the first batch.
    sums: Option<SlidingSums>,
    /// Totals and sums hold the panes up to this one. Later ones are there where windows wait.
    done: i64,
}

impl BatchWindows {
    /// Goes on with the rows of a table as [`Panes::table_of`] makes it, which are in memory where all of them fit. `inverse`: keys have
    /// running totals, which what leaves a window is taken out of.
    pub fn new(size_us: i64, inverse: bool, keys: &[Arc<Field>], mut table: StateTable) -> Result<BatchWindows> {
        let accumulators = table.state_schema();
        let kept = if table.stay_in_memory() {
            let panes = Panes::of(keys, table)?;
            KeptPanes::Memory(Box::new(WarmPanes { panes, inverse, sums: None, done: i64::MIN }))
        } else {
            KeptPanes::in_files(ColdPanes::of(keys, table)?, inverse, i64::MIN)
        };
        Ok(BatchWindows { size_us, keys: keys.to_vec(), accumulators, kept })
    }

    /// The table of panes, for what checkpoints hold of it.
    pub fn table(&mut self) -> &mut StateTable {
        match &mut self.kept {
            KeptPanes::Memory(warm) => warm.panes.table(),
            KeptPanes::Files(cold) => cold.table(),
            KeptPanes::FilesOfTotals(cold) => cold.table(),
        }
    }

    /// The memory that panes and sums take while all of it is in memory; `None` where rows may lie in files.
    pub fn bytes_in_memory(&self) -> Option<u64> {
        match &self.kept {
            KeptPanes::Memory(warm) => Some(warm.panes.bytes() + warm.sums.as_ref().map_or(0, SlidingSums::bytes)),
            KeptPanes::Files(_) | KeptPanes::FilesOfTotals(_) => None,
        }
    }

    /// From now on rows may lie in files, as `spilling` lets the table have them.
    pub fn leave_memory(&mut self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<()> {
        if let KeptPanes::Memory(warm) = &mut self.kept {
            let panes = std::mem::replace(&mut warm.panes, Panes::new(&self.keys, self.accumulators.clone())?);
            let table = spilling(panes.into_table())?;
            let (inverse, done) = (warm.inverse, warm.done);
            self.kept = KeptPanes::in_files(ColdPanes::of(&self.keys, table)?, inverse, done);
        }
        Ok(())
    }

    /// Makes all that is not in the panes anew: they were restored, or the functions are others than before. `next_us`: when the next
    /// window is to end.
    pub fn remade(&mut self, functions: &mut impl Accumulate, origin_us: i64, next_us: i64) -> Result<()> {
        let start = self.first_pane(next_us);
        let done = |last: Option<i64>| last.map_or(start.saturating_sub(1), |last| last.min(next_us));
        let warm = match &mut self.kept {
            KeptPanes::Memory(warm) => warm,
            KeptPanes::Files(_) => return Ok(()),
            KeptPanes::FilesOfTotals(cold) => {
                cold.restored(done(cold.last()));
                return Ok(());
            }
        };
        warm.sums = None;
        warm.begin(self.size_us, origin_us)?;
        warm.done = done(warm.panes.last());
        if let Some(sums) = &mut warm.sums {
            sums.leave_before(&warm.panes, warm.panes.rows(), start);
            sums.extend(functions, &warm.panes, warm.panes.rows(), start..warm.done.saturating_add(1))?;
        }
        Ok(())
    }

    /// The first pane in a window that ends then.
    fn first_pane(&self, end_us: i64) -> i64 {
        end_us.saturating_sub(self.size_us).saturating_add(1)
    }

    /// A batch with its rows; returns the window that comes out with it, in pieces: the keys of each stand behind those of the one before.
    pub fn batch(
        &mut self,
        functions: &mut impl Accumulate,
        batch: BatchEnd,
        rows: Option<PartialRows>,
    ) -> Result<Option<Vec<Window>>> {
        let window = batch.end_us.map(|end| self.first_pane(end)..end.saturating_add(1));
        let leave = self.first_pane(batch.next_us);
        let rows = rows.filter(|rows| rows.rows > 0 && batch.holds).map(|mut rows| {
            rows.keys.push(Arc::new(Int64Array::from(vec![batch.time_us; rows.rows])));
            rows
        });
        match &mut self.kept {
            KeptPanes::Memory(warm) => {
                warm.begin(self.size_us, batch.origin_us)?;
                Ok(warm.batch(functions, batch, rows, window, leave)?.map(|window| vec![window]))
            }
            KeptPanes::FilesOfTotals(cold) => cold.batch(functions, batch, rows, window, leave),
            KeptPanes::Files(cold) => {
                if let Some(rows) = rows {
                    cold.add(functions, &rows)?;
                }
                let Some((window, end)) = window.zip(batch.end_us) else { return Ok(None) };
                let mut pieces = cold.window(functions, window, batch.origin_us.saturating_add(1), leave)?;
                pieces.iter_mut().for_each(|piece| piece.end = end);
                Ok(Some(pieces))
            }
        }
    }

    /// Removes those of these keys of which nothing is in any pane, where keys have running totals: of some rows of a piece of a window.
    pub fn forget_empty(&mut self, piece: &Window, rows: Vec<u32>) -> Result<()> {
        match &mut self.kept {
            KeptPanes::Memory(warm) => {
                warm.panes.forget_empty(rows.iter().filter_map(|row| piece.ids.get(*row as usize).copied()));
                Ok(())
            }
            KeptPanes::FilesOfTotals(cold) if !rows.is_empty() => cold.forget_empty(&piece.keys, rows),
            KeptPanes::FilesOfTotals(_) | KeptPanes::Files(_) => Ok(()),
        }
    }
}

impl WarmPanes {
    fn begin(&mut self, size_us: i64, origin_us: i64) -> Result<()> {
        if !self.inverse && self.sums.is_none() {
            let accumulators = self.panes.accumulator_schema();
            self.sums = Some(SlidingSums::new(size_us, origin_us.saturating_add(1), &accumulators)?);
        }
        Ok(())
    }

    /// A batch; `window`: the panes of the one that comes out. Panes before `leave` are in no later one.
    fn batch(
        &mut self,
        functions: &mut impl Accumulate,
        batch: BatchEnd,
        rows: Option<PartialRows>,
        window: Option<Range<i64>>,
        leave: i64,
    ) -> Result<Option<Window>> {
        let BatchEnd { time_us, end_us, next_us, .. } = batch;
        if let Some(rows) = rows {
            self.panes.add(functions, &rows.keys, &rows.partial, rows.rows)?;
        }
        self.complete(functions, end_us.unwrap_or(next_us).min(time_us))?;
        let Some((panes, end)) = window.zip(end_us) else { return Ok(None) };
        let start = panes.start;
        self.leave(functions, start)?;
        let ordered = self.panes.ordered().to_vec();
        let (ids, accumulators) = match &mut self.sums {
            Some(sums) => sums.window(functions, &self.panes, self.panes.rows(), panes, &ordered)?,
            None => {
                let ids = self.panes.with_total(&ordered);
                let slots = self.panes.running_slots(&ids);
                let totals = self.panes.accumulators(&slots)?;
                (ids, totals)
            }
        };
        let keys = self.panes.key_columns(&ids)?;
        self.leave(functions, leave)?;
        self.complete(functions, next_us.min(time_us))?;
        Ok(Some(Window { start, end, ids, keys, accumulators }))
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
