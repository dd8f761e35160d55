//! A table from outside beside each row, checked.

use arrow::datatypes::SchemaRef;
use millstream_base::job::spec::EnrichSpec;

/// An enrich stage, as the graph has checked it.
#[derive(Clone)]
pub struct EnrichNode {
    /// The table, with all its columns.
    pub enrich: EnrichSpec,
    /// The columns of the stage's input that are looked up in the table.
    pub on: Vec<usize>,
    /// Rows that the table knows nothing about are left out.
    pub inner: bool,
    /// The columns of the table that rows get.
    pub adds: Vec<usize>,
    /// The columns of the rows that come out.
    pub output: SchemaRef,
}
