//! Aggregates over windows of processing time: a pane is a batch, identified by its time.

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
    kept: PaneStore,
}

/// The panes, and what is computed from them.
enum PaneStore {
    /// In memory, with the sums of windows.
    Memory(Box<WarmPanes>),
    /// Some may be in files.
    Files(Box<ColdPanes>),
    /// As `Files`, for keys with running totals.
    FilesOfTotals(Box<ColdTotals>),
}

impl PaneStore {
    /// Returns panes that may be spilled. Running totals include the panes up to `done`.
    fn in_files(panes: ColdPanes, inverse: bool, done: i64) -> PaneStore {
        match inverse {
            true => PaneStore::FilesOfTotals(Box::new(ColdTotals::new(panes, done))),
            false => PaneStore::Files(Box::new(panes)),
        }
    }
}

struct WarmPanes {
    panes: Panes,
    /// Whether keys have running totals.
    inverse: bool,
    /// The sums for windows if keys have no running totals; `None` before the first batch.
    sums: Option<SlidingSums>,
    /// Totals and sums include the panes up to this one. Later ones exist while windows wait.
    done: i64,
}

impl BatchWindows {
    /// Creates the windows from the rows of a table of [`Panes::table_of`]; they stay in memory if all of them fit. `inverse`: keys have running
    /// totals, from which what leaves a window is subtracted.
    pub fn new(size_us: i64, inverse: bool, keys: &[Arc<Field>], mut table: StateTable) -> Result<BatchWindows> {
        let accumulators = table.state_schema();
        let kept = if table.stay_in_memory() {
            let panes = Panes::from_table(keys, table)?;
            PaneStore::Memory(Box::new(WarmPanes { panes, inverse, sums: None, done: i64::MIN }))
        } else {
            PaneStore::in_files(ColdPanes::new(keys, table)?, inverse, i64::MIN)
        };
        Ok(BatchWindows { size_us, keys: keys.to_vec(), accumulators, kept })
    }

    /// Returns the table of panes, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        match &mut self.kept {
            PaneStore::Memory(warm) => warm.panes.table(),
            PaneStore::Files(cold) => cold.table(),
            PaneStore::FilesOfTotals(cold) => cold.table(),
        }
    }

    /// Returns the memory of panes and sums if all of it is in memory; `None` if rows may be in files.
    pub fn bytes_in_memory(&self) -> Option<u64> {
        match &self.kept {
            PaneStore::Memory(warm) => Some(warm.panes.bytes() + warm.sums.as_ref().map_or(0, SlidingSums::bytes)),
            PaneStore::Files(_) | PaneStore::FilesOfTotals(_) => None,
        }
    }

    /// Lets rows spill to files from now on; `spilling` converts the table.
    pub fn leave_memory(&mut self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<()> {
        if let PaneStore::Memory(warm) = &mut self.kept {
            let panes = std::mem::replace(&mut warm.panes, Panes::new(&self.keys, self.accumulators.clone())?);
            let table = spilling(panes.into_table())?;
            let (inverse, done) = (warm.inverse, warm.done);
            self.kept = PaneStore::in_files(ColdPanes::new(&self.keys, table)?, inverse, done);
        }
        Ok(())
    }

    /// Recomputes all that is derived from the panes: they were restored, or the functions changed. `next_us` is the end of the next window.
    pub fn rebuild(&mut self, functions: &mut impl Accumulate, origin_us: i64, next_us: i64) -> Result<()> {
        let start = self.first_pane(next_us);
        let done = |last: Option<i64>| last.map_or(start.saturating_sub(1), |last| last.min(next_us));
        let warm = match &mut self.kept {
            PaneStore::Memory(warm) => warm,
            PaneStore::Files(_) => return Ok(()),
            PaneStore::FilesOfTotals(cold) => {
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

    /// Returns the first pane in a window that ends then.
    fn first_pane(&self, end_us: i64) -> i64 {
        end_us.saturating_sub(self.size_us).saturating_add(1)
    }

    /// Processes a batch with its rows. Returns the window that is emitted with it, in pieces: the keys of each follow those of the previous one.
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
            PaneStore::Memory(warm) => {
                warm.begin(self.size_us, batch.origin_us)?;
                Ok(warm.batch(functions, batch, rows, window, leave)?.map(|window| vec![window]))
            }
            PaneStore::FilesOfTotals(cold) => cold.batch(functions, batch, rows, window, leave),
            PaneStore::Files(cold) => {
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

    /// Removes keys without panes, if keys have running totals. The keys are those of some rows of a piece of a window.
    pub fn remove_empty(&mut self, piece: &Window, rows: Vec<u32>) -> Result<()> {
        match &mut self.kept {
            PaneStore::Memory(warm) => {
                warm.panes.remove_empty(rows.iter().filter_map(|row| piece.ids.get(*row as usize).copied()));
                Ok(())
            }
            PaneStore::FilesOfTotals(cold) if !rows.is_empty() => cold.remove_empty(&piece.keys, rows),
            PaneStore::FilesOfTotals(_) | PaneStore::Files(_) => Ok(()),
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

    /// Processes a batch. `window` has the panes of the emitted window. Panes before `leave` are in no later one.
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

    /// Adds the panes up to this one to sums and totals.
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

    /// Removes the panes before this one, which are in no window any longer.
    fn leave(&mut self, functions: &mut impl Accumulate, start: i64) -> Result<()> {
        match &mut self.sums {
            Some(sums) => sums.leave_before(&self.panes, self.panes.rows(), start),
            None => self.panes.subtract_before(functions, start)?,
        }
        self.panes.remove_before(start);
        Ok(())
    }
}
