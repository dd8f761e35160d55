//! The keys of rows that arrive at a join.

use crate::state::{Slot, StateTable};
use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use millstream_rows::batch::keys::Keys;
use std::sync::Arc;

/// Creates an index of keys: a table without states.
pub fn key_index() -> Result<StateTable, ArrowError> {
    StateTable::new(Vec::new(), Arc::new(Schema::empty()), None)
}

/// The keys of the rows of a batch: its first columns.
pub struct RowKeys {
    keys: Keys,
    nulls: Option<NullBuffer>,
}

impl RowKeys {
    /// Reads the keys of these rows; `on` is the number of key columns.
    pub fn new(rows: &RecordBatch, on: usize) -> Result<RowKeys, ArrowError> {
        let missing = || ArrowError::SchemaError("a row of a join lacks columns of `on`".into());
        let columns = rows.columns().get(..on).ok_or_else(missing)?;
        let mut nulls = None;
        for column in columns {
            nulls = NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref());
        }
        Ok(RowKeys { keys: Keys::encode(columns, rows.num_rows())?, nulls })
    }

    /// Returns whether a column of the key is null. Such a row has no partner, as in SQL.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Returns the slot of a row's key, adding the key if needed.
    pub fn slot(&self, row: usize, index: &mut StateTable) -> Slot {
        let keys = self.keys.view();
        index.slot(keys.get(row), keys.short(row).1)
    }
}
