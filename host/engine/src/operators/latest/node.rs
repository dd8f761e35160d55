//! The latest row of another stream beside each row, checked.

use arrow::datatypes::SchemaRef;

/// Such a stage, as the graph has checked it.
#[derive(Clone)]
pub struct LatestNode {
    /// The columns of the stage's rows that are looked up.
    pub on: Vec<usize>,
    /// The columns of the stream that are the table's key, in the same order.
    pub key: Vec<usize>,
    /// The columns of the stream that the table holds for each key.
    pub holds: Vec<usize>,
    /// The column of the stream that says what a row does to the table.
    pub op: Option<usize>,
    /// The key columns of the table.
    pub key_schema: SchemaRef,
    /// The others, each of which may be null.
    pub held_schema: SchemaRef,
    /// Rows that the table knows nothing about are left out.
    pub inner: bool,
    /// The columns of the rows that come out.
    pub output: SchemaRef,
}
