//! Aggregates over windows of event time: a pane is a slice, named by its start.

use super::batches::{PartialRows, Window};
use super::panes::{Accumulate, KeyId, Panes, RowsByPane};
use super::rows::Slices;
use super::sums::SlidingSums;
use crate::error::Result;
use crate::state::Slot;
use arrow::array::AsArray;
use arrow::compute::min;
use arrow::datatypes::{Field, Int64Type, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The windows of a stage on one worker.
pub struct TimeWindows {
    slices: Slices,
    accumulators: SchemaRef,
    panes: Panes,
    sums: SlidingSums,
    /// Results with every batch that changes them.
    update: bool,
    began: bool,
    /// The end of the first window that is not closed; `None`: no time is known to be complete.
    next_end: Option<i64>,
    /// The sums hold the slices before this one.
    done: i64,
}

impl TimeWindows {
    /// Begins without rows.
    pub fn new(slices: Slices, update: bool, keys: &[Arc<Field>], accumulators: &SchemaRef) -> Result<TimeWindows> {
        Ok(TimeWindows {
            slices,
            accumulators: accumulators.clone(),
            panes: Panes::new(keys, accumulators.clone())?,
            sums: SlidingSums::new(slices.size_us, 0, accumulators)?,
            update,
            began: false,
            next_end: None,
            done: i64::MIN,
        })
    }

    /// The panes, for what checkpoints hold of them.
    pub fn panes(&mut self) -> &mut Panes {
        &mut self.panes
    }

    /// Makes all that is not in the panes anew with the next batch, as the functions are others then.
    pub fn remake(&mut self) -> Result<()> {
        self.sums = SlidingSums::new(self.slices.size_us, 0, &self.accumulators)?;
        (self.began, self.next_end, self.done) = (false, None, i64::MIN);
        Ok(())
    }

    /// A batch with its rows, none of which is late; event time was complete up to `before` and now is up to `now`.
    /// Returns the windows that close or, for updates, that changed, in the order of their ends.
    pub fn batch(
        &mut self,
        functions: &mut impl Accumulate,
        before: Option<i64>,
        now: Option<i64>,
        rows: Option<PartialRows>,
    ) -> Result<Vec<Window>> {
        let slices = self.slices;
        let on_grid = |us: Option<i64>| us.map(|us| slices.on_grid(us));
        let mut windows = self.batch_on_grid(functions, on_grid(before), on_grid(now), rows)?;
        for window in &mut windows {
            (window.start, window.end) = (slices.moment(window.start), slices.moment(window.end));
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
        if !std::mem::replace(&mut self.began, true)
            && let Some(before) = before
        {
            self.close_all(functions, before)?;
        }
        let rows = rows.filter(|rows| rows.rows > 0);
        if self.update {
            let windows = match rows {
                Some(rows) => {
                    let slots = self.panes.add(functions, &rows.keys, &rows.partial, rows.rows)?;
                    self.refine(functions, before, &slots)?
                }
                None => Vec::new(),
            };
            if let Some(now) = now {
                self.panes.remove_before(self.slices.first_end(now).saturating_sub(self.slices.size_us));
            }
            return Ok(windows);
        }
        if let Some(rows) = rows {
            self.add(functions, rows)?;
        }
        match now {
            Some(now) if now != before.unwrap_or(i64::MIN) => self.close(functions, now),
            _ => Ok(Vec::new()),
        }
    }

    fn add(&mut self, functions: &mut impl Accumulate, rows: PartialRows) -> Result<()> {
        let earliest = rows.keys.last().and_then(|panes| min(panes.as_primitive_opt::<Int64Type>()?));
        let slots = self.panes.add(functions, &rows.keys, &rows.partial, rows.rows)?;
        if earliest.is_none_or(|earliest| earliest >= self.done) {
            return Ok(());
        }
        // Too late for windows that are closed, and not for others that hold the same slice.
        let changed = slots.iter().filter(|slot| self.panes.pane_of(**slot) < self.done);
        let mut ids: Vec<KeyId> = changed.map(|slot| self.panes.id_of(*slot)).collect();
        ids.sort_unstable();
        ids.dedup();
        let start = self.next_end.map_or(i64::MIN, |end| end.saturating_sub(self.slices.size_us));
        let rows = self.panes.rows_of(&ids, start..self.done);
        self.sums.remake(functions, &self.panes, &ids, &rows)
    }

    /// Closes the windows that end until now.
    fn close(&mut self, functions: &mut impl Accumulate, now: i64) -> Result<Vec<Window>> {
        let Slices { size_us: size, slide_us: slide, .. } = self.slices;
        let mut windows = Vec::new();
        let mut next = self.next_end;
        while let Some(first) = self.panes.rows().keys().next().copied() {
            // The windows between hold nothing.
            let end = next.filter(|end| first < *end).unwrap_or_else(|| self.slices.first_end(first));
            if end > now {
                break;
            }
            let start = end.saturating_sub(size);
            self.extend(functions, end)?;
            let ordered = self.panes.ordered().to_vec();
            let (ids, accumulators) =
                self.sums.window(functions, &self.panes, self.panes.rows(), start..end, &ordered)?;
            let keys = self.panes.key_columns(&ids)?;
            windows.push(Window { start, end, ids, keys, accumulators });
            next = Some(end.saturating_add(slide));
            self.leave(start.saturating_add(slide));
        }
        self.close_all(functions, now)?;
        Ok(windows)
    }

    /// Closes all windows that end until now.
    fn close_all(&mut self, functions: &mut impl Accumulate, now: i64) -> Result<()> {
        let next_end = self.slices.first_end(now);
        self.next_end = Some(next_end);
        self.leave(next_end.saturating_sub(self.slices.size_us));
        self.extend(functions, next_end.saturating_sub(self.slices.slide_us))
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

    /// The windows that these slots are in, as they are now, with those of their keys that changed.
    fn refine(&mut self, functions: &mut impl Accumulate, before: Option<i64>, slots: &[Slot]) -> Result<Vec<Window>> {
        let mut changed: BTreeMap<i64, Vec<KeyId>> = BTreeMap::new();
        for slot in slots {
            for end in
                self.slices.ends(self.panes.pane_of(*slot)).filter(|end| before.is_none_or(|before| *end > before))
            {
                changed.entry(end).or_default().push(self.panes.id_of(*slot));
            }
        }
        let (Some(first), Some(last)) = (changed.keys().next(), changed.keys().next_back()) else {
            return Ok(Vec::new());
        };
        let size = self.slices.size_us;
        let range = first.saturating_sub(size)..*last;
        let mut ids: Vec<KeyId> = slots.iter().map(|slot| self.panes.id_of(*slot)).collect();
        ids.sort_unstable();
        ids.dedup();
        // A window of one slice needs no sums. (Checkpoints of earlier versions have several also where there is time between
        // windows.)
        let several = self.slices.slice_us != size;
        let rows = if several { self.panes.rows_of(&ids, range.clone()) } else { RowsByPane::new() };
        let mut sums = SlidingSums::new(size, 0, &self.accumulators)?;
        let (mut done, mut windows) = (range.start, Vec::new());
        for (end, mut ids) in changed {
            self.panes.sort(&mut ids);
            ids.dedup();
            let start = end.saturating_sub(size);
            let (ids, accumulators) = if several {
                sums.extend(functions, &self.panes, &rows, done..end)?;
                done = end;
                sums.window(functions, &self.panes, &rows, start..end, &ids)?
            } else {
                let slots = self.panes.rows_of(&ids, start..end).into_values().flat_map(|rows| rows.slots);
                let accumulators = self.panes.accumulators(&slots.collect::<Vec<Slot>>())?;
                (ids, accumulators)
            };
            let keys = self.panes.key_columns(&ids)?;
            windows.push(Window { start, end, ids, keys, accumulators });
        }
        Ok(windows)
    }
}
