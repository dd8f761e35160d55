//! Complete tables of a checkpoint, for inspection.

use super::StateTable;
use crate::checkpoint::read::{about, fields, load_table};
use crate::checkpoint::store::Store;
use crate::checkpoint::types::Table;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::KEY_GROUPS;
use std::sync::Arc;

/// Reads the complete current table, sorted by key hash: its key and state columns, without removed keys.
pub fn merged(store: &dyn Store, table: &Table) -> Result<RecordBatch> {
    merge(table, load_table(store, table, 0, KEY_GROUPS as u32, None)?)
}

/// Applies the rows of files, as a stage does when it restores them.
fn merge(table: &Table, files: Vec<RecordBatch>) -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(fields(&table.state)?));
    let described = |error: Error| error.within(format!("the checkpoint: {}", about(table)));
    let mut merged = StateTable::new(fields(table.key.iter().chain(&table.sub))?, schema, None)
        .map_err(|error| described(Error::environment(error)))?;
    for rows in files {
        merged.restore(&rows, |_| true).map_err(described)?;
    }
    merged.rows()
}

#[cfg(test)]
mod tests;
