//! Panes that may be spilled: the table of [`Panes`], searched by key and pane, without an index per row. A window is assembled when it closes, from
//! rows that are read in the order of their keys, some at a time. The output is identical to the byte.

use super::panes::{Accumulate, Panes, RUNNING, fold_into};
use super::partial::{PartialRows, Window};
use super::rows::Slices;
use super::sums::SlidingSums;
use crate::state::{OwnedKey, Slot, StateTable};
use arrow::array::AsArray;
use arrow::datatypes::{Field, Int64Type};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::{NUMBER_BYTES, last_number};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// All panes.
pub struct ColdPanes {
    pub(super) table: StateTable,
    pub(super) keys: Vec<Arc<Field>>,
    /// Panes with rows, without running totals.
    pub(super) panes: BTreeSet<i64>,
    /// Scratch buffer of [`fold_into`].
    group_of: Vec<u32>,
}

/// Panes of the keys that a batch changed, and the changed slots.
pub struct ChangedPanes {
    /// All panes that share a window with a changed one.
    pub panes: Panes,
    /// The changed ones.
    pub slots: Vec<Slot>,
}

impl ColdPanes {
    /// Creates the panes of a table of [`Panes::table_of`], which may have rows and spills.
    pub fn new(keys: &[Arc<Field>], table: StateTable) -> Result<ColdPanes> {
        let mut panes = BTreeSet::new();
        table.each_key(|key| {
            panes.insert(last_number(key));
        })?;
        panes.remove(&RUNNING);
        Ok(ColdPanes { table, keys: keys.to_vec(), panes, group_of: Vec::new() })
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns the first pane.
    pub fn first(&self) -> Option<i64> {
        self.panes.first().copied()
    }

    /// Adds partial results, as [`Panes::add`] does.
    pub fn add(&mut self, functions: &mut impl Accumulate, rows: &PartialRows) -> Result<Vec<Slot>> {
        let panes = rows.keys.last().and_then(|panes| panes.as_primitive_opt::<Int64Type>());
        let panes = panes.ok_or_else(|| Error::bug("rows of panes that do not say which"))?;
        self.panes.extend(panes.values());
        let slots = fold_into(&mut self.table, &mut self.group_of, functions, &rows.keys, &rows.partial, rows.rows)?;
        self.table.used(&slots);
        Ok(slots)
    }

    /// Adds partial results. Returns the content of their windows, for their keys.
    pub fn add_and_find(
        &mut self,
        functions: &mut impl Accumulate,
        rows: &PartialRows,
        slices: Slices,
    ) -> Result<ChangedPanes> {
        let slots = self.add(functions, rows)?;
        let ColdPanes { table, keys, panes, .. } = self;
        let changed: Vec<OwnedKey> = slots.iter().map(|slot| table.owned_key(*slot)).collect();
        let mut all: BTreeSet<OwnedKey> = BTreeSet::new();
        for (hash, key) in &changed {
            let pane = last_number(key);
            let (first, last) = (pane.saturating_sub(slices.size_us), pane.saturating_add(slices.size_us));
            all.extend(panes.range(first..=last).map(|pane| (*hash, in_pane(key, *pane))));
        }
        let all: Vec<OwnedKey> = all.into_iter().collect();
        table.warm_owned(&all)?;
        let slots: Vec<Slot> = all.iter().filter_map(|(_, key)| table.find(key)).collect();
        let some = copy(keys, table, &slots)?;
        let slots = changed.iter().filter_map(|(_, key)| some.find(key)).collect();
        Ok(ChangedPanes { panes: Panes::from_table(keys, some)?, slots })
    }

    /// Returns the window of these panes in pieces: the keys of each follow those of the previous one. Blocks of sums begin at multiples of the
    /// window's size from `blocks_from`. Panes before `leave` are removed.
    pub fn window(
        &mut self,
        functions: &mut impl Accumulate,
        window: Range<i64>,
        blocks_from: i64,
        leave: i64,
    ) -> Result<Vec<Window>> {
        let ColdPanes { table, keys, panes, .. } = self;
        let mut pieces = Vec::new();
        let is_wanted = |key: &[u8]| window.contains(&last_number(key));
        table.each_range(
            is_wanted,
            |key| last_number(key) < leave,
            |table, slots| {
                pieces.push(piece(functions, keys, table, slots, &window, blocks_from)?);
                Ok(())
            },
        )?;
        panes.retain(|pane| *pane >= leave);
        Ok(pieces)
    }

    /// Removes the panes before this one.
    pub fn remove_before(&mut self, pane: i64) -> Result<()> {
        if self.first().is_some_and(|first| first < pane) {
            self.table.each_range(|_| false, |key| last_number(key) < pane, |_, _| Ok(()))?;
            self.panes.retain(|other| *other >= pane);
        }
        Ok(())
    }
}

/// Returns the key of a row without its pane.
pub(super) fn without_pane(key: &[u8]) -> &[u8] {
    key.get(..key.len().saturating_sub(NUMBER_BYTES)).unwrap_or_default()
}

/// Returns the key with another pane.
pub(super) fn in_pane(key: &[u8], pane: i64) -> Box<[u8]> {
    [without_pane(key), pane.to_le_bytes().as_slice()].concat().into_boxed_slice()
}

/// Returns the window of some keys, given their rows in its panes.
fn piece(
    functions: &mut impl Accumulate,
    keys: &[Arc<Field>],
    table: &StateTable,
    slots: &[Slot],
    window: &Range<i64>,
    blocks_from: i64,
) -> Result<Window> {
    let mut panes = Panes::from_table(keys, copy(keys, table, slots)?)?;
    let size = window.end.saturating_sub(window.start);
    let ordered = panes.ordered().to_vec();
    let mut sums = SlidingSums::new(size, blocks_from, &table.state_schema())?;
    sums.extend(functions, &panes, panes.rows(), window.clone())?;
    let (ids, accumulators) = sums.window(functions, &panes, panes.rows(), window.clone(), &ordered)?;
    let keys = panes.key_columns(&ids)?;
    Ok(Window { start: window.start, end: window.end, ids, keys, accumulators })
}

/// Copies some rows of a table to a new one.
pub(super) fn copy(keys: &[Arc<Field>], table: &StateTable, slots: &[Slot]) -> Result<StateTable> {
    table.copy_of(slots, Panes::table_of(keys, table.state_schema())?.ordered_by(keys.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use millstream_rows::batch::keys::Keys;

    #[test]
    fn the_pane_is_at_the_end_of_a_key() {
        let panes = [i64::MIN, -1, 0, 1_700_000_000_000_000];
        let columns: [ArrayRef; 2] = [
            Arc::new(StringArray::from(vec![
                Some("a"),
                None,
                Some(""),
                Some("long enough to be none of the short ones"),
            ])),
            Arc::new(Int64Array::from(panes.to_vec())),
        ];
        for columns in [&columns[..], &columns[1..]] {
            let keys = Keys::encode(columns, panes.len()).unwrap();
            assert_eq!([0, 1, 2, 3].map(|row| last_number(keys.view().get(row))), panes);
        }
    }
}
