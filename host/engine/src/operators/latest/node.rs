//! Enrichment with the latest row of another stream, checked.

use arrow::datatypes::SchemaRef;

/// Such a stage, checked by the graph.
#[derive(Clone)]
pub struct LatestNode {
    /// The stage's columns that are looked up.
    pub on: Vec<usize>,
    /// The stream's key columns, in the same order.
    pub key: Vec<usize>,
    /// The stream's columns that the table stores for each key.
    pub holds: Vec<usize>,
    /// The stream's column with the operation on the table.
    pub op: Option<usize>,
    /// The key columns of the table.
    pub key_schema: SchemaRef,
    /// The other columns, all nullable.
    pub stored_schema: SchemaRef,
    /// Whether rows without a match are dropped.
    pub inner: bool,
    /// The output columns.
    pub output: SchemaRef,
}
