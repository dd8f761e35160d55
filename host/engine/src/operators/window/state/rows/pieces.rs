//! Pieces of parts, as values of a store: which part, and for which time.

use crate::checkpoint::read;
use crate::checkpoint::types::Column;
use crate::state::StateTable;
use crate::state::store::Value;
use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema, TimestampMicrosecondType};
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_rows::batch::keys::{KeyHash, Keys};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::types::{ColumnType, timestamps};
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

/// The rows that a part or a batch brought to a window.
impl Value for RecordBatch {
    type Key = PieceId;

    fn sub(id: &PieceId) -> i64 {
        id.time_us
    }

    fn bytes(&self) -> u64 {
        RowBytes::measure([self]).of_range(&(0..self.num_rows())) as u64
    }

    fn encode(pieces: &[(PieceId, RecordBatch)]) -> Result<[Vec<ArrayRef>; 2]> {
        let rows = pieces.iter().map(|(_, rows)| encode_rows(rows)).collect::<Result<Vec<_>>>()?;
        check_bytes(rows.iter().map(Vec::len))?;
        let ids: Vec<&PieceId> = pieces.iter().map(|(id, _)| id).collect();
        Ok([id_columns(&ids), vec![Arc::new(BinaryArray::from_iter_values(rows))]])
    }

    fn decode(keys: &[ArrayRef], states: &RecordBatch) -> Result<Vec<(PieceId, RecordBatch)>> {
        let rows = states.columns().first().and_then(|rows| rows.as_binary_opt::<i32>()).ok_or_else(incomplete)?;
        let ids = PieceId::all_of(keys)?.into_iter().enumerate();
        ids.map(|(row, id)| Ok((id, decode_rows(rows.value(row))?))).collect()
    }
}

/// Creates an empty table of pieces.
pub fn table() -> Result<StateTable> {
    let [key, sub, state] = columns();
    let fields = read::fields(key.iter().chain(&sub))?;
    let state = Arc::new(Schema::new(read::fields(&state)?));
    Ok(StateTable::new(fields, state, None).map_err(Error::arrow)?.ordered_by(key.len()))
}

const BATCH: &str = "batch";
const INPUT: &str = "input";
const ORDER: &str = "place";
const NUMBER: &str = "number";
const TIME: &str = "time";
const ROWS: &str = "rows";

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
