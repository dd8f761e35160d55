//! The latest row of each key, checked.

use arrow::datatypes::SchemaRef;

/// Such a stage, as the graph has checked it.
#[derive(Clone)]
pub struct NewestNode {
    /// The column of the stage's input by which a row is later than another; `None`: as they come.
    pub by: Option<usize>,
    /// The column of the input that says what a row does; without one each row takes the place of the one before.
    pub op: Option<usize>,
    /// The other columns of the input.
    pub passes: Vec<usize>,
    /// Those of them that the table holds for each key, each of which may be null.
    pub held_schema: SchemaRef,
    /// The rows of the second input are those that sessions replace.
    pub replaces: bool,
    /// The columns of the rows that come out.
    pub output: SchemaRef,
}

/// The name of the stream of the results that sessions replace.
pub const REPLACED: &str = "replaced";
