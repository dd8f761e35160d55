//! The rows of sessions that hold rows, in pieces: those that a batch brought to a session stay together as they came, and
//! are neither copied nor written again when the session grows. Which session a piece is of tells its time, as no two
//! sessions of a key have rows between those of the other. Pieces may lie in files: all of a key come back together when one of its
//! sessions is complete.

use super::Session;
use crate::operators::window::state::rows::decode_rows;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::batch::keys::Keys;
use millstream_base::batch::types::{ColumnType, timestamps, with_fields};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The column of places in a batch, see [`with_places`].
const PLACE: &str = "millstream_place";

/// Time, batch and number of a piece.
type PieceKey = (i64, i64, i64);
/// Slots whose columns are looked at at once.
const SLOTS_AT_ONCE: usize = 16_384;

type ByKey = HashMap<Box<[u8]>, BTreeMap<PieceKey, Slot>>;

/// The pieces of all open sessions on one worker.
pub struct SessionPieces {
    keys: usize,
    table: StateTable,
    /// Those in memory, by key, then time, batch and number.
    by_key: ByKey,
    /// How many these are.
    known: usize,
}

/// What `by_key` takes for a key and for a piece, about.
const KEY_BYTES: u64 = 128;
const PIECE_BYTES: u64 = 40;

/// A piece that a batch brought to a session.
pub struct NewPiece {
    /// A row with its key.
    pub row: u32,
    /// The time of its first row.
    pub at_us: i64,
}

/// The columns that tell the pieces of a key apart: the batch that brought them, and a number in it.
pub fn piece_fields() -> [Arc<Field>; 2] {
    ["millstream_batch", "millstream_number"].map(|name| Arc::new(Field::new(name, DataType::Int64, false)))
}

/// The columns of a piece: the time of its first row, and its rows as an Arrow IPC stream.
pub fn piece_schema() -> SchemaRef {
    let at = Field::new("millstream_at", ColumnType::Timestamp.arrow(), false);
    Arc::new(Schema::new(vec![at, Field::new("rows", DataType::Binary, false)]))
}

/// Rows with their places in a batch behind them. They are kept where a batch brings several pieces to a key: these may become one
/// session later, whose rows stand in the order of arrival.
pub fn with_places(rows: &RecordBatch) -> Result<RecordBatch> {
    let places: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
    let schema = with_fields(rows.schema_ref(), [Arc::new(Field::new(PLACE, DataType::UInt32, false))]);
    RecordBatch::try_new(schema, rows.columns().iter().cloned().chain([places]).collect()).map_err(Error::arrow)
}

/// The rows that a batch brought to a session, of one or several pieces, in the order in which they came.
fn in_order(pieces: &[RecordBatch]) -> Result<RecordBatch> {
    let Some(first) = pieces.first() else { return Err(without_place()) };
    let all = concat_batches(first.schema_ref(), pieces).map_err(Error::arrow)?;
    let has_places = all.schema_ref().fields().last().is_some_and(|field| field.name() == PLACE);
    let Some(places) = all.columns().last().filter(|_| has_places) else { return Ok(all) };
    let order = sort_to_indices(places, None, None).map_err(Error::arrow)?;
    let kept: Vec<usize> = (0..all.num_columns() - 1).collect();
    take_record_batch(&all.project(&kept).map_err(Error::arrow)?, &order).map_err(Error::arrow)
}

impl SessionPieces {
    /// There are no pieces yet.
    pub fn new(key: &Schema) -> Result<SessionPieces> {
        let fields = key.fields().iter().cloned().chain(piece_fields()).collect();
        let table = StateTable::new(fields, piece_schema(), None).map_err(Error::arrow)?;
        Ok(SessionPieces { keys: key.fields().len(), table, by_key: HashMap::new(), known: 0 })
    }

    /// The same, without pieces, which may lie in files, as `spilling` lets the table have them.
    pub fn spilling(self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<SessionPieces> {
        let table = spilling(self.table.ordered_by(self.keys))?;
        Ok(SessionPieces { table, ..self })
    }

    /// The memory that is taken beside the table, about.
    pub fn bytes_beside(&self) -> u64 {
        self.by_key.len() as u64 * KEY_BYTES + self.known as u64 * PIECE_BYTES
    }

    /// The table, to restore it and to save its changes.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// The table was restored: finds its pieces.
    pub fn restored(&mut self) -> Result<()> {
        (self.by_key, self.known) = (HashMap::new(), 0);
        let slots: Vec<Slot> = self.table.all().collect();
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            self.know(slots)?;
        }
        Ok(())
    }

    /// Behind a batch: gives up rows where that is needed.
    pub fn settle(&mut self) -> Result<()> {
        let SessionPieces { keys, table, by_key, known } = self;
        let mut anew = false;
        anew |= table.shrink_telling(|table, slots| {
            // Where many leave it is less to find all others anew.
            anew |= slots.len() > table.rows_in_memory() / 4;
            if !anew {
                let (encoded, places) = pieces_of(table, *keys, slots)?;
                for (row, place) in places.iter().enumerate() {
                    *known -= usize::from(remove(by_key, encoded.view().get(row), place));
                }
            }
            Ok(())
        })?;
        if anew { self.restored() } else { Ok(()) }
    }

    /// The pieces in these slots are in memory.
    fn know(&mut self, slots: &[Slot]) -> Result<()> {
        let (encoded, places) = pieces_of(&self.table, self.keys, slots)?;
        for (row, (place, slot)) in places.into_iter().zip(slots).enumerate() {
            self.insert(encoded.view().get(row), place, *slot);
        }
        Ok(())
    }

    /// Keeps what a batch brought. `keys` are the key columns of its rows; `rows` has what belongs to each piece.
    pub fn add(&mut self, batch: BatchId, keys: &[ArrayRef], pieces: &[NewPiece], rows: BinaryArray) -> Result<()> {
        let of = UInt32Array::from_iter_values(pieces.iter().map(|piece| piece.row));
        let mut columns = take_arrays(keys, &of, None).map_err(Error::arrow)?;
        let encoded = Keys::encode(&columns, pieces.len()).map_err(Error::arrow)?;
        let batch = i64::try_from(batch.0).unwrap_or(i64::MAX);
        columns.push(Arc::new(Int64Array::from(vec![batch; pieces.len()])));
        columns.push(Arc::new(Int64Array::from_iter_values(0..pieces.len() as i64)));
        let whole = Keys::encode(&columns, pieces.len()).map_err(Error::arrow)?;
        let hashes = self.table.hashes_of(&columns, &whole).map_err(Error::arrow)?;
        let slots: Vec<Slot> =
            hashes.iter().enumerate().map(|(row, hash)| self.table.slot(whole.view().get(row), *hash)).collect();
        let states: Vec<ArrayRef> = vec![timestamps(pieces.iter().map(|piece| piece.at_us)), Arc::new(rows)];
        let states = RecordBatch::try_new(piece_schema(), states).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true; slots.len()]));
        for (row, (piece, slot)) in pieces.iter().zip(slots).enumerate() {
            self.insert(encoded.view().get(row), (piece.at_us, batch, row as i64), slot);
        }
        Ok(())
    }

    /// Takes out the rows of sessions, whose keys stand in these columns: those of each in the order in which they came.
    pub fn take(&mut self, keys: &[ArrayRef], sessions: &[Session]) -> Result<Vec<Vec<RecordBatch>>> {
        let encoded = Keys::encode(keys, sessions.len()).map_err(Error::arrow)?;
        let slots = self.table.warm_hashes(encoded.hashes().into_iter())?;
        self.know(&slots)?;
        let (mut taken, mut gone) = (Vec::with_capacity(sessions.len()), Vec::new());
        for (row, session) in sessions.iter().enumerate() {
            let found = self.forget(encoded.view().get(row), *session);
            let slots: Vec<Slot> = found.iter().map(|(_, slot)| *slot).collect();
            let (states, _) = self.table.states(&slots).map_err(Error::arrow)?;
            let rows = states.column(1).as_binary_opt::<i32>().ok_or_else(without_place)?;
            let pieces = (0..slots.len()).map(|piece| decode_rows(rows.value(piece))).collect::<Result<Vec<_>>>()?;
            let (mut rest, mut in_batches) = (pieces.as_slice(), Vec::new());
            for of_batch in found.chunk_by(|((_, a, _), _), ((_, b, _), _)| a == b) {
                let (pieces, others) = rest.split_at(of_batch.len().min(rest.len()));
                in_batches.push(in_order(pieces)?);
                rest = others;
            }
            taken.push(in_batches);
            gone.extend(slots);
        }
        self.table.remove_all(&gone);
        Ok(taken)
    }

    fn insert(&mut self, key: &[u8], place: PieceKey, slot: Slot) {
        let before = match self.by_key.get_mut(key) {
            Some(pieces) => pieces.insert(place, slot),
            None => self.by_key.entry(key.into()).or_default().insert(place, slot),
        };
        self.known += usize::from(before.is_none());
    }

    /// The pieces of a session, by batch and number.
    fn forget(&mut self, key: &[u8], session: Session) -> Vec<(PieceKey, Slot)> {
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

/// The keys of the pieces in these slots, and which of each they are.
fn pieces_of(table: &StateTable, keys: usize, slots: &[Slot]) -> Result<(Keys, Vec<PieceKey>)> {
    let mut columns = table.keys(slots).map_err(Error::arrow)?;
    let places = columns.split_off(keys);
    let [batches, numbers] = places.as_slice() else { return Err(without_place()) };
    let of = |column: &ArrayRef| column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(without_place);
    let (batches, numbers) = (of(batches)?, of(numbers)?);
    let some: Vec<Option<Slot>> = slots.iter().copied().map(Some).collect();
    let times = table.state_column(0, &some).map_err(Error::arrow)?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(without_place)?;
    let places = (0..slots.len()).map(|row| (times.value(row), batches.value(row), numbers.value(row))).collect();
    Ok((Keys::encode(&columns, slots.len()).map_err(Error::arrow)?, places))
}

/// Takes out a piece. Whether it was there.
fn remove(by_key: &mut ByKey, key: &[u8], place: &PieceKey) -> bool {
    let Some(pieces) = by_key.get_mut(key) else { return false };
    let was_there = pieces.remove(place).is_some();
    if pieces.is_empty() {
        by_key.remove(key);
    }
    was_there
}

fn without_place() -> Error {
    Error::bug("rows of a session that do not say which")
}

#[cfg(test)]
mod tests;
