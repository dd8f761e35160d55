//! Rows that a plugin refused, as they flow in `<stage>.rejected`.

use crate::batch::types::ColumnType;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use std::sync::Arc;

/// Rejected rows as their stream has them: the row as it came, and the reason.
pub fn rejected_rows(
    schema: &SchemaRef,
    rows: &RecordBatch,
    rejections: Vec<(u32, String)>,
) -> Result<RecordBatch, ArrowError> {
    let (indices, reasons): (Vec<u32>, Vec<String>) = rejections.into_iter().unzip();
    let rows = take_record_batch(rows, &UInt32Array::from(indices))?;
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(StringArray::from(reasons)));
    RecordBatch::try_new(schema.clone(), columns)
}

/// The schema of [`rejected_rows`].
pub fn rejected_schema(input: &Schema) -> SchemaRef {
    let mut name = "reason".to_owned();
    while input.index_of(&name).is_ok() {
        name.insert_str(0, "rejected_");
    }
    let mut fields: Vec<_> = input.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, ColumnType::Text.arrow(), true)));
    Arc::new(Schema::new(fields))
}

/// The same where a stage has several inputs: which one, the row as JSON, the reason.
pub fn mixed_rejected_rows(
    input: &str,
    rows: &RecordBatch,
    rejections: Vec<(u32, String)>,
) -> Result<RecordBatch, ArrowError> {
    let (indices, reasons): (Vec<u32>, Vec<String>) = rejections.into_iter().unzip();
    let rows = take_record_batch(rows, &UInt32Array::from(indices))?;
    let mut lines = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
    writer.write(&rows)?;
    writer.finish()?;
    drop(writer);
    let lines = String::from_utf8(lines).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    let columns: [ArrayRef; 3] = [
        Arc::new(StringArray::from(vec![input; rows.num_rows()])),
        Arc::new(lines.lines().map(Some).collect::<StringArray>()),
        Arc::new(StringArray::from(reasons)),
    ];
    RecordBatch::try_new(mixed_rejected_schema(), columns.to_vec())
}

/// The columns of rejected and late rows of a stage whose inputs differ.
pub fn mixed_rejected_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, ColumnType::Text.arrow(), true);
    Arc::new(Schema::new(vec![text("input"), text("row"), text("reason")]))
}

/// Takes out rows that are null in a column which a plugin needs a value of. `places` are the columns that the plugin
/// reads, `reads` says which of them may be null. Returns the other rows and the rejections, by row.
pub fn without_nulls(
    rows: RecordBatch,
    places: &[usize],
    reads: &Schema,
) -> Result<(RecordBatch, Vec<(u32, String)>), ArrowError> {
    let needed =
        || places.iter().zip(reads.fields()).filter(|(_, field)| !field.is_nullable()).map(|(place, _)| *place);
    if needed().all(|place| rows.column(place).null_count() == 0) {
        return Ok((rows, Vec::new()));
    }
    let mut whole: Option<NullBuffer> = None;
    for place in needed() {
        whole = NullBuffer::union(whole.as_ref(), rows.column(place).logical_nulls().as_ref());
    }
    let Some(whole) = whole else { return Ok((rows, Vec::new())) };
    let mut rejections = Vec::new();
    for row in (0..rows.num_rows()).filter(|row| whole.is_null(*row)) {
        let null = needed().find(|place| rows.column(*place).is_null(row)).unwrap_or_default();
        let schema = rows.schema_ref();
        rejections.push((
            row as u32,
            format!("column `{}` is null, and the plugin needs a value", schema.field(null).name()),
        ));
    }
    let keep = BooleanArray::new(whole.into_inner(), None);
    Ok((filter_record_batch(&rows, &keep)?, rejections))
}
