//! Pieces that may be spilled: the table of [`Pieces`], with an index of the times only. The pieces of a window are looked up when it is emitted.

use super::{PieceId, Pieces, columns, decode_rows, encode_rows, id_columns, incomplete, rows_of_file};
use crate::checkpoint::read;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use arrow::datatypes::Schema;
use millstream_base::batch::keys::{Keys, last_number};
use millstream_base::error::{Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Approximate size of a group of pieces that are spilled together.
const LEAVING_BYTES: usize = 1 << 20;

/// All pieces.
pub struct ColdPieces {
    table: StateTable,
    /// Times with pieces.
    times: BTreeSet<i64>,
}

impl ColdPieces {
    /// Creates a table without rows.
    pub fn table_of() -> Result<StateTable> {
        let [key, sub, state] = columns();
        let fields = read::fields(key.iter().chain(&sub))?;
        let state = Arc::new(Schema::new(read::fields(&state)?));
        Ok(StateTable::new(fields, state, None).map_err(Error::arrow)?.ordered_by(key.len()))
    }

    /// Creates the pieces of a table of [`ColdPieces::table_of`], which may have rows and spills.
    pub fn new(table: StateTable) -> Result<ColdPieces> {
        let mut times = BTreeSet::new();
        table.each_key(|key| {
            times.insert(last_number(key));
        })?;
        Ok(ColdPieces { table, times })
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns the distinct times of pieces, in order.
    pub fn times(&self) -> Vec<i64> {
        self.times.iter().copied().collect()
    }

    /// Adds a piece.
    pub fn insert(&mut self, id: &PieceId, rows: &RecordBatch) -> Result<()> {
        self.times.insert(id.time_us);
        let columns = id_columns(&[id]);
        let keys = Keys::encode(&columns, 1).map_err(Error::arrow)?;
        let hashes = self.table.hashes_of(&columns, &keys).map_err(Error::arrow)?;
        let slots: Vec<Slot> =
            hashes.first().map(|hash| self.table.slot(keys.view().get(0), *hash)).into_iter().collect();
        let rows: ArrayRef = Arc::new(BinaryArray::from_iter_values([encode_rows(rows)?]));
        let states = RecordBatch::try_new(self.table.state_schema(), vec![rows]).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true]));
        Ok(())
    }

    /// Returns the pieces of these times, in order. Those whose time is `done` are removed.
    pub fn take(&mut self, wanted: &[i64], done: impl Fn(i64) -> bool) -> Result<Vec<(PieceId, RecordBatch)>> {
        let mut pieces = Vec::new();
        if wanted.is_empty() && !self.times.first().is_some_and(|time| done(*time)) {
            return Ok(pieces);
        }
        let is_wanted = |key: &[u8]| wanted.binary_search(&last_number(key)).is_ok();
        self.table.each_range(
            is_wanted,
            |key| done(last_number(key)),
            |table, slots| {
                pieces.extend(pieces_in(table, slots)?);
                Ok(())
            },
        )?;
        self.times.retain(|time| !done(*time));
        pieces.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(pieces)
    }
}

/// Returns the pieces in these slots.
fn pieces_in(table: &StateTable, slots: &[Slot]) -> Result<Vec<(PieceId, RecordBatch)>> {
    let ids = PieceId::all_of(&table.keys(slots).map_err(Error::arrow)?)?;
    let (states, _) = table.states(slots).map_err(Error::arrow)?;
    let rows = states.columns().first().and_then(|rows| rows.as_binary_opt::<i32>()).ok_or_else(incomplete)?;
    ids.into_iter().enumerate().map(|(row, id)| Ok((id, decode_rows(rows.value(row))?))).collect()
}

impl Pieces {
    /// Reads the pieces of a table, all in memory.
    pub fn from_table(table: &StateTable, tracked: bool) -> Result<Pieces> {
        let mut pieces = Pieces::new(tracked);
        for slot in table.all() {
            for (id, rows) in pieces_in(table, &[slot])? {
                pieces.put(id, rows);
            }
        }
        Ok(pieces)
    }

    /// Moves the pieces to a table that spills.
    pub fn into_files(mut self, mut table: StateTable) -> Result<ColdPieces> {
        if self.tracked {
            table.track_changes();
        }
        let mut cold = ColdPieces { table, times: BTreeSet::new() };
        while !self.pieces.is_empty() {
            let (mut written, mut bytes) = (Vec::new(), 0);
            while bytes < LEAVING_BYTES {
                let Some((id, rows)) = self.pieces.pop_first() else { break };
                if self.fresh.contains(&id) {
                    bytes += rows.get_array_memory_size();
                    cold.insert(&id, &rows)?;
                } else {
                    let encoded = encode_rows(&rows)?;
                    bytes += encoded.len();
                    cold.times.insert(id.time_us);
                    written.push((id, Some(encoded)));
                }
            }
            cold.table.restore(&rows_of_file(&written)?, |_| true)?;
            cold.table.shrink()?;
        }
        let dropped: Vec<&PieceId> = self.removed.iter().collect();
        let columns = id_columns(&dropped);
        let keys = Keys::encode(&columns, dropped.len()).map_err(Error::arrow)?;
        for (row, hash) in cold.table.hashes_of(&columns, &keys).map_err(Error::arrow)?.into_iter().enumerate() {
            cold.table.record_removed(keys.view().get(row), hash);
        }
        Ok(cold)
    }
}
