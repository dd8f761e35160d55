//! Running totals of windows that take out again what leaves them, where panes and totals may lie in files: rows of the table of
//! [`ColdPanes`]. What enters or leaves is worked on for some keys at a time, as [`Panes`] does it for all; so what comes out is the same
//! to the byte.

use super::cold_panes::{ColdPanes, copy, in_pane, without_pane};
use super::panes::{Accumulate, Panes, RUNNING, all};
use super::partial::{BatchEnd, PartialRows, Window};
use crate::state::{OwnedKey, Slot, StateTable};
use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take_arrays;
use millstream_base::batch::keys::{Keys, last_number};
use millstream_base::error::{Error, Result};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Rows of panes that are worked on at a time, about.
const ROWS_AT_ONCE: usize = 1 << 14;

/// Panes, and the running totals of their keys.
pub struct ColdTotals {
    panes: ColdPanes,
    /// Totals hold the panes up to this one. Later ones are there where windows wait.
    done: i64,
}

impl ColdTotals {
    /// Totals hold the panes up to `done`.
    pub fn new(panes: ColdPanes, done: i64) -> ColdTotals {
        ColdTotals { panes, done }
    }

    /// The table, for what checkpoints hold of it.
    pub fn table(&mut self) -> &mut StateTable {
        self.panes.table()
    }

    /// The last pane.
    pub fn last(&self) -> Option<i64> {
        self.panes.panes.last().copied()
    }

    /// Rows were restored, and totals hold the panes up to this one.
    pub fn restored(&mut self, done: i64) {
        self.done = done;
    }

    /// A batch with its rows, and what comes out with it. `window`: its panes; those before `leave` are in no later one.
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

    /// All totals, in the order of the hashes of their keys.
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

    /// Totals hold the panes up to this one now. `added`: the rows that the batch has just brought to its pane.
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

    /// Panes before this one are in no window any more.
    fn leave(&mut self, functions: &mut impl Accumulate, start: i64) -> Result<()> {
        let panes = &mut self.panes.panes;
        if panes.first().is_none_or(|first| *first >= start) {
            return Ok(());
        }
        *panes = panes.split_off(&start);
        let leaving = self.keys_in(|pane| pane != RUNNING && pane < start)?;
        self.change(leaving, |panes| {
            panes.run_out(functions, start)?;
            panes.remove_before(start);
            Ok(())
        })
    }

    /// The keys of the rows of some panes.
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

    /// Works on these rows of panes and the totals of their keys, all rows of a key together.
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
        let mut panes = Panes::of(keys, copy(keys, table, &slots)?)?;
        work(&mut panes)?;
        let stays = panes.into_table();
        let gone: Vec<Slot> = slots.into_iter().filter(|slot| stays.find(table.key(*slot)).is_none()).collect();
        table.remove_all(&gone);
        // Panes are as they were.
        let totals: Vec<Slot> = stays.all().filter(|slot| last_number(stays.key(*slot)) == RUNNING).collect();
        let states = stays.states(&totals).map_err(Error::arrow)?.0;
        let slots: Vec<Slot> = totals.iter().map(|slot| table.slot(stays.key(*slot), stays.hash_of(*slot))).collect();
        table.store(&slots, &states, &all(slots.len()));
        table.used(&slots);
        Ok(())
    }

    /// Removes those of these keys of which nothing is in any pane. `keys`: the key columns of a piece of a window, and rows of it.
    pub fn forget_empty(&mut self, keys: &[ArrayRef], rows: Vec<u32>) -> Result<()> {
        let count = rows.len();
        let mut columns = take_arrays(keys, &UInt32Array::from(rows), None).map_err(Error::arrow)?;
        columns.push(Arc::new(Int64Array::from(vec![RUNNING; count])));
        let encoded = Keys::encode(&columns, count).map_err(Error::arrow)?;
        let table = &mut self.panes.table;
        let hashes = table.hashes_of(&columns, &encoded).map_err(Error::arrow)?;
        let totals: Vec<OwnedKey> =
            hashes.iter().enumerate().map(|(row, hash)| (*hash, encoded.view().get(row).into())).collect();
        let asked: BTreeSet<&[u8]> = totals.iter().map(|(_, key)| without_pane(key)).collect();
        let mut there: BTreeSet<Box<[u8]>> = BTreeSet::new();
        table.each_range(
            |key| last_number(key) != RUNNING && asked.contains(without_pane(key)),
            |_| false,
            |table, slots| {
                there.extend(slots.iter().map(|slot| without_pane(table.key(*slot)).into()));
                Ok(())
            },
        )?;
        let empty: Vec<OwnedKey> =
            totals.iter().filter(|(_, key)| !there.contains(without_pane(key))).cloned().collect();
        table.warm_owned(&empty)?;
        let slots: Vec<Slot> = empty.iter().filter_map(|(_, key)| table.find(key)).collect();
        table.remove_all(&slots);
        Ok(())
    }
}
