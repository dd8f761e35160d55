//! From the records of a chunk to rows, by the source's format. A record that does not decode becomes a rejected
//! row with its reason.

use crate::batch::chunk::Chunk;
use crate::job::spec::SourceSpec;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// Turns chunks of one source into rows.
pub struct Decoder {
    schema: SchemaRef,
}

/// The rows of a chunk.
pub struct Decoded {
    /// The rows that decoded, in order.
    pub rows: RecordBatch,
    /// The others, with [`rejected_schema`]; `None` where there are none.
    pub rejected: Option<RecordBatch>,
}

impl Decoder {
    /// A decoder for the format and columns of this source.
    pub fn new(_source: &SourceSpec) -> Decoder {
        Decoder { schema: crate::batch::types::schema_of(&[]) }
    }

    /// The columns of the decoded rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Decodes all records of a chunk.
    pub fn decode(&mut self, _chunk: &Chunk) -> Decoded {
        Decoded { rows: RecordBatch::new_empty(self.schema.clone()), rejected: None }
    }
}

/// The columns of a source's rejected rows: `value` (the record, as text) and `reason`.
pub fn rejected_schema() -> SchemaRef {
    use crate::batch::types::{ColumnType, schema_of};
    schema_of(&[("value".into(), ColumnType::Text), ("reason".into(), ColumnType::Text)])
}
