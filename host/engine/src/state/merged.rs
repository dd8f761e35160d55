//! Whole tables of a checkpoint, for people who ask.

use super::StateTable;
use crate::checkpoint::read::{about, fields, load_table};
use crate::checkpoint::store::Store;
use crate::checkpoint::types::Table;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use millstream_base::batch::keys::KEY_GROUPS;
use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// A whole table as it stands, sorted by key hash: its key and state columns, without removed keys.
pub fn merged(store: &dyn Store, table: &Table) -> Result<RecordBatch> {
    merge(table, load_table(store, table, 0, KEY_GROUPS as u32, None)?)
}

/// Applies the rows of files, as a stage does that takes them over.
fn merge(table: &Table, files: Vec<RecordBatch>) -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(fields(&table.state)?));
    let told = |error: Error| error.within(format!("the checkpoint: {}", about(table)));
    let mut merged = StateTable::new(fields(table.key.iter().chain(&table.sub))?, schema, None)
        .map_err(|error| told(Error::environment(error)))?;
    for rows in files {
        merged.restore(&rows, |_| true).map_err(told)?;
    }
    merged.rows()
}

#[cfg(test)]
mod tests;
