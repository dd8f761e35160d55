//! The first of all rows ever received, checked.

use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// Such a stage, checked by the graph.
#[derive(Clone)]
pub struct RankingNode {
    /// Number of emitted rows per key.
    pub n: usize,
    /// The input column that orders them.
    pub by: usize,
    /// Smallest first.
    pub ascending: bool,
    /// The column with the rank of each row, from 1 on.
    pub rank: Option<String>,
    /// The input column with each row's operation. Without one all rows are inserted, and at most `n` are stored per key.
    pub op: Option<usize>,
    /// The other columns of the input.
    pub passes: Vec<usize>,
    /// The key columns of the table: those of the stage, and the rank.
    pub rank_fields: Vec<Arc<Field>>,
    /// The other columns, all nullable.
    pub stored_schema: SchemaRef,
    /// The output columns.
    pub output: SchemaRef,
}
