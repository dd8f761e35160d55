//! Rows that came as columns, for the columns of a source. Where these are of other types, as in a job that was changed since the rows
//! were planned, the rows are written as lines of JSON, and these are decoded.

use super::delimiter::Delimiter;
use crate::batch::chunk::{Chunk, RefusedRecord};
use crate::batch::column::{ColumnSource, ColumnSpec, TimeForm};
use crate::batch::envelope::{self, RecordMetadata};
use crate::batch::json::JsonRows;
use crate::batch::ready::ReadyRows;
use crate::batch::types::ColumnType;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};

/// Whether a column holds values of this type as they are: a row of JSON with the same values would be decoded to these.
pub fn takes(column: &ColumnSpec, kind: &DataType) -> bool {
    let is_plain = !matches!(&column.kind, ColumnType::Arrow(other) if *other != DataType::Date32);
    column.from == ColumnSource::Value
        && column.path.len() < 2
        && !matches!(column.form, TimeForm::Pattern(_))
        && is_plain
        && column.kind.arrow() == *kind
}

/// What the values of a column are called where they come from.
pub fn name_of(column: &ColumnSpec) -> &str {
    column.path.first().unwrap_or(&column.name)
}

/// The rows with these columns; `None`: they have others.
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

/// The same chunk with rows as lines of JSON, and whatever stands around records.
pub(super) fn in_lines(chunk: &Chunk, ready: &ReadyRows, delimiter: Delimiter) -> Chunk {
    let (mut bytes, mut ends, mut refused) = (Vec::new(), Vec::new(), Vec::new());
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
            refused.push(RefusedRecord { row: row as u32, reason: format!("cannot be written: {why}"), dropped: 0 });
        }
        if delimiter.is_line() {
            bytes.push(b'\n');
        }
        ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    Chunk { bytes: bytes.into(), ends, refused, extent: chunk.extent.clone(), ..Chunk::default() }
}
