//! Columns of what came with the value of a record of a topic: its key, time, headers, and where it stands; or with an event.

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

/// Fills the columns that do not stand in the value. While rows are decoded these come behind all others, so that what decodes
/// values need not know of them.
pub struct MetadataDecoder {
    /// The columns, and what each holds.
    columns: Vec<(ColumnSource, ColumnType)>,
    /// The place of the first of them.
    first: usize,
    /// Where each column of the job file stands while rows are decoded.
    order: Vec<usize>,
    topic: String,
    partition: i64,
}

impl MetadataDecoder {
    /// For the columns of a source, which it puts into the order in which they are decoded.
    pub fn new(schema: &mut Vec<ColumnSpec>) -> MetadataDecoder {
        let of_value = |column: &&ColumnSpec| column.from == ColumnSource::Value;
        let (values, beside): (Vec<&ColumnSpec>, Vec<&ColumnSpec>) = schema.iter().partition(of_value);
        let decoded: Vec<ColumnSpec> = values.iter().chain(&beside).map(|column| (*column).clone()).collect();
        let place =
            |column: &ColumnSpec| decoded.iter().position(|other| other.name == column.name).unwrap_or_default();
        let order = schema.iter().map(place).collect();
        let columns = beside.iter().map(|column| (column.from.clone(), column.kind.clone())).collect();
        let first = values.len();
        *schema = decoded;
        MetadataDecoder { columns, first, order, topic: String::new(), partition: 0 }
    }

    /// How many columns stand in the value.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Columns in the order of the job file, where these are in the order in which they are decoded.
    pub fn schema(&self, decoded: &SchemaRef) -> SchemaRef {
        let fields = self.order.iter().filter_map(|place| decoded.fields().get(*place).cloned());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The same with rows.
    pub fn in_order(&self, decoded: RecordBatch) -> RecordBatch {
        if self.order.is_sorted() {
            return decoded;
        }
        // All of the places are there.
        decoded.project(&self.order).unwrap_or(decoded)
    }

    /// Whether all that a chunk holds is values: no other column is wanted, and no record is without one.
    pub fn is_plain(&self, chunk: &Chunk) -> bool {
        let is_null = |row| envelope::read(chunk.record(row)).is_none_or(|envelope| envelope.is_null());
        self.columns.is_empty() && !(0..chunk.rows()).any(is_null)
    }

    /// The records of this chunk come next.
    pub fn begin(&mut self, chunk: &Chunk) {
        if let Some((topic, partition)) = topic::parse(&chunk.extent.file) {
            self.partition = partition.into();
            if self.topic != topic {
                topic.clone_into(&mut self.topic);
            }
        }
    }

    /// Gives the row at hand what came with its value.
    pub fn decode(&self, envelope: &Envelope<'_>, columns: &mut ColumnBuilders) -> Result<(), String> {
        for (place, (from, kind)) in (self.first..).zip(&self.columns) {
            match from {
                ColumnSource::Value => {}
                ColumnSource::Key => bytes(place, "key", kind, envelope.key(), columns)?,
                ColumnSource::Header(name) => bytes(place, name, kind, envelope.header(name), columns)?,
                ColumnSource::Headers => columns.set(place, WrittenValue::Text(&envelope.headers_as_json()?))?,
                ColumnSource::Event => bytes(place, EVENT, kind, envelope.header(EVENT), columns)?,
                ColumnSource::Id => bytes(place, ID, kind, envelope.header(ID), columns)?,
                ColumnSource::Op => bytes(place, OP, kind, envelope.header(OP), columns)?,
                ColumnSource::Topic | ColumnSource::Table => match envelope.header(TOPIC) {
                    Some(topic) => bytes(place, "topic", kind, Some(topic), columns)?,
                    None => columns.set(place, WrittenValue::Text(&self.topic))?,
                },
                ColumnSource::Partition => columns.set_int64(place, self.partition),
                ColumnSource::Offset => {
                    columns.set_int64(place, i64::try_from(envelope.offset).unwrap_or(i64::MAX));
                }
                ColumnSource::Timestamp => {
                    if let Some(time) = envelope.time_ms() {
                        columns.set_int64(place, time.saturating_mul(1_000));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A column of a part that is bytes.
fn bytes(
    place: usize,
    what: &str,
    kind: &ColumnType,
    given: Option<&[u8]>,
    columns: &mut ColumnBuilders,
) -> Result<(), String> {
    let Some(given) = given else { return Ok(()) };
    match kind {
        ColumnType::Binary => columns.set_bytes(place, given),
        _ => {
            let text = std::str::from_utf8(given).map_err(|error| {
                format!("`{what}`: not UTF-8 at byte {}; make the column binary", error.valid_up_to())
            })?;
            columns.set(place, WrittenValue::Text(text))
        }
    }
}
