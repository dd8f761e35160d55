//! Pieces of parts by time, with the changes since the last checkpoint.

mod cold;

pub use cold::ColdPieces;

use crate::checkpoint::types::{Column, REMOVED};
use crate::state::files::{SliceSink, TableSlice};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use millstream_base::batch::keys::{KeyHash, Keys};
use millstream_base::batch::part::Part;
use millstream_base::batch::slices::RowBytes;
use millstream_base::batch::types::{ColumnType, timestamps};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_base::limits::SliceMax;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Identity of a piece, ordered by time, then by arrival.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceId {
    /// The batch time or the start of the slice.
    pub time_us: i64,
    /// The batch of its rows.
    pub batch: BatchId,
    /// The order of its part in the batch.
    pub order: PartOrder,
    /// The input of the stage.
    pub input: u32,
    /// Distinguishes parts with the same order, which streams of rejected rows may have.
    pub number: u32,
}

impl PieceId {
    /// Returns the hash that decides which worker stores the pieces of a part.
    pub fn hash(batch: BatchId, part: &Part) -> Result<KeyHash> {
        let id = PieceId { time_us: 0, batch, order: part.order.clone(), input: part.input, number: 0 };
        let key = key_columns(&[&id]);
        let hashes = Keys::encode(&key, 1).map_err(Error::arrow)?.hashes();
        hashes.first().copied().ok_or_else(|| Error::bug("a key without a hash"))
    }

    /// Reads ids from the key columns of the table.
    fn all_of(columns: &[ArrayRef]) -> Result<Vec<PieceId>> {
        let numbers = |index: usize| {
            columns.get(index).and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or_else(incomplete)
        };
        let (batches, inputs, number) = (numbers(0)?, numbers(1)?, numbers(3)?);
        let indexes = columns.get(2).and_then(|indexes| indexes.as_binary_opt::<i32>()).ok_or_else(incomplete)?;
        let times = columns.get(4).and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(incomplete)?;
        let id = |row: usize| PieceId {
            time_us: times.value(row),
            batch: BatchId(batches.value(row) as u64),
            order: PartOrder::from_bytes(indexes.value(row)),
            input: inputs.value(row) as u32,
            number: number.value(row) as u32,
        };
        Ok((0..times.len()).map(id).collect())
    }
}

fn incomplete() -> Error {
    Error::environment("the checkpoint lacks a column of the rows of a window")
}

/// Pieces by time.
#[derive(Default)]
pub struct Pieces {
    pieces: BTreeMap<PieceId, RecordBatch>,
    /// The memory of the pieces.
    bytes: u64,
    /// The pieces that are in no state file yet.
    fresh: BTreeSet<PieceId>,
    /// The pieces that are in a state file and no longer stored.
    removed: Vec<PieceId>,
    /// Whether the job has checkpoints.
    tracked: bool,
}

impl Pieces {
    /// Creates an empty collection. `tracked`: the job has checkpoints.
    pub fn new(tracked: bool) -> Pieces {
        Pieces { tracked, ..Pieces::default() }
    }

    /// Adds a piece.
    pub fn insert(&mut self, id: PieceId, rows: RecordBatch) {
        if self.tracked {
            self.fresh.insert(id.clone());
        }
        self.put(id, rows);
    }

    fn put(&mut self, id: PieceId, rows: RecordBatch) {
        self.bytes = self.bytes.saturating_add(bytes_of(&rows));
        let before = self.pieces.insert(id, rows);
        self.bytes = self.bytes.saturating_sub(before.map_or(0, |before| bytes_of(&before)));
    }

    /// Returns the memory of the pieces.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the pieces of one time, in order.
    fn at(&self, time_us: i64) -> impl Iterator<Item = (&PieceId, &RecordBatch)> {
        let order = PartOrder::first();
        let first = PieceId { time_us, batch: BatchId(0), order, input: 0, number: 0 };
        self.pieces.range(first..).take_while(move |(id, _)| id.time_us == time_us)
    }

    /// Returns the distinct times of pieces, in order.
    pub fn times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.pieces.keys().map(|id| id.time_us).collect();
        times.dedup();
        times
    }

    /// Returns the pieces of these times, in order. Pieces from the earliest on whose time is `done` are removed.
    pub fn take(&mut self, wanted: &[i64], done: impl Fn(i64) -> bool) -> Vec<(PieceId, RecordBatch)> {
        let own = |(id, rows): (&PieceId, &RecordBatch)| (id.clone(), rows.clone());
        let found = wanted.iter().flat_map(|time_us| self.at(*time_us)).map(own).collect();
        self.drop_while(done);
        found
    }

    /// Removes pieces from the earliest on, as long as their time is `done`.
    fn drop_while(&mut self, done: impl Fn(i64) -> bool) {
        while let Some(first) = self.pieces.first_entry() {
            if !done(first.key().time_us) {
                break;
            }
            let (id, rows) = first.remove_entry();
            self.bytes = self.bytes.saturating_sub(bytes_of(&rows));
            if self.tracked && !self.fresh.remove(&id) {
                self.removed.push(id);
            }
        }
    }

    /// Returns the number of pieces.
    #[expect(clippy::len_without_is_empty, reason = "it is never needed")]
    pub fn len(&self) -> u64 {
        self.pieces.len() as u64
    }

    /// Returns the number of rows in a file of changes.
    pub fn changed(&self) -> u64 {
        (self.fresh.len() + self.removed.len()) as u64
    }

    /// Emits the rows of the next file: all pieces for a `base`, otherwise the changes since the last call. Slices are at most `max` in size, except
    /// for a single piece.
    pub fn changes(&mut self, base: bool, max: SliceMax, to: &mut SliceSink<'_>) -> Result<()> {
        let fresh = std::mem::take(&mut self.fresh);
        let removed = std::mem::take(&mut self.removed);
        let (kept, removed): (Vec<PieceId>, Vec<PieceId>) = match base {
            true => (self.pieces.keys().cloned().collect(), Vec::new()),
            false => (fresh.into_iter().collect(), removed),
        };
        let ids = kept.into_iter().map(|id| (id, false)).chain(removed.into_iter().map(|id| (id, true)));
        let (mut slice, mut bytes, mut some) = (Vec::new(), 0, false);
        for (id, is_removed) in ids {
            let rows = if is_removed { None } else { self.pieces.get(&id) };
            let rows = rows.map(encode_rows).transpose()?;
            let more = rows.as_ref().map_or(0, Vec::len);
            if !slice.is_empty() && (slice.len() >= max.rows || bytes + more > max.bytes) {
                to(TableSlice { rows: rows_of_file(&slice)?, groups: None });
                slice.clear();
                bytes = 0;
            }
            bytes += more;
            slice.push((id, rows));
            some = true;
        }
        if !slice.is_empty() || !some {
            to(TableSlice { rows: rows_of_file(&slice)?, groups: None });
        }
        Ok(())
    }

    /// Applies the rows of a file.
    pub fn restore(&mut self, file: &RecordBatch) -> Result<()> {
        let rows = file.column_by_name(ROWS).and_then(|rows| rows.as_binary_opt::<i32>()).ok_or_else(incomplete)?;
        let named = NAMES_OF_ID.map(|name| file.column_by_name(name).ok_or_else(incomplete));
        let columns = named.into_iter().map(|column| column.cloned()).collect::<Result<Vec<_>>>()?;
        for (row, id) in PieceId::all_of(&columns)?.into_iter().enumerate() {
            match rows.is_valid(row) {
                true => self.put(id, decode_rows(rows.value(row))?),
                false => {
                    let before = self.pieces.remove(&id);
                    self.bytes = self.bytes.saturating_sub(before.map_or(0, |before| bytes_of(&before)));
                }
            }
        }
        Ok(())
    }
}

/// Returns pieces in the format of a file; those without rows were removed.
fn bytes_of(rows: &RecordBatch) -> u64 {
    RowBytes::measure([rows]).of_range(&(0..rows.num_rows())) as u64
}

fn rows_of_file(pieces: &[(PieceId, Option<Vec<u8>>)]) -> Result<RecordBatch> {
    check_bytes(pieces.iter().flat_map(|(_, rows)| rows).map(Vec::len))?;
    let ids: Vec<&PieceId> = pieces.iter().map(|(id, _)| id).collect();
    let rows: BinaryArray = pieces.iter().map(|(_, rows)| rows.as_deref()).collect();
    let removed: BooleanArray = pieces.iter().map(|(_, rows)| Some(rows.is_none())).collect();
    let mut columns = id_columns(&ids);
    columns.push(Arc::new(rows));
    columns.push(Arc::new(removed));
    let names = NAMES_OF_ID.into_iter().chain([ROWS, REMOVED]);
    let named = names.zip(columns).map(|(name, column)| (name, column, name == ROWS));
    RecordBatch::try_from_iter_with_nullable(named).map_err(Error::arrow)
}

const BATCH: &str = "batch";
const INPUT: &str = "input";
const ORDER: &str = "place";
const NUMBER: &str = "number";
const TIME: &str = "time";
const ROWS: &str = "rows";

/// The columns that distinguish pieces.
const NAMES_OF_ID: [&str; 5] = [BATCH, INPUT, ORDER, NUMBER, TIME];

/// Returns the columns of the table: key, sub, state.
pub fn columns() -> [Vec<Column>; 3] {
    [
        vec![
            Column::new(BATCH, ColumnType::Int64),
            Column::new(INPUT, ColumnType::Int64),
            Column::new(ORDER, ColumnType::Binary),
        ],
        vec![Column::new(NUMBER, ColumnType::Int64), Column::new(TIME, ColumnType::Timestamp)],
        vec![Column::new(ROWS, ColumnType::Binary)],
    ]
}

fn key_columns(ids: &[&PieceId]) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id.batch.0 as i64))),
        Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| i64::from(id.input)))),
        Arc::new(BinaryArray::from_iter_values(ids.iter().map(|id| id.order.to_bytes()))),
    ]
}

fn id_columns(ids: &[&PieceId]) -> Vec<ArrayRef> {
    let mut columns = key_columns(ids);
    columns.push(Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| i64::from(id.number)))));
    columns.push(timestamps(ids.iter().map(|id| id.time_us)));
    columns
}

/// Fails if lengths exceed one column of bytes: its offsets have 32 bits.
pub fn check_bytes(lengths: impl Iterator<Item = usize>) -> Result<()> {
    if lengths.sum::<usize>() <= i32::MAX as usize {
        return Ok(());
    }
    Err(Error::environment(
        "rows that belong together in one window or session take more than 2 GiB, which is more than one value of a \
         checkpoint can hold; make the windows shorter, or aggregate the rows",
    ))
}

/// Alignment in bytes.
const BUFFERS_BEGIN_AT: usize = 8;

/// Encodes rows as an Arrow IPC stream.
pub fn encode_rows(rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    // With alignment to 64 bytes, pieces of few rows would be half as large again.
    let options = IpcWriteOptions::try_new(BUFFERS_BEGIN_AT, false, MetadataVersion::V5).map_err(Error::arrow)?;
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, &rows.schema(), options).map_err(Error::arrow)?;
    writer.write(rows).and_then(|()| writer.finish()).map_err(Error::arrow)?;
    drop(writer);
    Ok(bytes)
}

/// Decodes an Arrow IPC stream of one batch.
pub fn decode_rows(bytes: &[u8]) -> Result<RecordBatch> {
    let damaged = |error| Error::environment(format!("rows of a window in the checkpoint cannot be read: {error}"));
    let mut reader = StreamReader::try_new(bytes, None).map_err(damaged)?;
    let rows = reader.next().ok_or_else(|| Error::environment("a piece of a window in the checkpoint is empty"))?;
    rows.map_err(damaged)
}

#[cfg(test)]
mod tests;
