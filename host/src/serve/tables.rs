//! Converts tables in frames, which are Arrow IPC streams, and the states of keys, which may be bytes.

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_arrays};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use millstream_base::error::{Error, Result};
use millstream_connect::receiver::arrow_stream::ArrowStream;
use millstream_hosting::ResultRows;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::{schema_of, with_fields};
use std::sync::Arc;

/// The column of states as bytes.
const STATE: &str = "state";

/// A table with its columns.
pub type Table = (SchemaRef, Vec<RecordBatch>);

/// Reads a table. `what` is its name for messages.
pub fn read(what: &str, bytes: &[u8]) -> Result<Table> {
    let invalid = |message: String| Error::job(format!("{what}: {message}"));
    let mut stream = ArrowStream::new(Vec::new());
    stream.add(bytes);
    let mut rows = Vec::new();
    while let Some(more) = stream.next_rows().map_err(invalid)? {
        rows.push(more);
    }
    stream.end().map_err(invalid)?;
    let columns = stream.columns().map_err(invalid)?.unwrap_or_default();
    Ok((schema_of(&columns.iter().map(name_and_type).collect::<Vec<_>>()), rows))
}

fn name_and_type(column: &ColumnSpec) -> (String, millstream_rows::batch::types::ColumnType) {
    (column.name.clone(), column.kind.clone())
}

/// Encodes a table.
pub fn encode(made: &ResultRows) -> Result<Vec<u8>> {
    let mut stream = StreamWriter::try_new(Vec::new(), &made.schema).map_err(Error::arrow)?;
    for rows in &made.rows {
        stream.write(rows).map_err(Error::arrow)?;
    }
    stream.into_inner().map_err(Error::arrow)
}

/// Decodes the states in a byte column. Returns `None` for a table without rows: its columns are unknown, and not
/// needed.
pub fn decode_states((schema, rows): Table) -> Result<Option<Table>> {
    let invalid = |message: &str| Error::job(format!("the table of states: {message}"));
    let Some(index) = schema.index_of(STATE).ok().filter(|index| schema.field(*index).data_type() == &DataType::Binary)
    else {
        return Err(invalid("it has no binary column `state` after the key columns"));
    };
    let keys: Vec<usize> = (0..schema.fields().len()).filter(|column| *column != index).collect();
    let (mut columns, mut parts): (Option<SchemaRef>, Vec<RecordBatch>) = (None, Vec::new());
    for rows in &rows {
        let bytes = rows.column(index).as_binary::<i32>();
        let mut states = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            if bytes.is_null(row) {
                return Err(invalid("a state is null; omit keys without state"));
            }
            let (own, state) = read("the bytes of a state", bytes.value(row))?;
            let state = match state.as_slice() {
                [state] if state.num_rows() == 1 => state.clone(),
                _ => return Err(invalid("the bytes of a state are not one row; return them unchanged")),
            };
            match &columns {
                None => columns = Some(own),
                Some(columns) if *columns == own => {}
                Some(_) => return Err(invalid("the bytes of two states have other columns")),
            }
            states.push(state);
        }
        if let Some(columns) = &columns {
            let states = concat_batches(columns, &states).map_err(Error::arrow)?;
            let keys = rows.project(&keys).map_err(Error::arrow)?;
            let schema = with_fields(&keys.schema(), columns.fields().iter().cloned());
            let both: Vec<ArrayRef> = keys.columns().iter().chain(states.columns()).cloned().collect();
            parts.push(RecordBatch::try_new(schema, both).map_err(Error::arrow)?);
        }
    }
    Ok(parts.first().map(RecordBatch::schema).map(|schema| (schema, parts)))
}

/// Encodes states with this number of key columns: each becomes a stream with one row.
pub fn encode_states(made: &ResultRows, key_columns: usize) -> Result<Vec<u8>> {
    let fields = made.schema.fields();
    let (keys, states) = fields.split_at(key_columns.min(fields.len()));
    let columns: SchemaRef = Arc::new(Schema::new(states.to_vec()));
    let state = Arc::new(Field::new(STATE, DataType::Binary, false));
    let schema = with_fields(&Schema::new(keys.to_vec()), [state]);
    // There are many of these, so they have no padding.
    let unpadded = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).map_err(Error::arrow)?;
    let mut rows_made = Vec::new();
    for rows in &made.rows {
        let (keys, states) = rows.columns().split_at(key_columns.min(rows.num_columns()));
        let mut bytes = BinaryBuilder::new();
        for row in 0..rows.num_rows() {
            // A slice would include all values of its columns.
            let row = u32::try_from(row).map_err(Error::bug)?;
            let values = take_arrays(states, &UInt32Array::from(vec![row]), None).map_err(Error::arrow)?;
            let stream = StreamWriter::try_new_with_options(Vec::new(), &columns, unpadded.clone());
            let mut stream = stream.map_err(Error::arrow)?;
            stream.write(&one_row(&columns, values)?).map_err(Error::arrow)?;
            bytes.append_value(stream.into_inner().map_err(Error::arrow)?);
        }
        let bytes: ArrayRef = Arc::new(bytes.finish());
        let all = keys.iter().cloned().chain([bytes]).collect();
        rows_made.push(RecordBatch::try_new(schema.clone(), all).map_err(Error::arrow)?);
    }
    let mut stream = StreamWriter::try_new(Vec::new(), &schema).map_err(Error::arrow)?;
    for rows in &rows_made {
        stream.write(rows).map_err(Error::arrow)?;
    }
    stream.into_inner().map_err(Error::arrow)
}

/// Returns a row, which may have no columns.
fn one_row(columns: &SchemaRef, values: Vec<ArrayRef>) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(columns.clone(), values, &options).map_err(Error::arrow)
}
