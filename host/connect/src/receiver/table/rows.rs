//! The rows of a query, column by column, as an Arrow IPC stream.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::types::{ColumnType, schema_of};
use std::sync::Arc;

/// The values of a column.
pub enum ResultValues {
    Bool(Vec<Option<bool>>),
    Int64(Vec<Option<i64>>),
    Float64(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    Binary(Vec<Option<Vec<u8>>>),
    Timestamp(Vec<Option<i64>>),
}

impl ResultValues {
    /// Returns the type of the values.
    pub fn kind(&self) -> ColumnType {
        match self {
            ResultValues::Bool(_) => ColumnType::Bool,
            ResultValues::Int64(_) => ColumnType::Int64,
            ResultValues::Float64(_) => ColumnType::Float64,
            ResultValues::Text(_) => ColumnType::Text,
            ResultValues::Binary(_) => ColumnType::Binary,
            ResultValues::Timestamp(_) => ColumnType::Timestamp,
        }
    }

    fn into_array(self) -> ArrayRef {
        match self {
            ResultValues::Bool(values) => Arc::new(BooleanArray::from(values)),
            ResultValues::Int64(values) => Arc::new(Int64Array::from(values)),
            ResultValues::Float64(values) => Arc::new(Float64Array::from(values)),
            ResultValues::Text(values) => Arc::new(StringArray::from(values)),
            ResultValues::Binary(values) => Arc::new(values.into_iter().collect::<BinaryArray>()),
            ResultValues::Timestamp(values) => Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")),
        }
    }
}

/// Encodes these columns as an Arrow IPC stream.
pub fn encode(columns: Vec<(String, ResultValues)>, rows: usize) -> Result<Bytes, arrow::error::ArrowError> {
    let schema = schema_of(&columns.iter().map(|(name, values)| (name.clone(), values.kind())).collect::<Vec<_>>());
    let arrays: Vec<ArrayRef> = columns.into_iter().map(|(_, values)| values.into_array()).collect();
    let keys = Keys::encode(&arrays, rows)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let rows = RecordBatch::try_new_with_options(schema, arrays, &options)?;
    // A query without an order may return the same rows in another order, which is not a change.
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_unstable_by_key(|row| keys.view().get(*row as usize));
    let rows = take_record_batch(&rows, &UInt32Array::from(order))?;
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema())?;
    writer.write(&rows)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes.into())
}
