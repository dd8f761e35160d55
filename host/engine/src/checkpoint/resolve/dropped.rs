//! Which tables of a checkpoint a start leaves behind.

use crate::checkpoint::types::{Table, TableOf};
use millstream_base::job::retry_source;

/// Whether `--drop-state` names a table, or the stage that it is of: a stage may have several, as `hot` and `hot.watermark`.
/// How far rows that were given back are read is no state of the stage: they would all come a second time.
pub fn dropped(drop: &[String], table: &Table) -> bool {
    drop.contains(&table.name) || (!is_retry(table) && drop.iter().any(|drop| drop == part_of(&table.name)))
}

/// Whether a table is of rows that were given back.
pub fn is_retry(table: &Table) -> bool {
    table.of == TableOf::Source && retry_source::is_name(&table.name)
}

/// The stage or source that a table is of.
pub fn part_of(table: &str) -> &str {
    table.split('.').next().unwrap_or(table)
}
