//! The first of all rows that ever came, checked.

use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// Such a stage, as the graph has checked it.
#[derive(Clone)]
pub struct RankingNode {
    /// How many rows of each key are put out.
    pub n: usize,
    /// The column of the stage's input that orders them.
    pub by: usize,
    /// Smallest first.
    pub ascending: bool,
    /// The column that gets the place of each row, from 1 on.
    pub rank: Option<String>,
    /// The column of the input that says what a row does; without one all rows are inserted, and no more than `n` are kept of a key.
    pub op: Option<usize>,
    /// The other columns of the input.
    pub passes: Vec<usize>,
    /// The key columns of the table: those of the stage, and the place.
    pub place_fields: Vec<Arc<Field>>,
    /// The others, each of which may be null.
    pub held_schema: SchemaRef,
    /// The columns of the rows that come out.
    pub output: SchemaRef,
}
