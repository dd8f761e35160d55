//! Converts rows that arrived as columns to the columns of a source. If the types differ, for example because the job was changed after the rows
//! were planned, the rows are written as lines of JSON and decoded.

use super::delimiter::Delimiter;
use crate::batch::chunk::{Chunk, RejectedRecord};
use crate::batch::column::{ColumnSource, ColumnSpec, TimeForm};
use crate::batch::envelope::{self, RecordMetadata};
use crate::batch::json::JsonRows;
use crate::batch::ready::ReadyRows;
use crate::batch::types::ColumnType;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};

/// Returns whether a column takes values of this type unchanged: a JSON row of the same values would decode to the same.
pub fn takes(column: &ColumnSpec, kind: &DataType) -> bool {
    let is_plain = !matches!(&column.kind, ColumnType::Arrow(other) if *other != DataType::Date32);
    column.from == ColumnSource::Value
        && column.path.len() < 2
        && !matches!(column.form, TimeForm::Pattern(_))
        && is_plain
        && column.kind.arrow() == *kind
}

/// Returns the name of a column's values where they come from.
pub fn name_of(column: &ColumnSpec) -> &str {
    column.path.first().unwrap_or(&column.name)
}

/// Returns the rows with these columns; `None` if theirs differ.
pub(super) fn rows_of(ready: &ReadyRows, columns: &[ColumnSpec], schema: &SchemaRef) -> Option<RecordBatch> {
    let rows = ready.rows();
    let values = |column: &ColumnSpec| {
        let values = rows.column_by_name(name_of(column))?;
        takes(column, values.data_type()).then(|| values.clone())
    };
    let arrays = columns.iter().map(values).collect::<Option<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options).ok()
}

/// Returns the same chunk with rows as delimited lines of JSON.
pub(super) fn in_lines(chunk: &Chunk, ready: &ReadyRows, delimiter: Delimiter) -> Chunk {
    let (mut bytes, mut ends, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    let mut lines = JsonRows::new(ready.rows());
    for row in 0..ready.rows().num_rows() {
        if delimiter == Delimiter::Envelope {
            let _ = envelope::put(&mut bytes, &RecordMetadata::default());
        }
        let written = match &mut lines {
            Ok(lines) => lines.write(row, &mut bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = written {
            rejected.push(RejectedRecord { row: row as u32, reason: format!("cannot be written: {why}"), dropped: 0 });
        }
        if delimiter.is_line() {
            bytes.push(b'\n');
        }
        ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    Chunk { bytes: bytes.into(), ends, rejected, extent: chunk.extent.clone(), ..Chunk::default() }
}
