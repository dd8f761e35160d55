//! The latest row of each key, checked.

use arrow::datatypes::SchemaRef;

/// Such a stage, checked by the graph.
#[derive(Clone)]
pub struct NewestNode {
    /// The input column that orders rows; `None` uses the order of arrival.
    pub by: Option<usize>,
    /// The input column with the operation; without one each row replaces the previous one.
    pub op: Option<usize>,
    /// The other columns of the input.
    pub passes: Vec<usize>,
    /// The stored ones of them, all nullable.
    pub stored_schema: SchemaRef,
    /// Whether the second input has the rows that sessions replace.
    pub replaces: bool,
    /// The output columns.
    pub output: SchemaRef,
}

/// Name of the stream of results that sessions replace.
pub const REPLACED: &str = "replaced";
