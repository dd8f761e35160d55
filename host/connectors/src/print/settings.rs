//! Settings of the `print` sink.

use crate::limits;

/// Prints the first rows as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintWrites {
    /// Maximum rows of a batch that are printed.
    pub rows: usize,
    /// Whether `rows` applies to all batches together. Not available in job files: `run --sample` uses it for each stream.
    pub once: bool,
}

impl Default for PrintWrites {
    fn default() -> PrintWrites {
        PrintWrites { rows: limits::PRINT_ROWS, once: false }
    }
}
