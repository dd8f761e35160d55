//! Pieces that may lie in files: the same table as that of [`Pieces`], with nothing beside it but the times that there are. Those of a window
//! are looked up when it is put out.

use super::{PieceId, Pieces, columns, decode_rows, encode_rows, id_columns, lacks, rows_of_file};
use crate::checkpoint::read;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use arrow::datatypes::Schema;
use millstream_base::batch::keys::{Keys, last_number};
use millstream_base::error::{Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Pieces that leave memory together when all of them do, about.
const LEAVING_BYTES: usize = 1 << 20;

/// All pieces.
pub struct ColdPieces {
    table: StateTable,
    /// Those that have pieces.
    times: BTreeSet<i64>,
}

impl ColdPieces {
    /// A table without rows.
    pub fn table_of() -> Result<StateTable> {
        let [key, sub, state] = columns();
        let fields = read::fields(key.iter().chain(&sub))?;
        let state = Arc::new(Schema::new(read::fields(&state)?));
        Ok(StateTable::new(fields, state, None).map_err(Error::arrow)?.ordered_by(key.len()))
    }

    /// The pieces of this table, as [`ColdPieces::table_of`] makes it, which may have rows and gives rows up.
    pub fn of(table: StateTable) -> Result<ColdPieces> {
        let mut times = BTreeSet::new();
        table.each_key(|key| {
            times.insert(last_number(key));
        })?;
        Ok(ColdPieces { table, times })
    }

    /// The table, for what checkpoints hold of it.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// The times of pieces, in order, each once.
    pub fn times(&self) -> Vec<i64> {
        self.times.iter().copied().collect()
    }

    /// Keeps a piece.
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

    /// The pieces of these times, in order. Those whose time is `done` are not kept any more.
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

/// The pieces in these slots.
fn pieces_in(table: &StateTable, slots: &[Slot]) -> Result<Vec<(PieceId, RecordBatch)>> {
    let ids = PieceId::all_of(&table.keys(slots).map_err(Error::arrow)?)?;
    let (states, _) = table.states(slots).map_err(Error::arrow)?;
    let rows = states.columns().first().and_then(|rows| rows.as_binary_opt::<i32>()).ok_or_else(lacks)?;
    ids.into_iter().enumerate().map(|(row, id)| Ok((id, decode_rows(rows.value(row))?))).collect()
}

impl Pieces {
    /// Those of this table, which are all in memory.
    pub fn of(table: &StateTable, tracked: bool) -> Result<Pieces> {
        let mut pieces = Pieces::new(tracked);
        for slot in table.all() {
            for (id, rows) in pieces_in(table, &[slot])? {
                pieces.put(id, rows);
            }
        }
        Ok(pieces)
    }

    /// The same pieces where they may lie in files, in a table that gives rows up.
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
        let gone: Vec<&PieceId> = self.removed.iter().collect();
        let columns = id_columns(&gone);
        let keys = Keys::encode(&columns, gone.len()).map_err(Error::arrow)?;
        for (row, hash) in cold.table.hashes_of(&columns, &keys).map_err(Error::arrow)?.into_iter().enumerate() {
            cold.table.note_removed(keys.view().get(row), hash);
        }
        Ok(cold)
    }
}
