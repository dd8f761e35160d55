//! Columns of the metadata of a topic's record (key, time, headers, position) or of an event.

use super::columns::ColumnBuilders;
use super::written_value::WrittenValue;
use crate::batch::chunk::Chunk;
use crate::batch::column::{ColumnSource, ColumnSpec};
use crate::batch::envelope::{self, EVENT, Envelope, ID, OP, TOPIC};
use crate::batch::topic;
use crate::batch::types::ColumnType;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// Fills the columns that are not in the value. During decoding these come after all others, so that decoders of values need not handle them.
pub struct MetadataDecoder {
    /// The columns, and what each holds.
    columns: Vec<(ColumnSource, ColumnType)>,
    /// The index of the first of them.
    first: usize,
    /// The index of each column of the job file during decoding.
    order: Vec<usize>,
    topic: String,
    partition: i64,
}

impl MetadataDecoder {
    /// Creates it for a source's columns, and sorts these into the order of decoding.
    pub fn new(schema: &mut Vec<ColumnSpec>) -> MetadataDecoder {
        let of_value = |column: &&ColumnSpec| column.from == ColumnSource::Value;
        let (values, metadata): (Vec<&ColumnSpec>, Vec<&ColumnSpec>) = schema.iter().partition(of_value);
        let decoded: Vec<ColumnSpec> = values.iter().chain(&metadata).map(|column| (*column).clone()).collect();
        let index =
            |column: &ColumnSpec| decoded.iter().position(|other| other.name == column.name).unwrap_or_default();
        let order = schema.iter().map(index).collect();
        let columns = metadata.iter().map(|column| (column.from.clone(), column.kind.clone())).collect();
        let first = values.len();
        *schema = decoded;
        MetadataDecoder { columns, first, order, topic: String::new(), partition: 0 }
    }

    /// Returns the number of columns in the value.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Sorts columns from the order of decoding into that of the job file.
    pub fn schema(&self, decoded: &SchemaRef) -> SchemaRef {
        let fields = self.order.iter().filter_map(|index| decoded.fields().get(*index).cloned());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Does the same with rows.
    pub fn in_order(&self, decoded: RecordBatch) -> RecordBatch {
        if self.order.is_sorted() {
            return decoded;
        }
        // All indexes exist.
        decoded.project(&self.order).unwrap_or(decoded)
    }

    /// Returns whether a chunk needs values only: there are no other columns, and every record has a value.
    pub fn is_plain(&self, chunk: &Chunk) -> bool {
        let is_null = |row| envelope::read(chunk.record(row)).is_none_or(|envelope| envelope.is_null());
        self.columns.is_empty() && !(0..chunk.rows()).any(is_null)
    }

    /// Begins the records of this chunk.
    pub fn begin(&mut self, chunk: &Chunk) {
        if let Some((topic, partition)) = topic::parse(&chunk.extent.file) {
            self.partition = partition.into();
            if self.topic != topic {
                topic.clone_into(&mut self.topic);
            }
        }
    }

    /// Sets the metadata columns of the current row.
    pub fn decode(&self, envelope: &Envelope<'_>, columns: &mut ColumnBuilders) -> Result<(), String> {
        for (index, (from, kind)) in (self.first..).zip(&self.columns) {
            match from {
                ColumnSource::Value => {}
                ColumnSource::Key => bytes(index, "key", kind, envelope.key(), columns)?,
                ColumnSource::Header(name) => bytes(index, name, kind, envelope.header(name), columns)?,
                ColumnSource::Headers => columns.set(index, WrittenValue::Text(&envelope.headers_as_json()?))?,
                ColumnSource::Event => bytes(index, EVENT, kind, envelope.header(EVENT), columns)?,
                ColumnSource::Id => bytes(index, ID, kind, envelope.header(ID), columns)?,
                ColumnSource::Op => bytes(index, OP, kind, envelope.header(OP), columns)?,
                ColumnSource::Topic | ColumnSource::Table => match envelope.header(TOPIC) {
                    Some(topic) => bytes(index, "topic", kind, Some(topic), columns)?,
                    None => columns.set(index, WrittenValue::Text(&self.topic))?,
                },
                ColumnSource::Partition => columns.set_int64(index, self.partition),
                ColumnSource::Offset => {
                    columns.set_int64(index, i64::try_from(envelope.offset).unwrap_or(i64::MAX));
                }
                ColumnSource::Timestamp => {
                    if let Some(time) = envelope.time_ms() {
                        columns.set_int64(index, time.saturating_mul(1_000));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Sets a column from bytes.
fn bytes(
    index: usize,
    what: &str,
    kind: &ColumnType,
    bytes_given: Option<&[u8]>,
    columns: &mut ColumnBuilders,
) -> Result<(), String> {
    let Some(bytes_given) = bytes_given else { return Ok(()) };
    match kind {
        ColumnType::Binary => columns.set_bytes(index, bytes_given),
        _ => {
            let text = std::str::from_utf8(bytes_given).map_err(|error| {
                format!("`{what}`: not UTF-8 at byte {}; make the column binary", error.valid_up_to())
            })?;
            columns.set(index, WrittenValue::Text(text))
        }
    }
}
