//! Settings of sinks of kind `print`.

use millstream_base::limits;

/// The first rows of each batch, as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintWrites {
    /// How many rows of a batch are shown.
    pub rows: usize,
}

impl Default for PrintWrites {
    fn default() -> PrintWrites {
        PrintWrites { rows: limits::PRINT_ROWS }
    }
}

/// The first rows of the stream, once. Not for job files: `run --sample` puts one behind each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintSample {
    /// How many rows are shown.
    pub rows: usize,
}
