//! The columns of a pattern.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// The columns that a pattern looks at.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Those of the key, then the others.
    pub schema: SchemaRef,
    /// How many make the key.
    pub key: usize,
}

impl Layout {
    /// The same columns, which all may be null: those that are kept of a row that is gone are.
    pub fn nullable(&self) -> SchemaRef {
        let fields = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Rows of these columns, of which there may be none.
    pub fn rows(&self, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.nullable(), columns, &options).map_err(Error::arrow)
    }
}
