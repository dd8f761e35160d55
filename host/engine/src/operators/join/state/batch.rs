//! Joins the rows of a batch, or of windows: a hash join with a defined output order.

use super::joined::{Pair, RowPosition};
use super::row_keys::{RowKeys, key_index};
use super::{RowCount, Side};
use crate::state::Slot;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use millstream_base::error::{Error, Result};
use millstream_job::spec::JoinKind;
use millstream_rows::batch::group::sort_by_rank;
use std::collections::BTreeMap;

/// The pairs of one window of event time, or of the batch.
#[derive(Debug, PartialEq, Eq)]
pub struct WindowPairs {
    /// End and start, in microseconds; `None` for the rows of a batch.
    pub bounds: Option<(i64, i64)>,
    /// Ordered by the hash of the key, then by arrival of the first side's rows, then by arrival of the second's.
    pub pairs: Vec<Pair>,
}

/// Rows of one window by side, in order of arrival.
type Rows = [Vec<RowPosition>; 2];

/// Finds the pairs of each window, in the order of the windows' ends. `on` is the number of key columns. If the rows are `windowed`, the next two
/// columns are start and end of the window.
pub fn windows(kind: JoinKind, on: usize, windowed: bool, sides: [&[RecordBatch]; 2]) -> Result<Vec<WindowPairs>> {
    let keys = |side: &[RecordBatch]| side.iter().map(|rows| RowKeys::new(rows, on)).collect::<Result<Vec<_>, _>>();
    let keys = [keys(sides[0]).map_err(Error::arrow)?, keys(sides[1]).map_err(Error::arrow)?];
    let by_window = by_window(on, windowed, sides)?;
    let mut windows = Vec::with_capacity(by_window.len());
    let mut rows = RowCount::default();
    for (bounds, at) in by_window {
        let found = RowsByKey::new(&keys, at)?;
        rows.add(found.count(kind))?;
        windows.push(WindowPairs { bounds, pairs: found.pairs(kind) });
    }
    Ok(windows)
}

/// Groups the rows by window.
fn by_window(on: usize, windowed: bool, sides: [&[RecordBatch]; 2]) -> Result<BTreeMap<Option<(i64, i64)>, Rows>> {
    let mut by_window: BTreeMap<Option<(i64, i64)>, Rows> = BTreeMap::new();
    for side in Side::BOTH {
        for (chunk, rows) in (0u32..).zip(sides[side.index()]) {
            let bounds = Bounds::new(rows, on, windowed)?;
            // Rows of one window are mostly consecutive.
            let mut start = 0;
            while start < rows.num_rows() {
                let window = bounds.window(start);
                let other = (start..rows.num_rows()).find(|row| bounds.window(*row) != window);
                let end = other.unwrap_or(rows.num_rows());
                let run = (start..end).map(|row| RowPosition { chunk, row: row as u32 });
                by_window.entry(window).or_default()[side.index()].extend(run);
                start = end;
            }
        }
    }
    Ok(by_window)
}

/// The bounds of the windows of rows.
struct Bounds<'a>(Option<(&'a [i64], &'a [i64])>);

impl<'a> Bounds<'a> {
    fn new(rows: &'a RecordBatch, on: usize, windowed: bool) -> Result<Bounds<'a>> {
        if !windowed {
            return Ok(Bounds(None));
        }
        let times = |position: usize| {
            let column = rows.columns().get(position).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
            column.ok_or_else(|| Error::bug("a row of a windowed join without the bounds of its window"))
        };
        Ok(Bounds(Some((times(on)?.values(), times(on + 1)?.values()))))
    }

    fn window(&self, row: usize) -> Option<(i64, i64)> {
        let (starts, ends) = self.0?;
        Some((*ends.get(row)?, *starts.get(row)?))
    }
}

/// The rows of one window by key.
struct RowsByKey {
    rows: Rows,
    /// Rows sorted by the rank of their key, and the end of each rank, by side.
    sorted: [(Vec<u32>, Vec<u32>); 2],
    /// By rank, whether the key has a null; such a key has no partner.
    null: Vec<bool>,
}

impl RowsByKey {
    fn new(keys: &[Vec<RowKeys>; 2], rows: Rows) -> Result<RowsByKey> {
        let mut index = key_index().map_err(Error::arrow)?;
        let mut null: Vec<bool> = Vec::new();
        let mut slots_of = |side: Side| -> Result<Vec<Slot>> {
            let mut slots = Vec::with_capacity(rows[side.index()].len());
            for at in &rows[side.index()] {
                let chunk = keys[side.index()].get(at.chunk as usize);
                let chunk = chunk.ok_or_else(|| Error::bug("a row of a join without a key"))?;
                let slot = chunk.slot(at.row as usize, &mut index);
                if slot as usize == null.len() {
                    null.push(chunk.is_null(at.row as usize));
                }
                slots.push(slot);
            }
            Ok(slots)
        };
        let slots = [slots_of(Side::First)?, slots_of(Side::Second)?];
        let ranks = index.ranks();
        let sort = |slots: &[Slot]| sort_by_rank(slots.iter().map(|slot| ranks[*slot as usize]), ranks.len());
        let sorted = [sort(&slots[0]), sort(&slots[1])];
        let mut null_of_rank = vec![false; ranks.len()];
        null.iter().zip(&ranks).for_each(|(null, rank)| null_of_rank[*rank as usize] = *null);
        Ok(RowsByKey { rows, sorted, null: null_of_rank })
    }

    /// Returns the rows of a side with the key of this rank, by their indexes in the window.
    fn rows_of(&self, side: Side, rank: usize) -> &[u32] {
        let (ends, sorted) = &self.sorted[side.index()];
        let start = if rank == 0 { 0 } else { ends[rank - 1] };
        &sorted[start as usize..ends[rank] as usize]
    }

    fn meet(&self, rank: usize) -> bool {
        !self.null[rank] && Side::BOTH.iter().all(|side| !self.rows_of(*side, rank).is_empty())
    }

    fn count(&self, kind: JoinKind) -> u64 {
        let count = |rank: usize| {
            let [first, second] = Side::BOTH.map(|side| self.rows_of(side, rank).len() as u64);
            if self.meet(rank) {
                return first.saturating_mul(second);
            }
            let alone = |side: Side, rows: u64| if side.is_outer(kind) { rows } else { 0 };
            alone(Side::First, first) + alone(Side::Second, second)
        };
        (0..self.null.len()).fold(0, |sum, rank| sum.saturating_add(count(rank)))
    }

    fn pairs(&self, kind: JoinKind) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(usize::try_from(self.count(kind)).unwrap_or(0));
        let at = |side: Side, row: &u32| self.rows[side.index()].get(*row as usize).copied();
        for rank in 0..self.null.len() {
            let [first, second] = Side::BOTH.map(|side| self.rows_of(side, rank));
            if self.meet(rank) {
                for a in first {
                    pairs.extend(second.iter().map(|b| [at(Side::First, a), at(Side::Second, b)]));
                }
                continue;
            }
            if Side::First.is_outer(kind) {
                pairs.extend(first.iter().map(|a| [at(Side::First, a), None]));
            }
            if Side::Second.is_outer(kind) {
                pairs.extend(second.iter().map(|b| [None, at(Side::Second, b)]));
            }
        }
        pairs
    }
}
