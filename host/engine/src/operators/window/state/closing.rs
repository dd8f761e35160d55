//! Aggregates over windows of event time: a pane is a slice, identified by its start.

use super::cold_panes::ColdPanes;
use super::panes::{Accumulate, KeyId, Panes, RowsByPane};
use super::partial::{PartialRows, Window};
use super::rows::Slices;
use super::sums::SlidingSums;
use crate::state::{Slot, StateTable};
use arrow::array::AsArray;
use arrow::compute::min;
use arrow::datatypes::{Field, Int64Type, SchemaRef};
use millstream_base::error::Result;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The windows of a stage on one worker.
pub struct TimeWindows {
    slices: Slices,
    keys: Vec<Arc<Field>>,
    accumulators: SchemaRef,
    kept: PaneStore,
    /// Whether results are emitted with every batch that changes them.
    update: bool,
    began: bool,
    /// The end of the first window that is not closed; `None` before the first watermark.
    next_end: Option<i64>,
}

/// The panes, and what is computed from them.
enum PaneStore {
    /// In memory, with the sums of windows.
    Memory(Box<WarmPanes>),
    /// Some may be in files.
    Files(Box<ColdPanes>),
}

struct WarmPanes {
    panes: Panes,
    sums: SlidingSums,
    /// The sums include the slices before this one.
    done: i64,
}

impl TimeWindows {
    /// Creates the windows from the rows of a table of [`Panes::table_of`]. They stay in memory if all of them fit.
    pub fn new(slices: Slices, update: bool, keys: &[Arc<Field>], mut table: StateTable) -> Result<TimeWindows> {
        let accumulators = table.state_schema();
        let kept = if table.stay_in_memory() {
            let (panes, sums) = (Panes::from_table(keys, table)?, SlidingSums::new(slices.size_us, 0, &accumulators)?);
            PaneStore::Memory(Box::new(WarmPanes { panes, sums, done: i64::MIN }))
        } else {
            PaneStore::Files(Box::new(ColdPanes::new(keys, table)?))
        };
        Ok(TimeWindows { slices, keys: keys.to_vec(), accumulators, kept, update, began: false, next_end: None })
    }

    /// Returns the table of panes, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        match &mut self.kept {
            PaneStore::Memory(warm) => warm.panes.table(),
            PaneStore::Files(cold) => cold.table(),
        }
    }

    /// Returns the memory of panes and sums if all of it is in memory; `None` if rows may be in files.
    pub fn bytes_in_memory(&self) -> Option<u64> {
        match &self.kept {
            PaneStore::Memory(warm) => Some(warm.panes.bytes() + warm.sums.bytes()),
            PaneStore::Files(_) => None,
        }
    }

    /// Lets rows spill to files from now on; `spilling` converts the table.
    pub fn leave_memory(&mut self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<()> {
        if let PaneStore::Memory(warm) = &mut self.kept {
            let panes = std::mem::replace(&mut warm.panes, Panes::new(&self.keys, self.accumulators.clone())?);
            let table = spilling(panes.into_table())?;
            self.kept = PaneStore::Files(Box::new(ColdPanes::new(&self.keys, table)?));
        }
        Ok(())
    }

    /// Recomputes all that is derived from the panes with the next batch, as the functions change.
    pub fn remake(&mut self) -> Result<()> {
        if let PaneStore::Memory(warm) = &mut self.kept {
            (warm.sums, warm.done) = (SlidingSums::new(self.slices.size_us, 0, &self.accumulators)?, i64::MIN);
        }
        (self.began, self.next_end) = (false, None);
        Ok(())
    }

    /// Processes a batch with its rows, none of which is late. Event time was complete up to `before` and now is up to `now`. Returns the windows
    /// that close or, for updates, that changed, ordered by their ends.
    pub fn batch(
        &mut self,
        functions: &mut impl Accumulate,
        before: Option<i64>,
        now: Option<i64>,
        rows: Option<PartialRows>,
    ) -> Result<Vec<Window>> {
        let slices = self.slices;
        let on_grid = |us: Option<i64>| us.map(|us| slices.to_grid(us));
        let mut windows = self.batch_on_grid(functions, on_grid(before), on_grid(now), rows)?;
        for window in &mut windows {
            (window.start, window.end) = (slices.from_grid(window.start), slices.from_grid(window.end));
        }
        Ok(windows)
    }

    fn batch_on_grid(
        &mut self,
        functions: &mut impl Accumulate,
        before: Option<i64>,
        now: Option<i64>,
        rows: Option<PartialRows>,
    ) -> Result<Vec<Window>> {
        let slices = self.slices;
        if !std::mem::replace(&mut self.began, true)
            && let Some(before) = before
        {
            self.close_all(functions, before)?;
        }
        let rows = rows.filter(|rows| rows.rows > 0);
        if self.update {
            let windows = match (rows, &mut self.kept) {
                (Some(rows), PaneStore::Memory(warm)) => {
                    let slots = warm.panes.add(functions, &rows.keys, &rows.partial, rows.rows)?;
                    refine(functions, slices, before, &mut warm.panes, &slots)?
                }
                (Some(rows), PaneStore::Files(cold)) => {
                    let mut changed = cold.add_and_find(functions, &rows, slices)?;
                    refine(functions, slices, before, &mut changed.panes, &changed.slots)?
                }
                (None, _) => Vec::new(),
            };
            if let Some(now) = now {
                let leave = slices.first_end(now).saturating_sub(slices.size_us);
                match &mut self.kept {
                    PaneStore::Memory(warm) => warm.panes.remove_before(leave),
                    PaneStore::Files(cold) => cold.remove_before(leave)?,
                }
            }
            return Ok(windows);
        }
        if let Some(rows) = rows {
            let start = self.next_end.map_or(i64::MIN, |end| end.saturating_sub(self.slices.size_us));
            match &mut self.kept {
                PaneStore::Memory(warm) => warm.add(functions, rows, start)?,
                PaneStore::Files(cold) => drop(cold.add(functions, &rows)?),
            }
        }
        match now {
            Some(now) if now != before.unwrap_or(i64::MIN) => self.close(functions, now),
            _ => Ok(Vec::new()),
        }
    }

    fn first_pane(&self) -> Option<i64> {
        match &self.kept {
            PaneStore::Memory(warm) => warm.panes.rows().keys().next().copied(),
            PaneStore::Files(cold) => cold.first(),
        }
    }

    /// Closes the windows that end until now.
    fn close(&mut self, functions: &mut impl Accumulate, now: i64) -> Result<Vec<Window>> {
        let Slices { size_us: size, slide_us: slide, .. } = self.slices;
        let mut windows = Vec::new();
        let mut next = self.next_end;
        while let Some(first) = self.first_pane() {
            // The windows in between are empty.
            let end = next.filter(|end| first < *end).unwrap_or_else(|| self.slices.first_end(first));
            if end > now {
                break;
            }
            let start = end.saturating_sub(size);
            let leave = start.saturating_add(slide);
            match &mut self.kept {
                PaneStore::Memory(warm) => windows.push(warm.window(functions, start..end, leave)?),
                PaneStore::Files(cold) => windows.extend(cold.window(functions, start..end, 0, leave)?),
            }
            next = Some(end.saturating_add(slide));
        }
        self.close_all(functions, now)?;
        Ok(windows)
    }

    /// Closes all windows that end until now.
    fn close_all(&mut self, functions: &mut impl Accumulate, now: i64) -> Result<()> {
        let next_end = self.slices.first_end(now);
        self.next_end = Some(next_end);
        let leave = next_end.saturating_sub(self.slices.size_us);
        match &mut self.kept {
            PaneStore::Memory(warm) => {
                warm.leave(leave);
                warm.extend(functions, next_end.saturating_sub(self.slices.slide_us))
            }
            PaneStore::Files(cold) => cold.remove_before(leave),
        }
    }
}

impl WarmPanes {
    /// Adds rows. `start` is that of the first window that is not closed.
    fn add(&mut self, functions: &mut impl Accumulate, rows: PartialRows, start: i64) -> Result<()> {
        let earliest = rows.keys.last().and_then(|panes| min(panes.as_primitive_opt::<Int64Type>()?));
        let slots = self.panes.add(functions, &rows.keys, &rows.partial, rows.rows)?;
        if earliest.is_none_or(|earliest| earliest >= self.done) {
            return Ok(());
        }
        // Too late for closed windows, but not for others with the same slice.
        let changed = slots.iter().filter(|slot| self.panes.pane_of(**slot) < self.done);
        let mut ids: Vec<KeyId> = changed.map(|slot| self.panes.id_of(*slot)).collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = self.panes.rows_of(&ids, start..self.done);
        self.sums.remake(functions, &self.panes, &ids, &rows)
    }

    /// Returns the window of these panes. Those before `leave` are in no other one.
    fn window(&mut self, functions: &mut impl Accumulate, window: Range<i64>, leave: i64) -> Result<Window> {
        let Range { start, end } = window;
        self.extend(functions, end)?;
        let ordered = self.panes.ordered().to_vec();
        let (ids, accumulators) = self.sums.window(functions, &self.panes, self.panes.rows(), start..end, &ordered)?;
        let keys = self.panes.key_columns(&ids)?;
        self.leave(leave);
        Ok(Window { start, end, ids, keys, accumulators })
    }

    fn extend(&mut self, functions: &mut impl Accumulate, to: i64) -> Result<()> {
        self.sums.extend(functions, &self.panes, self.panes.rows(), self.done..to)?;
        self.done = self.done.max(to);
        Ok(())
    }

    fn leave(&mut self, before: i64) {
        self.sums.leave_before(&self.panes, self.panes.rows(), before);
        self.panes.remove_before(before);
    }
}

/// Returns the current windows of these slots, with the changed keys.
fn refine(
    functions: &mut impl Accumulate,
    slices: Slices,
    before: Option<i64>,
    panes: &mut Panes,
    slots: &[Slot],
) -> Result<Vec<Window>> {
    let mut changed: BTreeMap<i64, Vec<KeyId>> = BTreeMap::new();
    for slot in slots {
        for end in slices.window_ends(panes.pane_of(*slot)).filter(|end| before.is_none_or(|before| *end > before)) {
            changed.entry(end).or_default().push(panes.id_of(*slot));
        }
    }
    let (Some(first), Some(last)) = (changed.keys().next(), changed.keys().next_back()) else {
        return Ok(Vec::new());
    };
    let size = slices.size_us;
    let range = first.saturating_sub(size)..*last;
    let mut ids: Vec<KeyId> = slots.iter().map(|slot| panes.id_of(*slot)).collect();
    ids.sort_unstable();
    ids.dedup();
    // A window of one slice needs no sums. (In older checkpoints there are several slices also with gaps between windows.)
    let several = slices.slice_us != size;
    let rows = if several { panes.rows_of(&ids, range.clone()) } else { RowsByPane::new() };
    let mut sums = SlidingSums::new(size, 0, &panes.accumulator_schema())?;
    let (mut done, mut windows) = (range.start, Vec::new());
    for (end, mut ids) in changed {
        panes.sort(&mut ids);
        ids.dedup();
        let start = end.saturating_sub(size);
        let (ids, accumulators) = if several {
            sums.extend(functions, panes, &rows, done..end)?;
            done = end;
            sums.window(functions, panes, &rows, start..end, &ids)?
        } else {
            let slots = panes.rows_of(&ids, start..end).into_values().flat_map(|rows| rows.slots);
            let accumulators = panes.accumulators(&slots.collect::<Vec<Slot>>())?;
            (ids, accumulators)
        };
        let keys = panes.key_columns(&ids)?;
        windows.push(Window { start, end, ids, keys, accumulators });
    }
    Ok(windows)
}
