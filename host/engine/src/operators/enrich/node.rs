//! A checked lookup table.

use arrow::datatypes::SchemaRef;
use millstream_job::spec::EnrichSpec;

/// A checked `enrich` stage.
#[derive(Clone)]
pub struct EnrichNode {
    /// The table, with all its columns.
    pub enrich: EnrichSpec,
    /// The input columns that are looked up in the table.
    pub on: Vec<usize>,
    /// Whether rows without a match are dropped.
    pub inner: bool,
    /// The table's columns that are added to rows.
    pub adds: Vec<usize>,
    /// The output columns.
    pub output: SchemaRef,
}
