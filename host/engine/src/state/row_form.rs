//! The properties of a table that are needed to read rows of its files.

use super::idle::TouchSource;
use super::keys::hashes_of;
use arrow::array::ArrayRef;
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use millstream_rows::batch::keys::{KeyHash, Keys};
use std::sync::Arc;

/// The properties of a table that are needed to read rows of its files.
#[derive(Clone, Debug)]
pub struct RowForm {
    pub(super) key_fields: Vec<Arc<Field>>,
    /// See [`StateTable::ordered_by`](super::table::StateTable::ordered_by).
    pub(super) order_columns: Option<usize>,
    pub(super) state_schema: SchemaRef,
    pub(super) touched_by: Option<TouchSource>,
}

impl RowForm {
    /// Returns whether files store when keys were touched.
    pub fn has_touched(&self) -> bool {
        self.touched_by == Some(TouchSource::Touch)
    }

    /// Returns the hashes of the keys in these columns, as the table computes them.
    pub fn hashes_of(&self, columns: &[ArrayRef], keys: &Keys) -> Result<Vec<KeyHash>, ArrowError> {
        hashes_of(columns, keys, self.order_columns)
    }
}
