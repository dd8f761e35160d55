//! Settings of sinks of kind `print`.

use crate::limits;

/// The first rows, as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintWrites {
    /// How many rows of a batch are shown.
    pub rows: usize,
    /// So many of all batches together. Not for job files: `run --sample` puts one behind each stream.
    pub once: bool,
}

impl Default for PrintWrites {
    fn default() -> PrintWrites {
        PrintWrites { rows: limits::PRINT_ROWS, once: false }
    }
}
