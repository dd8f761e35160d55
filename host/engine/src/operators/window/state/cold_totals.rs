//! Running totals of windows that subtract what leaves them, where panes and totals may be spilled: rows of the table of [`ColdPanes`]. Changes are
//! processed for some keys at a time, by [`Panes`]. So the output is identical to the byte.

use super::cold_panes::{ColdPanes, copy, in_pane, without_pane};
use super::panes::{Accumulate, Panes, RUNNING, all};
use super::partial::{BatchEnd, PartialRows, Window};
use crate::state::{OwnedKey, Slot, StateTable};
use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take_arrays;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::{Keys, last_number};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Approximate number of rows of panes that are processed at a time.
const ROWS_AT_ONCE: usize = 1 << 14;

/// Panes, and the running totals of their keys.
pub struct ColdTotals {
    panes: ColdPanes,
    /// Totals include the panes up to this one. Later ones exist while windows wait.
    done: i64,
}

impl ColdTotals {
    /// Creates totals that include the panes up to `done`.
    pub fn new(panes: ColdPanes, done: i64) -> ColdTotals {
        ColdTotals { panes, done }
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        self.panes.table()
    }

    /// Returns the last pane.
    pub fn last(&self) -> Option<i64> {
        self.panes.panes.last().copied()
    }

    /// Records that rows were restored, with totals up to this pane.
    pub fn restored(&mut self, done: i64) {
        self.done = done;
    }

    /// Processes a batch with its rows. Returns the emitted window. `window` has its panes; those before `leave` are in no later one.
    pub fn batch(
        &mut self,
        functions: &mut impl Accumulate,
        batch: BatchEnd,
        rows: Option<PartialRows>,
        window: Option<Range<i64>>,
        leave: i64,
    ) -> Result<Option<Vec<Window>>> {
        let BatchEnd { time_us, end_us, next_us, .. } = batch;
        let slots = rows.map(|rows| self.panes.add(functions, &rows)).transpose()?.unwrap_or_default();
        let added: Vec<OwnedKey> = slots.iter().map(|slot| self.panes.table.owned_key(*slot)).collect();
        self.complete(functions, end_us.unwrap_or(next_us).min(time_us), &added)?;
        let Some((panes, end)) = window.zip(end_us) else { return Ok(None) };
        self.leave(functions, panes.start)?;
        let totals = self.totals(panes.start, end)?;
        self.leave(functions, leave)?;
        self.complete(functions, next_us.min(time_us), &added)?;
        Ok(Some(totals))
    }

    /// Returns all totals, in the order of the hashes of their keys.
    fn totals(&mut self, start: i64, end: i64) -> Result<Vec<Window>> {
        let mut pieces = Vec::new();
        self.panes.table.each_range(
            |key| last_number(key) == RUNNING,
            |_| false,
            |table, slots| {
                let mut keys = table.keys(slots).map_err(Error::arrow)?;
                keys.pop();
                let accumulators = table.states(slots).map_err(Error::arrow)?.0;
                pieces.push(Window { start, end, ids: (0..slots.len() as u32).collect(), keys, accumulators });
                Ok(())
            },
        )?;
        Ok(pieces)
    }

    /// Adds the panes up to this one to the totals. `added` are the rows that the batch just added to its pane.
    fn complete(&mut self, functions: &mut impl Accumulate, to: i64, added: &[OwnedKey]) -> Result<()> {
        if to <= self.done {
            return Ok(());
        }
        let range = self.done.saturating_add(1)..to.saturating_add(1);
        let panes: Vec<i64> = self.panes.panes.range(range.clone()).copied().collect();
        let of_batch = added.first().map(|(_, key)| last_number(key));
        let entering = match panes.as_slice() {
            [] => Vec::new(),
            [only] if Some(*only) == of_batch => added.to_vec(),
            _ => self.keys_in(|pane| range.contains(&pane))?,
        };
        self.change(entering, |panes| panes.run(functions, range.clone()))?;
        self.done = to;
        Ok(())
    }

    /// Subtracts and removes the panes before this one, which are in no window any longer.
    fn leave(&mut self, functions: &mut impl Accumulate, start: i64) -> Result<()> {
        let panes = &mut self.panes.panes;
        if panes.first().is_none_or(|first| *first >= start) {
            return Ok(());
        }
        *panes = panes.split_off(&start);
        let leaving = self.keys_in(|pane| pane != RUNNING && pane < start)?;
        self.change(leaving, |panes| {
            panes.subtract_before(functions, start)?;
            panes.remove_before(start);
            Ok(())
        })
    }

    /// Returns the keys of the rows of some panes.
    fn keys_in(&mut self, is_wanted: impl Fn(i64) -> bool) -> Result<Vec<OwnedKey>> {
        let mut keys = Vec::new();
        self.panes.table.each_range(
            |key| is_wanted(last_number(key)),
            |_| false,
            |table, slots| {
                keys.extend(slots.iter().map(|slot| table.owned_key(*slot)));
                Ok(())
            },
        )?;
        Ok(keys)
    }

    /// Processes these rows of panes and the totals of their keys, with all rows of a key together.
    fn change(&mut self, mut rows: Vec<OwnedKey>, mut work: impl FnMut(&mut Panes) -> Result<()>) -> Result<()> {
        rows.sort_unstable();
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let last = rest.get(ROWS_AT_ONCE - 1).map(|(hash, _)| hash.0);
            let count = last.map_or(rest.len(), |last| rest.partition_point(|(hash, _)| hash.0 <= last));
            let (some, others) = rest.split_at(count);
            rest = others;
            self.change_some(some, &mut work)?;
            self.panes.table.shrink()?;
        }
        Ok(())
    }

    fn change_some(&mut self, rows: &[OwnedKey], work: &mut impl FnMut(&mut Panes) -> Result<()>) -> Result<()> {
        let ColdPanes { table, keys, .. } = &mut self.panes;
        let running = rows.iter().map(|(hash, key)| (*hash, in_pane(key, RUNNING)));
        let wanted: BTreeSet<OwnedKey> = rows.iter().cloned().chain(running).collect();
        let wanted: Vec<OwnedKey> = wanted.into_iter().collect();
        table.warm_owned(&wanted)?;
        let slots: Vec<Slot> = wanted.iter().filter_map(|(_, key)| table.find(key)).collect();
        let mut panes = Panes::from_table(keys, copy(keys, table, &slots)?)?;
        work(&mut panes)?;
        let stays = panes.into_table();
        let removed: Vec<Slot> = slots.into_iter().filter(|slot| stays.find(table.key(*slot)).is_none()).collect();
        table.remove_all(&removed);
        // Panes are unchanged.
        let totals: Vec<Slot> = stays.all().filter(|slot| last_number(stays.key(*slot)) == RUNNING).collect();
        let states = stays.states(&totals).map_err(Error::arrow)?.0;
        let slots: Vec<Slot> = totals.iter().map(|slot| table.slot(stays.key(*slot), stays.hash_of(*slot))).collect();
        table.store(&slots, &states, &all(slots.len()));
        table.used(&slots);
        Ok(())
    }

    /// Removes keys without panes. `keys` are the key columns of a piece of a window; `rows` are some of its rows.
    pub fn remove_empty(&mut self, keys: &[ArrayRef], rows: Vec<u32>) -> Result<()> {
        let count = rows.len();
        let mut columns = take_arrays(keys, &UInt32Array::from(rows), None).map_err(Error::arrow)?;
        columns.push(Arc::new(Int64Array::from(vec![RUNNING; count])));
        let encoded = Keys::encode(&columns, count).map_err(Error::arrow)?;
        let table = &mut self.panes.table;
        let hashes = table.hashes_of(&columns, &encoded).map_err(Error::arrow)?;
        let totals: Vec<OwnedKey> =
            hashes.iter().enumerate().map(|(row, hash)| (*hash, encoded.view().get(row).into())).collect();
        let requested: BTreeSet<&[u8]> = totals.iter().map(|(_, key)| without_pane(key)).collect();
        let mut existing: BTreeSet<Box<[u8]>> = BTreeSet::new();
        table.each_range(
            |key| last_number(key) != RUNNING && requested.contains(without_pane(key)),
            |_| false,
            |table, slots| {
                existing.extend(slots.iter().map(|slot| without_pane(table.key(*slot)).into()));
                Ok(())
            },
        )?;
        let empty: Vec<OwnedKey> =
            totals.iter().filter(|(_, key)| !existing.contains(without_pane(key))).cloned().collect();
        table.warm_owned(&empty)?;
        let slots: Vec<Slot> = empty.iter().filter_map(|(_, key)| table.find(key)).collect();
        table.remove_all(&slots);
        Ok(())
    }
}
