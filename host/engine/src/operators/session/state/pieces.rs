//! The rows of sessions that store rows, in pieces. A piece has the rows that one batch brought to a session. It is neither copied nor written again
//! when the session grows. The time of a piece determines its session, as no session of a key has rows between those of another. Pieces may be
//! spilled. All of a key are loaded together when one of its sessions is complete.

use super::Session;
use crate::operators::window::state::rows::decode_rows;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::types::{ColumnType, timestamps, with_fields};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The column of row indexes in a batch, see [`with_indexes`].
const INDEX: &str = "millstream_place";

/// Time, batch and number of a piece.
type PieceKey = (i64, i64, i64);
/// Slots whose columns are read at a time.
const SLOTS_AT_ONCE: usize = 16_384;

type ByKey = HashMap<Box<[u8]>, BTreeMap<PieceKey, Slot>>;

/// The pieces of all open sessions on one worker.
pub struct SessionPieces {
    keys: usize,
    table: StateTable,
    /// Pieces in memory, by key, then time, batch and number.
    by_key: ByKey,
    /// Number of these.
    known: usize,
}

/// Approximate memory of a key and of a piece in `by_key`.
const KEY_BYTES: u64 = 128;
const PIECE_BYTES: u64 = 40;

/// A piece that a batch brought to a session.
pub struct NewPiece {
    /// A row with its key.
    pub row: u32,
    /// The time of its first row.
    pub at_us: i64,
}

/// Returns the columns that distinguish the pieces of a key: their batch, and a number in it.
pub fn piece_fields() -> [Arc<Field>; 2] {
    ["millstream_batch", "millstream_number"].map(|name| Arc::new(Field::new(name, DataType::Int64, false)))
}

/// Returns the columns of a piece: the time of its first row, and its rows as an Arrow IPC stream.
pub fn piece_schema() -> SchemaRef {
    let at = Field::new("millstream_at", ColumnType::Timestamp.arrow(), false);
    Arc::new(Schema::new(vec![at, Field::new("rows", DataType::Binary, false)]))
}

/// Appends the row indexes in the batch. They are stored if a batch brings several pieces to a key. These may become one session later, whose rows
/// are in the order of arrival.
pub fn with_indexes(rows: &RecordBatch) -> Result<RecordBatch> {
    let indexes: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
    let schema = with_fields(rows.schema_ref(), [Arc::new(Field::new(INDEX, DataType::UInt32, false))]);
    RecordBatch::try_new(schema, rows.columns().iter().cloned().chain([indexes]).collect()).map_err(Error::arrow)
}

/// Merges the rows that a batch brought to a session, of one or several pieces, in the order of arrival.
fn in_order(pieces: &[RecordBatch]) -> Result<RecordBatch> {
    let Some(first) = pieces.first() else { return Err(without_index()) };
    let all = concat_batches(first.schema_ref(), pieces).map_err(Error::arrow)?;
    let has_indexes = all.schema_ref().fields().last().is_some_and(|field| field.name() == INDEX);
    let Some(indexes) = all.columns().last().filter(|_| has_indexes) else { return Ok(all) };
    let order = sort_to_indices(indexes, None, None).map_err(Error::arrow)?;
    let kept: Vec<usize> = (0..all.num_columns() - 1).collect();
    take_record_batch(&all.project(&kept).map_err(Error::arrow)?, &order).map_err(Error::arrow)
}

impl SessionPieces {
    /// Creates a table without pieces.
    pub fn new(key: &Schema) -> Result<SessionPieces> {
        let fields = key.fields().iter().cloned().chain(piece_fields()).collect();
        let table = StateTable::new(fields, piece_schema(), None).map_err(Error::arrow)?;
        Ok(SessionPieces { keys: key.fields().len(), table, by_key: HashMap::new(), known: 0 })
    }

    /// Lets pieces spill to files; `spilling` converts the table, which must be empty.
    pub fn spilling(self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<SessionPieces> {
        let table = spilling(self.table.ordered_by(self.keys))?;
        Ok(SessionPieces { table, ..self })
    }

    /// Returns the approximate memory of the index.
    pub fn bytes_outside_table(&self) -> u64 {
        self.by_key.len() as u64 * KEY_BYTES + self.known as u64 * PIECE_BYTES
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Rebuilds the index after the table was restored.
    pub fn restored(&mut self) -> Result<()> {
        (self.by_key, self.known) = (HashMap::new(), 0);
        let slots: Vec<Slot> = self.table.all().collect();
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            self.index_slots(slots)?;
        }
        Ok(())
    }

    /// Spills rows after a batch, if needed.
    pub fn settle(&mut self) -> Result<()> {
        let SessionPieces { keys, table, by_key, known } = self;
        let mut rebuild = false;
        rebuild |= table.shrink_notifying(|table, slots| {
            // If many rows leave, rebuilding the index is cheaper.
            rebuild |= slots.len() > table.rows_in_memory() / 4;
            if !rebuild {
                let (encoded, indexes) = pieces_of(table, *keys, slots)?;
                for (row, piece_key) in indexes.iter().enumerate() {
                    *known -= usize::from(remove(by_key, encoded.view().get(row), piece_key));
                }
            }
            Ok(())
        })?;
        if rebuild { self.restored() } else { Ok(()) }
    }

    /// Adds pieces in memory to the index.
    fn index_slots(&mut self, slots: &[Slot]) -> Result<()> {
        let (encoded, indexes) = pieces_of(&self.table, self.keys, slots)?;
        for (row, (piece_key, slot)) in indexes.into_iter().zip(slots).enumerate() {
            self.insert(encoded.view().get(row), piece_key, *slot);
        }
        Ok(())
    }

    /// Stores the pieces of a batch. `keys` are the key columns of its rows; `rows` has the content of each piece.
    pub fn add(&mut self, batch: BatchId, keys: &[ArrayRef], pieces: &[NewPiece], rows: BinaryArray) -> Result<()> {
        let of = UInt32Array::from_iter_values(pieces.iter().map(|piece| piece.row));
        let mut columns = take_arrays(keys, &of, None).map_err(Error::arrow)?;
        let encoded = Keys::encode(&columns, pieces.len()).map_err(Error::arrow)?;
        let batch = i64::try_from(batch.0).unwrap_or(i64::MAX);
        columns.push(Arc::new(Int64Array::from(vec![batch; pieces.len()])));
        columns.push(Arc::new(Int64Array::from_iter_values(0..pieces.len() as i64)));
        let full = Keys::encode(&columns, pieces.len()).map_err(Error::arrow)?;
        let hashes = self.table.hashes_of(&columns, &full).map_err(Error::arrow)?;
        let slots: Vec<Slot> =
            hashes.iter().enumerate().map(|(row, hash)| self.table.slot(full.view().get(row), *hash)).collect();
        let states: Vec<ArrayRef> = vec![timestamps(pieces.iter().map(|piece| piece.at_us)), Arc::new(rows)];
        let states = RecordBatch::try_new(piece_schema(), states).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true; slots.len()]));
        for (row, (piece, slot)) in pieces.iter().zip(slots).enumerate() {
            self.insert(encoded.view().get(row), (piece.at_us, batch, row as i64), slot);
        }
        Ok(())
    }

    /// Takes the rows of sessions with these key columns, each in the order of arrival.
    pub fn take(&mut self, keys: &[ArrayRef], sessions: &[Session]) -> Result<Vec<Vec<RecordBatch>>> {
        let encoded = Keys::encode(keys, sessions.len()).map_err(Error::arrow)?;
        let slots = self.table.warm_hashes(encoded.hashes().into_iter())?;
        self.index_slots(&slots)?;
        let (mut taken, mut removed) = (Vec::with_capacity(sessions.len()), Vec::new());
        for (row, session) in sessions.iter().enumerate() {
            let found = self.unindex(encoded.view().get(row), *session);
            let slots: Vec<Slot> = found.iter().map(|(_, slot)| *slot).collect();
            let (states, _) = self.table.states(&slots).map_err(Error::arrow)?;
            let rows = states.column(1).as_binary_opt::<i32>().ok_or_else(without_index)?;
            let pieces = (0..slots.len()).map(|piece| decode_rows(rows.value(piece))).collect::<Result<Vec<_>>>()?;
            let (mut rest, mut in_batches) = (pieces.as_slice(), Vec::new());
            for of_batch in found.chunk_by(|((_, a, _), _), ((_, b, _), _)| a == b) {
                let (pieces, others) = rest.split_at(of_batch.len().min(rest.len()));
                in_batches.push(in_order(pieces)?);
                rest = others;
            }
            taken.push(in_batches);
            removed.extend(slots);
        }
        self.table.remove_all(&removed);
        Ok(taken)
    }

    fn insert(&mut self, key: &[u8], piece_key: PieceKey, slot: Slot) {
        let before = match self.by_key.get_mut(key) {
            Some(pieces) => pieces.insert(piece_key, slot),
            None => self.by_key.entry(key.into()).or_default().insert(piece_key, slot),
        };
        self.known += usize::from(before.is_none());
    }

    /// Removes the pieces of a session from the index, ordered by batch and number.
    fn unindex(&mut self, key: &[u8], session: Session) -> Vec<(PieceKey, Slot)> {
        let Some(pieces) = self.by_key.get(key) else { return Vec::new() };
        let within = (session.start_us, i64::MIN, i64::MIN)..=(session.last_us, i64::MAX, i64::MAX);
        let mut found: Vec<(PieceKey, Slot)> = pieces.range(within).map(|(at, slot)| (*at, *slot)).collect();
        for (at, _) in &found {
            self.known -= usize::from(remove(&mut self.by_key, key, at));
        }
        found.sort_unstable_by_key(|((_, batch, number), _)| (*batch, *number));
        found
    }
}

/// Returns the keys of the pieces in these slots, and their piece keys.
fn pieces_of(table: &StateTable, keys: usize, slots: &[Slot]) -> Result<(Keys, Vec<PieceKey>)> {
    let mut columns = table.keys(slots).map_err(Error::arrow)?;
    let indexes = columns.split_off(keys);
    let [batches, numbers] = indexes.as_slice() else { return Err(without_index()) };
    let of = |column: &ArrayRef| column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(without_index);
    let (batches, numbers) = (of(batches)?, of(numbers)?);
    let some: Vec<Option<Slot>> = slots.iter().copied().map(Some).collect();
    let times = table.state_column(0, &some).map_err(Error::arrow)?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(without_index)?;
    let indexes = (0..slots.len()).map(|row| (times.value(row), batches.value(row), numbers.value(row))).collect();
    Ok((Keys::encode(&columns, slots.len()).map_err(Error::arrow)?, indexes))
}

/// Removes a piece. Returns whether it existed.
fn remove(by_key: &mut ByKey, key: &[u8], piece_key: &PieceKey) -> bool {
    let Some(pieces) = by_key.get_mut(key) else { return false };
    let existed = pieces.remove(piece_key).is_some();
    if pieces.is_empty() {
        by_key.remove(key);
    }
    existed
}

fn without_index() -> Error {
    Error::bug("rows of a session that do not say which")
}

#[cfg(test)]
mod tests;
