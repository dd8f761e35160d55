//! Input and output of windows.

use super::panes::KeyId;
use arrow::array::{ArrayRef, RecordBatch};

/// A batch, and the windows that end. Times are batch times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// The start of the job's first batch.
    pub origin_us: i64,
    /// The batch's own time.
    pub time_us: i64,
    /// Whether it is in any window.
    pub holds: bool,
    /// The end of the window that is emitted with it.
    pub end_us: Option<i64>,
    /// The end of the next window.
    pub next_us: i64,
}

/// The content of a window, by key in the order of key hashes.
pub struct Window {
    /// The first time in it, in microseconds; meaningless in processing time.
    pub start: i64,
    /// The first time after it.
    pub end: i64,
    /// The keys' numbers.
    pub ids: Vec<KeyId>,
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// Their accumulators.
    pub accumulators: RecordBatch,
}

/// Partial results as input: key columns (followed by the pane in event time), and the input of
/// [`Accumulate::merge`](super::panes::Accumulate::merge).
pub struct PartialRows {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// The other columns.
    pub partial: Vec<ArrayRef>,
    /// Number of rows.
    pub rows: usize,
}
