//! Which tables of a checkpoint startup drops.

use crate::checkpoint::types::{Table, TableOf};
use millstream_job::retry_source;

/// Returns whether `--drop-state` names a table, or its stage, which may have several, such as `hot` and `hot.watermark`. The position in rows given
/// to `retry` is not state of the stage: otherwise they would all be processed twice.
pub fn dropped(drop: &[String], table: &Table) -> bool {
    drop.contains(&table.name) || (!is_retry(table) && drop.iter().any(|drop| drop == part_of(&table.name)))
}

/// Returns whether a table belongs to rows given to `retry`.
pub fn is_retry(table: &Table) -> bool {
    table.of == TableOf::Source && retry_source::is_name(&table.name)
}

/// Returns the stage or source of a table.
pub fn part_of(table: &str) -> &str {
    table.split('.').next().unwrap_or(table)
}
