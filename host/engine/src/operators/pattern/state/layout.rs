//! The columns of a pattern.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// The columns that a pattern reads.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The key columns, then the others.
    pub schema: SchemaRef,
    /// Number of key columns.
    pub key: usize,
}

impl Layout {
    /// Returns the same columns, all nullable: removed rows have nulls.
    pub fn nullable(&self) -> SchemaRef {
        let fields = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Returns rows of these columns; there may be no columns.
    pub fn rows(&self, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.nullable(), columns, &options).map_err(Error::arrow)
    }
}
